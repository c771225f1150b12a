"""Callbacks of scikit-learn 1.9 and later: a task for a fit, and a task for each of its epochs.

All that plmlearn knows of ``sklearn.callback`` is here. With an older scikit-learn an estimator has no
``set_callbacks``, and nothing else changes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

from skorch.callbacks import Callback

from ..training.engine import StopTraining, entry_of
from .task import Given

Method = TypeVar("Method", bound=Callable)

if TYPE_CHECKING:  # as editors and type checkers see it

    class CallbackSupportMixin:
        def set_callbacks(self, *callbacks: Any) -> Self: ...

    def with_callbacks(method: Method) -> Method: ...

else:
    try:
        from sklearn.callback import CallbackSupportMixin, with_callbacks
    except ImportError:

        class CallbackSupportMixin:
            """Nothing to support."""

        def with_callbacks(method):
            return method


@dataclass
class EpochTasks(Callback):
    """Tells the callbacks that ``set_callbacks`` was given where a fit stands.

    Parameters
    ----------
    estimator : CallbackSupportMixin
    given : Given
        What ``fit`` was given.
    keep : callable
        Makes a fitted estimator of a copy of ``estimator`` and the history so far.
    """

    estimator: Any
    given: Given
    keep: Callable[[Any, list[dict]], None]

    def on_train_begin(self, net, **kwargs):
        self.fit_ = self.estimator._init_callback_context(max_subtasks=net.config.epochs)
        self.fit_.call_on_fit_task_begin(**self._data)

    def on_epoch_begin(self, net, **kwargs):
        self.epoch_ = self.fit_.subcontext(task_name="epoch")
        self.epoch_.call_on_fit_task_begin(**self._data)

    def on_epoch_end(self, net, **kwargs):
        if self._end(self.epoch_, net):
            raise StopTraining

    def on_train_end(self, net, **kwargs):
        self._end(self.fit_, net)

    @property
    def _data(self) -> dict[str, Any]:
        weights = self.given.sample_weight
        metadata = None if weights is None else {"sample_weight": weights}
        return {"estimator": self.estimator, "X": self.given.X, "y": self.given.y, "metadata": metadata}

    def _end(self, task: Any, net: Any) -> bool:
        def attributes() -> dict[str, Any]:
            """Those of an estimator whose fit ends here; it builds a model of its own when it is used."""
            fitted = copy.copy(self.estimator)
            self.keep(fitted, [entry_of(epoch) for epoch in net.history])
            return {**vars(fitted), "_loaded": None}

        return task.call_on_fit_task_end(**self._data, reconstruction_attributes=attributes)
