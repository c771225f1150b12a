"""Search with Optuna
==================

Maximise a cross-validated score."""

import matplotlib.pyplot as plt
import numpy as np
import optuna
from sklearn.model_selection import cross_val_score

from plmlearn import PLMLoRAClassifier
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
# The layers below the last one are computed once for all trials.
def objective(trial: optuna.Trial) -> float:
    clf = PLMLoRAClassifier(
        "mini",
        rank=trial.suggest_categorical("rank", [2, 4, 8]),
        lr=trial.suggest_float("lr", 3e-4, 1e-2, log=True),
        last_n_layers=1,
        epochs=3,
        random_state=0,
        verbose=0,
    )
    return cross_val_score(clf, X, y, cv=3, scoring="matthews_corrcoef").mean()


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
study.optimize(objective, n_trials=5)
for trial in study.trials:
    print(f"trial {trial.number}: MCC {trial.value:5.2f}  {trial.params}")
print("best:", study.best_params)

# %%
# Optuna has pictures of its own, in optuna.visualization; for two parameters a plain one does.
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for rank, marker in zip(sorted({trial.params["rank"] for trial in study.trials}), "os^"):
    trials = [trial for trial in study.trials if trial.params["rank"] == rank]
    ax.plot([t.params["lr"] for t in trials], [t.value for t in trials], marker, label=f"rank {rank}")
ax.set(xscale="log", xlim=(2e-4, 2e-2), xlabel="learning rate", ylabel="Matthews correlation", title="Trials")
ax.legend()
figure.savefig("optuna_study.png", dpi=120)
