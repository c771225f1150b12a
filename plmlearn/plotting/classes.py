"""How well classes are told apart, and how far probabilities can be trusted."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from sklearn.calibration import calibration_curve

from ..metrics import class_table, expected_calibration_error
from ..metrics.classification import sure_and_right
from ..sequences.clean import check_choice
from .style import BLUE, GREY, ORANGE, axes, legend_below

Score = Literal["f1", "precision", "recall", "specificity", "aupr"]


class ClassScoresDisplay:
    """A score of each class against all others, as bars, with the mean over classes.

    It complements :class:`sklearn.metrics.ConfusionMatrixDisplay`, which shows what a class is taken for.

    Parameters
    ----------
    rows : list of dict
        Of :func:`plmlearn.metrics.class_table`.
    score : {"f1", "precision", "recall", "specificity", "aupr"}, default="f1"

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    bars_ : matplotlib BarContainer
        The classes from above.

    See Also
    --------
    plmlearn.metrics.classification_table : The scores as a table.
    sklearn.metrics.ConfusionMatrixDisplay : Which classes are taken for which.

    Examples
    --------
    >>> from plmlearn.plotting import ClassScoresDisplay
    >>> display = ClassScoresDisplay.from_predictions(["C1", "C2", "C2"], ["C1", "C2", "C1"], score="recall")
    >>> [row["recall"] for row in display.rows]
    [1.0, 0.5]
    """

    def __init__(self, rows: list[dict[str, Any]], *, score: Score = "f1"):
        check_choice("score", score, get_args(Score))
        self.rows = rows
        self.score = score

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, score: Score = "f1", ax: Any = None, **kwargs: Any
    ) -> ClassScoresDisplay:
        """Predict classes and draw the scores.

        Parameters
        ----------
        estimator : fitted classifier
        X, y : as for its ``score``
        score : {"f1", "precision", "recall", "specificity", "aupr"}, default="f1"
            "aupr" reads ``predict_proba``.
        ax : matplotlib Axes, default=None
        **kwargs
            For ``Axes.barh``.

        Returns
        -------
        ClassScoresDisplay
        """
        y_score = estimator.predict_proba(X) if score == "aupr" else None
        options = {"y_score": y_score, "labels": estimator.classes_, "score": score, "ax": ax}
        return cls.from_predictions(y, estimator.predict(X), **options, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        *,
        y_score: Any = None,
        labels: Any = None,
        score: Score = "f1",
        ax: Any = None,
        **kwargs: Any,
    ) -> ClassScoresDisplay:
        """Draw the scores of predictions.

        Parameters
        ----------
        y_true, y_pred, y_score, labels
            As for :func:`plmlearn.metrics.class_table`.
        score : {"f1", "precision", "recall", "specificity", "aupr"}, default="f1"
            "aupr" needs ``y_score``.
        ax : matplotlib Axes, default=None
        **kwargs
            For ``Axes.barh``.

        Returns
        -------
        ClassScoresDisplay
        """
        return cls(class_table(y_true, y_pred, y_score, labels=labels), score=score).plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> ClassScoresDisplay:
        """Draw on ``ax`` or on new axes. Needs matplotlib (``pip install "plmlearn[plot]"``).

        Parameters
        ----------
        ax : matplotlib Axes, default=None
        **kwargs
            For ``Axes.barh``.

        Returns
        -------
        ClassScoresDisplay
            Itself.
        """
        names = [f"{row['label']} (n={row['n']:,})" for row in self.rows]
        self.ax_ = ax = axes(ax, max(6.4, 4.0 + 0.08 * max(map(len, names))), 1.3 + 0.25 * len(names))
        self.figure_ = ax.figure
        places = np.arange(len(self.rows))
        values = np.array([row[self.score] for row in self.rows], dtype=float)
        self.bars_ = ax.barh(places, np.nan_to_num(values), **({"color": BLUE, "height": 0.75} | kwargs))
        for place in np.flatnonzero(np.isnan(values)):
            ax.text(0.01, place, "not defined", va="center", color="0.4", fontsize="small")
        ax.set_yticks(places, names)
        ax.set(xlim=(0, 1), ylim=(len(places) - 0.4, -0.6))
        if not np.isnan(values).all():
            mean = float(np.nanmean(values))
            ax.axvline(mean, color=ORANGE, linestyle="--", label=f"mean over classes: {mean:.2f}")
            legend_below(ax)
        name = {"f1": "F1", "aupr": "AUPR"}.get(self.score, self.score)
        ax.set(xlabel=name, title=f"{name[0].upper()}{name[1:]} by class")
        return self


class ReliabilityDisplay:
    """How often predictions are right that are this sure, against how sure they are.

    A calibrated model lies on the diagonal: of all predictions with a probability of 0.8, four fifths are
    right. Bars show how many predictions there are. :class:`sklearn.calibration.CalibrationDisplay` draws the
    probability of one of two classes; this one that of the predicted class, of any number.

    Parameters
    ----------
    prob_true : array of shape (n_bins,)
        Share of right predictions in each bin that holds any.
    prob_pred : array of shape (n_bins,)
        Mean probability of the predicted class there.
    shares : array of shape (n_bins,)
        Share of all predictions.
    error : float, default=None
        Expected calibration error.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    line_ : matplotlib Line2D

    See Also
    --------
    plmlearn.metrics.expected_calibration_error : The distance to the diagonal, as a number.
    sklearn.calibration.CalibratedClassifierCV : Calibrates a classifier.

    Examples
    --------
    >>> from plmlearn.plotting import ReliabilityDisplay
    >>> proba = [[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]]
    >>> display = ReliabilityDisplay.from_predictions([0, 0, 0, 1], proba, n_bins=2)
    >>> display.prob_true, display.prob_pred, display.shares
    (array([0.75]), array([0.75]), array([1.]))
    """

    def __init__(self, prob_true: Any, prob_pred: Any, shares: Any, *, error: float | None = None):
        self.prob_true = np.asarray(prob_true)
        self.prob_pred = np.asarray(prob_pred)
        self.shares = np.asarray(shares)
        self.error = error

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, n_bins: int = 10, ax: Any = None, **kwargs: Any
    ) -> ReliabilityDisplay:
        """Predict probabilities and draw how reliable they are.

        Parameters
        ----------
        estimator : fitted classifier
            With ``predict_proba``, one label per sample.
        X, y : as for its ``score``
        n_bins : int, default=10
            Of equal width from 0 to 1.
        ax : matplotlib Axes, default=None
        **kwargs
            For ``Axes.plot``.

        Returns
        -------
        ReliabilityDisplay
        """
        options = {"labels": estimator.classes_, "n_bins": n_bins, "ax": ax}
        return cls.from_predictions(y, estimator.predict_proba(X), **options, **kwargs)

    @classmethod
    def from_predictions(
        cls, y_true: Any, y_proba: Any, *, labels: Any = None, n_bins: int = 10, ax: Any = None, **kwargs: Any
    ) -> ReliabilityDisplay:
        """Draw how reliable probabilities are.

        Parameters
        ----------
        y_true, y_proba, labels
            As for :func:`plmlearn.metrics.expected_calibration_error`.
        n_bins : int, default=10
            Of equal width from 0 to 1.
        ax : matplotlib Axes, default=None
        **kwargs
            For ``Axes.plot``.

        Returns
        -------
        ReliabilityDisplay
        """
        error = expected_calibration_error(y_true, y_proba, n_bins=n_bins, labels=labels)
        sure, right = sure_and_right(y_true, y_proba, labels)
        sure = sure.clip(0, 1)
        prob_true, prob_pred = calibration_curve(right, sure, n_bins=n_bins, pos_label=True)
        bins = np.searchsorted(np.linspace(0, 1, n_bins + 1)[1:-1], sure)
        counts = np.bincount(bins, minlength=n_bins)
        shares = counts[counts > 0] / len(sure)
        return cls(prob_true, prob_pred, shares, error=error).plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> ReliabilityDisplay:
        """Draw on ``ax`` or on new axes. Needs matplotlib (``pip install "plmlearn[plot]"``).

        Parameters
        ----------
        ax : matplotlib Axes, default=None
        **kwargs
            For ``Axes.plot``.

        Returns
        -------
        ReliabilityDisplay
            Itself.
        """
        self.ax_ = ax = axes(ax, 4.8, 5.2)
        self.figure_ = ax.figure
        ax.bar(self.prob_pred, self.shares, 0.04, color=GREY, label="share of predictions")
        ax.plot([0, 1], [0, 1], color="0.4", linestyle=":", label="perfectly calibrated")
        label = "model" if self.error is None else f"model (calibration error {self.error:.3f})"
        options = {"color": BLUE, "marker": "o", "label": label} | kwargs
        [self.line_] = ax.plot(self.prob_pred, self.prob_true, **options)
        ax.set(xlim=(0, 1.03), ylim=(0, 1.03), title="Reliability")
        ax.set(xlabel="probability of the predicted class", ylabel="share of right predictions")
        legend_below(ax)
        return self
