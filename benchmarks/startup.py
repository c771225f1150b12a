"""Time to import an estimator, compared with importing torch, transformers and scikit-learn together.

    python benchmarks/startup.py [--rounds 9]

Each import runs in a new process, the two in turns, after one of each that fills the disk cache and is not
counted. Every worker process of a search pays this once.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from machine import machine

OURS = "from plmlearn import PLMLoRAClassifier"
THEIRS = "import torch, transformers, sklearn"
PACKAGES = ("torch", "transformers", "scikit-learn", "peft", "skorch")


def seconds(statement: str) -> float:
    """How long a statement takes in a new process, the interpreter's own start left out."""
    timed = f"import time; start = time.perf_counter()\n{statement}\nprint(time.perf_counter() - start)"
    command = [sys.executable, "-c", timed]
    root = Path(__file__).parents[1]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {THEIRS: [], OURS: []}
    for number in range(rounds + 1):
        for statement, found in times.items():
            found.append(seconds(statement))
            if number == 0:
                found.clear()
    print(machine(*PACKAGES))
    for statement, found in times.items():
        print(f"{statement}: {statistics.median(found):.2f} s ({min(found):.2f} to {max(found):.2f})")
    ratios = [ours / theirs for ours, theirs in zip(times[OURS], times[THEIRS])]
    print(f"ratio {statistics.median(ratios):.2f}, required 1.1, median of {rounds} rounds")


if __name__ == "__main__":
    main()
