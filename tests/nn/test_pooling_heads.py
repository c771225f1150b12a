"""Poolings against loops over sequences, heads by shape, order of layers and number of parameters."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from plmlearn.nn.models import HEADS, POOLINGS, EsmHead, LinearHead, MlpHead, ReluHead, has_weights, make_head
from plmlearn.nn.packing import Encoded, Ragged

WIDTH = 5


def draw(lengths: list[int], seed: int = 0) -> Encoded:
    rng = torch.Generator().manual_seed(seed)
    residues = torch.randn(sum(lengths), WIDTH, generator=rng).requires_grad_()
    first = torch.randn(len(lengths), WIDTH, generator=rng).requires_grad_()
    return Encoded(Ragged(residues, lengths), first)


def attend(pooling: nn.Module, sequence: torch.Tensor) -> torch.Tensor:
    scores = sequence @ pooling.score.weight[0] + pooling.score.bias
    return scores.softmax(0) @ sequence


def attend_lightly(pooling: nn.Module, sequence: torch.Tensor) -> torch.Tensor:
    """Staerk et al.'s figure 2, with a loop over positions for the convolutions."""

    def convolve(layer: nn.Conv1d) -> torch.Tensor:
        padded = torch.cat([torch.zeros(4, WIDTH), sequence, torch.zeros(4, WIDTH)])
        windows = [padded[i : i + 9] for i in range(len(sequence))]
        return torch.stack([torch.einsum("kd,odk->o", w, layer.weight) + layer.bias for w in windows])

    values, scores = convolve(pooling.value), convolve(pooling.score)
    return torch.cat([(scores.softmax(0) * values).sum(0), values.max(0).values])


BY_SEQUENCE = {
    "mean": lambda pooling, sequence: sequence.mean(0),
    "max": lambda pooling, sequence: sequence.max(0).values,
    "attention": attend,
    "light_attention": attend_lightly,
}


def loop(name: str, pooling: nn.Module, encoded: Encoded) -> torch.Tensor:
    """What a pooling should give, one sequence after the other."""
    if name == "cls":
        return torch.stack([encoded.first[i] for i in range(len(encoded.residues))])
    return torch.stack([BY_SEQUENCE[name](pooling, s) for s in encoded.residues.rows])


def test_every_pooling_is_tested():
    assert set(POOLINGS) == {*BY_SEQUENCE, "cls"}


@pytest.mark.parametrize("name", POOLINGS)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=8), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_pooling_equals_a_loop_with_gradients(name, lengths, seed):
    torch.manual_seed(seed)
    pooling, encoded = POOLINGS[name](WIDTH).eval(), draw(lengths, seed)
    found, expected = pooling(encoded), loop(name, pooling, encoded)
    assert found.shape == (len(lengths), pooling.width)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    inputs = [encoded.residues.values, encoded.first, *pooling.parameters()]
    weight = torch.randn_like(expected)
    gradients = [
        torch.autograd.grad((out * weight).sum(), inputs, allow_unused=True) for out in (found, expected)
    ]
    for a, b in zip(*gradients):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_light_attention_drops_values_in_training_only():
    pooling, encoded = POOLINGS["light_attention"](WIDTH), draw([30, 5])
    assert not torch.equal(pooling.train()(encoded), pooling(encoded))
    assert torch.equal(pooling.eval()(encoded), pooling(encoded))


def test_cls_needs_a_token_before_the_residues():
    residues = torch.zeros(3, WIDTH)
    with pytest.raises(ValueError, match="pooling='mean'"):
        POOLINGS["cls"](WIDTH)(Encoded(Ragged(residues, [3]), None))


def test_attention_pooling_survives_large_scores():
    pooling = POOLINGS["attention"](WIDTH)
    with torch.no_grad():
        pooling.score.weight.fill_(500.0)
    encoded = draw([3, 6])
    torch.testing.assert_close(pooling(encoded), loop("attention", pooling, encoded))


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("hidden", [None, 7])
def test_heads_map_width_to_outputs(name, hidden):
    head = make_head(name, WIDTH, 3, hidden, 0.1)
    assert head(torch.zeros(4, WIDTH)).shape == (4, 3)


def test_numbers_of_parameters():
    assert count(EsmHead(1280, 1, 128, 0.1)) == 164_097  # Sledzieski et al.'s head
    assert count(EsmHead(8, 3, None, 0.1)) == (8 * 8 + 8) + (8 * 3 + 3)
    assert count(MlpHead(8, 3, 4, 0.1)) == 2 * 8 + (8 * 4 + 4) + (4 * 3 + 3)
    assert count(LinearHead(8, 3, 4, 0.1)) == 8 * 3 + 3
    assert count(ReluHead(1024, 1, 32, 0.2)) == (1024 * 32 + 32) + (32 + 1)  # Schmirler et al., frozen
    assert count(EsmHead(1024, 10, None, 0.2)) == 1024 * 1024 + 1024 + 10 * 1024 + 10  # on ProtT5


def test_esm_head_written_out():
    head = make_head("esm", WIDTH, 2, 7, 0.5).eval()
    x = torch.randn(4, WIDTH)
    first, second = (m for m in head if isinstance(m, nn.Linear))
    expected = torch.tanh(x @ first.weight.T + first.bias) @ second.weight.T + second.bias
    torch.testing.assert_close(head(x), expected)


def test_mlp_head_does_not_mind_the_scale_of_features():
    head = make_head("mlp", WIDTH, 2, 7, 0.0)
    x = torch.randn(4, WIDTH)
    torch.testing.assert_close(head(1000 * x), head(x), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", HEADS)
def test_dropout_acts_in_training_only(name):
    head, x = make_head(name, WIDTH, 2, 64, 0.5), torch.randn(4, WIDTH)
    assert not torch.equal(head.train()(x), head(x))
    assert torch.equal(head.eval()(x), head(x))


def test_has_weights():
    assert has_weights(POOLINGS["attention"](WIDTH))
    assert not has_weights(POOLINGS["mean"](WIDTH))
