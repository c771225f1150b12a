"""Symmetries of homo-oligomers: classes, tables, and generated proteins that a model can tell apart."""

import gzip

import numpy as np
import pytest

from plmlearn import PLMClassifier
from plmlearn.adapters import Frozen
from plmlearn.datasets import SYMMETRY_CLASSES, load_symmetry, make_homo_oligomers, symmetry_class
from plmlearn.metrics import classification_table


def test_there_are_eighteen_classes_and_every_order_has_one():
    assert len(SYMMETRY_CLASSES) == len(set(SYMMETRY_CLASSES)) == 18
    cyclic = [symmetry_class(f"C{n}") for n in range(1, 18)]
    assert cyclic == ["C1", "C2", "C3", "C4", "C5", "C6", *["C7-C9"] * 3, *["C10-C17"] * 8]
    assert [symmetry_class(f"D{n}") for n in range(2, 13)] == ["D2", "D3", "D4", "D5", *["D6-D12"] * 7]
    assert [symmetry_class(letter) for letter in "hoti"] == list("HOTI")
    assert all(symmetry_class(name) == name for name in SYMMETRY_CLASSES)
    assert {symmetry_class(text) for text in ("NPS", "unknown", "", "nan")} == {"unknown"}


@pytest.mark.parametrize("text", ["C0", "C18", "D1", "D13", "K", "C", "2"])
def test_what_is_no_symmetry_is_refused(text):
    with pytest.raises(ValueError, match=f"'{text}' is not a symmetry of the 18 classes C1, C2"):
        symmetry_class(text)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "complexes.tsv.gz"
    rows = ["code\tsym\tseq", "1abc\tC2\tMKV", "2abc\tC2 C7\tMST", "3abc\tNPS\tMAA", "4abc\tD6;D7\tMGG"]
    path.write_bytes(gzip.compress("\n".join(rows).encode()))
    return path


def test_a_table_as_one_class_each(table):
    oligomers = load_symmetry(table, sequence="seq", symmetry="sym")
    assert oligomers.data.tolist() == ["MKV", "MST", "MAA", "MGG"]
    assert oligomers.target.tolist() == ["C2", "C7-C9", "unknown", "D6-D12"]  # of two the rarer
    assert oligomers.columns["code"].tolist() == ["1abc", "2abc", "3abc", "4abc"]


def test_a_table_as_an_indicator(table):
    X, y = load_symmetry(table, sequence="seq", symmetry="sym", form="multilabel", return_X_y=True)
    names = np.array(SYMMETRY_CLASSES)
    assert [names[row.astype(bool)].tolist() for row in y] == [
        ["C2"], ["C2", "C7-C9"], ["unknown"], ["D6-D12"],
    ]  # fmt: skip
    assert len(X) == 4


def test_bad_tables(table):
    with pytest.raises(ValueError, match="no column 'symmetry'"):
        load_symmetry(table, sequence="seq")
    with pytest.raises(ValueError, match="form='both'; expected one of 'multiclass', 'multilabel'"):
        load_symmetry(table, sequence="seq", symmetry="sym", form="both")
    table.write_bytes(gzip.compress(b"sequence,symmetry\nMKV,C2\nMST,C99\nMAA,X\n"))
    with pytest.raises(ValueError, match=r"^Row 1 of .*: 'C99' is not a symmetry.*\nRow 2 of .*: 'X' is not"):
        load_symmetry(table)


@pytest.mark.parametrize("form", ["multiclass", "multilabel"])
def test_a_model_learns_generated_oligomers_from_a_table(form, tmp_path):
    X, symmetries = make_homo_oligomers(
        300, n_classes=3, class_sep=1.0, median_length=60, max_length=90, random_state=0
    )
    lines = [f"{sequence},{symmetry}" for sequence, symmetry in zip(X, symmetries)]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["sequence,symmetry", *lines]))
    X, y = load_symmetry(path, form=form, return_X_y=True)
    model = PLMClassifier("mini", adapter=Frozen(), head="mlp", epochs=15, random_state=0, verbose=0)
    model.fit(X[:200], y[:200])
    proba, predicted = model.predict_proba(X[200:]), model.predict(X[200:])
    labels = None if form == "multilabel" else model.classes_
    if form == "multilabel":
        with pytest.warns(UserWarning, match="15 of 18 classes have no members"):
            table = classification_table(y[200:], predicted, proba)
    else:
        table = classification_table(y[200:], predicted, proba, labels=labels)
    assert table["aupr"] > 0.6


def test_generated_symmetries_have_classes():
    _, symmetries = make_homo_oligomers(50, n_classes=18, share_of_several=0.5, random_state=1)
    assert {symmetry_class(part) for entry in symmetries for part in entry.split()} == set(SYMMETRY_CLASSES)
    assert any(" " in entry for entry in symmetries)
