"""LoRA, DoRA, VeRA and IA3 against their written-out formulas."""

import math

import numpy as np
import pytest
import torch
from every_method import build, tokens_of, trained_tensors

from plmlearn import PLMClassifier, load, save
from plmlearn.adapters import IA3, DoRA, LoRA, VeRA
from plmlearn.backbones import load_backbone

TARGETS = ["query", "key", "value", "output", "ffn_in", "ffn_out"]


@pytest.fixture
def x():
    return torch.randn(3, 32, generator=torch.Generator().manual_seed(0))


def key_of(adapter, backbone, layer: int = 1):
    """The adapted key matrix of a layer of ESM-2, its trained tensors drawn at random."""
    torch.manual_seed(0)
    model = adapter.install(backbone).eval()
    with torch.no_grad():
        for tensor in trained_tensors(model).values():
            tensor.normal_()
    return model.encoder.layer[layer].attention.self.key


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
    adapted = {name.partition(".lora_")[0] for name in trained_tensors(model)}
    layers = range(3) if last_n_layers is None else range(2, 3)
    root = backbone.architecture.layers
    assert adapted == {f"{root}.{i}.{p}" for i in layers for n in expected for p in backbone.targets[n]}


def test_lora_never_touches_the_head(esm2):
    model = build(LoRA(target_modules="all", bias="all"), esm2)
    assert [type(module).__name__ for module in model.head] == [
        "Dropout", "Linear", "Tanh", "Dropout", "Linear"
    ]  # fmt: skip
    assert all(p.requires_grad for p in model.head.parameters())
    assert not any("lora" in name for name, _ in model.head.named_parameters())
    assert not [n for n in trained_tensors(model.encoder.backbone) if "contact_head" in n]


@pytest.mark.parametrize("use_rslora", [False, True])
def test_lora_is_a_scaled_product_of_thin_matrices(esm2, x, use_rslora):
    key = key_of(LoRA(rank=4, alpha=6, use_rslora=use_rslora), esm2)
    a, b = key.lora_A["default"].weight, key.lora_B["default"].weight
    scale = 6 / math.sqrt(4) if use_rslora else 6 / 4
    expected = x @ key.base_layer.weight.T + key.base_layer.bias + scale * (x @ a.T @ b.T)
    torch.testing.assert_close(key(x), expected, atol=1e-5, rtol=1e-5)


def test_dropout_of_lora_acts_on_what_comes_in(esm2, x):
    """All outputs see the same thinned input: at rank 1 they keep the proportions of B, and none is zero."""
    key = key_of(LoRA(rank=1, alpha=1, dropout=0.5), esm2).train()
    a, b = key.lora_A["default"].weight[0], key.lora_B["default"].weight[:, 0]
    torch.manual_seed(0)
    added = key(x) - key.base_layer(x)
    inner = added @ b / (b @ b)
    torch.testing.assert_close(added, torch.outer(inner, b), atol=1e-4, rtol=1e-4)
    assert ((inner - x @ a).abs() > 1e-3).all()


def test_dora_learns_lengths_and_directions(esm2, x):
    key = key_of(DoRA(rank=4, alpha=6), esm2)
    weight = key.base_layer.weight + 6 / 4 * key.lora_B["default"].weight @ key.lora_A["default"].weight
    lengths = key.lora_magnitude_vector["default"].weight
    expected = x @ (lengths[:, None] * weight / weight.norm(dim=1, keepdim=True)).T + key.base_layer.bias
    torch.testing.assert_close(key(x), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("quantization", [None, "int8"])
def test_dora_measures_the_weights_that_are_multiplied(miniature, quantization):
    """Of quantized weights the unpacked ones, not the integers."""
    backbone = load_backbone(str(miniature("esm2")), quantization=quantization)
    key = DoRA().install(backbone).encoder.layer[0].attention.self.key
    lengths = key.lora_magnitude_vector["default"].weight
    torch.testing.assert_close(lengths, key.base_layer.weight.norm(dim=1))


def test_vera_scales_shared_random_matrices(esm2, x):
    torch.manual_seed(1)
    key = key_of(VeRA(rank=8, target_modules="all", projection_seed=5), esm2)
    a, b = key.vera_A["default"], key.vera_B["default"]
    assert a.shape == (8, 64)
    assert b.shape == (64, 8)
    d, scale = key.vera_lambda_d["default"], key.vera_lambda_b["default"]
    delta = scale[:, None] * b[:32] @ (d[:, None] * a[:, :32])
    torch.testing.assert_close(key(x), key.base_layer(x) + x @ delta.T, atol=1e-4, rtol=1e-4)


def test_the_matrices_of_vera_come_from_their_seed_alone(esm2):
    def projection(seed):
        return (
            VeRA(rank=8, projection_seed=seed)
            .install(esm2)
            .encoder.layer[0]
            .attention.self.key.vera_A["default"]
        )

    first = projection(3)
    torch.manual_seed(99)
    assert torch.equal(projection(3), first)
    assert not torch.equal(projection(4), first)


def test_ia3_scales_what_comes_out_or_what_goes_in(esm2, x):
    model = IA3().install(esm2)
    layer = model.encoder.layer[0]
    with torch.no_grad():
        for tensor in trained_tensors(model).values():
            tensor.normal_()
    key, out = layer.attention.self.key, layer.output.dense
    scales = key.ia3_l["default"].flatten()
    torch.testing.assert_close(key(x), scales * key.base_layer(x))
    wide = torch.cat([x, -x], dim=1)
    scales = out.ia3_l["default"].flatten()
    torch.testing.assert_close(out(wide), out.base_layer(scales * wide))


@pytest.mark.parametrize("alpha", [np.int64(2), np.float32(2)])
def test_alphas_of_numpy_are_saved(alpha, esm2, tmp_path):
    X = ["MKTAYIAK", "GSHMLEDP"]
    adapter = LoRA(rank=2, alpha_pattern={"key": alpha})
    fitted = PLMClassifier(str(esm2.folder), adapter=adapter, epochs=1, verbose=0).fit(X, [0, 1])
    again = load(save(fitted, tmp_path / "saved"))
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))


