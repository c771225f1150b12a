"""``compare``: several estimators on the same folds and seeds, with honest intervals, tests and costs."""

import pickle
import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy import stats
from sklearn.base import clone, is_classifier
from sklearn.model_selection import cross_validate
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _num_samples, has_fit_parameter

from ..metrics import get_scorer
from ..model_selection.graph import PairGraph
from ..model_selection.proteins import splitter_of
from ..sequences.checked import Range, checked
from .peak_memory import PeakMemory

_COSTS: dict[str, Any] = {
    "fit_seconds": np.mean,
    "peak_mb": np.max,
    "peak_gpu_mb": np.max,
    "fitted_mb": np.mean,
}


class HasRows:
    """What holds a table, a dict for each of its rows."""

    rows: list[dict[str, Any]]

    def to_frame(self) -> Any:
        """The rows as a pandas DataFrame (needs pandas)."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def __str__(self) -> str:
        return as_table(self.rows)


@dataclass(frozen=True)
class Comparison(HasRows):
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
            lower bound, watched 200 times a second. What an earlier fold or estimator left in memory (a
            loaded backbone, cached embeddings, freed memory that is used again) is not counted a second time:
            for the peak of one estimator in full, compare it alone in a fresh process.
        ``peak_gpu_mb``
            The same for torch's tensors on CUDA devices, exactly; nan where torch uses none.
        ``fitted_mb``
            Mean size of a fitted estimator when pickled, in MB: what it takes to keep or to send. nan for
            one that cannot be pickled.
        ``n_scores``
            Number of folds times seeds.
    scores : dict of (estimator, metric) to ndarray of shape (n_seeds, n_folds)
        The scores that the table sums up.
    reference : str
        Name of the estimator that the others are compared with.
    confidence : float
        Of the intervals.
    inspected : dict of str to list
        What ``inspect`` returned, by the name of the estimator: fold by fold, seed after seed.
    splits : list of (ndarray, ndarray)
        Rows of training and test set in the same order.

    See Also
    --------
    compare : Cross-validate several estimators on the same folds.
    plmlearn.report.evaluate : A comparison with the baselines of a task, for a report.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyClassifier
    >>> from plmlearn.baselines import compare
    >>> comparison = compare({"majority": DummyClassifier()}, ["MK", "GS", "AL", "VV"], [0, 0, 1, 1], cv=2)
    >>> float(comparison.scores["majority", "score"].mean())
    0.5
    """

    rows: list[dict[str, Any]]
    scores: dict[tuple[str, str], np.ndarray]
    reference: str
    confidence: float
    inspected: dict[str, list]
    splits: list[tuple[np.ndarray, np.ndarray]]


