"""Targets per residue: labels or values, checked against the sequences that they belong to.

``check_residue_targets``    targets in any form -> one array per sequence
``read_target``              one target -> a masked array
"""

from collections.abc import Iterable
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np

from ..messages import warn
from .clean import check_choice, check_count, clean_rows, first_few, is_missing, refuse, targets_of, text_of

Kind = Literal["labels", "values"]
IGNORE_INDEX = -100  # what torch and transformers write for labels that take no part in a loss


def check_residue_targets(
    y: Any, sequences: Any, *, ignore_label: Any = None, kind: Kind = "labels"
) -> list[np.ndarray]:
    """Read what was measured at each residue, states such as helix or numbers, into one array per sequence.

    Parameters
    ----------
    y : list, tuple, array, Series or frame with one column, one target per sequence
        A ``str`` with one letter per residue ("HHEC"), or an array or list with one entry per residue; all
        rows in the same form. A target has as many entries as its clean sequence has residues.
    sequences : as ``X`` of :func:`check_sequences`
        The proteins, as given or clean. If they are as given, messages recognise labels of a ``*`` that
        cleaning removed.
    ignore_label : label, default=None
        The entry that says "not measured". Masked entries, None, nan and pandas' NA always do, and among
        labels -100, as in torch and transformers.
    kind : {"labels", "values"}, default="labels"
        Labels are text, whole numbers or booleans; values are finite numbers, one or k per residue.

    Returns
    -------
    list of ndarray, one of length L per sequence of L residues; always new arrays
        For labels, masked arrays of shape (L,), mask True = not measured. For values, float64 arrays of
        shape (L,) or (L, k), nan = not measured.

    Raises
    ------
    SequenceError
        Some targets differ in length from their sequence or in form from the others, or are neither labels
        nor numbers.
    ValueError
        The numbers of targets and sequences differ.

    Warns
    -----
    UserWarning
        Labels are -100 and ``ignore_label`` does not say so; the message counts them.

    See Also
    --------
    check_sequences : Clean sequences from whatever holds them.

    Examples
    --------
    >>> from plmlearn.sequences import check_residue_targets
    >>> check_residue_targets(["HH-", "EC"], ["MKV", "GS"], ignore_label="-")[0].tolist()
    ['H', 'H', None]
    >>> check_residue_targets([[0.5, None, 2]], ["MKV"], kind="values")
    [array([0.5, nan, 2. ])]
    """
    check_choice("kind", kind, get_args(Kind))
    clean, given = clean_rows(sequences, "replace")
    targets = list(targets_of(y, "residue targets"))
    check_count(targets, len(clean), "sequences")
    read = _labels if kind == "labels" else _values
    arrays: list[np.ndarray] = []
    problems, usual_form = [], ""
    for row, target in enumerate(targets):
        try:
            arrays.append(read(target, ignore_label))
            _check_length(arrays[-1], given[row], clean[row])
            usual_form = _check_form(target, arrays[-1], usual_form)
        except (TypeError, ValueError) as error:
            problems.append((row, str(error)))
    refuse(problems, "Target {}", sequences, given)
    if kind == "labels":
        warn_of_ignore_index(targets, ignore_label)
    return arrays


def warn_of_ignore_index(targets: Iterable, ignore_label: Any) -> None:
    """Say how many labels were taken for "not measured" because they are -100."""
    if ignore_label == IGNORE_INDEX:
        return
    counts = [0 if isinstance(target, str) else _n_ignored(target) for target in targets]
    if rows := [row for row, count in enumerate(counts) if count]:
        warn(
            f"{sum(counts)} labels in {len(rows)} of {len(counts)} targets (rows {first_few(rows)}) are "
            f"{IGNORE_INDEX}, which torch and transformers write where there is no label: they are taken as "
            f"not measured. Pass ignore_label={IGNORE_INDEX} to say so, or give a class another number."
        )


def read_target(target: Any, ignore_label: Any = None, kind: Kind = "values") -> np.ma.MaskedArray:
    """A copy of one target as text or numbers, with a mask of the entries that were not measured."""
    if ignore_label is not None and not np.isscalar(ignore_label):
        raise ValueError(f"cannot be compared with ignore_label={ignore_label!r:.100}; expected one label.")
    values = _entries(target)
    if values.dtype == object:
        mask = np.array([is_missing(entry) for entry in values.flat], dtype=bool).reshape(values.shape)
        values[mask] = None  # pandas' NA cannot be compared
    else:
        mask = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, dtype=bool)
    if isinstance(target, np.ma.MaskedArray):
        mask = mask | np.ma.getmaskarray(target)
    if ignore_label is not None:
        mask = mask | (values == ignore_label)
    if kind == "labels":
        mask = mask | _is_ignored(values)
    return np.ma.array(_typed(values, mask) if values.dtype == object else values, mask=mask)


