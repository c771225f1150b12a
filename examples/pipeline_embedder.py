"""Embeddings of a frozen protein language model inside a scikit-learn pipeline."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from plmlearn import PLMEmbedder
from plmlearn.datasets import fetch_signal_peptides, make_protein_classification

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