@checked(
    estimators=[Mapping],
    scoring=[str, callable, list, tuple, set, Mapping, None],
    random_states=[Sequence],
    reference=[str, None],
    confidence=[Range(Real, 0, 1, closed="neither")],
    n_jobs=[Integral, None],
    inspect=[Mapping, None],
)
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
    verbose: int = 0,
    inspect: Mapping[str, Any] | None = None,
) -> Comparison:
    """Cross-validate several estimators on identical splits and compare them with one of them.

    Scores of folds are not independent, because their training sets overlap: an interval from their plain
    standard error is too narrow, and a plain paired t-test finds differences where there are none. Interval
    and test use the variance as corrected by Nadeau and Bengio: (1 / J + n_test / n_train) times that of J
    scores.

    Parameters
    ----------
    estimators : mapping of name to estimator
        They are cloned, never fitted themselves.
    X, y : as the estimators take them
    cv : int, splitter or iterable of splits, default=None
        As in scikit-learn; such as ``ClusterKFold()`` or ``PairKFold("C3")``. With ``groups``, a number is
        that of :class:`~plmlearn.model_selection.ClusterKFold`.
    scoring : str, callable, list or mapping, default=None
        As in :func:`sklearn.model_selection.cross_validate`, with the names of
        :data:`plmlearn.metrics.SCORERS` too; None uses each estimator's own ``score``.
    random_states : sequence of int, default=(None,)
        Seeds: for each, ``random_state`` of the splitter and of the estimators (in pipelines too) is set and
        everything is repeated. None leaves them as they are.
    groups : array or mapping, default=None
        Clusters of the proteins, passed to the splitter. An estimator that stops early, on its own or as the
        last of a pipeline, gets those of its training rows too, so that no cluster is on both sides of its
        inner validation.
    reference : str, default=None
        Name of the estimator to compare with; None takes the first.
    confidence : float, default=0.95
        Of the intervals.
    n_jobs : int, default=None
        Folds to fit at once, in processes of their own.
    verbose : int, default=0
        1 prints the scores of each fold to the standard error stream as soon as they are known.
    inspect : mapping of name to callable, default=None
        Estimators to look into: ``inspect[name](fitted, X_test)`` is called in each fold, in the process of
        the fit. What it returns is kept, the estimator is not.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        No estimators, an unknown reference, or fewer than 2 scores per estimator.

    See Also
    --------
    floors : The baselines that suit a task.
    plmlearn.model_selection.make_folds : Folds in the way that suits the data.
    sklearn.model_selection.cross_validate : The folds and scores underneath.

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
    reference = _check_names(reference, list(estimators), random_states, inspect)
    if odd := [name for name, estimator in estimators.items() if not hasattr(estimator, "fit")]:
        raise TypeError(
            f"estimators has {odd[0]!r}, a {type(estimators[odd[0]]).__name__}; expected an estimator."
        )
    scoring = named_scorers(scoring)
    clusters = PairGraph.of(X, groups).edges if isinstance(groups, Mapping) else groups
    cv = list(cv) if isinstance(cv, Iterator) else cv  # each seed reads it
    folds: dict[str, list] = {name: [] for name in estimators}
    all_splits: list[tuple[np.ndarray, np.ndarray]] = []
    for seed in random_states:
        splits = _splits(cv, X, y, groups, seed, next(iter(estimators.values())))
        all_splits += splits
        for name, estimator in estimators.items():
            task = (with_seed(estimator, seed), X, y, clusters, scoring, (inspect or {}).get(name))
            folds[name] += _run(name, task, splits, n_jobs, verbose)
    table = {
        (name, metric): np.reshape([run[0][metric] for run in runs], (len(random_states), -1))
        for name, runs in folds.items()
        for metric in runs[0][0]
    }
    ratios = [len(test) / len(train) for train, test in all_splits]
    rows = _rows(table, folds, ratios, reference, confidence)
    inspected = {name: [run[2] for run in folds[name]] for name in inspect or {}}
    return Comparison(rows, table, reference, confidence, inspected, all_splits)


def _rows(
    table: Mapping, folds: Mapping[str, list], ratios: list[float], reference: str, confidence: float
) -> list[dict[str, Any]]:
    """A row for each estimator and metric: scores, difference to the reference, costs."""
    return [
        {
            "estimator": name,
            "metric": metric,
            **_statistics(values, table[reference, metric], ratios, confidence, own=name == reference),
            **{cost: float(over([fold[1][cost] for fold in folds[name]])) for cost, over in _COSTS.items()},
            "n_scores": values.size,
        }
        for (name, metric), values in table.items()
    ]


def _check_names(reference: str | None, names: list[str], random_states: Any, inspect: Any) -> str:
    """The estimator to compare with: the first one where none is named."""
    if not len(random_states):
        raise ValueError("random_states is empty; expected at least one seed, or None.")
    if not names or (reference is not None and reference not in names):
        raise ValueError(f"reference is {reference!r}; expected one of the estimators, which are {names}.")
    if odd := [name for name in inspect or {} if name not in names]:
        raise ValueError(f"inspect has {odd[0]!r}; expected some of the estimators, which are {names}.")
    return names[0] if reference is None else reference


def corrected_ttest(differences: np.ndarray, test_over_train: float) -> tuple[float, float]:
    """Standard error and two-sided p-value of the mean of J paired differences from overlapping splits."""
    n = len(differences)
    error = float(np.sqrt((1 / n + test_over_train) * np.var(differences, ddof=1)))
    mean = float(np.mean(differences))
    if error == 0:
        return 0.0, float(mean == 0)
    return error, float(2 * stats.t.sf(abs(mean) / error, df=n - 1))


def corrected_interval(values: np.ndarray, test_over_train: float, confidence: float) -> tuple[float, float]:
    """Confidence interval of the mean of J scores, or of paired differences, from overlapping splits."""
    half = stats.t.ppf((1 + confidence) / 2, df=len(values) - 1) * corrected_ttest(values, test_over_train)[0]
    return float(values.mean() - half), float(values.mean() + half)


def _fold(
    estimator: Any, X: Any, y: Any, groups: Any, scoring: Any, inspect: Any, split: tuple
) -> tuple[dict[str, float], dict[str, float], Any]:
    """Scores of one fit, what it cost, measured in the process that runs it, and what is to be kept of it."""
    options = {"scoring": scoring, "error_score": "raise", "return_estimator": True}
    if groups is not None:
        options["params"] = groups_of_fit(estimator, groups)
    with PeakMemory() as memory:
        result = cross_validate(estimator, X, y, cv=[split], **options)
    [fitted] = result["estimator"]
    costs = (result["fit_time"][0], memory.peak_mb, memory.peak_gpu_mb, _size_mb(fitted))
    scores = {key[5:]: result[key][0] for key in result if key.startswith("test_")}
    kept = None if inspect is None else inspect(fitted, _safe_indexing(X, split[1]))
    return scores, dict(zip(_COSTS, costs)), kept


def _run(name: str, task: tuple, splits: list, n_jobs: int | None, verbose: int) -> Iterator[tuple]:
    """Run ``_fold`` on each split, and print its scores if that is asked for."""
    runs = Parallel(n_jobs=n_jobs, return_as="generator")(delayed(_fold)(*task, split) for split in splits)
    for number, (scores, costs, kept) in enumerate(runs, start=1):
        if verbose:
            told = ", ".join(f"{metric} {score:.3f}" for metric, score in scores.items())
            text = f"{name}, fold {number}/{len(splits)}: {told}, {costs['fit_seconds']:.1f} s"
            print(text, file=sys.stderr, flush=True)
        yield scores, costs, kept


def groups_of_fit(estimator: Any, groups: Any) -> dict[str, Any]:
    """Groups as a parameter of ``fit``, for an estimator (maybe the last of a pipeline) that stops early."""
    prefix, last = last_step(estimator)
    stops_early = getattr(last, "early_stopping", False) and has_fit_parameter(last, "groups")
    return {f"{prefix}groups": groups} if stops_early else {}


def last_step(estimator: Any) -> tuple[str, Any]:
    """The last step of a pipeline, and what stands before its parameters; any other estimator as it is."""
    prefix = ""
    while isinstance(estimator, Pipeline):
        name, estimator = estimator.steps[-1]
        prefix += f"{name}__"
    return prefix, estimator


def _statistics(
    values: np.ndarray, others: np.ndarray, ratios: list[float], confidence: float, own: bool
) -> dict[str, float]:
    """Mean score, its interval, and its difference to the others; nan for the reference's own."""
    if values.size < 2:
        raise ValueError("One score has no estimate of its error; expected 2 or more folds or random_states.")
    values, others, ratio = values.ravel(), others.ravel(), float(np.mean(ratios))
    low, high = corrected_interval(values, ratio, confidence)
    return {
        "mean": float(values.mean()),
        "low": low,
        "high": high,
        "difference": np.nan if own else float((values - others).mean()),
        "p_value": np.nan if own else corrected_ttest(values - others, ratio)[1],
    }


