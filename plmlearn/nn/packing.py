"""A batch of sequences without padding.

The tokens of all sequences of a batch lie one behind the other in one row of T tokens, so every
matrix product sees real tokens only, and no result can depend on how much padding a neighbour
needed. :class:`PackedTokens` remembers where each sequence begins, and which tokens are residues:
that mask is made here, once, and everything behind the encoder sees residues only
(:class:`Encoded`).

Shapes: B sequences, T tokens, R residues, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class PackedTokens:
    """Token ids of B sequences in one row.

    Parameters
    ----------
    ids : Tensor of shape (T,)
        Token ids, special tokens included.
    lengths : list of int
        Tokens of each of the B sequences; they add up to T.
    n_prefix, n_suffix : int
        Special tokens before and behind the residues of every sequence.
    trunk : Tensor of shape (T, D), optional
        Activations that enter the first trained layer, where they are known already.
    pooled : Tensor of shape (B, D), optional
        Pooled embeddings, where nothing below the head is trained and they are known already.
    residues : Tensor of shape (R, D), optional
        The same for residue embeddings.
    """

    ids: Tensor
    lengths: list[int]
    n_prefix: int
    n_suffix: int
    trunk: Tensor | None = None
    pooled: Tensor | None = None
    residues: Tensor | None = None

    @property
    def device(self) -> torch.device:
        return self.ids.device

    @cached_property
    def groups(self) -> list[tuple[int, int]]:
        """Runs of neighbours of equal length, as (number of sequences, tokens of each)."""
        runs: list[list[int]] = []
        for length in self.lengths:
            if runs and runs[-1][1] == length:
                runs[-1][0] += 1
            else:
                runs.append([1, length])
        return [(n, length) for n, length in runs]

    @cached_property
    def lengths_tensor(self) -> Tensor:
        return torch.tensor(self.lengths, device=self.device)

    @cached_property
    def starts(self) -> Tensor:
        """Index of the first token of each sequence, shape (B,)."""
        return self.lengths_tensor.cumsum(0) - self.lengths_tensor

    @cached_property
    def positions(self) -> Tensor:
        """Position of each token in its own sequence, from 0, shape (T,)."""
        starts = torch.repeat_interleave(self.starts, self.lengths_tensor, output_size=len(self.ids))
        return torch.arange(len(self.ids), device=self.device) - starts

    @cached_property
    def is_residue(self) -> Tensor:
        """The residue mask, shape (T,): True = residue, False = special token."""
        lengths = torch.repeat_interleave(self.lengths_tensor, self.lengths_tensor, output_size=len(self.ids))
        return (self.positions >= self.n_prefix) & (self.positions < lengths - self.n_suffix)

    @property
    def residue_lengths(self) -> list[int]:
        return [length - self.n_prefix - self.n_suffix for length in self.lengths]


@dataclass(frozen=True)
class Encoded:
    """What an encoder made of a batch.

    Parameters
    ----------
    residues : Tensor of shape (R, D)
        One vector per residue, sequence behind sequence; special tokens are gone.
    lengths : list of int
        Residues of each of the B sequences.
    first : Tensor of shape (B, D)
        The vector of each sequence's first token (``<cls>`` where the backbone has one).
    """

    residues: Tensor
    lengths: list[int]
    first: Tensor


def unpack(hidden: Tensor, tokens: PackedTokens) -> Encoded:
    """Encoder output of shape (T, D), parted into residues and first tokens."""
    return Encoded(hidden[tokens.is_residue], tokens.residue_lengths, hidden[tokens.starts])
