"""Warnings that point at the line of the caller's code which led to them."""

from __future__ import annotations

import sys
import warnings

_OURS = {"plmlearn", "sklearn", "torch", "skorch", "joblib", "contextlib"}


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the innermost line that is neither of this package nor of a library that called it."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _OURS:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
