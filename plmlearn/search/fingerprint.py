"""What a search was made of, as texts: another search does not go on in its storage.

``fingerprint``   all that decides on scores, by name
``differences``   what differs between two of them, in words
``text_of``       a value as a text that is the same in every process
``short_text``    the same for a reader
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from numbers import Real
from typing import Any

import joblib
import numpy as np
from sklearn.base import BaseEstimator

# Objects tell their place in memory, which differs between processes.
_PLACE = re.compile(r" at 0x[0-9a-fA-F]+")


def text_of(value: Any) -> str:
    """A value as a text that is the same in every process.

    >>> text_of([1, len, {"b": 2.0}])
    "[1, builtins.len, {'b': 2.0}]"
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {text_of(value[key])}" for key in value) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(text_of, value)) + "]"
    if isinstance(value, (set, frozenset)):  # whose order differs between processes
        return "{" + ", ".join(sorted(map(text_of, value))) + "}"
    if isinstance(value, np.ndarray):
        return digest(value)
    if isinstance(value, np.generic):
        return repr(value.item())
    if hasattr(value, "rvs") and hasattr(value, "dist"):
        return f"{value.dist.name}{value.args}{value.kwds or ''}"
    if isinstance(value, BaseEstimator):
        given = value.get_params(deep=False)
        return f"{type(value).__name__}({', '.join(f'{name}={text_of(given[name])}' for name in given)})"
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return _PLACE.sub("", repr(value))


def short_text(value: Any) -> str:
    """A value as it is shown, without its place in memory."""
    if isinstance(value, (set, frozenset)) or (callable(value) and hasattr(value, "__qualname__")):
        return text_of(value)
    return _PLACE.sub("", repr(value))


def digest(data: Any) -> str:
    """A short digest of data, which is the same for a list and the array or table of the same rows."""
    plain = data.to_numpy() if hasattr(data, "to_numpy") else data
    if isinstance(plain, np.ndarray) and plain.dtype.kind in "OUT":
        plain = plain.tolist()
    if isinstance(plain, (list, tuple)):
        plain = [list(row) if isinstance(row, tuple) else row for row in plain]
        plain = np.asarray(plain) if plain and all(isinstance(row, Real) for row in plain) else plain
    try:
        return joblib.hash(plain)[:16]
    except Exception:  # what pickle cannot write
        return hashlib.md5(text_of(plain).encode(), usedforsecurity=False).hexdigest()[:16]


def fingerprint(search: Any, grids: list[dict[str, Any]], data: Mapping[str, Any]) -> dict[str, str]:
    """All that decides on the scores of a search, by name.

    Parameters
    ----------
    search : PLMSearchCV
    grids : list of dict
        What is searched.
    data : mapping
        X, y, splits and parameters of ``fit``, by the names of a message.
    """
    given = search.estimator.get_params(deep=False)
    settings = ("scoring", "sampler", "pruner", "p_threshold", "random_state")
    found = {"estimator": type(search.estimator).__name__}
    found |= {f"estimator__{name}": text_of(value) for name, value in given.items()}
    if len(grids) == 1:
        found |= {f"param_distributions[{name!r}]": text_of(values) for name, values in grids[0].items()}
    else:
        found["param_distributions"] = text_of(grids)
    found |= {name: text_of(getattr(search, name)) for name in settings}
    return found | {name: digest(values) for name, values in data.items()}


def differences(here: Mapping[str, str], there: Mapping[str, str], data: Mapping[str, Any]) -> list[str]:
    """What differs between a search and the one in the storage, in words; data without its digests."""
    told = []
    for name in {**here, **there}:
        mine, theirs = (texts.get(name, "not given") for texts in (here, there))
        if mine != theirs:
            start = next(
                (i for i, (a, b) in enumerate(zip(mine, theirs)) if a != b), min(len(mine), len(theirs))
            )
            shown = f"{name} is {_shown(mine, start)} here, {_shown(theirs, start)} there"
            told.append(f"{name} differs" if name in data else shown)
    return told


def _shown(text: str, start: int) -> str:
    """A text, a long one from a little before this place on."""
    if len(text) <= 60:
        return text
    first = max(0, start - 20)
    end = "..." if len(text) > first + 57 else ""
    return f"{'...' if first else ''}{text[first : first + 57]}{end}"
