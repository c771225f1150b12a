"""Parameters that estimators share, each declared once, in groups that their classes put together.

``BackboneParameters``, ``AdapterParameters``, ``LoRAParameters``     which encoder, and how it is adapted
``PoolingParameters``, ``HeadParameters``, ``ClassWeightParameters``  what is put on top of it
``TrainingParameters``                                                how weights change
``RuntimeParameters``                                                 how a model runs: of every estimator

Fields of a dataclass come in the reverse order of its bases, so a class names the groups that users set
first last. The docstrings of the concrete classes describe each parameter.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from os import PathLike, fspath
from os.path import isabs, isdir
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..adapters import Adapter, LoRA
from ..backbones import Backbone, load_backbone
from ..backbones.loading import absolute_name, reads_states
from ..backbones.quantization import QUANTIZATIONS
from ..nn.models import HEADS, POOLINGS
from ..sequences import truncate
from ..sequences.structure import SEQUENCES, Reader
from ..training.devices import PRECISIONS, resolve_precision
from ..training.engine import OPTIMIZERS, SCHEDULES


class Parameters(BaseEstimator):
    """A group of parameters; the constraints of all groups of a class are joined."""

    _parameter_constraints: ClassVar[dict] = {}

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        declared = [vars(base).get("_parameter_constraints", {}) for base in reversed(cls.__mro__)]
        cls._parameter_constraints = {name: rule for rules in declared for name, rule in rules.items()}


@dataclass(kw_only=True, eq=False, repr=False)
class BackboneParameters(Parameters):
    """Which encoder."""

    backbone: str | PathLike[str] = field(default="esm2-8m", kw_only=False)

    _parameter_constraints: ClassVar[dict] = {"backbone": [str, PathLike]}


def keep_place(estimator: Any) -> None:
    """Remember where the backbone of a fit lies: a relative path means another folder elsewhere."""
    name = estimator.backbone
    estimator._backbone_name = None if name is None else fspath(name)
    estimator._backbone_place = None if name is None else absolute_name(name)


def place_of(estimator: Any) -> Any:
    """Where the backbone lies: where the fit found it, or where ``set_params`` has put it since."""
    name, kept = estimator.backbone, vars(estimator)
    if "_backbone_place" not in kept:
        return name
    place = kept["_backbone_place"]
    is_same = name is None or fspath(name) == kept["_backbone_name"]
    is_gone = place is not None and isabs(place) and not isdir(place.removesuffix("#3di"))
    return place if place is None or (is_same and not is_gone) else name


@dataclass(kw_only=True, eq=False, repr=False)
class AdapterParameters(BackboneParameters):
    """How the encoder is adapted, as one object."""

    adapter: Adapter | None = None

    _parameter_constraints: ClassVar[dict] = {"adapter": [Adapter, None]}


@dataclass(kw_only=True, eq=False, repr=False)
class LoRAParameters(BackboneParameters):
    """LoRA's own parameters, spelled out."""

    rank: int = 8
    alpha: float = 16
    lora_dropout: float = 0.0
    target_modules: Sequence[str] | str = ("key", "value")
    last_n_layers: int | None = None

    # LoRA itself checks them, against the backbone.
    _parameter_constraints: ClassVar[dict] = dict.fromkeys(
        ("rank", "alpha", "lora_dropout", "target_modules", "last_n_layers"), "no_validation"
    )


def adapter_of(estimator: Any) -> Adapter:
    """The adaptation method that an estimator's parameters ask for."""
    if isinstance(estimator, AdapterParameters):
        return LoRA() if estimator.adapter is None else estimator.adapter
    return LoRA(
        rank=estimator.rank,
        alpha=estimator.alpha,
        dropout=estimator.lora_dropout,
        target_modules=estimator.target_modules,
        last_n_layers=estimator.last_n_layers,
    )


@dataclass(kw_only=True, eq=False, repr=False)
class PoolingParameters(BackboneParameters):
    """How residues become one vector."""

    pooling: Literal["mean", "max", "cls", "attention", "light_attention"] = "mean"

    _parameter_constraints: ClassVar[dict] = {"pooling": [StrOptions(set(POOLINGS))]}


@dataclass(kw_only=True, eq=False, repr=False)
class ClassWeightParameters(BackboneParameters):
    """How much each class weighs."""

    class_weight: dict | Literal["balanced"] | None = None

    _parameter_constraints: ClassVar[dict] = {"class_weight": [dict, StrOptions({"balanced"}), None]}


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
        return truncate(sequences, self.max_length, self.long_sequences)

    def _check_X(self, X: Any) -> np.ndarray:
        """Clean sequences of the caller's X, whole."""
        check = self._reader.check_with_states if self._has_states(X) else self._reader.check
        return check(X, invalid=self.invalid)

    def _has_states(self, X: Any) -> bool:
        """Whether residues of X may have structural states, and the backbone reads them.

        Only for such an X the backbone's vocabulary is looked up before X is checked.
        """
        name = place_of(self)
        return name is not None and self._reader.may_have_states(X) and reads_states(name, self.revision)

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
        "callbacks": ["array-like", None],
        "gradient_checkpointing": ["boolean"],
    }


def seed_from(random_state: Any) -> int:
    """A seed: of a number or a generator always the same one, which is not advanced; of None a new one."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31 - 1))
    return int(copy.deepcopy(check_random_state(random_state)).randint(2**31 - 1))
