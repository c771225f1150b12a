"""From tokens to outputs of samples, the head's scaler, and what a fit leaves in a model."""

import copy

import pytest
import torch
from torch import nn

from plmlearn.nn.models import (
    AttentionPooling,
    EsmHead,
    FeatureScaler,
    MeanPooling,
    ProteinModel,
    learned_tensors,
    load_learned,
)
from plmlearn.nn.packing import PackedTokens, Ragged

WIDTH = 5


class _IdsAsFeatures(nn.Module):
    """Stands for an encoder: each token becomes its id in every feature."""

    width = WIDTH

    def __init__(self):
        super().__init__()
        self.frozen = nn.Parameter(torch.ones(WIDTH), requires_grad=False)
        self.trained = nn.Parameter(torch.ones(WIDTH))
        self.table = nn.Buffer(torch.ones(3))

    def forward(self, tokens):
        return tokens.ids[:, None] * self.frozen * self.trained


TOKENS = PackedTokens(torch.tensor([100, 2, 4, 100, 100, 7, 100]), [4, 3], 1, 1)


def test_each_sample_gets_its_own_sequence():
    """Three samples over two sequences; special tokens (ids 100) do not enter the mean."""
    model = ProteinModel(_IdsAsFeatures(), MeanPooling(WIDTH), nn.Identity())
    outputs = model(TOKENS, torch.tensor([1, 0, 1]))
    assert outputs.tolist() == [[7.0] * WIDTH, [3.0] * WIDTH, [7.0] * WIDTH]


def test_pooled_values_are_used_where_they_are_known():
    model = ProteinModel(_IdsAsFeatures(), MeanPooling(WIDTH), nn.Identity())
    pooled = Ragged(torch.tensor([[1.0] * WIDTH, [2.0] * WIDTH]), [1, 1])
    assert model.embed(pooled) is pooled
    assert model(pooled, torch.tensor([1, 0])).tolist() == [[2.0] * WIDTH, [1.0] * WIDTH]


def test_scaler_standardises_what_it_learned_from():
    features = torch.randn(50, WIDTH) * torch.tensor([1e-3, 1.0, 50.0, 2.0, 0.0]) + 7
    scaler = FeatureScaler(WIDTH)
    assert torch.equal(scaler(features), features)
    scaler.learn(features)
    scaled = scaler(features)
    torch.testing.assert_close(scaled.mean(0), torch.zeros(WIDTH), atol=1e-3, rtol=0)
    torch.testing.assert_close(scaled.std(0, correction=0)[:4], torch.ones(4), atol=1e-2, rtol=0)
    assert torch.equal(scaled[:, 4], torch.zeros(50))  # a constant feature stays finite


def test_scaler_stands_between_pooling_and_head():
    model = ProteinModel(_IdsAsFeatures(), MeanPooling(WIDTH), nn.Identity())
    model.scaler.learn(model.embed(TOKENS).values.detach())  # means 3 and 7
    outputs = model(TOKENS, torch.tensor([0, 1]))
    torch.testing.assert_close(outputs, torch.tensor([[-1.0] * WIDTH, [1.0] * WIDTH]))


def make_model(seed: int) -> ProteinModel:
    torch.manual_seed(seed)
    return ProteinModel(_IdsAsFeatures(), AttentionPooling(WIDTH), EsmHead(WIDTH, 2, 4, 0.0))


def test_learned_tensors_are_what_a_fit_changes():
    names = set(learned_tensors(make_model(0)))
    head = {"head.1.weight", "head.1.bias", "head.4.weight", "head.4.bias"}
    pooling = {"pooling.score.weight", "pooling.score.bias"}
    assert names == head | pooling | {"encoder.trained", "scaler.mean", "scaler.scale"}


def test_learned_tensors_round_trip():
    model, other = make_model(0), make_model(1)
    model.scaler.learn(torch.randn(9, WIDTH))
    with torch.no_grad():
        model.encoder.trained.normal_()
        load_learned(other, copy.deepcopy(learned_tensors(model)))
        assert torch.equal(other(TOKENS, torch.arange(2)), model(TOKENS, torch.arange(2)))


def test_learned_tensors_of_another_model_are_refused():
    tensors = learned_tensors(make_model(0))
    tensors.pop("head.1.bias")
    with pytest.raises(ValueError, match=r"do not fit.*head\.1\.bias"):
        load_learned(make_model(1), tensors)
