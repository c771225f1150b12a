"""The course of campaigns that were replayed on a known landscape."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from ..design import Campaign, simulate_campaign
from ..sequences.clean import check_choice
from .style import COLORS, GREY, MARKERS, axes, legend_below

_LABELS = {"top_share": "share of the best variants found", "best": "best measurement so far"}

_LONGEST = 30  # letters of a name in a legend of two columns
_MOST_TICKS = 10


class CampaignDisplay:
    """What each strategy has found by how much it has measured: medians of campaigns, with quartiles.

    Parameters
    ----------
    campaign : Campaign
        Of :func:`plmlearn.design.simulate_campaign`.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : dict of str to matplotlib Line2D
        By strategy.

    See Also
    --------
    plmlearn.design.simulate_campaign : The numbers.

    Examples
    --------
    >>> from plmlearn.baselines import gaussian_process
    >>> from plmlearn.design import combine_sites
    >>> from plmlearn.plotting import CampaignDisplay
    >>> X = combine_sites("MKVLAAG", [2, 4])[:]
    >>> y = [len(set(x)) + x.count("L") for x in X]
    >>> models = {"GP": gaussian_process("onehot")}
    >>> display = CampaignDisplay.from_landscape(X, y, models, batch=20, n_campaigns=2, random_state=0)
    >>> sorted(display.lines_)
    ['GP', 'one-hot ridge, greedy', 'random']
    """

    def __init__(self, campaign: Campaign):
        self.campaign = campaign

    @classmethod
    def from_landscape(
        cls, X: Any, y: Any, estimator: Any, *, ax: Any = None, line_kw: dict | None = None, **options: Any
    ) -> CampaignDisplay:
        """Replay campaigns and draw them.

        Parameters
        ----------
        X, y, estimator
            As for :func:`plmlearn.design.simulate_campaign`.
        ax : matplotlib Axes, default=None
        line_kw : dict, default=None
            For ``Axes.plot``.
        **options
            For :func:`plmlearn.design.simulate_campaign`.

        Returns
        -------
        CampaignDisplay
        """
        return cls(simulate_campaign(X, y, estimator, **options)).plot(ax=ax, **(line_kw or {}))

    def plot(
        self, ax: Any = None, *, figure: Literal["top_share", "best"] = "top_share", **kwargs: Any
    ) -> CampaignDisplay:
        """Draw on ``ax`` or on new axes. Needs matplotlib (``pip install "plmlearn[plot]"``).

        Parameters
        ----------
        ax : matplotlib Axes, default=None
        figure : {"top_share", "best"}, default="top_share"
            What to draw: the share of the best variants that are found, or the best measurement so far.
        **kwargs
            For ``Axes.plot``.

        Returns
        -------
        CampaignDisplay
            Itself.
        """
        check_choice("figure", figure, _LABELS)
        medians = self.campaign.medians()
        names = list(dict.fromkeys(row["strategy"] for row in medians))
        n_columns = 1 if max(map(len, names)) > _LONGEST else 2
        self.ax_ = ax = axes(ax, height=3.6 + 0.2 * -(-len(names) // n_columns))
        self.figure_, self.lines_ = ax.figure, {}
        for number, name in enumerate(names):
            own = [row for row in medians if row["strategy"] == name]
            n_measured = [row["n_measured"] for row in own]
            parts = [self.campaign.values(name, row["round"], figure) for row in own]
            low, middle, high = np.transpose([np.quantile(part, [0.25, 0.5, 0.75]) for part in parts])
            color = GREY if name == "random" else COLORS[number % len(COLORS)]
            style = {"marker": MARKERS[number % len(MARKERS)], "markersize": 5, "color": color, "label": name}
            [self.lines_[name]] = ax.plot(n_measured, middle, **style | kwargs)
            ax.fill_between(n_measured, low, high, color=color, alpha=0.15, linewidth=0)
        ax.set(xlabel="variants measured", ylabel=_LABELS[figure], title="Rounds of a campaign")
        ticks = sorted({row["n_measured"] for row in medians})
        ax.set_xticks(ticks[:: -(-len(ticks) // _MOST_TICKS)])
        legend_below(ax, ncols=n_columns)
        return self
