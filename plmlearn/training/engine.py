"""The training loop: random steps, honest gradients, the best epoch kept.

:class:`TuningNet` is a private skorch net. From skorch come the fit loop, the history and the callbacks;
ours are the steps: an optimiser step is a random draw of samples, cut into batches by a token budget, and
its loss is normalised over the whole step, so that no result depends on how it was cut.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import numpy as np
import skorch
import torch
from sklearn.base import clone
from skorch.callbacks import Callback, EarlyStopping, EpochTimer, LRScheduler, PassthroughScoring
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..messages import warn
from ..nn.models import learned_tensors, load_learned
from ..nn.packing import Ragged
from ..nn.randomness import seeded
from ..sequences.clean import first_few
from .config import TrainingConfig
from .devices import Budget, alone, any_process, process_rank, sum_gradients
from .inference import outputs_of
from .steps import Loss, Step, StepGradients, TrainingData, TrainingSteps, ValidationPass


def schedule_shape(schedule: str, warmup: float, n_steps: int) -> Callable[[int], float]:
    """Factor on the learning rate by step: a rise over the share ``warmup``, then the schedule.

    >>> shape = schedule_shape("linear", warmup=0.2, n_steps=10)
    >>> [round(shape(step), 2) for step in range(10)]
    [0.5, 1.0, 1.0, 0.88, 0.75, 0.62, 0.5, 0.38, 0.25, 0.12]
    """
    n_warmup = round(warmup * n_steps)

    def factor(step: int) -> float:
        if step < n_warmup:
            return (step + 1) / n_warmup
        progress = (step - n_warmup) / max(1, n_steps - n_warmup)
        return SCHEDULES[schedule](min(progress, 1.0))

    return factor


SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: 0.5 * (1.0 + math.cos(math.pi * progress)),
    "constant": lambda progress: 1.0,
}


class Progress(Callback):
    """A bar over all optimiser steps in a terminal or notebook, and a line per epoch in a log file."""

    def on_train_begin(self, net, **kwargs):
        self.bar_: Any = None
        self.shown_: dict[str, str] = {}
        self.started_ = time.perf_counter()

    def on_epoch_begin(self, net, **kwargs):
        if self.bar_ is None:
            hidden = None if "ipykernel" not in sys.modules else False  # None: hidden unless a terminal
            self.bar_ = tqdm(total=net.n_steps_, unit="step", disable=hidden, leave=False)
            self.residues_ = 0

    def on_batch_end(self, net, batch=None, training=False, loss=None, **kwargs):
        if not training or self.bar_.disable:
            return
        self.residues_ += batch.n_residues
        elapsed = max(self.bar_.format_dict["elapsed"], 1e-9)
        self.shown_["loss"] = f"{loss:.3f}"
        self.shown_["residues/s"] = f"{self.residues_ / elapsed:,.0f}"
        self.bar_.set_postfix(self.shown_, refresh=False)
        self.bar_.update()

    def on_epoch_end(self, net, dataset_valid=None, **kwargs):
        epoch = net.history[-1]
        if dataset_valid is not None:
            self.shown_["valid_loss"] = f"{epoch['valid_loss']:.3f}"
            if net.scorer is not None:
                self.shown_["valid_score"] = f"{epoch['valid_score']:.3f}"
        if self.bar_.disable:
            done, n_epochs = len(net.history), net.config.epochs
            left = (time.perf_counter() - self.started_) / done * (n_epochs - done)
            shown = {
                "train_loss": f"{epoch['train_loss']:.3f}",
                **self.shown_,
                "residues/s": f"{epoch['residues_per_second']:,.0f}",
            }
            told = ", ".join(f"{name} {value}" for name, value in shown.items())
            print(
                f"epoch {done}/{n_epochs}: {told}, {timedelta(seconds=round(left))} left",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        """Remove the bar, however training ended."""
        if getattr(self, "bar_", None) is not None:
            self.bar_.close()


class TrainingDivergedError(FloatingPointError):
    """The loss or a gradient became infinite or not a number."""


def train(
    model: nn.Module,
    loss: Loss,
    data: TrainingData,
    config: TrainingConfig,
    *,
    validation: TrainingData | None = None,
    scorer: Callable[[Any], float] | None = None,
    callbacks: Sequence | None = None,
) -> list[dict]:
    """Train every tensor of ``model`` that requires gradients; the best epoch's values stay in it.

    Parameters
    ----------
    model : nn.Module
    loss : callable
    data : TrainingData
    config : TrainingConfig
    validation : TrainingData, optional
        Without it the last epoch's values stay.
    scorer : callable, optional
        Validation outputs (an array (n_samples, C), or Ragged) to a score, higher is better; None takes
        the validation loss.
    callbacks : list of skorch callbacks, optional
        Or of pairs of a name and a callback; :func:`plmlearn.training.callbacks.prepare` makes them.

    Returns
    -------
    list of dict
        One entry per epoch: epoch, train_loss, valid_loss, valid_score, lr, seconds, best; and what callbacks
        recorded.
    """
    with seeded(config.seed + process_rank(), config.device), contextlib.ExitStack() as at_the_end:
        for callback in callbacks or []:
            if isinstance(callback, Progress):
                at_the_end.callback(callback.close)
        keeper = _BestEpoch(config.patience)
        net = TuningNet(model, loss, config, scorer, callbacks=[("best", keeper), *_named(callbacks or [])])
        net.initialize()
        net.notify("on_train_begin", X=data, y=validation)
        with contextlib.suppress(StopTraining):
            net.fit_loop(data, validation)
        keeper.restore(net)
        if validation is None:
            net.check_last_step()
        net.notify("on_train_end", X=data, y=validation)
    return [entry_of(epoch) for epoch in net.history if "seconds" in epoch]


class TuningNet(skorch.NeuralNet):
    """skorch's fit loop over our optimiser steps; private to plmlearn."""

    def __init__(self, module, loss, config, scorer=None, **kwargs):
        super().__init__(
            module,
            criterion=nn.Identity,
            max_epochs=config.epochs,
            train_split=None,
            device=config.device,
            verbose=1,  # callbacks print if they were passed
            **kwargs,
        )
        self.loss = loss
        self.config = config
        self.scorer = scorer

    @property
    def _default_callbacks(self):
        return [
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring(name="train_loss", on_train=True)),
            ("valid_loss", PassthroughScoring(name="valid_loss")),
        ]

    def notify(self, method_name, **kwargs):
        getattr(self, method_name)(self, **kwargs)
        is_asked_to_stop = False
        with alone():
            for _, callback in self.callbacks_:
                try:
                    getattr(callback, method_name)(self, **kwargs)
                except StopTraining:
                    is_asked_to_stop = True
                except KeyboardInterrupt:
                    if not _asks_to_stop(callback):
                        raise
                    is_asked_to_stop = True
        if method_name == "on_epoch_end":
            is_asked_to_stop = any_process(is_asked_to_stop)
        if is_asked_to_stop:  # once all have seen the epoch
            raise StopTraining

    def initialize_optimizer(self, triggered_directly=None):
        config = self.config
        make_optimizer = OPTIMIZERS[config.optimizer]
        self.optimizer_ = make_optimizer(parameter_groups(self.module_, config), config.device)
        self.scaler_ = torch.amp.GradScaler(config.device.type, enabled=config.dtype == torch.float16)
        self.budget_ = Budget(config.max_tokens)
        self.gradients_ = StepGradients(self.module_, self.loss, config, self.budget_, self.scaler_)
        self.adapter_ = clone(config.adapter)
        self.schedule_ = None
        return self

    def check_data(self, X, y=None):
        """Data were checked before they came here."""

    def get_split_datasets(self, X, y=None, **fit_params):
        return X, y

    def get_iterator(self, dataset, training=False):
        if not training:
            return ValidationPass(dataset)
        steps = TrainingSteps(dataset, self.config)
        self.n_steps_ = self.config.epochs * len(steps)
        shape = schedule_shape(self.config.schedule, self.config.warmup, self.n_steps_)
        if not any(isinstance(callback, LRScheduler) for _, callback in self.callbacks_):
            self.schedule_ = torch.optim.lr_scheduler.LambdaLR(self.optimizer_, shape)
        return steps

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        if iterator is None:
            return
        start = time.perf_counter()
        n_residues = 0
        for step in iterator:
            self.notify("on_batch_begin", batch=step, training=training)
            result = step_fn(step, **fit_params)
            n_residues += step.n_residues
            self.history.record_batch(f"{prefix}_loss", result["loss"])
            self.history.record_batch(f"{prefix}_batch_size", len(step.samples))
            self.notify("on_batch_end", batch=step, training=training, **result)
        seconds = time.perf_counter() - start
        self.history.record(f"{prefix}_batch_count", len(iterator))
        if training:
            self.history.record("seconds", seconds)
            self.history.record("residues_per_second", n_residues / seconds)
            self.history.record("lr", self.last_lr_)

    def train_step(self, batch, **fit_params):
        self.last_step_ = batch
        self._set_training(True)
        trained = [p for p in self.module_.parameters() if p.requires_grad]
        loss = self.budget_.run(lambda: self._put_gradients(batch), batch.data.inputs.n_tokens(batch.samples))
        loss = sum_gradients(loss, trained)
        self._check_finite(loss, "loss", batch)
        self.scaler_.unscale_(self.optimizer_)
        norm = float(nn.utils.clip_grad_norm_(trained, self.config.gradient_clip or math.inf))
        if self.config.dtype != torch.float16:  # the scaler skips such steps by itself
            self._check_finite(norm, "gradient", batch)
        self.notify("on_grad_computed", named_parameters=self.module_.named_parameters(), batch=batch)
        groups = self.optimizer_.param_groups
        of_encoder = [group["lr"] for group in groups if group["in_encoder"]]
        self.last_lr_ = max(of_encoder or [group["lr"] for group in groups])
        self.scaler_.step(self.optimizer_)
        self.scaler_.update()
        if self.schedule_ is not None:
            self.schedule_.step()
        if math.isfinite(norm):
            self.adapter_.after_step(self.module_, batch.number, self.n_steps_)
        return {"loss": loss}

    def _put_gradients(self, step: Step) -> float:
        """Gradients of a step's loss and of the adapter's penalty; the loss is returned without it."""
        self.optimizer_.zero_grad(set_to_none=True)
        loss = self.gradients_.add(step)
        penalty = self.adapter_.penalty(self.module_)
        if penalty is not None and process_rank() == 0:
            self.scaler_.scale(penalty).backward()
        return loss

    def validation_step(self, batch, **fit_params):
        """The whole validation set: one mean loss over its samples or residues, one score."""
        self._set_training(False)
        config = replace(self.config, max_tokens=self.budget_.max_tokens)
        outputs = outputs_of(self.module_, batch.data.inputs, config)
        with torch.no_grad():
            known = outputs if isinstance(outputs, Ragged) else torch.from_numpy(outputs)
            total = self.gradients_.weighted_loss(known.to(config.device), batch.samples, batch.data)
        loss = float(total) / batch.size
        self._check_finite(loss, "validation loss", batch)
        self.history.record("valid_score", -loss if self.scorer is None else self.scorer(outputs))
        return {"loss": loss, "y_pred": outputs}

    def check_last_step(self) -> None:
        """Refuse weights that the last step spoilt: no later step looks at their loss."""
        if not hasattr(self, "last_step_"):
            return
        step = self.last_step_
        self._set_training(False)
        with torch.no_grad():
            n_tokens = step.data.inputs.n_tokens(step.samples)
            loss = sum_gradients(self.budget_.run(lambda: self.gradients_.add(step), n_tokens), [])
        self._check_finite(loss, "loss after the last update", step)

    def _check_finite(self, value: float, what: str, step: Step) -> None:
        if math.isfinite(value):
            return
        rows = step.samples if step.data.rows is None else step.data.rows[step.samples]
        shown = first_few(sorted(rows.tolist()))
        where = f"at step {step.number} (epoch {step.epoch}) on training rows" if step.number else "on rows"
        raise TrainingDivergedError(
            f"The {what} became {value} {where} {shown}. Try a smaller lr (now {self.config.lr:g}), "
            "gradient_clip=1.0, warmup=0.1 or precision='fp32'; look at the targets of those rows."
        )


