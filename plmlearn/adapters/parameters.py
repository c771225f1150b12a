"""``Parameters``: settings whose ranges are declared once, for adapters and estimators alike."""

from __future__ import annotations

import copy
from collections.abc import Collection
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import validate_parameter_constraints


class Parameters(BaseEstimator):
    """Settings with declared ranges; a class has those of all its bases.

    ``fit`` checks every parameter with ``_check_parameters``, and so does each method that uses some of them
    again, because ``set_params`` may have changed them since. Then it computes with ``_plain`` numbers.
    """

    _parameter_constraints: ClassVar[dict] = {}

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        declared = [vars(base).get("_parameter_constraints", {}) for base in reversed(cls.__mro__)]
        cls._parameter_constraints = {name: rule for rules in declared for name, rule in rules.items()}

    def _check_parameters(self, names: Collection[str] | None = None) -> None:
        """Refuse values out of range, of all parameters or of those in ``names``."""
        values = self.get_params(deep=False)
        asked = {name: value for name, value in values.items() if names is None or name in names}
        validate_parameter_constraints(self._parameter_constraints, asked, type(self).__name__)

    def _plain(self) -> Self:
        """A copy with Python's own numbers: NumPy's overflow at their width, and JSON has none of them."""
        copied = copy.copy(self)
        for name, value in self.get_params(deep=False).items():
            setattr(copied, name, plain(value))
        return copied


def plain(value: Any) -> Any:
    """A number as bool, int or float, text as str; anything else as it is."""
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, Real) and not isinstance(value, Integral):
        return float(value)
    return str(value) if isinstance(value, np.str_) else value
