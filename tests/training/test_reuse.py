"""What is frozen is computed once, and what is read back is what would have been computed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from plmlearn.adapters import Frozen, FullFineTuning, LoRA
from plmlearn.backbones import load_backbone, unload_backbones
from plmlearn.nn.encoders import PackedEsm, make_encoder
from plmlearn.nn.models import EsmHead
from plmlearn.nn.models import ProteinModel
from plmlearn.nn.models import POOLINGS
from plmlearn.training.batching import TokenizedSequences
from plmlearn.training.config import TrainingConfig
from plmlearn.training.engine import TrainingData, train
from plmlearn.training.inference import outputs_of
from plmlearn.training.reuse import pooled_embeddings, residue_embeddings, reuse_frozen

PLAN = TrainingConfig(
    max_tokens=60, device=torch.device("cpu"), dtype=torch.float32, lr=0.01, epochs=2, batch_size=3
)
BF16 = replace(PLAN, dtype=torch.bfloat16)
SEQUENCES = ["MKTAYIAKQR", "GG", "MKTAYIAKQR", "ACDEFGHIKLMNPQRSTVWY", "GG", "WWWWW", "A" * 33]

CASES = {
    "frozen, mean": (Frozen(), "mean", "pooled"),
    "frozen, max": (Frozen(), "max", "pooled"),
    "frozen, cls": (Frozen(), "cls", "pooled"),
    "frozen, attention": (Frozen(), "attention", "trunk"),
    "LoRA, last layer": (LoRA(last_n_layers=1), "mean", "trunk"),
    "LoRA, last 2 layers": (LoRA(last_n_layers=2), "cls", "trunk"),
    "full, last layer": (FullFineTuning(last_n_layers=1), "mean", "trunk"),
    "LoRA, all layers": (LoRA(), "mean", None),
    "full": (FullFineTuning(), "mean", None),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request):
    return request.param


@pytest.fixture
def backbone(esm_folder):
    return load_backbone(str(esm_folder))


@pytest.fixture
def calls(monkeypatch):
    """Every (layer, tokens) that any encoder computes."""
    seen: list[tuple[int, int]] = []
    layer = PackedEsm.layer

    def count(self, block, hidden, tokens, shared):
        seen.append((list(self.blocks).index(block), len(tokens.ids)))
        return layer(self, block, hidden, tokens, shared)

    monkeypatch.setattr(PackedEsm, "layer", count)
    return seen


def build(adapter, pooling: str, backbone) -> ProteinModel:
    torch.manual_seed(0)
    encoder = make_encoder(
        adapter.install(backbone),
        compute_dtype=backbone.dtype,
        trunk_depth=adapter.first_trained_layer(backbone.n_layers),
    )
    head = EsmHead(encoder.width, 2, 8, 0.0)
    return ProteinModel(encoder, POOLINGS[pooling](encoder.width), head).eval()


def known(inputs: TokenizedSequences) -> set[str]:
    tokens = inputs.pack(range(inputs.n_distinct), torch.device("cpu"))
    return {kind for kind in ("trunk", "pooled") if getattr(tokens, kind) is not None}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_outputs_are_the_same_with_and_without_reuse(empty_cache, esm_folder, case, precision):
    adapter, pooling, kind = case
    backbone = load_backbone(str(esm_folder), precision=precision)
    plan = replace(PLAN, dtype=backbone.dtype)
    model = build(adapter, pooling, backbone)
    plain, reusing, again = (TokenizedSequences(backbone, SEQUENCES) for _ in range(3))
    expected = outputs_of(model, plain, plan)
    for inputs in (reusing, again):  # computed, then found
        reuse_frozen(model, inputs, backbone, plan)
        assert known(inputs) == ({kind} if kind else set())
        tolerance = 1e-6 if precision == "fp32" else 0.03
        np.testing.assert_allclose(outputs_of(model, inputs, plan), expected, atol=tolerance, rtol=tolerance)


def test_training_is_the_same_with_and_without_reuse(empty_cache, backbone, case):
    adapter, pooling, _ = case
    targets = np.linspace(-1, 1, len(SEQUENCES), dtype=np.float32)
    models = []
    for reusing in (False, True):
        inputs = TokenizedSequences(backbone, SEQUENCES)
        model = build(adapter, pooling, backbone)
        if reusing:
            reuse_frozen(model, inputs, backbone, PLAN)
        data = TrainingData(inputs, targets, np.ones_like(targets))
        train(model, lambda outputs, y: (outputs[:, 0] - y).square(), data, PLAN)
        models.append(model)
    for (name, a), b in zip(models[0].named_parameters(), models[1].parameters()):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4, msg=lambda m, name=name: f"{name}: {m}")


def test_each_distinct_sequence_is_computed_once(empty_cache, backbone, case, calls):
    adapter, pooling, kind = case
    model = build(adapter, pooling, backbone)
    n_tokens = sum(len(sequence) + 2 for sequence in set(SEQUENCES))
    depth = {"pooled": 3, "trunk": adapter.first_trained_layer(3), None: 0}[kind]
    for i in range(3):
        inputs = TokenizedSequences(backbone, SEQUENCES[: 5 + i])
        reuse_frozen(model, inputs, backbone, PLAN)
    by_layer = {layer: sum(n for i, n in calls if i == layer) for layer in {i for i, _ in calls}}
    assert by_layer == dict.fromkeys(range(depth), n_tokens)


@pytest.mark.parametrize("adapter, below", [(LoRA(last_n_layers=1), {0, 1}), (Frozen(), {0, 1, 2})])
def test_no_epoch_runs_what_is_frozen(empty_cache, backbone, calls, adapter, below):
    inputs = TokenizedSequences(backbone, SEQUENCES)
    model = build(adapter, "mean", backbone)
    reuse_frozen(model, inputs, backbone, PLAN)
    calls.clear()
    targets = np.zeros(len(SEQUENCES), dtype=np.float32)
    data = TrainingData(inputs, targets, np.ones_like(targets))
    train(model, lambda outputs, y: (outputs[:, 0] - y).square(), data, PLAN, validation=data)
    assert not below & {layer for layer, _ in calls}


def n_computed(model, backbone, plan, calls) -> int:
    """Layers computed to reuse the frozen part of a model once more."""
    calls.clear()
    reuse_frozen(model, TokenizedSequences(backbone, SEQUENCES), backbone, plan)
    return len(calls)


def test_models_with_the_same_frozen_part_share_it(empty_cache, backbone, calls):
    assert n_computed(build(LoRA(last_n_layers=1), "mean", backbone), backbone, PLAN, calls) > 0
    assert n_computed(build(LoRA(last_n_layers=1, rank=2), "cls", backbone), backbone, PLAN, calls) == 0
    assert n_computed(build(FullFineTuning(last_n_layers=1), "max", backbone), backbone, PLAN, calls) == 0


def test_depths_poolings_precisions_and_weights_are_kept_apart(
    empty_cache, esm_folder, tmp_path, make_esm, calls
):
    fp32 = load_backbone(str(esm_folder))
    bf16 = load_backbone(str(esm_folder), precision="bf16")
    other = load_backbone(str(make_esm(tmp_path, seed=1)))
    runs = [
        (LoRA(last_n_layers=1), "mean", fp32, PLAN),
        (LoRA(last_n_layers=2), "mean", fp32, PLAN),
        (LoRA(last_n_layers=1), "mean", bf16, BF16),
        (LoRA(last_n_layers=1), "mean", other, PLAN),
        (Frozen(), "mean", fp32, PLAN),
        (Frozen(), "max", fp32, PLAN),
        (Frozen(), "mean", bf16, BF16),
        (Frozen(), "mean", other, PLAN),
    ]
    for expected in (True, False):
        for adapter, pooling, backbone, plan in runs:
            assert bool(n_computed(build(adapter, pooling, backbone), backbone, plan, calls)) is expected


def test_pooled_embeddings_are_found_by_a_later_process(empty_cache, backbone, calls):
    model = build(Frozen(), "mean", backbone)
    assert n_computed(model, backbone, PLAN, calls) > 0
    empty_cache.clear(disk=False)
    assert n_computed(model, backbone, PLAN, calls) == 0


def test_a_backbone_loaded_again_is_the_same(empty_cache, esm_folder, calls):
    first = load_backbone(str(esm_folder))
    assert n_computed(build(Frozen(), "mean", first), first, PLAN, calls) > 0
    unload_backbones()
    second = load_backbone(str(esm_folder))
    assert second is not first
    assert n_computed(build(Frozen(), "mean", second), second, PLAN, calls) == 0


def test_nothing_is_kept_while_the_cache_is_disabled(empty_cache, backbone, case):
    adapter, pooling, _ = case
    model = build(adapter, pooling, backbone)
    expected = outputs_of(model, TokenizedSequences(backbone, SEQUENCES), PLAN)
    with empty_cache.disabled():
        inputs = TokenizedSequences(backbone, SEQUENCES)
        reuse_frozen(model, inputs, backbone, PLAN)
        np.testing.assert_allclose(outputs_of(model, inputs, PLAN), expected, atol=1e-6)
    assert empty_cache.info()["memory_bytes"] == empty_cache.info()["disk_bytes"] == 0


def test_a_trunk_that_fits_no_tier_is_computed_in_every_pass(empty_cache, backbone, monkeypatch):
    shared = empty_cache.default_cache()
    monkeypatch.setattr(shared, "memory_limit", 1000)
    monkeypatch.setattr(shared, "disk_limit", 1000)
    model = build(LoRA(last_n_layers=1), "mean", backbone)
    inputs = TokenizedSequences(backbone, SEQUENCES)
    expected = outputs_of(model, inputs, PLAN)
    with pytest.warns(empty_cache.CacheWarning, match="fit neither the memory limit.*nor the disk limit"):
        reuse_frozen(model, inputs, backbone, PLAN)
    np.testing.assert_allclose(outputs_of(model, inputs, PLAN), expected, atol=1e-6)


def test_embeddings_by_sequence_equal_the_encoder_run_alone(empty_cache, backbone):
    model = build(Frozen(), "mean", backbone)
    inputs = TokenizedSequences(backbone, SEQUENCES)
    pooled = pooled_embeddings(model, inputs, backbone, PLAN)
    residues = residue_embeddings(model.encoder, inputs, backbone, PLAN)
    distinct = list(dict.fromkeys(SEQUENCES))
    assert len(pooled) == len(residues) == len(distinct)
    for i, sequence in enumerate(distinct):
        with torch.no_grad():
            hidden = model.encoder(inputs.pack([i], torch.device("cpu")))[1:-1]
        assert hidden.shape == residues[i].shape == (len(sequence), 32)
        torch.testing.assert_close(residues[i], hidden, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(pooled[i], hidden.mean(0, keepdim=True), atol=1e-5, rtol=1e-5)


class _CrampedEsm(PackedEsm):
    """Runs out of memory above 40 tokens."""

    def layer(self, block, hidden, tokens, shared):
        if len(hidden) > 40:
            raise torch.OutOfMemoryError("out of memory (simulated)")
        return super().layer(block, hidden, tokens, shared)


def test_running_out_of_memory_only_makes_smaller_batches(empty_cache, backbone):
    encoder = _CrampedEsm(backbone.model, trunk_depth=3)
    model = ProteinModel(encoder, POOLINGS["mean"](32), nn.Identity()).eval()
    inputs = TokenizedSequences(backbone, SEQUENCES)
    with pytest.warns(UserWarning, match="Out of memory: continuing with max_tokens=40") as warned:
        found = pooled_embeddings(model, inputs, backbone, replace(PLAN, max_tokens=80))
    assert len(warned) == 1
    with empty_cache.disabled():
        expected = pooled_embeddings(build(Frozen(), "mean", backbone), inputs, backbone, PLAN)
    for a, b in zip(found, expected):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
