"""The head of a protein model, in torch alone: it reads the last hidden states of a transformers encoder.

An exported folder holds a copy of this file as ``load_head.py``, beside ``head.json`` and
``head.safetensors``. Nothing in it needs plmlearn::

    head = load_head(folder)
    hidden = encoder(**batch).last_hidden_state                 # (B, T, D)
    logits = head(hidden, batch["attention_mask"])              # (B, C), or (B, T, C) of residues

B proteins, T tokens with padding on the right, D width, C outputs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class Masked(nn.Module):
    """A step that reads a mask (B, T, 1) beside its input (B, T, D); True marks a residue."""


class Mean(Masked):
    """Mean over residues, (B, D)."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x.masked_fill(~mask, 0.0).sum(1) / mask.sum(1)


class Max(Masked):
    """Largest value of each feature over residues, (B, D)."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x.masked_fill(~mask, -torch.inf).amax(1)


class First(Masked):
    """The vector of the first token, (B, D)."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x[:, 0]


class Attention(Masked):
    """Mean over residues by the softmax of a score, (B, D)."""

    def __init__(self, width: int):
        super().__init__()
        self.score = nn.Linear(width, 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return weighted_mean(x, self.score(x), mask)


class Conv(Masked):
    """A convolution along the sequence, with zeros around it, (B, T, C)."""

    def __init__(self, width: int, n_outputs: int, kernel: int):
        super().__init__()
        self.conv = nn.Conv1d(width, n_outputs, kernel, padding=kernel // 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.conv(x.masked_fill(~mask, 0.0).mT).mT


class LightAttention(Masked):
    """Light attention: convolved values, averaged by convolved scores, beside their maximum, (B, 2 C).

    With ``n_outputs`` they are read out at every residue beside its own values, (B, T, n_outputs).
    """

    def __init__(self, width: int, hidden: int, kernel: int, n_outputs: int = 0):
        super().__init__()
        self.value, self.score = Conv(width, hidden, kernel), Conv(width, hidden, kernel)
        self.out = nn.Linear(3 * hidden, n_outputs) if n_outputs else None

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        value, score = self.value(x, mask), self.score(x, mask)
        largest = value.masked_fill(~mask, -torch.inf).amax(1)
        pooled = torch.cat([weighted_mean(value, score, mask), largest], 1)
        if self.out is None:
            return pooled
        return self.out(torch.cat([value, pooled[:, None].expand(-1, value.shape[1], -1)], 2))


def weighted_mean(x: Tensor, score: Tensor, mask: Tensor) -> Tensor:
    """Mean of (B, T, D) over residues by the softmax of scores (B, T, D) or (B, T, 1)."""
    weights = score.masked_fill(~mask, -torch.inf).softmax(1)
    return (weights * x.masked_fill(~mask, 0.0)).sum(1)


class Scale(nn.Module):
    """Features in units of their deviation from their mean, over the training proteins."""

    def __init__(self, width: int):
        super().__init__()
        self.mean, self.scale = nn.Buffer(torch.zeros(width)), nn.Buffer(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.scale


STEPS: dict[str, type[nn.Module]] = {
    "mean": Mean,
    "max": Max,
    "first": First,
    "attention": Attention,
    "conv": Conv,
    "light_attention": LightAttention,
    "scale": Scale,
    "linear": nn.Linear,
    "norm": nn.LayerNorm,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "logistic": nn.Sigmoid,
}


class Head(nn.Module):
    """Pooling, scaling and head, one step after another.

    Parameters
    ----------
    steps : list of list
        A name in ``STEPS`` and its arguments, each.
    prefix, suffix : int
        Special tokens before and after the residues.
    """

    def __init__(self, steps: list[list[Any]], prefix: int, suffix: int):
        super().__init__()
        self.steps = nn.ModuleList(STEPS[name](*arguments) for name, *arguments in steps)
        self.prefix, self.suffix = prefix, suffix

    def forward(self, hidden: Tensor, attention_mask: Tensor) -> Tensor:
        """Hidden states (B, T, D) and the mask (B, T) of tokens to outputs."""
        # Dropping the first columns of the mask takes as many tokens from the end of each protein.
        mask = F.pad(attention_mask[:, self.suffix :], (0, self.suffix)).bool()
        mask = mask & (torch.arange(hidden.shape[1], device=hidden.device) >= self.prefix)
        x = hidden.float()
        for step in self.steps:
            x = step(x, mask[:, :, None]) if isinstance(step, Masked) else step(x)
        return x


def load_head(folder: str | Path) -> Head:
    """Read ``head.json`` and ``head.safetensors``."""
    settings = json.loads(Path(folder, "head.json").read_text())
    head = Head(settings["steps"], settings["prefix"], settings["suffix"])
    head.load_state_dict(load_file(Path(folder, "head.safetensors")))
    return head.eval()
