"""What a device can do: where to run, in which precision, and how many tokens at once."""

from __future__ import annotations

import functools
import time
import warnings

import torch

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def resolve_device(device: str) -> torch.device:
    """The torch device for ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``, …"""
    if device != "auto":
        try:
            chosen = torch.device(device)
        except RuntimeError:
            raise ValueError(f"device is 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps', got {device!r}") from None
        if chosen.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                f"device={device!r}, but torch sees no CUDA device; pass device='auto' or 'cpu'."
            )
        return chosen
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("cpu")


def resolve_precision(precision: str, device: torch.device) -> str:
    """``"fp32"``, ``"bf16"`` or ``"fp16"``; ``"auto"`` takes bf16 where it is the faster one."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision is one of {', '.join(PRECISIONS)}, got {precision!r}")
    if precision == "fp16" and device.type == "cpu":
        warnings.warn("precision='fp16' is for GPUs; running in fp32 on the CPU.", UserWarning, stacklevel=3)
        return "fp32"
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and _cpu_prefers_bf16() else "fp32"


@functools.cache
def _cpu_prefers_bf16() -> bool:
    """Whether this processor multiplies bfloat16 matrices clearly faster than float32; 20 ms, once.

    The two differ by a large factor one way or the other, so the best of five tries decides the same
    whatever else the machine is doing.
    """

    def seconds(dtype: torch.dtype) -> float:
        matrix = torch.ones(512, 512, dtype=dtype)
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            matrix @ matrix
            best = min(best, time.perf_counter() - start)
        return best

    return seconds(torch.bfloat16) < seconds(torch.float32) / 1.3


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device's memory is exhausted."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Context in which float32 adapters and heads multiply in the precision of the frozen weights."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)
