"""Comparisons on the same splits, checked against scikit-learn and the formula of Nadeau and Bengio."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import make_regression
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from plmlearn.baselines import compare
from plmlearn.baselines.comparison import corrected_ttest
from plmlearn.metrics import SCORERS
from plmlearn.model_selection import ClusterKFold, PairKFold

X, y = make_regression(60, 5, noise=20, random_state=0)
MODELS = {"tree": make_pipeline(StandardScaler(), DecisionTreeRegressor()), "ridge": Ridge()}


def test_scores_are_those_of_cross_val_score():
    result = compare(MODELS, X, y, cv=KFold(4, shuffle=True), scoring="r2", random_states=[0, 1])
    for row, seed in enumerate([0, 1]):
        cv = KFold(4, shuffle=True, random_state=seed)
        tree = make_pipeline(StandardScaler(), DecisionTreeRegressor(random_state=seed))
        assert result.scores["tree", "r2"][row] == pytest.approx(
            cross_val_score(tree, X, y, cv=cv, scoring="r2")
        )
        assert result.scores["ridge", "r2"][row] == pytest.approx(
            cross_val_score(Ridge(), X, y, cv=cv, scoring="r2")
        )
    assert MODELS["tree"][-1].random_state is None


def test_rows_follow_the_formula():
    result = compare(MODELS, X, y, cv=5, scoring="r2", confidence=0.9)
    tree, ridge = (result.scores[name, "r2"].ravel() for name in MODELS)
    row = {r["estimator"]: r for r in result.rows}["ridge"]
    error = np.sqrt((1 / 5 + 12 / 48) * ridge.var(ddof=1))
    assert row["mean"] == pytest.approx(ridge.mean())
    assert row["high"] - row["mean"] == pytest.approx(stats.t.ppf(0.95, 4) * error)
    difference = ridge - tree
    statistic = difference.mean() / np.sqrt((1 / 5 + 12 / 48) * difference.var(ddof=1))
    assert row["p_value"] == pytest.approx(2 * stats.t.sf(abs(statistic), 4))
    assert row["n_scores"] == 5
    assert np.isnan(result.rows[0]["p_value"])


def test_without_overlap_it_is_the_paired_t_test():
    first, second = np.random.default_rng(0).normal(size=(2, 9))
    _, p = corrected_ttest(first - second, 0.0)
    assert p == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert corrected_ttest(first - second, 0.25)[1] > p
    assert corrected_ttest(np.zeros(5), 0.25) == (0, 1)


def test_table_metrics_groups_and_reference():
    groups = np.repeat(np.arange(6), 10)
    result = compare(
        {**MODELS, "mean": DummyRegressor()},
        X,
        y,
        cv=GroupKFold(3),
        groups=groups,
        scoring=["r2", "neg_mean_absolute_error"],
        reference="mean",
    )
    assert len(result.rows) == 6
    frame = result.to_frame()
    assert frame.shape == (6, 12)
    assert frame[frame.estimator == "mean"].p_value.isna().all()
    lines = str(result).splitlines()
    assert lines[0].split() == frame.columns.tolist()
    assert len(lines) == 7


def test_a_number_with_groups_keeps_clusters_together():
    groups = np.random.default_rng(0).permutation(np.repeat(np.arange(12), 5))
    for cv in (None, 4):
        found = compare(MODELS, X, y, cv=cv, groups=groups).splits
        expected = ClusterKFold(cv or 5).split(X, y, groups)
        for (train, test), others in zip(found, expected, strict=True):
            assert (train.tolist(), test.tolist()) == tuple(rows.tolist() for rows in others)
            assert not set(groups[train]) & set(groups[test])


def test_splits_from_a_generator_serve_every_seed():
    splits = list(KFold(3).split(X))
    found = compare(MODELS, X, y, cv=(split for split in splits), random_states=[0, 1]).splits
    for split, expected in zip(found, splits * 2, strict=True):
        np.testing.assert_equal(split, expected)


def test_scorers_of_the_package_by_name():
    y = (X[:, 0] > 0).astype(int)
    models = {
        "prior": DummyClassifier(strategy="stratified", random_state=0),
        "tree": DecisionTreeClassifier(),
    }
    named = compare(models, X, y, cv=3, scoring=["macro_aupr", "accuracy"], random_states=[0])
    given = compare(models, X, y, cv=3, scoring={"macro_aupr": SCORERS["macro_aupr"]}, random_states=[0])
    mixed = compare(models, X, y, cv=3, scoring={"area": "macro_aupr"}, random_states=[0])
    one = compare(models, X, y, cv=3, scoring="macro_aupr", random_states=[0])
    assert [row["metric"] for row in named.rows] == ["macro_aupr", "accuracy"] * 2
    for name in models:
        assert (named.scores[name, "macro_aupr"] == given.scores[name, "macro_aupr"]).all()
        assert (named.scores[name, "macro_aupr"] == mixed.scores[name, "area"]).all()
        assert (named.scores[name, "macro_aupr"] == one.scores[name, "macro_aupr"]).all()
    own = compare(models, X, y, cv=3, random_states=[0])
    assert (own.scores["tree", "score"] == named.scores["tree", "accuracy"]).all()


def test_bad_input():
    with pytest.raises(ValueError, match="expected one of the estimators, which are \\['tree', 'ridge'\\]"):
        compare(MODELS, X, y, reference="forest")
    one_split = [(np.arange(40), np.arange(40, 60))]
    with pytest.raises(ValueError, match="2 or more folds"):
        compare(MODELS, X, y, cv=one_split)


def test_sizes_are_those_of_pickles():
    X, y = np.zeros((24, 1)), np.arange(24.0)
    result = compare({"mean": DummyRegressor()}, X, y, cv=3)
    fitted = DummyRegressor().fit(X[:16], y[:16])
    assert result.rows[0]["fitted_mb"] == pytest.approx(len(pickle.dumps(fitted)) / 1e6, rel=0.02)


class Hungry(DummyRegressor):
    """A mean that takes so many megabytes in ``fit`` and in ``predict``, and keeps them."""

    def __init__(self, fit_mb=0, predict_mb=0):
        super().__init__()
        self.fit_mb, self.predict_mb = fit_mb, predict_mb

    def fit(self, X, y):
        self.of_fit_ = np.ones(self.fit_mb * 125_000)
        return super().fit(X, y)

    def predict(self, X):
        self.of_predict_ = np.ones(self.predict_mb * 125_000)
        return super().predict(X)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_peak_memory_is_that_of_fit_and_predictions(n_jobs):
    """In a fresh process: one that has freed much already may give it back, or use it again, meanwhile."""
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_comparison import Hungry, compare, np
models = {{"none": Hungry(), "fit": Hungry(80), "predict": Hungry(0, 160), "both": Hungry(80, 160)}}
result = compare(models, np.zeros((9, 1)), np.arange(9.0), cv=3, n_jobs={n_jobs})
print(*(row["peak_mb"] for row in result.rows))
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    none, fit, predict, both = map(float, done.stdout.split())
    assert 0 <= none < 20
    assert 75 < fit < 100
    assert 155 < predict < 180
    assert 235 < both < 260


class StopsEarly(DummyRegressor):
    """A mean that notes the groups that ``fit`` gets."""

    heard: ClassVar[list] = []

    def __init__(self, early_stopping=True):
        super().__init__()
        self.early_stopping = early_stopping

    def fit(self, X, y, groups=None):
        self.heard.append((np.ravel(X).tolist(), None if groups is None else np.asarray(groups).tolist()))
        return super().fit(X, y)


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: make_pipeline(StandardScaler(), model)])
def test_an_estimator_that_stops_early_gets_the_groups_of_its_training_rows(wrap):
    X, groups = np.arange(12.0).reshape(-1, 1), np.arange(12) // 2
    StopsEarly.heard.clear()
    compare({"early": wrap(StopsEarly())}, X, X[:, 0], cv=GroupKFold(3), groups=groups)
    expected = [groups[train].tolist() for train, _ in GroupKFold(3).split(X, groups=groups)]
    assert [found for _, found in StopsEarly.heard] == expected


def test_other_estimators_and_comparisons_get_no_groups():
    X, groups = np.arange(12.0).reshape(-1, 1), np.arange(12) // 2
    StopsEarly.heard.clear()
    others = {"whole": StopsEarly(early_stopping=False), "mean": DummyRegressor()}
    compare(others, X, X[:, 0], cv=GroupKFold(3), groups=groups)
    compare({"early": StopsEarly()}, X, X[:, 0], cv=3)
    assert [found for _, found in StopsEarly.heard] == [None] * 6


def test_a_mapping_of_clusters_becomes_those_of_both_proteins():
    X = np.array([(f"{a}{i}", f"{a}{i + 1}") for a in "ABCDEF" for i in range(4)])
    clusters = {name: name[0] for name in np.unique(X)}
    StopsEarly.heard.clear()
    compare({"early": StopsEarly()}, X, np.arange(24.0), cv=PairKFold("C3", 3), groups=clusters)
    assert len(StopsEarly.heard) == 3
    for rows, groups in StopsEarly.heard:
        letters = [[first[0], second[0]] for first, second in np.reshape(rows, (-1, 2))]
        pairs = set(zip(np.ravel(letters).tolist(), np.ravel(groups).tolist()))
        assert len(pairs) == len(set(np.ravel(letters))) == len(set(np.ravel(groups)))


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_what_is_inspected_is_kept_fold_by_fold(n_jobs):
    X, y = ["MK", "GS", "AL", "VV", "KK", "LL"], np.array([0, 1, 2, 3, 4, 5.0])
    models = {"mean": DummyRegressor(), "median": DummyRegressor(strategy="median")}
    found = compare(
        models,
        X,
        y,
        cv=KFold(3),
        scoring="neg_mean_squared_error",
        random_states=(0, 1),
        inspect={"median": lambda fitted, X_test: (float(fitted.constant_[0, 0]), list(X_test))},
        n_jobs=n_jobs,
    )
    assert list(found.inspected) == ["median"]
    assert len(found.splits) == 6
    expected = [(float(np.median(y[train])), [X[row] for row in test]) for train, test in found.splits]
    assert found.inspected["median"] == expected
    with pytest.raises(ValueError, match="inspect has 'nobody'; expected some of the estimators"):
        compare(models, X, y, cv=3, inspect={"nobody": len})
