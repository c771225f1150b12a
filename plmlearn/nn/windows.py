"""Windows: how a long protein is cut, and how what is known of its windows becomes one protein again.

Attention costs the square of a sequence's length. Cut into overlapping windows, a protein of any
length is read with the memory of one window at a time, and every residue is seen with neighbours on
both sides.

Shapes: B windows of P proteins, W residues of all windows together, R of all proteins, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def cut(n_residues: int, size: int) -> list[tuple[int, int]]:
    """First and last residue (exclusive) of each window of a protein.

    Windows have at most ``size`` residues, are of one length, evenly spaced, and neighbours share a
    quarter of ``size`` or more. There are no more of them than that takes, and they are no longer.

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
    """A weight for every residue of every window; those of one residue of a protein add up to 1.

    The weight falls linearly towards a cut: there a residue lacks its neighbours, and the other
    window, which has them, counts for more.

    Parameters
    ----------
    offsets : list of int
        Where each of B windows begins in its protein; each 0 begins the next protein.
    n_residues : list of int
        Residues of each window.
    device : torch.device
    """

    def __init__(self, offsets: list[int], n_residues: list[int], device: torch.device):
        begin = torch.tensor(offsets, device=device)
        self.of_window = torch.tensor(n_residues, device=device)
        self.lengths = torch.tensor(whole_lengths(offsets, n_residues), device=device)
        self.n_whole = sum(whole_lengths(offsets, n_residues))
        self.protein = (begin == 0).cumsum(0) - 1
        n_all = sum(n_residues)

        def spread(x: Tensor) -> Tensor:
            return torch.repeat_interleave(x, self.of_window, output_size=n_all)

        position = torch.arange(n_all, device=device) - spread(self.of_window.cumsum(0) - self.of_window)
        is_last = begin + self.of_window == self.lengths[self.protein]
        left, right = position + 1, spread(self.of_window) - position
        height = torch.minimum(
            left.masked_fill(spread(begin == 0), n_all), right.masked_fill(spread(is_last), n_all)
        ).float()
        before = self.lengths.cumsum(0) - self.lengths
        self.place = spread(before[self.protein] + begin) + position
        total = height.new_zeros(self.n_whole).index_add_(0, self.place, height)
        self.weights = height / total[self.place]

    def residues(self, values: Tensor) -> Tensor:
        """Residues of windows (W, D) to residues of proteins (R, D)."""
        out = values.new_zeros(self.n_whole, values.shape[-1])
        return out.index_add(0, self.place, values * self.weights[:, None])

    def sequences(self, values: Tensor) -> Tensor:
        """One vector per window (B, D) to one per protein (P, D): their mean, by residues stood for."""
        share = torch.segment_reduce(self.weights, "sum", lengths=self.of_window)
        share = share / self.lengths[self.protein]
        out = values.new_zeros(len(self.lengths), values.shape[-1])
        return out.index_add(0, self.protein, values * share[:, None])
