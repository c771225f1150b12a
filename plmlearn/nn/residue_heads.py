"""From a vector per residue (R, D) to outputs per residue (R, C).

A head is a module built as ``Head(width, n_outputs, hidden, dropout)`` that is given :class:`Ragged`
features, sequence behind sequence. Those that look at neighbours never look across the border of a
sequence, so no output depends on what else is in the batch. A new head is one class and one entry in
:data:`RESIDUE_HEADS`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .heads import LinearHead, MlpHead
from .ragged import Ragged


class ResidueLinear(LinearHead):
    """Dropout, dense; each residue by itself."""

    def forward(self, features: Ragged) -> Tensor:
        return super().forward(features.values)


class ResidueMlp(MlpHead):
    """Layer norm, dense, ReLU, dropout, dense; each residue by itself."""

    def forward(self, features: Ragged) -> Tensor:
        return super().forward(features.values)


class PackedConv(nn.Module):
    """Convolution along each sequence of a packed row, as if every sequence had zeros around it.

    Parameters
    ----------
    width, n_outputs : int
        Channels in and out.
    size : int
        Residues that an output sees, an odd number.
    """

    def __init__(self, width: int, n_outputs: int, size: int):
        super().__init__()
        self.conv = nn.Conv1d(width, n_outputs, size, padding=size // 2)

    def forward(self, features: Ragged) -> Tensor:
        values, gap = features.values, self.conv.kernel_size[0] // 2
        sequence = features.spread(torch.arange(len(features), device=values.device))
        place = torch.arange(len(values), device=values.device) + gap * sequence
        spaced = values.new_zeros(len(values) + gap * (len(features) - 1), values.shape[1])
        spaced = spaced.index_copy(0, place, values)
        return self.conv(spaced.T[None])[0].T[place]


class ResidueCnn(nn.Module):
    """Two convolutions over 7 residues each, as in SETH: 28 channels, tanh, dropout, outputs.

    References
    ----------
    Ilzhöfer, Heinzinger and Rost (2022), doi:10.3389/fbinf.2022.1019597
    """

    def __init__(self, width: int, n_outputs: int, hidden: int | None, dropout: float):
        super().__init__()
        hidden = hidden or 28
        self.first = PackedConv(width, hidden, 7)
        self.dropout = nn.Dropout(dropout)
        self.second = PackedConv(hidden, n_outputs, 7)

    def forward(self, features: Ragged) -> Tensor:
        hidden = self.dropout(torch.tanh(self.first(features)))
        return self.second(features.with_values(hidden))


class ResidueLightAttention(nn.Module):
    """Light attention, read out at every residue.

    One convolution over 9 residues makes values, another one scores; the values of a protein are
    averaged by the softmax of the scores over its residues, channel by channel. Each residue's outputs
    come from its own values together with that summary of its protein and with their maximum.

    References
    ----------
    Stärk, Dallago, Heinzinger and Rost (2021), doi:10.1093/bioadv/vbab035
    """

    def __init__(self, width: int, n_outputs: int, hidden: int | None, dropout: float):
        super().__init__()
        hidden = hidden or 64
        self.values = PackedConv(width, hidden, 9)
        self.scores = PackedConv(width, hidden, 9)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(3 * hidden, n_outputs)

    def forward(self, features: Ragged) -> Tensor:
        values = features.with_values(self.values(features).float())
        share = features.with_values(self.scores(features).float()).softmax()
        summary = values.with_values(share.values * values.values).sums()
        protein = torch.cat([summary, values.maxima()], dim=1)
        return self.out(self.dropout(torch.cat([values.values, features.spread(protein)], dim=1)))


class StartBias(nn.Module):
    """A learned bias on the outputs of each protein's first residue, by the group that a protein is in.

    Below a CRF it shifts the odds of the paths that a protein may take, as prior knowledge would.

    Parameters
    ----------
    n_groups, n_outputs : int
    gain : float, default=10
        On the bias: an optimiser moves all numbers alike, and log-odds have farther to go than weights.
    """

    def __init__(self, n_groups: int, n_outputs: int, gain: float = 10.0):
        super().__init__()
        self.gain = gain
        self.bias = nn.Parameter(torch.zeros(n_groups, n_outputs))

    def forward(self, outputs: Ragged, group: Tensor) -> Ragged:
        """Outputs (R, C) of N proteins in groups (N,), -1 for a protein whose group is not known."""
        known = (group >= 0).unsqueeze(1)
        bias = torch.where(known, self.gain * self.bias[group.clamp(min=0)], 0.0)
        lengths = torch.tensor(outputs.lengths, device=group.device)
        first = lengths.cumsum(0) - lengths
        return outputs.with_values(outputs.values.index_add(0, first, bias.to(outputs.values.dtype)))


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
