"""Scores of classes: ``classification_table`` and ``class_table``, and their scores one by one.

``specificity_score``, ``macro_average_precision``, ``precision_at_recall`` are not in scikit-learn, and
``expected_calibration_error`` tells how far to trust probabilities.
"""

from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
from sklearn.metrics import accuracy_score, average_precision_score, matthews_corrcoef, precision_recall_curve

from ..messages import warn
from ..sequences.checked import COUNT, Range, checked
from ..sequences.clean import check_choice
from ..sequences.columns import check_labels, check_numbers

Average = Literal["auto", "binary", "macro"]
_AVERAGED = ("f1", "aupr", "precision", "recall", "specificity")


def class_table(y_true: Any, y_pred: Any, y_score: Any = None, *, labels: Any = None) -> list[dict[str, Any]]:
    """One row per class, each class against all others.

    Parameters
    ----------
    y_true, y_pred : array of shape (n,), or 0/1 indicators of shape (n, n_classes)
        True and predicted classes, or labels.
    y_score : array of shape (n, n_classes), or (n,) for two classes, default=None
        Probabilities or other scores, columns in the order of ``labels``; one column is that of the second
        class.
    labels : array of shape (n_classes,), default=None
        Classes in the order of the columns, such as ``clf.classes_``; None takes those of y_true and y_pred,
        sorted.

    Returns
    -------
    list of dict
        With the keys ``label``, ``n`` (members), ``precision``, ``recall``, ``f1``, ``specificity``, ``aupr``
        (area under the precision-recall curve, as average precision). What cannot be computed is nan:
        precision, recall, f1 and aupr of a class without members, and specificity of a class that all samples
        belong to.

    See Also
    --------
    classification_table : The usual scores in one call.
    sklearn.metrics.classification_report : Precision, recall and F1 as text.

    Examples
    --------
    >>> from plmlearn.metrics import class_table
    >>> rows = class_table(["in", "in", "out", "out"], ["in", "out", "out", "out"])
    >>> [(row["label"], row["recall"], row["specificity"]) for row in rows]
    [('in', 0.5, 1.0), ('out', 1.0, 0.5)]
    """
    true, pred, labels = _indicators(y_true, y_pred, labels)
    scores = None if y_score is None else _score_columns(y_score, true.shape)
    return [_class_row(labels[c], true[:, c], pred[:, c], scores, c) for c in range(len(labels))]


def classification_table(
    y_true: Any, y_pred: Any, y_score: Any = None, *, labels: Any = None, average: Average = "auto"
) -> dict[str, float]:
    """Accuracy, F1, MCC, AUPR, precision, recall and specificity in one call.

    Parameters
    ----------
    y_true, y_pred, y_score, labels
        As in :func:`class_table`.
    average : {"auto", "binary", "macro"}, default="auto"
        "binary" gives the scores of the second of two classes, "macro" the mean over classes. "auto" is
        binary for two classes, macro otherwise.

    Returns
    -------
    dict of str to float
        ``accuracy``, ``f1``, ``mcc``, ``aupr`` (nan without y_score), ``precision``, ``recall``,
        ``specificity``. For 0/1 indicators the accuracy counts rows that are right in all labels, and the
        MCC is the mean over labels.

    Warns
    -----
    UserWarning
        Classes without members in y_true are left out of macro averages, and named.

    See Also
    --------
    class_table : One row per class, each class against all others.

    Examples
    --------
    >>> from plmlearn.metrics import classification_table
    >>> classification_table([0, 0, 1, 1], [0, 1, 1, 1], [0.1, 0.6, 0.7, 0.9])["aupr"]
    1.0
    """
    rows = class_table(y_true, y_pred, y_score, labels=labels)
    check_choice("average", average, get_args(Average))
    several = np.ndim(np.asarray(y_true)) > 1
    binary = average == "binary" or (average == "auto" and len(rows) == 2 and not several)
    if binary and len(rows) != 2:
        raise ValueError(f"average='binary' with {len(rows)} classes; expected 2. Pass average='macro'.")
    kept = rows[1:] if binary else _with_members(rows)
    means = {name: float(np.mean([row[name] for row in kept])) for name in _AVERAGED}
    pairs = zip(np.asarray(y_true).T, np.asarray(y_pred).T) if several else [(y_true, y_pred)]
    mcc = float(np.mean([matthews_correlation(true, pred) for true, pred in pairs]))
    return {"accuracy": float(accuracy_score(y_true, y_pred)), "mcc": mcc, **means}


