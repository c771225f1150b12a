"""First weights of an encoder that is trained from nothing: attention that looks at neighbours.

A transformer spends its first millions of residues on finding out that neighbours matter. Here every
head looks at one offset along the chain from the start: its query and key biases are set so that the
rotary positions turn their product into a bump at that offset. Nothing else differs from the usual
random weights, and all of it is trained.
"""

from __future__ import annotations

from typing import Any

import torch

NEAREST = 5
"""Offsets of the heads: one after the other -1, 1, -2, 2, … up to this, then again."""


def attend_to_neighbours(model: Any, strength: float = 4.0) -> None:
    """Give each head of a transformers ``EsmModel`` with rotary positions an offset to look at.

    The score of offset d is ``strength * sum_f cos((d - d_head) * f) * 2 / K`` over the K / 2 rotary
    frequencies f of a head of width K, beside what the weights add.

    Parameters
    ----------
    model : transformers.EsmModel
        Changed in place.
    strength : float, default=4.0
        Score at the head's own offset; 0 leaves attention uniform.
    """
    config = model.config
    head_width = config.hidden_size // config.num_attention_heads
    base = getattr(config, "rope_theta", 10000.0)
    frequency = base ** -(torch.arange(0, head_width, 2).float() / head_width)
    offsets = [sign * distance for distance in range(1, NEAREST + 1) for sign in (-1, 1)]
    size = (strength * head_width**0.5 * 2 / head_width) ** 0.5
    for i, layer in enumerate(model.encoder.layer):
        attention = layer.attention.self
        for head in range(config.num_attention_heads):
            offset = offsets[(i * config.num_attention_heads + head) % len(offsets)]
            rows = slice(head * head_width, (head + 1) * head_width)
            query = torch.cat([torch.ones_like(frequency), torch.zeros_like(frequency)])
            key = torch.cat([(offset * frequency).cos(), -(offset * frequency).sin()])
            with torch.no_grad():
                attention.query.bias[rows] = size * query
                attention.key.bias[rows] = size * key
