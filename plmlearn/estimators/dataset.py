"""Proteins, or pairs of them, with targets, weights and groups, and a part held out for validation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit, StratifiedShuffleSplit

from ..model_selection import PairKFold


@dataclass(frozen=True)
class Dataset:
    """Clean sequences with what is known of each.

    Parameters
    ----------
    sequences : ndarray of str, shape (n_proteins,) or (n_pairs, 2)
    y : ndarray of shape (n_proteins,) or (n_proteins, n_targets)
    weights : ndarray of shape (n_proteins,)
    groups : ndarray of shape (n_proteins,), or (n_pairs, 2) for those of both proteins, or None
    n_truncated : int
        How many were cut.
    extras : dict of str to ndarray of shape (n_proteins,)
        What else a task wants to know of each.
    """

    sequences: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    groups: np.ndarray | None
    n_truncated: int
    extras: dict[str, np.ndarray] = field(default_factory=dict)

    def take(self, rows: np.ndarray) -> Dataset:
        """Some rows, in the order asked for."""
        return replace(
            self,
            sequences=self.sequences[rows],
            y=self.y[rows],
            weights=self.weights[rows],
            groups=None if self.groups is None else self.groups[rows],
            extras={name: values[rows] for name, values in self.extras.items()},
        )

    def hold_out(self, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
        """Rows to train on and rows to validate on: no group in both, else equal shares of classes.

        With the groups of both proteins of a pair, pairs between the two sides are left out; so that one
        fold of k holds about ``fraction`` of a well-connected graph's pairs, k is 1 / sqrt(fraction).
        """
        n_parts, parts = len(self.y), "proteins"
        if self.groups is not None:
            n_parts, parts = len(np.unique(self.groups)), "groups"
        if n_parts < 2:
            raise ValueError(
                f"early_stopping sets a part of the {parts} aside to validate on, and there is {n_parts} in "
                "all; expected at least 2. Pass X_val and y_val, or early_stopping=False."
            )
        splitter = self._splitter(n_splits=1, test_size=fraction, random_state=seed)
        training, validation = next(splitter.split(self.sequences, self.y, self.groups))
        return self.take(training), self.take(validation)

    def _splitter(self, **options: Any) -> Any:
        if self.groups is not None and self.groups.ndim == 2:
            n_folds = max(2, round(options["test_size"] ** -0.5))
            return PairKFold("C3", n_folds, random_state=options["random_state"])
        if self.groups is not None:
            return GroupShuffleSplit(**options)
        if _can_stratify(self.y, options["test_size"]):
            return StratifiedShuffleSplit(**options)
        return ShuffleSplit(**options)


def _can_stratify(y: np.ndarray, fraction: float) -> bool:
    if y.ndim > 1 or y.dtype.kind == "f" or isinstance(y[0], np.ndarray):  # the last: one per residue
        return False
    counts = np.unique(y, return_counts=True)[1]
    n_validation = int(np.ceil(fraction * len(y)))
    return counts.min() >= 2 and min(n_validation, len(y) - n_validation) >= len(counts)
