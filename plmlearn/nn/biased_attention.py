"""Attention over packed rows with a bias for each distance between two positions, as T5 has it.

The bias of a score depends on the key's position less the query's alone, so one line of 2 L - 1
numbers per head holds all of them. Read with the queries in reverse order, rows of the (L, L) matrix
of biases are the line shifted by one each, which a strided view shows without making it: on a CPU
memory grows with L, not with its square (in bfloat16, 10,000 residues would take 6 GB for 32 heads).

The library has no gradient for a bias, so the backward pass is written here; the forward kernel hands
over the log-sum-exp, the backward recomputes probabilities block by block.

Shapes: T tokens, n sequences of L tokens, P keys put before each sequence's own, H heads, K head width.
"""

from __future__ import annotations

from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from .attention import BLOCK_BYTES, as_heads, as_rows, blocks, flash_cpu, halves
from .packing import PackedTokens


class PositionBias:
    """Biases of the scores of a batch, made once and used by every layer.

    Parameters
    ----------
    line : Tensor of shape (H, 2 M - 1)
        Bias of a key that stands d behind its query, at d + M - 1; M is the longest sequence.
    """

    def __init__(self, line: Tensor):
        self.line = line
        if line.device.type != "cpu":
            _ = self.square  # here, once: layers that are recomputed must not make it

    @cached_property
    def square(self) -> Tensor:
        """Biases of all pairs of positions, (H, M, M)."""
        return reversed_rows(self.line, (self.line.shape[1] + 1) // 2).flip(1)


def reversed_rows(line: Tensor, length: int) -> Tensor:
    """The (H, L, L) matrix of biases, its last query first, as a view of the (H, 2 M - 1) line."""
    n_heads, n_distances = line.shape
    first = (n_distances + 1) // 2 - length
    row, column = line.stride()
    start = line.storage_offset() + first * column
    return line.as_strided((n_heads, length, length), (row, column, column), start)


def biased_attention(
    query: Tensor, key: Tensor, value: Tensor, tokens: PackedTokens, *, bias: PositionBias, scale: float = 1.0
) -> Tensor:
    """Attention within each sequence of a packed row, with a bias by distance.

    Parameters
    ----------
    query : Tensor of shape (T, H, K)
    key, value : Tensor of shape (T + B * P, H, K)
        P of them before each sequence's own; those have no position and no bias.
    tokens : PackedTokens
        Where each sequence begins and ends.
    bias : PositionBias
    scale : float
        Factor on the products of queries and keys.

    Returns
    -------
    Tensor of shape (T, H, K)
    """
    if query.device.type == "cpu":
        line = bias.line.to(query.dtype)
        return _CpuBiasedAttention.apply(query, key, value, line, tokens.runs, scale)
    return padded_biased_attention(query, key, value, tokens, bias=bias, scale=scale)


def padded_biased_attention(
    query: Tensor, key: Tensor, value: Tensor, tokens: PackedTokens, *, bias: PositionBias, scale: float
) -> Tensor:
    """The same as :func:`biased_attention`, through padded (B, H, L, K) copies; any device."""
    n, longest = len(tokens.lengths), max(tokens.lengths)
    n_before = (len(key) - len(query)) // n
    own = torch.nn.utils.rnn.pad_sequence(query.split(tokens.lengths), batch_first=True)
    with_before = [length + n_before for length in tokens.lengths]
    keys, values = (
        torch.nn.utils.rnn.pad_sequence(x.split(with_before), batch_first=True).transpose(1, 2)
        for x in (key, value)
    )
    heads = own.transpose(1, 2)
    mask = F.pad(bias.square.to(query.dtype), (n_before, 0))[None]
    if len(tokens.runs) > 1:
        # A score of -1e5 for padding rides along as further features: a mask of its own for each
        # sequence would be as large as all scores together.
        behind = torch.arange(longest + n_before, device=query.device) >= (
            tokens.lengths_tensor + n_before
        ).unsqueeze(1)
        penalty = behind[:, None, :, None].to(query.dtype).expand(-1, keys.shape[1], -1, 8)
        keys = torch.cat([keys, penalty * (-12500.0 / scale)], -1)
        heads = torch.cat([heads, torch.ones_like(heads[..., :8])], -1)
        values = F.pad(values, (0, 8))
    out = F.scaled_dot_product_attention(heads, keys, values, attn_mask=mask, scale=scale)
    out = out[..., : query.shape[-1]].transpose(1, 2)
    is_token = torch.arange(longest, device=query.device) < tokens.lengths_tensor[:, None]
    return out[is_token]


class _CpuBiasedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query, key, value, line, groups, scale):
        out, log_sums = torch.empty_like(query), []
        for n, own, seen in blocks(groups, len(query), len(key)):
            heads = as_heads(query[own], n).flip(2), as_heads(key[seen], n), as_heads(value[seen], n)
            mask = _mask(line, heads[0].shape[2], heads[1].shape[2])[None]
            result, log_sum = flash_cpu(*heads, 0.0, False, attn_mask=mask, scale=scale)
            out[own] = as_rows(result.flip(2))
            log_sums.append(log_sum)
        ctx.save_for_backward(query, key, value, line, out, *log_sums)
        ctx.runs, ctx.scale = groups, scale
        return out

    @staticmethod
    def backward(ctx, grad):
        query, key, value, line, out, *log_sums = ctx.saved_tensors
        grads = [torch.empty_like(x) for x in (query, key, value)]
        d_line = torch.zeros(line.shape) if ctx.needs_input_grad[3] else None
        groups = blocks(ctx.runs, len(query), len(key))
        for (n, own, seen), log_sum in zip(groups, log_sums, strict=True):
            turned = [as_heads(x[own], n).flip(2) for x in (grad, query, out)]
            heads = [*turned, *(as_heads(x[seen], n) for x in (key, value))]
            d_query, d_key, d_value = _backward(heads, line, log_sum, ctx.scale, d_line)
            grads[0][own] = as_rows(d_query.flip(2))
            grads[1][seen], grads[2][seen] = as_rows(d_key), as_rows(d_value)
        return *grads, None if d_line is None else d_line.to(line.dtype), None, None


