"""Pair splits, negatives and pair leakage: set arithmetic on random graphs."""

import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score

from plmlearn.baselines import PairDegreeClassifier
from plmlearn.model_selection import PairKFold, PairWarning, make_negatives, pair_leakage

seeds = st.integers(0, 10**6)


def random_graph(seed, n_proteins=40, n_pairs=200, repeats=False):
    """Different pairs of proteins, hubs among them, with labels."""
    random = np.random.default_rng(seed)
    weights = random.pareto(2, n_proteins) + 0.2
    weights /= weights.sum()
    pairs = [tuple(random.choice(n_proteins, 2, p=weights)) for _ in range(n_pairs)]
    if not repeats:
        pairs = sorted({tuple(sorted(p)) for p in pairs if p[0] != p[1]})
    names = np.array([f"P{i:03d}" for i in range(n_proteins)], dtype=object)
    X = names[np.array(pairs)]
    X = X[random.permutation(len(X))]
    return X, random.integers(0, 2, len(X))


def folds(cv, X, y=None, groups=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PairWarning)
        return list(cv.split(X, y, groups))


@pytest.mark.parametrize("seed", range(100))
def test_each_level_by_set_arithmetic(seed):
    X, y = random_graph(seed)
    shared = {"C1": {2}, "C2": {1}, "C3": {0}}
    for level, allowed in shared.items():
        tested = []
        for train, test in folds(PairKFold(level, 3, random_state=seed), X, y):
            seen = set(X[train].ravel())
            assert {len(seen & {a, b}) for a, b in X[test]} <= allowed
            assert not set(train) & set(test)
            if level == "C3":
                held_out = set(X[test].ravel())
                rest = np.setdiff1d(np.arange(len(X)), [*train, *test])
                assert all(len(held_out & set(X[row])) < 2 for row in rest)
            tested.extend(test)
        if level != "C2":
            assert len(tested) == len(set(tested))


