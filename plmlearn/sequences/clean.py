"""Clean protein sequences: what counts as one, and how to get there.

``ALPHABET``, ``AMBIGUOUS``, ``RARE``   the letters of residues; ``LETTERS`` is all of them
``check_sequences``                     any container of proteins -> array of clean strings
``truncate``                            at most ``max_length`` residues, with one warning that counts

A clean sequence is a non-empty ``str`` in upper case of the 20 amino acids, X (unknown) and the rare letters
B, O, U and Z, which each backbone maps by its own rule. Rows are counted from 0, as in ``X[0]``; residues
from 1, as in biology.
"""

import re
import reprlib
import warnings
from collections.abc import Iterable, Sequence
from numbers import Number
from typing import Any, Literal, get_args

import numpy as np

from .containers import is_missing, object_array, one_column, rows_of
from .messages import SequenceError, check_choice, first_few, refuse

ALPHABET = "ACDEFGHIKLMNPQRSTVWY"
AMBIGUOUS = "X"
RARE = "BOUZ"
LETTERS = ALPHABET + AMBIGUOUS + RARE

Invalid = Literal["raise", "replace"]
LongSequences = Literal["truncate", "window", "raise"]

_INVALID = re.compile(f"[^{LETTERS}]")
# str.upper makes amino acids of letters of other alphabets ("ß" becomes "SS"), so only these change case.
_UPPER = {ord(lower): lower.upper() for lower in "abcdefghijklmnopqrstuvwxyz"}
# What str() and astype(str) make of missing values; in upper case they would pass as proteins.
_MISSING_TEXTS = ("nan", "NaN", "None")
_HINTS = (
    ("[<>]", "A special token such as <mask> is no residue: write X in its place."),
    (r"[()\[\]{}]", "Write a modified residue as its parent, M for (MSE), or as X."),
    (r"[-.~]", "Gaps belong to an alignment: remove them, and their labels, with sequence.replace('-', '')."),
    (r"\*", "A '*' inside a sequence is a stop codon: check the reading frame, or end the sequence there."),
    ("", "Pass invalid='replace' to map it to X."),
)


def check_sequences(X: Any, *, invalid: Invalid = "raise", min_length: int = 1) -> np.ndarray:
    """Clean protein sequences from whatever holds them, or raise one error that names every bad row.

    Letters become upper case. Whitespace is removed wherever it stands, and so is the ``*`` of a stop codon
    at the end. The 20 amino acids, X and the rare B, O, U and Z are kept. No row is dropped.

    Parameters
    ----------
    X : list, tuple, array, pandas or polars Series, or DataFrame with one column, of shape (n,) or (n, 1)
        One protein per row: a ``str``, or an object with a ``.seq`` (and an ``.id`` for messages) such as
        Biopython's SeqRecord.
    invalid : {"raise", "replace"}, default="raise"
        What to do with any other character (J, a digit): refuse it, or put an X in its place. Remove gaps and
        brackets such as "(MSE)" yourself: an X for each of their characters adds residues.
    min_length : int, default=1
        Fewest residues of a clean sequence.

    Returns
    -------
    ndarray of shape (n_sequences,), dtype object
        Clean ``str``, in the order of ``X``. ``X`` itself does not change.

    Raises
    ------
    SequenceError
        Some rows are empty, missing, too short, not text, or have an invalid character; ``.rows`` lists them.
    ValueError
        ``X`` has no rows, is one string, or has several columns.
    TypeError
        ``X`` is not a list of anything: a dict, a path, a generator.

    Warns
    -----
    UserWarning
        All sequences are made of the letters A, C, G, T, U and N alone, as DNA and RNA are.

    Examples
    --------
    >>> from plmlearn.sequences import check_sequences
    >>> check_sequences(["MKVLA", "mkt ayi\\n*", "MSEUX"])
    array(['MKVLA', 'MKTAYI', 'MSEUX'], dtype=object)
    >>> check_sequences(["MKLJ"], invalid="replace")
    array(['MKLX'], dtype=object)
    """
    clean, _ = clean_rows(X, invalid, min_length)
    warn_of_nucleotides(clean)
    return clean


def clean_rows(X: Any, invalid: Invalid, min_length: int = 1) -> tuple[np.ndarray, Sequence]:
    """Clean sequences, and the entries of ``X`` that they were made from; no warning of nucleotides."""
    check_choice("invalid", invalid, get_args(Invalid))
    given = one_column(rows_of(X, "sequences"), X)
    cleaned = [clean_one(item, invalid, min_length) for item in given]
    refuse([(row, fault) for row, (_, fault) in enumerate(cleaned) if fault], "Sequence {}", X, given)
    return object_array(sequence for sequence, _ in cleaned), given


