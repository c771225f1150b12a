"""Continue "mini" on a protein's family: its relatives in the corpus, found by alignment.

    PLMLEARN_DATA=data python benchmarks/family.py beta_lactamase runs/mini_beta_lactamase
    PLMLEARN_DATA=data python benchmarks/fitness.py --backbone runs/mini_beta_lactamase --only beta_lactamase

Prints how many relatives there are, and how the untuned likelihood ranks the protein's measured variants
before and after. No measurement is used.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import torch
from fitness import landscape
from machine import machine
from scipy.stats import spearmanr

from plmlearn import PLMFitnessRegressor, PLMMaskedLM
from plmlearn.similarity import find_similar

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from train_mini import read_corpus


def family(wild_type: str, data: Path) -> list[str]:
    """Relatives: alignments over at least 70 % of both proteins, with at least 25 % of identical residues."""
    proteins, held_out = read_corpus(data)
    proteins += held_out
    hits = find_similar([wild_type], proteins, min_identity=0.25, coverage=0.7, method="exact")
    print(f"{len(hits.target)} relatives, median identity {np.median(hits.identity):.2f}", flush=True)
    return [proteins[row] for row in hits.target]


def zero_shot(backbone: str | Path, protein: str) -> float:
    data = landscape(protein)
    model = PLMFitnessRegressor(backbone, wild_type=data.wild_type, verbose=0).fit(data.X[:1])
    return float(spearmanr(data.y, model.predict(data.X)).statistic)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("protein", choices=["beta_lactamase", "gb1"])
    parser.add_argument("folder", type=Path, help="where the continued model is written")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--data", type=Path, default=os.environ.get("PLMLEARN_DATA"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    relatives = family(landscape(options.protein).wild_type, Path(options.data))
    lm = PLMMaskedLM("mini", max_steps=options.steps, evaluate_every=100, random_state=0, verbose=0)
    lm.fit(relatives)
    lm.save_pretrained(options.folder)
    for step in lm.history_:
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in step.items()})
    before, after = (zero_shot(model, options.protein) for model in ("mini", options.folder))
    print(f"zero-shot Spearman, all variants of {options.protein}: {before:.3f}, after {after:.3f}")
    print(machine("torch", "transformers"))


if __name__ == "__main__":
    main()
