"""torch's random numbers under a seed, and its usual defaults, without a trace outside.

Initial weights and dropout draw from torch's global generators. ``seeded`` lets one thread at a time do so
and puts the generators back, so that fits in several threads give what each gives alone. What a caller set by
``torch.set_default_dtype`` and ``torch.set_default_device`` changes no result.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from .locks import ForkSafeLock

_one_at_a_time = ForkSafeLock()

RandomState = tuple[Tensor, Tensor | None]


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Within this context torch draws by the seed; afterwards its generators are as they were before.

    Parameters
    ----------
    seed : int
    device : torch.device, optional
        A GPU that draws too.
    """
    with _one_at_a_time.lock, usual_defaults(), _restored(device):
        torch.default_generator.manual_seed(seed)
        if _is_gpu(device):
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def usual_defaults() -> Iterator[None]:
    """Within this context new tensors are float32 on the CPU; one thread at a time may be in it."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with on_cpu_by_default():
            yield
    finally:
        torch.set_default_dtype(dtype)


def on_cpu_by_default() -> AbstractContextManager[Any]:
    """Context in which new tensors are on the CPU; empty where they are anyway, for entering it costs."""
    return nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu")


@contextmanager
def replayed(state: RandomState, device: torch.device | None = None) -> Iterator[None]:
    """Within this context numbers come as they did from ``state`` on; outside none was drawn."""
    with _restored(device):
        _set(state, device)
        yield


def random_state(device: torch.device | None = None) -> RandomState:
    """Where the generators stand."""
    gpu: Any = device
    return torch.get_rng_state(), torch.cuda.get_rng_state(gpu) if _is_gpu(device) else None


@contextmanager
def _restored(device: torch.device | None) -> Iterator[None]:
    state = random_state(device)
    try:
        yield
    finally:
        _set(state, device)


def _set(state: RandomState, device: torch.device | None) -> None:
    on_cpu, on_device = state
    gpu: Any = device
    torch.set_rng_state(on_cpu)
    if on_device is not None:
        torch.cuda.set_rng_state(on_device, gpu)


def _is_gpu(device: torch.device | None) -> bool:
    return device is not None and device.type == "cuda"
