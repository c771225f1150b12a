"""Frozen matrices in 8 or 4 bits.

Matrices are rounded once, when the backbone is loaded, and unpacked for each product, forward and
backward. So a prediction uses the same numbers as training. Nothing else is rounded: products, norms
and trained tensors are the same as without quantization.

``int8`` has one scale per row and needs torch alone. ``nf4`` is QLoRA's 4-bit number with one scale per
64 weights, packed by bitsandbytes.

References
----------
Dettmers et al., QLoRA, 2023, doi:10.48550/arXiv.2305.14314
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..sequences.checked import require_package

Quantization = Literal["int8", "nf4"]

_BLOCK = 64  # weights per scale of nf4


class QuantizedLinear(nn.Linear):
    """A frozen linear map whose weights are held packed.

    Parameters
    ----------
    linear : nn.Linear
        The map to round. Its bias is kept as it is.
    """

    packed: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear):
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        packed, scale = self.pack(linear.weight.detach().float())
        self.packed = nn.Parameter(packed, requires_grad=False)
        self.scale = nn.Buffer(scale)
        self.bias = linear.bias

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The unpacked matrix in float32, for adapters that look at it."""
        return self.unpack(torch.float32)

    @abstractmethod
    def pack(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Integers and scales that stand for a float32 matrix."""

    @abstractmethod
    def unpack(self, dtype: torch.dtype) -> Tensor:
        """The matrix that the integers and scales stand for, (out, in)."""

    def forward(self, x: Tensor) -> Tensor:
        return _Product.apply(x, self.bias, self)


class Int8Linear(QuantizedLinear):
    """Integers from -127 to 127 and one scale per row."""

    def pack(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        scale = weight.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny) / 127
        return (weight / scale).round().to(torch.int8), scale

    def unpack(self, dtype: torch.dtype) -> Tensor:
        return (self.packed * self.scale).to(dtype)


class Nf4Linear(QuantizedLinear):
    """One of 16 quantiles of the normal distribution per weight, two weights in a byte."""

    # In rows of one block each: bitsandbytes' CPU kernel misreads rows that end inside a block.
    def pack(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        blocks = F.pad(weight.flatten(), (0, -weight.numel() % _BLOCK)).view(-1, _BLOCK)
        packed, state = _bitsandbytes().quantize_4bit(blocks, blocksize=_BLOCK, quant_type="nf4")
        return packed, state.absmax

    def unpack(self, dtype: torch.dtype) -> Tensor:
        library, shape = _bitsandbytes(), torch.Size((len(self.scale), _BLOCK))
        state = library.QuantState(self.scale, shape=shape, blocksize=_BLOCK, quant_type="nf4", dtype=dtype)
        flat = library.dequantize_4bit(self.packed, state).flatten()
        return flat[: self.in_features * self.out_features].view(self.out_features, self.in_features)


QUANTIZATIONS: dict[Quantization, type[QuantizedLinear]] = {"int8": Int8Linear, "nf4": Nf4Linear}


def quantize(layers: nn.Module, quantization: Quantization) -> None:
    """Round every linear map inside ``layers`` in place.

    Parameters
    ----------
    layers : nn.Module
    quantization : {"int8", "nf4"}

    Raises
    ------
    ImportError
        "nf4" was asked for and bitsandbytes is not installed.
    """
    linears = [(name, module) for name, module in layers.named_modules() if type(module) is nn.Linear]
    for name, linear in linears:
        layers.set_submodule(name, QUANTIZATIONS[quantization](linear))


class _Product(torch.autograd.Function):
    # Unpacks again in the backward pass: keeping the matrix would cost the memory that was saved.
    @staticmethod
    def forward(ctx, x, bias, layer):
        ctx.layer = layer
        return F.linear(x, layer.unpack(x.dtype), None if bias is None else bias.to(x.dtype))

    @staticmethod
    def backward(ctx, grad):
        d_bias = grad.flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None
        return grad @ ctx.layer.unpack(grad.dtype), d_bias, None


def _bitsandbytes():
    message = "quantization='nf4' needs bitsandbytes, which is not installed. Run: "
    message += 'pip install "plmlearn[quantization]", or pass quantization="int8" or None.'
    require_package("bitsandbytes", message)
    import bitsandbytes.functional

    return bitsandbytes.functional
