"""Clean protein sequences: what counts as one, and how to get there.

``ALPHABET``, ``AMBIGUOUS``, ``RARE``   the letters of residues; ``LETTERS`` is all of them
``check_sequences``                     any container of proteins -> array of clean strings
``truncate``                            at most ``max_length`` residues, with one warning that counts
``SequenceError``                       everything that is wrong with one input, with the rows
``object_array``                        a one-dimensional array of anything
``local_path``                          a caller's path, ``~`` expanded

A clean sequence is a non-empty ``str`` in upper case of the 20 amino acids, X (unknown) and the rare letters
B, O, U and Z, which each backbone maps by its own rule. A residue may carry a structural state
(:func:`with_state`). Rows are counted from 0, as in ``X[0]``; residues from 1, as in biology.
"""

import difflib
import os
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Number, Real
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from sklearn.utils._param_validation import Interval, validate_parameter_constraints

from ..messages import warn


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


def check_count(y: Any, n: int, of: str, entries: str = "targets") -> None:
    """Raise unless y has ``n`` entries, one for each row of X."""
    if len(y) != n:
        raise ValueError(f"y has {len(y)} {entries} for {n} {of}; expected one for each.")


def one_column(rows: Any, X: Any) -> Sequence:
    """The entries of rows with one column; ``X`` is the container that they come from."""
    if not isinstance(rows, np.ndarray):
        return rows
    if rows.ndim == 1 or rows.shape[1:] == (1,):
        return rows.reshape(len(rows)).tolist()
    if is_table(X):
        raise ValueError(f"X has {rows.shape[1]} columns; expected one. Pass X['name of the sequences'].")
    raise ValueError(f"X has shape {rows.shape}; expected (n_sequences,). Pass one column: X[:, 0].")


def targets_of(y: Any, noun: str) -> Any:
    """As :func:`rows_of`; the rows of a frame with one column are its entries."""
    rows = rows_of(y, noun)
    return rows.reshape(len(rows)) if is_table(y) and rows.shape[1:] == (1,) else rows


def is_table(X: Any) -> bool:
    """Whether X is a Series or a frame of pandas or polars."""
    return hasattr(X, "to_numpy")


def is_missing(item: Any) -> bool:
    """Whether an entry is a missing value."""
    if isinstance(item, (float, np.floating)):
        return bool(item != item)
    return item is None or type(item).__name__ in ("NAType", "NaTType")


def plain_array(y: Any, name: str) -> np.ndarray:
    """What numpy makes of ``y``, but nothing missing becomes a label: numpy reads ["a", nan] as "nan"."""
    try:
        array = np.asarray(y)
    except ValueError:
        raise ValueError(f"{name} has rows of different lengths; expected the same form in each.") from None
    if array.dtype.kind == "U" and isinstance(y, (list, tuple)):
        entries = np.array(y, dtype=object)
        return array if all(isinstance(entry, str) for entry in entries.flat) else entries
    return array


def gaps_in(array: np.ndarray) -> np.ndarray:
    """Which entries are missing, of the array's shape."""
    by_entry = array.dtype.kind in "OT"  # entry by entry takes 100 times as long
    return np.vectorize(is_missing, otypes=[bool])(array) if by_entry else array != array


def rows_with(wrong: np.ndarray) -> np.ndarray:
    """Rows of which any entry is wrong."""
    return np.flatnonzero(wrong.reshape(len(wrong), -1).any(axis=1))


_LONGEST_NAME = 255  # bytes, of file systems in use


def local_path(path: str | os.PathLike[str], name: str = "path") -> Path:
    """A caller's path, ``~`` expanded; every path in or out of the package goes through here.

    Raises
    ------
    TypeError
        The parameter ``name`` is no path.
    ValueError
        A part of it is longer than file systems take.
    """
    if not isinstance(path, (str, os.PathLike)) or isinstance(os.fspath(path), bytes) or path == "":
        raise TypeError(f"{name} is {reprlib.repr(path)}; expected a str or a pathlib.Path.")
    expanded = Path(os.path.expanduser(path))
    if any(len(part.encode("utf-8", "surrogatepass")) > _LONGEST_NAME for part in expanded.parts):
        raise ValueError(
            f"{name} is {reprlib.repr(path)}; names of files have at most {_LONGEST_NAME} bytes."
        )
    return expanded


