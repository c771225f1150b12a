"""``checked``: parameters of a function checked before it runs, by scikit-learn's constraints.

``check_parameters``   the same for values by name, as of an object that is no estimator
"""

from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

import numpy as np
from sklearn.utils._param_validation import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
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


def check_parameters(constraints: Mapping[str, Any], given: Mapping[str, Any], caller: str) -> None:
    """Raise an error that names the first parameter whose value does not obey its constraints.

    A boolean is no number here, although Python counts it as one.

    Parameters
    ----------
    constraints : mapping
        As of scikit-learn's estimators, by parameter.
    given : mapping
        Values by name; those without a constraint are not looked at.
    caller : str
        Name of the function or class, for the message.
    """
    known = {name: value for name, value in given.items() if name in constraints}
    for name, value in known.items():
        ranges = [str(rule) for rule in constraints[name] if isinstance(rule, Interval)]
        if ranges and "boolean" not in constraints[name] and isinstance(value, (bool, np.bool_)):
            expected = " or ".join(ranges)
            raise TypeError(f"The {name!r} parameter of {caller} must be {expected}. Got {value} instead.")
        if isinstance(value, Real) and not isinstance(value, (Integral, float, np.floating)):
            known[name] = float(value)  # a fraction, which NumPy cannot compare
    validate_parameter_constraints(dict(constraints), known, caller)
