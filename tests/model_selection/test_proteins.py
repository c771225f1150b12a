"""Clusters and the splits that rest on them."""

import csv
import gzip
import warnings

import numpy as np
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from plmlearn.model_selection import (
    ClusterKFold,
    ClusterShuffleSplit,
    MutationOrderSplit,
    cluster_sequences,
    leakage_report,
)
from plmlearn.similarity import find_mmseqs

grouped = st.lists(st.integers(0, 12), min_size=20, max_size=80).filter(lambda g: len(set(g)) > 5)


def families(n_families=8, n_members=3, length=80, seed=0):
    """Random proteins with close relatives, and the family of each."""
    random = np.random.default_rng(seed)
    letters, out = np.array(list("ACDEFGHIKLMNPQRSTVWY")), []
    for _ in range(n_families):
        parent = random.choice(letters, length)
        for _ in range(n_members):
            child = np.where(random.random(length) < 0.7, parent, random.choice(letters, length))
            out.append("".join(child))
    order = random.permutation(len(out))
    return [out[i] for i in order], np.repeat(np.arange(n_families), n_members)[order]


def same_partition(first, second):
    return len(set(zip(first, second))) == len(set(first)) == len(set(second))


@pytest.mark.parametrize("method", ["exact", "mmseqs"])
def test_clusters_are_the_families(method):
    if method == "mmseqs" and find_mmseqs() is None:
        pytest.skip("MMseqs2 is not installed")
    X, family = families()
    found = cluster_sequences(X, method=method)
    assert same_partition(found, family)
    assert found.tolist() == [sorted(set(found.tolist()), key=found.tolist().index).index(c) for c in found]


def test_no_similar_proteins_in_different_clusters():
    X, _ = families(5, 6, 60, seed=1)
    for min_identity in (0.4, 0.6, 0.8):
        clusters = cluster_sequences(X, min_identity, method="exact")
        for cluster in set(clusters):
            inside = clusters == cluster
            if inside.all():
                continue
            X_in, X_out = np.array(X)[inside], np.array(X)[~inside]
            report = leakage_report(X_out, X_in, method="exact")
            assert report.share_above(min_identity, coverage=0.8) == 0


def test_duplicates_share_a_cluster():
    assert cluster_sequences(["MKV", "GGG", "mkv*"], method="exact")[[0, 2]].tolist() == [0, 0]


@pytest.mark.parametrize("name", ["min_identity", "coverage"])
def test_shares_in_percent_are_refused(name):
    with pytest.raises(ValueError, match=f"'{name}' parameter .* Got 30"):
        cluster_sequences(["MKV"], **{name: 30})


@pytest.mark.skipif(find_mmseqs() is None, reason="MMseqs2 is not installed")
def test_a_large_family_is_one_cluster():
    """Two branches of 1,500 variants, 62.5 % identical, once two clusters: none saw the other branch."""
    random, letters = np.random.default_rng(0), np.array(list("ACDEFGHIKLMNPQRSTVWY"))
    first = random.choice(letters, 80)
    second = np.where(np.arange(80) % 8 < 3, letters[(np.searchsorted(letters, first) + 7) % 20], first)
    branches = np.repeat([first, second], 1500, axis=0)
    changed = np.where(random.random(branches.shape) < 0.05, random.choice(letters, branches.shape), branches)
    strangers = random.choice(letters, (3, 80))
    X = ["".join(row) for row in [*changed, *strangers]]
    assert np.mean(first == second) == 0.625
    assert np.bincount(cluster_sequences(X, 0.3, method="mmseqs")).tolist() == [3000, 1, 1, 1]


@settings(max_examples=60, deadline=None)
@given(grouped, st.integers(2, 5), st.booleans())
def test_kfold_shares_no_cluster_and_tests_each_protein_once(groups, n_splits, labelled):
    groups = np.array(groups)
    y = np.resize([0, 1, 1], len(groups)) if labelled else None
    cv, tested = ClusterKFold(n_splits, shuffle=True, random_state=0), []
    for train, test in cv.split(groups, y, groups):
        assert not set(groups[train]) & set(groups[test])
        assert sorted([*train, *test]) == list(range(len(groups)))
        tested.extend(test)
    assert sorted(tested) == list(range(len(groups)))


