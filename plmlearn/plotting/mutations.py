"""What each mutation of a protein does, as a map of positions and residues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..design import single_mutants
from ..messages import warn
from ..sequences import read_variants
from ..sequences.columns import check_numbers
from ..sequences.variants import clean_wild_type
from .style import SEQUENTIAL, axes, mark_residues, width_of

RESIDUES = "IVLFCMAGTSWYPHNDQEKR"
"""From hydrophobic to hydrophilic (Kyte & Doolittle 1982, doi:10.1016/0022-2836(82)90515-0)."""

_GAP, _HEIGHT = 0.6, 3.4  # rows between residues and site means; inches of a map


class MutationHeatmapDisplay:
    """Measured and predicted effects of single mutations, positions against residues.

    Residues stand in the order of their hydrophobicity, the wild type's own are dots, and the row below is
    the mean of each site. Mutations without a number are white. Colours span all but the lowest and highest
    hundredth of the numbers.

    Parameters
    ----------
    wild_type : str
    tables : dict of str to ndarray of shape (20, length)
        Numbers to draw by title, such as "measured" and "predicted"; rows as ``residues``, nan where there is
        none.
    first_site : int, default=1
        Number of the wild type's first residue.

    Attributes
    ----------
    residues : str
        Of the rows.
    axes_ : list of matplotlib Axes
        One per table.
    figure_ : matplotlib Figure
    images_ : list of matplotlib QuadMesh

    See Also
    --------
    plmlearn.design.single_mutants : All single mutants.
    plmlearn.PLMMaskedLM : ``mutation_scores`` needs no measurements.

    Examples
    --------
    >>> from plmlearn.plotting import MutationHeatmapDisplay
    >>> display = MutationHeatmapDisplay.from_predictions("MKVL", ["M1A", "K2R"], y_true=[0.5, 1.0])
    >>> display.tables["measured"].shape, display.axes_[0].get_title()
    ((20, 4), 'measured')
    """

    residues = RESIDUES

    def __init__(self, wild_type: str, tables: dict[str, np.ndarray], *, first_site: int = 1):
        self.wild_type = clean_wild_type(wild_type)
        self.tables = tables
        self.first_site = first_site

    @classmethod
    def from_predictions(
        cls,
        wild_type: str,
        variants: Any,
        *,
        y_true: Any = None,
        y_pred: Any = None,
        first_site: int = 1,
        ax: Any = None,
        **kwargs: Any,
    ) -> MutationHeatmapDisplay:
        """Draw numbers that are known.

        Parameters
        ----------
        wild_type : str
        variants : list, array or Series of str, shape (n_variants,)
            Sequences or substitutions. What is measured several times is averaged. Those with several
            mutations have no place on the map: one warning counts them.
        y_true, y_pred : array of shape (n_variants,), default=None
            Measured and predicted values; one of them at least, nan for what is not known.
        first_site : int, default=1
        ax : matplotlib Axes, or one for each map, default=None
        **kwargs
            For ``Axes.pcolormesh``.

        Returns
        -------
        MutationHeatmapDisplay
        """
        given = {"measured": y_true, "predicted": y_pred}
        given = {title: values for title, values in given.items() if values is not None}
        if not given:
            raise ValueError("y_true and y_pred are None; expected one of them at least.")
        tables = _tables(wild_type, variants, given, first_site)
        return cls(wild_type, tables, first_site=first_site).plot(ax=ax, **kwargs)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        wild_type: str,
        *,
        variants: Any = (),
        y: Any = (),
        first_site: int = 1,
        ax: Any = None,
        **kwargs: Any,
    ) -> MutationHeatmapDisplay:
        """Predict all single mutants and draw them, below those that are measured.

        Parameters
        ----------
        estimator : fitted regressor
        wild_type : str
        variants, y : array of shape (n_variants,), default=()
            Variants that are measured, and their measurements.
        first_site : int, default=1
        ax : matplotlib Axes, or one for each map, default=None
        **kwargs
            For ``Axes.pcolormesh``.

        Returns
        -------
        MutationHeatmapDisplay
        """
        every = single_mutants(wild_type, first_site=first_site)[:]
        tables = _tables(wild_type, every, {"predicted": estimator.predict(every)}, first_site)
        if len(variants):
            tables = _tables(wild_type, variants, {"measured": y}, first_site) | tables
        return cls(wild_type, tables, first_site=first_site).plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> MutationHeatmapDisplay:
        """Draw on ``ax`` or on new axes. Needs matplotlib (``pip install "plmlearn[plot]"``).

        Parameters
        ----------
        ax : matplotlib Axes, or a list of one for each map, default=None
        **kwargs
            For ``Axes.pcolormesh``.

        Returns
        -------
        MutationHeatmapDisplay
            Itself.
        """
        self.axes_ = self._axes(ax)
        self.figure_ = self.axes_[0].figure
        self.images_: list[Any] = []
        for own, (title, table) in zip(self.axes_, self.tables.items()):
            self._draw(own, title, table, kwargs)
        return self

    def _axes(self, ax: Any) -> list[Any]:
        n = len(self.tables)
        if ax is None:
            first = axes(None, width_of(self.wild_type) + 1, n * _HEIGHT)
            figure = first.figure
            first.remove()
            return list(np.atleast_1d(figure.subplots(n, 1)))
        given = list(np.atleast_1d(np.asarray(ax, dtype=object)))
        if len(given) != n:
            raise ValueError(
                f"ax has {len(given)} axes for {n} maps ({', '.join(self.tables)}); expected as many."
            )
        return given

    def _draw(self, ax: Any, title: str, table: np.ndarray, options: dict[str, Any]) -> None:
        n, length = table.shape
        known = np.ma.masked_invalid(table)
        drawn = np.ma.vstack([known, np.ma.masked_all(length), known.mean(axis=0)])
        rows = np.r_[np.arange(n + 1), n + _GAP, n + _GAP + 1] - 0.5
        low, high = np.nanquantile(table, [0.01, 0.99]) if known.count() else (0, 1)
        options = {"cmap": SEQUENTIAL, "vmin": low, "vmax": high} | options
        image = ax.pcolormesh(np.arange(length + 1) + 0.5, rows, drawn, **options)
        own = [(i + 1, RESIDUES.index(w)) for i, w in enumerate(self.wild_type) if w in RESIDUES]
        ax.scatter(
            *np.reshape(own, (-1, 2)).T, s=min(14.0, 1200 / length), color="black", marker="o", linewidths=0
        )
        mark_residues(ax, self.wild_type, self.first_site)
        ax.set(ylim=(n + _GAP + 0.5, -0.5), ylabel="mutated to", title=title)
        ax.set_yticks([*range(n), n + _GAP], [*RESIDUES, "mean"], fontsize=7)
        ax.figure.colorbar(image, ax=ax, pad=0.01, extend="both")
        self.images_.append(image)


def _tables(
    wild_type: str, variants: Sequence[str], given: dict[str, Any], first_site: int
) -> dict[str, np.ndarray]:
    """Numbers of single mutants by residue and position."""
    changes = read_variants(wild_type, variants, first_site=first_site)
    if many := sum(len(variant) > 1 for variant in changes):
        warn(f"{many} of {len(changes)} variants have several mutations and are not drawn.")
    rows = [row for row, variant in enumerate(changes) if len(variant) == 1]
    places = [(RESIDUES.index(new), site) for row in rows for site, new in changes[row]]
    shape = len(RESIDUES), len(clean_wild_type(wild_type))
    tables = {}
    for title, values in given.items():
        numbers = check_numbers(values, f"what is {title}", missing=True)
        if numbers.shape != (len(changes),):
            raise ValueError(f"What is {title} has shape {numbers.shape}; expected ({len(changes)},).")
        sums, counts = np.zeros(shape), np.zeros(shape)
        for place, row in zip(places, rows):
            if not np.isnan(numbers[row]):
                sums[place] += numbers[row]
                counts[place] += 1
        tables[title] = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return tables
