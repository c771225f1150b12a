"""What an epoch is made of: data, optimiser steps drawn at random, and the gradients of a step.

An optimiser step is a random draw of samples, whatever their lengths. Its gradients are the same however the
token budget cuts it into batches. A step of proteins runs batch by batch, and gradients add up. The pairs of
a step share proteins, and the variants of one protein share its wild type: each distinct sequence is encoded
once, then all samples are scored together. Where their sequences exceed the token budget, they are encoded
twice, exactly: first without gradients, to learn what the loss asks of each sequence's values, then batch by
batch with gradients, to pass that on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..nn.packing import Ragged
from ..nn.randomness import random_state, replayed
from .batching import Batch, Inputs, make_batches
from .config import TrainingConfig
from .devices import Budget, autocast, own_share
from .inference import Outputs


@dataclass(frozen=True)
class TrainingData:
    """Samples to learn from, or to validate on.

    Parameters
    ----------
    inputs : Inputs
    targets : ndarray of shape (n_samples, ...) or Ragged
        One target per sample, or one per residue of each sample.
    weights : ndarray of shape (n_samples,)
        Weight of each sample; their mean is 1.
    sizes : ndarray of shape (n_samples,), optional
        Losses that each sample's loss adds up: its measured residues. None where a sample has one.
    strata : ndarray of shape (n_samples,), optional
        Class of each sample, where an epoch is to draw equally many of each.
    rows : ndarray of int, shape (n_samples,), optional
        Where each sample stands in the caller's X, for errors.
    """

    inputs: Inputs
    targets: np.ndarray | Ragged
    weights: np.ndarray
    sizes: np.ndarray | None = None
    strata: np.ndarray | None = None
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def targets_of(self, samples: np.ndarray, device: torch.device) -> Outputs:
        """Targets of some samples on a device."""
        if isinstance(self.targets, Ragged):
            return self.targets.take(samples).to(device)
        return torch.from_numpy(self.targets[samples]).to(device)

    def size(self, samples: np.ndarray) -> float:
        """By what the summed loss of these samples is divided, however they are cut into batches."""
        return len(samples) if self.sizes is None else float(self.sizes[samples].sum())


@dataclass(frozen=True)
class Step:
    """Samples of one optimiser step, or of one validation pass."""

    data: TrainingData
    samples: np.ndarray
    number: int = 0
    epoch: int = 0

    @property
    def n_residues(self) -> int:
        return int(self.data.inputs.n_residues[self.samples].sum())

    @property
    def size(self) -> float:
        """By what the step's summed loss is divided."""
        return self.data.size(self.samples)


class TrainingSteps:
    """An epoch's optimiser steps, drawn anew each time it is iterated over."""

    def __init__(self, data: TrainingData, config: TrainingConfig):
        self.data, self.batch_size = data, config.batch_size
        self.epoch_size = config.epoch_size or len(data)
        self.rng = np.random.default_rng(config.seed)
        self.epoch = 0

    def __len__(self) -> int:
        return -(-self.epoch_size // self.batch_size)

    def __iter__(self) -> Iterator[Step]:
        self.epoch += 1
        drawn = draw_samples(len(self.data), self.epoch_size, self.rng, strata=self.data.strata)
        for i in range(len(self)):
            samples = drawn[i * self.batch_size : (i + 1) * self.batch_size]
            yield Step(self.data, samples, (self.epoch - 1) * len(self) + i + 1, self.epoch)


class ValidationPass:
    """All validation samples as one step."""

    def __init__(self, data: TrainingData):
        self.data = data

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Step]:
        yield Step(self.data, np.arange(len(self.data)))


def draw_samples(
    n_samples: int, n_drawn: int, rng: np.random.Generator, *, strata: np.ndarray | None = None
) -> np.ndarray:
    """Samples of one epoch in random order, none drawn again before all others were.

    Parameters
    ----------
    n_samples, n_drawn : int
    rng : Generator
    strata : ndarray of shape (n_samples,), optional
        Class of each sample; equally many are drawn of each class.

    Examples
    --------
    >>> draw_samples(3, 7, np.random.default_rng(0))
    array([2, 0, 1, 2, 1, 0, 2])
    """
    if strata is None:
        n_rounds = -(-n_drawn // n_samples)
        return np.concatenate([rng.permutation(n_samples) for _ in range(n_rounds)])[:n_drawn]
    members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    shares = np.diff(np.arange(len(members) + 1) * n_drawn // len(members))
    drawn = [own[draw_samples(len(own), n, rng)] for own, n in zip(members, shares) if n]
    return rng.permutation(np.concatenate(drawn))


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
        """Add the step's gradients to those that are there; returns its mean loss.

        Under ``torch.no_grad`` it only computes the loss. Where several processes work together, each adds
        the gradients and returns the loss of its own share of the samples.
        """
        samples = own_share(step.samples)
        if not len(samples):
            return 0.0
        if step.data.inputs.scored_together:
            return self._add_together(step, samples)
        batches = make_batches(step.data.inputs, samples, self.budget.max_tokens, self.config.device)
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
        self._send_back(share)
        return share.detach()

    def _send_back(self, loss: Tensor) -> None:
        if torch.is_grad_enabled():
            self.scaler.scale(loss).backward()

    # -- samples that share sequences ---------------------------------------------------------

    def _add_together(self, step: Step, samples: np.ndarray) -> float:
        inputs = step.data.inputs
        distinct = inputs.distinct(samples)
        batches = list(
            make_batches(inputs.of_each_sequence, distinct, self.budget.max_tokens, self.config.device)
        )
        links = inputs.links(samples, np.concatenate([batch.samples for batch in batches]))
        if len(batches) == 1:
            return self._score(self._encode(batches[0]), links, step, samples)
        states, encoded = [], []
        with torch.no_grad():
            for batch in batches:
                states.append(random_state(self.config.device))
                encoded.append(self._encode(batch))
        whole = Ragged.joined(encoded)
        values: Any = whole.values.requires_grad_()
        loss = self._score(whole, links, step, samples)
        if not (torch.is_grad_enabled() and _trains_below_the_scores(self.model)):
            return loss
        wanted = values.grad.split([len(part.values) for part in encoded])
        for batch, state, gradient in zip(batches, states, wanted, strict=True):
            with replayed(state, self.config.device):
                self._encode(batch).values.backward(gradient)
        return loss

    def _encode(self, batch: Batch) -> Ragged:
        with autocast(self.config.device, self.config.dtype):
            return self.model.embed(batch.inputs)

    def _score(self, encoded: Ragged, links: Any, step: Step, samples: np.ndarray) -> float:
        """Gradients of the loss of some of a step's samples as far down as ``encoded`` goes; returns it."""
        with autocast(self.config.device, self.config.dtype):
            outputs = self.model(encoded, links.to(self.config.device))
        loss = self.weighted_loss(outputs, samples, step.data) / step.size
        self._send_back(loss)
        return float(loss.detach())


def _trains_below_the_scores(model: Any) -> bool:
    return any(parameter.requires_grad for module in model.below for parameter in module.parameters())
