"""The folder of a checkpoint: its configuration, its vocabulary, its weights and the model that they make.

Weights are tensors and nothing else: no code of a file is ever executed. Names are matched whatever prefix a
checkpoint was saved with, and every tensor that an encoder needs must be there.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor, nn

from ..messages import warn
from ..nn.randomness import seeded
from .architectures import ARCHITECTURES
from .backbone import Architecture

_FILES = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)


class BackboneNotFoundError(OSError):
    """No backbone under this name: neither on this machine nor on the hub."""


class BackboneWeightsError(ValueError):
    """The weights cannot be read, or are not those of the architecture or of the fit."""


def require_files(name: str, folder: Path) -> None:
    """Refuse a folder with pipes or devices in it: reading one may never end."""
    odd = [file.name for file in folder.glob("*") if file.exists() and not (file.is_file() or file.is_dir())]
    if odd:
        raise BackboneWeightsError(
            f"Backbone {name!r}: {folder} holds what is no file ({', '.join(sorted(odd)[:3])}): a pipe or a "
            "device. Put a file in its place."
        )


def find_weights(folder: Path) -> list[Path]:
    """The files that hold a folder's weights; an index may name files that are missing.

    Raises
    ------
    BackboneWeightsError
        An index is damaged, or names a file outside the folder; or there are several ``*.ckpt``.
    """
    for single, index in _FILES:
        if (folder / single).exists():
            return [folder / single]
        if (folder / index).exists():
            return _read_index(folder / index)
    found = list(folder.glob("*.ckpt"))
    if len(found) > 1:
        raise BackboneWeightsError(f"{folder} holds {len(found)} *.ckpt files; keep the one that is meant.")
    return found


def _read_index(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise _unreadable(index, f"no index of weights: {type(error).__name__}") from error
    suffix = Path(index.name.removesuffix(".index.json")).suffix
    for name in names:
        if not re.fullmatch(r"[\w-][\w.-]*", str(name)) or not str(name).endswith(suffix):
            raise _unreadable(index, f"it names {name!r}; expected names of *{suffix} files in this folder")
    return [index.parent / name for name in names]


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder by the names under which they are stored, memory-mapped.

    Raises
    ------
    BackboneWeightsError
        A file is missing, truncated, damaged, or holds something other than tensors; or the folder
        holds a peft adapter beside the backbone.
    """
    adapters = [file.name for name in ("adapter_config.json", "adapter_model*") for file in folder.glob(name)]
    if adapters:
        raise BackboneWeightsError(
            f"{folder} holds a peft adapter ({', '.join(adapters)}); a backbone is read without one. Merge "
            "it into the weights (model.merge_and_unload().save_pretrained(...)), or move its files away."
        )
    tensors: dict[str, Tensor] = {}
    for file in find_weights(folder):
        tensors |= _read_safetensors(file) if file.suffix == ".safetensors" else _read_pickled(file)
    return tensors


def never_changes(file: Path) -> bool:
    """Whether a file lies in the Hugging Face cache, which names files by their content."""
    blob = file.resolve()
    return blob.parent.name == "blobs" and len(blob.name) == 64


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(file)
    except (OSError, SafetensorError) as error:
        raise _unreadable(file, str(error)) from error


def _read_pickled(file: Path) -> dict[str, Tensor]:
    try:
        # Files of old torch versions are no zip archives and cannot be mapped.
        stored = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except Exception as error:  # a damaged or hostile pickle raises anything
        asked = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it asks for {asked[1]}; only tensors are read" if asked else "it is damaged or truncated"
        # torch's own message recommends weights_only=False, which would run code: it is not shown.
        raise _unreadable(file, reason) from None
    if isinstance(stored, dict) and isinstance(stored.get("state_dict"), dict):
        stored = stored["state_dict"]  # a checkpoint of Lightning
    if not isinstance(stored, dict):
        raise _unreadable(file, f"it holds one {type(stored).__name__}; expected a dict of tensors")
    if inner := [name for name, value in stored.items() if isinstance(value, dict)]:
        raise _unreadable(
            file, f"entry {inner[0]!r} is a dict", "If it holds the weights, save that dict alone."
        )
    for name, value in stored.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or not _is_plain(value):
            raise _unreadable(file, f"entry {name!r} is a {type(value).__name__}; expected a dense tensor")
    return stored


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized


def _unreadable(file: Path, reason: str, advice: str = "Get the checkpoint again.") -> BackboneWeightsError:
    return BackboneWeightsError(f"{file} cannot be read: {reason}. {advice}")


