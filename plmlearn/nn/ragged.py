"""Ragged tensors: values of residues of several proteins in one tensor, none of it padding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn


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
        """The rows of several, in their order."""
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
