"""What the bundled encoder "mini" has learned, compared with models that need no pretraining.

    PLMLEARN_DATA=data python benchmarks/mini.py                       # all: some 20 minutes on one thread
    PLMLEARN_DATA=data python benchmarks/mini.py perplexity probes
    PLMLEARN_DATA=data python benchmarks/mini.py --write docs/pretraining.md  # and put the tables into a page

``perplexity``: residues are replaced by the mask token (15 % of each protein of at least 40 residues) and
predicted, in several sets of proteins. None of the proteins was used in training. ``probes``: linear models
on frozen embeddings. ``lora``: fine-tuning from "mini" and from random weights, by number of training
proteins. ``throughput``: speed of training in residues/s, and as a share of the matrix products that this
machine computes in the same precision. Random weights are those from which the training of "mini" started.
"""

from __future__ import annotations

import argparse
import lzma
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from machine import machine
from scipy.sparse import issparse
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import accuracy_score, matthews_corrcoef
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from plmlearn import PLMEmbedder, PLMLoRAClassifier, PLMMaskedLM
from plmlearn.backbones import load_backbone
from plmlearn.baselines import CompositionVectorizer
from plmlearn.datasets import (
    fetch_deeploc2,
    fetch_gb1,
    fetch_secondary_structure,
    fetch_signal_peptides,
    fetch_stability,
)
from plmlearn.pretraining.likelihood import hide_parts, log_likelihoods
from plmlearn.pretraining.masking import Corpus, Masking

CORPUS_HELD_OUT = 400  # the first proteins of the corpus; tools/train_mini.py does not train on them
SHORTEST, LONGEST = 40, 254
WINDOW = 15


def corpus(n: int, skip: int = 0) -> list[str]:
    file = sorted((Path(os.environ["PLMLEARN_DATA"]) / "corpus").glob("natural_*.txt.xz"))[0]
    with lzma.open(file, "rt") as lines:
        return [next(lines).strip() for _ in range(skip + n)][skip:]


def untrained(**settings) -> PLMMaskedLM:
    """A language model without further training: "mini", or random weights of the same shape."""
    lm = PLMMaskedLM(**settings, max_steps=0, validation_fraction=None, random_state=0, verbose=0)
    return lm.fit(["MKTAYIAKQR"])


def random_mini() -> PLMMaskedLM:
    config = load_backbone("mini").config
    return untrained(
        n_layers=config.num_hidden_layers, width=config.hidden_size, n_heads=config.num_attention_heads
    )


def draw(n: int, total: int, seed: int = 0) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).permutation(total)[:n])


# -- perplexity -------------------------------------------------------------------------------


class Neighbours:
    """A residue from its two neighbours: counts of triples, smoothed by amino-acid frequencies."""

    def __init__(self, sequences: list[str], letters: str, strength: float = 50.0):
        code = np.full(
            256, len(letters), dtype=np.int64
        )  # an end of the protein, a hidden residue, a rare letter
        code[np.frombuffer(letters.encode(), dtype=np.uint8)] = np.arange(len(letters))
        self.code, n = code, len(letters) + 1
        counts = np.zeros((n, n, n))
        for sequence in sequences:
            row = self.row(sequence)
            np.add.at(counts, (row[:-2], row[1:-1], row[2:]), 1)
        counts = counts[:, :-1]
        counts[-1] += counts[:-1].sum(0)  # left neighbour unknown
        counts[..., -1] += counts[..., :-1].sum(-1)
        self.frequency = counts[-1, :, -1] / counts[-1, :, -1].sum()
        smoothed = counts + strength * self.frequency[None, :, None]
        self.shares = smoothed / smoothed.sum(1, keepdims=True)

    def row(self, sequence: str) -> np.ndarray:
        """Codes of the residues, with an unknown one before and after."""
        unknown = [self.code[0]]
        inner = self.code[np.frombuffer(sequence.encode(), dtype=np.uint8)]
        return np.concatenate([unknown, inner, unknown])

    def log_likelihood(self, sequence: str, hidden: np.ndarray) -> tuple[float, float]:
        """Of hidden residues (counted from 0): from both neighbours, and from frequencies alone."""
        row = self.row(sequence)
        seen = row.copy()
        seen[hidden + 1] = self.code[0]
        true = row[hidden + 1]
        shares = self.shares[seen[hidden], true, seen[hidden + 2]]
        return float(np.log(shares).sum()), float(np.log(self.frequency[true]).sum())


