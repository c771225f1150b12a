"""Processes that are killed while they write, and what is found on the disk afterwards."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from models import FAST, draw_proteins, fit
from sklearn.model_selection import GridSearchCV

import plmlearn
from plmlearn import PLMClassifier, PLMEmbedder, PLMMaskedLM, cache
from plmlearn.adapters import Frozen, LoRA

Work = Callable[[], Any]


def fork(work: Work) -> int:
    """Run ``work`` in a process of its own; returns its id."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = int(work() or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def kill_after(seconds: float, work: Work) -> bool:
    """Run ``work`` and kill it (SIGKILL) after a time; whether it was still at work."""
    pid = fork(work)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def outcome_of(work: Work) -> int:
    """What ``work`` returned in a process of its own, with nothing left from before."""
    return os.waitstatus_to_exitcode(os.waitpid(fork(work), 0)[1])


class SaveOver:
    """Models of several kinds are saved over one another, in one folder."""

    def __init__(self, home: Path):
        self.folder = home / "model"
        self.models = [fit(name) for name in ("lora", "frozen", "peft-lora", "mlp")]
        self.folder.mkdir(parents=True)
        (self.folder / "notes.txt").write_text("mine")
        plmlearn.save(self.models[0], self.folder)

    longest = 0.3  # seconds until a kill

    def work(self) -> None:
        while True:
            for model in random.sample(self.models, len(self.models)):
                plmlearn.save(model, self.folder)

    def judge(self) -> str:
        loaded = plmlearn.load(self.folder)
        if not any(same(loaded, model) for model in self.models):
            return "silent mixture"
        return "whole" if (self.folder / "notes.txt").read_text() == "mine" else "another's file lost"

    def finish(self) -> str:
        plmlearn.save(self.models[1], self.folder)
        left = {path.name for path in self.folder.iterdir()}
        return (
            "whole" if left == {"notes.txt", "estimator.json", "arrays.safetensors"} else f"left over: {left}"
        )


class SaveAnew(SaveOver):
    """A model is saved where nothing is."""

    def __init__(self, home: Path):
        super().__init__(home)
        self.model = self.models[2]
        self._move()

    def _move(self) -> None:
        self.folder = self.folder.parent / f"{self.folder.name}-"

    def work(self) -> None:
        plmlearn.save(self.model, self.folder)

    def judge(self) -> str:
        try:
            loaded = plmlearn.load(self.folder)
        except FileNotFoundError:
            return "nothing yet"
        finally:
            self._move()
        return "whole" if same(loaded, self.model) else "silent mixture"

    def finish(self) -> str:
        self.work()
        return self.judge()


class Cache:
    """Embeddings are written to the cache."""

    def __init__(self, home: Path):
        self.folder = home / "cache"
        self.rows = [draw_proteins(40, seed) for seed in range(8)]
        cache.limit(folder=self.folder)
        cache.clear()
        embedder = PLMEmbedder("mini", precision="fp32").fit(self.rows[0])
        self.embedder = embedder
        self.expected = [embedder.transform(rows) for rows in self.rows]
        cache.clear()

    longest = 0.6

    def work(self) -> None:
        while True:
            cache.clear()
            for rows in self.rows:
                self.embedder.transform(rows)

    def judge(self) -> str:
        return "whole" if outcome_of(self._compare) == 0 else "wrong embeddings"

    def _compare(self) -> bool:
        return not all(
            np.allclose(self.embedder.transform(rows), expected, atol=1e-5)
            for rows, expected in zip(self.rows, self.expected, strict=True)
        )

    finish = judge


class Search(Cache):
    """A search over several settings; what is computed once goes to the cache, whose folder they share."""

    def __init__(self, home: Path):
        cache.limit(folder=home / "cache", memory=0)
        self.rows, self.labels = draw_proteins(24), np.arange(24) % 2
        self.expected = self._scores()
        cache.clear()

    longest = 3.0

    def _scores(self) -> np.ndarray:
        model = PLMClassifier("mini", adapter=LoRA(rank=2, last_n_layers=1), **FAST)
        search = GridSearchCV(model, [{"adapter__rank": [1, 2]}, {"adapter": [Frozen()]}], cv=2)
        return search.fit(self.rows, self.labels).cv_results_["mean_test_score"]

    def work(self) -> None:
        while True:
            self._scores()

    def _compare(self) -> bool:
        return not np.array_equal(self._scores(), self.expected)

    def judge(self) -> str:
        return "whole" if outcome_of(self._compare) == 0 else "other scores"

    finish = judge


class Pretraining:
    """A language model is trained, with a checkpoint after every step."""

    def __init__(self, home: Path):
        self.folder = home / "checkpoint"
        self.rows = draw_proteins(40)
        self.expected = self._fit(None)

    longest = 0.6

    def _fit(self, folder: Path | None) -> bytes:
        model = PLMMaskedLM(
            n_layers=1,
            width=16,
            n_heads=2,
            batch_size=2,
            crop_length=32,
            max_steps=40,
            evaluate_every=10,
            precision="fp32",
            random_state=0,
            verbose=0,
            checkpoint=None if folder is None else str(folder),
            checkpoint_minutes=0,
        )
        return model.fit(self.rows)._trained

    def work(self) -> None:
        self._fit(self.folder)

    def judge(self) -> str:
        """Every other time training goes on from where it was killed; else it is killed again first."""
        if random.random() < 0.5:
            return "killed again"
        return self.finish()

    def finish(self) -> str:
        code = outcome_of(lambda: self._fit(self.folder) != self.expected)
        shutil.rmtree(self.folder, ignore_errors=True)
        return "whole" if code == 0 else "another model"


def same(one: Any, other: Any) -> bool:
    """Whether two estimators have equal parameters and trained tensors."""
    if type(one) is not type(other) or repr(one) != repr(other):
        return False
    if hasattr(one, "_trained"):
        return one._trained == other._trained
    return all(np.array_equal(a, b) for a, b in zip(one.mlp_.coefs_, other.mlp_.coefs_, strict=True))


def kill(home: Path, n_kills: int, seed: int = 0) -> tuple[Counter, list[str]]:
    """Kill as many processes; returns how often each outcome was, and a line for each fault."""
    random.seed(seed)
    outcomes: Counter = Counter()
    kinds = (SaveOver, SaveAnew, Cache, Search, Pretraining)
    for kind in kinds:
        victim = kind(home / kind.__name__)
        for _ in range(-(-n_kills // len(kinds))):
            was_at_work = kill_after(random.uniform(0, victim.longest), victim.work)
            outcomes[f"{kind.__name__}: {_judged(victim.judge)}"] += 1
            outcomes["killed at work"] += was_at_work
        outcomes[f"{kind.__name__} in the end: {_judged(victim.finish)}"] += 1
    good = ("whole", "nothing yet", "killed again", "killed at work")
    return outcomes, [f"{n} times {what}" for what, n in outcomes.items() if not what.endswith(good)]


def _judged(judge: Callable[[], str]) -> str:
    try:
        return judge()
    except Exception as error:
        return f"raw: {type(error).__name__}: {str(error)[:200]}"
