"""A user's callbacks: which of them work, and what the training loop makes of them.

``check_callbacks``  one error for all that cannot work
``prepare``          callbacks of skorch and functions, ready for :func:`plmlearn.training.engine.train`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from skorch import callbacks as skorch_callbacks
from skorch.callbacks import Callback, EarlyStopping
from skorch.callbacks.scoring import ScoringBase

from .engine import StopTraining, entry_of

Score = Callable[[Any], float]
"""Outputs for all validation samples to their score."""

# What skorch has and a fit has no place for, with what to do instead.
_REFUSED = {
    skorch_callbacks.Checkpoint: "the best epoch is kept anyway; plmlearn.save writes a fitted estimator",
    skorch_callbacks.TrainEndCheckpoint: "plmlearn.save writes a fitted estimator",
    skorch_callbacks.LoadInitState: "warm_start=True continues from the last fit",
    skorch_callbacks.ParamMapper: "the adapter decides what is trained",
    skorch_callbacks.InputShapeSetter: "a model has the shape of its backbone",
    skorch_callbacks.ProgressBar: "verbose=1 shows a progress bar",
}
_OF_VALIDATION = {"valid_loss", "valid_score"}
_HOLD_OUT = "nothing is held out; pass early_stopping=True, or X_val and y_val"


def check_callbacks(callbacks: Sequence, is_validated: bool) -> None:
    """Raise an error if some callbacks cannot work.

    Parameters
    ----------
    callbacks : sequence
        Callbacks of skorch, pairs of a name and such a callback, or functions.
    is_validated : bool
        Whether a part is held out.

    Raises
    ------
    ValueError
        The message names each that cannot work, and says why.
    """
    refused = [
        f"{getattr(callback, '__name__', type(callback).__name__)}: {reason}"
        for _, callback in _named(callbacks)
        for reason in _reasons_against(callback, is_validated)
    ]
    if refused:
        raise ValueError(f"callbacks: {'. '.join(refused)}.")


def prepare(
    callbacks: Sequence, score_by: Callable[[Any], Score] | None = None
) -> list[tuple[str, Callback]]:
    """Callbacks by name, in the order in which they are called: functions come last.

    Parameters
    ----------
    callbacks : sequence
        As :func:`check_callbacks` passed them.
    score_by : callable, optional
        Makes a score of a scorer or its name; None where nothing is held out.
    """
    made = [(name, _made(callback, score_by)) for name, callback in _named(callbacks)]
    return sorted(made, key=lambda item: isinstance(item[1], _Function))


def _named(callbacks: Sequence) -> list[tuple[str, Any]]:
    return [
        c if isinstance(c, tuple) and len(c) == 2 else (f"callback_{i}", c) for i, c in enumerate(callbacks)
    ]


def _reasons_against(callback: Any, is_validated: bool) -> Iterator[str]:
    if isinstance(callback, type):
        yield f"this is the class; pass an object, {callback.__name__}(...)"
    elif hasattr(callback, "on_fit_task_end"):
        yield "this is a callback of scikit-learn; pass it to set_callbacks()"
    elif not isinstance(callback, Callback):
        if not callable(callback):
            yield "expected a callback of skorch, or a function of an epoch's entry in history_"
    elif isinstance(callback, ScoringBase):
        if callback.on_train:
            yield "on_train=True needs a pass over the training set; use ScoringMonitor of scikit-learn"
        elif callback.scoring is None:
            yield "scoring is None; name a score, such as 'accuracy' or 'r2'"
        elif not is_validated:
            yield _HOLD_OUT
    else:
        yield from (reason for kind, reason in _REFUSED.items() if isinstance(callback, kind))
        if isinstance(callback, EarlyStopping) and callback.load_best:
            yield "the best epoch is kept anyway, chosen by scoring; leave out load_best"
        monitor = vars(callback).get("monitor")
        if not is_validated and isinstance(monitor, str) and monitor in _OF_VALIDATION:
            yield f"it monitors {monitor!r}, and {_HOLD_OUT}"


def _made(callback: Any, score_by: Any) -> Callback:
    if isinstance(callback, ScoringBase):
        return _ValidationScore(callback, score_by)
    return callback if isinstance(callback, Callback) else _Function(callback)


@dataclass
class _Function(Callback):
    """A function of each epoch's entry in the history; what is true of its result ends training."""

    function: Callable[[dict], Any]

    def on_epoch_end(self, net, **kwargs):
        if self.function(entry_of(net.history[-1])):
            raise StopTraining


@dataclass
class _ValidationScore(Callback):
    """A scoring callback of skorch, on predictions of the whole validation set."""

    asked: Any
    score_by: Callable[[Any], Score]

    def initialize(self):
        self.asked.initialize()
        self.score_ = self.score_by(self.asked.scoring_)
        return self

    def on_batch_end(self, net, training=False, y_pred=None, **kwargs):
        if training:
            return
        asked, score = self.asked, self.score_(y_pred)
        net.history.record(asked.name_, score)
        if asked.lower_is_better is not None:
            is_best = score < asked.best_score_ if asked.lower_is_better else score > asked.best_score_
            net.history.record(f"{asked.name_}_best", is_best)
            asked.best_score_ = score if is_best else asked.best_score_