def _backward(heads, line, log_sum, scale, d_line):
    """Gradients of (n, H, L, K) inputs, queries in reverse order; that of the line is added to.

    ``exp(scale * q.k + bias - log_sum)`` and ``g.v - g.out`` each come from one matrix product,
    because the subtracted terms ride along as two extra columns (a high and a low half, so that
    bfloat16 loses nothing of them).
    """
    grad, query, out, key, value = heads
    n, n_heads, n_keys, _ = key.shape
    length = query.shape[2]
    query = query * scale
    row_sum = (grad.float() * out.float()).sum(-1)
    ones = torch.ones(n, n_heads, n_keys, 2, dtype=query.dtype)
    query_less = torch.cat([query, halves(-log_sum, query.dtype)], -1).flatten(0, 1)
    grad_less = torch.cat([grad, halves(-row_sum, query.dtype)], -1).flatten(0, 1)
    key_more = torch.cat([key, ones], -1).flatten(0, 1).transpose(1, 2)
    value_more = torch.cat([value, ones], -1).flatten(0, 1).transpose(1, 2)
    query, key, grad = (x.flatten(0, 1) for x in (query, key, grad))
    d_query, d_key, d_value = (torch.empty_like(x) for x in (query, key, key))
    mask = _mask(line, length, n_keys)
    step = max(1, BLOCK_BYTES // (length * n_keys * query.element_size()))
    for start in range(0, len(query), step):
        block = slice(start, start + step)
        head = torch.arange(start, min(start + step, len(query))) % n_heads
        probability = torch.baddbmm(mask[head], query_less[block], key_more[block]).exp_()
        d_score = torch.bmm(grad_less[block], value_more[block]).mul_(probability)
        torch.bmm(probability.transpose(1, 2), grad[block], out=d_value[block])
        torch.bmm(d_score, key[block], out=d_query[block])
        torch.bmm(d_score.transpose(1, 2), query[block], out=d_key[block])
        if d_line is not None:
            first = (line.shape[1] + 1) // 2 - length
            sums = _sums_by_distance(d_score[..., n_keys - length :])
            d_line[:, first : first + 2 * length - 1].index_add_(0, head, sums)
    return tuple(d.unflatten(0, (n, n_heads)) for d in (d_query.mul_(scale), d_key, d_value))


def _mask(line: Tensor, length: int, n_keys: int) -> Tensor:
    """Biases of L queries in reverse order, (H, L, P + L); none for the P keys put before."""
    own = reversed_rows(line, length)
    return own if n_keys == length else F.pad(own, (n_keys - length, 0))


def _sums_by_distance(d_score: Tensor) -> Tensor:
    """Sums over the diagonals of (b, L, L) gradients, queries in reverse order: (b, 2 L - 1)."""
    n, length, _ = d_score.shape
    shifted = F.pad(d_score, (0, length)).flatten(1)[:, :-length]  # each row starts one further on
    return shifted.view(n, length, 2 * length - 1).sum(1, dtype=torch.float32)
