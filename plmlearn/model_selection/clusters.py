"""``cluster_sequences``: families of similar proteins, as the groups of a split that does not leak."""

from typing import Any, get_args

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..sequences.checked import SHARE, checked, one_of
from ..sequences.structure import check_residues
from ..similarity.search import MAX_EVALUE, Method, search_clean

_CANDIDATES = 100  # of each protein in the first search
_LARGE = 1000  # members of a cluster that is not searched again as a whole


@checked(min_identity=SHARE, coverage=SHARE, method=one_of(get_args(Method)))
def cluster_sequences(
    X: Any, min_identity: float = 0.3, coverage: float = 0.8, *, method: Method = "auto"
) -> np.ndarray:
    """Number the clusters of proteins: two proteins found to be similar are never in different clusters.

    Similar means a significant local alignment (E-value up to 0.001) with enough identical residues that
    spans enough of both proteins. Clusters are the connected components of that graph (single linkage).
    A greedy clustering, as by CD-HIT or MMseqs2's default, compares proteins to a representative only, and so
    leaves similar proteins in different clusters, which a split by clusters must not have.

    Parameters
    ----------
    X : sequences, as of :func:`plmlearn.sequences.check_sequences`
    min_identity : float, default=0.3
        Least share of identical residues in the alignment, from 0 to 1. Below 0.3 homology is hard to see.
    coverage : float, default=0.8
        Least share of either protein that the alignment spans, from 0 to 1. A low value lets a shared
        domain join proteins; chains of such may join most of a proteome in one cluster.
    method : {"auto", "mmseqs", "exact"}, default="auto"
        How similar proteins are found: by MMseqs2, or by aligning every pair, which needs no program and
        suits up to a few thousand short proteins; see :func:`plmlearn.similarity.find_similar`. "auto" is
        MMseqs2 where it is installed.

    Returns
    -------
    ndarray of int, shape (n_sequences,)
        Clusters 0, 1, ... in order of first appearance; the ``groups`` of any grouped splitter.

    Raises
    ------
    ImportError
        MMseqs2 is needed and not installed: ``pip install "plmlearn[cluster]"``.
    RuntimeError
        MMseqs2 failed.

    See Also
    --------
    ClusterKFold : Folds that share no cluster.
    leakage_report : How close test proteins are to training.
    plmlearn.similarity.find_similar : All pairs of similar proteins.

    Notes
    -----
    9,000 human proteins take about a minute with MMseqs2 on one core. Identical sequences are compared once,
    and members of a large family not all with one another: a protein with more than 100 candidates is aligned
    with all of them only outside the cluster that it is known to belong to.

    References
    ----------
    Steinegger & Söding (2017), doi:10.1038/nbt.3988

    Examples
    --------
    >>> from plmlearn.model_selection import cluster_sequences
    >>> a, b = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ", "MSDNGPQNQRNAPRITFGGPSDSTGSNQNGERS"
    >>> cluster_sequences([a, b, a[:-2] + "KR", b], method="exact")
    array([0, 1, 0, 1])
    """
    unique, rows = np.unique(check_residues(X), return_inverse=True)
    limits = {"min_identity": min_identity, "coverage": coverage, "method": method}
    return _by_first_appearance(_Clustering(unique, limits).labels[rows])


class _Clustering:
    """Connected components of different proteins, found by searches that leave out what is settled.

    A search with few candidates per protein finds most links. Where it was cut short, all other candidates
    are aligned too: first those of one member of each large component, which joins most parts of a family;
    then those of the rest, for large components outside of these only, for no link inside changes them.
    """

    def __init__(self, proteins: np.ndarray, limits: dict[str, Any]) -> None:
        self.proteins, self.limits, self.lengths = proteins, limits, np.array([len(p) for p in proteins])
        self.labels = everyone = np.arange(len(proteins))
        unsettled = self.search(everyone, everyone, _CANDIDATES)
        large = unsettled[self.is_large()[unsettled]]
        first = large[np.unique(self.labels[large], return_index=True)[1]]
        self.search(first, everyone)
        unsettled = np.setdiff1d(unsettled, first)
        labels, large = self.labels, self.is_large()
        for label in np.unique(labels[unsettled[large[unsettled]]]):
            inside = labels == label
            self.search(unsettled[inside[unsettled]], np.flatnonzero(~inside))
        self.search(unsettled[~large[unsettled]], everyone)

    def is_large(self) -> np.ndarray:
        """Whether each protein is in a large component, (n_proteins,)."""
        return np.bincount(self.labels)[self.labels] > _LARGE

    def search(self, queries: np.ndarray, targets: np.ndarray, max_hits: int | None = None) -> np.ndarray:
        """Join the components of similar proteins; return the queries that ``max_hits`` cut short."""
        if not len(queries) or not len(targets) or not self.labels.any():  # one component joins all
            return queries
        # The E-value grows with the residues searched: its limit shrinks with them, to mean the same.
        max_evalue = MAX_EVALUE * self.lengths[targets].sum() / self.lengths.sum()
        hits, cut = search_clean(
            self.proteins[queries],
            self.proteins[targets],
            max_hits=max_hits,
            max_evalue=max_evalue,
            **self.limits,
        )
        links = self.labels[queries[hits.query]], self.labels[targets[hits.target]]
        self.labels = components(*links, self.labels.max() + 1)[self.labels]
        return queries[cut]


def components(first: np.ndarray, second: np.ndarray, n: int) -> np.ndarray:
    """Connected component of each of n nodes that edges from ``first`` to ``second`` join, (n,)."""
    links = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(n, n))
    return connected_components(links, directed=False)[1]


def _by_first_appearance(labels: np.ndarray) -> np.ndarray:
    _, first, codes = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[codes]
