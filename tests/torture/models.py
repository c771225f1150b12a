"""Small fitted estimators of every kind that ``save`` takes, and what they predict."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import peft

from plmlearn import (
    PLMClassifier,
    PLMEmbedder,
    PLMFrozenMLP,
    PLMFrozenMLPRegressor,
    PLMMaskedLM,
    PLMPairClassifier,
    PLMRegressor,
    PLMResidueClassifier,
    PLMResidueRegressor,
    PLMSignalPeptideClassifier,
)
from plmlearn.adapters import Bottleneck, Frozen, LoRA, PeftAdapter, PrefixTuning, VeRA

FAST = {"epochs": 1, "batch_size": 8, "precision": "fp32", "random_state": 0, "verbose": 0}
LAST = {"target_modules": ("key", "value"), "last_n_layers": 1}
MLP = {"hidden_layer_sizes": (4,), "max_iter": 3, "solver": "lbfgs", "random_state": 0}


def draw_proteins(n_rows: int, seed: int = 0) -> list[str]:
    """Random proteins of 25 to 45 residues."""
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), n)) for n in rng.integers(25, 46, n_rows)]


@cache
def fit(name: str) -> Any:
    """The estimator of that name, fitted."""
    estimator, proteins, y = MAKERS[name]()
    return estimator.fit(proteins) if y is None else estimator.fit(proteins, y)


def results(name: str, estimator: Any) -> list[np.ndarray]:
    """What an estimator of that name says of a few proteins."""
    proteins = MAKERS[name]()[1][:3]
    methods = [m for m in ("predict", "predict_proba", "transform") if hasattr(estimator, m)]
    return [np.asarray(getattr(estimator, method)(proteins)) for method in methods]


X = draw_proteins(12)
LABELS = np.array(["no", "yes", "perhaps"])[np.arange(12) % 3]
VALUES = np.random.default_rng(0).normal(7, 2, (12, 2))


def adapted(adapter: Any, y: Any = LABELS, **more: Any) -> tuple:
    return PLMClassifier("mini", adapter=adapter, **FAST, **more), X, y


MAKERS = {
    "lora": lambda: adapted(LoRA(rank=2, rank_pattern={"key": 3}, last_n_layers=2)),
    "frozen": lambda: adapted(Frozen(), np.arange(12) % 2 == 0),
    "multilabel": lambda: adapted(VeRA(rank=4, last_n_layers=1), np.eye(3, dtype=int)[np.arange(12) % 3]),
    "bottleneck": lambda: adapted(Bottleneck(size=2, last_n_layers=1)),
    "prefix": lambda: adapted(PrefixTuning(n_tokens=2, last_n_layers=1)),
    "loha": lambda: adapted(PeftAdapter(peft.LoHaConfig(r=2, rank_pattern={"key": 3}), **LAST)),
    "peft-lora": lambda: adapted(PeftAdapter(peft.LoraConfig(r=2, alpha_pattern={"key": 3}), **LAST)),
    "oft": lambda: adapted(PeftAdapter(peft.OFTConfig(oft_block_size=8, r=0), **LAST)),
    "c3a": lambda: adapted(PeftAdapter(peft.C3AConfig(block_size=8), **LAST)),
    "regressor": lambda: (PLMRegressor("mini", adapter=Frozen(), pooling="attention", **FAST), X, VALUES),
    "pairs": lambda: (
        PLMPairClassifier("mini", adapter=Frozen(), **FAST),
        np.array([X, X[1:] + X[:1]]).T,
        np.arange(12) % 2,
    ),
    "residues": lambda: (
        PLMResidueClassifier("mini", adapter=Frozen(), head="crf", constraints="infer", **FAST),
        X,
        ["".join("HE-"[(i // 3) % 3] for i in range(len(x))) for x in X],
    ),
    "residue-values": lambda: (
        PLMResidueRegressor("mini", adapter=Frozen(), head="linear", **FAST),
        X,
        [np.arange(len(x)) / 10 for x in X],
    ),
    "signals": lambda: (
        PLMSignalPeptideClassifier("mini", adapter=Frozen(), **FAST),
        X,
        np.array(["SP", "NO_SP"])[np.arange(12) % 2],
    ),
    "mlp": lambda: (PLMFrozenMLP("mini", **MLP), X, LABELS),
    "mlp-values": lambda: (PLMFrozenMLPRegressor("mini", **MLP), X, VALUES),
    "embedder": lambda: (PLMEmbedder("mini", pooling="max", n_layers=1), X, None),
    "language": lambda: (
        PLMMaskedLM(
            n_layers=1,
            width=16,
            n_heads=2,
            max_steps=2,
            precision="fp32",
            validation_fraction=None,
            random_state=0,
            verbose=0,
        ),
        X,
        None,
    ),
}
