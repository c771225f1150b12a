"""``Hits``: which proteins resemble which, the table that every search in this package returns."""

from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class Hits:
    """Pairs of similar proteins, one array entry per pair, sorted by query and best first.

    Attributes
    ----------
    query, target : ndarray of int, shape (n_hits,)
        Positions in the lists that were compared.
    identity : ndarray of float, shape (n_hits,)
        Share of identical residues among the columns of the alignment, gaps included; 0 to 1.
    query_coverage, target_coverage : ndarray of float, shape (n_hits,)
        Share of either protein that lies inside the alignment; 0 to 1.
    score : ndarray of float, shape (n_hits,)
        What ranks the hits of a query: bits of the alignment; for variants, score or number of equal
        residues.

    See Also
    --------
    find_similar : All pairs of similar proteins.
    find_nearest : The closest target of every query.

    Examples
    --------
    >>> from plmlearn.similarity import find_similar
    >>> find_similar(["MKTAYIAKQR"], ["MKTAYIAKQR"], method="exact").identity.tolist()
    [1.0]
    """

    query: np.ndarray
    target: np.ndarray
    identity: np.ndarray
    query_coverage: np.ndarray
    target_coverage: np.ndarray
    score: np.ndarray

    def __len__(self) -> int:
        return len(self.query)

    @classmethod
    def joined(cls, tables: "list[Hits]") -> "Hits":
        """One table of all rows; an empty one where there are no tables."""
        columns = {}
        for field in fields(cls):
            empty = np.empty(0, dtype=int if field.name in ("query", "target") else float)
            columns[field.name] = np.concatenate([empty, *(getattr(hits, field.name) for hits in tables)])
        return cls(**columns)

    def take(self, rows: np.ndarray) -> "Hits":
        """The hits at these positions, or where a mask is True."""
        return Hits(*(getattr(self, field.name)[rows] for field in fields(self)))

    def sorted(self) -> "Hits":
        """Sort by query, then best score, highest identity and first target."""
        return self.take(np.lexsort((self.target, -self.identity, -self.score, self.query)))

    def one_each(self, n: int) -> "Hits":
        """The first hit of each of n queries; target -1, and zeros, where there is none."""
        query, first = np.unique(self.query, return_index=True)
        found = Hits(np.arange(n), np.full(n, -1), *np.zeros((4, n)))
        for field in fields(self):
            getattr(found, field.name)[query] = getattr(self, field.name)[first]
        return found

    def best(self) -> "Hits":
        """For every query that has hits, all that tie for the best score and identity."""
        ordered = self.sorted()
        _, first, query = np.unique(ordered.query, return_index=True, return_inverse=True)
        top = first[query]
        ties = (ordered.score == ordered.score[top]) & (ordered.identity == ordered.identity[top])
        return ordered.take(ties)
