"""Clusters from searches that are cut short: those of one search of all against all."""

from itertools import product

import numpy as np
import pytest

from plmlearn.model_selection import cluster_sequences, clusters
from plmlearn.similarity import Hits

PROTEINS = np.array(["".join(letters) for letters in product("ACDEFGH", repeat=3)], dtype=object)


def similar_families(seed, n=90):
    """A relation among proteins: families of several sizes, joined by few links, some not at all."""
    random = np.random.default_rng(seed)
    family = np.repeat(np.arange(7), [30, 20, 15, 12, 8, 4, 1])
    return random.random((n, n)) < np.where(family[:, None] == family, 0.6, 0.0005)


def search_in(relation, asked):
    """A search by a known relation, with as few candidates per query as are asked for."""
    row = {protein: i for i, protein in enumerate(PROTEINS)}

    def search(queries, targets, *, max_hits=None, max_evalue, **limits):
        assert limits == {"min_identity": 0.3, "coverage": 0.8, "method": "auto"}
        assert max_evalue == pytest.approx(1e-3 * len(targets) / len(relation))
        found = relation[np.ix_([row[q] for q in queries], [row[t] for t in targets])]
        asked.append((len(queries), len(targets), max_hits))
        kept = found if max_hits is None else found & (np.cumsum(found, axis=1) <= max_hits)
        full = np.ones(kept.sum())
        return Hits(*np.nonzero(kept), full, full, full, full), (kept != found).any(axis=1)

    return search


@pytest.mark.parametrize("n_candidates, large", [(1, 0), (2, 3), (2, 10), (5, 1000), (8, 12), (100, 5)])
@pytest.mark.parametrize("seed", range(6))
def test_searches_cut_short_give_the_clusters_of_a_whole_one(monkeypatch, seed, n_candidates, large):
    relation, asked = similar_families(seed), []
    monkeypatch.setattr(clusters, "search_clean", search_in(relation, asked))
    monkeypatch.setattr(clusters, "_CANDIDATES", n_candidates)
    monkeypatch.setattr(clusters, "_LARGE", large)
    found = cluster_sequences(PROTEINS[: len(relation)])
    family = np.arange(len(relation))  # the slow way: the smaller number wins until nothing changes
    first, second = np.nonzero(relation)
    while (family[first] != family[second]).any():
        np.minimum.at(family, first, family[second])
        np.minimum.at(family, second, family[first])
    assert len(set(zip(found, family))) == len(set(found)) == len(set(family)) > 1
    assert (len(asked) > 1) == (n_candidates < 100)


def test_a_large_family_is_not_searched_within(monkeypatch):
    relation, asked = np.ones((90, 90), dtype=bool), []
    relation[:80, 80:] = relation[80:, :80] = False
    monkeypatch.setattr(clusters, "search_clean", search_in(relation, asked))
    monkeypatch.setattr(clusters, "_CANDIDATES", 20)
    monkeypatch.setattr(clusters, "_LARGE", 50)
    assert np.bincount(cluster_sequences(PROTEINS[:90])).tolist() == [80, 10]
    assert asked == [(90, 90, 20), (1, 90, None), (79, 10, None)]
