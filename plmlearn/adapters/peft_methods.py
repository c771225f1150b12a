"""What the methods that peft implements have in common.

peft changes a copy of the model whose tensors are still the backbone's. What it adds is found by
what it makes trainable.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import peft
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from ..backbones import Backbone
from .base import LayeredAdapter, TargetModule, layer_index, target_pattern


@dataclass(kw_only=True, eq=False, repr=False)
class PeftMethod(LayeredAdapter):
    """A method of peft; see the concrete classes."""

    target_modules: Sequence[TargetModule] | TargetModule | None = ("key", "value")

    # IA3's and BOFT's scales of features, and AdaLoRA's singular values: (1, n) or (n, 1) in peft.
    undecayed: ClassVar[tuple[str, ...]] = ("ia3_l", "boft_s", "lora_E")

    @abstractmethod
    def peft_config(self, backbone: Backbone) -> Any:
        """The same adapter as peft's configuration."""

    def _pattern(self, backbone: Backbone, names: Sequence[str] | str | None = None) -> str:
        """Regular expression for the adapted matrices, or for some of them."""
        asked = self.target_modules if names is None else names
        return target_pattern(backbone, asked or (), self._layers(backbone))

    def _put_into(self, model: nn.Module, backbone: Backbone) -> Iterable[Tensor]:
        config = self.peft_config(backbone)
        biases = vars(config).get("bias", "none")
        if biases != "none":
            config.bias = "none"  # peft would mark the backbone's own tensors
        peft.PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type](model, config, "default")
        for module in model.modules():
            if isinstance(module, BaseTunerLayer):
                # Autocast brings adapters to the precision of their input, not the other way round.
                module.cast_input_dtype_enabled = False  # type: ignore[assignment]
        for name, tensor in model.named_parameters():
            # After a change of precision, AdaLoRA's count of its ranks may look like a weight.
            added = tensor.requires_grad and ".ranknum." not in name
            if added or self._is_trained_bias(name, biases, backbone):
                yield tensor

    def _is_trained_bias(self, name: str, biases: str, backbone: Backbone) -> bool:
        is_used = not name.startswith(backbone.architecture.optional_weights)
        if biases == "none" or not (is_used and name.endswith(".bias")):
            return False
        if biases == "all":
            return self.last_n_layers is None or layer_index(name, backbone) in self._layers(backbone)
        return name.endswith(".base_layer.bias")  # "lora_only" and its like
