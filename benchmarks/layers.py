"""What each layer of a backbone knows of three tasks, with and without the final norm.

    PLMLEARN_DATA=data python benchmarks/layers.py FOLDER
    PLMLEARN_DATA=data python benchmarks/layers.py FOLDER --say "What it is." --write docs/layers.md

FOLDER is a backbone: a short name, a Hugging Face id or a folder. The tasks are GB1 (training variants of the
split three_vs_rest; Spearman's correlation), membrane proteins of DeepLoc 2 (folds are its homology
partitions; Matthews' correlation) and secondary structure (training chains; Q3 of drawn residues). For each
seed, proteins are drawn at random and ``layer_sweep`` scores its default probes on five folds.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine
from sklearn.model_selection import KFold

from plmlearn import PLMEmbedder, layer_sweep
from plmlearn.datasets import fetch_deeploc2, fetch_gb1, fetch_secondary_structure
from plmlearn.model_selection import ClusterKFold

PROTEINS = {"GB1": 400, "membrane": 400, "secondary structure": 100}


def load(task: str) -> tuple[np.ndarray, Any, np.ndarray | None, dict[str, Any]]:
    """Proteins, targets, clusters and settings of a sweep."""
    if task == "GB1":
        data = fetch_gb1(split="three_vs_rest", subset="train")
        return data.data, data.target, None, {"scoring": "spearman"}
    if task == "membrane":
        data = fetch_deeploc2(task="membrane")
        return data.data, data.target, data.partition, {"scoring": "mcc"}
    data = fetch_secondary_structure(subset="train")
    return data.data, data.target, None, {"ignore_label": "-", "max_residues": 10_000}


def sweep(folder: str, task: str, seed: int) -> dict[bool, np.ndarray]:
    """Scores by final norm, (n_layers, n_folds)."""
    X, y, groups, settings = load(task)
    drawn = np.random.default_rng(seed).permutation(len(X))[: PROTEINS[task]]
    cv = KFold(5, shuffle=True, random_state=seed) if groups is None else ClusterKFold(5)
    settings |= {"cv": cv, "groups": None if groups is None else groups[drawn], "random_state": seed}
    pooling = None if task == "secondary structure" else "mean"
    scores = {}
    for final_norm in (True, False):
        embedder = PLMEmbedder(folder, pooling=pooling, final_norm=final_norm, precision="fp32")
        found = layer_sweep(embedder, X[drawn], y[drawn], **settings)
        print(task, f"seed {seed}", f"final_norm={final_norm}", found, sep="\n", flush=True)
        scores[final_norm] = found.scores
    return scores


def table(scores: dict[str, dict[bool, np.ndarray]]) -> str:
    """Mean scores over seeds and folds as a table of Markdown, a row per layer."""
    tasks = list(scores)
    n_layers = len(scores[tasks[0]][True])
    heads = [f"{task}, {kind}" for task in tasks for kind in ("normed", "plain")]
    lines = [f"| layer | {' | '.join(heads)} |", f"|---{'|---' * len(heads)}|"]
    for layer in range(n_layers):
        cells = [f"{scores[task][norm][layer].mean():.3f}" for task in tasks for norm in (True, False)]
        lines.append(f"| {layer + 1} | {' | '.join(cells)} |")
    return "\n".join(lines)


def differences(scores: dict[str, dict[bool, np.ndarray]]) -> str:
    """What the final norm adds below the last layer and at the last one: a line per task."""
    lines = []
    for task, by_norm in scores.items():
        gain = by_norm[True] - by_norm[False]
        below, last = gain[:-1].mean(axis=0), gain[-1]
        spreads = [part.std(ddof=1) for part in (below, last)]
        lines.append(
            f"- {task}: {below.mean():+.4f} below the last layer (standard deviation over {len(below)} "
            f"folds {spreads[0]:.4f}), {last.mean():+.4f} at the last one ({spreads[1]:.4f})"
        )
    return "\n".join(lines)


def page(text: str, arguments: argparse.Namespace, minutes: float) -> str:
    counts = ", ".join(f"{n} of {task}" for task, n in PROTEINS.items())
    seeds = ", ".join(map(str, arguments.seeds))
    where = machine("torch", "scikit-learn", "numpy")
    return f"""# What each layer knows

{arguments.say}

Mean scores of five folds and of seeds {seeds}. Proteins are drawn: {counts}; of these
10,000 residues. GB1: Spearman's correlation; membrane: Matthews' correlation; secondary structure: Q3.
"normed" is `final_norm=True`, "plain" is `final_norm=False`.

{text}

{where}, float32; {minutes:.0f} minutes.
`python benchmarks/layers.py FOLDER --write docs/layers.md` writes this page; `--say` its first paragraph.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--say", default="", help="what the backbone is, for the page")
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    since, scores = time.monotonic(), {}
    for task in PROTEINS:
        runs = [sweep(arguments.folder, task, seed) for seed in arguments.seeds]
        scores[task] = {norm: np.concatenate([run[norm] for run in runs], axis=1) for norm in (True, False)}
    text = f"{table(scores)}\n\nWhat the final norm adds:\n\n{differences(scores)}"
    print(text)
    if arguments.write:
        arguments.write.write_text(page(text, arguments, (time.monotonic() - since) / 60))


if __name__ == "__main__":
    main()
