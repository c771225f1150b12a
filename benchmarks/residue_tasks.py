"""Per-residue tasks with the bundled encoder, frozen and tuned, and with a baseline without a language model.

    PLMLEARN_DATA=data python benchmarks/residue_tasks.py                                  # all three
    PLMLEARN_DATA=data python benchmarks/residue_tasks.py disorder --proteins 200 --epochs 1
    PLMLEARN_DATA=data python benchmarks/residue_tasks.py --write docs/residue-tasks.md

``secondary_structure``: three states; Q3 on the 364 test chains of FLIP. ``disorder``: CheZOD Z-scores;
Spearman's correlation over the residues of the 117 test proteins. ``signal_peptides``: SignalP 6; training
on two homology partitions and testing on the third, in all three rotations. The scores are Matthews'
correlation of each type against all other proteins, and of cleavage sites. For signal peptides, a head that
labels each residue independently is compared with a CRF over 37 states.

Models are trained on proteins sampled at random (``--proteins``; for signal peptides, of each partition; 0
means all). They are tested on all test proteins, or for signal peptides on as many as each training
partition has. The baseline is the two convolutions of the "cnn" head on one-hot residues, trained on the
same proteins. "mini" has had little pretraining; larger backbones may give other results.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from plmlearn import PLMResidueClassifier, PLMResidueRegressor, PLMSignalPeptideClassifier
from plmlearn.adapters import Adapter, Frozen, LoRA
from plmlearn.datasets import fetch_disorder, fetch_secondary_structure, fetch_signal_peptides
from plmlearn.estimators.residue_targets import ResidueClassTarget, ResidueValueTarget, check_residue_y
from plmlearn.metrics import cleavage_mcc, residue_accuracy, residue_spearman, signal_peptide_table
from plmlearn.nn.packing import Ragged
from plmlearn.nn.residue_heads import make_residue_head
from plmlearn.sequences import ALPHABET

IGNORE = "-"
TYPES = ("SP", "LIPO", "TAT", "TATLIPO", "PILIN")
# With these numbers of proteins, all three tasks take less than half an hour on one thread.
DEFAULT_PROTEINS = {"secondary_structure": 600, "disorder": 800, "signal_peptides": 600}


class OneHotCnn:
    """The baseline: two convolutions over one-hot residues, no language model."""

    def __init__(self, kind: str, epochs: int = 20, batch_size: int = 16, lr: float = 3e-3):
        self.kind, self.epochs, self.batch_size, self.lr = kind, epochs, batch_size, lr

    def fit(self, X, y) -> OneHotCnn:
        rows = check_residue_y(y, X, kind=self.kind, ignore_label=IGNORE if self.kind == "labels" else None)
        learn = ResidueClassTarget.learn if self.kind == "labels" else ResidueValueTarget.learn
        self.target = learn(rows)
        torch.manual_seed(0)
        self.head = make_residue_head("cnn", len(ALPHABET), self.target.n_outputs, 28, 0.1)
        features, targets = one_hot(X), self.target.encode(rows)
        sizes = self.target.sizes(targets)
        optimizer = torch.optim.Adam(self.head.parameters(), lr=self.lr)
        for _ in range(self.epochs):
            for step in torch.randperm(len(X)).split(self.batch_size):
                taken = features.take(step.tolist())
                outputs = taken.with_values(self.head(taken))
                loss = self.target.loss(outputs, targets.take(step.tolist())).sum() / sizes[step].sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return self

    @torch.no_grad()
    def predict(self, X) -> np.ndarray:
        self.head.eval()
        features = one_hot(X)
        outputs = features.with_values(self.head(features))
        if self.kind == "labels":
            outputs = outputs.with_values(outputs.values.argmax(dim=1))
        return self.target.decode(outputs)


def one_hot(X) -> Ragged:
    letters = np.array(list(ALPHABET))
    return Ragged.of(
        [torch.from_numpy((np.array(list(s))[:, None] == letters).astype(np.float32)) for s in X]
    )


def draw(rows: np.ndarray, n: int) -> np.ndarray:
    """A random sample of n rows; 0 means all."""
    return rows if n in (0, len(rows)) else np.random.default_rng(0).permutation(rows)[:n]


def adapters() -> dict[str, Adapter]:
    return {"frozen": Frozen(), "LoRA": LoRA(target_modules="all")}


def secondary_structure(options) -> list[str]:
    train, test = (fetch_secondary_structure(subset=subset) for subset in ("train", "test"))
    rows = draw(np.arange(len(train.data)), options.proteins)
    X, y = train.data[rows], train.target[rows]
    models: dict = {"one-hot residues, CNN": OneHotCnn("labels")}
    for name, adapter in adapters().items():
        for head in ("linear", "cnn", "crf"):
            models[f"{name}, {head}"] = PLMResidueClassifier(
                "mini", adapter=adapter, head=head, ignore_label=IGNORE, **common(options)
            )

    def score(model) -> list[float]:
        return [residue_accuracy(test.target, model.predict(test.data), ignore_label=IGNORE)]

    return table(f"Secondary structure, {len(X)} training chains", ["Q3"], models, X, y, score)


def disorder(options) -> list[str]:
    train, test = (fetch_disorder(subset=subset) for subset in ("train", "test"))
    rows = draw(np.arange(len(train.data)), options.proteins)
    X, y = train.data[rows], train.target[rows]
    models: dict = {"one-hot residues, CNN": OneHotCnn("values")}
    for name, adapter in adapters().items():
        for head in ("linear", "cnn"):
            settings = {"adapter": adapter, "head": head, **common(options)}
            models[f"{name}, {head}"] = PLMResidueRegressor("mini", **settings)

    def score(model) -> list[float]:
        return [residue_spearman(test.target, model.predict(test.data))]

    return table(f"Disorder, {len(X)} training proteins", ["Spearman"], models, X, y, score)


class ByResidue:
    """Regions residue by residue. The first label, and a cysteine after the site, determine the type."""

    def __init__(self, model):
        self.model = model

    def fit(self, X, y, regions) -> ByResidue:
        self.model.fit(X, regions)
        return self

    def predict_regions(self, X) -> np.ndarray:
        return self.model.predict(X)

    def predict(self, X) -> np.ndarray:
        return np.array([type_of(*row) for row in zip(X, self.predict_regions(X), strict=True)])


def type_of(sequence: str, regions: str) -> str:
    first = regions[0]
    if first == "T":
        site = len(regions) - len(regions.lstrip("T"))
        return "TATLIPO" if sequence[site : site + 1] == "C" else "TAT"
    return {"S": "SP", "L": "LIPO", "P": "PILIN"}.get(first, "NO_SP")


def signal_peptides(options) -> list[str]:
    proteins = fetch_signal_peptides()
    makers: dict[str, Callable] = {"one-hot residues, CNN": lambda: ByResidue(OneHotCnn("labels"))}
    for name, adapter in adapters().items():
        settings = {"adapter": adapter, **common(options)}
        makers[f"{name}, linear"] = lambda s=settings: ByResidue(PLMResidueClassifier("mini", **s))
        makers[f"{name}, CRF"] = lambda s=settings: PLMSignalPeptideClassifier("mini", **s)
    names = ["rotation", *TYPES, "cleavage site", "cleavage site ±3"]
    lines = table_head("Signal peptides, MCC", names)
    found: dict[str, list[np.ndarray]] = {name: [] for name in makers}
    parts = [draw(np.flatnonzero(proteins.partition == part), options.proteins) for part in range(3)]
    for held_out in range(3):
        train = np.concatenate([rows for part, rows in enumerate(parts) if part != held_out])
        for name, make in makers.items():
            start = time.perf_counter()
            fit_on = (proteins.data[train], proteins.type[train])
            model = make().fit(*fit_on, regions=proteins.labels[train])
            scores = signal_scores(model, proteins, parts[held_out])
            found[name].append(scores)
            lines.append(line(name, [str(held_out + 1), *map(figure, scores)], start))
    for name, rows in found.items():
        lines.append(
            line(name, ["mean", *map(figure, np.ma.masked_invalid(rows).mean(axis=0).filled(np.nan))])
        )
    return lines


def signal_scores(model, proteins, rows: np.ndarray) -> np.ndarray:
    X, types, labels = (proteins[name][rows] for name in ("data", "type", "labels"))
    by_type = {row["type"]: row["mcc2"] for row in signal_peptide_table(types, model.predict(X))}
    regions = model.predict_regions(X)
    sites = [cleavage_mcc(labels, regions, tolerance=k) for k in (0, 3)]
    return np.array([*(by_type.get(kind, np.nan) for kind in TYPES), *sites])


def common(options) -> dict:
    return {"epochs": options.epochs, "batch_size": 8, "random_state": 0, "verbose": 0}


def table(title: str, metrics: list[str], models: dict, X, y, score) -> list[str]:
    lines = table_head(title, metrics)
    for name, model in models.items():
        start = time.perf_counter()
        lines.append(line(name, list(map(figure, score(model.fit(X, y)))), start))
    return lines


def table_head(title: str, columns: list[str]) -> list[str]:
    names = " | ".join(columns)
    lines = [f"\n## {title}\n", f"| model | {names} | minutes |", "|---" * (len(columns) + 2) + "|"]
    print("\n".join(lines), flush=True)
    return lines


def line(name: str, cells: list[str], start: float | None = None) -> str:
    minutes = "" if start is None else f"{(time.perf_counter() - start) / 60:.1f}"
    text = f"| {name} | {' | '.join(cells)} | {minutes} |"
    print(text, flush=True)
    return text


def figure(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"


TASKS = {
    "secondary_structure": secondary_structure,
    "disorder": disorder,
    "signal_peptides": signal_peptides,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", choices=[*TASKS, []], default=[])
    parser.add_argument("--proteins", type=int, help="training proteins; 0 means all")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--write", type=Path, help="write the tables to this file too")
    options = parser.parse_args()
    packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "transformers", "scikit-learn"))
    lines = ["# Per-residue tasks\n", (__doc__ or "").split("\n\n", 2)[2].replace("``", "`").strip()]
    lines.append(f"\n{torch.get_num_threads()} threads, Python {platform.python_version()}, {packages}.")
    lines.append(f"{options.epochs} epochs, seed 0. Minutes include fit and predict.")
    asked = options.proteins
    for task in options.tasks or TASKS:
        options.proteins = DEFAULT_PROTEINS[task] if asked is None else asked
        lines += TASKS[task](options)
    if options.write:
        options.write.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
