"""ESM-1b, ESM-1v and ESM-2."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ..attention import rotary_factors, rotate
from ..packing import PackedTokens, Ragged
from .base import PackedEncoder, layer_norm


class PackedEsm(PackedEncoder):
    """ESM-1b, ESM-1v and ESM-2 (``transformers.EsmModel``).

    References
    ----------
    Lin et al., Evolutionary-scale prediction of atomic-level protein structure with a language
    model, Science 2023, doi:10.1126/science.ade2574
    """

    # Share of tokens that pretraining replaced by <mask>: ESM's "token dropout" rescales by it.
    _MASKED_IN_PRETRAINING = 0.15 * 0.8

    @property
    def blocks(self) -> nn.ModuleList:
        return self.backbone.encoder.layer

    def embed(self, tokens: PackedTokens) -> Tensor:
        embeddings, config = self.backbone.embeddings, self.config
        hidden = embeddings.word_embeddings(tokens.ids).float()
        if config.token_dropout:
            hidden = self._rescale(hidden, tokens)
        if config.position_embedding_type == "absolute":
            hidden = hidden + embeddings.position_embeddings(tokens.positions + config.pad_token_id + 1)
        if embeddings.layer_norm is not None:
            hidden = layer_norm(embeddings.layer_norm, hidden)
        return hidden

    def _rescale(self, hidden: Tensor, tokens: PackedTokens) -> Tensor:
        masked = tokens.ids == self.config.mask_token_id
        if not masked.any():
            return hidden * (1 - self._MASKED_IN_PRETRAINING)
        in_sequences = Ragged(masked.float(), tokens.lengths)
        factor = (1 - self._MASKED_IN_PRETRAINING) / (1 - in_sequences.means())
        return (hidden * in_sequences.spread(factor)[:, None]).masked_fill(masked[:, None], 0.0)

    def shared(self, tokens: PackedTokens) -> Tensor | None:
        """Factors of rotary positions, (2, n_rows, H, K)."""
        if self.config.position_embedding_type != "rotary":
            return None
        # As the checkpoint stores them: those of ESM-2 are rounded to half precision.
        frequencies = next(x for name, x in self.backbone.named_buffers() if name.endswith("inv_freq"))
        return rotary_factors(
            tokens, self.config.num_attention_heads, frequencies.float(), self.compute_dtype
        )

    def layer(self, block: Any, hidden: Tensor, tokens: PackedTokens, shared: Tensor | None) -> Tensor:
        hidden = hidden + self._attend(block, hidden, tokens, shared)
        normed = layer_norm(block.LayerNorm, hidden).to(self.compute_dtype)
        return hidden + block.output.dense(F.gelu(block.intermediate.dense(normed)))

    def _attend(self, block: Any, hidden: Tensor, tokens: PackedTokens, rotary) -> Tensor:
        attention = block.attention
        normed = layer_norm(attention.LayerNorm, hidden).to(self.compute_dtype)
        project = attention.self
        query, key, value = (
            linear(normed).to(self.compute_dtype).unflatten(-1, (self.config.num_attention_heads, -1))
            for linear in (project.query, project.key, project.value)
        )
        if rotary is not None:
            query, key = rotate(query, *rotary), rotate(key, *rotary)
        context = self.attention(block, query, key, value, tokens, scale=query.shape[-1] ** -0.5)
        return attention.output.dense(context.flatten(1))

    def finish(self, hidden: Tensor) -> Tensor:
        return layer_norm(self.backbone.encoder.emb_layer_norm_after, hidden)
