"""Fitness of variants of one protein, from the likelihood of a protein language model.

``PLMFitnessRegressor``   tunes the likelihood itself to rank measured variants
"""

from .estimator import PLMFitnessRegressor

__all__ = ["PLMFitnessRegressor"]
