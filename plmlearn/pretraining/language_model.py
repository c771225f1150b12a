"""What a trained language model is used for: likelihoods, effects of mutations, embeddings, a checkpoint."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from torch import nn

from ..backbones.checkpoints import merged, write_language_model
from ..estimators.loaded import LoadedModel
from ..estimators.parameters import RuntimeParameters
from ..nn.models import MeanPooling, ProteinModel
from ..sequences import check_sequences, truncate
from ..sequences.clean import local_path
from ..sequences.variant_table import VariantTable
from ..training.batching import Inputs
from ..training.inference import embeddings_of
from .likelihood import hide_parts, log_likelihoods, pseudo_log_likelihoods
from .masking import Corpus, Masking
from .mutations import marginal_ratios
from .unlabelled import check_predictable


class LanguageModel(ClassNamePrefixFeaturesOutMixin, TransformerMixin, RuntimeParameters, ABC):
    """Methods of a fitted masked language model."""

    @abstractmethod
    def _restored(self) -> LoadedModel:
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
        model, corpus = self._read(X)
        views = hide_parts(corpus, Masking.of(model.backbone), 0)
        sums, counts = log_likelihoods(model.module, corpus, views, model.config)
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
        model, corpus = self._read(X)
        masking = Masking.of(model.backbone)
        sums, counts = pseudo_log_likelihoods(model.module, corpus, masking, model.config)
        return np.exp(-sums / counts)

    def mutation_scores(
        self, wild_type: str, variants: Sequence[str], *, method: str = "masked", first_site: int = 1
    ) -> np.ndarray:
        """Log-odds of each variant's residues against the wild type's: effects of mutations, unlabelled.

        Parameters
        ----------
        wild_type : str
            At most ``max_length`` residues.
        variants : sequence of str
            Sequences of the same length, or substitutions such as ``"V39A:D40G"``.
        method : {"masked", "wild_type"}, default="masked"
            "masked": each site hidden alone in the wild type, one pass per site; "wild_type": one pass
            over the wild type as it is.
        first_site : int, default=1
            Number of the wild type's first residue in the substitutions.

        Returns
        -------
        ndarray of float, shape (n_variants,)
            Sum over substitutions of log p(new) - log p(wild type); 0 for the wild type, higher is more
            plausible.
        """
        if method not in ("masked", "wild_type"):
            raise ValueError(f"method is 'masked' or 'wild_type', got {method!r}")
        model = self._restored()
        [sequence] = check_sequences([wild_type], invalid=self.invalid)
        truncate(np.array([sequence], dtype=object), int(self.max_length), "raise")
        given = list(variants) if isinstance(variants, Iterator) else variants
        table = VariantTable.read(sequence, given, first_site=first_site)
        return marginal_ratios(model.module, model.backbone, model.config, table, hide=method == "masked")

    def transform(self, X: Any) -> np.ndarray:
        """Mean embeddings of proteins by the trained encoder.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        ndarray of float32, shape (n_proteins, width)
        """
        model = self._restored()
        sequences, _ = self._clean(X)
        encoder = model.module.encoder
        pooled = ProteinModel(encoder, MeanPooling(encoder.width), nn.Identity())
        return embeddings_of(pooled, Inputs.of(model.backbone, sequences), model.config).values.numpy()

    def save_pretrained(self, folder: str | PathLike[str], *, precision: str = "fp32") -> Path:
        """Write the model as a checkpoint that plain transformers and every ``backbone=`` load.

        ``transformers.EsmForMaskedLM.from_pretrained(folder)`` gives the same logits; an adapter is
        merged into the weights.

        Parameters
        ----------
        folder : str or PathLike
            ``~`` is expanded.
        precision : {"fp32", "bf16"}, default="fp32"
            Of the file.

        Returns
        -------
        Path
        """
        model = self._restored()
        dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
        if precision not in dtypes:
            raise ValueError(f"precision is 'fp32' or 'bf16', got {precision!r}")
        if model.backbone.quantization is not None:
            raise ValueError(
                f"quantization={model.backbone.quantization!r} has rounded the weights that a checkpoint "
                "holds. Train with quantization=None, or keep the estimator itself with plmlearn.save."
            )
        encoder = merged(model.module.encoder.backbone, model.backbone.model)
        head = model.module.lm_head.state_dict()
        return write_language_model(local_path(folder), encoder, head, model.backbone, dtypes[precision])

    def _read(self, X: Any) -> tuple[LoadedModel, Corpus]:
        model = self._restored()
        sequences, _ = self._clean(X)
        check_predictable(sequences, "X")
        return model, Corpus(model.backbone, sequences)
