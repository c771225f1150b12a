"""Sequences without padding: a batch of tokens, and values of residues.

``PackedTokens``   the tokens of all sequences of a batch, one after the other in one line of T tokens
``Activations``    what enters the first trained layer, where it is known already
``Encoded``        an encoder's output, one vector per residue; special tokens are gone
``Ragged``         values of the residues of several samples, one after the other
``cut``, ``Blend`` overlapping windows of a long protein, and the whole protein again

Every matrix product sees real tokens only, and no result depends on how much padding a neighbour needed.
:class:`PackedTokens` remembers where each sequence begins and which tokens are residues. That index is made
once, here. :func:`unpack` blends windows, so that poolings, heads and the cache see whole proteins.

Shapes: B sequences (windows), P proteins (= B where none is cut), T tokens, R residues, D width.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def cut(n_residues: int, size: int) -> list[tuple[int, int]]:
    """First and last residue (exclusive) of each window of a protein.

    Windows have the same length, at most ``size`` residues, and are evenly spaced. Neighbours share a
    quarter of ``size`` or more. There are as few windows as that takes, and they are as short.

    >>> cut(1000, size=1022), cut(2000, size=1022)
    ([(0, 1000)], [(0, 837), (581, 1418), (1163, 2000)])
    """
    if n_residues <= size:
        return [(0, n_residues)]
    overlap = size // 4
    n_windows = -(-(n_residues - overlap) // (size - overlap))
    length = -(-(n_residues + (n_windows - 1) * overlap) // n_windows)
    starts = ((n_residues - length) * k // (n_windows - 1) for k in range(n_windows))
    return [(start, start + length) for start in starts]


def whole_lengths(offsets: list[int], n_residues: list[int]) -> list[int]:
    """Residues of each protein, from where its windows begin and how long they are."""
    ends = [offset + n for offset, n in zip(offsets, n_residues)]
    return [end for end, following in zip(ends, [*offsets[1:], 0]) if following == 0]


class Blend:
    """A weight for every residue of every window; the weights of one residue of a protein add up to 1.

    The weight falls linearly towards a cut, where a residue lacks neighbours. The other window, which
    has them, counts for more there.

    Parameters
    ----------
    offsets : list of int
        Where each of B windows begins in its protein; each 0 begins the next protein.
    n_residues : list of int
        Residues of each window.
    device : torch.device
    """

    def __init__(self, offsets: list[int], n_residues: list[int], device: torch.device):
        begin, whole = torch.tensor(offsets, device=device), whole_lengths(offsets, n_residues)
        n_all, self.n_whole = sum(n_residues), sum(whole)
        residues = Ragged(torch.arange(n_all, device=device), n_residues)
        n_of_each, spread = residues.lengths_tensor, residues.spread
        self.lengths = torch.tensor(whole, device=device)
        self.protein = (begin == 0).cumsum(0) - 1
        position = residues.values - spread(residues.starts)
        is_last = begin + n_of_each == self.lengths[self.protein]
        left = (position + 1).masked_fill(spread(begin == 0), n_all)
        right = (spread(n_of_each) - position).masked_fill(spread(is_last), n_all)
        height = torch.minimum(left, right).float()
        before = self.lengths.cumsum(0) - self.lengths
        self.place = spread(before[self.protein] + begin) + position
        total = height.new_zeros(self.n_whole).index_add_(0, self.place, height)
        self.weights = residues.with_values(height / total[self.place])

    def residues(self, values: Tensor) -> Tensor:
        """Values of residues of windows (W, D) to those of proteins (R, D)."""
        out = values.new_zeros(self.n_whole, values.shape[-1])
        return out.index_add(0, self.place, values * self.weights.values[:, None])

    def sequences(self, values: Tensor) -> Tensor:
        """One vector per window (B, D) to one per protein (P, D): their mean, weighted by residues."""
        share = self.weights.sums() / self.lengths[self.protein]
        out = values.new_zeros(len(self.lengths), values.shape[-1])
        return out.index_add(0, self.protein, values * share[:, None])


@dataclass(frozen=True)
class Ragged:
    """One entry per residue of N samples, one sample after the other.

    Parameters
    ----------
    values : Tensor of shape (R, ...)
        Entries of all R residues.
    lengths : list of int
        Residues of each sample; they add up to R.
    """

    values: Tensor
    lengths: list[int]

    @classmethod
    def of(cls, rows: Sequence[Tensor]) -> Ragged:
        """Samples of shape (L, ...), one after the other."""
        return cls(torch.cat(list(rows)), [len(row) for row in rows])

    @classmethod
    def joined(cls, parts: Sequence[Ragged]) -> Ragged:
        """The samples of several, in their order."""
        return cls(torch.cat([part.values for part in parts]), [n for part in parts for n in part.lengths])

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def rows(self) -> tuple[Tensor, ...]:
        """Each sample's entries, (L, ...)."""
        return self.values.split(self.lengths)

    @cached_property
    def lengths_tensor(self) -> Tensor:
        """Residues of each sample, shape (N,), on the device of the values."""
        return torch.tensor(self.lengths, device=self.values.device)

    @property
    def starts(self) -> Tensor:
        """Index of the first residue of each sample, shape (N,)."""
        return self.lengths_tensor.cumsum(0) - self.lengths_tensor

    def take(self, rows: Iterable[int]) -> Ragged:
        """The samples with these indices, in this order; an index may occur more than once."""
        chosen = [int(row) for row in rows]
        if chosen == list(range(len(self))):
            return self
        every = self.rows
        return Ragged.of([every[row] for row in chosen])

    def with_values(self, values: Tensor) -> Ragged:
        """Other entries (R, ...) for the same residues."""
        return replace(self, values=values)

    def to(self, device: torch.device) -> Ragged:
        return self.with_values(self.values.to(device))

    def float(self) -> Ragged:
        return self.with_values(self.values.float())

    def sums(self) -> Tensor:
        """Sum over the residues of each sample, (N, ...)."""
        return self._reduce("sum")

    def means(self) -> Tensor:
        """Mean over the residues of each sample, (N, ...)."""
        return self._reduce("mean")

    def maxima(self) -> Tensor:
        """Largest entry of each sample, (N, ...)."""
        return self._reduce("max")

    def weighted_means(self, scores: Ragged) -> Tensor:
        """Mean of each sample's entries by the softmax of scores (R, ...) over the sample, (N, ...)."""
        return self.with_values(scores.softmax().values * self.values).sums()

    def convolved(self, conv: nn.Conv1d) -> Ragged:
        """Each sample (L, D) convolved to (L, C) as if zeros stood around it.

        Samples lie in one line with zeros between them, so that none sees its neighbours. ``conv`` has an odd
        kernel, and pads by half of it or not at all.
        """
        n, gap, device = len(self.values), conv.kernel_size[0] // 2, self.values.device
        margin = gap - int(conv.padding[0])
        place = torch.arange(n, device=device) + gap * self.spread(torch.arange(len(self), device=device))
        line = self.values.new_zeros(n + gap * (len(self) - 1) + 2 * margin, self.values.shape[1])
        line = line.index_copy(0, place + margin, self.values)
        return self.with_values(conv(line.T[None])[0].T[place])

    def spread(self, of_sample: Tensor) -> Tensor:
        """An entry per sample, (N, ...), given to all residues of the sample, (R, ...)."""
        return torch.repeat_interleave(of_sample, self.lengths_tensor, dim=0, output_size=len(self.values))

    def softmax(self) -> Ragged:
        """Entries in proportion to their exponentials, adding up to 1 over each sample."""
        highest = self.with_values(self.values.detach()).maxima()
        weights = self.with_values((self.values - self.spread(highest)).exp())
        return weights.with_values(weights.values / weights.spread(weights.sums()))

    def _reduce(self, how: str) -> Tensor:
        return torch.segment_reduce(self.values, how, lengths=self.lengths_tensor, axis=0)

    def padded(self) -> tuple[Tensor, Tensor]:
        """Entries (N, L, ...) with zeros after each sample's end, and the mask (N, L), True = residue."""
        padded = torch.nn.utils.rnn.pad_sequence(list(self.rows), batch_first=True)
        positions = torch.arange(padded.shape[1], device=padded.device)
        return padded, positions < self.lengths_tensor[:, None]


