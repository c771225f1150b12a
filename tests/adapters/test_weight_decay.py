"""Which trained tensors decay: by kind, whatever the size of a method."""

import re

import peft
import pytest
import torch
from every_method import METHODS, build

from plmlearn.adapters import (
    IA3,
    AdaLoRA,
    Bottleneck,
    DoRA,
    FullFineTuning,
    LayerNormTuning,
    LoRA,
    PeftAdapter,
    PrefixTuning,
    PromptTuning,
    VeRA,
)
from plmlearn.training.config import TrainingConfig
from plmlearn.training.engine import parameter_groups

# Each method at size 1, a pattern of the names that decay, and one of the names that do not.
SMALLEST = {
    "LoRA": (LoRA(rank=1, bias="lora_only"), r"lora_[AB]\.default\.weight$", r"\.bias$"),
    "DoRA": (DoRA(rank=1), r"lora_[AB]\.default\.weight$", r"magnitude_vector\.default\.weight$"),
    "VeRA": (VeRA(rank=1), None, r"vera_lambda_[bd]\.default$"),
    "IA3": (IA3(target_modules="all"), None, r"ia3_l\.default$"),
    "AdaLoRA": (AdaLoRA(rank=1, initial_rank=2), r"lora_[AB]\.default$", r"lora_E\.default$"),
    "prefix": (PrefixTuning(n_tokens=1), r"prefix\.vectors$", None),
    "prefix, perceptron": (
        PrefixTuning(n_tokens=1, hidden=1),
        r"prefix\.(vectors|network\.\d\.weight)$",
        r"network\.\d\.bias$",
    ),
    "prompt": (PromptTuning(n_tokens=1, layers="all"), r"prompt\.vectors$", None),
    "bottleneck": (Bottleneck(size=1), r"correction\.[13]\.weight$", r"correction\.(0\.weight|\d\.bias)$"),
    "norms": (LayerNormTuning(), None, r"norm[a-z_]*\.(weight|bias)$"),
    "full": (FullFineTuning(last_n_layers=1), r"(?<!norm)\.weight$", r"(norm\.weight|\.bias)$"),
    "peft, LoHa": (PeftAdapter(peft.LoHaConfig(r=1), target_modules="all"), r"hada_w[12]_[ab]", None),
    "peft, IA3": (
        PeftAdapter(peft.IA3Config(feedforward_modules=[]), target_modules=("key", "value")),
        None,
        r"ia3_l\.default$",
    ),
}


def decaying(adapter, backbone) -> tuple[set[str], set[str]]:
    """Names of the encoder's trained tensors that decay, and of those that do not."""
    model = build(adapter, backbone)
    config = TrainingConfig(
        max_tokens=100, device=torch.device("cpu"), dtype=torch.float32, adapter=adapter, weight_decay=0.1
    )
    decay = {
        id(p): group["weight_decay"] for group in parameter_groups(model, config) for p in group["params"]
    }
    names = {n: decay[id(p)] for n, p in model.encoder.named_parameters() if p.requires_grad}
    assert set(names.values()) <= {0.0, 0.1}
    return {n for n, value in names.items() if value}, {n for n, value in names.items() if not value}


@pytest.mark.parametrize("name", SMALLEST)
def test_matrices_of_a_single_row_or_column_decay_and_vectors_do_not(name, backbone):
    adapter, of_matrices, of_vectors = SMALLEST[name]
    matrices, vectors = decaying(adapter, backbone)
    for found, pattern in ((matrices, of_matrices), (vectors, of_vectors)):
        assert pattern is not None or not found
        assert all(re.search(pattern, n, re.IGNORECASE) for n in found), found
    has_biases = backbone.config.model_type == "esm"  # in its linear maps
    assert matrices or of_matrices is None
    assert vectors or of_vectors is None or (name == "LoRA" and not has_biases)


@pytest.mark.parametrize("name", METHODS)
def test_of_larger_sizes_all_matrices_without_a_single_row_or_column_decay(name, esm2):
    matrices, vectors = decaying(METHODS[name], esm2)
    shapes = {n: p.shape for n, p in build(METHODS[name], esm2).encoder.named_parameters()}
    assert all(1 not in shapes[n] and len(shapes[n]) == 2 for n in matrices)
    assert all(1 in shapes[n] or len(shapes[n]) < 2 for n in vectors)


def test_a_rank_of_one_decays_as_a_plain_optimiser_would_have_it(esm2):
    """Weights that get no gradient shrink by lr * decay per step; biases stay."""
    adapter = LoRA(rank=1, bias="lora_only")
    model = build(adapter, esm2)
    config = TrainingConfig(
        max_tokens=100,
        device=torch.device("cpu"),
        dtype=torch.float32,
        adapter=adapter,
        weight_decay=0.1,
        lr=0.5,
    )
    trained = {n: p for n, p in model.encoder.named_parameters() if p.requires_grad}
    before = {n: p.detach().clone() for n, p in trained.items()}
    for tensor in model.parameters():
        tensor.grad = torch.zeros_like(tensor) if tensor.requires_grad else None
    torch.optim.AdamW(parameter_groups(model, config)).step()
    for n, tensor in trained.items():
        factor = 1.0 if n.endswith(".bias") else 1 - 0.5 * 0.1
        torch.testing.assert_close(tensor, factor * before[n])
