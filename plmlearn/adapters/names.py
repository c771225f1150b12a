"""What ``adapter=`` takes beside an adapter: the name of a method, or a configuration of peft."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from sklearn.utils._param_validation import HasMethods, StrOptions

from .adalora import AdaLoRA
from .base import Adapter
from .bottleneck import Bottleneck
from .low_rank import IA3, DoRA, LoRA, VeRA
from .peft_adapter import PeftAdapter
from .prompts import PrefixTuning, PromptTuning
from .tuning import Frozen, FullFineTuning, LayerNormTuning

AdapterName = Literal[
    "adalora",
    "bottleneck",
    "dora",
    "frozen",
    "full_fine_tuning",
    "ia3",
    "layer_norm_tuning",
    "lora",
    "prefix_tuning",
    "prompt_tuning",
    "vera",
]
_METHODS: Mapping[str, type[Adapter]] = {
    "adalora": AdaLoRA,
    "bottleneck": Bottleneck,
    "dora": DoRA,
    "frozen": Frozen,
    "full_fine_tuning": FullFineTuning,
    "ia3": IA3,
    "layer_norm_tuning": LayerNormTuning,
    "lora": LoRA,
    "prefix_tuning": PrefixTuning,
    "prompt_tuning": PromptTuning,
    "vera": VeRA,
}


class _PeftConfigs(HasMethods):
    def __str__(self) -> str:
        return "a configuration of peft"


_PEFT_CONFIG = _PeftConfigs("from_peft_type")
ADAPTER_FORMS = [Adapter, StrOptions(set(get_args(AdapterName))), _PEFT_CONFIG, None]
"""Constraints of scikit-learn's kind on a parameter ``adapter``."""


def as_adapter(adapter: Any, default: type[Adapter]) -> Adapter:
    """The adapter that is meant by an object, a name, a configuration of peft, or None.

    Parameters
    ----------
    adapter : Adapter, str, peft.PeftConfig or None
    default : type
        Method that None stands for.

    Examples
    --------
    >>> as_adapter("dora", LoRA), as_adapter(None, LoRA)
    (DoRA(), LoRA())
    """
    if adapter is None or isinstance(adapter, str):
        return default() if adapter is None else _METHODS[adapter]()
    return PeftAdapter(adapter) if _PEFT_CONFIG.is_satisfied_by(adapter) else adapter
