"""Attention over packed tokens, and what it knows of positions: rotary factors and biases by distance.

``packed_attention`` lets every token attend to the tokens of its own sequence only. On a CPU it
walks over the sequences, runs of equal length together; on a GPU in half precision it calls torch's
kernel for sequences of any lengths. Neither pads. Elsewhere (float32 or biases on a GPU) it pads
sequences to the longest and masks.

Two backward passes on a CPU are written here. In bfloat16 torch's own takes four times its forward
pass; with position biases torch has no gradient for them. The forward kernel hands over the
log-sum-exp, and the backward pass recomputes probabilities block by block. In bfloat16 that is twice as
fast at 300-600 residues, with about twice the rounding error (``tests/nn/test_attention.py`` compares
both with float32).

Shapes: T tokens, B sequences, n of them of equal length L, P keys put before each sequence's own,
H heads, K head width, M tokens of the longest sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .packing import PackedTokens


def rotary_frequencies(head_width: int, base: float, device: torch.device | None = None) -> Tensor:
    """Angle per position of each pair of features, shape (K / 2,), float32."""
    return base ** -(torch.arange(0, head_width, 2, device=device).float() / head_width)


def rotary_table(n_positions: int, frequencies: Tensor) -> Tensor:
    """Factors of rotary position embeddings, shape (2, n_positions, K), float32.

    The first half of a head's features pairs with its second half. Entry 0 is the cosine of each feature's
    angle; entry 1 is the sine with the sign of its partner's share.

    References
    ----------
    Su et al., RoFormer, 2021, doi:10.48550/arXiv.2104.09864
    """
    angle = torch.arange(n_positions, device=frequencies.device).float()[:, None] * frequencies
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)])


def rotary_factors(tokens: PackedTokens, n_heads: int, frequencies: Tensor, dtype: torch.dtype) -> Tensor:
    """:func:`rotary_table` by token, (2, n_rows, ...), as :func:`rotate` takes it on the device."""
    table = rotary_table(max(tokens.lengths), frequencies)
    by_token = table.to(dtype)[:, tokens.rounded(tokens.positions), None]
    return by_token.repeat(1, 1, n_heads, 1) if tokens.device.type == "cpu" else by_token


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each head of (T, H, K) by its token's angles.

    Parameters
    ----------
    x : Tensor of shape (T, H, K)
    cos, sin : Tensor of shape (T, 1, K) or (T, H, K)
        :func:`rotary_table` by token. On a CPU, factors repeated for every head are much faster.

    Returns
    -------
    Tensor of shape (T, H, K)
    """
    return _Rotation.apply(x, cos, sin)


class _Rotation(torch.autograd.Function):
    # A rotation's gradient is the rotation back: nothing of x is kept.
    @staticmethod
    def forward(ctx, x, cos, sin):
        ctx.save_for_backward(cos, sin)
        return (x * cos).addcmul_(_partners(x), sin)

    @staticmethod
    def backward(ctx, grad):
        cos, sin = ctx.saved_tensors
        return (grad * cos).addcmul_(_partners(grad), sin, value=-1), None, None


