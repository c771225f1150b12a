"""Who resembles whom: similar proteins by MMseqs2, or exactly without it.

``find_similar``   all pairs of two lists above an identity and a coverage
``find_nearest``   for every query the closest target, with all that tie
``Hits``           the table they return
``find_mmseqs``    where the MMseqs2 program is

Identity clusters, homology baselines and leakage reports all rest on these.
"""

from typing import Any

import numpy as np

from plmlearn.sequences import check_sequences
from plmlearn.similarity.alignment import alignment_cost, compare_positions, own_bits, search_exact
from plmlearn.similarity.hits import Hits
from plmlearn.similarity.mmseqs import find_mmseqs, require_mmseqs, search_mmseqs

__all__ = ["Hits", "are_variants", "find_mmseqs", "find_nearest", "find_similar"]

_MAX_EVALUE = 1e-3
_MAX_CELLS = 2e11  # about 20 minutes of one processor core
_VARIANT_IDENTITY = 0.5
_QUERIES_AT_ONCE = 256


def find_similar(
    queries: Any,
    targets: Any,
    *,
    min_identity: float = 0.0,
    coverage: float = 0.0,
    max_hits: int = 1000,
    method: str = "auto",
) -> Hits:
    """Pairs of proteins that a significant local alignment (E-value up to 0.001) shows to be related.

    Parameters
    ----------
    queries, targets : sequences, as ``X`` of :func:`plmlearn.sequences.check_sequences`
        Every query is compared with every target. The same object twice compares a list with itself.
    min_identity : float, default=0.0
        Least share of identical residues in the alignment, 0 to 1.
    coverage : float, default=0.0
        Least share of the query, and of the target, that the alignment spans, 0 to 1.
    max_hits : int, default=1000
        Targets per query that pass the prefilter of MMseqs2; the exact search has no such limit.
    method : {"auto", "mmseqs", "exact"}, default="auto"
        "mmseqs" runs MMseqs2, which scales to millions of proteins. "exact" aligns every pair by
        Smith-Waterman (BLOSUM62, gaps 11 + 1) in numpy: slow but it misses nothing. "auto" is MMseqs2 where
        that is installed, otherwise exact.

    Returns
    -------
    Hits
        Sorted by query, best first. Identical proteins are always hits, however short, and so is each
        protein of a list that is compared with itself.

    Raises
    ------
    ImportError
        MMseqs2 is asked for, or needed because the exact search would take hours, and not installed.
    RuntimeError
        MMseqs2 failed; the message holds what it said.

    Notes
    -----
    MMseqs2 compares 9,000 human proteins with one another in about a minute. The exact search fills some
    0.15 G cells a second (residues of one protein times those of the other): half a minute for 600 human
    proteins and coverage 0.8, a few minutes for 3,000 domains of 100 residues.

    Proteins with half of their residues in common are found by both alike. Near 30 % identity MMseqs2 misses
    some that the exact search finds. Where a split must hold such relatives together, prefer "exact" as far
    as it goes.

    Examples
    --------
    >>> from plmlearn.similarity import find_similar
    >>> wild_type = "MQYKLILNGKTLKGETTTEAVDAATAEKVFKQYANDNGVDGEWTYDDATKTFTVTE"
    >>> hits = find_similar([wild_type], [wild_type[2:], wild_type[::-1]], method="exact")
    >>> hits.target.tolist(), hits.identity.tolist()
    ([0], [1.0])
    """
    same = targets is queries
    queries = check_sequences(queries)
    targets = queries if same else check_sequences(targets)
    limits = {"min_identity": min_identity, "coverage": coverage}
    if _by_mmseqs(queries, targets, coverage, method):
        hits = search_mmseqs(queries, targets, max_hits=max_hits, **limits)
    else:
        hits = search_exact(queries, targets, max_evalue=_MAX_EVALUE, **limits)
    return _with_identical(hits, queries, targets).sorted()


def find_nearest(queries: Any, targets: Any, *, method: str = "auto") -> Hits:
    """For every query the closest target, and all targets that tie with it.

    Parameters
    ----------
    queries, targets : sequences, as ``X`` of :func:`plmlearn.sequences.check_sequences`
    method : {"auto", "mmseqs", "exact", "ungapped", "hamming"}, default="auto"
        "mmseqs" and "exact" rank by the bits of the local alignment, as in :func:`find_similar`. For proteins
        of one length "ungapped" ranks by the BLOSUM62 score of all positions, "hamming" by the number of
        equal ones. "auto" is "ungapped" for variants of one protein (one length, most of them equal to the
        first in at least half of the positions), otherwise as in :func:`find_similar`.

    Returns
    -------
    Hits
        Sorted by query; a query without significant alignment has no rows.
    """
    queries, targets = check_sequences(queries), check_sequences(targets)
    if method == "auto" and are_variants(queries, targets):
        method = "ungapped"
    if method in ("ungapped", "hamming"):
        return _nearest_by_position(queries, targets, method)
    return find_similar(queries, targets, max_hits=300, method=method).best()


def are_variants(*lists: np.ndarray) -> bool:
    """Whether the clean sequences of all ``lists`` look like variants of one protein.

    They have one length and share most positions.
    """
    sequences = np.concatenate(lists)
    if len({len(sequence) for sequence in sequences}) > 1:
        return False
    identity, _ = compare_positions(sequences[:1], sequences)
    return bool(np.median(identity) >= _VARIANT_IDENTITY)


def _by_mmseqs(queries: np.ndarray, targets: np.ndarray, coverage: float, method: str) -> bool:
    if method not in ("auto", "mmseqs", "exact"):
        raise ValueError(f"method is {method!r}; expected 'auto', 'mmseqs' or 'exact'.")
    if method == "mmseqs":
        return bool(require_mmseqs())
    if method == "exact" or find_mmseqs():
        return method == "auto"
    if alignment_cost(queries, targets, coverage) > _MAX_CELLS:
        require_mmseqs()
    return False


def _with_identical(hits: Hits, queries: np.ndarray, targets: np.ndarray) -> Hits:
    """Hits, and identical proteins among them that are too short to be significant or were not sought."""
    rows: dict[str, list[int]] = {}
    for row, target in enumerate(targets):
        rows.setdefault(target, []).append(row)
    pairs = [(q, t) for q, query in enumerate(queries) for t in rows.get(query, ())]
    query, target = np.array(pairs, dtype=int).reshape(-1, 2).T
    found = np.isin(query * len(targets) + target, hits.query * len(targets) + hits.target)
    query, target = query[~found], target[~found]
    scores, full = np.array([own_bits(queries[q]) for q in query]), np.ones(len(query))
    return Hits.joined([hits, Hits(query, target, full, full, full, scores)])


def _nearest_by_position(queries: np.ndarray, targets: np.ndarray, method: str) -> Hits:
    lengths = sorted({len(sequence) for sequence in [*queries, *targets]})
    if len(lengths) > 1:
        raise ValueError(
            f"method={method!r} compares position by position; proteins have {lengths[0]} to {lengths[-1]} "
            "residues, expected one length. Pass method='mmseqs' or 'exact', which align."
        )
    blocks = []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        identity, scores = compare_positions(queries[start : start + _QUERIES_AT_ONCE], targets)
        ranks = identity * lengths[0] if method == "hamming" else scores
        row, column = np.nonzero(ranks == ranks.max(axis=1, keepdims=True))
        blocks.append((row + start, column, identity[row, column], ranks[row, column].astype(float)))
    query, target, identity, rank = (np.concatenate(arrays) for arrays in zip(*blocks))
    full = np.ones(len(query))
    return Hits(query, target, identity, full, full, rank)
