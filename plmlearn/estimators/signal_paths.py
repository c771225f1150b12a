"""The model, the loss and the decoder of signal peptides: paths through :mod:`.signal_states`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..nn.crf import LinearChainCRF
from ..nn.encoders import PackedEncoder
from ..nn.models import ResidueModel
from ..nn.packing import Ragged
from ..nn.residue_heads import StartBias
from ..sequences import ALPHABET
from .signal_states import STATES, TYPES
from .targets import ClassTarget

KINGDOMS = ("ARCHAEA", "EUKARYA", "NEGATIVE", "POSITIVE")
# Neighbouring regions whose compositions the regulariser drives apart, as indices of states.
_NEIGHBOURS = [
    (a, b)
    for a, (kind, region) in enumerate(STATES)
    for b, (other, following) in enumerate(STATES)
    if kind == other and region + following in ("nh", "xh", "hc", "hl")
]


class SignalPeptideModel(ResidueModel):
    """Emissions of the states of :mod:`.signal_states`, a CRF over them, and a bias for each kingdom."""

    def __init__(self, encoder: PackedEncoder, head: nn.Module):
        super().__init__(encoder, head)
        self.crf: LinearChainCRF = LinearChainCRF(len(STATES))
        self.kingdoms = StartBias(len(KINGDOMS), len(STATES))


@dataclass
class SignalPeptideTarget(ClassTarget):
    """Types of signal peptides, through the states of their chains."""

    @property
    def n_outputs(self) -> int:
        return len(STATES)


@dataclass(frozen=True)
class SignalPeptideDecoder:
    """How emissions become types, with the kingdoms of their proteins."""

    model: SignalPeptideModel
    target: SignalPeptideTarget
    kingdoms: np.ndarray  # index of each protein's kingdom, -1 = not known

    @property
    def classes(self) -> np.ndarray:
        return self.target.classes

    @torch.no_grad()
    def emissions(self, outputs: Ragged) -> Ragged:
        prior = self.model.kingdoms
        device = prior.bias.device
        return prior(outputs.to(device), torch.from_numpy(self.kingdoms).to(device))

    def states(self, outputs: Ragged) -> Ragged:
        """Probability of each state at each residue, (R, S)."""
        return self.model.probabilities(self.emissions(outputs))

    def probabilities(self, outputs: Ragged) -> np.ndarray:
        """Probability of each type, (N, n_types): of all paths through its chain."""
        first = np.stack([row[0].numpy() for row in self.states(outputs).rows]).astype(np.float64)
        of_type = first @ (TYPES[:, None] == self.classes)
        return of_type / of_type.sum(axis=1, keepdims=True)

    def decode(self, outputs: Ragged) -> np.ndarray:
        return self.classes[self.probabilities(outputs).argmax(axis=1)]

    def paths(self, outputs: Ragged) -> list[np.ndarray]:
        """States along the most probable path of each protein's type."""
        elsewhere = torch.from_numpy(self.decode(outputs)[:, None] != TYPES)
        emissions = self.emissions(outputs).to(torch.device("cpu"))
        lengths = torch.tensor(emissions.lengths)
        first = lengths.cumsum(0) - lengths
        values = emissions.values.clone()
        values[first] = values[first].masked_fill(elsewhere, -torch.inf)
        return [row.numpy() for row in self.model.labels(emissions.with_values(values)).rows]


class PathLoss:
    """Negative log-likelihood of all that a protein's states may be, and the similarity of its regions.

    Targets are what :func:`as_codes` made: states that each residue may be in, its letter, and the kingdom.
    """

    def __init__(self, model: SignalPeptideModel, composition_weight: float):
        self.model, self.crf, self.composition_weight = model, model.crf, composition_weight
        self.first, self.second = torch.tensor(_NEIGHBOURS, device=model.kingdoms.bias.device).T

    def __call__(self, outputs: Ragged, targets: Ragged) -> Tensor:
        codes, _ = targets.padded()
        kingdom = codes[:, 0, -1].long() - 1
        emissions, mask = self.model.kingdoms(outputs, kingdom).padded()
        allowed, letters = codes[..., : len(STATES)].bool(), codes[..., -2].long()
        loss = -self.crf.log_probability(emissions, allowed, mask)
        if self.composition_weight == 0:
            return loss
        return loss + self.composition_weight * self._similarity(emissions, mask, allowed, letters)

    def _similarity(self, emissions: Tensor, mask: Tensor, allowed: Tensor, letters: Tensor) -> Tensor:
        """Mean cosine of the expected compositions of neighbouring regions, (B,); 0 without such regions."""
        is_letter = nn.functional.one_hot(letters, len(ALPHABET) + 1)[..., :-1].to(emissions.dtype)
        marginals = self.crf.marginals(emissions, mask)
        composition = nn.functional.normalize(marginals.transpose(1, 2) @ is_letter, dim=2)
        cosine = (composition[:, self.first] * composition[:, self.second]).sum(2)
        possible = allowed.any(1)
        own = possible[:, self.first] & possible[:, self.second]
        return (cosine * own).sum(1) / own.sum(1).clamp(min=1)


def as_codes(states: np.ndarray, sequence: str, kingdom: int) -> Tensor:
    """Of each residue: which states it may be in, its letter, the kingdom from 1; uint8 (L, S + 2)."""
    letters = [ALPHABET.find(letter) % (len(ALPHABET) + 1) for letter in sequence]
    return torch.from_numpy(
        np.column_stack([states, letters, np.full(len(letters), kingdom + 1)]).astype(np.uint8)
    )
