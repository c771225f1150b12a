"""Many proteins through two worker processes that are killed on the way, against one pass in one process.

    python benchmarks/map_batches.py                      # 100,000 proteins
    python benchmarks/map_batches.py --sequences 2000

All proteins are different; their lengths are those of DeepLoc 2, or of generated proteins if PLMLEARN_DATA is
not set. A tuned classifier on the first layer of "mini" predicts probabilities. After a third and after two
thirds of the partitions a worker is killed with SIGKILL; with the first one the run itself is stopped, and
started again. Memory is the peak of a worker's resident memory minus what it has after the imports.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow.dataset
from distributed import Client, LocalCluster
from embedding_memory import proteins

from plmlearn import PLMLoRAClassifier
from plmlearn.distributed import map_batches


class Stopped(Exception):
    """The run is to stop here."""


class Watch(threading.Thread):
    """Kills a worker when so many parts are there; follows the memory of the workers."""

    def __init__(self, client: Client, out: Path, kill_at: list[int]):
        super().__init__(daemon=True)
        self.client, self.out, self.kill_at = client, out, kill_at
        self.peak, self.killed, self.done = 0, 0, False

    def run(self) -> None:
        while not self.done:
            pids = list(self.client.run(os.getpid, on_error="ignore").values())
            for pid in pids:
                if psutil.pid_exists(pid):
                    self.peak = max(self.peak, peak_of(pid))
            if self.kill_at and len(list(self.out.glob("part-*"))) >= self.kill_at[0]:
                os.kill(pids[0], signal.SIGKILL)
                self.kill_at.pop(0)
                self.killed += 1
            time.sleep(0.5)


def peak_of(pid: int) -> int:
    """Largest resident memory that a process has had, in bytes; on other systems than Linux that of now."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return psutil.Process(pid).memory_info().rss if psutil.pid_exists(pid) else 0


def imported() -> int:
    """Resident memory of a worker that has imported what it needs."""
    import plmlearn.distributed  # noqa: F401

    return psutil.Process().memory_info().rss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sequences", type=int, default=100_000)
    parser.add_argument("--longest", type=int, default=1022, help="residues at which proteins are cut")
    parser.add_argument("--partition-size", type=int, default=1000)
    parser.add_argument("--backbone", default="mini")
    parser.add_argument("--n-layers", type=int, default=1)
    options = parser.parse_args()
    X = [sequence[: options.longest] for sequence in proteins(options.sequences)]
    y = [sequence.count("A") > len(sequence) / 20 for sequence in X[:64]]
    settings = {
        "n_layers": options.n_layers,
        "epochs": 1,
        "precision": "fp32",
        "random_state": 0,
        "verbose": 0,
    }
    model = PLMLoRAClassifier(options.backbone, **settings).fit([sequence[:100] for sequence in X[:64]], y)
    n_parts = -(-len(X) // options.partition_size)
    how = {"method": "predict_proba", "partition_size": options.partition_size}
    with tempfile.TemporaryDirectory() as home:
        path = Path(home, "proteins.fasta")
        path.write_text("".join(f">P{i}\n{sequence}\n" for i, sequence in enumerate(X)))
        X.clear()
        with (
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
            Client(cluster) as c,
        ):
            before = max(c.run(imported).values())
            watch = Watch(c, Path(home, "two"), [n_parts // 3, 2 * n_parts // 3])
            watch.start()
            start = time.perf_counter()
            found = stopped_once(lambda: map_batches(model, path, Path(home, "two"), **how), watch, n_parts)
            seconds, watch.done = time.perf_counter() - start, True
            watch.join()
        map_batches(model, path, Path(home, "one"), **how)
        equal = same(Path(home, "one"), Path(home, "two"))
        left = [file.name for file in Path(home, "two").glob(".*.part")]
    print(f"{options.sequences} proteins of at most {options.longest} residues in {n_parts} partitions")
    print(f"two workers: {seconds:.0f} s")
    print(f"{watch.killed} workers killed; the second run computed {found.n_computed} partitions")
    print(f"equal to one pass in one process: {equal}; temporary files left: {len(left)}")
    print(f"peak memory of a worker beyond imports: {(watch.peak - before) / 2**30:.2f} GB")
    sys.exit(not equal or bool(left) or watch.killed < 2)


def stopped_once(run, watch: Watch, n_parts: int):
    """Interrupt the run when the first worker is killed, and start it again."""
    main_thread = threading.get_ident()

    def interrupt() -> None:
        while not watch.killed:
            time.sleep(0.1)
        signal.pthread_kill(main_thread, signal.SIGUSR1)

    def stop(*_) -> None:
        raise Stopped

    signal.signal(signal.SIGUSR1, stop)
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        run()
    except Stopped:
        print(f"stopped with {len(list(watch.out.glob('part-*')))} of {n_parts} parts; going on")
    return run()


def same(one: Path, other: Path) -> bool:
    """Whether two folders have the same parts with the same rows."""
    names = [sorted(file.name for file in folder.glob("part-*")) for folder in (one, other)]
    if names[0] != names[1]:
        return False
    tables = [pyarrow.dataset.dataset(folder).to_table().to_pandas() for folder in (one, other)]
    differ = max(
        np.abs(tables[0][name] - tables[1][name]).max() for name in tables[0] if name.startswith("p_")
    )
    print(f"largest difference {differ:.1e}")
    return bool(differ <= 1e-6) and tables[0]["id"].equals(tables[1]["id"])


if __name__ == "__main__":
    main()
