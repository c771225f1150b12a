"""Cross-validation and grid search
================================

They work as with any scikit-learn estimator; the adaptation method can be searched too."""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV, cross_val_score

from plmlearn import PLMClassifier, PLMLoRAClassifier
from plmlearn.adapters import Frozen, FullFineTuning, LoRA
from plmlearn.datasets import fetch_signal_peptides, make_protein_classification

# %%
# Real proteins if the data home has them (see plmlearn.datasets.get_data_home), otherwise generated ones.
try:
    proteins = fetch_signal_peptides(task="type", download_if_missing=False)
    source, bacterial = "SignalP 6", np.flatnonzero(proteins.kingdom == "NEGATIVE")[::25]
    X, y = proteins.data[bacterial], proteins.target[bacterial] != "NO_SP"
except FileNotFoundError:
    source = "generated"
    X, y = make_protein_classification(100, class_sep=0.3, median_length=50, max_length=70, random_state=0)
print(f"{len(X)} {source} proteins")

# %%
# Layers below the last one are computed once per protein and reused in every epoch, fold and candidate.
lora = PLMLoRAClassifier("mini", last_n_layers=1, epochs=3, random_state=0, verbose=0)
scores = cross_val_score(lora, X, y, cv=3, scoring="matthews_corrcoef")
print("LoRA, MCC of three folds:", scores.round(2))

ranks = GridSearchCV(lora, {"rank": [2, 8]}, cv=3, scoring="matthews_corrcoef").fit(X, y)
print("best rank:", ranks.best_params_["rank"])

# %%
# The adaptation method can be searched too. Parameters of one method are searched as adapter__rank.
methods = GridSearchCV(
    PLMClassifier("mini", epochs=3, random_state=0, verbose=0),
    {"adapter": [Frozen(), LoRA(last_n_layers=1), FullFineTuning(last_n_layers=1)]},
    cv=3,
    scoring="matthews_corrcoef",
).fit(X, y)
found = methods.cv_results_
for method, score in zip(found["param_adapter"], found["mean_test_score"]):
    print(f"{score:6.2f}  {method}")

# %%
# Each fold is a point: a difference as small as theirs means nothing.
figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
names = [type(method).__name__ for method in found["param_adapter"]]
for fold, marker in zip(range(3), "os^"):
    ax.plot(found[f"split{fold}_test_score"], names, marker, label=f"fold {fold + 1}")
ax.set(xlabel="Matthews correlation", title="The last layer, adapted in three ways", ylim=(-0.5, 2.5))
ax.legend()
figure.savefig("cross_validation.png", dpi=120)
