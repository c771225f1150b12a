"""The files of a saved model: written so that the old model or the new one is there, read by checksum.

``estimator.json`` names every other file of the model with its length and SHA-256, and begins with the
SHA-256 of all its own text after that line. A save writes the new files beside the old ones, as
``<name>.<digest>.new``, and then replaces ``estimator.json``, which is atomic: before that the folder is the
old model, after it the new one. What is left, giving the new files their names and removing the old ones,
is finished by the next save where this one was interrupted; reading finds the files under either name.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .rules import SavedModelError, shown

try:
    import fcntl
except ImportError:  # not on Windows, where no two processes may save into one folder at once
    fcntl = None  # type: ignore[assignment]

FORMAT = 2
MANIFEST = "estimator.json"
ARRAYS = "arrays.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

_FILES = (ARRAYS, ADAPTER_CONFIG, ADAPTER_WEIGHTS)
FILES = (MANIFEST, *_FILES)
"""All files that a saved model may consist of."""

_LONGEST_MANIFEST = 2**26  # bytes
_SEAL = re.compile(rb'\{\n "sha256": "([0-9a-f]{64})",\n')
_NEW = re.compile(rf"({'|'.join(map(re.escape, (*_FILES, MANIFEST)))})\.([0-9a-f]{{16}})\.new")


def write_folder(folder: Path, document: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Make a folder hold these files, with ``document`` as its ``estimator.json``.

    Parameters
    ----------
    folder : Path
        Made if need be. Files in it that no save wrote are left alone.
    document : mapping
        What ``estimator.json`` holds beside the list of files.
    files : mapping of str to bytes
        Contents, by some of the names that a model's files have.

    Raises
    ------
    FileExistsError
        A file of a name in use here that no save wrote.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder, exclusive=True) as descriptor:
        old = _settle(folder)
        _refuse_foreign(folder, files, old)
        gone = [name for name in old if name not in files and (folder / name).is_file()]
        document = {
            **document,
            "files": {name: {"bytes": len(data), "sha256": _digest(data)} for name, data in files.items()},
            "replaced": {name: _digest_of(folder / name) for name in gone},
        }
        manifest = _sealed(document)
        if len(manifest) > _LONGEST_MANIFEST:
            raise SavedModelError(
                f"{MANIFEST} would have {len(manifest)} bytes, and {_LONGEST_MANIFEST} at most are read "
                "again; use pickle."
            )
        try:
            for name, data in files.items():
                _write(_new(folder, name, _digest(data)), data)
            new = _new(folder, MANIFEST, _digest(manifest))
            _write(new, manifest)
            _sync(descriptor)
            os.replace(new, folder / MANIFEST)
            _sync(descriptor)
        finally:
            _settle(folder)


def read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What ``estimator.json`` says, and the contents of the files that it names, all checked.

    Raises
    ------
    FileNotFoundError
        No ``estimator.json``.
    SavedModelError
        A file that is missing or is not, byte for byte, what was saved.
    """
    if not os.path.lexists(folder / MANIFEST):
        raise FileNotFoundError(
            f"{folder} has no {MANIFEST}; expected a folder written by plmlearn.save, which writes that file "
            "last."
        )
    with _locked(folder, exclusive=False):
        document = _read_manifest(folder)
        files = {name: _read_file(folder, name, entry) for name, entry in _entries(folder, document).items()}
    return document, files


# -- estimator.json ---------------------------------------------------------------------------


def _sealed(document: Mapping[str, Any]) -> bytes:
    text = json.dumps({"format": FORMAT, **document}, indent=1).encode()
    return b'{\n "sha256": "%s",\n' % _digest(text[2:]).encode() + text[2:]


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    data = _read(path, most=_LONGEST_MANIFEST)
    try:
        document = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise SavedModelError(f"{path} is no JSON ({error}): damaged. Take a copy, or fit again.") from None
    number = document.get("format") if isinstance(document, dict) else None
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise SavedModelError(f"{path} says no format; expected the file that plmlearn.save wrote.")
    if number > FORMAT:
        raise SavedModelError(
            f"{folder} was written by a newer plmlearn in format {number}; this version reads {FORMAT}. "
            "Update plmlearn."
        )
    if number < FORMAT:
        raise SavedModelError(
            f"{folder} was written before the first release, in format {number}: it has no checksums, and "
            "its fingerprint of the backbone leaves out the configuration. Fit and save the model again."
        )
    seal = _SEAL.match(data)
    if not (seal and seal[1].decode() == _digest(data[seal.end() :])):
        raise SavedModelError(
            f"{path} is not what was saved (its checksum differs): damaged, or edited. Take a copy, or fit "
            "again."
        )
    return document


