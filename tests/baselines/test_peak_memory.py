"""Peak memory of a block, against blocks that take a known amount."""

import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from types import SimpleNamespace

import numpy as np
import pytest

from plmlearn.baselines.peak_memory import PeakMemory


def wait_until_seen(memory, megabytes):
    """However slow the machine, the watching thread gets to look."""
    deadline = time.monotonic() + 60
    while memory._peak < memory._start + megabytes * 1e6 and time.monotonic() < deadline:
        time.sleep(0.01)


def in_fresh_process(block, *args):
    """What ``block`` returns there: a process that has freed much may take from that without growing."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        return processes.submit(block, *args).result()


def given_back(megabytes):
    with PeakMemory() as memory:
        taken = np.ones(megabytes * 125_000)
        wait_until_seen(memory, megabytes - 4)
        del taken
    return memory.peak_mb


def kept():
    with PeakMemory() as memory:
        taken = np.ones(40 * 125_000)
    assert taken.all()
    return memory.peak_mb


def held_before():
    before = np.ones(100 * 125_000)
    with PeakMemory() as memory:
        del before
        taken = np.ones(50 * 125_000)
    assert taken.all()
    return memory.peak_mb


def programs_and_forks():
    ballast = np.ones(300 * 125_000)
    with PeakMemory() as memory:
        for _ in range(20):
            subprocess.run([sys.executable, "-S", "-c", ""])
        wait = "import sys; x = b'x' * 80_000_000; sys.stdin.read()"
        with subprocess.Popen([sys.executable, "-S", "-c", wait], stdin=subprocess.PIPE) as program:
            wait_until_seen(memory, 75)
            program.communicate()
    assert ballast.all()
    return memory.peak_mb


def beside_an_earlier_program():
    wait = "import sys; x = b'x' * 200_000_000; print('ready', flush=True); sys.stdin.read()"
    command = [sys.executable, "-S", "-c", wait]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as earlier:
        earlier.stdout.readline()
        with PeakMemory() as memory:
            earlier.communicate()
            taken = np.ones(60 * 125_000)
            wait_until_seen(memory, 55)
    assert taken.all()
    return memory.peak_mb


@pytest.mark.parametrize("megabytes", [60, 150])
def test_memory_that_is_given_back(megabytes):
    assert in_fresh_process(given_back, megabytes) == pytest.approx(megabytes, abs=5)


def test_memory_that_is_kept_is_seen_however_short_the_block():
    assert in_fresh_process(kept) == pytest.approx(40, abs=5)


def test_memory_held_before_is_not_counted():
    assert in_fresh_process(held_before) < 55


def test_programs_count_and_their_forks_do_not():
    """Between fork and exec a child shows all of its parent's pages as its own."""
    assert 75 < in_fresh_process(programs_and_forks) < 150


def test_programs_that_ran_before_may_end():
    """Their memory was never the block's, and does not hide it when they go."""
    assert in_fresh_process(beside_an_earlier_program) == pytest.approx(60, abs=5)


def test_an_error_passes_through_and_ends_the_thread():
    with pytest.raises(ZeroDivisionError), PeakMemory() as memory:
        raise ZeroDivisionError
    assert not memory._thread.is_alive()


class FakeCuda(SimpleNamespace):
    """Two devices, with 10 and 20 MB of tensors in use and peaks of 500."""

    def is_initialized(self):
        return self.used

    def device_count(self):
        return 2

    def reset_peak_memory_stats(self, device):
        self.peaks[device] = self.allocated[device]

    def memory_allocated(self, device):
        return self.allocated[device]

    def max_memory_allocated(self, device):
        return self.peaks[device]


def fake_torch(monkeypatch, used):
    cuda = FakeCuda(used=used, allocated=[10e6, 20e6], peaks=[500e6, 500e6])
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    return cuda


def test_tensors_of_all_devices_above_those_held_before(monkeypatch):
    cuda = fake_torch(monkeypatch, used=True)
    with PeakMemory() as memory:
        cuda.peaks[:] = [13e6, 27e6]
    assert memory.peak_gpu_mb == pytest.approx(10)


def test_devices_first_used_in_the_block_count_whole(monkeypatch):
    cuda = fake_torch(monkeypatch, used=False)
    with PeakMemory() as memory:
        cuda.used = True
    assert memory.peak_gpu_mb == pytest.approx(1000)


def test_without_devices_or_torch_there_is_no_figure(monkeypatch):
    fake_torch(monkeypatch, used=False)
    with PeakMemory() as unused:
        pass
    monkeypatch.delitem(sys.modules, "torch")
    with PeakMemory() as missing:
        pass
    assert np.isnan([unused.peak_gpu_mb, missing.peak_gpu_mb]).all()
    assert "torch" not in sys.modules


def test_tensors_on_a_gpu():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    torch.zeros(1, device="cuda")
    with PeakMemory() as memory:
        taken = torch.zeros(25_000_000, device="cuda")
        del taken
    assert memory.peak_gpu_mb == pytest.approx(100, abs=1)
