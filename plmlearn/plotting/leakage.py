"""How close test proteins are to training."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..model_selection import LeakageReport, leakage_report
from .style import BLUE, GREY, axes

_WIDTH = 0.05  # of a bar, in identity
_NONE = -0.13  # where the bar of those without a similar protein stands


class LeakageDisplay:
    """How many test proteins are how identical to the nearest training protein.

    Bars are shares of test proteins. Those without a similar protein stand apart, left of 0.

    Parameters
    ----------
    report : LeakageReport
        Of :func:`plmlearn.model_selection.leakage_report`.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    bars_ : matplotlib BarContainer
        Of the proteins with a similar one.

    See Also
    --------
    plmlearn.model_selection.leakage_report : The numbers.
    plmlearn.model_selection.ClusterKFold : Splits that do not leak.

    Examples
    --------
    >>> from plmlearn.plotting import LeakageDisplay
    >>> display = LeakageDisplay.from_split(["MKTAYIAKQRQISFVKSHFSRQ"], ["MKTAYIAKQRQISFVKSHFSRE"])
    >>> display.report.identity.round(2)
    array([0.95])
    """

    def __init__(self, report: LeakageReport):
        self.report = report

    @classmethod
    def from_split(
        cls, X_train: Any, X_test: Any, *, method: Any = "auto", ax: Any = None, **kwargs: Any
    ) -> LeakageDisplay:
        """Compare a test set with a training set and draw the result.

        Parameters
        ----------
        X_train, X_test, method
            As for :func:`plmlearn.model_selection.leakage_report`.
        ax : matplotlib Axes, default=None
        **kwargs
            For ``Axes.bar``.

        Returns
        -------
        LeakageDisplay
        """
        return cls(leakage_report(X_train, X_test, method=method)).plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> LeakageDisplay:
        """Draw on ``ax`` or on new axes. Needs matplotlib (``pip install "plmlearn[plot]"``).

        Parameters
        ----------
        ax : matplotlib Axes, default=None
        **kwargs
            For ``Axes.bar``.

        Returns
        -------
        LeakageDisplay
            Itself.
        """
        self.ax_ = ax = axes(ax)
        self.figure_ = ax.figure
        found = self.report.nearest >= 0
        heights, edges = np.histogram(self.report.identity[found], bins=round(1 / _WIDTH), range=(0, 1))
        ax.bar(_NONE, 1 - found.mean(), 0.9 * _WIDTH, color=GREY, label="no similar protein")
        options = {"width": 0.9 * _WIDTH, "color": BLUE, "label": "similar protein"} | kwargs
        self.bars_ = ax.bar(edges[:-1] + _WIDTH / 2, heights / len(found), **options)
        ax.set_xticks([_NONE, *np.linspace(0, 1, 6)], ["none", *(f"{x:.0%}" for x in np.linspace(0, 1, 6))])
        ax.yaxis.set_major_formatter("{x:.0%}")
        ax.set(xlabel="identity to the nearest training protein", ylabel="test proteins")
        ax.set_title(f"Leakage: {self.report.n_duplicates} of {len(found)} test proteins are in training")
        ax.legend(frameon=False)
        return self
