"""The training loop: random steps, token budgets, honest gradients, the best epoch kept.

:class:`TuningNet` is a private skorch net. From skorch come the fit loop, the history and the
callbacks; ours are the steps: an optimiser step is a random draw of rows, cut into micro-batches
by a token budget, and its loss is normalised over the whole step, so that no result depends on how
it was cut. :mod:`.inference` is the same road without gradients.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import skorch
import torch
from sklearn.base import clone
from skorch.callbacks import EpochTimer, PassthroughScoring
from torch import Tensor, nn

from ..nn.models import learned_tensors, load_learned
from ..nn.ragged import Ragged
from .batching import Batch, TokenizedSequences, draw_steps, make_batches
from .config import TrainingConfig
from .devices import autocast
from .inference import Budget, Outputs, outputs_of
from .schedules import schedule_shape

Loss = Callable[[Any, Any], Tensor]
"""Outputs and targets of N rows to one loss per row, (N,)."""


class TrainingDivergedError(FloatingPointError):
    """The loss or a gradient became infinite or not a number."""


@dataclass(frozen=True)
class TrainingData:
    """Rows to learn from, or to validate on.

    Parameters
    ----------
    inputs : TokenizedSequences
    targets : ndarray of shape (n_rows, ...) or Ragged
        One target per row, or one per residue of each row.
    weights : ndarray of shape (n_rows,)
        Weight of each row; their mean is 1.
    sizes : ndarray of shape (n_rows,), optional
        Losses that each row's loss adds up: its measured residues. None where a row has one.
    strata : ndarray of shape (n_rows,), optional
        Class of each row, where an epoch is to draw equally many of each.
    """

    inputs: TokenizedSequences
    targets: np.ndarray | Ragged
    weights: np.ndarray
    sizes: np.ndarray | None = None
    strata: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def targets_of(self, rows: np.ndarray, device: torch.device) -> Outputs:
        """Targets of some rows on a device."""
        if isinstance(self.targets, Ragged):
            return self.targets.take(rows).to(device)
        return torch.from_numpy(self.targets[rows]).to(device)

    def size(self, rows: np.ndarray) -> float:
        """By what the summed loss of these rows is divided, however they are cut into micro-batches."""
        return len(rows) if self.sizes is None else float(self.sizes[rows].sum())


def train(
    model: nn.Module,
    loss: Loss,
    data: TrainingData,
    plan: TrainingConfig,
    *,
    validation: TrainingData | None = None,
    scorer: Callable[[Any], float] | None = None,
    callbacks: list | None = None,
    net_class: type[TuningNet] | None = None,
) -> list[dict]:
    """Train every tensor of ``model`` that requires gradients; the best epoch's values stay in it.

    Parameters
    ----------
    model : nn.Module
    loss : callable
    data : TrainingData
    plan : TrainingConfig
    validation : TrainingData, optional
        Without it the last epoch's values stay.
    scorer : callable, optional
        Validation outputs (an array (n_rows, C), or Ragged) to a score, higher is better; None takes
        the validation loss.
    callbacks : list of skorch callbacks, optional
    net_class : type, optional
        A :class:`TuningNet` that runs a step in its own way.

    Returns
    -------
    list of dict
        One entry per epoch: epoch, train_loss, valid_loss, valid_score, lr, seconds, best.
    """
    with torch.random.fork_rng(devices=_cuda_devices(plan.device)):
        torch.manual_seed(plan.seed)
        keeper = _BestEpoch(plan.patience)
        make_net = net_class or TuningNet
        net = make_net(model, loss, plan, scorer, callbacks=[("best", keeper), *_named(callbacks or [])])
        net.initialize()
        net.notify("on_train_begin", X=data, y=validation)
        with contextlib.suppress(_StopTraining):
            net.fit_loop(data, validation)
        net.notify("on_train_end", X=data, y=validation)
        keeper.restore(net)
    return [_tidy(row) for row in net.history if "seconds" in row]


class TuningNet(skorch.NeuralNet):
    """skorch's fit loop over our optimiser steps; private to plmlearn."""

    def __init__(self, module, loss, plan, scorer=None, **kwargs):
        super().__init__(
            module,
            criterion=nn.Identity,
            max_epochs=plan.epochs,
            train_split=None,
            device=plan.device,
            verbose=0,
            **kwargs,
        )
        self.loss = loss
        self.plan = plan
        self.scorer = scorer

    @property
    def _default_callbacks(self):
        return [
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring(name="train_loss", on_train=True)),
            ("valid_loss", PassthroughScoring(name="valid_loss")),
        ]

    def notify(self, method_name, **kwargs):
        try:
            super().notify(method_name, **kwargs)
        except KeyboardInterrupt as stop:  # how skorch's callbacks ask for an end
            raise _StopTraining from stop

    def initialize_optimizer(self, triggered_directly=None):
        self.optimizer_ = OPTIMIZERS[self.plan.optimizer](parameter_groups(self.module_, self.plan))
        self.scaler_ = torch.amp.GradScaler(self.plan.device.type, enabled=self.plan.dtype == torch.float16)
        self.budget_ = Budget(self.plan.max_tokens)
        self.adapter_ = clone(self.plan.adapter)
        return self

    def check_data(self, X, y=None):
        """Data were checked before they came here."""

    def get_split_datasets(self, X, y=None, **fit_params):
        return X, y

    def get_iterator(self, dataset, training=False):
        if not training:
            return _ValidationPass(dataset)
        steps = _TrainingSteps(dataset, self.plan)
        self.n_steps_ = self.plan.epochs * len(steps)
        shape = schedule_shape(self.plan.schedule, self.plan.warmup, self.n_steps_)
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
            self.history.record_batch(f"{prefix}_batch_size", len(step.rows))
            self.notify("on_batch_end", batch=step, training=training, **result)
        seconds = time.perf_counter() - start
        self.history.record(f"{prefix}_batch_count", len(iterator))
        if training:
            self.history.record("seconds", seconds)
            self.history.record("residues_per_second", n_residues / seconds)
            self.history.record("lr", self.optimizer_.param_groups[-1]["lr"])

    def train_step(self, batch, **fit_params):
        self._set_training(True)
        while True:
            self.optimizer_.zero_grad(set_to_none=True)
            try:
                loss = self._backpropagate(batch)
                self._accumulate_penalty()
                break
            except (RuntimeError, MemoryError) as error:
                self.budget_.halve(error, batch.data.inputs.n_tokens(batch.rows))
        self._check_finite(loss, "loss", batch)
        self.scaler_.unscale_(self.optimizer_)
        trained = [p for p in self.module_.parameters() if p.requires_grad]
        norm = float(nn.utils.clip_grad_norm_(trained, self.plan.gradient_clip or math.inf))
        if self.plan.dtype != torch.float16:  # the scaler skips such steps by itself
            self._check_finite(norm, "gradient", batch)
        self.notify("on_grad_computed", named_parameters=self.module_.named_parameters(), batch=batch)
        self.scaler_.step(self.optimizer_)
        self.scaler_.update()
        self.schedule_.step()
        if math.isfinite(norm):
            self.adapter_.after_step(self.module_, batch.number, self.n_steps_)
        return {"loss": loss}

    def _backpropagate(self, step: _Step) -> float:
        """Put the gradients of a step's loss where the optimiser finds them; returns the loss."""
        shares = [self._accumulate(micro, step) for micro in self._micro_batches(step)]
        return sum(map(float, shares))  # asked for last: a GPU computes while the next batch is packed

    def _micro_batches(self, step: _Step) -> Iterator[Batch]:
        return make_batches(step.data.inputs, step.rows, self.budget_.max_tokens, self.plan.device)

    def _accumulate(self, micro: Batch, step: _Step) -> Tensor:
        """Add a micro-batch's share to the gradients; returns its share of the step's loss."""
        share = self._weighted_loss(self._forward(micro), micro.rows, step.data) / step.data.size(step.rows)
        self.scaler_.scale(share).backward()
        return share.detach()

    def _accumulate_penalty(self) -> None:
        """Add the adapter's own penalty to the gradients; losses are reported without it."""
        penalty = self.adapter_.penalty(self.module_)
        if penalty is not None:
            self.scaler_.scale(penalty).backward()

    def _forward(self, micro: Batch) -> Outputs:
        with autocast(self.plan.device, self.plan.dtype):
            return self.module_(micro.tokens, micro.sequence_of_row).float()

    def _weighted_loss(self, outputs: Outputs, rows: np.ndarray, data: TrainingData) -> Tensor:
        targets = data.targets_of(rows, self.plan.device)
        weights = torch.from_numpy(data.weights[rows]).to(self.plan.device)
        return (self.loss(outputs, targets) * weights).sum()

    def validation_step(self, batch, **fit_params):
        """The whole validation set: one mean loss over its rows or residues, one score."""
        self._set_training(False)
        plan = replace(self.plan, max_tokens=self.budget_.max_tokens)
        outputs = self._outputs(batch.data.inputs, plan)
        with torch.no_grad():
            known = outputs if isinstance(outputs, Ragged) else torch.from_numpy(outputs)
            total = self._weighted_loss(known.to(self.plan.device), batch.rows, batch.data)
        loss = float(total) / batch.data.size(batch.rows)
        self.history.record("valid_score", -loss if self.scorer is None else self.scorer(outputs))
        return {"loss": loss}

    def _outputs(self, inputs: TokenizedSequences, plan: TrainingConfig) -> np.ndarray:
        return outputs_of(self.module_, inputs, plan)

    def _check_finite(self, value: float, what: str, step: _Step) -> None:
        if math.isfinite(value):
            return
        rows = ", ".join(map(str, sorted(step.rows)[:10]))
        raise TrainingDivergedError(
            f"The {what} became {value} at step {step.number} (epoch {step.epoch}) on training rows {rows}"
            f"{', …' if len(step.rows) > 10 else ''}. Try a smaller lr (now {self.plan.lr:g}), "
            "gradient_clip=1.0, warmup=0.1 or precision='fp32'; look at the targets of those rows."
        )


