"""Gradients of one optimiser step, the same however it is cut into batches.

A step of proteins runs batch by batch, and gradients add up. The pairs of a step share proteins: each
distinct protein is encoded once, then all pairs are scored together. Where their proteins exceed the token
budget, they are encoded twice, exactly: first without gradients, to learn what the loss asks of each
protein's vector, then batch by batch with gradients, to pass that on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..nn.models import EncoderModel
from ..nn.ragged import Ragged
from .batching import Batch, make_batches
from .budget import Budget
from .config import TrainingConfig
from .devices import autocast
from .inference import Outputs
from .steps import Step, TrainingData

Loss = Callable[[Any, Any], Tensor]
"""Outputs and targets of N samples to one loss per sample, (N,)."""


@dataclass
class StepGradients:
    """Puts the gradients of a step's loss where the optimiser finds them.

    Parameters
    ----------
    model : nn.Module
    loss : callable
    config : TrainingConfig
    budget : Budget
    scaler : torch.amp.GradScaler
    """

    model: Any
    loss: Loss
    config: TrainingConfig
    budget: Budget
    scaler: torch.amp.GradScaler

    def add(self, step: Step) -> float:
        """Add the step's gradients to those that are there; returns its mean loss."""
        if step.data.inputs.are_pairs:
            return self._add_pairs(step)
        batches = make_batches(step.data.inputs, step.samples, self.budget.max_tokens, self.config.device)
        shares = [self._add_batch(batch, step) for batch in batches]
        return sum(map(float, shares))  # asked for last: a GPU computes while the next batch is packed

    def weighted_loss(self, outputs: Outputs, samples: np.ndarray, data: TrainingData) -> Tensor:
        """The weighted sum of the losses of some samples."""
        targets = data.targets_of(samples, self.config.device)
        weights = torch.from_numpy(data.weights[samples]).to(self.config.device)
        return (self.loss(outputs, targets) * weights).sum()

    def _add_batch(self, batch: Batch, step: Step) -> Tensor:
        with autocast(self.config.device, self.config.dtype):
            outputs = self.model(batch.inputs, batch.index).float()
        share = self.weighted_loss(outputs, batch.samples, step.data) / step.size
        self.scaler.scale(share).backward()
        return share.detach()

    # -- pairs --------------------------------------------------------------------------------

    def _add_pairs(self, step: Step) -> float:
        inputs = step.data.inputs
        distinct, place = np.unique(inputs.index[step.samples], return_inverse=True)
        batches = list(
            make_batches(inputs.of_each_sequence, distinct, self.budget.max_tokens, self.config.device)
        )
        order = np.concatenate([batch.samples for batch in batches])
        pairs = np.argsort(np.searchsorted(distinct, order))[place.reshape(-1, 2)]
        if len(batches) == 1:
            return self._score_pairs(self._encode(batches[0]), pairs, step)
        states, proteins = [], []
        with torch.no_grad():
            for batch in batches:
                states.append(_random_state(self.config.device))
                proteins.append(self._encode(batch))
        whole = Ragged.joined(proteins)
        values: Any = whole.values.requires_grad_()
        loss = self._score_pairs(whole, pairs, step)
        if not _trains_below_the_pairs(self.model):
            return loss
        wanted = values.grad.split([len(part.values) for part in proteins])
        for batch, state, gradient in zip(batches, states, wanted, strict=True):
            with _replayed(state, self.config.device):
                self._encode(batch).values.backward(gradient)
        return loss

    def _encode(self, batch: Batch) -> Ragged:
        with autocast(self.config.device, self.config.dtype):
            return self.model.embed(batch.inputs)

    def _score_pairs(self, proteins: Ragged, pairs: np.ndarray, step: Step) -> float:
        """Gradients of the step's loss as far down as ``proteins`` go; returns the loss."""
        with autocast(self.config.device, self.config.dtype):
            outputs = self.model(proteins, torch.from_numpy(pairs).to(self.config.device))
        loss = self.weighted_loss(outputs, step.samples, step.data) / step.size
        self.scaler.scale(loss).backward()
        return float(loss.detach())


def _trains_below_the_pairs(model: EncoderModel) -> bool:
    below: list[nn.Module] = [model.encoder, model.pooling]
    return any(parameter.requires_grad for module in below for parameter in module.parameters())


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


@contextmanager
def _replayed(state: tuple[Tensor, Tensor | None], device: torch.device) -> Iterator[None]:
    """Within this context random numbers come as they did from ``state`` on; outside none was drawn."""
    on_cpu, on_device = state
    with torch.random.fork_rng(devices=[] if on_device is None else [device]):
        torch.set_rng_state(on_cpu)
        if on_device is not None:
            torch.cuda.set_rng_state(on_device, device)
        yield