def digest_tensors(tensors: Mapping[str, Tensor], without: tuple[str, ...] = ()) -> str:
    """Digest of names, shapes, data types and every bit; one to two seconds per GB.

    Parameters
    ----------
    tensors : dict of str to Tensor
    without : tuple of str
        Prefixes of names that are left out.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        if name.startswith(without):
            continue
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


FREQUENCIES = "rotary_embeddings.inv_freq"  # stored once, or in each layer

_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


def match_tensors(
    name: str, stored: Mapping[str, Tensor], model: nn.Module, optional: tuple[str, ...]
) -> dict[str, Tensor]:
    """The tensors of a checkpoint by the names that the model has for them.

    Parameters
    ----------
    name : str
        Of the backbone, for messages.
    stored : dict of str to Tensor
        As :func:`plmlearn.backbones.folder.read_tensors` returns them.
    model : nn.Module
        Only names and shapes matter: it may be on the meta device.
    optional : tuple of str
        Prefixes of parameters that may be missing.

    Returns
    -------
    dict of str to Tensor
        Every parameter once, and :data:`FREQUENCIES` where they are stored.

    Raises
    ------
    BackboneWeightsError
        A parameter is missing or has another shape, or several whole encoders are stored.

    Warns
    -----
    UserWarning
        The prefix is not one that transformers itself writes.
    """
    found = _by_prefix(stored, model)
    needed = {parameter for parameter, _ in model.named_parameters() if not parameter.startswith(optional)}
    whole = [prefix for prefix, tensors in found.items() if needed <= tensors.keys()]
    if len(whole) > 1:
        raise BackboneWeightsError(
            f"Backbone {name!r}: its weights hold {len(whole)} whole encoders, under "
            f"{' and '.join(map(repr, whole))}. Save the one that you mean alone."
        )
    prefix = whole[0] if whole else max(found, key=lambda prefix: len(found[prefix]), default="")
    if missing := sorted(needed - found[prefix].keys()):
        raise BackboneWeightsError(
            f"Backbone {name!r}: {len(missing)} tensors of {type(model).__name__} are missing from its "
            f"weights or have another shape, among them {', '.join(missing[:3])}. They would be random; get "
            "the whole checkpoint, or pass backbone_init='random' if random weights are meant."
        )
    if prefix not in ("", f"{getattr(model, 'base_model_prefix', '')}."):
        warn(
            f"Backbone {name!r}: its tensors are stored under {prefix!r}; they are read without that prefix."
        )
    return found[prefix] | _stored_frequencies(name, stored, prefix, model)


def _by_prefix(stored: Mapping[str, Tensor], model: nn.Module) -> dict[str, dict[str, Tensor]]:
    """For each prefix of the stored names, the parameters that are under it. Tied ones have one name."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, tensor in stored.items():
        for old, new in _OLD_NAMES.items():
            key = key.replace(old, new)
        for start in (0, *(dot.end() for dot in re.finditer(r"\.", key))):
            parameter = parameters.get(key[start:])
            if parameter is None or tensor.shape != parameter.shape or tensor.dtype not in _FLOATS:
                continue
            name, tensors = names[id(parameter)], found[key[:start]]
            if name == key[start:] or name not in tensors:
                tensors[name] = tensor
    return found


def _stored_frequencies(
    name: str, stored: Mapping[str, Tensor], prefix: str, model: nn.Module
) -> dict[str, Tensor]:
    """Rotary frequencies, if the model has them and they are stored: they may be rounded on purpose."""
    expected = [buffer.shape for key, buffer in model.named_buffers() if key.endswith(FREQUENCIES)]
    found = [x for key, x in stored.items() if key.startswith(prefix) and key.endswith(FREQUENCIES)]
    if not (expected and found):
        return {}
    if any(x.shape != expected[0] or not x.equal(found[0]) for x in found):
        raise BackboneWeightsError(
            f"Backbone {name!r}: its rotary frequencies (*.{FREQUENCIES}) differ between layers or have "
            f"another shape than {tuple(expected[0])}."
        )
    return {FREQUENCIES: found[0]}


# Fields that choose code or a backend rather than an architecture: a folder has no say in these.
_IGNORED_FIELDS = ("auto_map", "attn_implementation", "_attn_implementation", "fusion_config")


