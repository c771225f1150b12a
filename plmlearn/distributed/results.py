"""What a run leaves in its folder: a file per partition, written once, and what the run was.

``Folder``   the folder of one run

==================================  ====================================================================
``part-000003-<digest>.parquet``    predictions of the fourth partition; ``.safetensors`` for embeddings
``_run.json``                       estimator, method and input: another run is refused
``_rejected.csv``                   sequences that were skipped, and why
==================================  ====================================================================

A part is written under a temporary name and renamed: it is there as a whole or not at all. It holds what was
rejected of its partition too, so that nothing is known of a partition whose part is not there. Names that
begin with an underscore or a dot are passed over by programs that read folders of Parquet files.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import safe_open

from ..sequences.clean import first_few
from ..sequences.files import replacing

_REJECTED = ("source", "record", "id", "reason", "sequence")


@dataclass(frozen=True)
class Folder:
    """The folder of one run.

    Parameters
    ----------
    path : Path
        Absolute.
    suffix : str
        ".parquet" or ".safetensors".
    digest : str
        Of all that decides on the results.
    """

    path: Path
    suffix: str
    digest: str

    @classmethod
    def open(cls, path: Path, suffix: str, run: Mapping[str, str]) -> Folder:
        """Make the folder, or go on in that of the same run.

        Raises
        ------
        ValueError
            It is a file, or holds another run; the message says what differs.
        """
        if path.exists() and not path.is_dir():
            raise ValueError(f"out={path} is a file; expected a folder, new or of the same run.")
        place, text = path / "_run.json", json.dumps(run, indent=1)
        if place.exists():
            _check_same(path, json.loads(place.read_text(encoding="utf-8")), json.loads(text))
        elif any(path.glob("part-*")):
            raise ValueError(f"out={path} holds parts and no _run.json; expected a new folder.")
        else:
            path.mkdir(parents=True, exist_ok=True)
            with replacing(place) as temporary:
                temporary.write_text(text, encoding="utf-8")
        return cls(path, suffix, hashlib.sha256(text.encode()).hexdigest())

    def part(self, number: int) -> Path:
        """The file of a partition; its name has the digest of the run and the number."""
        digest = hashlib.sha256(f"{self.digest} {number}".encode()).hexdigest()[:12]
        return self.path / f"part-{number:06d}-{digest}{self.suffix}"

    def collect_rejected(self, parts: list[Path]) -> Path | None:
        """Write what all parts have rejected into one table; remove what killed workers left."""
        place, n_rejected = self.path / "_rejected.csv", 0
        with replacing(place) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(_REJECTED)
            for part in parts:
                rows = json.loads(_note(part))
                table.writerows(rows)
                n_rejected += len(rows)
        if not n_rejected:
            place.unlink()
        for left in self.path.glob(".*.part"):
            left.unlink(missing_ok=True)
        return place if n_rejected else None


def write_part(place: Path, columns: Mapping[str, Any], found: Mapping[str, Any], rejected: list) -> None:
    """Write the results of one partition.

    Parameters
    ----------
    place : Path
    columns : mapping of str to list
        ``source``, ``record`` and ``id`` of each row.
    found : mapping of str to ndarray
        Columns of predictions; or ``embeddings``, (n, D) or an object array of n arrays (L, D). If there
        are more of them than rows, they only tell types and widths.
    rejected : list of tuple
    """
    write: Callable = _write_parquet if place.suffix == ".parquet" else _write_safetensors
    with replacing(place) as temporary:
        write(temporary, columns, found, json.dumps(rejected))


def _write_parquet(path: Path, columns: Mapping[str, Any], found: Mapping[str, Any], rejected: str) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    types = {"source": pa.string(), "record": pa.int64(), "id": pa.string()}
    arrays = {name: pa.array(columns[name], kind) for name, kind in types.items()}
    found = {name: pa.array([_plain(entry) for entry in values]) for name, values in found.items()}
    table = pa.table(arrays | {name: values[: len(columns["record"])] for name, values in found.items()})
    parquet.write_table(table.replace_schema_metadata({"rejected": rejected}), path)


def _plain(entry: Any) -> Any:
    return entry.tolist() if isinstance(entry, (np.ndarray, np.generic)) else entry


def _write_safetensors(
    path: Path, columns: Mapping[str, Any], found: Mapping[str, Any], rejected: str
) -> None:
    embeddings, n_rows = found["embeddings"], len(columns["record"])
    tensors = {"records": np.array(columns["record"], dtype=np.int64)}
    if embeddings.dtype == object:
        tensors["lengths"] = np.array([len(rows) for rows in embeddings[:n_rows]], dtype=np.int64)
        embeddings, n_rows = np.concatenate([*embeddings]), int(tensors["lengths"].sum())
    tensors["embeddings"] = np.ascontiguousarray(embeddings[:n_rows])
    source = columns["source"][0] if columns["source"] else ""
    about = {"source": source, "ids": json.dumps(columns["id"]), "rejected": rejected}
    safetensors.numpy.save_file(tensors, path, metadata=about)


def _note(part: Path) -> str:
    """What a part says of rejected records, as JSON."""
    if part.suffix == ".safetensors":
        with safe_open(part, framework="np") as file:
            return file.metadata()["rejected"]
    from pyarrow import parquet

    return parquet.read_schema(part).metadata[b"rejected"].decode()


def _check_same(path: Path, there: Mapping[str, str], here: Mapping[str, str]) -> None:
    differ = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    if differ:
        told = (f"{name} is {here.get(name)}, was {there.get(name)}" for name in differ)
        raise ValueError(
            f"out={path} holds the results of another run: {first_few(told, '; ')}. Pass another folder, or "
            "delete this one."
        )
