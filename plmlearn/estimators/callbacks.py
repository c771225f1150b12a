"""Callbacks of scikit-learn 1.9 and later: a task for a fit, and a task for each of its epochs.

``EpochTasks``     tells them of the fit of an estimator that is tuned
``FittedReports``  shows a search the estimator after each epoch; this one needs no scikit-learn 1.9
``FitTask``        tells them of what consists of several fits

All that plmlearn knows of ``sklearn.callback`` is here. With an older scikit-learn an estimator has no
``set_callbacks``, and nothing else changes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
            return vars(_fitted_so_far(self.estimator, self.keep, net))

        return task.call_on_fit_task_end(**self._data, reconstruction_attributes=attributes)


def _fitted_so_far(estimator: Any, keep: Callable[[Any, list[dict]], None], net: Any) -> Any:
    """An estimator whose fit ends here; it builds a model of its own when it is used."""
    fitted = copy.copy(estimator)
    keep(fitted, [entry_of(epoch) for epoch in net.history])
    fitted._loaded = None
    return fitted


@dataclass
class FittedReports(Callback):
    """Shows the estimator, as if its fit had ended, to a function after each epoch; True ends the fit.

    Parameters
    ----------
    estimator : TunedEstimator
    keep : callable
        As for :class:`EpochTasks`.
    report : callable
        Of a fitted estimator.
    """

    estimator: Any
    keep: Callable[[Any, list[dict]], None]
    report: Callable[[Any], bool]

    def on_epoch_end(self, net, **kwargs):
        if self.report(_fitted_so_far(self.estimator, self.keep, net)):
            raise StopTraining


@dataclass
class FitTask:
    """A task of an estimator that fits others, told to the callbacks of ``set_callbacks``.

    Parameters
    ----------
    told : dict
        What the callbacks are told: estimator, X, y and metadata.
    context : sklearn.callback.CallbackContext or None
        None with an older scikit-learn: then nobody is told.
    """

    told: dict[str, Any]
    context: Any

    @classmethod
    def of_fit(cls, estimator: Any, X: Any, y: Any, sample_weight: Any, n_parts: int) -> Self:
        """A fit that consists of so many parts; it begins."""
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        told = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        context = None
        if hasattr(estimator, "_init_callback_context"):
            context = estimator._init_callback_context(max_subtasks=n_parts).call_on_fit_task_begin(**told)
        return cls(told, context)

    def part(self, name: str, **options: Any) -> FitTask:
        """A part of this task; ``begin`` it, unless a fit does."""
        context = None if self.context is None else self.context.subcontext(name, **options)
        return FitTask(self.told, context)

    def begin(self) -> FitTask:
        if self.context is not None:
            self.context.call_on_fit_task_begin(**self.told)
        return self

    def end(self) -> None:
        if self.context is not None:
            self.context.call_on_fit_task_end(**self.told)

    @contextmanager
    def around(self, estimator: Any) -> Iterator[None]:
        """This task is the fit of an estimator, which the callbacks watch too."""
        if self.context is None:
            yield
            return
        with self.context.propagate_callback_context(estimator):
            self.begin()
            yield
        self.end()
