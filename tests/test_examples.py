"""Every example runs as a user would run it: in a process of its own, offline, with an empty cache."""

import os
import runpy
import sys
from pathlib import Path

import pytest

REAL = (
    "SignalP 6",
    "NetSurfP-2",
    "CheZOD",
    "GB1",
    "Bernett",
    "stability",
    "generated pairs, both",
)  # what an example calls the data it found
EXAMPLES = sorted(Path(__file__).parent.parent.joinpath("examples").glob("*.py"))


def run_script(script: Path, home: Path, variables: dict[str, str]) -> None:
    """What ``python script`` does, with everything printed in ``home/printed``."""
    os.environ.update(variables)
    os.chdir(home)
    with (home / "printed").open("w") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    sys.argv, sys.path[0] = [str(script)], str(script.parent)
    runpy.run_path(str(script), run_name="__main__")


@pytest.mark.parametrize(
    "script", [path for path in EXAMPLES if path.name != "demo.py"], ids=lambda path: path.stem
)
def test_example_runs(script, tmp_path, fresh_processes):
    home = os.environ.get("PLMLEARN_DATA")
    folders = {"PLMLEARN_CACHE": str(tmp_path / "cache"), "PLMLEARN_DATA": home or str(tmp_path / "no_data")}
    process = fresh_processes.Process(target=run_script, args=(script, tmp_path, folders))
    process.start()
    process.join(900)
    printed = (tmp_path / "printed").read_text()
    assert process.exitcode == 0, printed
    assert any(source in printed for source in (REAL if home else ("generated",)))


def test_examples_are_short():
    lengths = {path.name: len(path.read_text().splitlines()) for path in EXAMPLES}
    assert {name for name, length in lengths.items() if length > 60} <= {"demo.py"}
