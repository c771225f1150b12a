"""Several processes that train together: one per GPU, started by ``accelerate launch`` or ``torchrun``.

Each sees all of a step and works on its share; the sums of their gradients are the step's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor


def n_processes() -> int:
    """How many train together; joins them at the first call."""
    asked = int(os.environ.get("WORLD_SIZE", "1"))
    if asked > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_rank() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if n_processes() > 1 else 0


def is_first_process() -> bool:
    """Whether this one writes files."""
    return process_rank() == 0


def process_device(device: torch.device) -> torch.device:
    """The GPU of this process, where there are several of both."""
    if n_processes() > 1 and device.type == "cuda" and device.index is None:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return device


def sum_over_processes(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its sum over all processes."""
    if n_processes() > 1:
        for tensor in tensors:
            dist.all_reduce(tensor)


def any_process(flag: bool) -> bool:
    """Whether any process says so: the same answer in all of them."""
    if n_processes() == 1:
        return flag
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else "cpu"
    answer = torch.tensor(float(flag), device=device)
    dist.all_reduce(answer)
    return bool(answer > 0)