def _partners(x: Tensor) -> Tensor:
    return x.roll(x.shape[-1] // 2, dims=-1)


class PositionBias:
    """Biases of the scores of a batch, made once and used by every layer.

    Parameters
    ----------
    line : Tensor of shape (H, 2 M - 1)
        Entry d + M - 1 is the bias of a key d positions after its query (before it, if d < 0).
    """

    def __init__(self, line: Tensor):
        self.line = line
        if line.device.type != "cpu":
            _ = self.square  # made here, once: recomputed layers must not make it again

    @cached_property
    def square(self) -> Tensor:
        """Biases of all pairs of positions, (H, M, M)."""
        return reversed_square(self.line, (self.line.shape[1] + 1) // 2).flip(1)


def reversed_square(line: Tensor, length: int) -> Tensor:
    """The (H, L, L) biases with the last query first, as a view of the (H, 2 M - 1) line."""
    n_heads, n_distances = line.shape
    first = (n_distances + 1) // 2 - length
    to_head, to_distance = line.stride()
    start = line.storage_offset() + first * to_distance
    return line.as_strided((n_heads, length, length), (to_head, to_distance, to_distance), start)


def sums_by_distance(square: Tensor) -> Tensor:
    """Sums over the diagonals of (N, L, L) values, the last query first: (N, 2 L - 1) in float32."""
    n, length, _ = square.shape
    shifted = F.pad(square, (0, length)).flatten(1)[:, :-length]  # each query starts one further on
    return shifted.view(n, length, 2 * length - 1).sum(1, dtype=torch.float32)


_flash_cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_cpu_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward

# Scores of one block of the backward pass: small enough to stay in a core's own cache.
BLOCK_BYTES = 1 << 20


def packed_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    tokens: PackedTokens,
    *,
    scale: float,
    bias: PositionBias | None = None,
) -> Tensor:
    """Scaled dot-product attention within each sequence.

    Parameters
    ----------
    query : Tensor of shape (T, H, K)
    key, value : Tensor of shape (T + B * P, H, K)
        P of them before each sequence's own, without position or bias; P is 0 in layers without a prefix.
    tokens : PackedTokens
        Where each sequence begins and ends.
    scale : float
        Factor on the products of queries and keys.
    bias : PositionBias, optional
        Added to the scores, by the distance of key and query.

    Returns
    -------
    Tensor of shape (T, H, K)
    """
    if query.device.type == "cpu":
        line = None if bias is None else bias.line.to(query.dtype)
        return _CpuAttention.apply(query, key, value, line, tokens.runs, scale)
    if bias is None and _has_varlen_kernel(query):
        return varlen_attention(query, key, value, tokens, scale=scale)
    return padded_attention(query, key, value, tokens, scale=scale, bias=bias)


def padded_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    tokens: PackedTokens,
    *,
    scale: float,
    bias: PositionBias | None = None,
) -> Tensor:
    """The same as :func:`packed_attention`, through padded (B, H, M, K) copies; any device."""
    lengths, longest = tokens.lengths_tensor, max(tokens.lengths)
    n_before = (len(key) - len(query)) // len(lengths)

    def place(lengths: Tensor, longest: int, n_tokens: int) -> Tensor:
        """Where each packed token goes."""
        sequence = torch.arange(len(lengths), device=lengths.device)
        sequence = torch.repeat_interleave(sequence, lengths, output_size=n_tokens)
        start = torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths, output_size=n_tokens)
        return sequence * longest + torch.arange(n_tokens, device=lengths.device) - start

    def pad(x: Tensor, index: Tensor, longest: int) -> Tensor:
        padded = x.new_zeros(len(lengths) * longest, *x.shape[1:]).index_copy(0, index, x)
        return padded.view(len(lengths), longest, *x.shape[1:]).transpose(1, 2)

    own = place(lengths, longest, len(query))
    seen = place(lengths + n_before, longest + n_before, len(key)) if n_before else own
    q, k, v = pad(query, own, longest), *(pad(x, seen, longest + n_before) for x in (key, value))
    is_key = torch.arange(longest + n_before, device=lengths.device) < (lengths + n_before)[:, None]
    mask = is_key[:, None, None] if len(tokens.runs) > 1 else None
    if bias is not None:
        if mask is not None:
            q, k, v = _hide_padding(q, k, v, ~is_key, scale)
        mask = F.pad(bias.square.to(query.dtype), (n_before, 0))[None]
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    return out[..., : query.shape[-1]].transpose(1, 2).flatten(0, 1)[own]


def _hide_padding(
    query: Tensor, key: Tensor, value: Tensor, is_padding: Tensor, scale: float
) -> tuple[Tensor, ...]:
    """Padded heads with 8 more features that give padded keys, (B, P + M), a score of -1e5.

    Next to biases, a mask for each sequence would be as large as all scores together.
    """
    penalty = is_padding[:, None, :, None].to(query.dtype).expand(-1, key.shape[1], -1, 8)
    key = torch.cat([key, penalty * (-12500.0 / scale)], -1)
    return torch.cat([query, torch.ones_like(query[..., :8])], -1), key, F.pad(value, (0, 8))


