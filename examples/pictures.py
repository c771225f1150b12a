"""Pictures of a tuned model
=========================

Training, errors, embeddings, attention, and residues that matter."""

import matplotlib

matplotlib.use("Agg")  # write figures to files, without a window
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay

from plmlearn import PLMLoRAClassifier, plotting
from plmlearn.datasets import fetch_signal_peptides, make_protein_classification
from plmlearn.model_selection import ClusterShuffleSplit, cluster_sequences

# %%
# Real proteins if the data home has them (see plmlearn.datasets.get_data_home), otherwise generated ones.
try:
    proteins = fetch_signal_peptides(task="type", download_if_missing=False)
    source, rows = "SignalP 6", np.flatnonzero(proteins.kingdom == "NEGATIVE")[::7]
    X, y = proteins.data[rows], proteins.target[rows]
except FileNotFoundError:
    source = "generated"
    X, y = make_protein_classification(200, n_classes=3, median_length=40, max_length=60, random_state=0)
clusters = cluster_sequences(X, min_identity=0.3, method="exact")
train, test = next(ClusterShuffleSplit(1, test_size=0.4, random_state=0).split(X, y, clusters))
X_train, X_test, y_train, y_test = X[train], X[test], y[train], y[test]
print(f"{len(X_train)} {source} proteins for training, {len(X_test)} for testing")

options = {"early_stopping": True, "scoring": "mcc", "random_state": 0, "verbose": 0}
clf = PLMLoRAClassifier("mini", last_n_layers=2, epochs=8, lr=3e-3, **options)
clf.fit(X_train, y_train, groups=clusters[train])
y_pred = clf.predict(X_test)

# %%
# Every Display draws on the axes that it is given.
figure, axes = plt.subplots(3, 2, figsize=(12, 14), layout="constrained")
plotting.LearningCurvesDisplay.from_estimator(clf, ax=axes[0, 0])
plotting.LeakageDisplay.from_split(X_train, X_test, ax=axes[0, 1])
ConfusionMatrixDisplay.from_predictions(y_test, y_pred, cmap="cividis", ax=axes[1, 0])
axes[1, 0].set_title("Confusion")
plotting.ClassScoresDisplay.from_predictions(y_test, y_pred, ax=axes[1, 1])
plotting.ReliabilityDisplay.from_estimator(clf, X_test, y_test, ax=axes[2, 0])
plotting.EmbeddingMapDisplay.from_estimator(clf, X_test, y_test, ax=axes[2, 1])
figure.savefig("model.png", dpi=100)

# %%
# One protein: which residues speak for its class, and what the tuned layers look at.
protein = X_test[int(np.argmax(clf.predict_proba(X_test).max(axis=1)))]
plotting.AttributionDisplay.from_estimator(clf, protein).figure_.savefig("attribution.png", dpi=100)

# %%
plotting.AttentionDisplay.from_estimator(clf, protein).figure_.savefig("attention.png", dpi=100)
print("model.png, attribution.png and attention.png are written")
