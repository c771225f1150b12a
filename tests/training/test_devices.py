"""Where and in which precision a run happens, and which errors mean that memory is exhausted."""

import psutil
import pytest
import torch

from plmlearn.training import devices
from plmlearn.training.devices import (
    auto_max_tokens,
    autocast,
    is_out_of_memory,
    resolve_device,
    resolve_precision,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def cuda(monkeypatch):
    """Pretends that torch sees a CUDA device, or none."""

    def pretend(available: bool, bf16: bool = True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: int(available))
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16)

    return pretend


def test_auto_takes_cuda_where_there_is_one(cuda):
    cuda(True)
    assert resolve_device("auto") == CUDA
    cuda(False)
    assert resolve_device("auto") == CPU


def test_a_device_that_is_not_there_is_refused(cuda):
    cuda(False)
    with pytest.raises(ValueError, match=r"device='cuda:1'.*no CUDA device.*'auto' or 'cpu'"):
        resolve_device("cuda:1")
    assert resolve_device("cpu") == CPU


@pytest.mark.parametrize(
    "name, seen", [("mps", "no MPS device"), ("xpu:0", "no XPU"), ("cpu:3", "1 CPU device;")]
)
def test_other_devices_that_are_not_there_are_refused(name, seen, monkeypatch):
    for kind in (torch.mps, torch.xpu):
        monkeypatch.setattr(kind, "device_count", lambda: 0)
    with pytest.raises(ValueError, match=f"device='{name}', but torch sees {seen}"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["gpu", "tpu9", "", "meta", "lazy", "cuda:x", "cuda:-1"])
def test_a_name_that_is_no_device_is_refused(name):
    with pytest.raises(ValueError, match=r"device is 'auto', 'cpu', 'cuda'"):
        resolve_device(name)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_precisions_asked_for_are_taken(precision):
    assert resolve_precision(precision, CPU) == precision
    assert resolve_precision(precision, CUDA) == precision


def test_float16_is_for_gpus():
    assert resolve_precision("fp16", CUDA) == "fp16"
    with pytest.warns(UserWarning, match="fp16.*running in fp32"):
        assert resolve_precision("fp16", CPU) == "fp32"


def test_unknown_precisions_are_refused():
    with pytest.raises(ValueError, match=r"auto, fp32, bf16, fp16, got 'float32'"):
        resolve_precision("float32", CPU)


@pytest.mark.parametrize("fast", [True, False])
def test_auto_precision_takes_bfloat16_where_it_is_faster(monkeypatch, cuda, fast):
    monkeypatch.setattr(devices, "_cpu_prefers_bf16", lambda: fast)
    cuda(True, bf16=fast)
    expected = "bf16" if fast else "fp32"
    assert resolve_precision("auto", CPU) == expected
    assert resolve_precision("auto", CUDA) == expected
    assert resolve_precision("auto", torch.device("mps")) == "fp32"


def test_the_choice_for_this_processor_is_made_once():
    first = devices._cpu_prefers_bf16()
    assert isinstance(first, bool)
    assert devices._cpu_prefers_bf16.cache_info().misses == 1
    assert devices._cpu_prefers_bf16() is first
    assert devices._cpu_prefers_bf16.cache_info().misses == 1


@pytest.mark.parametrize(
    "error, expected",
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 1 bytes"), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("memory"), False),
    ],
)
def test_errors_of_memory(error, expected):
    assert is_out_of_memory(error) is expected


def test_the_allocators_own_error_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_the_token_budget_is_bounded_and_the_same_on_every_machine(monkeypatch):
    """4 GiB of activations on a CPU: 16 numbers per layer and feature of a token."""
    monkeypatch.setattr(psutil, "virtual_memory", None)
    for width, n_layers, expected in [(320, 6, 4096), (1280, 33, 1588), (2560, 400, 512)]:
        assert auto_max_tokens(CPU, torch.float32, width, n_layers) == expected
    assert auto_max_tokens(CPU, torch.float32, 1280, 0) == 4096  # nothing is kept
    assert auto_max_tokens(torch.device("cuda"), torch.bfloat16, 320, 6) == 65536


def test_autocast_brings_adapters_to_the_precision_of_the_frozen_weights():
    linear, x = torch.nn.Linear(4, 4), torch.randn(2, 4)
    with autocast(CPU, torch.bfloat16):
        assert linear(x).dtype == torch.bfloat16
    with autocast(CPU, torch.float32):
        assert linear(x).dtype == torch.float32
