"""Columns beside sequences: labels, groups and numbers, as arrays that can be sorted and computed with.

``check_labels``    one label per row, or a row of labels
``check_numbers``   one number per row, or a row of numbers
``as_array``        entries of any kind
``flat``            a column as one entry per row
"""

from numbers import Real
from typing import Any

import numpy as np

from .clean import first_few, gaps_in, plain_array, rows_of, rows_with


def check_labels(y: Any, name: str, one: tuple[str, int] | None = None) -> np.ndarray:
    """Labels of one kind, none of them missing.

    Parameters
    ----------
    y : list, tuple, array or Series of shape (n,) or (n, k)
    name : str
        Of the parameter, for messages.
    one : tuple of str and int, default=None
        Such as ("label per pair", n), where nothing but one for each of n rows will do.

    Returns
    -------
    ndarray of shape (n,) or (n, k)

    Raises
    ------
    ValueError
        Entries are missing or masked, of different kinds, or rows of different lengths; or there is none.
    TypeError
        It is no list of anything.
    """
    array = as_array(y, name)
    if np.iscomplexobj(array):
        raise ValueError(f"{name} holds complex numbers; expected labels.")
    try:
        np.unique(array)
        set(array.ravel().tolist())
    except TypeError:
        kinds = sorted({type(entry).__name__ for entry in array.flat})
        raise ValueError(f"{name} mixes {first_few(kinds)}; expected labels of one kind.") from None
    return _one_each(array, name, one)


def check_numbers(
    y: Any, name: str, one: tuple[str, int] | None = None, *, missing: bool = False
) -> np.ndarray:
    """Finite numbers as float64.

    Parameters
    ----------
    y : list, tuple, array or Series of shape (n,) or (n, k)
    name : str
        Of the parameter, for messages.
    one : tuple of str and int, default=None
        Such as ("number per variant", n), where nothing but one for each of n rows will do.
    missing : bool, default=False
        Whether entries may be nan.

    Returns
    -------
    ndarray of float64, shape (n,) or (n, k)

    Raises
    ------
    ValueError
        Entries are no numbers, infinite, or missing; or rows have different lengths, or there is none.
    TypeError
        It is no list of anything.
    """
    array = as_array(y, name, missing=missing)
    try:
        if np.iscomplexobj(array):
            raise TypeError
        numbers = array.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} has entries that are no numbers; expected finite numbers.") from None
    _refuse(np.isinf(numbers), f"{name} is infinite", "finite numbers")
    if not missing:  # the text "nan" is a number too
        _refuse(np.isnan(numbers), f"{name} is missing", "an entry in each")
    return _one_each(numbers, name, one)


def _one_each(array: np.ndarray, name: str, one: tuple[str, int] | None) -> np.ndarray:
    if one is not None and array.shape != one[1:]:
        raise ValueError(f"{name} has shape {array.shape}; expected one {one[0]}, {one[1:]}.")
    return array


def flat(entries: np.ndarray) -> np.ndarray:
    """A column of shape (n, 1) as (n,), all else as it is."""
    return entries.reshape(len(entries)) if entries.shape[1:] == (1,) else entries


def as_array(y: Any, name: str, *, missing: bool = False) -> np.ndarray:
    """One entry per row, or k of them; all are there unless they may be ``missing``. Else one error.

    What is missing or masked becomes nan among numbers, and None among all else.
    """
    rows = rows_of(list(y) if isinstance(y, range) else y, f"entries of {name}")
    array = plain_array(rows, name)
    if array.ndim > 2 or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}; expected one entry, or k of them, for each row.")
    gaps = gaps_in(array)
    if isinstance(rows, np.ma.MaskedArray):
        gaps |= np.ma.getmaskarray(rows)
    if not missing:
        _refuse(gaps, f"{name} is missing", "an entry in each")
    return _typed(gaps, array) if array.dtype.kind in "OT" or gaps.any() else array


def _typed(gaps: np.ndarray, array: np.ndarray) -> np.ndarray:
    """Numbers as numbers, also those of a Series, with nan in the place of the gaps; None among all else."""
    measured = array[~gaps].tolist()
    are_bools = all(isinstance(entry, (bool, np.bool_)) for entry in measured)
    are_numbers = all(isinstance(entry, Real) and not isinstance(entry, bool) for entry in measured)
    if not gaps.any():
        return np.array(measured).reshape(array.shape) if are_bools or are_numbers else array
    if are_numbers:
        return np.where(gaps, np.nan, array).astype(np.float64)
    found = array.astype(object)
    found[gaps] = None
    return found


def _refuse(wrong: np.ndarray, fault: str, expected: str) -> None:
    """One error for all rows that have a wrong entry."""
    if wrong.any():
        raise ValueError(f"{fault} in rows {first_few(rows_with(wrong))}; expected {expected}.")
