"""Attention over packed rows, and rotary positions.

``packed_attention`` lets every token attend to the tokens of its own sequence only. On a CPU it
walks over the sequences (runs of equal length go together), on a GPU in half precision the library's
kernel for sequences of any lengths does; neither pads. Elsewhere (float32 on a GPU) rows are padded to
the longest sequence and masked.

In bfloat16 on a CPU the library's backward pass takes four times its forward pass, so that one is
written here: the forward kernel hands over the log-sum-exp, the backward recomputes probabilities
block by block. Twice as fast at 300-600 residues, with about twice the library's rounding error
(``tests/nn/test_attention.py`` compares it with float32).

Shapes: T tokens, B sequences, L tokens of one of them, P keys put before each sequence's own, H heads,
K head width.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from .packing import PackedTokens

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # torch 2.9
    varlen_attn = None  # type: ignore[assignment]

flash_cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_cpu_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward

# Scores of one block of the backward pass: small enough to stay in a core's own cache.
BLOCK_BYTES = 1 << 20


def packed_attention(
    query: Tensor, key: Tensor, value: Tensor, tokens: PackedTokens, *, scale: float
) -> Tensor:
    """Scaled dot-product attention within each sequence of a packed row.

    Parameters
    ----------
    query : Tensor of shape (T, H, K)
    key, value : Tensor of shape (T + B * P, H, K)
        P of them before each sequence's own; P is 0 but for layers with a learned prefix.
    tokens : PackedTokens
        Where each sequence begins and ends.
    scale : float
        Factor on the scores.

    Returns
    -------
    Tensor of shape (T, H, K)
    """
    if query.device.type == "cpu":
        return _CpuPackedAttention.apply(query, key, value, tokens.runs, scale)
    if _has_varlen_kernel(query):
        return varlen_attention(query, key, value, tokens, scale=scale)
    return padded_attention(query, key, value, tokens, scale=scale)


def padded_attention(
    query: Tensor, key: Tensor, value: Tensor, tokens: PackedTokens, *, scale: float
) -> Tensor:
    """The same as :func:`packed_attention`, through a padded (B, H, L, K) copy; any device."""
    lengths, longest = tokens.lengths_tensor, max(tokens.lengths)
    n_before = (len(key) - len(query)) // len(lengths)

    def place(lengths: Tensor, longest: int, n_rows: int) -> Tensor:
        """Where each row of the packed ones goes."""
        row = torch.arange(len(lengths), device=lengths.device)
        row = torch.repeat_interleave(row, lengths, output_size=n_rows)
        start = torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths, output_size=n_rows)
        return row * longest + torch.arange(n_rows, device=lengths.device) - start

    def pad(x: Tensor, index: Tensor, longest: int) -> Tensor:
        padded = x.new_zeros(len(lengths) * longest, *x.shape[1:]).index_copy(0, index, x)
        return padded.view(len(lengths), longest, *x.shape[1:]).transpose(1, 2)

    own = place(lengths, longest, len(query))
    seen = place(lengths + n_before, longest + n_before, len(key)) if n_before else own
    keys, values = (pad(x, seen, longest + n_before) for x in (key, value))
    mask = None
    if len(tokens.runs) > 1:
        mask = torch.arange(longest + n_before, device=lengths.device) < (lengths + n_before)[:, None]
        mask = mask[:, None, None]
    out = F.scaled_dot_product_attention(pad(query, own, longest), keys, values, attn_mask=mask, scale=scale)
    return out.transpose(1, 2).flatten(0, 1)[own]


def _has_varlen_kernel(query: Tensor) -> bool:
    """Whether the library's unpadded kernel takes such heads: half precision, Ampere or newer."""
    width = query.shape[-1]
    return (
        varlen_attn is not None
        and query.device.type == "cuda"
        and torch.version.hip is None
        and query.dtype in (torch.float16, torch.bfloat16)
        and width % 8 == 0
        and width <= 256
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
    )


def varlen_attention(
    query: Tensor, key: Tensor, value: Tensor, tokens: PackedTokens, *, scale: float
) -> Tensor:
    """The same as :func:`packed_attention`, by the library's kernel for sequences of any lengths."""
    n_before = (len(key) - len(query)) // len(tokens.lengths)
    longest = max(tokens.lengths)
    # Early releases of the kernel know no other scale than this one.
    usual = query.shape[-1] ** -0.5
    if scale != usual:
        query = query * (scale / usual)
    own, seen = (_bounds(tokens.lengths_tensor + n) for n in (0, n_before))
    return varlen_attn(query, key, value, own, seen, longest, longest + n_before)  # type: ignore[return-value]


def _bounds(lengths: Tensor) -> Tensor:
    """Where each sequence begins, and where the last ends: (B + 1,) int32."""
    return F.pad(lengths.cumsum(0), (1, 0)).to(torch.int32)


