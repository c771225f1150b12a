"""Tables of proteins with a header line, every fault named by its line.

``read_csv``   sequences, targets and all columns of a table
``as_target``  the target that columns of text hold
``no_numbers``, ``are_meant_as_numbers``   entries that keep a column from being numbers
``csv_rows``   some columns of one that may be larger than memory, row after row
"""

import csv
import os
import re
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
from sklearn.utils import Bunch

from .checked import checked
from .clean import LETTERS, did_you_mean, first_few, object_array
from .files import read_lines

# Strict, for labels per residue may be digits: "0011" must not become 11.
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,14})")
_NUMBER = re.compile(r"[-+]?((0|[1-9][0-9]{0,14})(\.[0-9]*)?|\.[0-9]+)(e[-+]?[0-9]+)?|nan", re.IGNORECASE)
# Numbers to people, with "," as ".": "1.234.5" and "45 %".
_WRITTEN = re.compile(r"[-+]?[0-9]+([. '\N{NO-BREAK SPACE}][0-9]{3})*(\.[0-9]*)?\s?%?")
_MISSING = {"", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "None", "NULL", "null"}
# What the csv module says, and what it means for the user.
_CSV_ERRORS = {
    "unexpected end of data": "a quote opens a field and is never closed. Close or delete it.",
    "field larger": "a field is longer than csv.field_size_limit() allows. Is a quote never closed? If the "
    "field is right, raise that limit first.",
    "expected after": "text follows a closing quote. Write a quote within a quoted field twice.",
}


@checked(sequence=[str, list, tuple], target=[str, list, tuple, None])
def read_csv(
    path: str | os.PathLike[str],
    *,
    sequence: str | Sequence[str] = "sequence",
    target: str | Sequence[str] | None = None,
) -> Bunch:
    """Read protein sequences and what is known about them from a table with one header line.

    Parameters
    ----------
    path : str or PathLike
        A text file in UTF-8 or UTF-16, or one compressed as ``.gz`` or ``.xz``; ``~`` is expanded. Lines that
        are not UTF-8 are read as Windows-1252, with a warning. Commas, tabs or semicolons separate its
        columns: whichever makes most columns of the header.
    sequence : str or sequence of str, default="sequence"
        Name of the column with the sequences; of pairs the names of the two columns.
    target : str, sequence of str or None, default=None
        Name of the column to predict, or names of several.

    Returns
    -------
    Bunch
        ``sequences``: array of ``str``, (n,), or (n, 2) for pairs. ``target``: None without a ``target``;
        else an array of int or float if all entries are numbers, of ``str`` if not. A missing entry, empty or
        written as pandas reads it ("NA", "NaN", "null", …), is nan among numbers and None among text;
        estimators refuse both by row. Entries of several numbers with blanks between them ("0.5 nan 2"), one
        per residue, become arrays of float. Several columns make an array (n, k). ``columns``: a dict from
        the name of every column to its array of ``str``. ``lines``: number of the line of every row.

    Raises
    ------
    ValueError
        The table has no rows or lacks a column; a column name occurs twice; rows have too many or too few
        fields; a quote is never closed; or the file is not text, or unpacks to more than 100 times its size.
    OSError
        The file is missing or damaged.

    See Also
    --------
    read_fasta : Read protein sequences from a FASTA file.

    Notes
    -----
    Blanks around an entry are removed. Empty lines, lines of nothing but separators, and columns without a
    name or entries at the end of the table are left out, and so is the line "sep=;" that Excel reads.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from plmlearn.sequences import read_csv
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "variants.csv")
    ...     _ = path.write_text("sequence,fitness,split\\nMKVLA,1.5,train\\nMKVLG,0.25,test\\n")
    ...     variants = read_csv(path, target="fitness")
    >>> variants.sequences
    array(['MKVLA', 'MKVLG'], dtype=object)
    >>> variants.target
    array([1.5 , 0.25])
    >>> variants.columns["split"]
    array(['train', 'test'], dtype=object)
    """
    names, wanted = ([] if n is None else [n] if isinstance(n, str) else list(n) for n in (sequence, target))
    if not names:
        raise ValueError("sequence is empty; expected the name of a column, or of two.")
    rows = _rows(path, names[0])
    _, header = next(rows, (1, []))
    if header:
        _check_header(path, header, names + wanted)
    entries: list[list[str]] = [[] for _ in header]
    odd = []
    lines = []
    for line, row in rows:
        lines.append(line)
        if len(row) != len(header):
            odd.append(f"line {line} has {len(row)}")
        for column, entry in zip(entries, row):
            column.append(entry)
    if odd:
        raise ValueError(
            f"{path}: expected {len(header)} fields in each line, as in the header; {len(odd)} lines differ: "
            f"{first_few(odd)}. Put quotes around an entry that has the separator in it."
        )
    if not any(entries):
        raise ValueError(f"{path} holds no rows; expected a header line and one line per protein.")
    columns = dict(zip(header, map(object_array, entries)))
    sequences, found = _joined([columns[n] for n in names]), as_target([columns[n] for n in wanted])
    return Bunch(sequences=sequences, target=found, columns=columns, lines=np.array(lines))


