"""The model that scores variants: log-probabilities of residues, and which of them each variant adds up.

Shapes: R rows (sites of views of proteins), V tokens of the vocabulary, N variants, M terms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..nn.encoders import PackedEncoder
from ..nn.models import FeatureScaler
from ..nn.packing import PackedTokens, Ragged
from ..pretraining.language_head import LanguageHead, MaskedLanguageModel


@dataclass(frozen=True)
class PackedViews:
    """Proteins, some residues hidden, and the tokens of them to predict.

    Parameters
    ----------
    tokens : PackedTokens
    places : Tensor of int, shape (R,)
        In the row of all tokens.
    counts : list of int
        Places of each protein; they add up to R.
    """

    tokens: PackedTokens
    places: Tensor
    counts: list[int]


@dataclass(frozen=True)
class Terms:
    """Log-probabilities whose signed sums are the scores of N variants.

    Parameters
    ----------
    n_variants : int
    variant, row, token : Tensor of int, shape (M,)
        Which variant adds the log-probability of which token in which row.
    sign : Tensor of shape (M,)
        1, or -1 for what is subtracted.
    base_row, base_token : Tensor of int, shape (B,)
        What is subtracted from all: the wild type's own log-likelihood, where it has one.
    reference : Tensor of shape (R, V), optional
        The log-probabilities of the untuned model.
    """

    n_variants: int
    variant: Tensor
    row: Tensor
    token: Tensor
    sign: Tensor
    base_row: Tensor
    base_token: Tensor
    reference: Tensor | None = None

    def to(self, device: torch.device) -> Terms:
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


class FitnessModel(nn.Module):
    """Scores of variants by an encoder and its language head.

    Encoding views of proteins and scoring variants are two steps, so that a view of many variants, such as
    the wild type, is encoded once.

    Parameters
    ----------
    encoder : PackedEncoder
        Backbone with its adapter.
    lm_head : LanguageHead
    first_token : int
        Id of the special token before the residues.
    """

    per_residue = True

    def __init__(self, encoder: PackedEncoder, lm_head: LanguageHead, first_token: int):
        super().__init__()
        self.encoder = encoder
        self.lm_head = lm_head
        self.first_token = first_token
        self.scaler = FeatureScaler(1)

    @property
    def below(self) -> tuple[nn.Module, ...]:
        """What makes of a protein's tokens the values that variants are scored by."""
        return self.encoder, self.lm_head

    @property
    def language_model(self) -> MaskedLanguageModel:
        """The same encoder and head, as a language model."""
        return MaskedLanguageModel(self.encoder, self.lm_head, self.first_token)

    def embed(self, views: PackedViews) -> Ragged:
        """Log-probabilities at the places of each view, (R, V) in float32."""
        return Ragged(F.log_softmax(self.language_model(views.tokens, views.places), -1), views.counts)

    def forward(self, rows: Ragged, terms: Terms) -> Tensor:
        """Scores of N variants in nats, and how far their model is from the untuned one, (N, 2).

        The second is the mean Kullback-Leibler divergence of the rows, the same for all variants; 0 without
        a reference.
        """
        logs = rows.values
        scores = logs.new_zeros(terms.n_variants)
        scores = scores.index_add(0, terms.variant, logs[terms.row, terms.token] * terms.sign)
        scores = scores - logs[terms.base_row, terms.base_token].sum()
        divergence = logs.new_zeros(())
        if terms.reference is not None:
            divergence = F.kl_div(logs, terms.reference, reduction="none", log_target=True).sum(1).mean()
        return torch.stack([scores, divergence.expand_as(scores)], dim=1)
