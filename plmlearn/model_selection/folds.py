"""``make_folds``: folds that suit the data and do not leak, with what they leak in numbers."""

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold

from ..sequences import check_pairs, target_kind
from ..sequences.checked import AT_LEAST_2, SEED, SHARE, checked, one_of
from ..sequences.columns import as_array
from ..sequences.kinds import are_pairs
from ..sequences.structure import check_residues
from ..similarity import are_variants
from ..similarity.search import Method
from .clusters import cluster_sequences
from .leakage import LeakageReport, PairLeakage, leakage_report, pair_leakage
from .pairs import PairKFold
from .proteins import ClusterKFold, Split


@dataclass(frozen=True)
class Folds:
    """Splits of proteins or pairs; ``print`` says how they were made.

    Attributes
    ----------
    splits : list of (ndarray, ndarray)
        Rows of training and test set, fold by fold; pass it as ``cv=``.
    groups : ndarray or None
        Cluster of each protein, (n,), or of both proteins of each pair, (n, 2). An estimator that stops early
        needs it in ``fit``.
    description : str
        How the folds were made.

    See Also
    --------
    make_folds : Folds in the way that suits the data.

    Examples
    --------
    >>> from plmlearn.model_selection import make_folds
    >>> len(make_folds(["MKTAYIAK", "GSHMLEDP"], n_splits=2, groups=[0, 1]).splits)
    2
    """

    splits: list[Split]
    groups: np.ndarray | None
    description: str

    def leakage(self, X: Any, y: Any = None) -> list[LeakageReport | PairLeakage]:
        """What the test rows of each fold share with its training rows; y, of pairs, holds 0 and 1."""
        if not are_pairs(X):
            X = check_residues(X)
            return [leakage_report(X[train], X[test]) for train, test in self.splits]
        X, y = check_pairs(X), None if y is None else np.asarray(y)
        sides = [rows for split in self.splits for rows in split]
        if y is None or y.ndim > 1 or any(set(y[rows].tolist()) != {0, 1} for rows in sides):
            return [pair_leakage(X[train], X[test]) for train, test in self.splits]
        return [pair_leakage(X[train], X[test], y[train], y[test]) for train, test in self.splits]

    def __str__(self) -> str:
        return self.description


@checked(
    n_splits=AT_LEAST_2,
    min_identity=SHARE,
    coverage=SHARE,
    method=one_of(get_args(Method)),
    random_state=SEED,
)
def make_folds(
    X: Any,
    y: Any = None,
    n_splits: int = 5,
    *,
    groups: Any = "clusters",
    min_identity: float = 0.3,
    coverage: float = 0.8,
    method: Method = "auto",
    random_state: Any = 0,
) -> Folds:
    """Split proteins or pairs into folds in the way that suits them.

    Proteins are clustered, and no cluster is on both sides of a fold. Variants of one protein would all be in
    one cluster: they are split at random. Of pairs, no protein, and no cluster of proteins, is on both sides.

    Parameters
    ----------
    X : list, array or Series of str, or pairs of them, as the estimators take them
    y : as the estimators take it, default=None
        Folds of proteins are stratified by class.
    n_splits : int, default=5
    groups : "clusters", None or array, default="clusters"
        Your own clusters, one per protein or two per pair; None splits proteins at random, and pairs so that
        no protein is on both sides.
    min_identity, coverage, method
        Of :func:`cluster_sequences`.
    random_state : int, RandomState or None, default=0
        Of random folds, and of folds of pairs.

    Returns
    -------
    Folds

    See Also
    --------
    ClusterKFold : Folds that share no cluster.
    PairKFold : Folds of pairs.

    Examples
    --------
    >>> from plmlearn.datasets import make_protein_classification
    >>> from plmlearn.model_selection import make_folds
    >>> X, y = make_protein_classification(20, median_length=40, max_length=60, random_state=0)
    >>> folds = make_folds(X, y, 2, method="exact")
    >>> print(folds)
    2 folds of 20 clusters at 30% identity
    >>> [len(test) for _, test in folds.splits]
    [10, 10]
    """
    pairs, by_cluster, how = are_pairs(X), isinstance(groups, str), "single proteins"
    if by_cluster and groups != "clusters":
        raise ValueError(f"groups is {groups!r}; expected 'clusters', None or an array of clusters.")
    if by_cluster:
        proteins = check_pairs(X) if pairs else check_residues(X)
        if not pairs and are_variants(proteins):
            return _at_random(X, y, n_splits, random_state, " of variants of one protein")
        numbers = cluster_sequences(proteins.ravel(), min_identity, coverage, method=method)
        groups = numbers.reshape(proteins.shape)
        how = f"{len(np.unique(numbers))} clusters at {min_identity:.0%} identity"
    elif groups is not None:
        groups = as_array(groups, "groups")
        try:
            how = f"{len(np.unique(groups))} groups"
        except TypeError:
            raise TypeError("groups holds entries of several kinds; expected numbers, or text.") from None
    if pairs:
        splits = list(PairKFold("C3", n_splits, random_state=random_state).split(X, y, groups))
        return Folds(splits, groups, f"{n_splits} folds of pairs that share no protein (C3), by {how}")
    if groups is None:
        return _at_random(X, y, n_splits, random_state, "")
    classes = y if y is not None and target_kind(X, y) == "labels" else None
    splits = list(ClusterKFold(n_splits).split(X, classes, groups))
    return Folds(splits, groups, f"{n_splits} folds of {how}")


def _at_random(X: Any, y: Any, n_splits: int, random_state: Any, what: str) -> Folds:
    kind: Any = KFold
    if y is not None and np.ndim(y) == 1 and target_kind(X, y) == "labels":
        kind = StratifiedKFold
    rows = np.zeros(len(X))
    splits = list(kind(n_splits, shuffle=True, random_state=random_state).split(rows, y))
    return Folds(splits, None, f"{n_splits} random folds{what}")
