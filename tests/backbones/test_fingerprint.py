"""The fingerprint tells apart whatever gives other embeddings, and nothing else."""

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from folders import change_config, change_weights
from safetensors.torch import load_file

from plmlearn import PLMEmbedder, PLMLoRARegressor
from plmlearn.backbones import BackboneWeightsError, check_fingerprint, load_backbone
from plmlearn.nn import encoders
from plmlearn.training import features

pytestmark = pytest.mark.usefixtures("fresh")

KINDS = ["esm2", "esm1b", "esmc", "prott5", "ankh"]


@pytest.fixture(scope="module")
def expected(esm_folder) -> str:
    return load_backbone(esm_folder).fingerprint


# -- the same -------------------------------------------------------------------------------------


def test_it_is_the_same_in_every_precision_and_folder(folder, expected):
    for precision in ("fp32", "bf16", "fp16"):
        assert load_backbone(folder, precision=precision).fingerprint == expected
    assert load_backbone(folder, quantization="int8").fingerprint == expected


def test_it_is_the_same_without_the_language_head(esm_folder, expected, tmp_path):
    load_backbone(esm_folder).model.save_pretrained(tmp_path)
    shutil.copy(esm_folder / "vocab.txt", tmp_path)
    shutil.copy(esm_folder / "tokenizer_config.json", tmp_path)
    assert load_backbone(tmp_path).fingerprint == expected


def test_it_ignores_what_enters_no_embedding(folder, expected):
    about = {"transformers_version": "4.29.2", "_name_or_path": "me/mine", "torch_dtype": "bfloat16"}
    change_config(folder, **about, architectures=["EsmModel"], hidden_dropout_prob=0.5, use_cache=False)
    change_weights(folder, lambda weights: weights.update({"lm_head.bias": weights["lm_head.bias"] + 1}))
    assert load_backbone(folder).fingerprint == expected


# -- another one ----------------------------------------------------------------------------------


def test_a_copy_in_another_precision_differs(folder, expected):
    change_weights(folder, lambda weights: weights.update({k: x.bfloat16() for k, x in weights.items()}))
    half = load_backbone(folder).fingerprint
    change_weights(folder, lambda weights: weights.update({k: x.float() for k, x in weights.items()}))
    assert len({expected, half, load_backbone(folder).fingerprint}) == 3


def encoder_names(folder: Path) -> list[str]:
    names = load_file(folder / "model.safetensors")
    return sorted(name for name in names if not name.startswith(("lm_head.", "esm.contact_head.")))


def test_every_stored_bit_counts(esm_folder, folder, expected):
    """The last bit of one number of each tensor, rotary frequencies among them."""
    names, found = encoder_names(esm_folder), {expected}
    assert any(name.endswith("inv_freq") for name in names)
    original = load_file(esm_folder / "model.safetensors")
    for name in names:

        def flip(weights, name=name):
            weights.update({other: tensor.clone() for other, tensor in original.items()})
            weights[name].view(torch.int32).view(-1)[-1] ^= 1

        change_weights(folder, flip)
        found.add(load_backbone(folder).fingerprint)
    assert len(found) == 1 + len(names)


def test_swapped_layers_differ(folder, expected):
    def swap(weights):
        first, second = (f"esm.encoder.layer.{i}.attention.self.key.weight" for i in (0, 1))
        weights[first], weights[second] = weights[second].clone(), weights[first].clone()

    change_weights(folder, swap)
    assert load_backbone(folder).fingerprint != expected


