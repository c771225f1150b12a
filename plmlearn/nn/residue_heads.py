"""From a vector per residue (R, D) to outputs per residue (R, C).

A head is a module built as ``Head(width, n_outputs, hidden, dropout)`` and called with
:class:`Ragged` features (R, D). Heads that look at neighbours never look across the border of a
protein, so no output depends on the rest of the batch. A new head is one class and one entry in
:data:`RESIDUE_HEADS`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .models import LinearHead, MlpHead, light_attention
from .packing import Ragged


class ResidueLinear(LinearHead):
    """Dropout, dense; each residue separately."""

    def forward(self, features: Ragged) -> Tensor:
        return super().forward(features.values)


class ResidueMlp(MlpHead):
    """Layer norm, dense, ReLU, dropout, dense; each residue separately."""

    def forward(self, features: Ragged) -> Tensor:
        return super().forward(features.values)


class ResidueCnn(nn.Module):
    """Two convolutions over 7 residues each, as in SETH: 28 channels, tanh, dropout, outputs.

    References
    ----------
    Ilzhöfer, Heinzinger and Rost (2022), doi:10.3389/fbinf.2022.1019597
    """

    KERNEL = 7

    def __init__(self, width: int, n_outputs: int, hidden: int | None, dropout: float):
        super().__init__()
        hidden = hidden or 28
        self.first = nn.Conv1d(width, hidden, self.KERNEL, padding=self.KERNEL // 2)
        self.dropout = nn.Dropout(dropout)
        self.second = nn.Conv1d(hidden, n_outputs, self.KERNEL, padding=self.KERNEL // 2)

    def forward(self, features: Ragged) -> Tensor:
        hidden = self.dropout(torch.tanh(features.convolved(self.first).values))
        return features.with_values(hidden).convolved(self.second).values


class ResidueLightAttention(nn.Module):
    """Light attention, read out at every residue.

    One convolution over 9 residues makes values, another one scores. The values of a protein are
    averaged by the softmax of the scores over its residues, each channel separately. The outputs of a
    residue come from its own values, that average and the maximum of the protein's values.

    References
    ----------
    Stärk, Dallago, Heinzinger and Rost (2021), doi:10.1093/bioadv/vbab035
    """

    KERNEL = 9

    def __init__(self, width: int, n_outputs: int, hidden: int | None, dropout: float):
        super().__init__()
        hidden = hidden or 64
        self.values = nn.Conv1d(width, hidden, self.KERNEL, padding=self.KERNEL // 2)
        self.scores = nn.Conv1d(width, hidden, self.KERNEL, padding=self.KERNEL // 2)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(3 * hidden, n_outputs)

    def forward(self, features: Ragged) -> Tensor:
        values, scores = (features.convolved(conv).float() for conv in (self.values, self.scores))
        of_protein = values.spread(light_attention(values, scores))
        return self.out(self.dropout(torch.cat([values.values, of_protein], dim=1)))


class StartBias(nn.Module):
    """A learned bias on the outputs of each protein's first residue, by the group of the protein.

    Below a CRF it shifts the odds of the paths that a protein may take, as prior knowledge would.

    Parameters
    ----------
    n_groups, n_outputs : int
    gain : float, default=10
        Factor on the bias. An optimiser moves all numbers by like amounts, and log-odds have farther to
        go than weights.
    """

    def __init__(self, n_groups: int, n_outputs: int, gain: float = 10.0):
        super().__init__()
        self.gain = gain
        self.bias = nn.Parameter(torch.zeros(n_groups, n_outputs))

    def forward(self, outputs: Ragged, group: Tensor) -> Ragged:
        """Outputs (R, C) of N proteins in groups (N,), with -1 for a protein of unknown group."""
        known = (group >= 0).unsqueeze(1)
        bias = torch.where(known, self.gain * self.bias[group.clamp(min=0)], 0.0)
        values = outputs.values.index_add(0, outputs.starts, bias.to(outputs.values.dtype))
        return outputs.with_values(values)


RESIDUE_HEADS: dict[str, type[nn.Module]] = {
    "linear": ResidueLinear,
    "mlp": ResidueMlp,
    "cnn": ResidueCnn,
    "light_attention": ResidueLightAttention,
    "crf": ResidueLinear,  # below a CRF, which ResidueModel holds
}


def make_residue_head(name: str, width: int, n_outputs: int, hidden: int | None, dropout: float) -> nn.Module:
    """A head by name; initial values come from torch's global random state."""
    return RESIDUE_HEADS[name](width, n_outputs, hidden, dropout)
