"""``checked``: parameters of a function checked before it runs, by scikit-learn's constraints.

``Range``   numbers between two, as the constraint of a parameter
"""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

P = ParamSpec("P")
R = TypeVar("R")


class Range(Interval):
    """scikit-learn's interval, in which no boolean lies, and which takes every kind of number."""

    def is_satisfied_by(self, val: Any) -> bool:
        if isinstance(val, (bool, np.bool_)):
            return False
        if isinstance(val, Real) and not isinstance(val, (Integral, float, np.floating)):
            val = float(val)  # a fraction, which NumPy cannot compare
        return super().is_satisfied_by(val)


SHARE = [Range(Real, 0, 1, closed="both")]
COUNT = [Range(Integral, 1, None, closed="left")]
COUNT_FROM_0 = [Range(Integral, 0, None, closed="left")]
NOT_NEGATIVE = [Range(Real, 0, 1e6, closed="both")]
AT_LEAST_2 = [Range(Integral, 2, None, closed="left")]
SEED = ["random_state"]
TEXT = [str]
FLAG = ["boolean"]


def one_of(choices: Any) -> list:
    """The constraint of a parameter that is one of several words."""
    return [StrOptions(set(choices))]


def checked(**constraints: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: what a caller passes for these parameters obeys the constraints, or the error names it."""
    return validate_params(constraints, prefer_skip_nested_validation=False)
