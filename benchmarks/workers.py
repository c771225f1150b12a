"""Memory of several worker processes that load one model: of a published one, all share the weights.

    python benchmarks/workers.py [--shape 150m] [--workers 4]

Each worker embeds two proteins with a frozen model of that shape (random weights, float32) and then waits, as
workers of a search do. "resident" counts shared pages in every worker, "its share" (PSS) divides them among
the processes that have them mapped. Weights in a Hugging Face cache are mapped; those of a folder are copied,
since a folder may be written over.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
from machine import machine
from speed import SHAPES, build_folder

from plmlearn import PLMEmbedder
from plmlearn.backbones import load_backbone
from plmlearn.datasets import make_proteins


def work(backbone: str) -> None:
    proteins = make_proteins(2, random_state=os.getpid())  # others have nothing of them in the cache
    PLMEmbedder(backbone).fit_transform(proteins)
    print("ready", flush=True)
    sys.stdin.readline()
    memory = psutil.Process().memory_full_info()
    print(json.dumps({"resident": memory.rss, "its share": memory.pss}), flush=True)


def in_hub_cache(folder: Path, home: Path) -> str:
    """A name under which the files of a folder lie in a Hugging Face cache, each named by its content."""
    repository = home / "hub" / "models--bench--random"
    snapshot, blobs = repository / "snapshots" / ("0" * 40), repository / "blobs"
    for place in (snapshot, blobs, repository / "refs"):
        place.mkdir(parents=True)
    (repository / "refs" / "main").write_text(snapshot.name)
    for file in folder.iterdir():
        blob = blobs / hashlib.sha256(file.read_bytes()).hexdigest()
        (snapshot / file.name).symlink_to(file.rename(blob))
    return "bench/random"


def memory_of(backbone: str, home: Path, n_workers: int) -> list[dict[str, int]]:
    """Of workers that are all alive."""
    workers = [
        subprocess.Popen(
            [sys.executable, __file__, "--child", backbone],
            env=os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(n_workers)
    ]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n", "a worker has failed; its message stands above"
    for worker in workers:  # all of them wait while they are measured
        worker.stdin.write("\n")
        worker.stdin.flush()
    found = [json.loads(worker.stdout.readline()) for worker in workers]
    for worker in workers:
        worker.wait()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="150m")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        work(options.child)
        return
    print(machine("torch", "transformers"))
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        folder = Path(build_folder(options.shape, home / options.shape))
        weights = sum(tensor.nbytes for tensor in load_backbone(folder).tensors())
        print(f"weights: {weights / 2**20:,.0f} MiB")
        for where in ("a folder", "the Hugging Face cache"):
            backbone = str(folder) if where == "a folder" else in_hub_cache(folder, home)
            for n_workers in (1, options.workers):
                found = memory_of(backbone, home, n_workers)
                totals = {name: sum(row[name] for row in found) for name in found[0]}
                told = ", ".join(f"{name} {total / 2**20:,.0f} MiB" for name, total in totals.items())
                print(f"{n_workers} workers, weights in {where}: {told}", flush=True)


if __name__ == "__main__":
    main()