@dataclass
class _BestEpoch(skorch.callbacks.Callback):
    """Keeps every trained tensor and buffer of the best epoch in memory, and stops early."""

    patience: int | None
    best_score: float = -math.inf
    since_best: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def on_epoch_end(self, net, dataset_valid=None, **kwargs):
        if dataset_valid is None:
            return
        score = net.history[-1, "valid_score"]
        if math.isnan(score) and sum(map(math.isnan, net.history[:, "valid_score"])) == 1:
            warn(
                f"The validation score of epoch {len(net.history)} is nan and counts as no improvement. It "
                f"has no value on these {len(dataset_valid)} samples, for example because a class is missing "
                "among them or all predictions are equal. Hold out more, pass X_val, or use another scorer."
            )
        improved = score > self.best_score
        net.history.record("best", improved)
        if improved:
            self.best_score, self.since_best = score, 0
            self.tensors = {k: v.detach().cpu().clone() for k, v in learned_tensors(net.module_).items()}
            return
        self.since_best += 1
        if self.patience is not None and self.since_best >= self.patience:
            raise StopTraining

    def restore(self, net: TuningNet) -> None:
        if self.tensors:
            load_learned(net.module_, self.tensors)


class StopTraining(Exception):
    """Ends the fit loop after the epoch; raised by our own callbacks alone."""


