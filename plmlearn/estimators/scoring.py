"""scikit-learn's scorers on outputs that are known already, to choose the best epoch by them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import check_scoring
from sklearn.utils.metaestimators import available_if

from ..metrics import get_scorer
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

    return score


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
