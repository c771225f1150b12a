"""Additive effects, against explicit ridge regression and on the real landscape of GB1."""

import csv
import gzip
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge

from plmlearn.baselines import AdditiveMutationRegressor


def landscape(n, seed=0):
    random = np.random.default_rng(seed)
    X = ["MK" + "".join(row) + "GH" for row in random.choice(list("ACDE"), (n, 3))]
    return X, random.normal(size=n)


def states(X, order):
    sites = [list(x[2:5]) for x in X]
    return [[*s, *("".join(p) for p in combinations(s, 2))] if order == 2 else s for s in sites]


def indicators(rows, known):
    return np.array([[state == row[i] for i, k in enumerate(known) for state in k] for row in rows], float)


@pytest.mark.parametrize("order", [1, 2])
def test_equals_ridge_on_explicit_indicators(order):
    (X, y), (X_test, _) = landscape(60), landscape(20, seed=1)
    known = [sorted(set(column)) for column in zip(*states(X, order))]
    ridge = Ridge(0.7).fit(indicators(states(X, order), known), y)
    model = AdditiveMutationRegressor(order=order, alpha=0.7).fit(X, y)
    assert model.sites_.tolist() == [2, 3, 4]
    expected = ridge.predict(indicators(states(X_test, order), known))
    assert model.predict(X_test) == pytest.approx(expected, abs=1e-6)


def test_additive_and_pairwise_laws_are_recovered():
    X, _ = landscape(200)
    effect = dict(zip("ACDE", [0.0, 1.0, -2.0, 0.5]))
    additive = np.array([sum(effect[c] * (i + 1) for i, c in enumerate(x[2:5])) for x in X])
    paired = additive + np.array([3.0 * (x[2] == x[4]) for x in X])
    fit, test = slice(0, 150), slice(150, None)
    first = AdditiveMutationRegressor(order=1)
    second = AdditiveMutationRegressor(order=2)
    assert first.fit(X[fit], additive[fit]).score(X[test], additive[test]) > 0.999
    assert second.fit(X[fit], paired[fit]).score(X[test], paired[test]) > 0.99
    assert first.fit(X[fit], paired[fit]).score(X[test], paired[test]) < 0.9


def test_several_measurements():
    X, y = landscape(40)
    both = AdditiveMutationRegressor(alpha=1.0).fit(X, np.column_stack([y, -y])).predict(X)
    assert both[:, 0] == pytest.approx(-both[:, 1])
    assert both[:, 0] == pytest.approx(AdditiveMutationRegressor(alpha=1.0).fit(X, y).predict(X), abs=1e-6)


@pytest.mark.parametrize(
    "X, order, message",
    [
        (
            ["MKV", "MKVA"],
            1,
            r"1 of 2 variants \(rows 1\) differ in length from the first, which has 3",
        ),
        (["MKV", "MKV"], 1, "All 2 sequences are the same"),
        (["MKV", "MKA"], 3, "'order' parameter .* Got 3"),
    ],
)
def test_bad_variants(X, order, message):
    with pytest.raises(ValueError, match=message):
        AdditiveMutationRegressor(order=order).fit(X, [0.0, 1.0])


def test_too_many_pairs_of_sites(monkeypatch):
    monkeypatch.setattr("plmlearn.baselines.mutations._MAX_STATES", 100)
    X, y = landscape(60)
    with pytest.raises(ValueError, match=r"60 variants with 3 variable sites .*Pass order=1"):
        AdditiveMutationRegressor().fit(X, y)


@pytest.mark.data
@pytest.mark.parametrize(
    "split, order, floor",
    [
        ("three_vs_rest", 1, 0.75),
        ("three_vs_rest", 2, 0.79),
        ("sampled", 1, 0.78),
        ("sampled", 2, 0.89),
    ],
)
def test_gb1(data_home, split, order, floor):
    with gzip.open(data_home / "gb1" / "gb1.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    X, y = np.array([r["sequence"] for r in rows]), np.array([float(r["target"]) for r in rows])
    test = np.array([r[split] == "test" for r in rows])
    model = AdditiveMutationRegressor(order=order).fit(X[~test], y[~test])
    assert spearmanr(model.predict(X[test]), y[test]).statistic >= floor
