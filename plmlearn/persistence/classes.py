"""The classes that are built from files, and what state each of them may have there."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from numbers import Integral
from typing import Any

import numpy as np
import peft
import safetensors.numpy
from sklearn.base import BaseEstimator
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import LabelBinarizer, StandardScaler
from sklearn.utils._param_validation import InvalidParameterError

from .. import adapters
from ..estimators import (
    frozen,
    pair,
    protein,
    residue,
    residue_targets,
    signal_paths,
    signal_peptides,
    targets,
)
from ..estimators.embedder import PLMEmbedder
from ..estimators.ensemble import PLMEnsemble
from ..fitness import PLMFitnessRegressor
from ..fitness.target import FitnessTarget
from ..pretraining import PLMMaskedLM
from ..sequences.clean import check_parameters
from .rules import (
    FLAG,
    LABELS,
    LARGEST,
    MATRIX,
    NAME,
    NAMES,
    NOTHING,
    SEQUENCES,
    TEXT,
    VALUES,
    Rule,
    SavedModelError,
    by_name,
    each,
    instance,
    number,
    one_of,
    shown,
    whole,
)

State = Mapping[str, Any]


@dataclass(frozen=True)
class Saved:
    """One class that folders hold.

    Parameters
    ----------
    cls : type
    needed : mapping of str to Rule
        Attributes without which an object of the class cannot be used.
    check : callable, optional
        What must hold between attributes; called with this object, a state and its place.
    is_model : bool
        Whether a folder holds it by itself, not only as a part.
    """

    cls: Any
    needed: Mapping[str, Rule] = field(default_factory=dict)
    check: Callable[[Saved, State, str], None] | None = None
    is_model: bool = False

    def check_state(self, state: State, path: str) -> None:
        """Raise an error if an object with that state, found at ``path``, could not be used."""
        for name in state.keys() - self.parameter_names - self.needed.keys():
            self._check_extra(name, path)
        for name, rule in self.needed.items():
            if name not in state:
                raise SavedModelError(f"{path}.{name} is missing; expected {rule.expected}.")
            rule.check(f"{path}.{name}", state[name])
        for name in _PLACE.keys() & state.keys():
            _PLACE[name].check(f"{path}.{name}", state[name])
        for name in self.parameter_names - state.keys():
            if not hasattr(self.cls, name):
                raise SavedModelError(f"{path}.{name} is missing; {self.cls.__name__} has no default for it.")
        self.check_parameters(state, path)
        if self.check is not None:
            self.check(self, state, path)

    def check_parameters(self, state: State, path: str) -> None:
        """Raise an error if a parameter has a value that ``fit`` would refuse."""
        for name in _RULES.keys() & state.keys() & self.parameter_names:
            _RULES[name].check(f"{path}.{name}", state[name])
        try:
            check_parameters(getattr(self.cls, "_parameter_constraints", {}), state, self.cls.__name__)
        except InvalidParameterError as error:
            raise SavedModelError(f"{path}: {str(error)[:500]}") from None

    @property
    def parameter_names(self) -> set[str]:
        """Parameters of the constructor."""
        return set(self.cls._get_param_names()) if issubclass(self.cls, BaseEstimator) else set()

    def _check_extra(self, name: str, path: str) -> None:
        """An estimator may have further attributes, named as a fit names them; none hides a method."""
        hidden = inspect.getattr_static(self.cls, name, None)
        of_a_fit = not self.is_model or name.startswith("_") or name.endswith("_")
        hides = callable(hidden) or hasattr(hidden, "__get__")
        if hides or not of_a_fit or not issubclass(self.cls, BaseEstimator):
            raise SavedModelError(f"{path}.{name}: no attribute of {self.cls.__name__} has that name.")


# Where the backbone of a fit lay.
_PLACE = dict.fromkeys(("_backbone_name", "_backbone_place"), TEXT | NOTHING)

# Of parameters whose constraints say nothing about what is inside them.
_NAMES = NAMES | NAME | NOTHING
_RULES = {
    "target_modules": _NAMES,
    "after": _NAMES,
    "rank_pattern": by_name(whole()) | NOTHING,
    "alpha_pattern": by_name(number()) | NOTHING,
    "config": Rule("a configuration of peft", lambda value: isinstance(value, peft.PeftConfig)),
}


# -- targets ----------------------------------------------------------------------------------


def _check_scale(_: Saved, state: State, path: str) -> None:
    mean, scale, one = state["mean"], state["scale"], state["one_dimensional"]
    if len(mean) != len(scale) or not (scale >= 0).all() or (one and len(mean) != 1):
        raise SavedModelError(
            f"{path}: mean {shown(mean)}, scale {shown(scale)} and one_dimensional={one} do not fit together."
        )


def _check_classes(_: Saved, state: State, path: str) -> None:
    n, constraints = len(state["classes"]), state["constraints"]
    if len(state["shares"]) != n or len(state["weights"]) != n or (state["shares"] < 0).any():
        raise SavedModelError(f"{path}: shares and weights do not fit {n} classes.")
    if state["as_text"] and state["classes"].dtype.kind != "U":
        raise SavedModelError(f"{path}.as_text is True, and classes is {shown(state['classes'])}.")
    if constraints is None:
        return
    arrays = {name: part for name, part in constraints.items() if isinstance(part, np.ndarray)}
    found = {name: part.shape for name, part in arrays.items() if part.dtype.kind == "b"}
    expected = dict(zip(residue_targets.CONSTRAINTS, ((n, n), (n,), (n,)), strict=True))
    if found != expected or len(constraints) != len(expected):
        raise SavedModelError(f"{path}.constraints is {shown(constraints)}; expected bools of {expected}.")


def _check_calibration(_: Saved, state: State, path: str) -> None:
    scores, values = state["scores"], state["values"]
    n, fits = len(scores), len(state["mean"]) == len(state["scale"]) == 1
    fits &= bool((state["scale"] >= 0).all()) and len(values) == n and bool((np.diff(scores) > 0).all())
    if not fits or (n != 2 and state["straight"]):
        raise SavedModelError(
            f"{path}: mean, scale, scores {shown(scores)} and values {shown(values)} do not fit together."
        )


_FITNESS = dict.fromkeys(("mean", "scale", "scores", "values"), VALUES)
_FITNESS |= {"wild_type": TEXT, "straight": FLAG}
_SCALE = {"mean": VALUES, "scale": VALUES, "one_dimensional": FLAG}
_RESIDUE_CLASSES = {
    "classes": LABELS,
    "shares": VALUES,
    "weights": VALUES,
    "as_text": FLAG,
    "constraints": instance(dict) | NOTHING,
}

# -- tuned models -----------------------------------------------------------------------------


def read_tensors(data: bytes, path: str) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file, or an error."""
    try:
        return safetensors.numpy.load(data)
    except Exception as error:  # what the reader raises has no common class
        raise SavedModelError(f"{path} holds no tensors: {error}") from error


