"""Saves that are interrupted at every step, full disks, damage to every byte, and files of other programs."""

import errno
import hashlib
import json
import os
import threading
from contextlib import contextmanager, suppress

import pytest
from saved_folders import as_format_1, edited, read_document, write_document

from plmlearn.persistence import SavedModelError, folder

ARRAYS, CONFIG, WEIGHTS = folder.ARRAYS, folder.ADAPTER_CONFIG, folder.ADAPTER_WEIGHTS
MODELS = {
    "plain": ({"name": "plain"}, {ARRAYS: b"plain" * 50}),
    "adapted": ({"name": "adapted"}, {ARRAYS: b"a" * 90, CONFIG: b"{}", WEIGHTS: b"w" * 70}),
    "other": ({"name": "other"}, {ARRAYS: b"o" * 80, CONFIG: b"{ }", WEIGHTS: b"v" * 75}),
}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """No waiting for a disk: the order of changes is what is tested."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def write(place, name):
    folder.write_folder(place, *MODELS[name])


def stored(place) -> str:
    """Which model a folder holds; an error where it is a mixture."""
    document, files = folder.read_folder(place)
    assert files == MODELS[document["name"]][1]
    return document["name"]


def contents(place) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place.iterdir()}


class Killed(BaseException):
    """The process is gone: nothing that it would still do happens."""


@contextmanager
def killed_at(step, monkeypatch):
    """Every change to the folder counts; the one of number ``step`` is half done, and none follows."""
    done = 0

    def interrupt(function, half=None):
        def change(*args, **options):
            nonlocal done
            done += 1
            if done < step:
                return function(*args, **options)
            if done == step and half is not None:
                half(*args)
            raise Killed

        return change

    with monkeypatch.context() as patch:
        patch.setattr(
            folder, "_write", interrupt(folder._write, lambda path, data: path.write_bytes(data[:9]))
        )
        patch.setattr(folder, "_sync", interrupt(folder._sync))
        patch.setattr(os, "replace", interrupt(os.replace))
        patch.setattr("pathlib.Path.unlink", interrupt(folder.Path.unlink))
        yield lambda: done


@pytest.mark.parametrize("new", MODELS)
@pytest.mark.parametrize("old", [None, *MODELS])
def test_a_save_killed_at_any_step_leaves_the_old_model_or_the_new(old, new, tmp_path, monkeypatch):
    finished = step = 0
    while not finished:
        step += 1
        place = tmp_path / str(step)
        place.mkdir()
        (place / "notes.txt").write_text("mine")
        if old:
            write(place, old)
        with killed_at(step, monkeypatch) as count:
            with suppress(Killed):
                write(place, new)
            finished = count() < step
        try:
            assert stored(place) in (old, new)
        except FileNotFoundError:
            assert old is None
        third = "adapted" if step % 2 else "plain"
        write(place, third)  # the next save finishes what was left
        assert stored(place) == third
        assert contents(place).keys() == {"notes.txt", folder.MANIFEST, *MODELS[third][1]}
    assert step > 6


def test_two_saves_killed_one_after_the_other(tmp_path, monkeypatch):
    for first in range(1, 16, 2):
        for second in range(1, 16, 2):
            place = tmp_path / f"{first} {second}"
            write(place, "adapted")
            for step, name in ((first, "plain"), (second, "other")):
                with killed_at(step, monkeypatch), suppress(Killed):
                    write(place, name)
            assert stored(place) in MODELS
            write(place, "plain")
            assert contents(place).keys() == {folder.MANIFEST, ARRAYS}


@pytest.mark.parametrize("failing", range(4))
def test_a_full_disk_leaves_the_old_model_and_nothing_else(failing, tmp_path, monkeypatch):
    write(tmp_path, "adapted")
    before, true_write, n = contents(tmp_path), folder._write, iter(range(9))

    def write_less(path, data):
        if next(n) == failing:
            path.write_bytes(data[:9])
            raise OSError(errno.ENOSPC, "No space left on device")
        true_write(path, data)

    monkeypatch.setattr(folder, "_write", write_less)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path, "other")
    assert contents(tmp_path) == before


def test_every_flipped_bit_is_noticed(tmp_path):
    write(tmp_path, "adapted")
    n_flips = 0
    for path in sorted(tmp_path.iterdir()):
        data = path.read_bytes()
        for index in range(len(data)):
            flipped = bytearray(data)
            flipped[index] ^= 1 << index % 8
            path.write_bytes(flipped)
            with pytest.raises(SavedModelError, match=str(path)):
                folder.read_folder(tmp_path)
            n_flips += 1
        path.write_bytes(data)
    assert n_flips > 600
    assert stored(tmp_path) == "adapted"


def test_every_truncation_is_noticed(tmp_path):
    write(tmp_path, "adapted")
    for path in sorted(tmp_path.iterdir()):
        data = path.read_bytes()
        for length in range(len(data)):
            path.write_bytes(data[:length])
            with pytest.raises(SavedModelError, match=str(path)):
                folder.read_folder(tmp_path)
        path.write_bytes(data)


def test_files_of_two_saves_do_not_mix(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    write(one, "adapted")
    write(other, "other")
    for name in MODELS["adapted"][1]:
        kept = (one / name).read_bytes()
        (one / name).write_bytes((other / name).read_bytes())
        with pytest.raises(SavedModelError, match=rf"{name} .*(checksum|bytes)"):
            folder.read_folder(one)
        (one / name).write_bytes(kept)


# -- files of others ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [ARRAYS, CONFIG, WEIGHTS, folder.MANIFEST])
def test_a_file_that_no_save_wrote_is_never_replaced(name, tmp_path):
    (tmp_path / name).write_text("{}")
    with pytest.raises(FileExistsError, match=rf"{name}.*another folder"):
        write(tmp_path, "adapted")
    assert contents(tmp_path) == {name: b"{}"}


def test_an_adapter_of_ones_own_beside_a_saved_model_stays(tmp_path):
    write(tmp_path, "adapted")
    write(tmp_path, "plain")
    (tmp_path / CONFIG).write_text("mine")
    write(tmp_path, "plain")
    assert (tmp_path / CONFIG).read_text() == "mine"
    with pytest.raises(FileExistsError, match=CONFIG):
        write(tmp_path, "other")
    assert stored(tmp_path) == "plain"


def test_a_damaged_list_of_files_is_not_saved_over(tmp_path):
    write(tmp_path, "adapted")
    path = tmp_path / folder.MANIFEST
    path.write_bytes(path.read_bytes()[:-3])
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match="Remove it"):
        write(tmp_path, "plain")
    assert contents(tmp_path) == before
    path.unlink()
    with pytest.raises(FileExistsError, match=ARRAYS):
        write(tmp_path, "plain")


# -- several at once ------------------------------------------------------------------------------


def test_savers_and_readers_at_once_see_whole_models(tmp_path):
    write(tmp_path, "plain")
    wrong, over = [], threading.Event()

    def save_in_turn(names):
        for name in names * 8:
            write(tmp_path, name)

    def read():
        while not over.is_set():
            try:
                stored(tmp_path)
            except Exception as error:
                wrong.append(error)

    savers = [threading.Thread(target=save_in_turn, args=([*MODELS][::order],)) for order in (1, -1)]
    reader = threading.Thread(target=read)
    for thread in (reader, *savers):
        thread.start()
    for thread in savers:
        thread.join()
    over.set()
    reader.join()
    assert not wrong
    assert len(contents(tmp_path)) == 1 + len(MODELS[stored(tmp_path)][1])


# -- what is no saved model -----------------------------------------------------------------------


def test_checksums_are_those_of_the_files(tmp_path):
    write(tmp_path, "adapted")
    document = read_document(tmp_path)
    for name, entry in document["files"].items():
        data = (tmp_path / name).read_bytes()
        assert entry == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    first, _, rest = (tmp_path / folder.MANIFEST).read_bytes().partition(b",\n")
    assert json.loads(first + b"}") == {"sha256": hashlib.sha256(rest).hexdigest()}


def test_a_document_sealed_by_the_tests_is_read(tmp_path):
    write(tmp_path, "plain")
    write_document(tmp_path, read_document(tmp_path))
    assert stored(tmp_path) == "plain"


@pytest.mark.parametrize(
    "files",
    [
        None,
        {},
        [ARRAYS],
        {ARRAYS: None},
        {ARRAYS: {"bytes": 5}},
        {ARRAYS: {"bytes": 5, "sha256": "../../secret"}},
        {CONFIG: {"bytes": 2, "sha256": "0" * 64}},
        {ARRAYS: {"bytes": 5, "sha256": "0" * 64}, "../secret": {"bytes": 5, "sha256": "0" * 64}},
        {ARRAYS: {"bytes": 5, "sha256": "0" * 64}, "/etc/hostname": {"bytes": 5, "sha256": "0" * 64}},
    ],
)
def test_only_files_of_known_names_are_opened(files, tmp_path, monkeypatch):
    write(tmp_path, "plain")
    document = {**read_document(tmp_path), "files": files}
    write_document(tmp_path, document, refresh=False)
    opened, true_read = [], folder._read

    def watched(path, most=None):
        opened.append(path.name)
        return true_read(path, most)

    monkeypatch.setattr(folder, "_read", watched)
    with pytest.raises(SavedModelError, match=folder.MANIFEST):
        folder.read_folder(tmp_path)
    assert opened == [folder.MANIFEST]


@pytest.mark.parametrize("name", [ARRAYS, folder.MANIFEST])
def test_only_regular_files_are_read(name, tmp_path):
    """A pipe would wait for ever, a device never end."""
    write(tmp_path, "plain")
    path = tmp_path / name
    makers = {
        "pipe": os.mkfifo,
        "folder": os.mkdir,
        "device": lambda place: os.symlink("/dev/zero", place),
        "nothing": lambda place: os.symlink(tmp_path / "nowhere", place),
    }
    for make in makers.values():
        path.unlink() if not path.is_dir() else path.rmdir()
        make(path)
        with pytest.raises(SavedModelError, match=rf"{name} is missing or no regular file"):
            folder.read_folder(tmp_path)


def test_a_link_to_a_regular_file_is_read(tmp_path):
    """As caches of downloads have them."""
    write(tmp_path / "there", "adapted")
    (tmp_path / "here").mkdir()
    for path in (tmp_path / "there").iterdir():
        os.symlink(path, tmp_path / "here" / path.name)
    assert stored(tmp_path / "here") == "adapted"


def test_an_endless_document_is_not_read(tmp_path):
    write(tmp_path, "plain")
    os.truncate(tmp_path / folder.MANIFEST, 2**40)  # sparse: takes no room
    with pytest.raises(SavedModelError, match=r"has 1099511627776 bytes; expected at most 67108864"):
        folder.read_folder(tmp_path)


def test_a_document_that_would_not_be_read_is_not_written(tmp_path, monkeypatch):
    write(tmp_path, "plain")
    monkeypatch.setattr(folder, "_LONGEST_MANIFEST", 2000)
    with pytest.raises(SavedModelError, match=r"at most are read again; use pickle"):
        folder.write_folder(tmp_path, {"long": "x" * 2000}, {ARRAYS: b""})
    assert stored(tmp_path) == "plain"


@pytest.mark.parametrize("number", [True, 0, -1, "2", None, 1.5])
def test_formats_that_there_are_not(number, tmp_path):
    write(tmp_path, "plain")
    with pytest.raises(SavedModelError, match="says no format"):
        folder.read_folder(edited(tmp_path, lambda document: document.update(format=number)))


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "3", '"x"', "[" * 100_000, "1" * 5000, "\ud800", "{}" * 2],
    ids=lambda t: t[:4],
)
def test_documents_that_are_none(text, tmp_path):
    write(tmp_path, "plain")
    (tmp_path / folder.MANIFEST).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(SavedModelError, match=folder.MANIFEST):
        folder.read_folder(tmp_path)


def test_a_folder_of_the_first_format_is_refused_and_left_alone(tmp_path):
    folder.write_folder(
        tmp_path, {**MODELS["adapted"][0], "versions": {}, "estimator": {}}, MODELS["adapted"][1]
    )
    before = contents(as_format_1(tmp_path))
    with pytest.raises(SavedModelError, match="before the first release"):
        folder.read_folder(tmp_path)
    with pytest.raises(FileExistsError, match=r"Nothing was saved.*Remove it"):
        write(tmp_path, "plain")
    assert contents(tmp_path) == before
