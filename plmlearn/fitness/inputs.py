"""From variants to what the training loop reads: views of proteins, each encoded once, and terms over them.

===================== =============================================== ==================================
strategy              views                                           terms of a variant
===================== =============================================== ==================================
"wt-marginal"         the wild type as it is                          log p(new) - log p(wild type)
"masked-marginal"     the wild type with one mutated site hidden      log p(new) - log p(wild type)
"pseudo-perplexity"   every variant, with each of its residues hidden log p of its own residues
===================== =============================================== ==================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..backbones import Backbone
from ..pretraining.likelihood import View, hide_alone, hide_each, log_probabilities, pack
from ..pretraining.masking import Corpus, Masking
from ..pretraining.mutations import token_of_letter
from ..sequences.variant_table import VariantTable
from ..training.batching import Inputs
from ..training.config import TrainingConfig
from .model import FitnessModel, PackedViews, Terms

Strategy = Literal["wt-marginal", "masked-marginal", "pseudo-perplexity"]


class Views:
    """Distinct views of proteins; each has places to predict, one row per place.

    Parameters
    ----------
    views : list of View
        The number of each is its index.

    Attributes
    ----------
    lengths, residue_lengths, costs : ndarray of int, shape (n_views,)
        Tokens of each.
    counts, first_row : ndarray of int, shape (n_views,)
        Rows of each, and the first of them.
    """

    def __init__(self, views: list[View]):
        self.views = views
        self.lengths = np.array([len(view) for view in views], dtype=np.int64)
        self.residue_lengths = self.costs = self.lengths
        self.counts = np.array([len(view.places) for view in views], dtype=np.int64)
        self.first_row = np.cumsum(self.counts) - self.counts
        self.view_of_row = np.repeat(np.arange(len(views)), self.counts)

    def __len__(self) -> int:
        return len(self.views)

    def pack(
        self, chosen: Sequence[int] | np.ndarray, device: torch.device, max_tokens: int | None = None
    ) -> PackedViews:
        views = [self.views[i] for i in chosen]
        return PackedViews(*pack(views, device), [len(view.places) for view in views])

    def rows_of(self, order: np.ndarray) -> np.ndarray:
        """Rows of some views, in the order in which these were encoded."""
        return _ranges(self.first_row[order], self.counts[order])

    def reference(self, model: FitnessModel, config: TrainingConfig) -> Tensor:
        """Log-probabilities of every row by a model as it is now, (R, V)."""
        found: dict[int, np.ndarray] = {}
        numbered = [replace(view, sequence=i) for i, view in enumerate(self.views)]
        for view, logs in log_probabilities(model.language_model, numbered, config):
            found[view.sequence] = logs.astype(np.float32)
        return torch.from_numpy(np.concatenate([found[i] for i in range(len(self))]))


@dataclass(frozen=True)
class VariantInputs(Inputs):
    """n variants as terms over the rows of views.

    Parameters
    ----------
    sequences : Views
    index : ndarray of int, shape (n,)
        Residues of each variant.
    starts : ndarray of int, shape (n + 1,)
        Where the terms of each variant begin among all.
    row, token, sign : ndarray of shape (M,)
        As in :class:`~plmlearn.fitness.model.Terms`.
    base_row, base_token : ndarray of int, shape (B,)
    reference : Tensor of shape (R, V), optional
    """

    starts: np.ndarray
    row: np.ndarray
    token: np.ndarray
    sign: np.ndarray
    base_row: np.ndarray
    base_token: np.ndarray
    reference: Tensor | None = None

    @property
    def scored_together(self) -> bool:
        return True

    @property
    def n_residues(self) -> np.ndarray:
        return self.index

    @property
    def of_each_sequence(self) -> Inputs:
        return Inputs(self.sequences, np.arange(len(self.sequences)))

    def distinct(self, samples: np.ndarray) -> np.ndarray:
        rows = np.concatenate([self.row[self._terms_of(samples)], self.base_row])
        return np.unique(self.sequences.view_of_row[rows])

    def links(self, samples: np.ndarray, order: np.ndarray) -> Terms:
        chosen, rows = self._terms_of(samples), self.sequences.rows_of(order)
        place = np.zeros(int(self.sequences.counts.sum()), dtype=np.int64)
        place[rows] = np.arange(len(rows))
        n_terms = self.starts[samples + 1] - self.starts[samples]
        arrays = {
            "variant": np.repeat(np.arange(len(samples)), n_terms),
            "row": place[self.row[chosen]],
            "token": self.token[chosen],
            "sign": self.sign[chosen],
            "base_row": place[self.base_row],
            "base_token": self.base_token,
        }
        reference = None if self.reference is None else self.reference[torch.from_numpy(rows)]
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return Terms(len(samples), **tensors, reference=reference)

    def _terms_of(self, samples: np.ndarray) -> np.ndarray:
        return _ranges(self.starts[samples], self.starts[samples + 1] - self.starts[samples])


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Ranges that begin at each start and hold ``counts`` numbers, joined."""
    return np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(int(counts.sum()))


def variant_inputs(
    backbone: Backbone, wild_type: str, variants: np.ndarray, strategy: Strategy
) -> VariantInputs:
    """Written-out variants of a wild type as inputs."""
    if strategy == "pseudo-perplexity":
        return _whole_variants(backbone, wild_type, variants)
    table = VariantTable.read(wild_type, list(variants))
    ids, sites = Corpus(backbone, [wild_type])[0], table.sites
    if not len(sites):  # the wild type alone
        sites = np.array([0])
    places = sites + len(backbone.token_format.prefix)
    views = [View(0, ids, places)]
    if strategy == "masked-marginal":
        views = hide_alone(ids, places, Masking.of(backbone))
    rows = np.searchsorted(sites, table.site)
    starts = 2 * np.searchsorted(table.row, np.arange(table.n_variants + 1))
    new, old = token_of_letter(backbone)[table.letter], ids[places][rows].astype(np.int64)
    none: Any = np.empty(0, dtype=np.int64)
    return VariantInputs(
        Views(views),
        np.full(table.n_variants, len(wild_type)),
        starts,
        np.repeat(rows, 2),
        np.stack([new, old], axis=1).ravel(),
        np.tile(np.array([1, -1], dtype=np.float32), len(rows)),
        none,
        none,
    )


def _whole_variants(backbone: Backbone, wild_type: str, variants: np.ndarray) -> VariantInputs:
    place: dict[str, int] = {wild_type: 0}
    index = np.array([place.setdefault(variant, len(place)) for variant in variants.tolist()])
    corpus = Corpus(backbone, list(place))
    views = hide_each(corpus, Masking.of(backbone))  # one row each, protein by protein
    token = np.array([corpus[view.sequence][view.places[0]] for view in views], dtype=np.int64)
    of_protein = np.searchsorted([view.sequence for view in views], np.arange(len(place) + 1))
    counts = np.diff(of_protein)[index]
    row = _ranges(of_protein[index], counts)
    own = np.arange(of_protein[1])
    return VariantInputs(
        Views(views),
        np.array([len(variant) for variant in variants.tolist()]),
        np.concatenate([[0], np.cumsum(counts)]),
        row,
        token[row],
        np.ones(len(row), dtype=np.float32),
        own,
        token[own],
    )
