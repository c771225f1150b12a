"""Signal peptides: types and cleavage sites, by counting."""

import csv
import gzip

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import matthews_corrcoef

from plmlearn.metrics import (
    cleavage_mcc,
    cleavage_precision,
    cleavage_recall,
    cleavage_site,
    signal_peptide_table,
)

peptide = st.tuples(st.sampled_from("SLTPI"), st.integers(1, 12)).map(
    lambda p: p[0] * p[1] + "O" * (15 - p[1])
)
peptides = st.lists(st.tuples(peptide, peptide), min_size=1, max_size=12)


@pytest.mark.parametrize(
    "labels, site",
    [
        ("SSSOO", (3, "S")),
        ("IIOOM", (0, "")),
        ("LLLLL", (5, "L")),
        (np.array(list("TTO")), (2, "T")),
        ("ISSO", (3, "S")),
        (["", "", "S", "O"], (3, "S")),  # "" and "SL" are parts of "SLTP", and no labels of it
        (["SL", "T", "O"], (2, "T")),
        ([None, "S", "O"], (2, "S")),
        (np.ma.array(list("SSLO"), mask=[1, 1, 0, 0]), (3, "L")),
        ([1, 2], (0, "")),
    ],
)
def test_sites(labels, site):
    assert cleavage_site(labels) == site


@settings(deadline=None)
@given(peptides, st.integers(0, 3))
def test_scores_by_counting(pairs, tolerance):
    true, pred = zip(*pairs)
    sites, found = [cleavage_site(row) for row in true], [cleavage_site(row) for row in pred]
    right = [s[0] and f[0] and s[1] == f[1] and abs(s[0] - f[0]) <= tolerance for s, f in zip(sites, found)]
    n_true, n_found = sum(s[0] > 0 for s in sites), sum(f[0] > 0 for f in found)
    expected = sum(map(bool, right)) / n_found if n_found else 0
    assert cleavage_precision(true, pred, tolerance=tolerance) == pytest.approx(expected)
    if n_true:
        recall = cleavage_recall(true, pred, tolerance=tolerance)
        assert recall == pytest.approx(sum(map(bool, right)) / n_true)
    # One vector of residues: a right site stands at its true place, a wrong one nowhere near a true one.
    residues = np.zeros((2, 15 * len(pairs) + 2 * len(pairs)))
    spare = 15 * len(pairs)
    for i, ((site, _), (guess, _), ok) in enumerate(zip(sites, found, right)):
        if site:
            residues[0, 15 * i + site - 1] = 1
        if guess:
            residues[1, 15 * i + site - 1 if ok else spare + i] = 1
    used = residues[:, : 15 * len(pairs)]
    wrong = int(residues[1, spare:].sum())
    blank = np.flatnonzero(~used.any(axis=0))[:wrong]
    if len(blank) == wrong:
        used[1, blank] = 1
        expected = matthews_corrcoef(*used) if used.any() else 0
        assert cleavage_mcc(true, pred, tolerance=tolerance) == pytest.approx(expected)


def test_table_by_hand():
    true = np.array(["SP", "SP", "NO_SP", "NO_SP", "TAT", "SP"])
    pred = np.array(["SP", "NO_SP", "NO_SP", "SP", "SP", "SP"])
    labels_true = ["SSSO", "SSSO", "IIII", "IIII", "TTTO", "SSSO"]
    labels_pred = ["SSOO", "IIII", "IIII", "SSSO", "SSSO", "SSSO"]
    kingdoms = ["A", "A", "A", "A", "A", "B"]
    table = signal_peptide_table(true, pred, labels_true, labels_pred, kingdoms=kingdoms)
    assert [(row["kingdom"], row["type"], row["n"]) for row in table] == [
        ("A", "SP", 2),
        ("A", "TAT", 1),
        ("B", "SP", 1),
    ]
    sp = table[0]
    assert sp["mcc1"] == pytest.approx(matthews_corrcoef([1, 1, 0, 0], [1, 0, 0, 1]))
    assert sp["mcc2"] == pytest.approx(matthews_corrcoef([1, 1, 0, 0, 0], [1, 0, 0, 1, 1]))
    assert (sp["precision_0"], sp["recall_0"]) == (0, 0)
    assert (sp["precision_1"], sp["recall_1"]) == (pytest.approx(1 / 3), 0.5)
    assert np.isnan(table[1]["precision_0"])
    assert table[1]["recall_3"] == 0
    assert np.isnan(table[2]["mcc1"])
    assert table[2]["recall_0"] == table[2]["mcc_0"] == 1


def test_a_type_without_sites_has_no_recall():
    """PILIN has none here; the row of SP stays."""
    types, labels = ["SP", "PILIN", "NO_SP"], ["SSOO", "IIII", "IIII"]
    pilin, sp = signal_peptide_table(types, types, labels, labels, tolerances=[0])
    assert np.isnan([pilin["precision_0"], pilin["recall_0"]]).all()
    assert sp["precision_0"] == sp["recall_0"] == 1


def test_table_reads_labels_by_position():
    """A Series keeps its index when rows are chosen from it."""
    labels = pd.Series(["SSSO", "IIII", "SSSO"], index=[2, 0, 1])
    given = (["SP", "NO_SP", "SP"], ["SP", "NO_SP", "SP"])
    assert signal_peptide_table(*given, labels, labels) == signal_peptide_table(
        *given, list(labels), list(labels)
    )


def test_bad_input():
    with pytest.raises(
        ValueError, match="2 true types, 1 predicted types, 2 kingdoms; expected the same number of each"
    ):
        signal_peptide_table(["SP", "SP"], ["SP"])
    with pytest.raises(ValueError, match="1 true labels, 2 predicted labels"):
        signal_peptide_table(["SP", "SP"], ["SP", "SP"], ["SO"], ["SO", "SO"])
    with pytest.raises(ValueError, match=r"'tolerance' parameter .* Got -1"):
        cleavage_precision(["SO"], ["SO"], tolerance=-1)
    with pytest.raises(ValueError, match="no cleavage site"):
        cleavage_recall(["II"], ["SO"])


@pytest.mark.data
def test_every_signal_peptide_of_signalp_has_a_site(data_home):
    with gzip.open(data_home / "signal_peptide" / "signalp6.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    labels, types = [row["labels"] for row in rows], [row["type"] for row in rows]
    assert [cleavage_site(row)[0] > 0 for row in labels] == [kind != "NO_SP" for kind in types]
    table = signal_peptide_table(types, types, labels, labels, kingdoms=[row["kingdom"] for row in rows])
    assert {row["n"] for row in table if row["type"] == "TATLIPO"} == {19, 8, 6}
    assert all(row[f"{name}_0"] == 1 for row in table for name in ("precision", "recall", "mcc"))
