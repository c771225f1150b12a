"""The protocol of adaptation methods: settings, checks, and the tensors that a method trains.

``Parameters`` declares ranges of settings once, for adapters and estimators alike.

A new method is one class. It must have ``default_lr`` and ``_put_into``, which changes a copy of the
model and returns what is trained in it; :class:`LayeredAdapter` provides ``first_trained_layer``.
The rest has defaults: ``_check``, ``undecayed``, ``lr_factors``, ``penalty`` and ``after_step``.
CONTRIBUTING.md shows an example.
"""

from __future__ import annotations

import copy
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn

from ..backbones import Backbone
from ..sequences.clean import check_parameters

# Ranges of settings, for _parameter_constraints.
COUNT = Interval(Integral, 1, None, closed="left")
POSITIVE = Interval(Real, 0, None, closed="neither")
SHARE = Interval(Real, 0, 1, closed="left")

TargetModule = Literal["query", "key", "value", "output", "ffn_in", "ffn_out", "attention", "all"]
"""plmlearn's names of matrices in a layer, and of two groups of them."""

_TARGET_GROUPS = {
    "attention": ("query", "key", "value", "output"),
    "all": ("query", "key", "value", "output", "ffn_in", "ffn_out"),
}


class Parameters(BaseEstimator):
    """Settings with declared ranges; a class has those of all its bases.

    ``fit`` checks every parameter with ``_check_parameters``, and so does each method that uses some of them
    again, because ``set_params`` may have changed them since. Then it computes with ``_plain`` numbers.
    """

    _parameter_constraints: ClassVar[dict] = {}

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        declared = [vars(base).get("_parameter_constraints", {}) for base in reversed(cls.__mro__)]
        cls._parameter_constraints = {name: rule for rules in declared for name, rule in rules.items()}

    def _check_parameters(self, names: Collection[str] | None = None) -> None:
        """Refuse values out of range, of all parameters or of those in ``names``."""
        values = self.get_params(deep=False)
        asked = {name: value for name, value in values.items() if names is None or name in names}
        check_parameters(self._parameter_constraints, asked, type(self).__name__)

    def _plain(self) -> Self:
        """A copy with Python's own numbers: NumPy's overflow at their width, and JSON has none of them."""
        copied = copy.copy(self)
        for name, value in self.get_params(deep=False).items():
            setattr(copied, name, plain(value))
        return copied


def plain(value: Any) -> Any:
    """A number as bool, int or float, text as str; anything else as it is."""
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, Real) and not isinstance(value, Integral):
        return float(value)
    return str(value) if isinstance(value, np.str_) else value


class Adapter(Parameters, ABC):
    """A way to adapt an encoder; see the concrete classes.

    See Also
    --------
    LoRA : Low-rank matrices beside those of the encoder.
    PeftAdapter : Any method of peft.

    Examples
    --------
    >>> from plmlearn.adapters import Adapter, LoRA
    >>> isinstance(LoRA(), Adapter)
    True
    """

    default_lr: ClassVar[float]
    """Learning rate that suits the method with AdamW."""

    undecayed: ClassVar[tuple[str, ...]] = ()
    """Names of trained tensors of two axes that hold a vector: scales of features, singular values.

    They are exempt from weight decay, as all tensors of one axis are (biases, norms, vectors).
    """

    def install(self, backbone: Backbone) -> nn.Module:
        """Build a model over the backbone's tensors with this method's trained tensors in it.

        Trained tensors are float32 and require gradients; the backbone's own start from the values that
        are stored, which its precision may have rounded. All others are shared and do not.
        Initial values come from torch's global random state.

        Parameters
        ----------
        backbone : Backbone

        Returns
        -------
        nn.Module

        Raises
        ------
        ValueError
            If a setting is out of range or does not fit the backbone.
        """
        self._check_parameters()
        self._check(backbone)
        model = backbone.share()
        trained = list(self._put_into(model, backbone))
        originals = backbone.originals(trained)
        copies = {id(t): originals.get(id(t), t.detach().float().clone()) for t in trained}
        owned = {key: nn.Parameter(tensor) for key, tensor in copies.items()}
        for module in model.modules():
            for leaf, tensor in list(module.named_parameters(recurse=False, remove_duplicate=False)):
                if id(tensor) in owned:
                    setattr(module, leaf, owned[id(tensor)])
                else:
                    tensor.requires_grad_(False)
        return model

    def decays(self, name: str, tensor: Tensor) -> bool:
        """Whether weight decay applies to a trained tensor of the encoder.

        It depends on the kind of the tensor: a matrix of a single row or column decays like any other.

        Parameters
        ----------
        name : str
            Of the parameter in the model.
        tensor : Tensor
        """
        return tensor.ndim >= 2 and not set(self.undecayed) & set(name.split("."))

    @abstractmethod
    def first_trained_layer(self, n_layers: int) -> int:
        """Index of the lowest layer that holds a trained tensor; ``n_layers`` when none does."""

    @abstractmethod
    def _put_into(self, model: nn.Module, backbone: Backbone) -> Iterable[Tensor]:
        """Change the model, and return the parameters that are trained in it.

        They may be the backbone's own: :meth:`install` replaces them by copies.
        """

    def _check(self, backbone: Backbone) -> None:
        """Raise an error if the settings do not fit the backbone or one another."""

    # What a method may do during training, apart from following gradients.

    def lr_factors(self, backbone: Backbone) -> Mapping[str, float]:
        """Factors on the learning rate, by name of the backbone's parameter; 1 where none is given."""
        return {}

    def penalty(self, model: nn.Module) -> Tensor | None:
        """A scalar to add to the loss of an optimiser step; None adds nothing."""
        return None

    def after_step(self, model: nn.Module, step: int, n_steps: int) -> None:
        """Called after optimiser step ``step`` (from 1) of ``n_steps``; gradients are still there.

        An adapter may keep state in itself: the training loop calls a copy made for the run.
        """


