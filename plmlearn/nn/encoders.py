"""Forward passes of protein encoders over packed rows.

The weights and their names are transformers' own, so adapters of peft and saved checkpoints fit;
only the way through the modules is ours. Packed rows without padding, one residual stream in
float32, matrix products in the precision of the frozen weights, an exact fused GELU, and an entry
at any layer so that what lies below the first trained layer need not be computed again
(``tests/nn/test_encoders.py`` holds the results equal to transformers').

An encoder is a module with ``n_layers``, ``width``, ``embed(tokens)``, ``run(hidden, tokens,
start, stop)`` and ``finish(hidden)``; calling it does all three.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .attention import packed_attention, rotary_table, rotate
from .packing import PackedTokens
from .soft import learned_part


class PackedEncoder(nn.Module, ABC):
    """An encoder over packed rows around a transformers model.

    Parameters
    ----------
    backbone : nn.Module
        The transformers model that owns the weights.
    compute_dtype : torch.dtype, default=torch.float32
        Precision of the matrix products: that of the frozen weights.
    trunk_depth : int, default=0
        Layers below the first trained one. What leaves them is rounded to the compute precision,
        computed or read from a store alike, so both give the same numbers.
    depth : int, optional
        Layers to run; None runs all, and what follows them.
    checkpointing : bool, default=False
        Recompute each layer in the backward pass rather than keep its activations.
    """

    def __init__(
        self,
        backbone: Any,
        *,
        compute_dtype: torch.dtype = torch.float32,
        trunk_depth: int = 0,
        depth: int | None = None,
        checkpointing: bool = False,
    ):
        super().__init__()
        self.backbone: Any = backbone
        self.compute_dtype = compute_dtype
        self.trunk_depth = trunk_depth
        self.depth = self.n_layers if depth is None else depth
        self.checkpointing = checkpointing

    @property
    @abstractmethod
    def n_layers(self) -> int: ...

    @property
    @abstractmethod
    def width(self) -> int: ...

    @property
    @abstractmethod
    def blocks(self) -> nn.ModuleList:
        """The layers, from the lowest; each may hold a learned "prefix" or "prompt" (:mod:`.soft`)."""

    @abstractmethod
    def embed(self, tokens: PackedTokens) -> Tensor:
        """Token embeddings, (T, D) in float32."""

    @abstractmethod
    def shared(self, tokens: PackedTokens) -> Any:
        """What all layers need of a batch and is worth making once: position tables, biases."""

    @abstractmethod
    def layer(self, index: int, hidden: Tensor, tokens: PackedTokens, shared: Any) -> Tensor:
        """One layer, (T, D) to (T, D)."""

    @abstractmethod
    def finish(self, hidden: Tensor) -> Tensor:
        """What follows the last layer, (T, D) to (T, D)."""

    def run(self, hidden: Tensor, tokens: PackedTokens, start: int, stop: int) -> Tensor:
        """Layers ``start`` to ``stop - 1``; prompts come before their layer, and are gone behind the last."""
        row, shared = tokens, self.shared(tokens)
        for index in range(start, stop):
            prompt = learned_part(self.blocks[index], "prompt")
            if prompt is not None:
                hidden = prompt(hidden[row.without_prompt], tokens)
                row = tokens.with_prompt(prompt.n_tokens)
                shared = self.shared(row)
            if self.checkpointing and torch.is_grad_enabled():
                hidden = checkpoint(self.layer, index, hidden, row, shared, use_reentrant=False)
            else:
                hidden = self.layer(index, hidden, row, shared)
        return hidden[row.without_prompt]

    def attention(
        self, index: int, query: Tensor, key: Tensor, value: Tensor, tokens: PackedTokens, **options: Any
    ) -> Tensor:
        """:func:`packed_attention` of layer ``index``, with its learned prefix where it has one."""
        prefix = learned_part(self.blocks[index], "prefix")
        if prefix is not None:
            key, value = prefix(key, value, tokens)
        return packed_attention(query, key, value, tokens, **options)

    @torch.no_grad()
    def trunk(self, tokens: PackedTokens) -> Tensor:
        """Activations that enter the first trained layer, (T, D) in the compute precision."""
        return self._by_pieces(self._trunk, tokens)

    def _trunk(self, tokens: PackedTokens) -> Tensor:
        hidden = self.run(self.embed(tokens), tokens, 0, self.trunk_depth)
        return hidden.to(self.compute_dtype)

    def forward(self, tokens: PackedTokens) -> Tensor:
        """Hidden state behind the last layer run, (T, D) in float32."""
        return self._forward(tokens) if torch.is_grad_enabled() else self._by_pieces(self._forward, tokens)

    def _by_pieces(self, run: Callable[[PackedTokens], Tensor], tokens: PackedTokens) -> Tensor:
        """A protein in more windows than may go through at once, some windows after others."""
        if tokens.offsets is None or tokens.max_tokens is None:
            return run(tokens)
        return torch.cat([run(piece) for piece in tokens.pieces()])

    def _forward(self, tokens: PackedTokens) -> Tensor:
        if self.trunk_depth == 0:
            hidden = self.embed(tokens)
        else:
            hidden = (self.trunk(tokens) if tokens.trunk is None else tokens.trunk).float()
        hidden = self.run(hidden, tokens, self.trunk_depth, self.depth)
        return self.finish(hidden) if self.depth == self.n_layers else hidden


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
    def config(self):
        return self.backbone.config

    @property
    def n_layers(self) -> int:
        return self.config.num_hidden_layers

    @property
    def width(self) -> int:
        return self.config.hidden_size

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
            hidden = _layer_norm(embeddings.layer_norm, hidden)
        return hidden

    def _rescale(self, hidden: Tensor, tokens: PackedTokens) -> Tensor:
        masked = tokens.ids == self.config.mask_token_id
        if not masked.any():
            return hidden * (1 - self._MASKED_IN_PRETRAINING)
        lengths = tokens.lengths_tensor
        share = torch.segment_reduce(masked.float(), "mean", lengths=lengths)
        factor = (1 - self._MASKED_IN_PRETRAINING) / (1 - share)
        factor = torch.repeat_interleave(factor, lengths, output_size=len(masked))
        return (hidden * factor[:, None]).masked_fill(masked[:, None], 0.0)

    def shared(self, tokens: PackedTokens) -> Tensor | None:
        """Factors of rotary positions, (2, T, H, K)."""
        if self.config.position_embedding_type != "rotary":
            return None
        n_heads = self.config.num_attention_heads
        base = getattr(self.config, "rope_theta", 10000.0)
        table = rotary_table(max(tokens.lengths), self.width // n_heads, base, tokens.device)
        by_token = table.to(self.compute_dtype)[:, tokens.positions, None]
        if tokens.device.type == "cpu":
            return by_token.repeat(1, 1, n_heads, 1)
        return by_token

    def layer(self, index: int, hidden: Tensor, tokens: PackedTokens, shared: Tensor | None) -> Tensor:
        block: Any = self.blocks[index]
        hidden = hidden + self._attend(index, hidden, tokens, shared)
        normed = _layer_norm(block.LayerNorm, hidden).to(self.compute_dtype)
        return hidden + block.output.dense(F.gelu(block.intermediate.dense(normed)))

    def _attend(self, index: int, hidden: Tensor, tokens: PackedTokens, rotary) -> Tensor:
        attention: Any = self.blocks[index].attention
        normed = _layer_norm(attention.LayerNorm, hidden).to(self.compute_dtype)
        project = attention.self
        query, key, value = (
            linear(normed).to(self.compute_dtype).unflatten(-1, (self.config.num_attention_heads, -1))
            for linear in (project.query, project.key, project.value)
        )
        if rotary is not None:
            query, key = rotate(query, *rotary), rotate(key, *rotary)
        context = self.attention(index, query, key, value, tokens, scale=query.shape[-1] ** -0.5)
        return attention.output.dense(context.flatten(1))

    def finish(self, hidden: Tensor) -> Tensor:
        return _layer_norm(self.backbone.encoder.emb_layer_norm_after, hidden)


def _layer_norm(norm: nn.LayerNorm, hidden: Tensor) -> Tensor:
    """Layer norm of the float32 stream; the norm's own tensors may be of any precision."""
    return F.layer_norm(hidden, norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps)


ENCODERS: dict[str, type[PackedEncoder]] = {"esm": PackedEsm}


def make_encoder(backbone: Any, **options) -> PackedEncoder:
    """The packed encoder for a transformers model, chosen by its ``config.model_type``."""
    return ENCODERS[backbone.config.model_type](backbone, **options)
