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

from .clean import local_path, object_array

_OPENERS: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open}
# Protein data compress 2 to 50 times, a file made to fill the memory 1,000 times.
_MOST_TIMES = 100
_ALWAYS_UNPACKED = 2**28


def read_fasta(path: str | os.PathLike[str]) -> Bunch:
    """Read protein sequences from a FASTA file.

    Parameters
    ----------
    path : str or PathLike
        A text file in UTF-8 or UTF-16, or one compressed as ``.gz`` or ``.xz``; ``~`` is expanded.

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
    """Whether the first line of a file that is not empty begins with ">"."""
    return next((line for line in read_lines(path) if line.strip()), "").lstrip().startswith((">", ";"))


def read_lines(path: str | os.PathLike[str]) -> Iterator[str]:
    """Lines of a text file with their ends; one that unpacks to far more than its size is refused."""
    place = _regular_file(path)
    opener = _OPENERS.get(place.suffix.lower())
    limit = max(_ALWAYS_UNPACKED, _MOST_TIMES * place.stat().st_size) if opener else sys.maxsize
    left = limit
    try:
        with (opener or open)(place, "rb") as file:
            # utf-8-sig drops the mark that Excel writes; backslashreplace shows other bytes as \xe4.
            encoding = "utf-16" if file.peek(2)[:2] in (BOM_UTF16_LE, BOM_UTF16_BE) else "utf-8-sig"
            text = io.TextIOWrapper(file, encoding=encoding, errors="backslashreplace", newline="")
            for number, line in enumerate(iter(lambda: text.readline(limit), ""), start=1):
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
