"""What a protein sequence is, and how one gets in.

``ALPHABET``, ``AMBIGUOUS``, ``RARE``   the letters a residue can be
``check_sequences``          any list, array, Series or records of proteins -> array of clean strings
``truncate``                 no sequence longer than a model reads, said with counts
``check_pairs``              the same for pairs of proteins
``check_residue_targets``    what was measured at each residue -> one array per sequence
``SequenceError``            everything that is wrong with one input, and the rows it is wrong in

A clean sequence is a non-empty ``str`` in upper case of the 20 amino acids, X (unknown) and the rare letters
B, O, U and Z, which each backbone maps by its own rule. Rows are counted from 0, as in ``X[0]``; residues
from 1, as in biology.
"""

import re
import reprlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

ALPHABET = "ACDEFGHIKLMNPQRSTVWY"
AMBIGUOUS = "X"
RARE = "BOUZ"

_ALLOWED = ALPHABET + AMBIGUOUS + RARE
_ALLOWED_BYTES = _ALLOWED.encode()
_INVALID = re.compile(f"[^{_ALLOWED}]")
# str.upper makes amino acids of letters of other alphabets ("ß" becomes "SS"), so only these change case.
_UPPER = {ord(lower): lower.upper() for lower in "abcdefghijklmnopqrstuvwxyz"}
_LINES_SHOWN = 10


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
        self.rows = list(rows)


def check_sequences(X: Any, *, invalid: str = "raise", min_length: int = 1) -> np.ndarray:
    """Clean protein sequences from whatever holds them, or one error that names every bad row.

    Letters are made upper case, whitespace is removed wherever it stands, and so is the ``*`` of a stop codon
    at the end. The 20 amino acids, X and the rare B, O, U and Z are kept. No row is dropped.

    Parameters
    ----------
    X : list, tuple, 1-D array (str, object, StringDType), pandas or polars Series, one-column DataFrame
        One protein per row: a ``str``, or an object with a ``.seq`` (and an ``.id`` for messages) such as
        Biopython's SeqRecord.
    invalid : {"raise", "replace"}, default="raise"
        What to do with any other character (J, a gap, a digit): refuse it, or put an X in its place.
    min_length : int, default=1
        Fewest residues of a clean sequence.

    Returns
    -------
    ndarray of shape (n_sequences,), dtype object
        Clean ``str``, in the order of ``X``, which stays as it was.

    Raises
    ------
    SequenceError
        Some rows are empty, missing, too short, not text, or hold an invalid character; all are in ``.rows``.
    ValueError
        ``X`` has no rows, is one string, or has two dimensions.
    TypeError
        ``X`` is not a list of anything: a dict, a path, a generator.

    Examples
    --------
    >>> from plmlearn.sequences import check_sequences
    >>> check_sequences(["MKVLA", "mkt ayi\\n*", "MSEUX"])
    array(['MKVLA', 'MKTAYI', 'MSEUX'], dtype=object)
    >>> check_sequences(["MK-LJ"], invalid="replace")
    array(['MKXLX'], dtype=object)
    """
    _check_option("invalid", invalid, ("raise", "replace"))
    rows = _one_column(_rows(X, "sequences"), X)
    clean = np.empty(len(rows), dtype=object)
    problems = []
    for row, item in enumerate(rows):
        clean[row], problem = _clean(item, invalid, min_length)
        if problem:
            problems.append((row, problem))
    _refuse(problems, lambda row: f"Sequence {row}{_name(X, row, rows[row])}")
    return clean


def truncate(
    sequences: np.ndarray, max_length: int, long_sequences: str = "truncate"
) -> tuple[np.ndarray, int]:
    """Sequences of at most ``max_length`` residues, and how many were cut.

    Parameters
    ----------
    sequences : ndarray of str, shape (n_sequences,) or (n_pairs, 2)
        Clean sequences.
    max_length : int
        Residues to keep, from the first.
    long_sequences : {"truncate", "window", "raise"}, default="truncate"
        Cut longer ones and warn once, with counts; leave them whole, to be read in windows; refuse them.

    Examples
    --------
    >>> from plmlearn.sequences import check_sequences, truncate
    >>> truncate(check_sequences(["MKV", "MS"]), max_length=5)
    (array(['MKV', 'MS'], dtype=object), 0)
    """
    _check_option("long_sequences", long_sequences, ("truncate", "window", "raise"))
    flat, per_row = sequences.ravel(), sequences.size // len(sequences)
    long = [i for i, sequence in enumerate(flat.tolist()) if len(sequence) > max_length]
    if not long or long_sequences == "window":
        return sequences, 0
    shown = ", ".join(f"{i // per_row} ({len(flat[i])} residues)" for i in long[:5])
    which = f"{len(long)} of {len(flat)} sequences (rows {shown}{', …' if len(long) > 5 else ''})"
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


