"""Scores of residues, for targets of one entry per residue and one row per protein.

``residue_accuracy``   share of residues in the right state (Q3, Q8)
``residue_mcc``        Matthews correlation of states
``residue_table``      precision, recall, ... of every state
``residue_spearman``   rank correlation of measured values
``paired_residues``    how all of them read their input

A row is a str with a letter per residue, or an array. What was not measured does not count: masked entries,
nan, None, and ``ignore_label`` of y_true.
"""

from typing import Any

import numpy as np
from scipy.stats import spearmanr

from plmlearn.metrics.classification import class_table, matthews_correlation

_AVERAGES = ("residue", "protein")


def residue_accuracy(
    y_true: Any, y_pred: Any, *, ignore_label: Any = None, average: str = "residue"
) -> float:
    """Share of residues whose state is right: Q3 of three states, Q8 of eight.

    Parameters
    ----------
    y_true, y_pred : list of str or of arrays, one entry per residue
        True and predicted states.
    ignore_label : label, default=None
        Entry of y_true for residues that were not measured.
    average : {"residue", "protein"}, default="residue"
        Mean over all residues, or over the means of proteins with any measured residue.

    Examples
    --------
    >>> from plmlearn.metrics import residue_accuracy
    >>> residue_accuracy(["HHHE", "C-"], ["HHEE", "CC"], ignore_label="-")
    0.8
    """
    rows = paired_residues(y_true, y_pred, ignore_label)
    return _average([(true == pred).astype(float) for true, pred in rows], average, np.mean)


def residue_mcc(y_true: Any, y_pred: Any, *, ignore_label: Any = None) -> float:
    """Matthews correlation of the states of all residues, -1 to 1; of two or more states.

    Parameters are those of :func:`residue_accuracy`.
    """
    return matthews_correlation(*_joined(paired_residues(y_true, y_pred, ignore_label)))


def residue_table(y_true: Any, y_pred: Any, *, ignore_label: Any = None) -> list[dict[str, Any]]:
    """Precision, recall, F1 and specificity of every state over all residues, one dict per state.

    Parameters are those of :func:`residue_accuracy`, rows those of :func:`plmlearn.metrics.class_table`.

    Examples
    --------
    >>> from plmlearn.metrics import residue_table
    >>> [(row["label"], row["recall"]) for row in residue_table(["HHEE"], ["HHHE"])]
    [('E', 0.5), ('H', 1.0)]
    """
    return class_table(*_joined(paired_residues(y_true, y_pred, ignore_label)))


def residue_spearman(y_true: Any, y_pred: Any, *, average: str = "residue") -> float:
    """Rank correlation of measured and predicted values.

    Parameters
    ----------
    y_true, y_pred : list of arrays of float, one value per residue
        nan in y_true marks what was not measured.
    average : {"residue", "protein"}, default="residue"
        One correlation over all residues, as is published for CheZOD scores, or the mean of those of proteins
        with at least two different measured values.

    Returns
    -------
    float
        0 where all predictions are equal, and so rank nothing.

    Examples
    --------
    >>> from plmlearn.metrics import residue_spearman
    >>> residue_spearman([[1, 2, float("nan")], [3, 4]], [[10, 20, 0], [30, 40]]).__round__(6)
    1.0
    """
    rows = [
        (np.asarray(true, dtype=float), np.asarray(pred, dtype=float))
        for true, pred in paired_residues(y_true, y_pred)
    ]
    if average == "protein":
        rows = [(true, pred) for true, pred in rows if len(np.unique(true)) > 1]
        if not rows:
            raise ValueError("No protein has two different measured values; expected one at least.")
        return float(np.mean([rank_correlation(true, pred) for true, pred in rows]))
    _check_average(average)
    return rank_correlation(*_joined(rows))


def rank_correlation(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Spearman's correlation, 0 for constant predictions."""
    if len(np.unique(y_true)) < 2:
        raise ValueError(
            f"y_true has {len(np.unique(y_true))} different values; expected at least 2 to rank."
        )
    return 0.0 if np.ptp(y_pred) == 0 else float(spearmanr(y_true, y_pred).statistic)


def paired_residues(
    y_true: Any, y_pred: Any, ignore_label: Any = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """True and predicted entries of the measured residues of every protein; one error for all bad rows."""
    if len(y_true) != len(y_pred):
        raise ValueError(f"y_true has {len(y_true)} proteins, y_pred {len(y_pred)}; expected as many.")
    rows = [(entries(true), entries(pred)) for true, pred in zip(y_true, y_pred)]
    single = [row for row, both in enumerate(rows) if any(target.ndim == 0 for target in both)]
    if single:
        raise ValueError(
            f"{len(single)} of {len(rows)} proteins have a single value (the first: row {single[0]}); "
            "expected a str, list or array with one entry per residue. For one label per protein take "
            "scikit-learn's metrics."
        )
    odd = [row for row, (true, pred) in enumerate(rows) if len(true) != len(pred)]
    if odd:
        true, pred = rows[odd[0]]
        raise ValueError(
            f"{len(odd)} of {len(rows)} proteins have targets of different lengths: row {odd[0]} "
            f"has {len(true)} true and {len(pred)} predicted entries; "
            "expected one per residue in both."
        )
    kept = [measured(true, ignore_label) for true, _ in rows]
    pairs = [(np.ma.getdata(t)[k], np.ma.getdata(p)[k]) for (t, p), k in zip(rows, kept)]
    if not any(len(true) for true, _ in pairs):
        raise ValueError("No residue of y_true was measured; expected one at least.")
    return pairs


def entries(target: Any) -> np.ndarray:
    """One entry per residue of a str, a list or an array."""
    if isinstance(target, str):
        return np.array(list(target), dtype="U1")
    return target if isinstance(target, np.ma.MaskedArray) else np.asarray(target)


def measured(target: np.ndarray, ignore_label: Any = None) -> np.ndarray:
    """Which residues of a target were measured."""
    values = np.ma.getdata(target)
    kept = ~np.ma.getmaskarray(target) & np.asarray(values == values, dtype=bool)
    if values.dtype == object:
        kept &= np.array([value is not None for value in values], dtype=bool)
    return kept if ignore_label is None else kept & np.asarray(values != ignore_label, dtype=bool)


def _joined(rows: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    rows = [row for row in rows if len(row[0])]
    return np.concatenate([true for true, _ in rows]), np.concatenate([pred for _, pred in rows])


def _average(rows: list[np.ndarray], average: str, mean: Any) -> float:
    _check_average(average)
    rows = [row for row in rows if len(row)]
    return float(mean(np.concatenate(rows)) if average == "residue" else np.mean([mean(row) for row in rows]))


def _check_average(average: str) -> None:
    if average not in _AVERAGES:
        raise ValueError(f"average is {average!r}; expected 'residue' or 'protein'.")
