"""Speed of training, embedding and searching, as ratios to fair baselines in one run.

    python benchmarks/speed.py                     # ESM2-8M shape, a quarter of an hour on two cores
    python benchmarks/speed.py --shape 35m --proteins 64
    python benchmarks/speed.py --only embedding --peer-python peer/bin/python    # see benchmarks/peer.py
    python benchmarks/speed.py --write docs/benchmarks.md

All sides have the same random weights, the same optimiser steps, the same threads and the same proteins:
those of DeepLoc 2, or generated ones of similar lengths if PLMLEARN_DATA is not set. Baselines:

(a) the recipe of the published notebooks: transformers' Trainer, peft, all proteins padded to the longest;
(b) a careful loop written by hand: peft, SDPA, padding per batch, random order, the faster of float32 and
    bfloat16 autocast;
(c) biotrainer, for embedding only, if ``--peer-python`` names an environment that has it;
(d) the bound set by the rates of matrix products and attention that this machine reaches.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from machine import has_fast_bf16, machine
from peft import LoraConfig, get_peft_model
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import plmlearn.cache
from plmlearn import PLMEmbedder, PLMFrozenMLP, PLMLoRAClassifier
from plmlearn.backbones import load_backbone
from plmlearn.datasets import fetch_deeploc2, make_proteins

SHAPES = {  # layers, width, heads, feed-forward width
    "8m": (6, 320, 20, 1280),
    "35m": (12, 480, 20, 1920),
    "150m": (30, 640, 20, 2560),
    "650m": (33, 1280, 20, 5120),
    "3b": (36, 2560, 40, 10240),
}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BATCH, LR, MAX_LENGTH = 8, 1e-3, 1022
MATRICES = ("key", "value")  # that LoRA adapts, in all loops
PARTS = ["training", "embedding", "frozen", "tuned", "tokenising", "lengths", "budget"]
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass
class Row:
    """One line of the table: seconds of plmlearn and of a baseline in each round."""

    work: str
    baseline: str
    ours: list[float]
    theirs: list[float]
    asked: str
    note: str = ""

    def ratio(self) -> str:
        ratios = [theirs / ours for ours, theirs in zip(self.ours, self.theirs, strict=True)]
        middle = statistics.median(ratios)
        return f"{middle:.2f}" if len(ratios) == 1 else f"{middle:.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def build_folder(shape: str, folder: Path) -> str:
    """A folder with the real architecture and vocabulary, and random weights."""
    layers, width, heads, inner = SHAPES[shape]
    config = transformers.EsmConfig.from_pretrained(files("plmlearn.assets") / "mini")
    for name, value in {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "dtype": "float32",
    }.items():
        setattr(config, name, value)
    torch.manual_seed(0)
    transformers.EsmForMaskedLM(config).save_pretrained(folder)
    for name in ("vocab.txt", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(str(files("plmlearn.assets") / "mini" / name), folder / name)
    return str(folder)


def proteins(n: int) -> tuple[list[str], str]:
    """n proteins of realistic lengths, cut to the longest that ESM-2 saw in pretraining."""
    if os.environ.get("PLMLEARN_DATA"):
        pool, origin = fetch_deeploc2().data, "DeepLoc 2"
    else:
        pool, origin = make_proteins(4 * n, median_length=450, random_state=0), "generated"
    chosen = np.random.default_rng(0).choice(len(pool), n, replace=False)
    return [pool[i][:MAX_LENGTH] for i in chosen], origin


# -- baselines --------------------------------------------------------------------------------


def their_model(folder: str, last_layers: int | None) -> torch.nn.Module:
    torch.manual_seed(0)
    model = transformers.EsmForSequenceClassification.from_pretrained(folder, num_labels=2)
    layers = model.config.num_hidden_layers
    chosen = None if last_layers is None else list(range(layers - last_layers, layers))
    config = LoraConfig(
        r=8, lora_alpha=16, target_modules=list(MATRICES), layers_to_transform=chosen, task_type="SEQ_CLS"
    )
    return get_peft_model(model, config)


class _Padded(torch.utils.data.Dataset):
    """All proteins padded to the longest, as in the notebooks."""

    def __init__(self, tokenizer, sequences, y):
        self.tokens = tokenizer(sequences, padding="longest", return_tensors="pt")
        self.y = torch.as_tensor(y)

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return {name: tensor[i] for name, tensor in self.tokens.items()} | {"labels": self.y[i]}


def notebook_epoch(folder: str, sequences: list[str], y: np.ndarray) -> float:
    """Seconds of one epoch of baseline (a)."""
    data = _Padded(transformers.AutoTokenizer.from_pretrained(folder), sequences, y)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = transformers.TrainingArguments(
            scratch,
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            learning_rate=LR,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=DEVICE.type == "cpu",
            fp16=DEVICE.type == "cuda",
            logging_strategy="no",
        )
        trainer = transformers.Trainer(their_model(folder, None), arguments, train_dataset=data)
        start = time.perf_counter()
        trainer.train()
        return time.perf_counter() - start


class HandLoop:
    """Baseline (b): a careful loop written by hand."""

    def __init__(self, folder: str, dtype: torch.dtype, last_layers: int | None = None):
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.model = their_model(folder, last_layers).train().to(DEVICE)
        self.dtype = dtype
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=LR)

    def _forward(self, sequences: list[str], **kwargs):
        tokens = self.tokenizer(sequences, padding=True, return_tensors="pt").to(DEVICE)
        with torch.autocast(DEVICE.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            return self.model(**tokens, **kwargs)

    def epoch(self, sequences: list[str], y: np.ndarray) -> float:
        order = np.random.default_rng(0).permutation(len(sequences))
        start = time.perf_counter()
        for rows in np.array_split(order, -(-len(order) // BATCH)):
            labels = torch.as_tensor(y[rows], device=DEVICE)
            self._forward([sequences[i] for i in rows], labels=labels).loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
        return since(start)

    @torch.inference_mode()
    def embed(self, sequences: list[str], batch: int = BATCH) -> float:
        """Seconds to mean-pool all proteins, batch by batch in random order."""
        order = np.random.default_rng(0).permutation(len(sequences))
        model = self.model.base_model.model.esm.eval()
        start = time.perf_counter()
        for rows in np.array_split(order, -(-len(order) // batch)):
            tokens = self.tokenizer([sequences[i] for i in rows], padding=True, return_tensors="pt")
            tokens = tokens.to(DEVICE)
            with torch.autocast(DEVICE.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
                hidden = model(**tokens).last_hidden_state
            mask = tokens["attention_mask"][..., None]
            ((hidden * mask).sum(1) / mask.sum(1)).cpu()
        return since(start)


def since(start: float) -> float:
    """Seconds since ``start``, including work that a GPU has not finished."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def better_precision(run: Callable[[torch.dtype], float]) -> tuple[str, torch.dtype]:
    """The faster of float32 and bfloat16 for a baseline; float32 where bfloat16 takes many times as long."""
    able = PRECISIONS if DEVICE.type == "cuda" or has_fast_bf16() else {"fp32": torch.float32}
    seconds = {name: run(dtype) for name, dtype in able.items()}
    name = min(seconds, key=seconds.get)
    return name, PRECISIONS[name]


