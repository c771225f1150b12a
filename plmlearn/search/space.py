"""What is searched: parameters by name, and what each may be.

``Space``        checks what a caller passed, draws candidates, and tells Optuna of them
``cheap_first``  an order in which candidates with the same frozen layers are neighbours
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid, ParameterSampler
from sklearn.utils import check_random_state

from ..adapters.names import as_adapter
from ..estimators.parameters import AdapterChoice
from .fingerprint import short_text, text_of

Candidate = dict[str, Any]

_READ_FROM_SCIPY = ("uniform", "loguniform", "reciprocal", "randint")
_PLAIN = (type(None), bool, int, float, str)
_DRAWN_AT_ONCE = 10_000  # of a space of lists, so that more trials continue the same order


@dataclass(frozen=True)
class Space:
    """Parameters by name, and what each may be: a list, or a distribution of scipy or Optuna.

    Parameters
    ----------
    grids : list of dict
        One dict, or several that are alternatives.
    """

    grids: list[dict[str, Any]]

    @classmethod
    def of(cls, estimator: Any, given: Any) -> Space:
        """What a caller passed as ``param_distributions``.

        Raises
        ------
        ValueError
            It is empty, a distribution has no values, or the estimator lacks some of the names; the message
            names all faults.
        """
        grids: list[Any] = [given] if isinstance(given, Mapping) else list(given)
        if not grids or not all(isinstance(grid, Mapping) and grid for grid in grids):
            raise ValueError(
                f"param_distributions={given!r} has nothing to search; expected a dict such as "
                "{'rank': [4, 8]}, or a list of such dicts."
            )
        grids = [{name: _as_list(values) for name, values in grid.items()} for grid in grids]
        faults = [fault for grid in grids for fault in _faults(estimator, grid)]
        if faults:
            told = "; ".join(dict.fromkeys(faults))
            raise ValueError(f"param_distributions: {told}{'' if told.endswith('?') else '.'}")
        return cls(grids)

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(name for grid in self.grids for name in grid))

    def candidates(self, sampler: str, n_trials: int | None, seed: int) -> list[Candidate]:
        """All candidates of a grid, or ``n_trials`` at random; more of them begin with the same ones.

        Raises
        ------
        ValueError
            A grid has a distribution.
        """
        odd = [name for grid in self.grids for name, v in grid.items() if not isinstance(v, list)]
        if sampler == "grid":
            if odd:
                raise ValueError(f"sampler='grid' takes lists, and {odd[0]} is a distribution.")
            return list(ParameterGrid(self.grids))
        n_wanted = DEFAULT_TRIALS if n_trials is None else n_trials
        grids = [{n: _Draws(v) if _is_optuna(v) else v for n, v in grid.items()} for grid in self.grids]
        n_drawn = n_wanted
        if not odd:
            size = len(ParameterGrid(grids))
            n_wanted, n_drawn = min(n_wanted, size), min(size, max(n_wanted, _DRAWN_AT_ONCE))
        return list(islice(ParameterSampler(grids, n_drawn, random_state=seed), n_wanted))

    def distributions(self, candidates: Sequence[Candidate] | None) -> dict[str, Any]:
        """Each parameter as a distribution of Optuna.

        Parameters
        ----------
        candidates : list of dict or None
            What will be tried; None if Optuna draws, which takes one dict of distributions that it knows.

        Raises
        ------
        ValueError
            Optuna is to draw, and cannot.
        """
        if candidates is None and len(self.grids) > 1:
            raise ValueError("A list of dicts is for sampler='grid' or 'random'; expected one dict.")
        return {name: self._distribution(name, candidates) for name in self.names}

    def _distribution(self, name: str, candidates: Sequence[Candidate] | None) -> Any:
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        given = [grid[name] for grid in self.grids if name in grid]
        if all(isinstance(values, list) for values in given):
            return CategoricalDistribution(list(dict.fromkeys(_labels(self._choices(name)))))
        is_one = len(given) == 1
        if is_one and (known := _as_optuna(given[0])) is not None:
            return known
        if candidates is None:
            raise ValueError(
                f"{name}: sampler='tpe' cannot draw from scipy's {given[0].dist.name}; expected "
                f"{', '.join(_READ_FROM_SCIPY[:2])} or randint, a list, or a distribution of Optuna. "
                "sampler='random' takes any."
            )
        drawn = [candidate[name] for candidate in candidates if name in candidate]
        if is_one and all(isinstance(value, Integral) for value in drawn):
            return IntDistribution(int(min(drawn)), int(max(drawn)))
        if all(isinstance(value, Real) for value in drawn):
            return FloatDistribution(float(min(drawn)), float(max(drawn)))
        return CategoricalDistribution(list(dict.fromkeys(map(short_text, drawn))))

    def _choices(self, name: str) -> list[Any]:
        return [value for grid in self.grids for value in grid.get(name, [])]

    def _is_listed(self, name: str) -> bool:
        return all(isinstance(grid.get(name, []), list) for grid in self.grids)

    def encode(self, candidate: Candidate, distributions: Mapping[str, Any]) -> dict[str, Any]:
        """A candidate in the values that Optuna stores."""
        return {name: self._encoded(name, value, distributions[name]) for name, value in candidate.items()}

    def _encoded(self, name: str, value: Any, distribution: Any) -> Any:
        if self._is_listed(name):
            choices = self._choices(name)
            place = next(i for i, choice in enumerate(choices) if choice is value)
            return _labels(choices)[place]
        is_text = _is_categorical(distribution) and not _is_optuna(self.grids[0].get(name))
        plain = value.item() if isinstance(value, np.generic) else value
        return short_text(value) if is_text else plain

    def decode(self, stored: Mapping[str, Any]) -> Candidate:
        """A candidate from the values that Optuna stores."""
        return {name: self._decoded(name, stored[name]) for name in self.names if name in stored}

    def _decoded(self, name: str, label: Any) -> Any:
        if not self._is_listed(name):
            return label
        choices = self._choices(name)
        return choices[_labels(choices).index(label)]

    def largest(self, name: str, otherwise: Any, candidates: Sequence[Candidate] | None = None) -> Any:
        """The largest value of a parameter of numbers, of one without bounds among these candidates."""
        given = [grid.get(name, [otherwise]) for grid in self.grids]
        high = max(high for values in given for high in _ends(values))
        if candidates and math.isinf(high):
            return max(candidate.get(name, otherwise) for candidate in candidates)
        return high


DEFAULT_TRIALS = 10


def suggest(trial: Any, distributions: Mapping[str, Any]) -> dict[str, Any]:
    """Have a trial of Optuna decide on parameters, or take those that were decided before."""
    from optuna.distributions import IntDistribution

    for name, distribution in distributions.items():
        if _is_categorical(distribution):
            trial.suggest_categorical(name, distribution.choices)
            continue
        draw = trial.suggest_int if isinstance(distribution, IntDistribution) else trial.suggest_float
        draw(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
    return trial.params


def cheap_first(estimator: Any, candidates: Sequence[Candidate]) -> list[int]:
    """Places of candidates in an order in which those with the same frozen layers are neighbours.

    What is frozen is decided by the backbone and how it is read and cut, and by how many of its layers are
    trained. Candidates that train few layers come first. Equal ones keep their order, and so do candidates
    for an estimator that has no such parameters.
    """
    seen: dict[str, int] = {}
    keys = [[(name, _cost(value, seen)) for name, value in _trunk(estimator, c)] for c in candidates]
    return sorted(range(len(candidates)), key=lambda i: keys[i])


# Parameters that decide which layers are frozen, and what these compute.
_TRUNK = (
    *("backbone", "revision", "n_layers", "final_norm", "max_length", "long_sequences", "precision"),
    *("quantization", "backbone_init", "last_n_layers"),
)


def _trunk(estimator: Any, candidate: Candidate) -> Iterator[tuple[str, Any]]:
    try:
        chosen = clone(estimator).set_params(**clone(candidate, safe=False)).get_params()
    except (ValueError, TypeError):  # its trial will say what is wrong with it
        return
    has_backbone = any(name.rpartition("__")[2] == "backbone" for name in chosen)
    leaves: dict[str, Any] = {"last_n_layers": 0} if has_backbone else {}
    leaves |= {leaf: v for name, v in chosen.items() if (leaf := name.rpartition("__")[2]) in _TRUNK}
    yield from ((leaf, leaves[leaf]) for leaf in _TRUNK if leaf in leaves)


def _cost(value: Any, seen: dict[str, int]) -> float:
    """Numbers by size, None for all layers, anything else in the order of its first appearance."""
    if value is None:
        return math.inf
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return seen.setdefault(text_of(value), len(seen))


# -- checks ---------------------------------------------------------------------------------------


def _as_list(values: Any) -> Any:
    is_array = isinstance(values, (list, tuple, range, np.ndarray)) or hasattr(values, "to_list")
    return list(values) if is_array else values


def _faults(estimator: Any, grid: Mapping[str, Any]) -> Iterator[str]:
    for name, values in grid.items():
        if not isinstance(values, list) and not _is_scipy(values) and not _is_optuna(values):
            yield (
                f"{name} is {values!r}; expected a list of values, or a distribution of scipy.stats or Optuna"
            )
        elif isinstance(values, list) and not values:
            yield f"{name} is an empty list; expected at least one value"
        elif _is_scipy(values) and np.isnan(values.support()).any():
            yield (
                f"{name} is a {values.dist.name} distribution without values; expected a lower end below the "
                "upper one, and for loguniform above 0"
            )
        elif (known := _unless_known(estimator, name, grid)) is not None:
            lower = {other.lower(): other for other in known}
            near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.0)
            meant = f"; did you mean {lower[near[0]]!r}?" if near else ""
            yield f"{name!r} is no parameter of {type(estimator).__name__}{meant}"


def _unless_known(estimator: Any, name: str, grid: Mapping[str, Any]) -> list[str] | None:
    """None for the name of a parameter, else the names that there are."""
    values = estimator.get_params()
    head, _, rest = name.partition("__")
    if head not in values:
        return list(values)
    if not rest:
        return None
    choices = grid.get(head)
    known: list[str] = []
    for part in choices if isinstance(choices, list) else [values[head]]:
        if isinstance(estimator, AdapterChoice) and head == "adapter":
            part = as_adapter(part, estimator._default_adapter)
        if hasattr(part, "get_params"):
            deeper = {
                key.removeprefix(f"{head}__"): v for key, v in grid.items() if key.startswith(f"{head}__")
            }
            found = _unless_known(part, rest, deeper)
            if found is None:
                return None
            known += [f"{head}__{leaf}" for leaf in found]
    return known or list(values)


# -- Optuna and scipy -----------------------------------------------------------------------------


def _is_scipy(values: Any) -> bool:
    return hasattr(values, "rvs") and hasattr(values, "dist")


def _is_optuna(values: Any) -> bool:
    from optuna.distributions import BaseDistribution

    return isinstance(values, BaseDistribution)


def _is_categorical(distribution: Any) -> bool:
    from optuna.distributions import CategoricalDistribution

    return isinstance(distribution, CategoricalDistribution)


def _as_optuna(values: Any) -> Any:
    """A distribution as Optuna's, None where it has none like it."""
    from optuna.distributions import FloatDistribution, IntDistribution

    if _is_optuna(values):
        return values
    name, (low, high) = values.dist.name, values.support()
    if name not in _READ_FROM_SCIPY:
        return None
    if name == "randint":
        return IntDistribution(int(low), int(high))
    return FloatDistribution(float(low), float(high), log=name != "uniform")


@dataclass(frozen=True)
class _Draws:
    """A distribution of Optuna as scikit-learn draws from it."""

    distribution: Any

    def rvs(self, random_state: Any = None) -> Any:
        from optuna.samplers import RandomSampler

        seed = check_random_state(random_state).randint(2**31 - 1)
        unused: Any = None
        return RandomSampler(seed=seed).sample_independent(unused, unused, "value", self.distribution)


def _ends(values: Any) -> Sequence[Any]:
    if isinstance(values, list):
        return values
    if _is_scipy(values):
        return values.support()
    return values.choices if _is_categorical(values) else [values.high]


def _labels(values: Sequence[Any]) -> list[Any]:
    """What Optuna stores for the values of a list: themselves if it can, else their texts."""
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    if all(type(value) in _PLAIN for value in plain):
        kinds = {(type(value), value) for value in plain}
        if len(kinds) == len(set(plain)):  # 1, 1.0 and True are one choice to Optuna
            return plain
    texts = [short_text(value) for value in values]
    return [f"{text} #{i}" if texts.count(text) > 1 else text for i, text in enumerate(texts)]
