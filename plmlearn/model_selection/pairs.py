"""``PairKFold``: folds of protein pairs that share both, one or no protein with training.

A data set of pairs is a graph: proteins are nodes, pairs are edges. Splitting rows at random leaves both
proteins of nearly every test pair in training, where a model can learn them by heart (Park & Marcotte 2012).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from scipy.sparse import coo_array
from sklearn.utils import check_random_state

from ..messages import warn
from ..sequences.checked import AT_LEAST_2, SEED, one_of
from ..sequences.clean import check_count, check_parameters
from ..sequences.columns import check_labels
from .clusters import components
from .graph import PairGraph
from .proteins import Split, Splitter

LEVELS = ("C1", "C2", "C3")
_CONSTRAINTS = {
    "level": one_of(LEVELS),
    "n_splits": AT_LEAST_2,
    "clusters": [Mapping, None],
    "random_state": SEED,
}


class PairWarning(UserWarning):
    """What the user of a set of pairs should know: pairs left out, repeated, contradictory."""


@dataclass(eq=False, repr=False)
class PairKFold(Splitter):
    """K folds of protein pairs, by what a test pair shares with the training pairs of its fold.

    ====== ===================================== ========================================================
    level  proteins of a test pair               question
    ====== ===================================== ========================================================
    C1     both occur in training                new pairs of known proteins
    C2     exactly one occurs in training        a new protein and a known one
    C3     neither occurs in training            two new proteins
    ====== ===================================== ========================================================

    For C2 and C3 proteins are dealt into folds; the proteins of one fold are held out at a time, training
    pairs are those without a held-out protein, test pairs those with one (C2) or two (C3). Pairs that are
    neither are left out of that fold, and a warning says how many. Proteins are dealt by degree, each to the
    fold with the fewest test pairs so far, and moved where that evens the folds out; at C3 connected
    components small enough for a fold stay whole, so that few pairs are lost. With ``clusters`` all of this
    holds for clusters of proteins.

    Parameters
    ----------
    level : {"C1", "C2", "C3"}, default="C3"
    n_splits : int, default=5
        Number of folds, at least 2. More folds leave fewer test pairs at C3: about 1 / ``n_splits`` of all
        pairs of a well-connected graph are ever tested.
    clusters : mapping of protein to cluster, default=None
        Such as ``dict(zip(proteins, cluster_sequences(proteins)))``, with proteins named as in X. Proteins of
        one cluster are held out together. The ``groups`` of ``split`` do the same, as (n_pairs, 2) clusters.
    random_state : int, RandomState or None, default=None

    Warns
    -----
    PairWarning
        Once per ``split``, with counts: pairs left out, self-pairs, repeated and contradictory pairs.
        All of them are kept; the repeats of a pair are always in the same fold.

    See Also
    --------
    pair_leakage : What test pairs share with training pairs.
    ClusterKFold : Folds that share no cluster.

    Notes
    -----
    A million pairs over 20,000 proteins take some 3 seconds and 0.4 GB.

    References
    ----------
    Park & Marcotte (2012), doi:10.1038/nmeth.2259; Bernett et al. (2024), doi:10.1093/bib/bbae076

    Examples
    --------
    >>> from plmlearn.model_selection import PairKFold
    >>> pairs = [("A", "B"), ("B", "C"), ("D", "E"), ("E", "F")]
    >>> for train, test in PairKFold("C3", n_splits=2, random_state=0).split(pairs):
    ...     print(train, test)
    [2 3] [0 1]
    [0 1] [2 3]
    """

    __metadata_request__split = {"groups": True}

    level: Literal["C1", "C2", "C3"] = "C3"
    n_splits: int = 5
    clusters: Mapping[Any, Any] | None = field(default=None, kw_only=True)
    random_state: Any = field(default=None, kw_only=True)

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]:
        """Row numbers of training and test pairs, fold by fold."""
        check_parameters(_CONSTRAINTS, vars(self), type(self).__name__)
        graph = PairGraph.of(X, clusters=self.clusters if groups is None else groups)
        labels, random = _number_labels(y, len(graph.edges)), check_random_state(self.random_state)
        if self.level == "C1":
            fold_of_pair = _deal_pairs(graph, labels, self.n_splits, random)
            masks = [_of_known_proteins(graph, fold_of_pair == k) for k in range(self.n_splits)]
        else:
            fold_of_node = _deal_nodes(graph, self.level, self.n_splits, random)
            masks = [_of_held_out_nodes(graph, fold_of_node == k, self.level) for k in range(self.n_splits)]
        _check_folds(masks, graph, self.level)
        _report(masks, graph, self.level, labels)
        for train, test in masks:
            yield np.flatnonzero(train), np.flatnonzero(test)


def _number_labels(y: Any, n_pairs: int) -> np.ndarray:
    """Classes, or the different values of a measurement, as numbers; zeros without y."""
    if y is None:
        return np.zeros(n_pairs, dtype=int)
    y = check_labels(y, "y")
    check_count(y, n_pairs, "pairs", "labels")
    return np.unique(y, axis=0 if y.ndim > 1 else None, return_inverse=True)[1].reshape(-1)


# ---- folds


def _deal_pairs(graph: PairGraph, labels: np.ndarray, n_splits: int, random: Any) -> np.ndarray:
    """Fold of every pair, at random within each label; the repeats of a pair are in one fold."""
    _, first, number = np.unique(graph.pair_numbers(), return_index=True, return_inverse=True)
    order = np.lexsort((random.random(len(first)), labels[first]))
    fold = np.empty(len(first), dtype=int)
    fold[order] = np.arange(len(first)) % n_splits
    return fold[number]


def _known_nodes(graph: PairGraph, train: np.ndarray) -> np.ndarray:
    """Which nodes of every pair occur in training pairs, (n_pairs, 2)."""
    known = np.zeros(graph.n_nodes, dtype=bool)
    known[graph.edges[train]] = True
    return known[graph.edges]


def _of_known_proteins(graph: PairGraph, fold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """C1, training and test pairs: a pair of the fold that training would leave unknown trains too."""
    test = fold & _known_nodes(graph, ~fold).all(axis=1)
    return ~test, test


def _of_held_out_nodes(graph: PairGraph, held_out: np.ndarray, level: str) -> tuple[np.ndarray, np.ndarray]:
    """C2 and C3, training and test pairs: no held-out node in training, one or two in test."""
    n_held_out = held_out[graph.edges].sum(axis=1)
    train = n_held_out == 0
    if level == "C3":
        return train, n_held_out == 2
    return train, (n_held_out == 1) & _known_nodes(graph, train).any(axis=1)


def _deal_nodes(graph: PairGraph, level: str, n_splits: int, random: Any) -> np.ndarray:
    """Fold of every node: by falling degree, each where test pairs are fewest, then evened out.

    At C3, where the pairs inside a fold are tested, a component that fits into a fold is dealt as one.
    """
    unit = _units(graph, n_splits) if level == "C3" else np.arange(graph.n_nodes)
    first, second = unit[graph.edges].T
    n_units = int(unit.max()) + 1
    inside = np.bincount(first[first == second], minlength=n_units)
    apart = first != second
    links = coo_array((np.ones(apart.sum()), (first[apart], second[apart])), shape=(n_units, n_units)).tocsr()
    folds = _Folds(level, (links + links.T).tocsr(), inside, n_splits)
    for u in np.lexsort((random.random(n_units), -folds.degree)):
        folds.add(u, np.lexsort((folds.touched, folds.tested))[0])
    folds.even_out(random)
    return folds.home[unit]


class _Folds:
    """Nodes dealt into folds, and how many pairs each fold would test.

    Parameters
    ----------
    level : {"C2", "C3"}
        What is tested: pairs between a fold and the others, or inside it.
    links : sparse array of shape (n_nodes, n_nodes)
        Pairs between two nodes, none from a node to itself.
    inside : ndarray of shape (n_nodes,)
        Pairs inside a node.
    n_splits : int
    """

    _PASSES, _TOLERANCE = 5, 0.05

    def __init__(self, level: str, links: Any, inside: np.ndarray, n_splits: int):
        self.level, self.links, self.inside, self.n_splits = level, links, inside, n_splits
        self.between = np.asarray(links.sum(axis=1)).ravel()
        self.degree = self.between + 2 * inside
        self.home = np.full(len(inside), -1)
        self.tested, self.touched = np.zeros(n_splits), np.zeros(n_splits)

    def gain(self, u: int) -> np.ndarray:
        """Test pairs that each fold gains with a node; it loses as many without it, (n_splits,)."""
        row = slice(self.links.indptr[u], self.links.indptr[u + 1])
        home = self.home[self.links.indices[row]]
        dealt = home >= 0
        linked = np.bincount(home[dealt], weights=self.links.data[row][dealt], minlength=self.n_splits)
        return self.inside[u] + linked if self.level == "C3" else self.between[u] - 2 * linked

    def add(self, u: int, fold: int) -> None:
        self.tested[fold] += self.gain(u)[fold]
        self.touched[fold] += self.degree[u]
        self.home[u] = fold

    def even_out(self, random: Any) -> None:
        """Move nodes, those with few pairs first, as long as folds differ and a move brings them closer."""
        order = np.lexsort((random.random(len(self.home)), self.degree))
        for _ in range(self._PASSES):
            for u in order:
                if np.ptp(self.tested) <= self._TOLERANCE * self.tested.mean():
                    return
                self._move_if_better(u)

    def _move_if_better(self, u: int) -> None:
        here, gain = self.home[u], self.gain(u)
        after = np.tile(self.tested, (self.n_splits, 1))  # row k: tested pairs with the node in fold k
        after[:, here] -= gain[here]
        np.einsum("kk->k", after)[:] += gain
        best = after.var(axis=1).argmin()
        if best != here and after[best].var() < self.tested.var():
            self.tested, self.home[u] = after[best].copy(), best


def _units(graph: PairGraph, n_splits: int) -> np.ndarray:
    """What is dealt as one: a component with at most a fold's share of the pairs, otherwise a single node."""
    component = components(graph.edges[:, 0], graph.edges[:, 1], graph.n_nodes)
    n_pairs = np.bincount(component[graph.edges[:, 0]], minlength=component.max() + 1)
    small = n_pairs[component] <= len(graph.edges) / n_splits
    alone = component.max() + 1 + np.arange(graph.n_nodes)
    return np.unique(np.where(small, component, alone), return_inverse=True)[1]