def check_pairs(X: Any, *, invalid: str = "raise") -> np.ndarray:
    """Clean pairs of proteins, each cleaned as by :func:`check_sequences`.

    Parameters
    ----------
    X : array of shape (n_pairs, 2), DataFrame with two columns, or list of 2-tuples or 2-lists
        Two proteins that may interact per row, as ``str`` or SeqRecord-like objects.
    invalid : {"raise", "replace"}, default="raise"
        What to do with a character that is no residue: refuse it, or put an X in its place.

    Returns
    -------
    ndarray of shape (n_pairs, 2), dtype object
        Clean ``str``, in the order of ``X``, which stays as it was.

    Raises
    ------
    SequenceError
        Some rows are not pairs, or a partner is empty, missing or invalid; the message says which partner.
    ValueError
        ``X`` has no rows, another number of columns, or is two lists of proteins, not a list of pairs.
    TypeError
        ``X`` is none of the accepted containers.

    Examples
    --------
    >>> from plmlearn.sequences import check_pairs
    >>> first, second = ["MKV", "MST"], ["gsh*", "AAK"]
    >>> check_pairs(list(zip(first, second)))
    array([['MKV', 'GSH'],
           ['MST', 'AAK']], dtype=object)
    """
    _check_option("invalid", invalid, ("raise", "replace"))
    given = _rows(X, "pairs")
    flat = given.ravel().tolist() if isinstance(given, np.ndarray) and given.shape[1:] == (2,) else []
    if set(map(type, flat)) == {str} and all(text and _is_clean(text) for text in set(flat)):
        return given.astype(object)
    rows = _two_columns(given)
    clean = np.empty((len(rows), 2), dtype=object)
    problems: list[tuple[int, str]] = []
    for row, pair in enumerate(rows):
        if fault := _not_a_pair(pair):
            problems.append((row, fault))
            continue
        for column, partner in enumerate(("first", "second")):
            clean[row, column], problem = _clean(pair[column], invalid)
            if problem:
                problems.append((row, f"{partner} protein{_record_name(pair[column])} {problem}"))
    _refuse(problems, lambda row: f"Pair {row}{_name(X, row)}:")
    return clean


def check_residue_targets(
    y: Any, sequences: Any, *, ignore_label: Any = None, kind: str = "labels"
) -> list[np.ndarray]:
    """One array per sequence of what was measured at its residues: states such as helix, or numbers.

    Parameters
    ----------
    y : list, tuple, array or Series, one target per sequence
        A ``str`` with one letter per residue ("HHEC"), or an array or list with one entry per residue; all
        rows in the same form. A target has as many entries as its clean sequence has residues.
    sequences : as ``X`` of :func:`check_sequences`
        The proteins, as given or clean. As given, a message can tell labels of a ``*`` that cleaning removed.
    ignore_label : label, default=None
        The entry that says "not measured". Masked entries, None, nan and pandas' NA always do.
    kind : {"labels", "values"}, default="labels"
        Labels are text, whole numbers or booleans; values are finite numbers, one or k per residue.

    Returns
    -------
    list of ndarray, one of length L per sequence of L residues; always new arrays
        For labels masked arrays of shape (L,), mask True = not measured. For values float64 arrays of shape
        (L,) or (L, k), nan = not measured.

    Raises
    ------
    SequenceError
        Some targets differ in length from their sequence, in form from the others, or hold neither labels
        nor numbers.
    ValueError
        Not one target per sequence.

    Examples
    --------
    >>> from plmlearn.sequences import check_residue_targets
    >>> check_residue_targets(["HH-", "EC"], ["MKV", "GS"], ignore_label="-")[0].tolist()
    ['H', 'H', None]
    >>> check_residue_targets([[0.5, None, 2]], ["MKV"], kind="values")
    [array([0.5, nan, 2. ])]
    """
    _check_option("kind", kind, ("labels", "values"))
    given = _one_column(_rows(sequences, "sequences"), sequences)
    clean = check_sequences(sequences, invalid="replace")
    targets = list(_rows(y, "residue targets"))
    if len(targets) != len(clean):
        raise ValueError(f"y has {len(targets)} targets for {len(clean)} sequences; expected one for each.")
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
    _refuse(problems, lambda row: f"Target {row}{_name(sequences, row, given[row])}")
    return arrays


# ---- one sequence


