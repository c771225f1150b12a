"""Every method with settings for tests, and what tests do with it."""

import numpy as np
import peft
import pytest
import torch

from plmlearn.adapters import (
    IA3,
    AdaLoRA,
    Bottleneck,
    DoRA,
    Frozen,
    FullFineTuning,
    LayerNormTuning,
    LoRA,
    PeftAdapter,
    PrefixTuning,
    PromptTuning,
    VeRA,
)
from plmlearn.backbones import Backbone
from plmlearn.nn.encoders import make_encoder
from plmlearn.nn.models import EsmHead, MeanPooling, ProteinModel
from plmlearn.nn.packing import PackedTokens
from plmlearn.sequences import check_sequences

METHODS = {
    "frozen": Frozen(),
    "full": FullFineTuning(),
    "full, last": FullFineTuning(last_n_layers=1, layer_lr_decay=0.5),
    "norms": LayerNormTuning(),
    "norms, last": LayerNormTuning(last_n_layers=2),
    "LoRA": LoRA(),
    "LoRA, all": LoRA(rank=2, target_modules="all", dropout=0.1, use_rslora=True),
    "LoRA, last": LoRA(target_modules=("query", "ffn_out"), last_n_layers=2, bias="all"),
    "LoRA, biases": LoRA(bias="lora_only", rank_pattern={"key": 3, "2.key": 5}),
    "DoRA": DoRA(rank=2, target_modules="attention", last_n_layers=2),
    "VeRA": VeRA(rank=16, target_modules="all"),
    "IA3": IA3(),
    "IA3, last": IA3(target_modules="all", last_n_layers=1),
    "AdaLoRA": AdaLoRA(rank=2, initial_rank=4),
    "AdaLoRA, last": AdaLoRA(rank=1, initial_rank=2, target_modules="all", last_n_layers=2),
    "prefix": PrefixTuning(n_tokens=3),
    "prefix, last": PrefixTuning(n_tokens=4, hidden=8, last_n_layers=2),
    "prompt, first": PromptTuning(n_tokens=3),
    "prompt, last": PromptTuning(n_tokens=3, layers="last"),
    "prompt, top": PromptTuning(n_tokens=2, layers="top"),
    "prompt, all": PromptTuning(n_tokens=2, layers="all"),
    "bottleneck": Bottleneck(reduction=4),
    "bottleneck, last": Bottleneck(
        size=3, after="attention", activation="gelu", layer_norm=False, last_n_layers=1
    ),
    "peft": PeftAdapter(peft.LoHaConfig(r=2), target_modules=("key", "ffn_in"), last_n_layers=2),
}
STARTS_ELSEWHERE = ("prefix", "prompt")

SEQUENCES = ["MKTAYIAKQR", "GGG", "ACDEFGHIKLMNPQRSTVWY", "WWW"]


methods = pytest.mark.parametrize("adapter", METHODS.values(), ids=METHODS.keys())


def tokens_of(backbone: Backbone, sequences: list[str] = SEQUENCES) -> PackedTokens:
    ids, lengths = backbone.tokenize(check_sequences(sequences))
    reading = backbone.token_format
    n_specials = len(reading.prefix), len(reading.suffix)
    return PackedTokens(torch.from_numpy(ids.astype(np.int64)), lengths.tolist(), *n_specials)


def snapshot(backbone: Backbone) -> dict:
    return {name: tensor.clone() for name, tensor in backbone.model.named_parameters()}


def trained_tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def build(adapter, backbone: Backbone, *, seed: int = 0, **options) -> ProteinModel:
    torch.manual_seed(seed)
    encoder = make_encoder(
        adapter.install(backbone),
        compute_dtype=backbone.dtype,
        trunk_depth=adapter.first_trained_layer(backbone.n_layers),
        **options,
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
