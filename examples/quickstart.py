"""Fit, predict, score
===================

Fine-tune a protein language model to detect signal peptides."""

import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay, matthews_corrcoef
from sklearn.model_selection import train_test_split

from plmlearn import PLMLoRAClassifier
from plmlearn.datasets import fetch_signal_peptides, make_protein_classification

# %%
# Real proteins if the data home has them (see plmlearn.datasets.get_data_home), otherwise generated ones.
try:
    proteins = fetch_signal_peptides(task="type", download_if_missing=False)
    source, bacterial = "SignalP 6", np.flatnonzero(proteins.kingdom == "NEGATIVE")[::8]
    X, y = proteins.data[bacterial], proteins.target[bacterial] != "NO_SP"
except FileNotFoundError:
    source = "generated"
    X, y = make_protein_classification(250, median_length=50, max_length=70, random_state=0)

X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
print(f"{source} proteins: {len(X_train)} for training, {len(X_test)} for testing")

# %%
# Each epoch prints a line; ``verbose=0`` leaves that out.
clf = PLMLoRAClassifier("mini", epochs=5, batch_size=8, random_state=0)
clf.fit(X_train, y_train)

print(f"trained {clf.n_trainable_parameters_:,} of {clf.n_parameters_:,} parameters")
print(f"test MCC {matthews_corrcoef(y_test, clf.predict(X_test)):.2f}")
print(f"probabilities of the first test protein: {clf.predict_proba(X_test[:1]).round(2)[0]}")

# %%
# scikit-learn's pictures take the estimator (they need matplotlib).
display = ConfusionMatrixDisplay.from_estimator(clf, X_test, y_test, cmap="Blues", colorbar=False)
display.ax_.set(title="Test proteins")
display.figure_.savefig("quickstart.png", dpi=120)
