"""Bottleneck adapters: small perceptrons after the sublayers of each layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar, Literal

from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from ..backbones import Backbone
from .base import COUNT, LayeredAdapter

Sublayer = Literal["attention", "feed_forward"]
_SUBLAYERS = {"attention": "output", "feed_forward": "ffn_out"}
_ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


@dataclass(kw_only=True, eq=False, repr=False)
class Bottleneck(LayeredAdapter):
    """A perceptron with a narrow hidden layer after attention and after the feed-forward layer.

    Each perceptron reads the output of its sublayer and adds a correction to it, initially 0.

    Parameters
    ----------
    size : int, optional
        Width of the hidden layer, >= 1. None takes the encoder's width divided by ``reduction``.
    reduction : float, default=16
        Ratio of the encoder's width to that of the hidden layer, >= 1; PEFT-SP uses 2. Ignored with ``size``.
    activation : {"relu", "gelu", "silu", "tanh"}, default="relu"
        Activation of the hidden layer.
    layer_norm : bool, default=True
        Normalise what the perceptron reads.
    after : str or tuple of {"attention", "feed_forward"}, default=("attention", "feed_forward")
        Sublayers that get a perceptron.
    last_n_layers : int, optional
        Adapt the last n layers only, >= 1. What lies below is then computed once per sequence and reused
        in every epoch, fold and candidate. None adapts all layers.

    See Also
    --------
    LoRA : Low-rank matrices beside those of the encoder.

    References
    ----------
    Houlsby et al., Parameter-efficient transfer learning for NLP, 2019, doi:10.48550/arXiv.1902.00751. On
    proteins: Zeng et al. 2024, doi:10.1101/gr.279132.124.

    Examples
    --------
    >>> from plmlearn.adapters import Bottleneck
    >>> Bottleneck(reduction=2, after=("feed_forward",))
    Bottleneck(after=('feed_forward',), reduction=2)
    """

    size: int | None = None
    reduction: float = 16
    activation: Literal["relu", "gelu", "silu", "tanh"] = "relu"
    layer_norm: bool = True
    after: Sequence[Sublayer] | Sublayer = ("attention", "feed_forward")

    default_lr: ClassVar[float] = 1e-3

    _parameter_constraints: ClassVar[dict] = {
        "size": [COUNT, None],
        "reduction": [Interval(Real, 1, None, closed="left")],
        "activation": [StrOptions(set(_ACTIVATIONS))],
        "layer_norm": ["boolean"],
        "after": [str, Sequence],
    }

    @property
    def _sublayers(self) -> list[str]:
        named = [self.after] if isinstance(self.after, str) else self.after
        return [name for place, name in enumerate(named) if name not in named[:place]]

    def _check(self, backbone: Backbone) -> None:
        super()._check(backbone)
        if not self._sublayers or any(name not in list(_SUBLAYERS) for name in self._sublayers):
            raise ValueError(f"Bottleneck: after names some of {', '.join(_SUBLAYERS)}, got {self.after!r}")

    def _put_into(self, model: nn.Module, backbone: Backbone) -> Iterable[Tensor]:
        blocks = model.get_submodule(backbone.architecture.layers)
        for index in self._layers(backbone):
            block = blocks.get_submodule(str(index))
            for sublayer in self._sublayers:
                (path,) = backbone.targets[_SUBLAYERS[sublayer]]
                wrapped = self._wrap(block.get_submodule(path), backbone)
                block.set_submodule(path, wrapped)
                yield from wrapped.correction.parameters()

    def _wrap(self, linear: nn.Module, backbone: Backbone) -> _WithBottleneck:
        width = backbone.config.hidden_size
        size = max(1, int(width // self.reduction)) if self.size is None else int(self.size)
        norm = nn.LayerNorm(width) if self.layer_norm else nn.Identity()
        correction = nn.Sequential(
            norm, nn.Linear(width, size), _ACTIVATIONS[self.activation](), nn.Linear(size, width)
        )
        nn.init.zeros_(correction[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(correction[-1].bias)  # type: ignore[arg-type]
        return _WithBottleneck(linear, correction.to(next(linear.parameters()).device))


class _WithBottleneck(nn.Module):
    """A linear map and the correction of its output, (…, D) to (…, D)."""

    def __init__(self, linear: nn.Module, correction: nn.Sequential):
        super().__init__()
        self.linear = linear
        self.correction = correction

    def forward(self, x: Tensor) -> Tensor:
        out = self.linear(x)
        return out + self.correction(out)
