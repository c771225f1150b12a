"""How training went: losses and scores by epoch."""

from __future__ import annotations

from typing import Any

import numpy as np

from .style import BLUE, GREEN, ORANGE, axes, legend_below

_LOSSES = {"train_loss": ("training loss", BLUE, "o"), "valid_loss": ("validation loss", ORANGE, "s")}


class LearningCurvesDisplay:
    """Losses and the validation score by epoch, with the epoch that was kept.

    Parameters
    ----------
    history : list of dict
        ``history_`` of an estimator: a row per epoch, or per look at the validation set.
    best : int, default=None
        The epoch (or step) whose tensors were kept; it is marked.
    score_name : str, default="score"
        Of the validation score.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Of the losses.
    score_ax_ : matplotlib Axes or None
        Of the score, on the right.
    figure_ : matplotlib Figure
    lines_ : dict of str to matplotlib Line2D
        By the name in ``history``.

    See Also
    --------
    pandas.DataFrame : ``pandas.DataFrame(clf.history_)`` is the same as a table.

    Examples
    --------
    >>> from plmlearn import PLMLoRAClassifier
    >>> from plmlearn.datasets import make_protein_classification
    >>> from plmlearn.plotting import LearningCurvesDisplay
    >>> X, y = make_protein_classification(12, median_length=20, max_length=30, random_state=0)
    >>> clf = PLMLoRAClassifier("mini", epochs=2, random_state=0, verbose=0).fit(X, y)
    >>> sorted(LearningCurvesDisplay.from_estimator(clf).lines_)
    ['train_loss']
    """

    lines_: dict[str, Any]

    def __init__(self, history: list[dict[str, Any]], *, best: int | None = None, score_name: str = "score"):
        self.history = history
        self.best = best
        self.score_name = score_name

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None, **kwargs: Any) -> LearningCurvesDisplay:
        """Draw the ``history_`` of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
            With ``history_``: a tuned estimator, or :class:`plmlearn.PLMMaskedLM`.
        ax : matplotlib Axes, default=None
        **kwargs
            For ``Axes.plot``.

        Returns
        -------
        LearningCurvesDisplay
        """
        fitted = vars(estimator)
        if not fitted.get("history_"):
            name = type(estimator).__name__
            raise ValueError(f"{name} has no history_; expected a fitted tuned estimator.")
        history = fitted["history_"]
        best = fitted.get("best_epoch_") if any("valid_loss" in row for row in history) else None
        scoring = fitted.get("scoring")
        # Without ``scoring`` the score is the loss with its sign changed, which has been drawn already.
        name = scoring if isinstance(scoring, str) else "score"
        if scoring is None:
            history = [{key: x for key, x in row.items() if key != "valid_score"} for row in history]
        return cls(history, best=best, score_name=name).plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> LearningCurvesDisplay:
        """Draw on ``ax`` or on new axes. Needs matplotlib (``pip install "plmlearn[plot]"``).

        Parameters
        ----------
        ax : matplotlib Axes, default=None
        **kwargs
            For ``Axes.plot``.

        Returns
        -------
        LearningCurvesDisplay
            Itself.
        """
        self.ax_, self.score_ax_, self.lines_ = axes(ax), None, {}
        from matplotlib.ticker import MaxNLocator

        self.figure_ = self.ax_.figure
        unit = "epoch" if "epoch" in self.history[0] else "step"
        for key, (label, color, marker) in _LOSSES.items():
            options = {"color": color, "marker": marker, "markersize": 4, "label": label} | kwargs
            self._line(self.ax_, unit, key, options)
        if any("valid_score" in row for row in self.history):
            self.score_ax_ = self.ax_.twinx()
            label = f"validation {self.score_name}"
            style = {"color": GREEN, "marker": "^", "markersize": 4, "linestyle": "--", "label": label}
            self._line(self.score_ax_, unit, "valid_score", style | kwargs)
            self.score_ax_.set_ylabel(label, color=GREEN, fontsize="small" if len(label) > 35 else None)
        handles = list(self.lines_.values())
        if self.best is not None:
            label = f"kept: {unit} {self.best}"
            handles.append(self.ax_.axvline(self.best, color="0.5", linestyle=":", label=label))
        self.ax_.set(xlabel=unit, ylabel="loss", title="Learning curves")
        self.ax_.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        legend_below(self.ax_, handles=handles, ncols=2)
        return self

    def _line(self, ax: Any, unit: str, key: str, options: dict) -> None:
        rows = [row for row in self.history if row.get(key) is not None]
        if rows:
            points = np.array([(row[unit], row[key]) for row in rows], dtype=float).T
            [self.lines_[key]] = ax.plot(*points, **options)