@settings(max_examples=60, deadline=None)
@given(grouped, st.sampled_from([0.1, 0.25, 0.5]), st.integers(0, 99))
def test_shuffle_split_shares_no_cluster_and_meets_the_size(groups, test_size, seed):
    groups = np.array(groups)
    for train, test in ClusterShuffleSplit(3, test_size=test_size, random_state=seed).split(
        groups, groups=groups
    ):
        assert not set(groups[train]) & set(groups[test])
        assert sorted([*train, *test]) == list(range(len(groups)))
        assert len(test) > 0
        assert abs(len(test) - test_size * len(groups)) <= np.bincount(groups).max()


def test_shuffle_split_is_stratified():
    groups = np.arange(400) // 2
    y = (groups % 10 == 0).astype(int)
    for train, test in ClusterShuffleSplit(5, test_size=0.25, random_state=0).split(groups, y, groups):
        assert y[test].mean() == pytest.approx(0.1, abs=0.011)
        assert y[train].mean() == pytest.approx(0.1, abs=0.011)


@pytest.mark.parametrize("convert", [np.asarray, list, np.float64])
def test_whole_numbers_that_measure_are_no_classes(convert):
    """Numbers of up to 20 kinds are classes, for ``target_kind`` too; more of them change nothing."""
    groups, counts = np.arange(60) // 2, np.resize(np.arange(30), 60)
    for cv in (ClusterKFold(5), ClusterShuffleSplit(3, random_state=0)):
        found, plain = (list(cv.split(groups, y, groups)) for y in (convert(counts), None))
        for split, expected in zip(found, plain, strict=True):
            for rows, others in zip(split, expected):
                np.testing.assert_array_equal(rows, others)


def test_kfold_is_stratified():
    groups = np.arange(400) // 2
    y = (groups % 10 == 0).astype(int)
    shares = [y[test].mean() for _, test in ClusterKFold(5).split(groups, y, groups)]
    assert shares == pytest.approx([0.1] * 5)


@pytest.mark.parametrize(
    "y", [np.linspace(0, 1, 24), np.eye(3)[np.arange(24) % 3], ["HHE"] * 12 + ["EEC"] * 12]
)
def test_any_target_can_be_split(y):
    groups = np.arange(24) // 3
    for cv in (ClusterKFold(4), ClusterShuffleSplit(4, random_state=0)):
        assert len(list(cv.split(groups, y, groups))) == 4


