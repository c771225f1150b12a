"""The cache of activations: what it finds again, what it forgets, and what trouble costs (time alone)."""

import contextlib
import errno
import os
import signal
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from plmlearn import cache as cache_module
from plmlearn.cache import GIB, Cache, CacheWarning

WIDTH = 8
ROW_BYTES = 4 * WIDTH


def key_of(i: int) -> bytes:
    return i.to_bytes(16, "big")


def value_of(i: int, n_rows: int = 1) -> torch.Tensor:
    """The entry of a key: a function of the key alone, as a frozen encoder's output is."""
    return torch.full((n_rows, WIDTH), float(i)) + torch.arange(n_rows)[:, None] / 100


class Source:
    """Computes entries and notes which were asked for."""

    def __init__(self, numbers, rows=lambda i: 1):
        self.numbers, self.rows = list(numbers), rows
        self.computed: list[int] = []

    def __call__(self, missing):
        """Batches of at most two entries, in an order of its own."""
        missing = missing[::-1]
        for batch in np.split(missing, range(2, len(missing), 2)):
            numbers = [self.numbers[position] for position in batch]
            self.computed += numbers
            n_rows = np.array([self.rows(i) for i in numbers])
            yield batch, n_rows, torch.cat([value_of(i, n) for i, n in zip(numbers, n_rows)])


def one_entry(value: torch.Tensor):
    """Computes a single entry."""
    return lambda missing: iter([(missing, np.array([len(value)]), value)])


def fetch(cache: Cache, numbers, *, persist=False, namespace="space", rows=lambda i: 1, needed=None):
    """Entries by number, and the numbers that had to be computed; right or absent, never wrong."""
    numbers = list(numbers)
    source = Source(numbers, rows)
    needed = ROW_BYTES * sum(map(rows, numbers)) if needed is None else needed
    found = cache.fetch(namespace, [key_of(i) for i in numbers], source, bytes_needed=needed, persist=persist)
    assert len(found) == len(numbers)
    if not len(found.missing):
        np.testing.assert_array_equal(found.joined(), torch.cat(list(found)).numpy())
    for i, entry in zip(numbers, found):
        assert entry is None or torch.equal(entry, value_of(i, rows(i)))
    return found, sorted(source.computed)


@pytest.fixture
def cache(tmp_path) -> Cache:
    return Cache(tmp_path / "cache", memory_limit=100 * ROW_BYTES, disk_limit=1 << 20)


@pytest.fixture(autouse=True)
def _nothing_warned_yet(monkeypatch):
    monkeypatch.setattr(cache_module, "_warned", set())


def shards(cache: Cache) -> list[Path]:
    return sorted(cache.folder.glob("*/*.safetensors"))


def disk_bytes(cache: Cache) -> int:
    return sum(path.stat().st_size for path in shards(cache))


# -- finding --------------------------------------------------------------------------------------


@pytest.mark.parametrize("persist", [False, True])
def test_what_was_computed_is_found_again(cache, persist):
    found, computed = fetch(cache, [3, 1, 2], persist=persist)
    assert computed == [1, 2, 3]
    assert None not in found
    assert fetch(cache, [2, 3], persist=persist)[1] == []
    assert fetch(cache, [2, 4, 3], persist=persist)[1] == [4]
    assert bool(shards(cache)) == persist


def test_namespaces_are_separate(cache):
    fetch(cache, [1], namespace="one", persist=True)
    assert fetch(cache, [1], namespace="two", persist=True)[1] == [1]


def test_entries_may_have_different_lengths(cache):
    rows = [4, 1, 7, 2]
    fetch(cache, range(4), persist=True, rows=rows.__getitem__)
    again = Cache(cache.folder, 0, cache.disk_limit)
    assert fetch(again, [2, 0, 3, 1], rows=rows.__getitem__)[1] == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_bits_survive_the_disk(cache, dtype):
    value = torch.randn(5, WIDTH).to(dtype)
    options = {"bytes_needed": 1, "persist": True}
    cache.fetch("space", [key_of(1)], one_entry(value), **options)
    (found,) = Cache(cache.folder, 0, 1 << 20).fetch("space", [key_of(1)], Source([]), **options)
    assert found.dtype == dtype
    assert torch.equal(found, value)


