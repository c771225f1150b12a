"""Where the time of a LoRA step goes, by kind of work, size of the model and length of the proteins.

    OMP_NUM_THREADS=1 python benchmarks/steps.py --shapes 8m 35m 150m 650m --lengths 100 250 500 1000

The proteins of a step have equal lengths and about a thousand residues together; weights are random. The
second of two epochs, of one step each, runs under torch's profiler. "products" are matrix products, LoRA's
own among them; "attention" is all between query, key and value and the result, forward and backward; "the
rest" is norms, activations, rotary embeddings, the optimiser and Python. The machine must be quiet.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from machine import machine
from speed import MATRICES, SHAPES, build_folder
from torch.profiler import ProfilerActivity, profile

from plmlearn import PLMLoRAClassifier

LENGTHS, RESIDUES = (100, 250, 500, 1000), 1000
PRODUCTS = {"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::linear", "aten::mkldnn_linear"}
ATTENTION = {"_CpuAttention", "_CpuAttentionBackward"}


def kind(event) -> str:
    """What an operation belongs to: that of the outermost operation with a kind."""
    found = "the rest"
    while event is not None:
        name = event.name
        if name in ATTENTION or "scaled_dot_product" in name:
            found = "attention"
        elif name in PRODUCTS:
            found = "products"
        event = event.cpu_parent
    return found


def seconds_by_kind(folder: str, proteins: list[str]) -> Counter:
    """Of the second epoch of a fit, which is one step."""
    profiled = profile(activities=[ProfilerActivity.CPU])
    model = PLMLoRAClassifier(
        folder,
        epochs=2,
        batch_size=len(proteins),
        target_modules=MATRICES,
        standardize=False,
        callbacks=[lambda progress: profiled.start() if progress["epoch"] == 1 else profiled.stop()],
        random_state=0,
        verbose=0,
    )
    model.fit(proteins, np.arange(len(proteins)) % 2)
    found = Counter({"all": model.history_[1]["seconds"]})
    for event in profiled.events():
        found[kind(event)] += event.self_cpu_time_total / 1e6
    return found


def row(shape: str, folder: str, length: int) -> str:
    rng = np.random.default_rng(length)
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
    proteins = ["".join(rng.choice(letters, length)) for _ in range(max(2, RESIDUES // length))]
    found = seconds_by_kind(folder, proteins)
    products, attention = (found[name] / found["all"] for name in ("products", "attention"))
    shares = f"{products:.0%} | {attention:.0%} | {1 - products - attention:.0%}"
    return f"| ESM2-{shape.upper()} | {len(proteins)} of {length} | {1000 * found['all']:.0f} | {shares} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["8m", "35m", "150m", "650m"])
    parser.add_argument("--lengths", nargs="+", type=int, default=list(LENGTHS))
    options = parser.parse_args()
    print("\n## Where the time of a LoRA step goes", machine(), "", sep="\n\n", end="")
    print("| shape | proteins | step, ms | products | attention | the rest |\n|---|---|---|---|---|---|")
    for shape in options.shapes:
        with tempfile.TemporaryDirectory() as folder:
            build_folder(shape, Path(folder))
            row(shape, folder, 50)  # first calls: not counted
            for length in options.lengths:
                print(row(shape, folder, length), flush=True)


if __name__ == "__main__":
    main()
