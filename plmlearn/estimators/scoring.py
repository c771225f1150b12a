"""scikit-learn's scorers on outputs that are known already, to choose the best epoch by them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.metrics import check_scoring
from sklearn.utils.metaestimators import available_if

from ..metrics import get_scorer
from ..nn.packing import Ragged
from .dataset import Dataset


def make_score(
    owner: BaseEstimator, target: Any, validation: Dataset, scoring: str | Callable
) -> Callable[[np.ndarray], float]:
    """A function from outputs for the validation proteins, (n_proteins, C), to their score.

    Parameters
    ----------
    owner : BaseEstimator
        Whose kind (classifier, regressor) the scorer sees.
    target : Target
        Decodes the outputs.
    validation : Dataset
    scoring : str or callable

    Raises
    ------
    ValueError
        The targets are of residues, and the scorer is not: it is tried before any training.
    """
    probe = _Known(owner, target)
    scorer = check_scoring(probe, scoring=get_scorer(scoring) if isinstance(scoring, str) else scoring)

    def score(outputs: np.ndarray) -> float:
        probe.outputs = outputs
        try:
            return float(scorer(probe, validation.sequences, validation.y))
        except ValueError as error:
            raise ValueError(
                f"scoring={scoring!r} cannot score the {len(validation.y)} rows to validate on: {error} Hold "
                "out others by validation_fraction, or X_val and y_val, or pass scoring=None."
            ) from error

    if validation.y.ndim == 1 and isinstance(validation.y[0], np.ndarray):
        _try_on_residues(score, validation.y, target.n_outputs, scoring)
    return score


def _try_on_residues(score: Callable[[Any], float], y: np.ndarray, n_outputs: int, scoring: Any) -> None:
    """Refuse a scorer that fails on outputs of zero."""
    outputs = Ragged.of([torch.zeros(len(row), n_outputs) for row in y])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            score(outputs)
    except (TypeError, ValueError) as error:
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
