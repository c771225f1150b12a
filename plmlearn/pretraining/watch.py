"""What happens between two steps of pretraining: checkpoints, the clock, callbacks, a progress bar."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from tqdm.auto import tqdm

from ..sequences.clean import local_path
from ..training.devices import alone, any_process, is_first_process
from .loop import Run

CHECKPOINT, HISTORY = "checkpoint.safetensors", "history.json"


def check_functions(callbacks: Sequence) -> None:
    """Raise an error if some callbacks are not functions of a dict."""
    others = [type(callback).__name__ for callback in callbacks if not callable(callback)]
    if others:
        raise ValueError(
            f"callbacks: {', '.join(others)} cannot work here. PLMMaskedLM takes functions, each called "
            "after a step with a dict (step, train_loss, …); skorch's callbacks are for the other estimators."
        )


class Watch:
    """Called after every step of a run; True ends it.

    Parameters
    ----------
    run : Run
    folder : str or None
        For checkpoints.
    minutes : float
        Between two of them.
    time_limit : float or None
        Minutes in all.
    callbacks : sequence of callable
    show : bool
        A progress bar, where a person looks on.
    """

    def __init__(
        self,
        run: Run,
        folder: str | os.PathLike[str] | None,
        minutes: float,
        time_limit: float | None,
        callbacks: Sequence[Callable[[dict], bool | None]],
        show: bool,
    ):
        self.run, self.folder, self.minutes = run, None if folder is None else local_path(folder), minutes
        self.callbacks = callbacks
        self.started = self.saved = time.monotonic()
        self.time_limit = time_limit
        hidden: Any = not show or (None if "ipykernel" not in sys.modules else False)
        self.bar = tqdm(total=run.config.n_steps, unit="step", disable=hidden, leave=False)

    def resume(self) -> None:
        """Go on from the folder's checkpoint, where there is one."""
        if self.folder is not None and (self.folder / CHECKPOINT).exists():
            self.run.read(self.folder / CHECKPOINT)
            self.bar.update(self.run.step)

    def __call__(self, run: Run) -> bool:
        self.bar.update()
        self.bar.set_postfix(loss=f"{run.last_loss:.3f}", refresh=False)
        now = time.monotonic()
        if now - self.saved >= 60 * self.minutes:
            self.save()
        with alone():
            asked = [callback(run.progress()) for callback in self.callbacks]
        is_late = self.time_limit is not None and now - self.started >= 60 * self.time_limit
        return any_process(any(asked) or is_late)

    def save(self) -> None:
        """A checkpoint, and the history for people to read."""
        self.saved = time.monotonic()
        if self.folder is not None and is_first_process():
            self.run.write(self.folder / CHECKPOINT)
            (self.folder / HISTORY).write_text(json.dumps(self.run.history, indent=1))

    def close(self) -> None:
        self.save()
        self.bar.close()
