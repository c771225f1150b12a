"""What goes out: tables, CSV, JSON and files of embeddings; notes on the way."""

import csv
import json
import os
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..baselines.comparison import as_table
from ..sequences import SequenceError
from ..sequences.checked import require_package
from ..sequences.clean import first_few, local_path
from ..sequences.files import replacing


def say(text: str) -> None:
    """A note on the standard error stream."""
    click.echo(text, err=True)


def show(result: Any, as_json: bool, rows: Sequence[Mapping[str, Any]]) -> None:
    """The result as JSON, or its rows as a table."""
    click.echo(json.dumps(_plain(result), indent=1) if as_json else as_table(rows))


def show_fields(result: Mapping[str, Any], as_json: bool) -> None:
    """One thing with its fields, a line each."""
    width = max(map(len, result))
    lines = (f"{name.ljust(width)}  {_text(value)}" for name, value in result.items() if value is not None)
    click.echo(json.dumps(_plain(result), indent=1) if as_json else "\n".join(lines))


def write_csv(columns: Mapping[str, Any], path: str | None) -> None:
    """Columns with a header line, in a file or on standard output."""
    rows: list[list[Any]] = [list(columns)]
    rows += [[_cell(entry) for entry in row] for row in zip(*columns.values(), strict=True)]
    if path is None:
        csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
    else:
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


def check_file(path: str) -> Path:
    """Where a file is to go, or one error before anything is computed."""
    place = local_path(path)
    if not place.parent.is_dir():
        raise FileNotFoundError(f"{place.parent}, where {place.name} is to go, is no folder; expected one.")
    _refuse_read_only(place if place.exists() else place.parent, path)
    return place


def check_folder(path: str) -> None:
    """One error, before anything is computed, where no folder can be made or written to."""
    place = local_path(path).absolute()
    there = next(part for part in (place, *place.parents) if part.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"{there} is a file, so the folder {path} cannot be made; expected another.")
    _refuse_read_only(there, path)


def _refuse_read_only(place: Path, path: str) -> None:
    if not os.access(place, os.W_OK):
        raise PermissionError(f"{path} cannot be written: {place} is read-only for you; expected another.")


def check_ids(path: str, ids: Sequence[str]) -> None:
    """Refuse ids that are empty, occur again, or name no data set of an .h5 file."""
    h5 = path.lower().endswith(".h5")
    if bad := [row for row, name in enumerate(ids) if not name or (h5 and ("/" in name or name == "."))]:
        hint = ', without "/", which makes groups in an .h5 file; write .npz or .parquet' if h5 else ""
        told = first_few([repr(ids[row]) for row in bad])
        raise SequenceError(f"{len(bad)} ids are {told}; expected a name for each{hint}. Use --id.", bad)
    again = [name for name, count in Counter(ids).items() if count > 1]
    if again:
        rows = [row for row, name in enumerate(ids) if name in set(again)]
        raise SequenceError(
            f"{len(again)} ids occur again: {first_few(again)}; expected different ones. Use --id.", rows
        )


def write_embeddings(path: str, ids: Sequence[str], embeddings: np.ndarray) -> None:
    """Embeddings by protein, (n, D) or arrays of (L, D), in the format that the suffix names."""
    write = check_format(path)
    with replacing(local_path(path)) as part:
        write(part, list(ids), embeddings)


def check_format(path: str) -> Callable:
    """What writes files with this suffix, or one error."""
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        raise ValueError(f"{path} ends in {suffix!r}; expected {', '.join(_FORMATS)}.")
    package, write = _FORMATS[suffix]
    if package:
        message = f"{suffix} files need {package}: pip install {package}. A .npz file needs nothing."
        require_package(package, message)
    return write


def _write_npz(path: Path, ids: list[str], embeddings: np.ndarray) -> None:
    if embeddings.dtype != object:
        with open(path, "wb") as whole:  # to a path, np.savez adds its own suffix
            np.savez(whole, allow_pickle=False, ids=np.array(ids), embeddings=embeddings)
        return
    with zipfile.ZipFile(path, "w") as archive:  # np.savez takes no array named "file"
        for name, rows in zip(ids, embeddings):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, rows, allow_pickle=False)


def _write_parquet(path: Path, ids: list[str], embeddings: np.ndarray) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    kind = pa.list_(pa.float32())
    kind = pa.list_(kind) if embeddings.dtype == object else kind
    column = pa.array([row.tolist() for row in embeddings], kind)
    parquet.write_table(pa.table({"id": ids, "embedding": column}), path)


def _write_h5(path: Path, ids: list[str], embeddings: np.ndarray) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, row in zip(ids, embeddings):
            file.create_dataset(name, data=row)


_FORMATS: dict[str, tuple[str, Callable]] = {
    ".npz": ("", _write_npz),
    ".parquet": ("pyarrow", _write_parquet),
    ".h5": ("h5py", _write_h5),
}


def _cell(entry: Any) -> Any:
    """Numbers per residue as text with blanks, as ``read_csv`` reads them."""
    return " ".join(map(str, np.asarray(entry).tolist())) if np.ndim(entry) else entry


def _plain(value: Any) -> Any:
    """Plain Python, with None for nan, which JSON lacks."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(part) for part in value]
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return (value if np.isfinite(value) else None) if isinstance(value, float) else str(value)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
