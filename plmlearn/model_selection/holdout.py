"""What to hold out: a share of the rows, of whole clusters of rows, or of the pairs of held-out clusters.

``hold_out_rows``       any rows
``hold_out_clusters``   rows, no cluster on both sides
``hold_out_pairs``      pairs, no cluster of proteins on both sides
``draw_clusters``       clusters by their numbers of rows, for these and for splitters
``join_labels``         clusters of rows that share any of several labels

Classes are numbers from 0, one per row. Both sides get their shares of each class as far as whole clusters
allow, and training keeps rows of every class wherever it can.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import reverse_cuthill_mckee
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit
from sklearn.utils import check_random_state

from .clusters import components

_TOLERANCE = 0.1  # of the number of rows wanted: what is nearer is chosen by its classes
_CLOSE = 0.01  # of that number: nothing nearer is looked for
_TRIES = 20
_ORDERS = 5

Split = tuple[np.ndarray, np.ndarray]


def hold_out_rows(classes: np.ndarray, share: float, seed: int) -> Split:
    """Rows to keep and rows to hold out, neither none, in random order; a class with one row is kept."""
    n_out = min(math.ceil(share * len(classes)), len(classes) - 1)
    kept, out = next(ShuffleSplit(1, test_size=n_out, random_state=seed).split(classes))
    n_classes = classes.max() + 1
    if n_classes == 1:
        return kept, out
    alone = np.bincount(classes)[classes] == 1
    several = np.flatnonzero(~alone)
    if min(len(out), len(several) - len(out)) >= len(np.unique(classes[several])) > 0:
        splitter = StratifiedShuffleSplit(1, test_size=len(out), random_state=seed)
        kept, out = next(splitter.split(several, classes[several]))
        return np.append(several[kept], np.flatnonzero(alone)), several[out]
    # Too few rows to stratify. Where all of a class are out, one is kept for a row of a class with others.
    found, first = np.unique(classes[out], return_index=True)
    lost = first[~np.isin(found, classes[kept])]
    spare = np.setdiff1d(np.arange(len(kept)), np.unique(classes[kept], return_index=True)[1])
    lost, spare = lost[: len(spare)], spare[: len(lost)]
    kept[spare], out[lost] = out[lost], kept[spare]
    return kept, out


def hold_out_clusters(clusters: np.ndarray, classes: np.ndarray, share: float, seed: int) -> Split:
    """Rows to keep and rows to hold out; ``clusters`` are numbers from 0, of at least two, (n_rows,)."""
    counts = count_classes(clusters, classes)
    held_out = draw_clusters(counts, share, check_random_state(seed))[clusters]
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def hold_out_pairs(edges: np.ndarray, classes: np.ndarray, share: float, seed: int) -> Split:
    """Pairs to keep and pairs to hold out, as edges of a graph of proteins or clusters, (n_pairs, 2) of int.

    Whole connected components are held out where their sizes allow. Otherwise some nodes are, with the pairs
    between them; pairs that lead to other nodes are on neither side. Of several draws the one is taken that
    loses fewest pairs and differs least in classes. Both sides are empty where each pair shares a node with
    every other.
    """
    random, n_nodes = check_random_state(seed), int(edges.max()) + 1
    component = components(edges[:, 0], edges[:, 1], n_nodes)[edges[:, 0]]
    if component.any():
        counts = count_classes(component, classes)
        drawn = draw_clusters(counts, share, random)
        if not any(_flaws(counts[drawn], counts[~drawn], counts, share)[:2]):
            return np.flatnonzero(~drawn[component]), np.flatnonzero(drawn[component])
    by_class = count_classes(np.arange(len(edges)), classes)
    cuts = [_best_cut(edges, order, share) for order in _orders(edges, n_nodes, random)]
    kept, out = min(cuts, key=lambda cut: _flaws(by_class[cut[1]], by_class[cut[0]], by_class, share))
    return np.flatnonzero(kept), np.flatnonzero(out)


def draw_clusters(counts: np.ndarray, share: float, random: np.random.RandomState) -> np.ndarray:
    """Which clusters to hold out, neither none nor all, (n_clusters,) of bool.

    Parameters
    ----------
    counts : ndarray of shape (n_clusters, n_classes)
        Rows of each class in each cluster, of which there are at least two.
    share : float
        Of the rows, 0 to 1. It is met within a tenth wherever whole clusters allow.
    random : RandomState
    """

    def flaws(drawn: np.ndarray) -> tuple:
        return _flaws(counts[drawn], counts[~drawn], counts, share)

    drawn = _drawn_in_turn(counts, share, random)
    if not any(flaws(drawn)[:2]):
        return drawn
    random = np.random.RandomState(np.flatnonzero(drawn))  # the caller's goes on as if this draw were kept
    kept = [np.zeros(len(counts), dtype=bool)]
    kept += [_one_of_each_class(counts, random) for _ in range(_TRIES) if counts.shape[1] > 1]
    tries = [_nearest_sum(counts, ~clusters, share, random) for clusters in kept if not clusters.all()]
    return min([drawn, *tries] if not drawn.all() else tries, key=flaws)


def count_classes(clusters: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Rows of each class in each cluster, both numbered from 0, (n_clusters, n_classes)."""
    counts = np.zeros((clusters.max() + 1, classes.max() + 1))
    np.add.at(counts, (clusters, classes), 1)
    return counts


