"""Predicted values against measured ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..design.proposal import offers_std
from ..metrics import spearman_score
from ..sequences.columns import check_numbers
from .style import BLUE, GREY, ORANGE, axes, legend_below


class PredictedMeasuredDisplay:
    """Predicted values against measured ones, with the interval of each prediction.

    Predictions whose interval misses the measurement have another colour.

    Parameters
    ----------
    y_true, y_pred : ndarray of shape (n,)
        Measured and predicted values.
    intervals : ndarray of shape (n, 2), default=None
        Lower and upper end of each prediction's interval.

    Attributes
    ----------
    coverage : float or None
        Share of the measurements that are inside their interval.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    plmlearn.PLMEnsemble : Standard deviations of predictions.
    sklearn.metrics.PredictionErrorDisplay : Residuals.

    Examples
    --------
    >>> from plmlearn.plotting import PredictedMeasuredDisplay
    >>> y_true, y_pred, std = [1.0, 2.0, 3.0], [1.1, 1.9, 2.0], [0.2, 0.2, 0.2]
    >>> display = PredictedMeasuredDisplay.from_predictions(y_true, y_pred, std=std)
    >>> round(display.coverage, 2)
    0.67
    """

    def __init__(self, y_true: np.ndarray, y_pred: np.ndarray, *, intervals: np.ndarray | None = None):
        self.y_true = y_true
        self.y_pred = y_pred
        self.intervals = intervals

    @property
    def coverage(self) -> float | None:
        """Share of the measurements that are inside their interval."""
        return None if self.intervals is None else float(self._inside().mean())

    def _inside(self) -> np.ndarray:
        if self.intervals is None:
            return np.full(len(self.y_true), True)
        low, high = self.intervals.T
        return (low <= self.y_true) & (self.y_true <= high)

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        *,
        intervals: Any = None,
        std: Any = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> PredictedMeasuredDisplay:
        """Draw predictions that are known.

        Parameters
        ----------
        y_true, y_pred : array of shape (n,)
        intervals : array of shape (n, 2) or (n, 2, 1), default=None
            As MAPIE returns them.
        std : array of shape (n,), default=None
            Standard deviations, in place of intervals: these are then the mean 90 % of a normal distribution.
        ax : matplotlib Axes, default=None
        **kwargs
            For ``Axes.scatter``.

        Returns
        -------
        PredictedMeasuredDisplay
        """
        true = _one_each(y_true, "y_true")
        pred = _one_each(y_pred, "y_pred", len(true))
        if std is not None:
            half = 1.645 * _one_each(std, "std", len(true))
            intervals = np.column_stack([pred - half, pred + half])
        if intervals is not None:
            intervals = np.asarray(intervals, dtype=float)
            if intervals.shape not in ((len(pred), 2), (len(pred), 2, 1)):
                raise ValueError(
                    f"intervals have shape {intervals.shape}; expected ({len(pred)}, 2). Of several levels "
                    "pass one: intervals[:, :, 0]."
                )
            intervals = intervals.reshape(-1, 2)
        return cls(true, pred, intervals=intervals).plot(ax=ax, **kwargs)

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, ax: Any = None, **kwargs: Any
    ) -> PredictedMeasuredDisplay:
        """Predict and draw; with the standard deviations of an estimator that predicts them.

        Parameters
        ----------
        estimator : fitted regressor
        X, y : as the estimator takes them
        ax : matplotlib Axes, default=None
        **kwargs
            For ``Axes.scatter``.

        Returns
        -------
        PredictedMeasuredDisplay
        """
        if not offers_std(estimator):
            return cls.from_predictions(y, estimator.predict(X), ax=ax, **kwargs)
        mean, std = estimator.predict(X, return_std=True)
        return cls.from_predictions(y, mean, std=std, ax=ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> PredictedMeasuredDisplay:
        """Draw on ``ax`` or on new axes. Needs matplotlib (``pip install "plmlearn[plot]"``).

        Parameters
        ----------
        ax : matplotlib Axes, default=None
        **kwargs
            For ``Axes.scatter``.

        Returns
        -------
        PredictedMeasuredDisplay
            Itself.
        """
        self.ax_ = ax = axes(ax, 5.0, 5.0)
        self.figure_ = ax.figure
        inside = self._inside()
        labels = ("inside its interval", "outside") if self.intervals is not None else (None, None)
        for rows, color, label in ((inside, BLUE, labels[0]), (~inside, ORANGE, labels[1])):
            if self.intervals is not None:
                ax.vlines(self.y_true[rows], *self.intervals[rows].T, color=color, alpha=0.25, linewidth=1)
            if rows.any():
                options = {"s": 14, "color": color, "alpha": 0.8, "linewidths": 0, "label": label} | kwargs
                ax.scatter(self.y_true[rows], self.y_pred[rows], **options)
        ends = [min(self.y_true.min(), self.y_pred.min()), max(self.y_true.max(), self.y_pred.max())]
        ax.plot(ends, ends, color=GREY, zorder=0)
        title = f"Spearman {spearman_score(self.y_true, self.y_pred):.2f}"
        if self.coverage is not None:
            title += f", {self.coverage:.0%} inside"
            legend_below(ax, ncols=2)
        ax.set(xlabel="measured", ylabel="predicted", title=title)
        return self


def _one_each(values: Any, name: str, n: int | None = None) -> np.ndarray:
    """Numbers, (n,), also of one column."""
    numbers = check_numbers(values, name)
    if numbers.size != (n or len(numbers)) or numbers.size != len(numbers):
        raise ValueError(
            f"{name} has shape {numbers.shape}; expected one number for each variant, ({n or 'n'},)."
        )
    return numbers.ravel()
