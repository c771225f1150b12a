"""Signal peptides: ``signal_peptide_table`` for types and cleavage sites, as SignalP 6.0 reports them.

``cleavage_precision``, ``cleavage_recall``, ``cleavage_mcc``   the site alone, from residue labels
``cleavage_site``                                               the site of one row of residue labels

Residue labels name the region: by default S (Sec/SPI), L (Sec/SPII), T (Tat) and P (Sec/SPIII) are signal
peptides, any other letter is not.
"""

from typing import Any

import numpy as np

from ..sequences.checked import COUNT_FROM_0, TEXT, checked
from ..sequences.clean import rows_of
from ..sequences.columns import check_labels
from ..sequences.residue_targets import read_target
from .classification import matthews_correlation
from .residues import paired_residues
from .segments import as_states

SIGNAL_LABELS = "SLTP"


def cleavage_site(labels: Any, signal: str = SIGNAL_LABELS) -> tuple[int, str]:
    """Last residue of the first signal peptide, counted from 1, and its label; (0, "") if there is none.

    Parameters
    ----------
    labels : str or array, one label per residue
    signal : str, default="SLTP"
        Labels of signal peptides.

    See Also
    --------
    cleavage_recall : Share of true cleavage sites that are found.

    Examples
    --------
    >>> from plmlearn.metrics import cleavage_site
    >>> cleavage_site("SSSSOOMM"), cleavage_site("IIIMMMOO")
    ((4, 'S'), (0, ''))
    """
    row, kinds = labels if isinstance(labels, str) else _row_of(labels), as_states(signal, "signal")
    start = next((i for i, label in enumerate(row) if label in kinds), None)
    if start is None:
        return 0, ""
    end = next((i for i in range(start, len(row)) if row[i] != row[start]), len(row))
    return end, row[start]


@checked(tolerance=COUNT_FROM_0)
def cleavage_precision(y_true: Any, y_pred: Any, *, tolerance: int = 0, signal: str = SIGNAL_LABELS) -> float:
    """Share of predicted cleavage sites that are right; 0 if none is predicted.

    Parameters
    ----------
    y_true, y_pred : list of str or of arrays, one label per residue
    tolerance : int, default=0
        Residues by which a site may be off and still be right; SignalP reports 0 to 3.
    signal : str, default="SLTP"
        Labels of signal peptides. A site is right only if its label is that of the true site.

    See Also
    --------
    cleavage_recall : Share of true cleavage sites that are found.
    signal_peptide_table : Detection and cleavage sites, type by type.

    Examples
    --------
    >>> from plmlearn.metrics import cleavage_precision, cleavage_recall
    >>> true, pred = ["SSSSOO", "SSSOOO", "IIIIII"], ["SSSSOO", "SSOOOO", "LLLLII"]
    >>> cleavage_precision(true, pred).__round__(2), cleavage_recall(true, pred, tolerance=1)
    (0.33, 1.0)
    """
    right, predicted, _, _ = _site_counts(y_true, y_pred, tolerance, signal)
    return right / predicted if predicted else 0.0


@checked(tolerance=COUNT_FROM_0)
def cleavage_recall(y_true: Any, y_pred: Any, *, tolerance: int = 0, signal: str = SIGNAL_LABELS) -> float:
    """Share of true cleavage sites that are found; parameters as in :func:`cleavage_precision`.

    See Also
    --------
    cleavage_precision : Share of predicted cleavage sites that are right.
    signal_peptide_table : Detection and cleavage sites, type by type.

    Examples
    --------
    >>> from plmlearn.metrics import cleavage_recall
    >>> cleavage_recall(["SSSSOO", "SSSOOO"], ["SSSSOO", "SSOOOO"])
    0.5
    """
    right, _, true, _ = _site_counts(y_true, y_pred, tolerance, signal)
    if not true:
        raise ValueError(f"y_true has no cleavage site (labels {signal}); expected at least one.")
    return right / true


@checked(tolerance=COUNT_FROM_0)
def cleavage_mcc(y_true: Any, y_pred: Any, *, tolerance: int = 0, signal: str = SIGNAL_LABELS) -> float:
    """Matthews correlation of residues being cleavage sites; parameters as in :func:`cleavage_precision`.

    A right site is one true positive; a wrong one a false positive, a missed one a false negative; all other
    residues are true negatives.

    See Also
    --------
    cleavage_precision : Share of predicted cleavage sites that are right.
    cleavage_recall : Share of true cleavage sites that are found.

    Examples
    --------
    >>> from plmlearn.metrics import cleavage_mcc
    >>> cleavage_mcc(["SSSSOO", "IIIIII"], ["SSSSOO", "IIIIII"])
    1.0
    """
    right, predicted, true, residues = _site_counts(y_true, y_pred, tolerance, signal)
    wrong, missed = predicted - right, true - right
    rest = residues - right - wrong - missed
    scale = np.sqrt(float(predicted) * true * (residues - true) * (residues - predicted))
    return float((right * rest - wrong * missed) / scale) if scale else 0.0