def protein_sets(n: int) -> dict[str, list[str]]:
    sets = {
        "corpus, held out": corpus(CORPUS_HELD_OUT),
        "DeepLoc 2 (eukaryotes)": list(fetch_deeploc2().data),
        "NetSurfP-2 (structures)": list(fetch_secondary_structure().data),
        "SignalP 6 (protein starts)": list(fetch_signal_peptides(task="type").data),
        "stability (designed)": list(fetch_stability(subset="test").data),
    }
    cut = {name: [s[:LONGEST] for s in proteins if len(s) >= SHORTEST] for name, proteins in sets.items()}
    return {name: [part[i] for i in draw(n, len(part))] for name, part in cut.items()}


def perplexity(scale: float) -> str:
    letters = "ACDEFGHIKLMNPQRSTVWY"
    neighbours = Neighbours(corpus(max(200, int(40_000 * scale)), CORPUS_HELD_OUT), letters)
    models = {"mini": untrained(backbone="mini"), "random weights": random_mini()}
    lines = [
        "| proteins | hidden residues | mini | neighbours (2-gram) | frequencies | random weights |",
        "|---|---|---|---|---|---|",
    ]
    for name, proteins in protein_sets(max(10, int(300 * scale))).items():
        backbone = models["mini"]._restored().backbone
        tokens = Corpus(backbone, proteins)
        views = hide_parts(tokens, Masking.of(backbone), 0, n_parts=1)
        n = sum(len(view.places) for view in views)
        found = {}
        for model_name, lm in models.items():
            run = lm._restored()
            found[model_name] = log_likelihoods(run.module, tokens, views, run.config)[0].sum()
        simple = [neighbours.log_likelihood(proteins[v.sequence], v.places - 1) for v in views]
        simple = np.sum(simple, axis=0)
        values = [found["mini"], simple[0], simple[1], found["random weights"]]
        lines.append(f"| {name} | {n:,} | " + " | ".join(f"{np.exp(-v / n):.2f}" for v in values) + " |")
    return "\n".join(lines)


# -- probes -----------------------------------------------------------------------------------


def logistic() -> object:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))


def ridge() -> object:
    return make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 5, 7)))


def vectorizer(kind: str, **options) -> Callable:
    made = CompositionVectorizer(kind=kind, **options)
    return lambda train, test: (_dense(made.fit_transform(train)), _dense(made.transform(test)))


def _dense(features) -> np.ndarray:
    return features.toarray() if issparse(features) else features


def embedder(backbone: str) -> Callable:
    made = PLMEmbedder(backbone, max_length=LONGEST, long_sequences="truncate")
    return lambda train, test: (made.fit(train).transform(train), made.transform(test))


def by_protein(train, test, model, score, kmer: Callable, random: str) -> list[float]:
    """Scores of a linear model on: mini, composition, k-mers or one-hot, random weights."""
    results = []
    for features in (embedder("mini"), vectorizer("composition"), kmer, embedder(random)):
        A, B = features(train[0], test[0])
        results.append(score(test[1], model().fit(A, train[1]).predict(B)))
    return results


def spearman(y, predicted) -> float:
    return float(spearmanr(y, predicted)[0])


def membrane_part(partitions: tuple, n: int) -> tuple:
    part = fetch_deeploc2(task="membrane", partitions=partitions)
    rows = draw(n, len(part.data))
    return [part.data[i][:LONGEST] for i in rows], part.target[rows]


