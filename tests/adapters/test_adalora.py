"""AdaLoRA: its formula, penalty, and how ranks are taken away in the training loop."""

import numpy as np
import pytest
import torch
from every_method import build, tokens_of, train, trained_tensors

from plmlearn import PLMRegressor
from plmlearn.adapters import AdaLoRA, LoRA

FIT = {"precision": "fp32", "device": "cpu", "random_state": 0, "verbose": 0, "standardize": False}


@pytest.fixture(scope="module")
def data(draw_proteins):
    X = draw_proteins(32, seed=2, longest=16)
    return X, np.array([sequence.count("A") / len(sequence) for sequence in X])


def switches(model) -> dict[str, torch.Tensor]:
    """Which pairs of vectors of each matrix are on."""
    return {n: p.flatten() != 0 for n, p in model.named_parameters() if "lora_E" in n}


def test_it_is_a_scaled_product_with_a_diagonal(esm2):
    model = AdaLoRA(rank=2, initial_rank=4, alpha=6).install(esm2)
    with torch.no_grad():
        for tensor in trained_tensors(model).values():
            tensor.normal_()
    key = model.encoder.layer[1].attention.self.key
    a, b, e = (getattr(key, f"lora_{name}")["default"] for name in "ABE")
    x = torch.randn(3, 32)
    expected = key.base_layer(x) + 6 / 4 * (x @ a.T * e.flatten()) @ b.T
    torch.testing.assert_close(key(x), expected, atol=1e-3, rtol=1e-3)


def test_the_penalty_is_the_mean_distance_from_orthogonality(esm2):
    adapter = AdaLoRA(rank=2, initial_rank=4, orthogonality=0.3, target_modules=("key", "value"))
    model = build(adapter, esm2)
    distances = []
    for name, p in model.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            rows = p.detach().numpy() if "lora_A" in name else p.detach().numpy().T
            distances.append(np.sqrt(np.square(rows @ rows.T - np.eye(4)).sum()))
    assert len(distances) == 12
    assert adapter.penalty(model).item() == pytest.approx(0.3 * np.mean(distances), rel=1e-5)
    assert LoRA().penalty(model) is None


def test_ranks_are_taken_away_until_the_mean_is_reached(esm2):
    """By the cubic schedule of the paper; what is off stays off after the end."""
    adapter = AdaLoRA(rank=1, initial_rank=4, tinit=0.2, tfinal=0.3, target_modules=("key", "value"))
    n_steps = 40
    model = build(adapter, esm2)
    tokens, n_on, patterns = tokens_of(esm2), [], []
    for step in range(1, n_steps + 1):
        train(model, tokens, steps=1)
        adapter.after_step(model, step, n_steps)
        patterns.append(switches(model))
        n_on.append(sum(int(on.sum()) for on in patterns[-1].values()))
    first, last = 8, 28
    expected = [24] * first
    for step in range(first + 1, n_steps + 1):
        left = max(0.0, 1 - (step - first) / (last - first))
        expected.append(int(18 * left**3 + 6))
    assert n_on == expected
    for pattern in patterns[last:]:
        assert all(torch.equal(pattern[name], patterns[last - 1][name]) for name in pattern)


def test_a_fit_ends_at_the_mean_rank(miniature, data):
    adapter = AdaLoRA(rank=1, initial_rank=3, target_modules="attention")
    regressor = PLMRegressor(str(miniature("esm2")), adapter=adapter, epochs=5, batch_size=8, **FIT)
    regressor.fit(*data)
    on = switches(regressor._loaded.module)
    assert len(on) == 12
    assert sum(int(ranks.sum()) for ranks in on.values()) == 12
    assert adapter._allocator is None  # what a fit learns stays out of the caller's adapter


def test_the_penalty_acts_in_a_fit(miniature, data):
    """Without it the vectors stay as short as they start; with it they approach length 1."""
    lengths = []
    for orthogonality in (0.0, 1.0):
        adapter = AdaLoRA(rank=1, initial_rank=2, orthogonality=orthogonality)
        regressor = PLMRegressor(
            str(miniature("esm2")), adapter=adapter, epochs=10, batch_size=8, lr=0.02, **FIT
        ).fit(*data)
        model = regressor._loaded.module
        rows = [p.norm(dim=1) for n, p in model.named_parameters() if "lora_A" in n]
        lengths.append(torch.cat(rows).mean().item())
    assert abs(lengths[1] - 1) < 0.3
    assert abs(lengths[1] - 1) < abs(lengths[0] - 1)


def test_too_few_steps_are_refused(miniature, data):
    regressor = PLMRegressor(str(miniature("esm2")), adapter=AdaLoRA(), epochs=2, batch_size=8, **FIT)
    with pytest.raises(ValueError, match=r"AdaLoRA has 5 of 8 optimiser steps.*at least 10\. Raise epochs"):
        regressor.fit(*data)


@pytest.mark.parametrize(
    "adapter, message",
    [
        (AdaLoRA(rank=0), r"'rank' parameter of AdaLoRA must be an int in the range \[1, inf\). Got 0"),
        (AdaLoRA(rank=12), "initial_rank=12 must be above rank=12"),
        (AdaLoRA(interval=0), r"'interval' parameter of AdaLoRA must be an int in the range \[1, inf\)"),
        (AdaLoRA(tinit=1.0), r"'tinit' parameter of AdaLoRA must be a float in the range \[0.0, 1.0\)"),
        (AdaLoRA(dropout=-0.1), r"'dropout' parameter of AdaLoRA must be a float in the range \[0.0, 1.0\)"),
        (AdaLoRA(alpha=0), r"'alpha' parameter of AdaLoRA must be a float in the range \(0.0, inf\)"),
        (
            AdaLoRA(orthogonality=-1),
            r"'orthogonality' parameter of AdaLoRA must be a float in the range \[0.0, inf\). Got -1",
        ),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_refused(esm2, adapter, message):
    with pytest.raises(ValueError, match=message):
        adapter.install(esm2)
