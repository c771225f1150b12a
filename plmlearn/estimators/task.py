"""What one kind of prediction decides, in six verbs; everything else is the same for all.

A task is a small object with the parameters that it needs. :class:`~plmlearn.estimators.tuned.TunedEstimator`
calls it; :mod:`.protein`, :mod:`.pair`, :mod:`.residue` and :mod:`.signal_peptides` have one each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..nn.encoders import PackedEncoder
from ..training.batching import Inputs
from ..training.steps import Loss, TrainingData
from .dataset import Dataset


@dataclass(frozen=True)
class Given:
    """What a caller passed, as it came."""

    X: Any
    y: Any
    sample_weight: Any = None
    groups: Any = None
    extras: dict[str, Any] = field(default_factory=dict)


class Task(ABC):
    """One kind of prediction."""

    epoch_size: int | None = None
    """Samples drawn for an epoch; None takes every one once."""

    @abstractmethod
    def check(self, sequences: np.ndarray, given: Given) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Targets of clean sequences, and what else is known of each, as arrays; or one error."""

    @abstractmethod
    def learn(self, y: np.ndarray) -> Any:
        """How these targets are encoded and decoded."""

    def relearn(self, y: np.ndarray, earlier: Any) -> Any:
        """The same where training goes on from an earlier target."""
        return earlier

    @abstractmethod
    def make_model(self, encoder: PackedEncoder, n_outputs: int) -> Any:
        """Encoder and head in one, with fresh weights."""

    @abstractmethod
    def encode(self, inputs: Inputs, target: Any, dataset: Dataset, learned: np.ndarray) -> TrainingData:
        """What the training loop reads; ``learned`` is all y of the fit, by which classes weigh."""

    @abstractmethod
    def make_loss(self, model: Any, target: Any) -> Loss:
        """What is made small."""

    @abstractmethod
    def decoder(self, model: Any, target: Any, extras: dict[str, np.ndarray]) -> Any:
        """Makes predictions of outputs: ``decode``, and ``probabilities`` and ``classes`` of classifiers."""
