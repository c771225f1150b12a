"""Ways to adapt a pretrained encoder: what is trained, and how it is put in.

Each method is a small configuration with ``get_params``, so its parameters can be searched
(``adapter__rank``). ``install`` returns a model that shares the backbone's frozen tensors and owns
the trained ones; the head never passes through here. A new method is one class with
``first_trained_layer`` and ``_put_into``.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import peft
from sklearn.base import BaseEstimator
from torch import nn

from .backbones import Backbone

_TARGET_GROUPS = {
    "attention": ("query", "key", "value", "output"),
    "all": ("query", "key", "value", "output", "ffn_in", "ffn_out"),
}


class Adapter(BaseEstimator, ABC):
    """A way to adapt an encoder; see the concrete classes."""

    default_lr: ClassVar[float]
    """Learning rate that suits the method with AdamW."""

    def install(self, backbone: Backbone) -> nn.Module:
        """A model over the backbone's tensors with this method's trained tensors in it.

        Trained tensors are float32 and require gradients; all others are shared and do not.
        Initial values come from torch's global random state.
        """
        self._check(backbone)
        model = backbone.share()
        self._put_into(model, backbone)
        for name, tensor in model.named_parameters():
            tensor.requires_grad_(self._trains(name, backbone))
        return model

    @abstractmethod
    def first_trained_layer(self, n_layers: int) -> int:
        """Index of the lowest layer that holds a trained tensor; ``n_layers`` when none does."""

    @abstractmethod
    def _put_into(self, model: nn.Module, backbone: Backbone) -> None: ...

    @abstractmethod
    def _trains(self, name: str, backbone: Backbone) -> bool:
        """Whether the parameter of this name is trained."""

    def _check(self, backbone: Backbone) -> None:
        """Raise where the settings do not fit the backbone."""
        last: Any = getattr(self, "last_n_layers", None)
        if last is None:
            return
        if not isinstance(last, Integral) or int(last) < 1:
            raise ValueError(f"last_n_layers is None (all layers) or an int >= 1, got {last!r}")
        if int(last) > backbone.n_layers:
            raise ValueError(
                f"last_n_layers={last}, but {backbone.name!r} has {backbone.n_layers} layers; "
                f"pass at most {backbone.n_layers}, or None for all."
            )


@dataclass(kw_only=True, eq=False, repr=False)
class Frozen(Adapter):
    """Train the head alone, on the encoder as it is.

    Examples
    --------
    >>> from plmlearn.adapters import Frozen
    >>> Frozen()
    Frozen()
    """

    default_lr: ClassVar[float] = 1e-3

    def first_trained_layer(self, n_layers: int) -> int:
        return n_layers

    def _put_into(self, model: nn.Module, backbone: Backbone) -> None:
        pass

    def _trains(self, name: str, backbone: Backbone) -> bool:
        return False


@dataclass(kw_only=True, eq=False, repr=False)
class FullFineTuning(Adapter):
    """Train the encoder's own weights.

    Parameters
    ----------
    last_n_layers : int, optional
        Train the last n layers only; None trains every layer, the token embeddings and the final
        norm.

    Notes
    -----
    Tuned weights are kept in float32, with two more copies for the optimiser: 16 bytes per trained
    parameter, 10 GB for all of ESM2-650M.

    Examples
    --------
    >>> from plmlearn.adapters import FullFineTuning
    >>> FullFineTuning(last_n_layers=2)
    FullFineTuning(last_n_layers=2)
    """

    last_n_layers: int | None = None

    default_lr: ClassVar[float] = 1e-4

    def first_trained_layer(self, n_layers: int) -> int:
        return 0 if self.last_n_layers is None else n_layers - int(self.last_n_layers)

    def _check(self, backbone: Backbone) -> None:
        super()._check(backbone)
        if backbone.quantization is not None:
            raise ValueError(
                f"FullFineTuning trains the backbone's own weights, which quantization="
                f"{backbone.quantization!r} has rounded; pass quantization=None, or adapt it by LoRA()."
            )

    def _put_into(self, model: nn.Module, backbone: Backbone) -> None:
        for name in [name for name, _ in model.named_parameters() if self._trains(name, backbone)]:
            owner, _, leaf = name.rpartition(".")
            module = model.get_submodule(owner)
            setattr(module, leaf, nn.Parameter(getattr(module, leaf).detach().float().clone()))

    def _trains(self, name: str, backbone: Backbone) -> bool:
        if self.last_n_layers is None:
            return not name.startswith(backbone.family.optional_weights)
        first = self.first_trained_layer(backbone.n_layers)
        layer = re.match(rf"{re.escape(backbone.family.layers)}\.(\d+)\.", name)
        return layer is not None and int(layer[1]) >= first


@dataclass(kw_only=True, eq=False, repr=False)
class LoRA(Adapter):
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
    last_n_layers: int | None = None

    default_lr: ClassVar[float] = 1e-3

    def first_trained_layer(self, n_layers: int) -> int:
        return 0 if self.last_n_layers is None else n_layers - int(self.last_n_layers)

    def _check(self, backbone: Backbone) -> None:
        super()._check(backbone)
        if not isinstance(self.rank, Integral) or int(self.rank) < 1:
            raise ValueError(f"LoRA rank is an int >= 1, got {self.rank!r}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"LoRA dropout lies in [0, 1), got {self.dropout!r}")
        if not self.alpha > 0:
            raise ValueError(f"LoRA alpha is > 0, got {self.alpha!r}")

    def _put_into(self, model: nn.Module, backbone: Backbone) -> None:
        peft.inject_adapter_in_model(self.peft_config(backbone), model)
        for name, tensor in model.named_parameters():
            if self._trains(name, backbone):
                tensor.data = tensor.data.float()
        for module in model.modules():
            if isinstance(module, peft.tuners.lora.LoraLayer):
                # Autocast brings adapters to the precision of their input, not the other way round.
                module.cast_input_dtype_enabled = False

    def _trains(self, name: str, backbone: Backbone) -> bool:
        return ".lora_" in name

    def peft_config(self, backbone: Backbone) -> peft.LoraConfig:
        """The same adapter in peft's terms."""
        first = self.first_trained_layer(backbone.n_layers)
        return peft.LoraConfig(
            r=int(self.rank),
            lora_alpha=self.alpha,  # type: ignore[arg-type]  # peft scales by any number
            lora_dropout=self.dropout,
            target_modules=target_pattern(backbone, self.target_modules, range(first, backbone.n_layers)),
        )


def target_pattern(backbone: Backbone, names: Sequence[str] | str, layers: range) -> str:
    """A regular expression for exactly these ``names`` in these ``layers`` of a ``backbone``."""
    known = backbone.targets
    asked = (names,) if isinstance(names, str) else tuple(names)
    unknown = [name for name in asked if name not in known and name not in _TARGET_GROUPS]
    if unknown or not asked:
        raise ValueError(
            f"target_modules: got {', '.join(map(repr, unknown)) or 'none'}; {backbone.name!r} has "
            f"{', '.join(known)}, and the groups {', '.join(_TARGET_GROUPS)}."
        )
    single = dict.fromkeys(name for group in asked for name in _TARGET_GROUPS.get(group, (group,)))
    paths = "|".join(re.escape(path) for name in single if name in known for path in known[name])
    indices = "|".join(map(str, layers))
    return rf"{re.escape(backbone.family.layers)}\.({indices})\.({paths})"
