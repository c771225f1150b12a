"""``FitnessTarget``: measurements for the loss, and scores of the model on their scale."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from sklearn.isotonic import IsotonicRegression

from ..estimators.targets import mean_and_scale, standardised
from ..metrics.residues import rank_correlation

Calibration = Literal["linear", "isotonic"]


@dataclass
class FitnessTarget:
    """One measurement per variant, and a map from the model's scores to them.

    Parameters
    ----------
    wild_type : str
    mean, scale : ndarray of shape (1,)
        Of the measurements.
    scores, values : ndarray of shape (k,)
        Points of the map, ascending in ``scores``.
    straight : bool
        A straight line through two points, which goes on beyond them; else pieces, constant beyond the ends.
    """

    wild_type: str
    mean: np.ndarray
    scale: np.ndarray
    scores: np.ndarray
    values: np.ndarray
    straight: bool

    @classmethod
    def learn(cls, wild_type: str, y: np.ndarray) -> FitnessTarget:
        """Learn mean and scale of measurements; predictions are scores until they are calibrated."""
        mean, scale = mean_and_scale(y[:, None])
        return cls(wild_type, mean, scale, np.array([0.0, 1.0]), np.array([0.0, 1.0]), straight=True)

    @property
    def n_outputs(self) -> int:
        return 1

    def encode(self, y: Any) -> np.ndarray:
        return standardised(np.asarray(y, dtype=np.float64)[:, None], self.mean, self.scale)

    def calibrated(
        self, kind: Calibration | None, scores: np.ndarray, y: np.ndarray, weights: np.ndarray
    ) -> FitnessTarget:
        """Learn the map from scores to predictions on measured variants."""
        if kind is None:
            return self
        if kind == "isotonic":
            rises = rank_correlation(y, scores) >= 0
            steps = IsotonicRegression(increasing=rises).fit(scores, y, sample_weight=weights)
            return replace(
                self, scores=steps.X_thresholds_, values=steps.y_thresholds_.astype(float), straight=False
            )
        mean, height = np.average(scores, weights=weights), np.average(y, weights=weights)
        spread = np.average((scores - mean) ** 2, weights=weights)
        slope = np.average((scores - mean) * (y - height), weights=weights) / spread if spread > 0 else 0.0
        ends = np.array([mean, mean + 1.0])
        return replace(self, scores=ends, values=np.array([height, height + slope]), straight=True)

    def decode(self, scores: np.ndarray) -> np.ndarray:
        """Predictions of scores (N,), or of a model's outputs (N, 2)."""
        scores = np.asarray(scores, dtype=np.float64)
        scores = scores[:, 0] if scores.ndim == 2 else scores
        if not self.straight:
            return np.interp(scores, self.scores, self.values)
        slope = (self.values[1] - self.values[0]) / (self.scores[1] - self.scores[0])
        return self.values[0] + slope * (scores - self.scores[0])
