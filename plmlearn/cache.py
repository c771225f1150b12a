"""What has been computed once: embeddings and trunk activations, found again by their content.

A frozen encoder gives the same numbers for the same sequence every time, so they are kept: in
memory up to a budget, and on disk. An entry's namespace tells the backbone (fingerprint), the version of
the forward pass, the depth and the precision; its key is a digest of the tokens. A disk file ("shard") is a
safetensors file that is complete and checked, or is not used: it is written under another name and moved
into place, and carries a checksum. Several processes may fill one folder; none waits for another.

    >>> import plmlearn.cache
    >>> sorted(plmlearn.cache.info())
    ['disk_bytes', 'disk_limit', 'folder', 'memory_bytes', 'memory_limit']

The folder is ``$PLMLEARN_CACHE``, else ``plmlearn`` in the user's cache folder.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import reprlib
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .messages import warn
from .nn.locks import ForkSafeLock
from .sequences.clean import local_path

__all__ = ["CacheWarning", "clear", "disabled", "info", "limit"]

GIB = 1 << 30
KEY_BYTES = 16
SHARD_PREFIX = "activations-"  # what bears another name is not ours, and is left alone
_ENDINGS = (".safetensors", ".tmp")  # of shards, and of those that are being written

BLOCK_BYTES = 1 << 26  # entries are kept, written and forgotten in blocks of about this size,
BLOCK_SECONDS = 60  # or of what this time gives
DEAD_SECONDS = 3600  # since its last byte: the writer of such an unfinished file was killed

Computed = tuple[np.ndarray, np.ndarray, Tensor]
"""Positions of some entries, the rows of each, and all their rows one behind the other."""

Compute = Callable[[np.ndarray], Iterable[Computed]]
"""Given positions of missing entries, yields them batch by batch, in any order."""


class CacheWarning(UserWarning):
    """The cache could not be read or written; results are right, but were computed again."""


@dataclass(frozen=True, eq=False)
class _Block:
    """Entries side by side in one tensor: a hundred thousand proteins are not as many objects.

    Parameters
    ----------
    namespace : str
    keys : ndarray of bytes, shape (n,)
    n_rows : ndarray of int, shape (n,)
        Rows of each entry.
    values : Tensor of shape (rows, D)
    """

    namespace: str
    keys: np.ndarray
    n_rows: np.ndarray
    values: Tensor

    @cached_property
    def first(self) -> np.ndarray:
        """First row of each entry."""
        return _first_rows(self.n_rows)

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self.keys, kind="stable")

    @property
    def nbytes(self) -> int:
        return self.values.nbytes

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Index of each key in this block, -1 where it is not here."""
        place = np.searchsorted(self.keys, keys, sorter=self._order)
        index = self._order[np.minimum(place, len(self.keys) - 1)]
        return np.where(self.keys[index] == keys, index, -1)

    def merged(self, other: _Block) -> _Block:
        """The entries of both."""
        keys, n_rows = np.append(self.keys, other.keys), np.append(self.n_rows, other.n_rows)
        return _Block(self.namespace, keys, n_rows, torch.cat([self.values, other.values]))


def _first_rows(n_rows: np.ndarray) -> np.ndarray:
    """Where each entry begins, if they lie one behind the other."""
    return np.cumsum(n_rows) - n_rows


class Entries(Sequence):
    """What was found for some keys, in their order: views of larger tensors, None for what was not.

    Parameters
    ----------
    n : int
        Number of keys; none is found to begin with.
    """

    def __init__(self, n: int):
        self._values: list[Tensor] = []
        self._which = np.full(n, -1)  # of these values has the entry,
        self._first = np.zeros(n, dtype=np.int64)  # from this row
        self._n_rows = np.zeros(n, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._which)

    def __getitem__(self, i):
        if self._which[i] < 0:
            return None
        return self._values[self._which[i]].narrow(0, int(self._first[i]), int(self._n_rows[i]))

    @property
    def missing(self) -> np.ndarray:
        """Positions of what was not found."""
        return np.flatnonzero(self._which < 0)

    def joined(self) -> np.ndarray:
        """All of them, one behind the other; none may be missing.

        By numpy: threads of torch go on spinning for milliseconds, in the way of a head's small products.
        """
        which = np.repeat(self._which, self._n_rows)
        rows = np.repeat(self._first - _first_rows(self._n_rows), self._n_rows) + np.arange(len(which))
        joined = np.empty((len(rows), *self._values[0].shape[1:]), dtype=np.float32)
        for number, values in enumerate(self._values):
            here = np.flatnonzero(which == number)
            joined[here] = values.numpy()[rows[here]]
        return joined

    def put(
        self, positions: np.ndarray, values: Tensor, n_rows: np.ndarray, first: np.ndarray | None = None
    ) -> None:
        """Take in entries.

        Parameters
        ----------
        positions : ndarray of int, shape (k,)
        values : Tensor of shape (rows, D)
        n_rows : ndarray of int, shape (k,)
            Rows of ``values`` that each entry has.
        first : ndarray of int, shape (k,), optional
            The row where each begins; without it one begins where the one before ends.
        """
        self._which[positions] = len(self._values)
        self._first[positions] = _first_rows(n_rows) if first is None else first
        self._n_rows[positions] = n_rows
        self._values.append(values)

    def put_found(self, keys: np.ndarray, block: _Block) -> bool:
        """Take from a block what is still missing; whether it had any of it."""
        missing = self.missing
        index = block.find(keys[missing])
        here, index = index >= 0, index[index >= 0]
        if len(index):
            self.put(missing[here], block.values, block.n_rows[index], block.first[index])
        return bool(len(index))