# -- ours -------------------------------------------------------------------------------------


def our_fit(folder: str, sequences: list[str], y: np.ndarray, epochs: int, **options) -> tuple[float, list]:
    """Seconds of a whole fit, and its history."""
    plmlearn.cache.clear()
    settings = {"epochs": epochs, "batch_size": BATCH, "lr": LR, "warmup": 0.0, "standardize": False}
    settings |= {"head_dropout": 0.0, "random_state": 0, "verbose": 0, "target_modules": MATRICES}
    clf = PLMLoRAClassifier(folder, **settings | options)
    start = time.perf_counter()
    clf.fit(sequences, y)
    return time.perf_counter() - start, clf.history_


# -- what is measured -------------------------------------------------------------------------


def training_rows(folder: str, sequences: list[str], y: np.ndarray, rounds: int, last: int) -> list[Row]:
    few, few_y = sequences[: 2 * BATCH], y[: 2 * BATCH]
    name, dtype = better_precision(lambda dtype: HandLoop(folder, dtype).epoch(few, few_y))
    last_name, last_dtype = better_precision(lambda dtype: HandLoop(folder, dtype, last).epoch(few, few_y))
    our_fit(folder, few, few_y, 1)
    everything = Row("LoRA on all layers, one epoch", f"(b), {name}", [], [], "2.3 (aim 4)")
    notebook = Row("LoRA on all layers, one epoch", "(a), fp32", [], [], "4 (aim 6)")
    later = Row(
        f"LoRA, last {last} layers, an epoch from the second on", f"(b), {last_name}", [], [], "6 (15)"
    )
    five = Row(f"LoRA, last {last} layers, five epochs", f"(b), {last_name}", [], [], "3.5 (8)")
    for _ in range(rounds):
        ours = our_fit(folder, sequences, y, 1)[1][0]["seconds"]
        everything.ours.append(ours)
        everything.theirs.append(HandLoop(folder, dtype).epoch(sequences, y))
        notebook.ours.append(ours)
        notebook.theirs.append(notebook_epoch(folder, sequences, y))
        total, history = our_fit(folder, sequences, y, 5, last_n_layers=last)
        later.ours.append(statistics.median(epoch["seconds"] for epoch in history[1:]))
        theirs = HandLoop(folder, last_dtype, last).epoch(sequences, y)
        later.theirs.append(theirs)
        five.ours.append(total)
        five.theirs.append(5 * theirs)
    return [everything, notebook, later, five]


