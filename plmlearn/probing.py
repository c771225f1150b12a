"""Which layer of a backbone knows most of a task: a simple model on the embeddings after each layer.

``layer_sweep``   all layers from one pass, cross-validated
``LayerSweep``    the scores, with intervals and the choice
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from os import PathLike
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .baselines.comparison import HasRows, corrected_interval
from .estimators.embedder import PLMEmbedder
from .estimators.residue_targets import check_residue_y, is_measured
from .estimators.targets import check_class_y, check_length, check_value_y
from .metrics import get_scorer
from .model_selection.proteins import splitter_of
from .sequences import truncate
from .sequences.checked import COUNT, SEED, Range, checked
from .sequences.clean import object_array, residues_of

__all__ = ["LayerSweep", "layer_sweep"]

_PROTEINS_AT_ONCE = 64  # whose residues are held after every layer, before some are drawn


@dataclass(frozen=True)
class LayerSweep(HasRows):
    """Scores of a probe on the embeddings after each layer; ``print`` it for a table.

    Attributes
    ----------
    rows : list of dict
        One per layer, with the keys

        ``layer``
            Counted from 1; what ``n_layers`` takes.
        ``mean``, ``low``, ``high``
            Mean score over folds, and its confidence interval.
        ``difference``, ``difference_low``, ``difference_high``
            Mean difference to the last layer on the same folds, and its interval.
    scores : ndarray of shape (n_layers, n_folds)
        The scores that the table sums up.
    confidence : float
        Of the intervals.

    See Also
    --------
    layer_sweep : Score a simple model after each layer.
    plmlearn.plotting.LayerSweepDisplay : Draws the scores by layer.

    Examples
    --------
    >>> from plmlearn import layer_sweep
    >>> from plmlearn.datasets import make_protein_classification
    >>> X, y = make_protein_classification(30, median_length=30, max_length=40, random_state=0)
    >>> layer_sweep("mini", X, y, cv=2).scores.shape
    (4, 2)
    """

    rows: list[dict[str, Any]]
    scores: np.ndarray
    confidence: float

    @property
    def best_layer(self) -> int:
        """The layer of the highest mean score: a value for ``n_layers``. Of equal ones the lowest."""
        return max(self.rows, key=lambda row: (row["mean"], -row["layer"]))["layer"]

    @property
    def verdict(self) -> str:
        """The choice in words: whether it differs from the last layer."""
        best, n_layers = self.rows[self.best_layer - 1], len(self.rows)
        chosen = f"layer {best['layer']} of {n_layers}"
        if best["layer"] == n_layers:
            return f"{chosen}, the last"
        low, high = best["difference_low"], best["difference_high"]
        differs = "better than the last" if low > 0 else "no difference to the last"
        interval = f"{self.confidence:.0%} interval {low:+.3f} to {high:+.3f}"
        return f"{chosen}; {differs} ({best['difference']:+.3f}, {interval})"

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.verdict}"


@checked(
    confidence=[Range(Real, 0, 1, closed="neither")],
    max_residues=COUNT,
    random_state=SEED,
    n_jobs=[Range(Integral, None, None, closed="neither"), None],
)
def layer_sweep(
    backbone: str | PathLike[str] | PLMEmbedder,
    X: Any,
    y: Any,
    *,
    cv: Any = None,
    groups: Any = None,
    estimator: Any = None,
    scoring: Any = None,
    confidence: float = 0.95,
    max_residues: int = 20_000,
    ignore_label: Any = None,
    random_state: int | None = 0,
    n_jobs: int | None = None,
) -> LayerSweep:
    """Cross-validate a simple model on the embeddings after each layer of a backbone.

    The last layer is best for few tasks. All layers are embedded in one pass; each is then scored on the same
    folds. Intervals are corrected for the dependence of folds, as in :func:`plmlearn.baselines.compare`.

    Parameters
    ----------
    backbone : str, PathLike or PLMEmbedder
        An encoder, or an embedder with settings of its own, such as ``PLMEmbedder("mini", pooling="max",
        final_norm=False)``. With ``pooling=None`` residues are probed, and ``y`` has a target per residue.
    X : list, array or Series of str, shape (n_proteins,)
    y : array-like of shape (n_proteins,) or (n_proteins, k)
        Floats are values, all else is labels; an indicator of 0 and 1 has several labels per protein. Of
        residues: one str or array per protein.
    cv : int, splitter or iterable of splits, default=None
        Splits of proteins, as in scikit-learn. With ``groups``, a number is that of
        :class:`~plmlearn.model_selection.ClusterKFold`.
    groups : array-like of shape (n_proteins,), default=None
        Clusters of the proteins, passed to the splitter.
    estimator : estimator, default=None
        The probe, on arrays (n, D). None standardises and takes ridge regression for values (its penalty
        chosen among 11 by leave-one-out), logistic regression (C=0.1) for labels.
    scoring : str or callable, default=None
        A scorer, with the names of :data:`plmlearn.metrics.SCORERS` too; None takes the probe's own score
        (accuracy, R²).
    confidence : float, default=0.95
        Of the intervals, in (0, 1).
    max_residues : int, default=20000
        Residues to draw where residues are probed.
    ignore_label : label, default=None
        Entry of ``y`` for residues that were not measured. Masked entries, None and nan always are.
    random_state : int or None, default=0
        Seed of the drawn residues.
    n_jobs : int, default=None
        Folds to fit at once, in processes of their own.

    Returns
    -------
    LayerSweep

    Raises
    ------
    ValueError
        Fewer than 2 folds; ``y`` does not fit ``X``; or a score is nan.

    See Also
    --------
    plmlearn.plotting.LayerSweepDisplay : Its picture.

    Notes
    -----
    Cost: one forward pass per distinct protein, then none, and n_layers times n_folds fits of the probe.
    Memory is n_layers times D times 4 bytes per protein or drawn residue: 8 kB for ESM2-8M, 170 kB for
    ESM2-650M.

    The intervals are those of one comparison each. The best of many layers looks better than it is, so
    confirm a small gain on proteins that the sweep has not seen.

    References
    ----------
    Nadeau & Bengio (2003), doi:10.1023/A:1024068626366

    Examples
    --------
    >>> from plmlearn import layer_sweep
    >>> from plmlearn.datasets import make_protein_classification
    >>> X, y = make_protein_classification(60, median_length=30, max_length=40, random_state=0)
    >>> sweep = layer_sweep("mini", X, y, cv=3)
    >>> sweep.scores.shape
    (4, 3)
    """
    embedder = backbone if isinstance(backbone, PLMEmbedder) else PLMEmbedder(backbone)
    embedder = clone(embedder).fit(X)
    given = embedder._check_X(X)  # with structural states, where the backbone reads them
    X, _ = truncate(given, embedder.max_length, embedder.long_sequences)
    if embedder.pooling is None:
        targets, has_values = _check_residue_y(y, given, ignore_label)
        residues = _Residues.of(X, targets, has_values, max_residues, random_state)
        features, owners, y = residues.embed(embedder, X), residues.owners, residues.y
    else:
        y, owners = _check_y(y, len(X)), np.arange(len(X))
        features = embedder.transform_layers(X)
    probe = _make_probe(y) if estimator is None else estimator
    of_proteins = None if embedder.pooling is None else y  # which a splitter may read
    splitter = splitter_of(cv, of_proteins, groups, is_classifier(probe))
    splits = list(splitter.split(object_array(map(residues_of, X)), of_proteins, groups))
    if len(splits) < 2:
        raise ValueError("A single fold has no estimate of its error; expected cv of 2 folds or more.")
    rows = [tuple(np.flatnonzero(np.isin(owners, part)) for part in split) for split in splits]
    scores = _scores(probe, features, y, cv=rows, scoring=scoring, n_jobs=n_jobs)
    ratio = float(np.mean([len(test) / len(train) for train, test in splits]))
    return LayerSweep(_statistics(scores, ratio, confidence), scores, confidence)


def _scores(probe: Any, features: np.ndarray, y: np.ndarray, *, scoring: Any, **options: Any) -> np.ndarray:
    """Scores (n_layers, n_folds) of a probe on the embeddings after each layer; each of them is a number."""
    options |= {"scoring": get_scorer(scoring) if isinstance(scoring, str) else scoring}
    try:
        found = [
            cross_val_score(clone(probe), layer, y, error_score="raise", **options) for layer in features
        ]
    except ValueError as error:
        raise ValueError(f"scoring={scoring!r}, or the estimator, does not suit this y: {error}") from error
    scores = np.array(found)
    if n_undefined := np.isnan(scores).any(axis=0).sum():
        raise ValueError(
            f"The score is nan in {n_undefined} of {scores.shape[1]} folds: R² takes two test proteins or "
            "more, a correlation values that differ, an AUC both classes. Take fewer folds, or a score that "
            "is defined there, such as scoring='neg_mean_absolute_error'."
        )
    return scores


def _statistics(scores: np.ndarray, ratio: float, confidence: float) -> list[dict[str, Any]]:
    """Means of each layer's scores, and of their differences to the last, with intervals."""
    table = []
    for layer, values in enumerate(scores, start=1):
        low, high = corrected_interval(values, ratio, confidence)
        row = {"layer": layer, "mean": float(values.mean()), "low": low, "high": high}
        differences = values - scores[-1]
        low, high = corrected_interval(differences, ratio, confidence)
        row |= {"difference": float(differences.mean()), "difference_low": low, "difference_high": high}
        table.append(row)
    return table


