"""Splits of proteins: ``ClusterKFold``, ``ClusterShuffleSplit``, ``MutationOrderSplit``.

All are scikit-learn splitters: pass one as ``cv=``. The first two take ``groups`` (of
:func:`~plmlearn.model_selection.cluster_sequences`, or families of your own); without, they cluster X.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.model_selection import BaseCrossValidator, BaseShuffleSplit, GroupKFold, StratifiedGroupKFold
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import type_of_target

from plmlearn.model_selection.clusters import cluster_sequences
from plmlearn.sequences import check_sequences

Split = tuple[np.ndarray, np.ndarray]


class ClusterKFold(BaseCrossValidator):
    """K folds of proteins that share no cluster with one another, stratified by class where y has classes.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2 and at most the number of clusters.
    min_identity, coverage, method
        Of :func:`~plmlearn.model_selection.cluster_sequences`; used where ``split`` gets no groups. Cluster
        once yourself and pass ``groups`` when you split the same proteins more than once.
    shuffle : bool, default=False
        Whether chance decides between clusters that suit equally well.
    random_state : int, RandomState or None, default=None

    See Also
    --------
    PairKFold : the same for pairs of proteins.

    Examples
    --------
    >>> import numpy as np
    >>> from plmlearn.model_selection import ClusterKFold
    >>> families = np.array([0, 0, 1, 1, 2, 3])
    >>> for train, test in ClusterKFold(n_splits=3).split(np.zeros(6), groups=families):
    ...     print(families[train], families[test])
    [0 0 2 3] [1 1]
    [1 1 2 3] [0 0]
    [0 0 1 1] [2 3]
    """

    __metadata_request__split = {"groups": True}

    def __init__(
        self,
        n_splits: int = 5,
        *,
        min_identity: float = 0.3,
        coverage: float = 0.8,
        method: str = "auto",
        shuffle: bool = False,
        random_state: Any = None,
    ) -> None:
        self.n_splits = n_splits
        self.min_identity = min_identity
        self.coverage = coverage
        self.method = method
        self.shuffle = shuffle
        self.random_state = random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Number of folds."""
        return self.n_splits

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]:
        """Row numbers of training and test set, fold by fold."""
        groups = _groups(self, X, groups)
        if len(np.unique(groups)) < self.n_splits:
            raise ValueError(
                f"{len(groups)} proteins form {len(np.unique(groups))} clusters, too few for {self.n_splits} "
                "folds that share none. Lower n_splits, or cluster at a higher min_identity or coverage."
            )
        kind = StratifiedGroupKFold if _has_classes(y, self.n_splits) else GroupKFold
        seed = self.random_state if self.shuffle else None
        yield from kind(self.n_splits, shuffle=self.shuffle, random_state=seed).split(groups, y, groups)


class ClusterShuffleSplit(BaseShuffleSplit):
    """Random splits into training and test proteins that share no cluster, stratified where y has classes.

    Clusters are drawn at random; each joins the test set if that brings its class counts closer to
    ``test_size`` of all. Unlike GroupShuffleSplit's, the test size is a share of proteins, not of clusters.

    Parameters
    ----------
    n_splits : int, default=10
        Number of splits, drawn independently of one another.
    test_size : float, default=0.2
        Share of proteins in the test set, between 0 and 1; met as closely as the sizes of clusters allow.
    min_identity, coverage, method
        Of :func:`~plmlearn.model_selection.cluster_sequences`; used where ``split`` gets no groups.
    random_state : int, RandomState or None, default=None

    Examples
    --------
    >>> import numpy as np
    >>> from plmlearn.model_selection import ClusterShuffleSplit
    >>> families = np.repeat(np.arange(10), 3)
    >>> train, test = next(ClusterShuffleSplit(random_state=0).split(np.zeros(30), groups=families))
    >>> len(train), len(test), set(families[train]) & set(families[test])
    (24, 6, set())
    """

    __metadata_request__split = {"groups": True}

    def __init__(
        self,
        n_splits: int = 10,
        *,
        test_size: float = 0.2,
        min_identity: float = 0.3,
        coverage: float = 0.8,
        method: str = "auto",
        random_state: Any = None,
    ) -> None:
        super().__init__(n_splits, test_size=test_size, random_state=random_state)
        self.min_identity = min_identity
        self.coverage = coverage
        self.method = method

    def _iter_indices(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]:
        if not 0 < self.test_size < 1:
            raise ValueError(f"test_size is {self.test_size}; expected a share of proteins between 0 and 1.")
        groups = _groups(self, X, groups)
        _, cluster = np.unique(groups, return_inverse=True)
        classes = np.unique(y, return_inverse=True)[1] if _has_classes(y, 2) else np.zeros_like(cluster)
        counts = np.zeros((cluster.max() + 1, classes.max() + 1))
        np.add.at(counts, (cluster, classes), 1)
        if len(counts) < 2:
            raise ValueError(
                f"All {len(cluster)} proteins form one cluster, which cannot be split. "
                "Cluster at a higher min_identity or coverage."
            )
        random = check_random_state(self.random_state)
        for _ in range(self.n_splits):
            in_test = _drawn(counts, self.test_size, random)[cluster]
            yield random.permutation(np.flatnonzero(~in_test)), random.permutation(np.flatnonzero(in_test))


