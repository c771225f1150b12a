"""What each layer of a backbone knows of a task."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..probing import LayerSweep, layer_sweep
from .style import BLACK, BLUE, GREY, axes, legend_below

_DRAWN = ("layer", "mean", "low", "high")


class LayerSweepDisplay:
    """Scores by layer with their intervals; the chosen layer is marked, and the last one's score is a line.

    Parameters
    ----------
    sweep : LayerSweep
        Of :func:`plmlearn.layer_sweep`.
    score_name : str, default="score"
        What was scored.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    errorbar_ : matplotlib ErrorbarContainer
        Mean scores and intervals.

    See Also
    --------
    plmlearn.layer_sweep : The scores.

    Examples
    --------
    >>> from plmlearn import layer_sweep
    >>> from plmlearn.datasets import make_protein_regression
    >>> from plmlearn.plotting import LayerSweepDisplay
    >>> X, y = make_protein_regression(40, max_length=30, random_state=0)
    >>> display = LayerSweepDisplay(layer_sweep("mini", X, y, cv=3)).plot()
    >>> display.ax_.get_xlabel()
    'layer'
    """

    def __init__(self, sweep: LayerSweep, *, score_name: str = "score"):
        self.sweep = sweep
        self.score_name = score_name

    @classmethod
    def from_backbone(
        cls, backbone: Any, X: Any, y: Any, *, ax: Any = None, line_kw: dict | None = None, **options: Any
    ) -> LayerSweepDisplay:
        """Score every layer and draw the scores.

        Parameters
        ----------
        backbone, X, y
            As for :func:`plmlearn.layer_sweep`.
        ax : matplotlib Axes, default=None
        line_kw : dict, default=None
            For ``Axes.errorbar``.
        **options
            For :func:`plmlearn.layer_sweep`.

        Returns
        -------
        LayerSweepDisplay
        """
        scoring = options.get("scoring")
        name = scoring if isinstance(scoring, str) else "score"
        sweep = layer_sweep(backbone, X, y, **options)
        return cls(sweep, score_name=name).plot(ax=ax, **(line_kw or {}))

    def plot(self, ax: Any = None, **kwargs: Any) -> LayerSweepDisplay:
        """Draw on ``ax`` or on new axes. Needs matplotlib (``pip install "plmlearn[plot]"``).

        Parameters
        ----------
        ax : matplotlib Axes, default=None
        **kwargs
            For ``Axes.errorbar``.

        Returns
        -------
        LayerSweepDisplay
            Itself.
        """
        self.ax_ = ax = axes(ax)
        from matplotlib.ticker import MaxNLocator

        self.figure_ = ax.figure
        layers, means, low, high = (np.array([row[key] for row in self.sweep.rows]) for key in _DRAWN)
        label = f"mean, {self.sweep.confidence:.0%} interval"
        options = {"fmt": "o-", "capsize": 3, "color": BLUE, "label": label} | kwargs
        self.errorbar_ = ax.errorbar(layers, means, yerr=[means - low, high - means], **options)
        ax.axhline(means[-1], color=GREY, zorder=0, label="last layer")
        best = self.sweep.best_layer
        chosen = {"markersize": 12, "fillstyle": "none", "color": BLACK, "label": f"chosen: layer {best}"}
        ax.plot(best, means[best - 1], "o", **chosen)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.set(xlabel="layer", ylabel=self.score_name, title="What each layer knows")
        legend_below(ax, ncols=3)
        return self
