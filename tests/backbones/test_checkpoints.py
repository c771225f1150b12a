"""Masked language models: what is written is what was computed, in float32 and in bfloat16."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from folders import change_weights
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load_file
from torch import nn

from plmlearn.backbones import load_backbone
from plmlearn.backbones.checkpoints import draw_backbone, merged, read_language_head, write_language_model

pytestmark = pytest.mark.usefixtures("fresh")

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def tokens_of(folder: Path, n_residues: int) -> dict:
    rng = np.random.default_rng(0)
    sequence = "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), n_residues))
    return transformers.AutoTokenizer.from_pretrained(folder)(sequence, return_tensors="pt")


def read(folder: Path):
    return transformers.EsmForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()


@torch.no_grad()
def test_a_written_model_gives_the_logits_of_its_source(esm_folder, tmp_path):
    backbone = load_backbone(esm_folder)
    head = read_language_head(backbone)
    written = write_language_model(tmp_path, backbone.model, head, backbone, torch.float32)
    tokens = tokens_of(esm_folder, 200)
    assert torch.equal(read(written)(**tokens).logits, read(esm_folder)(**tokens).logits)
    assert load_backbone(written).fingerprint == backbone.fingerprint


@torch.no_grad()
def test_a_model_written_in_bfloat16_keeps_its_rotary_frequencies(esm_folder, tmp_path):
    """Position multiplies the error of a rounded frequency: residue 1,000 would be turned by radians."""
    backbone = load_backbone(esm_folder)
    written = write_language_model(
        tmp_path, backbone.model, read_language_head(backbone), backbone, torch.bfloat16
    )
    stored = load_file(written / "model.safetensors")
    kinds = {name: tensor.dtype for name, tensor in stored.items()}
    assert {name for name, kind in kinds.items() if kind != torch.bfloat16} == {
        name for name in kinds if name.endswith("inv_freq")
    }
    expected = read(esm_folder)
    for parameter in expected.parameters():
        parameter.data = parameter.bfloat16().float()
    tokens = tokens_of(esm_folder, 1000)
    assert torch.equal(read(written)(**tokens).logits, expected(**tokens).logits)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_adapter_is_merged_in_float32(esm_folder, precision):
    """Of a change far below the steps of bfloat16 nothing would be left in bfloat16."""
    backbone = load_backbone(esm_folder, precision=precision)
    plain = {name: tensor.clone() for name, tensor in backbone.model.named_parameters()}
    torch.manual_seed(0)
    model = inject_adapter_in_model(LoraConfig(r=2, target_modules=["query"]), backbone.share())
    changes = {}
    for name, module in model.named_modules():
        if hasattr(module, "lora_B"):
            nn.init.normal_(module.lora_B["default"].weight, std=1e-4)
            up, down = module.lora_B["default"].weight, module.lora_A["default"].weight
            changes[f"{name}.weight"] = (up.double() @ down.double() * module.scaling["default"]).detach()
    whole = dict(merged(model, backbone.model).named_parameters())
    assert len(changes) == backbone.n_layers
    assert {tensor.dtype for tensor in whole.values()} == {torch.float32}
    for name, tensor in plain.items():
        expected = tensor.double() + changes.get(name, 0.0)
        torch.testing.assert_close(whole[name].double(), expected, rtol=1e-6, atol=1e-9)
    assert all(torch.equal(tensor, plain[name]) for name, tensor in backbone.model.named_parameters())


def test_the_language_head_is_read_from_any_format(esm_folder, folder):
    expected = read_language_head(load_backbone(esm_folder))
    weights = load_file(folder / "model.safetensors")
    torch.save({f"module.{name}": tensor for name, tensor in weights.items()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.warns(UserWarning, match=r"stored under 'module\.esm\.'"):
        found = read_language_head(load_backbone(folder))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_checkpoint_without_language_head_has_none(folder):
    def drop(weights):
        for name in [name for name in weights if name.startswith("lm_head.")]:
            del weights[name]

    change_weights(folder, drop)
    assert read_language_head(load_backbone(folder)) == {}


def test_a_drawn_backbone_is_decided_by_its_seed():
    shape = {
        "num_hidden_layers": 2,
        "hidden_size": 32,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    first, again, other = (draw_backbone(shape, seed=seed) for seed in (1, 1, 2))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert {parameter.dtype for parameter in first.model.parameters()} == {torch.float32}
    assert first.tokenize(["MKV"])[0].tolist() == [0, 20, 15, 7, 2]