class MutationOrderSplit(BaseCrossValidator):
    """Train on variants with few mutations, test on those with more: one split.

    It asks whether a model extrapolates, as the splits one_vs_rest, two_vs_rest and three_vs_rest of the FLIP
    benchmark do (their validation rows are training rows here).

    Parameters
    ----------
    wild_type : str
        The protein that the variants derive from, of the same length.
    max_train_mutations : int, default=3
        Most substitutions of a training variant; all others are test variants.

    References
    ----------
    Dallago et al. (2021), FLIP, doi:10.1101/2021.11.09.467890

    Examples
    --------
    >>> from plmlearn.model_selection import MutationOrderSplit
    >>> variants = ["MKVL", "MKVA", "MGVA", "AGVA"]
    >>> list(MutationOrderSplit("MKVL", max_train_mutations=1).split(variants))
    [(array([0, 1]), array([2, 3]))]
    """

    def __init__(self, wild_type: str, max_train_mutations: int = 3) -> None:
        self.wild_type = wild_type
        self.max_train_mutations = max_train_mutations

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Always one."""
        return 1

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]:
        """Row numbers of the training and the test variants."""
        order = mutation_counts(X, self.wild_type)
        few = order <= self.max_train_mutations
        if few.all() or not few.any():
            side = "at most" if few.all() else "more than"
            raise ValueError(
                f"All {len(order)} variants have {side} {self.max_train_mutations} mutations "
                f"(they have {order.min()} to {order.max()}). Choose max_train_mutations between these."
            )
        yield np.flatnonzero(few), np.flatnonzero(~few)


def mutation_counts(X: Any, wild_type: str) -> np.ndarray:
    """Number of substitutions that separate each variant from the wild type, (n_sequences,)."""
    variants, (wild,) = check_sequences(X), check_sequences([wild_type])
    odd = [row for row, variant in enumerate(variants) if len(variant) != len(wild)]
    if odd:
        raise ValueError(
            f"{len(odd)} of {len(variants)} variants (rows {', '.join(map(str, odd[:5]))}"
            f"{', ...' if len(odd) > 5 else ''}) differ in length from the wild type of {len(wild)}; "
            "expected substitutions only. Leave variants with insertions or deletions out."
        )
    letters = np.array([list(variant) for variant in variants])
    return (letters != np.array(list(wild))).sum(axis=1)


def _groups(splitter: Any, X: Any, groups: Any) -> np.ndarray:
    if groups is None:
        return cluster_sequences(X, splitter.min_identity, splitter.coverage, method=splitter.method)
    groups = np.asarray(groups)
    if groups.shape != (len(X),):
        raise ValueError(f"groups has shape {groups.shape}; expected one cluster per protein, ({len(X)},).")
    return groups


def _has_classes(y: Any, n_each: int) -> bool:
    """Whether y holds classes, of which the largest has enough members to be spread over the folds."""
    if y is None or np.ndim(np.asarray(y, dtype=object)) != 1:
        return False
    if type_of_target(y) not in ("binary", "multiclass"):
        return False
    return bool(np.unique(y, return_counts=True)[1].max() >= n_each)


def _drawn(counts: np.ndarray, share: float, random: np.random.RandomState) -> np.ndarray:
    """Which clusters a test set of that share gets, by the class counts of every cluster; True = test."""
    wanted, have = counts.sum(axis=0) * share, np.zeros(counts.shape[1])
    drawn = np.zeros(len(counts), dtype=bool)
    for cluster in random.permutation(len(counts)):
        after = have + counts[cluster]
        # Relative to what is wanted, so that a rare class counts as much as a common one.
        if (np.square(after - wanted) / wanted).sum() < (np.square(have - wanted) / wanted).sum():
            drawn[cluster], have = True, after
    if not drawn.any():
        drawn[np.argmin(counts.sum(axis=1))] = True
    return drawn