def test_a_cache_object_of_another_process_finds_what_is_on_disk(cache):
    fetch(cache, range(10), persist=True)
    again = Cache(cache.folder, cache.memory_limit, cache.disk_limit)
    assert fetch(again, range(12), persist=True)[1] == [10, 11]
    third = Cache(cache.folder, cache.memory_limit, cache.disk_limit)
    assert fetch(third, range(12), persist=True)[1] == []


def test_what_does_not_fit_memory_goes_to_disk(cache):
    found, _ = fetch(cache, range(200))
    assert None not in found
    assert len(shards(cache)) == 1
    assert cache.info()["memory_bytes"] == 0
    assert fetch(cache, range(200))[1] == []


def test_what_fits_neither_is_left_to_the_caller(tmp_path):
    cache = Cache(tmp_path, memory_limit=10 * ROW_BYTES, disk_limit=20 * ROW_BYTES)
    found, computed = fetch(cache, range(50))
    assert list(found) == [None] * 50
    assert computed == []
    assert shards(cache) == []


# -- limits ---------------------------------------------------------------------------------------


def test_memory_forgets_the_block_least_recently_used(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "BLOCK_BYTES", 4 * ROW_BYTES)  # so that blocks are not merged
    cache = Cache(tmp_path, memory_limit=12 * ROW_BYTES, disk_limit=0)
    for block in ([0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]):
        fetch(cache, block)
    fetch(cache, [1])  # used again, so that 4 to 7 are now the oldest
    fetch(cache, [12, 13])
    assert cache.info()["memory_bytes"] == 10 * ROW_BYTES
    assert fetch(cache, [0, 1, 2, 3, *range(8, 14)])[1] == []
    assert fetch(cache, [4, 7])[1] == [4, 7]


def test_small_blocks_are_merged(tmp_path):
    """A protein at a time for long leaves a few blocks, each entry findable."""
    cache = Cache(tmp_path, memory_limit=1 << 20, disk_limit=0)
    for i in range(100):
        fetch(cache, [i], rows=lambda i: 1 + i % 3)
    assert len(cache._memory) < 10
    assert fetch(cache, range(100), rows=lambda i: 1 + i % 3)[1] == []


def test_what_is_computed_slowly_is_kept_before_the_end(cache, monkeypatch):
    """Who stops a long run keeps what was done up to the last minute."""
    monkeypatch.setattr(cache_module, "BLOCK_SECONDS", 0)

    class Stops(Source):
        def __call__(self, missing):
            for n, batch in enumerate(super().__call__(missing)):
                if n == 3:
                    raise KeyboardInterrupt
                yield batch

    options = {"bytes_needed": 10 * ROW_BYTES, "persist": True}
    with pytest.raises(KeyboardInterrupt):
        cache.fetch("space", [key_of(i) for i in range(10)], Stops(range(10)), **options)
    again = Cache(cache.folder, cache.memory_limit, cache.disk_limit)
    assert fetch(again, range(10), persist=True)[1] == [0, 1, 2, 3]


@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=12, unique=True), max_size=12))
@settings(max_examples=60, deadline=None)
def test_memory_stays_below_its_limit_and_is_counted_exactly(calls):
    cache = Cache(Path("unused"), memory_limit=12 * ROW_BYTES * 3, disk_limit=0)
    for numbers in calls:
        found, _ = fetch(cache, numbers, rows=lambda i: 1 + i % 3)
        assert None not in found
        held = sum(block.values.nbytes for block in cache._memory)
        assert cache.info()["memory_bytes"] == held <= cache.memory_limit


def test_memory_is_counted_exactly_after_the_disk_failed(cache, monkeypatch):
    monkeypatch.setattr(cache_module, "_write_shard", raise_on_write(errno.ENOSPC))
    with pytest.warns(CacheWarning, match="cannot write"):
        fetch(cache, range(5), persist=True)
    held = sum(block.values.nbytes for block in cache._memory)
    assert cache.info()["memory_bytes"] == held == 5 * ROW_BYTES


