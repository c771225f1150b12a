"""Files cut into partitions, of which one is in memory at a time.

``Partition``       some records that follow one another in one file
``partitions_of``   the partitions of some files, in order
``digest_of``       the content of a file, or of sequences, in a few letters
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from ..sequences.clean import is_missing, rows_of
from ..sequences.files import fasta_records, is_fasta, read_lines
from ..sequences.tables import csv_rows

Record = tuple[str, Any]
"""Its id, and a sequence, or a tuple of several."""


@dataclass(frozen=True)
class Partition:
    """Some records that follow one another.

    Parameters
    ----------
    number : int
        Of the partition, from 0.
    source : str
        The file as the caller named it.
    first : int
        Number of the first record in its file, from 1.
    records : list of (id, sequence)
    """

    number: int
    source: str
    first: int
    records: list[Record]

    def place(self, row: int) -> str:
        """Where a row of the partition comes from, in words."""
        return f"{self.source}, record {self.first + row} ({self.records[row][0]!r})"


def partitions_of(
    inputs: Sequence[Any], size: int, sequence: Sequence[str], id_column: str | None
) -> Iterator[Partition]:
    """The partitions of files and of containers of sequences, one after the other.

    Parameters
    ----------
    inputs : sequence of Path, or of lists or arrays of sequences
        A file is cut every ``size`` records; a container is one partition.
    size : int
    sequence : sequence of str
        Columns of a table that hold sequences.
    id_column : str or None
        Column with ids; None takes "id" where there is one, and the number of the record elsewhere. An id
        that is missing is "".
    """
    number = 0
    for index, given in enumerate(inputs):
        is_file = isinstance(given, Path)
        records = _read(given, sequence, id_column) if is_file else _in_memory(given)
        source, first = str(given) if is_file else f"partition {index}", 1
        while some := list(islice(records, size if is_file else None)):
            yield Partition(number, source, first, some)
            number, first = number + 1, first + len(some)
        if first == 1:
            raise ValueError(f"{source} holds no record; expected one at least.")


def digest_of(given: Any) -> str:
    """The SHA-256 of a file, or a digest of sequences in a container."""
    if not isinstance(given, Path):
        return joblib.hash(list(_in_memory(given)))
    with given.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _in_memory(given: Any) -> Iterator[Record]:
    for number, row in enumerate(rows_of(given, "sequences"), start=1):
        if row is np.ma.masked:
            row = None
        yield str(number), tuple(row) if isinstance(row, (list, tuple, np.ndarray)) else row


def _read(path: Path, sequence: Sequence[str], id_column: str | None) -> Iterator[Record]:
    if path.suffix.lower() in (".parquet", ".pq"):
        return _of_rows(_parquet_rows(path, sequence, id_column), sequence, id_column)
    if is_fasta(path):
        records = fasta_records(read_lines(path), path)
        return (((header.split(maxsplit=1) or [""])[0], text) for header, text in records)
    wanted = [*sequence] if id_column is None else [*sequence, id_column]
    return _of_rows(csv_rows(path, wanted), sequence, id_column)


def _of_rows(
    rows: Iterator[dict[str, Any]], sequence: Sequence[str], id_column: str | None
) -> Iterator[Record]:
    for number, row in enumerate(rows, start=1):
        items = tuple(row[name] for name in sequence)
        name = row.get(id_column or "id", number)
        yield "" if is_missing(name) else str(name), items[0] if len(items) == 1 else items


def _parquet_rows(
    path: str | PathLike[str], sequence: Sequence[str], id_column: str | None
) -> Iterator[dict[str, Any]]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        names = file.schema_arrow.names
        wanted = [*sequence, *([id_column] if id_column else [])]
        if missing := [name for name in wanted if name not in names]:
            raise ValueError(f"{path} has no column {missing[0]!r}; its columns are {', '.join(names)}.")
        read = [*wanted, *(["id"] if id_column is None and "id" in names else [])]
        for batch in file.iter_batches(batch_size=1000, columns=list(dict.fromkeys(read))):
            yield from batch.to_pylist()