def _has_varlen_kernel(query: Tensor) -> bool:
    """Whether torch's unpadded kernel takes such heads: half precision, Ampere or newer."""
    width = query.shape[-1]
    return (
        query.device.type == "cuda"
        and torch.version.hip is None
        and query.dtype in (torch.float16, torch.bfloat16)
        and width % 8 == 0
        and width <= 256
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
        and varlen_kernel() is not None
    )


@cache
def varlen_kernel() -> Callable[..., Any] | None:
    """torch's unpadded kernel, None in torch 2.9. It comes with torch's compiler, which is slow to import."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


def varlen_attention(
    query: Tensor, key: Tensor, value: Tensor, tokens: PackedTokens, *, scale: float
) -> Tensor:
    """The same as :func:`packed_attention`, by torch's kernel for sequences of any lengths."""
    n_before = (len(key) - len(query)) // len(tokens.lengths)
    longest = max(tokens.lengths)
    # Early releases of the kernel know no other scale than this one.
    usual = query.shape[-1] ** -0.5
    if scale != usual:
        query = query * (scale / usual)
    own, seen = (_bounds(tokens.lengths_tensor + n) for n in (0, n_before))
    kernel: Any = varlen_kernel()
    return kernel(query, key, value, own, seen, longest, longest + n_before)


def _bounds(lengths: Tensor) -> Tensor:
    """Where each sequence begins, and where the last ends: (B + 1,) int32."""
    return F.pad(lengths.cumsum(0), (1, 0)).to(torch.int32)


class _CpuAttention(torch.autograd.Function):
    # With biases, queries go in reverse order: see PositionBias.
    @staticmethod
    def forward(ctx, query, key, value, line, runs, scale):
        out, log_sums = torch.empty_like(query), []
        for n, own, seen in _slices(runs, len(query), len(key)):
            heads = _turned(_heads(query[own], n), line), _heads(key[seen], n), _heads(value[seen], n)
            mask = _mask(line, heads[0].shape[2], heads[1].shape[2])
            result, log_sum = _flash_cpu(*heads, 0.0, False, attn_mask=mask, scale=scale)
            out[own] = _packed(_turned(result, line))
            log_sums.append(log_sum)
        ctx.save_for_backward(query, key, value, line, out, *log_sums)
        ctx.runs, ctx.scale = runs, scale
        return out

    @staticmethod
    def backward(ctx, grad):
        query, key, value, line, out, *log_sums = ctx.saved_tensors
        grads = [torch.empty_like(x) for x in (query, key, value)]
        # Below the lowest adapted layer nothing is trained, so its query wants no gradient.
        wants_query, *_, wants_line = ctx.needs_input_grad[:4]
        d_line = torch.zeros(line.shape, dtype=torch.float32) if wants_line else None
        slices = _slices(ctx.runs, len(query), len(key))
        for (n, own, seen), log_sum in zip(slices, log_sums, strict=True):
            g, q, o = (_turned(_heads(x[own], n), line) for x in (grad, query, out))
            k, v = _heads(key[seen], n), _heads(value[seen], n)
            if line is None and grad.dtype != torch.bfloat16:
                d_query, d_key, d_value = _library_backward(g, q, o, k, v, log_sum, ctx.scale)
            else:
                d_query, d_key, d_value = _blocked_backward(
                    g, q, o, k, v, log_sum, ctx.scale, line, d_line, wants_query=wants_query
                )
            grads[0][own] = _packed(_turned(d_query, line))
            grads[1][seen], grads[2][seen] = _packed(d_key), _packed(d_value)
        return *grads, None if d_line is None else d_line.to(line.dtype), None, None


def _slices(runs: list[tuple[int, int]], n_queries: int, n_keys: int) -> Iterator[tuple[int, slice, slice]]:
    """For each run of sequences of equal length: how many, where their queries lie, and their keys."""
    n_before = (n_keys - n_queries) // sum(n for n, _ in runs)
    own = seen = 0
    for n, length in runs:
        more = n * (length + n_before)
        yield n, slice(own, own := own + n * length), slice(seen, seen := seen + more)


