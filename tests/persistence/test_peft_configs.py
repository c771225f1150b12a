"""Configurations of peft from a file: what is on the list comes back, everything else is refused by name."""

import dataclasses

import peft
import pytest
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from plmlearn.persistence import SavedModelError
from plmlearn.persistence.peft_configs import _CLASSES, _RULES, make_config, settings_of

CONFIGS = {
    "C3A": peft.C3AConfig(block_size=8, block_size_pattern={"layer.0.key": 4}, init_weights="gaussian"),
    "FourierFT": peft.FourierFTConfig(n_frequency=20, random_loc_seed=3),
    "HRA": peft.HRAConfig(r=2, apply_GS=True),
    "IA3": peft.IA3Config(target_modules=["key"], feedforward_modules=[]),
    "LoHa": peft.LoHaConfig(r=2, rank_pattern={"key": 3}, module_dropout=0.5),
    "LoKr": peft.LoKrConfig(r=2, decompose_factor=-1, init_weights="lycoris"),
    "LoRA": peft.LoraConfig(
        r=2,
        lora_alpha=3.5,
        target_modules=["attention.self.query", "value"],
        exclude_modules=["layer.0.attention.self.query"],
        layers_to_transform=[0, 1],
        layers_pattern="layer",
        alpha_pattern={"value": 2},
        bias="lora_only",
        init_lora_weights="orthogonal",
        task_type="FEATURE_EXTRACTION",
    ),
    "MiSS": peft.MissConfig(r=2, init_weights="bat"),
    "OFT": peft.OFTConfig(oft_block_size=8, r=0, coft=True),
    "RandLoRA": peft.RandLoraConfig(r=8, sparse=True),
    "VBLoRA": peft.VBLoRAConfig(r=4, num_vectors=20, vector_length=8, topk=2),
    "VeRA": peft.VeraConfig(r=4, projection_prng_key=7),
}