def _asks_to_stop(callback: Any) -> bool:
    """Whether a callback's KeyboardInterrupt is skorch's way to end training, and no Ctrl-C."""
    return isinstance(callback, EarlyStopping) and callback.misses_ >= callback.patience


def _adamw(groups: list[dict], device: torch.device) -> torch.optim.Optimizer:
    """On a CPU in one pass over each tensor: a third of the time, or a ninth of many small ones."""
    return torch.optim.AdamW(groups, fused=True if device.type == "cpu" else None)


def _adamax(groups: list[dict], device: torch.device) -> torch.optim.Optimizer:
    return torch.optim.Adamax(groups)


OPTIMIZERS: Mapping[str, Callable[[list[dict], torch.device], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "adamax": _adamax,
}


def parameter_groups(module: nn.Module, config: TrainingConfig) -> list[dict]:
    """Trained tensors by learning rate and decay; norms, biases and vectors do not decay.

    The encoder's tensors get ``config.lr``, and ``config.adapter`` says which of them decay. The others
    (mixing of layers, pooling, head) get ``config.head_lr``.
    """
    groups: dict[tuple[float, float], dict] = {}
    for name, tensor in module.named_parameters():
        if tensor.requires_grad:
            in_encoder = name.startswith("encoder.") and not name.startswith("encoder.mixing.")
            factor = config.lr_factors.get(name.removeprefix("encoder.backbone."), 1.0)
            lr = config.lr * factor if in_encoder else config.head_lr
            decays = config.adapter.decays(name, tensor) if in_encoder else tensor.ndim >= 2
            decay = config.weight_decay if decays else 0.0
            new = {"params": [], "lr": lr, "weight_decay": decay, "in_encoder": False}
            group = groups.setdefault((lr, decay), new)
            group["params"].append(tensor)
            group["in_encoder"] |= in_encoder
    return list(groups.values())


def _named(callbacks: Sequence) -> list:
    return [c if isinstance(c, tuple) else (f"user_{i}", c) for i, c in enumerate(callbacks)]


_KEPT = ("epoch", "train_loss", "valid_loss", "valid_score", "best", "lr", "seconds", "residues_per_second")


# What skorch keeps for itself.
_LEFT_OUT = {"batches", "dur", "train_loss_best", "valid_loss_best", "train_batch_count", "valid_batch_count"}


def entry_of(row: dict) -> dict:
    """An epoch of skorch's history in plain Python numbers; what callbacks recorded comes last."""
    names = [*(name for name in _KEPT if name in row), *(name for name in row if name not in _KEPT)]
    return {
        name: value.item() if isinstance(value := row[name], np.generic | Tensor) else value
        for name in names
        if name not in _LEFT_OUT
    }
