"""``checked``: parameters of a function checked before it runs, by scikit-learn's constraints."""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

from sklearn.utils._param_validation import (
    Interval,
    StrOptions,
    validate_params,
)

P = ParamSpec("P")
R = TypeVar("R")

SHARE = [Interval(Real, 0, 1, closed="both")]
COUNT = [Interval(Integral, 1, None, closed="left")]
COUNT_FROM_0 = [Interval(Integral, 0, None, closed="left")]
NOT_NEGATIVE = [Interval(Real, 0, 1e6, closed="both")]
AT_LEAST_2 = [Interval(Integral, 2, None, closed="left")]
SEED = ["random_state"]
TEXT = [str]
FLAG = ["boolean"]


def one_of(choices: Any) -> list:
    """The constraint of a parameter that is one of several words."""
    return [StrOptions(set(choices))]


def checked(**constraints: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: what a caller passes for these parameters obeys the constraints, or the error names it."""
    return validate_params(constraints, prefer_skip_nested_validation=False)
