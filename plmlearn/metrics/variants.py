"""Scores of predicted variants as protein engineers need them: the top of the ranking, and where it fails.

``ndcg_score``                    gain of the ranking, the top counting most
``top_recall``, ``top_precision`` the best variants among those that one would make
``spearman_by_mutations``         rank correlation for each number of mutations
"""

from numbers import Real
from typing import Any

import numpy as np
from sklearn.metrics import ndcg_score as gain_of_ranking

from ..messages import warn
from ..sequences import read_variants
from ..sequences.checked import COUNT, TEXT, Range, checked
from ..sequences.columns import check_numbers
from ..sequences.variants import FIRST_SITE
from .residues import rank_correlation

_COUNT = [*COUNT, None]
_PART = [Range(Real, 0, 1, closed="right")]


def _numbers(y_true: Any, y_pred: Any) -> tuple[np.ndarray, np.ndarray]:
    true, pred = check_numbers(y_true, "y_true"), check_numbers(y_pred, "y_pred")
    if true.ndim > 1 or true.shape != pred.shape:
        raise ValueError(f"y_true has shape {true.shape}, y_pred {pred.shape}; expected (n,) twice.")
    return true, pred


@checked(k=_COUNT)
def ndcg_score(y_true: Any, y_pred: Any, *, k: int | None = None) -> float:
    """Normalised discounted cumulative gain: how much measured value the top of the predicted ranking holds.

    Parameters
    ----------
    y_true, y_pred : array of shape (n,)
        Measured and predicted values; higher is better. Gains are the measured values, shifted and scaled to
        0 to 1.
    k : int, default=None
        Predicted ranks that count; None takes all.

    Returns
    -------
    float
        1 for the ideal ranking; 0 if all measurements are equal.

    See Also
    --------
    spearman_score : All ranks count alike.
    sklearn.metrics.ndcg_score : The same for several rankings of gains from 0.

    Examples
    --------
    >>> from plmlearn.metrics import ndcg_score
    >>> ndcg_score([-1.0, 0.0, 3.0], [0.1, 0.2, 0.9])
    1.0
    """
    true, pred = _numbers(y_true, y_pred)
    spread = np.ptp(true)
    if len(true) < 2 or spread == 0:
        return 0.0
    return float(gain_of_ranking([(true - true.min()) / spread], [pred], k=k))


@checked(top=_PART, k=_COUNT)
def top_recall(y_true: Any, y_pred: Any, *, top: float = 0.1, k: int | None = None) -> float:
    """Share of the best variants that are among the ``k`` with the highest predictions.

    Parameters
    ----------
    y_true, y_pred : array of shape (n,)
        Measured and predicted values; higher is better.
    top : float, default=0.1
        Share of the variants that count as the best; at least one does.
    k : int, default=None
        Variants that one would make; None makes as many as there are best ones.

    Returns
    -------
    float
        0 to 1. Where equal values leave open which variants are best or made, what is to be expected if
        chance decides.

    Warns
    -----
    UserWarning
        ``k`` is the number of variants or more, so that every prediction gets this score.

    See Also
    --------
    top_precision : How many of those that one makes are among the best.

    Examples
    --------
    >>> from plmlearn.metrics import top_recall
    >>> top_recall([1, 2, 3, 4], [1, 2, 4, 3], top=0.5), top_recall([1, 2, 3, 4], [4, 3, 2, 1], top=0.25, k=2)
    (1.0, 0.0)
    """
    n_found, n_best, _ = _top(y_true, y_pred, top, k)
    return n_found / n_best


@checked(top=_PART, k=_COUNT)
def top_precision(y_true: Any, y_pred: Any, *, top: float = 0.1, k: int | None = None) -> float:
    """Share of the ``k`` variants with the highest predictions that are among the best.

    Parameters
    ----------
    y_true, y_pred : array of shape (n,)
        Measured and predicted values; higher is better.
    top : float, default=0.1
        Share of the variants that count as the best; at least one does.
    k : int, default=None
        Variants that one would make; None makes as many as there are best ones.

    Returns
    -------
    float
        0 to 1. Where equal values leave open which variants are best or made, what is to be expected if
        chance decides.

    Warns
    -----
    UserWarning
        ``k`` is the number of variants or more, so that every prediction gets this score.

    See Also
    --------
    top_recall : How many of the best one would make.

    Examples
    --------
    >>> from plmlearn.metrics import top_precision
    >>> top_precision([1, 2, 3, 4], [1, 2, 4, 3], top=0.25, k=2)
    0.5
    """
    n_found, _, n_made = _top(y_true, y_pred, top, k)
    return n_found / n_made


def _top(y_true: Any, y_pred: Any, top: float, k: int | None) -> tuple[float, int, int]:
    """How many of the best are to be expected, how many there are, and how many are made."""
    true, pred = _numbers(y_true, y_pred)
    n_best = max(1, round(top * len(true)))
    n_made = min(n_best if k is None else int(k), len(true))
    if k is not None and k >= len(true):
        warn(
            f"k={k} makes all {len(true)} variants, so every prediction gets the same score. Pass a smaller "
            "k, or more variants."
        )
    return float(chances_of_top(true, n_best) @ chances_of_top(pred, n_made)), n_best, n_made


def chances_of_top(values: np.ndarray, n: int) -> np.ndarray:
    """Probability of each value to be among the n highest if chance decides between equal ones."""
    last = np.sort(values)[-n]
    above, equal = values > last, values == last
    return above + equal * ((n - above.sum()) / equal.sum())


@checked(wild_type=TEXT, first_site=FIRST_SITE)
def spearman_by_mutations(
    wild_type: str, X: Any, y_true: Any, y_pred: Any, *, first_site: int = 1
) -> dict[int, tuple[float, int]]:
    """Rank correlation of variants with one, two, ... mutations, each by itself.

    The correlation over all of them is often that of their numbers of mutations.

    Parameters
    ----------
    wild_type : str
    X : list, array or Series of str, shape (n,)
        Variants, as sequences or as substitutions.
    y_true, y_pred : array of shape (n,)
        Measured and predicted values.
    first_site : int, default=1
        Number of the wild type's first residue.

    Returns
    -------
    dict of int to (float, int)
        By number of mutations: Spearman's correlation, and how many variants it rests on. nan where fewer
        than two measurements differ.

    See Also
    --------
    spearman_score : Over all variants.
    plmlearn.model_selection.MutationOrderSplit : Few mutations against many.

    Examples
    --------
    >>> from plmlearn.metrics import spearman_by_mutations
    >>> X = ["M1A", "K2A", "M1A:K2A", "M1A:K2C", "M1C:K2C"]
    >>> spearman_by_mutations("MKVL", X, [3, 2, 1, 0, -1], [1, 0, 4, 5, 6])
    {1: (1.0, 2), 2: (-1.0, 3)}
    """
    true, pred = _numbers(y_true, y_pred)
    orders = np.array([len(variant) for variant in read_variants(wild_type, X, first_site=first_site)])
    if orders.shape != true.shape:
        raise ValueError(f"X has {len(orders)} variants, y_true {len(true)} values; expected as many.")
    found = {}
    for order in np.unique(orders):
        t, p = true[orders == order], pred[orders == order]
        differ = len(np.unique(t)) > 1
        found[int(order)] = round(rank_correlation(t, p), 12) if differ else np.nan, len(t)
    return found
