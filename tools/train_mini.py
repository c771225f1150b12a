"""Train the bundled encoder "mini" on the corpus, unattended, in runs that can be resumed.

    python tools/train_mini.py --data data --minutes 60        # stops cleanly; run again to continue
    python tools/train_mini.py --data data --recipe gpu --minutes 9
    python tools/train_mini.py --data data --install           # copy the best weights so far into the package

``--data`` (default: the environment variable PLMLEARN_DATA) holds ``corpus/natural_*.txt.xz``, one protein
per line. Everything is written to ``--run``: ``checkpoint.safetensors`` (all that resuming needs),
``history.json`` (the loss curve), and at every stop ``best/``. That folder has the weights with the best
held-out loss in bfloat16, and ``training.json``, from which the numbers of the model card come. SIGTERM and
SIGINT stop the run cleanly. A recipe is a row of :data:`RECIPES`. A run continues with the recipe that it
started with.
"""

from __future__ import annotations

import argparse
import json
import lzma
import math
import os
import platform
import shutil
import signal
import tempfile
import time
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import torch

from plmlearn import PLMMaskedLM

HELD_OUT = 400  # proteins: the first of the corpus, which is shuffled
HELD_OUT_LENGTH = 254  # residues of each that are read

SHAPE = {"n_layers": 4, "width": 192, "n_heads": 6}
COMMON = {
    **SHAPE,
    "mask_rate": 0.2,
    "weight_decay": 0.01,
    "gradient_clip": 1.0,
    "validation_fraction": None,
    "max_length": HELD_OUT_LENGTH,
    "random_state": 0,
}
RECIPES = {
    # One CPU thread. A running mean of the weights replaces the decay, so that a run may end at any time.
    "cpu": {
        **COMMON,
        "crop_length": 128,
        "batch_size": 64,
        "lr": 4e-3,
        "optimizer": "muon",
        "schedule": "constant",
        "warmup": 0.002,
        "averaging": 0.998,
        "max_steps": 50_000,
        "evaluate_every": 400,
    },
    # A GPU: a billion residues and more, with long crops at the end.
    "gpu": {
        **COMMON,
        "crop_length": 512,
        "curriculum": [(0.6, 128)],
        "batch_size": 128,
        "lr": 4e-3,
        "optimizer": "muon",
        "schedule": "linear",
        "warmup": 0.01,
        "averaging": 0.999,
        "max_steps": 30_000,
        "evaluate_every": 500,
        "max_tokens": 65_536,
    },
}


def read_corpus(data: Path) -> tuple[list[str], list[str]]:
    """Training proteins and held-out proteins."""
    proteins: list[str] = []
    for file in sorted((data / "corpus").glob("natural_*.txt.xz")):
        with lzma.open(file, "rt") as lines:
            proteins += lines.read().split()
    if not proteins:
        raise SystemExit(f"no natural_*.txt.xz in {data / 'corpus'}; pass --data or set PLMLEARN_DATA")
    held_out = [protein[:HELD_OUT_LENGTH] for protein in proteins[:HELD_OUT]]
    return proteins[HELD_OUT:], held_out


def train(data: Path, run: Path, recipe: str, minutes: float | None, device: str, stop) -> PLMMaskedLM:
    """Start or continue a run."""
    proteins, held_out = read_corpus(data)
    print(f"{len(proteins):,} proteins, {sum(map(len, proteins)) / 1e6:.1f} M residues", flush=True)
    lm = PLMMaskedLM(
        **RECIPES[recipe],
        checkpoint=str(run),
        checkpoint_minutes=3,
        time_limit=minutes,
        device=device,
        callbacks=[stop],
        verbose=0,
    )
    return lm.fit(proteins, X_val=held_out)


def write_best(lm: PLMMaskedLM, folder: Path, recipe: str) -> None:
    """Write the best weights, and the numbers for the model card."""
    lm.save_pretrained(folder, precision="bf16")
    best = min(lm.history_, key=lambda row: row["valid_loss"]) if lm.history_ else {}
    figures = {
        "recipe": {"name": recipe, **RECIPES[recipe]},
        "n_parameters": lm.n_parameters_,
        "residues": best.get("residues"),
        "steps": best.get("step"),
        "hours": round(best.get("seconds", 0) / 3600, 2),
        "held_out_proteins": HELD_OUT,
        "held_out_loss": round(lm.valid_loss_, 4),
        "unigram_loss": round(lm.unigram_loss_, 4),
        "versions": {name: version(name) for name in ("torch", "transformers")},
        "python": platform.python_version(),
        "curve": [
            {name: round(row[name], 4) for name in ("step", "residues", "train_loss", "valid_loss")}
            for row in lm.history_
        ],
    }
    (folder / "training.json").write_text(json.dumps(figures, indent=1))
    print(
        f"best: step {figures['steps']}, {(figures['residues'] or 0) / 1e6:.1f} M residues, held-out loss "
        f"{figures['held_out_loss']} (amino-acid frequencies {figures['unigram_loss']}) -> {folder}",
        flush=True,
    )


