"""What all tuned estimators share: one fit, one way to a prediction, one small state.

``fit`` checks its input, builds a model that shares the frozen backbone, encodes the data, trains, and keeps
the trained tensors alone. Everything else (predict, pickle, save) starts from those tensors; the model is
rebuilt when it is first needed. What differs between kinds of prediction is the estimator's task.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields, replace
from functools import partial
from math import ceil
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import clone, is_classifier
from sklearn.utils.validation import check_is_fitted

from ..adapters import Frozen
from ..messages import warn
from ..metrics import get_scorer
from ..training.callbacks import check_callbacks, prepare
from ..training.devices import is_first_process, of_all_processes, resolve_device, together
from ..training.engine import Progress, train
from ..training.memory import MemoryEstimate, estimate_memory
from ..training.steps import Loss, TrainingData
from .callbacks import CallbackSupportMixin, EpochTasks, FittedReports, with_callbacks
from .dataset import Dataset, check_same_fit, rows_of_caller, warn_of_near_duplicates
from .loaded import LoadedModel, run_settings
from .parameters import (
    USED_AFTER_FIT,
    BackboneParameters,
    CutParameters,
    HeadParameters,
    RuntimeParameters,
    TrainingParameters,
    adapter_of,
    fitted_place,
    keep_place,
    seed_from,
    warn_of_idle,
)
from .scoring import make_score, zero_outputs
from .targets import ValueTarget, check_length, check_weights
from .task import Given, Task


@dataclass(kw_only=True, eq=False, repr=False)
class TunedEstimator(CallbackSupportMixin, RuntimeParameters, TrainingParameters, BackboneParameters, ABC):
    """Parameters and methods of every tuned estimator; see the concrete classes."""

    # Fitted state: trained tensors, target, and the model where this process has built it.
    _trained: bytes = field(init=False)
    _target: Any = field(init=False)
    _loaded: LoadedModel | None = field(init=False)
    _lr_factor: ClassVar[float] = 1.0  # on the adapter's own learning rate
    # Sees the estimator after each epoch, as if its fit had ended, and may end it: for a search.
    _each_epoch: ClassVar[Callable[[Any], bool] | None] = None

    @abstractmethod
    def _task(self) -> Task:
        """What this kind of prediction decides."""

    # -- fit ----------------------------------------------------------------------------------

    @torch.inference_mode(False)
    @torch.enable_grad()
    @together()
    @with_callbacks
    def _fit(self, given: Given, given_to_validate: Given) -> Self:
        """Check, build, encode, train, keep."""
        self._check_parameters()
        warn_of_idle(self, self._idle(validates=given_to_validate.X is not None))
        run = self._to_fit()
        task, seed = run._task(), of_all_processes(seed_from(run.random_state))[0]
        dataset = run._check(task, given)
        check_same_fit(run.get_params(), dataset)
        training, validation = run._split(task, dataset, given_to_validate, seed)
        if self.callbacks is not None:
            check_callbacks(self.callbacks, validation is not None)

        with rows_of_caller(dataset.rows, _OF_WEIGHT):
            target = task.relearn(dataset.y, run._target) if run._continues else task.learn(dataset.y)
        tensors = run._trained if run._continues else None
        model = run._build(task, target.n_outputs, tensors, seed)

        data = run._encode(task, model, target, training, dataset.y)
        if not run._continues:
            run._learn_scale(model, data)
        held_out = None
        score_by = None
        if validation is not None:
            held_out = run._encode(task, model, target, validation, dataset.y)
            decoder = task.decoder(model.module, target, validation.extras)
            zeros = zero_outputs(held_out, target.n_outputs)
            score_by = partial(make_score, self, decoder, validation, zeros)
        history = run._train(
            model,
            task.make_loss(model.module, target),
            data,
            validation=held_out,
            scorer=None if run.scoring is None or score_by is None else score_by(run.scoring),
            callbacks=self._callbacks(given, model, target, dataset, score_by),
        )

        self._keep(model, target, history, dataset.n_truncated)
        if isinstance(target, ValueTarget) and not np.ptp(training.weights):
            _warn_of_no_gain(run, history, len(training.y))
        return self

    def _to_fit(self) -> Self:
        """A plain copy that knows where to find its backbone: where an earlier fit did, to go on from it."""
        run = self._plain()
        if run._continues:
            run.backbone = fitted_place(run, **run._of_backbone)
        run.__dict__.pop("_backbone_place", None)
        return run

    def _check_parameters(self, names: Collection[str] | None = None) -> None:
        super()._check_parameters(names)
        if names is None and isinstance(self.scoring, str):
            get_scorer(self.scoring)  # or an error
        if names is None:
            adapter_of(self)._check_parameters()

    def _idle(self, validates: bool) -> dict[str, str]:
        """Parameters that a fit will not use, and what would have to be different."""
        idle: dict[str, str] = {}
        if not self.early_stopping:
            idle |= dict.fromkeys(("patience", "validation_fraction"), "is for early_stopping=True")
            if not validates:
                idle["scoring"] = "is for validation: pass early_stopping=True, or X_val and y_val"
        return idle

    def _callbacks(self, given: Given, model: LoadedModel, target: Any, dataset: Dataset, score_by: Any):
        """All that watch a fit: ours, those of the parameter, those of ``set_callbacks``, and a search."""

        def keep(fitted: TunedEstimator, history: list[dict]) -> None:
            fitted._keep(model, target, history, dataset.n_truncated)

        watching: list[Any] = [Progress()] if self.verbose and is_first_process() else []
        if self.callbacks is not None:
            watching += prepare(self.callbacks, score_by)
        if hasattr(self, "_skl_callbacks"):
            watching.append(EpochTasks(self, given, keep))
        if self._each_epoch is not None:
            watching.append(FittedReports(self, keep, self._each_epoch))
        return watching

    def _check(self, task: Task, given: Given) -> Dataset:
        if self._has_states(given.X):  # targets per residue are compared with residues
            given = replace(given, X=self._check_X(given.X))
        sequences, n_truncated = self._clean(given.X)
        y, extras = task.check(sequences, given)
        weights = check_weights(given.sample_weight, len(sequences))
        groups = given.groups
        if groups is not None:
            groups = check_length(groups, len(sequences), "groups")
        return Dataset(sequences, y, weights, groups, n_truncated, extras).take(np.flatnonzero(weights))

    def _split(self, task: Task, dataset: Dataset, given: Given, seed: int) -> tuple[Dataset, Dataset | None]:
        """What to train on, and what to validate on: the caller's own set, or a part held out."""
        passed = {"X_val": given.X, "y_val": given.y}
        missing = [name for name, part in passed.items() if part is None]
        others = (given.sample_weight, *given.extras.values())
        if len(missing) == 1 or (missing and any(part is not None for part in others)):
            raise ValueError(
                f"{missing[0]} is None; a validation set is X_val and y_val together. Pass both."
            )
        if not missing:
            return dataset, self._check(task, given)
        if self.early_stopping:
            parts = dataset.hold_out(self.validation_fraction, seed, stratify=is_classifier(self))
            warn_of_near_duplicates(*parts)
            return parts
        return dataset, None

    @property
    def _continues(self) -> bool:
        return self.warm_start and hasattr(self, "_trained")

    # -- the model ----------------------------------------------------------------------------

    @property
    def _of_backbone(self) -> dict[str, Any]:
        """How the backbone is loaded, beside its name."""
        return {}

    @property
    def _of_encoder(self) -> dict[str, Any]:
        """What the encoder does differently, as :meth:`LoadedModel.build` takes it."""
        return {}

    def _inputs(self, model: LoadedModel, sequences: np.ndarray) -> Any:
        """What the model reads of clean sequences."""
        return model.inputs(sequences, self._window)

    def _inputs_to_train(self, model: LoadedModel, sequences: np.ndarray) -> Any:
        """The same, with what the loss alone needs."""
        return self._inputs(model, sequences)

    def _encode(
        self, task: Task, model: LoadedModel, target: Any, part: Dataset, learned: np.ndarray
    ) -> TrainingData:
        """What the training loop reads of a part of the data."""
        inputs = self._inputs_to_train(model, part.sequences)
        with rows_of_caller(part.rows, _OF_WEIGHT):
            return replace(task.encode(inputs, target, part, learned), rows=part.rows)

    def _train(self, model: LoadedModel, loss: Loss, data: TrainingData, **options: Any) -> list[dict]:
        """Train what there is to train; the history is returned."""
        if not model.n_trainable_parameters:
            return []
        return train(model.module, loss, data, model.config, **options)

    def _learn_scale(self, model: LoadedModel, data: TrainingData) -> None:
        """What there is to measure before training."""

    def _build(self, task: Task, n_outputs: int, tensors: bytes | None = None, seed: int = 0) -> LoadedModel:
        """A model with fresh trained tensors, or with those given."""
        device, adapter = resolve_device(self.device), adapter_of(self)
        backbone = self._load_backbone(self.backbone, device, **self._of_backbone)
        return LoadedModel.build(
            self,
            backbone,
            adapter,
            lambda encoder: task.make_model(encoder, n_outputs),
            device=device,
            seed=seed,
            tensors=tensors,
            gradient_checkpointing=self.gradient_checkpointing,
            **self._of_encoder,
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self._lr_factor * adapter.default_lr if self.lr is None else self.lr,
            lr_factors=adapter.lr_factors(backbone),
            head_lr=max(self.lr or 0.0, DEFAULT_HEAD_LR) if self.head_lr is None else self.head_lr,
            weight_decay=self.weight_decay,
            optimizer=self.optimizer,
            schedule=self.schedule,
            warmup=self.warmup,
            gradient_clip=self.gradient_clip,
            patience=self.patience if self.early_stopping else None,
            epoch_size=task.epoch_size,
        )

    def _keep(self, model: LoadedModel, target: Any, history: list[dict], n_truncated: int) -> None:
        """What a fitted estimator consists of."""
        if not self._continues:
            keep_place(self)
        self._trained = model.state()
        self._target = target
        self._loaded = model
        self._architecture = {
            name: clone(value, safe=False)
            for name, value in self.get_params(deep=False).items()
            if name not in _MAY_CHANGE
        }
        if "adapter" in self._architecture:  # in full: what a name stands for may change between versions
            self._architecture["adapter"] = adapter_of(self)
        self.history_ = history
        self.n_truncated_ = n_truncated
        self.n_parameters_ = model.n_parameters
        self.n_trainable_parameters_ = model.n_trainable_parameters
        self.backbone_fingerprint_ = model.backbone.fingerprint
        best = [epoch for epoch in history if epoch.get("best")]
        kept = [{"epoch": 0}, *history, *best][-1]
        self.best_epoch_ = kept["epoch"]
        self.best_score_ = kept.get("valid_score")

    def _restored(self) -> LoadedModel:
        """The fitted model, rebuilt where this process has not built it yet, or it is to run elsewhere."""
        check_is_fitted(self)
        self._check_parameters(USED_AFTER_FIT)
        if self._loaded is None or self._loaded.settings != run_settings(self):
            fitted = self._as_fitted()
            fitted._check_parameters({*self._architecture, *USED_AFTER_FIT})
            fitted = fitted._plain()
            fitted.backbone = fitted_place(fitted, **fitted._of_backbone)
            self._loaded = fitted._build(fitted._task(), self._target.n_outputs, self._trained)
        return self._loaded

    def _as_fitted(self):
        """A copy with the architecture of the fit, whatever ``set_params`` has changed since.

        What training alone uses has its default: it may be anything by now.
        """
        fitted = copy.copy(self)
        fitted.__dict__.update(_OF_TRAINING | self._architecture)
        return fitted

    def __getstate__(self) -> dict:
        state = super().__getstate__()
        return {**state, "_loaded": None} if "_loaded" in state else state

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_trained")

    # -- predict ------------------------------------------------------------------------------

    def _outputs(self, X: Any) -> Any:
        """Restore, encode, run."""
        model = self._restored()
        sequences, _ = self._clean(X)
        return model.outputs(self._inputs(model, sequences))

    def _fitted_target(self) -> Any:
        check_is_fitted(self)
        return self._target

    def _fitted_classes(self) -> np.ndarray:
        if not hasattr(self, "_target"):
            raise AttributeError(f"{type(self).__name__} is not fitted yet")
        return self._target.classes

    def memory_estimate(self, X: Any) -> MemoryEstimate:
        """Memory that ``fit`` takes on these sequences; nothing is trained.

        Parameters
        ----------
        X : as in ``fit``

        Returns
        -------
        MemoryEstimate
            ``total`` in bytes, ``longest_sequence(memory_bytes)``; ``print`` shows a table.

        Notes
        -----
        Cost: the backbone is loaded, and kept for ``fit``.
        """
        self._check_parameters()
        run = self._plain()
        sequences, _ = run._clean(X)
        model = run._build(run._task(), 1)
        inputs = model.tokens(sequences, run._window)
        return estimate_memory(model.module, model.backbone, inputs, model.config)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags


