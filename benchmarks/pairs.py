"""Pairs of proteins on the Bernett gold standard: time, memory and scores, compared with simple baselines.

    PLMLEARN_DATA=data python benchmarks/pairs.py frozen        # fit and test of a frozen MLP, and baselines
    PLMLEARN_DATA=data python benchmarks/pairs.py lora          # an epoch, and encoding every pair twice
    PLMLEARN_DATA=data python benchmarks/pairs.py predict       # pairs per second from cached embeddings
    python benchmarks/pairs.py split                            # a million pairs into folds
    PLMLEARN_DATA=data python benchmarks/pairs.py all --write docs/pairs-measured.md

``--pairs 2000`` uses that many pairs of each subset, to try the script out. ``frozen`` starts with an empty
cache and reports how many proteins were encoded. "Every pair encoded twice" is the recipe of the published
script: both proteins of every pair pass through the whole encoder, padded per batch. It is timed on
``--steps`` optimiser steps, before and after plmlearn, and scaled to an epoch. The bundled encoder has had
little pretraining, so the scores show what the pairs leak, and no more.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from machine import machine
from peft import LoraConfig, get_peft_model
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

import plmlearn.cache
from plmlearn import PLMPairClassifier
from plmlearn.adapters import Frozen, LoRA
from plmlearn.backbones import load_backbone
from plmlearn.baselines import CompositionVectorizer, PairDegreeClassifier, PairSimilarityClassifier
from plmlearn.datasets import fetch_ppi
from plmlearn.metrics import classification_table
from plmlearn.model_selection import PairKFold, PairWarning, pair_leakage
from plmlearn.nn.encoders import PackedEncoder
from plmlearn.training.devices import resolve_precision

BATCH, EPOCH, MAX_LENGTH = 64, 16_384, 1022
METRICS = ("accuracy", "f1", "mcc", "aupr", "precision", "recall", "specificity")


def load(n_pairs: int | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Pairs and labels of each subset: all of them, or a random sample of ``n_pairs``."""
    parts = {}
    for part in ("train", "valid", "test"):
        X, y = fetch_ppi(subset=part, return_X_y=True)
        rows = np.random.default_rng(0).permutation(len(X))[:n_pairs]
        parts[part] = X[rows], y[rows]
    return parts


# -- a frozen MLP and its baselines ---------------------------------------------------------------


class CompositionOfPairs:
    """Logistic regression on mean and absolute difference of amino-acid and dipeptide frequencies."""

    def fit(self, X, y):
        self.vectorizer = CompositionVectorizer().fit(np.unique(X))
        self.scaler = StandardScaler().fit(self._features(X))
        self.model = LogisticRegression(max_iter=300).fit(self.scaler.transform(self._features(X)), y)
        return self

    def predict_proba(self, X):
        return self.model.predict_proba(self.scaler.transform(self._features(X)))

    def _features(self, X):
        proteins, place = np.unique(X, return_inverse=True)
        vectors = np.asarray(self.vectorizer.transform(proteins))
        first, second = vectors[place.reshape(-1, 2)].transpose(1, 0, 2)
        return np.hstack([(first + second) / 2, np.abs(first - second)])


def count_encoded() -> list[int]:
    """A list that records how many sequences enter the first layer of any encoder, call by call."""
    counts: list[int] = []
    run = PackedEncoder.run

    def counted(self, hidden, tokens, start, stop):
        if stop > start:
            counts.append(len(tokens.lengths))
        return run(self, hidden, tokens, start, stop)

    PackedEncoder.run = counted
    return counts


