"""Scores of rankings, by their definitions."""

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.dummy import DummyRegressor

from plmlearn.metrics import get_scorer, ndcg_score, spearman_by_mutations, top_precision, top_recall

rng = np.random.default_rng(0)
TRUE = rng.normal(size=200)
PRED = TRUE + rng.normal(size=200)


@pytest.mark.parametrize("k", [None, 1, 20, 500])
def test_ndcg_is_the_discounted_gain(k):
    gains = (TRUE - TRUE.min()) / (TRUE.max() - TRUE.min())
    discounts = 1 / np.log2(np.arange(2, 202))
    by_rank, ideal = gains[np.argsort(-PRED)], np.sort(gains)[::-1]
    expected = (by_rank * discounts)[:k].sum() / (ideal * discounts)[:k].sum()
    assert ndcg_score(TRUE, PRED, k=k) == pytest.approx(expected)
    assert ndcg_score(TRUE, TRUE, k=k) == pytest.approx(1)
    assert ndcg_score(np.ones(5), np.arange(5)) == 0


def test_recall_and_precision_of_the_top():
    best, made = set(np.argsort(-TRUE)[:20]), set(np.argsort(-PRED)[:50])
    assert top_recall(TRUE, PRED, k=50) == len(best & made) / 20
    assert top_precision(TRUE, PRED, k=50) == len(best & made) / 50
    assert top_recall(TRUE, PRED) == top_precision(TRUE, PRED)
    assert top_recall(TRUE, TRUE, top=0.001) == 1
    for k in (200, 1000):
        with pytest.warns(
            UserWarning, match=f"k={k} makes all 200 variants, so every prediction gets the same"
        ):
            assert top_precision(TRUE, PRED, k=k, top=0.1) == 0.1
    with pytest.warns(UserWarning, match="k=200 makes all 200 variants"):
        assert top_recall(TRUE, PRED, k=200) == 1
    for parameters in ({"top": 0}, {"top": 1.5}, {"k": 0}):
        with pytest.raises(ValueError, match="parameter of top_recall"):
            top_recall(TRUE, PRED, **parameters)
    with pytest.raises(ValueError, match=r"expected \(n,\) twice"):
        top_recall(TRUE, PRED[:-1])


def test_chance_decides_between_equal_values():
    """The mean over all ways in which equal measurements, and equal predictions, can be put in order."""
    true, pred = np.array([1, 1, 0, 2, 1, 0]), np.array([3, 1, 1, 1, 0, 1])
    orders = np.array(list(permutations(range(6))))

    def taken(values, n):
        first = [np.lexsort((order, -values))[:n] for order in orders]
        return np.array([np.isin(range(6), rows) for rows in first], dtype=int)

    for n_best, k in ((2, 1), (2, 3), (3, 2), (3, 5)):
        both = (taken(true, n_best) @ taken(pred, k).T).mean()
        assert top_recall(true, pred, top=n_best / 6, k=k) == pytest.approx(both / n_best)
        assert top_precision(true, pred, top=n_best / 6, k=k) == pytest.approx(both / k)
    ordered = np.arange(100.0)
    for true in (ordered, ordered[::-1]):
        assert top_recall(true, np.zeros(100)) == pytest.approx(0.1)


def test_correlation_by_number_of_mutations():
    wild = "MKVLAG"
    X = ["".join(rng.choice(list("AC"), 6)) for _ in range(200)]
    orders = np.array([sum(a != b for a, b in zip(x, wild)) for x in X])
    found = spearman_by_mutations(wild, X, TRUE, PRED)
    assert found.keys() == set(orders)
    for order, (value, n) in found.items():
        rows = orders == order
        assert n == rows.sum()
        assert value == pytest.approx(spearmanr(TRUE[rows], PRED[rows])[0])
    single = spearman_by_mutations(wild, ["M24A", "WT"], [1, 2], [1, 2], first_site=24)
    assert {order: n for order, (_, n) in single.items()} == {0: 1, 1: 1}
    alike = spearman_by_mutations("MK", ["MK", "MK", "AK", "MA"], [0, 0, 1, 2], [3, 4, 1, 2])
    assert alike == {0: (pytest.approx(np.nan, nan_ok=True), 2), 1: (1, 2)}
    with pytest.raises(ValueError, match="X has 200 variants, y_true 2"):
        spearman_by_mutations(wild, X, [1, 2], [1, 2])


def test_they_are_scorers():
    model = DummyRegressor().fit(["a"] * 200, TRUE)
    assert get_scorer("ndcg")(model, ["a"] * 200, TRUE) < 1
    assert get_scorer("top_recall")(model, ["a"] * 200, TRUE) == top_recall(TRUE, np.zeros(200))
    assert get_scorer("top_precision_96")(model, ["a"] * 200, TRUE) == top_precision(
        TRUE, np.zeros(200), k=96
    )
