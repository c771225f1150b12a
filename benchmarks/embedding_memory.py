"""Peak memory of embedding many proteins. Each setting runs in a new process.

    python benchmarks/embedding_memory.py --proteins 20000 100000 --shape tiny
    python benchmarks/embedding_memory.py --proteins 20000 --shape 8m          # a quarter of an hour

All proteins are different. Their lengths are sampled from DeepLoc 2, or from generated proteins of similar
lengths if PLMLEARN_DATA is not set. The result is the peak resident memory of the process minus its memory
after the imports and a first embedding with a small model. The table also shows how much of it the weights
take, and the caller's own sequences and embeddings.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from machine import machine
from speed import SHAPES, build_folder

from plmlearn import PLMEmbedder
from plmlearn.backbones import load_backbone
from plmlearn.datasets import fetch_deeploc2, make_proteins

SHAPES["tiny"] = (2, 64, 4, 128)


def proteins(n: int) -> list[str]:
    """n distinct proteins with the lengths of real ones."""
    if os.environ.get("PLMLEARN_DATA"):
        lengths = np.array([len(sequence) for sequence in fetch_deeploc2().data])
    else:
        lengths = np.array(
            [len(sequence) for sequence in make_proteins(2000, median_length=450, random_state=0)]
        )
    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", dtype=np.uint8)
    drawn = rng.choice(lengths, n).clip(max=1022)
    return [rng.choice(letters, length).tobytes().decode() for length in drawn]


def measure(folder: str, n: int) -> dict[str, float]:
    """Results of one setting; call it in a new process."""
    PLMEmbedder("mini").fit_transform(["MKV", "MAV"])
    before = psutil.Process().memory_info().rss
    X = proteins(n)
    sequences = psutil.Process().memory_info().rss - before
    start = time.perf_counter()
    embeddings = PLMEmbedder(folder).fit_transform(X)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    weights = sum(tensor.nbytes for tensor in load_backbone(folder).tensors())
    n_residues = sum(map(len, X))
    return {
        "proteins": n,
        "mean length": n_residues / n,
        "weights": weights,
        "sequences": sequences,
        "embeddings": embeddings.nbytes,
        "peak": peak - before,
        "residues per second": n_residues / seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--proteins", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--write", type=Path, help="append the table to this file")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        folder, n = options.child
        print(json.dumps(measure(folder, int(n))))
        return
    columns = (
        "proteins",
        "mean length",
        "weights",
        "sequences and embeddings",
        "peak beyond imports",
        "residues/s",
    )
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    with tempfile.TemporaryDirectory() as scratch:
        folder = build_folder(options.shape, Path(scratch) / "backbone")
        for n in options.proteins:
            command = [sys.executable, __file__, "--child", folder, str(n)]
            home = {"PLMLEARN_CACHE": str(Path(scratch) / f"cache-{n}")}
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | home)
            row = json.loads(done.stdout.splitlines()[-1])
            mib = {name: row[name] / 2**20 for name in ("weights", "sequences", "embeddings", "peak")}
            cells = (
                f"{n:,}",
                f"{row['mean length']:.0f}",
                f"{mib['weights']:.1f} MiB",
                f"{mib['sequences'] + mib['embeddings']:.0f} MiB",
                f"{mib['peak']:.0f} MiB",
                f"{row['residues per second']:,.0f}",
            )
            lines.append(f"| {' | '.join(cells)} |")
    heading = f"## Memory of embedding, {options.shape} shape {SHAPES[options.shape]}"
    report = "\n\n".join([heading, machine(), "\n".join(lines)]) + "\n"
    print(report)
    if options.write:
        with open(options.write, "a") as file:
            file.write("\n" + report)


if __name__ == "__main__":
    main()
