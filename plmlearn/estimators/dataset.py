"""Proteins, or pairs of them, with targets, weights and groups, and a part held out for validation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..messages import warn
from ..model_selection import PairWarning
from ..model_selection.graph import number_clusters
from ..model_selection.holdout import hold_out_clusters, hold_out_pairs, hold_out_rows
from ..sequences import SequenceError
from ..sequences.clean import first_few, object_array, residues_of
from ..similarity.kmers import near_duplicates
from ..similarity.search import are_variants
from ..training.devices import check_same_in_all, n_processes


@dataclass(frozen=True)
class Dataset:
    """Clean sequences with what is known of each.

    Parameters
    ----------
    sequences : ndarray of str, shape (n_proteins,) or (n_pairs, 2)
    y : ndarray of shape (n_proteins,) or (n_proteins, n_targets)
    weights : ndarray of shape (n_proteins,)
    groups : ndarray of shape (n_proteins,), or (n_pairs, 2) for those of both proteins, or None
        Clusters of similar proteins.
    n_truncated : int
        How many were cut.
    extras : dict of str to ndarray of shape (n_proteins,)
        What else a task needs to know of each.
    rows : ndarray of int, shape (n_proteins,), optional
        Where each stands in the caller's X; as they come here if None.
    """

    sequences: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    groups: np.ndarray | None
    n_truncated: int
    extras: dict[str, np.ndarray] = field(default_factory=dict)
    rows: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> Dataset:
        """Some rows, in the order asked for."""
        return replace(
            self,
            sequences=self.sequences[rows],
            y=self.y[rows],
            weights=self.weights[rows],
            groups=None if self.groups is None else self.groups[rows],
            extras={name: values[rows] for name, values in self.extras.items()},
            rows=rows if self.rows is None else self.rows[rows],
        )

    def hold_out(self, fraction: float, seed: int, *, stratify: bool) -> tuple[Dataset, Dataset]:
        """Rows to train on, and rows to validate on.

        Parameters
        ----------
        fraction : float
            Share of the rows to validate on, between 0 and 1. With groups it is met within a tenth where
            whole groups allow.
        seed : int
            Of the random choice.
        stratify : bool
            Whether ``y`` holds classes, one per row. Then both sides get their shares of each, and training
            keeps rows of every class wherever it can.

        Returns
        -------
        training, validation : Dataset
            No group is in both. With the groups of both proteins of pairs, those that lead from one side to
            the other are in neither.

        Raises
        ------
        ValueError
            There is one row or group only, or all pairs share a group.

        Warns
        -----
        PairWarning
            Some pairs are in neither part; the message counts them.
        """
        classes = np.zeros(len(self.y), dtype=int)
        if stratify and self.y.ndim == 1 and not isinstance(self.y[0], np.ndarray):  # one label per row
            classes = np.unique(self.y, return_inverse=True)[1]
        if self.groups is None:
            _require_parts(len(self.y) > 1, "proteins", "there is 1 in all; expected at least 2")
            kept, out = hold_out_rows(classes, fraction, seed)
        else:
            groups = number_clusters(self.groups, self.sequences.shape[: self.groups.ndim])
            _require_parts(groups.max() > 0, "groups", "there is 1 in all; expected at least 2")
            kept, out = (hold_out_clusters if groups.ndim == 1 else hold_out_pairs)(
                groups, classes, fraction, seed
            )
            _require_parts(
                len(out) > 0,
                "groups",
                "each pair shares a group with every other; expected pairs that do not",
            )
        if n_lost := len(self.y) - len(kept) - len(out):
            warn(
                f"early_stopping: {n_lost} of {len(self.y)} pairs are left out, being of a group to train on "
                f"and one to validate on; {len(kept)} are trained on, {len(out)} validate.",
                PairWarning,
            )
        return self.take(kept), self.take(out)


@contextmanager
def rows_of_caller(rows: np.ndarray | None, counted: str) -> Iterator[None]:
    """Within this context errors that name some of these rows say where they stand in the caller's X."""
    try:
        yield
    except SequenceError as error:
        if rows is None or not error.rows or np.array_equal(rows, np.arange(len(rows))):
            raise
        own = sorted(set(rows[error.rows].tolist()))
        raise SequenceError(
            f"{error}\nRows are counted {counted}; in X they are {first_few(own)}.", own
        ) from error


