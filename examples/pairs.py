"""Do two proteins interact?
=========================

A frozen and a tuned encoder, tested on new proteins (C3)."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import RocCurveDisplay

from plmlearn import PLMPairClassifier
from plmlearn.adapters import Frozen, LoRA
from plmlearn.baselines import PairDegreeClassifier, PairSimilarityClassifier
from plmlearn.datasets import fetch_ppi, make_protein_pairs
from plmlearn.metrics import classification_table
from plmlearn.model_selection import PairKFold, PairWarning, pair_leakage

# %%
# Real pairs if the data home has them (see plmlearn.datasets.get_data_home), otherwise generated ones.
try:
    train, test = (fetch_ppi(subset=subset, download_if_missing=False) for subset in ("train", "test"))
    source, n, rng = "Bernett", 150, np.random.default_rng(0)
    short = [np.flatnonzero([max(map(len, pair)) < 200 for pair in part.data]) for part in (train, test)]
    (X_train, y_train), (X_test, y_test) = (
        (part.data[rows], part.target[rows])
        for part, rows in zip((train, test), (rng.permutation(rows)[:n] for rows in short))
    )
except OSError:
    source = "generated"
    X, y = make_protein_pairs(
        600, n_proteins=200, class_sep=0.8, median_length=40, max_length=60, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PairWarning)  # how many pairs join training and test proteins
        training, testing = next(PairKFold("C3", n_splits=3, random_state=0).split(X, y))
    X_train, y_train, X_test, y_test = X[training], y[training], X[testing], y[testing]

print(f"{len(X_train)} training and {len(X_test)} test pairs ({source})")
print(f"{len(np.unique(X_train))} proteins in the training pairs")
print(pair_leakage(X_train, X_test, y_train, y_test))

# %%
# Two models that see no sequences, or only similar ones; then two that do.
head = {"combine": "symmetric", "head": "mlp", "head_hidden": 64, "random_state": 0, "verbose": 0}
models = {
    "degree only": PairDegreeClassifier(),
    "similarity only": PairSimilarityClassifier(method="exact"),
    "frozen MLP": PLMPairClassifier("mini", adapter=Frozen(), epochs=20, **head),
    "LoRA": PLMPairClassifier("mini", adapter=LoRA(last_n_layers=1), epochs=3, batch_size=32, **head),
}
figure, ax = plt.subplots(figsize=(5, 5), layout="constrained")
for name, model in models.items():
    proba = model.fit(X_train, y_train).predict_proba(X_test)[:, 1]
    table = classification_table(y_test, (proba > 0.5).astype(int), proba)
    print(f"{name:16}", "  ".join(f"{metric} {value:.2f}" for metric, value in table.items()))
    RocCurveDisplay.from_predictions(y_test, proba, name=name, ax=ax)
ax.set(title="Pairs of new proteins")
figure.savefig("pairs.png", dpi=120)
