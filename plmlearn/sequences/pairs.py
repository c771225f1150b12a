"""Pairs of proteins: clean sequences, or names of any kind.

``check_pairs``        any container of pairs of proteins -> (n_pairs, 2) array of clean strings
``check_pair_rows``    the same for pairs of anything hashable, such as accessions, which stay as they are
``refuse_missing``     one error for all pairs that lack an entry
"""

from collections.abc import Callable, Hashable, Iterator, Set
from typing import Any, get_args

import numpy as np

from .clean import (
    Invalid,
    check_choice,
    clean_one,
    is_missing,
    is_table,
    object_array,
    refuse,
    row_name,
    rows_of,
    warn_of_nucleotides,
)

_PARTNERS = ("first", "second")


def check_pairs(X: Any, *, invalid: Invalid = "raise") -> np.ndarray:
    """Clean pairs of proteins, each protein as :func:`check_sequences` cleans it.

    Parameters
    ----------
    X : array of shape (n_pairs, 2), DataFrame with two columns, or list of 2-tuples or 2-lists
        Two proteins that may interact per row, as ``str`` or SeqRecord-like objects.
    invalid : {"raise", "replace"}, default="raise"
        What to do with a character that is not a residue: refuse it, or put an X in its place.

    Returns
    -------
    ndarray of shape (n_pairs, 2), dtype object
        Clean ``str``, in the order of ``X``. ``X`` itself does not change.

    Raises
    ------
    SequenceError
        Some rows are not pairs, or a partner is empty, missing or invalid; the message says which partner.
    ValueError
        ``X`` has no rows, another number of columns, or is two lists of proteins, not a list of pairs.
    TypeError
        ``X`` is not one of the accepted containers.

    Warns
    -----
    UserWarning
        All sequences are made of the letters A, C, G, T, U and N alone, as DNA and RNA are.

    See Also
    --------
    check_sequences : Clean sequences from whatever holds them.

    Examples
    --------
    >>> from plmlearn.sequences import check_pairs
    >>> first, second = ["MKV", "MST"], ["gsh*", "AAK"]
    >>> check_pairs(list(zip(first, second)))
    array([['MKV', 'GSH'],
           ['MST', 'AAK']], dtype=object)
    """
    clean = clean_pairs(X, invalid, clean_one)
    warn_of_nucleotides(clean.flat)
    return clean


def clean_pairs(
    X: Any, invalid: Invalid, clean_protein: Callable[[Any, Invalid], tuple[str, str]]
) -> np.ndarray:
    """Clean pairs by a function that cleans one protein and says what is wrong with it; warn of nothing."""
    check_choice("invalid", invalid, get_args(Invalid))
    pairs, problems = _read(X)
    # Proteins recur in pairs: each text is cleaned once.
    texts = {item for pair in pairs for item in pair if type(item) is str}
    known = {text: clean_protein(text, invalid) for text in texts}
    clean = np.empty((len(pairs), 2), dtype=object)
    for row, pair in enumerate(pairs):
        for column, item in enumerate(pair):
            clean[row, column], fault = known[item] if type(item) is str else clean_protein(item, invalid)
            if fault:
                problems.append((row, f"{_PARTNERS[column]} protein{row_name(None, row, item)} {fault}"))
    refuse(problems, "Pair {}:", X)
    return clean


def check_pair_rows(X: Any) -> np.ndarray:
    """Pairs of anything hashable (sequences or accessions) as an (n_pairs, 2) object array, or one error."""
    pairs, problems = _read(list(X) if isinstance(X, (Iterator, Set)) else X)
    problems += [
        (row, f"{partner} protein is of type {type(item).__name__}; expected a name or a sequence.")
        for row, pair in enumerate(pairs)
        for partner, item in zip(_PARTNERS, pair)
        if not isinstance(item, Hashable)
    ]
    refuse(problems, "Pair {}:", X)
    rows = object_array(item for pair in pairs for item in pair).reshape(-1, 2)
    refuse_missing(rows, "protein")
    return rows


def refuse_missing(pairs: np.ndarray, noun: str) -> None:
    """Raise if an entry of any pair is missing or blank; ``noun`` says what an entry is."""
    problems = [
        (row, f"{partner} {noun} is missing ({item!r}). Give it, or leave the row out.")
        for row, pair in enumerate(pairs.tolist())
        for partner, item in zip(_PARTNERS, pair)
        if is_blank(item)
    ]
    refuse(problems, "Pair {}:")


def is_blank(item: Any) -> bool:
    """Whether an entry is missing, or a text without any letters."""
    return not item.strip() if isinstance(item, str) else is_missing(item)


def _read(X: Any) -> tuple[list, list[tuple[int, str]]]:
    """The pairs as given, with () for each row that is not one, and what is wrong with those rows."""
    rows = _two_columns(rows_of(X, "pairs"))
    faults = {row: fault for row, pair in enumerate(rows) if (fault := _not_a_pair(pair))}
    return [() if row in faults else pair for row, pair in enumerate(rows)], list(faults.items())


def _two_columns(rows: Any) -> list:
    if isinstance(rows, np.ndarray) and rows.ndim > 1:
        if rows.shape[1:] != (2,):
            hint = "Pass X.T." if rows.shape[0] == 2 else "Pass the columns of the two proteins."
            raise ValueError(f"X has shape {rows.shape}; expected (n_pairs, 2), two proteins per row. {hint}")
    elif len(rows) == 2 and all(_is_list_of_many(row) for row in rows):
        raise ValueError("X is two lists of proteins; expected a list of pairs: pass list(zip(a, b)).")
    return rows.tolist() if isinstance(rows, np.ndarray) else list(rows)


def _is_list_of_many(row: Any) -> bool:
    return (isinstance(row, (list, tuple, np.ndarray)) or is_table(row)) and len(row) != 2


def _not_a_pair(row: Any) -> str:
    if isinstance(row, (list, tuple)) or (isinstance(row, np.ndarray) and row.ndim == 1):
        return "" if len(row) == 2 else f"has {len(row)} entries; expected two proteins."
    return f"is of type {type(row).__name__}; expected a tuple of two proteins."
