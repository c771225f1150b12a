"""Windows: how a long protein is cut, and how values of its windows become those of one protein again.

Attention costs the square of a sequence's length. In overlapping windows, a protein of any length is
read with the memory of one window at a time, and every residue is seen with neighbours on both sides.

Shapes: B windows of P proteins, W residues of all windows together, R of all proteins, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .ragged import Ragged


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
