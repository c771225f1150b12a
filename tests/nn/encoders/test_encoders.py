"""Packed encoders against the forward and backward passes of transformers' own models."""

import copy
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from plmlearn.backbones.architectures import ARCHITECTURES
from plmlearn.nn.encoders import make_encoder
from plmlearn.nn.packing import Activations, PackedTokens

MASK = 32
LENGTHS = [3, 9, 9, 40, 2, 9, 17]

VARIANTS = {
    "esm2": {},
    "esm2 without token dropout": {"token_dropout": False},
    "esm1b": {"position_embedding_type": "absolute", "emb_layer_norm_before": True},
    "esm1v": {
        "position_embedding_type": "absolute",
        "emb_layer_norm_before": True,
        "token_dropout": False,
    },
}
OTHERS = ["bert", "saprot", "esmc", "prott5", "ankh", "ankh3"]


@pytest.fixture(scope="module", params=[*VARIANTS, *OTHERS])
def model(request, make_esm, miniature, tmp_path_factory) -> nn.Module:
    if request.param in OTHERS:
        return load(miniature(request.param))
    return load(make_esm(tmp_path_factory.mktemp("esm"), **VARIANTS[request.param]))


@pytest.fixture(scope="module")
def esm2(esm_folder) -> nn.Module:
    return load(esm_folder)


def load(folder: Path, **options) -> nn.Module:
    family = ARCHITECTURES[json.loads((folder / "config.json").read_text())["model_type"]]
    model_class = getattr(transformers, family.model_class)
    return model_class.from_pretrained(folder, **family.load_options, **options).eval()


def draw_tokens(lengths=LENGTHS, *, share_masked: float = 0.0, seed: int = 0) -> PackedTokens:
    """Random residues between <cls> and <eos>, some of them replaced by <mask>."""
    rng = np.random.default_rng(seed)
    sequences = []
    for length in lengths:
        ids = rng.integers(4, 29, length)
        ids[rng.random(length) < share_masked] = MASK
        ids[0], ids[-1] = 0, 2
        sequences.append(ids)
    return PackedTokens(torch.from_numpy(np.concatenate(sequences)), list(lengths), 1, 1)


def by_transformers(model: nn.Module, tokens: PackedTokens) -> Tensor:
    """transformers' forward, each sequence by itself, (T, D)."""
    pieces = [ids[None] for ids in tokens.ids.split(tokens.lengths)]
    outputs = [
        model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0] for ids in pieces
    ]
    return torch.cat(outputs)


def gradients(model: nn.Module, forward, tokens: PackedTokens) -> dict[str, Tensor]:
    """Gradient of every parameter that takes part in a fixed random function of the output."""
    model = copy.deepcopy(model).requires_grad_(True)
    out = forward(model, tokens)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    (out * weight).square().mean().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def packed(model: nn.Module, tokens: PackedTokens) -> Tensor:
    return make_encoder(model)(tokens)


@pytest.mark.parametrize("share_masked", [0.0, 0.3])
@torch.no_grad()
def test_packed_batch_equals_transformers(model, share_masked):
    tokens = draw_tokens(share_masked=share_masked)
    found, expected = packed(model, tokens), by_transformers(model, tokens)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_one_by_one_equals_transformers(model):
    for seed, length in enumerate([2, 3, 25, 120]):
        tokens = draw_tokens([length], share_masked=0.2, seed=seed)
        torch.testing.assert_close(
            packed(model, tokens), by_transformers(model, tokens), atol=1e-5, rtol=1e-5
        )