_MOST_LAYERS = 1000


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
        fields = dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise BackboneWeightsError(f"Backbone {name!r}: {file} is no JSON object ({error}).") from error
    model_type = fields.get("model_type")
    if not isinstance(model_type, str) or model_type not in ARCHITECTURES:
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
        if not 1 <= config.num_hidden_layers <= _MOST_LAYERS:  # a million empty layers take hours
            raise ValueError(f"num_hidden_layers={config.num_hidden_layers}; expected 1 to {_MOST_LAYERS}")
        _empty_model(ARCHITECTURES[model_type], config)
    except Exception as error:  # the library validates in many ways
        raise BackboneWeightsError(f"Backbone {name!r}: {file} describes no model ({error}).") from error
    _check_supported(name, ARCHITECTURES[model_type], config)
    _require_numbers(name, file, config)
    return config


def _require_numbers(name: str, file: Path, config: Any) -> None:
    """Refuse what transformers leaves unchecked, and the first forward pass would stumble over."""
    masked = ("mask_token_id",) if getattr(config, "token_dropout", False) else ()
    is_placed = config.model_type == "esm" and config.position_embedding_type == "absolute"
    padded = ("pad_token_id",) if is_placed else ()  # positions are counted from behind it
    for field in ("layer_norm_eps", "layer_norm_epsilon", *masked, *padded):
        if not isinstance(getattr(config, field, 0), Real):
            raise BackboneWeightsError(
                f"Backbone {name!r}: {file} has {field}={getattr(config, field)!r}; expected a number."
            )


def _check_supported(name: str, architecture: Architecture, config: Any) -> None:
    """Refuse variants of an architecture that are computed in another way."""
    found = {field: _value_of(config, field) for field in architecture.supported}
    others = {f: value for f, value in found.items() if value not in architecture.supported[f]}
    if others:
        told = ", ".join(f"{f}={v!r} (known: {architecture.supported[f]})" for f, v in others.items())
        raise BackboneWeightsError(
            f"Backbone {name!r}: plmlearn does not compute a {architecture.model_class} with {told}."
        )


def _value_of(config: Any, path: str) -> Any:
    field, _, inner = path.partition(".")
    value = getattr(config, field, None)
    return (value or {}).get(inner) if inner else value


def check_vocabulary(name: str, vocabulary: Mapping[str, int], model: Any) -> None:
    """Refuse a tokenizer whose ids the model has no embeddings for: it belongs to another model.

    Raises
    ------
    BackboneWeightsError
        There are more tokens than embeddings.
    """
    n_embeddings, largest = model.get_input_embeddings().num_embeddings, max(vocabulary.values(), default=0)
    if largest >= n_embeddings:
        raise BackboneWeightsError(
            f"Backbone {name!r}: its tokenizer has token ids up to {largest}, and the model has embeddings "
            f"for 0 to {n_embeddings - 1}. Put the tokenizer of this model into its folder."
        )


def read_vocabulary(name: str, folder: Path) -> dict[str, int]:
    """Token ids by token, from the tokenizer's files."""
    try:
        return transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False).get_vocab()
    except Exception as error:  # the library reads files of many kinds, and tokenizers raises no other
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
    found = match_tensors(name, stored, _empty_model(architecture, config), architecture.optional_weights)
    if odd := [key for key, tensor in found.items() if not tensor.isfinite().all()]:
        raise BackboneWeightsError(
            f"Backbone {name!r}: {len(odd)} of its tensors have values that are not finite, among them "
            f"{', '.join(odd[:3])}; embeddings would be nan. Get the checkpoint again."
        )
    return found


def draw_weights(architecture: Architecture, config: Any, seed: int = 0) -> dict[str, Tensor]:
    """Random float32 tensors for every parameter, as transformers draws them."""
    with seeded(seed):
        model = _make_model(architecture, config).float()
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def make_model(
    architecture: Architecture,
    config: Any,
    tensors: Mapping[str, Tensor],
    dtype: torch.dtype,
    *,
    copy: bool = True,
) -> nn.Module:
    """The transformers model that holds copies of these tensors.

    Matrices are in ``dtype``, norms and rotary frequencies in float32. Tensors that the encoder does not
    use and that are missing are zero. ``copy=False`` holds the tensors themselves where their data type is
    the right one: of a file that is mapped, all processes share one copy.
    """
    empty, precise = _empty_model(architecture, config), set()
    for path, module in empty.named_modules():
        if type(module).__name__.endswith("LayerNorm"):
            precise |= {f"{path}.{leaf}" for leaf, _ in module.named_parameters()}
    held = {}
    for name, parameter in empty.named_parameters():
        tensor = tensors[name] if name in tensors else torch.zeros(parameter.shape)
        held[name] = tensor.to(torch.float32 if name in precise else dtype, copy=copy)
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