def test_disk_forgets_the_oldest_shards(tmp_path):
    one_shard = len(save_one_shard(tmp_path / "probe"))
    cache = Cache(tmp_path / "cache", memory_limit=0, disk_limit=int(3.5 * one_shard))
    for i in range(5):
        fetch(cache, range(10 * i, 10 * i + 10), persist=True)
        age(cache, 10)
    assert len(shards(cache)) == 3
    fresh = Cache(cache.folder, 0, cache.disk_limit)
    assert list(look_up(fresh, [5, 15])) == [None, None]
    assert None not in look_up(fresh, range(20, 50))


def look_up(cache: Cache, numbers):
    """What the cache has, nothing computed."""
    return cache._look_up("space", np.array([key_of(i) for i in numbers], dtype="S16"))


def save_one_shard(folder: Path) -> bytes:
    cache = Cache(folder, 0, 1 << 20)
    fetch(cache, range(10), persist=True)
    return shards(cache)[0].read_bytes()


def age(cache: Cache, seconds: float) -> None:
    """Make every shard older."""
    for path in shards(cache):
        stat = path.stat()
        os.utime(path, (stat.st_atime - seconds, stat.st_mtime - seconds))


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(1, 60)), max_size=10), st.booleans())
@settings(max_examples=25, deadline=None)
def test_disk_stays_below_its_limit(tmp_path_factory, calls, persist):
    cache = Cache(tmp_path_factory.mktemp("cache"), memory_limit=0, disk_limit=40 * ROW_BYTES)
    for first, n in calls:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CacheWarning)
            fetch(cache, range(first, first + n), persist=persist)
        assert disk_bytes(cache) <= cache.disk_limit


def test_large_sets_are_written_in_several_shards(cache, monkeypatch):
    monkeypatch.setattr(cache_module, "BLOCK_BYTES", 30 * ROW_BYTES)
    found, _ = fetch(cache, range(200))
    assert None not in found
    assert len(shards(cache)) == 7
    assert fetch(Cache(cache.folder, 0, cache.disk_limit), range(200))[1] == []


# -- damage ---------------------------------------------------------------------------------------


def flip_a_byte(content: bytes) -> bytes:
    return content[:-20] + bytes([content[-20] ^ 1]) + content[-19:]


