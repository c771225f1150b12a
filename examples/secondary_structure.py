"""A label for every residue: secondary structure
==============================================

Some residues were not resolved. They count neither in training nor in scores."""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV

from plmlearn import PLMResidueClassifier
from plmlearn.adapters import Frozen
from plmlearn.datasets import fetch_secondary_structure, make_residue_labels
from plmlearn.metrics import residue_accuracy, residue_table

# %%
# Real proteins if the data home has them (see plmlearn.datasets.get_data_home), otherwise generated ones.
# Labels are strings of H (helix), E (strand) and C (neither); "-" means that a residue was not resolved.
try:
    train = fetch_secondary_structure(subset="train", download_if_missing=False)
    test = fetch_secondary_structure(subset="test", download_if_missing=False)
    short = [i for i, sequence in enumerate(train.data) if len(sequence) < 120][:80]
    source, X, y = "NetSurfP-2", train.data[short], train.target[short]
    X_test, y_test = test.data[:20], test.target[:20]
except FileNotFoundError:
    source = "generated"
    X, y = make_residue_labels(100, missing=0.07, median_length=60, max_length=90, random_state=0)
    X, X_test, y, y_test = X[:80], X[80:], y[:80], y[80:]
print(f"{len(X)} {source} proteins for training, {len(X_test)} for testing")

# %%
# The encoder is frozen; the head is two convolutions over 7 residues.
clf = PLMResidueClassifier(
    "mini", adapter=Frozen(), head="cnn", ignore_label="-", epochs=10, batch_size=8, random_state=0, verbose=0
)
clf.fit(X, y)
print(f"Q3 {clf.score(X_test, y_test):.2f}")
print(X_test[0][:60], y_test[0][:60], clf.predict(X_test[:1])[0][:60], sep="\n")
for row in residue_table(y_test, clf.predict(X_test), ignore_label="-"):
    print(f"{row['label']}: precision {row['precision']:.2f}, recall {row['recall']:.2f}")

# %%
# One array of probabilities per protein, a column per class.
probabilities = clf.predict_proba(X_test[:1])[0]
figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
ax.stackplot(np.arange(1, len(probabilities) + 1), probabilities.T, labels=clf.classes_, alpha=0.7)
ax.set(xlabel="residue", ylabel="probability", title="Secondary structure along a protein", ylim=(0, 1))
ax.margins(x=0)
figure.legend(loc="outside right upper")
figure.savefig("secondary_structure.png", dpi=120)

# %%
# Grid search works as usual. The scorer ignores residues that were not resolved.
scorer = make_scorer(residue_accuracy, ignore_label="-")
search = GridSearchCV(clf, {"head": ["linear", "cnn", "crf"]}, cv=2, scoring=scorer).fit(X[:40], y[:40])
for params, score in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"]):
    print(f"{score:.2f}  {params['head']}")
