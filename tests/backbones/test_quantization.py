"""Matrices in 8 and 4 bits: rounding against written-out formulas, sharing, training on top, errors."""

import importlib.util
import pickle
import sys

import numpy as np
import pytest
import torch
from torch import nn

from plmlearn import PLMClassifier, PLMEmbedder, PLMLoRAClassifier, PLMLoRARegressor, load, save
from plmlearn.adapters import Frozen, FullFineTuning, LoRA
from plmlearn.backbones import load_backbone
from plmlearn.backbones.quantization import QUANTIZATIONS, Int8Linear, Nf4Linear, QuantizedLinear, quantize
from plmlearn.datasets import make_protein_classification

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)
KINDS = ["int8", pytest.param("nf4", marks=needs_bitsandbytes)]
CPU = torch.device("cpu")

# Dettmers et al. 2023, appendix E.
NF4 = "-1 -.6961928 -.5250731 -.3949175 -.2844414 -.1847734 -.09105 0 "
NF4 += ".0795803 .1609302 .2461123 .3379152 .4407098 .562617 .7229568 1"


@pytest.fixture
def linear():
    torch.manual_seed(0)
    layer = nn.Linear(96, 40)
    layer.weight.data[3] *= 50
    layer.weight.data[5] = 0
    return layer.requires_grad_(False)


@pytest.fixture(scope="module")
def data():
    return make_protein_classification(n_samples=24, median_length=30, max_length=50, random_state=0)


def test_int8_is_the_nearest_of_255_levels_per_row(linear):
    weight = linear.weight.numpy().astype(np.float64)
    step = np.abs(weight).max(axis=1, keepdims=True) / 127
    expected = np.round(weight / np.where(step > 0, step, 1)) * step
    layer = Int8Linear(linear)
    np.testing.assert_allclose(layer.unpack(torch.float32).numpy(), expected, rtol=1e-6, atol=1e-9)
    assert np.all(np.abs(expected - weight) <= step / 2 * (1 + 1e-6))


@needs_bitsandbytes
@pytest.mark.parametrize("shape", [(40, 96), (6, 128), (5, 12), (3, 33)])
def test_nf4_is_the_nearest_of_16_quantiles_per_block(shape):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=shape).astype(np.float32)
    levels = np.array(NF4.split(), dtype=np.float64)
    expected = weight.ravel().astype(np.float64)
    for start in range(0, expected.size, 64):
        block = expected[start : start + 64]
        scaled = block / np.abs(block).max()
        block[:] = levels[np.abs(scaled[:, None] - levels).argmin(axis=1)] * np.abs(block).max()
    linear = nn.Linear(*shape[::-1])
    linear.weight.data = torch.from_numpy(weight)
    unpacked = Nf4Linear(linear).unpack(torch.float32)
    np.testing.assert_allclose(unpacked.numpy(), expected.reshape(shape), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_a_product_and_its_gradient_are_those_of_the_unpacked_matrix(linear, kind, dtype):
    layer = QUANTIZATIONS[kind](linear.to(dtype))
    x, again = (torch.randn(7, 96).to(dtype).requires_grad_() for _ in range(2))
    again.data = x.data.clone()
    out, expected = layer(x), nn.functional.linear(again, layer.unpack(dtype), layer.bias)
    assert torch.equal(out, expected)
    out.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(x.grad, again.grad)


@pytest.mark.parametrize("kind", KINDS)
def test_no_matrix_is_kept_for_the_backward_pass(linear, kind):
    layer, kept = QUANTIZATIONS[kind](linear), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        layer(torch.randn(7, 96, requires_grad=True))
    assert kept == []


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_only_linear_maps_are_replaced(kind, bias):
    layers = nn.ModuleList([nn.Sequential(nn.Linear(8, 8, bias=bias), nn.LayerNorm(8))])
    norm, old_bias = layers[0][1], layers[0][0].bias
    torch.manual_seed(0)
    before = torch.get_rng_state()
    quantize(layers, kind)
    assert type(layers[0][0]) is QUANTIZATIONS[kind]
    assert layers[0][1] is norm
    assert layers[0][0].bias is old_bias
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", KINDS)
def test_the_quantized_backbone_is_shared_and_known_by_its_original(kind):
    plain = load_backbone("mini")
    before = plain.model.state_dict()["encoder.layer.0.output.dense.weight"].clone()
    backbone = load_backbone("mini", quantization=kind)
    assert load_backbone("mini", quantization=kind) is backbone is not plain
    assert backbone.fingerprint == plain.fingerprint
    assert backbone.n_parameters == plain.n_parameters
    assert (plain.arithmetic, backbone.arithmetic) == ("fp32", f"fp32-{kind}")
    assert torch.equal(plain.model.state_dict()["encoder.layer.0.output.dense.weight"], before)
    size, full = (sum(t.nbytes for t in b.tensors()) for b in (backbone, plain))
    assert size < full * {"int8": 0.3, "nf4": 0.18}[kind]
    quantized = [name for name, m in backbone.model.named_modules() if isinstance(m, QuantizedLinear)]
    assert len(quantized) == 6 * backbone.n_layers
    assert all(name.startswith("encoder.layer.") for name in quantized)


@pytest.mark.parametrize("kind", KINDS)
def test_models_share_the_packed_tensors(kind):
    backbone = load_backbone("mini", quantization=kind)
    own = {t.data_ptr() for t in backbone.tensors()}
    model = LoRA().install(backbone)
    held = {n: t for n, t in [*model.named_parameters(), *model.named_buffers()] if ".lora_" not in n}
    assert held.keys() != {}
    assert all(t.data_ptr() in own for t in held.values())
    assert [n for n, p in model.named_parameters() if p.requires_grad and ".lora_" not in n] == []


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_lora_learns_on_top_and_survives_a_pickle(kind, precision, data, tmp_path):
    X, y = data
    parameters = {"precision": precision, "epochs": 2, "random_state": 0, "verbose": 0, "device": "cpu"}
    plain = PLMLoRAClassifier("mini", **parameters).fit(X, y)
    frozen = {n: t.clone() for n, t in load_backbone("mini", precision=precision, quantization=kind)
              .model.state_dict().items()}  # fmt: skip
    fitted = PLMLoRAClassifier("mini", quantization=kind, **parameters).fit(X, y)
    assert fitted.history_[-1]["train_loss"] < fitted.history_[0]["train_loss"]
    assert fitted.n_parameters_ == plain.n_parameters_
    assert fitted.n_trainable_parameters_ == plain.n_trainable_parameters_
    assert fitted.backbone_fingerprint_ == plain.backbone_fingerprint_
    expected = fitted.predict_proba(X)
    assert not np.array_equal(expected, plain.predict_proba(X))
    np.testing.assert_allclose(expected, plain.predict_proba(X), atol=0.1)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(X), expected)
    np.testing.assert_array_equal(load(save(fitted, tmp_path)).predict_proba(X), expected)
    after = load_backbone("mini", precision=precision, quantization=kind).model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in frozen.items())


