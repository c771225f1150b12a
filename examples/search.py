"""A search that ends bad candidates early, and goes on after a crash
===================================================================

Search for an adapter, its rank and a learning rate. The trials are kept in a file."""

import tempfile
from pathlib import Path

import numpy as np
from scipy.stats import loguniform

from plmlearn import PLMClassifier
from plmlearn.adapters import IA3, LoRA
from plmlearn.datasets import fetch_signal_peptides, make_protein_classification
from plmlearn.plotting import SearchDisplay
from plmlearn.search import PLMSearchCV

# %%
# Real proteins if the data home has them (see plmlearn.datasets.get_data_home), otherwise generated ones.
try:
    proteins = fetch_signal_peptides(task="type", download_if_missing=False)
    source, bacterial = "SignalP 6", np.flatnonzero(proteins.kingdom == "NEGATIVE")[::25]
    X, y = proteins.data[bacterial], proteins.target[bacterial] != "NO_SP"
except FileNotFoundError:
    source = "generated"
    X, y = make_protein_classification(100, median_length=50, max_length=70, random_state=0)
print(f"{len(X)} {source} proteins")

# %%
# Optuna suggests ten candidates. The layers below the last one are computed once for all of them. A candidate
# ends after an epoch of its first fold if it is below the median of the others, and after two folds if it is
# worse than the best one on both.
journal = Path(tempfile.mkdtemp()) / "search.log"
search = PLMSearchCV(
    PLMClassifier("mini", epochs=4, random_state=0, verbose=0),
    {
        "adapter": [LoRA(last_n_layers=1), LoRA(last_n_layers=1, rank=2), IA3(last_n_layers=1)],
        "lr": loguniform(1e-4, 1e-2),
    },
    n_trials=10,
    cv=3,
    scoring="mcc",
    storage=journal,
    random_state=0,
    verbose=1,
)
search.fit(X, y)
print("best:", search.best_params_, f"{search.best_score_:.2f}")

# %%
# The same search again reads what the file has, and only fits the best candidate. If it had been killed, it
# would go on; other processes that run this script at the same time would share its trials.
search.fit(X, y)

# %%
# What was found, and at what cost.
SearchDisplay.from_estimator(search).figure_.savefig(journal.with_suffix(".png"))
print(f"{search.cv_results_['seconds'].sum():.0f} s, states:", *search.cv_results_["state"])