def _check_y(y: Any, n_proteins: int) -> np.ndarray:
    y = check_length(y, n_proteins)
    return check_value_y(y, n_proteins) if y.dtype.kind == "f" else check_class_y(y, n_proteins)


def _check_residue_y(y: Any, X: np.ndarray, ignore_label: Any) -> tuple[np.ndarray, bool]:
    """One array per protein, and whether they hold values."""
    has_values = y is not None and any(map(_has_value, y))
    kind: Any = "values" if has_values else "labels"
    return check_residue_y(y, X, kind=kind, ignore_label=ignore_label), has_values


def _has_value(row: Any) -> bool:
    """Whether any entry that is not missing is a float."""
    entries = np.asarray(row)
    if entries.dtype.kind == "O":
        return any(isinstance(entry, float | np.floating) and entry == entry for entry in entries.flat)
    return entries.dtype.kind == "f" and not np.isnan(entries).all()


def _make_probe(y: np.ndarray) -> Any:
    """What reads embeddings where the caller has no wish of their own."""
    if y.dtype.kind == "f":
        return make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 5, 11)))
    logistic = LogisticRegression(C=0.1, max_iter=1000)
    return make_pipeline(StandardScaler(), logistic if y.ndim == 1 else OneVsRestClassifier(logistic))


