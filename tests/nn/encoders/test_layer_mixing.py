"""The learned mean of hidden states: against transformers' states, in values, gradients and windows."""

import pytest
import torch
import torch.nn.functional as F

from plmlearn.backbones import load_backbone
from plmlearn.nn.encoders import make_encoder
from plmlearn.nn.packing import PackedTokens

WEIGHTS = torch.tensor([0.3, -1.0, 0.5, 1.2])


def draw(lengths: list[int]) -> PackedTokens:
    ids = torch.randint(4, 24, (sum(lengths),), generator=torch.Generator().manual_seed(0))
    return PackedTokens(ids, lengths, 0, 0)


def mixed(model, tokens, **options):
    encoder = make_encoder(model, layer_mixing=True, **options)
    with torch.no_grad():
        encoder.mixing.weights.copy_(WEIGHTS[: encoder.n_layers + 1])
    return encoder, encoder(tokens)


@pytest.mark.parametrize("kind", ["esm2", "esmc", "prott5"])
@pytest.mark.parametrize("trunk_depth", [0, 2, 3])
def test_it_is_the_mean_of_normed_hidden_states(miniature, kind, trunk_depth):
    model, tokens = load_backbone(str(miniature(kind))).model, draw([9, 5, 5])
    _, found = mixed(model, tokens, trunk_depth=trunk_depth)
    expected = []
    for ids in tokens.ids.split(tokens.lengths):
        inputs = {"input_ids": ids[None], "attention_mask": torch.ones_like(ids)[None]}
        states = model(**inputs, output_hidden_states=True).hidden_states
        shares = WEIGHTS.softmax(0)
        expected.append(sum(s * F.layer_norm(h[0], (32,)) for s, h in zip(shares, states, strict=True)))
    torch.testing.assert_close(found, torch.cat(expected), atol=1e-5, rtol=1e-5)


def test_weights_are_equal_at_first_and_all_get_a_gradient(miniature):
    model, tokens = load_backbone(str(miniature("esm2"))).model, draw([9, 5])
    encoder = make_encoder(model, layer_mixing=True, trunk_depth=3)
    assert not encoder.mixing.weights.any()
    (encoder(tokens) * torch.randn(14, 32)).sum().backward()
    assert (encoder.mixing.weights.grad.abs() > 0).all()


def test_fewer_layers_are_mixed_where_fewer_run(miniature):
    model = load_backbone(str(miniature("esm2")), n_layers=2).model
    encoder, _ = mixed(model, draw([5]), trunk_depth=2)
    assert len(encoder.mixing.weights) == 3
