"""ESM-C."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ..attention import rotary_factors, rotary_frequencies, rotate
from ..packing import PackedTokens
from .base import PackedEncoder, layer_norm


class PackedEsmc(PackedEncoder):
    """ESM Cambrian (``transformers.EsmcModel``): normed queries and keys, rotary positions, gated SiLU.

    Notes
    -----
    Cost per residue is about that of ESM-2 of the same width and depth.
    """

    @property
    def blocks(self) -> nn.ModuleList:
        return self.backbone.layers

    def embed(self, tokens: PackedTokens) -> Tensor:
        return self.backbone.embed_tokens(tokens.ids).float()

    def shared(self, tokens: PackedTokens) -> Tensor:
        """Factors of rotary positions, (2, n_rows, H, K)."""
        config = self.config
        base = config.rope_parameters["rope_theta"]
        frequencies = rotary_frequencies(config.head_dim, base, tokens.device)
        return rotary_factors(tokens, config.num_attention_heads, frequencies, self.compute_dtype)

    def layer(self, block: Any, hidden: Tensor, tokens: PackedTokens, shared: Tensor) -> Tensor:
        hidden = hidden + self._attend(block, hidden, tokens, shared) / block.scaling_factor
        normed = layer_norm(block.post_attention_layernorm, hidden).to(self.compute_dtype)
        gate = F.silu(block.mlp.gate_proj(normed))
        return hidden + block.mlp.down_proj(gate * block.mlp.up_proj(normed)) / block.scaling_factor

    def _attend(self, block: Any, hidden: Tensor, tokens: PackedTokens, rotary: Tensor) -> Tensor:
        project = block.self_attn
        normed = layer_norm(block.input_layernorm, hidden).to(self.compute_dtype)
        query, key, value = (
            x.to(self.compute_dtype).unflatten(-1, (self.config.num_attention_heads, -1))
            for x in (
                layer_norm(project.q_norm, project.q_proj(normed).float()),
                layer_norm(project.k_norm, project.k_proj(normed).float()),
                project.v_proj(normed),
            )
        )
        query, key = rotate(query, *rotary), rotate(key, *rotary)
        context = self.attention(block, query, key, value, tokens, scale=query.shape[-1] ** -0.5)
        return project.o_proj(context.flatten(1))

    def finish(self, hidden: Tensor) -> Tensor:
        return layer_norm(self.backbone.norm, hidden)
