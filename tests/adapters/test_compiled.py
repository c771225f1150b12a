"""Layers run through torch.compile, with every method in them."""

import pytest
import torch
from every_method import build, methods, tokens_of, train
from sklearn.base import clone

from plmlearn.adapters import LoRA
from plmlearn.backbones import load_backbone

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:The .grad attribute:UserWarning"
)


def assert_compiling_changes_nothing(adapter, backbone, graphs):
    """After some steps of training, dropout drawn alike."""
    tokens, outputs = tokens_of(backbone), []
    for compiled in (False, True):
        model = build(clone(adapter), backbone, compiled=compiled)
        torch.manual_seed(1)
        train(model, tokens)
        with torch.no_grad():
            outputs.append(model.eval()(tokens, torch.arange(len(tokens.lengths))))
    assert graphs
    torch.testing.assert_close(*outputs, atol=1e-5, rtol=1e-5)


@methods
def test_every_method(adapter, esm2, graphs):
    assert_compiling_changes_nothing(adapter, esm2, graphs)


def test_matrices_in_8_bits(miniature, graphs):
    backbone = load_backbone(str(miniature("esm2")), quantization="int8")
    assert_compiling_changes_nothing(LoRA(target_modules="all"), backbone, graphs)
