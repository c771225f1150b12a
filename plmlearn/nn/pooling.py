"""From one vector per residue to one per protein.

Every pooling is a module from :class:`Encoded` to (B, D). Special tokens are gone before they get
here, and there is no padding, so none of them needs a mask. A new pooling is one class and one
entry in :data:`POOLINGS`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .packing import Encoded


class MeanPooling(nn.Module):
    """Mean over residues."""

    def __init__(self, width: int):
        super().__init__()

    def forward(self, encoded: Encoded) -> Tensor:
        return _reduce(encoded.residues, encoded.lengths, "mean")


class MaxPooling(nn.Module):
    """Largest value of each feature over residues."""

    def __init__(self, width: int):
        super().__init__()

    def forward(self, encoded: Encoded) -> Tensor:
        return _reduce(encoded.residues, encoded.lengths, "max")


class ClsPooling(nn.Module):
    """The vector of the first token, ``<cls>``."""

    def __init__(self, width: int):
        super().__init__()

    def forward(self, encoded: Encoded) -> Tensor:
        return encoded.first


class AttentionPooling(nn.Module):
    """Weighted mean over residues; a learned linear score per residue gives the weights."""

    def __init__(self, width: int):
        super().__init__()
        self.score = nn.Linear(width, 1)

    def forward(self, encoded: Encoded) -> Tensor:
        score = self.score(encoded.residues).float()
        repeats = torch.tensor(encoded.lengths, device=score.device)
        n_residues = len(score)

        def spread(x: Tensor) -> Tensor:
            return torch.repeat_interleave(x, repeats, dim=0, output_size=n_residues)

        highest = _reduce(score.detach(), encoded.lengths, "max")
        weight = (score - spread(highest)).exp()
        weight = weight / spread(_reduce(weight, encoded.lengths, "sum"))
        return _reduce(weight * encoded.residues, encoded.lengths, "sum")


POOLINGS: dict[str, type[nn.Module]] = {
    "mean": MeanPooling,
    "max": MaxPooling,
    "cls": ClsPooling,
    "attention": AttentionPooling,
}


def _reduce(values: Tensor, lengths: list[int], how: str) -> Tensor:
    return torch.segment_reduce(values, how, lengths=torch.tensor(lengths, device=values.device), axis=0)
