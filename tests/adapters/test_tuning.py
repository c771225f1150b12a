"""Which of the encoder's own weights are trained, and at which rate."""

import numpy as np
import pytest
import torch
from every_method import build, trained_tensors

from plmlearn.adapters import FullFineTuning, LayerNormTuning, LoRA
from plmlearn.training.config import TrainingConfig
from plmlearn.training.engine import parameter_groups


def is_norm(name: str) -> bool:
    return "norm" in name.lower()


def test_full_tuning_trains_what_the_encoder_uses(backbone):
    trained = trained_tensors(FullFineTuning().install(backbone))
    every = {name for name, _ in backbone.model.named_parameters()}
    assert every - trained.keys() == {n for n in every if n.startswith("contact_head")}


def test_norms_are_all_norms_and_nothing_else(backbone):
    trained = trained_tensors(LayerNormTuning().install(backbone))
    assert trained.keys() == {n for n, _ in backbone.model.named_parameters() if is_norm(n)}
    top = trained_tensors(LayerNormTuning(last_n_layers=1).install(backbone))
    root = backbone.architecture.layers
    below = (f"{root}.0.", f"{root}.1.", "embeddings.")
    assert top.keys() == {name for name in trained if not name.startswith(below)}


def test_rates_fall_by_layer(backbone):
    factors = FullFineTuning(layer_lr_decay=0.5).lr_factors(backbone)
    by_place = {}
    for name, factor in factors.items():
        parts = name.removeprefix(f"{backbone.architecture.layers}.").split(".")
        is_final = is_norm(name) and not name.startswith("embeddings.")
        place = parts[0] if parts[0].isdigit() else ("final" if is_final else "first")
        if not name.startswith("contact_head"):
            by_place.setdefault(place, set()).add(factor)
    final = {} if backbone.config.model_type == "bert" else {"final": {1.0}}
    assert by_place == {"first": {0.125}, "0": {0.25}, "1": {0.5}, "2": {1.0}} | final


def test_the_optimiser_takes_them(esm2):
    adapter = FullFineTuning(layer_lr_decay=0.5)
    model = build(adapter, esm2)
    config = TrainingConfig(
        max_tokens=100,
        device=torch.device("cpu"),
        dtype=torch.float32,
        lr=0.1,
        head_lr=0.7,
        weight_decay=0.3,
        lr_factors=adapter.lr_factors(esm2),
    )
    rate_of = {id(p): group["lr"] for group in parameter_groups(model, config) for p in group["params"]}
    names = dict(model.named_parameters())
    found = [rate_of[id(names[f"encoder.backbone.encoder.layer.{i}.output.dense.weight"])] for i in range(3)]
    np.testing.assert_allclose(found, [0.025, 0.05, 0.1])
    assert {rate_of[id(p)] for p in model.head.parameters()} == {0.7}
    assert rate_of[id(names["encoder.backbone.embeddings.word_embeddings.weight"])] == pytest.approx(0.0125)


def test_without_decay_all_layers_learn_alike(esm2):
    assert set(FullFineTuning().lr_factors(esm2).values()) == {1.0}
    assert LoRA().lr_factors(esm2) == {}


@pytest.mark.parametrize("decay", [0, -0.5, 1.5])
def test_a_decay_is_a_share(esm2, decay):
    with pytest.raises(ValueError, match=r"'layer_lr_decay' parameter .* range \(0.0, 1.0\]"):
        FullFineTuning(layer_lr_decay=decay).install(esm2)