@dataclass(frozen=True)
class _Residues:
    """Residues that were drawn among the measured ones, and their targets.

    Parameters
    ----------
    owners, places : ndarray of int, shape (n_residues,)
        The protein of each, ascending, and its place there.
    y : ndarray of shape (n_residues,) or (n_residues, k)
    """

    owners: np.ndarray
    places: np.ndarray
    y: np.ndarray

    @classmethod
    def of(
        cls, X: np.ndarray, targets: np.ndarray, has_values: bool, n_most: int, seed: int | None
    ) -> _Residues:
        """At most ``n_most``, of those that are read."""
        known = (is_measured(row[: len(read)]).reshape(len(read), -1) for row, read in zip(targets, X))
        measured = [np.flatnonzero(entries.all(axis=1)) for entries in known]
        owners = np.repeat(np.arange(len(X)), [len(places) for places in measured])
        values = np.concatenate([np.asarray(row)[places] for row, places in zip(targets, measured)])
        drawn = np.sort(np.random.default_rng(seed).permutation(len(owners))[:n_most])
        values = values[drawn] if has_values else values[drawn].astype(str)
        return cls(owners[drawn], np.concatenate(measured)[drawn], values)

    def embed(self, embedder: PLMEmbedder, X: np.ndarray) -> np.ndarray:
        """Embeddings of these residues after every layer, (n_layers, n_residues, D)."""
        parts = []
        for start in range(0, len(X), _PROTEINS_AT_ONCE):
            chunk = X[start : start + _PROTEINS_AT_ONCE]
            layers = embedder.transform_layers(chunk)
            chosen = [self.places[self.owners == start + i] for i in range(len(chunk))]
            parts.append(
                [np.concatenate([row[places] for row, places in zip(rows, chosen)]) for rows in layers]
            )
        return np.concatenate(parts, axis=1)