def csv_rows(path: str | os.PathLike[str], wanted: Sequence[str]) -> Iterator[dict[str, str]]:
    """Entries by column, row after row; the table has the columns ``wanted``, and may be larger than memory.

    Raises
    ------
    ValueError, OSError
        As :func:`read_csv`, but at the first line that is wrong.
    """
    rows = _rows(path, wanted[0])
    _, header = next(rows, (1, []))
    _check_header(path, header, list(wanted))
    for line, row in rows:
        if len(row) != len(header):
            raise ValueError(
                f"{path}, line {line} has {len(row)} fields; expected {len(header)}, as in the header. Put "
                "quotes around an entry that has the separator in it."
            )
        yield dict(zip(header, row, strict=True))


def _rows(path: str | os.PathLike[str], sequence: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of the header, then of every row that has an entry."""
    lines = read_lines(path)
    none = ("", "sep=")  # Excel's "sep=;" names the separator, which the header shows as well
    kept = ((i, line) for i, line in enumerate(lines) if line.strip(",;\t\r\n ").lower() not in none)
    n_blank, first = next(kept, (0, ""))
    header: list[str] = []
    line = n_blank + 1
    try:
        delimiter = max(",\t;", key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))
        reader = csv.reader(chain([first], lines), delimiter=delimiter, skipinitialspace=True, strict=True)
        for row in reader:
            row = [entry.strip() for entry in row]
            while len(row) > len(header) and not row[-1]:
                row.pop()
            if n_blank + reader.line_num > line:
                _check_quotes(path, line, row, header, sequence, delimiter)
            if any(row):
                yield line, row
            header = header or row
            line = n_blank + reader.line_num + 1
    except csv.Error as error:
        told = (text for part, text in _CSV_ERRORS.items() if part in str(error))
        raise ValueError(f"{path}, line {line}: {next(told, error)}") from error


def _joined(columns: list[np.ndarray]) -> np.ndarray | None:
    """One column as it is, several as (n, k)."""
    return np.column_stack(columns) if len(columns) > 1 else next(iter(columns), None)


def _check_header(path: str | os.PathLike[str], header: list[str], wanted: list[str]) -> None:
    if twice := sorted({name for name in header if header.count(name) > 1}):
        names = ", ".join(name or "''" for name in twice)
        raise ValueError(f"{path} has several columns named {names}; expected different names.")
    for name in wanted:
        if not isinstance(name, str) or name not in header:
            hint = did_you_mean(name, header)
            raise ValueError(f"{path} has no column {name!r}; its columns are {', '.join(header)}.{hint}")


def _check_quotes(
    path: str | os.PathLike[str], line: int, row: list[str], header: list[str], sequence: str, delimiter: str
) -> None:
    """Refuse a quoted field over several lines that are rows themselves: a quote was not closed."""
    lines = [text.split(delimiter) for entry in row for text in entry.splitlines()[1:]]
    cells = [dict(zip(header, cells)).get(sequence, "") for cells in lines if len(cells) == len(header) > 1]
    if any(cell and not cell.strip(f"{LETTERS} ") for cell in cells):
        raise ValueError(
            f"{path}, line {line}: a quoted field goes on over {len(lines)} more lines that look like rows. "
            "Close its quote, or take the line breaks out of the field."
        )


def as_target(columns: list[np.ndarray]) -> np.ndarray | None:
    """The target that columns of text hold; None of no columns."""
    return _joined([_as_target(column) for column in columns])


def is_gap(entry: str) -> bool:
    """Whether the text of an entry says that nothing is known."""
    return entry in _MISSING


def no_numbers(entries: np.ndarray) -> list[int]:
    """Rows whose entries are neither missing nor numbers, nor several numbers with blanks between them."""
    return [row for row, entry in enumerate(entries) if not is_gap(entry) and not _is_number(entry)]


def are_meant_as_numbers(entries: np.ndarray) -> bool:
    """Whether most entries that are not missing are numbers, or would be with ".", "-" and no "%"."""
    measured = [entry for entry in entries if not is_gap(entry)]
    tidy = [entry.replace(",", ".").replace("\N{MINUS SIGN}", "-") for entry in measured]
    return 2 * sum(_is_number(entry) or bool(_WRITTEN.fullmatch(entry)) for entry in tidy) > len(measured)


def _is_number(entry: str) -> bool:
    return all(map(_NUMBER.fullmatch, entry.split()))


def _as_target(entries: np.ndarray) -> np.ndarray:
    """Entries as int, float or arrays if all are numbers, else as they are; missing as nan or None."""
    measured = [entry for entry in entries if entry not in _MISSING]
    if len(measured) == len(entries) and all(map(_WHOLE.fullmatch, measured)):
        return entries.astype(np.int64)
    if measured and all(map(_NUMBER.fullmatch, measured)):
        return np.array([float("nan" if entry in _MISSING else entry) for entry in entries])
    if any(" " in entry for entry in measured) and all(
        _NUMBER.fullmatch(part) for entry in measured for part in entry.split()
    ):
        return object_array(None if e in _MISSING else np.array(e.split(), dtype=float) for e in entries)
    return object_array(None if entry in _MISSING else entry for entry in entries)
