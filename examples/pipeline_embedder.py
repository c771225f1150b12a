"""Embeddings in a pipeline
========================

A frozen protein language model as the first step of a scikit-learn pipeline."""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from plmlearn import PLMEmbedder
from plmlearn.datasets import fetch_signal_peptides, make_protein_classification

# %%
# Real proteins if the data home has them (see plmlearn.datasets.get_data_home), otherwise generated ones.
try:
    proteins = fetch_signal_peptides(task="type", download_if_missing=False)
    source, bacterial = "SignalP 6", np.flatnonzero(proteins.kingdom == "NEGATIVE")[::6]
    X, y = proteins.data[bacterial], proteins.target[bacterial] != "NO_SP"
except FileNotFoundError:
    source = "generated"
    X, y = make_protein_classification(300, median_length=50, max_length=70, random_state=0)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
print(f"{source} proteins: {len(X_train)} for training, {len(X_test)} for testing")

# %%
# The embedder is a step like any other.
pipeline = Pipeline(
    [
        ("embed", PLMEmbedder("mini")),
        ("scale", StandardScaler()),
        ("classify", LogisticRegression(max_iter=1000)),
    ]
)
# Each protein is embedded once per pooling, for all folds and all values of C.
grid = {"embed__pooling": ["mean", "max"], "classify__C": [0.01, 0.1, 1.0]}
search = GridSearchCV(pipeline, grid, cv=3, scoring="matthews_corrcoef").fit(X_train, y_train)

print("best parameters:", search.best_params_)
print(f"test MCC {search.score(X_test, y_test):.2f}")

# %%
# A map of the embeddings, without labels.
points = PCA(n_components=2).fit_transform(search.best_estimator_[:2].transform(X_test))
figure, ax = plt.subplots(figsize=(5, 4), layout="constrained")
for label, marker in zip(np.unique(y_test), "os"):
    ax.scatter(*points[y_test == label].T, label=label, marker=marker, alpha=0.7)
ax.set(xlabel="first component", ylabel="second component", title="Embeddings of test proteins")
ax.legend(title="class")
figure.savefig("pipeline_embedder.png", dpi=120)
