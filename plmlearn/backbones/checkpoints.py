"""Checkpoints of masked language models: the encoder and its language head, read, drawn and written.

``read_language_head``    the head's tensors, which :func:`plmlearn.backbones.load_backbone` leaves out
``draw_backbone``         an encoder of any shape, with random weights
``write_language_model``  a folder that plain transformers and every ``backbone=`` load
``write_tokenizer``       the tokenizer's files
``merged``                an encoder with its adapter merged into its matrices
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from .architectures import ARCHITECTURES
from .backbone import Backbone, Precision
from .folder import (
    digest_tensors,
    draw_weights,
    make_model,
    quiet_transformers,
    read_config,
    read_tensors,
    read_vocabulary,
)
from .loading import find_files, resolve_name

_HEAD = "lm_head."
# ESM-2 draws weights with deviation 0.02 at any width, which suits its widest. Narrower ones need more.
_WIDTH_OF_SPREAD = 1280


def read_language_head(backbone: Backbone) -> dict[str, Tensor]:
    """The tensors of the language head in a backbone's checkpoint, in float32; none where it has no head."""
    stored = read_tensors(backbone.folder)
    return {key.rpartition(_HEAD)[2]: stored[key].float().clone() for key in stored if _HEAD in key}


def draw_backbone(shape: dict[str, int], *, precision: Precision = "fp32", seed: int = 0) -> Backbone:
    """An ESM-2 encoder with random float32 weights and the bundled vocabulary.

    Parameters
    ----------
    shape : dict
        Entries of ``transformers.EsmConfig``: num_hidden_layers, hidden_size, num_attention_heads,
        intermediate_size.
    precision : {"fp32", "bf16"}, default="fp32"
        Of the products.
    seed : int, default=0
    """
    bundled = find_files("mini", resolve_name("mini")[0], None)
    with quiet_transformers():
        architecture, config = ARCHITECTURES["esm"], read_config("mini", bundled)
        spread = 0.02 * (_WIDTH_OF_SPREAD / shape["hidden_size"]) ** 0.5
        for name, value in {**shape, "initializer_range": spread, "dtype": "float32"}.items():
            setattr(config, name, value)
        tensors = draw_weights(architecture, config, seed)
        model = make_model(architecture, config, tensors, torch.float32)
        vocabulary, digest = read_vocabulary("mini", bundled), digest_tensors(tensors)
    return Backbone("mini", None, model, architecture, vocabulary, precision, folder=bundled, weights=digest)


def write_language_model(
    folder: Path, model: nn.Module, head: dict[str, Tensor], tokenizer_of: Backbone, dtype: torch.dtype
) -> Path:
    """Write a folder as ``transformers.EsmForMaskedLM.save_pretrained`` does, with its tokenizer.

    Parameters
    ----------
    folder : Path
    model : nn.Module
        The encoder, a transformers ``EsmModel`` without adapters.
    head : dict of str to Tensor
        As :func:`read_language_head` returns them.
    tokenizer_of : Backbone
        Where the tokenizer's files come from.
    dtype : torch.dtype
        Data type of the stored tensors.

    Returns
    -------
    Path
        The folder.
    """
    config: Any = copy.deepcopy(model.config)
    config.tie_word_embeddings = "decoder.weight" not in head
    with torch.device("meta"):
        whole: Any = transformers.EsmForMaskedLM(config)
    whole = whole.to_empty(device="cpu")
    # Not the rotary frequencies, which are no parameters: their rounding would add up along a chain.
    for parameter in whole.parameters():
        parameter.data = parameter.data.to(dtype)
    with torch.no_grad(), quiet_transformers():
        whole.esm.load_state_dict(model.state_dict(), strict=True)
        for name, tensor in head.items():
            whole.lm_head.get_parameter(name).copy_(tensor)
        whole.tie_weights()
        whole.save_pretrained(folder)
        write_tokenizer(tokenizer_of, folder)
    return folder


def write_tokenizer(backbone: Backbone, folder: Path) -> Any:
    """Write the tokenizer of a backbone's checkpoint into a folder, and return it."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(backbone.folder, trust_remote_code=False)
    tokenizer.save_pretrained(folder)
    return tokenizer


def merged(model: nn.Module, plain: nn.Module) -> nn.Module:
    """A copy of an encoder with its adapter merged into its matrices; an error if that cannot be."""
    model = copy.deepcopy(model).float()  # in bfloat16 most of what was learned would be rounded away
    for name, module in list(model.named_modules()):
        if hasattr(module, "get_base_layer"):
            module.merge()
            model.set_submodule(name, module.get_base_layer())
    if {name for name, _ in model.named_parameters()} != {name for name, _ in plain.named_parameters()}:
        raise ValueError(
            "This adapter adds to the architecture, so it cannot be merged into the weights of a plain "
            "checkpoint. Train with LoRA() or all weights, or keep the estimator itself with plmlearn.save."
        )
    return model
