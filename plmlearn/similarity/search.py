"""``find_similar`` and ``find_nearest``: similar proteins by MMseqs2, by exact alignment, or by position.

``search_clean`` is the search itself, for clean sequences; it also says where a limit was reached.
"""

from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np

from ..messages import warn
from ..sequences.checked import COUNT, SHARE, checked, one_of
from ..sequences.structure import check_residues
from .alignment import alignment_cost, compare_positions, own_bits, search_exact
from .hits import Hits
from .mmseqs import find_mmseqs, require_mmseqs, search_mmseqs

Method = Literal["auto", "mmseqs", "exact"]
NearestMethod = Literal["auto", "mmseqs", "exact", "ungapped", "hamming"]

MAX_EVALUE = 1e-3
_MAX_CELLS = 2e11  # about 20 minutes of one processor core
_VARIANT_IDENTITY = 0.5
_QUERIES_AT_ONCE = 256


@checked(min_identity=SHARE, coverage=SHARE, max_hits=[*COUNT, None], method=one_of(get_args(Method)))
def find_similar(
    queries: Any,
    targets: Any,
    *,
    min_identity: float = 0.0,
    coverage: float = 0.0,
    max_hits: int | None = None,
    method: Method = "auto",
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
    max_hits : int, default=None
        Most targets that MMseqs2 aligns with a query, those with the most similar words; None aligns all
        that its prefilter proposes. The exact search has no such limit.
    method : {"auto", "mmseqs", "exact"}, default="auto"
        "mmseqs" runs MMseqs2, which scales to millions of proteins. "exact" aligns every pair by
        Smith-Waterman (BLOSUM62, gaps 11 + 1) in numpy: slow, but it misses nothing. "auto" uses MMseqs2
        where that is installed, otherwise "exact".

    Returns
    -------
    Hits
        Sorted by query, best first. Identical proteins are always hits, however short, and so is each
        protein of a list that is compared with itself.

    Raises
    ------
    ImportError
        MMseqs2 is not installed, and is asked for, or needed because the exact search would take hours.
    RuntimeError
        MMseqs2 failed; the message quotes it.

    Warns
    -----
    UserWarning
        Some queries reach ``max_hits``, so that hits may be missing.

    See Also
    --------
    find_nearest : The closest target of every query.
    plmlearn.model_selection.cluster_sequences : The clusters.

    Notes
    -----
    MMseqs2 compares 9,000 human proteins with one another in about a minute. A family of n proteins takes n²
    alignments. The exact search fills some 0.15 G cells a second (residues of one protein times those of the
    other): half a minute for 600 human proteins and coverage 0.8, a few minutes for 3,000 domains of 100
    residues.

    Both methods find proteins that share half of their residues. Near 30 % identity MMseqs2 misses some that
    the exact search finds. Where a split must keep such relatives together, prefer "exact" as long as the
    time allows.

    Examples
    --------
    >>> from plmlearn.similarity import find_similar
    >>> wild_type = "MQYKLILNGKTLKGETTTEAVDAATAEKVFKQYANDNGVDGEWTYDDATKTFTVTE"
    >>> hits = find_similar([wild_type], [wild_type[2:], wild_type[::-1]], method="exact")
    >>> hits.target.tolist(), hits.identity.tolist()
    ([0], [1.0])
    """
    same = targets is queries
    queries = check_residues(queries)
    targets = queries if same else check_residues(targets)
    hits, cut = search_clean(
        queries, targets, min_identity=min_identity, coverage=coverage, max_hits=max_hits, method=method
    )
    if cut.any():
        warn(
            f"{cut.sum()} of {len(cut)} queries have more than max_hits={max_hits} candidates; the others of "
            "these were not aligned, and may be hits. Pass max_hits=None to align all."
        )
    return hits


@checked(method=one_of(get_args(NearestMethod)))
def find_nearest(queries: Any, targets: Any, *, method: NearestMethod = "auto") -> Hits:
    """For every query the closest target, and all targets that tie with it.

    Parameters
    ----------
    queries, targets : sequences, as ``X`` of :func:`plmlearn.sequences.check_sequences`
    method : {"auto", "mmseqs", "exact", "ungapped", "hamming"}, default="auto"
        "mmseqs" and "exact" rank by the bits of the local alignment, as in :func:`find_similar`. For proteins
        of one length "ungapped" ranks by the BLOSUM62 score of all positions, "hamming" by the number of
        equal ones. "auto" is "ungapped" where targets are variants of one protein (one length, most of them
        equal to the first in at least half of the positions), for queries of that length; otherwise as in
        :func:`find_similar`.

    Returns
    -------
    Hits
        Sorted by query; a query without significant alignment has no rows.

    See Also
    --------
    find_similar : All pairs of similar proteins.
    plmlearn.model_selection.leakage_report : How close test proteins are to training.

    Examples
    --------
    >>> from plmlearn.similarity import find_nearest
    >>> find_nearest(["MKTAYI"], ["MKTGYI", "GGGGGG"], method="hamming").target.tolist()
    [0]
    """
    queries, targets = check_residues(queries), check_residues(targets)
    if method in ("ungapped", "hamming"):
        return _nearest_by_position(queries, targets, method)
    aligned: Any = method
    by_position = np.zeros(len(queries), dtype=bool)
    if method == "auto" and are_variants(targets):
        by_position = np.array([len(query) == len(targets[0]) for query in queries])
    tables = []
    for rows in filter(len, (np.flatnonzero(by_position), np.flatnonzero(~by_position))):
        if by_position[rows[0]]:
            hits = _nearest_by_position(queries[rows], targets, "ungapped")
        else:
            hits = find_similar(queries[rows], targets, method=aligned).best()
        tables.append(replace(hits, query=rows[hits.query]))
    return Hits.joined(tables).sorted()


def are_variants(*lists: np.ndarray) -> bool:
    """Whether the clean sequences of all ``lists`` look like variants of one protein.

    They have one length, and most share at least half of the positions with the first.

    See Also
    --------
    find_nearest : The closest target of every query.

    Examples
    --------
    >>> import numpy as np
    >>> from plmlearn.similarity import are_variants
    >>> are_variants(np.array(["MKTAYI", "MKTGYI"]))
    True
    """
    sequences = np.concatenate(lists)
    if len({len(sequence) for sequence in sequences}) > 1:
        return False
    identity, _ = compare_positions(sequences[:1], sequences[1:])
    return len(sequences) == 1 or bool(np.median(identity) >= _VARIANT_IDENTITY)


def search_clean(
    queries: np.ndarray,
    targets: np.ndarray,
    *,
    min_identity: float,
    coverage: float,
    method: Method,
    max_hits: int | None = None,
    max_evalue: float = MAX_EVALUE,
) -> tuple[Hits, np.ndarray]:
    """Sorted hits among clean sequences, and which queries ``max_hits`` cut short, (n_queries,) of bool."""
    limits = {"min_identity": min_identity, "coverage": coverage, "max_evalue": max_evalue}
    if _by_mmseqs(queries, targets, coverage, method):
        hits, cut = search_mmseqs(queries, targets, max_hits=max_hits, **limits)
    else:
        hits, cut = search_exact(queries, targets, **limits), np.zeros(len(queries), dtype=bool)
    return _with_identical(hits, queries, targets).sorted(), cut


def _by_mmseqs(queries: np.ndarray, targets: np.ndarray, coverage: float, method: Method) -> bool:
    if method == "auto" and find_mmseqs():
        return True
    is_costly = method == "auto" and alignment_cost(queries, targets, coverage) > _MAX_CELLS
    if method == "mmseqs" or is_costly:
        require_mmseqs()
    return method == "mmseqs"


def _with_identical(hits: Hits, queries: np.ndarray, targets: np.ndarray) -> Hits:
    """Hits, and identical proteins that are too short to be significant or that the search did not reach."""
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
    tables = []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        identity, scores = compare_positions(queries[start : start + _QUERIES_AT_ONCE], targets)
        ranks = identity * lengths[0] if method == "hamming" else scores.astype(float)
        row, column = np.nonzero(ranks == ranks.max(axis=1, keepdims=True))
        full = np.ones(len(row))
        tables.append(Hits(row + start, column, identity[row, column], full, full, ranks[row, column]))
    return Hits.joined(tables)
