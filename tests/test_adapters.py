"""What adapters train, what they share, and how many parameters they have."""

import math
import re

import numpy as np
import pytest
import torch
import transformers
from sklearn.base import clone

from plmlearn.adapters import Frozen, FullFineTuning, LoRA, target_pattern
from plmlearn.backbones import FAMILIES, Backbone, load_backbone
from plmlearn.nn.encoders import make_encoder
from plmlearn.nn.heads import EsmHead
from plmlearn.nn.models import ProteinModel
from plmlearn.nn.packing import PackedTokens
from plmlearn.nn.pooling import MeanPooling
from plmlearn.sequences import check_sequences

TARGETS = ["query", "key", "value", "output", "ffn_in", "ffn_out"]

ADAPTERS = [
    Frozen(),
    FullFineTuning(),
    FullFineTuning(last_n_layers=1),
    LoRA(),
    LoRA(rank=2, target_modules="all"),
    LoRA(target_modules=("query", "ffn_out"), last_n_layers=2),
]


@pytest.fixture
def backbone(esm_folder) -> Backbone:
    return load_backbone(str(esm_folder))


def tokens_of(backbone: Backbone, sequences: list[str]) -> PackedTokens:
    ids, lengths = backbone.tokenize(check_sequences(sequences))
    return PackedTokens(torch.from_numpy(ids.astype(np.int64)), lengths.tolist(), 1, 1)


def snapshot(backbone: Backbone) -> dict:
    return {name: tensor.clone() for name, tensor in backbone.model.named_parameters()}


def trained_tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def build(adapter, backbone: Backbone) -> ProteinModel:
    torch.manual_seed(0)
    encoder = make_encoder(
        adapter.install(backbone),
        compute_dtype=backbone.dtype,
        trunk_depth=adapter.first_trained_layer(backbone.n_layers),
    )
    return ProteinModel(encoder, MeanPooling(encoder.width), EsmHead(encoder.width, 1, 8, 0.0))


