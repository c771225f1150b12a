"""The folder of a checkpoint: its configuration, its vocabulary and the model that they make."""

from __future__ import annotations

import contextlib
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import nn

from .architectures import ARCHITECTURES, Architecture
from .hub import BackboneNotFoundError, BackboneWeightsError


def read_config(name: str, folder: Path) -> Any:
    """The configuration, or an error where plmlearn or this transformers does not know the architecture."""
    if not (folder / "config.json").exists():
        raise BackboneNotFoundError(
            f"Backbone {name!r}: {folder} has no config.json; expected a folder written by "
            "save_pretrained or by plmlearn.backbones.download_backbone."
        )
    model_type = json.loads((folder / "config.json").read_text()).get("model_type")
    if model_type not in ARCHITECTURES:
        raise ValueError(
            f"Backbone {name!r} is of architecture {model_type!r} (config.model_type); "
            f"plmlearn knows {', '.join(ARCHITECTURES)}."
        )
    if not hasattr(transformers, ARCHITECTURES[model_type].model_class):
        raise ImportError(
            f"Backbone {name!r} is of architecture {model_type!r}, which this transformers "
            f"({transformers.__version__}) does not have. Run: pip install --upgrade transformers"
        )
    return transformers.AutoConfig.from_pretrained(folder)


def read_vocabulary(name: str, folder: Path) -> dict[str, int]:
    """Token ids by token, from the tokenizer's files."""
    try:
        return transformers.AutoTokenizer.from_pretrained(folder).get_vocab()
    except (ImportError, OSError, TypeError, ValueError) as error:
        is_sentencepiece = any(folder.glob("*.model")) and not (folder / "tokenizer.json").exists()
        if is_sentencepiece and not all(map(_is_installed, ("sentencepiece", "google.protobuf"))):
            raise ImportError(
                f"Backbone {name!r}: its tokenizer is a SentencePiece model, which takes optional packages. "
                'Run: pip install "plmlearn[t5]"'
            ) from error
        raise BackboneNotFoundError(
            f"Backbone {name!r}: {folder} holds no tokenizer ({type(error).__name__}); expected it beside "
            "the weights. Save it there too: tokenizer.save_pretrained(folder)."
        ) from error


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def read_model(name: str, folder: Path, architecture: Architecture, dtype: torch.dtype) -> nn.Module:
    """The model with the weights of the folder, or an error where one of them is missing."""
    if not any(folder.glob("*.safetensors")):
        raise BackboneNotFoundError(
            f"Backbone {name!r}: {folder} holds no *.safetensors file. Pickled weights (*.bin) are not "
            "read, because reading them can run code; convert them with save_pretrained."
        )
    model_class = getattr(transformers, architecture.model_class)
    options = {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
    try:
        model, report = model_class.from_pretrained(
            folder, dtype=dtype, **options, **architecture.load_options
        )
    except (OSError, SafetensorError) as error:
        raise BackboneWeightsError(
            f"Backbone {name!r}: the weights in {folder} cannot be read ({error}). Get the checkpoint again."
        ) from error
    missing = [k for k in report["missing_keys"] if not k.startswith(architecture.optional_weights)]
    wrong = sorted([*missing, *(str(key) for key in report["mismatched_keys"])])
    if wrong:
        raise BackboneWeightsError(
            f"Backbone {name!r}: {len(wrong)} tensors of {architecture.model_class} are missing from {folder} "
            f"or have another shape, among them {', '.join(wrong[:3])}. They would be random; get the whole "
            "checkpoint, or pass backbone_init='random' if random weights are meant."
        )
    return model


def draw_model(architecture: Architecture, config: Any, seed: int = 0) -> nn.Module:
    """The model with random float32 weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return getattr(transformers, architecture.model_class)(config, **architecture.load_options).float()


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence the library's progress bars and reports: what matters in them is raised instead."""
    log = transformers.utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()
