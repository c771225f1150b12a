"""Rotations against the formula, pair by pair; biases by distance as squares."""

import math

import torch

from plmlearn.nn.positions import PositionBias, rotary_table, rotate, sums_by_distance


def draw(n_tokens: int, width: int) -> torch.Tensor:
    return torch.randn(n_tokens, 3, width, generator=torch.Generator().manual_seed(0))


def naive_rotation(x, base):
    """Each pair (k, k + K/2) of each head turned by position / base^(2k / K), one by one."""
    out = x.clone()
    n_tokens, _, width = x.shape
    for t in range(n_tokens):
        for k in range(width // 2):
            angle = t * base ** (-2 * k / width)
            left, right = x[t, :, k], x[t, :, k + width // 2]
            out[t, :, k] = left * math.cos(angle) - right * math.sin(angle)
            out[t, :, k + width // 2] = left * math.sin(angle) + right * math.cos(angle)
    return out


def test_rotation_equals_naive_formula():
    x = draw(12, 6).double()
    table = rotary_table(12, 6, 10000.0, torch.device("cpu"))[:, :, None].double()
    torch.testing.assert_close(rotate(x, *table), naive_rotation(x, 10000.0), atol=1e-6, rtol=1e-6)


def test_rotation_does_not_change_its_input_and_keeps_lengths():
    x = draw(12, 6)
    before = x.clone()
    table = rotary_table(12, 6, 10000.0, torch.device("cpu"))[:, :, None]
    turned = rotate(x, *table)
    assert torch.equal(x, before)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))


def test_gradient_of_rotation_by_finite_differences():
    x = draw(5, 4).double().requires_grad_()
    table = rotary_table(5, 4, 100.0, torch.device("cpu"))[:, :, None].double()
    assert torch.autograd.gradcheck(lambda x: rotate(x, *table), x)


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