def embedding_rows(folder: str, sequences: list[str], rounds: int, peer: Path | None) -> list[Row]:
    """A fifth of the proteins are duplicates."""
    n_copies = len(sequences) // 4
    with_copies = [*sequences, *sequences[:n_copies]]
    name, dtype = better_precision(lambda dtype: HandLoop(folder, dtype).embed(sequences[: 2 * BATCH]))
    row = Row(
        f"Embedding {len(with_copies)} proteins, 20 % duplicates", f"(b), {name}", [], [], "2.2 (aim 4)"
    )
    embedder = PLMEmbedder(folder).fit(sequences[:1])
    for _ in range(rounds):
        plmlearn.cache.clear()
        start = time.perf_counter()
        embedder.transform(with_copies)
        row.ours.append(time.perf_counter() - start)
        row.theirs.append(HandLoop(folder, dtype).embed(with_copies))
    if peer is None:
        return [row]
    with_peer = Row(
        row.work, "(c), biotrainer", row.ours, peer_seconds(peer, folder, with_copies, rounds), "–"
    )
    return [row, with_peer]


def peer_seconds(peer: Path, folder: str, sequences: list[str], rounds: int) -> list[float]:
    """Seconds of ``peer.py`` in another environment, with the same number of threads."""
    listed = Path(folder) / "sequences.json"
    listed.write_text(json.dumps(sequences))
    script = Path(__file__).with_name("peer.py")
    command = [peer, script, folder, listed, "--rounds", str(rounds)]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | threads)
    return json.loads(done.stdout.splitlines()[-1])


