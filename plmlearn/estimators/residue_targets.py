"""Between a caller's targets per residue and a model's outputs per residue.

``check_residue_y`` reads what a caller may pass; ``ResidueClassTarget`` and ``ResidueValueTarget`` say how
many outputs a residue needs, what their loss is and how outputs become labels or values again. A residue
that was not measured has the code -1, or nan, and takes no part in any loss.

Shapes: R residues of all rows, C classes, k values per residue.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from ..nn.chain import UNKNOWN
from ..nn.ragged import Ragged
from ..sequences import SequenceError, check_residue_targets
from .targets import Target

Rows = np.ndarray
"""One array per protein in an object array: masked labels (L,), or values (L,) or (L, k) with nan.

Labels of a target that came as a ``str`` have a text type, those of an array of text are objects, so that
predictions can have the form of what they were learned from.
"""


def check_residue_y(y: Any, X: Any, *, kind: str, ignore_label: Any = None, all_measured: bool = False) -> Rows:
    """Targets per residue as an object array of arrays, or one error.

    Parameters
    ----------
    y, X, ignore_label, kind
        As for :func:`plmlearn.sequences.check_residue_targets`.
    all_measured : bool, default=False
        Refuse proteins without a single measured residue.
    """
    if y is None:
        raise ValueError("y is None; expected one target per residue. This estimator requires y to be passed.")
    arrays = check_residue_targets(y, X, ignore_label=ignore_label, kind=kind)
    measured = [is_measured(array) for array in arrays]
    if not any(m.any() for m in measured):
        raise ValueError(
            f"No residue of the {len(arrays)} proteins was measured; expected at least one. Look at the masks"
            " and at ignore_label."
        )
    empty = [row for row, m in enumerate(measured) if not m.any()]
    if all_measured and empty:
        shown = ", ".join(map(str, empty[:10])) + (", …" if len(empty) > 10 else "")
        raise SequenceError(
            f"{len(empty)} of {len(arrays)} targets have no measured residue: rows {shown}; expected one at "
            "least in each. Leave those proteins out of X and y.",
            rows=empty,
        )
    as_text = all(isinstance(target, str) for target in y)
    rows = [array if as_text or array.dtype.kind != "U" else array.astype(object) for array in arrays]
    return as_rows(rows)


def as_rows(arrays: Sequence[Any]) -> np.ndarray:
    """A 1-D object array with these as its entries, whatever their lengths."""
    rows = np.empty(len(arrays), dtype=object)
    for i, array in enumerate(arrays):
        rows[i] = array
    return rows


def is_measured(array: np.ndarray) -> np.ndarray:
    """Which entries of a target were measured."""
    if isinstance(array, np.ma.MaskedArray):
        return ~np.ma.getmaskarray(array)
    return ~np.isnan(array)


class ResidueTarget(Target):
    """What is predicted for each residue."""

    @abstractmethod
    def encode(self, y: Rows) -> Ragged:  # type: ignore[override]
        """``y`` as the loss wants it, one entry per residue."""

    @abstractmethod
    def loss(self, outputs: Ragged, targets: Ragged) -> Tensor:  # type: ignore[override]
        """Outputs (R, C) and encoded targets to the summed loss of each row's residues, (N,)."""

    @abstractmethod
    def sizes(self, targets: Ragged) -> np.ndarray:
        """Measured residues of each row, (N,), by which a sum of losses becomes a mean."""

    @abstractmethod
    def unread(self) -> np.ndarray:
        """Outputs (C,) for a residue that the model did not read: what is known without the sequence."""