@dataclass(frozen=True)
class _Step:
    """Rows of one optimiser step."""

    data: TrainingData
    rows: np.ndarray
    number: int = 0
    epoch: int = 0

    @property
    def n_residues(self) -> int:
        return int(self.data.inputs.n_residues[self.rows].sum())


class _TrainingSteps:
    """An epoch's optimiser steps, drawn anew each time it is iterated over."""

    def __init__(self, data: TrainingData, plan: TrainingConfig):
        self.data, self.batch_size = data, plan.batch_size
        self.epoch_size = plan.epoch_size or len(data)
        self.rng = np.random.default_rng(plan.seed)
        self.epoch = 0

    def __len__(self) -> int:
        return -(-self.epoch_size // self.batch_size)

    def __iter__(self) -> Iterator[_Step]:
        self.epoch += 1
        rows_of_steps = draw_steps(
            len(self.data), self.batch_size, self.rng, epoch_size=self.epoch_size, strata=self.data.strata
        )
        for i, rows in enumerate(rows_of_steps):
            yield _Step(self.data, rows, (self.epoch - 1) * len(self) + i + 1, self.epoch)


class _ValidationPass:
    """All validation rows as one step."""

    def __init__(self, data: TrainingData):
        self.data = data

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[_Step]:
        yield _Step(self.data, np.arange(len(self.data)))


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
        improved = score > self.best_score
        net.history.record("best", improved)
        if improved:
            self.best_score, self.since_best = score, 0
            self.tensors = {k: v.detach().cpu().clone() for k, v in learned_tensors(net.module_).items()}
            return
        self.since_best += 1
        if self.patience is not None and self.since_best >= self.patience:
            raise _StopTraining

    def restore(self, net: TuningNet) -> None:
        if self.tensors:
            load_learned(net.module_, self.tensors)


class _StopTraining(Exception):
    """Ends the fit loop early."""


OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adamax": torch.optim.Adamax,
}


