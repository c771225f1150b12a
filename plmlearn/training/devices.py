"""What a device can do: where to run, in which precision, and how many tokens at once.

``resolve_device``, ``resolve_precision``   what "auto" means
``auto_max_tokens``                         tokens that go through a model at once
``Budget``                                  loops that keep to that, and halve it when memory runs out
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
_KINDS = ("cpu", "cuda", "mps", "xpu")


def resolve_device(device: str) -> torch.device:
    """The torch device for ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"`` or ``"xpu"``."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = device.partition(":")
    if kind not in _KINDS or (index and not index.isdecimal()):
        raise ValueError(
            "device is 'auto', 'cpu', 'cuda', 'mps' or 'xpu', or one of several such as 'cuda:1'; "
            f"got {device!r}."
        )
    n_devices = 1 if kind == "cpu" else torch.get_device_module(kind).device_count()
    if int(index or 0) >= n_devices:
        seen = f"{n_devices or 'no'} {kind.upper()} device{'s' * (n_devices > 1)}"
        raise ValueError(f"device={device!r}, but torch sees {seen}; pass device='auto' or 'cpu'.")
    return torch.device(device)


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


# Bytes of activations, and tokens taken to be enough for full speed: chosen, not yet measured.
_ENOUGH = {"cpu": (4 << 30, 4096), "cuda": (8 << 30, 65536)}
_NUMBERS_PER_TOKEN = 16  # kept of a layer for the backward pass, in widths of the encoder


def auto_max_tokens(device: torch.device, dtype: torch.dtype, width: int, n_layers: int) -> int:
    """Token budget that is enough for full speed, or whose activations take a few GiB.

    It does not depend on the memory that a machine has, so that equal settings give equal runs everywhere.

    Parameters
    ----------
    device, dtype
        Where, and in which precision, the layers run.
    width : int
        Of the encoder.
    n_layers : int
        Layers whose activations are kept.
    """
    n_bytes, n_tokens = _ENOUGH.get(device.type, _ENOUGH["cpu"])
    per_token = _NUMBERS_PER_TOKEN * width * max(1, n_layers) * dtype.itemsize
    return max(512, min(n_bytes // per_token, n_tokens))


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Context in which float32 adapters and heads multiply in the precision of the frozen weights."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


class HasSamples(Protocol):
    samples: np.ndarray


T = TypeVar("T")
B = TypeVar("B", bound=Any)


@dataclass
class Budget:
    """Tokens that may go through a model at once.

    Parameters
    ----------
    max_tokens : int
    smallest : int, default=64
        Where to give up halving.
    """

    max_tokens: int
    smallest: int = 64

    def run(self, work: Callable[[], T], n_tokens: int) -> T:
        """What ``work`` returns; it is called again with half the budget as long as memory runs out.

        Parameters
        ----------
        work : callable
            Reads ``max_tokens`` anew in each call.
        n_tokens : int
            What there is to run: a budget beyond it would fail on the same batch again.
        """
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                self._halve(error, n_tokens)

    def run_batches(
        self,
        make: Callable[[np.ndarray, int], Iterator[B]],
        run: Callable[[B], T],
        samples: np.ndarray,
        costs: Callable[[np.ndarray], int],
    ) -> Iterator[tuple[B, T]]:
        """Batches of all samples with what ``run`` makes of them; the rest is cut anew when memory runs out.

        Parameters
        ----------
        make : callable
            Samples and a token budget to batches, each with its ``samples``.
        run : callable
        samples : ndarray of int
        costs : callable
            Tokens of some samples together.
        """
        while len(samples):
            batches = make(samples, self.max_tokens)
            finished: list[np.ndarray] = []
            while True:
                try:
                    batch = next(batches, None)
                    result: Any = None if batch is None else run(batch)
                except (RuntimeError, MemoryError) as error:
                    samples = np.setdiff1d(samples, np.concatenate([*finished, samples[:0]]))
                    self._halve(error, costs(samples))
                    break
                if batch is None:
                    return
                yield batch, result
                finished.append(batch.samples)

    def _halve(self, error: BaseException, n_tokens: int) -> None:
        tried = min(self.max_tokens, n_tokens)
        if not is_out_of_memory(error) or tried <= self.smallest:
            raise error
        self.max_tokens = tried // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        warnings.warn(
            f"Out of memory: continuing with max_tokens={self.max_tokens}. Results do not change; pass "
            "max_tokens, or gradient_checkpointing=True, to avoid the retry.",
            UserWarning,
            stacklevel=4,
        )
