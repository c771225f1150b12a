"""Time to import an estimator, compared with importing the libraries that it stands on.

    python benchmarks/startup.py [--rounds 9]

"theirs" is torch, transformers and scikit-learn, "used" those with the parts of scikit-learn that each of its
searches imports, and skorch. Each import runs in a new process, all in turns, after one of each that fills
the disk cache and is not counted. Every worker process of a search pays this once; "worker" is what it
imports when it unpickles an estimator.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from machine import machine

IMPORTS = {
    "theirs": "import torch, transformers, sklearn",
    "used": "import torch, transformers, sklearn.model_selection, skorch",
    "ours": "from plmlearn import PLMLoRAClassifier",
    "worker": "import plmlearn.estimators.protein",
}
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
    times: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for number in range(rounds + 1):
        for name, found in times.items():
            found.append(seconds(IMPORTS[name]))
            if number == 0:
                found.clear()
    print(machine(*PACKAGES))
    for name, found in times.items():
        print(f"{IMPORTS[name]}: {statistics.median(found):.2f} s ({min(found):.2f} to {max(found):.2f})")
    for mine, name in (("ours", "theirs"), ("ours", "used"), ("worker", "theirs")):
        ratios = [one / other for one, other in zip(times[mine], times[name])]
        print(f"{mine}, of {name}: {statistics.median(ratios):.2f}, median of {rounds} rounds")


if __name__ == "__main__":
    main()
