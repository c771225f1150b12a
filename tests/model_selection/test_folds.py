"""Folds that suit the data: those that the splitters give, and what they leak."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import KFold, StratifiedKFold

from plmlearn.datasets import make_mutational_landscape, make_protein_classification, make_protein_pairs
from plmlearn.model_selection import (
    ClusterKFold,
    PairKFold,
    PairWarning,
    cluster_sequences,
    make_folds,
    pair_leakage,
)
from plmlearn.sequences import SequenceError
from plmlearn.similarity import find_nearest

X, y = make_protein_classification(24, median_length=40, max_length=50, random_state=0)
FAMILIES = np.arange(24) // 2


def same(splits, expected):
    pairs = list(zip(splits, expected, strict=True))
    return all(np.array_equal(a, b) for left, right in pairs for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("container", [list, np.array, pd.Series])
def test_structural_states_in_turn_with_residues_are_left_out(container):
    """Once they were read as residues: other proteins with like states were in one cluster."""
    random = np.random.default_rng(0)
    X = ["".join(random.choice(list("ACDEFGHIKLMNPQRSTVWY"), 40)) for _ in range(4)] * 2
    states = ["".join(random.choice(list("acdfhl#"), 40)) for _ in X]
    given = container(["".join(a + b for a, b in zip(*row)) for row in zip(X, states)])
    np.testing.assert_array_equal(cluster_sequences(given, method="exact"), np.tile(np.arange(4), 2))
    assert find_nearest(given, X[:4], method="exact").identity.tolist() == [1.0] * 8
    folds, expected = (make_folds(each, n_splits=2, method="exact") for each in (given, X))
    np.testing.assert_equal(folds.splits, expected.splits)
    assert max(report.share_above(0.3) for report in folds.leakage(given)) == 0
    with pytest.raises(SequenceError, match="Sequence 1 has '#'"):
        cluster_sequences(["MdEv", "MdE#v"])


def test_proteins_are_split_by_cluster():
    folds = make_folds(X, y, 3, method="exact")
    clusters = cluster_sequences(X, method="exact")
    assert same(folds.splits, ClusterKFold(3).split(X, y, clusters))
    assert np.array_equal(folds.groups, clusters)
    assert str(folds) == f"3 folds of {len(set(clusters))} clusters at 30% identity"


def test_groups_of_your_own_and_none():
    assert same(make_folds(X, y, 3, groups=FAMILIES).splits, ClusterKFold(3).split(X, y, FAMILIES))
    cv = StratifiedKFold(3, shuffle=True, random_state=1)
    assert same(make_folds(X, y, 3, groups=None, random_state=1).splits, cv.split(X, y))
    with pytest.raises(ValueError, match="groups is 'family'; expected 'clusters', None or an array"):
        make_folds(X, y, groups="family")


def test_variants_are_split_at_random():
    variants, fitness = make_mutational_landscape(30, random_state=0)
    folds = make_folds(variants, fitness, 3)
    assert same(folds.splits, KFold(3, shuffle=True, random_state=0).split(variants))
    assert folds.groups is None
    assert all(report.share_above(0.5) == 1 for report in folds.leakage(variants))


@pytest.mark.filterwarnings("ignore::plmlearn.model_selection.PairWarning")
def test_pairs_share_no_protein():
    pairs, labels = make_protein_pairs(60, n_proteins=30, max_length=40, random_state=0)
    folds = make_folds(pairs, labels, 2, method="exact")
    proteins = np.unique(pairs)
    clusters = dict(zip(proteins, cluster_sequences(proteins, method="exact")))
    assert same(folds.splits, PairKFold("C3", 2, clusters=clusters, random_state=0).split(pairs, labels))
    assert folds.groups.shape == (60, 2)
    train, test = folds.splits[0]
    expected = pair_leakage(pairs[train], pairs[test], labels[train], labels[test])
    assert folds.leakage(pairs, labels)[0] == expected
    assert folds.leakage(pairs)[0].degree_auroc is None
    with pytest.warns(PairWarning):
        assert "by single proteins" in str(make_folds(pairs, labels, 2, groups=None))


def test_leakage_is_that_of_each_fold(monkeypatch):
    monkeypatch.setattr("plmlearn.similarity.search.find_mmseqs", lambda: None)
    proteins = np.array([*X[:5], X[0]], dtype=object)
    found = make_folds(proteins, n_splits=3, groups=[0, 0, 1, 1, 2, 2]).leakage(proteins)
    assert sorted(report.n_duplicates for report in found) == [0, 1, 1]
    assert sorted(len(report.identity) for report in found) == [2, 2, 2]
