"""Intervals and sets that hold
============================

How sure is a prediction? An ensemble says where its members disagree; MAPIE makes intervals and sets that
cover 90 % of new proteins."""

import numpy as np
from mapie.classification import SplitConformalClassifier
from mapie.regression import CrossConformalRegressor, SplitConformalRegressor
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GroupKFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from plmlearn import PLMEmbedder, PLMEnsemble
from plmlearn.datasets import fetch_stability, make_protein_regression
from plmlearn.plotting import PredictedMeasuredDisplay

# %%
# Real proteins if the data home has them (see plmlearn.datasets.get_data_home), otherwise generated ones.
try:
    source, stability = "stability", fetch_stability(subset="train", download_if_missing=False)
    rows = np.random.default_rng(0).permutation(len(stability.data))[:600]
    X, y = stability.data[rows], stability.target[rows]
except OSError:
    source, (X, y) = "generated", make_protein_regression(600, max_length=50, random_state=0)
features = (PLMEmbedder("mini"), StandardScaler())
member = make_pipeline(*features, RidgeCV(np.logspace(0, 4, 9)))
classifier = make_pipeline(*features, LogisticRegression(max_iter=1000, C=0.01))
classes = np.searchsorted(np.quantile(y, [1 / 3, 2 / 3]), y)  # 0 low, 1 middle, 2 high

# %%
# Train, conformalize on other proteins, predict a third part; twenty times. No protein counts twice.
covered, found = {"intervals": [], "sets": []}, []
for train, rest in ShuffleSplit(20, train_size=200, random_state=0).split(X):
    held_out, new = rest[:200], rest[200:]
    model = PLMEnsemble(member, n_members=2, bootstrap=True, random_state=0).fit(X[train], y[train])
    conformal = SplitConformalRegressor(model, confidence_level=0.9).conformalize(X[held_out], y[held_out])
    predicted, intervals = conformal.predict_interval(X[new])
    low, high = intervals[:, :, 0].T
    covered["intervals"].append(np.mean((low <= y[new]) & (y[new] <= high)))
    found.append(spearmanr(model.predict(X[new], return_std=True)[1], abs(predicted - y[new]))[0])
    sets = SplitConformalClassifier(classifier.fit(X[train], classes[train]), confidence_level=0.9)
    chosen = sets.conformalize(X[held_out], classes[held_out]).predict_set(X[new])[1][:, :, 0]
    covered["sets"].append(np.mean(chosen[np.arange(len(new)), classes[new]]))
print(f"Share of new proteins covered, mean of 20 splits ({source}); 90 % are promised:")
print(*(f"{name} {np.mean(shares):.1%}" for name, shares in covered.items()), sep=", ")
print(f"Spread of the ensemble against its error, Spearman's correlation: {np.mean(found):.2f}")

# %%
# Cross-conformal: every protein trains and calibrates. With groups, no family does both at once.
families = np.arange(400) // 4  # your clusters, as of plmlearn.model_selection.cluster_sequences
crossed = CrossConformalRegressor(member, confidence_level=0.9, cv=GroupKFold(5))
crossed.fit_conformalize(X[:400], y[:400], groups=families)
predicted, intervals = crossed.predict_interval(X[400:])
display = PredictedMeasuredDisplay.from_predictions(y[400:], predicted, intervals=intervals)
display.figure_.savefig("intervals.png", dpi=120)
