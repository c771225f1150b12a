"""What a value that a folder holds may be, and the error where it is anything else."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

LARGEST = 2**16
"""Highest rank, width or count that a folder may ask for; published models stay far below."""

_NAME = re.compile(r"\w+(\.\w+)*", re.ASCII)
_MOST_NAMES = 10_000


class SavedModelError(ValueError):
    """A folder that :func:`plmlearn.load` refuses: damaged, changed, or holding what no fit can leave.

    The message names the file, what was found in it, what was expected and what to do. :func:`plmlearn.save`
    raises it too, before it writes anything, where ``load`` would refuse the outcome.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from plmlearn import PLMEmbedder, SavedModelError, load, save
    >>> with tempfile.TemporaryDirectory() as home:
    ...     folder = save(PLMEmbedder("mini").fit(["MKTAYIAKQR"]), home)
    ...     text = (folder / "estimator.json").read_text()
    ...     _ = (folder / "estimator.json").write_text(text.replace("mini", "maxi"))
    ...     try:
    ...         load(folder)
    ...     except SavedModelError as error:
    ...         print("refused")
    refused
    """


@dataclass(frozen=True)
class Rule:
    """A condition on a value, and the words for it."""

    expected: str
    holds: Callable[[Any], bool]

    def __or__(self, other: Rule) -> Rule:
        return Rule(f"{self.expected} or {other.expected}", lambda v: self.holds(v) or other.holds(v))

    def check(self, path: str, value: Any) -> None:
        """Raise where the value, found at ``path``, breaks the rule."""
        if not self.holds(value):
            raise SavedModelError(f"{path} is {shown(value)}; expected {self.expected}.")


def shown(value: Any) -> str:
    """A value for a message, cut where it is long."""
    text = f"an array of {value.dtype}, {value.shape}" if isinstance(value, np.ndarray) else repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


def whole(least: int = 1, most: int = LARGEST) -> Rule:
    """An integer between two others."""
    return Rule(
        f"an int from {least} to {most}",
        lambda v: isinstance(v, Integral) and not isinstance(v, bool) and least <= int(v) <= most,
    )


def number(least: float = 0.0, most: float = math.inf) -> Rule:
    """A finite number between two others."""

    def holds(value: Any) -> bool:
        is_finite = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
        return is_finite and least <= float(value) <= most

    end = "" if most == math.inf else f" and <= {most}"
    return Rule(f"a finite number >= {least}{end}", holds)


def one_of(*values: str) -> Rule:
    """One of some texts."""
    return Rule(" or ".join(map(repr, values)), lambda value: isinstance(value, str) and value in values)


def instance(*classes: type) -> Rule:
    """An object of one of some classes, not of a class derived from them."""
    return Rule(" or ".join(cls.__name__ for cls in classes), lambda value: type(value) in classes)


def by_name(rule: Rule) -> Rule:
    """A dict from plain names to values that obey another rule."""

    def holds(value: Any) -> bool:
        return (
            isinstance(value, Mapping)
            and _are_names(list(value))
            and all(rule.holds(item) for item in value.values())
        )

    return Rule(f"a dict from plain names, such as 'attention.self.key', to {rule.expected}", holds)


def each(rule: Rule) -> Rule:
    """A list, tuple or set of values that obey another rule."""
    return Rule(
        f"a list of {rule.expected}",
        lambda value: isinstance(value, list | tuple | set) and all(map(rule.holds, value)),
    )


def _are_names(values: list) -> bool:
    return len(values) <= _MOST_NAMES and all(
        isinstance(value, str) and len(value) <= 500 and _NAME.fullmatch(value) for value in values
    )


def _is_array(value: Any, kinds: str, n_axes: int, least: int) -> bool:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in kinds or value.ndim != n_axes:
        return False
    return min(value.shape) >= least and (value.dtype.kind != "f" or bool(np.isfinite(value).all()))


NOTHING = Rule("None", lambda value: value is None)
FLAG = Rule("a bool", lambda value: isinstance(value, bool | np.bool_))
TEXT = Rule("a str of at most 1000 characters", lambda value: isinstance(value, str) and len(value) <= 1000)
NAME = Rule("a plain name, such as 'attention.self.key' (no regular expression)", lambda v: _are_names([v]))
# What matches names by regular expressions takes plain ones as they are, and no text of a file is matched.
NAMES = Rule(
    "a list of plain names, such as ['attention.self.key'] (no regular expression)",
    lambda value: isinstance(value, list | tuple | set | np.ndarray) and _are_names(list(value)),
)
SEQUENCES = Rule(
    "a 1-D array of str",
    lambda value: _is_array(value, "O", 1, 1) and all(isinstance(item, str) for item in value),
)
VALUES = Rule("a 1-D array of finite floats", lambda value: _is_array(value, "f", 1, 1))
MATRIX = Rule("a 2-D array of finite floats", lambda value: _is_array(value, "f", 2, 1))
LABELS = Rule("a 1-D array of two or more labels, numbers finite", lambda v: _is_array(v, "biufUO", 1, 2))
