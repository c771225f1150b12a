"""What a device can do: where to run, in which precision, how many tokens at once, and how many devices.

``resolve_device``, ``resolve_precision``   what "auto" means
``auto_max_tokens``                         tokens that go through a model at once
``Budget``                                  loops that keep to that, and halve it when memory runs out
``together``, ``n_processes``               processes that work on one fit, each on a device of its own

``accelerate launch`` and ``torchrun`` start several processes of one script. Within ``together`` they share
the work of one fit: each takes its part of a step or of the sequences, and all end with the same numbers.
Elsewhere each works alone, so that a script may predict or save in one of them.
"""

from __future__ import annotations

import atexit
import functools
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from joblib.parallel import get_active_backend
from torch import Tensor

from ..messages import warn

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
_KINDS = ("cpu", "cuda", "mps", "xpu")


def resolve_device(device: str) -> torch.device:
    """The torch device for ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"`` or ``"xpu"``."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
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
    if kind == "cuda" and not index and n_devices > 1:
        return torch.device(kind, _number_of_process() % n_devices)
    return torch.device(device)


def _number_of_process() -> int:
    """Which of several processes on this machine this one is: they take one GPU each, in turn."""
    if n_launched() > 1:
        return int(os.environ.get("LOCAL_RANK", "0"))
    dask = sys.modules.get("distributed")
    with suppress(AttributeError, ValueError):  # in no worker of dask
        if isinstance(name := dask.get_worker().name, int):  # type: ignore[union-attr]
            return name  # of a cluster on one machine, where a worker that was started again keeps it
    worker: Any = multiprocessing.current_process()  # of joblib, multiprocessing or dask, counted from 1
    return max(0, worker._identity[0] - 1) if worker._identity else 0


def resolve_precision(precision: str, device: torch.device) -> str:
    """``"fp32"``, ``"bf16"`` or ``"fp16"``; ``"auto"`` takes bf16 where it is the faster one."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision is one of {', '.join(PRECISIONS)}, got {precision!r}")
    if precision == "fp16" and device.type == "cpu":
        warn("precision='fp16' is for GPUs; running in fp32 on the CPU.")
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
        warn(
            f"Out of memory: continuing with max_tokens={self.max_tokens}. Results do not change; pass "
            "max_tokens, or gradient_checkpointing=True, to avoid the retry."
        )


# -- several processes, one per device --------------------------------------------------------------

_are_together: ContextVar[bool | None] = ContextVar("are_together", default=None)  # None: nobody has said


def n_launched() -> int:
    """How many processes ``accelerate launch`` or ``torchrun`` started; 1 in a worker that joblib started."""
    if get_active_backend()[0].nesting_level:
        return 1
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """Whether this one writes files and prints."""
    return n_launched() == 1 or int(os.environ.get("RANK", "0")) == 0


@contextmanager
def together() -> Iterator[None]:
    """Within this context all processes do the same, and share its work; not inside of :func:`alone`."""
    with _set(_are_together.get() is not False and n_launched() > 1):
        if _are_together.get():
            _meet()
        yield


@contextmanager
def alone() -> Iterator[None]:
    """Within this context this process works for itself, as outside of :func:`together`."""
    with _set(False):
        yield


@contextmanager
def _set(value: bool) -> Iterator[None]:
    token = _are_together.set(value)
    try:
        yield
    finally:
        _are_together.reset(token)


def _meet() -> None:
    if not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(resolve_device("cuda"))
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(lambda: dist.is_initialized() and dist.destroy_process_group())


def n_processes() -> int:
    """How many share the work."""
    return dist.get_world_size() if _are_together.get() else 1


def process_rank() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if _are_together.get() else 0


def own_share(samples: np.ndarray) -> np.ndarray:
    """Those of some samples that this process works on."""
    return samples[process_rank() :: n_processes()]


def of_all_processes(value: T) -> list[T]:
    """This value as each of them has it."""
    if n_processes() == 1:
        return [value]
    values: list[Any] = [None] * n_processes()
    dist.all_gather_object(values, value)
    return values


def sum_gradients(loss: float, trained: Iterable[Tensor]) -> float:
    """The loss, and the gradient of every trained tensor, summed over all processes.

    Parameters
    ----------
    loss : float
        Of this process's share of a step.
    trained : iterable of Tensor
        Of one type, on one device.
    """
    if n_processes() == 1:
        return loss
    tensors = list(trained)
    if tensors:
        parts = [torch.zeros_like(t) if t.grad is None else t.grad for t in tensors]  # it may have no samples
        joined = torch.cat([part.reshape(-1) for part in parts])
        dist.all_reduce(joined)
        for tensor, total in zip(tensors, joined.split([t.numel() for t in tensors]), strict=True):
            tensor.grad = total.view_as(tensor)
    return sum(of_all_processes(loss))


def any_process(flag: bool) -> bool:
    """Whether any process says so: the same answer in all of them."""
    return any(of_all_processes(flag))


def check_same_in_all(what: dict[str, Any]) -> None:
    """Raise an error that names what processes which fit together were given differently."""
    first, *others = of_all_processes(what)
    for rank, other in enumerate(others, start=1):
        differ = [name for name in what if first[name] != other[name]]
        if differ:
            raise ValueError(
                f"{n_processes()} processes fit together, but process {rank} was given other "
                f"{' and '.join(differ)} than process 0. Give all of them the same, drawn with a fixed seed; "
                "or start the script once, without accelerate launch or torchrun."
            )
