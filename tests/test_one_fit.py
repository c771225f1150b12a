"""The page "One fit, from sequence to saved tensors" of CONTRIBUTING.md, followed step by step."""

import re
import sys
from pathlib import Path

import pytest

import plmlearn
from plmlearn import PLMLoRAClassifier
from plmlearn.estimators.task import Task

PACKAGE = Path(plmlearn.__file__).parent


def stops() -> list[tuple[str, str]]:
    """Files that the page names, each with the function or class that its text names first."""
    page = (PACKAGE.parent / "CONTRIBUTING.md").read_text()
    section = page.partition("\n## One fit, from sequence to saved tensors\n")[2].partition("\n## ")[0]
    return re.findall(r"^\|[^|]*\| `(\w[\w/]+\.py)` \|[^`\n]*`([\w.]+)`", section, re.MULTILINE)


@pytest.fixture(scope="module")
def called() -> dict[str, set[str]]:
    """Functions of the package that one fit and one prediction run, by file."""
    found: dict[str, set[str]] = {}

    def note(frame, event, arg):
        code = frame.f_code
        path = Path(code.co_filename)
        if event == "call" and code.co_name != "<module>" and PACKAGE in path.parents:
            found.setdefault(path.relative_to(PACKAGE).as_posix(), set()).update(code.co_qualname.split("."))

    X, y = ["MKTAYIAKQR", "GSHMLEDPVA", "MKVLAAGIVG", "DDEEDDKKRR"], [0, 0, 1, 1]
    classifier = PLMLoRAClassifier("mini", epochs=1, random_state=0)
    plmlearn.backbones.unload_backbones()
    sys.setprofile(note)
    try:
        classifier.fit(X, y).predict(X)
    finally:
        sys.setprofile(None)
    return found


def test_one_fit_reads_at_most_25_files(called):
    assert len(called) <= 25, sorted(called)


def test_every_stop_is_where_the_page_says(called):
    assert len(stops()) == 18
    lost = [(file, name) for file, name in stops() if name.split(".")[-1] not in called.get(file, ())]
    assert lost == []


def test_a_task_has_six_methods_as_the_page_says():
    assert sorted(Task.__abstractmethods__) == sorted(
        ["check", "learn", "make_model", "encode", "make_loss", "decoder"]
    )
