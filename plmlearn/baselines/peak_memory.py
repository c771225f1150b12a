"""``PeakMemory``: the peak memory of a block of code, watched from a second thread."""

import sys
from threading import Event, Thread
from time import perf_counter
from typing import Any

import numpy as np
import psutil

_PAUSE = 0.005  # seconds between two looks at this process
_SHARE = 0.1  # of the time may go to looking for programs, which is slow where many run


class PeakMemory:
    """Peak memory of a ``with`` block, above what was held when it began; one block at a time per process.

    Attributes
    ----------
    peak_mb : float
        Resident memory of this process, looked up some 200 times a second, and of the programs that it
        starts in the block, at times, in MB. A lower bound: memory that was freed before the block and is
        used again does not add to it, nor does a peak between two looks.
    peak_gpu_mb : float
        Tensors that torch allocated on all CUDA devices, exactly; nan where torch uses none.
    """

    peak_mb: float
    peak_gpu_mb: float

    def __enter__(self) -> "PeakMemory":
        self._gpu_start = _restart_gpu_peak()
        self._process, self._programs = psutil.Process(), 0
        # Programs that run already may end at any time, and would hide what the block takes.
        self._earlier = set(self._process.children(recursive=True))
        self._start = self._peak = self._process.memory_info().rss
        self._done, self._thread = Event(), Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._look()
        self.peak_mb = (self._peak - self._start) / 1e6
        self.peak_gpu_mb = (_gpu_peak() - self._gpu_start) / 1e6

    def _watch(self) -> None:
        next_count = perf_counter()
        while not self._done.wait(_PAUSE):
            if (began := perf_counter()) >= next_count:
                self._programs = self._bytes_of_programs()
                next_count = began + (perf_counter() - began) / _SHARE
            self._look()

    def _look(self) -> None:
        self._peak = max(self._peak, self._programs + self._process.memory_info().rss)

    def _bytes_of_programs(self) -> int:
        command = self._process.cmdline()
        started = set(self._process.children(recursive=True)) - self._earlier
        return sum(_of_program(each, command) for each in started)


def _of_program(process: psutil.Process, parent: list[str]) -> int:
    """Resident bytes of a program, 0 of a fork of its parent, which shows the parent's pages as its own."""
    try:
        # The command first: what is a program by then has pages of its own.
        return process.memory_info().rss if process.cmdline() != parent else 0
    except psutil.Error:  # it has just ended
        return 0


def _cuda() -> Any:
    """``torch.cuda`` where it is in use already: looking must not load it."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def _restart_gpu_peak() -> int:
    """Bytes of tensors on all devices, from which their peaks now start."""
    if (cuda := _cuda()) is None:
        return 0
    for device in range(cuda.device_count()):
        cuda.reset_peak_memory_stats(device)
    return sum(cuda.memory_allocated(device) for device in range(cuda.device_count()))


def _gpu_peak() -> float:
    if (cuda := _cuda()) is None:
        return np.nan
    return sum(cuda.max_memory_allocated(device) for device in range(cuda.device_count()))
