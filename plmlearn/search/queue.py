"""Trials in a storage that several processes may share: each candidate is run once, even if some die.

``open_storage``  memory, a journal on a file, or a database
``TrialQueue``    the trials of one search: what waits, what runs where, what is done

A search has *slots*, one for each candidate. A trial of Optuna that waits stands for each slot; a process
takes one, evaluates it and tells the result. A trial whose process has died is marked as failed, and another
waits in its place. When two processes put a trial in the place of the same one, the first of them counts.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import psutil

BEAT_SECONDS = 20  # between two signs of life of a trial that runs
GRACE_SECONDS = 120  # without one, after which a trial on another machine counts as dead
LOCK_SECONDS = 30  # after which a lock that a process on another machine has kept is broken
CREATION_SECONDS = 10  # without progress, after which the process that made a study counts as dead

SETTINGS, SLOT, OWNER, BEAT, RESULT = (
    f"plmlearn:{n}" for n in ("settings", "slot", "owner", "beat", "result")
)


def open_storage(storage: str | PathLike[str] | None) -> Any:
    """A storage of Optuna: memory, a journal on a file, or a database.

    Parameters
    ----------
    storage : str, PathLike or None
        None is memory, a text with "://" is the URL of a database, anything else the path of a journal.

    Raises
    ------
    ValueError
        The file is no journal.
    """
    from optuna.storages import InMemoryStorage, JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if storage is None:
        return InMemoryStorage()
    if isinstance(storage, str) and "://" in storage:
        with suppress(Exception):  # two processes cannot make the tables of one database at the same time
            return RDBStorage(storage)
        time.sleep(1)
        return RDBStorage(storage)
    path = str(Path(fspath(storage)).expanduser())
    try:
        lock: Any = _JournalLock(path)
        return JournalStorage(JournalFileBackend(path, lock_obj=lock))
    except (ValueError, KeyError, TypeError, IsADirectoryError) as error:
        raise ValueError(
            f"storage={path!r} is no journal of Optuna ({error}); expected a new file, or that of an earlier "
            "search."
        ) from error


class _JournalLock:
    """A lock on a journal, a file as Optuna's is, that tells whose it is: that of a killed process is broken.

    Who gets it cuts off the line that a killed process was writing.
    """

    def __init__(self, path: str):
        self._path, self._lock = path, Path(f"{path}.lock")

    def acquire(self) -> bool:
        seen, since, pause = None, time.monotonic(), 0.001
        while not self._take():
            holder = self._holder()
            if holder != seen:
                seen, since = holder, time.monotonic()
            if holder is not None and (_has_died(holder) or time.monotonic() - since > LOCK_SECONDS):
                self._break(holder)
            time.sleep(pause)
            pause = min(2 * pause, 0.5)
        self._cut_unfinished_line()
        return True

    def release(self) -> None:
        self._lock.unlink(missing_ok=True)

    def _take(self) -> bool:
        try:
            with self._lock.open("x") as file:
                json.dump({**_this_process(), "token": uuid.uuid4().hex}, file)
        except FileExistsError:
            return False
        return True

    def _holder(self, lock: Path | None = None) -> dict[str, Any] | None:
        """The process that holds the lock: None if there is none, {} if it is not known (yet)."""
        try:
            holder = json.loads((lock or self._lock).read_text())
            return holder if "machine" in holder else {}
        except FileNotFoundError:
            return None
        except ValueError:
            return {}

    def _break(self, holder: dict[str, Any]) -> None:
        """Remove the lock of this holder; put it back if another has taken it since."""
        aside = Path(f"{self._lock}{uuid.uuid4().hex}.rename")
        with suppress(FileNotFoundError):
            self._lock.rename(aside)
            if self._holder(aside) != holder:
                with suppress(OSError):
                    os.link(aside, self._lock)
            aside.unlink()

    def _cut_unfinished_line(self) -> None:
        with open(self._path, "rb+") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 1, 0))
            if size and file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)


@dataclass
class TrialQueue:
    """The trials of one search.

    Parameters
    ----------
    study : optuna.Study
    slots : dict of int to dict
        Parameters that are fixed, by slot, in the order in which they are to run.
    n_trials : int
        Slots to run, over all processes.
    names : collection of str
        Parameters that the sampler decides on, where none are fixed.
    """

    study: Any
    slots: Mapping[int, dict[str, Any]]
    n_trials: int
    names: Collection[str] = ()
    _seen: dict[int, tuple[Any, float]] = field(default_factory=dict)
    _running: int | None = None  # the trial of this process
    _token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def fill(self) -> None:
        """Let a trial wait for every slot that has none; those of dead processes are marked as failed."""
        from optuna.trial import TrialState

        kept, lost = set(), {}
        for trial in self._trials():
            slot = trial.user_attrs.get(SLOT)
            if trial.state.name == "RUNNING" and self._is_dead(trial):
                self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
                lost[slot] = self._decided(trial)
            elif not _is_released(trial):
                kept.add(slot)
            else:
                lost.setdefault(slot, self._decided(trial))
        for slot, fixed in self.slots.items():
            if slot not in kept:
                self.study.enqueue_trial(fixed or lost.get(slot, {}), user_attrs={SLOT: slot})

    def _decided(self, trial: Any) -> dict[str, Any]:
        """Parameters of a lost trial; {} if its process died between two of them, as a sampler's second draw
        depends on its first."""
        return trial.params if set(self.names) <= set(trial.params) else {}

    def take(self) -> Any:
        """A trial that waited and is now this process's own; None if none waits or enough have begun."""
        from optuna.trial import Trial

        self.fill()
        if self._n_begun() >= self.n_trials:
            return None
        order = {slot: place for place, slot in enumerate(self.slots)}
        waiting = [t for t in self._trials() if t.state.name == "WAITING" and t.user_attrs.get(SLOT) in order]
        for frozen in sorted(waiting, key=lambda t: (order[t.user_attrs[SLOT]], t.number)):
            if self._claim(frozen):
                self.study._thread_local.cached_all_trials = None  # as Study.ask does
                return Trial(self.study, frozen._trial_id)
        return None

    def _claim(self, frozen: Any) -> bool:
        from optuna.trial import TrialState

        storage, me = self.study._storage, {**_this_process(), "token": self._token}
        try:  # several may ask; if the one that gets it dies before it says so, all who asked are looked at
            storage.set_trial_user_attr(frozen._trial_id, f"{OWNER}:{self._token}", me)
            if not storage.set_trial_state_values(frozen._trial_id, TrialState.RUNNING):
                return False
        except RuntimeError:  # another process has finished it already
            return False
        storage.set_trial_user_attr(frozen._trial_id, OWNER, me)
        slot = frozen.user_attrs[SLOT]
        rivals = [t for t in self._trials() if t.user_attrs.get(SLOT) == slot and t.number < frozen.number]
        if any(not _is_released(rival) for rival in rivals):
            self.study.tell(frozen.number, state=TrialState.FAIL)
            return False
        self._running = frozen._trial_id
        return True

    def finish(self, trial: Any, result: dict[str, Any], state: Any, value: float | None = None) -> None:
        """Store a trial's result."""
        trial.set_user_attr(RESULT, result)
        self._running = None
        self.study.tell(trial.number, value, state=state, skip_if_finished=True)

    def release(self, trial: Any) -> bool:
        """Give up a trial, so that it is run again; False if another process has taken it over before."""
        from optuna.trial import TrialState

        self._running = None
        is_mine = self._trials()[trial.number].state == TrialState.RUNNING
        if is_mine:
            self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        return is_mine

    def is_done(self) -> bool:
        """Whether as many trials as asked for have ended."""
        return len({trial.user_attrs[SLOT] for trial in self.finished()}) >= self.n_trials

    def finished(self) -> list[Any]:
        """Trials that have a result, by slot."""
        ended = {
            t.user_attrs[SLOT]: t for t in self._trials() if t.state.is_finished() and RESULT in t.user_attrs
        }
        return [ended[slot] for slot in sorted(ended)]

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Give signs of life of the trial that runs."""
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(BEAT_SECONDS):
                with suppress(Exception):  # the trial has ended, or the storage cannot be reached for a while
                    if self._running is not None:
                        self.study._storage.set_trial_user_attr(self._running, BEAT, time.time())

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _trials(self) -> list[Any]:
        return self.study.get_trials(deepcopy=False)

    def _n_begun(self) -> int:
        begun = [t for t in self._trials() if t.state.name != "WAITING" and not _is_released(t)]
        return len({t.user_attrs.get(SLOT) for t in begun})

    def _is_dead(self, trial: Any) -> bool:
        """Whether the process of a trial that runs has died: known at once here, by silence elsewhere."""
        asked = [value for name, value in trial.user_attrs.items() if name.startswith(f"{OWNER}:")]
        owners = [trial.user_attrs[OWNER]] if OWNER in trial.user_attrs else asked
        given_up = trial._trial_id != self._running
        dead = {given_up if owner.get("token") == self._token else _has_died(owner) for owner in owners}
        if False in dead or dead == {True}:
            return False not in dead
        sign = (owners, trial.user_attrs.get(BEAT))
        before, since = self._seen.get(trial.number, (None, 0.0))
        if trial.number not in self._seen or before != sign:
            self._seen[trial.number] = (sign, time.monotonic())
            return False
        return time.monotonic() - since > GRACE_SECONDS


def open_study(
    storage: Any, name: str, settings: dict[str, Any], fill: Callable[[Any, dict[str, Any]], None]
) -> tuple[Any, dict[str, Any]]:
    """The study of a search, made and filled by the first process that needs it, and its settings.

    Parameters
    ----------
    storage : optuna storage
    name : str
    settings : dict
        Of this search, to be kept with the study where it is new.
    fill : callable
        Puts the trials of new settings into the study.
    """
    import optuna

    try:
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
        study.set_user_attr(OWNER, _this_process())
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(storage=storage, study_name=name)
        n_trials, since = -1, time.monotonic()
        while SETTINGS not in study.user_attrs and time.monotonic() - since < CREATION_SECONDS:
            if _has_died(study.user_attrs.get(OWNER)):
                break
            if len(study.trials) != n_trials:
                n_trials, since = len(study.trials), time.monotonic()
            time.sleep(0.1)
    if SETTINGS not in study.user_attrs:
        fill(study, settings)
        study.set_user_attr(SETTINGS, settings)
    return study, study.user_attrs[SETTINGS]


def _is_released(trial: Any) -> bool:
    """Whether a trial has ended without a result, so that its slot is free."""
    return trial.state.name == "FAIL" and RESULT not in trial.user_attrs


def _this_process() -> dict[str, Any]:
    return {"machine": _machine(), "pid": os.getpid(), "since": psutil.Process().create_time()}


def _machine() -> str:
    """A name for where process numbers are unique: a host since it was started, or a container in it."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _has_died(owner: Mapping[str, Any] | None) -> bool | None:
    """Whether a process has died; None if it is unknown, or runs on another machine."""
    if not owner or owner["machine"] != _machine():
        return None
    try:
        process = psutil.Process(owner["pid"])
        is_same = abs(process.create_time() - owner["since"]) < 1
        return not is_same or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
