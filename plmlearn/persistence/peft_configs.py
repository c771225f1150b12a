"""Configurations of peft that come from a file: methods and fields on a list, each within bounds.

A configuration of peft can name a module to import, a file to unpickle, a compiler to start, a model to
download, or a regular expression that never ends. None of those fields is listed here, and names are
plain. A field that is not listed has peft's own default, or is refused. A configuration that a program
makes itself is as free as peft is; only saving it as a folder asks for the list.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import peft

from .rules import (
    FLAG,
    NAME,
    NAMES,
    NOTHING,
    TEXT,
    Rule,
    SavedModelError,
    by_name,
    each,
    number,
    one_of,
    shown,
    whole,
)

_LAYER, _SEED = whole(0, 10_000), whole(0, 2**63 - 1)
_RULES_OF: tuple[tuple[Rule, str], ...] = (
    (NAMES | NAME | one_of("all-linear") | NOTHING, "target_modules exclude_modules feedforward_modules"),
    (NAMES | NAME | NOTHING, "layers_pattern"),
    (NAMES | NOTHING, "modules_to_save"),
    (_LAYER | each(_LAYER) | NOTHING, "layers_to_transform"),
    (TEXT | NOTHING, "peft_version base_model_name_or_path revision"),
    (one_of(*(kind.value for kind in peft.TaskType)) | NOTHING, "task_type"),
    (one_of("none", "all", "lora_only", "oft_only"), "bias"),
    (whole(0), "r oft_block_size mini_r"),
    (whole(-1), "decompose_factor"),
    (whole(1, 100), "num_cayley_neumann_terms"),
    (whole(1), "block_size num_vectors vector_length topk"),
    (whole(1, 2**24), "n_frequency"),
    (_SEED, "projection_prng_key"),
    (_SEED | NOTHING, "random_loc_seed"),
    (
        number(0, 1),
        "lora_dropout rank_dropout module_dropout miss_dropout randlora_dropout vblora_dropout vera_dropout",
    ),
    (
        number(0),
        "lora_alpha alpha randlora_alpha eps scaling init_vector_bank_bound init_logits_std d_initial",
    ),
    (by_name(whole(1)), "rank_pattern block_size_pattern n_frequency_pattern"),
    (by_name(number(0)), "alpha_pattern"),
    (
        FLAG,
        "inference_mode use_rslora use_dora lora_bias fan_in_fan_out use_effective_conv2d decompose_both "
        "rank_dropout_scale coft block_share use_cayley_neumann apply_GS sparse very_sparse save_projection "
        "save_only_topk_weights init_ia3_weights",
    ),
    (FLAG | one_of("gaussian", "orthogonal"), "init_lora_weights"),
    (
        FLAG | one_of("lycoris", "bat", "mini", "gaussian", "kaiming_uniform", "xavier_uniform") | NOTHING,
        "init_weights",
    ),
)
_RULES = {field: rule for rule, fields in _RULES_OF for field in fields.split()}

_METHODS = "C3A FourierFT HRA IA3 LoHa LoKr Lora Miss OFT RandLora VBLoRA Vera"
_CONFIGS = (getattr(peft, f"{name}Config") for name in _METHODS.split())
_CLASSES = {cls().peft_type.value: cls for cls in _CONFIGS}


def settings_of(config: peft.PeftConfig, path: str) -> dict[str, Any]:
    """A configuration as plain values that :func:`make_config` takes.

    Raises
    ------
    SavedModelError
        A method, a field or a value that a file may not hold.
    """
    settings = {name: sorted(v) if isinstance(v, set) else v for name, v in config.to_dict().items()}
    cls = _class_of(settings.get("peft_type"), path)
    if type(config) is not cls:
        raise SavedModelError(f"{path} is a {type(config).__name__}; expected a {cls.__name__}.")
    kind: Any = cls().peft_type
    return {"peft_type": kind.value, **_allowed(cls, settings, path)}


def make_config(settings: Any, path: str) -> peft.PeftConfig:
    """The configuration that settings from a file stand for.

    Parameters
    ----------
    settings : dict
        "peft_type", and any fields.
    path : str
        Where the settings stand, for messages.

    Raises
    ------
    SavedModelError
        A method, a field or a value that is not on the list.
    """
    if not isinstance(settings, dict):
        raise SavedModelError(f"{path} is {shown(settings)}; expected the fields of a peft configuration.")
    cls = _class_of(settings.get("peft_type"), path)
    allowed = _allowed(cls, settings, path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # given when the configuration was first made
            return cls(**allowed)
    except Exception as error:  # whatever peft says of fields that do not go together
        raise SavedModelError(f"{path} is no {cls.__name__} that peft makes: {error}") from error


def _class_of(peft_type: Any, path: str) -> type[peft.PeftConfig]:
    value = getattr(peft_type, "value", peft_type)
    if not isinstance(value, str) or value not in _CLASSES:
        raise SavedModelError(
            f"{path}.peft_type is {shown(value)}; a folder holds configurations of {', '.join(_CLASSES)}. "
            "Pickle an estimator with another method."
        )
    return _CLASSES[value]


def _allowed(cls: type[peft.PeftConfig], settings: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The listed fields, each checked; the others must be peft's defaults, and are left out."""
    defaults, allowed = cls().to_dict(), {}
    listed = _RULES.keys() & {field.name for field in dataclasses.fields(cls)}
    for name, value in settings.items():
        if name in listed:
            _RULES[name].check(f"{path}.{name}", value)
            allowed[name] = value
        elif name != "peft_type" and not (name in defaults and value == defaults[name]):
            raise SavedModelError(
                f"{path}.{name} is {shown(value)}; expected peft's default: that field of {cls.__name__} "
                "is not read from files. Pickle an estimator that needs it."
            )
    return allowed