@dataclass(frozen=True)
class PackedTokens:
    """Token ids of B sequences in one line.

    Parameters
    ----------
    ids : Tensor of shape (T,)
        Token ids, special tokens included.
    lengths : list of int
        Tokens of each of the B sequences; they add up to T.
    n_prefix : int or Tensor of shape (B,)
        Special tokens before the residues of every sequence, or of each: crops of proteins differ.
    n_suffix : int
        Special tokens after the residues of every sequence.
    offsets : list of int, optional
        Where each sequence begins in its protein, in residues; each 0 begins the next protein. None
        where every sequence is a whole protein.
    max_tokens : int, optional
        Tokens that may go through the layers at once where no gradients are wanted; matters where one
        protein's windows have more.
    n_prompt : int, default=0
        How many of the prefix tokens, the last of them, are those of a prompt, without an id (-1).
    """

    ids: Tensor
    lengths: list[int]
    n_prefix: int | Tensor
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
        return torch.arange(len(self.ids), device=self.device) - self.spread(self.starts)

    def spread(self, of_sequence: int | Tensor) -> int | Tensor:
        """A value per sequence, (B,), given to all its tokens, (T,); one value for all stays as it is."""
        if isinstance(of_sequence, int):
            return of_sequence
        return torch.repeat_interleave(of_sequence, self.lengths_tensor, output_size=len(self.ids))

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
        n = self.n_prefix
        prefixes = [n] * len(self.lengths) if isinstance(n, int) else n.tolist()
        return [length - n - self.n_suffix for length, n in zip(self.lengths, prefixes, strict=True)]

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
        """The same sequences with a prompt of ``n`` tokens after the prefix of each."""
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
        end = self.spread(self.n_prefix)
        is_prompt = (self.positions >= end - self.n_prompt) & (self.positions < end)
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


