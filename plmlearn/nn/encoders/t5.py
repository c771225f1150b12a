"""The encoders of T5: ProtT5, ProstT5 and Ankh."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..attention import PositionBias
from ..packing import PackedTokens
from .base import ACTIVATIONS, PackedEncoder


class PackedT5(PackedEncoder):
    """T5's encoder (``transformers.T5EncoderModel``): position biases, RMS norms, no scaled scores.

    References
    ----------
    Raffel et al., JMLR 2020, arXiv:1910.10683. Elnaggar et al., ProtTrans, TPAMI 2022,
    doi:10.1109/TPAMI.2021.3095381. Heinzinger et al., ProstT5, NAR Genomics and Bioinformatics 2024,
    doi:10.1093/nargab/lqae150. Elnaggar et al., Ankh, 2023, arXiv:2301.06568.
    """

    @property
    def blocks(self) -> nn.ModuleList:
        return self.backbone.encoder.block

    def embed(self, tokens: PackedTokens) -> Tensor:
        return self.backbone.shared(tokens.ids).float()

    def shared(self, tokens: PackedTokens) -> PositionBias:
        """Biases of the scores by distance, which the lowest layer holds for all."""
        longest = max(tokens.lengths)
        distance = torch.arange(1 - longest, longest, device=tokens.device)
        first: Any = self.blocks[0]
        table = first.layer[0].SelfAttention.relative_attention_bias.weight
        return PositionBias(table.float()[self._bucket(distance)].T)

    def _bucket(self, distance: Tensor) -> Tensor:
        """Entry of the table for each distance: one for each near distance, shared by ever more far ones."""
        n_buckets = self.config.relative_attention_num_buckets // 2
        n_near, farthest = n_buckets // 2, self.config.relative_attention_max_distance
        near = distance.abs()
        share = torch.log(near.clamp(min=1).float() / n_near) / math.log(farthest / n_near)
        far = (n_near + (share * (n_buckets - n_near)).long()).clamp(max=n_buckets - 1)
        return n_buckets * (distance > 0) + torch.where(near < n_near, near, far)

    def layer(self, block: Any, hidden: Tensor, tokens: PackedTokens, shared: PositionBias) -> Tensor:
        hidden = hidden + self._attend(block, hidden, tokens, shared)
        return hidden + self._feed_forward(block.layer[1], hidden)

    def _attend(self, block: Any, hidden: Tensor, tokens: PackedTokens, bias: PositionBias) -> Tensor:
        project = block.layer[0].SelfAttention
        normed = _rms_norm(block.layer[0].layer_norm, hidden).to(self.compute_dtype)
        query, key, value = (
            linear(normed).to(self.compute_dtype).unflatten(-1, (self.config.num_heads, -1))
            for linear in (project.q, project.k, project.v)
        )
        context = self.attention(block, query, key, value, tokens, scale=1.0, bias=bias)
        return project.o(context.flatten(1))

    def _feed_forward(self, part: Any, hidden: Tensor) -> Tensor:
        dense, activate = part.DenseReluDense, ACTIVATIONS[self.config.dense_act_fn]
        normed = _rms_norm(part.layer_norm, hidden).to(self.compute_dtype)
        if self.config.is_gated_act:
            return dense.wo(activate(dense.wi_0(normed)) * dense.wi_1(normed))
        return dense.wo(activate(dense.wi(normed)))

    def finish(self, hidden: Tensor) -> Tensor:
        return _rms_norm(self.backbone.encoder.final_layer_norm, hidden)


def _rms_norm(norm: Any, hidden: Tensor) -> Tensor:
    return F.rms_norm(hidden, hidden.shape[-1:], norm.weight.float(), norm.variance_epsilon)
