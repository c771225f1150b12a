"""Scorers by name, inside scikit-learn."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.base import BaseEstimator
from sklearn.datasets import make_classification, make_regression
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score
from sklearn.model_selection import KFold, cross_validate
from sklearn.multiclass import OneVsRestClassifier

from plmlearn.metrics import (
    SCORERS,
    expected_calibration_error,
    get_scorer,
    precision_at_recall,
    spearman_score,
    specificity_score,
)

SEQUENCES = ["MKVLA", "GHKL", "MMKVLAGG", "AKV"] * 3


class Echo(BaseEstimator):
    """Predicts a state, or a value, per residue from the letter."""

    def __init__(self, kind="label"):
        self.kind = kind

    def fit(self, X, y):
        return self

    def predict(self, X):
        out = np.empty(len(X), dtype=object)
        for i, sequence in enumerate(X):
            out[i] = self.one(sequence)
        return out

    def one(self, sequence):
        if self.kind == "label":
            return "S" * 2 + "".join("H" if letter in "MKV" else "C" for letter in sequence[2:])
        return np.array([float(ord(letter)) for letter in sequence])


@pytest.mark.parametrize(
    "name", [name for name in SCORERS if name.startswith(("residue", "segment", "cleavage"))]
)
def test_ragged_targets_in_cross_validation(name):
    model = Echo("value" if "spearman" in name else "label")
    y = [model.one(sequence) for sequence in SEQUENCES]
    result = cross_validate(
        model, SEQUENCES, y, cv=KFold(3), scoring={name: SCORERS[name]}, error_score="raise"
    )
    assert result[f"test_{name}"] == pytest.approx(np.ones(3))


@pytest.mark.parametrize("name", ["spearman", "r2"])
def test_regression(name):
    X, y = make_regression(40, 3, noise=30, random_state=0)
    model = Ridge().fit(X, y)
    expected = spearmanr(model.predict(X), y).statistic if name == "spearman" else model.score(X, y)
    assert get_scorer(name)(model, X, y) == pytest.approx(expected)


def test_classification():
    X, y = make_classification(80, random_state=0)
    y = np.array(["no", "yes"])[y]
    model = LogisticRegression().fit(X, y)
    three = LogisticRegression().fit(X, np.arange(80) % 3)
    with pytest.raises(ValueError, match="has 3 classes; this score expects 2"):
        get_scorer("precision_at_recall_50")(three, X, y)
    proba = model.predict_proba(X)
    assert get_scorer("neg_calibration_error")(model, X, y) == -expected_calibration_error(y, proba)
    found = get_scorer("precision_at_recall_50")(model, X, y)
    assert found == precision_at_recall((y == "yes").astype(int), proba[:, 1], 0.5)
    both = [average_precision_score(y == c, proba[:, i]) for i, c in enumerate(model.classes_)]
    assert get_scorer("macro_aupr")(model, X, y) == pytest.approx(np.mean(both))
    for name in ("mcc", "specificity"):
        assert 0 < get_scorer(name)(model, X, y) <= 1


def test_macro_aupr_of_a_fold_without_one_class():
    X, y = make_classification(90, n_classes=3, n_informative=4, random_state=0)
    model = LogisticRegression().fit(X, y)
    with pytest.warns(UserWarning, match=r"1 of 3 classes have no members in y_true .*: 2"):
        get_scorer("macro_aupr")(model, X[y < 2], y[y < 2])


def test_specificity_means_the_same_in_a_fold_without_one_class():
    X, y = make_classification(90, n_classes=3, n_informative=4, random_state=0)
    model = LogisticRegression().fit(X, y)
    rows = (y < 2) & (model.predict(X) < 2)
    expected = specificity_score(y[rows], model.predict(X[rows]), average="macro")
    assert expected != specificity_score(y[rows], model.predict(X[rows]))
    with pytest.warns(UserWarning, match=r"1 of 3 classes have no members in y_true .*: 2"):
        assert get_scorer("specificity")(model, X[rows], y[rows]) == pytest.approx(expected)
    both = LogisticRegression().fit(X[y < 2], y[y < 2])
    expected = specificity_score(y, both.predict(X))
    assert get_scorer("specificity")(both, X, y) == expected  # with a class that training lacks
    many = OneVsRestClassifier(model).fit(X, np.eye(3, dtype=int)[y])
    expected = specificity_score(np.eye(3, dtype=int)[y], many.predict(X))
    assert get_scorer("specificity")(many, X, np.eye(3, dtype=int)[y]) == expected


def test_spearman_of_columns_and_gaps():
    true = np.array([[1.0, 5.0], [2.0, np.nan], [3.0, 4.0], [4.0, 1.0]])
    pred = np.array([[1.0, 1.0], [3.0, 9.0], [2.0, 2.0], [4.0, 3.0]])
    expected = [spearmanr(true[:, 0], pred[:, 0]).statistic, -1.0]
    assert spearman_score(true, pred) == pytest.approx(np.mean(expected))
    assert spearman_score([1, 2, 3], [7, 7, 7]) == 0


def test_unknown_names():
    with pytest.raises(ValueError, match=r"'sperman' is not a scorer; .*spearman, mcc"):
        get_scorer("sperman")
    with pytest.raises(ValueError, match=r"y_true has shape \(2,\), y_pred \(3,\)"):
        spearman_score([1, 2], [1, 2, 3])
