"""What has been computed once: embeddings and trunk activations, found again by their content.

A frozen encoder gives the same numbers for the same sequence every time, so they are kept: in
memory up to a budget, and on disk. An entry's namespace tells the weights (fingerprint), the depth
and the precision; its key is a digest of the tokens. A disk file ("shard") is a safetensors file
that is complete and checked, or is not believed: it is written under another name and moved into
place, and carries a checksum. Several processes may fill one folder; none waits for another.

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
import threading
import uuid
import warnings
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import psutil
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

GIB = 1 << 30
KEY_BYTES = 16
SHARD_PREFIX = "activations-"  # what bears another name is not ours, and is left alone

Compute = Callable[[list[int]], Iterator[tuple[int, Tensor]]]
"""Given positions of missing entries, yields (position, tensor) for each, in any order."""


class CacheWarning(UserWarning):
    """The cache could not be read or written; results are right, but were computed again."""


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
        self._memory: OrderedDict[tuple[str, bytes], Tensor] = OrderedDict()
        self._memory_bytes = 0
        self._shards: dict[Path, dict[bytes, Tensor]] = {}
        self._lock = threading.RLock()

    def fetch(
        self, namespace: str, keys: Sequence[bytes], compute: Compute, *, bytes_needed: int, persist: bool
    ) -> list[Tensor | None]:
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
        list of Tensor or None
            In the order of ``keys``; None for what fits neither tier.
        """
        with self._lock:
            found = self._look_up(namespace, keys)
            missing = [i for i, entry in enumerate(found) if entry is None]
            if not missing:
                return found
            in_memory = bytes_needed <= self.memory_limit
            on_disk = self.disk_limit > 0 and (persist or (not in_memory and bytes_needed <= self.disk_limit))
            if not (in_memory or on_disk):
                return found
            writer = _ShardWriter(self, namespace) if on_disk else None
            for i, tensor in compute(missing):
                found[i] = tensor
                if in_memory:
                    self._remember(namespace, keys[i], tensor)
                if writer is not None and writer.add(keys[i], tensor) and not in_memory:
                    found[i] = None  # read back below, memory-mapped
            if writer is not None:
                writer.close()
                found = [
                    entry if entry is not None else again
                    for entry, again in zip(found, self._look_up(namespace, keys), strict=True)
                ]
            return found

    def _look_up(self, namespace: str, keys: Sequence[bytes]) -> list[Tensor | None]:
        found = [self._memory.get((namespace, key)) for key in keys]
        for key in keys:
            if (namespace, key) in self._memory:
                self._memory.move_to_end((namespace, key))
        if any(entry is None for entry in found):
            for path in self._shard_paths(namespace):
                shard = self._open(path)
                found = [shard.get(key) if f is None else f for f, key in zip(found, keys, strict=True)]
                if all(entry is not None for entry in found):
                    break
        return found

    def _remember(self, namespace: str, key: bytes, tensor: Tensor) -> None:
        known = self._memory.pop((namespace, key), None)
        self._memory_bytes += tensor.nbytes - (0 if known is None else known.nbytes)
        self._memory[namespace, key] = tensor
        while self._memory_bytes > self.memory_limit:
            _, oldest = self._memory.popitem(last=False)
            self._memory_bytes -= oldest.nbytes

    # -- disk ---------------------------------------------------------------------------------

    def _shard_paths(self, namespace: str | None = None) -> list[Path]:
        return self._files(namespace or "*", ".safetensors") if self.disk_limit else []

    def _files(self, namespace: str, ending: str) -> list[Path]:
        return sorted(self.folder.glob(f"{namespace}/{SHARD_PREFIX}*{ending}"))

    def _open(self, path: Path) -> dict[bytes, Tensor]:
        """Entries of a shard as memory-mapped views; none if the file cannot be believed."""
        if path not in self._shards:
            try:
                self._shards[path] = _read_shard(path)
                with contextlib.suppress(OSError):
                    os.utime(path)  # last used: the oldest go first
            except OSError as error:
                self._shards[path] = {}
                if not isinstance(error, FileNotFoundError):
                    _warn(f"cannot read from {path.parent} ({error}); what it holds is computed again.")
            except (SafetensorError, ValueError, KeyError) as error:
                self._shards[path] = {}
                with contextlib.suppress(OSError):
                    path.unlink()
                _warn(f"{path.name} is damaged ({error}); it was dropped and is computed again.")
        return self._shards[path]

    def make_room(self, n_bytes: int) -> None:
        """Remove the least recently used shards until ``n_bytes`` more fit on disk."""
        sizes = []
        for path in self._shard_paths():
            with contextlib.suppress(OSError):
                sizes.append((path.stat().st_mtime, path.stat().st_size, path))
        used = sum(size for _, size, _ in sizes)
        for _, size, path in sorted(sizes):
            if used + n_bytes <= self.disk_limit:
                return
            with contextlib.suppress(OSError):
                path.unlink()
            self._shards.pop(path, None)
            used -= size

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
        """Bytes used and allowed, and where."""
        sizes = [path.stat().st_size for path in self._files("*", ".safetensors")]
        return {
            "folder": str(self.folder),
            "memory_bytes": self._memory_bytes,
            "memory_limit": self.memory_limit,
            "disk_bytes": sum(sizes),
            "disk_limit": self.disk_limit,
        }

    def clear(self, *, memory: bool = True, disk: bool = True) -> None:
        """Forget entries; only files that this cache wrote are removed."""
        with self._lock:
            if memory:
                self._memory.clear()
                self._memory_bytes = 0
            if disk:
                for path in [*self._files("*", ".safetensors"), *self._files("*", ".tmp")]:
                    path.unlink(missing_ok=True)
                self._shards.clear()


