"""Full fine-tuning from random weights, compared with the results that Schmirler et al. published.

    PLMLEARN_DATA=data python benchmarks/reproduce_schmirler.py   # all four tasks: a GPU
    PLMLEARN_DATA=data python benchmarks/reproduce_schmirler.py --tasks gb1 --shortened --seeds 1

No pretrained weights are needed: the architecture is created here with random weights. The recipe is the
preset "schmirler2024_full" with its number of epochs. The epoch that is best on the validation set is
tested. Full runs need a GPU.

``--shortened`` reduces the work. For GB1 only the first 56 residues are read (the other 209 are the same in
every variant). For the other tasks, a random sample of proteins is used. Half of the epochs are run, or
``--epochs`` of them, at five times the learning rate.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from machine import machine
from scipy.stats import spearmanr
from speed import SHAPES, build_folder

from plmlearn import presets
from plmlearn.datasets import fetch_disorder, fetch_gb1, fetch_secondary_structure, fetch_stability
from plmlearn.metrics import residue_accuracy, residue_spearman

PUBLISHED = {  # test score from random weights, in the order 8M, 150M
    "gb1": (".857 ± .008", ".870 ± .009"),
    "stability": (".684 ± .027", ".675 ± .059"),
    "disorder": (".649 ± .019", ".635 ± .004"),
    "secondary_structure": (".708", ".708"),
}
GB1_DOMAIN = 56


def load(task: str) -> dict[str, tuple]:
    """Sequences and targets of training, validation and test set. CheZOD comes without a validation set."""
    if task == "disorder":
        (X, y), (X_test, y_test) = (fetch_disorder(subset=s, return_X_y=True) for s in ("train", "test"))
        order = np.random.default_rng(0).permutation(len(X))
        valid, train = np.split(order, [len(X) // 10])
        parts = {"train": (X[train], y[train]), "valid": (X[valid], y[valid]), "test": (X_test, y_test)}
        return {subset: (list(X), y) for subset, (X, y) in parts.items()}
    fetch = {
        "gb1": lambda subset: fetch_gb1(split="three_vs_rest", subset=subset),
        "stability": lambda subset: fetch_stability(subset=subset),
        "secondary_structure": lambda subset: fetch_secondary_structure(subset=subset),
    }[task]
    parts = {subset: fetch(subset) for subset in ("train", "valid", "test")}
    return {subset: (list(part.data), part.target) for subset, part in parts.items()}


def shorten(task: str, parts: dict[str, tuple], n_train: int) -> dict[str, tuple]:
    if task == "gb1":
        return {subset: ([s[:GB1_DOMAIN] for s in X], y) for subset, (X, y) in parts.items()}
    shorter = {}
    for subset, (X, y) in parts.items():
        n = min(len(X), n_train if subset == "train" else n_train // 3)
        rows = np.sort(np.random.default_rng(0).choice(len(X), n, replace=False))
        shorter[subset] = ([X[i] for i in rows], y[rows])
    return shorter


def score(task: str, y, predicted) -> float:
    if task == "secondary_structure":
        return residue_accuracy(y, predicted, ignore_label="-")
    if task == "disorder":
        return residue_spearman(y, predicted)
    return spearmanr(y, predicted).statistic


def run(task: str, folder: str, seed: int, parts: dict[str, tuple], options) -> tuple[float, float]:
    """Test score and minutes of one seed."""
    changes = {"backbone": folder, "backbone_init": "random", "random_state": seed, "verbose": 0}
    if task == "secondary_structure":
        changes["ignore_label"] = "-"
    model = presets.make("schmirler2024_full", task=task, **changes)
    if options.shortened:
        model.set_params(epochs=options.epochs or -(-model.epochs // 2), lr=1e-4, head_lr=1e-4)
    (X, y), (X_val, y_val), (X_test, y_test) = (parts[subset] for subset in ("train", "valid", "test"))
    start = time.perf_counter()
    model.fit(X, y, X_val=X_val, y_val=y_val)
    return score(task, y_test, model.predict(X_test)), (time.perf_counter() - start) / 60


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", choices=PUBLISHED, default=list(PUBLISHED))
    parser.add_argument("--shape", choices=["8m", "150m"], default="8m")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shortened", action="store_true")
    parser.add_argument(
        "--proteins", type=int, default=1500, help="training proteins of a shortened run (except GB1)"
    )
    parser.add_argument("--epochs", type=int, help="epochs of a shortened run; default: half of the recipe")
    parser.add_argument("--write", type=Path, help="append the table to this file")
    options = parser.parse_args()
    kind = "shortened" if options.shortened else "in full"
    if options.shortened and options.epochs:
        kind += f" to {options.epochs} epochs"
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    lines = [
        f"## ESM2-{options.shape.upper()} from random weights, {kind}, {options.seeds} seed(s), {device}",
        "",
        machine(),
        "",
        "| task | train proteins | published, in full | here, mean of seeds (each) | minutes per seed |",
        "|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = build_folder(options.shape, Path(scratch) / "backbone")
        for task in options.tasks:
            parts = shorten(task, load(task), options.proteins) if options.shortened else load(task)
            runs = [run(task, folder, seed, parts, options) for seed in range(options.seeds)]
            scores, minutes = zip(*runs, strict=True)
            each = ", ".join(f"{value:.3f}" for value in scores)
            published = PUBLISHED[task][list(SHAPES).index(options.shape) // 2]
            lines.append(
                f"| {task} | {len(parts['train'][0])} | {published} | {np.mean(scores):.3f} ({each}) | "
                f"{np.mean(minutes):.1f} |"
            )
            print(lines[-1], flush=True)
    if options.write:
        with open(options.write, "a") as file:
            file.write("\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
