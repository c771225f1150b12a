"""Attention with biases by distance against a plain softmax, in values and in gradients."""

import pytest
import torch

from plmlearn.nn.attention import PositionBias, packed_attention, padded_attention, sums_by_distance
from plmlearn.nn.packing import PackedTokens

N_HEADS, WIDTH = 3, 16
LENGTHS = [[7], [1], [4, 4, 4], [5, 9, 9, 2, 2, 33]]


def draw(lengths, n_before=0, dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    tokens = PackedTokens(torch.zeros(sum(lengths), dtype=torch.long), lengths, 0, 1)
    n_keys = sum(lengths) + n_before * len(lengths)
    query, key, value = (torch.randn(n, N_HEADS, WIDTH).to(dtype) for n in (sum(lengths), n_keys, n_keys))
    line = (3 * torch.randn(N_HEADS, 2 * max(lengths) - 1)).to(dtype)
    return tokens, [query, key, value, line]


def by_hand(tokens, query, key, value, line, scale):
    """Scores of each sequence and head by themselves, in float64."""
    query, key, value, line = (x.double() for x in (query, key, value, line))
    longest = max(tokens.lengths)
    n_before = (len(key) - len(query)) // len(tokens.lengths)
    outputs, own, seen = [], 0, 0
    for length in tokens.lengths:
        q = query[own : own + length]
        k, v = (x[seen : seen + n_before + length] for x in (key, value))
        own, seen = own + length, seen + n_before + length
        distance = torch.arange(length)[None] - torch.arange(length)[:, None]
        bias = line[:, distance + longest - 1]
        bias = torch.cat([bias.new_zeros(N_HEADS, length, n_before), bias], -1)
        scores = scale * torch.einsum("ihk,jhk->hij", q, k) + bias
        outputs.append(torch.einsum("hij,jhk->ihk", scores.softmax(-1), v))
    return torch.cat(outputs)


def run(function, tokens, inputs, scale):
    """Output, and the gradient of each input of a fixed function of it."""
    inputs = [x.detach().clone().requires_grad_(True) for x in inputs]
    query, key, value, line = inputs
    out = function(query, key, value, tokens, bias=PositionBias(line), scale=scale)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    grads = torch.autograd.grad((out.float() * weight).sum(), inputs)
    return [out.detach(), *grads]


def expected(tokens, inputs, scale):
    def function(query, key, value, tokens, bias, scale):
        return by_hand(tokens, query, key, value, bias.line, scale)

    return run(function, tokens, inputs, scale)


@pytest.mark.parametrize("function", [packed_attention, padded_attention])
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("n_before", [0, 3])
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_values_and_gradients_equal_a_plain_softmax(function, lengths, n_before, scale):
    tokens, inputs = draw(lengths, n_before)
    found, exact = run(function, tokens, inputs, scale), expected(tokens, inputs, scale)
    for a, b in zip(found, exact, strict=True):
        torch.testing.assert_close(a, b.float(), atol=2e-5, rtol=1e-4)


def test_bfloat16_keeps_to_its_rounding():
    tokens, inputs = draw([40, 40, 90], dtype=torch.bfloat16)
    found, exact = run(packed_attention, tokens, inputs, 0.25), expected(tokens, inputs, 0.25)
    for a, b in zip(found, exact, strict=True):
        assert a.dtype == torch.bfloat16
        assert (a.double() - b).norm() / b.double().norm() < 0.015


def test_a_frozen_bias_wants_no_gradient():
    tokens, (query, key, value, line) = draw([5, 6])
    query.requires_grad_(True)
    packed_attention(query, key, value, tokens, bias=PositionBias(line), scale=1.0).sum().backward()
    assert query.grad is not None
    assert line.grad is None


def test_long_sequences_hold_no_matrix_of_biases(monkeypatch):
    """What is kept for the backward pass grows with the length, not with its square."""
    kept = []

    def keep(tensor):
        kept.append(tensor.untyped_storage().nbytes())
        return tensor

    tokens, inputs = draw([600])
    inputs = [x.requires_grad_(True) for x in inputs]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        packed_attention(*inputs[:3], tokens, bias=PositionBias(inputs[3]), scale=1.0)
    assert max(kept) <= 600 * N_HEADS * WIDTH * 4


def test_a_line_holds_the_biases_of_all_pairs():
    line = torch.randn(2, 2 * 5 - 1, generator=torch.Generator().manual_seed(0))
    square = PositionBias(line).square
    for query in range(5):
        for key in range(5):
            assert torch.equal(square[:, query, key], line[:, key - query + 4])


def test_sums_by_distance_equal_a_loop():
    square = torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros(2, 9)
    for query in range(5):
        for key in range(5):
            expected[:, key - query + 4] += square[:, 4 - query, key]  # the last query comes first
    torch.testing.assert_close(sums_by_distance(square), expected)
