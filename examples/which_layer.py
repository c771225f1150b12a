"""Which layer?
============

Probe all layers of a backbone in one pass, then tune up to the best one."""

import numpy as np

from plmlearn import PLMLoRAClassifier, layer_sweep
from plmlearn.datasets import fetch_signal_peptides, make_protein_classification
from plmlearn.model_selection import cluster_sequences
from plmlearn.plotting import LayerSweepDisplay

# %%
# Real proteins if the data home has them (see plmlearn.datasets.get_data_home), otherwise generated ones.
try:
    proteins = fetch_signal_peptides(task="type", download_if_missing=False)
    source, bacterial = "SignalP 6", np.flatnonzero(proteins.kingdom == "NEGATIVE")[::12]
    X, y = proteins.data[bacterial], proteins.target[bacterial] != "NO_SP"
except FileNotFoundError:
    source = "generated"
    X, y = make_protein_classification(160, median_length=50, max_length=70, random_state=0)

clusters = cluster_sequences(X, min_identity=0.3, method="exact")
print(f"{len(X)} {source} proteins in {len(set(clusters))} clusters")

# %%
# Intervals are corrected for the dependence of folds.
sweep = layer_sweep("mini", X, y, cv=4, groups=clusters, scoring="mcc")
print(sweep)

try:
    display = LayerSweepDisplay(sweep).plot()
    display.figure_.savefig("layers.png")
except ImportError:
    print('No picture: pip install "plmlearn[plot]"')

# %%
# The layers above the chosen one are neither run nor held in memory.
clf = PLMLoRAClassifier("mini", n_layers=sweep.best_layer, epochs=2, random_state=0, verbose=0).fit(X, y)
print(f"tuned: {clf.n_parameters_:,} parameters, {clf.n_trainable_parameters_:,} trained")
