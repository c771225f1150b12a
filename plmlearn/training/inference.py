"""What a model says of many rows, batch by batch, without gradients and within the memory there is."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..nn.ragged import Ragged
from .batching import Batch, TokenizedSequences, make_batches
from .config import TrainingConfig
from .devices import autocast, is_out_of_memory

Outputs = Tensor | Ragged
"""What a model says of N rows: one vector per row, (N, C), or one per residue of each row."""


@dataclass
class Budget:
    """The token budget; halved when a device runs out of memory."""

    max_tokens: int
    smallest: int = 64

    def halve(self, error: BaseException, n_tokens: int) -> None:
        """Halve what was tried, and say so; give up where there is nothing left to halve.

        ``n_tokens`` is what there was to run: a budget beyond it would fail on the same batch again.
        """
        tried = min(self.max_tokens, n_tokens)
        if not is_out_of_memory(error) or tried <= self.smallest:
            raise error
        self.max_tokens = tried // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        warnings.warn(
            f"Out of memory: continuing with max_tokens={self.max_tokens}. Results do not change; pass "
            "max_tokens, or gradient_checkpointing=True, to avoid the retry.",
            UserWarning,
            stacklevel=3,
        )


def infer(
    forward: Callable[[Batch], Outputs],
    inputs: TokenizedSequences,
    plan: TrainingConfig,
    *,
    rows: np.ndarray | None = None,
) -> Any:
    """Outputs of all rows, or of those asked for, in their order.

    Parameters
    ----------
    forward : callable
        A batch of N rows to (N, C), or to one entry per residue of each.
    inputs : TokenizedSequences
    plan : TrainingConfig
    rows : ndarray of int, optional
        Ascending; None means all.

    Returns
    -------
    ndarray of float32, shape (n_rows, C), or Ragged on the CPU
    """
    wanted = np.arange(len(inputs)) if rows is None else rows
    outputs = _Collected(len(inputs))
    budget = Budget(plan.max_tokens)
    waiting = np.zeros(len(inputs), dtype=bool)
    waiting[wanted] = True
    while waiting.any():
        try:
            for batch in make_batches(inputs, np.flatnonzero(waiting), budget.max_tokens, plan.device):
                with torch.inference_mode(), autocast(plan.device, plan.dtype):
                    outputs.put(batch.rows, forward(batch).float().to(torch.device("cpu")))
                waiting[batch.rows] = False
        except (RuntimeError, MemoryError) as error:
            budget.halve(error, inputs.n_tokens(waiting))
    return outputs.take(wanted)


class _Collected:
    """Outputs of batches, put where their rows belong."""

    def __init__(self, n_rows: int):
        self.n_rows = n_rows
        self.vectors: np.ndarray | None = None  # one per row
        self.residues: dict[int, Tensor] = {}  # one (L, C) per row

    def put(self, rows: np.ndarray, outputs: Outputs) -> None:
        if isinstance(outputs, Ragged):
            self.residues.update(zip(rows.tolist(), outputs.rows, strict=True))
            return
        if self.vectors is None:
            self.vectors = np.empty((self.n_rows, *outputs.shape[1:]), dtype=np.float32)
        self.vectors[rows] = outputs.numpy()

    def take(self, rows: np.ndarray) -> np.ndarray | Ragged:
        return (
            Ragged.of([self.residues[i] for i in rows.tolist()])
            if self.vectors is None
            else self.vectors[rows]
        )


def outputs_of(model: nn.Module, inputs: TokenizedSequences, plan: TrainingConfig) -> Any:
    """What ``model`` says of every row, in evaluation mode: an array (n_rows, C), or Ragged."""
    model.eval()
    return infer(lambda batch: model(batch.tokens, batch.sequence_of_row), inputs, plan)
