"""Numbers of trained parameters on true shapes, against those that were published."""

import math

import pytest
import torch
import transformers
from every_method import trained_tensors

from plmlearn.adapters import IA3, Bottleneck, DoRA, FullFineTuning, LoRA, PrefixTuning, PromptTuning
from plmlearn.backbones import ARCHITECTURES, Backbone
from plmlearn.nn.models import EsmHead


def on_meta(model_class, config, family: str, **options) -> Backbone:
    """True shapes, without memory for weights."""
    with torch.device("meta"):
        model = model_class(config, **options).requires_grad_(False)
    return Backbone("shapes", None, model, ARCHITECTURES[family], {}, "fp32")


@pytest.fixture(scope="module")
def esm2_650m() -> Backbone:
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
    return on_meta(transformers.EsmModel, config, "esm", add_pooling_layer=False)


@pytest.fixture(scope="module")
def prott5() -> Backbone:
    """The encoder of ProtT5-XL: 24 layers, width 1024, 32 heads of width 128."""
    config = transformers.T5Config(
        vocab_size=128, d_model=1024, d_kv=128, d_ff=16384, num_heads=32, num_layers=24
    )
    return on_meta(transformers.T5EncoderModel, config, "t5")


def n_trained(adapter, backbone: Backbone) -> int:
    with torch.device("meta"):
        model = adapter.install(backbone)
    return sum(math.prod(tensor.shape) for tensor in trained_tensors(model).values())


# Sledzieski et al., PNAS 2024, with the head 1280 -> 128 -> n.
@pytest.mark.parametrize(
    "adapter, n_outputs, expected",
    [
        (LoRA(rank=8, target_modules=("key", "value"), last_n_layers=5), 1, 368_897),
        (LoRA(rank=8, target_modules=("key", "value"), last_n_layers=12), 18, 657_810),
        (FullFineTuning(last_n_layers=4), 1, 78_873_857),
        (FullFineTuning(last_n_layers=8), 18, 157_585_810),
    ],
    ids=str,
)
def test_published_numbers_on_esm2_650m(esm2_650m, adapter, n_outputs, expected):
    head = sum(p.numel() for p in EsmHead(1280, n_outputs, 128, 0.0).parameters())
    assert n_trained(adapter, esm2_650m) + head == expected


# Schmirler et al., Nature Communications 2024: percent of ProtT5's encoder, with the head 1024 -> 1024 -> 10.
@pytest.mark.parametrize(
    "adapter, percent",
    [
        (LoRA(rank=4, target_modules="attention"), 0.25),
        (DoRA(rank=4, target_modules="attention"), 0.28),
        (IA3(target_modules="attention"), 0.12),
        (PrefixTuning(n_tokens=25), 0.49),  # published as 0.5, for a number of tokens not given
    ],
    ids=str,
)
def test_published_shares_on_prott5(prott5, adapter, percent):
    head = sum(p.numel() for p in EsmHead(1024, 10, 1024, 0.0).parameters())
    share = 100 * (n_trained(adapter, prott5) + head) / (prott5.n_parameters + head)
    assert round(share, 2) == percent


@pytest.mark.parametrize(
    "adapter, expected",
    [
        (Bottleneck(reduction=2), 33 * 2 * (2 * 1280 + 2 * 1280 * 640 + 640 + 1280)),
        (Bottleneck(size=64, after="attention", layer_norm=False), 33 * (2 * 1280 * 64 + 64 + 1280)),
        (PrefixTuning(n_tokens=10, last_n_layers=3), 3 * 10 * 2 * 1280),
        (PrefixTuning(n_tokens=10, hidden=8, last_n_layers=1), 80 + (8 * 8 + 8) + (8 * 2560 + 2560)),
        (IA3(), 33 * (1280 + 1280 + 5120)),
    ],
    ids=str,
)
def test_written_out_counts(esm2_650m, adapter, expected):
    assert n_trained(adapter, esm2_650m) == expected


def test_prompts_count_once_per_layer_that_takes_them(esm2):
    layers = {"first": 1, "last": 1, "top": 2, "all": 3}
    for name, n_layers in layers.items():
        assert n_trained_of(PromptTuning(n_tokens=5, layers=name), esm2) == n_layers * 5 * 32


def n_trained_of(adapter, backbone: Backbone) -> int:
    return sum(tensor.numel() for tensor in trained_tensors(adapter.install(backbone)).values())
