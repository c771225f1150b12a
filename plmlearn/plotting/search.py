"""What a search found, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .style import BLACK, BLUE, GREY, ORANGE, axes, legend_below

_STATES = {"complete": ("all folds", BLUE, "o"), "pruned": ("ended early", ORANGE, "x")}


class SearchDisplay:
    """Scores of candidates against the seconds that they took; those that ended early are marked.

    Parameters
    ----------
    results : dict of ndarray
        ``cv_results_`` of :class:`plmlearn.search.PLMSearchCV`.
    best : int, default=None
        Place of the best candidate; a ring marks it.
    score_name : str, default="score"
        What was scored.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    points_ : dict of str to matplotlib PathCollection
        Candidates by their state.

    See Also
    --------
    plmlearn.search.PLMSearchCV : The search.
    optuna.visualization.plot_intermediate_values : Scores by epoch and fold of its ``study_``.

    Examples
    --------
    >>> from plmlearn import PLMLoRAClassifier
    >>> from plmlearn.datasets import make_protein_classification
    >>> from plmlearn.plotting import SearchDisplay
    >>> from plmlearn.search import PLMSearchCV
    >>> X, y = make_protein_classification(24, median_length=20, max_length=30, random_state=0)
    >>> clf = PLMLoRAClassifier("mini", epochs=1, last_n_layers=1, random_state=0, verbose=0)
    >>> search = PLMSearchCV(clf, {"rank": [2, 4]}, sampler="grid", cv=2).fit(X, y)
    >>> SearchDisplay.from_estimator(search).ax_.get_xlabel()
    'seconds'
    """

    def __init__(self, results: Mapping[str, Any], *, best: int | None = None, score_name: str = "score"):
        self.results = results
        self.best = best
        self.score_name = score_name

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None, **kwargs: Any) -> SearchDisplay:
        """Draw a fitted search.

        Parameters
        ----------
        estimator : fitted PLMSearchCV
        ax : matplotlib Axes, default=None
        **kwargs
            For ``Axes.scatter``.

        Returns
        -------
        SearchDisplay
        """
        results = vars(estimator).get("cv_results_", {})
        if "n_folds_run" not in results:
            raise ValueError(f"{type(estimator).__name__} is no fitted PLMSearchCV; expected one.")
        names = (name for name in (estimator.refit, estimator.scoring) if isinstance(name, str))
        best = vars(estimator).get("best_index_")
        return cls(results, best=best, score_name=next(names, "score")).plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> SearchDisplay:
        """Draw on ``ax`` or on new axes. Needs matplotlib (``pip install "plmlearn[plot]"``).

        Parameters
        ----------
        ax : matplotlib Axes, default=None
        **kwargs
            For ``Axes.scatter``.

        Returns
        -------
        SearchDisplay
            Itself.
        """
        self.ax_, self.points_ = axes(ax), {}
        self.figure_ = self.ax_.figure
        seconds, scores = (np.asarray(self.results[name], dtype=float) for name in ("seconds", "value"))
        for state, (label, color, marker) in _STATES.items():
            here = np.asarray(self.results["state"]) == state
            if here.any():
                options = {"color": color, "marker": marker, "label": f"{label}: {here.sum()}"} | kwargs
                self.points_[state] = self.ax_.scatter(seconds[here], scores[here], **options)
        if self.best is not None:
            ring = {"markersize": 12, "fillstyle": "none", "color": BLACK, "label": "best"}
            self.ax_.plot(seconds[self.best], scores[self.best], "o", **ring)
            self.ax_.axhline(scores[self.best], color=GREY, zorder=0)
        self.ax_.set(xlabel="seconds", ylabel=self.score_name, title="Candidates", xlim=(0, None))
        legend_below(self.ax_, ncols=3)
        return self
