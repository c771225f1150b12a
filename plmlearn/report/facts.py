"""The numbers of a report, as rows of text: data, split, scores, costs, and how to get them again."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from sklearn.base import clone

from ..metrics import class_table
from ..metrics.residues import paired_residues
from ..model_selection import PairLeakage
from ..sequences.kinds import KIND_NAMES
from .evaluation import Evaluation, Outcome, shares_of

Rows = list[dict[str, str]]
"""A table: one dict per line, with the same keys."""

_PACKAGES = ("plmlearn", "torch", "transformers", "peft", "scikit-learn", "numpy")
_SURE = 0.05  # p-value below which a difference is called larger than chance


# -- what is predicted ------------------------------------------------------------------------


def lengths_of(evaluation: Evaluation) -> np.ndarray:
    """Residues of each row's protein, of pairs of both."""
    return np.array([len(sequence) for sequence in evaluation.X.ravel()])


def measured(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted targets of all folds' test rows, of residues one after the other."""
    true, predicted = _tested(evaluation)
    if not evaluation.kind.startswith("residue"):
        return true, predicted
    pairs = [(t.compressed(), p.compressed()) for t, p in _residues(evaluation) if t.count()]
    return np.concatenate([t for t, _ in pairs]), np.concatenate([p for _, p in pairs])


def probabilities(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray, np.ndarray | None] | None:
    """True classes, (n, C) probabilities and classes of all test rows or residues; of several labels per
    protein (n,) of either, a decision for each label. None where the estimator has no probabilities.
    """
    outcomes = evaluation.outcomes
    if any(outcome.proba is None or outcome.classes is None for outcome in outcomes):
        return None
    if evaluation.y.ndim > 1:
        return _tested(evaluation)[0].ravel(), np.concatenate([o.proba for o in outcomes]).ravel(), None
    classes = np.unique(np.concatenate([outcome.classes for outcome in outcomes]))
    rows = [row for outcome in outcomes for row in _aligned(outcome, classes)]
    if not evaluation.kind.startswith("residue"):
        return _tested(evaluation)[0], np.stack(rows), classes
    kept = [row[~np.ma.getmaskarray(true)] for row, (true, _) in zip(rows, _residues(evaluation))]
    return measured(evaluation)[0], np.concatenate(kept), classes


def _tested(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted targets of the test rows, fold after fold."""
    rows = np.concatenate([test for _, test in evaluation.comparison.splits])
    return evaluation.y[rows], np.concatenate([outcome.predicted for outcome in evaluation.outcomes])


def _residues(evaluation: Evaluation) -> list:
    """Measured residues of each test protein, true and predicted."""
    kind: Any = "labels" if evaluation.kind == "residue_labels" else "values"
    return paired_residues(*_tested(evaluation), getattr(evaluation.estimator, "ignore_label", None), kind)


def _aligned(outcome: Outcome, classes: np.ndarray) -> list[np.ndarray]:
    """Probabilities with a column for each class, 0 for one that the fold's training rows do not have."""
    assert outcome.proba is not None
    assert outcome.classes is not None
    places = np.searchsorted(classes, outcome.classes)
    rows: list[np.ndarray] = []
    for row in outcome.proba:
        rows.append(np.zeros((*np.shape(row)[:-1], len(classes))))
        rows[-1][..., places] = row
    return rows


# -- data -------------------------------------------------------------------------------------


def data_facts(evaluation: Evaluation) -> dict[str, str]:
    """What there is: rows, proteins that occur again, lengths, clusters, targets."""
    X, y, lengths = evaluation.X, evaluation.y, lengths_of(evaluation)
    pairs = X.ndim > 1
    keys = [tuple(row) for row in X.tolist()] if pairs else X.tolist()
    again = len(keys) - len(set(keys))
    facts = {"Pairs" if pairs else "Proteins": f"{len(X):,}"}
    if pairs:
        facts["Different proteins in them"] = f"{len(np.unique(X)):,}"
    told = f"{again:,}"
    if again and not evaluation.kind.startswith("residue"):
        told += f", {_conflicts(keys, y):,} with another target than the first"
    facts["Rows that occur again"] = told
    shortest, low, median, high, longest = np.quantile(lengths, [0, 0.05, 0.5, 0.95, 1])
    told = f"{shortest:.0f} to {longest:.0f} residues, median {median:.0f}; 90% have {low:.0f} to {high:.0f}"
    facts["Lengths"] = told if shortest < longest else f"all {shortest:.0f} residues"
    most = getattr(evaluation.estimator, "max_length", None)
    if most is not None:
        how = evaluation.estimator.long_sequences  # type: ignore[attr-defined]
        facts[f"Longer than {most:,} residues"] = f"{int((lengths > most).sum()):,} ({how})"
    facts["Clusters"] = _clusters(evaluation.folds.groups)
    what = KIND_NAMES[evaluation.kind] if y.ndim == 1 else f"several {evaluation.kind} per row"
    return facts | {"Predicted": what} | _values(evaluation)


def _conflicts(keys: list, y: np.ndarray) -> int:
    first: dict = {}
    told = [(first.setdefault(key, target), target) for key, target in zip(keys, y)]
    return sum(not np.array_equal(*pair, equal_nan=y.dtype.kind == "f") for pair in told)


def _clusters(groups: np.ndarray | None) -> str:
    if groups is None:
        return "not used"
    sizes = np.unique(groups, return_counts=True)[1]
    return f"{len(sizes):,}; the largest holds {sizes.max():,} of {sizes.sum():,} proteins"


def _values(evaluation: Evaluation) -> dict[str, str]:
    """Quantiles of measured numbers."""
    if not evaluation.kind.endswith("numbers"):
        return {}
    values = numbers(evaluation)
    values = values[~np.isnan(values)]
    return {"Values": "{:.4g} to {:.4g}, median {:.4g}".format(*np.quantile(values, [0, 1, 0.5]))}


def numbers(evaluation: Evaluation) -> np.ndarray:
    """All numbers in y, one after the other; nan for what was not measured."""
    if evaluation.kind == "numbers":
        return evaluation.y.astype(float).ravel()
    rows: list[np.ndarray] = [np.ma.filled(np.ma.asarray(row, dtype=float), np.nan) for row in evaluation.y]
    return np.concatenate([row.ravel() for row in rows])


def class_rows(evaluation: Evaluation, names: Sequence[str] | None) -> list[dict[str, Any]]:
    """Classes or labels with how often they occur, the most frequent first; [] for numbers."""
    y = evaluation.y
    if evaluation.kind.endswith("numbers"):
        return []
    labels: Any
    if y.ndim > 1:
        labels, counts = names_of(y, names), y.astype(int).sum(axis=0)
    else:
        y = measured(evaluation)[0] if evaluation.kind == "residue_labels" else y
        labels, counts = np.unique(y.astype(str), return_counts=True)
    n = len(y)
    rows = [{"label": str(label), "n": int(k), "share": k / n} for label, k in zip(labels, counts)]
    return sorted(rows, key=lambda row: -row["n"])


def names_of(y: np.ndarray, names: Sequence[str] | None) -> list[str]:
    """A name for each column of y."""
    k = y.shape[1] if y.ndim > 1 else 1
    if names is not None and len(names) != k:
        raise ValueError(f"target_names has {len(names)} names; expected {k}, one per column of y.")
    return [str(name) for name in names] if names is not None else [f"column {i}" for i in range(k)]


# -- split and scores -------------------------------------------------------------------------


def split_rows(evaluation: Evaluation) -> Rows:
    """Sizes and leakage of each fold."""
    rows = []
    splits = zip(evaluation.leakage, evaluation.comparison.splits)
    for number, (report, (train, test)) in enumerate(splits, start=1):
        row = {"fold": str(number), "training": f"{len(train):,}", "test": f"{len(test):,}"}
        repeated = report.n_repeated if isinstance(report, PairLeakage) else report.n_duplicates
        shares = {name: f"{share:.1%}" for name, share in shares_of(report).items()}
        rows.append(row | {"test rows in training": str(repeated)} | shares)
    return rows


def score_rows(evaluation: Evaluation) -> Rows:
    """Means, intervals and differences of all models."""
    rows, comparison = [], evaluation.comparison
    alone = all(row["estimator"] == comparison.reference for row in comparison.rows)
    for row in comparison.rows:
        interval = {f"{comparison.confidence:.0%} interval": f"{row['low']:.3f} to {row['high']:.3f}"}
        rows.append(
            {"model": row["estimator"], "score": row["metric"], "mean": f"{row['mean']:.3f}"} | interval
        )
        if not alone:
            own = row["estimator"] == comparison.reference
            rows[-1]["difference"] = "" if own else f"{row['difference']:+.3f}"
            rows[-1]["p-value"] = "" if own else f"{row['p_value']:.2g}"
    return rows


def verdict(evaluation: Evaluation) -> str:
    """One sentence or two: the first score of the estimator, and of the best baseline."""
    comparison = evaluation.comparison
    metric = comparison.rows[0]["metric"]
    rows = {row["estimator"]: row for row in comparison.rows if row["metric"] == metric}
    own = rows.pop(comparison.reference)
    told = (
        f"{comparison.reference} reaches a mean {metric} of {own['mean']:.3f} "
        f"({comparison.confidence:.0%} interval {own['low']:.3f} to {own['high']:.3f}) on {evaluation.folds}."
    )
    if not rows:
        return f"{told} It was not compared with baselines."
    best = max(rows.values(), key=lambda row: row["mean"])
    gain, p = -best["difference"], best["p_value"]
    chance = "more than chance between folds explains" if p < _SURE else "which may be chance"
    told += f" The best baseline, {best['estimator']}, reaches {best['mean']:.3f}: the model is "
    if gain == 0:
        return f"{told}no better."
    return f"{told}{abs(gain):.3f} {'better' if gain > 0 else 'worse'}, {chance} (p = {p:.2g})."


def label_rows(evaluation: Evaluation, names: Sequence[str] | None) -> list[dict[str, Any]]:
    """Precision, recall and F1 by class or label, in the form of ``class_table``; [] for numbers."""
    if evaluation.kind.endswith("numbers"):
        return []
    true, predicted = measured(evaluation)
    if true.ndim == 1:
        return class_table(true.astype(str), predicted.astype(str))
    rows = class_table(true.astype(int), np.asarray(predicted).astype(int))
    return [row | {"label": name} for row, name in zip(rows, names_of(true, names))]


# -- costs and reproduction -------------------------------------------------------------------


def cost_rows(evaluation: Evaluation) -> Rows:
    """What one fit of each model takes."""
    own, trained = evaluation.comparison.reference, evaluation.outcomes[0]
    found: dict[str, dict[str, str]] = {}
    for row in evaluation.comparison.rows:
        sizes = {}
        if trained.n_trained is not None:
            told = f"{trained.n_trained:,} of {trained.n_parameters:,}"
            sizes["trained parameters"] = told if row["estimator"] == own else ""
        found[row["estimator"]] = {
            "model": row["estimator"],
            "seconds per fit": f"{row['fit_seconds']:.3g}",
            "peak memory (MB)": f"{row['peak_mb']:,.0f}",
            **({} if np.isnan(row["peak_gpu_mb"]) else {"peak GPU (MB)": f"{row['peak_gpu_mb']:,.0f}"}),
            "to keep (MB)": "" if np.isnan(row["fitted_mb"]) else f"{row['fitted_mb']:,.3g}",
            **sizes,
        }
    return list(found.values())


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter, and the kind of machine."""
    found = {"Python": platform.python_version()} | {name: version(name) for name in _PACKAGES}
    return found | {"machine": f"{platform.system()} {platform.machine()}"}


def as_python(evaluation: Evaluation) -> str:
    """Lines of Python that evaluate again."""
    estimator = clone(evaluation.estimator)
    return (
        f"{_imports(estimator)}\n\n"
        f"estimator = {estimator!r}\n"
        f"found = report.evaluate({', '.join(['estimator', 'X', 'y', *evaluation.arguments])})\n"
        f'report.write(found, "report.html")'
    )


def _imports(estimator: Any) -> str:
    """Lines that import the classes of an estimator and of its parts, each from where it is public."""
    names = {"plmlearn": {"report"}}
    for part in (estimator, *estimator.get_params().values()):
        if hasattr(part, "get_params") and not isinstance(part, type):
            module = type(part).__module__.partition("._")[0]
            if module.startswith("plmlearn."):
                room = module.split(".")[1]
                module = "plmlearn" if room == "estimators" else f"plmlearn.{room}"
            names.setdefault(module, set()).add(type(part).__name__)
    return "\n".join(f"from {module} import {', '.join(sorted(found))}" for module, found in names.items())
