"""Which backbone? Compare frozen embeddings first, which is cheap, then tune the best one.

Both are scored on the same folds, where the best frozen row was also chosen: its score flatters it, the
more so the more rows there are. Keep a test set aside for what you will report.
"""

import sys

import numpy as np
from sklearn.model_selection import GridSearchCV, cross_val_score

from plmlearn import PLMFrozenMLP, PLMLoRAClassifier
from plmlearn.datasets import fetch_signal_peptides, make_protein_classification

# Name the backbones to compare: python examples/compare_backbones.py esm2-8m esm2-35m esm2-150m
backbones = sys.argv[1:] or ["mini"]

# Real proteins where the data home has them (see plmlearn.datasets.get_data_home), else generated ones.
try:
    proteins = fetch_signal_peptides(task="type", download_if_missing=False)
    source, bacterial = "SignalP 6", np.flatnonzero(proteins.kingdom == "NEGATIVE")[::20]
    X, y = proteins.data[bacterial], proteins.target[bacterial] != "NO_SP"
except FileNotFoundError:
    source = "generated"
    X, y = make_protein_classification(100, median_length=50, max_length=70, random_state=0)
print(f"{len(X)} {source} proteins")

# Each protein goes through each backbone once, however many candidates and folds there are.
frozen = GridSearchCV(
    PLMFrozenMLP(learning_rate_init=0.01, max_iter=500, random_state=0),
    {"backbone": backbones, "pooling": ["mean", "max"], "alpha": [1.0, 10.0]},
    cv=3,
    scoring="matthews_corrcoef",
).fit(X, y)
ranked = np.argsort(frozen.cv_results_["rank_test_score"])
for i in ranked:
    print(f"{frozen.cv_results_['mean_test_score'][i]:6.2f}  {frozen.cv_results_['params'][i]}")

# The best backbone and pooling, tuned; a LoRA that mean-pools would be compared with another model.
best = frozen.best_params_
tuned = PLMLoRAClassifier(
    best["backbone"],
    pooling=best["pooling"],
    target_modules="all",  # "mini" is barely pretrained; leave this out on others
    batch_size=8,
    random_state=0,
    verbose=0,
)
scores = cross_val_score(tuned, X, y, cv=3, scoring="matthews_corrcoef")
print(
    f"{scores.mean():6.2f}  LoRA on {best['backbone']}, {best['pooling']} pooling; by fold {scores.round(2)}"
)
print("On so few proteins, differences like those between folds decide nothing.")
