"""What there is to predict, told from the data: labels or numbers, per protein, per pair or per residue.

``target_kind``   kind of a target
``are_pairs``     whether X holds pairs of proteins
``are_labels``    whether entries are classes
"""

from typing import Any, Literal

import numpy as np

from .clean import is_table, rows_of, targets_of, text_of
from .columns import as_array, flat

TargetKind = Literal["labels", "numbers", "residue_labels", "residue_numbers"]
KIND_NAMES: dict[TargetKind, str] = {
    "labels": "labels",
    "numbers": "numbers",
    "residue_labels": "labels per residue",
    "residue_numbers": "numbers per residue",
}
_MOST_CLASSES = 20  # of whole numbers; more of them count or measure something


def target_kind(X: Any, y: Any) -> TargetKind:
    """Tell what kind of target y is.

    Text and booleans are labels. Whole numbers are labels if there are at most 20 different ones, all other
    numbers are measurements. Lists, or texts that differ from row to row, with one entry per residue in at
    least half of the rows belong to residues; the estimator then refuses the others.

    Parameters
    ----------
    X : list, array or Series of str, or pairs of them, as the estimators take them
    y : array-like of shape (n,) or (n, k), or one str or array per protein
        Several columns of 0 and 1 are labels, other columns numbers.

    Returns
    -------
    {"labels", "numbers", "residue_labels", "residue_numbers"}

    See Also
    --------
    plmlearn.model_selection.make_folds : Folds in the way that suits the data.

    Examples
    --------
    >>> from plmlearn.sequences import target_kind
    >>> target_kind(["MKV", "GSHM"], ["inside", "outside"]), target_kind(["MKV", "GSHM"], [0.5, 2.0])
    ('labels', 'numbers')
    >>> target_kind(["MKV", "GSHM"], ["HHE", "CCEE"]), target_kind(["MKV", "GSHM"], [[0.1, 2, 1], [1.5] * 4])
    ('residue_labels', 'residue_numbers')
    """
    X, rows = rows_of(X, "sequences in X"), list(targets_of(y, "targets in y"))
    if not are_pairs(X) and _one_per_residue(list(X), rows):
        arrays = [np.ravel(row) for row in rows if isinstance(row, (list, tuple, np.ndarray))]
        has_labels = not arrays or are_labels(as_array(np.concatenate(arrays), "y", missing=True))
        return "residue_labels" if has_labels else "residue_numbers"
    values = flat(as_array(y, "y", missing=True))
    if values.ndim > 1:
        return "labels" if np.isin(values, (0, 1)).all() else "numbers"
    return "labels" if are_labels(values) else "numbers"


def are_pairs(X: Any) -> bool:
    """Whether the rows of X are pairs of proteins, in any of the forms of ``check_pairs``."""
    if isinstance(X, np.ndarray) or is_table(X):
        return len(X.shape) == 2 and X.shape[1] == 2
    return isinstance(X, (list, tuple)) and len(X) > 0 and isinstance(X[0], (list, tuple, np.ndarray))


def _one_per_residue(X: list, y: list) -> bool:
    """Whether targets are as long as their sequences; texts also have to differ, unlike classes."""
    fits = [
        len(target) == len("".join(str(text_of(sequence)).split()).rstrip("*"))
        for sequence, target in zip(X, y)
        if isinstance(target, (str, list, tuple)) or (isinstance(target, np.ndarray) and target.ndim)
    ]
    texts = [target for target in y if isinstance(target, str)]
    vary = not texts or len(set(texts)) > min(_MOST_CLASSES, len(y) / 2)
    return any(fits) and vary and 2 * sum(fits) >= len(y)


def are_labels(values: np.ndarray) -> bool:
    """Whether entries are classes, by the rule of :func:`target_kind`; nan = not measured."""
    if values.dtype.kind not in "iuf":
        return True
    measured = np.unique(values[~np.isnan(values)] if values.dtype.kind == "f" else values)
    return bool(len(measured) <= _MOST_CLASSES and np.all(measured == np.floor(measured)))