@dataclass(kw_only=True, eq=False, repr=False)
class LayeredAdapter(Adapter):
    """A method that can be limited to the last layers; see the concrete classes."""

    last_n_layers: int | None = None

    _parameter_constraints: ClassVar[dict] = {"last_n_layers": [COUNT, None]}

    def first_trained_layer(self, n_layers: int) -> int:
        return 0 if self.last_n_layers is None else n_layers - int(self.last_n_layers)

    def _layers(self, backbone: Backbone) -> range:
        """Indices of the adapted layers."""
        return range(self.first_trained_layer(backbone.n_layers), backbone.n_layers)

    def _check(self, backbone: Backbone) -> None:
        if self.last_n_layers is not None and int(self.last_n_layers) > backbone.n_layers:
            raise ValueError(
                f"last_n_layers={self.last_n_layers}, but {backbone.name!r} has {backbone.n_layers} layers; "
                f"pass at most {backbone.n_layers}, or None for all."
            )


def layer_index(name: str, backbone: Backbone) -> int | None:
    """Which layer a parameter of this name lies in; None outside of the layers."""
    found = re.match(rf"{re.escape(backbone.architecture.layers)}\.(\d+)\.", name)
    return None if found is None else int(found[1])


def target_names(backbone: Backbone, names: Sequence[str] | str) -> list[str]:
    """plmlearn's names of a backbone's matrices, groups spelled out; one error for all unknown names."""
    known = backbone.targets
    several = (
        isinstance(names, (Sequence, Set, np.ndarray)) and np.iterable(names) and not isinstance(names, str)
    )
    asked: tuple[Any, ...] = tuple(names) if several else (names,)
    unknown = [name for name in asked if not isinstance(name, str) or name not in {*known, *_TARGET_GROUPS}]
    if unknown or not asked:
        raise ValueError(
            f"target_modules: got {', '.join(map(repr, unknown)) or 'none'}; {backbone.name!r} has "
            f"{', '.join(known)}, and the groups {', '.join(_TARGET_GROUPS)}."
        )
    single = dict.fromkeys(name for group in asked for name in _TARGET_GROUPS.get(group, (group,)))
    return [name for name in single if name in known]


def target_pattern(backbone: Backbone, names: Sequence[str] | str, layers: range) -> str:
    """A regular expression for exactly these matrices in these layers of a backbone.

    Parameters
    ----------
    backbone : Backbone
    names : str or sequence of str
        plmlearn's names, such as "key" or "attention".
    layers : range
        Indices of layers.

    Returns
    -------
    str

    See Also
    --------
    LoRA : Low-rank matrices beside those of the encoder.
    PeftAdapter : Any method of peft.

    Examples
    --------
    >>> from plmlearn.adapters import target_pattern
    >>> from plmlearn.backbones import load_backbone
    >>> pattern = target_pattern(load_backbone("mini"), ["key", "value"], range(2, 4))
    """
    single = target_names(backbone, names)
    paths = "|".join(re.escape(path) for name in single for path in backbone.targets[name])
    return layer_path(backbone, f"({'|'.join(map(str, layers))})", f"({paths})")


def layer_path(backbone: Backbone, layer: str, path: str) -> str:
    """Regular expression for what lies at ``path`` in ``layer``, both regular expressions."""
    return rf"{re.escape(backbone.architecture.layers)}\.{layer}\.{path}"


@dataclass(kw_only=True, eq=False, repr=False)
class PeftMethod(LayeredAdapter):
    """A method of peft; see the concrete classes."""

    target_modules: Sequence[TargetModule] | TargetModule | None = "all"

    _parameter_constraints: ClassVar[dict] = {"target_modules": [str, Sequence, None]}

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
        import peft
        from peft.tuners.tuners_utils import BaseTunerLayer

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
