"""Parameters that estimators share, each declared once, in groups that their classes put together.

``BackboneParameters``, ``AdapterParameters``, ``LoRAParameters``     which encoder, and how it is adapted
``PoolingParameters``, ``HeadParameters``, ``ClassWeightParameters``  what is put on top of it
``TrainingParameters``                                                how weights change
``CutParameters``                                                     how much of the encoder runs
``RuntimeParameters``                                                 how a model runs: of every estimator

Fields of a dataclass come in the reverse order of its bases, so a class names the groups that users set
first last. The docstrings of the concrete classes describe each parameter.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..adapters import Adapter, LoRA
from ..adapters.base import Parameters
from ..adapters.names import ADAPTER_FORMS, AdapterName, as_adapter
from ..backbones import (
    Backbone,
    BackboneNotFoundError,
    BackboneWeightsError,
    check_fingerprint,
    load_backbone,
)
from ..backbones.loading import absolute_name, looking_for_fitted, reads_states
from ..backbones.quantization import QUANTIZATIONS
from ..messages import warn
from ..nn.models import HEADS, POOLINGS
from ..sequences import truncate
from ..sequences.clean import check_parameters
from ..sequences.structure import SEQUENCES, Reader
from ..training.devices import PRECISIONS, resolve_device, resolve_precision
from ..training.engine import OPTIMIZERS, SCHEDULES
from .summary import fitted_rows, summary_html

if TYPE_CHECKING:
    from peft import PeftConfig


@dataclass(kw_only=True, eq=False, repr=False)
class BackboneParameters(Parameters):
    """Which encoder."""

    backbone: str | PathLike[str] = field(default="esm2-8m", kw_only=False)

    _parameter_constraints: ClassVar[dict] = {"backbone": [str, PathLike]}


@dataclass(kw_only=True, eq=False, repr=False)
class CutParameters(Parameters):
    """How much of the encoder."""

    n_layers: int | None = None
    final_norm: bool = True

    _parameter_constraints: ClassVar[dict] = {
        "n_layers": [Integral, None],  # the backbone knows how many it has
        "final_norm": ["boolean"],
    }

    @property
    def _cut(self) -> dict[str, Any]:
        """Where the encoder ends, as ``load_backbone`` takes it."""
        return {"n_layers": self.n_layers, "final_norm": self.final_norm}


def keep_place(estimator: Any) -> None:
    """Remember where the backbone of a fit lies: a relative path means another folder elsewhere."""
    name = estimator.backbone
    estimator._backbone_name = None if name is None else fspath(name)
    estimator._backbone_place = None if name is None else absolute_name(name)


def places_of(estimator: Any) -> list[Any]:
    """Where the backbone may lie: where the fit found it, then where ``set_params`` has put it since."""
    place = vars(estimator).get("_backbone_place", estimator.backbone)
    places = [] if place is None else [place, estimator.backbone]
    return list(dict.fromkeys(fspath(name) for name in places if name is not None))


def fitted_place(estimator: Any, **options: Any) -> Any:
    """The first of these places that holds the backbone of the fit; None where it began without one.

    Raises
    ------
    BackboneNotFoundError, BackboneWeightsError
        None of them does; the message says how to name another.
    """
    places, device = places_of(estimator), resolve_device(estimator.device)
    for place in places:
        try:
            with looking_for_fitted():
                backbone = estimator._load_backbone(place, device, **options)
            check_fingerprint(backbone, estimator.backbone_fingerprint_)
        except (BackboneNotFoundError, BackboneWeightsError):
            if place == places[-1]:
                raise
        else:
            return place
    return None


class AdapterChoice(Parameters):
    """A parameter ``adapter`` whose own parameters can be set whatever form it was given in."""

    adapter: Any
    _default_adapter: ClassVar[type[Adapter]]

    _parameter_constraints: ClassVar[dict] = {"adapter": ADAPTER_FORMS}

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name, those of the adapter as ``adapter__rank``.

        Parameters
        ----------
        **params
            Where ``adapter`` is None or a name, ``adapter__rank`` sets the rank of the adapter that it
            stands for.

        Returns
        -------
        self
        """
        if any(name.startswith("adapter__") for name in params):
            adapter = params.get("adapter", self.adapter)
            check_parameters(self._parameter_constraints, {"adapter": adapter}, type(self).__name__)
            params = {**params, "adapter": as_adapter(adapter, self._default_adapter)}
        return super().set_params(**params)


