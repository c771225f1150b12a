"""From one vector per residue to one per protein.

Every pooling is built for a width D of residues, and is a module from :class:`Encoded` to (P, W),
``width`` being W. Special tokens are gone before they get here, and there is no padding, so none of
them needs a mask. A new pooling is one class and one entry in :data:`POOLINGS`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .packing import Encoded


class Pooling(nn.Module):
    """What every pooling is.

    Parameters
    ----------
    width : int
        Of the vectors that it makes; concrete poolings take that of residues.
    """

    width: int

    def __init__(self, width: int):
        super().__init__()
        self.width = width


class MeanPooling(Pooling):
    """Mean over residues."""

    def forward(self, encoded: Encoded) -> Tensor:
        return _reduce(encoded.residues, encoded.lengths, "mean")


class MaxPooling(Pooling):
    """Largest value of each feature over residues."""

    def forward(self, encoded: Encoded) -> Tensor:
        return _reduce(encoded.residues, encoded.lengths, "max")


class ClsPooling(Pooling):
    """The vector of the first token, ``<cls>``."""

    def forward(self, encoded: Encoded) -> Tensor:
        if encoded.first is None:
            raise ValueError("This backbone has no token before the residues; pass pooling='mean'.")
        return encoded.first


class AttentionPooling(Pooling):
    """Weighted mean over residues; a learned linear score per residue gives the weights."""

    def __init__(self, width: int):
        super().__init__(width)
        self.score = nn.Linear(width, 1)

    def forward(self, encoded: Encoded) -> Tensor:
        weight = _softmax(self.score(encoded.residues), encoded.lengths)
        return _reduce(weight * encoded.residues, encoded.lengths, "sum")


class LightAttentionPooling(Pooling):
    """Light attention: a weighted mean and a maximum over residues, (P, 2 D).

    Two convolutions along the sequence make values and, for each feature by itself, scores; a softmax
    over the residues weighs the values. Their maximum is put beside the mean.

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
        row, place = self._spaced(encoded)
        value, score = (convolve(row)[0].T[place].float() for convolve in (self.value, self.score))
        value = self.dropout(value)
        mean = _reduce(_softmax(score, encoded.lengths) * value, encoded.lengths, "sum")
        return torch.cat([mean, _reduce(value, encoded.lengths, "max")], dim=-1)

    def _spaced(self, encoded: Encoded) -> tuple[Tensor, Tensor]:
        """All proteins in one row (1, D, N) with zeros between them, and where each residue comes out."""
        gap, device = self.KERNEL // 2, encoded.residues.device
        lengths = torch.tensor(encoded.lengths, device=device)
        protein = torch.repeat_interleave(
            torch.arange(len(lengths), device=device), lengths, output_size=len(encoded.residues)
        )
        place = torch.arange(len(protein), device=device) + gap * protein
        n_columns = len(protein) + gap * (len(lengths) + 1)
        row = encoded.residues.new_zeros(n_columns, encoded.residues.shape[1])
        return row.index_copy(0, place + gap, encoded.residues).T[None], place


POOLINGS: dict[str, type[Pooling]] = {
    "mean": MeanPooling,
    "max": MaxPooling,
    "cls": ClsPooling,
    "attention": AttentionPooling,
    "light_attention": LightAttentionPooling,
}


def _reduce(values: Tensor, lengths: list[int], how: str) -> Tensor:
    return torch.segment_reduce(values, how, lengths=torch.tensor(lengths, device=values.device), axis=0)


def _softmax(score: Tensor, lengths: list[int]) -> Tensor:
    """Softmax of (R, ...) scores over the residues of each protein, in float32."""
    score = score.float()
    repeats = torch.tensor(lengths, device=score.device)

    def spread(x: Tensor) -> Tensor:
        return torch.repeat_interleave(x, repeats, dim=0, output_size=len(score))

    weight = (score - spread(_reduce(score.detach(), lengths, "max"))).exp()
    return weight / spread(_reduce(weight, lengths, "sum"))