@pytest.mark.parametrize("seed", range(20))
def test_c3_shares_no_cluster(seed):
    X, _ = random_graph(seed)
    clusters = {name: int(name[1:]) // 2 for name in np.unique(X)}
    by_row = np.vectorize(clusters.get)(X)
    mapped = folds(PairKFold("C3", 3, clusters=clusters, random_state=0), X)
    for train, test in mapped:
        assert not set(by_row[train].ravel()) & set(by_row[test].ravel())
    for (train, test), (train_rows, test_rows) in zip(
        mapped, folds(PairKFold("C3", 3, random_state=0), X, groups=by_row)
    ):
        assert train.tolist() == train_rows.tolist()
        assert test.tolist() == test_rows.tolist()


@pytest.mark.parametrize("level", ["C1", "C2", "C3"])
@settings(max_examples=20, deadline=None)
@given(seed=seeds)
@example(seed=9321)  # once 66 to 93 pairs at C2
def test_folds_are_balanced(level, seed):
    X, _ = random_graph(seed, n_proteins=60, n_pairs=1500)
    sizes = [len(test) for _, test in folds(PairKFold(level, 4, random_state=0), X)]
    # Within what dealing whole proteins allows: a tenth of the mean at C2, a few pairs at C1 and C3.
    slack = 0.25 * np.mean(sizes) if level == "C2" else max(5, 0.1 * np.mean(sizes))
    assert max(sizes) - min(sizes) <= slack


def test_components_that_fit_lose_no_pair():
    X = np.array([(f"A{i}", f"B{i}") for i in range(30)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        splits = list(PairKFold("C3", 5, random_state=0).split(X))
    assert [len(test) for _, test in splits] == [6] * 5
    assert all(len(train) == 24 for train, _ in splits)


def test_exclusions_are_counted():
    X, _ = random_graph(0)
    cv = PairKFold("C3", 3, random_state=0)
    splits = folds(cv, X)
    left_out = [len(X) - len(train) - len(test) for train, test in splits]
    never = len(X) - sum(len(test) for _, test in splits)
    with pytest.warns(PairWarning) as said:
        list(cv.split(X))
    (message,) = [str(warning.message) for warning in said]
    assert f"{min(left_out)} to {max(left_out)} of {len(X)} pairs are left out" in message
    assert f"{never} of {len(X)} pairs are in no test set" in message


def test_repeats_contradictions_and_self_pairs_are_counted_and_kept():
    X = [("A", "B"), ("b ", "A"), ("A", "B"), ("C", "C"), ("D", "E"), ("E", "F")]
    y = [1, 0, 1, 1, 0, 0]
    with pytest.warns(PairWarning) as said:
        splits = list(PairKFold("C3", 2, random_state=0).split(X, y))
    message = str(said[0].message)
    assert "1 pairs join a protein to itself; 2 pairs repeat another one" in message
    assert "1 of these contradict its label" in message
    assert sorted(np.concatenate([test for _, test in splits])) == list(range(6))
    for level in ("C1", "C2", "C3"):
        X, y = random_graph(1, n_proteins=8, n_pairs=100, repeats=True)
        number = [tuple(sorted(pair)) for pair in X]
        for train, test in folds(PairKFold(level, 2, random_state=0), X, y):
            assert not {number[row] for row in train} & {number[row] for row in test}


def test_c1_is_stratified():
    X, _ = random_graph(0, n_proteins=30, n_pairs=2000)
    y = (np.arange(len(X)) % 10 == 0).astype(int)
    for _, test in folds(PairKFold("C1", 4, random_state=0), X, y):
        assert y[test].mean() == pytest.approx(0.1, abs=0.02)


def test_same_seed_same_folds_and_frames_are_pairs():
    X, y = random_graph(3)
    first = folds(PairKFold("C3", 3, random_state=7), X, y)
    frame = pd.DataFrame(X, columns=["a", "b"])
    tuples = [tuple(row) for row in X]
    for other in (frame, tuples, X.astype("U8")):
        for (train, test), (same_train, same_test) in zip(
            first, folds(PairKFold("C3", 3, random_state=7), other)
        ):
            assert train.tolist() == same_train.tolist()
            assert test.tolist() == same_test.tolist()


@pytest.mark.parametrize(
    "X, message",
    [
        ((["A", "B", "C"], ["D", "E", "F"]), "two lists of proteins"),
        (np.full((4, 3), "A"), r"shape \(4, 3\); expected \(n_pairs, 2\)"),
        ([("A", "B"), ("A", "B", "C")], "Pair 1: has 3 entries; expected two proteins"),
        (["AB", "CD"], "Pair 0: is of type str; expected a tuple of two proteins.\nPair 1: "),
        ((pd.Series(["A", "B", "C"]), pd.Series(["D", "E", "F"])), "two lists of proteins"),
        ([("A", None), ("B", "C")], r"^Pair 0: second protein is missing \(None\)\. Give it"),
        ([("A", "B"), ("B", "C"), (" ", "C")], r"^Pair 2: first protein is missing \(' '\)"),
        (
            np.array([("", "B"), ("B", "")]),
            r"^Pair 0: first protein is missing \(''\).*\nPair 1: second protein is missing",
        ),
        (pd.DataFrame([("A", "B"), ("B", np.nan)]), r"^Pair 1: second protein is missing \(nan\)"),
        (pd.DataFrame([("A", "B"), ("B", None)], dtype="string"), r"^Pair 1: second protein is missing \("),
        ([("", "B")] * 12, r"\nPair 9: first .*\n\.\.\. and 2 more; the attribute `rows`"),
        (np.empty((0, 2)), "found 0 pairs"),
    ],
)
def test_bad_pairs(X, message):
    good, y = [("A", "B"), ("C", "D")], [0, 1]
    labels = np.resize(y, len(X))
    for use in (
        lambda: list(PairKFold().split(X)),
        lambda: make_negatives(X),
        lambda: pair_leakage(X, good),
        lambda: pair_leakage(good, X),
        lambda: PairDegreeClassifier().fit(X, labels),
        lambda: PairDegreeClassifier().fit(good, y).predict(X),
    ):
        with pytest.raises(ValueError, match=message):
            use()


def test_bad_parameters():
    X, y = random_graph(0)
    with pytest.raises(ValueError, match=r"'level' parameter .* Got 'C4'"):
        list(PairKFold("C4").split(X))
    with pytest.raises(ValueError, match=r"'n_splits' parameter .* Got 1"):
        list(PairKFold(n_splits=1).split(X))
    with pytest.raises(ValueError, match="clusters lacks"):
        list(PairKFold(clusters={"P000": 1}).split(X))
    with pytest.raises(ValueError, match="clusters lacks 1 of"):
        list(PairKFold(clusters={**dict.fromkeys(np.unique(X), 1), X[0, 0]: None}).split(X))
    groups = np.full(X.shape, "1", dtype=object)
    groups[4, 1] = np.nan
    with pytest.raises(ValueError, match="groups is missing in rows 4"):
        list(PairKFold().split(X, groups=groups))
    with pytest.raises(ValueError, match=r"groups has shape \(3,\)"):
        list(PairKFold().split(X, groups=[1, 2, 3]))
    with pytest.raises(ValueError, match="y has 2 labels"):
        list(PairKFold("C1").split(X, y[:2]))


@pytest.mark.parametrize("level", ["C1", "C2", "C3"])
def test_graphs_that_cannot_be_split(level):
    star = [("HUB", f"P{i}") for i in range(8)]
    single = [(f"A{i}", f"B{i}") for i in range(8)]
    with pytest.raises(ValueError, match=f"cannot be split into 5 folds at level {level}"):
        list(PairKFold(level, random_state=0).split(star if level == "C3" else single))


class Threshold(ClassifierMixin, BaseEstimator):
    def __init__(self, bias=0):
        self.bias = bias

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.bias)


def test_grid_search_and_routing():
    X, y = random_graph(0)
    clusters = {name: int(name[1:]) // 2 for name in np.unique(X)}
    by_row = np.vectorize(clusters.get)(X)
    search = GridSearchCV(Threshold(), {"bias": [0, 1]}, cv=PairKFold("C3", 3, random_state=0))
    with pytest.warns(PairWarning):
        search.fit(X, y)
    assert search.n_splits_ == 3
    assert repr(PairKFold("C2")) == "PairKFold(clusters=None, level='C2', n_splits=5, random_state=None)"
    with sklearn.config_context(enable_metadata_routing=True), pytest.warns(PairWarning):
        scores = cross_val_score(
            Threshold(), X, y, cv=PairKFold("C3", 3, random_state=0), params={"groups": by_row}
        )
    expected = [
        np.mean(y[t] == 0) for _, t in folds(PairKFold("C3", 3, clusters=clusters, random_state=0), X)
    ]
    assert scores.tolist() == expected


# ---- negatives


@pytest.mark.parametrize("method", ["random", "degree"])
@settings(max_examples=30, deadline=None)
@given(seed=seeds, share=st.floats(0.1, 1))
def test_negatives_are_new_different_and_no_selves(method, seed, share):
    X, _ = random_graph(seed, n_proteins=20, n_pairs=60)
    size = len(np.unique(X))
    n = max(1, int(share * (size * (size - 1) // 2 - len(X))))
    negatives = make_negatives(X, n, method=method, random_state=seed)
    sets = {frozenset(pair) for pair in negatives}
    assert negatives.shape == (n, 2)
    assert len(sets) == n
    assert all(len(pair) == 2 for pair in sets)
    assert not sets & {frozenset(pair) for pair in X}
    assert set(negatives.ravel()) <= set(X.ravel())


@pytest.mark.parametrize("method", ["random", "degree"])
def test_drawing_and_listing_obey_the_same_law(method, monkeypatch):
    X, _ = random_graph(5, n_proteins=15, n_pairs=40)
    names = np.unique(X)

    def frequencies():
        drawn = [make_negatives(X, 5, method=method, random_state=seed) for seed in range(400)]
        return np.array([(np.array(drawn) == name).mean() for name in names])

    listed = frequencies()
    monkeypatch.setattr("plmlearn.model_selection.negatives._ENUMERATED", 0)
    assert frequencies() == pytest.approx(listed, abs=0.02)


def test_degree_negatives_follow_degree():
    X, _ = random_graph(2, n_proteins=300, n_pairs=1500)
    names = np.unique(X)
    degree = [(name == X).sum() for name in names]

    def correlation(method):
        negatives = make_negatives(X, method=method, random_state=0)
        return np.corrcoef(degree, [(negatives == name).sum() for name in names])[0, 1]

    assert correlation("degree") > 0.8
    assert abs(correlation("random")) < 0.3


def test_too_many_negatives():
    with pytest.raises(ValueError, match="3 proteins have 1 pairs that are not positive; 2 were asked for"):
        make_negatives([("A", "B"), ("B", "C")])
    with pytest.raises(ValueError, match=r"'method' parameter .* Got 'hard'"):
        make_negatives([("A", "B"), ("B", "C")], method="hard")


# ---- leakage


@settings(deadline=None)
@given(seeds, seeds)
def test_classes_of_test_pairs_by_set_arithmetic(seed, other):
    train, _ = random_graph(seed, n_pairs=30)
    test, _ = random_graph(other, n_pairs=30)
    report = pair_leakage(train, test)
    seen = set(train.ravel())
    shared = [(a in seen) + (b in seen) for a, b in test]
    assert [report.share_c1, report.share_c2, report.share_c3] == [
        np.mean(np.equal(shared, k)) for k in (2, 1, 0)
    ]
    pairs = {frozenset(pair) for pair in train}
    assert report.n_repeated == sum(frozenset(pair) in pairs for pair in test)


def test_classes_by_cluster():
    clusters = {name + number: name for name in "ABC" for number in "12"}
    report = pair_leakage([("A1", "B1")], [("A2", "B2"), ("A2", "C1")], clusters=clusters)
    assert (report.share_c1, report.share_c2, report.share_c3) == (0.5, 0.5, 0)


def test_degree_alone():
    hubs = [("H", f"P{i}") for i in range(10)]
    rest = [(f"P{i}", f"P{i + 1}") for i in range(9)]
    train, y_train = hubs[:5] + rest[:5], [1] * 5 + [0] * 5
    test, y_test = hubs[5:] + rest[5:], [1] * 5 + [0] * 4
    report = pair_leakage(train, test, y_train, y_test)
    assert report.degree_auroc == 1
    assert report.degree_aupr == 1
    assert report.degree_bias > 3
    assert "degree alone: AUROC 1.000, AUPR 1.000" in str(report)


def test_degree_scores_by_hand():
    train, y_train = [("A", "B"), ("A", "C"), ("B", "C")], [1, 1, 0]
    test, y_test = [("A", "D"), ("C", "B"), ("B", "D")], [1, 0, 0]
    prior = 2 / 3
    logit = {"A": (2, 0), "B": (1, 1), "C": (1, 1), "D": (0, 0)}
    logit = {name: np.log((p + prior) / (n + 1 - prior)) for name, (p, n) in logit.items()}
    scores = [logit[a] + logit[b] for a, b in test]
    report = pair_leakage(train, test, y_train, y_test)
    assert report.degree_auroc == roc_auc_score(y_test, scores)
    assert report.degree_aupr == average_precision_score(y_test, scores)
    assert report.degree_bias == (2 / 2) / np.mean([2, 1])


def test_leakage_wants_two_labels():
    with pytest.raises(ValueError, match=r"y_test has the values \[1\]; expected both 0 and 1"):
        pair_leakage([("A", "B"), ("A", "C")], [("A", "D")], [0, 1], [1])