def specificity_score(y_true: Any, y_pred: Any, *, labels: Any = None, average: Average = "auto") -> float:
    """Share of the other samples that are not taken for the class: true negatives over all negatives.

    Parameters are those of :func:`classification_table`.

    See Also
    --------
    sklearn.metrics.recall_score : The share of positives that are recognised.
    classification_table : The usual scores in one call.

    Examples
    --------
    >>> from plmlearn.metrics import specificity_score
    >>> specificity_score([0, 0, 0, 1], [0, 0, 1, 1]).__round__(3)
    0.667
    """
    return classification_table(y_true, y_pred, labels=labels, average=average)["specificity"]


def macro_average_precision(y_true: Any, y_score: Any, *, labels: Any = None) -> float:
    """Mean over classes of the area under the precision-recall curve (macro AUPR).

    Parameters
    ----------
    y_true, y_score, labels
        As in :func:`class_table`; with two classes and one column, the AUPR of the second class.

    Warns
    -----
    UserWarning
        Classes without members in y_true are left out, and named.

    See Also
    --------
    sklearn.metrics.average_precision_score : The same for one class.

    Examples
    --------
    >>> from plmlearn.metrics import macro_average_precision
    >>> macro_average_precision(["a", "b"], [[0.9, 0.1], [0.3, 0.7]])
    1.0
    """
    binary = check_numbers(y_score, "y_score").ndim == 1
    average: Any = "binary" if binary else "macro"
    return classification_table(y_true, y_true, y_score, labels=labels, average=average)["aupr"]


@checked(recall=[Range(Real, 0, 1, closed="right")])
def precision_at_recall(y_true: Any, y_score: Any, recall: float = 0.5) -> float:
    """Best precision of any threshold at which at least this share of the positives is found.

    Parameters
    ----------
    y_true : array of shape (n,)
        0/1 labels.
    y_score : array of shape (n,)
        Scores of being positive.
    recall : float, default=0.5
        Share of positives, above 0 and up to 1.

    See Also
    --------
    sklearn.metrics.precision_recall_curve : Precision and recall at all thresholds.

    Examples
    --------
    >>> from plmlearn.metrics import precision_at_recall
    >>> precision_at_recall([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1], recall=0.5)
    1.0
    """
    true, scores = check_labels(y_true, "y_true"), check_numbers(y_score, "y_score")
    if true.ndim != 1 or true.shape != scores.shape or not np.isin(true, (0, 1)).all():
        raise ValueError(
            f"y_true has shape {true.shape}, y_score {scores.shape}; expected 0 or 1 and a score each."
        )
    if not np.any(true == 1):
        raise ValueError("y_true has no positives (1), so recall is undefined; expected at least one.")
    precisions, recalls, _ = precision_recall_curve(true.astype(int), scores)
    return float(precisions[recalls >= recall].max())


@checked(n_bins=COUNT)
def expected_calibration_error(y_true: Any, y_proba: Any, *, n_bins: int = 15, labels: Any = None) -> float:
    """Mean difference between how sure predictions are and how often they are right.

    Rows go into bins of equal width by the probability of the predicted class. In each bin the mean of that
    probability is compared with the share of right predictions; bins are weighted by their size.

    Parameters
    ----------
    y_true : array of shape (n,)
    y_proba : array of shape (n, n_classes), or (n,) for the second of two classes
        Probabilities, which sum to 1.
    n_bins : int, default=15
    labels : array of shape (n_classes,), default=None
        Classes in the order of the columns; None takes those of y_true, sorted.

    See Also
    --------
    sklearn.calibration.CalibratedClassifierCV : Calibrates probabilities.

    References
    ----------
    Guo et al. (2017), https://proceedings.mlr.press/v70/guo17a.html

    Examples
    --------
    >>> from plmlearn.metrics import expected_calibration_error
    >>> expected_calibration_error([0, 1, 1, 1], [0.75, 0.75, 0.75, 0.75])
    0.0
    """
    sure, right = sure_and_right(y_true, y_proba, labels)
    bins = np.minimum((sure * n_bins).astype(int), n_bins - 1)
    gaps = np.bincount(bins, weights=sure - right, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(sure))