def object_array(items: Iterable) -> np.ndarray:
    """One-dimensional object array of items, which may be arrays themselves."""
    return np.fromiter(items, dtype=object)


_SHOWN = 10


class SequenceError(ValueError):
    """Bad rows in sequences, pairs or residue targets; the message shows 10 problems and counts the rest.

    Attributes
    ----------
    rows : list of int
        Positions of all bad rows, counted from 0, in ascending order.

    Examples
    --------
    >>> from plmlearn.sequences import SequenceError, check_sequences
    >>> try:
    ...     check_sequences(["MKV", "", None])
    ... except SequenceError as error:
    ...     print(error.rows)
    [1, 2]
    """

    def __init__(self, message: str, rows: Iterable[int] = ()) -> None:
        super().__init__(message)
        self.rows = [int(row) for row in rows]


def refuse(problems: list[tuple[int, str]], title: str, X: Any = None, items: Any = None) -> None:
    """Raise one error for all problems, each a row and what is wrong there; without problems do nothing.

    Parameters
    ----------
    problems : list of (row, text)
    title : str
        How a line begins, with {} for the row, such as "Sequence {}".
    X, items : optional
        The caller's container and its entries, which may have names for the rows.
    """
    if not problems:
        return
    lines = []
    for row, text in sorted(problems, key=lambda problem: problem[0])[:_SHOWN]:
        name = row_name(X, row, None if items is None else items[row])
        lines.append(f"{title.format(f'{row}{name}')} {text}")
    if (rest := len(problems) - _SHOWN) > 0:
        lines.append(f"... and {rest} more; the attribute `rows` of this error lists all rows.")
    raise SequenceError("\n".join(lines), rows=sorted({row for row, _ in problems}))


def row_name(X: Any, row: int, item: Any = None) -> str:
    """The caller's own name for a row, in brackets: its label in a pandas index, or the id of its record."""
    index = X.index if is_table(X) and hasattr(X, "index") else None
    if index is None or (type(index).__name__ == "RangeIndex" and (index.start, index.step) == (0, 1)):
        return f" ({item.id!r})" if hasattr(item, "seq") and hasattr(item, "id") else ""
    return f" ({index[row : row + 1].tolist()[0]!r})"


def first_few(items: Iterable, separator: str = ", ", n: int = _SHOWN) -> str:
    """The first ``n`` items in words, and "…" where there are more."""
    words = list(map(str, items))
    return separator.join([*words[:n], *["…"] * (len(words) > n)])


def did_you_mean(name: Any, known: Iterable[str]) -> str:
    """A hint at the known name that a wrong one comes close to; "" where none does."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Raise unless a parameter is one of its choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}={value!r}; expected one of {', '.join(map(repr, choices))}.")


def check_parameters(constraints: Mapping[str, Any], given: Mapping[str, Any], caller: str) -> None:
    """Raise an error that names the first parameter whose value does not obey its constraints.

    A boolean is no number here, although Python counts it as one.

    Parameters
    ----------
    constraints : mapping
        As of scikit-learn's estimators, by parameter.
    given : mapping
        Values by name; those without a constraint are not looked at.
    caller : str
        Name of the function or class, for the message.
    """
    checked = [name for name in given if constraints.get(name, "no_validation") != "no_validation"]
    rules = {name: [Range.of(rule) for rule in constraints[name]] for name in checked}
    validate_parameter_constraints(rules, {name: given[name] for name in checked}, caller)


class Range(Interval):
    """scikit-learn's interval, for numbers of every kind but booleans."""

    @classmethod
    def of(cls, rule: Any) -> Any:
        """An interval of scikit-learn as such a range; any other constraint as it is."""
        is_interval = type(rule) is Interval
        return cls(rule.type, rule.left, rule.right, closed=rule.closed) if is_interval else rule

    def is_satisfied_by(self, val: Any) -> bool:
        if isinstance(val, (bool, np.bool_)):
            return False
        if isinstance(val, Real) and not isinstance(val, (Integral, float, np.floating)):
            val = float(val)  # a fraction, which NumPy cannot compare
        return super().is_satisfied_by(val)


ALPHABET = "ACDEFGHIKLMNPQRSTVWY"
AMBIGUOUS = "X"
RARE = "BOUZ"
LETTERS = ALPHABET + AMBIGUOUS + RARE

STATES = ALPHABET
"""Foldseek's structural states; beside residues they are written in lower case."""


UNKNOWN_STATE = "#"


