"""From two proteins to one vector of outputs: ways to combine them, and the model around that.

What the encoder makes of each distinct protein of a batch comes as :class:`Ragged`, one vector per
protein or several; a combination takes that and N pairs of indices to (N, F). A new combination is
one class and one entry in :data:`COMBINATIONS`.

Shapes: B distinct proteins, N pairs, D width of the encoder, W width of what stands for a protein.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from .encoders import PackedEncoder
from .models import PooledModel, Pooling
from .packing import Encoded, Ragged


class Combination(nn.Module, ABC):
    """How two proteins become one vector of ``width`` features.

    Parameters
    ----------
    width : int
        Width D of what stands for each protein.
    """

    ordered: ClassVar[bool] = False
    """Whether (a, b) and (b, a) differ."""
    over_residues: ClassVar[bool] = False
    """Whether it reads a vector per residue, made by :class:`ResidueProjection`, not a pooled one."""
    copies: ClassVar[int] = 1
    """Width of the features in multiples of D."""

    def __init__(self, width: int):
        super().__init__()
        self.width_of_each, self.width = width, self.copies * width

    @abstractmethod
    def forward(self, proteins: Ragged, pairs: Tensor) -> Tensor:
        """Features of N pairs of B proteins, (N, F)."""


class PooledCombination(Combination):
    """A combination of two pooled vectors."""

    def forward(self, proteins: Ragged, pairs: Tensor) -> Tensor:
        return self.combine(proteins.values[pairs[:, 0]], proteins.values[pairs[:, 1]])

    @abstractmethod
    def combine(self, first: Tensor, second: Tensor) -> Tensor:
        """(N, D) twice to (N, F)."""


class MeanOfPair(PooledCombination):
    """The mean of the two vectors."""

    def combine(self, first: Tensor, second: Tensor) -> Tensor:
        return (first + second) / 2


class SymmetricPair(PooledCombination):
    """Mean, absolute difference and product of the two vectors."""

    copies = 3

    def combine(self, first: Tensor, second: Tensor) -> Tensor:
        return torch.cat([(first + second) / 2, (first - second).abs(), first * second], dim=1)


class OrderedPair(PooledCombination):
    """One vector after the other: for relations that have a direction."""

    ordered = True
    copies = 2

    def combine(self, first: Tensor, second: Tensor) -> Tensor:
        return torch.cat([first, second], dim=1)


class ResidueProjection(Pooling):
    """Stands where a pooling does, and makes of each residue a thin key and a value, (R, W).

    Parameters
    ----------
    width : int
        Width D of the encoder.
    """

    WIDTH = 64

    def __init__(self, width: int):
        super().__init__(2 * self.WIDTH)
        self.project = nn.Linear(width, 2 * self.WIDTH)

    def forward(self, encoded: Encoded) -> Tensor:
        return self.project(encoded.residues.values)


class CrossAttention(Combination):
    """Each protein's residues look for their like in the other protein.

    A residue of one attends to all of the other by the product of their keys and takes the values it
    finds there. Both directions are averaged over residues and joined with the proteins' own mean
    values: mean of own, mean of found, and mean of the products of own and found.
    """

    over_residues = True

    def __init__(self, width: int):
        super().__init__(width)
        self.width_of_each, self.width = 2 * ResidueProjection.WIDTH, 3 * ResidueProjection.WIDTH

    def forward(self, proteins: Ragged, pairs: Tensor) -> Tensor:
        keys, values = (proteins.with_values(part).rows for part in proteins.values.chunk(2, dim=1))
        own = [value.mean(dim=0) for value in values]
        return torch.stack(
            [self._attend(keys[a], keys[b], values[a], values[b], own[a], own[b]) for a, b in pairs.tolist()]
        )

    @staticmethod
    def _attend(key_a: Tensor, key_b: Tensor, value_a: Tensor, value_b: Tensor, own_a: Tensor, own_b: Tensor):
        """Features of one pair, (F,)."""
        scores = key_a @ key_b.T / ResidueProjection.WIDTH**0.5  # (La, Lb)
        found_in_b = scores.softmax(dim=1).mean(dim=0) @ value_b
        found_in_a = scores.softmax(dim=0).mean(dim=1) @ value_a
        products = own_a * found_in_b + own_b * found_in_a
        return torch.cat([own_a + own_b, found_in_a + found_in_b, products]) / 2


class PairModel(PooledModel):
    """One vector of outputs per pair of proteins, by one encoder.

    Encoding proteins and scoring pairs are two steps, so that a protein of many pairs is encoded once.

    Parameters
    ----------
    encoder : PackedEncoder
        Backbone with its adapter.
    pooling : nn.Module
        One of :data:`plmlearn.nn.models.POOLINGS`, or a :class:`ResidueProjection`.
    combination : Combination
    head : nn.Module
        One of :data:`plmlearn.nn.models.HEADS`, over ``combination.width`` features.
    """

    def __init__(self, encoder: PackedEncoder, pooling: nn.Module, combination: Combination, head: nn.Module):
        super().__init__(encoder, pooling, combination.width_of_each)
        self.combination = combination
        self.head = head
        self.per_residue = combination.over_residues

    def read_out(self, encoded: Encoded) -> Ragged:
        """One vector of width W for each of B proteins, or one per residue."""
        lengths = encoded.residues.lengths if self.per_residue else [1] * len(encoded.residues)
        return Ragged(self.pooling(encoded).float(), lengths)

    @property
    def below(self) -> tuple[nn.Module, ...]:
        """What makes of a protein's tokens the values that pairs are scored by."""
        return self.encoder, self.pooling

    def scale(self, proteins: Ragged) -> Ragged:
        return proteins.with_values(self.scaler(proteins.values))

    def score_pairs(self, scaled: Ragged, pairs: Tensor) -> Tensor:
        """Outputs of N pairs of scaled proteins, (N, C)."""
        return self.head(self.combination(scaled, pairs))

    def forward(self, proteins: Ragged, pairs: Tensor) -> Tensor:
        """Outputs of N pairs, (N, C) in float32.

        Parameters
        ----------
        proteins : Ragged
            Of :meth:`embed`.
        pairs : Tensor of int, shape (N, 2)
            Which of the B proteins each pair has.
        """
        return self.score_pairs(self.scale(proteins), pairs).float()


COMBINATIONS: dict[str, type[Combination]] = {
    "mean": MeanOfPair,
    "symmetric": SymmetricPair,
    "concat": OrderedPair,
    "cross_attention": CrossAttention,
}
