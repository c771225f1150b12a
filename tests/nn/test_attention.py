"""Packed attention against softmax written out, its bfloat16 backward pass against float32, rotations."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plmlearn.nn import attention
from plmlearn.nn.attention import packed_attention, padded_attention, rotary_frequencies, rotary_table, rotate
from plmlearn.nn.packing import PackedTokens

LENGTHS = [[1], [5], [3, 3, 3], [1, 7, 7, 2, 2, 2, 30], [40, 1, 40]]


def draw(lengths: list[int], n_heads: int = 3, width: int = 8, *, seed: int = 0, dtype=torch.float32):
    """Query, key, value and a gradient for the output, each (T, H, K), and the tokens."""
    rng = torch.Generator().manual_seed(seed)
    shape = (sum(lengths), n_heads, width)
    tensors = [torch.randn(shape, generator=rng).to(dtype) for _ in range(4)]
    return *tensors, PackedTokens(torch.zeros(shape[0], dtype=torch.long), lengths, 1, 1)


def written_out(query, key, value, tokens, *, scale):
    """Softmax attention, sequence by sequence."""
    outs, start = [], 0
    for length in tokens.lengths:
        q, k, v = (x[start : start + length] for x in (query, key, value))
        weights = torch.einsum("ihk,jhk->hij", q, k).mul(scale).softmax(-1)
        outs.append(torch.einsum("hij,jhk->ihk", weights, v))
        start += length
    return torch.cat(outs)


def with_gradients(attend, query, key, value, grad, tokens, scale):
    """The output of an attention function and the gradients of its three inputs."""
    leaves = [x.clone().requires_grad_() for x in (query, key, value)]
    out = attend(*leaves, tokens, scale=scale)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


@pytest.mark.parametrize("attend", [packed_attention, padded_attention])
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_equals_softmax_written_out(attend, lengths):
    inputs = draw(lengths)
    found = with_gradients(attend, *inputs, 0.4)
    expected = with_gradients(written_out, *inputs, 0.4)
    for name, a, b in zip(["output", "query", "key", "value"], found, expected):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


def kernel_written_out(query, key, value, own, seen, longest, longest_seen):
    """What the library's unpadded kernel promises of its arguments, in a loop."""
    for bounds, most in ((own, longest), (seen, longest_seen)):
        assert bounds.dtype == torch.int32
        assert bounds.diff().max() == most
    outs = []
    for i in range(len(own) - 1):
        mine, theirs = slice(own[i], own[i + 1]), slice(seen[i], seen[i + 1])
        scores = torch.einsum("ihk,jhk->hij", query[mine], key[theirs]) / math.sqrt(query.shape[-1])
        outs.append(torch.einsum("hij,jhk->ihk", scores.softmax(-1), value[theirs]))
    return torch.cat(outs)


@pytest.mark.parametrize("n_before", [0, 4])
@pytest.mark.parametrize("scale", [8**-0.5, 0.4])
def test_unpadded_kernel_is_told_where_sequences_begin(monkeypatch, n_before, scale):
    query, *_, tokens = draw([3, 9, 9, 1])
    key, value, *_ = draw([n + n_before for n in tokens.lengths], seed=1)
    monkeypatch.setattr(attention, "varlen_kernel", lambda: kernel_written_out)
    found = attention.varlen_attention(query, key, value, tokens, scale=scale)
    torch.testing.assert_close(found, packed_attention(query, key, value, tokens, scale=scale))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("lengths", [[1], [17, 17], [1, 9, 700, 33, 33]], ids=str)
def test_unpadded_kernel_equals_float32_on_a_gpu(lengths, dtype):
    *tensors, tokens = draw(lengths, n_heads=4, width=16, dtype=dtype)
    exact = with_gradients(written_out, *(x.float() for x in tensors), tokens, 0.25)
    on_gpu = PackedTokens(tokens.ids.cuda(), lengths, 1, 1)
    assert attention._has_varlen_kernel(tensors[0].cuda())
    found = with_gradients(packed_attention, *(x.cuda() for x in tensors), on_gpu, 0.25)
    largest = max(x.norm() for x in exact[1:])
    for a, b in zip(found, exact):
        assert (a.cpu().float() - b).norm() < 0.015 * (largest if lengths == [1] else b.norm())


