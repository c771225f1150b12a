"""What estimators share that see one vector per protein: how residues become that vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import StrOptions
from torch import nn

from ..nn.encoders import PackedEncoder
from ..nn.heads import make_head
from ..nn.models import ProteinModel
from ..nn.pooling import POOLINGS
from ..training.batching import TokenizedSequences
from ..training.inference import infer
from .tuned import BasePLMEstimator, _Live


@dataclass(kw_only=True, eq=False, repr=False)
class PooledEstimator(BasePLMEstimator):
    """A tuned estimator with a pooling below its head."""

    pooling: str = "mean"

    _ARCHITECTURE: ClassVar[tuple[str, ...]] = (*BasePLMEstimator._ARCHITECTURE, "pooling")
    _parameter_constraints: ClassVar[dict] = {"pooling": [StrOptions(set(POOLINGS))]}

    def _make_model(self, encoder: PackedEncoder, n_outputs: int) -> nn.Module:
        pooling = POOLINGS[self.pooling](encoder.width)
        head = make_head(self.head, pooling.width, n_outputs, self.head_hidden, self.head_dropout)
        return ProteinModel(encoder, pooling, head)

    _SCALE_SAMPLE: ClassVar[int] = 2048

    def _learn_scale(self, live: _Live, inputs: TokenizedSequences) -> None:
        rows = np.random.default_rng(live.plan.seed).permutation(len(inputs))[: self._SCALE_SAMPLE]
        live.model.scaler.learn(torch.from_numpy(self._pooled(live, inputs, np.sort(rows))))

    def _pooled(self, live: _Live, inputs: TokenizedSequences, rows: np.ndarray | None = None) -> np.ndarray:
        live.model.eval()

        def pool(batch):
            return live.model.pool(batch.tokens)[batch.sequence_of_row]

        return infer(pool, inputs, live.plan, rows=rows)

    def transform(self, X: Any) -> np.ndarray:
        """Pooled embeddings of the tuned backbone.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        ndarray of shape (n_proteins, width), float32
            Of twice the backbone's width with ``pooling="light_attention"``.
        """
        live = self._restored()
        return self._pooled(live, self._inputs(live, self._prepare(X)[0]))