EVERY = (
    "peft_version base_model_name_or_path revision task_type inference_mode target_modules exclude_modules "
    "layers_to_transform layers_pattern modules_to_save"
)
FIELDS = {
    peft.C3AConfig: "block_size block_size_pattern bias init_weights",
    peft.FourierFTConfig: "n_frequency n_frequency_pattern scaling random_loc_seed fan_in_fan_out bias "
    "init_weights",
    peft.HRAConfig: "r apply_GS bias init_weights",
    peft.IA3Config: "feedforward_modules fan_in_fan_out init_ia3_weights",
    peft.LoHaConfig: "r alpha rank_pattern alpha_pattern rank_dropout module_dropout use_effective_conv2d "
    "init_weights",
    peft.LoKrConfig: "r alpha rank_pattern alpha_pattern rank_dropout module_dropout use_effective_conv2d "
    "decompose_both decompose_factor rank_dropout_scale init_weights",
    peft.LoraConfig: "r lora_alpha rank_pattern alpha_pattern lora_dropout fan_in_fan_out bias lora_bias "
    "use_rslora use_dora init_lora_weights",
    peft.MissConfig: "r mini_r miss_dropout bias init_weights",
    peft.OFTConfig: "r oft_block_size module_dropout fan_in_fan_out bias coft eps block_share "
    "use_cayley_neumann num_cayley_neumann_terms init_weights",
    peft.RandLoraConfig: "r randlora_alpha randlora_dropout projection_prng_key save_projection sparse "
    "very_sparse fan_in_fan_out bias init_weights",
    peft.VBLoRAConfig: "r num_vectors vector_length topk save_only_topk_weights vblora_dropout "
    "fan_in_fan_out bias init_vector_bank_bound init_logits_std",
    peft.VeraConfig: "r projection_prng_key save_projection vera_dropout d_initial fan_in_fan_out bias "
    "init_weights",
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_configurations_come_back(config):
    made = make_config(settings_of(config, "here"), "here")
    assert type(made) is type(config)
    assert made == config


def test_every_method_on_the_list_is_tried():
    assert {type(config) for config in CONFIGS.values()} == set(FIELDS) == set(_CLASSES.values())


@pytest.mark.parametrize("cls", FIELDS, ids=lambda cls: cls.__name__)
def test_fields_of_a_method_that_have_a_rule_are_these(cls):
    """A field that a later peft gives a method, by the name of another method's, is to be looked at first."""
    own = {field.name for field in dataclasses.fields(cls)}
    assert set(FIELDS[cls].split()) <= own
    assert own & _RULES.keys() == {*EVERY.split(), *FIELDS[cls].split()} & own


def test_every_other_method_is_refused():
    """Among them BOFT, which starts a compiler, and XLoRA, which loads adapters by name."""
    refused = {kind.value for kind, cls in PEFT_TYPE_TO_CONFIG_MAPPING.items() if cls not in FIELDS}
    assert {"BOFT", "XLORA", "PROMPT_TUNING", "CPT"} <= refused
    for kind in [*refused, "lora", "", None, 3, ["LORA"], {"a": 1}, "os.system"]:
        with pytest.raises(SavedModelError, match=r"here\.peft_type is .*a folder holds"):
            make_config({"peft_type": kind, "r": 2}, "here")
    with pytest.raises(SavedModelError, match=r"peft_type is 'BOFT'.*Pickle"):
        settings_of(peft.BOFTConfig(), "here")


LONG = r"(\w+\w*)+\.never"  # takes for ever on a name of thirty letters
HOSTILE = {
    "a module to import": {"megatron_config": {"x": 1}, "megatron_core": "megatron.evil"},
    "a module alone": {"megatron_core": "os"},
    "files of covariances": {"corda_config": {"cache_file": "x.pt", "covariance_file": "y.pt"}},
    "a file of gradients": {"lora_ga_config": {"cache_file": "x.pt"}},
    "data to start from": {"init_lora_weights": "eva", "eva_config": {"rho": 2.0}},
    "covariances to start from": {"init_lora_weights": "corda"},
    "quantized weights to start from": {"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4}},
    "iterations without end": {"init_lora_weights": "pissa_niter_999999999"},
    "layers without end": {"layer_replication": [[0, 4]] * 1000},
    "tokens": {"trainable_token_indices": [0, 1]},
    "other adapters": {"arrow_config": {"top_k": 1}},
    "parameters by pattern": {"target_parameters": [LONG]},
    "settings of a run": {"runtime_config": {"ephemeral_gpu_offload": True}},
    "a map of classes": {"auto_mapping": {"base_model_class": "x", "parent_library": "evil"}},
    "fields of nobody": {"__class__": "x"},
    "fields of another method": {"oft_block_size": 4},
    "a pattern of ranks": {"rank_pattern": {LONG: 2}},
    "a pattern of alphas": {"alpha_pattern": {LONG: 2}},
    "a pattern for targets": {"target_modules": LONG},
    "patterns for targets": {"target_modules": [LONG]},
    "a pattern of what is left out": {"exclude_modules": LONG},
    "a pattern of layers": {"layers_pattern": LONG, "layers_to_transform": [1]},
    "a pattern of modules": {"modules_to_save": [LONG]},
    "names without end": {"target_modules": ["key"] * 20_000},
    "a name without end": {"target_modules": ["k" * 100_000]},
    "a rank without end": {"r": 10**12},
    "ranks without end": {"rank_pattern": {"key": 10**12}},
    "a negative rank": {"r": -1},
    "a rank of text": {"r": "8"},
    "a rank that is a flag": {"r": True},
    "a rank of nan": {"r": float("nan")},
    "an infinite alpha": {"lora_alpha": float("inf")},
    "a dropout above 1": {"lora_dropout": 1.5},
    "a flag of text": {"use_dora": "yes"},
    "biases of nobody": {"bias": "everything"},
    "a task of nobody": {"task_type": "EVIL"},
}


@pytest.mark.parametrize("fields", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_fields_are_refused_by_name(fields):
    named = "|".join(map(str, fields))
    with pytest.raises(SavedModelError, match=rf"here\.({named}) is .*expected"):
        make_config({"peft_type": "LORA", "target_modules": ["key"], **fields}, "here")


def test_fields_that_do_not_go_together_are_refused():
    settings = {"peft_type": "LORA", "target_modules": "key", "layers_to_transform": [1]}
    with pytest.raises(SavedModelError, match=r"here is no LoraConfig that peft makes.*layers_to_transform"):
        make_config(settings, "here")


@pytest.mark.parametrize("settings", [None, [], "LORA", 3, {}])
def test_settings_that_are_none(settings):
    with pytest.raises(SavedModelError, match="here"):
        make_config(settings, "here")


@pytest.mark.parametrize(
    "config, field",
    [
        (peft.LoraConfig(megatron_config={"x": 1}), "megatron_config"),
        (peft.LoraConfig(target_modules=r".*\.(key|value)"), "target_modules"),
        (peft.LoraConfig(init_lora_weights="pissa"), "init_lora_weights"),
    ],
)
def test_what_would_not_be_read_is_not_written(config, field):
    with pytest.raises(SavedModelError, match=rf"here\.{field} is "):
        settings_of(config, "here")


def test_a_class_of_ones_own_is_not_written():
    class Mine(peft.LoraConfig):
        pass

    with pytest.raises(SavedModelError, match="here is a Mine; expected a LoraConfig"):
        settings_of(Mine(r=2), "here")
