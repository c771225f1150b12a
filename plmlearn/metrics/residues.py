"""Scores of residues, for targets of one entry per residue and one row per protein.

``residue_accuracy``   share of residues in the right state (Q3, Q8)
``residue_mcc``        Matthews correlation of states
``residue_table``      precision, recall, ... of every state
``residue_spearman``   rank correlation of measured values
``paired_residues``    true and predicted entries, as all of them read them

A row is a str with a letter per residue, or an array. Residues that were not measured do not count: masked
entries, nan, None, and ``ignore_label`` of y_true; and labels of -100, with a warning.
"""

from typing import Any, Literal, get_args

import numpy as np
from scipy.stats import spearmanr

from ..sequences.clean import check_choice, refuse, targets_of
from ..sequences.residue_targets import Kind, read_target, warn_of_ignore_index
from .classification import class_table, matthews_correlation

Average = Literal["residue", "protein"]
Pair = tuple[np.ma.MaskedArray, np.ma.MaskedArray]
"""True and predicted entries of a protein."""
Rows = list[tuple[np.ndarray, np.ndarray]]
"""Those of the measured residues of every protein that has any."""


def residue_accuracy(
    y_true: Any, y_pred: Any, *, ignore_label: Any = None, average: Average = "residue"
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

    See Also
    --------
    residue_mcc : Matthews correlation over all residues.
    residue_table : One row per state.

    Examples
    --------
    >>> from plmlearn.metrics import residue_accuracy
    >>> residue_accuracy(["HHHE", "C-"], ["HHEE", "CC"], ignore_label="-")
    0.8
    """
    check_choice("average", average, get_args(Average))
    right = [true == pred for true, pred in _measured(y_true, y_pred, ignore_label)]
    return float(np.mean(np.concatenate(right) if average == "residue" else [np.mean(row) for row in right]))


def residue_mcc(y_true: Any, y_pred: Any, *, ignore_label: Any = None) -> float:
    """Matthews correlation of the states of all residues, -1 to 1; of two or more states.

    Parameters are those of :func:`residue_accuracy`.

    See Also
    --------
    residue_accuracy : Share of residues whose state is right.
    sklearn.metrics.matthews_corrcoef : The same for one label per sample.

    Examples
    --------
    >>> from plmlearn.metrics import residue_mcc
    >>> residue_mcc(["HHEE", "C-"], ["HHEE", "CC"], ignore_label="-")
    1.0
    """
    return matthews_correlation(*_joined(_measured(y_true, y_pred, ignore_label)))


def residue_table(y_true: Any, y_pred: Any, *, ignore_label: Any = None) -> list[dict[str, Any]]:
    """Precision, recall, F1 and specificity of every state over all residues, one dict per state.

    Parameters are those of :func:`residue_accuracy`, rows those of :func:`plmlearn.metrics.class_table`.

    See Also
    --------
    residue_accuracy : Share of residues whose state is right.
    segment_overlap : Segment overlap of predicted states, SOV'99, 0 to 1.

    Examples
    --------
    >>> from plmlearn.metrics import residue_table
    >>> [(row["label"], row["recall"]) for row in residue_table(["HHEE"], ["HHHE"])]
    [('E', 0.5), ('H', 1.0)]
    """
    return class_table(*_joined(_measured(y_true, y_pred, ignore_label)))


def residue_spearman(y_true: Any, y_pred: Any, *, average: Average = "residue") -> float:
    """Rank correlation of measured and predicted values; the mean over columns if there are several.

    Parameters
    ----------
    y_true, y_pred : list of arrays of float, (L,) or (L, k)
        One or k values per residue; nan in y_true marks what was not measured.
    average : {"residue", "protein"}, default="residue"
        One correlation over all residues, as is published for CheZOD scores, or the mean of those of proteins
        with at least two different measured values.

    Returns
    -------
    float
        0 if all predictions are equal, since they rank nothing.

    See Also
    --------
    spearman_score : Rank correlation of numbers per protein.
    residue_accuracy : Share of residues whose state is right.

    Examples
    --------
    >>> from plmlearn.metrics import residue_spearman
    >>> residue_spearman([[1, 2, float("nan")], [3, 4]], [[10, 20, 0], [30, 40]]).__round__(6)
    1.0
    """
    check_choice("average", average, get_args(Average))
    columns = _columns(paired_residues(y_true, y_pred, kind="values"))
    return float(np.mean([_ranked(column, average) for column in columns]))


def _ranked(pairs: list[Pair], average: Average) -> float:
    """Rank correlation of one column."""
    if average == "residue":
        return rank_correlation(*(np.ma.concatenate(side).compressed().astype(float) for side in zip(*pairs)))
    rows = [(true.astype(float), pred.astype(float)) for true, pred in _compressed(pairs)]
    several = [row for row in rows if len(np.unique(row[0])) > 1]
    if not several:
        raise ValueError("No protein has two different measured values; expected at least one.")
    return float(np.mean([rank_correlation(true, pred) for true, pred in several]))


def _columns(pairs: list[Pair]) -> list[list[Pair]]:
    """Values (L,) or (L, k) of each protein by column, (L,) each."""
    tables = [(np.ma.atleast_2d(true.T), np.ma.atleast_2d(pred.T)) for true, pred in pairs]
    n = len(tables[0][0])
    odd = [(row, f"has {len(true)} columns") for row, (true, _) in enumerate(tables) if len(true) != n]
    refuse([(row, f"{found}; expected {n}, as protein 0 has.") for row, found in odd], "Protein {}")
    return [[(true[column], pred[column]) for true, pred in tables] for column in range(n)]


def rank_correlation(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Spearman's correlation, 0 for constant predictions."""
    if (n := len(np.unique(y_true))) < 2:
        raise ValueError(f"y_true has {n} different values; expected at least 2 to rank.")
    return 0.0 if np.ptp(y_pred) == 0 else float(spearmanr(y_true, y_pred).statistic)


def paired_residues(y_true: Any, y_pred: Any, ignore_label: Any = None, kind: Kind = "labels") -> list[Pair]:
    """True and predicted entries of every protein, masked where y_true was not measured, or one error."""
    y_true, y_pred = (
        targets_of(y, f"targets in {name}") for y, name in ((y_true, "y_true"), (y_pred, "y_pred"))
    )
    if len(y_true) != len(y_pred):
        raise ValueError(f"y_true has {len(y_true)} proteins, y_pred {len(y_pred)}; expected as many.")
    pairs, problems = [], []
    for row, (true, pred) in enumerate(zip(y_true, y_pred)):
        try:
            pairs.append(_pair(read_target(true, ignore_label, kind), read_target(pred), kind))
        except (TypeError, ValueError) as error:
            problems.append((row, str(error)))
    refuse(problems, "Protein {}")
    if kind == "labels":
        warn_of_ignore_index(y_true, ignore_label)
    if not any(true.count() for true, _ in pairs):
        raise ValueError("No residue of y_true was measured; expected at least one.")
    return pairs


def _pair(true: np.ma.MaskedArray, pred: np.ma.MaskedArray, kind: Kind) -> Pair:
    if 0 in (true.ndim, pred.ndim):
        raise ValueError(
            "has a single value; expected a str, list or array with one entry per residue. For one label per "
            "protein use scikit-learn's metrics."
        )
    if true.shape != pred.shape:
        n, m = (len(true), len(pred)) if len(true) != len(pred) else (true.shape, pred.shape)
        raise ValueError(f"has {n} true and {m} predicted entries; expected one per residue in both.")
    is_text = [side.dtype.kind == "U" for side in (true, pred)]
    if kind == "values" and (true.ndim > 2 or any(is_text)):
        found = "text" if any(is_text) else f"shape {true.shape}"
        raise ValueError(f"has {found}; expected numbers, (L,) or (L, k), in y_true and y_pred.")
    if is_text[0] != is_text[1] and true.count() and pred.count():
        true_kind, pred_kind = ("text" if text else "numbers" for text in is_text)
        raise ValueError(f"has {true_kind} in y_true and {pred_kind} in y_pred; expected labels of one kind.")
    if missing := int((np.ma.getmaskarray(pred) & ~np.ma.getmaskarray(true)).sum()):
        raise ValueError(f"has no prediction for {missing} measured residues; expected one for each.")
    return true, np.ma.array(np.ma.getdata(pred), mask=np.ma.getmaskarray(true))


def _measured(y_true: Any, y_pred: Any, ignore_label: Any = None) -> Rows:
    return _compressed(paired_residues(y_true, y_pred, ignore_label))


def _compressed(pairs: list[Pair]) -> Rows:
    return [(true.compressed(), pred.compressed()) for true, pred in pairs if true.count()]


def _joined(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    true, pred = zip(*rows)
    return np.concatenate(true), np.concatenate(pred)
