"""``PairGraph``: pairs of proteins as a graph, proteins or clusters of them as nodes and pairs as edges.

``check_labels``       any labels -> class numbers
``describe_repeats``   self-pairs, repeated and contradictory pairs, counted in words
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from plmlearn.sequences.pairs import check_pair_rows, is_blank, refuse_missing


@dataclass(frozen=True)
class PairGraph:
    """Pairs as edges of a graph whose nodes are proteins, or clusters of proteins.

    Attributes
    ----------
    edges : ndarray of int, shape (n_pairs, 2)
        The two nodes of every pair, smaller first.
    proteins : ndarray of int, shape (n_pairs, 2)
        The two proteins of every pair, smaller first; the same as ``edges`` where there are no clusters.
    names : list
        Proteins by number, as given.
    """

    edges: np.ndarray
    proteins: np.ndarray
    names: list

    @classmethod
    def of(cls, X: Any, clusters: Any = None) -> "PairGraph":
        """The graph of checked pairs; ``clusters`` maps proteins, or is an (n_pairs, 2) array."""
        rows = check_pair_rows(X)
        flat, names = _numbered(rows.ravel().tolist())
        proteins = flat.reshape(-1, 2)
        if clusters is None:
            nodes = proteins
        elif isinstance(clusters, Mapping):
            nodes = _mapped(names, clusters)[proteins]
        else:
            nodes = _clusters_by_row(clusters, len(rows))
        return cls(np.sort(nodes, axis=1), np.sort(proteins, axis=1), names)

    @property
    def n_nodes(self) -> int:
        """Number of proteins, or of clusters."""
        return int(self.edges.max()) + 1

    def pair_numbers(self) -> np.ndarray:
        """A number for each pair of proteins, whichever comes first; equal where a pair is repeated."""
        return self.proteins[:, 0] * len(self.names) + self.proteins[:, 1]


def describe_repeats(graph: PairGraph, y: Any) -> list[str]:
    """Counts of self-pairs, repeated pairs and pairs with contradictory labels, in words."""
    said = []
    n_self = int((graph.proteins[:, 0] == graph.proteins[:, 1]).sum())
    if n_self:
        said.append(f"{n_self} pairs join a protein to itself")
    _, number, count = np.unique(graph.pair_numbers(), return_inverse=True, return_counts=True)
    n_repeats = len(number) - len(count)
    if n_repeats:
        said.append(f"{n_repeats} pairs repeat another one (in either order)")
    labels = check_labels(y, graph)
    n_contradictory = len(np.unique(number * (labels.max() + 1) + labels)) - len(count)
    if n_contradictory:
        said.append(f"{n_contradictory} of these contradict its label")
    return said


def check_labels(y: Any, graph: PairGraph) -> np.ndarray:
    """Classes, or the different values of a measurement, as numbers; zeros without y."""
    if y is None:
        return np.zeros(len(graph.edges), dtype=int)
    y = np.asarray(y)
    if y.shape[:1] != (len(graph.edges),):
        raise ValueError(f"y has {len(y)} labels for {len(graph.edges)} pairs; expected one for each.")
    axis = 0 if y.ndim > 1 else None
    return np.unique(y, axis=axis, return_inverse=True)[1].reshape(-1)


# ---- numbers for names


def _numbered(items: list) -> tuple[np.ndarray, list]:
    """Number of each item in order of first appearance, case and blanks of text aside; items by number."""
    raw: dict[Any, int] = {}
    codes = np.fromiter((raw.setdefault(item, len(raw)) for item in items), dtype=np.int64, count=len(items))
    merged: dict[Any, int] = {}
    numbers = np.array([merged.setdefault(_plain(item), len(merged)) for item in raw])
    _, first = np.unique(numbers, return_index=True)
    items = list(raw)
    return numbers[codes], [items[i] for i in first]


def _plain(item: Any) -> Any:
    return item.strip().upper() if isinstance(item, str) else item


def _mapped(names: list, clusters: Mapping[Any, Any]) -> np.ndarray:
    by_plain = {_plain(protein): cluster for protein, cluster in clusters.items()}
    missing = [name for name in names if is_blank(by_plain.get(_plain(name)))]
    if missing:
        raise ValueError(
            f"clusters lacks {len(missing)} of {len(names)} proteins, such as {str(missing[0])[:30]!r}; "
            "expected a cluster for every protein of X."
        )
    return _numbered([by_plain[_plain(name)] for name in names])[0]


def _clusters_by_row(groups: Any, n_pairs: int) -> np.ndarray:
    groups = np.asarray(groups)
    if groups.shape != (n_pairs, 2):
        raise ValueError(
            f"groups has shape {groups.shape}; expected ({n_pairs}, 2), the clusters of the two proteins of "
            "each pair. A mapping of protein to cluster does as well."
        )
    refuse_missing(groups, "cluster")
    return _numbered(groups.ravel().tolist())[0].reshape(-1, 2)
