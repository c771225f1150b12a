"""Containers that users pass: lists, tuples, arrays, Series and frames of pandas or polars.

``rows_of``         the rows of a container, or an error that says what to pass instead
``one_column``      the entries of a container with one column
``object_array``    a one-dimensional array of anything, such as arrays of different lengths
``is_missing``      None, nan, and the missing values of pandas
"""

import reprlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


def rows_of(X: Any, noun: str) -> Any:
    """The rows of a container: a list, a tuple, or an array (of objects, for a Series or a frame)."""
    if isinstance(X, (str, bytes)):
        hint = "Put it in a list; read a file with read_fasta or read_csv."
        raise ValueError(f"Expected a list of {noun}, got one string: {reprlib.repr(X)}. {hint}")
    if not isinstance(X, (list, tuple, np.ndarray)) and not is_table(X):
        hint = "Of a dict pass list(X.values()), of an iterator list(X), of a file what read_fasta returns."
        raise TypeError(f"Expected a list, array or Series of {noun}, got {type(X).__name__}. {hint}")
    rows = np.asarray(X, dtype=object) if is_table(X) else X
    if isinstance(rows, np.ndarray) and rows.ndim == 0:
        raise ValueError(f"Expected a list of {noun}, got an array without dimensions. Pass X.reshape(1).")
    if len(rows) == 0:
        hint = "Check the file or the filter that they come from."
        raise ValueError(f"found 0 {noun}, that is 0 sample(s), while a minimum of 1 is required. {hint}")
    return rows


def one_column(rows: Any, X: Any) -> Sequence:
    """The entries of rows with one column; ``X`` is the container that they come from."""
    if not isinstance(rows, np.ndarray):
        return rows
    if rows.ndim == 1 or rows.shape[1:] == (1,):
        return rows.reshape(len(rows)).tolist()
    if is_table(X):
        raise ValueError(f"X has {rows.shape[1]} columns; expected one. Pass X['name of the sequences'].")
    raise ValueError(f"X has shape {rows.shape}; expected (n_sequences,). Pass one column: X[:, 0].")


def is_table(X: Any) -> bool:
    """Whether X is a Series or a frame of pandas or polars."""
    return hasattr(X, "to_numpy")


def is_missing(item: Any) -> bool:
    """Whether an entry stands for a missing value."""
    if isinstance(item, (float, np.floating)):
        return bool(item != item)
    return item is None or type(item).__name__ in ("NAType", "NaTType")


def object_array(items: Iterable) -> np.ndarray:
    """One-dimensional object array of items, which may be arrays themselves."""
    return np.fromiter(items, dtype=object)
