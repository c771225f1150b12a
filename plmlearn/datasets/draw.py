"""Random draws of the lengths, sequences, preferences and effects that make synthetic proteins.

Every function takes the RandomState first. L is the number of residues; 20 indexes ``AMINO_ACIDS``.
"""

from numbers import Integral

import numpy as np
from scipy.stats import truncnorm
from sklearn.utils import check_scalar

from ..sequences import ALPHABET

AMINO_ACIDS = np.array(list(ALPHABET))
# Per cent of the residues of UniProtKB/Swiss-Prot.
_A_TO_L = (8.25, 1.38, 5.46, 6.71, 3.86, 7.07, 2.27, 5.91, 5.79, 9.64)
_M_TO_Y = (2.41, 4.06, 4.74, 3.93, 5.52, 6.65, 5.36, 6.85, 1.10, 2.92)
FREQUENCIES = np.array(_A_TO_L + _M_TO_Y) / sum(_A_TO_L + _M_TO_Y)
_LENGTH_SIGMA = 0.65  # of the logarithm of the length, about that of Swiss-Prot


def lengths(rng: np.random.RandomState, n_samples: int, median: int, low: int, high: int) -> np.ndarray:
    """(n_samples,) log-normal lengths between `low` and `high`, both included."""
    check_scalar(high, "max_length", Integral, min_val=low)
    bounds = np.log(np.array([low - 0.5, high + 0.5]) / median) / _LENGTH_SIGMA
    deviations = truncnorm.rvs(*bounds, size=n_samples, random_state=rng)
    return np.rint(median * np.exp(_LENGTH_SIGMA * deviations)).astype(int).clip(low, high)


def letters(rng: np.random.RandomState, length: int, frequencies: np.ndarray) -> str:
    return "".join(rng.choice(AMINO_ACIDS, size=length, p=frequencies))


def sequence(rng: np.random.RandomState, length: int, frequencies: np.ndarray) -> str:
    return "M" + letters(rng, length - 1, frequencies)


def preferences(rng: np.random.RandomState, n_classes: int, class_sep: float) -> np.ndarray:
    """(n_classes, 20) natural frequencies, each amino acid more or less preferred by each class."""
    weights = FREQUENCIES * np.exp(float(class_sep) * rng.standard_normal((n_classes, len(AMINO_ACIDS))))
    return weights / weights.sum(axis=1, keepdims=True)


def plant(rng: np.random.RandomState, sequence: str, motif: str) -> str:
    """`sequence` with `motif` in place of some of its residues, at a random place after the first."""
    start = rng.randint(1, len(sequence) - len(motif) + 1)
    return sequence[:start] + motif + sequence[start + len(motif) :]


def effects(rng: np.random.RandomState, sites: np.ndarray) -> np.ndarray:
    """(L, 20) effect of every substitution, mostly negative; 0 for the parent's own residue."""
    importance = rng.gamma(1.0, size=(len(sites), 1))
    effects = importance * rng.normal(-1.0, 0.7, size=(len(sites), len(AMINO_ACIDS)))
    effects[np.arange(len(sites)), sites] = 0.0
    return effects


def states(rng: np.random.RandomState, length: int, n_states: int, mean_segment: float) -> np.ndarray:
    """(L,) states in segments of geometric length, neighbouring segments different."""
    changes = np.where(rng.random_sample(length) < 1 / mean_segment, rng.randint(1, n_states, size=length), 0)
    return (rng.randint(n_states) + changes.cumsum()) % n_states


def by_state(rng: np.random.RandomState, states: np.ndarray, preferences: np.ndarray) -> str:
    """One residue per state, drawn with the preferences (n_states, 20) of that state."""
    thresholds = preferences.cumsum(axis=1)[states]  # (L, 20)
    drawn = (rng.random_sample((len(states), 1)) > thresholds).sum(axis=1).clip(max=len(AMINO_ACIDS) - 1)
    return "".join(AMINO_ACIDS[drawn])


def indices_of(sequence: str) -> np.ndarray:
    """(L,) positions of the residues in AMINO_ACIDS."""
    if unknown := set(sequence) - set(ALPHABET):
        raise ValueError(f"parent has {sorted(unknown)}; allowed: {ALPHABET}.")
    return np.searchsorted(AMINO_ACIDS, list(sequence))
