"""What conformal intervals and sets cover, and what an ensemble's spread tells: 20 splits of real proteins.

    PLMLEARN_DATA=data python benchmarks/intervals.py [--backbone mini] [--proteins 1200]

MAPIE makes intervals of an ensemble of regressors (stability, and variants of beta-lactamase and of GB1)
and sets of one of classifiers (DeepLoc 2, proteins with one location). 90 % are promised. An ensemble has
five members, each trained on proteins drawn with replacement. Its spread is the standard deviation over the
members, and is compared with the absolute error by rank. For classifiers it is that of the predicted class's
probability, and the error is 1 - the probability of the true class.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from mapie.classification import SplitConformalClassifier
from mapie.regression import SplitConformalRegressor
from scipy.stats import spearmanr
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import ShuffleSplit

from plmlearn import PLMEnsemble, PLMFrozenMLP, PLMFrozenMLPRegressor
from plmlearn.datasets import fetch_beta_lactamase, fetch_deeploc2, fetch_gb1, fetch_stability

LONGEST = 200  # residues of the proteins of DeepLoc, to be done soon


def some(X: np.ndarray, y: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    rows = np.random.default_rng(0).permutation(len(X))[:n]
    return X[rows], y[rows]


def thirds(X: np.ndarray):
    """Rows to train, to conformalize and to test, twenty times."""
    for train, rest in ShuffleSplit(20, test_size=2 / 3, random_state=0).split(X):
        yield train, rest[: len(train)], rest[len(train) :]


def ensemble(kind, backbone: str) -> PLMEnsemble:
    member = kind(backbone, solver="lbfgs", max_iter=50, alpha=10.0)
    return PLMEnsemble(member, n_members=5, bootstrap=True, random_state=0)


def told(what: str, covered: list, correlations: list) -> None:
    lowest, highest = min(correlations), max(correlations)
    print(f"{what} cover {np.mean(covered):.1%} ({np.std(covered):.1%} between splits)")
    print(f"  spread and error: {np.mean(correlations):.2f} ({lowest:.2f} to {highest:.2f})", flush=True)


def intervals(name: str, X: np.ndarray, y: np.ndarray, backbone: str) -> None:
    covered, correlations = [], []
    for train, held_out, new in thirds(X):
        model = ensemble(PLMFrozenMLPRegressor, backbone).fit(X[train], y[train])
        conformal = SplitConformalRegressor(model, confidence_level=0.9)
        predicted, ends = conformal.conformalize(X[held_out], y[held_out]).predict_interval(X[new])
        covered.append(np.mean((ends[:, 0, 0] <= y[new]) & (y[new] <= ends[:, 1, 0])))
        spread = model.predict(X[new], return_std=True)[1]
        correlations.append(spearmanr(spread, abs(predicted - y[new])).statistic)
    told(f"{name}: intervals", covered, correlations)


def sets(X: np.ndarray, y: np.ndarray, backbone: str) -> None:
    covered, correlations, sizes = [], [], []
    for train, held_out, new in thirds(X):
        model = ensemble(PLMFrozenMLP, backbone).fit(X[train], y[train])
        conformal = SplitConformalClassifier(model, confidence_level=0.9)
        chosen = conformal.conformalize(X[held_out], y[held_out]).predict_set(X[new])[1][:, :, 0]
        covered.append(np.mean(chosen[np.arange(len(new)), y[new]]))
        sizes.append(chosen.sum(axis=1).mean())
        mean, spread = model.predict_proba(X[new], return_std=True)
        rows = np.arange(len(new))
        correlations.append(spearmanr(spread[rows, mean.argmax(axis=1)], 1 - mean[rows, y[new]]).statistic)
    told("DeepLoc 2: sets", covered, correlations)
    print(f"DeepLoc 2: {np.mean(sizes):.1f} of {len(set(y))} locations in a set")


def locations(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Proteins with one location, of the common locations."""
    data = fetch_deeploc2()
    alone = (data.target.sum(axis=1) == 1) & np.array([len(sequence) <= LONGEST for sequence in data.data])
    X, y = data.data[alone], data.target[alone].argmax(axis=1)
    common = np.isin(y, np.flatnonzero(np.bincount(y) >= 200))
    return some(X[common], np.unique(y[common], return_inverse=True)[1], n)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="mini")
    parser.add_argument("--proteins", type=int, default=1200)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    X_gb1, y_gb1 = fetch_gb1(subset="train", return_X_y=True)
    tasks = {
        "stability": fetch_stability(subset="train", return_X_y=True),
        "beta-lactamase": fetch_beta_lactamase(return_X_y=True),
        "GB1": (np.array([sequence[:56] for sequence in X_gb1], dtype=object), y_gb1),
    }
    for name, (X, y) in tasks.items():
        intervals(name, *some(X, y, options.proteins), options.backbone)
    sets(*locations(options.proteins), options.backbone)


if __name__ == "__main__":
    main()