class _ShardWriter:
    """Collects entries and writes them in files of some 256 MiB."""

    SHARD_BYTES = 1 << 28

    def __init__(self, cache: Cache, namespace: str):
        self.cache = cache
        self.folder = cache.folder / namespace
        self.pending: list[tuple[bytes, Tensor]] = []
        self.n_bytes = 0
        self.usable = True

    def add(self, key: bytes, tensor: Tensor) -> bool:
        """Queue an entry; False once writing has failed."""
        if self.usable:
            self.pending.append((key, tensor))
            self.n_bytes += tensor.nbytes
            if self.n_bytes >= self.SHARD_BYTES:
                self.close()
        return self.usable

    def close(self) -> None:
        """Write what is queued; a failure is said once and costs nothing but the reuse."""
        if not self.pending:
            return
        temporary = self.folder / f"{SHARD_PREFIX}{uuid.uuid4().hex}.tmp"
        try:
            self._write(temporary)
        except (OSError, SafetensorError) as error:
            self.usable = False
            with contextlib.suppress(OSError):
                temporary.unlink()
            _warn(f"cannot write to {self.folder.parent} ({error}); later runs compute again.")
            for key, tensor in self.pending:
                self.cache._remember(self.folder.name, key, tensor)
        self.pending, self.n_bytes = [], 0

    def _write(self, temporary: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        _write_shard(temporary, self.pending)
        n_bytes = temporary.stat().st_size
        if n_bytes > self.cache.disk_limit:
            raise OSError(errno.EFBIG, f"{n_bytes} bytes are beyond the limit of {self.cache.disk_limit}")
        self.cache.make_room(n_bytes)
        temporary.replace(temporary.with_suffix(".safetensors"))


def _write_shard(path: Path, entries: list[tuple[bytes, Tensor]]) -> None:
    values = torch.cat([tensor for _, tensor in entries]).contiguous()
    tensors = {
        "keys": torch.tensor(np.frombuffer(b"".join(key for key, _ in entries), dtype=np.uint8)),
        "rows": torch.tensor([len(tensor) for _, tensor in entries]),
        "values": values,
    }
    save_file(tensors, path, metadata={"checksum": json.dumps(_checksum(tensors))})


def _read_shard(path: Path) -> dict[bytes, Tensor]:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in ("keys", "rows", "values")}
        expected = json.loads((file.metadata() or {}).get("checksum", "null"))
    if _checksum(tensors) != expected:
        raise ValueError("checksum differs")
    keys = tensors["keys"].numpy().tobytes()
    rows = tensors["values"].split(tensors["rows"].tolist())
    return {keys[KEY_BYTES * i : KEY_BYTES * (i + 1)]: row for i, row in enumerate(rows)}


def _checksum(tensors: dict[str, Tensor]) -> int:
    checksum = 0
    for name in ("keys", "rows", "values"):
        checksum = zlib.crc32(tensors[name].view(torch.uint8).numpy().data, checksum)
    return checksum


_warned: set[str] = set()


def _warn(message: str) -> None:
    """Warn once per process and kind of trouble."""
    kind = message.split(" ", 1)[0] if message.startswith("cannot") else message[-40:]
    if kind not in _warned:
        _warned.add(kind)
        warnings.warn(f"plmlearn cache: {message}", CacheWarning, stacklevel=2)


def _default_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("PLMLEARN_CACHE") or Path(home) / "plmlearn")


_cache = Cache(_default_folder(), psutil.virtual_memory().total // 4, 20 * GIB)


def default_cache() -> Cache:
    """The cache that all estimators of this process use."""
    return _cache


def info() -> dict:
    """Folder, bytes used and limits of the process-wide cache."""
    return _cache.info()


def clear(*, memory: bool = True, disk: bool = True) -> None:
    """Empty the process-wide cache, in memory, on disk, or both."""
    _cache.clear(memory=memory, disk=disk)


def limit(
    *, memory: float | None = None, disk: float | None = None, folder: str | Path | None = None
) -> None:
    """Change the limits of the process-wide cache.

    Parameters
    ----------
    memory, disk : float, optional
        GiB; 0 switches the tier off. Defaults are a quarter of the machine's memory, and 20.
    folder : str or Path, optional
        Keep files elsewhere from now on.
    """
    if memory is not None:
        _cache.memory_limit = int(memory * GIB)
        _cache.clear(disk=False)
    if disk is not None:
        _cache.disk_limit = int(disk * GIB)
    if folder is not None:
        _cache.folder = Path(folder)


@contextlib.contextmanager
def disabled() -> Iterator[None]:
    """Within this context nothing is reused: every activation is computed anew.

    Examples
    --------
    >>> import plmlearn.cache
    >>> with plmlearn.cache.disabled():
    ...     plmlearn.cache.info()["memory_limit"]
    0
    """
    limits = _cache.memory_limit, _cache.disk_limit
    _cache.memory_limit = _cache.disk_limit = 0
    kept, _cache._memory = _cache._memory, OrderedDict()
    n_bytes, _cache._memory_bytes = _cache._memory_bytes, 0
    try:
        yield
    finally:
        _cache.memory_limit, _cache.disk_limit = limits
        _cache._memory, _cache._memory_bytes = kept, n_bytes
