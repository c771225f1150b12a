"""Large and many: time for each sequence, and memory, from 20,000 to a million short sequences.

    OMP_NUM_THREADS=1 python benchmarks/many.py embed --sequences 20000 1000000
    OMP_NUM_THREADS=1 python benchmarks/many.py tune --sequences 20000 100000

All sequences are different; their lengths have a mean of 60 and a long tail (10 to 400 residues).

``embed``  from a FASTA file to files of embeddings by ``map_batches``, in partitions of 10,000, the first
           layer of "mini"
``tune``   LoRA on the last layer of "mini", two epochs. What the frozen layers give is kept on disk: the
           cache may take 256 MiB of memory, a fraction of it

Each row runs in a new process. Memory is the peak of the process's own resident memory, ten times a second,
minus that after the imports and a first run on ten sequences. Mapped files are left out: the system takes
their pages back when others need them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
from machine import machine

import plmlearn.cache
from plmlearn import PLMEmbedder, PLMLoRAClassifier
from plmlearn.distributed import map_batches

LETTERS = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", dtype=np.uint8)
MEAN = 60
HEADINGS = {
    "embed": "\n## Many short sequences, embedded to disk",
    "tune": "\n## Many short sequences, the last layer tuned",
}


def sequences(n: int) -> Iterator[str]:
    rng = np.random.default_rng(0)
    for length in rng.gamma(2.0, (MEAN - 10) / 2.0, n).astype(int) + 10:
        yield rng.choice(LETTERS, min(length, 400)).tobytes().decode()


def own_memory() -> int:
    """Resident bytes without mapped files."""
    found = psutil.Process().memory_info()
    return found.rss - getattr(found, "shared", 0)


class Peak(threading.Thread):
    """Follows the memory of this process."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self.start()

    def run(self) -> None:
        while True:
            self.bytes = max(self.bytes, own_memory())
            time.sleep(0.1)


def bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def embed(n: int, home: Path) -> dict[str, float]:
    """Results of one row of embedding."""
    model = PLMEmbedder("mini", n_layers=1, precision="fp32").fit(["MKV"])
    n_residues = 0
    with open(home / "all.fasta", "w") as file:
        for i, sequence in enumerate(sequences(n)):
            file.write(f">P{i}\n{sequence}\n")
            n_residues += len(sequence)
    map_batches(model, [list(sequences(10))], home / "first")
    before = own_memory()
    start = time.perf_counter()
    map_batches(model, home / "all.fasta", home / "out", partition_size=10_000)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "residues": n_residues, "before": before, "disk": bytes_in(home / "out")}


def tune(n: int, home: Path) -> dict[str, float]:
    """Results of one row of tuning."""
    plmlearn.cache.limit(memory=0.25, folder=home)
    settings = {"last_n_layers": 1, "epochs": 2, "batch_size": 64, "precision": "fp32", "verbose": 0}
    model = PLMLoRAClassifier("mini", random_state=0, **settings)
    X = list(sequences(n))
    y = np.array([sequence.count("K") > len(sequence) / 20 for sequence in X])
    model.fit(X[:10], np.arange(10) % 2)
    before = own_memory()
    start = time.perf_counter()
    model.fit(X, y)
    seconds = time.perf_counter() - start
    later = np.mean([epoch["seconds"] for epoch in model.history_[1:]])
    return {
        "seconds": seconds,
        "residues": sum(map(len, X)),
        "before": before,
        "disk": bytes_in(home),
        "later": float(later),
    }


def row(work: str, n: int) -> str:
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, __file__, work, "--child", str(n), home]
        environment = os.environ | {"PLMLEARN_CACHE": str(Path(home, "cache"))}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found = json.loads(done.stdout.splitlines()[-1])
    cells = [
        f"{n:,}",
        f"{found['residues'] / n:.0f}",
        f"{found['seconds']:.0f}",
        f"{1e3 * found['seconds'] / n:.2f}",
        f"{found['residues'] / found['seconds']:,.0f}",
        f"{found['disk'] / 2**20:,.0f} MiB",
        f"{(found['peak'] - found['before']) / 2**20:,.0f} MiB",
    ]
    if work == "tune":
        cells.insert(4, f"{1e3 * found['later'] / n:.2f}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", choices=["embed", "tune"])
    parser.add_argument("--sequences", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    work = {"embed": embed, "tune": tune}[options.work]
    if options.child:
        peak = Peak()
        found = work(int(options.child[0]), Path(options.child[1]))
        print(json.dumps(found | {"peak": peak.bytes}))
        return
    columns = ["sequences", "mean length", "s", "ms each", "residues/s", "on disk", "peak beyond imports"]
    if options.work == "tune":
        columns.insert(4, "ms each, later epochs")
    print(HEADINGS[options.work], machine(), f"| {' | '.join(columns)} |", sep="\n\n")
    print("|---" * len(columns) + "|", flush=True)
    for n in options.sequences:
        print(row(options.work, n), flush=True)


if __name__ == "__main__":
    main()
