"""Methods that add nothing to the encoder: it stays frozen, or its own weights are trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

from sklearn.utils._param_validation import Interval
from torch import Tensor, nn

from ..backbones import Backbone
from .base import Adapter, LayeredAdapter, layer_index


@dataclass(kw_only=True, eq=False, repr=False)
class Frozen(Adapter):
    """Train only the head, on the unchanged encoder.

    See Also
    --------
    plmlearn.PLMFrozenMLP : A perceptron on frozen embeddings.
    plmlearn.PLMEmbedder : Embeddings of a frozen backbone.

    Examples
    --------
    >>> from plmlearn.adapters import Frozen
    >>> Frozen()
    Frozen()
    """

    default_lr: ClassVar[float] = 1e-3

    def first_trained_layer(self, n_layers: int) -> int:
        return n_layers

    def _put_into(self, model: nn.Module, backbone: Backbone) -> Iterable[Tensor]:
        return ()


@dataclass(kw_only=True, eq=False, repr=False)
class FullFineTuning(LayeredAdapter):
    """Train the encoder's own weights.

    Parameters
    ----------
    last_n_layers : int, optional
        Train the last n layers only, >= 1. What lies below is then computed once per sequence and reused
        in every epoch, fold and candidate. None trains all layers, the token embeddings and the final norm.
    layer_lr_decay : float, default=1.0
        The learning rate of each layer as a share of the rate of the layer above it, in (0, 1]. The top
        layer learns at the full rate. 0.9 is usual where lower layers should change little.

    See Also
    --------
    LoRA : Low-rank matrices beside those of the encoder.
    LayerNormTuning : Trains the layer norms.
    torch.optim.AdamW : What changes the weights by default.

    Notes
    -----
    Trained weights are kept in float32, with gradients and two more copies for the optimiser: 16 bytes per
    trained parameter, 10 GB for all of ESM2-650M.

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

    _parameter_constraints: ClassVar[dict] = {"layer_lr_decay": [Interval(Real, 0, 1, closed="right")]}

    def lr_factors(self, backbone: Backbone) -> Mapping[str, float]:
        names = [name for name, _ in backbone.model.named_parameters()]
        top = backbone.n_layers - 1
        layers = zip(names, _heights(names, backbone), strict=True)
        return {name: self.layer_lr_decay ** (top - min(layer, top)) for name, layer in layers}

    def _check(self, backbone: Backbone) -> None:
        super()._check(backbone)
        if backbone.quantization is not None:
            raise ValueError(
                f"FullFineTuning trains the backbone's own weights, which quantization="
                f"{backbone.quantization!r} has rounded; pass quantization=None, or adapt it with LoRA()."
            )

    def _put_into(self, model: nn.Module, backbone: Backbone) -> Iterable[Tensor]:
        for name, tensor in model.named_parameters():
            is_unused = name.startswith(backbone.architecture.optional_weights)
            is_adapted = self.last_n_layers is None or layer_index(name, backbone) in self._layers(backbone)
            if is_adapted and not is_unused:
                yield tensor


@dataclass(kw_only=True, eq=False, repr=False)
class LayerNormTuning(LayeredAdapter):
    """Train the encoder's layer norms: their factors and shifts, a ten-thousandth of the weights.

    Parameters
    ----------
    last_n_layers : int, optional
        Train the norms of the last n layers and the final norm only, n >= 1. What lies below is then computed
        once per sequence and reused in every epoch, fold and candidate. None, or the number of all layers,
        trains all norms, that of the embeddings too.

    See Also
    --------
    FullFineTuning : Trains the encoder itself.
    IA3 : Trains scales of keys, values and hidden features.

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

    def _put_into(self, model: nn.Module, backbone: Backbone) -> Iterable[Tensor]:
        modules, first = dict(model.named_modules()), self.first_trained_layer(backbone.n_layers)
        heights = _heights([f"{name}." for name in modules], backbone)
        for module, layer in zip(modules.values(), heights, strict=True):
            if "norm" in type(module).__name__.lower() and (layer >= first or first == 0):
                yield from module.parameters(recurse=False)


def _heights(names: Iterable[str], backbone: Backbone) -> Iterator[int]:
    """The layer of each name, in the model's order: -1 below all layers, ``n_layers`` above them."""
    outside = -1
    for name in names:
        layer = layer_index(name, backbone)
        outside = outside if layer is None else backbone.n_layers
        yield outside if layer is None else layer
