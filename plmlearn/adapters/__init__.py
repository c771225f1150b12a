"""Ways to adapt a pretrained encoder: what is trained, and how it is built in.

Each method is a small configuration with ``get_params``, so its parameters can be searched
(``adapter__rank``). ``install`` returns a model that shares the backbone's frozen tensors and owns
the trained ones. Heads do not belong to adapters.
"""

from .adalora import AdaLoRA
from .base import Adapter, TargetModule, target_pattern
from .bottleneck import Bottleneck
from .low_rank import IA3, DoRA, LoRA, VeRA
from .peft_adapter import PeftAdapter
from .prompts import PrefixTuning, PromptTuning
from .tuning import Frozen, FullFineTuning, LayerNormTuning

__all__ = [
    "IA3",
    "AdaLoRA",
    "Adapter",
    "Bottleneck",
    "DoRA",
    "Frozen",
    "FullFineTuning",
    "LayerNormTuning",
    "LoRA",
    "PeftAdapter",
    "PrefixTuning",
    "PromptTuning",
    "TargetModule",
    "VeRA",
    "target_pattern",
]
