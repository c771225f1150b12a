"""How much of a score comes from leaks?
=====================================

One model, one set of pairs, three splits."""

import warnings

import matplotlib
import numpy as np
from sklearn.model_selection import StratifiedKFold, cross_val_score

from plmlearn import PLMPairClassifier
from plmlearn.adapters import Frozen
from plmlearn.datasets import make_proteins
from plmlearn.model_selection import PairKFold, PairWarning

matplotlib.use("Agg")  # write the figure to a file, without a window
import matplotlib.pyplot as plt

# %%
# These generated pairs contain no information on interactions. Some proteins interact with nearly all others
# and some with nearly none, independently of their sequences. A model can only remember which.
rng = np.random.default_rng(0)
proteins = make_proteins(60, median_length=40, max_length=60, random_state=0)
sticky = rng.choice([-2.0, 2.0], len(proteins))
first, second = np.triu_indices(len(proteins), k=1)
rows = rng.permutation(len(first))[:800]
first, second = first[rows], second[rows]
X = np.column_stack([proteins[first], proteins[second]])
y = (sticky[first] + sticky[second] + rng.normal(size=len(rows)) > 0).astype(int)

model = PLMPairClassifier(
    "mini", adapter=Frozen(), head="mlp", epochs=15, batch_size=32, head_lr=3e-3, random_state=0, verbose=0
)
splits = {
    "pairs at random": StratifiedKFold(3, shuffle=True, random_state=0),
    "one protein new (C2)": PairKFold("C2", 3, random_state=0),
    "both proteins new (C3)": PairKFold("C3", 3, random_state=0),
}
warnings.simplefilter("ignore", PairWarning)  # how many pairs a fold leaves out
scores = {name: cross_val_score(model, X, y, cv=cv, scoring="roc_auc") for name, cv in splits.items()}
for name, values in scores.items():
    print(f"{len(X)} generated pairs, {name}: AUROC {values.mean():.2f}")

# %%
# Each dot is a fold.
figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
for place, values in enumerate(scores.values()):
    ax.bar(place, values.mean(), width=0.6, color="C0", alpha=0.4)
    ax.plot([place] * len(values), values, "o", color="C0")
ax.axhline(0.5, color="0.5", linestyle="--")
ax.text(2.45, 0.51, "chance", color="0.4")
ax.set_xticks(range(3), scores)
ax.set(xlim=(-0.5, 2.8), ylim=(0, 1), ylabel="AUROC", title="These pairs can only be memorised")
figure.savefig("leakage.png", dpi=150)
