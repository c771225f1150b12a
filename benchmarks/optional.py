"""Costs and gains of options: torch.compile, int8, gradient checkpointing; and of merging LoRA.

    python benchmarks/optional.py [--shape 8m] [--proteins 48] [--rounds 5]

Three comparisons: prediction with and without LoRA merged into its matrices (float32; in bfloat16 the sum
would be rounded); prediction and an epoch of LoRA with and without ``compile=True``; an epoch with and
without the options that save memory. In the table, "plmlearn" is with the option and "baseline" without, so
a ratio above 1 means that the option is faster. Decisions 10 and 11 rest on these results.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import peft
import torch
from machine import machine
from speed import MATRICES, SHAPES, Row, build_folder, our_fit, proteins, since, table

import plmlearn.cache
from plmlearn import PLMLoRAClassifier

T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    result = work()
    return result, since(start)


def seconds(work: Callable[[], object]) -> float:
    return timed(work)[1]


def fitted(folder: str, sequences: list[str], **options) -> PLMLoRAClassifier:
    settings = {"epochs": 1, "random_state": 0, "verbose": 0, "max_tokens": 4096, "target_modules": MATRICES}
    return PLMLoRAClassifier(folder, **settings | options).fit(sequences[:4], [0, 1, 0, 1])


def merging(folder: str, sequences: list[str], rounds: int, target_modules) -> Row:
    plain, merged = (fitted(folder, sequences, precision="fp32", target_modules=target_modules) for _ in "ab")
    expected = plain.predict_proba(sequences)
    for module in merged._restored().module.modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            module.get_base_layer().weight = torch.nn.Parameter(module.get_base_layer().weight.clone())
            module.merge()
    error = np.abs(merged.predict_proba(sequences) - expected).max()
    row = Row(f"Prediction, LoRA on {target_modules}, merged", "not merged", [], [], "–")
    row.note = f"largest difference {error:.1g}"
    for _ in range(rounds):
        row.theirs.append(seconds(lambda: plain.predict(sequences)))
        row.ours.append(seconds(lambda: merged.predict(sequences)))
    return row


def compiling(folder: str, sequences: list[str], rounds: int, precision: str) -> list[Row]:
    plain = fitted(folder, sequences, precision=precision)
    compiled, first_fit = timed(lambda: fitted(folder, sequences, precision=precision, compile=True))
    first = seconds(lambda: compiled.predict(sequences))
    predicting = Row(f"Prediction in {precision}, layers compiled", "without", [], [], "–")
    predicting.note = f"first call {first:.0f} s"
    for _ in range(rounds):
        predicting.ours.append(seconds(lambda: compiled.predict(sequences)))
        predicting.theirs.append(seconds(lambda: plain.predict(sequences)))
    training = epochs(folder, sequences, rounds, f"{precision}, layers compiled", precision, compile=True)
    training.note = f"first fit {first_fit:.0f} s"
    return [predicting, training]


def epochs(folder: str, sequences: list[str], rounds: int, what: str, precision: str, **option) -> Row:
    """An epoch of LoRA on all layers, with and without an option."""
    row = Row(f"An epoch of LoRA in {what}", "without", [], [], "–")
    y = np.arange(len(sequences)) % 2
    our_fit(folder, sequences, y, 1, precision=precision, **option)
    for _ in range(rounds):
        for side, settings in ((row.ours, option), (row.theirs, {})):
            history = our_fit(folder, sequences, y, 1, precision=precision, **settings)[1]
            side.append(history[0]["seconds"])
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="8m")
    parser.add_argument("--proteins", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", type=Path, help="append the table to this file")
    options = parser.parse_args()
    sequences, _ = proteins(options.proteins)
    with tempfile.TemporaryDirectory() as scratch, plmlearn.cache.disabled():
        folder = build_folder(options.shape, Path(scratch) / "backbone")
        rows = [merging(folder, sequences, options.rounds, which) for which in (("key", "value"), "all")]
        for precision in ("fp32", "bf16"):
            rows += compiling(folder, sequences, options.rounds, precision)
        for name, saving in {
            "int8": {"quantization": "int8"},
            "gradient_checkpointing": {"gradient_checkpointing": True},
        }.items():
            rows.append(epochs(folder, sequences, options.rounds, f"bf16, {name}", "bf16", **saving))
    report = f"## Options, ESM2-{options.shape.upper()} shape\n\n{machine()}\n\n{table(rows)}\n"
    print(report)
    if options.write:
        with open(options.write, "a") as file:
            file.write("\n" + report)


if __name__ == "__main__":
    main()