# What is wrong with a target is raised, and reads on from "Target 3 ".


def _labels(target: Any, ignore_label: Any) -> np.ndarray:
    labels = read_target(target, ignore_label, "labels")
    if labels.ndim != 1 or labels.dtype.kind not in "biufU":
        raise ValueError(f"has shape {labels.shape} and type {labels.dtype}; expected one label per residue.")
    if labels.dtype.kind == "f":
        measured = labels.compressed()
        odd = measured[(measured != np.floor(measured)) | np.isinf(measured)]
        if len(odd):
            raise ValueError(f"has {odd[0]}, which is not a label. Use a residue regressor for numbers.")
    return labels


def _values(target: Any, ignore_label: Any) -> np.ndarray:
    if isinstance(target, str):
        raise ValueError("is a str; expected an array with a number per residue. Split it, pass floats.")
    measured = read_target(target, ignore_label)
    if measured.ndim not in (1, 2) or measured.dtype.kind not in "biuf":
        got = f"has shape {measured.shape} and type {measured.dtype}"
        raise ValueError(f"{got}; expected an array of numbers, (L,) or (L, k).")
    values = np.ma.getdata(measured).astype(np.float64)
    values[np.ma.getmaskarray(measured)] = np.nan
    if np.isinf(values).any():
        residue = np.argwhere(np.isinf(values))[0, 0] + 1
        raise ValueError(f"is infinite at residue {residue}; expected finite numbers, or nan.")
    return values


def _entries(target: Any) -> np.ndarray:
    if isinstance(target, str):
        return np.array([target]).view("U1")[: len(target)]
    if isinstance(target, (list, tuple)):
        return np.array(target, dtype=object)  # left to itself, numpy makes text of [1, "H"]
    values = np.array(target)
    return values.astype(object) if values.dtype.kind == "T" else values


def _n_ignored(target: Any) -> int:
    masked = np.ma.getmaskarray(target) if isinstance(target, np.ma.MaskedArray) else False
    return int((_is_ignored(_entries(target)) & ~np.asarray(masked)).sum())


def _is_ignored(values: np.ndarray) -> np.ndarray:
    """Which entries are -100, as a number or as text."""
    if values.dtype != object:
        return np.asarray(values == (str(IGNORE_INDEX) if values.dtype.kind == "U" else IGNORE_INDEX))
    found = [isinstance(v, str | Real) and v in (IGNORE_INDEX, str(IGNORE_INDEX)) for v in values.flat]
    return np.array(found, dtype=bool).reshape(values.shape)


def _typed(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """An object array as text or numbers, by what was measured; what was not is '' or zero."""
    measured = values[~mask].tolist()
    if any(isinstance(entry, (list, tuple, np.ndarray)) for entry in measured):
        raise ValueError("has lists as entries; expected one entry per residue.")
    if len({isinstance(entry, str) for entry in measured}) > 1:
        raise ValueError("mixes text and numbers; expected labels of one kind.")
    typed = np.zeros(values.shape, dtype=np.array(measured).dtype)
    typed[~mask] = measured
    return typed


def _check_length(array: np.ndarray, given: Any, clean: str) -> None:
    if len(array) == len(clean):
        return
    hint = ""
    if len(array) == len(text_of(given)):
        hint = " That counts whitespace or the '*' at the end, which are removed: leave their entries out."
    elif len(array) == len(clean) + 1:
        hint = " If the last one stands for a '*' at the end, leave it out."
    raise ValueError(f"has {len(array)} entries for {len(clean)} residues; expected one per residue.{hint}")


def _check_form(target: Any, array: np.ndarray, usual: str) -> str:
    """The form of a target, which has to be the usual one where that is known."""
    if isinstance(target, str):
        form = "a str"
    elif array.ndim == 2:
        form = f"an array of {array.shape[1]} columns"
    elif np.ma.getmaskarray(array).all():
        form = usual
    else:
        form = "an array of text" if array.dtype.kind == "U" else "an array of numbers"
    if usual not in ("", form):
        raise ValueError(f"is {form}, those before it are {usual} each; expected all in one form.")
    return form