# ---- checks


def _check_folds(masks: list, graph: PairGraph, level: str) -> None:
    empty = [k for k, (train, test) in enumerate(masks) if not (train.any() and test.any())]
    if not empty:
        return
    hint = {
        "C1": "Most proteins occur in one pair only: use level='C3'.",
        "C2": "Lower n_splits; pairs whose proteins occur nowhere else suit level='C3'.",
        "C3": "Lower n_splits, cluster at a higher min_identity, or use level='C2'.",
    }[level]
    raise ValueError(
        f"{len(graph.edges)} pairs over {len(np.unique(graph.edges))} proteins or clusters cannot be split "
        f"into {len(masks)} folds at level {level}: folds {empty} have no training or no test pairs. {hint}"
    )


def _report(masks: list, graph: PairGraph, level: str, labels: np.ndarray) -> None:
    n, said = len(graph.edges), []
    if n_self := int((graph.proteins[:, 0] == graph.proteins[:, 1]).sum()):
        said.append(f"{n_self} pairs join a protein to itself")
    pairs = graph.pair_numbers()
    n_distinct, n_labelled = len(np.unique(pairs)), len(np.unique(pairs * (labels.max() + 1) + labels))
    if n_distinct < n:
        said.append(f"{n - n_distinct} pairs repeat another one (in either order)")
    if n_distinct < n_labelled:
        said.append(f"{n_labelled - n_distinct} of these contradict its label")
    left_out = [n - int(train.sum()) - int(test.sum()) for train, test in masks]
    if any(left_out):
        said.append(
            f"{min(left_out)} to {max(left_out)} of {n} pairs are left out of a fold, being neither training "
            f"nor {level} test pairs"
        )
    if never := n - int(np.any([test for _, test in masks], axis=0).sum()):
        said.append(f"{never} of {n} pairs are in no test set")
    if said:
        what = f"PairKFold({level!r}, n_splits={len(masks)})"
        warn(f"{what}: {'; '.join(said)}.", PairWarning)
