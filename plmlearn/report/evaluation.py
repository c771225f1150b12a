"""``evaluate``: an estimator beside the baselines of its task, on folds that do not leak."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from numbers import Integral
from typing import Any, get_args

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import accuracy_score, f1_score, make_scorer, matthews_corrcoef, r2_score
from sklearn.utils._param_validation import HasMethods

from ..baselines import Comparison, compare, floors
from ..estimators.residue_targets import check_residue_y, require_measured
from ..estimators.targets import check_class_y, check_value_y
from ..metrics import residue_accuracy, residue_spearman, spearman_score
from ..model_selection import Folds, LeakageReport, PairLeakage, make_folds
from ..sequences import check_pairs, target_kind
from ..sequences.checked import checked, one_of
from ..sequences.clean import object_array, targets_of
from ..sequences.columns import as_array, flat
from ..sequences.kinds import TargetKind, are_pairs
from ..sequences.structure import check_residues


@dataclass(frozen=True)
class Outcome:
    """What one fold's estimator predicts for its test rows, and what is known of its fit.

    Attributes
    ----------
    predicted : ndarray of shape (n_test,) or (n_test, k)
    proba : ndarray or None
        What ``predict_proba`` gives; None where there is none.
    classes : ndarray or None
        Columns of ``proba``.
    history : list of dict
        ``history_``; empty for estimators without epochs.
    n_trained, n_parameters : int or None
        Trained parameters, and all.
    fingerprint : str or None
        Of the frozen weights.

    See Also
    --------
    Evaluation : Holds one for each fold.

    Examples
    --------
    >>> import numpy as np
    >>> from plmlearn.report import Outcome
    >>> Outcome(np.array([0, 1])).history
    []
    """

    predicted: np.ndarray
    proba: np.ndarray | None = None
    classes: np.ndarray | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    n_trained: int | None = None
    n_parameters: int | None = None
    fingerprint: str | None = None

    @classmethod
    def of(cls, fitted: Any, X: Any) -> Outcome:
        """Predict the test rows, and note what is known of the fit."""
        known = vars(fitted)
        trained, every = known.get("n_trainable_parameters_"), known.get("n_parameters_")
        proba = fitted.predict_proba(X) if hasattr(fitted, "predict_proba") else None
        classes = getattr(fitted, "classes_", None)
        fingerprint = known.get("backbone_fingerprint_")
        return cls(fitted.predict(X), proba, classes, known.get("history_", []), trained, every, fingerprint)


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate` found; ``print`` it for the table, :func:`write` it for a page.

    Attributes
    ----------
    estimator : estimator
        Not fitted.
    X : ndarray of str, shape (n,), or (n, 2) for pairs
    y : ndarray of shape (n,) or (n, k)
    kind : {"labels", "numbers", "residue_labels", "residue_numbers"}
    folds : Folds
    leakage : list of LeakageReport or PairLeakage
        One per fold.
    comparison : Comparison
        Scores and costs; its reference is the estimator.
    warnings : list of str
        Each warning that was raised, once.
    arguments : list of str
        What ``evaluate`` was given beside its defaults, as Python writes it.

    See Also
    --------
    evaluate : Makes it.

    Examples
    --------
    >>> from plmlearn import PLMClassifier, report
    >>> X, y = ["MKTAYIAK", "MKTAYIAR", "GSHMLEDP", "GSHMLEDA"], ["in", "out", "in", "out"]
    >>> clf = PLMClassifier("mini", adapter="frozen", epochs=1, random_state=0, verbose=0)
    >>> found = report.evaluate(clf, X, y, folds=2, baselines={})
    >>> len(found.outcomes), found.comparison.reference
    (2, 'PLMClassifier mini')
    """

    estimator: BaseEstimator
    X: np.ndarray
    y: np.ndarray
    kind: TargetKind
    folds: Folds
    leakage: list[LeakageReport | PairLeakage]
    comparison: Comparison
    warnings: list[str]
    arguments: list[str]

    @property
    def outcomes(self) -> list[Outcome]:
        """What the estimator predicts in each fold."""
        return self.comparison.inspected[self.comparison.reference]

    @property
    def leaked(self) -> dict[str, float]:
        """Shares of test rows that resemble training, averaged over folds."""
        folds = [shares_of(report) for report in self.leakage]
        return {name: float(np.mean([shares[name] for shares in folds])) for name in folds[0]}

    def __str__(self) -> str:
        return str(self.comparison)