@torch.no_grad()
def test_neighbours_do_not_matter(esm2):
    tokens = draw_tokens()
    whole = packed(esm2, tokens).split(tokens.lengths)
    for i in (0, 3, 6):
        alone = PackedTokens(tokens.ids.split(tokens.lengths)[i], [tokens.lengths[i]], 1, 1)
        torch.testing.assert_close(packed(esm2, alone), whole[i], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_masked_neighbour_does_not_rescale_others(esm2):
    """Token dropout counts the <mask> tokens of each sequence by itself."""
    clean, masked = draw_tokens([12]), draw_tokens([12], share_masked=0.5, seed=1)
    assert (masked.ids == MASK).any()
    together = PackedTokens(torch.cat([clean.ids, masked.ids]), [12, 12], 1, 1)
    torch.testing.assert_close(packed(esm2, together)[:12], packed(esm2, clean), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("share_masked", [0.0, 0.3])
def test_all_gradients_equal_those_of_transformers(model, share_masked):
    tokens = draw_tokens(share_masked=share_masked)
    found = gradients(model, packed, tokens)
    expected = gradients(model, by_transformers, tokens)
    assert found.keys() == expected.keys()
    unused = {name for name, _ in model.named_parameters()} - expected.keys()
    assert all(name.startswith("contact_head.") for name in unused)
    for name, gradient in expected.items():
        # A bias of the keys moves all scores of a row alike: its gradient is zero but for rounding.
        atol = 1e-5 * max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(
            found[name], gradient, atol=atol, rtol=1e-4, msg=lambda m, name=name: f"{name}: {m}"
        )


def test_checkpointing_changes_nothing(esm2):
    tokens = draw_tokens()
    plain = gradients(esm2, packed, tokens)
    again = gradients(esm2, lambda m, t: make_encoder(m, checkpointing=True)(t), tokens)
    assert plain.keys() == again.keys()
    for name in plain:
        torch.testing.assert_close(again[name], plain[name], atol=1e-7, rtol=1e-6)


def test_checkpointing_recomputes_layers_in_the_backward_pass(esm2, monkeypatch):
    model = copy.deepcopy(esm2).requires_grad_(True)
    encoder = make_encoder(model, checkpointing=True)
    calls = watch_layers(encoder, monkeypatch)
    out = encoder(draw_tokens())
    assert calls == [0, 1, 2]
    out.sum().backward()
    assert sorted(calls) == [0, 0, 1, 1, 2, 2]


def watch_layers(encoder, monkeypatch) -> list[int]:
    """Indices of the layers that are run from here on."""
    calls, layer, blocks = [], encoder.layer, list(encoder.blocks)
    monkeypatch.setattr(
        encoder, "layer", lambda block, *rest: calls.append(blocks.index(block)) or layer(block, *rest)
    )
    return calls


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute:UserWarning")
def test_compiled_layers_give_the_same_from_one_program(model, graphs):
    """Layers and batches share the graphs of the first layer's first batch."""
    compiled = partial(make_encoder, compiled=True)
    found = gradients(model, lambda m, t: compiled(m)(t), draw_tokens())
    n_graphs = len(graphs)
    expected = gradients(model, packed, draw_tokens())
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4)
    assert 2 <= n_graphs <= 4
    with torch.no_grad():
        compiled(model)(draw_tokens())
    n_graphs = len(graphs)
    for lengths in ([5, 70, 120], [30]):
        other = draw_tokens(lengths)
        with torch.no_grad():
            torch.testing.assert_close(compiled(model)(other), packed(model, other), atol=1e-5, rtol=1e-5)
    assert len(graphs) == n_graphs


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
@torch.no_grad()
def test_trunk_and_rest_equal_the_whole(model, depth):
    """Splitting at any depth gives the whole forward pass, computed or handed over alike."""
    tokens = draw_tokens(share_masked=0.1)
    encoder = make_encoder(model, trunk_depth=depth)
    expected = packed(model, tokens)
    assert torch.equal(encoder(tokens), expected)
    if depth:
        known = Activations(encoder.trunk(tokens), tokens)
        assert torch.equal(encoder(known), expected)


@torch.no_grad()
def test_a_known_trunk_is_used_and_nothing_below_it_runs(esm2, monkeypatch):
    tokens = draw_tokens()
    encoder = make_encoder(esm2, trunk_depth=2)
    known = Activations(encoder.trunk(tokens).flip(1), tokens)
    calls = watch_layers(encoder, monkeypatch)
    changed = encoder(known)
    assert calls == [2]
    assert not torch.allclose(changed, packed(esm2, tokens), atol=1e-2)


def test_no_gradient_reaches_the_trunk(esm2):
    tokens = draw_tokens()
    split = gradients(esm2, lambda m, t: make_encoder(m, trunk_depth=2)(t), tokens)
    whole = gradients(esm2, packed, tokens)
    above = {name for name in whole if "layer.2." in name or "emb_layer_norm_after" in name}
    assert split.keys() == above
    for name in above:
        torch.testing.assert_close(split[name], whole[name])


@pytest.fixture(scope="module", params=["esm2", *OTHERS])
def both_precisions(request, miniature) -> tuple[nn.Module, nn.Module]:
    """One model in float32 and in bfloat16, its norms in float32."""
    folder = miniature(request.param)
    return load(folder), load_bf16(folder)


@pytest.fixture(scope="module")
def esm2_bf16(esm_folder) -> nn.Module:
    return load_bf16(esm_folder)


def load_bf16(folder: Path) -> nn.Module:
    model = load(folder, dtype=torch.bfloat16)
    for module in model.modules():
        if type(module).__name__.endswith("LayerNorm"):
            module.float()
    return model


@pytest.mark.parametrize("depth", [0, 2])
@torch.no_grad()
def test_bfloat16_is_close_to_float32(both_precisions, depth):
    exact, rounded = both_precisions
    tokens = draw_tokens([30, 60, 60, 100])
    expected = by_transformers(exact, tokens)
    encoder = make_encoder(rounded, compute_dtype=torch.bfloat16, trunk_depth=depth)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = encoder(tokens)
    assert found.dtype == torch.float32
    # In bfloat16 throughout, transformers' own passes are .021 (ESM-C) to .038 (Ankh) off.
    bound = 0.035 if getattr(exact.config, "is_gated_act", False) else 0.03
    assert (found - expected).norm() / expected.norm() < bound
    assert np.corrcoef(found.flatten(), expected.flatten())[0, 1] > 0.999


@torch.no_grad()
def test_a_trunk_read_from_a_store_gives_the_same_bfloat16_numbers(esm2_bf16):
    tokens = draw_tokens()
    encoder = make_encoder(esm2_bf16, compute_dtype=torch.bfloat16, trunk_depth=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        trunk = encoder.trunk(tokens)
        known = Activations(trunk, tokens)
        assert trunk.dtype == torch.bfloat16
        assert torch.equal(encoder(known), encoder(tokens))


def test_bfloat16_gradients_point_the_same_way(both_precisions):
    def forward(model, tokens):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return make_encoder(model, compute_dtype=torch.bfloat16)(tokens)

    tokens = draw_tokens([30, 60, 60])
    exact, rounded = both_precisions
    found = gradients(rounded, forward, tokens)
    for name, gradient in gradients(exact, packed, tokens).items():
        if name.endswith("key.bias"):  # zero but for rounding
            continue
        cosine = torch.cosine_similarity(found[name].float().flatten(), gradient.flatten(), dim=0)
        assert cosine > 0.99, f"{name}: {cosine:.4f}"
