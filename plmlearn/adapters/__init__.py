"""Ways to adapt a pretrained encoder: what is trained, and how it is put in.

Each method is a small configuration with ``get_params``, so its parameters can be searched
(``adapter__rank``). ``install`` returns a model that shares the backbone's frozen tensors and owns
the trained ones; the head never passes through here.
"""

from .base import Adapter, target_pattern
from .low_rank import LoRA
from .tuning import Frozen, FullFineTuning, LayerNormTuning

__all__ = ["Adapter", "Frozen", "FullFineTuning", "LayerNormTuning", "LoRA", "target_pattern"]
