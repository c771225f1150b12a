"""Fitness of variants from 24 to 384 measurements: floors, embeddings, and tuned likelihoods.

    PLMLEARN_DATA=data python benchmarks/fitness.py --floors                   # what needs no backbone
    PLMLEARN_DATA=data python benchmarks/fitness.py --backbone mini FOLDER …   # names or folders
    PLMLEARN_DATA=data python benchmarks/fitness.py --only beta_lactamase ranking --draws 5 --sizes 24 96
    python benchmarks/fitness.py --write docs/fitness-measured.md              # the page from all rows

Each row is appended to ``--results`` as soon as it is done, and rows that are there already are not run
again: a run that was stopped goes on where it was.

Tasks
-----
Beta-lactamase: the 4,996 single mutants of TEM-1 of Stiffler et al. 2015, fitness at 2,500 µg/ml ampicillin.
"random" draws training and test variants at random; "by position" draws the sites first, a fifth of them to
test on, so that no site is in both. GB1: training variants are drawn from the subset "train" of FLIP's split
"sampled", test variants from "test"; its four sites cannot be parted. All models see the first 56 residues
of GB1, which are the protein. At most 1,000 test variants, the same for all methods.

The score is Spearman's correlation on the test variants: the mean over the draws of training variants, and
its 95 % interval by Student's t. All methods see the same draws, none of which served to choose a default.
"zero-shot" has no training variants; its interval is that of the test variants' draw, and "ranking" starts
from it. All settings are defaults but for what a row names; "squared" differs from "ranking" in the loss
alone. A new head on ESM2-8M learns nothing from 384 variants of beta-lactamase at LoRA's own rate, .001: a
fit warns of that, and a row with a fifth of the rate stands beside it.

Backbones: ``mini`` is bundled. ``mini_beta_lactamase`` is "mini" after 300 steps on the protein's relatives
(``benchmarks/family.py``). ``esm2_8m_head`` is the ESM2-8M of [Real pretrained weights](real-weights.md)
with a language head that ``tools/train_language_head.py`` trained on the frozen encoder: 3,484 steps, 11.8
million residues, held-out perplexity 12.8 (17.8 by the frequencies of amino acids).
"""

from __future__ import annotations

import argparse
import csv
import json
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from scipy.stats import t as student
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline

from plmlearn import PLMEmbedder, PLMFitnessRegressor, PLMFrozenMLPRegressor, PLMRegressor
from plmlearn.adapters import LoRA
from plmlearn.baselines import AugmentedRidge, CompositionVectorizer, PositionMeanRegressor, gaussian_process
from plmlearn.datasets import fetch_beta_lactamase, fetch_gb1

RESULTS = Path(__file__).parent / "fitness.csv"
SIZES, N_TEST, GB1_LENGTH = (24, 96, 384), 1000, 56
FIRST_DRAW = 3  # draws 0 to 2 served to choose defaults
SPLITS = {"beta_lactamase": ("random", "by position"), "gb1": ("random",)}


@dataclass(frozen=True)
class Row:
    """One finished measurement."""

    backbone: str
    protein: str
    split: str
    method: str
    n: int
    draw: int
    spearman: float
    seconds: float