@checked(negative=TEXT, tolerances=[tuple, list])
def signal_peptide_table(
    types_true: Any,
    types_pred: Any,
    labels_true: Any = None,
    labels_pred: Any = None,
    *,
    kingdoms: Any = None,
    negative: str = "NO_SP",
    tolerances: tuple[int, ...] = (0, 1, 2, 3),
) -> list[dict[str, Any]]:
    """Detection and cleavage sites of every type of signal peptide in every kingdom.

    Parameters
    ----------
    types_true, types_pred : array of shape (n,)
        Types, such as "SP", "LIPO", "TAT", "TATLIPO", "PILIN" and "NO_SP".
    labels_true, labels_pred : list of str or of arrays, one label per residue, default=None
        Regions, for the cleavage sites.
    kingdoms : array of shape (n,), default=None
        None puts all proteins in one, "ALL".
    negative : str, default="NO_SP"
        The type of proteins without signal peptide.
    tolerances : tuple of int, default=(0, 1, 2, 3)
        Residues by which a site may be off and still be right.

    Returns
    -------
    list of dict
        One row per kingdom and type that occurs in it, with the keys ``kingdom``, ``type``, ``n``;
        ``mcc1`` (this type against proteins without signal peptide), ``mcc2`` (against all others); and with
        residue labels, for every tolerance k, ``precision_k`` and ``recall_k`` of the cleavage site (right
        only with the type) and ``mcc_k`` of the residues of these proteins. nan if there is nothing to
        divide by.

    See Also
    --------
    cleavage_precision : Share of predicted cleavage sites that are right.
    cleavage_recall : Share of true cleavage sites that are found.

    References
    ----------
    Teufel et al. (2022), doi:10.1038/s41587-021-01156-3

    Examples
    --------
    >>> from plmlearn.metrics import signal_peptide_table
    >>> (row,) = signal_peptide_table(["SP", "NO_SP"], ["SP", "NO_SP"], ["SSOO", "IIII"], ["SOOO", "IIII"])
    >>> row["mcc1"], row["recall_0"], row["recall_1"]
    (1.0, 0.0, 1.0)
    """
    true, pred = check_labels(types_true, "types_true"), check_labels(types_pred, "types_pred")
    given = {} if labels_true is None or labels_pred is None else {"true": labels_true, "pred": labels_pred}
    labels = [list(rows_of(side, f"targets in labels_{name}")) for name, side in given.items()]
    kingdoms = np.full(len(true), "ALL") if kingdoms is None else check_labels(kingdoms, "kingdoms")
    counts = [len(true), len(pred), len(kingdoms), *map(len, labels)]
    if max(true.ndim, pred.ndim, kingdoms.ndim) > 1:
        raise ValueError(f"types_true has shape {true.shape}, types_pred {pred.shape}; expected one each.")
    if len(set(counts)) > 1:
        names = ("true types", "predicted types", "kingdoms", "true labels", "predicted labels")
        found = ", ".join(f"{n} {name}" for n, name in zip(counts, names))
        raise ValueError(f"Got {found}; expected the same number of each.")
    rows = []
    for kingdom in np.unique(kingdoms):
        inside = kingdoms == kingdom
        for kind in np.setdiff1d(true[inside], [negative]):
            row = {"kingdom": str(kingdom), "type": str(kind), "n": int((true[inside] == kind).sum())}
            row |= _detection(true[inside] == kind, pred[inside] == kind, true[inside] == negative)
            if labels:
                of_kind = np.flatnonzero(inside & ((true == kind) | (pred == kind)))
                sides = zip(labels, (true == kind, pred == kind))
                ours, theirs = (_regions(side, of_kind, is_kind) for side, is_kind in sides)
                row |= _sites(ours, theirs, tolerances)
            rows.append(row)
    return rows


def _row_of(labels: Any) -> list:
    try:
        row = read_target(rows_of(labels, "entries of labels"))
        if row.ndim != 1:
            raise ValueError(f"has shape {row.shape}; expected one label per residue.")
        return row.tolist()
    except ValueError as error:
        raise ValueError(f"A row of labels {error}") from None


def _detection(true: np.ndarray, pred: np.ndarray, negative: np.ndarray) -> dict[str, float]:
    scores = {}
    for name, rows in (("mcc1", true | negative), ("mcc2", np.ones(len(true), dtype=bool))):
        both = len(np.unique(true[rows])) == 2
        scores[name] = matthews_correlation(true[rows], pred[rows]) if both else np.nan
    return scores


def _regions(labels: list, rows: np.ndarray, is_kind: np.ndarray) -> list:
    """Labels of some proteins, those of other types without a signal peptide."""
    return [labels[i] if is_kind[i] else "-" * len(labels[i]) for i in rows]


def _sites(true: list, pred: list, tolerances: tuple[int, ...]) -> dict[str, float]:
    scores = {}
    for k in tolerances:
        real, predicted = (any(cleavage_site(row)[0] for row in side) for side in (true, pred))
        scores[f"precision_{k}"] = cleavage_precision(true, pred, tolerance=k) if predicted else np.nan
        scores[f"recall_{k}"] = cleavage_recall(true, pred, tolerance=k) if real else np.nan
        scores[f"mcc_{k}"] = cleavage_mcc(true, pred, tolerance=k)
    return scores


def _site_counts(y_true: Any, y_pred: Any, tolerance: int, signal: str) -> tuple[int, int, int, int]:
    """Right, predicted and true sites, and residues."""
    residues = sum(true.count() for true, _ in paired_residues(y_true, y_pred))
    right = predicted = real = 0
    for true, pred in zip(y_true, y_pred):
        (site, label), (found, said) = cleavage_site(true, signal), cleavage_site(pred, signal)
        real += site > 0
        predicted += found > 0
        right += site > 0 and found > 0 and label == said and abs(site - found) <= tolerance
    return right, predicted, real, residues
