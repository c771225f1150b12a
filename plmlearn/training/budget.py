"""The token budget of a run, and the loops that keep to it: halved when a device runs out of memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from .devices import is_out_of_memory


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
                    result = None if batch is None else run(batch)
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
