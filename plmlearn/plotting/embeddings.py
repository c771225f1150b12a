"""A map of embeddings: proteins as points, near where the model finds them alike."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from sklearn.base import is_classifier
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from ..sequences.clean import check_choice, is_missing
from ..sequences.columns import as_array
from ..sequences.kinds import are_labels
from .style import COLORS, GREY, MARKERS, SEQUENTIAL, axes, legend_below, legend_beside, legend_size

Projection = Literal["pca", "umap"]
Part = tuple[str, np.ndarray, dict[str, Any]]


class EmbeddingMapDisplay:
    """Proteins as points in two dimensions, coloured by a label, a split, or a number such as the error.

    Parameters
    ----------
    points : array of shape (n, 2)
    color_by : array of shape (n,), default=None
        Floats, and whole numbers of more than 20 values, are drawn by a scale of colours, all else by a
        colour and a marker for each value; the rarest of more than 48 values, and missing ones, are grey.
    color_name : str, default="label"
        What ``color_by`` is.
    axis_names : (str, str), default=("", "")

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    points_ : list of matplotlib PathCollection
        One per value of ``color_by``, or a single one; then one for what is grey.

    See Also
    --------
    plmlearn.PLMEmbedder : Embeddings as numbers.

    Examples
    --------
    >>> from plmlearn import PLMEmbedder
    >>> from plmlearn.datasets import make_protein_classification
    >>> from plmlearn.plotting import EmbeddingMapDisplay
    >>> X, y = make_protein_classification(20, median_length=20, max_length=30, random_state=0)
    >>> display = EmbeddingMapDisplay.from_estimator(PLMEmbedder("mini").fit(X), X, color_by=y)
    >>> display.points.shape
    (20, 2)
    """

    def __init__(
        self,
        points: Any,
        color_by: Any = None,
        *,
        color_name: str = "label",
        axis_names: tuple[str, str] = ("", ""),
    ):
        self.points = np.asarray(points, dtype=float)
        self.color_by = None if color_by is None else _colors(color_by)
        self.color_name = color_name
        self.axis_names = axis_names
        shape = (len(self.points),) if self.color_by is None else self.color_by.shape
        if self.points.shape != (len(self.points), 2) or shape != (len(self.points),):
            raise ValueError(
                f"points have shape {self.points.shape} and color_by {shape}; expected (n, 2) and n entries."
            )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        color_by: Any = None,
        color_name: str | None = None,
        method: Projection = "pca",
        random_state: int | None = 0,
        ax: Any = None,
        **kwargs: Any,
    ) -> EmbeddingMapDisplay:
        """Embed proteins, project the embeddings and draw them.

        Parameters
        ----------
        estimator : fitted estimator
            With ``transform`` to (n, D): tuned, or :class:`plmlearn.PLMEmbedder` with a pooling.
        X : list, array or Series of str, shape (n,)
        y : array of shape (n,), default=None
            Targets; needed for ``color_by="error"``, and the colour where ``color_by`` is None.
        color_by : "error" or array of shape (n,), default=None
            "error" is the absolute difference to the prediction, of classifiers whether it is wrong. An array
            may be anything, for example the split of each protein.
        color_name : str, default=None
            What an array ``color_by`` is.
        method : {"pca", "umap"}, default="pca"
            "umap" needs ``pip install umap-learn``.
        random_state : int, default=0
        ax : matplotlib Axes, default=None
        **kwargs
            For ``Axes.scatter``.

        Returns
        -------
        EmbeddingMapDisplay
        """
        if isinstance(color_by, str):
            check_choice("color_by", color_by, ("error",))
            color_by, color_name = _errors(estimator, X, y), color_name or "absolute error"
            if color_by.dtype.kind == "U":
                color_name = "prediction"
        elif color_by is None and y is not None:
            color_by = y
        options: dict[str, Any] = {"method": method, "random_state": random_state}
        embeddings = np.asarray(estimator.transform(X))
        return cls.from_embeddings(
            embeddings, color_by, color_name=color_name or "label", ax=ax, **options, **kwargs
        )

    @classmethod
    def from_embeddings(
        cls,
        embeddings: Any,
        color_by: Any = None,
        *,
        color_name: str = "label",
        method: Projection = "pca",
        random_state: int | None = 0,
        ax: Any = None,
        **kwargs: Any,
    ) -> EmbeddingMapDisplay:
        """Project embeddings and draw them.

        Parameters
        ----------
        embeddings : array of shape (n, D)
            Standardised before they are projected, so that no feature outweighs the others.
        color_by, color_name
            As for the class.
        method : {"pca", "umap"}, default="pca"
            "umap" needs ``pip install umap-learn``.
        random_state : int, default=0
        ax : matplotlib Axes, default=None
        **kwargs
            For ``Axes.scatter``.

        Returns
        -------
        EmbeddingMapDisplay
        """
        check_choice("method", method, get_args(Projection))
        if method == "umap" and len(embeddings) < 4:
            raise ValueError(f'method="umap" needs 4 proteins or more, got {len(embeddings)}. Use "pca".')
        features = StandardScaler().fit_transform(np.asarray(embeddings))
        if method == "umap":
            from umap import UMAP

            # More neighbours than proteins, or several threads with a seed, make UMAP warn.
            neighbours, threads = min(15, len(features) - 1), -1 if random_state is None else 1
            umap = UMAP(n_neighbors=neighbours, random_state=random_state, n_jobs=threads)
            points = umap.fit_transform(features)
            names = ("UMAP 1", "UMAP 2")
        else:
            pca = PCA(2, random_state=random_state)
            with np.errstate(invalid="ignore"):  # of embeddings that are all the same
                points = pca.fit_transform(features)
            first, second = np.nan_to_num(pca.explained_variance_ratio_)
            names = (f"component 1 ({first:.0%} of variance)", f"component 2 ({second:.0%})")
        return cls(points, color_by, color_name=color_name, axis_names=names).plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> EmbeddingMapDisplay:
        """Draw on ``ax`` or on new axes. Needs matplotlib (``pip install "plmlearn[plot]"``).

        Parameters
        ----------
        ax : matplotlib Axes, default=None
        **kwargs
            For ``Axes.scatter``.

        Returns
        -------
        EmbeddingMapDisplay
            Itself.
        """
        parts = self._parts()
        columns, width = legend_size([label for label, _, _ in parts], 12)
        self.ax_ = ax = axes(ax, max(6.4, 4.8 + width), 4.4)
        self.figure_ = ax.figure
        options = {"s": 24, "alpha": 0.8, "linewidths": 0} | kwargs
        self.points_ = [
            ax.scatter(*self.points[rows].T, **(style | {"label": label} | options))
            for label, rows, style in parts
        ]
        if "c" in parts[0][2]:
            self.figure_.colorbar(self.points_[0], ax=ax, label=self.color_name)
            if len(parts) > 1:
                legend_below(ax)
        elif self.color_by is not None:
            legend_beside(ax, title=self.color_name, markerscale=1.5, ncols=columns)
        ax.set(xlabel=self.axis_names[0], ylabel=self.axis_names[1], title="Map of embeddings")
        ax.set(xticks=[], yticks=[])
        return self

    def _parts(self) -> list[Part]:
        """Label, rows and look of the points that are drawn together."""
        by, everyone = self.color_by, np.full(len(self.points), True)
        if by is None:
            return [("", everyone, {"color": COLORS[0]})]
        left = np.array([not is_missing(value) for value in by])
        gaps: list[Part] = [("not known", ~left, {"color": GREY, "zorder": 0})] if not left.all() else []
        if by.dtype.kind == "f" or not are_labels(by):
            return [("", left, {"c": by[left], "cmap": SEQUENTIAL}), *gaps]
        values, counts = np.unique(np.array(by[left].tolist()), return_counts=True)
        own = np.sort(np.argsort(-counts, kind="stable")[: len(COLORS) * len(MARKERS)])
        parts: list[Part] = []
        for k, value in enumerate(values[own]):
            look = {"color": COLORS[k % len(COLORS)], "marker": MARKERS[k // len(COLORS)]}
            parts.append((str(value), by == value, look))
            left &= by != value
        others = f"{len(values) - len(own)} others"
        if left.any():
            parts.append((others, left, {"color": GREY, "zorder": 0}))
        return parts + gaps


def _colors(color_by: Any) -> np.ndarray:
    """Entries of one type, nan or None where one is missing."""
    array = as_array(color_by, "color_by", missing=True)
    return array if any(map(is_missing, array.flat)) else np.array(array.tolist())


def _errors(estimator: Any, X: Any, y: Any) -> np.ndarray:
    """How far each prediction is from the truth, or in words whether it is right."""
    if y is None:
        raise ValueError('color_by="error" needs y; pass the targets.')
    predicted = estimator.predict(X)
    if is_classifier(estimator):
        return np.where(np.asarray(y) == predicted, "right", "wrong")
    return np.abs(np.asarray(y, dtype=float) - predicted)