def frozen(options) -> Iterator[str]:
    encoded = count_encoded()
    parts = load(options.pairs)
    (X, y), (X_val, y_val), (X_test, y_test) = (parts[part] for part in ("train", "valid", "test"))
    models: dict[str, Callable] = {
        "frozen MLP": lambda: PLMPairClassifier(
            options.backbone, adapter=Frozen(), head="mlp", head_hidden=64, batch_size=256, epochs=20,
            early_stopping=True, scoring="average_precision", random_state=0, verbose=0,
        ).fit(X, y, X_val=X_val, y_val=y_val),
        "composition": lambda: CompositionOfPairs().fit(X, y),
        "degree only": lambda: PairDegreeClassifier().fit(X, y),
        "similarity only": lambda: PairSimilarityClassifier().fit(X, y),
    }  # fmt: skip
    n_proteins, where = len(np.unique(np.concatenate([X, X_val, X_test]))), machine("torch", "scikit-learn")
    yield f"{len(X)}, {len(X_val)} and {len(X_test)} pairs of {n_proteins} proteins. {where}.\n"
    yield f"| model | {' | '.join(METRICS)} | fit and test, s |\n|---|{'---|' * (len(METRICS) + 1)}"
    for name, fit in models.items():
        if name == "similarity only" and options.skip_similarity:
            continue
        start = time.perf_counter()
        scores = fit().predict_proba(X_test)[:, 1]
        seconds = time.perf_counter() - start
        table = classification_table(y_test, (scores > 0.5).astype(int), scores)
        yield f"| {name} | {' | '.join(f'{table[m]:.3f}' for m in METRICS)} | {seconds:.0f} |"
        if name == "frozen MLP":
            peak, n_encoded = peak_memory(), sum(encoded)
    yield f"\nfrozen MLP: {n_encoded} proteins encoded; peak memory {peak:.2f} GB"
    yield str(pair_leakage(X, X_test, y, y_test))


# -- LoRA -----------------------------------------------------------------------------------------