def signal_part(partitions: tuple, n: int) -> tuple:
    part = fetch_signal_peptides(task="type", partitions=partitions)
    rows = draw(n, len(part.data))
    return [part.data[i] for i in rows], part.target[rows] != "NO_SP"


def gb1_part(subset: str, n: int) -> tuple:
    part = fetch_gb1(split="sampled", subset=subset)
    rows = draw(n, len(part.data))
    return [part.data[i][:56] for i in rows], part.target[rows]


def stability_part(subset: str, n: int) -> tuple:
    part = fetch_stability(subset=subset)
    rows = draw(n, len(part.data))
    return [part.data[i] for i in rows], part.target[rows]


def secondary_structure(n_train: int, n_test: int, random: str) -> list[float]:
    """Q3 with: mini, the residue alone, a one-hot window, random weights."""
    parts = []
    for subset, n in (("train", n_train), ("test", n_test)):
        part = fetch_secondary_structure(subset=subset)
        rows = draw(n, len(part.data))
        sequences = [part.data[i][:LONGEST] for i in rows]
        labels = [np.ma.masked_array(list(part.target[i])[: len(s)]) for i, s in zip(rows, sequences)]
        parts.append((sequences, labels))
    windows = [one_hot_windows(sequences) for sequences, _ in parts]
    middle = slice(WINDOW // 2 * 21, (WINDOW // 2 + 1) * 21)
    found = []
    for X in (
        residue_embeddings("mini", parts),
        [w[:, middle] for w in windows],
        windows,
        residue_embeddings(random, parts),
    ):
        (A, a), (B, b) = ((x, np.concatenate(labels)) for x, (_, labels) in zip(X, parts))
        keep_a, keep_b = np.isin(a, list("HEC")), np.isin(b, list("HEC"))
        found.append(accuracy_score(b[keep_b], logistic().fit(A[keep_a], a[keep_a]).predict(B[keep_b])))
    return found


def residue_embeddings(backbone: str, parts: list) -> list[np.ndarray]:
    made = PLMEmbedder(backbone, pooling=None).fit(["M"])
    return [np.concatenate(list(made.transform(sequences))) for sequences, _ in parts]


def one_hot_windows(sequences: list[str]) -> np.ndarray:
    code = np.full(256, 20)
    code[np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", dtype=np.uint8)] = np.arange(20)
    rows, half = [], WINDOW // 2
    for sequence in sequences:
        padded = np.pad(code[np.frombuffer(sequence.encode(), dtype=np.uint8)], half, constant_values=20)
        rows.append(np.lib.stride_tricks.sliding_window_view(padded, WINDOW))
    return np.eye(21, dtype=np.float32)[np.concatenate(rows)].reshape(-1, WINDOW * 21)


def probes(scale: float) -> str:
    n = lambda full: max(60, int(full * scale))  # noqa: E731
    dipeptides, sites = vectorizer("kmer", k=2), vectorizer("onehot")
    with tempfile.TemporaryDirectory() as folder:
        random = str(random_mini().save_pretrained(folder))
        rows = {
            "secondary structure, Q3": secondary_structure(n(300), n(150), random),
            "membrane protein, MCC": by_protein(
                membrane_part((0, 1, 2, 3), n(3000)),
                membrane_part((4,), n(1500)),
                logistic,
                matthews_corrcoef,
                dipeptides,
                random,
            ),
            "signal peptide, MCC": by_protein(
                signal_part((0, 1), n(3000)),
                signal_part((2,), n(1500)),
                logistic,
                matthews_corrcoef,
                dipeptides,
                random,
            ),
            "GB1 fitness, Spearman": by_protein(
                gb1_part("train", n(2000)), gb1_part("test", n(1500)), ridge, spearman, sites, random
            ),
            "stability, Spearman": by_protein(
                stability_part("train", n(5000)),
                stability_part("test", n(2000)),
                ridge,
                spearman,
                dipeptides,
                random,
            ),
        }
    lines = [
        "| task | mini | composition | one-hot or k-mers | random weights |",
        "|---|---|---|---|---|",
        *(f"| {task} | " + " | ".join(f"{v:.3f}" for v in values) + " |" for task, values in rows.items()),
    ]
    note = (
        "Linear models on mean embeddings, or on the embedding of each residue for secondary structure. "
        f"There, composition is the residue itself. One-hot is a window of {WINDOW} residues for secondary "
        "structure and all sites for GB1. K-mers are dipeptides."
    )
    return "\n".join([*lines, "", note])


# -- LoRA -------------------------------------------------------------------------------------


def lora(scale: float) -> str:
    test = signal_part((2,), max(100, int(1500 * scale)))
    whole = signal_part((0, 1), 3000)
    lines = ["| training proteins | from mini | from random weights |", "|---|---|---|"]
    for n in (100, 300, 1000, 3000):
        n = max(40, int(n * scale))
        rows = draw(n, len(whole[0]), seed=1)
        scores = []
        for init in ("pretrained", "random"):
            model = PLMLoRAClassifier(
                "mini",
                backbone_init=init,
                target_modules="all",
                epochs=max(1, round(min(20, max(3, 3000 / n)) * min(1.0, scale * 2))),
                random_state=0,
                verbose=0,
            )
            model.fit([whole[0][i] for i in rows], whole[1][rows])
            scores.append(matthews_corrcoef(test[1], model.predict(test[0])))
        lines.append(f"| {n:,} | {scores[0]:.3f} | {scores[1]:.3f} |")
    return "\n".join([*lines, "", "Signal peptide or not: MCC on homology partition 2 of SignalP 6."])


# -- throughput -------------------------------------------------------------------------------


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second in a large matrix product."""
    size = 1024 if device.type == "cpu" else 8192
    a = torch.ones(size, size, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(4):
            a @ a
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, (time.perf_counter() - start) / 4)
    return 2 * size**3 / best


def throughput(scale: float) -> str:
    proteins = corpus(max(200, int(2000 * scale)), CORPUS_HELD_OUT)
    config = load_backbone("mini").config
    lm = PLMMaskedLM(
        n_layers=config.num_hidden_layers,
        width=config.hidden_size,
        n_heads=config.num_attention_heads,
        crop_length=128,
        batch_size=64,
        max_steps=max(3, int(20 * scale)),
        evaluate_every=max(1, int(10 * scale)),
        validation_fraction=None,
        random_state=0,
        verbose=0,
    ).fit(proteins)
    run = lm._restored().config
    rate = max(row["residues_per_second"] for row in lm.history_)
    share = 6 * lm.n_parameters_ * rate / matrix_rate(run.device, run.dtype)
    return (
        f"Training reads {rate:,.0f} residues/s on {run.device.type} in {str(run.dtype)[6:]}: "
        f"{share:.0%} of the matrix products that this machine computes in that time."
    )


PARTS = {"perplexity": perplexity, "probes": probes, "lora": lora, "throughput": throughput}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all of them by default")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full sizes")
    parser.add_argument("--write", type=Path, help="put the tables into this page, in place of older ones")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*were cut to their first")
    pieces = [f"{machine('torch', 'transformers', 'scikit-learn')}."]
    for name in options.parts or PARTS:
        start = time.perf_counter()
        pieces.append(f"### {name.capitalize()}\n\n{PARTS[name](options.scale)}")
        print(f"\n{pieces[-1]}\n\n({time.perf_counter() - start:.0f} s)", flush=True)
    if options.write:
        put_into(options.write, "\n\n".join(pieces))


def put_into(page: Path, text: str) -> None:
    """Replace the text between two marks of a page."""
    first, last = "<!-- measured by benchmarks/mini.py -->", "<!-- end -->"
    before, _, rest = page.read_text().partition(first)
    _, _, after = rest.partition(last)
    page.write_text(f"{before}{first}\n{text}\n{last}{after or chr(10)}")


if __name__ == "__main__":
    main()
