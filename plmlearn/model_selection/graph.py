"""``PairGraph``: pairs of proteins as a graph, proteins or clusters of them as nodes and pairs as edges.

``check_clusters``    the clusters of proteins, or of both proteins of pairs -> array
``number_clusters``   the same as numbers
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..sequences.clean import SequenceError, first_few, object_array
from ..sequences.columns import check_labels
from ..sequences.pairs import check_pair_rows, is_blank


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
        proteins, names = _numbered(rows, key=_plain)
        if clusters is None:
            nodes = proteins
        elif isinstance(clusters, Mapping):
            nodes = _mapped(names, clusters)[proteins]
        else:
            nodes = number_clusters(clusters, rows.shape)
        return cls(np.sort(nodes, axis=1), np.sort(proteins, axis=1), names)

    @property
    def n_nodes(self) -> int:
        """Number of proteins, or of clusters."""
        return int(self.edges.max()) + 1

    def pair_numbers(self) -> np.ndarray:
        """A number for each pair of proteins, whichever comes first; equal where a pair is repeated."""
        return self.proteins[:, 0] * len(self.names) + self.proteins[:, 1]


def check_clusters(groups: Any, shape: tuple[int, ...], name: str = "groups") -> np.ndarray:
    """``groups`` as an array of clusters, one per protein or two per pair, or a clear error."""
    groups = check_labels(groups, name)
    blank = [row for row, group in enumerate(groups) if any(map(is_blank, np.ravel(group).tolist()))]
    if blank:
        found = f"row{'s' * (len(blank) > 1)} {first_few(blank)}"
        raise SequenceError(f"{name} is blank in {found}; expected a cluster in each.", blank)
    if groups.shape != shape:
        raise ValueError(
            f"{name} has shape {groups.shape}; expected one cluster per protein, {shape}. For pairs a "
            "mapping of protein to cluster does as well."
        )
    return groups


def number_clusters(groups: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Clusters as numbers from 0, in order of first appearance."""
    return _numbered(check_clusters(groups, shape), key=lambda cluster: cluster)[0]


# ---- numbers for names


def _numbered(items: np.ndarray, key: Callable[[Any], Any]) -> tuple[np.ndarray, list]:
    """Number of each item, in order of first appearance, equal where the key is; and the items by number."""
    flat = items.ravel().tolist()
    by_key: dict[Any, int] = {}
    numbers = {item: by_key.setdefault(key(item), len(by_key)) for item in dict.fromkeys(flat)}
    names: dict[int, Any] = {}
    for item, number in numbers.items():
        names.setdefault(number, item)
    return np.array([numbers[item] for item in flat]).reshape(items.shape), list(names.values())


def _plain(item: Any) -> Any:
    return item.strip().upper() if isinstance(item, str) else item


def _mapped(names: list, clusters: Mapping[Any, Any]) -> np.ndarray:
    by_plain = {_plain(protein): cluster for protein, cluster in clusters.items()}
    found = object_array(by_plain.get(_plain(name)) for name in names)
    missing = [name for name, cluster in zip(names, found) if is_blank(cluster)]
    if missing:
        raise ValueError(
            f"clusters lacks {len(missing)} of {len(names)} proteins, such as {str(missing[0])[:30]!r}; "
            "expected a cluster for every protein of X."
        )
    return _numbered(found, key=_plain)[0]
