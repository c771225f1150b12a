"""Scores of classes against scikit-learn, and by hand where it has none."""

import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from plmlearn.metrics import (
    class_table,
    classification_table,
    expected_calibration_error,
    macro_average_precision,
    precision_at_recall,
    specificity_score,
)

seeds = st.integers(0, 10**6)


def predictions(seed, n=60, n_classes=4):
    """Classes that all occur, predictions and probabilities."""
    random = np.random.default_rng(seed)
    y_true = np.r_[np.arange(n_classes), random.integers(0, n_classes, n - n_classes)]
    proba = random.dirichlet(np.ones(n_classes), n)
    return np.array(list("ABCDEFGH"))[y_true], np.array(list("ABCDEFGH"))[proba.argmax(axis=1)], proba


@settings(deadline=None)
@given(seeds, st.integers(3, 6))
def test_macro_scores_equal_scikit_learns(seed, n_classes):
    y_true, y_pred, proba = predictions(seed, n_classes=n_classes)
    table = classification_table(y_true, y_pred, proba)
    options = {"average": "macro", "zero_division": 0}
    assert table["accuracy"] == pytest.approx(sk.accuracy_score(y_true, y_pred))
    assert table["mcc"] == pytest.approx(sk.matthews_corrcoef(y_true, y_pred))
    assert table["f1"] == pytest.approx(sk.f1_score(y_true, y_pred, **options))
    assert table["precision"] == pytest.approx(sk.precision_score(y_true, y_pred, **options))
    assert table["recall"] == pytest.approx(sk.recall_score(y_true, y_pred, **options))
    indicators = y_true[:, None] == np.unique(y_true)
    assert table["aupr"] == pytest.approx(sk.average_precision_score(indicators, proba, average="macro"))
    assert macro_average_precision(y_true, proba) == pytest.approx(table["aupr"])


@settings(deadline=None)
@given(seeds)
def test_binary_scores_equal_scikit_learns(seed):
    y_true, y_pred, proba = predictions(seed, n_classes=2)
    table = classification_table(y_true, y_pred, proba[:, 1])
    options = {"pos_label": "B", "zero_division": 0}
    assert table["f1"] == pytest.approx(sk.f1_score(y_true, y_pred, **options))
    assert table["precision"] == pytest.approx(sk.precision_score(y_true, y_pred, **options))
    assert table["recall"] == pytest.approx(sk.recall_score(y_true, y_pred, **options))
    assert table["specificity"] == pytest.approx(
        sk.recall_score(y_true, y_pred, pos_label="A", zero_division=0)
    )
    assert table["specificity"] == specificity_score(y_true, y_pred)
    assert table["aupr"] == pytest.approx(sk.average_precision_score(y_true, proba[:, 1], pos_label="B"))
    both = classification_table(y_true, y_pred, proba, average="macro")
    assert both["recall"] == pytest.approx(sk.balanced_accuracy_score(y_true, y_pred))


@settings(deadline=None)
@given(seeds)
def test_multilabel_scores_equal_scikit_learns(seed):
    random = np.random.default_rng(seed)
    y_true, y_pred = random.integers(0, 2, (2, 40, 3))
    y_true[0], y_true[1] = 1, 0
    table = classification_table(y_true, y_pred)
    assert table["accuracy"] == pytest.approx(sk.accuracy_score(y_true, y_pred))
    assert table["f1"] == pytest.approx(sk.f1_score(y_true, y_pred, average="macro"))
    assert table["mcc"] == pytest.approx(np.mean([sk.matthews_corrcoef(*c) for c in zip(y_true.T, y_pred.T)]))


@settings(deadline=None)
@given(seeds)
def test_specificity_by_counting(seed):
    y_true, y_pred, _ = predictions(seed)
    for row in class_table(y_true, y_pred):
        others = [pred for true, pred in zip(y_true, y_pred) if true != row["label"]]
        assert row["specificity"] == pytest.approx(np.mean([pred != row["label"] for pred in others]))
        assert row["n"] == list(y_true).count(row["label"])


def test_empty_classes_are_left_out_and_named():
    y_true, y_pred, proba = predictions(0, n_classes=3)
    labels = ["A", "B", "C", "Y", "Z"]
    wide = np.column_stack([proba, np.zeros((len(proba), 2))])
    with pytest.warns(UserWarning, match="2 of 5 classes have no members .*: Y, Z") as said:
        table = classification_table(y_true, y_pred, wide, labels=labels)
    assert len(said) == 1
    narrow = classification_table(y_true, y_pred, proba)
    # The two empty classes are nobody's, so that only their absence could change an average.
    assert table == pytest.approx(narrow)
    assert np.isnan(class_table(y_true, y_pred, wide, labels=labels)[3]["recall"])


def test_without_scores_there_is_no_aupr():
    table = classification_table(["a", "b"], ["a", "b"])
    assert np.isnan(table.pop("aupr"))
    assert set(table.values()) == {1.0}


@settings(deadline=None)
@given(seeds, st.floats(0.01, 1))
def test_precision_at_recall_by_trying_all_thresholds(seed, recall):
    random = np.random.default_rng(seed)
    y, scores = np.r_[1, random.integers(0, 2, 20)], random.integers(0, 8, 21)
    tried = [(y[scores >= t].mean(), y[scores >= t].sum() / y.sum()) for t in np.unique(scores)]
    assert precision_at_recall(y, scores, recall) == pytest.approx(max(p for p, r in tried if r >= recall))


@settings(deadline=None)
@given(seeds, st.integers(1, 12))
def test_calibration_error_by_a_loop(seed, n_bins):
    y_true, y_pred, proba = predictions(seed)
    sure = proba.max(axis=1)
    assume(not np.isclose(sure * n_bins % 1, 0).any())
    error = 0.0
    for low in np.arange(n_bins) / n_bins:
        rows = (sure > low) & (sure <= low + 1 / n_bins)
        if rows.any():
            error += abs(sure[rows].mean() - (y_true == y_pred)[rows].mean()) * rows.mean()
    assert expected_calibration_error(y_true, proba, n_bins=n_bins) == pytest.approx(error)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: class_table([1, 2], [1]), r"y_true has shape \(2,\), y_pred \(1,\)"),
        (lambda: class_table([1, 2], [1, 3], labels=[1, 2]), r"labels lacks \[3\]"),
        (lambda: class_table([1, 2, 3], [1, 2, 3], np.ones((3, 2))), r"y_score has shape \(3, 2\)"),
        (lambda: classification_table([1, 2, 3], [1, 2, 3], average="binary"), "with 3 classes"),
        (
            lambda: classification_table([1, 2], [1, 2], average="micro"),
            "average='micro'; expected one of 'auto', 'binary', 'macro'",
        ),
        (lambda: precision_at_recall([0, 0], [1, 2]), "no positives"),
        (lambda: precision_at_recall([0, 1], [1, 2], recall=50), "'recall' parameter .* Got 50"),
        (lambda: expected_calibration_error([0, 1], [[3, 1], [1, 3]]), "are not probabilities"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_tables_are_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classification_table(["a", "a", "b"], ["a", "a", "a"])
