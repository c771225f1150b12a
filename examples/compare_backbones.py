"""Which backbone?
===============

Compare frozen embeddings first, because that is cheap. Then tune the best one.

The best frozen model is chosen and scored on the same folds. Its score is therefore too good, and more so
the more candidates there are. Keep a separate test set for the score that you report.
"""

import sys

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
    X, y = make_protein_classification(100, median_length=50, max_length=70, random_state=0)
print(f"{len(X)} {source} proteins")

# %%
# Each protein passes through each backbone once, however many candidates and folds there are.
frozen = GridSearchCV(
    PLMFrozenMLP(learning_rate_init=0.01, max_iter=500, random_state=0),
    {"backbone": backbones, "pooling": ["mean", "max"], "alpha": [1.0, 10.0]},
    cv=3,
    scoring="matthews_corrcoef",
).fit(X, y)
ranked = np.argsort(frozen.cv_results_["rank_test_score"])
for i in ranked:
    print(f"{frozen.cv_results_['mean_test_score'][i]:6.2f}  {frozen.cv_results_['params'][i]}")

# %%
# Tune the best backbone with the best pooling, so that only the tuning differs.
best = frozen.best_params_
tuned = PLMLoRAClassifier(
    best["backbone"],
    pooling=best["pooling"],
    target_modules="all",  # "mini" has had little pretraining; leave this out for others
    batch_size=8,
    random_state=0,
    verbose=0,
)
scores = cross_val_score(tuned, X, y, cv=3, scoring="matthews_corrcoef")
print(
    f"{scores.mean():6.2f}  LoRA on {best['backbone']}, {best['pooling']} pooling; by fold {scores.round(2)}"
)
print("With so few proteins, differences as small as those between folds mean nothing.")
