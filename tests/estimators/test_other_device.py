"""A fit and a prediction of every kind of estimator on a device that is not the CPU.

A tensor that is left behind on the CPU is an error here (``other_device.py``), as on a GPU.
"""

import numpy as np
import pytest
import torch
from other_device import DEVICE, other_device

from plmlearn import (
    PLMClassifier,
    PLMEmbedder,
    PLMFrozenMLP,
    PLMLoRARegressor,
    PLMMaskedLM,
    PLMPairClassifier,
    PLMResidueClassifier,
    PLMResidueRegressor,
    PLMSignalPeptideClassifier,
)
from plmlearn.adapters import (
    IA3,
    AdaLoRA,
    Bottleneck,
    DoRA,
    Frozen,
    FullFineTuning,
    LayerNormTuning,
    LoRA,
    PrefixTuning,
    PromptTuning,
    VeRA,
)

RNG = np.random.default_rng(0)
X = ["".join(RNG.choice(list("ACDEFGHIKLMNPQRSTVWY"), size=n)) for n in RNG.integers(8, 40, 8)]
LABELS = ["ab"[i % 2] for i in range(8)]
VALUES = list(RNG.normal(size=8))
PAIRS = list(zip(X, reversed(X)))
STATES = ["".join(RNG.choice(list("HEC"), size=len(x))) for x in X]
SECRETED = [x[0] + "LLLLLLLLLLAAAA" + x for x in X]
TYPES = ["SP", "NO_SP"] * 4
NUMBERS = [RNG.normal(size=len(x)) for x in X]
SETTINGS = {"epochs": 1, "batch_size": 4, "precision": "fp32", "random_state": 0, "verbose": 0}
ADAPTERS = (
    LoRA,
    DoRA,
    AdaLoRA,
    VeRA,
    IA3,
    PrefixTuning,
    PromptTuning,
    Bottleneck,
    LayerNormTuning,
    FullFineTuning,
)


def cases() -> dict:
    last = LoRA(last_n_layers=2)
    found = {cls.__name__: (PLMClassifier("mini", adapter=cls(), **SETTINGS), X, LABELS) for cls in ADAPTERS}
    found["AdaLoRA"][0].set_params(epochs=2, batch_size=1)  # needs ten steps
    return found | {
        "mixed layers": (
            PLMClassifier("mini", layer_mixing=True, pooling="attention", **SETTINGS),
            X,
            LABELS,
        ),
        "early stopping": (
            PLMClassifier("mini", adapter=last, early_stopping=True, validation_fraction=0.25, **SETTINGS),
            X,
            LABELS,
        ),
        "light attention": (
            PLMClassifier("mini", adapter=last, pooling="light_attention", **SETTINGS),
            X,
            LABELS,
        ),
        "regression": (PLMLoRARegressor("mini", last_n_layers=1, **SETTINGS), X, VALUES),
        "checkpointing": (PLMLoRARegressor("mini", gradient_checkpointing=True, **SETTINGS), X, VALUES),
        "windows": (PLMLoRARegressor("mini", max_length=16, long_sequences="window", **SETTINGS), X, VALUES),
        "frozen": (PLMClassifier("mini", adapter=Frozen(), **SETTINGS), X, LABELS),
        "pairs": (PLMPairClassifier("mini", adapter=last, **SETTINGS), PAIRS, LABELS),
        "frozen pairs": (PLMPairClassifier("mini", adapter=Frozen(), **SETTINGS), PAIRS, LABELS),
        "residues": (PLMResidueClassifier("mini", adapter=last, **SETTINGS), X, STATES),
        "CRF": (PLMResidueClassifier("mini", adapter=last, head="crf", **SETTINGS), X, STATES),
        "convolutions": (PLMResidueRegressor("mini", adapter=last, head="cnn", **SETTINGS), X, NUMBERS),
        "perceptron": (PLMFrozenMLP("mini", max_iter=2, precision="fp32", random_state=0), X, LABELS),
        "embedder": (PLMEmbedder("mini", precision="fp32"), X, None),
        "signal peptides": (PLMSignalPeptideClassifier("mini", adapter=last, **SETTINGS), SECRETED, TYPES),
        "language model": (
            PLMMaskedLM("mini", max_steps=2, batch_size=4, precision="fp32", random_state=0, verbose=0),
            X,
            None,
        ),
        "embedder of residues": (PLMEmbedder("mini", pooling=None, precision="fp32"), X, None),
    }


@pytest.fixture
def device(monkeypatch):
    """The other device, which ``device="cpu"`` now stands for."""
    with other_device() as found:
        for module in (
            "estimators.tuned",
            "estimators.embedder",
            "estimators.parameters",
            "pretraining.estimator",
        ):
            monkeypatch.setattr(f"plmlearn.{module}.resolve_device", lambda name: torch.device(DEVICE, 0))
        yield found


@pytest.mark.parametrize("kind", cases())
def test_fit_and_predict(kind, device, empty_cache):
    estimator, inputs, y = cases()[kind]
    estimator.fit(inputs, y)
    for method in ("predict", "predict_proba", "transform"):
        if hasattr(estimator, method):
            getattr(estimator, method)(inputs)
