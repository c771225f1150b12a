"""Fine-tuning of the bundled encoder on real data, compared with baselines.

    PLMLEARN_DATA=data python benchmarks/learning.py gb1         # full fine-tuning: a quarter of an hour
    PLMLEARN_DATA=data python benchmarks/learning.py membrane    # about as long
    PLMLEARN_DATA=data python benchmarks/learning.py gb1 --write docs/learning.md  # adds its table to a page

``gb1``: fitness of 4-site variants, split "sampled". The score is Spearman's correlation on the test
variants. Models see only the first 56 residues, which are the protein. The other 209 residues of the
construct are the same in every variant.

``membrane``: DeepLoc 2, membrane protein or not. Training uses homology partitions 0-3, testing partition
4. The score is Matthews' correlation. All models see the first 256 residues. LoRA is trained on 4,000
proteins sampled at random, the other models on all training proteins.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from machine import machine
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import matthews_corrcoef
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from plmlearn import PLMFrozenMLP, PLMFrozenMLPRegressor, PLMLoRAClassifier, PLMRegressor
from plmlearn.adapters import FullFineTuning
from plmlearn.baselines import CompositionVectorizer
from plmlearn.datasets import fetch_deeploc2, fetch_gb1

HEADINGS = {
    "gb1": 'Fitness of variants: GB1, split "sampled"',
    "membrane": "Membrane protein or not: DeepLoc 2, partition 4",
}
GB1_LENGTH = 56
DEEPLOC_LENGTH, DEEPLOC_LORA_PROTEINS = 256, 4000


def gb1(seeds: range) -> list[str]:
    train, valid, test = (fetch_gb1(split="sampled", subset=subset) for subset in ("train", "valid", "test"))
    X_train, X_valid, X_test = ([s[:GB1_LENGTH] for s in part.data] for part in (train, valid, test))
    ridge = make_pipeline(CompositionVectorizer(kind="onehot"), RidgeCV(np.logspace(-3, 3, 7)))
    models = {"ridge on one-hot sites": ridge, "frozen MLP": PLMFrozenMLPRegressor("mini", random_state=0)}
    for seed in seeds:
        common = {"head_dropout": 0.0, "random_state": seed}
        models[f"full fine-tuning, seed {seed}"] = PLMRegressor(
            "mini", adapter=FullFineTuning(), epochs=12, lr=2e-4, **common
        )

    def fit(model):
        own = {"X_val": X_valid, "y_val": valid.target} if isinstance(model, PLMRegressor) else {}
        return model.fit(X_train, train.target, **own)

    return report(models, fit, lambda model: spearmanr(model.predict(X_test), test.target)[0], "Spearman")


def membrane(seeds: range) -> list[str]:
    train = fetch_deeploc2(task="membrane", partitions=(0, 1, 2, 3))
    test = fetch_deeploc2(task="membrane", partitions=(4,))
    X_train, X_test = ([s[:DEEPLOC_LENGTH] for s in part.data] for part in (train, test))
    models = {
        "composition + logistic regression": make_pipeline(
            CompositionVectorizer(kind="composition"), StandardScaler(), LogisticRegression(max_iter=1000)
        ),
        "frozen MLP, alpha by cross-validation": GridSearchCV(
            PLMFrozenMLP("mini", early_stopping=True, random_state=0),
            {"alpha": [1e-3, 1.0, 10.0]},
            cv=GroupKFold(4),
            scoring="matthews_corrcoef",
        ),
    }
    for seed in seeds:
        models[f"LoRA, seed {seed}"] = PLMLoRAClassifier(
            "mini", rank=16, target_modules="all", epochs=2, random_state=seed
        )

    def fit(model):
        if isinstance(model, GridSearchCV):
            return model.fit(X_train, train.target, groups=train.partition)
        if not isinstance(model, PLMLoRAClassifier):
            return model.fit(X_train, train.target)
        rows = np.random.default_rng(0).choice(len(X_train), DEEPLOC_LORA_PROTEINS, replace=False)
        return model.fit([X_train[i] for i in rows], train.target[rows])

    return report(models, fit, lambda model: matthews_corrcoef(test.target, model.predict(X_test)), "MCC")


def report(models: dict, fit, score, metric: str) -> list[str]:
    """Fit and score each model; print and return the lines of the table."""
    lines: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    say(f"{machine('torch', 'transformers', 'scikit-learn')}\n")
    say(f"| model | test {metric} | minutes |\n|---|---|---|")
    for name, model in models.items():
        start = time.perf_counter()
        value = score(fit(model))
        say(f"| {name} | {value:.3f} | {(time.perf_counter() - start) / 60:.1f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=["gb1", "membrane"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--write", type=Path, help="append the table to this page")
    options = parser.parse_args()
    lines = {"gb1": gb1, "membrane": membrane}[options.task](range(options.seeds))
    if options.write:
        with open(options.write, "a") as page:
            page.write("\n".join(["", f"## {HEADINGS[options.task]}", "", *lines, ""]))


if __name__ == "__main__":
    main()
