"""What there is to predict, told from the data."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from plmlearn.sequences import target_kind
from plmlearn.sequences.kinds import are_pairs

SEQUENCES = ["MKV", "GSHM", "AA*", "M K V L"]


@pytest.mark.parametrize(
    "y, kind",
    [
        (["in", "out", "in", "in"], "labels"),
        ([True, False, True, True], "labels"),
        ([1, 2, 1, 3], "labels"),
        ([0.0, 1.0, np.nan, 1.0], "labels"),
        ([0.5, 1.0, 2.0, 3.0], "numbers"),
        ([0.5, None, 2.0, 3.0], "numbers"),
        (pd.Series([0.5, pd.NA, 2.0, 3.0], dtype="Float64"), "numbers"),
        ([0, None, 1, 1], "labels"),
        (np.array([[0, 1], [1, 1], [0, 0], [1, 0]]), "labels"),
        (np.array([[0, 2], [1, 1], [0, 0], [1, 0]]), "numbers"),
        (["HHH", "CCEE", "HE", "HHHH"], "residue_labels"),
        (["HHH", "CCEE", "HE", "H"], "residue_labels"),  # the last one is for the estimator to refuse
        (["HHH", "H", "H", "H"], "labels"),
        (["HHH", None, "HE", "HHHH"], "residue_labels"),
        ([[0.5, 1, 2], [1.0, 2, 3, 4], [0.1, np.nan], [1, 2, 3, 4]], "residue_numbers"),
        ([[0.5, None, 2], [1.0, 2, 3, 4], [0.1, None], [1, 2, 3, 4]], "residue_numbers"),
        ([[0, 1, 0], [1, 1, 0, 0], [0, 1], [0, 0, 0, 1]], "residue_labels"),
        (pd.Series([0.5, 1.0, 2.0, 3.0]), "numbers"),
        (pl.Series([0.5, 1.0, 2.0, 3.0]), "numbers"),
        (pd.Series([0.5, 1.0, 2.0, 3.0], dtype="Float64"), "numbers"),
        (np.array([0.5, 1, 2, 3], dtype=object), "numbers"),
        (pd.DataFrame({"y": [0.5, 1, 2, 3]}), "numbers"),
        (pd.Series([True, False, True, True]), "labels"),
        (np.array([["in"], ["out"], ["in"], ["in"]]), "labels"),
        (pd.DataFrame({"y": ["in", "out", "in", "in"]}), "labels"),
        (np.array([[1], [2], [1], [3]]), "labels"),
        (pd.DataFrame({"y": ["HHH", "CCEE", "HE", "HHHH"]}), "residue_labels"),
    ],
)
def test_kind(y, kind):
    assert target_kind(SEQUENCES, y) == kind


def test_many_whole_numbers_are_measurements():
    X = ["MKV"] * 21
    assert target_kind(X, [*range(20), 0]) == "labels"
    for y in (list(range(21)), pd.Series(range(21)), np.arange(21).astype(object)):
        assert target_kind(X, y) == "numbers"


def test_names_of_classes_may_be_as_long_as_peptides():
    """Nine residues, and nine letters in "nonbinder"."""
    assert target_kind(["SIINFEKLM"] * 40, ["nonbinder"] * 39 + ["binder"]) == "labels"


def test_pairs():
    pairs = [("MKV", "GS"), ("AA", "MK")]
    assert all(are_pairs(X) for X in (pairs, np.array(pairs, dtype=object), pd.DataFrame(pairs)))
    assert not any(are_pairs(X) for X in (SEQUENCES, np.array(SEQUENCES), pd.Series(SEQUENCES), []))
    assert target_kind(pairs, ["ab", "cd"]) == "labels"
