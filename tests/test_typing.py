"""What a type checker sees: mypy, run on ``typing/uses.py`` and on a wrong call of every public name."""

import inspect
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from public_names import CALLABLES, ESTIMATORS, PACKAGES

import plmlearn

HERE = Path(__file__).parent / "typing"
USES = HERE / "uses.py"


def takes_any_keyword(thing) -> bool:
    kinds = [parameter.kind for parameter in inspect.signature(thing).parameters.values()]
    return inspect.Parameter.VAR_KEYWORD in kinds


WRONG_CALLS = [
    f"{name}(no_such_parameter=0)  # E: Unexpected keyword argument"
    for name, thing in CALLABLES.items()
    if not takes_any_keyword(thing) and not inspect.isabstract(thing)
]


@pytest.fixture(scope="module")
def wrong_calls(tmp_path_factory) -> Path:
    """A file that calls every public class and function with a parameter that none of them has."""
    path = tmp_path_factory.mktemp("calls") / "wrong_calls.py"
    path.write_text("\n".join([f"import {package}" for package in PACKAGES] + WRONG_CALLS))
    return path


@pytest.fixture(scope="module")
def said(wrong_calls, tmp_path_factory) -> dict[tuple[str, int], str]:
    """The errors and revealed types that mypy reports, by file and line."""
    options = ["--config-file", HERE / "mypy.ini", "--cache-dir", tmp_path_factory.mktemp("mypy")]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, USES, wrong_calls],
        cwd=Path(plmlearn.__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr  # 2 is a failure of mypy's own
    messages = re.findall(r"^(.+\.py):(\d+): (error: .+|note: Revealed .+)$", done.stdout, re.MULTILINE)
    found: dict[tuple[str, int], str] = defaultdict(str)
    for path, line, text in messages:
        found[Path(path).name, int(line)] += f"{text}\n"
    return found


def surprises(path: Path, said: dict[tuple[str, int], str]) -> str:
    """Lines where mypy is silent though a comment expects a message, or where it has an unexpected one."""
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        expected = re.search(r"# [EN]: (.+)$", line)
        heard = said.get((path.name, number), "")
        if (expected and expected[1] not in heard) or (heard and not expected):
            found.append(f"{number}: {line}\n    mypy: {heard.strip() or 'nothing'}")
    return "\n".join(found)


def test_names_parameters_and_results_are_seen(said):
    found = surprises(USES, said)
    assert not found, f"\n{found}"


def test_the_signature_of_every_public_name_is_seen(wrong_calls, said):
    assert len(WRONG_CALLS) > 60
    found = surprises(wrong_calls, said)
    assert not found, f"\n{found}"


def test_every_estimator_is_used_rightly_and_wrongly():
    lines = USES.read_text().splitlines()
    for name in ESTIMATORS:
        uses = [line for line in lines if re.match(rf"(reveal_type\()?{name}\(", line)]
        assert {"# E: " in line for line in uses} == {True, False}, name
