"""What PLMSearchCV costs and finds, against GridSearchCV and a plain objective of Optuna; searches killed.

    PLMLEARN_DATA=data OMP_NUM_THREADS=1 python benchmarks/search.py --runs 3
    python benchmarks/search.py --write docs/search-measured.md          # the page from all runs so far
    PLMLEARN_DATA=data OMP_NUM_THREADS=1 python benchmarks/search.py --kills 10

GB1, split "sampled": training variants drawn at random. Models see the protein, 56 residues; the other 209
are the same in all. Backbone "mini", three folds, Spearman's correlation.
The 24 candidates are two adapters on key and value with two ranks, two depths and three learning rates. Each
search starts with an empty cache, tries the same candidates, and fits the best one on all variants. In each
run they follow one another; a ratio is that of one run, and the table has the medians.

With ``--kills`` a random search of the same space runs in a process that is killed at random moments and
started again. Nothing that had ended may be lost or run again, and the best parameters are those of an
unbroken search.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from machine import machine
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score

import plmlearn.cache
from plmlearn import PLMRegressor
from plmlearn.adapters import DoRA, LoRA
from plmlearn.datasets import fetch_gb1
from plmlearn.metrics import get_scorer
from plmlearn.search import PLMSearchCV
from plmlearn.search.queue import RESULT, SLOT, open_storage

GRID: dict[str, list[Any]] = {
    "adapter": [LoRA(target_modules=("key", "value")), DoRA(target_modules=("key", "value"))],
    "adapter__rank": [2, 8],
    "adapter__last_n_layers": [1, 2],
    "lr": [3e-4, 1e-3, 3e-3],
}
RESULTS = Path(__file__).parent / "search.csv"
LENGTH = 56
FOLDS = KFold(3, shuffle=True, random_state=0)

Found = tuple[float, float, str]
"""Best score, its standard error over folds, and what else there is to say."""


def load(n_variants: int, epochs: int) -> tuple[PLMRegressor, np.ndarray, np.ndarray]:
    """The estimator, and variants with their fitness."""
    data = fetch_gb1(subset="train")
    drawn = np.random.default_rng(0).permutation(len(data.data))[:n_variants]
    X = np.array([sequence[:LENGTH] for sequence in data.data[drawn]])
    return PLMRegressor("mini", epochs=epochs, random_state=0, verbose=0), X, data.target[drawn]


def grid_search(model: PLMRegressor, X: np.ndarray, y: np.ndarray) -> Found:
    search = GridSearchCV(model, GRID, cv=FOLDS, scoring=get_scorer("spearman")).fit(X, y)
    return *best_of(search), "all folds"


def plm_search(model: PLMRegressor, X: np.ndarray, y: np.ndarray) -> Found:
    search = PLMSearchCV(model, GRID, sampler="grid", cv=FOLDS, scoring="spearman").fit(X, y)
    results = search.cv_results_
    states, counts = np.unique(results["state"], return_counts=True)
    said = ", ".join(f"{n} {state}" for state, n in zip(states, counts))
    return *best_of(
        search
    ), f"{said}; {results['n_folds_run'].sum()} folds, {results['epochs_run'].sum()} epochs"


def plain_optuna(model: PLMRegressor, X: np.ndarray, y: np.ndarray) -> Found:
    adapters = {type(adapter).__name__: adapter for adapter in GRID["adapter"]}
    space = {**GRID, "adapter": list(adapters)}

    def with_settings(candidate: dict[str, Any]) -> PLMRegressor:
        return clone(model).set_params(**candidate | {"adapter": adapters[candidate["adapter"]]})

    def objective(trial: optuna.Trial) -> float:
        candidate = {name: trial.suggest_categorical(name, values) for name, values in space.items()}
        estimator = with_settings(candidate)
        scores = cross_val_score(estimator, X, y, cv=FOLDS, scoring=get_scorer("spearman"))
        trial.set_user_attr("scores", scores.tolist())
        return float(scores.mean())

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.GridSampler(space, seed=0))
    study.optimize(objective)
    with_settings(study.best_params).fit(X, y)
    scores = study.best_trial.user_attrs["scores"]
    return study.best_value, standard_error(scores), f"{len(study.trials)} trials"


def best_of(search: Any) -> tuple[float, float]:
    folds = [search.cv_results_[f"split{k}_test_score"][search.best_index_] for k in range(search.n_splits_)]
    return float(search.best_score_), standard_error(folds)


def standard_error(scores: list[float]) -> float:
    return float(np.std(scores, ddof=1) / np.sqrt(len(scores)))


SEARCHES: dict[str, Callable[..., Found]] = {
    "GridSearchCV": grid_search,
    "PLMSearchCV": plm_search,
    "objective of Optuna": plain_optuna,
}


@dataclass(frozen=True)
class Row:
    """One search of a run. ``run`` is the time at which the run began; its searches share it."""

    run: str
    search: str
    seconds: float
    score: float
    error: float
    said: str
    variants: int
    epochs: int
    machine: str


def measure(arguments: argparse.Namespace) -> None:
    """All searches one after another, ``--runs`` times. Each run is appended to ``--results`` at its end."""
    model, X, y = load(arguments.variants, arguments.epochs)
    model.fit(X[:20], y[:20])  # what is imported and compiled at first
    where = machine("torch", "scikit-learn", "optuna", "numpy")
    for _ in range(arguments.runs):
        run, rows = datetime.datetime.now().isoformat(timespec="seconds"), []
        for name, search in SEARCHES.items():
            plmlearn.cache.clear()
            since = time.perf_counter()
            score, error, said = search(model, X, y)
            seconds = round(time.perf_counter() - since, 1)
            what = (run, name, seconds, round(score, 4), round(error, 4), said)
            rows.append(Row(*what, arguments.variants, arguments.epochs, where))
            print(rows[-1], flush=True)
        append(rows, arguments.results)


def read(results: Path) -> list[Row]:
    kinds = {"seconds": float, "score": float, "error": float, "variants": int, "epochs": int}
    with results.open(newline="") as file:
        return [Row(**{k: kinds.get(k, str)(v) for k, v in row.items()}) for row in csv.DictReader(file)]


def append(rows: list[Row], results: Path) -> None:
    new = not results.exists()
    with results.open("a", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Row)], lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def table(rows: list[Row]) -> str:
    ours = {row.run: row.seconds for row in rows if row.search == "PLMSearchCV"}
    lines = [
        "| search | seconds | PLMSearchCV takes | best score | standard error | |",
        "|---|---|---|---|---|---|",
    ]
    for name in SEARCHES:
        mine = [row for row in rows if row.search == name]
        seconds, ratios = [row.seconds for row in mine], [ours[row.run] / row.seconds for row in mine]
        timed = f"{statistics.median(seconds):.0f} ({min(seconds):.0f}–{max(seconds):.0f})"
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f}) ×"
        found = {(row.score, row.error, row.said) for row in mine}
        assert len(found) == 1, f"runs of {name} found different things: {found}"
        lines.append(
            f"| {name} | {timed} | {ratio} | {mine[0].score:.4f} | {mine[0].error:.4f} | {mine[0].said} |"
        )
    return "\n".join(lines)


def page(rows: list[Row]) -> str:
    (setting,) = {(row.variants, row.epochs) for row in rows}
    machines = "; ".join(sorted({row.machine for row in rows}))
    return f"""# What a search costs

