"""Files of protein sequences, read as they are: what is wrong with one is for ``check_sequences`` to say.

``read_fasta``    ids, sequences and descriptions of a FASTA file
``read_csv``      sequences, a target and all columns of a table with a header
"""

import csv
import difflib
import gzip
import lzma
import re
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from sklearn.utils import Bunch

_OPENERS: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open}
# Strict, for labels per residue may be digits: "0011" must not become 11.
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,14})")
_NUMBER = re.compile(r"[-+]?((0|[1-9][0-9]{0,14})(\.[0-9]*)?|\.[0-9]+)(e[-+]?[0-9]+)?|nan|", re.IGNORECASE)
_LINES_SHOWN = 10


def read_fasta(path: str | Path) -> Bunch:
    """Read protein sequences from a FASTA file.

    Parameters
    ----------
    path : str or Path
        A text file, or one compressed as ``.gz`` or ``.xz``.

    Returns
    -------
    Bunch
        Three arrays of ``str`` in the order of the file, one entry per record: ``sequences`` (the lines of a
        record joined), ``ids`` (the header up to the first blank) and ``descriptions`` (the rest of it).

    Raises
    ------
    ValueError
        The file holds no record, or text before the first ``>``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from plmlearn.sequences.files import read_fasta
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "globins.fasta")
    ...     _ = path.write_text(">P69905 alpha globin\\nMVLSPADK\\nTNVKAAW\\n>P68871\\nMVHLTPEE\\n")
    ...     globins = read_fasta(path)
    >>> globins.ids
    array(['P69905', 'P68871'], dtype=object)
    >>> globins.sequences
    array(['MVLSPADKTNVKAAW', 'MVHLTPEE'], dtype=object)
    """
    headers: list[str] = []
    lines: list[list[str]] = []
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            line = line.strip()
            if line.startswith(">"):
                headers.append(line[1:].strip())
                lines.append([])
            elif line and not line.startswith(";"):  # a comment, in the oldest FASTA files
                if not headers:
                    raise ValueError(f"{path}, line {number}: got {line[:20]!r}, expected '>' and an id.")
                lines[-1].append(line)
    if not headers:
        raise ValueError(f"{path} holds no record; expected a FASTA file, with '>' before each header.")
    names = [header.split(maxsplit=1) + [""] * 2 for header in headers]
    return Bunch(
        ids=_column(name[0] for name in names),
        sequences=_column(map("".join, lines)),
        descriptions=_column(name[1] for name in names),
    )


def read_csv(path: str | Path, *, sequence: str = "sequence", target: str | None = None) -> Bunch:
    """Read protein sequences and what is known of them from a table with one header line.

    Parameters
    ----------
    path : str or Path
        A text file, or one compressed as ``.gz`` or ``.xz``. Its columns are separated by comma, tab or
        semicolon, whichever the header holds most of.
    sequence : str, default="sequence"
        Name of the column of the sequences.
    target : str or None, default=None
        Name of the column to predict.

    Returns
    -------
    Bunch
        ``sequences``: array of ``str``. ``target``: array of int or float where all entries are numbers (an
        empty one is then nan), else of ``str``; None without a ``target``. ``columns``: a dict from the name
        of every column to its array of ``str``. Blank lines are skipped.

    Raises
    ------
    ValueError
        A column does not exist or occurs twice, some rows have too many or too few fields, or none is there.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from plmlearn.sequences.files import read_csv
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
    columns = _read_columns(path)
    for name in (sequence, target):
        if name is not None and name not in columns:
            close = difflib.get_close_matches(name, columns, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"{path} has no column {name!r}; its columns are {', '.join(columns)}.{hint}")
    return Bunch(
        sequences=columns[sequence],
        target=None if target is None else _as_numbers(columns[target]),
        columns=columns,
    )


def _open(path: str | Path) -> IO[str]:
    # utf-8-sig drops the mark Excel writes first; backslashreplace shows bytes of other encodings as \xe4.
    opener = _OPENERS.get(Path(path).suffix.lower(), open)
    return opener(path, "rt", encoding="utf-8-sig", errors="backslashreplace", newline="")


def _column(entries: Iterable[str]) -> np.ndarray:
    return np.array(list(entries), dtype=object)


def _read_columns(path: str | Path) -> dict[str, np.ndarray]:
    with _open(path) as file:
        header_line = file.readline()
        delimiter = max(",\t;", key=header_line.count)
        header = [name.strip() for name in next(csv.reader([header_line], delimiter=delimiter), [])]
        reader = csv.reader(file, delimiter=delimiter)
        rows = [(reader.line_num + 1, row) for row in reader if row]
    _check_table(path, header, rows)
    return dict(zip(header, map(_column, zip(*(row for _, row in rows)))))


def _check_table(path: str | Path, header: list[str], rows: list[tuple[int, list[str]]]) -> None:
    if not rows:
        raise ValueError(f"{path} holds no rows; expected a header line and one line per protein.")
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise ValueError(f"{path} has several columns named {', '.join(twice)}; expected different names.")
    ragged = [f"line {line} has {len(row)}" for line, row in rows if len(row) != len(header)]
    if ragged:
        more = f" and {len(ragged) - _LINES_SHOWN} lines more" if len(ragged) > _LINES_SHOWN else ""
        shown = ", ".join(ragged[:_LINES_SHOWN]) + more
        raise ValueError(f"{path}: expected {len(header)} fields in every line, as in the header; {shown}.")


def _as_numbers(entries: np.ndarray) -> np.ndarray:
    """Entries as int or float where all of them are numbers, else as they are."""
    if all(map(_WHOLE.fullmatch, entries)):
        return entries.astype(np.int64)
    if any(entries) and all(map(_NUMBER.fullmatch, entries)):
        return np.array([float(entry or "nan") for entry in entries])
    return entries
