"""How a masked language model judges variants of a protein, in nats against its wild type.

``marginal_ratios``   sums over substituted sites, from the wild type alone
``pseudo_ratios``     whole variants of any length, each residue hidden alone
"""

from __future__ import annotations

import numpy as np

from ..backbones import Backbone
from ..sequences.variant_table import VariantTable
from ..training.config import TrainingConfig
from .language_head import MaskedLanguageModel
from .likelihood import pseudo_log_likelihoods, site_log_probabilities
from .masking import Corpus, Masking


def marginal_ratios(
    model: MaskedLanguageModel,
    backbone: Backbone,
    config: TrainingConfig,
    table: VariantTable,
    *,
    hide: bool,
    known: dict[int, np.ndarray] | None = None,
) -> np.ndarray:
    """Sum over each variant's sites of log p(new) - log p(wild type), (n_variants,) float64.

    Parameters
    ----------
    model : MaskedLanguageModel
    backbone : Backbone
    config : TrainingConfig
    table : VariantTable
    hide : bool
        Hide each site in turn, one pass per site; else one pass over the wild type as it is.
    known : dict of int to ndarray, optional
        By site, log p of every token less that of the wild type's own, as earlier calls for this model, wild
        type and ``hide`` found them. What is missing is added.
    """
    sites, known = table.sites, {} if known is None else known
    if not len(sites):
        return np.zeros(table.n_variants)
    missing = np.array([site for site in sites.tolist() if site not in known], dtype=np.int64)
    if len(missing):
        # One pass tells all sites, whatever is asked.
        asked = missing if hide else np.arange(len(table.wild_type))
        ids = Corpus(backbone, [table.wild_type])[0]
        places = asked + len(backbone.token_format.prefix)
        logs = site_log_probabilities(model, ids, places, Masking.of(backbone), config, hide=hide)
        known.update(zip(asked.tolist(), logs - logs[np.arange(len(asked)), ids[places]][:, None]))
    odds = np.stack([known[site] for site in sites.tolist()])
    found = odds[np.searchsorted(sites, table.site), token_of_letter(backbone)[table.letter]]
    return np.bincount(table.row, weights=found, minlength=table.n_variants)


def token_of_letter(backbone: Backbone) -> np.ndarray:
    """Token id by the ASCII code of a residue's letter, (256,)."""
    table = np.zeros(256, dtype=np.int64)
    for letter, token in backbone.vocabulary.items():
        if len(letter) == 1 and letter.isascii():
            table[ord(letter)] = token
    return table


def pseudo_ratios(
    model: MaskedLanguageModel,
    backbone: Backbone,
    config: TrainingConfig,
    wild_type: str,
    variants: np.ndarray,
) -> np.ndarray:
    """Log-likelihood of each variant less that of the wild type, each residue hidden alone, (n,) float64.

    Parameters
    ----------
    model : MaskedLanguageModel
    backbone : Backbone
    config : TrainingConfig
    wild_type : str
    variants : ndarray of str, shape (n_variants,)
        Clean sequences of any length.
    """
    distinct, inverse = np.unique([wild_type, *variants], return_inverse=True)
    sums, _ = pseudo_log_likelihoods(model, Corpus(backbone, distinct), Masking.of(backbone), config)
    return sums[inverse[1:]] - sums[inverse[0]]
