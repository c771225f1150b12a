"""Scores of rankings, by their definitions."""

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
    assert top_precision(TRUE, PRED, k=1000, top=0.1) == 0.1
    for parameters in ({"top": 0}, {"top": 1.5}, {"k": 0}):
        with pytest.raises(ValueError, match="parameter of top_recall"):
            top_recall(TRUE, PRED, **parameters)
    with pytest.raises(ValueError, match=r"expected \(n,\) twice"):
        top_recall(TRUE, PRED[:-1])


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