@dataclass
class ResidueClassTarget(ResidueTarget):
    """One of two or more classes per residue.

    Parameters
    ----------
    classes : ndarray of shape (C,)
    shares : ndarray of shape (C,)
        Of each class among the measured training residues.
    weights : ndarray of shape (C,)
        Of each class in the loss, 1 on average over the training residues.
    as_text : bool
        Whether a protein's labels are one ``str``.
    constraints : dict of str to ndarray of bool, or None
        "transitions" (C, C), "starts" (C,) and "ends" (C,) of a CRF's paths.
    """

    classes: np.ndarray
    shares: np.ndarray
    weights: np.ndarray
    as_text: bool
    constraints: dict[str, np.ndarray] | None = None

    @classmethod
    def learn(cls, y: Rows, class_weight: Any = None) -> ResidueClassTarget:
        """Classes, shares and weights of training targets."""
        labels = np.concatenate([row.compressed() for row in y])
        classes, counts = np.unique(labels, return_counts=True)
        if len(classes) < 2:
            raise ValueError(
                f"y holds one class only, {classes.tolist()[0]!r}, at {len(labels)} measured residues; a "
                "classifier needs at least 2 classes."
            )
        weights = compute_class_weight(class_weight, classes=classes, y=labels)
        mean = np.average(weights, weights=counts)
        if weights.min() < 0 or not mean > 0:
            raise ValueError(f"class_weight={class_weight!r}; expected weights of 0 or more, one above 0.")
        return cls(classes, counts / counts.sum(), weights / mean, y[0].dtype.kind == "U")

    @property
    def n_outputs(self) -> int:  # type: ignore[override]
        return len(self.classes)

    def encode(self, y: Rows) -> Ragged:  # type: ignore[override]
        codes = [self._codes(row) for row in y]
        if any(code is None for code in codes):
            self._refuse_unknown(y, [row for row, code in enumerate(codes) if code is None])
        return Ragged.of([torch.from_numpy(code) for code in codes])

    def _codes(self, row: np.ma.MaskedArray) -> np.ndarray | None:
        codes, kept = np.full(len(row), UNKNOWN), is_measured(row)
        labels = row.compressed()
        found = np.searchsorted(self.classes, labels).clip(max=len(self.classes) - 1)
        codes[kept] = found
        return codes if np.array_equal(self.classes[found], labels) else None

    def _refuse_unknown(self, y: Rows, rows: list[int]) -> None:
        known = set(self.classes.tolist())
        seen = np.unique(np.concatenate([y[row].compressed() for row in rows])).tolist()
        raise ValueError(
            f"Labels not seen in the training data: {[x for x in seen if x not in known][:5]}, in "
            f"{len(rows)} proteins: rows {', '.join(map(str, rows[:10]))}; known are "
            f"{self.classes[:20].tolist()}. Pass ignore_label if it marks residues that were not measured."
        )

    def loss(self, outputs: Ragged, targets: Ragged) -> Tensor:  # type: ignore[override]
        weights = torch.as_tensor(self.weights, dtype=torch.float32, device=targets.values.device)
        each = F.cross_entropy(
            outputs.values, targets.values, weights, ignore_index=UNKNOWN, reduction="none"
        )
        return outputs.with_values(each).sums()

    def sizes(self, targets: Ragged) -> np.ndarray:
        return targets.with_values((targets.values != UNKNOWN).double()).sums().numpy()

    def unread(self) -> np.ndarray:
        return np.log(self.shares).astype(np.float32)

    def decode(self, labels: Ragged) -> np.ndarray:  # type: ignore[override]
        """Indices of classes as strings or arrays, one per row."""
        rows = [self.classes[row.numpy()] for row in labels.rows]
        return as_rows(["".join(row) for row in rows] if self.as_text else rows)


@dataclass
class ResidueValueTarget(ResidueTarget):
    """One or k numbers per residue, standardised for training.

    Parameters
    ----------
    mean, scale : ndarray of shape (k,)
        Over the measured training residues.
    one_dimensional : bool
        Whether a protein's values are (L,).
    """

    mean: np.ndarray
    scale: np.ndarray
    one_dimensional: bool

    @classmethod
    def learn(cls, y: Rows) -> ResidueValueTarget:
        """Mean and deviation of training targets."""
        values = np.concatenate([row.reshape(len(row), -1) for row in y])
        empty = np.flatnonzero(np.isnan(values).all(axis=0))
        if len(empty):
            raise ValueError(
                f"No value was measured in columns {empty.tolist()} of {values.shape[1]}; expected one at "
                "least in each. Leave those columns out of y."
            )
        scale = np.nanstd(values, axis=0)
        return cls(np.nanmean(values, axis=0), np.where(scale > 0, scale, 1.0), y[0].ndim == 1)

    @property
    def n_outputs(self) -> int:  # type: ignore[override]
        return len(self.mean)

    def encode(self, y: Rows) -> Ragged:  # type: ignore[override]
        odd = [row for row, values in enumerate(y) if values[0].size != self.n_outputs]
        if odd:
            raise ValueError(
                f"y has {y[odd[0]][0].size} values per residue in row {odd[0]}, expected {self.n_outputs}."
            )
        return Ragged.of([torch.from_numpy(self._standardised(values)) for values in y])

    def _standardised(self, values: np.ndarray) -> np.ndarray:
        return ((values.reshape(len(values), -1) - self.mean) / self.scale).astype(np.float32)

    def loss(self, outputs: Ragged, targets: Ragged) -> Tensor:  # type: ignore[override]
        missing = targets.values.isnan()
        apart = outputs.values - targets.values.masked_fill(missing, 0)
        return outputs.with_values(apart.square().masked_fill(missing, 0).mean(dim=1)).sums()

    def sizes(self, targets: Ragged) -> np.ndarray:
        return targets.with_values((~targets.values.isnan()).double().mean(dim=1)).sums().numpy()

    def unread(self) -> np.ndarray:
        return np.zeros(self.n_outputs, dtype=np.float32)

    def decode(self, outputs: Ragged) -> np.ndarray:  # type: ignore[override]
        """Outputs as arrays of values, (L,) or (L, k), one per row."""
        rows = [row.double().numpy() * self.scale + self.mean for row in outputs.rows]
        return as_rows([row[:, 0] for row in rows] if self.one_dimensional else rows)
