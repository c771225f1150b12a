"""Which backbone?
===============

Compare frozen embeddings first, because that is cheap. Then tune the best one.

The best frozen model is chosen and scored on the same folds, so its score is too good. Keep a separate test
set for the score that you report."""

import sys

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV, cross_val_score

from plmlearn import PLMFrozenMLP, PLMLoRAClassifier
from plmlearn.datasets import fetch_signal_peptides, make_protein_classification

# Name the backbones to compare: python examples/compare_backbones.py esm2-8m esm2-35m esm2-150m
backbones = sys.argv[1:] or ["mini"]

# %%
# Real proteins if the data home has them (see plmlearn.datasets.get_data_home), otherwise generated ones.
try:
    proteins = fetch_signal_peptides(task="type", download_if_missing=False)
    source, bacterial = "SignalP 6", np.flatnonzero(proteins.kingdom == "NEGATIVE")[::20]
    X, y = proteins.data[bacterial], proteins.target[bacterial] != "NO_SP"
except FileNotFoundError:
    source = "generated"
    X, y = make_protein_classification(100, class_sep=0.3, median_length=50, max_length=70, random_state=0)
print(f"{len(X)} {source} proteins")

# %%
# Each protein passes through each backbone once, however many candidates and folds there are.
frozen = GridSearchCV(
    PLMFrozenMLP(learning_rate_init=0.01, max_iter=500, random_state=0),
    {"backbone": backbones, "pooling": ["mean", "max"], "alpha": [1.0, 10.0]},
    cv=3,
    scoring="matthews_corrcoef",
).fit(X, y)
found = frozen.cv_results_
names = ["{backbone}, {pooling}, alpha {alpha:g}".format(**candidate) for candidate in found["params"]]
print(*(f"{score:6.2f}  {name}" for score, name in zip(found["mean_test_score"], names)), sep="\n")

# %%
# Tune the best backbone with the best pooling, so that only the tuning differs.
best = {name: frozen.best_params_[name] for name in ("backbone", "pooling")}
tuned = PLMLoRAClassifier(
    **best,
    **{"batch_size": 8, "random_state": 0, "verbose": 0},
)
scores = cross_val_score(tuned, X, y, cv=3, scoring="matthews_corrcoef")
print(f"{scores.mean():6.2f}  LoRA, {best}")
# %%
# With so few proteins, differences as small as those between folds mean nothing.
figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
by_fold = np.column_stack([*(found[f"split{fold}_test_score"] for fold in range(3))])
ax.plot([*by_fold, scores], [f"frozen {name}" for name in names] + ["LoRA"], "o", color="#0072B2", alpha=0.7)
ax.set(xlabel="Matthews correlation of each fold", title=f"{len(X)} {source} proteins")
figure.savefig("compare_backbones.png", dpi=120)