class Cache:
    """Tensors by namespace and key: in memory up to one limit, on disk up to another.

    Parameters
    ----------
    folder : Path
    memory_limit, disk_limit : int
        Bytes; 0 switches a tier off.
    """

    def __init__(self, folder: Path, memory_limit: int, disk_limit: int):
        self.folder = folder
        self.memory_limit = memory_limit
        self.disk_limit = disk_limit
        self._memory: list[_Block] = []  # the least recently used come first
        self._shards: dict[Path, _Block | None] = {}
        self._lock = ForkSafeLock()

    def fetch(
        self, namespace: str, keys: Sequence[bytes], compute: Compute, *, bytes_needed: int, persist: bool
    ) -> Entries:
        """Entries for all keys; what is not there yet is computed and kept.

        Parameters
        ----------
        namespace : str
            Everything but the sequence that the numbers depend on.
        keys : sequence of bytes
            Digest of each sequence.
        compute : callable
        bytes_needed : int
            Size of all entries together; it decides whether they go to memory or to disk.
        persist : bool
            Write to disk even if memory has room, for later runs.

        Returns
        -------
        Entries
            In the order of ``keys``; None for what fits neither tier.
        """
        with self._lock.lock:
            wanted = np.frombuffer(b"".join(keys), dtype=f"S{KEY_BYTES}")
            found = self._look_up(namespace, wanted)
            in_memory = bytes_needed <= self.memory_limit
            on_disk = self.disk_limit > 0 and (persist or (not in_memory and bytes_needed <= self.disk_limit))
            if not len(found.missing) or not (in_memory or on_disk):
                return found
            for positions, n_rows, values in _gathered(compute(found.missing)):
                block = _Block(namespace, wanted[positions], n_rows, values)
                on_disk = on_disk and self._write(block)
                if in_memory or not on_disk:
                    self._remember(block)
                    found.put(positions, values, n_rows)
                if not (in_memory or on_disk):
                    break  # the disk has failed, and memory is not to take it all
            if len(found.missing):  # what went to disk alone is read back, memory-mapped
                self._look_up(namespace, wanted, found)
            return found

    def _look_up(self, namespace: str, keys: np.ndarray, found: Entries | None = None) -> Entries:
        found = Entries(len(keys)) if found is None else found
        for block in [block for block in self._memory if block.namespace == namespace]:
            if found.put_found(keys, block):
                self._memory.remove(block)
                self._memory.append(block)
        for path in self._shard_paths(namespace) if len(found.missing) else []:
            shard = self._open(path)
            if shard is not None:
                found.put_found(keys, shard)
            if not len(found.missing):
                break
        return found

    def _remember(self, block: _Block) -> None:
        """Keep a block in memory; small ones are merged, so that they stay few."""
        while small := [
            known
            for known in self._memory
            if known.namespace == block.namespace
            and known.nbytes <= block.nbytes
            and known.nbytes + block.nbytes <= BLOCK_BYTES
        ]:
            self._memory.remove(small[-1])
            block = small[-1].merged(block)
        self._memory.append(block)
        while self._memory_bytes > self.memory_limit:
            del self._memory[0]

    @property
    def _memory_bytes(self) -> int:
        return sum(block.nbytes for block in self._memory)

    # -- disk ---------------------------------------------------------------------------------

    def _shard_paths(self, namespace: str | None = None) -> list[Path]:
        return self._files(namespace or "*", ".safetensors") if self.disk_limit else []

    def _files(self, namespace: str, ending: str) -> list[Path]:
        return sorted(self.folder.glob(f"{namespace}/{SHARD_PREFIX}*{ending}"))

    def _open(self, path: Path) -> _Block | None:
        """A shard, memory-mapped; None if the file cannot be believed."""
        if path not in self._shards:
            try:
                self._shards[path] = _read_shard(path)
                with contextlib.suppress(OSError):
                    os.utime(path)  # last used: the oldest go first
            except OSError as error:
                self._shards[path] = None
                if not isinstance(error, FileNotFoundError):
                    _warn(f"cannot read from {path.parent} ({error}); what it holds is computed again.")
            except (SafetensorError, ValueError, KeyError) as error:
                self._shards[path] = None
                with contextlib.suppress(OSError):
                    path.unlink()
                _warn(f"{path.name} is damaged ({error}); it was dropped and is computed again.")
        return self._shards[path]

    def _write(self, block: _Block) -> bool:
        """Whether a block is on disk now; a failure is said once and costs nothing but the reuse."""
        temporary = self.folder / block.namespace / f"{SHARD_PREFIX}{uuid.uuid4().hex}.tmp"
        try:
            temporary.parent.mkdir(parents=True, exist_ok=True)
            _write_shard(temporary, block)
            n_bytes = temporary.stat().st_size
            if n_bytes > self.disk_limit:
                raise OSError(errno.EFBIG, f"{n_bytes} bytes are beyond the limit of {self.disk_limit}")
            self.make_room()
            temporary.replace(temporary.with_suffix(".safetensors"))
        except (OSError, SafetensorError) as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            _warn(f"cannot write to {self.folder} ({error}); later runs compute again.")
            return False
        return True

    def make_room(self) -> None:
        """Remove what killed writers left, and old shards until the rest fits, with what is being written."""
        files = [file for ending in _ENDINGS for file in self._stats(ending)]
        used = sum(stat.st_size for _, stat in files)
        for path, stat in sorted(files, key=lambda file: file[1].st_mtime):
            unfinished = path.suffix == ".tmp"
            dead = unfinished and time.time() - stat.st_mtime > DEAD_SECONDS
            if dead or (used > self.disk_limit and not unfinished):
                with contextlib.suppress(OSError):
                    path.unlink()
                self._shards.pop(path, None)
                used -= stat.st_size

    def _stats(self, ending: str) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self._files("*", ending):
            with contextlib.suppress(OSError):  # another process may have removed it
                yield path, path.stat()

    def say_too_large(self, n_bytes: int) -> None:
        """Warn that activations of this size are not kept; silent where reuse was switched off."""
        if self.memory_limit or self.disk_limit:
            _warn(
                f"{n_bytes / GIB:.1f} GiB of activations fit neither the memory limit "
                f"({self.memory_limit / GIB:.1f} GiB) nor the disk limit ({self.disk_limit / GIB:.1f} GiB); "
                "they are computed anew in every epoch. Raise a limit with plmlearn.cache.limit()."
            )

    # -- what a user asks for -----------------------------------------------------------------

    def info(self) -> dict:
        """Bytes used, unfinished files among them, and allowed, and where."""
        return {
            "folder": str(self.folder),
            "memory_bytes": self._memory_bytes,
            "memory_limit": self.memory_limit,
            "disk_bytes": sum(stat.st_size for ending in _ENDINGS for _, stat in self._stats(ending)),
            "disk_limit": self.disk_limit,
        }

    def clear(self, *, memory: bool = True, disk: bool = True) -> None:
        """Forget entries; only files that this cache wrote are removed."""
        with self._lock.lock:
            if memory:
                self._memory.clear()
            if disk:
                for path in (path for ending in _ENDINGS for path in self._files("*", ending)):
                    path.unlink(missing_ok=True)
                self._shards.clear()


