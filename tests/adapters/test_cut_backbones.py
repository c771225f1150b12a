"""Adapters on a backbone that was cut: as on a checkpoint that has no more layers."""

import pytest
import torch
from every_method import methods, tokens_of, trained_tensors
from transformers import AutoTokenizer, EsmForMaskedLM

from plmlearn.adapters import FullFineTuning, LayerNormTuning
from plmlearn.backbones import load_backbone
from plmlearn.nn.encoders import make_encoder


@pytest.fixture(scope="module")
def two_layers(esm_folder, tmp_path_factory) -> str:
    """The small ESM without its third layer, as another tool would write it."""
    folder = tmp_path_factory.mktemp("two_layers")
    model = EsmForMaskedLM.from_pretrained(esm_folder)
    model.config.num_hidden_layers = 2
    del model.esm.encoder.layer[2:]
    del model.esm.contact_head
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(esm_folder).save_pretrained(folder)
    return str(folder)


@methods
def test_layers_are_counted_from_the_cut(adapter, esm_folder, two_layers):
    backbone = load_backbone(str(esm_folder), n_layers=2)
    smaller = load_backbone(two_layers)
    assert (smaller.n_layers, smaller.config.num_hidden_layers) == (2, 2)
    if "2.key" in (vars(adapter).get("rank_pattern") or {}):
        with pytest.raises(ValueError, match=r"'2.key' is not an adapted matrix; .* \(1.query\)"):
            adapter.install(backbone)
        return
    found, expected = (trained_tensors(adapter.install(b)) for b in (backbone, smaller))
    assert {name: t.shape for name, t in found.items()} == {name: t.shape for name, t in expected.items()}
    assert adapter.first_trained_layer(backbone.n_layers) <= 2


@pytest.mark.parametrize("adapter", [FullFineTuning(), LayerNormTuning()], ids=str)
@pytest.mark.parametrize("final_norm", [True, False])
def test_a_norm_that_is_not_applied_is_not_trained(adapter, final_norm, esm_folder):
    backbone = load_backbone(str(esm_folder), n_layers=1, final_norm=final_norm)
    model = adapter.install(backbone)
    assert any("emb_layer_norm_after" in name for name in trained_tensors(model)) is final_norm
    encoder = make_encoder(model, final_norm=final_norm)
    (encoder(tokens_of(backbone)) * torch.randn(32)).sum().backward()
    used = {name for name, p in trained_tensors(model).items() if "contact_head" not in name}
    assert used == {name for name, p in model.named_parameters() if p.grad is not None}