def _heads(x: Tensor, n: int) -> Tensor:
    """(n * L, H, K) as (n, H, L, K), a view."""
    return x.unflatten(0, (n, -1)).transpose(1, 2)


def _packed(x: Tensor) -> Tensor:
    """(n, H, L, K) as (n * L, H, K)."""
    return x.transpose(1, 2).flatten(0, 1)


def _turned(x: Tensor, line: Tensor | None) -> Tensor:
    """(n, H, L, K) with the last position first where there is a line of biases."""
    return x if line is None else x.flip(2)


def _mask(line: Tensor | None, length: int, n_keys: int) -> Tensor | None:
    """Biases of L queries in reverse order, (1, H, L, P + L); 0 for the P keys put before."""
    if line is None:
        return None
    own = reversed_square(line, length)
    return (own if n_keys == length else F.pad(own, (n_keys - length, 0)))[None]


def _library_backward(grad, query, out, key, value, log_sum, scale):
    """Gradients of (n, H, L, K) inputs by torch."""
    return _flash_cpu_backward(grad, query, key, value, out, log_sum, 0.0, False, attn_mask=None, scale=scale)


def _blocked_backward(grad, query, out, key, value, log_sum, scale, line, d_line, *, wants_query):
    """Gradients of (n, H, L, K) inputs, recomputing the probabilities in blocks of heads.

    ``exp(scale * q.k + bias - log_sum)`` and ``g.v - g.out`` each come from one matrix product, because
    the subtracted terms ride along as two extra columns (a high and a low half, so that bfloat16
    loses nothing of them). The products are thus rounded near zero, where the probabilities are large.
    The gradient of the line of biases is added to ``d_line`` (H, 2 M - 1), unless that is None.
    """
    n, n_heads, n_keys, _ = key.shape
    query = query * scale
    row_sum = (grad.float() * out.float()).sum(-1)
    ones = torch.ones(n, n_heads, n_keys, 2, dtype=query.dtype)
    query_less = torch.cat([query, _halves(-log_sum, query.dtype)], -1).flatten(0, 1)
    grad_less = torch.cat([grad, _halves(-row_sum, query.dtype)], -1).flatten(0, 1)
    key_more = torch.cat([key, ones], -1).flatten(0, 1).transpose(1, 2)
    value_more = torch.cat([value, ones], -1).flatten(0, 1).transpose(1, 2)
    query, key, grad = (x.flatten(0, 1) for x in (query, key, grad))
    d_query, d_key, d_value = (torch.empty_like(x) for x in (query, key, key))
    length = query.shape[1]
    mask = _mask(line, length, n_keys)
    step = max(1, BLOCK_BYTES // (length * n_keys * query.element_size()))
    for start in range(0, len(query), step):
        block = slice(start, start + step)
        head = torch.arange(start, min(start + step, len(query))) % n_heads
        if mask is None:
            probability = torch.bmm(query_less[block], key_more[block]).exp_()
        else:
            probability = torch.baddbmm(mask[0, head], query_less[block], key_more[block]).exp_()
        d_score = torch.bmm(grad_less[block], value_more[block]).mul_(probability)
        torch.bmm(probability.transpose(1, 2), grad[block], out=d_value[block])
        if wants_query:
            torch.bmm(d_score, key[block], out=d_query[block])
        torch.bmm(d_score.transpose(1, 2), query[block], out=d_key[block])
        if d_line is not None:
            own = sums_by_distance(d_score[..., n_keys - length :])
            first = (line.shape[1] + 1) // 2 - length
            d_line[:, first : first + 2 * length - 1].index_add_(0, head, own)
    return tuple(d.unflatten(0, (n, n_heads)) for d in (d_query.mul_(scale), d_key, d_value))


def _halves(x: Tensor, dtype: torch.dtype) -> Tensor:
    """A float32 column (n, H, L) as two columns (n, H, L, 2) of another precision that add up to it."""
    high = x.to(dtype)
    return torch.stack([high, (x - high.float()).to(dtype)], -1)
