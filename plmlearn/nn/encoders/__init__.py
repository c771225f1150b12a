"""Forward passes of protein encoders over packed tokens, a file for each architecture.

The weights and their names are transformers' own, so adapters of peft and saved checkpoints fit;
only the way through the modules is ours: packed tokens without padding, one residual stream in
float32, matrix products in the precision of the frozen weights, an exact fused GELU, and an entry
at any layer so that what lies below the first trained layer need not be computed again
(``tests/nn/encoders`` holds the results equal to transformers'). Dropout inside the pretrained
layers is left out: no published recipe for ESM has it, and what is frozen stays the same.
"""

from __future__ import annotations

from typing import Any

from .base import ACTIVATIONS, PackedEncoder
from .bert import PackedBert
from .esm import PackedEsm
from .esmc import PackedEsmc
from .t5 import PackedT5

__all__ = [
    "ACTIVATIONS",
    "ENCODERS",
    "FORWARD_VERSION",
    "PackedBert",
    "PackedEncoder",
    "PackedEsm",
    "PackedEsmc",
    "PackedT5",
    "make_encoder",
]

# Part of the cache's keys: raise it whenever an encoder or a pooling computes other numbers than before.
FORWARD_VERSION = 1

ENCODERS: dict[str, type[PackedEncoder]] = {
    "bert": PackedBert,
    "esm": PackedEsm,
    "esmc": PackedEsmc,
    "t5": PackedT5,
}


def make_encoder(backbone: Any, **options) -> PackedEncoder:
    """The packed encoder for a transformers model, chosen by its ``config.model_type``."""
    return ENCODERS[backbone.config.model_type](backbone, **options)