@checked(
    estimator=[HasMethods(["fit", "predict"])],
    folds=[Folds, Integral],
    baselines=[Mapping, None],
    kind=[*one_of(get_args(TargetKind)), None],
    n_jobs=[Integral, None],
)
def evaluate(
    estimator: BaseEstimator,
    X: Any,
    y: Any,
    *,
    folds: Folds | int = 5,
    groups: Any = "clusters",
    min_identity: float = 0.3,
    baselines: Mapping[str, Any] | None = None,
    kind: TargetKind | None = None,
    scoring: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> Evaluation:
    """Cross-validate an estimator beside the baselines of its task, and keep what a report shows.

    It is :func:`~plmlearn.model_selection.make_folds`, :func:`~plmlearn.baselines.floors` and
    :func:`~plmlearn.baselines.compare` in one call. ``plmlearn evaluate`` calls it too.

    Parameters
    ----------
    estimator : estimator
        It is cloned, never fitted itself.
    X, y : as the estimator takes them
    folds : Folds or int, default=5
        Of ``make_folds``; or a number of them, in the way that suits the data.
    groups, min_identity
        Of ``make_folds``, where ``folds`` is a number.
    baselines : mapping of name to estimator, default=None
        None takes those of ``floors``; ``{}`` none.
    kind : {"labels", "numbers", "residue_labels", "residue_numbers"}, default=None
        What y holds; None asks :func:`plmlearn.sequences.target_kind`.
    scoring : str, list or mapping, default=None
        As in ``compare``. None takes MCC and accuracy for labels, F1 and accuracy for several labels per
        protein, Spearman and R² for numbers, accuracy or Spearman for residues.
    n_jobs : int, default=None
        Folds to fit at once, in processes of their own. Warnings of these stay there.
    verbose : int, default=0
        1 prints the scores of each fold to the standard error stream as soon as they are known.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError
        As ``make_folds`` and ``compare``.

    See Also
    --------
    write : The page.
    plmlearn.baselines.compare : Any estimators, without a report.

    Examples
    --------
    >>> from plmlearn import PLMLoRAClassifier, report
    >>> from plmlearn.datasets import make_protein_classification
    >>> X, y = make_protein_classification(20, median_length=20, max_length=30, random_state=0)
    >>> clf = PLMLoRAClassifier("mini", last_n_layers=1, epochs=1, random_state=0, verbose=0)
    >>> found = report.evaluate(clf, X, y, folds=2)
    >>> sorted({row["estimator"] for row in found.comparison.rows})
    ['PLMLoRAClassifier mini', 'composition', 'homology', 'most frequent']
    """
    given = {"folds": folds, "groups": groups, "min_identity": min_identity}
    arguments = _arguments(given | {"baselines": baselines, "kind": kind, "scoring": scoring})
    kind = target_kind(X, y) if kind is None else kind
    ignored = getattr(estimator, "ignore_label", None)
    given_X, (X, y) = X, checked_rows(X, y, kind, estimator)
    name = f"{type(estimator).__name__} {getattr(estimator, 'backbone', '')}".strip()
    with _noted() as noted:
        if not isinstance(folds, Folds):
            folds = folds_of(X, y, kind, int(folds), groups=groups, min_identity=min_identity)
        refuse_constant_folds(folds, y, kind, scoring)
        if verbose:
            print(f"{folds}.", file=sys.stderr, flush=True)
        models = floors(X, y, kind=kind, ignore_label=ignored) if baselines is None else baselines
        comparison = compare(
            {**models, name: estimator},
            X if _replaces(estimator) and not _has_states(estimator, given_X) else given_X,
            y,
            cv=folds.splits,
            scoring=scorers_of(metrics_of(kind, y.ndim > 1, ignored)) if scoring is None else scoring,
            groups=folds.groups,
            reference=name,
            n_jobs=n_jobs,
            verbose=verbose,
            inspect={name: Outcome.of},
        )
        return Evaluation(estimator, X, y, kind, folds, folds.leakage(X), comparison, noted, arguments)


def checked_rows(X: Any, y: Any, kind: TargetKind, estimator: Any) -> tuple[np.ndarray, np.ndarray]:
    """X and y as arrays with an entry for each row, or one error that names rows as no fold can."""
    invalid: Any = "replace" if _replaces(estimator) else "raise"
    given, X = X, check_pairs(X, invalid=invalid) if are_pairs(X) else check_residues(X, invalid=invalid)
    if not kind.startswith("residue"):
        check = check_class_y if kind == "labels" else check_value_y
        check(y, len(X))
        return X, flat(as_array(y, "y"))
    values: Any = "values" if kind == "residue_numbers" else "labels"
    ignored = getattr(estimator, "ignore_label", None)
    require_measured(check_residue_y(y, given, kind=values, ignore_label=ignored), np.arange(len(X)))
    return X, object_array(targets_of(y, "targets in y"))


def refuse_constant_folds(folds: Folds, y: np.ndarray, kind: TargetKind, scoring: Any) -> None:
    """Before anything is fitted: equal numbers in a test set have no rank correlation."""
    names = scoring if isinstance(scoring, (list, tuple, set, Mapping)) else [scoring]
    ranks = scoring is None or any(isinstance(name, str) and name == "spearman" for name in names)
    if kind != "numbers" or not ranks:
        return
    for number, (_, test) in enumerate(folds.splits, start=1):
        if (np.ptp(np.asarray(y[test], dtype=float), axis=0) == 0).any():
            raise ValueError(
                f"All {len(test)} test rows of fold {number} have the same target, so Spearman's correlation "
                "cannot rank them. Choose fewer folds, or another score such as r2."
            )


def folds_of(X: Any, y: Any, kind: TargetKind, n_splits: int, **options: Any) -> Folds:
    """Folds in the way that suits the data; those of residues know no classes."""
    return make_folds(X, None if kind.startswith("residue") else y, n_splits, **options)


def _replaces(estimator: Any) -> bool:
    """Whether unknown letters are read as X."""
    return getattr(estimator, "invalid", "raise") == "replace"


def _has_states(estimator: Any, X: Any) -> bool:
    """Whether the estimator reads structural states in X, which are in the caller's X alone."""
    return hasattr(estimator, "_has_states") and estimator._has_states(X)


_USUAL = {"folds": 5, "groups": "clusters", "min_identity": 0.3}


def _arguments(given: Mapping[str, Any]) -> list[str]:
    """``name=value`` for what is not usual, or ``name=name`` for a value that Python does not read."""
    plain = {
        n: isinstance(x, (str, int, float, type(None))) or (isinstance(x, dict) and not x)
        for n, x in given.items()
    }
    unusual = {n: x for n, x in given.items() if not (plain[n] and x == _USUAL.get(n))}
    return [f"{n}={x!r}" if plain[n] else f"{n}={n}" for n, x in unusual.items()]


def metrics_of(kind: TargetKind, several: bool, ignore_label: Any = None) -> dict[str, Callable]:
    """The usual scores of a task, from true and predicted targets; ``several`` labels or one per protein."""
    if kind == "residue_labels":
        return {"accuracy": partial(residue_accuracy, ignore_label=ignore_label)}
    if kind == "residue_numbers":
        return {"spearman": residue_spearman}
    if kind == "numbers":
        return {"spearman": spearman_score, "r2": r2_score}
    if several:
        return {"f1_micro": partial(f1_score, average="micro"), "accuracy": accuracy_score}
    return {"mcc": matthews_corrcoef, "accuracy": accuracy_score}


def shares_of(report: LeakageReport | PairLeakage) -> dict[str, float]:
    """Shares of one fold's test rows that resemble training."""
    if isinstance(report, PairLeakage):
        return {f"C{k}": getattr(report, f"share_c{k}") for k in (1, 2, 3)}
    return {f"{t:.0%} identical over half": report.share_above(t, 0.5) for t in (0.3, 0.5, 0.9)}


def scorers_of(metrics: Mapping[str, Callable]) -> dict[str, Callable]:
    """The same scores as scikit-learn takes them."""
    return {name: make_scorer(metric) for name, metric in metrics.items()}


@contextmanager
def _noted() -> Iterator[list[str]]:
    """Collect the texts of the warnings that are shown in the block, each once."""
    noted: list[str] = []
    with warnings.catch_warnings():
        # With whole clusters in each fold there is rarely a relative to take the target from.
        warnings.filterwarnings("ignore", ".*resemble no training sequence")
        show = warnings.showwarning

        def note(message: Any, category: type[Warning], *args: Any, **kwargs: Any) -> None:
            if str(message) not in noted:
                noted.append(str(message))
            show(message, category, *args, **kwargs)

        warnings.showwarning = note
        yield noted
