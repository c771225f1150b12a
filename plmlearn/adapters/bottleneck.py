"""Bottleneck adapters: small perceptrons behind the sublayers of each layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from ..backbones import Backbone
from .base import LayeredAdapter, check_count

_SUBLAYERS = {"attention": "output", "feed_forward": "ffn_out"}
_ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


@dataclass(kw_only=True, eq=False, repr=False)
class Bottleneck(LayeredAdapter):
    """A perceptron with a narrow hidden layer behind attention and behind the feed-forward layer.

    Each takes what its sublayer passes on and adds a correction to it; it starts by adding nothing.

    Parameters
    ----------
    size : int, optional
        Width of the hidden layer, >= 1; None takes the encoder's width divided by ``reduction``.
    reduction : float, default=16
        At least 1; PEFT-SP takes 2.
    activation : {"relu", "gelu", "silu", "tanh"}, default="relu"
    layer_norm : bool, default=True
        Normalise what the perceptron reads.
    after : tuple of {"attention", "feed_forward"}, default=("attention", "feed_forward")
        Behind which sublayers.
    last_n_layers : int, optional
        Adapt the last n layers only; None adapts all.

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
    activation: str = "relu"
    layer_norm: bool = True
    after: Sequence[str] | str = ("attention", "feed_forward")

    default_lr: ClassVar[float] = 1e-3

    @property
    def _sublayers(self) -> list[str]:
        return [self.after] if isinstance(self.after, str) else list(self.after)

    def _check(self, backbone: Backbone) -> None:
        super()._check(backbone)
        if self.size is not None:
            check_count("Bottleneck size", self.size, "None (by reduction) or an int")
        if not self.reduction >= 1:
            raise ValueError(f"Bottleneck reduction is >= 1, got {self.reduction!r}")
        if self.activation not in _ACTIVATIONS:
            raise ValueError(
                f"Bottleneck activation is one of {', '.join(_ACTIVATIONS)}, got {self.activation!r}"
            )
        if not self._sublayers or not set(self._sublayers) <= set(_SUBLAYERS):
            raise ValueError(f"Bottleneck after names some of {', '.join(_SUBLAYERS)}, got {self.after!r}")

    def _put_into(self, model: nn.Module, backbone: Backbone) -> Iterable[str]:
        blocks = model.get_submodule(backbone.architecture.layers)
        for index in self._layers(backbone):
            block = blocks.get_submodule(str(index))
            for sublayer in dict.fromkeys(self._sublayers):
                (path,) = backbone.targets[_SUBLAYERS[sublayer]]
                owner, _, leaf = path.rpartition(".")
                linear = block.get_submodule(path)
                wrapped = self._wrap(linear, backbone)
                setattr(block.get_submodule(owner), leaf, wrapped)
                for name, _ in wrapped.correction.named_parameters():
                    yield f"{backbone.architecture.layers}.{index}.{path}.correction.{name}"

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
    """A linear map and the correction of what comes out of it."""

    def __init__(self, linear: nn.Module, correction: nn.Sequential):
        super().__init__()
        self.linear = linear
        self.correction = correction

    def forward(self, x: Tensor) -> Tensor:
        out = self.linear(x)
        return out + self.correction(out)