@dataclass(kw_only=True, eq=False, repr=False)
class HeadedEstimator(
    TunedEstimator,
    RuntimeParameters,
    CutParameters,
    HeadParameters,
    TrainingParameters,
    BackboneParameters,
    ABC,
):
    """A tuned estimator with a fresh head on its encoder; see the concrete classes."""

    def _idle(self, validates: bool) -> dict[str, str]:
        idle = super()._idle(validates)
        if self.head in ("linear", "crf"):
            idle["head_hidden"] = f"is the width of a hidden layer, and head={self.head!r} has none"
        if isinstance(adapter_of(self), Frozen) and self.head_lr is None and (self.lr or 1) < DEFAULT_HEAD_LR:
            idle["lr"] = "is that of the adapter, and Frozen() trains none: set head_lr"
        return idle

    @property
    def _of_backbone(self) -> dict[str, Any]:
        return {"init": self.backbone_init, **self._cut}

    @property
    def _of_encoder(self) -> dict[str, Any]:
        return {"layer_mixing": self.layer_mixing}

    def _learn_scale(self, model: LoadedModel, data: TrainingData) -> None:
        if self.standardize:
            model.learn_scale(data.inputs)


_ENOUGH_STEPS = 50


def _warn_of_no_gain(run: TunedEstimator, history: list[dict], n: int) -> None:
    """Warn of a fit to n standardised numbers that explains none of their variance after many steps."""
    adapter, n_steps = adapter_of(run), len(history) * ceil(n / run.batch_size)
    if isinstance(adapter, Frozen) or n_steps < _ENOUGH_STEPS or history[-1]["train_loss"] < 1:
        return
    rate = adapter.default_lr if run.lr is None else run.lr
    warn(
        f"{type(run).__name__} learned nothing from y: after {n_steps} steps its training loss is "
        f"{history[-1]['train_loss']:.2f}, and the mean of y gives 1. Try a lower learning rate than "
        f"{rate:g}, such as lr={min(rate, adapter.default_lr) / 5:.1g}. For variants of one protein see "
        "PLMFitnessRegressor too."
    )


DEFAULT_HEAD_LR = 1e-3
_OF_WEIGHT = "without those of weight 0"
# Parameters that may change between ``fit`` and ``predict``; the trained tensors fit all others.
_MAY_CHANGE = {"backbone"} | {
    f.name for group in (TrainingParameters, RuntimeParameters) for f in fields(group)
}
_MAY_CHANGE -= {"quantization", "revision"}
# Those of them that only training uses, with their defaults.
_OF_TRAINING = {f.name: f.default for f in fields(TrainingParameters) if f.name not in USED_AFTER_FIT}