def _clean(item: Any, invalid: str, min_length: int = 1) -> tuple[str, str]:
    """The clean sequence and what is wrong with it ('' where nothing is)."""
    if type(item) is str and len(item) >= min_length and _is_clean(item):
        return item, ""
    item = _unwrapped(item)
    if not isinstance(item, str):
        return "", _not_text(item)
    text = "".join(item.split())
    text = (text.upper() if text.isascii() else text.translate(_UPPER)).rstrip("*")
    if invalid == "replace":
        text = _INVALID.sub(AMBIGUOUS, text)
    return text, _fault(text, min_length)


def _is_clean(text: str) -> bool:
    # Deleting every allowed byte takes a fraction of the time of a regular expression.
    return text.isascii() and not text.encode().translate(None, _ALLOWED_BYTES)


def _fault(text: str, min_length: int) -> str:
    if not text and min_length > 0:
        return "is empty; expected residues. Give its sequence, or leave the row out of X and y."
    if len(text) < min_length:
        return f"has {len(text)} residue(s); expected at least {min_length}. Leave the row out of X and y."
    if _is_clean(text):
        return ""
    first, *others = _INVALID.finditer(text)
    more = f" (and {len(others)} more)" if others else ""
    where = f"{first[0]!r} at residue {first.start() + 1}{more}"
    return f"has {where}; allowed: {_ALLOWED}. Pass invalid='replace' to map it to X."


def _not_text(item: Any) -> str:
    if _is_missing(item):
        return f"is missing ({item!r}); expected a str. Give its sequence, or leave the row out of X and y."
    if isinstance(item, (bytes, bytearray)):
        return "is of type bytes; expected a str. Pass it through .decode()."
    if isinstance(item, (list, tuple, set, np.ndarray)):
        return f"is a {type(item).__name__}; expected one str. Pairs of proteins go to a pair estimator."
    return f"is {reprlib.repr(item)} of type {type(item).__name__}; expected a str, or a record with .seq."


def _unwrapped(item: Any) -> Any:
    """The text of a SeqRecord-like object (whose ``.seq`` may be an object); any other item as it is."""
    if isinstance(item, str) or not hasattr(item, "seq"):
        return item
    if item.seq is None or isinstance(item.seq, bytes):
        return item.seq
    try:
        return str(item.seq)
    except TypeError:  # Biopython's sequence of known length and unknown content
        return None


def _is_missing(item: Any) -> bool:
    if isinstance(item, (float, np.floating)):
        return bool(item != item)
    return item is None or type(item).__name__ in ("NAType", "NaTType")


# ---- one residue target; what is wrong with it is raised, and reads on from "Target 3 "


def _labels(target: Any, ignore_label: Any) -> np.ndarray:
    labels = _measured(target, ignore_label)
    if labels.ndim != 1 or labels.dtype.kind not in "biufU":
        raise ValueError(f"has shape {labels.shape} and type {labels.dtype}; expected one label per residue.")
    if labels.dtype.kind == "f":
        measured = labels.compressed()
        odd = measured[(measured != np.floor(measured)) | np.isinf(measured)]
        if len(odd):
            raise ValueError(f"has {odd[0]}, which is no label. A residue regressor predicts numbers.")
    return labels


def _values(target: Any, ignore_label: Any) -> np.ndarray:
    if isinstance(target, str):
        raise ValueError("is a str; expected an array with a number per residue. Split it, pass floats.")
    measured = _measured(target, ignore_label)
    if measured.ndim not in (1, 2) or measured.dtype.kind not in "biuf":
        got = f"has shape {measured.shape} and type {measured.dtype}"
        raise ValueError(f"{got}; expected an array of numbers, (L,) or (L, k).")
    values = np.ma.getdata(measured).astype(np.float64)
    values[np.ma.getmaskarray(measured)] = np.nan
    if np.isinf(values).any():
        residue = np.argwhere(np.isinf(values))[0, 0] + 1
        raise ValueError(f"is infinite at residue {residue}; expected finite numbers, or nan.")
    return values


def _measured(target: Any, ignore_label: Any) -> np.ma.MaskedArray:
    """A copy of one target, masked where nothing was measured."""
    values = _entries(target)
    if values.dtype == object:
        mask = np.array([_is_missing(entry) for entry in values.flat], dtype=bool).reshape(values.shape)
        values[mask] = None  # pandas' NA cannot be compared
    else:
        mask = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, dtype=bool)
    if isinstance(target, np.ma.MaskedArray):
        mask = mask | np.ma.getmaskarray(target)
    if ignore_label is not None:
        mask = mask | (values == ignore_label)
    return np.ma.array(_typed(values, mask) if values.dtype == object else values, mask=mask)


