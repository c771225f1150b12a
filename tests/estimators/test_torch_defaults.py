"""What a caller sets as torch's default dtype or device changes no result, and stays set."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from plmlearn import (
    PLMClassifier,
    PLMEmbedder,
    PLMFitnessRegressor,
    PLMLoRAClassifier,
    PLMMaskedLM,
    PLMPairRegressor,
    PLMResidueClassifier,
    load,
    save,
)
from plmlearn.adapters import DoRA, FullFineTuning
from plmlearn.backbones import unload_backbones

LETTERS = list("ACDEFGHIKLMNPQRSTVWY")
X = ["".join(row) for row in np.random.default_rng(0).choice(LETTERS, (12, 10))]
VALUES = np.linspace(0, 1, 12)
SETTINGS = {"epochs": 1, "precision": "fp32", "random_state": 0, "verbose": 0}
FITS = {
    "lora": lambda: PLMLoRAClassifier("mini", **SETTINGS).fit(X, VALUES > 0.5),
    "dora": lambda: PLMClassifier("mini", adapter=DoRA(), **SETTINGS).fit(X, VALUES > 0.5),
    "full": lambda: PLMClassifier("mini", adapter=FullFineTuning(), **SETTINGS).fit(X, VALUES > 0.5),
    "pairs": lambda: PLMPairRegressor("mini", **SETTINGS).fit(list(zip(X, X[::-1], strict=True)), VALUES),
    "residues": lambda: PLMResidueClassifier("mini", **SETTINGS).fit(X, ["HHHHHEEEEE"] * 12),
    "fitness": lambda: PLMFitnessRegressor("mini", wild_type=X[0], calibrate=None, **SETTINGS).fit(X, VALUES),
    "embeddings": lambda: PLMEmbedder("mini", precision="fp32").fit(X),
    "language": lambda: PLMMaskedLM(
        "mini", max_steps=2, validation_fraction=None, precision="fp32", random_state=0, verbose=0
    ).fit(X),
}


def says(model) -> np.ndarray:
    """What a fitted model says of the proteins."""
    if isinstance(model, PLMEmbedder):
        return model.transform(X)
    if isinstance(model, PLMMaskedLM):
        return model.pseudo_perplexity(X[:3])
    if isinstance(model, PLMPairRegressor):
        return model.predict(list(zip(X, X[::-1], strict=True)))
    if isinstance(model, PLMFitnessRegressor):
        return model.predict(X)
    return np.concatenate([np.ravel(p) for p in model.predict_proba(X)])


@contextmanager
def defaults(dtype: torch.dtype, device: str) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
            assert torch.get_default_dtype() == dtype
            assert torch.get_default_device() == torch.device(device)
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("kind", FITS)
@pytest.mark.parametrize(
    ("dtype", "device"), [(torch.float64, "cpu"), (torch.bfloat16, "cpu"), (torch.float32, "meta")]
)
def test_results_do_not_depend_on_torchs_defaults(kind, dtype, device, tmp_path):
    expected = FITS[kind]()
    save(expected, tmp_path / "model")
    unload_backbones()
    with defaults(dtype, device):
        found = says(FITS[kind]())
        unload_backbones()
        loaded = says(load(tmp_path / "model"))
    np.testing.assert_array_equal(found, says(expected))
    np.testing.assert_array_equal(loaded, says(expected))
