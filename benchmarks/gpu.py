"""Embedding and LoRA training on a GPU: speed, share of the GPU's peak rate, memory, by size of the model.

    PLMLEARN_DATA=data python benchmarks/gpu.py                       # ESM2-8M to 3B shapes, some 15 minutes
    PLMLEARN_DATA=data python benchmarks/gpu.py --shapes 650m --proteins 512 [--compile]

Proteins, random weights and the plain loop are those of ``speed.py``: peft, SDPA, padding per batch, and
the faster of float32 and bfloat16 autocast; for embedding also the fastest of several batch sizes. The peak
rate is the best that this GPU reaches in products of large bfloat16 matrices. Only operations on residues
are counted: two for each weight and token, and those of attention, which grow with the square of the
length. Training counts the forward pass and the gradients of the inputs. It does not count gradients of
weights: only adapters have them, and they are less than one percent.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
import transformers
from machine import machine
from speed import (
    BATCH,
    DEVICE,
    SHAPES,
    HandLoop,
    best,
    better_precision,
    build_folder,
    our_fit,
    proteins,
    since,
)

import plmlearn.cache
from plmlearn import PLMEmbedder

BATCHES = (8, 32, 128)


def operations(shape: str, sequences: list[str], *, training: bool) -> float:
    """Floating-point operations of one pass over the residues."""
    layers, width, _, inner = SHAPES[shape]
    lengths = np.array([len(s) + 2.0 for s in sequences])
    products = 2 * lengths.sum() * layers * (4 * width**2 + 2 * width * inner)
    attention = 4 * (lengths**2).sum() * width * layers
    return 2 * products + 3.5 * attention if training else products + attention


def peak_rate(n: int) -> float:
    """Operations per second in the fastest product of two (n, n) bfloat16 matrices."""
    a, b = (torch.randn(n, n, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    return 2 * n**3 / best(lambda: a @ b)


def with_memory(run: Callable[[], float], rounds: int) -> tuple[float, float]:
    """Median seconds of ``run``, and its peak GPU memory in GiB."""
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = float(np.median([run() for _ in range(rounds)]))
    return seconds, (torch.cuda.max_memory_allocated() / 2**30 if DEVICE.type == "cuda" else float("nan"))


def our_embedding(folder: str, sequences: list[str], **options) -> float:
    embedder = PLMEmbedder(folder, **options).fit(sequences[:1])
    with plmlearn.cache.disabled():
        start = time.perf_counter()
        embedder.transform(sequences)
        return since(start)


def rows(
    shape: str, folder: str, sequences: list[str], rounds: int, peak: float, **ours_options
) -> Iterator[str]:
    """Lines of the table for one shape."""
    few, y = sequences[: 4 * BATCH], np.arange(len(sequences)) % 2
    n_residues = sum(map(len, sequences))
    name, dtype = better_precision(lambda dtype: HandLoop(folder, dtype).epoch(few, y[: len(few)]))
    loop = HandLoop(folder, dtype)
    batch = min(BATCHES, key=lambda batch: loop.embed(sequences, batch))
    our_embedding(folder, few, **ours_options)
    our_fit(folder, few, y[: len(few)], 1, **ours_options)
    measured = {
        f"embedding ({name}, batches of {batch})": (
            partial(our_embedding, folder, sequences, **ours_options),
            lambda: loop.embed(sequences, batch),
            operations(shape, sequences, training=False),
        ),
        f"LoRA on all layers ({name}, batches of {BATCH})": (
            lambda: our_fit(folder, sequences, y, 1, **ours_options)[1][0]["seconds"],
            lambda: HandLoop(folder, dtype).epoch(sequences, y),
            operations(shape, sequences, training=True),
        ),
    }
    for work, (ours, theirs, count) in measured.items():
        seconds, memory = with_memory(ours, rounds)
        their_seconds, their_memory = with_memory(theirs, rounds)
        cells = (
            shape,
            work,
            f"{n_residues / seconds:,.0f}",
            f"{count / seconds / peak:.0%}",
            f"{memory:.2f}",
            f"{n_residues / their_seconds:,.0f}",
            f"{their_memory:.2f}",
            f"{their_seconds / seconds:.2f}",
        )
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--proteins", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--matrix", type=int, default=8192, help="size of the matrices for the peak rate")
    parser.add_argument("--compile", action="store_true", help="run plmlearn with compile=True")
    parser.add_argument("--write", type=Path, help="append the table to this file")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    sequences, origin = proteins(options.proteins)
    peak, mean = peak_rate(options.matrix), np.mean([len(s) for s in sequences])
    title = "By size of the model" + (", plmlearn compiled" if options.compile else "")
    columns = ("shape", "work", "residues/s", "of the peak", "GiB", "(b), residues/s", "(b), GiB", "ratio")
    lines = [
        f"## {title}: {len(sequences)} proteins ({origin}, mean length {mean:.0f})",
        f"\n{machine()}; peak {peak / 1e12:.1f} TFLOP/s in bfloat16\n",
        f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|",
    ]
    print("\n".join(lines), flush=True)
    for shape in options.shapes:
        with tempfile.TemporaryDirectory() as scratch:
            folder = build_folder(shape, Path(scratch) / "backbone")
            plmlearn.cache.limit(folder=Path(scratch) / "cache")
            for line in rows(shape, folder, sequences, options.rounds, peak, compile=options.compile):
                print(line, flush=True)
                lines.append(line)
    if options.write:
        with open(options.write, "a") as file:
            file.write("\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
