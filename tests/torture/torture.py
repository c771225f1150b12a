"""Kill saves, caches, searches and pretraining at random moments; tamper with models and backbones.

    python tests/torture/torture.py --kills 200 --folders 5000

Expected: 0 executions, 0 silent mixtures, 0 raw errors. Seeds are fixed; the moments of the kills are not.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--folders", type=int, default=5000)
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30,) * 2)  # a file without end is not to fill the machine
    with tempfile.TemporaryDirectory() as home:
        os.environ["PLMLEARN_CACHE"] = str(Path(home) / "cache")
        faults = torture(Path(home), arguments.kills, arguments.folders)
    print("\n".join(faults[:50]))
    print(f"{len(faults)} faults")
    return bool(faults)


def torture(home: Path, n_kills: int, n_folders: int) -> list[str]:
    import torch
    from backbones import tamper_backbones
    from kills import kill
    from tampering import tamper

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    faults = []
    runs = (
        ("kills", kill, n_kills),
        ("folders", tamper, n_folders),
        ("backbones", tamper_backbones, n_folders // 5),
    )
    for title, run, n in runs:
        (home / title).mkdir()
        began = time.monotonic()
        outcomes, found = run(home / title, n)
        print(f"{n} {title} in {time.monotonic() - began:.0f} s")
        for outcome, count in sorted(outcomes.items()):
            print(f"  {count:6d}  {outcome}")
        faults += found
    return faults


if __name__ == "__main__":
    sys.exit(main())
