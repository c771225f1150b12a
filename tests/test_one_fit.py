"""The page "One fit, from sequence to saved tensors" of CONTRIBUTING.md, followed step by step."""

import re
import sys
from pathlib import Path

import pytest

import plmlearn
from plmlearn import PLMLoRAClassifier

PACKAGE = Path(plmlearn.__file__).parent


def stops() -> list[tuple[str, list[str]]]:
    """Files that the page names, each with the names of functions and classes in its text."""
    page = (PACKAGE.parent / "CONTRIBUTING.md").read_text()
    section = page.partition("\n## One fit, from sequence to saved tensors\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\|[^|]*\| `(\w[\w/]+\.py)` \| (.*) \|$", section, re.MULTILINE)
    return [(file, re.findall(r"`([A-Za-z_]\w+)(?:\.\w+)?`", text)) for file, text in rows]


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
    assert len(stops()) >= 15
    for file, names in stops():
        source = (PACKAGE / file).read_text()
        assert file in called, f"{file} is not run"
        for name in names:
            assert re.search(rf"^\s*(def|class) {name}\b", source, re.MULTILINE) or name in (
                "X", "y", "fit", "hold_out", "state", "Given",
            ), f"{file} does not define {name}"  # fmt: skip


def test_a_task_has_six_methods_as_the_page_says():
    from plmlearn.estimators.task import Task

    assert sorted(Task.__abstractmethods__) == sorted(
        ["check", "learn", "make_model", "encode", "make_loss", "decoder"]
    )
