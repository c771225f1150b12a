"""Residues per second of two processes with one thread each, against one process with two threads.

    PLMLEARN_DATA=data python benchmarks/processes.py [--proteins 64] [--rounds 3]

LoRA on key and value of all layers of ESM2-8M's shape with random weights, proteins of DeepLoc 2 (or
generated ones), steps of 16 proteins. Both fit the same data in turns; two processes share each step, as
``torchrun`` starts them, with gloo on the CPU. Rates are those of the second epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from machine import machine
from speed import build_folder, proteins

from plmlearn import PLMLoRAClassifier


def fit(folder: str, n: int) -> None:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    X, _ = proteins(n)
    settings = {"epochs": 2, "batch_size": 16, "random_state": 0, "verbose": 0}
    model = PLMLoRAClassifier(folder, target_modules=("key", "value"), **settings)
    model.fit(X, np.arange(n) % 2)
    print(json.dumps(model.history_[-1]["residues_per_second"]))


def rate(folder: str, n: int, n_processes: int) -> float:
    """Residues per second, as the first of the processes has them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, __file__, "--proteins", str(n), "--child", folder]
    started = []
    for rank in range(n_processes):
        own = os.environ | {"OMP_NUM_THREADS": str(2 // n_processes)}
        if n_processes > 1:
            own |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(n_processes)}
            own |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        started.append(subprocess.Popen(command, env=own, stdout=subprocess.PIPE, text=True))
    said = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError("a process has failed; its message stands above")
    return json.loads(said[0].splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--proteins", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        fit(options.child, options.proteins)
        return
    ratios = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = build_folder("8m", Path(scratch) / "backbone")
        for number in range(options.rounds):
            one, two = (rate(folder, options.proteins, n) for n in (1, 2))
            ratios.append(two / one)
            print(f"round {number + 1}: {one:,.0f} and {two:,.0f} residues/s", flush=True)
    print(
        f"two processes reach {statistics.median(ratios):.2f} of one ({min(ratios):.2f} to {max(ratios):.2f})"
    )
    print(machine())


if __name__ == "__main__":
    main()
