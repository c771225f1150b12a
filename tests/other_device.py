"""A device that is not the CPU, and needs no GPU: its tensors are tensors of the CPU behind a wall.

``other_device``   a context in which torch knows the device

An operation on its tensors runs on the CPU's tensors behind them. As on a GPU, an operation on tensors of two
devices is an error, unless it copies or the other tensor is a single number; and so is ``numpy()`` without
``cpu()``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

DEVICE = "elsewhere"
# Operations that may see tensors of two devices.
_COPY = {"aten::copy_", "aten::_to_copy", "aten::_copy_from", "aten::set_", "aten::record_stream"}


class Elsewhere(torch.Tensor):
    """A tensor of that device.

    Parameters
    ----------
    behind : Tensor
        Of the CPU, with the numbers.
    """

    behind: torch.Tensor

    @staticmethod
    def __new__(cls, behind: torch.Tensor) -> Elsewhere:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            behind.shape,
            strides=behind.stride(),
            storage_offset=behind.storage_offset(),
            dtype=behind.dtype,
            device=torch.device(DEVICE, 0),
        )
        made.behind = behind
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})

    def __repr__(self) -> str:  # the default one looks at the storage
        return f"{self.behind!r} elsewhere"

    def __deepcopy__(self, memo: dict) -> Any:
        copied = self.detach().clone()
        if isinstance(self, torch.nn.Parameter):
            copied = torch.nn.Parameter(copied, self.requires_grad)
        return memo.setdefault(id(self), copied)


def _run(func: Any, args: tuple, kwargs: dict) -> Any:
    """Run an operation on the CPU; its results are elsewhere unless they are to go to the CPU."""
    given: list[torch.Tensor] = []
    tree_map(lambda x: given.append(x) if isinstance(x, torch.Tensor) else None, (args, kwargs))
    name = func.name().partition(".")[0]
    left = [x for x in given if not isinstance(x, Elsewhere) and x.ndim > 0]
    if left and len(left) < len(given) and name not in _COPY:
        raise RuntimeError(
            f"{name}: expected all tensors to be on the same device, but a tensor of shape "
            f"{tuple(left[0].shape)} is on the CPU"
        )
    if name == "aten::_fused_sdp_choice":
        return 0  # in plain operations
    here = {id(x.behind): x for x in given if isinstance(x, Elsewhere)}
    target = kwargs.get("device")
    if target is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    args, kwargs = tree_map(lambda x: x.behind if isinstance(x, Elsewhere) else x, (args, kwargs))
    found = func(*args, **kwargs)
    assert all(x.shape == x.behind.shape for x in here.values()), f"{name} changed the shape of a tensor"
    if target is not None and torch.device(target).type == "cpu":
        return found
    if name in ("aten::copy_", "aten::set_"):
        return given[0]

    def back(x: Any) -> Any:
        if not isinstance(x, torch.Tensor):
            return x
        return here[id(x)] if id(x) in here else Elsewhere(x)

    return tree_map(back, found)


class _Module(_DummyBackendModule):
    """``torch.elsewhere``."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


_PRODUCTS = (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__)


class _InPython(TorchFunctionMode):
    """Does in Python what torch does in C++ that cannot call Python: make tensors, and lists of them."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.tolist:
            return args[0].cpu().tolist()
        if func in _PRODUCTS and args[0].ndim == 1:  # torch's own one gives its result another shape
            return func(args[0][None], args[1])[0]
        device = kwargs.get("device")
        if device is None or torch.device(device).type != DEVICE:
            return func(*args, **kwargs)
        del kwargs["device"]
        requires_grad = kwargs.pop("requires_grad", False)
        made = func(*args, **kwargs).to(device)
        return made.requires_grad_() if requires_grad else made


def _arange(*args: Any, dtype: torch.dtype | None = None, **kwargs: Any) -> Elsewhere:
    """Torch's own one makes an empty tensor and gives it another shape."""
    return Elsewhere(torch.arange(*args, dtype=dtype))


def _no_grad(mode: bool = True) -> Any:
    """In place of ``torch.inference_mode``, in which torch cannot make views of what is written in Python."""
    return torch.no_grad() if mode else nullcontext()


_library: list[torch.library.Library] = []


@contextmanager
def other_device() -> Iterator[torch.device]:
    """Within this context torch knows the device."""
    if not _library:  # once per process
        _setup_privateuseone_for_python_backend(DEVICE, _Module())
        _library.append(torch.library.Library("_", "IMPL"))
        _library[0].fallback(lambda func, *args, **kwargs: _run(func, args, kwargs), "PrivateUse1")
        _library.append(torch.library.Library("aten", "IMPL"))
        for overload in ("arange", "arange.start", "arange.start_step"):
            _library[1].impl(overload, _arange, "PrivateUse1")
    with mock.patch.object(torch, "inference_mode", _no_grad), _InPython():
        yield torch.device(DEVICE, 0)
