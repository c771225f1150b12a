"""``checked``: parameters of a function checked before it runs, by scikit-learn's constraints.

``Range``             numbers between two, as the constraint of a parameter
``require_package``   an optional package that is needed now
"""

from collections.abc import Callable
from importlib.util import find_spec
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

from sklearn.utils._param_validation import StrOptions, validate_params

from .clean import Range as Range

P = ParamSpec("P")
R = TypeVar("R")


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
    """Decorate a function to check these parameters when it is called; an error names the first bad one."""
    return validate_params(constraints, prefer_skip_nested_validation=False)


def require_package(name: str, message: str) -> None:
    """Raise an error with this message where an optional package is not installed."""
    if find_spec(name) is None:
        raise ImportError(message)