DAMAGE = {
    "garbage": lambda content: b"no tensors here",
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "last byte missing": lambda content: content[:-1],
    "one bit flipped": flip_a_byte,
    "grown": lambda content: content + b"more",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_shard_is_dropped_and_computed_again(cache, damage):
    fetch(cache, range(5), persist=True)
    fetch(cache, range(5, 9), persist=True)
    for path in shards(cache)[:1]:
        path.write_bytes(damage(path.read_bytes()))
    again = Cache(cache.folder, cache.memory_limit, cache.disk_limit)
    with pytest.warns(CacheWarning, match="damaged") as warned:
        found, computed = fetch(again, range(9), persist=True)
    assert len(warned) == 1
    assert None not in found
    assert computed in ([0, 1, 2, 3, 4], [5, 6, 7, 8])
    third = Cache(cache.folder, cache.memory_limit, cache.disk_limit)
    assert fetch(third, range(9), persist=True)[1] == []


def test_a_foreign_file_in_the_place_of_a_shard_is_not_believed(cache):
    fetch(cache, range(5), persist=True)
    (path,) = shards(cache)
    save_file({"weight": torch.zeros(3)}, path)
    again = Cache(cache.folder, 0, cache.disk_limit)
    with pytest.warns(CacheWarning, match="damaged"):
        assert fetch(again, range(5), persist=True)[1] == [0, 1, 2, 3, 4]


def test_a_shard_that_vanished_is_computed_again_without_a_word(cache):
    fetch(cache, range(5), persist=True)
    shards(cache)[0].unlink()
    assert fetch(Cache(cache.folder, 0, cache.disk_limit), range(5), persist=True)[1] == [0, 1, 2, 3, 4]


def test_what_a_killed_writer_left_is_ignored_and_cleared(cache):
    fetch(cache, range(5), persist=True)
    (path,) = shards(cache)
    left = path.with_suffix(".tmp")
    left.write_bytes(path.read_bytes()[:40])
    again = Cache(cache.folder, 0, cache.disk_limit)
    assert fetch(again, range(5), persist=True)[1] == []
    again.clear()
    assert not left.exists()


def test_unfinished_files_count_and_go_when_their_writer_is_dead(cache):
    """One that is an hour old goes with the next write; a younger one may be another process's."""
    fetch(cache, range(5), persist=True)
    folder = shards(cache)[0].parent
    dead, alive, foreign = (folder / f"{name}.tmp" for name in ("activations-0", "activations-1", "mine"))
    for path in (dead, alive, foreign):
        path.write_bytes(bytes(5000))
    os.utime(dead, (0, 0))
    assert cache.info()["disk_bytes"] == disk_bytes(cache) + 10_000
    fetch(cache, range(5, 9), persist=True)
    assert (dead.exists(), alive.exists(), foreign.exists()) == (False, True, True)
    assert cache.info()["disk_bytes"] == disk_bytes(cache) + 5000


def test_shards_make_room_for_what_is_being_written(cache):
    fetch(cache, range(5), persist=True)
    (old,) = shards(cache)
    old.with_name("activations-1.tmp").write_bytes(bytes(cache.disk_limit - old.stat().st_size))
    fetch(cache, range(5, 9), persist=True)
    assert not old.exists()


def raise_on_write(number: int):
    def write(path, block):
        path.write_bytes(b"begun")
        raise OSError(number, os.strerror(number))

    return write


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("memory_rows", [0, 100])
def test_a_disk_that_cannot_be_written_costs_one_warning(tmp_path, monkeypatch, number, memory_rows):
    cache = Cache(tmp_path, memory_limit=memory_rows * ROW_BYTES, disk_limit=1 << 20)
    monkeypatch.setattr(cache_module, "_write_shard", raise_on_write(number))
    with pytest.warns(CacheWarning, match="cannot write") as warned:
        found, computed = fetch(cache, range(5), persist=True)
    fetch(cache, range(5, 9), persist=True)  # a second warning would be an error
    assert len(warned) == 1
    assert computed == [0, 1, 2, 3, 4]
    assert None not in found
    assert list(tmp_path.glob("*/*")) == []
    assert fetch(cache, range(5), persist=True)[1] == ([] if memory_rows else [0, 1, 2, 3, 4])


def test_a_shard_that_cannot_be_read_is_left_alone(cache, monkeypatch):
    """Another user's file, or memory that cannot be mapped now: not ours to delete."""
    fetch(cache, range(5), persist=True)

    def refuse(path):
        raise PermissionError(errno.EACCES, "permission denied")

    monkeypatch.setattr(cache_module, "_read_shard", refuse)
    again = Cache(cache.folder, 100 * ROW_BYTES, cache.disk_limit)
    with pytest.warns(CacheWarning, match="cannot read"):
        assert fetch(again, range(5))[1] == [0, 1, 2, 3, 4]
    assert len(shards(cache)) == 1
    monkeypatch.setattr(cache_module, "_write_shard", raise_on_write(errno.ENOSPC))
    with pytest.warns(CacheWarning, match="cannot write"):  # another trouble is told too
        fetch(again, range(5, 9), persist=True)


def test_a_folder_that_cannot_be_made_costs_one_warning(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file", memory_limit=100 * ROW_BYTES, disk_limit=1 << 20)
    with pytest.warns(CacheWarning, match="cannot write"):
        found, _ = fetch(cache, range(5), persist=True)
    assert None not in found


def test_writing_fails_halfway(tmp_path, monkeypatch):
    """The disk is full after two shards, memory too small: what fits neither is left to the caller."""
    write, written = cache_module._write_shard, []

    def write_two(path, block):
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "no space left")
        written.append(path)
        write(path, block)

    monkeypatch.setattr(cache_module, "_write_shard", write_two)
    monkeypatch.setattr(cache_module, "BLOCK_BYTES", 10 * ROW_BYTES)
    cache = Cache(tmp_path, memory_limit=20 * ROW_BYTES, disk_limit=1 << 20)
    with pytest.warns(CacheWarning, match="cannot write"):
        found, computed = fetch(cache, range(60))
    assert computed == list(range(30, 60))  # this source begins with the last
    assert list(found.missing) == list(range(30))
    assert len(shards(cache)) == 2


# -- several processes ----------------------------------------------------------------------------


def fill_store(folder: str, first: int, barrier) -> None:
    """Fetch overlapping ranges, one after the other, while another process does the same."""
    warnings.simplefilter("error")
    cache = Cache(Path(folder), memory_limit=0, disk_limit=1 << 22)
    barrier.wait(60)
    for start in range(first, first + 100, 10):
        found, _ = fetch(cache, range(start, start + 20), persist=True)
        assert None not in found


def test_two_processes_fill_one_store(tmp_path, fresh_processes):
    barrier = fresh_processes.Barrier(2)
    workers = [fresh_processes.Process(target=fill_store, args=(str(tmp_path), i, barrier)) for i in (0, 50)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert list(tmp_path.glob("*/*.tmp")) == []
    cache = Cache(tmp_path, memory_limit=0, disk_limit=1 << 22)
    assert fetch(cache, range(160), persist=True)[1] == []


# -- what a user asks for -------------------------------------------------------------------------


def test_clear_removes_our_files_only(cache):
    fetch(cache, range(5), persist=True)
    foreign = cache.folder / "my-esm" / "model.safetensors"
    foreign.parent.mkdir()
    save_file({"weight": torch.zeros(3)}, foreign)
    others = [cache.folder / "notes.txt", cache.folder / "space" / "notes.txt", foreign.with_name("x.tmp")]
    for path in others:
        path.write_text("mine")
    cache.clear()
    assert foreign.exists()
    assert all(path.exists() for path in others)
    assert cache.info()["disk_bytes"] == cache.info()["memory_bytes"] == 0
    assert fetch(cache, range(5), persist=True)[1] == [0, 1, 2, 3, 4]


def test_eviction_removes_our_files_only(tmp_path):
    """A folder of models is not a bad place for a cache."""
    foreign = tmp_path / "my-esm" / "model.safetensors"
    foreign.parent.mkdir()
    save_file({"weight": torch.zeros(1000)}, foreign)
    cache = Cache(tmp_path, memory_limit=0, disk_limit=100 * ROW_BYTES)
    for i in range(5):
        fetch(cache, range(20 * i, 20 * i + 20), persist=True)
    assert foreign.exists()


def test_tiers_are_cleared_one_by_one(cache):
    fetch(cache, range(5), persist=True)
    cache.clear(disk=False)
    assert cache.info()["memory_bytes"] == 0
    assert cache.info()["disk_bytes"] > 5 * ROW_BYTES
    fetch(cache, [7])
    cache.clear(memory=False)
    assert cache.info()["disk_bytes"] == 0
    assert cache.info()["memory_bytes"] == ROW_BYTES


def test_info_tells_bytes_and_limits(cache):
    fetch(cache, range(5), persist=True)
    info = cache.info()
    assert info["folder"] == str(cache.folder)
    assert info["memory_bytes"] == 5 * ROW_BYTES
    assert info["disk_bytes"] == disk_bytes(cache)
    assert (info["memory_limit"], info["disk_limit"]) == (100 * ROW_BYTES, 1 << 20)


def test_disabled_reuses_nothing_and_keeps_what_was_there(empty_cache):
    shared = empty_cache.default_cache()
    fetch(shared, range(3), persist=True)
    limits = shared.memory_limit, shared.disk_limit
    n_files = len(shards(shared))
    with empty_cache.disabled():
        found, computed = fetch(shared, range(5), persist=True)
        assert list(found) == [None] * 5
        assert computed == []
        assert empty_cache.info()["memory_bytes"] == 0
    assert (shared.memory_limit, shared.disk_limit) == limits
    assert len(shards(shared)) == n_files
    assert fetch(shared, range(5), persist=True)[1] == [3, 4]
    held = sum(block.values.nbytes for block in shared._memory)
    assert empty_cache.info()["memory_bytes"] == held


def test_disabled_ends_with_an_error_too(empty_cache):
    limits = empty_cache.info()["memory_limit"], empty_cache.info()["disk_limit"]
    with pytest.raises(KeyError), empty_cache.disabled():
        raise KeyError
    assert (empty_cache.info()["memory_limit"], empty_cache.info()["disk_limit"]) == limits


def test_limits_are_in_gib_and_zero_switches_a_tier_off(empty_cache, tmp_path):
    shared = empty_cache.default_cache()
    before = shared.memory_limit, shared.disk_limit, shared.folder
    try:
        empty_cache.limit(memory=0.5, disk=2, folder=tmp_path)
        info = empty_cache.info()
        assert (info["memory_limit"], info["disk_limit"], info["folder"]) == (
            GIB // 2, 2 * GIB, str(tmp_path)
        )  # fmt: skip
        empty_cache.limit(disk=0)
        fetch(shared, range(3), persist=True)
        assert shards(shared) == []
        empty_cache.limit(memory=0)
        assert list(fetch(shared, range(3))[0]) == [None] * 3
    finally:
        shared.memory_limit, shared.disk_limit, shared.folder = before


@pytest.mark.parametrize(
    ("limits", "error"),
    [({"memory": bad}, TypeError) for bad in ("4", b"4", [4], True, 1j, {})]
    + [({"disk": bad}, ValueError) for bad in (-1, float("nan"), float("inf"), -np.inf, 10**400)],
    ids=repr,
)
def test_a_limit_that_is_none_is_refused_by_name(empty_cache, limits, error):
    before = empty_cache.info()
    with pytest.raises(error, match=f"^{next(iter(limits))} is .*; expected a number of GiB"):
        empty_cache.limit(**{"memory": 1, "disk": 1, "folder": "elsewhere"} | limits)
    assert empty_cache.info() == before


def test_limits_may_be_numbers_of_numpy_and_folders_below_home(empty_cache, monkeypatch):
    before = empty_cache.default_cache().folder
    monkeypatch.setenv("HOME", "/home/somebody")
    with empty_cache.disabled():
        for number in (np.uint8(4), np.float16(4), np.int64(4)):
            empty_cache.limit(memory=number, disk=number, folder="~/here")
            info = empty_cache.info()
            assert info["memory_limit"] == info["disk_limit"] == 4 * GIB
            assert info["folder"] == "/home/somebody/here"
    empty_cache.limit(folder=before)


# -- forks ----------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_while_a_thread_computes_does_not_wait_for_it(cache):
    begun, go_on = threading.Event(), threading.Event()

    def compute_slowly(missing):
        begun.set()
        go_on.wait(60)
        yield from Source(range(3))(missing)

    keys = [key_of(i) for i in range(3)]
    options = {"bytes_needed": 3 * ROW_BYTES, "persist": False}
    thread = threading.Thread(target=cache.fetch, args=("space", keys, compute_slowly), kwargs=options)
    thread.start()
    begun.wait(60)
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # ends a child that waits
        with contextlib.suppress(BaseException):
            os._exit(fetch(cache, range(4))[1] != [0, 1, 2, 3])
        os._exit(2)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    go_on.set()
    thread.join()
    assert code == 0
    assert fetch(cache, range(4))[1] == [3]


def test_the_folder_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    monkeypatch.setenv("PLMLEARN_CACHE", "/elsewhere")
    assert cache_module._default_folder() == Path("/elsewhere")
    monkeypatch.delenv("PLMLEARN_CACHE")
    assert cache_module._default_folder() == Path("/somewhere/plmlearn")


def test_tests_do_not_touch_the_users_cache():
    folder = cache_module.default_cache().folder
    assert folder == Path(os.environ["PLMLEARN_CACHE"])
    assert "pytest" in str(folder)


def test_keys_of_bytes_are_numpy_safe(cache):
    """Keys with every byte value, zero bytes at the end included."""
    keys = [bytes([i]) * 15 + b"\0" for i in range(256)]
    values = np.arange(256)
    options = {"bytes_needed": 256 * ROW_BYTES, "persist": True}

    def compute(missing):
        yield (
            missing,
            np.ones_like(missing),
            torch.from_numpy(values[missing]).float()[:, None].repeat(1, WIDTH),
        )

    cache.fetch("space", keys, compute, **options)
    found = Cache(cache.folder, 0, 1 << 20).fetch("space", keys, Source([]), **options)
    assert [int(entry[0, 0]) for entry in found] == values.tolist()
