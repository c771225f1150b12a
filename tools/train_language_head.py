"""Train a language head on the frozen encoder of a checkpoint that has none, in runs that can be resumed.

    python tools/train_language_head.py ENCODER --data data --run runs/head --minutes 60

``ENCODER`` is a folder, a short name or a Hugging Face id of the ESM architecture. ``--data`` (default: the
environment variable PLMLEARN_DATA) holds ``corpus/natural_*.txt.xz``, one protein per line. ``--run`` gets a
checkpoint every three minutes, and the same command goes on from there. At the end, and after SIGTERM or
SIGINT, it gets ``best/``: the encoder with the best head so far, which ``transformers.EsmForMaskedLM`` reads.
"""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

import torch
from train_mini import HELD_OUT_LENGTH, Stop, read_corpus

from plmlearn import PLMMaskedLM
from plmlearn.adapters import Frozen

# A running mean of the weights replaces the decay of the learning rate, so that a run may end at any time.
RECIPE = {
    "adapter": Frozen(),
    "max_steps": 100_000,
    "lr": 4e-3,
    "batch_size": 16,
    "crop_length": 256,
    "schedule": "constant",
    "warmup": 0.001,
    "averaging": 0.998,
    "validation_fraction": None,
    "max_length": HELD_OUT_LENGTH,
    "random_state": 0,
    "verbose": 0,
}


def train(options: argparse.Namespace) -> PLMMaskedLM:
    """Start a run, or go on with it."""
    proteins, held_out = read_corpus(options.data)
    lm = PLMMaskedLM(
        options.encoder,
        **RECIPE,
        evaluate_every=options.evaluate_every,
        checkpoint=str(options.run),
        checkpoint_minutes=3,
        time_limit=options.minutes,
        callbacks=[Stop()],
        precision=options.precision,
    )
    return lm.fit(proteins, X_val=held_out)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("encoder")
    parser.add_argument("--data", type=Path, default=os.environ.get("PLMLEARN_DATA"))
    parser.add_argument("--run", type=Path, default=Path("runs/language-head"))
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--evaluate-every", type=int, default=300, help="steps")
    options = parser.parse_args()
    if options.data is None:
        parser.error("pass --data, or set PLMLEARN_DATA")
    options.data = Path(options.data)
    torch.set_num_threads(1)
    lm = train(options)
    folder = lm.save_pretrained(options.run / "best")
    print(
        f"held-out perplexity: before {math.exp(lm.unigram_loss_):.2f} (amino-acid frequencies), after "
        f"{math.exp(lm.valid_loss_):.2f}; {lm.n_steps_:,} steps, {lm.n_residues_seen_ / 1e6:.1f} M residues, "
        f"{lm.n_trainable_parameters_:,} of {lm.n_parameters_:,} parameters trained -> {folder}",
        flush=True,
    )


if __name__ == "__main__":
    main()