def truncate(
    sequences: np.ndarray, max_length: int, long_sequences: LongSequences = "truncate"
) -> tuple[np.ndarray, int]:
    """Cut sequences to ``max_length`` residues, and count those that were longer.

    Parameters
    ----------
    sequences : ndarray of str, shape (n_sequences,) or (n_pairs, 2)
        Clean sequences.
    max_length : int
        Residues to keep, from the first.
    long_sequences : {"truncate", "window", "raise"}, default="truncate"
        Cut longer sequences and warn once, with counts; leave them whole, to be read in windows; or refuse
        them.

    Returns
    -------
    sequences : ndarray of str, of the same shape
    n_cut : int

    Raises
    ------
    SequenceError
        Some sequences are longer, and ``long_sequences`` is "raise".

    Examples
    --------
    >>> from plmlearn.sequences import check_sequences, truncate
    >>> truncate(check_sequences(["MKV", "MS"]), max_length=5)
    (array(['MKV', 'MS'], dtype=object), 0)
    """
    check_choice("long_sequences", long_sequences, get_args(LongSequences))
    flat, per_row = sequences.ravel(), sequences.size // len(sequences)
    long = [i for i, sequence in enumerate(flat.tolist()) if len(sequence) > max_length]
    if not long or long_sequences == "window":
        return sequences, 0
    shown = first_few((f"{i // per_row} ({len(flat[i])} residues)" for i in long), n=5)
    which = f"{len(long)} of {len(flat)} sequences (rows {shown})"
    if long_sequences == "raise":
        raise SequenceError(
            f"{which} are longer than max_length={max_length}. Raise max_length (at most 10000), or pass "
            "long_sequences='window' to read them in windows, or 'truncate' to read only so many residues.",
            sorted({i // per_row for i in long}),
        )
    warnings.warn(
        f"{which} were cut to their first {max_length} residues. Raise max_length to read more of them, or "
        "pass long_sequences='window' to read all.",
        UserWarning,
        stacklevel=4,
    )
    short = flat.copy()
    short[long] = [flat[i][:max_length] for i in long]
    return short.reshape(sequences.shape), len(long)


def warn_of_nucleotides(sequences: Iterable[str]) -> None:
    """Warn where all sequences together look like DNA or RNA."""
    letters: set[str] = set()
    for sequence in sequences:
        letters.update(sequence)
        if not letters <= set("ACGTUN"):
            return
    if letters >= set("ACG") and letters & set("TU"):
        warnings.warn(
            "All sequences are made of the letters A, C, G, T, U and N alone, so they look like DNA or RNA; "
            "expected proteins. Translate coding sequences first, for example with Biopython.",
            UserWarning,
            stacklevel=3,
        )


# ---- one sequence


def clean_one(item: Any, invalid: Invalid, min_length: int = 1) -> tuple[str, str]:
    """The clean sequence, and what is wrong with it ('' if nothing is)."""
    if type(item) is str and len(item) >= min_length and _is_clean(item):
        return item, ""
    item = text_of(item)
    if not isinstance(item, str) or item in _MISSING_TEXTS:
        return "", _not_text(item)
    text = "".join(item.split())
    text = (text.upper() if text.isascii() else text.translate(_UPPER)).rstrip("*")
    if invalid == "replace":
        text = _INVALID.sub(AMBIGUOUS, text)
    return text, _fault(text, min_length)


def text_of(item: Any) -> Any:
    """The text of a SeqRecord-like object, whose ``.seq`` may be an object; any other item as it is."""
    if isinstance(item, str) or not hasattr(item, "seq"):
        return item
    if is_missing(item.seq) or isinstance(item.seq, (bytes, Number, np.generic, list, tuple, set, dict)):
        return item.seq
    try:
        return str(item.seq)
    except TypeError:  # Biopython's sequence of known length and unknown content
        return None


def _is_clean(text: str) -> bool:
    # Deleting every allowed byte takes a fraction of the time of a regular expression.
    return text.isascii() and not text.encode().translate(None, LETTERS.encode())


def _fault(text: str, min_length: int) -> str:
    if not text and min_length > 0:
        return "is empty; expected residues. Give its sequence, or leave the row out of X and y."
    if len(text) < min_length:
        return f"has {len(text)} residue(s); expected at least {min_length}. Leave the row out of X and y."
    if _is_clean(text):
        return ""
    first, *others = _INVALID.finditer(text)
    more = f" (and {len(others)} more)" if others else ""
    hint = next(hint for pattern, hint in _HINTS if re.search(pattern, text))
    return f"has {first[0]!r} at residue {first.start() + 1}{more}; allowed: {LETTERS}. {hint}"


def _not_text(item: Any) -> str:
    if is_missing(item) or isinstance(item, str):
        return f"is missing ({item!r}); expected a str. Give its sequence, or leave the row out of X and y."
    if isinstance(item, (bytes, bytearray)):
        return "is of type bytes; expected a str. Pass it through .decode()."
    if isinstance(item, (list, tuple, set, np.ndarray)):
        return f"is a {type(item).__name__}; expected one str. For pairs of proteins use a pair estimator."
    return f"is {reprlib.repr(item)} of type {type(item).__name__}; expected a str, or a record with .seq."
