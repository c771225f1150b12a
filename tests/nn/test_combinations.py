"""Combinations of two proteins against loops written out, and gradients through the pair model."""

import numpy as np
import pytest
import torch
from torch import nn

from plmlearn.nn.combinations import COMBINATIONS, PairModel, ResidueProjection
from plmlearn.nn.models import MeanPooling, make_head
from plmlearn.nn.packing import Encoded, PackedTokens, Ragged

WIDTH, LENGTHS = 6, [3, 7, 1, 5]
PAIRS = torch.tensor([[0, 1], [1, 0], [2, 2], [3, 0]])


def proteins_for(combination) -> Ragged:
    generator = torch.Generator().manual_seed(0)
    lengths = LENGTHS if combination.over_residues else [1] * len(LENGTHS)
    values = torch.randn(sum(lengths), combination.width_of_each, generator=generator, dtype=torch.float64)
    return Ragged(values, lengths)


def by_hand(name: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Features of one pair from what stands for each protein, (rows, W)."""
    if name == "cross_attention":
        half = ResidueProjection.WIDTH

        def found(one, other):
            """What the residues of ``one`` find in ``other``, averaged."""
            total = np.zeros(half)
            for key in one[:, :half]:
                weights = np.exp([key @ k / np.sqrt(half) for k in other[:, :half]])
                total += (weights[:, None] / weights.sum() * other[:, half:]).sum(axis=0)
            return total / len(one)

        own_a, own_b = a[:, half:].mean(axis=0), b[:, half:].mean(axis=0)
        in_a, in_b = found(b, a), found(a, b)
        return np.r_[(own_a + own_b) / 2, (in_a + in_b) / 2, (own_a * in_b + own_b * in_a) / 2]
    a, b = a[0], b[0]
    return {
        "mean": (a + b) / 2,
        "symmetric": np.r_[(a + b) / 2, np.abs(a - b), a * b],
        "concat": np.r_[a, b],
    }[name]


@pytest.mark.parametrize("name", COMBINATIONS)
def test_combination_equals_a_loop(name):
    combination = COMBINATIONS[name](WIDTH)
    proteins = proteins_for(combination)
    rows = [row.numpy() for row in proteins.rows]
    expected = [by_hand(name, rows[i], rows[j]) for i, j in PAIRS.tolist()]
    found = combination(proteins, PAIRS)
    assert found.shape == (len(PAIRS), combination.width)
    np.testing.assert_allclose(found, np.array(expected), atol=1e-12)


@pytest.mark.parametrize("name", COMBINATIONS)
def test_order_matters_where_it_is_said_to(name):
    combination = COMBINATIONS[name](WIDTH)
    proteins = proteins_for(combination)
    swapped = combination(proteins, PAIRS.flip(1))
    same = torch.allclose(combination(proteins, PAIRS), swapped, atol=1e-12)
    assert same == (not combination.ordered)


def test_residues_are_projected_one_by_one():
    projection = ResidueProjection(WIDTH)
    residues = torch.randn(4, WIDTH)
    found = projection(Encoded(Ragged(residues, [3, 1]), residues[[0, 3]]))
    assert found.shape == (4, 2 * ResidueProjection.WIDTH)
    torch.testing.assert_close(found[2], projection(Encoded(Ragged(residues[2:3], [1]), residues[2:3]))[0])


class Table(nn.Module):
    """Stands in for an encoder: a vector per token id."""

    width = WIDTH
    depth = trunk_depth = 0

    def __init__(self):
        super().__init__()
        self.vectors = nn.Embedding(30, WIDTH)

    def forward(self, tokens):
        return self.vectors(tokens.ids)


@pytest.mark.parametrize("name", COMBINATIONS)
def test_model_is_encoder_scaler_combination_and_head(name):
    combination = COMBINATIONS[name](WIDTH)
    pooling = ResidueProjection(WIDTH) if combination.over_residues else MeanPooling(WIDTH)
    model = PairModel(Table(), pooling, combination, make_head("mlp", combination.width, 2, 5, 0.0))
    tokens = PackedTokens(torch.arange(sum(LENGTHS)), LENGTHS, 0, 0)
    proteins = model.embed(tokens)
    assert proteins.lengths == (LENGTHS if combination.over_residues else [1] * len(LENGTHS))
    model.scaler.learn(proteins.values.detach())
    outputs = model(proteins, PAIRS)
    values = proteins.values - proteins.values.mean(dim=0)
    scaled = proteins.with_values(values / proteins.values.std(dim=0, correction=0))
    torch.testing.assert_close(outputs, model.head(combination(scaled, PAIRS)), atol=1e-4, rtol=1e-4)
    outputs.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
