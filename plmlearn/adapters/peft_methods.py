"""What the methods that peft puts in share.

peft changes a copy of the model whose tensors are still the backbone's; what it adds is found by
what it makes trainable.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import peft
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from ..backbones import Backbone
from .base import LayeredAdapter, layer_index, target_pattern


@dataclass(kw_only=True, eq=False, repr=False)
class PeftMethod(LayeredAdapter):
    """A method of peft; see the concrete classes."""

    target_modules: Sequence[str] | str | None = ("key", "value")

    @abstractmethod
    def peft_config(self, backbone: Backbone) -> Any:
        """The same adapter in peft's terms."""

    def _pattern(self, backbone: Backbone, names: Sequence[str] | str | None = None) -> str:
        """Regular expression for the adapted matrices, or for some of them."""
        asked = self.target_modules if names is None else names
        return target_pattern(backbone, asked or (), self._layers(backbone))

    def _put_into(self, model: nn.Module, backbone: Backbone) -> Iterable[str]:
        config = self.peft_config(backbone)
        biases = vars(config).get("bias", "none")
        if biases != "none":
            config.bias = "none"  # peft would mark the backbone's own tensors
        tuner = peft.PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type]
        tuner(model, config, "default")
        for module in model.modules():
            if isinstance(module, BaseTunerLayer):
                # Autocast brings adapters to the precision of their input, not the other way round.
                module.cast_input_dtype_enabled = False  # type: ignore[assignment]
        named = dict(model.named_parameters())
        # AdaLoRA's count of its ranks may come out of a change of precision as if it were a weight.
        added = [n for n, tensor in named.items() if tensor.requires_grad and ".ranknum." not in n]
        yield from added
        yield from (name for name in named if self._is_trained_bias(name, biases, backbone))

    def _is_trained_bias(self, name: str, biases: str, backbone: Backbone) -> bool:
        if biases == "none" or not name.endswith(".bias"):
            return False
        if name.startswith(backbone.architecture.optional_weights):
            return False
        if biases != "all":  # "lora_only" and its like
            return name.endswith(".base_layer.bias")
        layer = layer_index(name, backbone)
        return self.last_n_layers is None or layer in self._layers(backbone)
