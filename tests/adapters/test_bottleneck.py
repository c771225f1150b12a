"""Bottleneck adapters against their written-out formula."""

import pytest
import torch
import torch.nn.functional as F
from every_method import trained_tensors

from plmlearn.adapters import Bottleneck

FORMULAS = {"relu": torch.relu, "gelu": F.gelu, "silu": F.silu, "tanh": torch.tanh}


@pytest.mark.parametrize("layer_norm", [True, False])
@pytest.mark.parametrize("activation", FORMULAS)
@torch.no_grad()
def test_it_adds_a_correction_to_what_a_sublayer_passes_on(esm2, activation, layer_norm):
    model = Bottleneck(size=5, activation=activation, layer_norm=layer_norm).install(esm2)
    for tensor in trained_tensors(model).values():
        tensor.normal_()
    for part, width in ((model.encoder.layer[1].attention.output, 32), (model.encoder.layer[1].output, 64)):
        x = torch.randn(4, width)
        own = part.dense.linear(x)
        norm, down, _, up = part.dense.correction
        read = F.layer_norm(own, (32,), norm.weight, norm.bias) if layer_norm else own
        inner = FORMULAS[activation](read @ down.weight.T + down.bias)
        assert inner.shape == (4, 5)
        torch.testing.assert_close(part.dense(x), own + inner @ up.weight.T + up.bias)


@pytest.mark.parametrize(
    "after, expected",
    [
        ("attention", {"output"}),
        (("feed_forward",), {"ffn_out"}),
        (["attention", "feed_forward"], {"output", "ffn_out"}),
    ],
)
def test_where_it_goes(backbone, after, expected):
    model = Bottleneck(after=after, last_n_layers=2).install(backbone)
    adapted = {name.partition(".correction")[0] for name in trained_tensors(model)}
    root = backbone.architecture.layers
    assert adapted == {f"{root}.{i}.{backbone.targets[n][0]}" for i in (1, 2) for n in expected}


@pytest.mark.parametrize(
    "settings, size", [({}, 2), ({"reduction": 2}, 16), ({"reduction": 100}, 1), ({"size": 7}, 7)]
)
def test_how_narrow_it_is(esm2, settings, size):
    model = Bottleneck(**settings).install(esm2)
    assert model.encoder.layer[0].output.dense.correction[1].out_features == size


@pytest.mark.parametrize(
    "adapter, message",
    [
        (
            Bottleneck(size=0),
            r"'size' parameter of Bottleneck must be an int in the range \[1, inf\) or None. Got 0",
        ),
        (
            Bottleneck(reduction=0.5),
            r"'reduction' parameter of Bottleneck must be a float in the range \[1.0, inf\). Got 0.5",
        ),
        (
            Bottleneck(activation="elu"),
            "'activation' parameter of Bottleneck must be a str among .*'gelu'.*Got 'elu'",
        ),
        (Bottleneck(after="head"), "after names some of attention, feed_forward, got 'head'"),
        (Bottleneck(after=()), "after names some of attention, feed_forward"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_refused(esm2, adapter, message):
    with pytest.raises(ValueError, match=message):
        adapter.install(esm2)
