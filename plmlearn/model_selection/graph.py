"""``PairGraph``: pairs of proteins as a graph, proteins or clusters of them as nodes and pairs as edges.

``check_pair_rows``   any container of pairs -> (n_pairs, 2) array
``check_clusters``    the clusters of proteins, or of both proteins of pairs -> array
``number_clusters``   the same as numbers
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


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


def check_pair_rows(X: Any) -> np.ndarray:
    """Pairs of anything hashable (sequences or accessions) as an (n_pairs, 2) array, or a clear error."""
    rows = X.to_numpy() if hasattr(X, "to_numpy") else X
    if not isinstance(rows, np.ndarray):
        rows = list(rows)
        lengths = [len(row) if hasattr(row, "__len__") and not isinstance(row, str) else 0 for row in rows]
        if len(rows) == 2 and not {0, 2} & set(lengths):
            raise ValueError("X is two lists of proteins; expected a list of pairs: pass list(zip(a, b)).")
        odd = [row for row, length in enumerate(lengths) if length != 2]
        if odd:
            raise ValueError(
                f"{len(odd)} of {len(rows)} rows are no pairs, such as row {odd[0]}: {rows[odd[0]]!r}; "
                "expected two proteins each. Pass list(zip(a, b))."
            )
        rows = np.array([*rows], dtype=object).reshape(-1, 2)
    if rows.ndim != 2 or rows.shape[1] != 2:
        raise ValueError(
            f"X has shape {rows.shape}; expected (n_pairs, 2): pass the columns of the proteins."
        )
    if not len(rows):
        raise ValueError("X has no pairs; expected at least one.")
    _refuse_missing(rows, "protein")
    return rows


def check_clusters(groups: Any, shape: tuple[int, ...]) -> np.ndarray:
    """``groups`` as an array of clusters, one per protein or two per pair, or a clear error."""
    groups = np.asarray(groups)
    if groups.shape != shape:
        raise ValueError(
            f"groups has shape {groups.shape}; expected one cluster per protein, {shape}. For pairs a "
            "mapping of protein to cluster does as well."
        )
    _refuse_missing(groups, "cluster")
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


def _refuse_missing(entries: np.ndarray, noun: str) -> None:
    items, width = entries.ravel().tolist(), entries.size // len(entries)
    if not any(map(_is_missing, set(items))):
        return
    places = [place for place, item in enumerate(items) if _is_missing(item)]
    odd = sorted({place // width for place in places})
    rows, entry = (
        ("proteins", "that") if width == 1 else ("pairs", f"the {('first', 'second')[places[0] % 2]}")
    )
    shown = ", ".join(map(str, odd[:10])) + (", …" if len(odd) > 10 else "")
    raise ValueError(
        f"{len(odd)} of {len(entries)} {rows} lack a {noun}: rows {shown}; {entry} of row {odd[0]} is "
        f"{items[places[0]]!r}. Give it, or leave those rows out."
    )


def _is_missing(item: Any) -> bool:
    """None, nan, pandas' NA, or a text of nothing but blanks."""
    if isinstance(item, str):
        return not item.strip()
    return item is None or type(item).__name__ == "NAType" or item != item


def _plain(item: Any) -> Any:
    return item.strip().upper() if isinstance(item, str) else item


def _mapped(names: list, clusters: Mapping[Any, Any]) -> np.ndarray:
    by_plain = {_plain(protein): cluster for protein, cluster in clusters.items()}
    found = np.empty(len(names), dtype=object)
    found[:] = [by_plain.get(_plain(name)) for name in names]
    missing = [name for name, cluster in zip(names, found) if _is_missing(cluster)]
    if missing:
        raise ValueError(
            f"clusters lacks {len(missing)} of {len(names)} proteins, such as {str(missing[0])[:30]!r}; "
            "expected a cluster for every protein of X."
        )
    return _numbered(found, key=_plain)[0]
