"""Text files of protein sequences, plain or compressed.

``read_fasta``       ids, sequences and descriptions of a FASTA file
``fasta_records``    headers and sequences of lines in that format, one after the other
``is_fasta``         whether a file is in that format
``read_lines``       the lines of any text file, or an error that names the file
``replacing``        a file is written whole, or stays as it was

Sequences are returned as they are in the file; ``check_sequences`` cleans them and refuses what is wrong.
"""

import gzip
import io
import lzma
import os
import re
import reprlib
import stat
import sys
import uuid
import zlib
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sklearn.utils import Bunch

from ..messages import warn
from .clean import local_path, object_array

_OPENERS: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open}
# Protein data compress 2 to 50 times, a file made to fill the memory 1,000 times.
_MOST_TIMES = 100
_ALWAYS_UNPACKED = 2**28
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")  # .xlsx, and .xls of before 2007
_OTHER_BYTES = re.compile("[\udc80-\udcff]")  # what surrogateescape makes of bytes that are not UTF-8


def read_fasta(path: str | os.PathLike[str]) -> Bunch:
    """Read protein sequences from a FASTA file.

    Parameters
    ----------
    path : str or PathLike
        A text file in UTF-8 or UTF-16, or one compressed as ``.gz`` or ``.xz``; ``~`` is expanded. Lines that
        are not UTF-8 are read as Windows-1252, with a warning.

    Returns
    -------
    Bunch
        Three arrays of ``str`` in the order of the file, one entry per record: ``sequences`` (the lines of a
        record joined), ``ids`` (the header up to the first blank) and ``descriptions`` (the rest of it).

    Raises
    ------
    ValueError
        The file has no record, text before the first ``>``, or is not text; or it unpacks to more than 100
        times its size.
    OSError
        The file is missing or damaged.

    See Also
    --------
    read_csv : Sequences and targets from a table.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from plmlearn.sequences import read_fasta
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "globins.fasta")
    ...     _ = path.write_text(">P69905 alpha globin\\nMVLSPADK\\nTNVKAAW\\n>P68871\\nMVHLTPEE\\n")
    ...     globins = read_fasta(path)
    >>> globins.ids
    array(['P69905', 'P68871'], dtype=object)
    >>> globins.sequences
    array(['MVLSPADKTNVKAAW', 'MVHLTPEE'], dtype=object)
    """
    records = list(fasta_records(read_lines(path), path))
    if not records:
        raise ValueError(f"{path} holds no record; expected a FASTA file, with '>' before each header.")
    names = [header.split(maxsplit=1) + [""] * 2 for header, _ in records]
    return Bunch(
        ids=object_array(name[0] for name in names),
        sequences=object_array(sequence for _, sequence in records),
        descriptions=object_array(name[1] for name in names),
    )


def fasta_records(lines: Iterable[str], source: str | os.PathLike[str]) -> Iterator[tuple[str, str]]:
    """(header without ">", sequence) of each record in turn; ``source`` is for messages."""
    header: str | None = None
    parts: list[str] = []
    for number, line in enumerate(map(str.strip, lines), start=1):
        if line.startswith(">"):
            if header is not None:
                yield header, "".join(parts)
            header, parts = line[1:].strip(), []
        elif line and not line.startswith(";"):  # a comment, in the oldest FASTA files
            if header is None:
                raise ValueError(f"{source}, line {number}: got {line[:20]!r}, expected '>' and an id.")
            parts.append(line)
    if header is not None:
        yield header, "".join(parts)


def is_fasta(path: str | os.PathLike[str]) -> bool:
    """Whether the first line of a file begins with ">", but for empty lines and comments."""
    lines = map(str.strip, read_lines(path))
    return next((line for line in lines if line and not line.startswith(";")), "").startswith(">")


def read_lines(path: str | os.PathLike[str]) -> Iterator[str]:
    """Lines of a text file with their ends; one that unpacks to far more than its size is refused."""
    place = _regular_file(path)
    opener = _OPENERS.get(place.suffix.lower())
    limit = max(_ALWAYS_UNPACKED, _MOST_TIMES * place.stat().st_size) if opener else sys.maxsize
    left = limit
    try:
        with (opener or open)(place, "rb") as file:
            start = file.peek(8)[:8]
            if start.startswith(_WORKBOOKS):
                raise ValueError(
                    f"{path} is an Excel workbook or a zip archive; expected text. Save the sheet "
                    "as CSV UTF-8, or unpack the archive."
                )
            wide = start[:2] in (BOM_UTF16_LE, BOM_UTF16_BE)
            # utf-8-sig drops the mark that Excel writes; backslashreplace shows other bytes as \xe4.
            how = ("utf-16", "backslashreplace") if wide else ("utf-8-sig", "surrogateescape")
            text = io.TextIOWrapper(file, *how, newline="")
            lines = iter(lambda: text.readline(limit), "")
            for number, line in enumerate(lines if wide else _decoded(lines, path), start=1):
                if (left := left - len(line)) < 0:
                    raise ValueError(
                        f"{path} unpacks to more than {_MOST_TIMES} times its size. If that is right, unpack "
                        "it with gunzip or unxz and read what comes out."
                    )
                if "\0" in line:
                    raise ValueError(
                        f"{path}, line {number} has NUL characters; expected text. Save it as text in UTF-8."
                    )
                yield line
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise OSError(
            f"{path} is damaged, or not compressed as its name says ({error}). Copy it again, or rename it."
        ) from error


def _decoded(lines: Iterable[str], path: str | os.PathLike[str]) -> Iterator[str]:
    """Lines of UTF-8; one with other bytes is read as Windows-1252, of which the first is told."""
    told = False
    for number, line in enumerate(lines, start=1):
        if not line.isascii() and _OTHER_BYTES.search(line):
            line = line.encode("utf-8", "surrogateescape").decode("cp1252", "backslashreplace")
            if not told:
                warn(
                    f"{path}, line {number} is not in UTF-8. It is read as Windows-1252, in which Excel "
                    "saves CSV files. If letters look wrong, save the file as CSV UTF-8."
                )
            told = True
        yield line


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place beside a file to write to; it takes the file's at the end, so no reader sees half of it."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _regular_file(path: str | os.PathLike[str]) -> Path:
    """The path of a file that ends, or an error that says what is there instead."""
    place = local_path(path)
    try:
        found = place.stat()
    except (OSError, ValueError) as error:  # a name with NUL, a surrogate, or a whole file as its name
        missing = isinstance(error, FileNotFoundError)
        reason = "there is no such file" if missing else str(error)
        text = f"path is {reprlib.repr(str(path))}: {reason}. Expected the path of a file."
        raise (FileNotFoundError if missing else OSError)(text) from None
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if place.is_dir() else "a pipe or device, which may never end"
        raise OSError(f"path: {place} is {kind}; expected a file. Write what it holds into one.")
    return place
