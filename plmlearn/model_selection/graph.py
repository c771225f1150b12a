"""``PairGraph``: pairs of proteins as a graph, proteins or clusters of them as nodes and pairs as edges.

``check_pair_rows``    any container of pairs -> (n_pairs, 2) array
``check_labels``       any labels -> class numbers
``describe_repeats``   self-pairs, repeated and contradictory pairs, counted in words
"""

from collections.abc import Mapping
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


def _refuse_missing(rows: np.ndarray, noun: str) -> None:
    items = rows.ravel().tolist()
    if not any(_is_missing(item) for item in set(items)):
        return
    first = next(place for place, item in enumerate(items) if _is_missing(item))
    odd = sorted({place // 2 for place, item in enumerate(items) if _is_missing(item)})
    shown, which = ", ".join(map(str, odd[:10])), ("first", "second")[first % 2]
    raise ValueError(
        f"{len(odd)} of {len(rows)} pairs lack a {noun}: rows {shown}{', …' if len(odd) > 10 else ''}; the "
        f"{which} of row {odd[0]} is {items[first]!r}. Give it, or leave those rows out."
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
    missing = [name for name in names if _is_missing(by_plain.get(_plain(name)))]
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
    _refuse_missing(groups, "cluster")
    return _numbered(groups.ravel().tolist())[0].reshape(-1, 2)
