"""Fitness of variants
===================

Predict variants with more mutations than in training: baselines and a tuned encoder."""

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline

from plmlearn import PLMFrozenMLPRegressor, PLMRegressor
from plmlearn.adapters import FullFineTuning
from plmlearn.baselines import AdditiveMutationRegressor, CompositionVectorizer, HomologyRegressor
from plmlearn.datasets import fetch_gb1, make_mutational_landscape

# %%
# Real variants if the data home has them (see plmlearn.datasets.get_data_home), otherwise generated ones.
try:
    source, length, n = "GB1", 56, 300
    train, test = (
        fetch_gb1(split="three_vs_rest", subset=subset, download_if_missing=False)
        for subset in ("train", "test")
    )
    X_train, X_test = ([s[:length] for s in part.data[:n]] for part in (train, test))
    y_train, y_test = train.target[:n], test.target[:n]
except OSError:
    source = "generated"
    parent = "MQYKLILNGKTLKGETTTEAVDAATAEKVFKQYANDNGVDGEWTYDDATK"
    X, y = make_mutational_landscape(400, parent=parent, random_state=0)
    order = np.random.default_rng(0).permutation(len(X))
    X_train, X_test, y_train, y_test = X[order[:300]], X[order[300:]], y[order[:300]], y[order[300:]]

# %%
# From the cheapest model to the tuned encoder.
models = {
    "nearest variants": HomologyRegressor(),
    "ridge on one-hot sites": make_pipeline(CompositionVectorizer(kind="onehot"), RidgeCV()),
    "additive": AdditiveMutationRegressor(order=1),
    "additive and pairs of sites": AdditiveMutationRegressor(order=2),
    "frozen MLP": PLMFrozenMLPRegressor("mini", solver="lbfgs", max_iter=200, random_state=0),
    "full fine-tuning": PLMRegressor(
        "mini", adapter=FullFineTuning(), epochs=2, head_dropout=0.0, random_state=0, verbose=0
    ),
}
print(f"{len(X_train)} training and {len(X_test)} test variants ({source}). Spearman's correlation:")
predicted = {name: model.fit(X_train, y_train).predict(X_test) for name, model in models.items()}
scores = {name: spearmanr(values, y_test)[0] for name, values in predicted.items()}
for name, score in scores.items():
    print(f"{name:28} {score:.2f}")

# %%
figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.barh(list(scores), list(scores.values()), color="C0", alpha=0.6)
ax.set(xlabel="Spearman's correlation on test variants", title="Fitness of variants")
ax.invert_yaxis()
figure.savefig("mutations.png", dpi=120)
