"""The folder of a checkpoint: its configuration, its vocabulary and the model that they make."""

from __future__ import annotations

import contextlib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from .architectures import ARCHITECTURES, Architecture
from .hub import BackboneNotFoundError
from .matching import FREQUENCIES, match_tensors
from .weights import BackboneWeightsError, find_weights, read_tensors

# Fields that choose code or a backend rather than an architecture: a folder has no say in these.
_IGNORED_FIELDS = ("auto_map", "attn_implementation", "_attn_implementation", "fusion_config")


def read_config(name: str, folder: Path) -> Any:
    """The configuration of an architecture that plmlearn and this transformers know.

    Raises
    ------
    BackboneNotFoundError
        There is no ``config.json``.
    ValueError
        It is damaged, or of an unknown architecture, or of a quantized checkpoint.
    ImportError
        This transformers is too old for the architecture.
    """
    file = folder / "config.json"
    if not file.exists():
        raise BackboneNotFoundError(
            f"Backbone {name!r}: {folder} has no config.json; expected a folder written by "
            "save_pretrained or by plmlearn.backbones.download_backbone."
        )
    try:
        fields = dict(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise BackboneWeightsError(f"Backbone {name!r}: {file} is no JSON object ({error}).") from error
    model_type = fields.get("model_type")
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
    if fields.get("quantization_config"):
        raise BackboneWeightsError(
            f"Backbone {name!r} is a quantized checkpoint (quantization_config in {file}). Take the one in "
            "float32, float16 or bfloat16, and pass quantization= to hold it in fewer bits."
        )
    kept = {field: value for field, value in fields.items() if field not in _IGNORED_FIELDS}
    config_class = getattr(transformers, ARCHITECTURES[model_type].model_class).config_class
    try:
        config = config_class.from_dict(kept)
        _empty_model(ARCHITECTURES[model_type], config)
    except Exception as error:  # the library validates in many ways
        raise BackboneWeightsError(f"Backbone {name!r}: {file} describes no model ({error}).") from error
    return config


def read_vocabulary(name: str, folder: Path) -> dict[str, int]:
    """Token ids by token, from the tokenizer's files."""
    try:
        return transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False).get_vocab()
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


def read_weights(name: str, folder: Path, architecture: Architecture, config: Any) -> dict[str, Tensor]:
    """The encoder's tensors as they are stored, by name of the model's parameter."""
    if not find_weights(folder):
        raise BackboneNotFoundError(
            f"Backbone {name!r}: {folder} holds no weights; expected model.safetensors or pytorch_model.bin, "
            "in shards with their index, or one *.ckpt. Write them with save_pretrained."
        )
    stored = read_tensors(folder)
    return match_tensors(name, stored, _empty_model(architecture, config), architecture.optional_weights)


def draw_weights(architecture: Architecture, config: Any, seed: int = 0) -> dict[str, Tensor]:
    """Random float32 tensors for every parameter, as transformers draws them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _make_model(architecture, config).float()
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def make_model(
    architecture: Architecture, config: Any, tensors: Mapping[str, Tensor], dtype: torch.dtype
) -> nn.Module:
    """The transformers model that holds copies of these tensors.

    Matrices are in ``dtype``, norms and rotary frequencies in float32. Tensors that the encoder does not
    use and that are missing are zero.
    """
    empty, precise = _empty_model(architecture, config), set()
    for path, module in empty.named_modules():
        if type(module).__name__.endswith("LayerNorm"):
            precise |= {f"{path}.{leaf}" for leaf, _ in module.named_parameters()}
    held = {}
    for name, parameter in empty.named_parameters():
        tensor = tensors[name] if name in tensors else torch.zeros(parameter.shape)
        held[name] = tensor.to(torch.float32 if name in precise else dtype, copy=True)
    model = type(empty).from_pretrained(
        None, config=config, state_dict=held.copy(), dtype=dtype, **architecture.load_options
    )
    for name, parameter in model.named_parameters():
        parameter.data = held[name]
    frequencies = tensors[FREQUENCIES] if FREQUENCIES in tensors else _frequencies(config)
    for name, buffer in model.named_buffers():
        if name.endswith(FREQUENCIES):
            buffer.data = frequencies.to(torch.float32, copy=True)
    return model.eval().requires_grad_(False)


def _make_model(architecture: Architecture, config: Any) -> nn.Module:
    return getattr(transformers, architecture.model_class)(config, **architecture.load_options)


def _empty_model(architecture: Architecture, config: Any) -> Any:
    """The model without memory for its tensors: names and shapes alone."""
    with torch.device("meta"):
        return _make_model(architecture, config)


def _frequencies(config: Any) -> Tensor:
    """Rotary frequencies where a checkpoint stores none, shape (head width / 2,)."""
    width = config.hidden_size // config.num_attention_heads
    return getattr(config, "rope_theta", 10000.0) ** -(torch.arange(0, width, 2).float() / width)


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
