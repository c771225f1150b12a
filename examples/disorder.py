"""A number for every residue: disorder
====================================

Many residues were not measured. They are nan, in training and in scores."""

import matplotlib.pyplot as plt
import numpy as np

from plmlearn import PLMResidueRegressor
from plmlearn.adapters import LoRA
from plmlearn.datasets import fetch_disorder, make_proteins
from plmlearn.metrics import residue_spearman

# %%
# Real proteins if the data home has them (see plmlearn.datasets.get_data_home), otherwise generated ones.
# The numbers are Z-scores of chemical shifts. Below 8, a residue is disordered. nan means not measured.
try:
    train = fetch_disorder(subset="train", download_if_missing=False)
    test = fetch_disorder(subset="test", download_if_missing=False)
    source = "CheZOD"
    X, y, X_test, y_test = train.data[:120], train.target[:120], test.data[:30], test.target[:30]
except FileNotFoundError:
    source = "generated"
    rng = np.random.default_rng(0)
    X = make_proteins(60, median_length=60, max_length=90, random_state=0)
    order = [np.convolve([aa in "AILMFVWC" for aa in s], np.ones(7) / 7, "same") for s in X]
    y = [np.where(rng.random(len(row)) < 0.2, np.nan, 16 * row) for row in order]
    X, X_test, y, y_test = X[:45], X[45:], y[:45], y[45:]
measured = np.mean(np.concatenate([~np.isnan(row) for row in y]))
print(f"{len(X)} {source} proteins for training; {measured:.0%} of their residues were measured")

# %%
# Layers below the last one are computed once per protein. The head has the convolutions of SETH.
reg = PLMResidueRegressor(
    "mini", adapter=LoRA(last_n_layers=1), head="cnn", epochs=8, batch_size=8, random_state=0, verbose=0
)
reg.fit(X, y)
print(f"Spearman's correlation over all residues {reg.score(X_test, y_test):.2f}")
print(f"mean over proteins {residue_spearman(y_test, reg.predict(X_test), average='protein'):.2f}")

# %%
# One test protein. Gaps in the line were not measured.
figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
place = np.arange(1, len(y_test[0]) + 1)
ax.plot(place, y_test[0], label="measured", color="0.4")
ax.plot(place, reg.predict(X_test[:1])[0], label="predicted", color="C1")
ax.axhspan(ax.get_ylim()[0], 8, color="C0", alpha=0.1, label="disordered")
ax.set(xlabel="residue", ylabel="Z-score", title="Disorder along a protein")
ax.legend()
figure.savefig("disorder.png", dpi=120)

scores = reg.predict(X_test[:1])[0]
print("".join("d" if score < 8 else "." for score in scores))
