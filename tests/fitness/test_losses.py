"""Losses against sums over pairs and choices, term by term."""

import math

import numpy as np
import pytest
import torch

from plmlearn.fitness.losses import LOSSES, listwise_loss, ranking_loss, squared_loss

SCORES = [0.3, -1.2, 2.0, 0.5, 0.1, -0.4]
Y = [1.0, 0.0, 1.0, 2.0, 0.0, 3.0]  # two ties
WEIGHTS = [1.0, 2.0, 0.5, 1.5, 0.25, 1.0]


def tensors(*columns):
    return [torch.tensor(column, dtype=torch.float64) for column in columns]


def test_bradley_terry_pair_by_pair():
    total = n = 0.0
    for s, a, w in zip(SCORES, Y, WEIGHTS, strict=True):
        for t, b, v in zip(SCORES, Y, WEIGHTS, strict=True):
            if a > b:  # ties are no pairs
                total += w * v * -math.log(1 / (1 + math.exp(-(s - t))))
                n += w * v
    assert float(ranking_loss(*tensors(SCORES, Y, WEIGHTS)).mean()) == pytest.approx(total / n, rel=1e-9)


def test_plackett_luce_choice_by_choice():
    total = 0.0
    for s, a, w in zip(SCORES, Y, WEIGHTS, strict=True):
        worse = sum(v * math.exp(t) for t, b, v in zip(SCORES, Y, WEIGHTS, strict=True) if b < a)
        total += w * -math.log(math.exp(s) / (math.exp(s) + worse))
    found = float(listwise_loss(*tensors(SCORES, Y, WEIGHTS)).mean())
    assert found == pytest.approx(total / sum(WEIGHTS), rel=1e-9)


def test_plackett_luce_is_the_likelihood_of_an_order_without_ties():
    rng = np.random.default_rng(0)
    scores, y = rng.normal(size=7), rng.permutation(7).astype(float)
    left, likelihood = list(np.argsort(-y)), 0.0
    while left:
        likelihood += scores[left[0]] - np.log(np.exp(scores[left]).sum())
        left.pop(0)
    found = listwise_loss(*tensors(scores, y, np.ones(7)))
    assert float(found.sum()) == pytest.approx(-likelihood, rel=1e-9)


def test_squared_is_a_weighted_mean():
    found = float(squared_loss(*tensors(SCORES, Y, WEIGHTS)).mean())
    assert found == pytest.approx(np.average((np.array(SCORES) - Y) ** 2, weights=WEIGHTS), rel=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_a_weight_is_a_count(name):
    """A variant of weight 2 counts as two variants, between which there is nothing to rank."""
    loss = LOSSES[name]
    doubled = [[*column, column[2]] for column in (SCORES, Y, [1.0] * 6)]
    weighted = (SCORES, Y, [1.0, 1.0, 2.0, 1.0, 1.0, 1.0])
    assert float(loss(*tensors(*doubled)).mean()) == pytest.approx(float(loss(*tensors(*weighted)).mean()))


@pytest.mark.parametrize("name", ["ranking", "listwise"])
def test_ties_alone_ask_for_nothing(name):
    scores = torch.tensor(SCORES, requires_grad=True)
    loss = LOSSES[name](scores, torch.ones(6), torch.ones(6)).mean()
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-7)
    torch.testing.assert_close(scores.grad, torch.zeros(6))
