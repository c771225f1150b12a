"""Campaigns on landscapes whose outcome is known."""

import numpy as np
import pytest
from sklearn.dummy import DummyRegressor

from plmlearn.baselines import AdditiveMutationRegressor, gaussian_process
from plmlearn.design import combine_sites, simulate_campaign
from plmlearn.sequences import name_variants

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
X = combine_sites("MKVLAG", [2, 4], codon="NNK")[:]
EFFECTS = np.random.default_rng(0).normal(size=(2, 20))
Y = np.array([EFFECTS[0, LETTERS.index(x[1])] + EFFECTS[1, LETTERS.index(x[3])] for x in X])


def test_an_additive_model_finds_the_top_of_an_additive_landscape():
    found = simulate_campaign(
        X,
        Y,
        AdditiveMutationRegressor(order=1),
        acquisition="greedy",
        batch=60,
        rounds=3,
        n_campaigns=3,
        top=0.05,
        floors=False,
        random_state=0,
    )
    last = {row["strategy"]: row for row in found.medians() if row["round"] == 3}
    assert found.n_top == 20
    assert last["AdditiveMutationRegressor"]["top_share"] > 0.9
    assert last["AdditiveMutationRegressor"]["best"] == Y.max()
    assert last["random"]["top_share"] < 0.7
    assert [row["n_measured"] for row in found.rows[:3]] == [60, 120, 180]


def test_figures_are_those_of_the_measured_variants():
    """Random choice, repeated by hand."""
    found = simulate_campaign(
        X, Y, {}, batch=50, rounds=2, n_campaigns=2, floors=False, top=0.1, random_state=3
    )
    top = set(np.argsort(-Y)[:40])
    for number, seed in enumerate(np.random.RandomState(3).randint(2**31 - 1, size=2)):
        first = np.random.RandomState(seed).permutation(len(Y))[:50]
        row = found.rows[2 * number]
        assert row["top_share"] == pytest.approx(len(top & set(first)) / 40)
        assert row["best"] == Y[first].max()


def test_strategies_start_alike_and_repeat():
    strategies = {"a": (AdditiveMutationRegressor(order=1), "greedy"), "gp": gaussian_process("onehot")}
    runs = [
        simulate_campaign(
            X[:200], Y[:200], strategies, batch=30, rounds=2, n_campaigns=2, random_state=0
        ).rows
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    starts = {(row["campaign"], row["best"]) for row in runs[0] if row["round"] == 1}
    assert len(starts) <= 2
    assert {row["strategy"] for row in runs[0]} == {"a", "gp", "one-hot ridge, greedy", "random"}


@pytest.mark.parametrize("start", [None, np.zeros(len(X))])
def test_the_order_of_the_landscape_tells_nothing(start):
    """A model that knows nothing finds as much as chance, also where the best come first."""
    order = np.argsort(-Y)
    found = simulate_campaign(
        X[order],
        Y[order],
        {"nothing": DummyRegressor()},
        acquisition="greedy",
        batch=40,
        rounds=3,
        start=start,
        n_campaigns=30,
        floors=False,
        random_state=0,
        top=0.1,
    )
    shares = found.values("nothing", 3, "top_share")
    assert shares.mean() == pytest.approx(120 / 399, abs=0.05)
    assert shares.std() > 0


def test_equal_variants_share_the_top():
    y = np.repeat([0.0, 1.0], [199, 200])
    found = simulate_campaign(X, y, {}, batch=399, rounds=1, n_campaigns=1, top=0.1, start=y)
    assert found.rows[0]["top_share"] == pytest.approx(1)
    found = simulate_campaign(X, y, {}, batch=50, rounds=1, n_campaigns=1, top=0.1, start=y)
    assert found.rows[0]["top_share"] == pytest.approx(50 / 200)


def test_scores_may_choose_the_first_round():
    found = simulate_campaign(X, Y, {}, batch=20, rounds=1, n_campaigns=1, top=0.05, start=Y)
    assert found.rows[0]["top_share"] == 1


def test_bad_landscapes_are_refused():
    model = AdditiveMutationRegressor(order=1)
    for y, message in ((Y[:-1], "y has shape"), (np.ones(len(X)), "All 399 measurements in y are 1")):
        with pytest.raises(ValueError, match=message):
            simulate_campaign(X, y, model, batch=10, acquisition="greedy")
    with pytest.raises(ValueError, match="measure 600 variants, and the landscape has 399"):
        simulate_campaign(X, Y, model, batch=200, acquisition="greedy")
    with pytest.raises(ValueError, match="1 of 3 variants repeat"):
        simulate_campaign(["MK", "ML", "MK"], [1, 2, 3], model, batch=1, acquisition="greedy")
    with pytest.raises(ValueError, match="start has shape"):
        simulate_campaign(X, Y, model, batch=10, start=[1.0], acquisition="greedy")
    with pytest.raises(ValueError, match="named 'random', as random choice is"):
        simulate_campaign(X, Y, {"random": model}, batch=10)
    with pytest.raises(ValueError, match="a has acquisition 'best'"):
        simulate_campaign(X, Y, {"a": (model, "best")}, batch=10)
    with pytest.raises(TypeError, match=r"'ucb' needs predict.*, which strategy 'a' does"):
        simulate_campaign(X, Y, {"gp": gaussian_process("onehot"), "a": model}, batch=10)
    with pytest.raises(ValueError, match=r"X has mutations such as 'K2A' in rows 0, 1, and AdditiveMut"):
        simulate_campaign(["K2A", "K2C"], [1, 2], {"a": (model, "greedy")}, batch=1)


class TakesMutations(DummyRegressor):
    """Says 0 of all variants, and knows the wild type."""

    def __init__(self, wild_type=None):
        super().__init__()
        self.wild_type = wild_type


def test_mutations_are_written_out_for_all_strategies():
    model, options = TakesMutations("MKVLAG"), {"batch": 60, "rounds": 2, "n_campaigns": 2, "random_state": 0}
    runs = [
        simulate_campaign(variants, Y, {"a": (model, "greedy")}, **options).rows
        for variants in (X, name_variants("MKVLAG", X))
    ]
    assert runs[0] == runs[1]
    assert {row["strategy"] for row in runs[0]} == {"a", "one-hot ridge, greedy", "random"}
