"""``make_negatives``: protein pairs that are not known to interact, to learn against."""

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from ..sequences.checked import COUNT_FROM_0, SEED, checked, one_of
from ..sequences.clean import object_array
from .graph import PairGraph

_ENUMERATED = 4_000_000


@checked(n=[*COUNT_FROM_0, None], method=one_of(("random", "degree")), random_state=SEED)
def make_negatives(
    positive_pairs: Any, n: int | None = None, *, method: str = "random", random_state: Any = None
) -> np.ndarray:
    """Pairs of the same proteins that are not among the positive pairs.

    Parameters
    ----------
    positive_pairs : array of shape (n_pairs, 2), DataFrame with two columns, or list of 2-tuples
        Known interactions, as sequences or accessions, in either order.
    n : int, default=None
        Number of negative pairs; None makes as many as there are different positive ones.
    method : {"random", "degree"}, default="random"
        "random" draws proteins uniformly: hubs are then rare among negatives, and a model can tell the
        classes by how often it saw a protein. "degree" draws a protein as often as it interacts, which
        removes most of that bias; see :func:`~plmlearn.model_selection.pair_leakage`.
    random_state : int, RandomState or None, default=None

    Returns
    -------
    ndarray of shape (n, 2), dtype object
        Never a positive pair, a protein with itself, or a pair twice, in whichever order.

    Raises
    ------
    ValueError
        The proteins have fewer such pairs than asked for.

    See Also
    --------
    PairKFold : Folds of pairs.

    Notes
    -----
    Make negatives within each side of a split, not before it. Not known to interact is not the same as not
    interacting: some negatives will be wrong, about as many as proteins interact by chance.

    References
    ----------
    Bernett et al. (2024), doi:10.1093/bib/bbae076

    Examples
    --------
    >>> from plmlearn.model_selection import make_negatives
    >>> make_negatives([("A", "B"), ("C", "D"), ("A", "C"), ("D", "B")], random_state=0).tolist()
    Traceback (most recent call last):
    ...
    ValueError: 4 proteins have 2 pairs that are not positive; 4 were asked for. Lower n.
    >>> sorted(sorted(p) for p in make_negatives([("A", "B"), ("C", "D"), ("A", "C"), ("D", "B")], n=2))
    [['A', 'D'], ['B', 'C']]
    """
    graph, random = PairGraph.of(positive_pairs), check_random_state(random_state)
    size = len(graph.names)
    proper = graph.proteins[:, 0] != graph.proteins[:, 1]
    positives = np.unique(graph.pair_numbers()[proper])
    n = len(np.unique(graph.pair_numbers())) if n is None else n
    n_left = size * (size - 1) // 2 - len(positives)
    if n > n_left:
        raise ValueError(
            f"{size} proteins have {n_left} pairs that are not positive; {n} were asked for. Lower n."
        )
    weights = np.ones(size)
    if method == "degree":
        weights = np.bincount(graph.proteins.ravel(), minlength=size).astype(float)
    # Where most pairs are positive or asked for, draws would rarely be new: then all pairs are listed.
    listed = size * (size - 1) // 2 <= max(_ENUMERATED, 2 * n)
    numbers = (_listed if listed else _drawn)(n, size, positives, weights / weights.sum(), random)
    pairs = np.stack(np.divmod(numbers, size), axis=1)
    flip = random.random(n) < 0.5
    pairs[flip] = pairs[flip, ::-1]
    return object_array(graph.names)[pairs]


def _listed(n: int, size: int, positives: np.ndarray, weights: np.ndarray, random: Any) -> np.ndarray:
    """n of all negative pairs, with chances by weight and without replacement (Gumbel's largest keys)."""
    first, second = np.triu_indices(size, k=1)
    numbers = first * size + second
    free = ~np.isin(numbers, positives)
    keys = np.log(weights[first[free]] * weights[second[free]]) + random.gumbel(size=int(free.sum()))
    return numbers[free][random.permutation(np.argsort(-keys)[:n])]


def _drawn(n: int, size: int, positives: np.ndarray, weights: np.ndarray, random: Any) -> np.ndarray:
    """n negative pairs by drawing both proteins and throwing away what is positive, equal or known."""
    numbers = np.empty(0, dtype=np.int64)
    while len(numbers) < n:
        pairs = np.sort(random.choice(size, size=(2 * n, 2), p=weights), axis=1)
        drawn = pairs[pairs[:, 0] != pairs[:, 1]] @ [size, 1]
        numbers = np.concatenate([numbers, drawn[~np.isin(drawn, positives)]])
        numbers = numbers[np.sort(np.unique(numbers, return_index=True)[1])]
    return numbers[:n]
