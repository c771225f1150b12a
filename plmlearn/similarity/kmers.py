"""``near_duplicates``: which proteins stand almost word for word in another list, without aligning any."""

import numpy as np

K = 10
_SHARE = 1 / 3  # of a protein's k-mers; unrelated proteins share none, and 90 % identical ones some 35 %
_MOST_KMERS = 1_000_000
_AT_ONCE = 2048  # sequences


def near_duplicates(queries: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Whether a query is one of the targets, or at least a third of its 10-mers occur in some of them.

    That is so for proteins that are identical in about 90 % of their positions. Of proteins shorter than 10
    residues only identical ones are found.

    Parameters
    ----------
    queries, targets : ndarray of str, shape (n_queries,) and (n_targets,)
        Clean sequences.

    Returns
    -------
    ndarray of bool, shape (n_queries,)

    Notes
    -----
    Cost: each residue is read once; some seconds for 20,000 proteins, and about 100 MB at most. Where the
    targets have more than a million k-mers, a random subset of all k-mers is compared, the same on both sides
    (Brown & Irber, sourmash, 2016, doi:10.21105/joss.00027).

    Examples
    --------
    >>> protein = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ"
    >>> near_duplicates(np.array([protein[:-1] + "A", protein[::-1]]), np.array([protein]))
    array([ True, False])
    """
    n_kmers = sum(max(1, len(sequence) - K + 1) for sequence in targets)
    limit = np.uint64(2**64 - 1) // np.uint64(max(1, -(-n_kmers // _MOST_KMERS)))
    known, _ = _hashes(targets, limit)
    found, row = _hashes(queries, limit)
    n_found = np.bincount(row[np.isin(found, known)], minlength=len(queries))
    is_near = (n_found > 0) & (n_found >= _SHARE * np.bincount(row, minlength=len(queries)))
    identical = set(targets)
    return is_near | np.array([query in identical for query in queries], dtype=bool)


def _hashes(sequences: np.ndarray, limit: np.uint64) -> tuple[np.ndarray, np.ndarray]:
    """Hashes up to ``limit`` of all k-mers, (n_kmers,), and the row of each."""
    parts = [
        _hashes_of_some(sequences[start : start + _AT_ONCE], start, limit)
        for start in range(0, len(sequences), _AT_ONCE)
    ]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _hashes_of_some(sequences: np.ndarray, first: int, limit: np.uint64) -> tuple[np.ndarray, np.ndarray]:
    padded = [sequence.ljust(K, "-") for sequence in sequences]
    lengths = np.array([len(sequence) for sequence in padded])
    letters = np.frombuffer("".join(padded).encode(), dtype=np.uint8).astype(np.uint64)
    hashes = np.zeros(len(letters) - K + 1, dtype=np.uint64)
    for i in range(K):
        hashes = hashes * np.uint64(31) + letters[i : i + len(hashes)]
    hashes = (hashes ^ (hashes >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15)
    hashes = (hashes ^ (hashes >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    row = np.repeat(np.arange(len(padded)), lengths)[: len(hashes)]
    is_inside = np.arange(len(hashes)) + K <= np.cumsum(lengths)[row]
    kept = is_inside & (hashes <= limit)
    return hashes[kept], row[kept] + first