def _entries(folder: Path, document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Lengths and digests by name."""
    files = document.get("files")
    if not isinstance(files, dict) or not {ARRAYS} <= files.keys() <= set(_FILES):
        raise SavedModelError(
            f"{folder / MANIFEST} lists the files {shown(files)}; expected {ARRAYS}, and those of an adapter."
        )
    for name, entry in files.items():
        digest = entry.get("sha256") if isinstance(entry, dict) else None
        if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
            raise SavedModelError(f"{folder / MANIFEST} has no checksum of {name}, but {shown(entry)}.")
    return files


# -- the files --------------------------------------------------------------------------------


def _read_file(folder: Path, name: str, entry: Mapping[str, Any]) -> bytes:
    path = folder / name
    new = _new(folder, name, entry["sha256"])
    for place in (new, path) if new.is_file() else (path,):
        data = _read(place, most=entry.get("bytes"))
        if _digest(data) == entry["sha256"]:
            return data
    raise SavedModelError(
        f"{path} is not the file that was saved with {MANIFEST} (its checksum differs): damaged, or "
        "replaced. Take a copy of the whole folder, or fit again."
    )


def _read(path: Path, most: Any = None) -> bytes:
    """A file's content; a length that differs is told before anything is read."""
    try:
        if not path.is_file():
            raise SavedModelError(f"{path} is missing or no regular file. Take a copy of the whole folder.")
        if most is not None and not (isinstance(most, int) and path.stat().st_size <= most):
            raise SavedModelError(
                f"{path} has {path.stat().st_size} bytes; expected at most {shown(most)}. Take a copy."
            )
        return path.read_bytes()
    except (OSError, MemoryError) as error:
        raise SavedModelError(f"{path} cannot be read: {error or 'too little memory'}.") from error


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _digest_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _new(folder: Path, name: str, digest: str) -> Path:
    """Where a file waits until the ``estimator.json`` that names it is in place."""
    return folder / f"{name}.{digest[:16]}.new"


def _settle(folder: Path) -> list[str]:
    """Finish what an interrupted save left over; returns the names of the files that are a save's own."""
    if os.path.lexists(folder / MANIFEST):
        try:
            document = _read_manifest(folder)
            entries = _entries(folder, document)
        except SavedModelError as error:
            raise FileExistsError(
                f"{error} Nothing was saved: {folder / MANIFEST} may be another program's. Remove it, or "
                "save into another folder."
            ) from error
    else:
        document, entries = {}, {}
    for path in folder.iterdir():
        waiting = _NEW.fullmatch(path.name)
        if waiting and _digest_of(path) == entries.get(waiting[1], {}).get("sha256"):
            os.replace(path, folder / waiting[1])
        elif waiting:
            path.unlink()
    replaced = document.get("replaced")
    replaced = replaced if isinstance(replaced, dict) else {}
    for name in _FILES:
        path = folder / name
        if name in replaced and path.is_file() and _digest_of(path) == replaced[name]:
            path.unlink()
    return list(entries)


def _refuse_foreign(folder: Path, files: Mapping[str, bytes], own: list[str]) -> None:
    places = [folder / name for name in files if name not in own]
    if foreign := [str(path) for path in places if os.path.lexists(path)]:
        raise FileExistsError(
            f"{', '.join(foreign)}: written by something other than plmlearn.save, and would be replaced. "
            "Move it, or save into another folder."
        )


@contextlib.contextmanager
def _locked(folder: Path, *, exclusive: bool) -> Iterator[int | None]:
    """Keep other processes of plmlearn from writing; yields the folder's descriptor."""
    if fcntl is None:
        yield None
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # a folder whose files may be read, and not its list of them
        yield None
        return
    try:
        with contextlib.suppress(OSError):  # file systems without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield descriptor
    finally:
        os.close(descriptor)


def _sync(descriptor: int | None) -> None:
    """Bring the names in a folder to the disk."""
    if descriptor is not None:
        os.fsync(descriptor)
