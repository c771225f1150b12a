"""Course of the learning rate: a warm-up, then one of :data:`SCHEDULES`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping


def schedule_shape(schedule: str, warmup: float, n_steps: int) -> Callable[[int], float]:
    """Factor on the learning rate by step: a rise over the share ``warmup``, then the schedule.

    >>> shape = schedule_shape("linear", warmup=0.2, n_steps=10)
    >>> [round(shape(step), 2) for step in range(10)]
    [0.5, 1.0, 1.0, 0.88, 0.75, 0.62, 0.5, 0.38, 0.25, 0.12]
    """
    n_warmup = round(warmup * n_steps)

    def factor(step: int) -> float:
        if step < n_warmup:
            return (step + 1) / n_warmup
        progress = (step - n_warmup) / max(1, n_steps - n_warmup)
        return SCHEDULES[schedule](min(progress, 1.0))

    return factor


SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: 0.5 * (1.0 + math.cos(math.pi * progress)),
    "constant": lambda progress: 1.0,
}