@dataclass(kw_only=True, eq=False, repr=False)
class AdapterParameters(AdapterChoice, BackboneParameters):
    """How the encoder is adapted, in one parameter."""

    adapter: Adapter | AdapterName | PeftConfig | None = None

    _default_adapter: ClassVar[type[Adapter]] = LoRA


_OF_LORA = ("rank", "alpha", "lora_dropout", "target_modules", "last_n_layers")


@dataclass(kw_only=True, eq=False, repr=False)
class LoRAParameters(BackboneParameters):
    """LoRA's own parameters, spelled out."""

    rank: int = 8
    alpha: float = 16
    lora_dropout: float = 0.0
    target_modules: Sequence[str] | str = "all"
    last_n_layers: int | None = None

    _parameter_constraints: ClassVar[dict] = {
        name: LoRA._parameter_constraints[name.removeprefix("lora_")] for name in _OF_LORA
    }


def adapter_of(estimator: Any) -> Adapter:
    """The adaptation method that an estimator's parameters ask for."""
    if isinstance(estimator, AdapterChoice):
        return as_adapter(estimator.adapter, estimator._default_adapter)._plain()
    flat = {name.removeprefix("lora_"): getattr(estimator, name) for name in _OF_LORA}
    return LoRA(**flat)._plain()


def _method_of(estimator: Any) -> str:
    """How the backbone is adapted, in words."""
    if isinstance(estimator, AdapterChoice):
        given = estimator.adapter
        return str(estimator._default_adapter() if given is None else given)
    return str(adapter_of(estimator)) if isinstance(estimator, LoRAParameters) else "frozen backbone"


@dataclass(kw_only=True, eq=False, repr=False)
class PoolingParameters(BackboneParameters):
    """How residues become one vector."""

    pooling: Literal["mean", "max", "cls", "attention", "light_attention"] = "mean"

    _parameter_constraints: ClassVar[dict] = {"pooling": [StrOptions(set(POOLINGS))]}


@dataclass(kw_only=True, eq=False, repr=False)
class ClassWeightParameters(BackboneParameters):
    """How much each class weighs."""

    class_weight: dict | list[dict] | Literal["balanced"] | None = None

    _parameter_constraints: ClassVar[dict] = {"class_weight": [dict, list, StrOptions({"balanced"}), None]}


@dataclass(kw_only=True, eq=False, repr=False)
class HeadParameters(Parameters):
    """What is put on top of the encoder."""

    head: str = "esm"
    head_hidden: int | None = None
    head_dropout: float = 0.1
    standardize: bool = True
    layer_mixing: bool = False
    backbone_init: Literal["pretrained", "random"] = "pretrained"

    _parameter_constraints: ClassVar[dict] = {
        "head": [StrOptions(set(HEADS))],
        "head_hidden": [Interval(Integral, 1, None, closed="left"), None],
        "head_dropout": [Interval(Real, 0, 1, closed="left")],
        "standardize": ["boolean"],
        "layer_mixing": ["boolean"],
        "backbone_init": [StrOptions({"pretrained", "random"})],
    }