def length_rows(folder: str, rounds: int) -> list[Row]:
    """The same number of residues in longer proteins, compared with proteins of 100 residues.

    Longer proteins need more attention. This is added to the seconds of the short proteins in two ways: by
    counting its operations, as if they ran at the rate of all others, and by timing torch's attention alone
    at both lengths.
    """
    lengths, n_residues = (100, 200, 500, 1000, 2000), 20_000
    embedder = PLMEmbedder(folder, max_length=2000).fit(["MKV"])
    backbone = load_backbone(folder)
    config = backbone.config
    width, inner = config.hidden_size, config.intermediate_size
    products = 4 * width**2 + 2 * width * inner
    whole: dict[int, list[float]] = {length: [] for length in lengths}
    alone: dict[int, list[float]] = {length: [] for length in lengths}
    for _ in range(rounds + 1):
        for length in lengths:
            limits = {"min_length": length, "median_length": length, "max_length": length}
            drawn = make_proteins(n_residues // length, **limits, random_state=0)
            with plmlearn.cache.disabled():
                start = time.perf_counter()
                embedder.transform(drawn)
                whole[length].append(since(start))
            alone[length].append(attention_seconds(config, len(drawn), length, embedder))
    rows = []
    for length in lengths[1:]:
        growth = (1 + 2 * length * width / products) / (1 + 2 * 100 * width / products)
        work, ours = f"Embedding proteins of {length} residues", whole[length][1:]
        counted = [first * growth for first in whole[100][1:]]
        rows.append(Row(work, "100 residues, plus attention by operations", ours, counted, "–"))
        added = zip(whole[100][1:], alone[100][1:], alone[length][1:])
        timed = [first + longer - shorter for first, shorter, longer in added]
        rows.append(Row(work, "100 residues, plus attention by time", ours, timed, "1"))
    return rows


def attention_seconds(config, n_proteins: int, length: int, embedder: PLMEmbedder) -> float:
    """Seconds of torch's attention alone, for that many proteins and all layers."""
    dtype = embedder._load().backbone.dtype
    heads = config.num_attention_heads
    query = torch.randn(1, heads, length + 2, config.hidden_size // heads).to(DEVICE, dtype)
    start = time.perf_counter()
    for _ in range(n_proteins * config.num_hidden_layers):
        F.scaled_dot_product_attention(query, query, query)
    return since(start)


def budget_rows(folder: str, sequences: list[str], y: np.ndarray, rounds: int) -> list[Row]:
    """An epoch of LoRA in steps of 64 and of 16 proteins, and embedding, by the token budget of a pass."""

    def embed(budget: int) -> float:
        plmlearn.cache.clear()
        start = time.perf_counter()
        PLMEmbedder(folder, max_tokens=budget).fit_transform(sequences)
        return since(start)

    def train(budget: int, batch_size: int) -> float:
        options = {"max_tokens": budget, "batch_size": batch_size}
        return our_fit(folder, sequences, y, 1, **options)[1][0]["seconds"]

    works: dict[str, Callable[[int], float]] = {
        f"LoRA on all layers, steps of {n} proteins": partial(train, batch_size=n) for n in (64, 16)
    }
    rows = []
    for work, run in {**works, "Embedding": embed}.items():
        seconds: dict[int, list[float]] = {budget: [] for budget in (1024, 2048, 4096, 8192, 16384)}
        for _ in range(rounds):
            for budget, taken in seconds.items():
                taken.append(run(budget))
        rows += [Row(work, f"max_tokens={n}", seconds[4096], taken, "–") for n, taken in seconds.items()]
    return rows


def frozen_search_rows(folder: str, sequences: list[str], y: np.ndarray, rounds: int) -> list[Row]:
    grid = {
        "alpha": [1e-4, 1e-3, 1e-2],
        "learning_rate_init": [1e-3, 1e-2],
        "hidden_layer_sizes": [(64,), (64, 64)],
    }
    search = GridSearchCV(PLMFrozenMLP(folder, max_iter=200, random_state=0), grid, cv=5, refit=False)
    head = make_pipeline(StandardScaler(), MLPClassifier((64, 64), max_iter=200, random_state=0))
    plain_grid = {f"mlpclassifier__{name}": values for name, values in grid.items()}
    plain = GridSearchCV(head, plain_grid, cv=5, refit=False)

    def timed(work: Callable[[], object]) -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    once = Row(
        "GridSearchCV of PLMFrozenMLP, 12 × 5 fits",
        "embedding once, and the fits of the heads",
        [],
        [],
        "0.87",
    )
    again = Row("the same search again", "the fits of the heads alone", [], [], "0.91")
    for _ in range(rounds):
        plmlearn.cache.clear()
        embedding = timed(lambda: PLMEmbedder(folder).fit_transform(sequences))
        features = PLMEmbedder(folder).fit_transform(sequences)
        plmlearn.cache.clear()
        once.ours.append(timed(lambda: search.fit(sequences, y)))
        heads = timed(lambda: plain.fit(features, y))  # noqa: B023
        once.theirs.append(embedding + heads)
        again.ours.append(timed(lambda: search.fit(sequences, y)))
        again.theirs.append(heads)
    same = np.allclose(search.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"])
    once.note = again.note = "same scores" if same else "scores differ"
    return [once, again]


def tuned_search_row(folder: str, sequences: list[str], y: np.ndarray, last: int) -> Row:
    settings = {"target_modules": MATRICES, "epochs": 5, "batch_size": BATCH, "random_state": 0}
    clf = PLMLoRAClassifier(folder, last_n_layers=last, verbose=0, **settings)
    search = GridSearchCV(clf, {"rank": [2, 8], "lr": [1e-3, 3e-3]}, cv=3, refit=False)
    plmlearn.cache.clear()
    start = time.perf_counter()
    search.fit(sequences, y)
    ours = time.perf_counter() - start
    with plmlearn.cache.disabled():
        start = time.perf_counter()
        search.fit(sequences, y)
        theirs = time.perf_counter() - start
    return Row(f"GridSearchCV of LoRA on the last {last} layers, 4 × 3 fits × 5 epochs",
               "the same without reuse", [ours], [theirs], "2.9")  # fmt: skip


def tokenising_row(folder: str, sequences: list[str], rounds: int) -> Row:
    tokenizer, backbone = transformers.AutoTokenizer.from_pretrained(folder), load_backbone(folder)
    many = sequences * max(1, 2000 // len(sequences))
    row = Row(f"Tokenising {len(many)} proteins", "the official tokenizer", [], [], "100")
    for _ in range(rounds):
        start = time.perf_counter()
        ids, _ = backbone.tokenize(many)
        row.ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        official = tokenizer(many)["input_ids"]
        row.theirs.append(time.perf_counter() - start)
    row.note = "equal ids" if np.array_equal(ids, np.concatenate(official)) else "ids differ"
    return row


def bound_row(shape: str, sequences: list[str], seconds: list[float]) -> Row:
    """Seconds of an epoch of LoRA on all layers at the best rates of this machine."""
    layers, width, heads, inner = SHAPES[shape]
    dtype = torch.bfloat16
    n_tokens = sum(len(s) + 2 for s in sequences)
    tokens, weight = (torch.randn(n, width).to(DEVICE, dtype) for n in (4096, inner))
    rate = 2 * 4096 * width * inner / best(lambda: F.linear(tokens, weight))
    length = 512
    query = torch.randn(1, heads, length, width // heads).to(DEVICE, dtype)
    attention_rate = (
        4
        * heads
        * length**2
        * (width // heads)
        / best(lambda: F.scaled_dot_product_attention(query, query, query))
    )
    products = (
        2 * 2 * n_tokens * layers * (4 * width**2 + 2 * width * inner)
    )  # forward pass, and gradients of the inputs
    attention = 3.5 * sum(4 * (len(s) + 2) ** 2 * width * layers for s in sequences)
    bound = products / rate + attention / attention_rate
    note = f"matrix products {rate / 1e9:.0f} GFLOP/s, attention forward {attention_rate / 1e9:.0f} GFLOP/s"
    return Row(
        "LoRA on all layers, one epoch",
        "(d), bound of the machine",
        seconds,
        [bound] * len(seconds),
        "–",
        note,
    )


def best(run: Callable[[], object]) -> float:
    run()
    times = []
    for _ in range(20):
        start = time.perf_counter()
        run()
        times.append(since(start))
    return min(times)


# -- report -----------------------------------------------------------------------------------


def table(rows: list[Row]) -> str:
    columns = ("work", "compared with", "plmlearn, s", "baseline, s", "ratio", "required", "note")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in rows:
        seconds = (f"{statistics.median(side):.4g}" for side in (row.ours, row.theirs))
        cells = (row.work, row.baseline, *seconds, row.ratio(), row.asked, row.note)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="8m")
    parser.add_argument(
        "--proteins", type=int, default=128, help="proteins of the training and embedding rows"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--peer-python", type=Path, help="Python of an environment with biotrainer")
    parser.add_argument("--write", type=Path, help="append the table to this file")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    sequences, origin = proteins(options.proteins)
    y = np.arange(len(sequences)) % 2
    last = SHAPES[options.shape][0] // 6
    only = options.only
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = build_folder(options.shape, Path(scratch) / "backbone")
        plmlearn.cache.limit(folder=Path(scratch) / "cache")
        if "training" in only:
            rows += training_rows(folder, sequences, y, options.rounds, last)
            rows.append(bound_row(options.shape, sequences, rows[0].ours))
        if "embedding" in only:
            rows += embedding_rows(folder, sequences, options.rounds, options.peer_python)
        if "frozen" in only:
            rows += frozen_search_rows(folder, sequences, y, options.rounds)
        if "tuned" in only:
            rows.append(tuned_search_row(folder, sequences[:48], y[:48], last))
        if "tokenising" in only:
            rows.append(tokenising_row(folder, sequences, options.rounds))
        if "lengths" in only:
            rows += length_rows(folder, options.rounds)
        if "budget" in only:
            rows += budget_rows(folder, sequences, y, options.rounds)
    lengths = [len(s) for s in sequences]
    drawn = f"{len(sequences)} proteins ({origin}, mean length {np.mean(lengths):.0f})"
    heading = f"## ESM2-{options.shape.upper()} shape, {drawn}"
    report = f"{heading}\n\n{machine()}\n\n{table(rows)}\n"
    print(report)
    if options.write:
        with open(options.write, "a") as file:
            file.write("\n" + report)


if __name__ == "__main__":
    main()