def other(value):
    """Another value of the same kind."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, dict):
        return {key: other(item) for key, item in value.items()}
    return value + "x" if isinstance(value, str) else value * 2 + 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_counts(miniature, kind):
    backbone = load_backbone(miniature(kind))
    found = {backbone.fingerprint}
    for name in backbone.architecture.settings:
        model = copy.copy(backbone.model)
        model.config = copy.deepcopy(backbone.config)
        field = model.config.attribute_map.get(name, name)
        object.__setattr__(model.config, field, other(getattr(backbone.config, name)))
        found.add(replace(backbone, model=model).fingerprint)
    assert len(found) == 1 + len(backbone.architecture.settings)


NOT_READ = {
    "about the file": "architectures dtype transformers_version _name_or_path model_type",
    "of training": "hidden_dropout_prob attention_probs_dropout_prob attention_dropout dropout_rate "
    "classifier_dropout initializer_range initializer_factor",
    "of heads and outputs": "tie_word_embeddings id2label label2id problem_type return_dict num_labels "
    "output_hidden_states output_attentions scale_decoder_outputs",
    "of decoders and other models": "use_cache is_decoder add_cross_attention is_encoder_decoder "
    "num_decoder_layers is_folding_model esmfold_config vocab_list decoder_start_token_id",
    "of tokens that no residue has": "bos_token_id eos_token_id sep_token_id",
    "derived from others, or refused": "is_gated_act dense_act_fn attention_bias mlp_bias",
    "of memory": "chunk_size_feed_forward",
}
"""Fields of configurations that no embedding depends on, by reason."""


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_a_setting_or_has_a_reason_not_to_be(miniature, kind):
    backbone = load_backbone(miniature(kind))
    fields = {backbone.config.attribute_map.get(name, name) for name in backbone.config.to_dict()}
    settings = {backbone.config.attribute_map.get(name, name) for name in backbone.architecture.settings}
    unknown = fields - settings - set(" ".join(NOT_READ.values()).split())
    assert not unknown - {"max_position_embeddings", "pad_token_id", "mask_token_id"}


def test_tokens_count(folder, expected):
    vocabulary = (folder / "vocab.txt").read_text().split()
    first, second = vocabulary.index("L"), vocabulary.index("K")
    vocabulary[first], vocabulary[second] = "K", "L"
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    assert load_backbone(folder).fingerprint != expected


def test_what_letters_are_counts(miniature):
    folder = miniature("prostt5")
    assert load_backbone(folder).fingerprint != load_backbone(f"{folder}#3di").fingerprint


# -- what it is for -------------------------------------------------------------------------------

PROTEINS = ["MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ", "GSHMAKQRQ"]
CHANGES = {"layer_norm_eps": 0.1, "token_dropout": False, "mask_token_id": 20, "rope_theta": 50.0}


@pytest.mark.parametrize("field", CHANGES)
def test_a_changed_configuration_has_its_own_embeddings(
    empty_cache, miniature, write_miniature, tmp_path, field
):
    """The cache must not answer for the other model."""
    original = miniature("esm2")
    changed = write_miniature("esm2", tmp_path, **{field: CHANGES[field]})
    first = PLMEmbedder(str(original)).fit_transform(PROTEINS)
    second = PLMEmbedder(str(changed)).fit_transform(PROTEINS)
    with empty_cache.disabled():
        np.testing.assert_array_equal(second, PLMEmbedder(str(changed)).fit_transform(PROTEINS))
    assert np.abs(first - second).max() > 1e-4


@pytest.mark.parametrize("field", CHANGES)
def test_a_fitted_estimator_refuses_another_configuration(folder, field):
    settings = {"epochs": 1, "verbose": 0, "precision": "fp32", "random_state": 0}
    model = PLMLoRARegressor(str(folder), **settings).fit(PROTEINS * 3, np.arange(6.0))
    change_config(folder, **{field: CHANGES[field]})
    again = json.loads(json.dumps(model.backbone_fingerprint_))
    with pytest.raises(BackboneWeightsError, match="weights, configuration or vocabulary differ"):
        check_fingerprint(load_backbone(folder), again)
    model._loaded = None
    with pytest.raises(BackboneWeightsError, match=f"with fingerprint {again}"):
        model.predict(PROTEINS)


def test_a_corrected_forward_pass_finds_no_old_numbers(empty_cache, esm_folder, monkeypatch):
    PLMEmbedder(str(esm_folder)).fit_transform(PROTEINS)
    before = {block.namespace for block in empty_cache.default_cache()._memory}
    monkeypatch.setattr(features, "FORWARD_VERSION", encoders.FORWARD_VERSION + 1)
    PLMEmbedder(str(esm_folder)).fit_transform(PROTEINS)
    after = {block.namespace for block in empty_cache.default_cache()._memory}
    assert len(before) == 1
    assert len(after) == 2