def _gathered(computed: Iterable[Computed]) -> Iterator[Computed]:
    """Batches put together until they make a block, or a minute has passed.

    A run that is stopped loses at most what was computed since the last one.
    """
    batches: list[Computed] = []
    n_bytes, since = 0, time.monotonic()
    for batch in computed:
        batches.append(batch)
        n_bytes += batch[2].nbytes
        if n_bytes >= BLOCK_BYTES or time.monotonic() - since > BLOCK_SECONDS:
            yield _joined(batches)
            batches, n_bytes, since = [], 0, time.monotonic()
    if batches:
        yield _joined(batches)


def _joined(batches: list[Computed]) -> Computed:
    positions, n_rows, values = zip(*batches, strict=True)
    return np.concatenate(positions), np.concatenate(n_rows), torch.cat(values)


def _write_shard(path: Path, block: _Block) -> None:
    tensors = {
        "keys": torch.tensor(np.frombuffer(block.keys.tobytes(), dtype=np.uint8)),
        "rows": torch.from_numpy(block.n_rows),
        "values": block.values.contiguous(),
    }
    save_file(tensors, path, metadata={"checksum": json.dumps(_checksum(tensors))})


def _read_shard(path: Path) -> _Block:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in ("keys", "rows", "values")}
        expected = json.loads((file.metadata() or {}).get("checksum", "null"))
    if _checksum(tensors) != expected:
        raise ValueError("checksum differs")
    keys = np.frombuffer(tensors["keys"].numpy().tobytes(), dtype=f"S{KEY_BYTES}")
    return _Block(path.parent.name, keys, tensors["rows"].numpy(), tensors["values"])


