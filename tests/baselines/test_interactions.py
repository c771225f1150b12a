"""Pairs by degree and by relatives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plmlearn.baselines import PairDegreeClassifier, PairSimilarityClassifier
from plmlearn.model_selection import pair_leakage
from plmlearn.similarity import find_similar


def proteins(n, seed=0, length=60):
    random = np.random.default_rng(seed)
    return ["".join(row) for row in random.choice(list("ACDEFGHIKLMNPQRSTVWY"), (n, length))]


def test_degree_is_what_leakage_reports():
    random = np.random.default_rng(0)
    names = np.array([f"P{i}" for i in range(12)], dtype=object)
    X, y = names[random.integers(0, 12, (60, 2))], random.integers(0, 2, 60)
    scores = PairDegreeClassifier().fit(X[:40], y[:40]).decision_function(X[40:])
    auroc = np.mean([(a > b) + 0.5 * (a == b) for a in scores[y[40:] == 1] for b in scores[y[40:] == 0]])
    assert pair_leakage(X[:40], X[40:], y[:40], y[40:]).degree_auroc == pytest.approx(auroc)


def test_unknown_proteins_get_the_odds_of_training():
    clf = PairDegreeClassifier().fit([("A", "B"), ("C", "D"), ("E", "F")], ["no", "no", "yes"])
    assert clf.decision_function([("X", "Y")]) == pytest.approx([2 * np.log(0.5)])
    assert clf.classes_.tolist() == ["no", "yes"]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_votes_equal_a_loop(seed):
    random = np.random.default_rng(seed)
    parents = proteins(4, seed)
    pool = [*parents, *(p[:30] + "".join(random.choice(list("ACDE"), 15)) + p[45:] for p in parents)]
    X = [tuple(pool[i] for i in random.choice(len(pool), 2, replace=False)) for _ in range(14)]
    y = np.r_[0, 1, random.integers(0, 2, 8)]
    # E-values depend on the size of what is searched: the proteins of training, each once.
    own, known = (np.unique(pairs) for pairs in (X[10:], X[:10]))
    hits = find_similar(own, known, min_identity=0.3, method="exact")
    weight = {
        (own[q], known[t]): value
        for q, t, value in zip(
            hits.query, hits.target, hits.identity * hits.query_coverage * hits.target_coverage
        )
    }
    expected = []
    for a, b in X[10:]:
        votes = [
            weight.get((a, c), 0) * weight.get((b, d), 0) + weight.get((a, d), 0) * weight.get((b, c), 0)
            for c, d in X[:10]
        ]
        expected.append((np.dot(votes, y) + y.mean()) / (np.sum(votes) + 1))
    clf = PairSimilarityClassifier(method="exact").fit(X[:10], y)
    assert clf.predict_proba(X[10:])[:, 1] == pytest.approx(np.array(expected))


@pytest.mark.parametrize("clf", [PairDegreeClassifier(), PairSimilarityClassifier(method="exact")])
def test_order_within_pairs_does_not_matter_and_labels_are_checked(clf):
    X, y = [tuple(proteins(6)[i : i + 2]) for i in range(4)], [0, 1, 1, 0]
    turned = [pair[::-1] for pair in X]
    clf.fit(X, y)
    assert clf.predict_proba(X) == pytest.approx(clf.predict_proba(turned))
    with pytest.raises(ValueError, match="y has 3 classes; expected 2"):
        clf.fit(X, [0, 1, 2, 0])
    with pytest.raises(ValueError, match=r"expected one label per pair, \(4,\)"):
        clf.fit(X, [0, 1])