def train(model: ProteinModel, tokens: PackedTokens, steps: int = 3) -> None:
    """A few optimiser steps with decay, which would move anything that requires gradients."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    row = torch.arange(len(tokens.lengths))
    for _ in range(steps):
        optimizer.zero_grad()
        (model(tokens, row).sum() - 5).square().backward()
        optimizer.step()


@pytest.mark.parametrize("adapter", ADAPTERS, ids=str)
def test_output_at_the_start_is_that_of_the_backbone(adapter, backbone):
    tokens = tokens_of(backbone, ["MKTAYIAKQR", "GGG", "ACDEFGHIKLMNPQRSTVWY"])
    with torch.no_grad():
        found = make_encoder(adapter.install(backbone))(tokens)
        expected = make_encoder(backbone.model)(tokens)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("adapter", ADAPTERS, ids=str)
def test_training_moves_the_trained_tensors_and_nothing_else(adapter, backbone):
    before = snapshot(backbone)
    model = build(adapter, backbone)
    trained = {name: tensor.detach().clone() for name, tensor in trained_tensors(model).items()}
    train(model, tokens_of(backbone, ["MKTAYIAKQR", "GGG", "ACDEFGHIKLMNPQRSTVWYXBUZO"]))
    for name, tensor in trained_tensors(model).items():
        moved = not torch.equal(tensor, trained[name])
        assert moved, f"{name} is trained, but did not move"
    frozen = {n: p for n, p in model.named_parameters() if not p.requires_grad}
    storage = {p.data_ptr() for p in backbone.model.parameters()}
    assert all(p.data_ptr() in storage for p in frozen.values())
    assert all(p.data_ptr() not in storage for p in trained_tensors(model).values())
    for name, tensor in backbone.model.named_parameters():
        assert torch.equal(tensor, before[name]), f"{name} of the backbone changed"
        assert not tensor.requires_grad
        assert tensor.grad is None


@pytest.mark.parametrize("adapter", ADAPTERS, ids=str)
def test_installing_leaves_the_backbone_as_it_was(adapter, backbone):
    modules = {name: type(module) for name, module in backbone.model.named_modules()}
    names = [name for name, _ in backbone.model.named_parameters()]
    tensors = [id(p) for p in backbone.model.parameters()]
    adapter.install(backbone)
    assert modules == {name: type(module) for name, module in backbone.model.named_modules()}
    assert names == [name for name, _ in backbone.model.named_parameters()]
    assert tensors == [id(p) for p in backbone.model.parameters()]
    assert not any(p.requires_grad for p in backbone.model.parameters())


def test_two_models_on_one_backbone_do_not_see_each_other(backbone):
    tokens = tokens_of(backbone, ["MKTAYIAKQR", "GGG"])
    first, second = build(LoRA(), backbone), build(LoRA(), backbone)
    with torch.no_grad():
        expected = second(tokens, torch.arange(2))
    train(first, tokens)
    with torch.no_grad():
        assert torch.equal(second(tokens, torch.arange(2)), expected)


@pytest.mark.parametrize("adapter", ADAPTERS, ids=str)
def test_nothing_trained_lies_below_the_first_trained_layer(adapter, backbone):
    model = adapter.install(backbone)
    first = adapter.first_trained_layer(backbone.n_layers)
    layers = [
        int(name.split(".")[2]) if name.startswith("encoder.layer.") else -1
        for name in trained_tensors(model)
    ]
    if adapter.__class__ is FullFineTuning and adapter.last_n_layers is None:
        assert first == 0  # with the token embeddings and the final norm
    elif layers:
        assert min(layers) == first
    else:
        assert first == backbone.n_layers


@pytest.mark.parametrize(
    "names, expected",
    [
        (("key", "value"), {"key", "value"}),
        ("query", {"query"}),
        ("attention", {"query", "key", "value", "output"}),
        (("attention", "ffn_in"), {"query", "key", "value", "output", "ffn_in"}),
        ("all", set(TARGETS)),
        (["key", "key", "attention"], {"query", "key", "value", "output"}),
    ],
)
@pytest.mark.parametrize("last_n_layers", [None, 1])
def test_lora_adapts_exactly_the_named_matrices(backbone, names, expected, last_n_layers):
    model = LoRA(target_modules=names, last_n_layers=last_n_layers).install(backbone)
    paths = FAMILIES["esm"].targets
    adapted = {name.partition(".lora_")[0] for name in trained_tensors(model)}
    layers = range(3) if last_n_layers is None else range(2, 3)
    assert adapted == {
        f"encoder.layer.{i}.{path}" for i in layers for name in expected for path in paths[name]
    }


def test_lora_never_touches_the_head(backbone):
    model = build(LoRA(target_modules="all"), backbone)
    assert [type(module).__name__ for module in model.head] == [
        "Dropout", "Linear", "Tanh", "Dropout", "Linear"
    ]  # fmt: skip
    assert all(p.requires_grad for p in model.head.parameters())
    assert not any("lora" in name for name, _ in model.head.named_parameters())
    assert not any(
        p.requires_grad for n, p in model.encoder.backbone.named_parameters() if "contact_head" in n
    )


def test_lora_is_scaled_by_alpha_over_rank(backbone):
    """The adapted product is W x + alpha / rank * B A x."""
    model = LoRA(rank=4, alpha=6, target_modules="key").install(backbone)
    key = model.encoder.layer[1].attention.self.key
    a, b = key.lora_A["default"].weight, key.lora_B["default"].weight
    with torch.no_grad():
        b.normal_()
        x = torch.randn(3, 32)
        expected = x @ key.base_layer.weight.T + key.base_layer.bias + 6 / 4 * (x @ a.T @ b.T)
        torch.testing.assert_close(key(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("adapter", ADAPTERS, ids=str)
def test_trained_tensors_are_float32(esm_folder, adapter, precision):
    model = adapter.install(load_backbone(str(esm_folder), precision=precision))
    assert {p.dtype for p in trained_tensors(model).values()} <= {torch.float32}


def test_trained_tensors_of_a_bfloat16_backbone_move_alone(esm_folder):
    backbone = load_backbone(str(esm_folder), precision="bf16")
    before = snapshot(backbone)
    model = build(LoRA(target_modules="all"), backbone)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        train(model, tokens_of(backbone, ["MKTAYIAKQR", "GGG"]))
    lora = [p for n, p in model.named_parameters() if "lora_B" in n]
    assert len(lora) == 18
    assert all(p.abs().max() > 0 for p in lora)
    assert all(torch.equal(p, before[n]) for n, p in backbone.model.named_parameters())


@pytest.mark.parametrize(
    "adapter, message",
    [
        (LoRA(rank=0), "rank is an int >= 1, got 0"),
        (LoRA(rank=2.5), "rank is an int >= 1, got 2.5"),
        (LoRA(alpha=0), "alpha is > 0, got 0"),
        (LoRA(dropout=1.0), r"dropout lies in \[0, 1\), got 1.0"),
        (LoRA(target_modules=()), "got none"),
        (LoRA(target_modules=("key", "keys")), "got 'keys'.*query, key, value, output, ffn_in, ffn_out"),
        (LoRA(target_modules="dense"), "got 'dense'.*attention, all"),
        (LoRA(last_n_layers=4), "last_n_layers=4.*has 3 layers.*at most 3"),
        (LoRA(last_n_layers=0), "int >= 1, got 0"),
        (FullFineTuning(last_n_layers=4), "last_n_layers=4.*has 3 layers"),
        (FullFineTuning(last_n_layers=-1), "int >= 1, got -1"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_refused(backbone, adapter, message):
    with pytest.raises(ValueError, match=message):
        adapter.install(backbone)


def test_numpy_integers_are_integers(backbone):
    """A grid such as np.arange(1, 4) must work."""
    model = LoRA(rank=np.int64(2), last_n_layers=np.int32(1)).install(backbone)
    assert next(p for n, p in model.named_parameters() if "lora_A" in n).shape == (2, 32)
    FullFineTuning(last_n_layers=np.int64(2)).install(backbone)


def test_parameters_can_be_searched():
    adapter = LoRA()
    assert clone(adapter).set_params(rank=3).get_params() == adapter.get_params() | {"rank": 3}
    assert adapter.rank == 8


def test_target_pattern_matches_whole_names_only(backbone):
    pattern = target_pattern(backbone, ("output",), range(3))
    assert re.fullmatch(pattern, "encoder.layer.1.attention.output.dense")
    assert not re.fullmatch(pattern, "encoder.layer.1.output.dense")
    assert not re.fullmatch(pattern, "encoder.layer.11.attention.output.dense")


# -- counts published by Sledzieski et al., PNAS 2024, for ESM2-650M ----------------------------


@pytest.fixture(scope="module")
def esm2_650m() -> Backbone:
    """The shapes of ESM2-650M, without memory for its weights."""
    config = transformers.EsmConfig(
        vocab_size=33,
        mask_token_id=32,
        pad_token_id=1,
        hidden_size=1280,
        num_hidden_layers=33,
        num_attention_heads=20,
        intermediate_size=5120,
        max_position_embeddings=1026,
        position_embedding_type="rotary",
        token_dropout=True,
    )
    with torch.device("meta"):
        model = transformers.EsmModel(config, add_pooling_layer=False).requires_grad_(False)
    return Backbone("esm2-650m", None, model, FAMILIES["esm"], {}, "fp32")


@pytest.mark.parametrize(
    "adapter, n_outputs, expected",
    [
        (LoRA(rank=8, last_n_layers=5), 1, 368_897),
        (LoRA(rank=8, last_n_layers=12), 18, 657_810),
        (FullFineTuning(last_n_layers=4), 1, 78_873_857),
        (FullFineTuning(last_n_layers=8), 18, 157_585_810),
    ],
    ids=str,
)
def test_published_numbers_of_trained_parameters(esm2_650m, adapter, n_outputs, expected):
    encoder = trained_tensors(adapter.install(esm2_650m))
    head = EsmHead(1280, n_outputs, 128, 0.0)
    found = sum(math.prod(t.shape) for t in [*encoder.values(), *head.parameters()])
    assert found == expected
