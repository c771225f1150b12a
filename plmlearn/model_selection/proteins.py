"""Splits of proteins: ``ClusterKFold``, ``ClusterShuffleSplit``, ``MutationOrderSplit``.

All are scikit-learn splitters: pass one as ``cv=``. The first two take ``groups``, the clusters of the
proteins (of :func:`~plmlearn.model_selection.cluster_sequences`, or your own); without, they cluster X.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, get_args

import numpy as np
from sklearn.model_selection import BaseCrossValidator, GroupKFold, StratifiedGroupKFold, check_cv
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import type_of_target

from ..sequences import check_sequences
from ..sequences.checked import AT_LEAST_2, COUNT, COUNT_FROM_0, FLAG, SEED, SHARE, TEXT, Range, one_of
from ..sequences.clean import check_count, check_parameters, is_missing, rows_of
from ..sequences.columns import check_labels
from ..sequences.kinds import are_labels
from ..similarity.alignment import stack_letters
from ..similarity.search import Method
from .clusters import cluster_sequences
from .graph import check_clusters
from .holdout import Split, count_classes, draw_clusters

_CONSTRAINTS = {
    "n_splits": AT_LEAST_2,
    "min_identity": SHARE,
    "coverage": SHARE,
    "method": one_of(get_args(Method)),
    "random_state": SEED,
    "shuffle": FLAG,
    "test_size": [Range(Real, 0, 1, closed="neither")],
    "wild_type": TEXT,
    "max_train_mutations": COUNT_FROM_0,
}


class Splitter(BaseCrossValidator):
    """A splitter that says beforehand how many splits it makes."""

    n_splits: int

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Number of splits."""
        return self.n_splits


@dataclass(kw_only=True, eq=False, repr=False)
class _ClusterSplitter(Splitter):
    n_splits: int = field(default=5, kw_only=False)
    min_identity: float = 0.3
    coverage: float = 0.8
    method: Method = "auto"
    random_state: Any = None

    __metadata_request__split = {"groups": True}

    def _clusters(self, X: Any, groups: Any, n_least: int) -> np.ndarray:
        """Clusters of the proteins; an error where there are fewer than ``n_least``."""
        if groups is None:
            groups = cluster_sequences(X, self.min_identity, self.coverage, method=self.method)
        groups = check_clusters(groups, (len(X),))
        n_clusters = len(np.unique(groups))
        if n_clusters < n_least:
            raise ValueError(
                f"{len(groups)} proteins form {n_clusters} clusters, too few for {n_least} parts that share "
                "none. Ask for fewer folds, or cluster at a higher min_identity or coverage."
            )
        return groups


