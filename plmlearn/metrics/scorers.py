"""``SCORERS``: scores of this package by name, for ``scoring=``; ``get_scorer`` finds scikit-learn's too."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn.metrics import get_scorer as sklearn_scorer
from sklearn.metrics import make_scorer

from ..sequences.columns import check_numbers
from .classification import (
    expected_calibration_error,
    macro_average_precision,
    matthews_correlation,
    precision_at_recall,
    specificity_score,
)
from .residues import rank_correlation, residue_accuracy, residue_mcc, residue_spearman
from .segments import segment_overlap
from .signal_peptides import cleavage_mcc, cleavage_precision, cleavage_recall
from .variants import ndcg_score, top_precision, top_recall


def spearman_score(y_true: Any, y_pred: Any) -> float:
    """Rank correlation of measured and predicted values; the mean over columns if there are several.

    Parameters
    ----------
    y_true, y_pred : array of shape (n,) or (n, k)
        nan in y_true marks what was not measured.

    Returns
    -------
    float
        -1 to 1; 0 if all predictions are equal, since they rank nothing.

    See Also
    --------
    residue_spearman : Rank correlation of measured and predicted values.

    Examples
    --------
    >>> from plmlearn.metrics import spearman_score
    >>> spearman_score([1.0, 2.0, 3.0], [1.0, 8.0, 27.0]).__round__(6)
    1.0
    """
    true, pred = check_numbers(y_true, "y_true", missing=True), check_numbers(y_pred, "y_pred")
    if true.shape != pred.shape:
        raise ValueError(f"y_true has shape {true.shape}, y_pred {pred.shape}; expected the same.")
    columns = zip(true.reshape(len(true), -1).T, pred.reshape(len(pred), -1).T)
    return float(np.mean([rank_correlation(t[~np.isnan(t)], p[~np.isnan(t)]) for t, p in columns]))


def _of_probabilities(metric: Callable, sign: int, estimator: Any, X: Any, y: Any) -> float:
    return sign * metric(y, estimator.predict_proba(X), labels=estimator.classes_)


def _of_classes(metric: Callable, estimator: Any, X: Any, y: Any) -> float:
    labels = np.union1d(estimator.classes_, y) if np.ndim(y) == 1 else None
    return metric(y, estimator.predict(X), labels=labels)


def _of_positive(metric: Callable, estimator: Any, X: Any, y: Any) -> float:
    if len(estimator.classes_) != 2:
        raise ValueError(f"The estimator has {len(estimator.classes_)} classes; this score expects 2.")
    positive = np.asarray(y) == estimator.classes_[1]
    return metric(positive.astype(int), estimator.predict_proba(X)[:, 1])


_CLEAVAGE = {"precision": cleavage_precision, "recall": cleavage_recall, "mcc": cleavage_mcc}
SCORERS: dict[str, Callable[..., float]] = {
    "spearman": make_scorer(spearman_score),
    "mcc": make_scorer(matthews_correlation),
    "specificity": partial(_of_classes, specificity_score),
    "macro_aupr": partial(_of_probabilities, macro_average_precision, 1),
    "neg_calibration_error": partial(_of_probabilities, expected_calibration_error, -1),
    "precision_at_recall_50": partial(_of_positive, precision_at_recall),
    "ndcg": make_scorer(ndcg_score),
    "top_recall": make_scorer(top_recall),
    "top_precision_96": make_scorer(top_precision, k=96),
    "residue_accuracy": make_scorer(residue_accuracy),
    "residue_accuracy_by_protein": make_scorer(residue_accuracy, average="protein"),
    "residue_mcc": make_scorer(residue_mcc),
    "residue_spearman": make_scorer(residue_spearman),
    "residue_spearman_by_protein": make_scorer(residue_spearman, average="protein"),
    "segment_overlap": make_scorer(segment_overlap),
    **{
        f"cleavage_{name}_{k}": make_scorer(metric, tolerance=k)
        for name, metric in _CLEAVAGE.items()
        for k in range(4)
    },
}


def get_scorer(name: str) -> Callable[..., float]:
    """A scorer of this package or of scikit-learn by its name.

    The scorers of residues take targets with one str or array per protein, masked or nan for residues that
    were not measured; for another mark use ``make_scorer(residue_accuracy, ignore_label="-")``.

    See Also
    --------
    sklearn.metrics.get_scorer : Scorers of scikit-learn.
    sklearn.metrics.make_scorer : Makes a scorer of a metric.

    Examples
    --------
    >>> from plmlearn.metrics import get_scorer
    >>> get_scorer("spearman")
    make_scorer(spearman_score, response_method='predict')
    """
    if isinstance(name, str) and name in SCORERS:
        return SCORERS[name]
    try:
        return sklearn_scorer(name)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"scoring={name!r} is not a scorer; expected one of scikit-learn's, or one of "
            f"{', '.join(SCORERS)}."
        ) from error
