"""The settings of a run that are neither model nor data."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Plan:
    """How to train: what a run needs to know beside model and data.

    Parameters
    ----------
    max_tokens : int
        Token budget of a micro-batch.
    device : torch.device
    dtype : torch.dtype
        Compute precision.
    epochs, batch_size : int
        ``batch_size`` counts the rows of an optimiser step.
    lr, head_lr, weight_decay : float
    schedule : {"linear", "cosine", "constant"}
    warmup : float
        Share of all steps in which the rate rises from zero.
    gradient_clip : float or None
        Largest norm of all gradients together.
    patience : int or None
        Epochs without improvement after which to stop; None never stops early.
    seed : int
    epoch_size : int or None
        Rows drawn for an epoch, anew each time; None takes every row once.
    """

    max_tokens: int
    device: torch.device
    dtype: torch.dtype
    epochs: int = 1
    batch_size: int = 1
    lr: float = 1e-3
    head_lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: str = "constant"
    warmup: float = 0.0
    gradient_clip: float | None = None
    patience: int | None = None
    seed: int = 0
    epoch_size: int | None = None
