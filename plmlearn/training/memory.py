"""How much memory a run takes, and how many tokens fit at once.

The figures are counts of what the forward pass keeps; ``tests/training/test_memory.py`` and
``benchmarks/memory.py`` hold them against measured peaks.
"""

from __future__ import annotations

import torch

from ..backbones import Backbone
from .devices import total_memory

# Tokens beyond which a batch no longer gets faster, measured on ESM2-8M and 35M shapes.
_ENOUGH_TOKENS = {"cpu": 4096, "cuda": 65536}
_SHARE_OF_MEMORY = 0.25


def activation_bytes_per_token(backbone: Backbone, n_trained_layers: int, *, checkpointing: bool) -> int:
    """Bytes that the backward pass keeps per token.

    Parameters
    ----------
    backbone : Backbone
    n_trained_layers : int
        Layers from the lowest trained one to the top.
    checkpointing : bool
        Each layer keeps its input alone; one layer at a time is recomputed.
    """
    config, item = backbone.config, backbone.dtype.itemsize
    width, inner = config.hidden_size, config.intermediate_size
    # norms' inputs (2, float32), normed (2), query, key, value, context (4), before and after GELU (2)
    layer = 8 * width + (6 * width + 2 * inner) * item
    # the residual stream in and out, and temporaries of the layer at work
    working = 16 * width + 2 * (4 * width + 2 * inner) * item
    if checkpointing:
        return 4 * width * n_trained_layers + layer + working
    return layer * n_trained_layers + working


def auto_max_tokens(
    backbone: Backbone, device: torch.device, n_trained_layers: int, *, checkpointing: bool = False
) -> int:
    """Token budget that fills a quarter of the device's memory, or is enough for full speed."""
    per_token = activation_bytes_per_token(backbone, n_trained_layers, checkpointing=checkpointing)
    fits = int(total_memory(device) * _SHARE_OF_MEMORY / per_token)
    return max(512, min(fits, _ENOUGH_TOKENS.get(device.type, 16384)))
