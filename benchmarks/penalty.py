"""How strong the penalty of a perceptron on frozen embeddings should be, by number of proteins and solver.

    PLMLEARN_DATA=data python benchmarks/penalty.py mini FOLDER      # ten minutes on one thread

Perceptrons as :class:`plmlearn.PLMFrozenMLPRegressor` and ``PLMFrozenMLP`` have them, on drawn proteins of
GB1, stability and membrane proteins of DeepLoc 2 (their first 256 residues). Spearman's correlation, for
membrane proteins Matthews', on 300 validation proteins, means of four draws (one of 400 proteins). "nan" is
a constant.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import matthews_corrcoef
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from plmlearn import PLMEmbedder
from plmlearn.datasets import fetch_deeploc2, fetch_gb1, fetch_stability

ALPHAS = (1e-4, 1, 3, 10, 20)
GB1_LENGTH = 56  # the rest is the same in all variants
N_DRAWN = 400
SIZES = {"gb1": (20, 50, 100, N_DRAWN), "stability": (20, 50, 100, N_DRAWN), "membrane": (100, N_DRAWN)}


def embedded(backbone: str, name: str, subset: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    if name == "membrane":
        data = fetch_deeploc2(task="membrane", partitions=(0, 1, 2) if subset == "train" else (3,))
        X, y, longest = data.data, np.asarray(data.target), 256
    else:
        fetch, longest = (fetch_gb1, GB1_LENGTH) if name == "gb1" else (fetch_stability, None)
        X, y = fetch(subset=subset, return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(X))[:n]
    return PLMEmbedder(backbone).fit_transform([X[row][:longest] for row in rows]), np.asarray(y)[rows]


def score(name: str, solver: str, alpha: float, n: int, seed: int, train: tuple, valid: tuple) -> float:
    (X, y), (X_valid, y_valid) = train, valid
    drawn = np.random.default_rng(seed).permutation(len(X))[:n]
    kind = MLPClassifier if name == "membrane" else MLPRegressor
    perceptron = kind(hidden_layer_sizes=(64, 64), alpha=alpha, solver=solver, random_state=seed)
    predicted = make_pipeline(StandardScaler(), perceptron).fit(X[drawn], y[drawn]).predict(X_valid)
    if name == "membrane":
        return float(matthews_corrcoef(y_valid, predicted))
    return spearmanr(predicted, y_valid)[0] if predicted.std() > 1e-6 else np.nan


def main() -> None:
    warnings.simplefilter("ignore")
    print(
        "| backbone | data | proteins | solver | " + " | ".join(f"alpha={alpha:g}" for alpha in ALPHAS) + " |"
    )
    for backbone in sys.argv[1:] or ["mini"]:
        for name, sizes in SIZES.items():
            train = embedded(backbone, name, "train", N_DRAWN)
            valid = embedded(backbone, name, "valid", 300)
            for n in sizes:
                for solver in ("adam", "lbfgs"):
                    seeds = range(4 if n < N_DRAWN else 1)
                    scores = [
                        np.mean([score(name, solver, alpha, n, seed, train, valid) for seed in seeds])
                        for alpha in ALPHAS
                    ]
                    cells = " | ".join(f"{value:.3f}" for value in scores)
                    print(f"| {backbone} | {name} | {n} | {solver} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