def lora(options) -> Iterator[str]:
    X, y = load(options.pairs)["train"]
    epoch = min(EPOCH, len(X))
    model = PLMPairClassifier(
        options.backbone, batch_size=BATCH,
        adapter=LoRA(target_modules=("key", "value"), last_n_layers=options.last_n_layers),
        max_tokens=options.max_tokens, epoch_size=epoch, epochs=1, precision=options.precision,
        random_state=0, verbose=0,
    )  # fmt: skip
    naive = every_pair_twice(options, X, y)
    start = time.perf_counter()
    model.fit(X, y)
    first = time.perf_counter() - start
    ours = model.history_[-1]["seconds"]
    naive = float(np.median(naive + every_pair_twice(options, X, y))) * -(-epoch // BATCH)
    what = f"LoRA on the last {options.last_n_layers} layers, epochs of {epoch} pairs in steps of {BATCH}"
    yield f"{what}, at most {options.max_tokens} tokens at once. {machine('torch', 'scikit-learn')}.\n"
    yield "| | seconds per epoch |\n|---|---|"
    yield f"| plmlearn | {ours:.0f} |"
    yield f"| every pair encoded twice, padded per batch | {naive:.0f} |"
    yield f"\nRatio {naive / ours:.1f}. The layers below are computed once per protein, {first - ours:.0f} s."


def every_pair_twice(options, X, y) -> list[float]:
    """Seconds of each step of a careful loop: transformers, peft, both proteins of every pair."""
    precision = resolve_precision(options.precision, torch.device("cpu"))
    backbone = load_backbone(options.backbone, precision=precision)
    layers = range(backbone.n_layers - options.last_n_layers, backbone.n_layers)
    config = LoraConfig(r=8, lora_alpha=16, target_modules=["key", "value"], layers_to_transform=list(layers))
    encoder = get_peft_model(backbone.share(), config)
    head = nn.Sequential(nn.Linear(backbone.config.hidden_size, 64), nn.Tanh(), nn.Linear(64, 1))
    trained = [p for p in [*encoder.parameters(), *head.parameters()] if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    loss_of = nn.BCEWithLogitsLoss(reduction="sum")
    rng, seconds = np.random.default_rng(0), []
    for _ in range(options.steps):
        rows = rng.permutation(len(X))[:BATCH]
        start = time.perf_counter()
        for micro in rows.reshape(-1, 4) if len(rows) == BATCH else [rows]:
            with torch.autocast("cpu", dtype=backbone.dtype, enabled=backbone.dtype != torch.float32):
                first, second = (embed(encoder, backbone, X[micro, side]) for side in (0, 1))
                outputs = head((first + second) / 2)[:, 0].float()
            (loss_of(outputs, torch.from_numpy(y[micro]).float()) / len(rows)).backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
    return seconds


def embed(encoder: nn.Module, backbone, sequences) -> torch.Tensor:
    """Mean over residues of a padded batch."""
    ids, lengths = backbone.tokenize([s[:MAX_LENGTH] for s in sequences])
    pieces = [torch.from_numpy(p.astype(np.int64)) for p in np.split(ids, np.cumsum(lengths)[:-1])]
    padded = nn.utils.rnn.pad_sequence(pieces, batch_first=True, padding_value=1)
    mask = (padded != 1).long()
    hidden = encoder(input_ids=padded, attention_mask=mask).last_hidden_state
    weights = mask[..., None].to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)


# -- prediction and splits ------------------------------------------------------------------------


def predict(options) -> Iterator[str]:
    X, y = load(options.pairs)["train"]
    model = PLMPairClassifier(options.backbone, adapter=Frozen(), epochs=1, batch_size=1024, verbose=0)
    model.fit(X, y)
    yield f"Prediction from cached embeddings. {machine('torch', 'scikit-learn')}.\n"
    yield "| combine | pairs | pairs/s |\n|---|---|---|"
    for combine in ("mean", "symmetric"):
        model.set_params(combine=combine).fit(X, y)
        seconds = min(timed(lambda: model.predict_proba(X)) for _ in range(3))
        yield f"| {combine} | {len(X)} | {len(X) / seconds:,.0f} |"


def split(options) -> Iterator[str]:
    rng = np.random.default_rng(0)
    n_pairs, n_proteins = options.pairs or 1_000_000, 20_000
    weights = rng.pareto(2, n_proteins) + 0.2
    names = np.array([f"P{i:05d}" for i in range(n_proteins)], dtype=object)
    X = names[rng.choice(n_proteins, (n_pairs, 2), p=weights / weights.sum())]
    clusters = {name: int(name[1:]) // 2 for name in names}
    yield f"{n_pairs} pairs over {n_proteins} proteins, 5 folds. {machine('torch', 'scikit-learn')}.\n"
    yield "| level | seconds | peak memory, GB | test pairs of the folds |\n|---|---|---|---|"
    for level, groups in (("C1", None), ("C2", None), ("C3", None), ("C3", clusters)):
        folds: list = []
        cv = PairKFold(level, 5, clusters=groups, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PairWarning)
            seconds = timed(lambda: folds.extend(len(test) for _, test in cv.split(X)))  # noqa: B023
        name = level if groups is None else f"{level}, by cluster"
        yield f"| {name} | {seconds:.1f} | {peak_memory():.2f} | {min(folds)} to {max(folds)} |"


# -- report ---------------------------------------------------------------------------------------


def timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def peak_memory() -> float:
    """Peak memory of this process in GB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


PARTS = {"frozen": frozen, "lora": lora, "predict": predict, "split": split}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=[*PARTS, "all"])
    parser.add_argument("--pairs", type=int, help="pairs of each subset; default: all")
    parser.add_argument("--backbone", default="mini")
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    parser.add_argument("--last-n-layers", type=int, default=1)
    parser.add_argument("--max-tokens", type=int, default=131_072, help="default: more than a step has")
    parser.add_argument("--steps", type=int, default=3, help="steps of the other loop")
    parser.add_argument("--skip-similarity", action="store_true", help="leave out this baseline")
    parser.add_argument("--write", type=Path, help="file for the tables")
    options = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory(prefix="plmlearn-cache-") as folder:
        plmlearn.cache.limit(folder=folder)
        for part in PARTS if options.part == "all" else [options.part]:
            for line in (f"## {part}\n", *PARTS[part](options), ""):
                print(line, flush=True)
                lines.append(line)
    if options.write:
        options.write.write_text("\n".join(["# Benchmarks of pairs\n", *lines]))


if __name__ == "__main__":
    main()
