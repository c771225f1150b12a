"""scikit-learn's scorers on outputs that are known already, to choose the best epoch by them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from inspect import isfunction
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.metrics import check_scoring
from sklearn.utils.metaestimators import available_if

from ..metrics import get_scorer
from ..nn.packing import Ragged
from ..training.steps import TrainingData
from .dataset import Dataset


def make_score(
    owner: BaseEstimator, target: Any, validation: Dataset, zeros: Any, scoring: str | Callable
) -> Callable[[Any], float]:
    """A function from outputs for the validation proteins to their score.

    Parameters
    ----------
    owner : BaseEstimator
        Whose kind (classifier, regressor) the scorer sees.
    target : Target
        Decodes the outputs.
    validation : Dataset
    zeros : ndarray or Ragged
        Outputs of :func:`zero_outputs`, on which the scorer is tried before any training.
    scoring : str or callable

    Raises
    ------
    ValueError
        The scorer does not suit the targets. A function of the caller's own on proteins is not tried: it may
        count its calls.
    """
    probe = _Known(owner, target)
    scorer = check_scoring(probe, scoring=get_scorer(scoring) if isinstance(scoring, str) else scoring)

    def score(outputs: np.ndarray) -> float:
        probe.outputs = outputs
        try:
            return float(scorer(probe, validation.sequences, validation.y))
        except (AttributeError, TypeError, ValueError) as error:
            told = str(error).rstrip(".")
            raise ValueError(
                f"scoring={scoring!r} cannot score the {len(validation.y)} rows to validate on: {told}. Take "
                "a scorer for such y, hold out other rows (validation_fraction, or X_val and y_val), or pass "
                "scoring=None."
            ) from error

    of_residues = isinstance(validation.y[0], np.ndarray) and validation.y.ndim == 1
    if of_residues or not isfunction(scoring):
        _try(score, zeros, scoring, of_residues)
    return score


def zero_outputs(data: TrainingData, n_outputs: int) -> Any:
    """Outputs of 0 in the form that a model gives for these samples, (n, C) or one per residue."""
    if isinstance(data.targets, Ragged):
        return data.targets.with_values(torch.zeros(len(data.targets.values), n_outputs))
    return np.zeros((len(data), n_outputs), dtype=np.float32)


def _try(score: Callable[[Any], float], zeros: Any, scoring: Any, of_residues: bool) -> None:
    """Refuse a scorer that fails on outputs of zero."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            score(zeros)
    except ValueError as error:
        if not of_residues:
            raise
        raise ValueError(
            f"scoring={scoring!r} cannot score residues ({error}). Take residue_accuracy, residue_mcc or "
            "residue_spearman, another scorer of plmlearn.metrics for residues, or None for the loss."
        ) from error


class _Known(BaseEstimator):
    """Looks to a scorer like a fitted estimator, and answers with outputs known already."""

    def __init__(self, owner: BaseEstimator, target: Any):
        self.owner = owner
        self.target = target

    def fit(self, X: Any, y: Any) -> _Known:
        return self

    def predict(self, X: Any) -> np.ndarray:
        return self.target.decode(self.outputs)

    @available_if(lambda known: hasattr(known.target, "probabilities"))
    def predict_proba(self, X: Any) -> np.ndarray:
        return self.target.probabilities(self.outputs)

    @property
    def classes_(self) -> np.ndarray:
        return self.target.classes

    def __sklearn_tags__(self):
        return self.owner.__sklearn_tags__()
