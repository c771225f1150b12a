"""Heads on packed rows against the same modules on one padded sequence at a time."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from plmlearn.nn.packing import Ragged
from plmlearn.nn.residue_heads import RESIDUE_HEADS, StartBias, make_residue_head

WIDTH, N_OUTPUTS = 6, 3
LENGTHS = [5, 1, 12, 3, 3, 2]


def features(lengths: list[int] = LENGTHS) -> Ragged:
    generator = torch.Generator().manual_seed(0)
    return Ragged(torch.randn(sum(lengths), WIDTH, generator=generator), lengths)


@pytest.mark.parametrize("name", RESIDUE_HEADS)
def test_no_output_depends_on_the_rest_of_the_batch(name):
    """A convolution that looked across the border of two sequences would."""
    torch.manual_seed(1)
    head = make_residue_head(name, WIDTH, N_OUTPUTS, None, 0.5).eval()
    together = features()
    outputs = together.with_values(head(together))
    for order in ([3, 0, 5], [2], [5, 4, 3, 2, 1, 0]):
        again = together.take(order)
        assert_close(head(again), outputs.take(order).values)


@pytest.mark.parametrize("name", RESIDUE_HEADS)
def test_every_parameter_is_trained_and_hidden_is_the_width(name):
    head = make_residue_head(name, WIDTH, N_OUTPUTS, 4, 0.0)
    head(features()).square().sum().backward()
    assert all(p.grad.any() for p in head.parameters())
    if name in ("mlp", "cnn", "light_attention"):
        assert any(4 in p.shape for p in head.parameters())


@pytest.mark.parametrize("name", ["cnn", "light_attention", "mlp"])
def test_dropout_acts_in_training_only(name):
    head = make_residue_head(name, WIDTH, N_OUTPUTS, None, 0.5)
    assert not torch.equal(head(features()), head(features()))
    assert torch.equal(head.eval()(features()), head(features()))


def test_cnn_sees_six_neighbours_on_each_side():
    torch.manual_seed(3)
    head = make_residue_head("cnn", WIDTH, N_OUTPUTS, None, 0.0)
    values = features([30]).values.requires_grad_()
    head(Ragged(values, [30]))[15].sum().backward()
    assert values.grad.abs().sum(1).nonzero()[:, 0].tolist() == list(range(9, 22))


def test_light_attention_sees_the_whole_protein_and_no_other():
    torch.manual_seed(4)
    head = make_residue_head("light_attention", WIDTH, N_OUTPUTS, None, 0.0)
    values = features([20, 30]).values.requires_grad_()
    head(Ragged(values, [20, 30]))[0].sum().backward()
    assert values.grad[:20].abs().sum(1).all()
    assert not values.grad[20:].any()


def test_start_bias_is_added_to_the_first_residue_of_known_groups():
    bias = StartBias(2, N_OUTPUTS, gain=2.0)
    nn.init.ones_(bias.bias)
    outputs = Ragged(torch.zeros(6, N_OUTPUTS), [2, 3, 1])
    added = bias(outputs, torch.tensor([1, -1, 0])).values[:, 0]
    assert added.tolist() == [2, 0, 0, 0, 0, 2]
    bias(outputs, torch.tensor([1, -1, 1])).values.sum().backward()
    assert bias.bias.grad.tolist() == [[0.0] * N_OUTPUTS, [4.0] * N_OUTPUTS]
