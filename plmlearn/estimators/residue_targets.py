"""Between a caller's targets per residue and a model's outputs per residue.

``check_residue_y`` reads what a caller may pass; ``ResidueClassTarget`` and ``ResidueValueTarget`` say how
many outputs a residue needs, what their loss is and how outputs become labels or values again. A residue
that was not measured has the code -1, or nan, and takes no part in any loss.

Shapes: R residues of all rows, C classes, k values per residue.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from ..nn.chain_scores import UNKNOWN
from ..nn.crf import LinearChainCRF, constraints_from_tags
from ..nn.packing import Ragged
from ..sequences import SequenceError, check_residue_targets
from ..sequences.clean import first_few, object_array, targets_of
from .targets import ScaledTarget, Target, mean_and_scale, standardised

CONSTRAINTS = ("transitions", "starts", "ends")

Rows = np.ndarray
"""One array per protein in an object array: masked labels (L,), or values (L,) or (L, k) with nan.

Labels of a target that came as a ``str`` have a text type, those of an array of text are objects, so that
predictions can have the form of what they were learned from.
"""


def check_residue_y(y: Any, X: Any, *, kind: Literal["labels", "values"], ignore_label: Any = None) -> Rows:
    """Targets per residue as an object array of arrays, or one error.

    Parameters
    ----------
    y, X, ignore_label, kind
        As for :func:`plmlearn.sequences.check_residue_targets`.
    """
    if y is None:
        raise ValueError("y is None; expected a target per residue. This estimator requires y to be passed.")
    arrays = check_residue_targets(y, X, ignore_label=ignore_label, kind=kind)
    if not any(is_measured(array).any() for array in arrays):
        raise ValueError(
            f"No residue of the {len(arrays)} proteins was measured; expected at least one. Look at the masks"
            " and at ignore_label."
        )
    as_text = all(isinstance(target, str) for target in targets_of(y, "residue targets"))
    rows = [array if as_text or array.dtype.kind != "U" else array.astype(object) for array in arrays]
    return object_array(rows)


def require_measured(y: Rows, rows: np.ndarray) -> None:
    """Refuse proteins, of these rows, without a measured residue: they teach nothing."""
    empty = [row for row in rows.tolist() if not is_measured(y[row]).any()]
    if empty:
        raise SequenceError(
            f"{len(empty)} of {len(y)} targets have no measured residue: rows {first_few(empty)}; expected "
            "at least one in each, among the residues that are read. Leave those proteins out of X and y.",
            rows=empty,
        )


def is_measured(array: np.ndarray) -> np.ndarray:
    """Which entries of a target were measured."""
    if isinstance(array, np.ma.MaskedArray):
        return ~np.ma.getmaskarray(array)
    return ~np.isnan(array)


class ResidueTarget(Target):
    """What is predicted for each residue.

    ``loss`` gives the summed loss of each sample's residues, from outputs (R, C).
    """

    @abstractmethod
    def sizes(self, targets: Ragged) -> np.ndarray:
        """Measured residues of each sample, (N,), by which a sum of losses becomes a mean."""

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
    def learn(cls, y: Rows, class_weight: Any = None, constraints: Any = None) -> ResidueClassTarget:
        """Classes, shares, weights and the constraints of a CRF, from training targets."""
        labels = np.concatenate([row.compressed() for row in y])
        classes, counts = np.unique(labels, return_counts=True)
        if len(classes) < 2:
            raise ValueError(
                f"y holds one class only, {classes.tolist()[0]!r}, at {len(labels)} measured residues; a "
                "classifier needs at least 2 classes."
            )
        target = cls(classes, counts / counts.sum(), np.ones(len(classes)), y[0].dtype.kind == "U")
        return target.weighed(y, class_weight, constraints)

    def weighed(self, y: Rows, class_weight: Any, constraints: Any) -> ResidueClassTarget:
        """The same classes with weights and constraints from these targets."""
        codes = np.concatenate(self.codes(y))
        counts = np.bincount(codes[codes != UNKNOWN], minlength=self.n_outputs)
        if class_weight == "balanced":
            weights = 1 / np.maximum(counts, 1)
        else:
            weights = compute_class_weight(class_weight, classes=self.classes, y=self.classes)
        mean = np.average(weights, weights=counts)
        if not np.isfinite(weights).all() or weights.min() < 0 or mean == 0:
            raise ValueError(
                f"class_weight={class_weight!r}; expected weights of 0 or more, finite, one above 0."
            )
        target = replace(self, weights=weights / mean, constraints=None)
        if constraints == "infer":
            allowed = constraints_from_tags(target.codes(y), target.n_outputs)
            target.constraints = {name: part.numpy() for name, part in zip(CONSTRAINTS, allowed, strict=True)}
        elif constraints is not None:
            target.constraints = target._read(constraints)
        target.encode(y)  # refuses what breaks the constraints, by the caller's rows
        return target

    @property
    def n_outputs(self) -> int:
        return len(self.classes)

    def encode(self, y: Rows) -> Ragged:
        codes = self.codes(y)
        if self.constraints is not None:
            self._require_obedience(y, codes)
        return Ragged.of([torch.from_numpy(row) for row in codes])

    def codes(self, y: Rows) -> list[np.ndarray]:
        """Index of each residue's class, -1 where nothing was measured."""
        place, codes, unknown = self._place(), [np.full(len(row), UNKNOWN) for row in y], {}
        for number, row in enumerate(y):
            labels = row.compressed().tolist()
            codes[number][is_measured(row)] = [place.get(label, UNKNOWN) for label in labels]
            if odd := set(labels) - place.keys():
                unknown[number] = odd
        if unknown:
            seen = sorted(set.union(*unknown.values()), key=str)
            raise SequenceError(
                f"Labels not seen in the training data: {seen[:5]}, in {len(unknown)} proteins: rows "
                f"{first_few(unknown)}; known: {self.classes[:20].tolist()}. Pass ignore_label if they mark "
                "residues that were not measured.",
                unknown,
            )
        return codes

    def _place(self) -> dict[Any, int]:
        return {label: code for code, label in enumerate(self.classes.tolist())}

    def _read(self, constraints: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Labels that may meet, begin and end a protein, as arrays of bool."""
        odd = set(constraints) - set(CONSTRAINTS)
        if odd:
            raise ValueError(f"constraints has {sorted(odd)}; expected some of {', '.join(CONSTRAINTS)}.")
        place, allowed = self._place(), {}
        for name, n_axes in zip(CONSTRAINTS, (2, 1, 1)):
            allowed[name] = np.full((self.n_outputs,) * n_axes, name not in constraints)
            given: Any = constraints.get(name, ())
            entries: Any = given if np.iterable(given) else [None]
            for labels in entries:
                try:
                    index = tuple(place[part] for part in (labels if n_axes == 2 else [labels]))
                except (KeyError, TypeError):  # another label, or none at all
                    index = ()
                if len(index) != n_axes:
                    shown, expected = labels if np.iterable(given) else given, ("labels", "pairs of labels")
                    raise ValueError(
                        f"constraints[{name!r}] has {shown!r}; expected {expected[n_axes - 1]} of "
                        f"{self.classes.tolist()}, in a list."
                    )
                allowed[name][index] = True
        return allowed

    def _require_obedience(self, y: Rows, codes: list[np.ndarray]) -> None:
        allowed = {f"allowed_{name}": part for name, part in (self.constraints or {}).items()}
        broken = LinearChainCRF(self.n_outputs, **allowed).violations(codes)
        if not broken:
            return
        rows = sorted({row for row, _ in broken})
        shown = "; ".join(_breach(row, residue, y[row]) for row, residue in broken[:10])
        raise SequenceError(
            f"The labels of {len(rows)} proteins break the constraints: {shown}"
            f"{'; …' if len(broken) > 10 else ''}. Correct them, mask them, or allow what they need, for "
            "example with constraints='infer'.",
            rows,
        )

    def loss(self, outputs: Ragged, targets: Ragged) -> Tensor:
        weights = torch.as_tensor(self.weights, dtype=torch.float32, device=targets.values.device)
        each = F.cross_entropy(
            outputs.values, targets.values, weights, ignore_index=UNKNOWN, reduction="none"
        )
        return outputs.with_values(each).sums()

    def sizes(self, targets: Ragged) -> np.ndarray:
        return targets.with_values((targets.values != UNKNOWN).double()).sums().numpy()

    def unread(self) -> np.ndarray:
        return np.log(self.shares).astype(np.float32)

    def decode(self, labels: Ragged) -> np.ndarray:
        """Indices of classes as strings or arrays, one per row."""
        rows = [self.classes[row.numpy()] for row in labels.rows]
        return object_array(["".join(row) for row in rows] if self.as_text else rows)


def _breach(row: int, residue: int, labels: np.ma.MaskedArray) -> str:
    pair = " after ".join(repr(label) for label in labels[max(0, residue - 1) : residue + 1].tolist()[::-1])
    where = "at the start, " if residue == 0 else "at the end, " if residue == len(labels) - 1 else ""
    return f"row {row} at residue {residue + 1} ({where}{pair})"


class ResidueValueTarget(ScaledTarget, ResidueTarget):
    """One or k numbers per residue, standardised for training.

    Parameters
    ----------
    mean, scale : ndarray of shape (k,)
        Over the measured training residues.
    one_dimensional : bool
        Whether a protein's values are (L,).
    """

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
        return cls(*mean_and_scale(values), y[0].ndim == 1)

    def encode(self, y: Rows) -> Ragged:
        odd = [row for row, values in enumerate(y) if values[0].size != self.n_outputs]
        if odd:
            raise ValueError(
                f"y has {y[odd[0]][0].size} values per residue in row {odd[0]}, expected {self.n_outputs}."
            )
        rows = (values.reshape(len(values), -1) for values in y)
        return Ragged.of([torch.from_numpy(standardised(row, self.mean, self.scale)) for row in rows])

    def loss(self, outputs: Ragged, targets: Ragged) -> Tensor:
        missing = targets.values.isnan()
        apart = outputs.values - targets.values.masked_fill(missing, 0)
        return outputs.with_values(apart.square().masked_fill(missing, 0).mean(dim=1)).sums()

    def sizes(self, targets: Ragged) -> np.ndarray:
        return targets.with_values((~targets.values.isnan()).double().mean(dim=1)).sums().numpy()

    def unread(self) -> np.ndarray:
        return np.zeros(self.n_outputs, dtype=np.float32)

    def decode(self, outputs: Ragged) -> np.ndarray:
        """Outputs as arrays of values, (L,) or (L, k), one per row."""
        return object_array(self.in_units(row.numpy()) for row in outputs.rows)
