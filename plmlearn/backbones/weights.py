"""The tensors of a checkpoint's folder, as they are stored.

Safetensors files are preferred. Pickled files, in which many checkpoints of this field are published, are
read as tensors alone: whatever else a file asks for is refused and never executed. All files are
memory-mapped, so reading costs little until a tensor is used.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

_FILES = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)


class BackboneWeightsError(ValueError):
    """The weights cannot be read, or are not those of the architecture or of the fit."""


def find_weights(folder: Path) -> list[Path]:
    """The files that hold a folder's weights; an index may name files that are missing.

    Raises
    ------
    BackboneWeightsError
        An index is damaged, or names a file outside the folder.
    """
    for single, index in _FILES:
        if (folder / single).exists():
            return [folder / single]
        if (folder / index).exists():
            return _read_index(folder / index)
    return list(folder.glob("*.ckpt"))


def _read_index(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
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
    for name, value in stored.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or not _is_plain(value):
            raise _unreadable(file, f"entry {name!r} is a {type(value).__name__}; expected a dense tensor")
    return stored


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized


def _unreadable(file: Path, reason: str) -> BackboneWeightsError:
    return BackboneWeightsError(f"{file} cannot be read: {reason}. Get the checkpoint again.")


def digest_tensors(tensors: Mapping[str, Tensor], without: tuple[str, ...] = ()) -> str:
    """Digest of names, shapes, data types and every bit; about a second per GB.

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
