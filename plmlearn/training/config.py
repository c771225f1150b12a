"""The settings of a training run that are neither model nor data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from ..adapters import Adapter, Frozen


@dataclass(frozen=True)
class TrainingConfig:
    """How to train: what a run needs to know besides model and data.

    Parameters
    ----------
    max_tokens : int
        Token budget of a batch.
    device : torch.device
    dtype : torch.dtype
        Compute precision.
    epochs, batch_size : int
        ``batch_size`` counts the samples of an optimiser step.
    adapter : Adapter
        How the model is adapted, which may bring a penalty or a schedule of its own.
    lr, head_lr, weight_decay : float
    optimizer : {"adamw", "adamax"}
    lr_factors : mapping of str to float
        Factors on ``lr`` for parameters of the backbone, by their name in it.
    schedule : {"linear", "cosine", "constant"}
    warmup : float
        Share of all steps in which the rate rises from zero.
    gradient_clip : float or None
        Largest norm of all gradients together.
    patience : int or None
        Epochs without improvement after which to stop; None never stops early.
    seed : int
    epoch_size : int or None
        Samples drawn for an epoch, anew each time; None takes every sample once.
    """

    max_tokens: int
    device: torch.device
    dtype: torch.dtype
    epochs: int = 1
    batch_size: int = 1
    adapter: Adapter = field(default_factory=Frozen)
    lr: float = 1e-3
    head_lr: float = 1e-3
    weight_decay: float = 0.0
    optimizer: str = "adamw"
    lr_factors: Mapping[str, float] = field(default_factory=dict)
    schedule: str = "constant"
    warmup: float = 0.0
    gradient_clip: float | None = None
    patience: int | None = None
    seed: int = 0
    epoch_size: int | None = None
