"""The nearest training protein decides."""

import csv
import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from plmlearn.baselines import HomologyClassifier, HomologyRegressor


def variants(random, n, length=6):
    return ["".join(row) for row in random.choice(list("ACD"), (n, length), p=[0.8, 0.1, 0.1])]


@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_equals_a_loop_over_all_training_variants(seed):
    random = np.random.default_rng(seed)
    X, X_test, y = variants(random, 12), variants(random, 5), random.normal(size=12)
    distances = np.array([[sum(a != b for a, b in zip(t, x)) for x in X] for t in X_test])
    nearest = distances == distances.min(axis=1, keepdims=True)
    averaged = HomologyRegressor(method="hamming").fit(X, y).predict(X_test)
    first = HomologyRegressor(method="hamming", ties="first").fit(X, y).predict(X_test)
    assert averaged == pytest.approx(np.array([y[row].mean() for row in nearest]))
    assert first == pytest.approx(y[nearest.argmax(axis=1)])
    classes = (y > 0).astype(int)
    proba = HomologyClassifier(method="hamming").fit(X, classes).predict_proba(X_test)
    if len(set(classes)) == 2:
        assert proba[:, 1] == pytest.approx(np.array([classes[row].mean() for row in nearest]))


def test_strangers_get_the_mean_and_are_counted():
    random = np.random.default_rng(0)
    letters = list("ACDEFGHIKLMNPQRSTVWY")
    first, second, stranger = ("".join(random.choice(letters, size)) for size in (60, 70, 65))
    regressor = HomologyRegressor(method="exact").fit([first, second], [1.0, 4.0])
    with pytest.warns(UserWarning, match="1 of 3 sequences resemble no training sequence"):
        assert regressor.predict([stranger, second[:50], first]).tolist() == [2.5, 4, 1]
    classifier = HomologyClassifier(method="exact").fit([first, second], ["a", "b"])
    with pytest.warns(UserWarning, match="1 of 1"):
        assert classifier.predict_proba([stranger]).tolist() == [[0.5, 0.5]]


def test_several_labels():
    X, y = ["MKVLA", "MKVLV", "GGVGG"], np.array([[1, 0, 1], [1, 0, 0], [0, 1, 0]])
    classifier = HomologyClassifier().fit(X, y)
    assert classifier.predict(["MKVLT", "GGVGT"]).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert classifier.predict_proba(["MKVLT"]).tolist() == [[1, 0, 0.5]]


def test_bad_input():
    with pytest.raises(ValueError, match=r"'ties' parameter .* Got 'last'"):
        HomologyRegressor(ties="last").fit(["MKV"], [1.0])
    with pytest.raises(ValueError, match="y has 1 targets for 2 sequences"):
        HomologyRegressor().fit(["MKV", "MKA"], [1.0])


@pytest.mark.data
@pytest.mark.parametrize(
    "method, ties, floor",
    [
        ("auto", "average", 0.66),
        ("auto", "first", 0.64),
        ("hamming", "average", 0.63),
        ("hamming", "first", 0.52),
    ],
)
def test_gb1_three_vs_rest(data_home, method, ties, floor):
    with gzip.open(data_home / "gb1" / "gb1.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    X, y = np.array([r["sequence"] for r in rows]), np.array([float(r["target"]) for r in rows])
    side = np.array([r["three_vs_rest"] for r in rows])
    predicted = (
        HomologyRegressor(method=method, ties=ties)
        .fit(X[side == "train"], y[side == "train"])
        .predict(X[side == "test"])
    )
    assert spearmanr(predicted, y[side == "test"]).statistic >= floor
