"""Estimated memory compared with the measured peak of a process that trains one epoch.

    python benchmarks/memory.py [--proteins 24] [--max-tokens 4096]

Each setting runs in a new process, with an encoder of ESM2-8M's shape, random weights, and proteins of 250
to 350 residues. The measured value is the peak resident memory of the process minus its memory after the
imports and a first fit of a small model. Each setting is measured twice. In the second measurement glibc
returns freed memory at once and oneDNN keeps no compiled kernels. What remains are the tensors, which the
estimate counts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

import numpy as np
import psutil
import transformers

from plmlearn import PLMClassifier
from plmlearn.adapters import FullFineTuning, LoRA
from plmlearn.datasets import make_proteins

SHAPE = {"num_hidden_layers": 6, "hidden_size": 320, "num_attention_heads": 20, "intermediate_size": 1280}
SETTINGS = {
    "LoRA": {"adapter": LoRA(target_modules=("key", "value"))},
    "LoRA, all matrices": {"adapter": LoRA(target_modules="all")},
    "LoRA, last layer": {"adapter": LoRA(last_n_layers=1)},
    "LoRA, checkpointing": {"adapter": LoRA(target_modules=("key", "value")), "gradient_checkpointing": True},
    "LoRA, nf4": {"adapter": LoRA(target_modules=("key", "value")), "quantization": "nf4"},
    "full": {"adapter": FullFineTuning()},
}


def measure(setting: str, precision: str, folder: str, n_proteins: int, max_tokens: int) -> dict[str, int]:
    """Estimated and measured bytes of one epoch; call it in a new process."""
    parameters = {"precision": precision, "epochs": 1, "verbose": 0, "random_state": 0, "device": "cpu"}
    PLMClassifier("mini", **parameters | SETTINGS[setting]).fit(["MKV", "MAV"], [0, 1])
    X = make_proteins(n_proteins, median_length=300, min_length=250, max_length=350, random_state=0)
    y = np.arange(n_proteins) % 2
    before = psutil.Process().memory_info().rss
    classifier = PLMClassifier(folder, backbone_init="random", max_tokens=max_tokens, **parameters)
    classifier.set_params(**SETTINGS[setting])
    estimated = classifier.memory_estimate(X).total
    classifier.fit(X, y)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"estimated": estimated, "measured": peak - before}


TENSORS_ALONE = {"MALLOC_MMAP_THRESHOLD_": "131072", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "0"}


def in_fresh_process(*arguments: str, **environment: str) -> dict[str, int]:
    command = [sys.executable, __file__, "--child", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | environment)
    return json.loads(done.stdout.splitlines()[-1])


def write_shape(folder: str) -> None:
    """A folder with ESM2-8M's configuration and a tokenizer, without weights."""
    mini = Path(str(files("plmlearn.assets") / "mini"))
    for name in ("vocab.txt", "tokenizer_config.json", "special_tokens_map.json"):
        if (mini / name).exists():
            shutil.copyfile(mini / name, Path(folder) / name)
    config = transformers.AutoConfig.from_pretrained(mini)
    config.update(SHAPE)
    config.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--proteins", type=int, default=24)
    parser.add_argument("--max-tokens", type=int, default=4096)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(*options.child, options.proteins, options.max_tokens)))
        return
    print("| setting | precision | estimated, MiB | measured, tensors only | ratio | measured, everything |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        write_shape(folder)
        for setting, precision in itertools.product(SETTINGS, ("fp32", "bf16")):
            arguments = [setting, precision, folder]
            arguments += ["--proteins", str(options.proteins), "--max-tokens", str(options.max_tokens)]
            tensors = in_fresh_process(*arguments, **TENSORS_ALONE)
            whole = in_fresh_process(*arguments)
            figures = (tensors["estimated"], tensors["measured"], whole["measured"])
            estimated, of_tensors, of_all = (f"{figure / 2**20:.0f}" for figure in figures)
            ratio = f"{figures[0] / figures[1]:.2f}"
            cells = (setting, precision, estimated, of_tensors, ratio, of_all)
            print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
