"""Predictions along a sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from ..estimators.residue import PLMResidueRegressor
from ..estimators.signal_peptides import PLMSignalPeptideClassifier
from ..sequences.clean import is_missing, object_array, residues_of
from .style import COLORS, axes, legend_beside, legend_size, mark_residues, width_of

_REGIONS = {
    **{"n": "n-region", "r": "twin arginines", "x": "n-region, behind RR", "h": "h-region", "c": "c-region"},
    **{"l": "lipobox", "C": "lipid-bound cysteine", "p": "pilin signal", "O": "outside", "I": "inside"},
    "M": "membrane",
}
_MEASURED = dict.fromkeys("SLTP", "signal peptide") | {letter: _REGIONS[letter] for letter in "OIM"}
_SEEN = 0.05  # probability below which a region is not drawn
_LINES = ("-", "--", ":")  # when the colours are used up


class ResidueDisplay:
    """Predictions for the residues of one protein: a line per class or value.

    Parameters
    ----------
    sequence : str
        L residues.
    values : array of shape (L,) or (L, K)
        Probabilities of K classes, or K values.
    labels : sequence of str, default=None
        Names of the K columns.
    y_true : str or array of shape (L,), default=None
        What was measured: a label per residue, drawn as a band above, or a number, drawn as dots.
    sites : mapping of str to float, default=None
        Places to mark by a line, by name; 20.5 lies between residues 20 and 21.
    unit : str, default="probability"
        Label of the vertical axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
        One per column.

    See Also
    --------
    plmlearn.PLMResidueClassifier : One label per residue.
    plmlearn.PLMSignalPeptideClassifier : Signal peptides.

    Examples
    --------
    >>> from plmlearn.plotting import ResidueDisplay
    >>> proba = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]
    >>> ResidueDisplay("MKT", proba, labels=["H", "C"], y_true="HHC").plot().ax_.get_xlabel()
    'residue'
    """

    def __init__(
        self,
        sequence: str,
        values: Any,
        *,
        labels: Sequence[str] | None = None,
        y_true: Any = None,
        sites: Mapping[str, float] | None = None,
        unit: str = "probability",
    ):
        values = np.asarray(values, dtype=float)
        self.sequence = sequence
        self.values = values.reshape(len(values), -1)
        n = self.values.shape[1]
        self.labels = [f"column {k}" for k in range(n)] if labels is None else [str(x) for x in labels]
        self.y_true = y_true if y_true is None else list(y_true)
        self.sites = dict(sites or {})
        self.unit = unit
        found = {"values": len(values)} | ({} if self.y_true is None else {"y_true": len(self.y_true)})
        if wrong := [f"{name} has {k}" for name, k in found.items() if k != len(sequence)]:
            raise ValueError(f"The sequence has {len(sequence)} residues, but {' and '.join(wrong)} entries.")
        if len(self.labels) != n:
            raise ValueError(f"labels has {len(self.labels)} names; expected {n}, one per column of values.")

    @classmethod
    def from_estimator(
        cls, estimator: Any, sequence: str, *, y_true: Any = None, ax: Any = None, **kwargs: Any
    ) -> ResidueDisplay:
        """Predict the residues of one protein and draw them.

        Parameters
        ----------
        estimator : fitted estimator
            Of residues or of signal peptides; of these the regions that it finds and the cleavage site.
        sequence : str
            One protein.
        y_true : str or array of shape (L,), default=None
            What was measured.
        ax : matplotlib Axes, default=None
        **kwargs
            For ``Axes.plot``.

        Returns
        -------
        ResidueDisplay
        """
        X = estimator._check_X([sequence])
        sequence = residues_of(X[0])
        options: dict[str, Any] = {"y_true": y_true}
        if y_true is not None and estimator.ignore_label is not None:
            options["y_true"] = [None if label == estimator.ignore_label else label for label in y_true]
        if isinstance(estimator, PLMSignalPeptideClassifier):
            values, options = _signal_peptide(estimator, X, y_true)
            sequence = sequence[: len(values)]
        elif isinstance(estimator, PLMResidueRegressor):
            values, options["unit"] = estimator.predict(X)[0], "predicted value"
            options["labels"] = ["predicted"] if np.ndim(values) == 1 else None
        else:
            values, options["labels"] = estimator.predict_proba(X)[0], estimator.classes_
        return cls(sequence, values, **options).plot(ax=ax, **kwargs)

    @classmethod
    def from_predictions(
        cls, sequence: str, values: Any, *, ax: Any = None, line_kw: dict | None = None, **options: Any
    ) -> ResidueDisplay:
        """Draw predictions that were made before.

        Parameters
        ----------
        sequence, values
            As for the class.
        ax : matplotlib Axes, default=None
        line_kw : dict, default=None
            For ``Axes.plot``.
        **options
            Other parameters of the class.

        Returns
        -------
        ResidueDisplay
        """
        return cls(sequence, values, **options).plot(ax=ax, **(line_kw or {}))

    def plot(self, ax: Any = None, **kwargs: Any) -> ResidueDisplay:
        """Draw on ``ax`` or on new axes. Needs matplotlib (``pip install "plmlearn[plot]"``).

        Parameters
        ----------
        ax : matplotlib Axes, default=None
        **kwargs
            For ``Axes.plot``.

        Returns
        -------
        ResidueDisplay
            Itself.
        """
        columns, width = legend_size(self.labels, 10)
        self.ax_ = ax = axes(ax, width_of(self.sequence) + max(1.5, width), 3.0)
        self.figure_, self.lines_ = ax.figure, []
        places = np.arange(1, len(self.sequence) + 1)
        for k, label in enumerate(self.labels):
            style = {"color": COLORS[k % len(COLORS)], "linestyle": _LINES[k // len(COLORS) % 3]}
            style |= {"marker": "o"} if len(places) == 1 else {}
            self.lines_ += ax.plot(places, self.values[:, k], **({"label": label} | style | kwargs))
        if self.unit == "probability":
            ax.set_ylim(-0.02, 1.02)
        for name, place in self.sites.items():
            ax.axvline(place, color="black", linestyle="-.", linewidth=1, label=name)
        if self.y_true is not None:
            self._draw_measured(places)
        ax.set(ylabel=self.unit)
        ax.set_title("Predictions along the sequence", pad=6 if self.y_true is None else 16)
        mark_residues(ax, self.sequence)
        legend_beside(ax, ncols=columns)
        return self

    def _draw_measured(self, places: np.ndarray) -> None:
        filled: Any = np.ma.filled(np.ma.asarray(self.y_true, dtype=object), None)
        measured = object_array(None if is_missing(x) else x for x in filled)
        classes = {str(x) for x in measured if x is not None} & set(self.labels)
        if not classes and all(isinstance(x, Real) or x is None for x in measured):
            values = [np.nan if x is None else float(x) for x in measured]
            self.ax_.plot(places, values, ".", color="black", label="measured")
            return
        colors = {str(line.get_label()): line.get_color() for line in self.lines_}
        spare = [color for color in COLORS if color not in colors.values()] or [COLORS[-1]]
        across = self.ax_.get_xaxis_transform()
        for k, label in enumerate(dict.fromkeys(str(x) for x in measured if x is not None)):
            is_here = [str(x) == label for x in measured]
            style = {"color": colors.get(label, spare[k % len(spare)]), "transform": across, "clip_on": False}
            named = {} if label in colors else {"label": label}
            self.ax_.bar(places[is_here], 0.05, 1, 1.02, **style, **named)
        self.ax_.text(
            1.01, 1.045, "measured", transform=self.ax_.transAxes, va="center", ha="left", fontsize="medium"
        )


def _signal_peptide(estimator: Any, X: Any, y_true: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """Probabilities of the regions that occur, and what is drawn with them."""
    probabilities, letters = estimator.predict_region_proba(X, detailed=True)
    columns = dict(zip(letters, probabilities[0].T))
    seen = [letter for letter in _REGIONS if letter in columns and columns[letter].max() > _SEEN]
    site = int(estimator.predict_cleavage_site(X)[0])
    options: dict[str, Any] = {"labels": [_REGIONS[letter] for letter in seen]}
    if site:
        options["sites"] = {f"cut after {site}": site + 0.5}
    if y_true is not None:
        options["y_true"] = [_MEASURED.get(letter) for letter in y_true[: len(probabilities[0])]]
    return np.stack([columns[letter] for letter in seen], axis=1), options