@dataclass(kw_only=True, eq=False, repr=False)
class RuntimeParameters(Parameters):
    """How sequences are read, and where and how a model runs."""

    max_length: int = 1022
    long_sequences: Literal["truncate", "window", "raise"] = "truncate"
    invalid: Literal["raise", "replace"] = "raise"
    max_tokens: int | Literal["auto"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    quantization: Literal["int8", "nf4"] | None = None
    compile: bool = False
    device: str = "auto"
    revision: str | None = None

    _parameter_constraints: ClassVar[dict] = {
        "max_length": [Interval(Integral, 1, 10_000, closed="both")],
        "long_sequences": [StrOptions({"truncate", "window", "raise"})],
        "invalid": [StrOptions({"raise", "replace"})],
        "max_tokens": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "precision": [StrOptions(set(PRECISIONS))],
        "quantization": [StrOptions(set(QUANTIZATIONS)), None],
        "compile": ["boolean"],
        "device": [str],
        "revision": [str, None],
    }

    _reader: ClassVar[Reader] = SEQUENCES
    # Whether only the first max_length residues matter, so that nothing is lost when the rest is cut.
    _reads_starts: ClassVar[bool] = False

    def _clean(self, X: Any) -> tuple[np.ndarray, int]:
        """Clean sequences, the long ones dealt with as asked for, and how many lost residues."""
        sequences = self._check_X(X)
        if self._reads_starts:
            return np.array([s[: self.max_length] for s in sequences], dtype=object), 0
        return truncate(sequences, int(self.max_length), self.long_sequences)

    def _check_X(self, X: Any) -> np.ndarray:
        """Clean sequences of the caller's X, whole."""
        check = self._reader.check_with_states if self._has_states(X) else self._reader.check
        return check(X, invalid=self.invalid)

    def _has_states(self, X: Any) -> bool:
        """Whether residues of X may have structural states, and the backbone reads them.

        Only for such an X the backbone's vocabulary is looked up before X is checked.
        """
        places = places_of(self)
        return bool(places) and self._reader.may_have_states(X) and reads_states(places[0], self.revision)

    @property
    def _window(self) -> int | None:
        """Residues of the largest window, where long sequences are read in several."""
        return int(self.max_length) if self.long_sequences == "window" else None

    def _load_backbone(self, name: str | PathLike[str], device: torch.device, **options: Any) -> Backbone:
        precision: Any = resolve_precision(self.precision, device)
        return load_backbone(
            name,
            revision=self.revision,
            device=device,
            precision=precision,
            quantization=self.quantization,
            **options,
        )

    def _html_repr(self) -> str:
        """What a notebook shows: method, backbone, size and scores; parameters folded."""
        parameters: Any = self
        name = "none, new weights" if parameters.backbone is None else str(parameters.backbone)
        if isinstance(self, CutParameters) and self.n_layers is not None:
            name += f", cut after layer {self.n_layers}"
        rows = {"method": _method_of(self), "backbone": name, **fitted_rows(vars(self))}
        return summary_html(type(self).__name__, rows, super()._html_repr())

    @property
    def fitted_(self) -> bool:
        """True after ``fit``, and missing before: MAPIE looks for an attribute of this name."""
        check_is_fitted(self)
        return True

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags


# What methods of a fitted estimator read of its parameters.
USED_AFTER_FIT = {f.name for f in fields(RuntimeParameters)} | {"predict_output", "gradient_checkpointing"}


@dataclass(kw_only=True, eq=False, repr=False)
class TrainingParameters(Parameters):
    """How weights change."""

    epochs: int = 10
    lr: float | None = None
    batch_size: int = 16
    head_lr: float | None = None
    weight_decay: float = 0.01
    optimizer: Literal["adamw", "adamax"] = "adamw"
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: float = 0.1
    gradient_clip: float | None = 1.0
    early_stopping: bool = False
    validation_fraction: float = 0.1
    patience: int = 5
    scoring: str | Callable | None = None
    warm_start: bool = False
    random_state: int | np.random.RandomState | None = None
    verbose: int = 1
    callbacks: Sequence | None = None
    gradient_checkpointing: bool = False

    _parameter_constraints: ClassVar[dict] = {
        "epochs": [Interval(Integral, 1, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "head_lr": [Interval(Real, 0, None, closed="neither"), None],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "optimizer": [StrOptions(set(OPTIMIZERS))],
        "schedule": [StrOptions(set(SCHEDULES))],
        "warmup": [Interval(Real, 0, 1, closed="both")],
        "gradient_clip": [Interval(Real, 0, None, closed="neither"), None],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "scoring": [str, callable, None],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "callbacks": [list, tuple, None],
        "gradient_checkpointing": ["boolean"],
    }


def warn_of_idle(estimator: Any, idle: Mapping[str, str]) -> None:
    """One warning that names the parameters which were set and have no effect.

    Parameters
    ----------
    estimator : dataclass
        Its defaults tell which parameters were set.
    idle : mapping of str to str
        What there is to say of parameters that this fit does not use, by name.
    """
    defaults = {f.name: f.default for f in fields(estimator)}
    values = {name: getattr(estimator, name) for name in idle}
    were_set = [name for name, value in values.items() if value is not None and value != defaults[name]]
    found = [f"{name}={values[name]!r} {idle[name]}" for name in were_set]
    if found:
        warn(f"{type(estimator).__name__} has parameters without effect: {'; '.join(found)}.")


def seed_from(random_state: Any) -> int:
    """A seed: of a number or a generator always the same one, which is not advanced; of None a new one."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31 - 1))
    return int(copy.deepcopy(check_random_state(random_state)).randint(2**31 - 1))
