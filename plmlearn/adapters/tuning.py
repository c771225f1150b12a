"""Methods that add nothing: the encoder as it is, or its own weights trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ..backbones import Backbone
from .base import Adapter, LayeredAdapter, layer_index


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

    def _put_into(self, model: nn.Module, backbone: Backbone) -> Iterable[str]:
        return ()


@dataclass(kw_only=True, eq=False, repr=False)
class FullFineTuning(LayeredAdapter):
    """Train the encoder's own weights.

    Parameters
    ----------
    last_n_layers : int, optional
        Train the last n layers only; None trains every layer, the token embeddings and the final
        norm.
    layer_lr_decay : float, default=1.0
        Each layer learns at this share of the rate of the layer above it, in (0, 1]; the top layer at
        the full rate. 0.9 is usual where lower layers are to keep what they know.

    Notes
    -----
    Tuned weights are kept in float32, with two more copies for the optimiser: 16 bytes per trained
    parameter, 10 GB for all of ESM2-650M.

    References
    ----------
    Rates by layer: Howard and Ruder, Universal language model fine-tuning for text classification, 2018,
    doi:10.18653/v1/P18-1031

    Examples
    --------
    >>> from plmlearn.adapters import FullFineTuning
    >>> FullFineTuning(last_n_layers=2)
    FullFineTuning(last_n_layers=2)
    """

    layer_lr_decay: float = 1.0

    default_lr: ClassVar[float] = 1e-4

    def lr_factors(self, backbone: Backbone) -> Mapping[str, float]:
        factors, above_embeddings = {}, False
        for name, _ in backbone.model.named_parameters():
            layer = layer_index(name, backbone)
            above_embeddings |= layer is not None
            if layer is None:  # token embeddings below all layers, or the final norm
                layer = backbone.n_layers - 1 if above_embeddings else -1
            factors[name] = self.layer_lr_decay ** (backbone.n_layers - 1 - layer)
        return factors

    def _check(self, backbone: Backbone) -> None:
        super()._check(backbone)
        if not 0 < self.layer_lr_decay <= 1:
            raise ValueError(f"layer_lr_decay lies in (0, 1], got {self.layer_lr_decay!r}")
        if backbone.quantization is not None:
            raise ValueError(
                f"FullFineTuning trains the backbone's own weights, which quantization="
                f"{backbone.quantization!r} has rounded; pass quantization=None, or adapt it by LoRA()."
            )

    def _put_into(self, model: nn.Module, backbone: Backbone) -> Iterable[str]:
        names = [name for name, _ in model.named_parameters()]
        if self.last_n_layers is None:
            return [name for name in names if not name.startswith(backbone.architecture.optional_weights)]
        return [name for name in names if layer_index(name, backbone) in self._layers(backbone)]


@dataclass(kw_only=True, eq=False, repr=False)
class LayerNormTuning(LayeredAdapter):
    """Train the encoder's layer norms: their factors and shifts, a ten-thousandth of the weights.

    Parameters
    ----------
    last_n_layers : int, optional
        Train the norms of the last n layers and the final norm; None trains all.

    References
    ----------
    Zhao et al., Tuning LayerNorm in attention, 2023, doi:10.48550/arXiv.2312.11420

    Examples
    --------
    >>> from plmlearn.adapters import LayerNormTuning
    >>> LayerNormTuning(last_n_layers=4)
    LayerNormTuning(last_n_layers=4)
    """

    default_lr: ClassVar[float] = 3e-3

    def _put_into(self, model: nn.Module, backbone: Backbone) -> Iterable[str]:
        first, above_embeddings = self.first_trained_layer(backbone.n_layers), False
        for name, module in model.named_modules():
            layer = layer_index(f"{name}.", backbone)
            above_embeddings |= layer is not None
            if layer is None:
                layer = backbone.n_layers if above_embeddings else 0
            if "norm" in type(module).__name__.lower() and layer >= first:
                yield from (f"{name}.{leaf}" for leaf, _ in module.named_parameters(recurse=False))
