"""Baselines without a language model on the GB1 variants of FLIP. Takes a minute or two.

    PLMLEARN_DATA=data python benchmarks/gb1_baselines.py [--write docs/gb1-baselines.md]

The score is Spearman's correlation on the test sets of the splits "three_vs_rest" and "sampled". The
additive model needs no validation set. It is therefore trained twice: on the subset "train", and on "train"
and "valid" together. The nearest training variant is found with several methods; equally near ones are
averaged, or the first one is used.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from plmlearn.baselines import AdditiveMutationRegressor, HomologyRegressor
from plmlearn.datasets import fetch_gb1

SPLITS = ("three_vs_rest", "sampled")
ADDITIVE = {
    f"additive, order {order}, {rows}": (AdditiveMutationRegressor(order=order), rows)
    for order in (1, 2)
    for rows in ("train", "train and valid")
}
NEAREST = {
    f"nearest by {method}, {'mean of ties' if ties == 'average' else 'the first'}": (
        HomologyRegressor(method=method, ties=ties),
        "train",
    )
    for method in ("ungapped", "hamming")
    for ties in ("average", "first")
}


def test_spearman(model, rows: str, split: str) -> float:
    parts = {subset: fetch_gb1(split=split, subset=subset) for subset in ("train", "valid", "test")}
    used = [parts[name] for name in rows.split(" and ")]
    X, y = np.concatenate([part.data for part in used]), np.concatenate([part.target for part in used])
    predicted = model.fit(X, y).predict(parts["test"].data)
    return float(spearmanr(predicted, parts["test"].target).statistic)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", type=Path, help="write the table to this file")
    options = parser.parse_args()
    lines = [f"| baseline | {' | '.join(SPLITS)} | seconds |", "|---" * (len(SPLITS) + 2) + "|"]
    print("\n".join(lines), flush=True)
    for name, (model, rows) in (ADDITIVE | NEAREST).items():
        start = time.perf_counter()
        scores = [f"{test_spearman(model, rows, split):.3f}" for split in SPLITS]
        lines.append(f"| {name} | {' | '.join(scores)} | {time.perf_counter() - start:.0f} |")
        print(lines[-1], flush=True)
    if options.write:
        page = (
            "# GB1 without a language model\n\nSpearman's correlation on the test set. "
            "`benchmarks/gb1_baselines.py` writes this page.\n\n"
        )
        options.write.write_text(page + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