def with_state(letter: str, state: str) -> str:
    """The one character for a residue and its structural state: the letter is its low byte.

    >>> [character] = with_state("M", "D")
    >>> chr(ord(character) % 256), chr(ord(character) // 256 + ord("@"))
    ('M', 'D')
    """
    return chr((ord(state) - ord("@") << 8) | ord(letter))


def residues_of(sequence: str) -> str:
    """The letters of a clean sequence, without structural states.

    >>> residues_of(with_state("M", "D") + "K")
    'MK'
    """
    return sequence.encode("utf-16-le")[::2].decode("ascii")


_LENGTHS = {
    "min_length": [Interval(Integral, 0, None, closed="left")],
    "max_length": [Interval(Integral, 1, None, closed="left")],
}
Invalid = Literal["raise", "replace"]
LongSequences = Literal["truncate", "window", "raise"]

_INVALID = re.compile(f"[^{LETTERS}]")
_STATEFUL = "".join(with_state(letter, state) for letter in LETTERS for state in STATES)
_UNREADABLE = re.compile(f"[^{LETTERS}{_STATEFUL}]")
# str.upper makes amino acids of letters of other alphabets ("ß" becomes "SS"), so only these change case.
_UPPER = {ord(lower): lower.upper() for lower in "abcdefghijklmnopqrstuvwxyz"}
# What str() and astype(str) make of missing values; in upper case they would pass as proteins.
_MISSING_TEXTS = ("nan", "NaN", "None")
_HINTS = (
    ("[<>]", "A special token such as <mask> is not a residue: write X in its place."),
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

    See Also
    --------
    check_pairs : The same for pairs.
    truncate : Cut long sequences, and count them.

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
    check_parameters(_LENGTHS, {"min_length": min_length}, "check_sequences")
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

    See Also
    --------
    check_sequences : Clean sequences from whatever holds them.

    Examples
    --------
    >>> from plmlearn.sequences import check_sequences, truncate
    >>> truncate(check_sequences(["MKV", "MS"]), max_length=5)
    (array(['MKV', 'MS'], dtype=object), 0)
    """
    check_choice("long_sequences", long_sequences, get_args(LongSequences))
    check_parameters(_LENGTHS, {"max_length": max_length}, "truncate")
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
    warn(
        f"{which} were cut to their first {max_length} residues. Raise max_length to read more of them, or "
        "pass long_sequences='window' to read all."
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
        warn(
            "All sequences are made of the letters A, C, G, T, U and N alone, so they look like DNA or RNA; "
            "expected proteins. Translate coding sequences first, for example with Biopython."
        )


# ---- one sequence


def clean_one(item: Any, invalid: Invalid, min_length: int = 1) -> tuple[str, str]:
    """The clean sequence, and what is wrong with it ('' if nothing is)."""
    if type(item) is str and len(item) >= min_length and is_clean(item):
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


def some_row(holds: Callable[[Any], bool], X: Any) -> bool:
    """Whether a condition holds of any row of a container."""
    rows = np.asarray(X, dtype=object) if is_table(X) else X
    return isinstance(rows, (list, tuple, np.ndarray)) and np.iterable(rows) and any(map(holds, rows))


def may_have_states(item: Any) -> bool:
    """Whether one protein could have structural states: text that is mixed, or two entries."""
    return is_couple(item) or is_mixed(text_of(item))


def is_couple(item: Any) -> bool:
    """Whether an item has two entries."""
    return isinstance(item, (list, tuple, np.ndarray)) and np.ndim(item) == 1 and len(item) == 2


def is_mixed(text: Any) -> bool:
    """Whether a text has letters of both cases, or the mark of an unknown state."""
    return isinstance(text, str) and (UNKNOWN_STATE in text or not (text.isupper() or text.islower()))


def is_clean(text: str) -> bool:
    """Whether all characters are residues, with structural states or without."""
    if text.isascii():  # deleting every allowed byte takes a fraction of the time of a regular expression
        return not text.encode().translate(None, LETTERS.encode())
    return not _UNREADABLE.search(text)


def _fault(text: str, min_length: int) -> str:
    if not text and min_length > 0:
        return "is empty; expected residues. Give its sequence, or leave the row out of X and y."
    if len(text) < min_length:
        return f"has {len(text)} residue(s); expected at least {min_length}. Leave the row out of X and y."
    if is_clean(text):
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