def _checksum(tensors: dict[str, Tensor]) -> int:
    checksum = 0
    for name in ("keys", "rows", "values"):
        checksum = zlib.crc32(tensors[name].view(torch.uint8).numpy().data, checksum)
    return checksum


_warned: set[str] = set()


def _warn(message: str) -> None:
    """Warn once per process and kind of trouble."""
    kind = " ".join(message.split()[:2]) if message.startswith("cannot") else message[-40:]
    if kind not in _warned:
        _warned.add(kind)
        warn(f"plmlearn cache: {message}", CacheWarning)


def _default_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return local_path(os.environ.get("PLMLEARN_CACHE") or Path(home) / "plmlearn")


_cache = Cache(_default_folder(), psutil.virtual_memory().total // 4, 20 * GIB)


def default_cache() -> Cache:
    """The cache that all estimators of this process use."""
    return _cache


def info() -> dict:
    """Folder, bytes used and limits of the process-wide cache.

    See Also
    --------
    limit : Change the limits.
    clear : Empty the cache.

    Examples
    --------
    >>> import plmlearn.cache
    >>> sorted(plmlearn.cache.info())
    ['disk_bytes', 'disk_limit', 'folder', 'memory_bytes', 'memory_limit']
    """
    return _cache.info()


def clear(*, memory: bool = True, disk: bool = True) -> None:
    """Empty the process-wide cache, in memory, on disk, or both.

    See Also
    --------
    info : Bytes used, and limits.
    limit : Change the limits.

    Examples
    --------
    >>> import plmlearn.cache
    >>> plmlearn.cache.clear(disk=False)
    """
    _cache.clear(memory=memory, disk=disk)


def limit(
    *, memory: float | None = None, disk: float | None = None, folder: str | PathLike[str] | None = None
) -> None:
    """Change the limits of the process-wide cache.

    Parameters
    ----------
    memory, disk : float, optional
        GiB; 0 switches the tier off. Defaults are a quarter of the machine's memory, and 20.
    folder : str or PathLike, optional
        Keep files elsewhere from now on; ``~`` is expanded.

    Raises
    ------
    TypeError
        A limit is not a number, or the folder is not a path.
    ValueError
        A limit is negative or not finite; nothing is changed.

    See Also
    --------
    info : Bytes used, and limits.
    clear : Empty the cache.

    Examples
    --------
    >>> import plmlearn.cache
    >>> with plmlearn.cache.disabled():  # afterwards limits are as they were
    ...     plmlearn.cache.limit(memory=4)
    ...     plmlearn.cache.info()["memory_limit"] / 2**30
    4.0
    """
    memory_limit, disk_limit = _bytes_of_gib("memory", memory), _bytes_of_gib("disk", disk)
    home = None if folder is None else local_path(folder, "folder")
    if memory_limit is not None:
        _cache.memory_limit = memory_limit
        _cache.clear(disk=False)
    if disk_limit is not None:
        _cache.disk_limit = disk_limit
    if home is not None:
        _cache.folder = home


def _bytes_of_gib(name: str, gib: Any) -> int | None:
    if gib is None:
        return None
    what = f"{name} is {reprlib.repr(gib)}; expected a number of GiB, 0 to 1e9, such as 4 or 0.5."
    if not isinstance(gib, Real) or isinstance(gib, bool):
        raise TypeError(what)
    value: Any = gib.item() if isinstance(gib, np.generic) else gib
    if not 0 <= value <= 1e9:
        raise ValueError(what)
    return int(value * GIB)


@contextlib.contextmanager
def disabled() -> Iterator[None]:
    """Within this context nothing is reused: every activation is computed anew.

    See Also
    --------
    limit : Change the limits.

    Examples
    --------
    >>> import plmlearn.cache
    >>> with plmlearn.cache.disabled():
    ...     plmlearn.cache.info()["memory_limit"]
    0
    """
    limits = _cache.memory_limit, _cache.disk_limit
    _cache.memory_limit = _cache.disk_limit = 0
    kept, _cache._memory = _cache._memory, []
    try:
        yield
    finally:
        _cache.memory_limit, _cache.disk_limit = limits
        _cache._memory = kept
