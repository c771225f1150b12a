"""A map of embeddings: proteins as points, near where the model finds them alike."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from sklearn.base import is_classifier
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from ..sequences.clean import check_choice
from .style import COLORS, MARKERS, SEQUENTIAL, axes, legend_beside

Projection = Literal["pca", "umap"]


class EmbeddingMapDisplay:
    """Proteins as points in two dimensions, coloured by a label, a split, or a number such as the error.

    Parameters
    ----------
    points : array of shape (n, 2)
    color_by : array of shape (n,), default=None
        Floats are drawn by a scale of colours, all else by a colour and a marker for each value.
    color_name : str, default="label"
        What ``color_by`` is.
    axis_names : (str, str), default=("", "")

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    points_ : list of matplotlib PathCollection
        One per value of ``color_by``, or a single one.

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
        self.color_by = None if color_by is None else np.asarray(color_by)
        self.color_name = color_name
        self.axis_names = axis_names
        n = None if self.color_by is None else len(self.color_by)
        if self.points.ndim != 2 or self.points.shape[1] != 2 or n not in (None, len(self.points)):
            raise ValueError(
                f"points have shape {self.points.shape} and color_by {n} entries; expected (n, 2) and n."
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
            points = pca.fit_transform(features)
            first, second = pca.explained_variance_ratio_
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
        self.ax_ = ax = axes(ax, 6.4, 4.4)
        self.figure_ = ax.figure
        options = {"s": 24, "alpha": 0.8, "linewidths": 0} | kwargs
        x, y = self.points.T
        by = self.color_by
        if by is None:
            self.points_ = [ax.scatter(x, y, **({"color": COLORS[0]} | options))]
        elif by.dtype.kind == "f":
            self.points_ = [ax.scatter(x, y, **({"c": by, "cmap": SEQUENTIAL} | options))]
            self.figure_.colorbar(self.points_[0], ax=ax, label=self.color_name)
        else:
            self.points_ = []
            values = np.unique(by)
            for k, value in enumerate(values):
                style = {"color": COLORS[k % len(COLORS)], "marker": MARKERS[k // len(COLORS) % len(MARKERS)]}
                of_value = by == value
                style = style | {"label": str(value)} | options
                self.points_.append(ax.scatter(x[of_value], y[of_value], **style))
            legend_beside(ax, title=self.color_name, markerscale=1.5, ncols=1 + (len(values) - 1) // 12)
        ax.set(xlabel=self.axis_names[0], ylabel=self.axis_names[1], title="Map of embeddings")
        ax.set(xticks=[], yticks=[])
        return self


def _errors(estimator: Any, X: Any, y: Any) -> np.ndarray:
    """How far each prediction is from the truth, or in words whether it is right."""
    if y is None:
        raise ValueError('color_by="error" needs y; pass the targets.')
    predicted = estimator.predict(X)
    if is_classifier(estimator):
        return np.where(np.asarray(y) == predicted, "right", "wrong")
    return np.abs(np.asarray(y, dtype=float) - predicted)
