"""A backbone cut after a layer: equal to transformers' hidden states, and nothing of the rest is left."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from plmlearn import PLMEmbedder
from plmlearn.backbones import load_backbone, loading, unload_backbones
from plmlearn.nn.encoders import make_encoder
from plmlearn.nn.packing import PackedTokens

kinds = pytest.mark.parametrize("kind", ["esm2", "esm1b", "saprot", "esmc", "prott5", "ankh", "bert"])


def tokens_of(backbone) -> PackedTokens:
    ids, lengths = backbone.tokenize(["MKTAYIAKQR", "GGG", "ACDEFGHIKLMNPQRSTVWY"])
    reading = backbone.token_format
    return PackedTokens(
        torch.from_numpy(ids.astype(np.int64)), lengths.tolist(), len(reading.prefix), len(reading.suffix)
    )


def states_of(backbone, tokens) -> list[list[torch.Tensor]]:
    """transformers' output of each layer, plain and normed, for all tokens: hooks see it before any norm."""
    plain: list[list[torch.Tensor]] = [[] for _ in backbone.layers]
    hooks = [
        layer.register_forward_hook(
            lambda _, __, out, kept=kept: kept.append((out[0] if isinstance(out, tuple) else out).squeeze(0))
        )
        for layer, kept in zip(backbone.layers, plain, strict=True)
    ]
    pieces = []
    with torch.no_grad():
        for ids in tokens.ids.split(tokens.lengths):
            inputs = {"input_ids": ids[None], "attention_mask": torch.ones_like(ids)[None]}
            pieces.append(backbone.model(**inputs, output_hidden_states=True).hidden_states)
        for hook in hooks:
            hook.remove()
        path = backbone.architecture.final_norm  # BERT has none
        norm = backbone.model.get_submodule(path) if path else nn.Identity()
        found = [[torch.cat(kept), norm(torch.cat(kept))] for kept in plain]
    for layer in range(1, len(found)):
        hidden = torch.cat([states[layer][0] for states in pieces])
        torch.testing.assert_close(hidden, found[layer - 1][0])
    torch.testing.assert_close(torch.cat([states[-1][0] for states in pieces]), found[-1][1])
    return found


def assert_near(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Within 1e-5 of the largest value: plain states of ESM-C reach several tens."""
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * max(1.0, float(expected.abs().max())))


@kinds
@pytest.mark.parametrize("final_norm", [True, False])
def test_it_gives_the_hidden_states_of_transformers(miniature, kind, final_norm):
    folder = str(miniature(kind))
    whole = load_backbone(folder)
    tokens = tokens_of(whole)
    expected = [both[final_norm] for both in states_of(whole, tokens)]
    for n_layers in (1, 2, 3):
        backbone = load_backbone(folder, n_layers=n_layers, final_norm=final_norm)
        encoder = make_encoder(backbone.model, final_norm=backbone.final_norm)
        with torch.no_grad():
            assert_near(encoder(tokens), expected[n_layers - 1])
    every = make_encoder(whole.cut(None, final_norm).model, final_norm=final_norm).hidden_states(tokens)
    for found, state in zip(every, expected, strict=True):
        assert_near(found, state)


@kinds
def test_what_is_loaded_has_no_other_layers(miniature, kind):
    """Also where nothing else was loaded: the constants of ESM-C's layers depend on how many there were."""
    folder = str(miniature(kind))
    tokens = tokens_of(load_backbone(folder))
    expected = states_of(load_backbone(folder), tokens)[1][1]
    unload_backbones()
    backbone = load_backbone(folder, n_layers=2)
    assert (backbone.n_layers, [b.n_layers for b in loading._loaded.values()]) == (2, [2])
    with torch.no_grad():
        assert_near(make_encoder(backbone.model)(tokens), expected)
    unload_backbones()


def test_encoders_of_a_checkpoint_share_the_tensors_of_the_deepest(esm_folder):
    unload_backbones()
    folder = str(esm_folder)
    two = load_backbone(folder, n_layers=2)
    whole = load_backbone(folder)
    one = load_backbone(folder, n_layers=1, final_norm=False)
    assert whole is load_backbone(folder, n_layers=3) is load_backbone(folder)
    assert {t.data_ptr() for t in one.tensors()} < {t.data_ptr() for t in whole.tensors()}
    for name, tensor in two.model.named_parameters():
        torch.testing.assert_close(tensor, whole.model.get_parameter(name), rtol=0, atol=0)
    assert whole.n_layers == 3
    assert one.n_parameters == sum(p.numel() for p in whole.model.parameters()) - sum(
        p.numel()
        for part in (*whole.layers[1:], whole.model.encoder.emb_layer_norm_after)
        for p in part.parameters()
    )


def test_fingerprints_tell_where_it_was_cut(esm_folder):
    cuts = [
        load_backbone(str(esm_folder), n_layers=n, final_norm=f) for n in (1, 2, 3) for f in (True, False)
    ]
    assert len({backbone.fingerprint for backbone in cuts}) == 6
    unload_backbones()
    alone = load_backbone(str(esm_folder), n_layers=2)
    assert alone.fingerprint == cuts[2].fingerprint
    assert load_backbone(str(esm_folder)).fingerprint == cuts[4].fingerprint


def test_packed_matrices_count_as_what_they_stand_for(esm_folder):
    counts = {
        (n, q): load_backbone(str(esm_folder), n_layers=n, quantization=q).n_parameters
        for n in (1, 3)
        for q in (None, "int8")
    }
    assert counts[1, None] == counts[1, "int8"] < counts[3, None] == counts[3, "int8"]


def test_a_family_without_final_norm_has_none_to_leave_out(esm_folder):
    whole = load_backbone(str(esm_folder))
    plain = replace(whole, architecture=replace(whole.architecture, final_norm=""))
    assert plain.cut(final_norm=False) is plain
    assert isinstance(plain.cut(1).model.encoder.emb_layer_norm_after, nn.LayerNorm)


@pytest.mark.parametrize("kind", ["esm2", "esmc", "prott5"])
@pytest.mark.parametrize("pooling", ["mean", "max", None])
@pytest.mark.parametrize("final_norm", [True, False])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_all_layers_in_one_pass_are_those_of_each_cut(
    kind, pooling, final_norm, precision, miniature, draw_proteins, empty_cache
):
    """Bit by bit, windows and duplicates included."""
    X = [*draw_proteins(6, seed=2, longest=60), "MKV", "MKV"]
    settings = {"max_length": 30, "long_sequences": "window", "final_norm": final_norm}
    settings |= {"pooling": pooling, "precision": precision}
    with empty_cache.disabled():
        embedder = PLMEmbedder(str(miniature(kind)), **settings).fit(X)
        found = embedder.transform_layers(X)
        assert found.shape == ((3, 8) if pooling is None else (3, 8, 32))
        for n_layers, layer in enumerate(found, start=1):
            cut = PLMEmbedder(str(miniature(kind)), n_layers=n_layers, **settings).fit_transform(X)
            for one, other in zip(layer, cut, strict=True):
                np.testing.assert_array_equal(one, other)
