"""A little of what ``make torture`` does, in a process of its own."""

import subprocess
import sys
from pathlib import Path


def test_kills_and_tampered_folders_execute_and_mix_nothing():
    script = Path(__file__).parent / "torture.py"
    run = subprocess.run(
        [sys.executable, script, "--kills", "8", "--folders", "80"], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 faults" in run.stdout
    assert "0  executions" in run.stdout