def trained_tensors(data: bytes, path: str) -> dict[str, np.ndarray]:
    """The tensors in ``_trained``: float32 and finite, or bool."""
    tensors = read_tensors(data, path)
    for name, tensor in tensors.items():
        if tensor.dtype not in (np.float32, np.bool_):
            raise SavedModelError(f"{path}: {name} is of type {tensor.dtype}; expected float32.")
        if not np.isfinite(tensor).all():
            raise SavedModelError(f"{path}: {name} has values that are not finite.")
    return tensors


def _check_counts(_: Saved, state: State, path: str) -> None:
    """No rank, width or number of layers beyond what memory has room for."""
    for name, value in state.items():
        if isinstance(value, Integral) and int(value) > LARGEST and name != "projection_seed":
            raise SavedModelError(f"{path}.{name} is {value}; expected at most {LARGEST}.")


def _check_tuned(saved: Saved, state: State, path: str) -> None:
    architecture, place = state["_architecture"], f"{path}._architecture"
    unknown = [name for name in architecture if name not in saved.parameter_names - {"compile"}]
    if unknown:
        raise SavedModelError(f"{place} has {shown(unknown)}; expected parameters of {saved.cls.__name__}.")
    saved.check_parameters(architecture, place)
    _check_counts(saved, architecture, place)
    n_trained = sum(t.size for t in trained_tensors(state["_trained"], f"{path}._trained").values())
    if saved.cls is PLMMaskedLM:
        _check_size({**_SHAPE, **state, **architecture}, n_trained, place)


