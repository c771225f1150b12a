"""What conformal intervals and sets cover on real proteins: 20 splits of stability and of DeepLoc 2.

    PLMLEARN_DATA=data python benchmarks/intervals.py [--backbone mini] [--proteins 1200]

MAPIE makes them of an ensemble, and of a classifier of the proteins' only location. 90 % are promised.
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
from plmlearn.datasets import fetch_deeploc2, fetch_stability

LONGEST = 200  # residues of the proteins of DeepLoc, to be done soon


def some(X: np.ndarray, y: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    rows = np.random.default_rng(0).permutation(len(X))[:n]
    return X[rows], y[rows]


def thirds(X: np.ndarray):
    """Rows to train, to conformalize and to test, twenty times."""
    for train, rest in ShuffleSplit(20, test_size=2 / 3, random_state=0).split(X):
        yield train, rest[: len(train)], rest[len(train) :]


def intervals(backbone: str, n: int) -> None:
    X, y = some(*fetch_stability(subset="train", return_X_y=True), n)
    member = PLMFrozenMLPRegressor(backbone, solver="lbfgs", max_iter=50, alpha=10.0)
    covered, sure = [], []
    for train, held_out, new in thirds(X):
        model = PLMEnsemble(member, n_members=3, random_state=0).fit(X[train], y[train])
        conformal = SplitConformalRegressor(model, confidence_level=0.9)
        predicted, ends = conformal.conformalize(X[held_out], y[held_out]).predict_interval(X[new])
        covered.append(np.mean((ends[:, 0, 0] <= y[new]) & (y[new] <= ends[:, 1, 0])))
        sure.append(spearmanr(model.predict(X[new], return_std=True)[1], abs(predicted - y[new]))[0])
    print(f"stability: intervals cover {np.mean(covered):.1%} ({np.std(covered):.1%} between splits)")
    print(f"stability: rank correlation of the ensemble's spread and its error {np.mean(sure):.2f}")


def sets(backbone: str, n: int) -> None:
    data = fetch_deeploc2()
    alone = (data.target.sum(axis=1) == 1) & np.array([len(sequence) <= LONGEST for sequence in data.data])
    X, y = data.data[alone], data.target[alone].argmax(axis=1)
    common = np.isin(y, np.flatnonzero(np.bincount(y) >= 200))
    X, y = some(X[common], np.unique(y[common], return_inverse=True)[1], n)
    covered, sizes = [], []
    for train, held_out, new in thirds(X):
        model = PLMFrozenMLP(backbone, solver="lbfgs", max_iter=50, alpha=10.0, random_state=0)
        conformal = SplitConformalClassifier(model.fit(X[train], y[train]), confidence_level=0.9)
        chosen = conformal.conformalize(X[held_out], y[held_out]).predict_set(X[new])[1][:, :, 0]
        covered.append(np.mean(chosen[np.arange(len(new)), y[new]]))
        sizes.append(chosen.sum(axis=1).mean())
    print(f"DeepLoc 2: sets cover {np.mean(covered):.1%} ({np.std(covered):.1%} between splits)")
    print(f"DeepLoc 2: {np.mean(sizes):.1f} of {len(set(y))} locations in a set")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="mini")
    parser.add_argument("--proteins", type=int, default=1200)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    intervals(options.backbone, options.proteins)
    sets(options.backbone, options.proteins)


if __name__ == "__main__":
    main()