@pytest.mark.parametrize("kind", KINDS)
def test_checkpointing_and_reused_layers_change_nothing(kind, data):
    X, y = data
    outputs = []
    for changes in ({}, {"gradient_checkpointing": True}, {"last_n_layers": load_backbone("mini").n_layers}):
        regressor = PLMLoRARegressor(
            "mini", quantization=kind, precision="fp32", epochs=1, random_state=0, verbose=0, device="cpu"
        )
        outputs.append(regressor.set_params(**changes).fit(X, y).predict(X))
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(outputs[2], outputs[0], rtol=1e-4, atol=1e-5)


def test_embeddings_of_other_arithmetic_are_kept_apart(empty_cache, data):
    X, y = data
    parameters = {"adapter": Frozen(), "precision": "fp32", "device": "cpu", "epochs": 1, "verbose": 0}
    plain, quantized = (
        PLMClassifier("mini", quantization=kind, random_state=0, **parameters).fit(X, y).transform(X)
        for kind in (None, "int8")
    )
    assert not np.array_equal(plain, quantized)
    np.testing.assert_allclose(plain, quantized, atol=0.05 * np.abs(plain).max())


def test_full_fine_tuning_of_rounded_weights_is_refused(data):
    classifier = PLMClassifier("mini", adapter=FullFineTuning(), quantization="int8")
    with pytest.raises(ValueError, match=r"quantization='int8'.*quantization=None.*LoRA"):
        classifier.fit(*data)


def test_an_unknown_quantization_is_refused(data):
    with pytest.raises(ValueError, match="quantization"):
        PLMLoRAClassifier("mini", quantization="int4").fit(*data)


def test_nf4_without_bitsandbytes_says_what_to_install(monkeypatch, esm_folder):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes.functional", None)
    with pytest.raises(ImportError, match=r'pip install "plmlearn\[quantization\]"'):
        load_backbone(str(esm_folder), quantization="nf4")
    assert load_backbone(str(esm_folder), quantization="int8").quantization == "int8"


@pytest.mark.parametrize("kind", ["esm2", "esmc", "prott5", "ankh"])
def test_every_architecture_in_8_bits(empty_cache, miniature, draw_proteins, kind):
    """Embeddings move by the rounding, not beyond; kept ones are told apart from whole ones."""
    X, folder = draw_proteins(6), str(miniature(kind))
    whole = PLMEmbedder(folder, precision="fp32").fit_transform(X)
    rounded = PLMEmbedder(folder, precision="fp32", quantization="int8").fit_transform(X)
    assert 0 < np.linalg.norm(rounded - whole) / np.linalg.norm(whole) < 0.05
    tuned = PLMLoRAClassifier(folder, quantization="int8", epochs=1, verbose=0, random_state=0)
    assert tuned.fit(X, [0, 1] * 3).predict_proba(X).shape == (6, 2)