def install(data: Path, run: Path, recipe: str, device: str) -> None:
    """Copy the best weights of a run into the package. The run may continue meanwhile."""
    with tempfile.TemporaryDirectory() as home:
        copy = Path(home) / "run"
        copy.mkdir()
        shutil.copy(run / "checkpoint.safetensors", copy)
        lm = train(data, copy, recipe, None, device, lambda progress: True)
        write_best(lm, Path(home) / "best", recipe)
        asset = Path(str(files("plmlearn.assets") / "mini"))
        for name in ("config.json", "model.safetensors", "training.json"):  # the tokenizer stays
            shutil.copyfile(Path(home) / "best" / name, asset / name)
    put_into_card(asset)
    size = sum(file.stat().st_size for file in asset.iterdir())
    print(f"{asset}: {size / 1e6:.1f} MB")


FIRST, LAST = "<!-- written by tools/train_mini.py from training.json -->", "<!-- end -->"


def card(figures: dict) -> str:
    """The part of the model card that contains numbers."""
    recipe = figures["recipe"]
    settings = ", ".join(f"{name} {value}" for name, value in recipe.items() if name != "name")
    curve = [row for row in figures["curve"] if row["residues"] <= figures["residues"]]
    shown = [row for i, row in enumerate(curve) if i % max(1, len(curve) // 10) == 0]
    shown += [curve[-1]] if curve[-1] not in shown else []
    lines = [
        "| | |",
        "|---|---|",
        f"| shape | {recipe['n_layers']} layers, width {recipe['width']}, {recipe['n_heads']} heads; "
        f"{figures['n_parameters'] / 1e6:.1f} M parameters |",
        f"| residues read | {figures['residues'] / 1e6:.1f} M in {figures['steps']:,} steps, "
        f"{figures['hours']} hours |",
        f"| held-out loss | {figures['held_out_loss']:.3f} nats per hidden residue (perplexity "
        f"{math.exp(figures['held_out_loss']):.2f}); amino-acid frequencies reach "
        f"{figures['unigram_loss']:.3f} ({math.exp(figures['unigram_loss']):.2f}) |",
        "",
        f'Settings of `PLMMaskedLM` (recipe "{recipe["name"]}"): {settings}. Held out: the first '
        f"{figures['held_out_proteins']} proteins of the corpus.",
        "",
        "| residues, M | training loss | held-out loss |",
        "|---|---|---|",
        *(
            f"| {row['residues'] / 1e6:.1f} | {row['train_loss']:.3f} | {row['valid_loss']:.3f} |"
            for row in shown
        ),
    ]
    return "\n".join(lines)


def put_into_card(asset: Path) -> None:
    """Write the numbers of ``training.json`` into the model card."""
    page = asset / "README.md"
    before, _, rest = page.read_text().partition(FIRST)
    after = rest.partition(LAST)[2]
    figures = json.loads((asset / "training.json").read_text())
    page.write_text(f"{before}{FIRST}\n{card(figures)}\n{LAST}{after}")


class Stop:
    """A callback that ends training after a signal, and prints each evaluation on the held-out proteins."""

    def __init__(self) -> None:
        self.asked, self.shown = False, -1
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self.ask)

    def ask(self, *_) -> None:
        self.asked = True

    def __call__(self, progress: dict) -> bool:
        if progress["history"] and progress["history"][-1]["step"] > self.shown:
            row = progress["history"][-1]
            self.shown = row["step"]
            print(
                f"{time.strftime('%H:%M:%S')} step {row['step']:6d} {row['residues'] / 1e6:8.2f} M "
                f"train {row['train_loss']:.4f} held-out {row['valid_loss']:.4f} "
                f"{row['residues_per_second']:,.0f} residues/s{' best' if row['best'] else ''}",
                flush=True,
            )
        return self.asked


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("PLMLEARN_DATA"))
    parser.add_argument("--run", type=Path, default=Path("runs/mini"))
    parser.add_argument("--recipe", choices=list(RECIPES), default="cpu")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--install", action="store_true")
    options = parser.parse_args()
    if options.data is None:
        parser.error("pass --data, or set PLMLEARN_DATA")
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.install:
        install(Path(options.data), options.run, options.recipe, options.device)
        return
    options.run.mkdir(parents=True, exist_ok=True)
    lm = train(Path(options.data), options.run, options.recipe, options.minutes, options.device, Stop())
    write_best(lm, options.run / "best", options.recipe)
    print("finished" if lm.finished_ else "not finished: run the same command again to continue", flush=True)


if __name__ == "__main__":
    main()
