"""Prompts and prefixes: learned tokens, and learned keys and values, in the layers of an encoder.

A layer may hold a :class:`Prompt` (tokens that enter it) or a :class:`Prefix` (keys and values that
its attention sees), as a child named "prompt" or "prefix". :class:`plmlearn.nn.encoders.PackedEncoder`
looks for them. Every sequence of a batch sees the same prompt or prefix.

Shapes: P tokens of a prompt or prefix, B sequences, T tokens, D width, H heads, K head width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .packing import PackedTokens, insert


class Prompt(nn.Module):
    """Tokens that enter a layer after the special tokens before each sequence's residues.

    Parameters
    ----------
    vectors : Tensor of shape (P, D)
        Initial values.
    """

    def __init__(self, vectors: Tensor):
        super().__init__()
        self.vectors = nn.Parameter(vectors)

    @property
    def n_tokens(self) -> int:
        return len(self.vectors)

    def forward(self, hidden: Tensor, tokens: PackedTokens) -> Tensor:
        """Hidden states (T, D) to (T + B * P, D), the prompt among them."""
        return insert(hidden, self.vectors.to(hidden.dtype), tokens, at=tokens.n_prefix)


class Prefix(nn.Module):
    """Keys and values that each query of a layer sees beside those of its own sequence.

    They have no position: rotary angles and position biases do not apply to them, and residues keep
    their positions.

    Parameters
    ----------
    n_tokens : int
        Number P of keys and values.
    width : int
        Width of keys and of values, all heads together.
    hidden : int, optional
        Width of the perceptron through which keys and values are learned; None learns them directly.
    """

    def __init__(self, n_tokens: int, width: int, hidden: int | None = None):
        super().__init__()
        self.vectors = nn.Parameter(0.02 * torch.randn(n_tokens, 2 * width if hidden is None else hidden))
        self.network: nn.Module = nn.Identity()
        if hidden is not None:
            self.network = nn.Sequential(nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 2 * width))

    def forward(self, key: Tensor, value: Tensor, tokens: PackedTokens) -> tuple[Tensor, Tensor]:
        """Keys and values (T, H, K) to (T + B * P, H, K), the prefix before each sequence's own."""
        learned = self.network(self.vectors).to(key.dtype).chunk(2, dim=-1)
        return tuple(
            insert(own, ours.unflatten(-1, own.shape[1:]), tokens, at=0)
            for own, ours in zip((key, value), learned, strict=True)
        )  # type: ignore[return-value]