@given(st.lists(st.integers(1, 25), min_size=1, max_size=8), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_equals_softmax_for_any_lengths(lengths, seed):
    inputs = draw(lengths, seed=seed)
    expected = with_gradients(written_out, *inputs, 0.3)
    for attend in (packed_attention, padded_attention):
        for a, b in zip(with_gradients(attend, *inputs, 0.3), expected):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_accepts_views_with_strides():
    query, key, value, grad, tokens = draw([4, 9])
    fused = torch.stack([query, key, value], dim=2)  # (T, H, 3, K)
    expected = with_gradients(written_out, query, key, value, grad, tokens, 0.5)
    leaf = fused.clone().requires_grad_()
    out = packed_attention(*leaf.unbind(2), tokens, scale=0.5)
    (gradient,) = torch.autograd.grad(out, leaf, grad)
    torch.testing.assert_close(out, expected[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradient, torch.stack(expected[1:], dim=2), atol=1e-5, rtol=1e-5)


BF16_LENGTHS = [[1], [2], [17, 17], [3, 64, 64, 65], [127, 250], [300, 300], [700], [1, 9, 700, 33, 33]]


@pytest.mark.parametrize("scale", [0.075, 0.25, 0.5])
@pytest.mark.parametrize("lengths", BF16_LENGTHS, ids=str)
def test_bfloat16_gradients_are_close_to_float32(lengths, scale):
    """Errors below 1.5 % in norm, for flat and for sharp attention."""
    query, key, value, grad, tokens = draw(lengths, n_heads=4, width=16, dtype=torch.bfloat16)
    found = with_gradients(packed_attention, query, key, value, grad, tokens, scale)
    exact = with_gradients(
        written_out, query.float(), key.float(), value.float(), grad.float(), tokens, scale
    )
    assert all(x.dtype == torch.bfloat16 for x in found)
    largest = max(x.norm() for x in exact[1:])
    for name, a, b in zip(["output", "query", "key", "value"], found, exact):
        of = largest if lengths == [1] else b.norm()  # attending to itself alone: no gradient
        error = (a.float() - b).norm() / of
        assert error < 0.015, f"{name}: {error:.2%}"


@pytest.mark.parametrize("block_bytes", [1, 5000, 1 << 30])
def test_bfloat16_blocks_do_not_matter(monkeypatch, block_bytes):
    inputs = draw([20, 20, 33], n_heads=4, width=16, dtype=torch.bfloat16)
    expected = with_gradients(packed_attention, *inputs, 0.25)
    monkeypatch.setattr(attention, "BLOCK_BYTES", block_bytes)
    for a, b in zip(with_gradients(packed_attention, *inputs, 0.25), expected):
        torch.testing.assert_close(a, b)


def test_bfloat16_survives_large_scores():
    """Scores of several hundred: probabilities 0 and 1, nothing infinite."""
    query, key, value, grad, tokens = draw([50], n_heads=2, width=16, dtype=torch.bfloat16)
    found = with_gradients(packed_attention, query * 20, key * 20, value, grad, tokens, 0.25)
    assert all(x.isfinite().all() for x in found)


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
    x = draw([12], width=6)[0].double()
    table = rotary_table(12, rotary_frequencies(6, 10000.0))[:, :, None].double()
    torch.testing.assert_close(rotate(x, *table), naive_rotation(x, 10000.0), atol=1e-6, rtol=1e-6)


def test_rotation_does_not_change_its_input_and_keeps_lengths():
    x = draw([12], width=6)[0]
    before = x.clone()
    table = rotary_table(12, rotary_frequencies(6, 10000.0))[:, :, None]
    turned = rotate(x, *table)
    assert torch.equal(x, before)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))


def test_gradient_of_rotation_by_finite_differences():
    x = draw([5], width=4)[0].double().requires_grad_()
    table = rotary_table(5, rotary_frequencies(4, 100.0))[:, :, None].double()
    assert torch.autograd.gradcheck(lambda x: rotate(x, *table), x)
