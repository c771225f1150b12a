"""``compare``: several estimators on the same folds and seeds, with honest intervals, tests and costs."""

import pickle
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from sklearn.base import clone, is_classifier
from sklearn.model_selection import check_cv, cross_validate
from sklearn.utils.parallel import Parallel, delayed

from plmlearn.baselines.peak_memory import PeakMemory
from plmlearn.metrics import get_scorer

_COLUMNS = (
    *("estimator", "metric", "mean", "low", "high", "difference", "p_value"),
    *("fit_seconds", "peak_mb", "peak_gpu_mb", "fitted_mb", "n_scores"),
)


@dataclass(frozen=True)
class Comparison:
    """Scores of several estimators on the same splits; ``print`` it for a table.

    Attributes
    ----------
    rows : list of dict
        One per estimator and metric, with the keys

        ``mean``, ``low``, ``high``
            Mean score over folds and seeds, and its confidence interval.
        ``difference``, ``p_value``
            Mean difference to the reference, and the probability of one as large if there were none
            (two-sided); nan for the reference itself.
        ``fit_seconds``
            Mean time of one fit.
        ``peak_mb``
            Most memory that a fold's fit and predictions took at once on top of what the process held before
            them, in MB of resident memory, with programs they ran (MMseqs2): the largest of all folds. A
            lower bound, watched 200 times a second. What an earlier fold or estimator left behind (a loaded
            backbone, cached embeddings, freed memory that is used again) is not counted a second time: for
            the peak of one estimator in full, compare it alone in a fresh process.
        ``peak_gpu_mb``
            The same for torch's tensors on CUDA devices, exactly; nan where torch uses none.
        ``fitted_mb``
            Mean size of a fitted estimator when pickled, in MB: what it takes to keep or to send. nan for
            one that cannot be pickled.
        ``n_scores``
            Number of folds times seeds.
    scores : dict of (estimator, metric) to ndarray of shape (n_seeds, n_folds)
        The scores behind the table.
    reference : str
        Name of the estimator that the others are compared with.
    confidence : float
        Of the intervals.
    """

    rows: list[dict[str, Any]]
    scores: dict[tuple[str, str], np.ndarray]
    reference: str
    confidence: float

    def to_frame(self) -> Any:
        """The rows as a pandas DataFrame (needs pandas)."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=list(_COLUMNS))

    def __str__(self) -> str:
        table = [_COLUMNS, *([_text(row[column]) for column in _COLUMNS] for row in self.rows)]
        widths = [max(len(line[i]) for line in table) for i in range(len(_COLUMNS))]
        lines = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in table)
        return "\n".join(lines)


def compare(
    estimators: Mapping[str, Any],
    X: Any,
    y: Any,
    *,
    cv: Any = None,
    scoring: Any = None,
    random_states: Sequence[int | None] = (None,),
    groups: Any = None,
    reference: str | None = None,
    confidence: float = 0.95,
    n_jobs: int | None = None,
) -> Comparison:
    """Cross-validate several estimators on identical splits and compare them with one of them.

    Scores of folds are not independent, for their training sets overlap: an interval from their plain
    standard error is too narrow, and a plain paired t-test finds differences where there are none. Interval
    and test use the variance as corrected by Nadeau and Bengio: (1 / J + n_test / n_train) times that of J
    scores.

    Parameters
    ----------
    estimators : mapping of name to estimator
        They are cloned, never fitted themselves.
    X, y : as the estimators take them
    cv : int, splitter or iterable of splits, default=None
        As in scikit-learn; such as ``ClusterKFold()`` or ``PairKFold("C3")``.
    scoring : str, callable, list or mapping, default=None
        As in :func:`sklearn.model_selection.cross_validate`, with the names of
        :data:`plmlearn.metrics.SCORERS` too; None uses each estimator's own ``score``.
    random_states : sequence of int, default=(None,)
        Seeds: for each, ``random_state`` of the splitter and of the estimators (in pipelines too) is set and
        everything is repeated. None leaves them as they are.
    groups : array or mapping, default=None
        Passed to the splitter.
    reference : str, default=None
        Name of the estimator to compare with; None takes the first.
    confidence : float, default=0.95
        Of the intervals.
    n_jobs : int, default=None
        Folds to fit at once, in processes of their own.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        No estimators, an unknown reference, or fewer than 2 scores per estimator.

    References
    ----------
    Nadeau & Bengio (2003), doi:10.1023/A:1024068626366

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> from plmlearn.baselines import AdditiveMutationRegressor, CompositionVectorizer, compare
    >>> X = [a + b + "VL" for a in "MKAGST" for b in "MKAGST"]
    >>> y = [x.count("K") + 2 * x.startswith("G") for x in X]
    >>> models = {"counts": make_pipeline(CompositionVectorizer(), Ridge(0.1)),
    ...           "additive": AdditiveMutationRegressor(order=1)}
    >>> result = compare(models, X, y, cv=4, scoring="r2", random_states=[0, 1])
    >>> result.rows[1]["estimator"], bool(result.rows[1]["difference"] > 0)
    ('additive', True)
    """
    names = list(estimators)
    if not names or (reference is not None and reference not in names):
        raise ValueError(f"reference is {reference!r}; expected one of the estimators, which are {names}.")
    reference = names[0] if reference is None else reference
    scoring = _scorers(scoring)
    scores: dict[tuple[str, str], list] = {}
    costs: dict[str, list] = {name: [] for name in estimators}
    ratios = []
    for seed in random_states:
        splits = _splits(cv, X, y, groups, seed, next(iter(estimators.values())))
        ratios += [len(test) / len(train) for train, test in splits]
        for name, estimator in estimators.items():
            seeded = _seeded(estimator, seed)
            folds = Parallel(n_jobs=n_jobs)(delayed(_fold)(seeded, X, y, split, scoring) for split in splits)
            costs[name] += [cost for _, cost in folds]
            for metric in folds[0][0]:
                scores.setdefault((name, metric), []).append([fold[metric] for fold, _ in folds])
    table = {key: np.array(values) for key, values in scores.items()}
    ratio = float(np.mean(ratios))
    rows = [
        {
            **_row(name, metric, table, reference, ratio, confidence),
            **_costs(costs[name]),
        }
        for name, metric in table
    ]
    return Comparison(rows, table, reference, confidence)


def corrected_ttest(differences: np.ndarray, test_over_train: float) -> tuple[float, float]:
    """Standard error and two-sided p-value of the mean of J paired differences from overlapping splits."""
    n = len(differences)
    error = float(np.sqrt((1 / n + test_over_train) * np.var(differences, ddof=1)))
    mean = float(np.mean(differences))
    if error == 0:
        return 0.0, float(mean == 0)
    return error, float(2 * stats.t.sf(abs(mean) / error, df=n - 1))


def _fold(
    estimator: Any, X: Any, y: Any, split: tuple, scoring: Any
) -> tuple[dict[str, float], dict[str, float]]:
    """Scores of one fit, and what it cost, measured in the process that runs it."""
    with PeakMemory() as memory:
        result = cross_validate(
            estimator, X, y, cv=[split], scoring=scoring, error_score="raise", return_estimator=True
        )
    cost = {
        "fit_seconds": result["fit_time"][0],
        "peak_mb": memory.peak_mb,
        "peak_gpu_mb": memory.peak_gpu_mb,
        "fitted_mb": _size_mb(result["estimator"][0]),
    }
    return {key[5:]: result[key][0] for key in result if key.startswith("test_")}, cost


def _costs(folds: list[dict[str, float]]) -> dict[str, float]:
    return {
        key: float((np.max if key.startswith("peak") else np.mean)([fold[key] for fold in folds]))
        for key in folds[0]
    }


def _row(
    name: str, metric: str, table: dict, reference: str, ratio: float, confidence: float
) -> dict[str, Any]:
    values, others = table[name, metric].ravel(), table[reference, metric].ravel()
    if len(values) < 2:
        raise ValueError("One score tells nothing of its error; expected 2 or more folds or random_states.")
    error, _ = corrected_ttest(values, ratio)
    half = stats.t.ppf((1 + confidence) / 2, df=len(values) - 1) * error
    mean, own = float(values.mean()), name == reference
    return {
        "estimator": name,
        "metric": metric,
        "mean": mean,
        "low": mean - half,
        "high": mean + half,
        "difference": np.nan if own else float((values - others).mean()),
        "p_value": np.nan if own else corrected_ttest(values - others, ratio)[1],
        "n_scores": len(values),
    }


def _scorers(scoring: Any) -> Any:
    """Names, this package's among them, as scorers under these names; all else as it is."""
    if isinstance(scoring, Mapping):
        return {name: get_scorer(one) if isinstance(one, str) else one for name, one in scoring.items()}
    names = [scoring] if isinstance(scoring, str) else scoring
    return {name: get_scorer(name) for name in names} if isinstance(names, (list, tuple, set)) else scoring


def _splits(cv: Any, X: Any, y: Any, groups: Any, seed: int | None, estimator: Any) -> list:
    splitter = copy(check_cv(cv, y, classifier=is_classifier(estimator)))
    # A splitter that does not shuffle has a random_state too, but may not be given one.
    if seed is not None and hasattr(splitter, "random_state") and getattr(splitter, "shuffle", True):
        splitter.random_state = seed
    return list(splitter.split(X, y, groups))


def _seeded(estimator: Any, seed: int | None) -> Any:
    estimator = clone(estimator)
    names = [name for name in estimator.get_params() if name.split("__")[-1] == "random_state"]
    return estimator if seed is None else estimator.set_params(**dict.fromkeys(names, seed))


def _size_mb(fitted: Any) -> float:
    try:
        return len(pickle.dumps(fitted)) / 1e6
    except (pickle.PicklingError, TypeError, AttributeError):
        return np.nan


def _text(value: Any) -> str:
    if isinstance(value, float):
        return "-" if np.isnan(value) else f"{value:.4g}"
    return str(value)
