"""Is fine-tuning worth it?
========================

Compare it with cheaper models, on folds that share no homologues."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from plmlearn import PLMFrozenMLP, PLMLoRAClassifier
from plmlearn.baselines import CompositionVectorizer, HomologyClassifier, compare
from plmlearn.datasets import fetch_signal_peptides, make_protein_classification
from plmlearn.model_selection import ClusterKFold, cluster_sequences

# %%
# Real proteins if the data home has them (see plmlearn.datasets.get_data_home), otherwise generated ones.
try:
    proteins = fetch_signal_peptides(task="type", download_if_missing=False)
    source, bacterial = "SignalP 6", np.flatnonzero(proteins.kingdom == "NEGATIVE")[::16]
    X, y = proteins.data[bacterial], proteins.target[bacterial] != "NO_SP"
except FileNotFoundError:
    source = "generated"
    X, y = make_protein_classification(160, median_length=50, max_length=70, random_state=0)

# With whole clusters in each fold, the homology baseline finds few similar proteins. This is intended.
warnings.filterwarnings("ignore", ".*resemble no training sequence")

clusters = cluster_sequences(X, min_identity=0.3, method="exact")
print(f"{len(X)} {source} proteins in {len(set(clusters))} clusters")

# %%
# Every model is fitted on the same folds.
comparison = compare(
    {
        "composition": make_pipeline(CompositionVectorizer(), LogisticRegression(C=100)),
        "homology": HomologyClassifier(method="exact"),
        "frozen MLP": PLMFrozenMLP("mini", max_iter=1000, random_state=0),
        "LoRA": PLMLoRAClassifier("mini", batch_size=8, epochs=4, verbose=0),
    },
    X,
    y,
    groups=clusters,
    cv=ClusterKFold(n_splits=3),
    scoring="matthews_corrcoef",
    random_states=[0],
)
print(comparison)

# %%
# Intervals are corrected for the dependence of folds.
figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
for row in comparison.rows:
    ax.errorbar(row["mean"], row["estimator"], xerr=row["high"] - row["mean"], fmt="o", color="C0", capsize=4)
ax.set(xlabel="Matthews' correlation, 95% interval", title="Folds without homologues")
ax.invert_yaxis()
figure.savefig("baselines.png", dpi=120)
