"""A batch of sequences without padding.

The tokens of all sequences of a batch lie one behind the other in one row of T tokens, so every
matrix product sees real tokens only, and no result can depend on how much padding a neighbour
needed. :class:`PackedTokens` remembers where each sequence begins, and which tokens are residues:
that index is made here, once, and everything behind the encoder sees residues only
(:class:`Encoded`).

A protein that is longer than a model reads comes as several overlapping windows, each a sequence of
its own to the encoder. :func:`unpack` blends them into one run of residues, so that poolings, heads
and stores see whole proteins.

Shapes: B sequences (windows), P proteins (= B where none is cut), T tokens, R residues, D width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from .windows import Blend, whole_lengths


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
    offsets : list of int, optional
        Where each sequence begins in its protein, in residues; each 0 begins the next protein. None
        where every sequence is a whole protein.
    max_tokens : int, optional
        Tokens that may go through the layers at once where no gradients are wanted; matters where one
        protein's windows have more.
    n_prompt : int, default=0
        How many of the prefix tokens, the last of them, are learned vectors without an id (-1).
    """

    ids: Tensor
    lengths: list[int]
    n_prefix: int
    n_suffix: int
    offsets: list[int] | None = None
    max_tokens: int | None = None
    n_prompt: int = 0

    @property
    def device(self) -> torch.device:
        return self.ids.device

    @property
    def n_rows(self) -> int:
        """T, on a CPU rounded up by at most 1/32: its library compiles a kernel for every new size."""
        n_tokens = len(self.ids)
        if self.device.type != "cpu":
            return n_tokens
        step = 1 << max(3, n_tokens.bit_length() - 6)
        return -(-n_tokens // step) * step

    def rounded(self, values: Tensor) -> Tensor:
        """Values by token, (T, ...), with rows of 0 behind them up to ``n_rows``."""
        missing = self.n_rows - len(values)
        return F.pad(values, (0, 0) * (values.ndim - 1) + (0, missing)) if missing else values

    @cached_property
    def runs(self) -> list[tuple[int, int]]:
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
    def residue_index(self) -> Tensor:
        """The residues' tokens, shape (R,); made without asking a device how many there are."""
        counts = torch.tensor(self.residues_of_each, device=self.device)
        n_residues = sum(self.residues_of_each)
        skipped = self.starts + self.n_prefix - (counts.cumsum(0) - counts)
        return torch.arange(n_residues, device=self.device) + torch.repeat_interleave(
            skipped, counts, output_size=n_residues
        )

    @property
    def residue_lengths(self) -> list[int]:
        """Residues of each protein."""
        if self.offsets is None:
            return self.residues_of_each
        return whole_lengths(self.offsets, self.residues_of_each)

    @property
    def residues_of_each(self) -> list[int]:
        """Residues of each sequence."""
        return [length - self.n_prefix - self.n_suffix for length in self.lengths]

    def pieces(self) -> Iterator[PackedTokens]:
        """Runs of sequences of at most ``max_tokens`` tokens, or of one sequence that has more."""
        if self.offsets is None or self.max_tokens is None:
            yield self
            return
        first, start, n_tokens = 0, 0, 0.0
        for i, length in enumerate([*self.lengths, math.inf]):
            if i > first and n_tokens + length > (self.max_tokens or math.inf):
                tokens = slice(start, start := start + int(n_tokens))
                yield replace(
                    self,
                    ids=self.ids[tokens],
                    lengths=self.lengths[first:i],
                    offsets=None,
                )
                first, n_tokens = i, 0.0
            n_tokens += length

    def with_prompt(self, n: int) -> PackedTokens:
        """The same sequences with ``n`` learned tokens behind the prefix of each."""
        return PackedTokens(
            ids=insert(self.ids, self.ids.new_full((n,), -1), self, at=self.n_prefix),
            lengths=[length + n for length in self.lengths],
            n_prefix=self.n_prefix + n,
            n_suffix=self.n_suffix,
            n_prompt=n,
        )

    @cached_property
    def without_prompt(self) -> Tensor | slice:
        """Index of the tokens that are no prompt."""
        if self.n_prompt == 0:
            return slice(len(self.ids))
        is_prompt = (self.positions >= self.n_prefix - self.n_prompt) & (self.positions < self.n_prefix)
        return (~is_prompt).nonzero()[:, 0]


@dataclass(frozen=True)
class Activations:
    """What enters the first trained layer, where it is known already.

    Parameters
    ----------
    values : Tensor of shape (T, D)
    tokens : PackedTokens
    """

    values: Tensor
    tokens: PackedTokens

    def pieces(self) -> Iterator[Activations]:
        """The same parts as those of the tokens."""
        start = 0
        for tokens in self.tokens.pieces():
            yield Activations(self.values[start : start + len(tokens.ids)], tokens)
            start += len(tokens.ids)


def insert(rows: Tensor, learned: Tensor, tokens: PackedTokens, *, at: int) -> Tensor:
    """Put the same P rows into every sequence, before its token ``at``: (T, ...) to (T + B * P, ...)."""
    n, n_sequences, device = len(learned), len(tokens.lengths), tokens.device
    earlier = torch.arange(n_sequences, device=device) * n  # rows put in before each sequence
    of_token = torch.repeat_interleave(earlier, tokens.lengths_tensor, output_size=len(rows))
    place = torch.arange(len(rows), device=device) + of_token + n * (tokens.positions >= at)
    order = torch.empty(len(rows) + n_sequences * n, dtype=torch.long, device=device)
    order[place] = torch.arange(len(rows), device=device)
    steps = torch.arange(n, device=device)
    order[((tokens.starts + earlier + at)[:, None] + steps).flatten()] = (len(rows) + steps).repeat(
        n_sequences
    )
    return torch.cat([rows, learned]).index_select(0, order)


@dataclass(frozen=True)
class Encoded:
    """What an encoder made of a batch.

    Parameters
    ----------
    residues : Tensor of shape (R, D)
        One vector per residue, protein behind protein; special tokens are gone.
    lengths : list of int
        Residues of each of the P proteins.
    first : Tensor of shape (P, D) or None
        The vector of each protein's first token (``<cls>`` where the backbone has one), None where no
        token stands before the residues; of windows, their mean by the residues that each stands for.
    """

    residues: Tensor
    lengths: list[int]
    first: Tensor | None


def unpack(hidden: Tensor, tokens: PackedTokens) -> Encoded:
    """Encoder output of shape (T, D), parted into residues and first tokens of whole proteins."""
    residues, first = hidden[tokens.residue_index], hidden[tokens.starts]
    if tokens.offsets is not None:
        blend = Blend(tokens.offsets, tokens.residues_of_each, tokens.device)
        residues, first = blend.residues(residues), blend.sequences(first)
    return Encoded(residues, tokens.residue_lengths, first if tokens.n_prefix else None)
