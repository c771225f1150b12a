"""Values of residues: several rows of different lengths in one tensor, none of it padding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ragged:
    """One entry per residue of N rows, row behind row.

    Parameters
    ----------
    values : Tensor of shape (R, ...)
        Entries of all R residues.
    lengths : list of int
        Residues of each row; they add up to R.
    """

    values: Tensor
    lengths: list[int]

    @classmethod
    def of(cls, rows: Sequence[Tensor]) -> Ragged:
        """Rows of shape (L, ...) one behind the other."""
        return cls(torch.cat(list(rows)), [len(row) for row in rows])

    @classmethod
    def joined(cls, parts: Sequence[Ragged]) -> Ragged:
        """The rows of several, in their order."""
        return cls(torch.cat([part.values for part in parts]), [n for part in parts for n in part.lengths])

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def rows(self) -> tuple[Tensor, ...]:
        """Each row's entries, (L, ...)."""
        return self.values.split(self.lengths)

    def take(self, rows: Iterable[int]) -> Ragged:
        """Some rows, in the order asked for; a row may be asked for more than once."""
        chosen = [int(row) for row in rows]
        if chosen == list(range(len(self))):
            return self
        every = self.rows
        return Ragged.of([every[row] for row in chosen])

    def with_values(self, values: Tensor) -> Ragged:
        """Other entries for the same residues."""
        return replace(self, values=values)

    def to(self, device: torch.device) -> Ragged:
        return self.with_values(self.values.to(device))

    def float(self) -> Ragged:
        return self.with_values(self.values.float())

    def sums(self) -> Tensor:
        """Sum over the residues of each row, (N, ...)."""
        return self._reduce("sum")

    def maxima(self) -> Tensor:
        """Largest entry of each row, (N, ...)."""
        return self._reduce("max")

    def spread(self, of_row: Tensor) -> Tensor:
        """An entry per row, (N, ...), given to all residues of the row, (R, ...)."""
        lengths = torch.tensor(self.lengths, device=of_row.device)
        return torch.repeat_interleave(of_row, lengths, dim=0, output_size=len(self.values))

    def softmax(self) -> Ragged:
        """Entries in proportion to their exponentials, adding up to 1 over each row."""
        highest = self.with_values(self.values.detach()).maxima()
        weights = self.with_values((self.values - self.spread(highest)).exp())
        return weights.with_values(weights.values / weights.spread(weights.sums()))

    def _reduce(self, how: str) -> Tensor:
        lengths = torch.tensor(self.lengths, device=self.values.device)
        return torch.segment_reduce(self.values, how, lengths=lengths, axis=0)

    def padded(self) -> tuple[Tensor, Tensor]:
        """(N, L, ...) with zeros behind each row's end, and the mask (N, L): True = residue."""
        padded = torch.nn.utils.rnn.pad_sequence(list(self.rows), batch_first=True)
        positions = torch.arange(padded.shape[1], device=padded.device)
        return padded, positions < torch.tensor(self.lengths, device=padded.device)[:, None]