def named_scorers(scoring: Any) -> Any:
    """Names, this package's among them, as scorers under these names; all else as it is."""
    if isinstance(scoring, (Mapping, list, tuple, set)) and not scoring:
        raise ValueError("scoring is empty; expected one scorer or more, or None for the estimator's own.")
    if isinstance(scoring, Mapping):
        if odd := [name for name in scoring if not isinstance(name, str)]:
            raise TypeError(f"scoring has the name {odd[0]!r}; expected str for each of its scorers.")
        return {name: get_scorer(one) if isinstance(one, str) else one for name, one in scoring.items()}
    names = [scoring] if isinstance(scoring, str) else scoring
    return {name: get_scorer(name) for name in names} if isinstance(names, (list, tuple, set)) else scoring


def _splits(cv: Any, X: Any, y: Any, groups: Any, seed: int | None, estimator: Any) -> list:
    if y is None:
        raise ValueError("y is None; expected one target for each row of X.")
    for name, rows in (("y", y), ("groups", groups)):
        if rows is not None and not isinstance(rows, Mapping) and _num_samples(rows) != _num_samples(X):
            found = f"X has {_num_samples(X)} rows and {name} {_num_samples(rows)}"
            raise ValueError(f"{found}; expected the same number.")
    strange = [row for row, entry in enumerate(y) if isinstance(entry, (set, frozenset, Mapping))]
    if strange and not isinstance(y, Mapping):
        found = f"row {strange[0]} of {len(strange)} such"
        raise TypeError(f"y holds sets or mappings ({found}); expected labels, numbers, or rows of them.")
    try:
        splitter = copy(splitter_of(cv, y, groups, is_classifier(estimator)))
    except TypeError as error:  # numpy's, of entries that it cannot sort
        raise ValueError(f"y mixes entries of several kinds ({error}); expected one kind.") from None
    # A splitter that does not shuffle has a random_state too, but may not be given one.
    if seed is not None and hasattr(splitter, "random_state") and getattr(splitter, "shuffle", True):
        splitter.random_state = seed
    try:
        splits = [(train, test) for train, test in splitter.split(X, y, groups)]
    except TypeError as error:  # of an iterable that holds something other than pairs
        raise ValueError(f"cv={cv!r:.100} yields no pairs of row numbers ({error}).") from error
    if not splits:
        raise ValueError(f"cv={cv!r:.100} yields no splits; expected one or more.")
    return splits


def with_seed(estimator: Any, seed: int | None) -> Any:
    """A clone whose parts all have this seed; None keeps their own."""
    estimator = clone(estimator)
    names = [name for name in estimator.get_params() if name.split("__")[-1] == "random_state"]
    return estimator if seed is None else estimator.set_params(**dict.fromkeys(names, seed))


def _size_mb(fitted: Any) -> float:
    try:
        return len(pickle.dumps(fitted)) / 1e6
    except (pickle.PicklingError, TypeError, AttributeError):
        return np.nan


def as_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of equal keys as text, with a line of the keys."""
    table = [list(rows[0]), *(list(map(_text, row.values())) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in table)
    return "\n".join(lines)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return "-" if np.isnan(value) else f"{value:.4g}"
    return str(value)