@dataclass(frozen=True)
class Landscape:
    """Measured variants of one protein."""

    wild_type: str
    X: np.ndarray
    y: np.ndarray
    esm1v: np.ndarray | None = None
    may_train: np.ndarray | None = None
    may_test: np.ndarray | None = None

    def draw(self, split: str, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows to train on and rows to test on."""
        rng = np.random.default_rng([seed, 7])
        if split == "by position":
            sites = np.array([_first_change(self.wild_type, variant) for variant in self.X])
            held_out = rng.permutation(np.unique(sites))[: len(np.unique(sites)) // 5]
            train, test = (np.flatnonzero(np.isin(sites, held_out, invert=i)) for i in (True, False))
        elif self.may_train is not None and self.may_test is not None:
            train, test = np.flatnonzero(self.may_train), np.flatnonzero(self.may_test)
        else:
            order = rng.permutation(len(self.X))
            train, test = order[N_TEST:], order[:N_TEST]
        return rng.permutation(train)[:n], rng.permutation(test)[:N_TEST]


def _first_change(wild_type: str, variant: str) -> int:
    return next(i for i, (old, new) in enumerate(zip(wild_type, variant, strict=True)) if old != new)


@cache
def landscape(protein: str) -> Landscape:
    if protein == "beta_lactamase":
        data = fetch_beta_lactamase()
        X = np.array(data.data, dtype=object)
        return Landscape(data.wild_type, X, np.asarray(data.target), np.asarray(data.esm1v))
    data = {subset: fetch_gb1(split="sampled", subset=subset) for subset in ("train", "test")}
    X = np.array([s[:GB1_LENGTH] for part in data.values() for s in part.data], dtype=object)
    is_test = np.repeat([False, True], [len(part.data) for part in data.values()])
    y = np.concatenate([part.target for part in data.values()])
    wild_type = data["train"].wild_type[:GB1_LENGTH]  # at three sites not what is commonest in these variants
    return Landscape(wild_type, X, y, may_train=~is_test, may_test=is_test)


# -- methods -------------------------------------------------------------------------------------


@cache
def zero_shot(protein: str, backbone: str) -> dict[str, float]:
    """Scores of all variants by the untuned model."""
    data = landscape(protein)
    model = PLMFitnessRegressor(backbone, wild_type=data.wild_type, verbose=0)
    return dict(zip(data.X, model.fit(data.X[:1]).predict(data.X), strict=True))


def floor_methods(protein: str) -> dict[str, Callable[[int], Any]]:
    data = landscape(protein)
    ridge = RidgeCV(np.logspace(-3, 5, 9))
    methods: dict[str, Callable[[int], Any]] = {
        "one-hot ridge": lambda seed: make_pipeline(CompositionVectorizer(kind="onehot"), ridge),
        "position mean": lambda seed: PositionMeanRegressor(wild_type=data.wild_type),
        "Gaussian process, one-hot": lambda seed: gaussian_process(random_state=seed),
    }
    if data.esm1v is not None:
        known = dict(zip(data.X, data.esm1v, strict=True))
        methods["augmented ridge, ESM-1v"] = lambda seed: AugmentedRidge(scores=known)
    return methods


def model_methods(protein: str, backbone: str) -> dict[str, Callable[[int], Any]]:
    def fitness(**settings) -> Callable[[int], Any]:
        own = {"wild_type": landscape(protein).wild_type, "verbose": 0, **settings}
        return lambda seed: PLMFitnessRegressor(backbone, random_state=seed, **own)

    scores = zero_shot(protein, backbone)
    return {
        "augmented ridge, zero-shot": lambda seed: AugmentedRidge(scores=scores),
        "Gaussian process, embeddings": lambda seed: gaussian_process(
            PLMEmbedder(backbone), random_state=seed
        ),
        "frozen MLP": lambda seed: PLMFrozenMLPRegressor(backbone, random_state=seed),
        "LoRA, new head, squared": lambda seed: PLMRegressor(backbone, random_state=seed, verbose=0),
        "ranking": fitness(),
        "squared": fitness(loss="squared"),
        # Run if they are named:
        "LoRA, new head, squared, lr=0.0002": lambda seed: PLMRegressor(
            backbone, lr=2e-4, random_state=seed, verbose=0
        ),
        "listwise": fitness(loss="listwise"),
        "ranking, kl=0": fitness(kl=0.0),
        "ranking, kl=0, lr=0.0001": fitness(kl=0.0, lr=0.0001),
        "ranking, kl=0, lr=0.001": fitness(kl=0.0, lr=0.001),
        "ranking, kl=0, lr=0.001, 30 epochs": fitness(kl=0.0, lr=0.001, epochs=30),
        "ranking, kl=1, lr=0.001": fitness(kl=1.0, lr=0.001),
        "ranking, key and value": fitness(adapter=LoRA(target_modules=("key", "value"))),
        "ranking, masked-marginal, 30 epochs": fitness(strategy="masked-marginal", epochs=30),
    }


def measured(protein: str, split: str, model: Any, n: int, draw: int) -> float:
    data = landscape(protein)
    train, test = data.draw(split, n, draw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # falling scores, early ends of perceptrons
        predicted = model.fit(data.X[train], data.y[train]).predict(data.X[test])
    correlation = spearmanr(data.y[test], predicted).statistic if np.ptp(predicted) else 0.0
    return float(correlation)


def runs(backbones: list[str], floors: bool, sizes: list[int], draws: range) -> Iterator[tuple]:
    """(what a row says, a function that measures it): the first draws of all come first."""
    for draw in draws:
        for protein, splits in SPLITS.items():
            for split in splits:
                yield from _of_draw(protein, split, backbones, floors, sizes, draw)


def _of_draw(protein, split, backbones, floors, sizes, draw) -> Iterator[tuple]:
    for backbone in [*[""] * floors, *backbones]:
        name = Path(backbone).name
        if backbone:
            yield (
                (name, protein, split, "zero-shot", 0, draw),
                lambda b=backbone: _zero_shot_score(protein, split, b, draw),
            )
        for n in sizes:
            methods = model_methods(protein, backbone) if backbone else floor_methods(protein)
            for method, make in methods.items():
                yield (
                    (name, protein, split, method, n, draw),
                    lambda m=make, n=n: measured(protein, split, m(draw), n, draw),
                )


def _zero_shot_score(protein: str, split: str, backbone: str, draw: int) -> float:
    data = landscape(protein)
    _, test = data.draw(split, 0, draw)
    scores = zero_shot(protein, backbone)
    return float(spearmanr(data.y[test], [scores[variant] for variant in data.X[test]]).statistic)


# -- rows, kept and shown ------------------------------------------------------------------------


def read(results: Path) -> list[Row]:
    if not results.exists():
        return []
    types = {"n": int, "draw": int, "spearman": float, "seconds": float}
    with results.open(newline="") as file:
        return [
            Row(**{f.name: types.get(f.name, str)(row[f.name]) for f in fields(Row)})
            for row in csv.DictReader(file)
        ]


def is_meant(what: tuple, only: set[str], methods: list[str]) -> bool:
    method = what[3]
    named = {*only, *methods}
    is_optional = method == "listwise" or method.startswith("ranking, ") or "lr=" in method
    return (
        only <= {str(part) for part in what}
        and (not methods or method in methods)
        and (not is_optional or method in named)
    )


def run_all(todo: Iterator[tuple], only: set[str], methods: list[str], results: Path) -> None:
    done = {(r.backbone, r.protein, r.split, r.method, r.n, r.draw) for r in read(results)}
    for what, measure in todo:
        if what in done or not is_meant(what, only, methods):
            continue
        start = time.perf_counter()
        row = Row(*what, round(measure(), 4), round(time.perf_counter() - start, 1))
        new = not results.exists()
        with results.open("a", newline="") as file:
            writer = csv.DictWriter(file, [f.name for f in fields(Row)], lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(asdict(row))
        print(json.dumps(asdict(row)), flush=True)


def interval(scores: list[float], n_draws: int) -> str:
    mean = f"{np.mean(scores):.3f}"
    if len(scores) < n_draws:
        return f"{mean} ({len(scores)} of {n_draws} draws)"
    half = student.ppf(0.975, len(scores) - 1) * np.std(scores, ddof=1) / len(scores) ** 0.5
    return f"{mean} ± {half:.3f}"


def page(rows: list[Row]) -> str:
    what = (__doc__ or "").split("Tasks\n-----\n")[1].strip().replace("``", "`")
    lines = ["# Fitness from few measurements", "", what, ""]
    rows = [row for row in rows if row.draw >= FIRST_DRAW]
    n_draws = len({row.draw for row in rows})
    for protein, split in dict.fromkeys((row.protein, row.split) for row in rows):
        own = [row for row in rows if (row.protein, row.split) == (protein, split)]
        sizes = sorted({row.n for row in own} - {0})
        lines += [
            f"## {protein}, {split}",
            "",
            f"| backbone | method | {' | '.join(f'n = {n}' for n in sizes)} |",
        ]
        lines += ["|---" * (len(sizes) + 2) + "|"]
        for backbone, method in dict.fromkeys((row.backbone, row.method) for row in own):
            found = {
                n: [r.spearman for r in own if (r.backbone, r.method, r.n) == (backbone, method, n)]
                for n in (0, *sizes)
            }
            cells = [interval(found[n] or found[0], n_draws) if found[n] or found[0] else "" for n in sizes]
            lines += [f"| {backbone} | {method} | {' | '.join(cells)} |"]
        lines += [""]
    return "\n".join([*lines, f"{n_draws} draws. Printed by `python benchmarks/fitness.py --write`."]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", nargs="+", default=[], help="names or folders")
    parser.add_argument("--floors", action="store_true", help="measure what needs no backbone")
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--first", type=int, default=FIRST_DRAW, help="number of the first draw")
    parser.add_argument("--only", nargs="+", default=[], help="a protein, split or method; all must fit")
    parser.add_argument("--methods", nargs="+", default=[], help="these alone, in the table's words")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--write", type=Path, help="write the page to this file")
    options = parser.parse_args()
    draws = range(options.first, options.first + options.draws)
    todo = runs(options.backbone, options.floors, options.sizes, draws)
    run_all(todo, set(options.only), options.methods, options.results)
    if options.write:
        options.write.write_text(page(read(options.results)))


if __name__ == "__main__":
    main()
