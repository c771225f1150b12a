"""What every method is: settings, a check against the backbone, and the tensors it trains.

A new method is one class with ``_put_into``, which changes a copy of the model and names what is
trained in it; CONTRIBUTING.md shows one.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import ClassVar

from sklearn.base import BaseEstimator
from torch import Tensor, nn

from ..backbones import Backbone

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
        trained = set(self._put_into(model, backbone))
        named = dict(model.named_parameters())
        owned = {id(tensor): _owned(tensor) for name, tensor in named.items() if name in trained}
        for module in model.modules():
            for leaf, tensor in list(module.named_parameters(recurse=False, remove_duplicate=False)):
                if id(tensor) in owned:
                    setattr(module, leaf, owned[id(tensor)])
                else:
                    tensor.requires_grad_(False)
        return model

    @abstractmethod
    def first_trained_layer(self, n_layers: int) -> int:
        """Index of the lowest layer that holds a trained tensor; ``n_layers`` when none does."""

    @abstractmethod
    def _put_into(self, model: nn.Module, backbone: Backbone) -> Iterable[str]:
        """Change the model, and name the parameters that are trained in it.

        Named parameters may still be the backbone's own: they are copied afterwards.
        """

    def _check(self, backbone: Backbone) -> None:
        """Raise where the settings do not fit the backbone."""

    # What a method may do during training beside following gradients.

    def lr_factors(self, backbone: Backbone) -> Mapping[str, float]:
        """Factors on the learning rate, by name of the backbone's parameter; 1 where none is given."""
        return {}

    def penalty(self, model: nn.Module) -> Tensor | None:
        """What is added to the loss of an optimiser step; None adds nothing."""
        return None

    def after_step(self, model: nn.Module, step: int, n_steps: int) -> None:
        """Called after optimiser step ``step`` (from 1) of ``n_steps``; gradients are still there.

        An adapter may keep notes in itself: the training loop calls a copy made for the run.
        """


@dataclass(kw_only=True, eq=False, repr=False)
class LayeredAdapter(Adapter):
    """A method that can be kept to the last layers; see the concrete classes."""

    last_n_layers: int | None = None

    def first_trained_layer(self, n_layers: int) -> int:
        return 0 if self.last_n_layers is None else n_layers - int(self.last_n_layers)

    def _layers(self, backbone: Backbone) -> range:
        """Indices of the adapted layers."""
        return range(self.first_trained_layer(backbone.n_layers), backbone.n_layers)

    def _check(self, backbone: Backbone) -> None:
        last = self.last_n_layers
        if last is None:
            return
        check_count("last_n_layers", last, "None (all layers) or an int")
        if int(last) > backbone.n_layers:
            raise ValueError(
                f"last_n_layers={last}, but {backbone.name!r} has {backbone.n_layers} layers; "
                f"pass at most {backbone.n_layers}, or None for all."
            )


def check_count(name: str, value: object, expected: str = "an int") -> None:
    """Raise where a setting is no integer of at least 1."""
    if not isinstance(value, Integral) or int(value) < 1:
        raise ValueError(f"{name} is {expected} >= 1, got {value!r}")


def check_share(name: str, value: float) -> None:
    """Raise where a setting is no share below 1."""
    if not 0 <= value < 1:
        raise ValueError(f"{name} lies in [0, 1), got {value!r}")


def check_positive(name: str, value: float) -> None:
    """Raise where a setting is not above 0."""
    if not value > 0:
        raise ValueError(f"{name} is > 0, got {value!r}")


def layer_index(name: str, backbone: Backbone) -> int | None:
    """Which layer a parameter of this name lies in; None outside of the layers."""
    found = re.match(rf"{re.escape(backbone.architecture.layers)}\.(\d+)\.", name)
    return None if found is None else int(found[1])


def target_names(backbone: Backbone, names: Sequence[str] | str) -> list[str]:
    """plmlearn's names of a backbone's matrices, groups spelled out; one error for what it lacks."""
    known = backbone.targets
    asked = (names,) if isinstance(names, str) else tuple(names)
    unknown = [name for name in asked if name not in known and name not in _TARGET_GROUPS]
    if unknown or not asked:
        raise ValueError(
            f"target_modules: got {', '.join(map(repr, unknown)) or 'none'}; {backbone.name!r} has "
            f"{', '.join(known)}, and the groups {', '.join(_TARGET_GROUPS)}."
        )
    single = dict.fromkeys(name for group in asked for name in _TARGET_GROUPS.get(group, (group,)))
    return [name for name in single if name in known]


def target_pattern(backbone: Backbone, names: Sequence[str] | str, layers: range) -> str:
    """A regular expression for exactly these ``names`` in these ``layers`` of a ``backbone``."""
    single = target_names(backbone, names)
    paths = "|".join(re.escape(path) for name in single for path in backbone.targets[name])
    return layer_path(backbone, f"({'|'.join(map(str, layers))})", f"({paths})")


def layer_path(backbone: Backbone, layer: str, path: str) -> str:
    """Regular expression for what lies at ``path`` in ``layer``, both regular expressions."""
    return rf"{re.escape(backbone.architecture.layers)}\.{layer}\.{path}"


def _owned(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach().float().clone())