# -- biases and patterns ---------------------------------------------------------------------------


def biases_of(adapter, backbone) -> set[str]:
    names = trained_tensors(adapter.install(backbone))
    return {name.replace(".base_layer", "") for name in names if name.endswith(".bias")}


def test_all_biases_are_those_of_the_encoder(esm2):
    every = {n for n, _ in esm2.model.named_parameters() if n.endswith(".bias") and "contact" not in n}
    assert biases_of(LoRA(bias="all"), esm2) == every
    top = {name for name in every if name.startswith("encoder.layer.2.")}
    assert biases_of(LoRA(bias="all", last_n_layers=1), esm2) == top


def test_biases_of_the_adapted_matrices(esm2):
    expected = {f"encoder.layer.{i}.attention.self.{n}.bias" for i in range(3) for n in ("key", "value")}
    assert biases_of(LoRA(bias="lora_only", target_modules=("key", "value")), esm2) == expected
    assert biases_of(LoRA(), esm2) == set()


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_trained_biases_take_part(esm2, bias):
    """A changed bias changes the output; the backbone's own does not change."""
    tokens = tokens_of(esm2)
    model = build(LoRA(bias=bias), esm2).eval()
    with torch.no_grad():
        before = model.encoder(tokens)
        for name, tensor in trained_tensors(model.encoder).items():
            if name.endswith(".bias"):
                tensor.add_(1.0)
        assert (model.encoder(tokens) - before).abs().max() > 0.1
        torch.testing.assert_close(build(LoRA(), esm2).eval().encoder(tokens), before)


def test_patterns_set_ranks_and_alphas(esm2):
    adapter = LoRA(
        target_modules=("key", "output", "ffn_out"),
        rank=8,
        alpha=16,
        rank_pattern={"key": 4, "2.key": 6, "1.ffn_out": 2},
        alpha_pattern={"output": 5},
    )
    model = adapter.install(esm2)
    found = {}
    for i, layer in enumerate(model.encoder.layer):
        parts = {
            "key": layer.attention.self.key,
            "output": layer.attention.output.dense,
            "ffn_out": layer.output.dense,
        }
        for name, part in parts.items():
            found[i, name] = part.r["default"], part.scaling["default"] * part.r["default"]
    expected = {(i, name): (8, 5 if name == "output" else 16) for i in range(3) for name in parts}
    expected |= {(0, "key"): (4, 16), (1, "key"): (4, 16), (2, "key"): (6, 16), (1, "ffn_out"): (2, 16)}
    assert found == expected


@pytest.mark.parametrize(
    "adapter, message",
    [
        (LoRA(rank=0), r"'rank' parameter of LoRA must be an int in the range \[1, inf\). Got 0"),
        (LoRA(rank=2.5), "'rank' parameter of LoRA must be an int .*Got 2.5"),
        (DoRA(alpha=0), r"'alpha' parameter of DoRA must be a float in the range \(0.0, inf\). Got 0"),
        (
            LoRA(dropout=1.0),
            r"'dropout' parameter of LoRA must be a float in the range \[0.0, 1.0\). Got 1.0",
        ),
        (LoRA(target_modules=()), "got none"),
        (LoRA(bias="some"), "'bias' parameter of LoRA must be a str among .*'lora_only'.*Got 'some'"),
        (
            LoRA(rank_pattern={"query": 3}, target_modules=("key", "value")),
            "rank_pattern: 'query' is not an adapted.*one of key, value",
        ),
        (
            LoRA(rank_pattern={"key": 0}),
            r"rank_pattern\['key'\].* must be an int in the range \[1, inf\). Got 0",
        ),
        (LoRA(rank_pattern={"3.key": 2}), "'3.key' is not an adapted matrix"),
        (LoRA(alpha_pattern={"0.key": 2}, last_n_layers=1), "'0.key' is not an adapted matrix.*2.query"),
        (
            LoRA(alpha_pattern={"key": 0}),
            r"alpha_pattern\['key'\].* must be a float in the range \(0.0, inf\). Got 0",
        ),
        (VeRA(rank=0), r"'rank' parameter of VeRA must be an int in the range \[1, inf\)"),
        (VeRA(dropout=-1), r"'dropout' parameter of VeRA must be a float in the range \[0.0, 1.0\)"),
        (
            VeRA(initial_scale=0),
            r"'initial_scale' parameter of VeRA must be a float in the range \(0.0, inf\)",
        ),
        (
            VeRA(projection_seed=-1),
            r"'projection_seed' parameter of VeRA must be an int in the range \[0, inf\)",
        ),
        (IA3(target_modules=()), "got none"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_refused(esm2, adapter, message):
    with pytest.raises(ValueError, match=message):
        adapter.install(esm2)