def insert(values: Tensor, learned: Tensor, tokens: PackedTokens, *, at: int | Tensor) -> Tensor:
    """Put the same P learned values into every sequence: (T, ...) to (T + B * P, ...).

    They stand before its token ``at``, one number for all sequences or one for each (B,).
    """
    n, n_sequences, device = len(learned), len(tokens.lengths), tokens.device
    earlier = torch.arange(n_sequences, device=device) * n  # learned values before each sequence
    own, steps = torch.arange(len(values), device=device), torch.arange(n, device=device)
    order = torch.empty(len(values) + n_sequences * n, dtype=torch.long, device=device)
    order[own + tokens.spread(earlier) + n * (tokens.positions >= tokens.spread(at))] = own
    place = (tokens.starts + earlier + at)[:, None] + steps
    order[place.flatten()] = (len(values) + steps).repeat(n_sequences)
    return torch.cat([values, learned]).index_select(0, order)


@dataclass(frozen=True)
class Encoded:
    """What an encoder made of a batch.

    Parameters
    ----------
    residues : Ragged of shape (R, D)
        One vector per residue of P proteins; special tokens are gone.
    first : Tensor of shape (P, D) or None
        The vector of each protein's first token (``<cls>`` where the backbone has one), None where no
        token stands before the residues; of windows, their mean by the residues that each stands for.
    """

    residues: Ragged
    first: Tensor | None


def unpack(hidden: Tensor, tokens: PackedTokens) -> Encoded:
    """Encoder output of shape (T, D), parted into residues and first tokens of whole proteins."""
    residues, first = hidden[tokens.residue_index], hidden[tokens.starts]
    if tokens.offsets is not None:
        blend = Blend(tokens.offsets, tokens.residues_of_each, tokens.device)
        residues, first = blend.residues(residues), blend.sequences(first)
    return Encoded(Ragged(residues, tokens.residue_lengths), first if tokens.n_prefix else None)
