"""How strong the penalty of a perceptron on frozen embeddings should be, by number of proteins and solver.

    PLMLEARN_DATA=data python benchmarks/penalty.py mini FOLDER      # ten minutes on one thread

Perceptrons as :class:`plmlearn.PLMFrozenMLPRegressor` has them, on drawn proteins of GB1 and stability;
Spearman's correlation on 300 validation proteins, means of four draws (one of 400 proteins). "nan" is a
constant.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
from scipy.stats import spearmanr
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from plmlearn import PLMEmbedder
from plmlearn.datasets import fetch_gb1, fetch_stability

ALPHAS = (1e-4, 1, 3, 10, 20)
LENGTH = 56  # of GB1; the rest is the same in all variants
N_DRAWN = 400


def embedded(backbone: str, fetch, subset: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    X, y = fetch(subset=subset, return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(X))[:n]
    sequences = [X[row][:LENGTH] if fetch is fetch_gb1 else X[row] for row in rows]
    return PLMEmbedder(backbone).fit_transform(sequences), np.asarray(y)[rows]


def score(solver: str, alpha: float, n: int, seed: int, train: tuple, valid: tuple) -> float:
    (X, y), (X_valid, y_valid) = train, valid
    drawn = np.random.default_rng(seed).permutation(len(X))[:n]
    perceptron = MLPRegressor(hidden_layer_sizes=(64, 64), alpha=alpha, solver=solver, random_state=seed)
    predicted = make_pipeline(StandardScaler(), perceptron).fit(X[drawn], y[drawn]).predict(X_valid)
    return spearmanr(predicted, y_valid)[0] if predicted.std() > 1e-6 else np.nan


def main() -> None:
    warnings.simplefilter("ignore")
    print(
        "| backbone | data | proteins | solver | " + " | ".join(f"alpha={alpha:g}" for alpha in ALPHAS) + " |"
    )
    for backbone in sys.argv[1:] or ["mini"]:
        for name, fetch in {"gb1": fetch_gb1, "stability": fetch_stability}.items():
            train, valid = (
                embedded(backbone, fetch, "train", N_DRAWN),
                embedded(backbone, fetch, "valid", 300),
            )
            for n in (20, 50, 100, N_DRAWN):
                for solver in ("adam", "lbfgs"):
                    seeds = range(4 if n < N_DRAWN else 1)
                    scores = [
                        np.mean([score(solver, alpha, n, seed, train, valid) for seed in seeds])
                        for alpha in ALPHAS
                    ]
                    cells = " | ".join(f"{value:.3f}" for value in scores)
                    print(f"| {backbone} | {name} | {n} | {solver} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
