"""Held-out shares against every possible choice, and sides that share nothing."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

from plmlearn.model_selection.holdout import (
    hold_out_clusters,
    hold_out_pairs,
    hold_out_rows,
    join_labels,
)

shares = st.sampled_from([0.05, 0.1, 0.25, 0.5, 0.9])
seeds = st.integers(0, 999)


def reachable(sizes):
    """Every number of rows that some, but not all, clusters hold."""
    places = range(len(sizes))
    return {sum(sizes[i] for i in some) for n in places if n for some in combinations(places, n)}


@settings(max_examples=80, deadline=None)
@given(sizes=st.lists(st.integers(1, 40), min_size=2, max_size=9), share=shares, seed=seeds, data=st.data())
def test_clusters_meet_the_share_wherever_any_choice_does(sizes, share, seed, data):
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    n, n_classes = len(clusters), data.draw(st.integers(1, 3))
    classes = np.random.default_rng(seed).integers(0, n_classes, n)
    classes = np.unique(classes, return_inverse=True)[1]
    kept, out = hold_out_clusters(clusters, classes, share, seed)
    assert sorted([*kept, *out]) == list(range(n))
    assert len(kept) > 0
    assert len(out) > 0
    assert not set(clusters[kept]) & set(clusters[out])
    off = {abs(size - share * n) for size in reachable(sizes)}
    if min(off) <= 0.1 * share * n:
        assert abs(len(out) - share * n) <= 0.1 * share * n
    elif n_classes == 1:
        assert abs(len(out) - share * n) == min(off)
    again = hold_out_clusters(clusters, classes, share, seed)
    assert [side.tolist() for side in again] == [kept.tolist(), out.tolist()]


@pytest.mark.parametrize("seed", range(20))
def test_one_large_cluster_among_single_rows(seed):
    """Once between .05 and .64 of the rows."""
    clusters = np.r_[np.zeros(60, dtype=int), np.arange(1, 41)]
    _, out = hold_out_clusters(clusters, np.zeros(100, dtype=int), 0.1, seed)
    assert len(out) == 10


@pytest.mark.parametrize("seed", range(10))
def test_clusters_are_stratified(seed):
    clusters = np.arange(600) // 3
    classes = (clusters % 10 == 0).astype(int)
    kept, out = hold_out_clusters(clusters, classes, 0.2, seed)
    assert classes[kept].mean() == pytest.approx(0.1, abs=0.01)
    assert classes[out].mean() == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("seed", range(10))
def test_many_rare_classes_all_stay_in_training(seed):
    """20 classes of 5 clusters each, of which half a cluster would have to be held out."""
    clusters = np.arange(200) // 2
    classes = clusters % 20
    kept, out = hold_out_clusters(clusters, classes, 0.1, seed)
    assert len(out) in range(18, 23)
    assert set(classes[kept]) == set(range(20))


# -- rows


@settings(max_examples=60, deadline=None)
@given(labels=st.lists(st.integers(0, 6), min_size=2, max_size=50), share=shares, seed=seeds)
def test_training_keeps_every_class_wherever_rows_suffice(labels, share, seed):
    classes = np.unique(labels, return_inverse=True)[1]
    n = len(classes)
    n_out = min(int(np.ceil(share * n)), n - 1)
    kept, out = hold_out_rows(classes, share, seed)
    assert sorted([*kept, *out]) == list(range(n))
    assert len(out) == n_out
    assert len(set(classes[kept])) == min(classes.max() + 1, n - n_out)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_rows_are_those_of_scikit_learn(share):
    classes = np.repeat([0, 1, 2], [50, 30, 20])
    for y, splitter in ((classes, StratifiedShuffleSplit), (classes * 0, ShuffleSplit)):
        for seed in range(5):
            expected = next(splitter(1, test_size=share, random_state=seed).split(y, y))
            found = hold_out_rows(y, share, seed)
            assert [side.tolist() for side in found] == [side.tolist() for side in expected]


def test_classes_of_one_row_do_not_keep_others_from_being_stratified():
    classes = np.r_[np.zeros(60, dtype=int), np.ones(40, dtype=int), [2, 3]]
    for seed in range(10):
        _, out = hold_out_rows(classes, 0.1, seed)
        assert np.bincount(classes[out]).tolist() in ([6, 5], [7, 4])


# -- pairs


def graph(seed, n_nodes, n_pairs):
    edges = np.random.default_rng(seed).integers(0, n_nodes, (n_pairs, 2))
    return np.sort(np.unique(edges, return_inverse=True)[1].reshape(-1, 2), axis=1)


@settings(max_examples=80, deadline=None)
@given(n_nodes=st.integers(1, 8), n_pairs=st.integers(1, 12), share=shares, seed=seeds)
def test_pairs_are_parted_wherever_two_have_no_node_in_common(n_nodes, n_pairs, share, seed):
    edges = graph(seed, n_nodes, n_pairs)
    kept, out = hold_out_pairs(edges, np.zeros(n_pairs, dtype=int), share, seed)
    nodes_kept, nodes_out = (set(edges[rows].ravel()) for rows in (kept, out))
    assert not nodes_kept & nodes_out
    lost = np.setdiff1d(np.arange(n_pairs), [*kept, *out])
    possible = any(not set(a) & set(b) for a, b in combinations(edges.tolist(), 2))
    if possible:
        assert len(kept) > 0
        assert len(out) > 0
        assert not any(set(edges[row]) <= nodes_out for row in lost)
    else:
        assert len(kept) == len(out) == 0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "n_nodes, n_pairs, least_kept",
    [(400, 200, 0.85), (300, 290, 0.75), (200, 400, 0.6), (60, 800, 0.45)],
    ids=["sparse", "tree", "medium", "dense"],
)
def test_pairs_meet_the_share_and_few_are_lost(seed, n_nodes, n_pairs, least_kept):
    """A sparse graph once gave a third of its pairs, and kept two thirds."""
    edges = graph(seed, n_nodes, n_pairs)
    classes = np.random.default_rng(seed).integers(0, 2, n_pairs)
    kept, out = hold_out_pairs(edges, classes, 0.1, seed)
    assert abs(len(out) - 0.1 * n_pairs) <= 0.01 * n_pairs
    assert len(kept) >= least_kept * n_pairs
    assert classes[out].mean() == pytest.approx(classes.mean(), abs=0.15)


def test_whole_components_lose_no_pair():
    edges = np.arange(100).reshape(50, 2)
    kept, out = hold_out_pairs(edges, np.zeros(50, dtype=int), 0.2, 0)
    assert (len(kept), len(out)) == (40, 10)


# -- labels


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 8)), min_size=1, max_size=20))
def test_rows_that_share_a_label_share_a_part(rows):
    first, second = map(np.array, zip(*rows))
    part, slow = join_labels(first, second), np.arange(len(rows))
    for _ in rows:
        for i, j in combinations(range(len(rows)), 2):
            if first[i] == first[j] or second[i] == second[j]:
                slow[[i, j]] = min(slow[i], slow[j])
    assert len(set(zip(part, slow))) == len(set(part)) == len(set(slow))
    assert set(part) == set(range(part.max() + 1))