def join_labels(*labels: Any) -> np.ndarray:
    """Number of the part that each row is in, where rows that share a label of any kind share a part."""
    joined, *others = (np.unique(each, return_inverse=True)[1] for each in labels)
    for codes in others:
        nodes = joined.max() + 1 + codes
        joined = components(joined, nodes, nodes.max() + 1)[joined]
    return joined


def _flaws(
    out: np.ndarray, kept: np.ndarray, whole: np.ndarray, share: float
) -> tuple[bool, int, float, float]:
    """How a draw falls short, the most important first, from rows by class of its parts, (n, n_classes).

    Whether it holds out too many or too few rows; of how many classes it keeps none; how far off it is; the
    share of rows that are lost, plus the differences between the shares of classes held out and of all.
    """
    out, kept, whole = (rows.sum(axis=0) for rows in (out, kept, whole))
    n, n_out, wanted = whole.sum(), out.sum(), share * whole.sum()
    off = abs(n_out - wanted)
    far = off > _TOLERANCE * wanted
    uneven = np.abs(out / max(n_out, 1) - whole / n).sum()
    return far, int(np.sum(kept == 0)), off * far, 1 - (n_out + kept.sum()) / n + uneven


# ---- clusters


def _drawn_in_turn(counts: np.ndarray, share: float, random: np.random.RandomState) -> np.ndarray:
    """Clusters in random order, each drawn where that brings the rows of each class closer to the share."""
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


def _one_of_each_class(counts: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Some random clusters that together hold every class, (n_clusters,) of bool."""
    chosen = np.zeros(len(counts), dtype=bool)
    for rows in counts.T[random.permutation(counts.shape[1])]:
        if not rows[chosen].any():
            chosen[random.choice(np.flatnonzero(rows))] = True
    return chosen


def _nearest_sum(
    counts: np.ndarray, free: np.ndarray, share: float, random: np.random.RandomState
) -> np.ndarray:
    """Some of the free clusters, not all there are, whose rows add up as near to the share as any do.

    Every sum is noted with the cluster that reached it first. The sum before that one was reached by earlier
    clusters, so that the way back to 0 passes no cluster twice.
    """
    sizes = counts.sum(axis=1).astype(int)
    wanted, most = share * sizes.sum(), min(sizes[free].sum(), sizes.sum() - 1)
    reached_by = np.full(most + 1, -1)
    reached_by[0] = len(sizes)
    for cluster in random.permutation(np.flatnonzero(free)):
        sums = np.flatnonzero(reached_by >= 0) + sizes[cluster]
        sums = sums[sums <= most]
        sums = sums[reached_by[sums] < 0]
        reached_by[sums] = cluster
        if np.abs(sums - wanted).min(initial=np.inf) <= max(0.5, _CLOSE * wanted):
            break
    sums = np.flatnonzero(reached_by[1:] >= 0) + 1
    drawn, left = np.zeros(len(sizes), dtype=bool), sums[np.abs(sums - wanted).argmin()]
    while left:
        drawn[reached_by[left]] = True
        left -= sizes[reached_by[left]]
    return drawn


# ---- pairs


def _orders(edges: np.ndarray, n_nodes: int, random: np.random.RandomState) -> Iterator[np.ndarray]:
    """Orders of the nodes, of which the first ones may be held out."""
    first, second = edges.T
    links = coo_array((np.ones(len(edges)), (first, second)), shape=(n_nodes, n_nodes)).tocsr()
    links = (links + links.T).tocsr()
    for _ in range(_ORDERS):
        order = random.permutation(n_nodes)
        # Cuthill and McKee put neighbours close to one another: few pairs lead away from the first ones.
        along = order[reverse_cuthill_mckee(links[order][:, order].tocsr(), symmetric_mode=True)]
        yield from (order, along, along[::-1])
    # Some may leave no pair on a side. This one does not, if any: it begins with the pair that meets fewest.
    n_links = np.diff(links.indptr)
    n_met = n_links[first] + np.where(first == second, 0, n_links[second] - 1)
    yield np.lexsort((n_links, ~np.isin(np.arange(n_nodes), edges[n_met.argmin()])))


def _best_cut(edges: np.ndarray, order: np.ndarray, share: float) -> Split:
    """Masks of the pairs without the first nodes and of those between these, as near the share as can be."""
    rank = np.argsort(order)[edges]
    nearest, farthest = rank.min(axis=1), rank.max(axis=1)
    n_kept = len(edges) - np.cumsum(np.bincount(nearest, minlength=len(order)))
    n_out = np.cumsum(np.bincount(farthest, minlength=len(order)))
    off = np.where((n_kept > 0) & (n_out > 0), np.abs(n_out - share * len(edges)), np.inf)
    end = off.argmin() if np.isfinite(off).any() else -1
    return (nearest > end) & (end >= 0), farthest <= end
