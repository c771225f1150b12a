"""Attention of a tuned backbone beside that of the pretrained one: ``attention_maps`` and their picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np

from ..estimators.pair import PairEstimator
from ..estimators.tuned import TunedEstimator
from ..nn.encoders import make_encoder
from ..sequences.checked import FLAG, checked
from ..training.batching import TokenizedSequences
from .probes import attention_of
from .style import DIVERGING, SEQUENTIAL, axes


@dataclass(frozen=True)
class AttentionMaps:
    """How much each residue attends to each other one, in some layers, the mean over heads.

    Attributes
    ----------
    sequence : str
        The L residues that were read.
    layers : tuple of int
        Which layers, counted from 1.
    tuned : ndarray of float32, shape (n_layers, L, L)
        Entry [l, i, j] is the share that residue i takes from residue j. Rows add up to less than 1: the
        rest goes to special tokens, and to learned prefixes and prompts.
    pretrained : ndarray of float32, shape (n_layers, L, L), or None
        The same before tuning.

    See Also
    --------
    attention_maps : Makes one.
    AttentionDisplay : Its picture.

    Examples
    --------
    >>> from plmlearn import PLMClassifier
    >>> from plmlearn.plotting import attention_maps
    >>> X = ["MKTAYIAKQR", "GSHMLEDPVA", "MKVLAAGIVG", "DDEEDDKKRR"]
    >>> clf = PLMClassifier("mini", epochs=1, random_state=0, verbose=0).fit(X, [0, 0, 1, 1])
    >>> type(attention_maps(clf, X[0])).__name__
    'AttentionMaps'
    """

    sequence: str
    layers: tuple[int, ...]
    tuned: np.ndarray
    pretrained: np.ndarray | None


@checked(pretrained=FLAG, layers=["array-like", None])
def attention_maps(
    estimator: Any, sequence: str, *, pretrained: bool = True, layers: Sequence[int] | None = None
) -> AttentionMaps:
    """Attention between the residues of one protein, after tuning and before.

    Parameters
    ----------
    estimator : fitted tuned estimator
        Of proteins, residues, signal peptides or pairs.
    sequence : str
        One protein.
    pretrained : bool, default=True
        Compute the maps of the backbone without its adapter too.
    layers : sequence of int, default=None
        Counted from 1. None takes the adapted layers, or all where no layer is adapted.

    Returns
    -------
    AttentionMaps

    Raises
    ------
    ValueError
        The estimator is not tuned, the backbone has no such layer, or the sequence would be read in windows.

    See Also
    --------
    AttentionDisplay : Their picture.
    attributions : What residues contribute to a prediction; attention does not tell that.

    Notes
    -----
    Cost: one forward pass, two with ``pretrained=True``; n_layers L² 4 bytes of memory for each.

    References
    ----------
    Sledzieski et al. (2024), doi:10.1073/pnas.2405840121, figure 3

    Examples
    --------
    >>> from plmlearn import PLMLoRAClassifier
    >>> from plmlearn.datasets import make_protein_classification
    >>> from plmlearn.plotting import attention_maps
    >>> X, y = make_protein_classification(12, median_length=20, max_length=30, random_state=0)
    >>> clf = PLMLoRAClassifier("mini", last_n_layers=2, epochs=1, random_state=0, verbose=0).fit(X, y)
    >>> maps = attention_maps(clf, "MKTAYIAKQRQISFVK")
    >>> maps.layers, maps.tuned.shape
    ((3, 4), (2, 16, 16))
    """
    model = fitted_model(estimator)
    sequence = read_one(estimator, sequence)
    require_whole(estimator, sequence)
    backbone, device = model.backbone, model.config.device
    chosen = _check_layers(layers, model.config.adapter.first_trained_layer(backbone.n_layers), backbone)
    tokens = TokenizedSequences(backbone, [sequence]).pack([0], device)
    where = [layer - 1 for layer in chosen]

    def between_residues(encoder: Any) -> np.ndarray:
        residues = tokens.residue_index.cpu()
        return attention_of(encoder, tokens, model.config)[where][:, residues][:, :, residues].numpy()

    tuned, before = between_residues(model.module.encoder), None
    if pretrained:
        untuned = make_encoder(backbone.model, compute_dtype=backbone.dtype, final_norm=backbone.final_norm)
        before = between_residues(untuned)
    return AttentionMaps(sequence, chosen, tuned, before)


def fitted_model(estimator: Any) -> Any:
    """The loaded model of a fitted estimator that tunes a backbone, or an error."""
    if not isinstance(estimator, TunedEstimator):
        raise ValueError(
            f"Got {type(estimator).__name__}; expected a fitted estimator that tunes a backbone, such as "
            "PLMLoRAClassifier. Pass the last step of a pipeline, or best_estimator_ of a search."
        )
    return estimator._restored()


def read_one(estimator: Any, sequence: str) -> str:
    """One clean sequence, as the estimator reads it."""
    if not isinstance(sequence, str):
        raise ValueError(f"sequence is a {type(sequence).__name__}; expected one protein as a str.")
    X = [(sequence, sequence)] if isinstance(estimator, PairEstimator) else [sequence]
    return str(estimator._clean(X)[0].ravel()[0])


def require_whole(estimator: Any, sequence: str) -> None:
    """An error where an estimator reads windows of a sequence."""
    if estimator._window is not None and len(sequence) > estimator._window:
        raise ValueError(
            f"The sequence has {len(sequence)} residues and is read in windows of {estimator._window}, so "
            "that no residue sees all others. Pass a part of it, or set a larger max_length."
        )


def _check_layers(layers: Sequence[int] | None, first_adapted: int, backbone: Any) -> tuple[int, ...]:
    n_layers = backbone.n_layers
    if layers is None:
        first = first_adapted if first_adapted < n_layers else 0
        return tuple(range(first + 1, n_layers + 1))
    wrong = [
        x for x in layers if not isinstance(x, Integral) or isinstance(x, bool) or not 1 <= x <= n_layers
    ]
    if wrong or not len(layers):
        raise ValueError(f"layers={list(layers)}, but {backbone.name!r} has layers 1 to {n_layers}.")
    return tuple(int(layer) for layer in layers)


class AttentionDisplay:
    """Maps of attention between residues: a column per layer; before, after and the change in rows.

    Parameters
    ----------
    maps : AttentionMaps
        Of :func:`attention_maps`.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, shape (1 or 3, n_layers)
    figure_ : matplotlib Figure
    images_ : list of matplotlib AxesImage
        Row by row.

    See Also
    --------
    attention_maps : The numbers.
    AttributionDisplay : What each residue contributes.

    Examples
    --------
    >>> from plmlearn import PLMLoRAClassifier
    >>> from plmlearn.datasets import make_protein_classification
    >>> from plmlearn.plotting import AttentionDisplay
    >>> X, y = make_protein_classification(12, median_length=20, max_length=30, random_state=0)
    >>> clf = PLMLoRAClassifier("mini", last_n_layers=2, epochs=1, random_state=0, verbose=0).fit(X, y)
    >>> AttentionDisplay.from_estimator(clf, X[0]).axes_.shape
    (3, 2)
    """

    def __init__(self, maps: AttentionMaps):
        self.maps = maps

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        sequence: str,
        *,
        pretrained: bool = True,
        layers: Sequence[int] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> AttentionDisplay:
        """Compute the maps and draw them.

        Parameters
        ----------
        estimator, sequence, pretrained, layers
            As for :func:`attention_maps`.
        ax : matplotlib Axes, default=None
            A subplot, whose place the panels take.
        **kwargs
            For ``Axes.imshow`` of the maps.

        Returns
        -------
        AttentionDisplay
        """
        maps = attention_maps(estimator, sequence, pretrained=pretrained, layers=layers)
        return cls(maps).plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> AttentionDisplay:
        """Draw in the place of ``ax``, or in a new figure. Needs ``pip install "plmlearn[plot]"``.

        Of a deep backbone with adapters in all layers, choose some by ``layers``. Maps share one scale, which
        ends at their 99th percentile, so that a few bright pairs hide nothing.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            A subplot, whose place the panels take.
        **kwargs
            For ``Axes.imshow`` of the maps.

        Returns
        -------
        AttentionDisplay
            Itself.
        """
        maps, before = self.maps, self.maps.pretrained
        rows = [("tuned", maps.tuned)]
        if before is not None:
            rows = [("pretrained", before), *rows, ("change", maps.tuned - before)]
        n_columns = len(maps.layers)
        size = float(np.clip(18 / n_columns, 1.0, 2.2))  # of a panel, in inches
        ax = axes(ax, 2.2 + size * n_columns, 0.6 + size * len(rows))
        ax.set_axis_off()
        place = ax.get_subplotspec().subgridspec(len(rows), n_columns)
        self.figure_ = ax.figure
        self.axes_ = place.subplots(sharex=True, sharey=True, squeeze=False)
        highest = np.percentile(np.stack([row for name, row in rows if name != "change"]), 99)
        options = {"cmap": SEQUENTIAL, "vmin": 0, "vmax": highest} | kwargs
        self.images_: list[Any] = []
        for (name, row), panels in zip(rows, self.axes_, strict=True):
            if name == "change":
                widest = np.percentile(np.abs(row), 99) or 1.0
                options = {"cmap": DIVERGING, "vmin": -widest, "vmax": widest}
            self._draw_row(name, row, panels, options)
        for panel, layer in zip(self.axes_[0], maps.layers, strict=True):
            panel.set_title(f"layer {layer}", fontsize="medium")
        for panel in self.axes_[-1] if size > 1.4 else [self.axes_[-1][n_columns // 2]]:
            panel.set_xlabel("residue attended to")
        return self

    def _draw_row(self, name: str, row: np.ndarray, panels: Any, options: dict) -> None:
        n = len(self.maps.sequence)
        for panel, values in zip(panels, row, strict=True):
            image = panel.imshow(values, extent=(0.5, n + 0.5, n + 0.5, 0.5), interpolation="none", **options)
            panel.locator_params(integer=True, min_n_ticks=1)
            self.images_.append(image)
        panels[0].set_ylabel(f"{name}\nresidue")
        extend, label = ("both", "change") if name == "change" else ("max", "attention")
        self.figure_.colorbar(image, ax=list(panels), label=label, extend=extend, shrink=0.9)