@dataclass(kw_only=True, eq=False, repr=False)
class ClusterKFold(_ClusterSplitter):
    """K folds of proteins that share no cluster with one another, stratified by class where y has classes.

    Whole numbers are classes if there are at most 20 different ones, otherwise measurements.

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

    shuffle: bool = False

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]:
        """Row numbers of training and test set, fold by fold."""
        check_parameters(_CONSTRAINTS, vars(self), type(self).__name__)
        check_rows(X, y)
        groups = self._clusters(X, groups, self.n_splits)
        seed = self.random_state if self.shuffle else None
        kinds = (StratifiedGroupKFold, GroupKFold) if _has_classes(y, self.n_splits) else (GroupKFold,)
        for kind in kinds:
            splitter = kind(self.n_splits, shuffle=self.shuffle, random_state=seed)
            folds = list(splitter.split(groups, y, groups))
            if all(len(test) for _, test in folds):  # the stratified one may leave a fold empty
                break
        yield from folds


@dataclass(kw_only=True, eq=False, repr=False)
class ClusterShuffleSplit(_ClusterSplitter):
    """Random splits into training and test proteins that share no cluster, stratified where y has classes.

    Clusters are drawn at random; each joins the test set if that brings its class counts closer to
    ``test_size`` of all. Unlike GroupShuffleSplit's, the test size is a share of proteins, not of clusters.
    Whole numbers are classes if there are at most 20 different ones, otherwise measurements.

    Parameters
    ----------
    n_splits : int, default=10
        Number of splits, drawn independently of one another.
    test_size : float, default=0.2
        Share of proteins in the test set, between 0 and 1; met as closely as the sizes of clusters allow.
    min_identity, coverage, method
        Of :func:`~plmlearn.model_selection.cluster_sequences`; used where ``split`` gets no groups.
    random_state : int, RandomState or None, default=None

    See Also
    --------
    ClusterKFold : Folds that share no cluster.
    cluster_sequences : The clusters.

    Examples
    --------
    >>> import numpy as np
    >>> from plmlearn.model_selection import ClusterShuffleSplit
    >>> families = np.repeat(np.arange(10), 3)
    >>> train, test = next(ClusterShuffleSplit(random_state=0).split(np.zeros(30), groups=families))
    >>> len(train), len(test), set(families[train]) & set(families[test])
    (24, 6, set())
    """

    n_splits: int = field(default=10, kw_only=False)
    test_size: float = 0.2

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]:
        """Row numbers of training and test set, split by split."""
        check_parameters(_CONSTRAINTS | {"n_splits": COUNT}, vars(self), type(self).__name__)
        check_rows(X, y)
        cluster = np.unique(self._clusters(X, groups, 2), return_inverse=True)[1]
        classes = np.unique(y, return_inverse=True)[1] if _has_classes(y, 2) else np.zeros_like(cluster)
        counts, random = count_classes(cluster, classes), check_random_state(self.random_state)
        for _ in range(self.n_splits):
            in_test = draw_clusters(counts, self.test_size, random)[cluster]
            yield random.permutation(np.flatnonzero(~in_test)), random.permutation(np.flatnonzero(in_test))


@dataclass(eq=False, repr=False)
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

    See Also
    --------
    ClusterKFold : Folds that share no cluster.

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

    wild_type: str
    max_train_mutations: int = 3

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Always one."""
        return 1

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]:
        """Row numbers of the training and the test variants."""
        check_parameters(_CONSTRAINTS, vars(self), type(self).__name__)
        variants, (wild,) = check_sequences(X), check_sequences([self.wild_type])
        letters, of_wild = (stack_letters(rows, len(wild), "the wild type") for rows in (variants, [wild]))
        order = (letters != of_wild).sum(axis=1)
        few = order <= self.max_train_mutations
        if few.all() or not few.any():
            side = "at most" if few.all() else "more than"
            raise ValueError(
                f"All {len(order)} variants have {side} {self.max_train_mutations} mutations "
                f"(they have {order.min()} to {order.max()}). Choose max_train_mutations between these."
            )
        yield np.flatnonzero(few), np.flatnonzero(~few)


def splitter_of(cv: Any, y: Any, groups: Any, classifier: bool) -> Any:
    """As ``check_cv`` of scikit-learn, but with groups a number is that of :class:`ClusterKFold`."""
    if groups is not None and (cv is None or isinstance(cv, Integral)):
        return ClusterKFold(5 if cv is None else int(cv))
    if np.iterable(cv) and not hasattr(cv, "split"):  # text is iterable too
        cv = list(cv)
        if not all(_is_split(entry) for entry in cv):
            raise ValueError(
                f"cv={cv!r:.100} holds no pairs of row numbers; expected a number of folds, a splitter, or a "
                "list of (train, test) with the rows of each."
            )
    return check_cv(cv, y, classifier=classifier)


def _is_split(entry: Any) -> bool:
    """Whether it consists of two lists of rows."""
    return isinstance(entry, (tuple, list, np.ndarray)) and len(entry) == 2 and all(map(np.iterable, entry))


def check_rows(X: Any, y: Any) -> None:
    """Raise unless there is a target for each protein, or none at all."""
    n = len(rows_of(X, "proteins in X"))
    if y is not None:
        check_count(rows_of(y, "targets in y"), n, "proteins")


def _is_no_class(entry: Any) -> bool:
    return is_missing(entry) or not np.isscalar(entry) or entry in (np.inf, -np.inf)


def _has_classes(y: Any, n_each: int) -> bool:
    """Whether y holds classes, of which the largest has enough members to be spread over the folds."""
    entries = np.asarray(y, dtype=object)
    if entries.ndim != 1 or any(map(_is_no_class, entries)):
        return False  # numbers that were not all measured, or a target for each residue
    labels = check_labels(y, "y")
    if type_of_target(labels) not in ("binary", "multiclass") or not are_labels(labels):
        return False
    return bool(np.unique(y, return_counts=True)[1].max() >= n_each)
