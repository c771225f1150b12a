"""What is frozen is computed once, and what is read back is what would have been computed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from plmlearn.adapters import Frozen, FullFineTuning, LoRA
from plmlearn.backbones import load_backbone, unload_backbones
from plmlearn.cache import Entries
from plmlearn.nn.encoders import PackedEsm, make_encoder
from plmlearn.nn.models import POOLINGS, EsmHead, ProteinModel, ResidueModel
from plmlearn.nn.packing import Activations, PackedTokens, Ragged
from plmlearn.nn.residue_heads import make_residue_head
from plmlearn.training.batching import Inputs, make_batches
from plmlearn.training.config import TrainingConfig
from plmlearn.training.engine import train
from plmlearn.training.features import FeatureSet, frozen_embeddings, with_features
from plmlearn.training.inference import outputs_of
from plmlearn.training.steps import TrainingData

CONFIG = TrainingConfig(
    max_tokens=60, device=torch.device("cpu"), dtype=torch.float32, lr=0.01, epochs=2, batch_size=3
)
BF16 = replace(CONFIG, dtype=torch.bfloat16)
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


def stage_of(inputs: Inputs) -> str | None:
    """The stage of features that are there for every sequence; None where there are tokens alone."""
    if not isinstance(inputs.sequences, FeatureSet):
        return None
    assert len(inputs.sequences.values.missing) == 0
    return inputs.sequences.stage


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_outputs_are_the_same_with_and_without_features(empty_cache, esm_folder, case, precision):
    adapter, pooling, kind = case
    backbone = load_backbone(str(esm_folder), precision=precision)
    config = replace(CONFIG, dtype=backbone.dtype)
    model = build(adapter, pooling, backbone)
    plain = Inputs.of(backbone, SEQUENCES)
    expected = outputs_of(model, plain, config)
    for _ in range(2):  # computed, then found
        inputs = with_features(model, plain, backbone, config)
        assert stage_of(inputs) == kind
        tolerance = 1e-6 if precision == "fp32" else 0.03
        np.testing.assert_allclose(
            outputs_of(model, inputs, config), expected, atol=tolerance, rtol=tolerance
        )


def test_training_is_the_same_with_and_without_features(empty_cache, backbone, case):
    adapter, pooling, _ = case
    targets = np.linspace(-1, 1, len(SEQUENCES), dtype=np.float32)
    models = []
    for with_them in (False, True):
        inputs = Inputs.of(backbone, SEQUENCES)
        model = build(adapter, pooling, backbone)
        if with_them:
            inputs = with_features(model, inputs, backbone, CONFIG)
        data = TrainingData(inputs, targets, np.ones_like(targets))
        train(model, lambda outputs, y: (outputs[:, 0] - y).square(), data, CONFIG)
        models.append(model)
    for (name, a), b in zip(models[0].named_parameters(), models[1].parameters()):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4, msg=lambda m, name=name: f"{name}: {m}")


def test_each_distinct_sequence_is_computed_once(empty_cache, backbone, case, calls):
    adapter, pooling, kind = case
    model = build(adapter, pooling, backbone)
    n_tokens = sum(len(sequence) + 2 for sequence in set(SEQUENCES))
    depth = {"pooled": 3, "trunk": adapter.first_trained_layer(3), None: 0}[kind]
    for i in range(3):
        with_features(model, Inputs.of(backbone, SEQUENCES[: 5 + i]), backbone, CONFIG)
    by_layer = {layer: sum(n for i, n in calls if i == layer) for layer in {i for i, _ in calls}}
    assert by_layer == dict.fromkeys(range(depth), n_tokens)


@pytest.mark.parametrize("adapter, below", [(LoRA(last_n_layers=1), {0, 1}), (Frozen(), {0, 1, 2})])
def test_no_epoch_runs_what_is_frozen(empty_cache, backbone, calls, adapter, below):
    inputs = Inputs.of(backbone, SEQUENCES)
    model = build(adapter, "mean", backbone)
    inputs = with_features(model, inputs, backbone, CONFIG)
    calls.clear()
    targets = np.zeros(len(SEQUENCES), dtype=np.float32)
    data = TrainingData(inputs, targets, np.ones_like(targets))
    train(model, lambda outputs, y: (outputs[:, 0] - y).square(), data, CONFIG, validation=data)
    assert not below & {layer for layer, _ in calls}


def n_computed(model, backbone, config, calls) -> int:
    """Layers computed for features of the frozen part of a model."""
    calls.clear()
    with_features(model, Inputs.of(backbone, SEQUENCES), backbone, config)
    return len(calls)


def test_models_with_the_same_frozen_part_share_it(empty_cache, backbone, calls):
    assert n_computed(build(LoRA(last_n_layers=1), "mean", backbone), backbone, CONFIG, calls) > 0
    assert n_computed(build(LoRA(last_n_layers=1, rank=2), "cls", backbone), backbone, CONFIG, calls) == 0
    assert n_computed(build(FullFineTuning(last_n_layers=1), "max", backbone), backbone, CONFIG, calls) == 0


def test_depths_poolings_precisions_and_weights_are_kept_apart(
    empty_cache, esm_folder, tmp_path, make_esm, calls
):
    fp32 = load_backbone(str(esm_folder))
    bf16 = load_backbone(str(esm_folder), precision="bf16")
    other = load_backbone(str(make_esm(tmp_path, seed=1)))
    runs = [
        (LoRA(last_n_layers=1), "mean", fp32, CONFIG),
        (LoRA(last_n_layers=2), "mean", fp32, CONFIG),
        (LoRA(last_n_layers=1), "mean", bf16, BF16),
        (LoRA(last_n_layers=1), "mean", other, CONFIG),
        (Frozen(), "mean", fp32, CONFIG),
        (Frozen(), "max", fp32, CONFIG),
        (Frozen(), "mean", bf16, BF16),
        (Frozen(), "mean", other, CONFIG),
    ]
    for expected in (True, False):
        for adapter, pooling, backbone, config in runs:
            assert bool(n_computed(build(adapter, pooling, backbone), backbone, config, calls)) is expected


def test_pooled_embeddings_are_found_by_a_later_process(empty_cache, backbone, calls):
    model = build(Frozen(), "mean", backbone)
    assert n_computed(model, backbone, CONFIG, calls) > 0
    empty_cache.clear(disk=False)
    assert n_computed(model, backbone, CONFIG, calls) == 0


def test_a_backbone_loaded_again_is_the_same(empty_cache, esm_folder, calls):
    first = load_backbone(str(esm_folder))
    assert n_computed(build(Frozen(), "mean", first), first, CONFIG, calls) > 0
    unload_backbones()
    second = load_backbone(str(esm_folder))
    assert second is not first
    assert n_computed(build(Frozen(), "mean", second), second, CONFIG, calls) == 0


def test_nothing_is_kept_while_the_cache_is_disabled(empty_cache, backbone, case):
    adapter, pooling, _ = case
    model = build(adapter, pooling, backbone)
    expected = outputs_of(model, Inputs.of(backbone, SEQUENCES), CONFIG)
    with empty_cache.disabled():
        inputs = Inputs.of(backbone, SEQUENCES)
        inputs = with_features(model, inputs, backbone, CONFIG)
        np.testing.assert_allclose(outputs_of(model, inputs, CONFIG), expected, atol=1e-6)
    assert empty_cache.info()["memory_bytes"] == empty_cache.info()["disk_bytes"] == 0


def test_a_trunk_that_fits_no_tier_is_computed_in_every_pass(empty_cache, backbone, monkeypatch):
    shared = empty_cache.default_cache()
    monkeypatch.setattr(shared, "memory_limit", 1000)
    monkeypatch.setattr(shared, "disk_limit", 1000)
    model = build(LoRA(last_n_layers=1), "mean", backbone)
    inputs = Inputs.of(backbone, SEQUENCES)
    expected = outputs_of(model, inputs, CONFIG)
    with pytest.warns(empty_cache.CacheWarning, match="fit neither the memory limit.*nor the disk limit"):
        inputs = with_features(model, inputs, backbone, CONFIG)
    np.testing.assert_allclose(outputs_of(model, inputs, CONFIG), expected, atol=1e-6)


def test_embeddings_by_sequence_equal_the_encoder_run_alone(empty_cache, backbone):
    model = build(Frozen(), "mean", backbone)
    tokens = Inputs.of(backbone, SEQUENCES).sequences
    pooled = frozen_embeddings(model, tokens, backbone, CONFIG)
    residues = frozen_embeddings(ResidueModel(model.encoder, nn.Identity()), tokens, backbone, CONFIG)
    distinct = list(dict.fromkeys(SEQUENCES))
    assert len(pooled) == len(residues) == len(distinct)
    for i, sequence in enumerate(distinct):
        with torch.no_grad():
            hidden = model.encoder(tokens.pack([i], torch.device("cpu")))[1:-1]
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
    tokens = Inputs.of(backbone, SEQUENCES).sequences
    with pytest.warns(UserWarning, match="Out of memory: continuing with max_tokens=40") as warned:
        found = frozen_embeddings(model, tokens, backbone, replace(CONFIG, max_tokens=80))
    assert len(warned) == 1
    with empty_cache.disabled():
        expected = frozen_embeddings(build(Frozen(), "mean", backbone), tokens, backbone, CONFIG)
    for a, b in zip(found, expected):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


# -- batches of features --------------------------------------------------------------------------


def entries(values) -> Entries:
    """Values of each distinct sequence, None for those that are not known."""
    known = Entries(len(values))
    for i, value in enumerate(values):
        if value is not None:
            known.put(np.array([i]), value, np.array([len(value)]))
    return known


def batches_of_features(backbone, sequences, stage, make_values, max_tokens) -> tuple[Inputs, list]:
    """Samples over features that ``make_values`` gives for (place, tokens, residues), and their batches."""
    tokens = Inputs.of(backbone, sequences)
    lengths = zip(tokens.sequences.lengths, tokens.sequences.residue_lengths)
    values = entries([make_values(i, *lengths_of_one) for i, lengths_of_one in enumerate(lengths)])
    inputs = replace(tokens, sequences=FeatureSet(tokens.sequences, stage, values))
    return inputs, list(make_batches(inputs, np.arange(len(inputs)), max_tokens, torch.device("cpu")))


def test_trunks_go_to_their_sequences(backbone):
    inputs, batches = batches_of_features(
        backbone,
        ["MKVA", "A", "GG", "MKVA"],
        "trunk",
        lambda i, n_tokens, n_residues: torch.full((n_tokens, 2), float(i)),
        max_tokens=8,
    )
    assert len(batches) > 1
    for batch in batches:
        assert isinstance(batch.inputs, Activations)
        assert sum(batch.inputs.tokens.lengths) <= 8
        pieces = batch.inputs.values.split(batch.inputs.tokens.lengths)
        assert [pieces[i][0, 0] for i in batch.index] == [inputs.index[row] for row in batch.samples]


def test_residue_embeddings_go_to_their_sequences(backbone):
    inputs, batches = batches_of_features(
        backbone,
        ["MKVA", "A", "GG", "MKVA"],
        "residues",
        lambda i, n_tokens, n_residues: torch.full((n_residues, 2), float(i)),
        max_tokens=8,
    )
    assert len(batches) > 1
    for batch in batches:
        of_samples = batch.inputs.take(batch.index.tolist())
        assert of_samples.lengths == inputs.n_residues[batch.samples].tolist()
        assert [row[0, 0] for row in of_samples.rows] == inputs.index[batch.samples].tolist()


def test_pooled_embeddings_go_to_their_sequences_and_cost_one_token(backbone):
    inputs, batches = batches_of_features(
        backbone,
        ["MKVA" * 9, "A", "GG"],
        "pooled",
        lambda i, n_tokens, n_residues: torch.full((1, 2), float(i)),
        max_tokens=3,
    )
    (batch,) = batches
    pooled = batch.inputs.values[batch.index]
    assert pooled[:, 0].tolist() == inputs.index[batch.samples].tolist()
    assert inputs.n_tokens(np.arange(3)) == 3


def test_the_budget_is_kept_where_only_some_embeddings_are_known(backbone):
    """A batch with one unknown embedding is encoded whole, so all its tokens count."""
    _, batches = batches_of_features(
        backbone,
        ["A" * n for n in range(1, 30)],
        "pooled",
        lambda i, n_tokens, n_residues: None if i % 7 == 0 else torch.zeros(1, 2),
        max_tokens=40,
    )
    encoded = [batch.inputs for batch in batches if not isinstance(batch.inputs, Ragged)]
    assert len(encoded) >= 3
    assert all(sum(tokens.lengths) <= 40 for tokens in encoded)


@pytest.mark.parametrize("stage", ["trunk", "residues", "pooled"])
def test_outputs_are_the_same_where_some_features_are_missing(empty_cache, backbone, stage):
    adapter, pooling = {
        "trunk": (LoRA(last_n_layers=1), "mean"),
        "residues": (Frozen(), None),
        "pooled": (Frozen(), "mean"),
    }[stage]
    model = build(adapter, pooling or "mean", backbone)
    if pooling is None:
        model = ResidueModel(model.encoder, make_residue_head("linear", 32, 2, None, 0.0)).eval()
    whole = with_features(model, Inputs.of(backbone, SEQUENCES), backbone, CONFIG)
    assert stage_of(whole) == stage
    some = entries([value if i % 2 else None for i, value in enumerate(whole.sequences.values)])
    holed = replace(whole, sequences=replace(whole.sequences, values=some))
    each = [holed.sequences.pack([i], torch.device("cpu")) for i in range(len(some))]
    assert [isinstance(inputs, PackedTokens) for inputs in each] == [i % 2 == 0 for i in range(len(some))]
    for max_tokens in (1, 30, 1000):
        config = replace(CONFIG, max_tokens=max_tokens)
        expected, found = (outputs_of(model, inputs, config) for inputs in (whole, holed))
        if stage == "residues":
            assert found.lengths == expected.lengths == [len(sequence) for sequence in SEQUENCES]
            expected, found = expected.values, found.values
        np.testing.assert_allclose(found, expected, atol=1e-6)
