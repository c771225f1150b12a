"""A little of what ``make fuzz`` does, in a process of its own."""

import subprocess
import sys
from pathlib import Path


def test_hostile_arguments_give_errors_that_name_them_or_right_results():
    script = Path(__file__).parent / "fuzz.py"
    run = subprocess.run([sys.executable, script, "--inputs", "300"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 faults" in run.stdout.splitlines()
