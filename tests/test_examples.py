"""Every example runs as a user would run it: in a process of its own, offline, with an empty cache."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REAL = (
    "SignalP 6",
    "NetSurfP-2",
    "CheZOD",
    "GB1",
    "Bernett",
    "generated pairs, both",
)  # what an example calls the data it found
EXAMPLES = sorted(Path(__file__).parent.parent.joinpath("examples").glob("*.py"))


def run(script: Path, home: Path, **variables: str) -> str:
    """Output of a script that keeps its cache under ``home``."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PLMLEARN_CACHE": str(home / "cache"),
        "HF_HUB_OFFLINE": "1",
        **variables,
    }
    done = subprocess.run(
        [sys.executable, str(script)], cwd=home, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "script", [path for path in EXAMPLES if path.name != "demo.py"], ids=lambda path: path.stem
)
def test_example_runs(script, tmp_path):
    home = os.environ.get("PLMLEARN_DATA")
    printed = run(script, tmp_path, PLMLEARN_DATA=home or str(tmp_path / "no_data"))
    assert any(source in printed for source in (REAL if home else ("generated",)))


def test_examples_are_short():
    lengths = {path.name: len(path.read_text().splitlines()) for path in EXAMPLES}
    assert {name for name, length in lengths.items() if length > 60} <= {"demo.py"}
