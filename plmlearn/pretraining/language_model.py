"""What a trained language model is used for: likelihoods, effects of mutations, embeddings, a checkpoint."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..backbones import Backbone
from ..backbones.checkpoints import merged, write_language_model
from ..nn.packing import unpack
from ..nn.pooling import MeanPooling
from ..sequences import check_sequences, truncate
from ..sequences.variants import Substitutions, read_variants
from ..training.batching import Batch, TokenizedSequences
from ..training.inference import infer
from .language_head import MaskedLanguageModel
from .likelihood import hide_each, hide_parts, log_likelihoods, site_log_probabilities
from .loop import PretrainingConfig
from .masking import Corpus, Masking
from .unlabelled import check_predictable


@dataclass
class Live:
    """A model ready to run: rebuilt from the trained tensors, never pickled."""

    model: MaskedLanguageModel
    backbone: Backbone
    plan: PretrainingConfig
    masking: Masking
    where: tuple  # device, precision and max_tokens asked for


class LanguageModel(ABC):
    """Methods of a fitted masked language model."""

    max_length: int
    long_sequences: str
    invalid: str

    @abstractmethod
    def _restored(self) -> Live:
        """The fitted model, ready to run."""

    def score_samples(self, X: Any) -> np.ndarray:
        """Mean masked log-likelihood of each protein's residues.

        Each residue is hidden once, together with a random seventh of the others (``mask_rate`` does
        not matter here); what is drawn depends on the sequence alone.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        ndarray of float, shape (n_proteins,)
            In nats per residue; -3.0 is chance among 20, about -2.9 the frequencies of residues.
        """
        live, corpus = self._read(X)
        sums, counts = log_likelihoods(live.model, corpus, hide_parts(corpus, live.masking, 0), live.plan)
        return sums / counts

    def score(self, X: Any, y: Any = None) -> float:
        """Mean over proteins of :meth:`score_samples`; higher is better.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)
        y : ignored

        Returns
        -------
        float
        """
        return float(self.score_samples(X).mean())

    def pseudo_perplexity(self, X: Any) -> np.ndarray:
        """How many residues each protein's sites seem to allow: exp of minus the mean log-likelihood
        of its residues, each hidden alone.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        ndarray of float, shape (n_proteins,)
            1 is certainty, 20 ignorance.

        Notes
        -----
        Cost: one pass per residue, so a thousand of them for a protein of a thousand.
        """
        live, corpus = self._read(X)
        sums, counts = log_likelihoods(live.model, corpus, hide_each(corpus, live.masking), live.plan)
        return np.exp(-sums / counts)

    def mutation_scores(
        self, wild_type: str, variants: Sequence[str], *, method: str = "masked"
    ) -> np.ndarray:
        """Log-odds of each variant's residues against the wild type's: effects of mutations, unlabelled.

        Parameters
        ----------
        wild_type : str
            At most ``max_length`` residues.
        variants : sequence of str
            Sequences of the same length, or substitutions such as ``"V39A:D40G"``, sites from 1.
        method : {"masked", "wild_type"}, default="masked"
            "masked": each site hidden alone in the wild type, one pass per site; "wild_type": one pass
            over the wild type as it is.

        Returns
        -------
        ndarray of float, shape (n_variants,)
            Sum over substitutions of log p(new) - log p(wild type); 0 for the wild type, higher is more
            plausible.
        """
        if method not in ("masked", "wild_type"):
            raise ValueError(f"method is 'masked' or 'wild_type', got {method!r}")
        [sequence] = check_sequences([wild_type], invalid=self.invalid)
        truncate(np.array([sequence], dtype=object), self.max_length, "raise")
        substitutions = read_variants(sequence, list(variants))
        sites = sorted({site for variant in substitutions for site, _ in variant})
        if not sites:
            return np.zeros(len(substitutions))
        live = self._restored()
        ids = Corpus(live.backbone, [sequence])[0]
        places = np.array(sites) + len(live.backbone.token_format.prefix)
        logs = site_log_probabilities(
            live.model, ids, places, live.masking, live.plan, hide=method == "masked"
        )
        return _log_odds(substitutions, dict(zip(sites, logs)), sequence, live.backbone.vocabulary)

    def transform(self, X: Any) -> np.ndarray:
        """Mean embeddings of proteins by the trained encoder.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        ndarray of float32, shape (n_proteins, width)
        """
        live = self._restored()
        sequences, _ = truncate(
            check_sequences(X, invalid=self.invalid), self.max_length, self.long_sequences
        )
        encoder, pool = live.model.encoder.eval(), MeanPooling(live.model.encoder.width)

        def embed(batch: Batch) -> torch.Tensor:
            return pool(unpack(encoder(batch.tokens), batch.tokens))[batch.sequence_of_row]

        return infer(embed, TokenizedSequences(live.backbone, sequences), live.plan)

    def save_pretrained(self, folder: str | Path, *, precision: str = "fp32") -> Path:
        """Write the model as a checkpoint that plain transformers and every ``backbone=`` load.

        ``transformers.EsmForMaskedLM.from_pretrained(folder)`` gives the same logits; an adapter is
        merged into the weights.

        Parameters
        ----------
        folder : str or Path
        precision : {"fp32", "bf16"}, default="fp32"
            Of the file.

        Returns
        -------
        Path
        """
        live = self._restored()
        dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
        if precision not in dtypes:
            raise ValueError(f"precision is 'fp32' or 'bf16', got {precision!r}")
        encoder = merged(live.model.encoder.backbone, live.backbone.model)
        head = live.model.lm_head.state_dict()
        return write_language_model(Path(folder), encoder, head, live.backbone, dtypes[precision])

    def _read(self, X: Any) -> tuple[Live, Corpus]:
        live = self._restored()
        sequences = check_sequences(X, invalid=self.invalid)
        check_predictable(sequences, "X")
        sequences, _ = truncate(sequences, self.max_length, self.long_sequences)
        return live, Corpus(live.backbone, sequences)


def _log_odds(
    variants: Sequence[Substitutions], logs: Mapping[int, np.ndarray], wild_type: str, ids: Mapping[str, int]
) -> np.ndarray:
    """Sum over each variant's substitutions of log p(new) - log p(wild type)."""

    def odds(site: int, new: str) -> float:
        return float(logs[site][ids[new]] - logs[site][ids[wild_type[site]]])

    return np.array([sum(odds(site, new) for site, new in variant) for variant in variants], dtype=float)