def warn_of_conflicts(
    samples: np.ndarray,
    y: np.ndarray,
    rows: np.ndarray,
    noun: str = "sequences",
    category: type[Warning] = UserWarning,
) -> None:
    """Say which samples are given again with another label; residues conflict where both were measured.

    Parameters
    ----------
    samples : ndarray of str, shape (n,) or (n, 2)
    y : ndarray of shape (n,) or (n, n_labels)
    rows : ndarray of int, shape (n,)
        Where each stands in the caller's X.
    noun : str
        What the samples are.
    category : type
        Of the warning.
    """
    places: dict[Any, list[int]] = {}
    for place, sample in enumerate(samples.tolist()):
        places.setdefault(sample if isinstance(sample, str) else tuple(sample), []).append(place)
    odd = [(i[0], j) for i in places.values() for j in i[1:] if _differ(y[i[0]], y[j])]
    if odd:
        n_samples = len({first for first, _ in odd})
        shown = "; ".join(f"rows {rows[i]} and {rows[j]}{_labels_of(y[i], y[j])}" for i, j in odd[:5])
        warn(
            f"{n_samples} of {len(places)} distinct {noun} are given with different labels: {shown}"
            f"{'; …' * (len(odd) > 5)}. All are kept. Settle on one label each, or leave them out.",
            category,
        )


def _differ(one: Any, other: Any) -> bool:
    return bool(np.ma.filled(np.ma.asarray(one) != np.ma.asarray(other), False).any())


def _labels_of(one: Any, other: Any) -> str:
    return "" if np.ndim(one) else f" ({one!s}, {other!s})"


def warn_of_near_duplicates(training: Dataset, validation: Dataset) -> None:
    """Warn once, with counts, if proteins to validate on are nearly those to train on.

    Nothing is said of rows that were held out by groups, of pairs (those that share no protein are a choice
    of their own), and of variants of one protein, which are all alike.

    Warns
    -----
    UserWarning
        The best epoch is chosen by a score that is too good.
    """
    if training.groups is not None or training.sequences.ndim == 2:
        return
    known, rows = (object_array(map(residues_of, part.sequences)) for part in (training, validation))
    if are_variants(known, rows):
        return
    near = int(near_duplicates(rows, known).sum())
    if near:
        n_identical = sum(map(set(known).__contains__, rows))
        warn(
            f"early_stopping: {near} of {len(rows)} held-out proteins are nearly identical to training "
            f"proteins (a third of their 10-mers occur there), {n_identical} of them identical. The epoch is "
            "chosen by a score that is too good. Pass groups=cluster_sequences(X) to fit (to "
            "cross_val_score: params={'groups': groups}), or X_val and y_val."
        )


def _require_parts(enough: bool, parts: str, found: str) -> None:
    if not enough:
        raise ValueError(
            f"early_stopping sets a part of the {parts} aside to validate on, and {found}. Pass X_val and "
            "y_val, or early_stopping=False."
        )


def check_same_fit(parameters: dict[str, Any], dataset: Dataset) -> None:
    """Raise an error if processes that fit together were given different parameters or data."""
    if n_processes() > 1:
        plain = {k: v for k, v in parameters.items() if isinstance(v, str | int | float | tuple | None)}
        names = ("sequences", "y", "weights", "groups")
        data = {name: getattr(dataset, name) for name in names} | dataset.extras
        check_same_in_all(plain | {name: _digest(values) for name, values in data.items()})


def _digest(values: Any) -> bytes:
    """A digest of what rows hold, whichever objects hold it."""
    rows = () if values is None else values
    text = repr([row.tolist() if isinstance(row, np.ndarray | np.generic) else row for row in rows])
    return hashlib.sha256(text.encode()).digest()