GB1, split "sampled": {setting[0]} training variants (their 56 residues of the protein), "mini",
{setting[1]} epochs, three folds, 24 candidates over adapter (LoRA and DoRA on key and value), rank,
last_n_layers and lr. All searches try the same candidates and fit the best one on all variants; each starts
with an empty cache. Runs: {len({row.run for row in rows})}; medians with the least and the most, and ratios
within a run.

{table(rows)}

{machines}.
`python benchmarks/search.py --runs 3` appends its runs to `benchmarks/search.csv`, and
`python benchmarks/search.py --write docs/search-measured.md` writes this page from them.
"""


# -- searches that are killed ---------------------------------------------------------------------


def random_search(storage: Path | None, arguments: argparse.Namespace) -> PLMSearchCV:
    model, X, y = load(arguments.variants, arguments.epochs)
    settings = {"sampler": "random", "n_trials": 24, "cv": FOLDS, "scoring": "spearman", "random_state": 0}
    return PLMSearchCV(model, GRID, storage=storage, refit=False, **settings).fit(X, y)


def ended(storage: Path) -> dict[int, tuple]:
    """What is stored of trials with a result, by number."""
    try:
        study = optuna.load_study(study_name="plmlearn", storage=open_storage(storage))
    except KeyError:  # killed before it was made
        return {}
    trials = [trial for trial in study.trials if RESULT in trial.user_attrs and trial.state.is_finished()]
    return {t.number: (t.user_attrs[SLOT], t.state, t.values, t.user_attrs[RESULT]) for t in trials}


def kill_searches(arguments: argparse.Namespace) -> None:
    """Kill a search at random moments; raise an error if anything is lost, repeated or different."""
    since = time.perf_counter()
    whole = random_search(None, arguments)
    typical = 1.5 * (time.perf_counter() - since) / (arguments.kills + 1)
    moments, storage = random.Random(arguments.seed), Path(tempfile.mkdtemp()) / "search.log"
    passed_on = ("--variants", str(arguments.variants), "--epochs", str(arguments.epochs))
    known: dict[int, tuple] = {}
    for kill in range(arguments.kills):
        process = subprocess.Popen([sys.executable, __file__, "--child", str(storage), *passed_on])
        while not storage.exists() and process.poll() is None:
            time.sleep(0.1)
        time.sleep(moments.uniform(0, 2 * typical))
        process.kill()
        process.wait()
        now = ended(storage)
        assert known.items() <= now.items(), "a trial that had ended is lost or has changed"
        known = now
        print(f"kill {kill + 1}: {len(known)} trials have ended", flush=True)
    resumed, now = random_search(storage, arguments), ended(storage)
    assert known.items() <= now.items(), "a trial that had ended is lost or has changed"
    assert sorted(slot for slot, *_ in now.values()) == list(range(24)), "a trial was repeated or is missing"
    assert resumed.best_params_ == whole.best_params_, (resumed.best_params_, whole.best_params_)
    assert resumed.cv_results_["state"].tolist() == whole.cv_results_["state"].tolist()
    print(f"killed {arguments.kills} times: nothing lost, nothing repeated, best {resumed.best_params_}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--variants", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=10, help="as many as estimators have by default")
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS, help="CSV that runs are appended to")
    parser.add_argument("--write", type=Path, help="write the page from all runs in --results")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of --kills")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)
    if arguments.child:
        random_search(arguments.child, arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        plmlearn.cache.limit(folder=folder)
        if arguments.kills:
            kill_searches(arguments)
            return
        if arguments.runs:
            measure(arguments)
    if arguments.write:
        arguments.write.write_text(page(read(arguments.results)))


if __name__ == "__main__":
    main()