def sure_and_right(y_true: Any, y_proba: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """For each row the probability of the predicted class, and whether the prediction is right."""
    y_true = check_labels(y_true, "y_true")
    if y_true.ndim != 1:
        raise ValueError(f"y_true has shape {y_true.shape}; expected one class for each row.")
    labels = np.unique(y_true) if labels is None else _distinct(labels)
    proba = _score_columns(y_proba, (len(y_true), len(labels)), "y_proba")
    if np.any(proba < -1e-6) or np.any(np.abs(proba.sum(axis=1) - 1) > 1e-3):
        raise ValueError("y_proba has rows that are not probabilities; expected 0 to 1, with sum 1.")
    return proba.max(axis=1), labels[proba.argmax(axis=1)] == y_true


def matthews_correlation(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Matthews correlation of two or more classes; 0, without a warning, where only one occurs."""
    if len(np.unique(np.concatenate([y_true, y_pred]))) < 2:
        return 0.0
    return float(matthews_corrcoef(y_true, y_pred))


# ---- classes as columns of 0 and 1


def _indicators(y_true: Any, y_pred: Any, labels: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    true, pred = check_labels(y_true, "y_true"), check_labels(y_pred, "y_pred")
    if true.shape != pred.shape:
        raise ValueError(f"y_true has shape {true.shape}, y_pred {pred.shape}; expected the same.")
    if true.ndim == 2:
        labels = np.arange(true.shape[1]) if labels is None else _distinct(labels, true.shape[1])
        for name, indicator in (("y_true", true), ("y_pred", pred)):
            if not np.isin(indicator, (0, 1)).all():
                raise ValueError(f"{name} has {true.shape[1]} columns; expected an indicator of 0 and 1.")
        return true.astype(bool), pred.astype(bool), labels
    present = check_labels([*true.tolist(), *pred.tolist()], "y_true with y_pred")
    present = np.unique(present)
    labels = present if labels is None else _distinct(labels)
    unknown = [label for label in present.tolist() if label not in labels.tolist()]
    if unknown:
        raise ValueError(f"labels lacks {unknown}, which occur in y; expected all classes.")
    return true[:, None] == labels, pred[:, None] == labels, labels


def _distinct(labels: Any, n: int | None = None) -> np.ndarray:
    found = check_labels(labels, "labels")
    if found.ndim != 1 or len(np.unique(found)) != len(found) or n not in (None, len(found)):
        raise ValueError(f"labels has shape {found.shape}; expected each class once, as the columns are.")
    return found


def _score_columns(y_score: Any, shape: tuple[int, ...], name: str = "y_score") -> np.ndarray:
    scores = check_numbers(y_score, name)
    if scores.ndim == 1 and shape[1] == 2:
        scores = np.column_stack([1 - scores, scores])
    if scores.shape != tuple(shape):
        raise ValueError(
            f"{name} has shape {scores.shape}; expected {tuple(shape)}, a column per class. If a class does "
            "not occur in y_true, pass labels=clf.classes_."
        )
    return scores


def _class_row(label: Any, true: np.ndarray, pred: np.ndarray, scores: np.ndarray | None, c: int) -> dict:
    hits, members, taken = int((true & pred).sum()), int(true.sum()), int(pred.sum())
    row = {"label": label.item() if isinstance(label, np.generic) else label, "n": members}
    row |= dict.fromkeys(("precision", "recall", "f1", "aupr"), np.nan)
    if members:
        row["precision"] = hits / taken if taken else 0.0
        row["recall"] = hits / members
        row["f1"] = 2 * hits / (taken + members)
        row["aupr"] = np.nan if scores is None else float(average_precision_score(true, scores[:, c]))
    row["specificity"] = float((~true & ~pred).sum() / (~true).sum()) if members < len(true) else np.nan
    return row


def _with_members(rows: list[dict]) -> list[dict]:
    empty = [row["label"] for row in rows if not row["n"]]
    if empty:
        warn(
            f"{len(empty)} of {len(rows)} classes have no members in y_true and are left out of the average: "
            f"{', '.join(map(str, empty))}."
        )
    return [row for row in rows if row["n"]]
