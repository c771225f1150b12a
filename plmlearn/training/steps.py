"""What an epoch is made of: data with targets and weights, and optimiser steps drawn at random.

An optimiser step is a random draw of samples, whatever their lengths; it is only cut into batches where it
exceeds the token budget.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..nn.ragged import Ragged
from .batching import Inputs
from .config import TrainingConfig
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
    """

    inputs: Inputs
    targets: np.ndarray | Ragged
    weights: np.ndarray
    sizes: np.ndarray | None = None
    strata: np.ndarray | None = None

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
