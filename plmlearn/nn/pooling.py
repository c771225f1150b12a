"""From one vector per residue to one per protein.

A pooling is built for residues of width D. It is a module from :class:`Encoded` to (P, W), where
``width`` is W. Special tokens are gone before they get here and there is no padding, so no pooling
needs a mask. A new pooling is one class and one entry in :data:`POOLINGS`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .packing import Encoded
from .ragged import Ragged


class Pooling(nn.Module):
    """Base class of all poolings.

    Parameters
    ----------
    width : int
        Width W of the vectors that it makes. Concrete poolings take the width D of residues.
    """

    width: int

    def __init__(self, width: int):
        super().__init__()
        self.width = width


class MeanPooling(Pooling):
    """Mean over residues, (P, D)."""

    def forward(self, encoded: Encoded) -> Tensor:
        return _residues(encoded).means()


class MaxPooling(Pooling):
    """Largest value of each feature over residues, (P, D)."""

    def forward(self, encoded: Encoded) -> Tensor:
        return _residues(encoded).maxima()


class ClsPooling(Pooling):
    """The vector of the first token, ``<cls>``, (P, D)."""

    def forward(self, encoded: Encoded) -> Tensor:
        if encoded.first is None:
            raise ValueError("This backbone has no token before the residues; pass pooling='mean'.")
        return encoded.first


class AttentionPooling(Pooling):
    """Weighted mean over residues, (P, D); a learned linear score per residue gives the weights."""

    def __init__(self, width: int):
        super().__init__(width)
        self.score = nn.Linear(width, 1)

    def forward(self, encoded: Encoded) -> Tensor:
        residues = _residues(encoded)
        return residues.weighted_means(residues.with_values(self.score(residues.values).float()))


class LightAttentionPooling(Pooling):
    """Light attention: a weighted mean and a maximum over residues, (P, 2 D).

    Two convolutions along the sequence make values and, for each feature separately, scores. A softmax
    over the residues turns scores into weights of the values. The maximum of the values joins their mean.

    References
    ----------
    Staerk et al., Light attention predicts protein location from the language of life, Bioinformatics
    Advances 2021, doi:10.1093/bioadv/vbab035
    """

    KERNEL = 9
    DROPOUT = 0.25

    def __init__(self, width: int):
        super().__init__(2 * width)
        self.value = nn.Conv1d(width, width, self.KERNEL)
        self.score = nn.Conv1d(width, width, self.KERNEL)
        self.dropout = nn.Dropout(self.DROPOUT)

    def forward(self, encoded: Encoded) -> Tensor:
        residues = _residues(encoded)
        values, scores = (residues.convolved(conv).float() for conv in (self.value, self.score))
        return light_attention(values.with_values(self.dropout(values.values)), scores)


def light_attention(values: Ragged, scores: Ragged) -> Tensor:
    """Mean of values (R, W) by the softmax of scores (R, W), and their maximum, by protein: (P, 2 W)."""
    return torch.cat([values.weighted_means(scores), values.maxima()], dim=1)


POOLINGS: dict[str, type[Pooling]] = {
    "mean": MeanPooling,
    "max": MaxPooling,
    "cls": ClsPooling,
    "attention": AttentionPooling,
    "light_attention": LightAttentionPooling,
}


def _residues(encoded: Encoded) -> Ragged:
    return Ragged(encoded.residues, encoded.lengths)