class _CpuPackedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query, key, value, groups, scale):
        out, log_sums = torch.empty_like(query), []
        for n, own, seen in blocks(groups, len(query), len(key)):
            heads = as_heads(query[own], n), as_heads(key[seen], n), as_heads(value[seen], n)
            result, log_sum = flash_cpu(*heads, 0.0, False, attn_mask=None, scale=scale)
            out[own] = as_rows(result)
            log_sums.append(log_sum)
        ctx.save_for_backward(query, key, value, out, *log_sums)
        ctx.runs, ctx.scale = groups, scale
        return out

    @staticmethod
    def backward(ctx, grad):
        query, key, value, out, *log_sums = ctx.saved_tensors
        grads = tuple(torch.empty_like(x) for x in (query, key, value))
        groups = blocks(ctx.runs, len(query), len(key))
        for (n, own, seen), log_sum in zip(groups, log_sums, strict=True):
            places = (own, own, seen, seen, own)
            heads = [as_heads(x[p], n) for x, p in zip((grad, query, key, value, out), places, strict=True)]
            if grad.dtype == torch.bfloat16:
                # Below the lowest adapted layer nothing is trained, so its query wants no gradient.
                wants_query = ctx.needs_input_grad[0]
                parts = _blocked_backward(heads, log_sum, ctx.scale, wants_query=wants_query)
            else:
                parts = _library_backward(heads, log_sum, ctx.scale)
            for whole, part, place in zip(grads, parts, places[1:4], strict=True):
                whole[place] = as_rows(part)
        return *grads, None, None


def blocks(groups: list[tuple[int, int]], n_queries: int, n_keys: int) -> Iterator[tuple[int, slice, slice]]:
    """For each run of sequences of equal length: how many, the rows of their queries, of their keys."""
    n_before = (n_keys - n_queries) // sum(n for n, _ in groups)
    own = seen = 0
    for n, length in groups:
        more = n * (length + n_before)
        yield n, slice(own, own := own + n * length), slice(seen, seen := seen + more)


def as_heads(x: Tensor, n: int) -> Tensor:
    """(n * L, H, K) as (n, H, L, K), a view."""
    return x.unflatten(0, (n, -1)).transpose(1, 2)


def as_rows(x: Tensor) -> Tensor:
    """(n, H, L, K) as (n * L, H, K)."""
    return x.transpose(1, 2).flatten(0, 1)


def _library_backward(heads, log_sum, scale):
    return _flash_cpu_backward(*heads, log_sum, 0.0, False, attn_mask=None, scale=scale)


def _blocked_backward(heads, log_sum, scale, *, wants_query):
    """Gradients of (n, H, L, K) inputs, recomputing the probabilities in blocks of heads.

    ``exp(scale * q.k - log_sum)`` and ``g.v - g.out`` each come from one matrix product, because
    the subtracted terms ride along as two extra columns (a high and a low half, so that bfloat16
    loses nothing of them). The products are thus rounded near zero, where the probabilities are large.
    """
    grad, query, key, value, out = heads
    n, n_heads, n_keys, _ = key.shape
    query = query * scale
    row_sum = (grad.float() * out.float()).sum(-1)
    ones = torch.ones(n, n_heads, n_keys, 2, dtype=query.dtype)
    query_less = torch.cat([query, halves(-log_sum, query.dtype)], -1).flatten(0, 1)
    grad_less = torch.cat([grad, halves(-row_sum, query.dtype)], -1).flatten(0, 1)
    key_more = torch.cat([key, ones], -1).flatten(0, 1).transpose(1, 2)
    value_more = torch.cat([value, ones], -1).flatten(0, 1).transpose(1, 2)
    query, key, grad = (x.flatten(0, 1) for x in (query, key, grad))
    d_query, d_key, d_value = (torch.empty_like(x) for x in (query, key, key))
    step = max(1, BLOCK_BYTES // (query.shape[1] * n_keys * query.element_size()))
    for start in range(0, len(query), step):
        block = slice(start, start + step)
        probability = torch.bmm(query_less[block], key_more[block]).exp_()
        d_score = torch.bmm(grad_less[block], value_more[block]).mul_(probability)
        torch.bmm(probability.transpose(1, 2), grad[block], out=d_value[block])
        if wants_query:
            torch.bmm(d_score, key[block], out=d_query[block])
        torch.bmm(d_score.transpose(1, 2), query[block], out=d_key[block])
    return tuple(d.unflatten(0, (n, n_heads)) for d in (d_query.mul_(scale), d_key, d_value))


def halves(x: Tensor, dtype: torch.dtype) -> Tensor:
    """A float32 column as two columns of another precision that add up to it."""
    high = x.to(dtype)
    return torch.stack([high, (x - high.float()).to(dtype)], -1)


def rotary_frequencies(head_width: int, base: float, device: torch.device | None = None) -> Tensor:
    """Angle per position of each pair of features, shape (K / 2,), float32."""
    return base ** -(torch.arange(0, head_width, 2, device=device).float() / head_width)


def rotary_table(n_positions: int, frequencies: Tensor) -> Tensor:
    """Factors of rotary position embeddings, shape (2, n_positions, K), float32.

    The first half of a head's features pairs with its second half; row 0 is the cosine of each
    feature's angle, row 1 the sine with the sign of its partner's share.

    References
    ----------
    Su et al., RoFormer, 2021, doi:10.48550/arXiv.2104.09864
    """
    angle = torch.arange(n_positions, device=frequencies.device).float()[:, None] * frequencies
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)])


def rotary_factors(tokens: PackedTokens, n_heads: int, frequencies: Tensor, dtype: torch.dtype) -> Tensor:
    """:func:`rotary_table` by row, (2, n_rows, ...), as :func:`rotate` takes it on the device."""
    table = rotary_table(max(tokens.lengths), frequencies)
    by_token = table.to(dtype)[:, tokens.rounded(tokens.positions), None]
    return by_token.repeat(1, 1, n_heads, 1) if tokens.device.type == "cpu" else by_token


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each head of (T, H, K) by its token's angles.

    ``cos`` and ``sin`` are rows of :func:`rotary_table` by token, (T, 1, K), or the same repeated for
    every head, (T, H, K): on a CPU that is much faster.
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
