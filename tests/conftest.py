"""Fixtures that several test modules share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_home() -> Path:
    """Folder with the real data sets, named by the environment variable PLMLEARN_DATA."""
    home = os.environ.get("PLMLEARN_DATA")
    if not home:
        pytest.skip("PLMLEARN_DATA is unset: no real data to test on")
    return Path(home)