@pytest.mark.parametrize("test_size", [0.01, 0.2, 0.8, 0.97])
@pytest.mark.parametrize("sizes", [[5, 5], [60, 1], [1, 60], [20, 20, 20], [3, 1, 1]])
def test_neither_side_is_ever_empty(sizes, test_size):
    """Two equal clusters at test_size=0.8 once gave an empty training set."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    for y in (None, groups % 2):
        cv = ClusterShuffleSplit(5, test_size=test_size, random_state=0)
        for train, test in cv.split(groups, y, groups):
            assert len(train) > 0
            assert len(test) > 0


@pytest.mark.filterwarnings("ignore:The least populated class in y:UserWarning")
def test_no_fold_is_empty_where_stratifying_would_leave_one_so():
    groups = np.array([3, 4, 4, 4, 4, 4, 0, 5, 5, 4, 3, 3, 0, 0, 5, 4, 3, 3, 5, 1, 0, 5, 3, 2, 3, 3])
    y = np.array([2, 2, 2, 2, 2, 2, 0, 0, 0, 2, 2, 2, 0, 0, 0, 2, 2, 2, 0, 0, 0, 0, 2, 1, 2, 2])
    stratified = StratifiedGroupKFold(6).split(groups, y, groups)
    assert min(len(test) for _, test in stratified) == 0
    folds = [test.tolist() for _, test in ClusterKFold(6).split(groups, y, groups)]
    assert sorted(map(len, folds)) == sorted(np.bincount(groups))


def test_splitters_cluster_by_themselves():
    X, family = families()
    for cv in (ClusterKFold(4, method="exact"), ClusterShuffleSplit(2, method="exact", random_state=0)):
        for train, test in cv.split(X):
            assert not set(family[train]) & set(family[test])


def test_too_few_clusters():
    with pytest.raises(ValueError, match="4 proteins form 2 clusters, too few for 3 parts"):
        list(ClusterKFold(3).split(np.zeros(4), groups=[0, 0, 1, 1]))
    with pytest.raises(ValueError, match="4 proteins form 1 clusters, too few for 2 parts"):
        list(ClusterShuffleSplit().split(np.zeros(4), groups=[0, 0, 0, 0]))


def test_bad_parameters():
    with pytest.raises(ValueError, match=r"groups has shape \(2,\); expected .* \(4,\)"):
        list(ClusterKFold(2).split(np.zeros(4), groups=[0, 1]))
    with pytest.raises(ValueError, match="groups is missing in rows 2"):
        list(ClusterShuffleSplit(2).split(np.zeros(4), groups=["a", "b", None, "b"]))
    with pytest.raises(ValueError, match=r"'test_size' parameter .* Got 3"):
        list(ClusterShuffleSplit(test_size=3).split(np.zeros(4), groups=[0, 0, 1, 1]))


def test_repr_and_grid_search():
    assert repr(ClusterKFold(3)).startswith("ClusterKFold(coverage=0.8, method='auto'")
    assert ClusterShuffleSplit(3).get_n_splits() == 3
    X, family = families()
    model = make_pipeline(CountVectorizer(analyzer="char"), LogisticRegression())
    search = GridSearchCV(model, {"logisticregression__C": [0.1, 1]}, cv=ClusterKFold(4))
    search.fit(X, family % 2, groups=cluster_sequences(X, method="exact"))
    assert search.n_splits_ == 4
    own = GridSearchCV(model, {"logisticregression__C": [0.1, 1]}, cv=ClusterKFold(4, method="exact"))
    assert own.fit(X, family % 2).cv_results_["mean_test_score"] == pytest.approx(
        search.cv_results_["mean_test_score"]
    )


def test_groups_are_routed():
    groups = np.arange(24) // 3
    with sklearn.config_context(enable_metadata_routing=True):
        scores = cross_val_score(
            DummyClassifier(), np.zeros((24, 1)), groups % 2, cv=ClusterKFold(4), params={"groups": groups}
        )
    assert len(scores) == 4


def test_mutation_orders_by_hand():
    X = ["MKVL", "MKVA", "MGVA", "AGVA", "mkal"]
    ((train, test),) = MutationOrderSplit("MKVL", 1).split(X)
    assert train.tolist() == [0, 1, 4]
    assert test.tolist() == [2, 3]
    assert MutationOrderSplit("MKVL").get_n_splits(X) == 1


def test_mutation_orders_that_cannot_be_split():
    with pytest.raises(ValueError, match=r"at most 3 mutations .*have 0 to 1"):
        list(MutationOrderSplit("MKVL").split(["MKVL", "MKVA"]))
    with pytest.raises(ValueError, match=r"1 of 2 variants \(rows 1\) differ in length"):
        list(MutationOrderSplit("MKVL").split(["MKVL", "MKV"]))


@pytest.mark.data
@pytest.mark.parametrize("name, n_mutations", [("one", 1), ("two", 2), ("three", 3)])
def test_mutation_orders_are_those_of_flip(data_home, name, n_mutations):
    with gzip.open(data_home / "gb1" / "gb1.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    wild_type = rows[0]["sequence"]
    ((train, test),) = MutationOrderSplit(wild_type, n_mutations).split([row["sequence"] for row in rows])
    sides = np.array([row[f"{name}_vs_rest"] for row in rows])
    assert set(sides[train]) == {"train", "valid"}
    assert set(sides[test]) == {"test"}


def test_splitting_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(ClusterKFold(2).split(np.zeros(4), [0, 1, 0, 1], [0, 1, 2, 3]))
