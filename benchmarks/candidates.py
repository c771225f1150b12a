"""All 160,000 variants of GB1's four sites, scored with a tuned model: rate and memory.

    PLMLEARN_DATA=data python benchmarks/candidates.py [--candidates 159999] [--backbone mini]
    PLMLEARN_DATA=data python benchmarks/candidates.py --likelihood     # PLMFitnessRegressor

The memory is what the process holds at most, beyond what it held after its imports.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from plmlearn import PLMFitnessRegressor, PLMLoRARegressor
from plmlearn.datasets import fetch_gb1
from plmlearn.design import combine_sites, propose

SITES = (39, 40, 41, 54)
LENGTH = 56


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="mini")
    parser.add_argument("--candidates", type=int, default=20**4 - 1)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--likelihood", action="store_true", help="score by the tuned likelihood")
    options = parser.parse_args()
    imported = peak_mb()
    gb1 = fetch_gb1()
    rows = np.random.default_rng(0).choice(len(gb1.data), 96, replace=False)
    X, y = [gb1.data[row][:LENGTH] for row in rows], gb1.target[rows]
    settings = {"epochs": options.epochs, "random_state": 0, "verbose": 0}
    if options.likelihood:
        model = PLMFitnessRegressor(options.backbone, wild_type=gb1.wild_type[:LENGTH], **settings)
    else:
        model = PLMLoRARegressor(options.backbone, target_modules=("key", "value"), **settings)
    model.fit(X, y)
    library = combine_sites(gb1.wild_type[:LENGTH], SITES)
    candidates = library if options.candidates >= len(library) else library[: options.candidates]
    start = time.perf_counter()
    propose(model, candidates, acquisition="greedy")
    seconds = time.perf_counter() - start
    print(
        f"{len(candidates):,} candidates of {LENGTH} residues, {type(model).__name__}({options.backbone!r}):"
    )
    name = f"{type(model).__name__}({options.backbone!r})"
    print(f"{len(candidates):,} candidates of {LENGTH} residues, {name}:")
    print(f"{len(candidates) / seconds:,.0f} a second, {peak_mb() - imported:.0f} MB beyond the imports")


if __name__ == "__main__":
    main()
