"""Low-rank adaptation and its relatives, put in by peft."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import peft
from torch import nn

from ..backbones import Backbone
from .base import LayeredAdapter, check_count, target_pattern


@dataclass(kw_only=True, eq=False, repr=False)
class LoRA(LayeredAdapter):
    """Low-rank adaptation: a trained product of two thin matrices beside each adapted one.

    Parameters
    ----------
    rank : int, default=8
        Width of the thin matrices, >= 1.
    alpha : float, default=16
        The product is scaled by ``alpha / rank``.
    dropout : float, default=0.0
        Dropout on the adapter's input, in [0, 1).
    target_modules : tuple of str, default=("key", "value")
        Which matrices: "query", "key", "value", "output" (attention), "ffn_in", "ffn_out"; also
        "attention" (the first four) and "all". Key and value were best in Sledzieski et al.
    last_n_layers : int, optional
        Adapt the last n layers only. What lies below is then computed once per sequence and reused
        in every epoch, fold and candidate. None adapts all layers.

    References
    ----------
    Hu et al., LoRA, 2021, doi:10.48550/arXiv.2106.09685. Sledzieski et al., Democratizing protein
    language models with parameter-efficient fine-tuning, PNAS 2024, doi:10.1073/pnas.2405840121.

    Examples
    --------
    >>> from plmlearn.adapters import LoRA
    >>> LoRA(rank=4, target_modules=("query", "value"))
    LoRA(rank=4, target_modules=('query', 'value'))
    """

    rank: int = 8
    alpha: float = 16
    dropout: float = 0.0
    target_modules: Sequence[str] | str = ("key", "value")

    default_lr: ClassVar[float] = 1e-3

    def _check(self, backbone: Backbone) -> None:
        super()._check(backbone)
        check_count("LoRA rank", self.rank)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"LoRA dropout lies in [0, 1), got {self.dropout!r}")
        if not self.alpha > 0:
            raise ValueError(f"LoRA alpha is > 0, got {self.alpha!r}")

    def _put_into(self, model: nn.Module, backbone: Backbone) -> Iterable[str]:
        peft.inject_adapter_in_model(self.peft_config(backbone), model)
        for module in model.modules():
            if isinstance(module, peft.tuners.lora.LoraLayer):
                # Autocast brings adapters to the precision of their input, not the other way round.
                module.cast_input_dtype_enabled = False
        return [name for name, _ in model.named_parameters() if ".lora_" in name]

    def peft_config(self, backbone: Backbone) -> peft.LoraConfig:
        """The same adapter in peft's terms."""
        return peft.LoraConfig(
            r=int(self.rank),
            lora_alpha=self.alpha,  # type: ignore[arg-type]  # peft scales by any number
            lora_dropout=self.dropout,
            target_modules=target_pattern(backbone, self.target_modules, self._layers(backbone)),
        )