def _entries(target: Any) -> np.ndarray:
    if isinstance(target, str):
        return np.array([target]).view("U1")[: len(target)]
    if isinstance(target, (list, tuple)):
        return np.array(target, dtype=object)  # left to itself, numpy makes text of [1, "H"]
    values = np.array(target)
    return values.astype(object) if values.dtype.kind == "T" else values


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
    if len(array) == len(_unwrapped(given)):
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


# ---- containers


def _is_table(X: Any) -> bool:
    """Whether X is a Series or a DataFrame, of pandas or polars."""
    return hasattr(X, "to_numpy")


def _rows(X: Any, noun: str) -> Any:
    """The rows of any container: a list, a tuple, or an array (of objects, for a Series or DataFrame)."""
    if isinstance(X, (str, bytes)):
        hint = "Put it in a list; read a file with read_fasta or read_csv."
        raise ValueError(f"Expected a list of {noun}, got one string: {reprlib.repr(X)}. {hint}")
    if not isinstance(X, (list, tuple, np.ndarray)) and not _is_table(X):
        hint = "Of a dict pass list(X.values()), of an iterator list(X), of a file what read_fasta returns."
        raise TypeError(f"Expected a list, array or Series of {noun}, got {type(X).__name__}. {hint}")
    rows = np.asarray(X, dtype=object) if _is_table(X) else X
    if isinstance(rows, np.ndarray) and rows.ndim == 0:
        raise ValueError(f"Expected a list of {noun}, got an array without dimensions. Pass X.reshape(1).")
    if len(rows) == 0:
        hint = "Look at the file or the filter that they come from."
        raise ValueError(f"found 0 {noun}, that is 0 sample(s), while a minimum of 1 is required. {hint}")
    return rows


def _one_column(rows: Any, X: Any) -> Sequence:
    if not isinstance(rows, np.ndarray):
        return rows
    if rows.ndim > 1 and not _is_table(X):
        raise ValueError(f"X has shape {rows.shape}; expected (n_sequences,). Pass one column: X[:, 0].")
    if rows.ndim > 1 and rows.shape[1] != 1:
        raise ValueError(f"X has {rows.shape[1]} columns; expected one. Pass X['name of the sequences'].")
    return rows.reshape(len(rows)).tolist()


def _two_columns(rows: Any) -> Sequence:
    if isinstance(rows, np.ndarray) and rows.ndim > 1:
        if rows.shape[1:] != (2,):
            hint = "Pass X.T." if rows.shape[0] == 2 else "Pass the columns of the two proteins."
            raise ValueError(f"X has shape {rows.shape}; expected (n_pairs, 2), two proteins per row. {hint}")
    elif len(rows) == 2 and all(_is_list_of_many(row) for row in rows):
        raise ValueError("X is two lists of proteins; expected a list of pairs: pass list(zip(a, b)).")
    return rows.tolist() if isinstance(rows, np.ndarray) else rows


def _is_list_of_many(row: Any) -> bool:
    return (isinstance(row, (list, tuple, np.ndarray)) or _is_table(row)) and len(row) != 2


def _not_a_pair(row: Any) -> str:
    if isinstance(row, (list, tuple)) or (isinstance(row, np.ndarray) and row.ndim == 1):
        return "" if len(row) == 2 else f"has {len(row)} entries; expected two proteins."
    return f"is of type {type(row).__name__}; expected a tuple of two proteins."


def _check_option(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}={value!r}; expected one of {', '.join(map(repr, allowed))}.")


# ---- messages


def _name(X: Any, row: int, item: Any = None) -> str:
    """The caller's own name of a row, in brackets: its label in a pandas index, or the id of its record."""
    index = X.index if _is_table(X) and hasattr(X, "index") else None
    if index is None or (type(index).__name__ == "RangeIndex" and (index.start, index.step) == (0, 1)):
        return _record_name(item)
    return f" ({index[row : row + 1].tolist()[0]!r})"


def _record_name(item: Any) -> str:
    return f" ({item.id!r})" if hasattr(item, "seq") and hasattr(item, "id") else ""


def _refuse(problems: list[tuple[int, str]], title: Callable[[int], str]) -> None:
    """One error of all problems, each a row and what is wrong there; ``title`` opens the line of a row."""
    if not problems:
        return
    lines = [f"{title(row)} {text}" for row, text in problems[:_LINES_SHOWN]]
    if (rest := len(problems) - _LINES_SHOWN) > 0:
        lines.append(f"... and {rest} more; the attribute `rows` of this error lists all rows.")
    raise SequenceError("\n".join(lines), rows=sorted({row for row, _ in problems}))
