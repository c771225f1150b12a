"""Exact comparison without any program: Smith-Waterman alignment, and positions of variants, in numpy.

``search_exact``       every query against every target by local alignment; no seeds, nothing missed
``compare_positions``  equal-length variants, position by position
``stack_letters``      the letters of equal-length variants as an array
``alignment_cost``     cells that ``search_exact`` would fill, to refuse what would take hours

One query is aligned with a block of targets at once, row by row: the arrays are (L_t, B), L_t residues of
the longest target of the block by B targets. The same rows are filled twice. The first pass needs scores
only, in 16 or 32 bits, and sorts out the pairs that do not reach the E-value. The second pass, on the few
that remain, counts identities and the residues that the alignment spans, in the lower digits of one integer
whose highest digit is the score: adding and taking maxima does for the counts what it does for the score.
"""

from collections.abc import Sequence

import numpy as np

from ..sequences.clean import first_few
from .blosum import BLOSUM62, ENCODED_X, encode
from .hits import Hits

GAP_OPEN, GAP_EXTEND = 11, 1
# Statistics of BLOSUM62 with these gap costs (Altschul et al. 1997, doi:10.1093/nar/25.17.3389).
_LAMBDA, _K = 0.267, 0.041
_BLOCK = 128
_LONGEST = 3_500


