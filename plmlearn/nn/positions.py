"""What attention knows of positions: rotary factors (ESM) and biases by distance (T5).

The bias of a score depends on the key's position minus the query's, so one line of 2 L - 1 numbers
per head holds all biases of a sequence. With the queries in reverse order, row i of the (L, L) matrix
of biases is the line shifted by i. A strided view shows that matrix without making it: on a CPU memory
grows with L, not with its square (in bfloat16, 10,000 residues would take 6 GB for 32 heads).

Shapes: T tokens, L tokens of one sequence, M tokens of the longest, H heads, K head width.
"""

from __future__ import annotations

from functools import cached_property

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
