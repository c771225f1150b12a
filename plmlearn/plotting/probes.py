"""A look inside a model: its attention, and its outputs for embeddings that belong to no sequence.

Both run the package's own forward pass on a shallow copy of the encoder in which one method is replaced,
so that adapters, prompts, prefixes, quantized matrices and every architecture are seen as they are.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..nn.encoders import PackedEncoder
from ..nn.packing import PackedTokens
from ..training.config import TrainingConfig
from ..training.devices import autocast


def attention_of(encoder: PackedEncoder, tokens: PackedTokens, config: TrainingConfig) -> Tensor:
    """Attention in every layer, the mean over heads: (n_layers, T, T) in float32 on the CPU.

    Entry [l, i, j] is how much token i takes from token j of the one sequence. What learned prefixes and
    prompts get is left out, so that rows may add up to less than 1.
    """
    maps: list[Tensor] = []

    def attention(block: nn.Module, query: Tensor, key: Tensor, value: Tensor, row: PackedTokens, **options):
        with torch.autocast(query.device.type, enabled=False):
            maps.append(_mean_over_heads(block, query, key, row, **options))
        return encoder.attention(block, query, key, value, row, **options)

    probe = _copied(encoder, attention=attention).eval()
    with torch.inference_mode(), autocast(config.device, config.dtype):
        probe(tokens)
    return torch.stack(maps)


def _mean_over_heads(
    block: nn.Module, query: Tensor, key: Tensor, row: PackedTokens, *, scale: float, bias: Any = None
) -> Tensor:
    query, key = query[: len(row.ids)], key[: len(row.ids)]
    n_own, prefix = len(key), dict(block.named_children()).get("prefix")
    if prefix is not None:
        key, _ = prefix(key, key, row)
    scores = torch.einsum("qhk,phk->hqp", query.float(), key.float()) * scale
    if bias is not None:
        scores += F.pad(bias.square.float(), (len(key) - n_own, 0))
    seen = scores.softmax(-1).mean(0)[:, len(key) - n_own :]
    return seen[row.without_prompt][:, row.without_prompt].cpu()


def outputs_from(module: Any, hidden: Tensor, tokens: PackedTokens) -> Any:
    """Outputs of a model with ``hidden``, (T, D), in place of the embeddings of the tokens."""
    encoder = _copied(module.encoder, embed=lambda _: hidden)
    probe = copy.copy(module)
    probe._modules = {**module._modules, "encoder": encoder}
    return probe(tokens, torch.arange(len(tokens.lengths), device=tokens.device))


def _copied(encoder: PackedEncoder, **methods: Any) -> PackedEncoder:
    """The same layers with other methods, all of them open to gradients."""
    probe = copy.copy(encoder)
    vars(probe).update(methods, trunk_depth=0, compiled=False, checkpointing=False)
    return probe