_SHAPE = {name: getattr(PLMMaskedLM, name) for name in ("backbone", "n_layers", "width", "ffn_width")}


def _check_size(fitted: State, n_trained: int, path: str) -> None:
    """A model that began with random weights has no more of them than were trained."""
    n_layers, width, inner = (int(fitted[name] or 0) for name in ("n_layers", "width", "ffn_width"))
    if fitted["backbone"] is None and n_layers * width * (4 * width + 2 * (inner or 4 * width)) > n_trained:
        raise SavedModelError(
            f"{path}: {n_layers} layers of width {width} have more weights than the {n_trained} saved."
        )


def _tuned(cls: type, *of_target: type) -> Saved:
    needed = {"_trained": instance(bytes), "_architecture": instance(dict), "backbone_fingerprint_": TEXT}
    if of_target:
        needed["_target"] = instance(*of_target)
    else:
        needed["backbone_fingerprint_"] |= NOTHING
    return Saved(cls, needed, _check_tuned, is_model=True)


_CLASSES = (targets.ClassTarget, targets.MultilabelTarget)

# -- perceptrons ------------------------------------------------------------------------------


def _check_features(_: Saved, state: State, path: str) -> None:
    n = state["n_features_in_"]
    if not len(state["mean_"]) == len(state["scale_"]) == n or not (state["scale_"] > 0).all():
        raise SavedModelError(f"{path}: mean_ and scale_ do not fit {n} features.")


def _check_perceptron(_: Saved, state: State, path: str) -> None:
    coefs, intercepts = state["coefs_"], state["intercepts_"]
    widths = [state["n_features_in_"], *(len(intercept) for intercept in intercepts)]
    shapes = [coef.shape for coef in coefs]
    counts = state["n_layers_"], state["n_outputs_"]
    if shapes != list(pairwise(widths)) or counts != (len(widths), widths[-1]):
        raise SavedModelError(
            f"{path}.coefs_ has the shapes {shown(shapes)}; expected layers of {shown(widths)}."
        )
    binarizer = state.get("_label_binarizer")
    if binarizer is not None:
        n_classes = 1 if binarizer.y_type_ == "binary" else len(binarizer.classes_)
        if n_classes != widths[-1] or (n_classes == 1 and len(binarizer.classes_) != 2):
            raise SavedModelError(
                f"{path}: {widths[-1]} outputs do not fit classes {shown(binarizer.classes_)}."
            )


def _check_frozen(_: Saved, state: State, path: str) -> None:
    embedder, scaler, mlp = (state[name] for name in ("embedder_", "scaler_", "mlp_"))
    widths = embedder.n_features_out_, scaler.n_features_in_, mlp.n_features_in_
    if embedder.pooling is None or len(set(widths)) > 1:
        raise SavedModelError(f"{path}: embedder_, scaler_ and mlp_ do not fit together: widths {widths}.")


_WIDTH = whole(1, 2**24)
_PERCEPTRON = {
    "n_features_in_": _WIDTH,
    "n_layers_": whole(2),
    "n_outputs_": _WIDTH,
    "out_activation_": one_of("identity", "logistic", "softmax"),
    "coefs_": each(MATRIX),
    "intercepts_": each(VALUES),
}
_BINARIZER = {
    "classes_": LABELS,
    "y_type_": one_of("binary", "multiclass", "multilabel-indicator"),
    "sparse_input_": FLAG,
}


def _frozen(cls: type, mlp: Any) -> Saved:
    return Saved(
        cls,
        {
            "embedder_": instance(PLMEmbedder),
            "scaler_": instance(StandardScaler),
            "mlp_": instance(mlp),
            "backbone_fingerprint_": TEXT,
        },
        _check_frozen,
        is_model=True,
    )


_EXPORTED = (getattr(adapters, name) for name in adapters.__all__)
_ADAPTERS = [cls for cls in _EXPORTED if inspect.isclass(cls) and not inspect.isabstract(cls)]
SAVED: dict[str, Saved] = {
    saved.cls.__name__: saved
    for saved in (
        _tuned(protein.PLMClassifier, *_CLASSES),
        _tuned(protein.PLMRegressor, targets.ValueTarget),
        _tuned(protein.PLMLoRAClassifier, *_CLASSES),
        _tuned(protein.PLMLoRARegressor, targets.ValueTarget),
        _tuned(pair.PLMPairClassifier, *_CLASSES),
        _tuned(pair.PLMPairRegressor, targets.ValueTarget),
        _tuned(residue.PLMResidueClassifier, residue_targets.ResidueClassTarget),
        _tuned(residue.PLMResidueRegressor, residue_targets.ResidueValueTarget),
        _tuned(signal_peptides.PLMSignalPeptideClassifier, signal_paths.SignalPeptideTarget),
        _tuned(PLMFitnessRegressor, FitnessTarget),
        _tuned(PLMMaskedLM),
        _frozen(frozen.PLMFrozenMLP, MLPClassifier),
        _frozen(frozen.PLMFrozenMLPRegressor, MLPRegressor),
        Saved(PLMEmbedder, {"n_features_out_": _WIDTH, "backbone_fingerprint_": TEXT}, is_model=True),
        Saved(targets.ClassTarget, {"classes": LABELS}),
        Saved(targets.MultilabelTarget, {"n_labels": whole()}),
        Saved(targets.ValueTarget, _SCALE, check=_check_scale),
        Saved(FitnessTarget, _FITNESS, check=_check_calibration),
        Saved(residue_targets.ResidueClassTarget, _RESIDUE_CLASSES, check=_check_classes),
        Saved(residue_targets.ResidueValueTarget, _SCALE, check=_check_scale),
        Saved(signal_paths.SignalPeptideTarget, {"classes": LABELS}),
        *(Saved(method, check=_check_counts) for method in _ADAPTERS),
        Saved(
            StandardScaler,
            {"mean_": VALUES, "scale_": VALUES, "n_features_in_": _WIDTH},
            check=_check_features,
        ),
        Saved(LabelBinarizer, _BINARIZER),
        Saved(MLPRegressor, _PERCEPTRON, check=_check_perceptron),
        Saved(
            MLPClassifier,
            {**_PERCEPTRON, "classes_": LABELS, "_label_binarizer": instance(LabelBinarizer)},
            check=_check_perceptron,
        ),
    )
}
"""By the name that stands in the file; no other class is ever built."""


def _check_members(_: Saved, state: State, path: str) -> None:
    members = state["estimators_"]
    expected = "a single one" if state.get("members") == "dropout" else "two or more of one class"
    is_single, is_one_class = len(members) == 1, len({type(member) for member in members}) == 1
    if not is_one_class or is_single != (expected == "a single one"):
        raise SavedModelError(f"{path}.estimators_ is {shown(members)}; expected {expected}.")


_MODELS = [saved.cls for saved in SAVED.values() if saved.is_model]
_ENSEMBLE = {"estimators_": each(instance(*_MODELS)), "sequences_": SEQUENCES | NOTHING}
SAVED["PLMEnsemble"] = Saved(PLMEnsemble, _ENSEMBLE, _check_members, is_model=True)
