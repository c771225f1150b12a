"""Seconds that biotrainer needs to mean-pool proteins; called by ``speed.py``.

    python -m venv peer && peer/bin/pip install biotrainer
    python benchmarks/speed.py --only embedding --peer-python peer/bin/python

It runs in its own environment and prints one number per round. biotrainer's class for ESM-2 is created from
a local folder, with its authors' settings. Only the progress bar is switched off.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
from pathlib import Path

import torch
from transformers import EsmModel, EsmTokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", help="backbone written by save_pretrained")
    parser.add_argument("sequences", type=Path, help="JSON list of sequences")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    from biotrainer.embedders.huggingface import ESM2
    from biotrainer.embedders.services import EmbeddingService

    model = EsmModel.from_pretrained(options.folder, add_pooling_layer=False).eval()
    tokenizer = EsmTokenizer.from_pretrained(options.folder, do_lower_case=False)
    embedder = ESM2(
        name=options.folder,
        model=model,
        tokenizer=tokenizer,
        use_half_precision=False,
        device=torch.device("cpu"),
    )
    service = EmbeddingService(embedder)
    sequences = json.loads(options.sequences.read_text())
    seconds = []
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        for _ in range(options.rounds):
            start = time.perf_counter()
            with torch.no_grad():
                n = sum(1 for _ in service.generate_embeddings(sequences, reduce=True))
            seconds.append(time.perf_counter() - start)
            assert n == len(sequences)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