def parameter_groups(module: nn.Module, plan: TrainingConfig) -> list[dict]:
    """Trained tensors by learning rate and decay; norms, biases and the encoder's vectors do not decay.

    The encoder's tensors get ``plan.lr``, the others (mixing of layers, pooling, head) ``plan.head_lr``.
    """
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, tensor in module.named_parameters():
        if tensor.requires_grad:
            in_encoder = name.startswith("encoder.") and not name.startswith("encoder.mixing.")
            factor = plan.lr_factors.get(name.removeprefix("encoder.backbone."), 1.0)
            lr = plan.lr * factor if in_encoder else plan.head_lr
            is_vector = tensor.ndim < 2 or (in_encoder and 1 in tensor.shape)
            decay = 0.0 if is_vector else plan.weight_decay
            groups.setdefault((lr, decay), []).append(tensor)
    return [{"params": tensors, "lr": lr, "weight_decay": decay} for (lr, decay), tensors in groups.items()]


def _named(callbacks: list) -> list:
    return [c if isinstance(c, tuple) else (f"user_{i}", c) for i, c in enumerate(callbacks)]


_KEPT = ("epoch", "train_loss", "valid_loss", "valid_score", "best", "lr", "seconds", "residues_per_second")


def _tidy(row: dict) -> dict:
    """An epoch of skorch's history in plain Python numbers."""
    kept = {name: row[name] for name in _KEPT if name in row}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in kept.items()}


def _cuda_devices(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []
