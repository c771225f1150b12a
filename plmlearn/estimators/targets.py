"""Between a caller's ``y`` and a model's outputs.

A target knows how many outputs a model needs, how ``y`` becomes what the loss wants, and how
outputs become labels, probabilities or values. It is plain data, so that a fitted estimator can be
written as JSON.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch.nn.functional as F
from scipy.special import expit, softmax
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import column_or_1d
from torch import Tensor

from ..sequences import SequenceError
from ..sequences.clean import first_few, gaps_in, plain_array, rows_with
from ..sequences.columns import check_numbers
from ..training.engine import TrainingDivergedError


class Target(ABC):
    """What is predicted for each sample."""

    @property
    @abstractmethod
    def n_outputs(self) -> int:
        """Outputs that a model needs."""

    @abstractmethod
    def encode(self, y: Any) -> Any:
        """``y`` as the loss wants it, one entry per sample."""

    @abstractmethod
    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """Outputs and encoded targets of N samples to one loss per sample, (N,)."""


@dataclass
class ClassTarget(Target):
    """One of two or more classes per protein: one logit for two classes, else one per class."""

    classes: np.ndarray

    @classmethod
    def learn(cls, y: Any) -> ClassTarget:
        labels = column_or_1d(y, warn=True)
        classes = np.unique(labels)
        if len(classes) < 2:
            raise ValueError(
                f"y holds one class only, {classes.tolist()[0]!r}, in {len(labels)} rows; "
                "a classifier needs at least 2 classes. Add proteins of another class, or stratify the split."
            )
        return cls(classes)

    @property
    def n_outputs(self) -> int:
        return 1 if len(self.classes) == 2 else len(self.classes)

    def encode(self, y: Any) -> np.ndarray:
        labels = column_or_1d(y)
        unknown = sorted(set(labels.tolist()) - set(self.classes.tolist()), key=str)
        if unknown:
            raise ValueError(
                f"Labels not seen in the training data: {unknown[:5]}; "
                f"known are {self.classes[:20].tolist()}."
            )
        index = np.searchsorted(self.classes, labels)
        return index.astype(np.float32 if len(self.classes) == 2 else np.int64)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.shape[1] == 1:
            return F.binary_cross_entropy_with_logits(outputs[:, 0], targets, reduction="none")
        return F.cross_entropy(outputs, targets, reduction="none")

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """(N, n_classes), rows adding up to 1."""
        outputs = outputs.astype(np.float64)
        if len(self.classes) == 2:
            positive = expit(outputs[:, 0])
            return np.column_stack([1 - positive, positive])
        return softmax(outputs, axis=1)

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Labels of outputs (N, C)."""
        if len(self.classes) == 2:
            return self.classes[(outputs[:, 0] > 0).astype(int)]
        return self.classes[outputs.argmax(axis=1)]


@dataclass
class MultilabelTarget(Target):
    """Any number of k labels per protein: y is an (n, k) indicator of 0 and 1."""

    n_labels: int

    @property
    def n_outputs(self) -> int:
        return self.n_labels

    @property
    def classes(self) -> np.ndarray:
        return np.arange(self.n_labels)

    @classmethod
    def learn(cls, y: Any) -> MultilabelTarget:
        return cls(np.asarray(y).shape[1])

    def encode(self, y: Any) -> np.ndarray:
        y = np.asarray(y)
        if y.ndim != 2 or y.shape[1] != self.n_outputs:
            raise ValueError(f"y has shape {y.shape}, expected (n_proteins, {self.n_outputs}).")
        return y.astype(np.float32)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").mean(dim=1)

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """(N, k), each entry by itself in [0, 1]."""
        return expit(outputs.astype(np.float64))

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """An indicator (N, k) of outputs (N, k)."""
        return (outputs > 0).astype(int)


@dataclass
class ScaledTarget(Target):
    """Numbers, one column of them or several, standardised for training."""

    mean: np.ndarray
    scale: np.ndarray
    one_dimensional: bool

    @property
    def n_outputs(self) -> int:
        return len(self.mean)

    def in_units(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs (N, k) in the units of ``y``, (N,) or (N, k)."""
        values = outputs.astype(np.float64) * self.scale + self.mean
        return values[:, 0] if self.one_dimensional else values


class ValueTarget(ScaledTarget):
    """One or more numbers per protein."""

    @classmethod
    def learn(cls, y: Any) -> ValueTarget:
        y = np.asarray(y, dtype=np.float64)
        return cls(*mean_and_scale(y.reshape(len(y), -1)), y.ndim == 1)

    def encode(self, y: Any) -> np.ndarray:
        values = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        if values.shape[1] != self.n_outputs:
            raise ValueError(f"y has {values.shape[1]} columns, expected {self.n_outputs}.")
        return standardised(values, self.mean, self.scale)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().mean(dim=1)

    decode = ScaledTarget.in_units


_ROUNDING = 1e-12


def mean_and_scale(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each column of (n, k), nan left out; or an error.

    A deviation that comes from rounding the mean of equal numbers is 0.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    if not (np.isfinite(mean) & np.isfinite(scale)).all():
        raise TrainingDivergedError(
            f"y holds numbers up to {np.nanmax(np.abs(values)):g}, whose mean or deviation is too large to "
            "compute. Look for placeholders such as 1e308, or divide y by a constant."
        )
    return mean, np.where(scale > _ROUNDING * np.abs(mean), scale, 0.0)


def standardised(values: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Values (n, k) in units of ``scale`` from ``mean`` as float32, nan where they are nan; or an error.

    A scale of 0 is left out here, but not in decoding: what was constant in training is predicted as it was.
    """
    with np.errstate(over="ignore"):
        found = ((values - mean) / np.where(scale > 0, scale, 1.0)).astype(np.float32)
    if np.isinf(found).any():
        raise TrainingDivergedError(
            f"y holds numbers up to {np.nanmax(np.abs(values)):g}, too far from the training data, whose "
            f"deviation is {scale.max():g}. Look for placeholders such as 1e308 among them."
        )
    return found


_BINARIZE = (
    "Of several labels per protein make an indicator: "
    "sklearn.preprocessing.MultiLabelBinarizer().fit_transform(y)."
)


def _are_collections(y: Any) -> bool:
    """Whether entries of y are lists, tuples or sets of labels, and no rows of an indicator."""
    entries = y.tolist() if hasattr(y, "tolist") else y
    if not isinstance(entries, (list, tuple)):
        return False
    several = [entry for entry in entries if isinstance(entry, (list, tuple, set, frozenset))]
    lengths = {len(entry) for entry in several}
    is_text = any(isinstance(label, str) for entry in several for label in entry)
    is_set = any(isinstance(entry, (set, frozenset)) for entry in several)
    return is_set or len(lengths) > 1 or (is_text and lengths != {1})


def check_class_y(y: Any, n_rows: int) -> np.ndarray:
    """``y`` of a classifier as an array of labels (n,) or an indicator (n, k), or an error."""
    if _are_collections(y):
        raise ValueError(
            "y holds lists or sets of labels; a classifier takes one label per protein, or an (n, k) "
            f"indicator of 0 and 1. {_BINARIZE}"
        )
    y = check_length(y, n_rows)
    if np.iscomplexobj(y):
        raise ValueError("y holds complex numbers; a classifier takes one label per protein.")
    _refuse_missing(y)
    if y.dtype == object and len({isinstance(label, str) for label in y.flat}) > 1:
        raise ValueError("y mixes text and other labels; expected labels of one type. Pass y.astype(str).")
    kind = type_of_target(y, input_name="y")
    if kind == "multilabel-indicator" and np.isin(y, (0, 1)).all():
        return y
    if kind in ("binary", "multiclass"):
        return column_or_1d(y, warn=True)
    hint = "For numbers use a regressor." if "continuous" in kind else _BINARIZE
    raise ValueError(
        f"y is {kind!r}; a classifier takes one label per protein, or an (n, k) indicator of 0 and 1. {hint}"
    )


def check_value_y(y: Any, n_rows: int) -> np.ndarray:
    """``y`` of a regressor as float64 (n,) or (n, k), or an error."""
    y = check_length(y, n_rows)
    _refuse_missing(y)
    odd = np.flatnonzero([y.dtype.kind not in "biuf" and not _is_numeric(row) for row in y])
    if len(odd):
        raise SequenceError(
            f"y holds no number in {_name_rows(odd)} (the first: {y[odd].tolist()[0]!r}); a regressor takes "
            "floats. For labels use a classifier.",
            odd,
        )
    values = y.astype(np.float64)
    if values.ndim == 2 and values.shape[1] == 1:
        values = column_or_1d(values, warn=True)
    if values.ndim > 2:
        raise ValueError(f"y has shape {values.shape}; expected (n_proteins,) or (n_proteins, n_targets).")
    infinite = rows_with(~np.isfinite(values))
    if len(infinite):
        raise SequenceError(f"y is infinite in {_name_rows(infinite)}; expected finite numbers.", infinite)
    return values


def check_length(y: Any, n_rows: int, name: str = "y") -> np.ndarray:
    """``y`` (or what ``name`` says) as an array with one row per protein."""
    if y is None:
        raise ValueError("y is None; expected a target per protein. This estimator requires y to be passed.")
    y = _as_array(y, name)
    if y.ndim == 0 or len(y) != n_rows:
        found = "a single value" if y.ndim == 0 else f"{len(y)} rows"
        raise ValueError(
            f"X has {n_rows} proteins and {name} has {found}: inconsistent numbers of samples. "
            "Pass one entry per protein."
        )
    return y


def _as_array(y: Any, name: str) -> np.ndarray:
    """What numpy makes of ``y``, be it sparse, masked or of text."""
    if hasattr(y, "toarray"):
        return y.toarray()
    if np.ma.is_masked(y):
        return np.asarray(np.where(np.ma.getmaskarray(y), None, y.astype(object)))
    array = plain_array(y, name)
    return array.astype(object) if array.dtype.kind == "T" else array


def check_weights(sample_weight: Any, n_rows: int) -> np.ndarray:
    """Weights of the proteins as float64 (n_rows,), all 1 where none are given; or an error."""
    if sample_weight is None:
        return np.ones(n_rows)
    if isinstance(sample_weight, Real):
        sample_weight = [float(sample_weight)] * n_rows
    weights = check_numbers(sample_weight, "sample_weight", ("weight per protein", n_rows))
    if (weights < 0).any():
        rows = np.flatnonzero(weights < 0)
        raise ValueError(f"sample_weight is negative in {_name_rows(rows)}; expected 0 or more.")
    if not weights.any():
        raise ValueError("sample_weight is 0 for every protein; at least one must be positive.")
    if weights.max() > np.finfo(float).max / n_rows:
        largest = f"{weights.max():g}"
        raise ValueError(f"sample_weight is up to {largest}, too large to add up. Divide it by a constant.")
    return weights


def used_rows(sample_weight: Any, n_rows: int) -> np.ndarray:
    """Rows whose weight is not 0."""
    return np.flatnonzero(check_weights(sample_weight, n_rows))


def _refuse_missing(y: np.ndarray) -> None:
    rows = rows_with(gaps_in(y))
    if len(rows):
        raise SequenceError(
            f"y is missing (nan or None) in {_name_rows(rows)}; expected a target for every protein. "
            "Leave those proteins out of X and y.",
            rows,
        )


def _is_numeric(row: Any) -> bool:
    if np.iscomplexobj(row):
        return False
    try:
        np.asarray(row).astype(np.float64)
    except (TypeError, ValueError):
        return False
    return True


def _name_rows(rows: np.ndarray) -> str:
    return f"{len(rows)} row{'s' * (len(rows) > 1)}: {first_few(rows)}"