def search_exact(
    queries: np.ndarray, targets: np.ndarray, *, min_identity: float, coverage: float, max_evalue: float
) -> Hits:
    """All pairs whose local alignment reaches the E-value, the identity and, on both sides, the coverage.

    As in MMseqs2, proteins whose lengths alone make the coverage impossible are not aligned.
    """
    codes = _encoded(queries, targets)
    lengths = np.array([len(target) for target in targets])
    order = np.argsort(lengths, kind="stable")
    rank = np.argsort(order)
    once = targets is queries  # then every pair is aligned once and mirrored
    found = []
    for block in np.array_split(order, -(-len(order) // _BLOCK)):
        profile = _Profile([codes[targets[t]] for t in block])
        for q, query in enumerate(queries):
            fits = _lengths_fit(len(query), profile.lengths, coverage)
            if once:
                fits &= rank[block] >= rank[q]
            if fits.any():
                found.append(_compare(q, codes[query], block, profile, fits, lengths.sum(), max_evalue))
    hits = Hits.joined([*found, *map(_mirrored, found)] if once else found)
    enough = (hits.query_coverage >= coverage) & (hits.target_coverage >= coverage)
    return hits.take(enough & (hits.identity >= min_identity))


def own_bits(sequence: str) -> float:
    """Bits of a sequence aligned with itself."""
    codes = encode(sequence)
    return float(_bits(BLOSUM62[codes, codes].sum()))


def alignment_cost(queries: np.ndarray, targets: np.ndarray, coverage: float) -> float:
    """Cells of all alignments that :func:`search_exact` would fill."""
    lengths = np.sort([len(target) for target in targets]).astype(float)
    sums = np.r_[0.0, np.cumsum(lengths)]
    own = np.array([len(query) for query in queries], dtype=float)
    first = np.searchsorted(lengths, own * coverage - 1e-9, side="left")
    last = np.searchsorted(lengths, own / max(coverage, 1e-9) + 1e-9, side="right")
    return float(np.sum(own * (sums[last] - sums[first])))


def stack_letters(sequences: Sequence[str] | np.ndarray, length: int, of: str) -> np.ndarray:
    """Letters of variants as bytes, (n, length), or an error; ``of`` says what has that length."""
    odd = [row for row, sequence in enumerate(sequences) if len(sequence) != length]
    if odd:
        raise ValueError(
            f"{len(odd)} of {len(sequences)} variants (rows {first_few(odd, n=5)}) differ in length from "
            f"{of}, which has {length} residues; expected variants that differ by substitutions. Leave those "
            "with insertions or deletions out."
        )
    return np.frombuffer("".join(sequences).encode(), dtype=np.uint8).reshape(-1, length)


def commonest_letters(letters: np.ndarray) -> str:
    """The commonest letter of each column of stacked letters, the first by alphabet among equals."""
    return "".join(chr(np.bincount(column).argmax()) for column in letters.T)


def compare_positions(queries: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of equal residues and sum of BLOSUM62 scores, position by position, both (n_queries, n_targets).

    All sequences have one length. Only positions that vary are compared: variants of a protein cost little.
    """
    codes = np.array([encode(sequence) for sequence in [*queries, *targets]])
    varies = (codes != codes[0]).any(axis=0)
    fixed = codes[0, ~varies]
    matches = np.full((len(queries), len(targets)), len(fixed), dtype=np.int32)
    scores = np.full_like(matches, BLOSUM62[fixed, fixed].sum())
    for column in codes[:, varies].T:
        own, other = column[: len(queries)], column[len(queries) :]
        matches += own[:, None] == other
        scores += BLOSUM62[own][:, other]
    return matches / codes.shape[1], scores


# ---- one query against one block of targets


class _Profile:
    """A block of targets and what every residue type scores against each of their residues."""

    def __init__(self, targets: list[np.ndarray]) -> None:
        self.lengths = np.array([len(target) for target in targets])
        self.residues = np.full((self.lengths.max(), len(targets)), ENCODED_X, dtype=np.int64)
        self.padding = np.arange(self.lengths.max())[:, None] >= self.lengths
        for column, target in enumerate(targets):
            self.residues[: len(target), column] = target
        largest = 11 * self.lengths.max() + 100
        self.scores = self.substitutions(BLOSUM62.astype(np.int16 if largest < 32_000 else np.int32))

    def substitutions(self, matrix: np.ndarray, columns: slice | np.ndarray = slice(None)) -> np.ndarray:
        """(residue types, L_t, B): the value of every residue type against every target residue."""
        values = matrix[:, self.residues[:, columns]]
        values[:, self.padding[:, columns]] = -int(matrix.max())  # what lies beyond the end never pays
        return values


def _compare(
    q: int, query: np.ndarray, block: np.ndarray, profile: _Profile, fits: np.ndarray, size: int, limit: float
) -> Hits:
    first, last = np.flatnonzero(fits)[[0, -1]]  # a block is sorted by length
    rows = profile.lengths[last]
    scores = _fill(query, profile.scores[:, :rows, first : last + 1], 1, 0, 0)
    expected = _K * len(query) * size * np.exp(-_LAMBDA * scores.astype(float))
    kept = first + np.flatnonzero(expected <= limit)
    score, matches, spans_query, spans_target, columns = _count(query, profile, kept)
    return Hits(
        query=np.full(len(kept), q),
        target=block[kept],
        identity=matches / np.maximum(columns, 1),
        query_coverage=spans_query / len(query),
        target_coverage=spans_target / profile.lengths[kept],
        score=_bits(score),
    )


def _bits(score: np.ndarray) -> np.ndarray:
    return np.round((_LAMBDA * score - np.log(_K)) / np.log(2), 1)


def _count(query: np.ndarray, profile: _Profile, kept: np.ndarray) -> tuple[np.ndarray, ...]:
    """Score, identities, residues spanned on both sides, and columns of the alignments kept."""
    if not len(kept):
        return (np.empty(0),) * 5
    base = max(len(query), len(profile.residues)) + 1
    # Digits, highest first: score, identities, aligned residues, query residues and target residues in gaps.
    unit = base**4
    matrix = BLOSUM62.astype(np.int64) * unit + np.eye(len(BLOSUM62), dtype=np.int64) * base**3 + base**2
    values = _fill(query, profile.substitutions(matrix, kept), unit, base, 1)
    score, rest = np.divmod(values, unit)
    matches, rest = np.divmod(rest, base**3)
    aligned, rest = np.divmod(rest, base**2)
    over_query, over_target = np.divmod(rest, base)
    return score, matches, aligned + over_query, aligned + over_target, aligned + over_query + over_target


def _fill(query: np.ndarray, values: np.ndarray, unit: int, over_query: int, over_target: int) -> np.ndarray:
    """Best local alignment of the query with each of B targets, affine gaps; (B,).

    A gap costs ``GAP_OPEN`` for its first residue and ``GAP_EXTEND`` for each further one, times ``unit``;
    a gap that passes residues of the query or of the target adds ``over_query`` or ``over_target`` for each.
    """
    shape, dtype = values.shape[1:], values.dtype
    open_query, extend_query = GAP_OPEN * unit - over_query, GAP_EXTEND * unit - over_query
    open_target, extend_target = GAP_OPEN * unit - over_target, GAP_EXTEND * unit - over_target
    ended = np.zeros(shape, dtype)  # best alignment that ends at this cell
    gapped = np.full(shape, -open_query, dtype)
    best, work = np.zeros(shape, dtype), np.empty(shape, dtype)
    for residue in query:
        np.maximum(np.subtract(gapped, extend_query, out=gapped), ended - dtype.type(open_query), out=gapped)
        work[0] = values[residue, 0]
        np.add(ended[:-1], values[residue, 1:], out=work[1:])
        np.maximum(np.maximum(work, gapped, out=work), 0, out=ended)
        np.maximum(ended, _along(ended, open_target, extend_target), out=ended)
        np.maximum(best, ended, out=best)
    return best.max(axis=0)


def _along(ended: np.ndarray, first: int, further: int) -> np.ndarray:
    """Best value of a gap along the target that ends at each cell: a running maximum, by doubling."""
    gap = np.full_like(ended, -first)
    np.subtract(ended[:-1], ended.dtype.type(first), out=gap[1:])
    step, other = 1, np.empty_like(gap)
    longest = int(ended.max()) // further  # a longer gap costs more than there is
    while step < min(len(gap), longest):
        other[:step] = gap[:step]
        np.maximum(gap[step:], gap[:-step] - gap.dtype.type(step * further), out=other[step:])
        gap, other, step = other, gap, 2 * step
    return gap


def _encoded(*lists: np.ndarray) -> dict[str, np.ndarray]:
    codes = {sequence: encode(sequence) for sequences in lists for sequence in sequences}
    longest = max(map(len, codes))
    if longest > _LONGEST:
        raise ValueError(
            f"A protein has {longest} residues; exact alignment takes up to {_LONGEST}. "
            'Run pip install "plmlearn[cluster]" and pass method="mmseqs".'
        )
    return codes


def _lengths_fit(length: int, lengths: np.ndarray, coverage: float) -> np.ndarray:
    return np.minimum(length, lengths) >= coverage * np.maximum(length, lengths) - 1e-9


def _mirrored(hits: Hits) -> Hits:
    """Query and target exchanged, without the hits of a protein on itself."""
    columns = (hits.target, hits.query, hits.identity, hits.target_coverage, hits.query_coverage, hits.score)
    return Hits(*columns).take(hits.query != hits.target)
