"""Where the files of a backbone lie: in the package, in a folder, in the hub's cache, or on the hub."""

from __future__ import annotations

import difflib
import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from huggingface_hub import get_repo_discussions, snapshot_download
from huggingface_hub.errors import HFValidationError

from .architectures import ALIASES

BUNDLED = {"mini": "mini"}  # name: folder under plmlearn/assets

# What a backbone consists of; nothing executable (no pickled weights, no code) is ever fetched.
HUB_FILES = (
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "vocab.txt",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "*.model",
)


class BackboneNotFoundError(OSError):
    """No weights under this name: not on this machine, and not from the hub either."""


class BackboneWeightsError(ValueError):
    """The weights found are not those of the architecture: tensors missing or of other shapes."""


def resolve_name(name: str) -> str:
    """The folder or Hugging Face id that a backbone name stands for."""
    if not isinstance(name, str) or not name:
        raise TypeError(f"backbone is a name or a folder (str), got {name!r}")
    name, _ = part_name(name)
    if name in BUNDLED:
        return str(files("plmlearn.assets") / BUNDLED[name])
    if name in ALIASES:
        return part_name(ALIASES[name])[0]
    if Path(name).is_dir():
        return str(Path(name).resolve())
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return name
    known = [*BUNDLED, *ALIASES]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise BackboneNotFoundError(
        f"Unknown backbone {name!r}: neither a folder on this machine, nor a Hugging Face id "
        f"('owner/name'), nor one of {', '.join(known)}.{hint}"
    )


def part_name(name: str) -> tuple[str, str]:
    """A name without its ``#alphabet``, and that alphabet.

    >>> part_name("my/folder#3di"), part_name("esm2-8m")
    (('my/folder', '3di'), ('esm2-8m', 'aa'))
    """
    alone, mark, alphabet = ALIASES.get(name, name).rpartition("#")
    return (alone, alphabet) if mark and alphabet in ("aa", "3di") else (name, "aa")


def find_files(name: str, place: str, revision: str | None) -> Path:
    """The local folder of a backbone, downloaded and verified first where need be."""
    if Path(place).is_dir():
        return Path(place)
    options: Any = {"repo_id": place, "revision": revision, "allow_patterns": list(HUB_FILES)}
    try:
        folder = Path(snapshot_download(**options, local_files_only=True))
        if _has_all_weights(folder):
            return folder
    except (HFValidationError, OSError):
        pass
    try:
        folder = Path(snapshot_download(**options))
        if not any(folder.glob("*.safetensors")) and revision is None:
            folder = _find_conversion(place, options) or folder
    except (HFValidationError, OSError) as error:
        at = f" at revision {revision!r}" if revision else ""
        raise BackboneNotFoundError(
            f"Backbone {name!r}: looked for {place!r}{at} in the local Hugging Face cache and on the hub, "
            f"found neither ({type(error).__name__}). Without network use backbone='mini', which is "
            "bundled, or a folder that plmlearn.backbones.download_backbone prepared elsewhere."
        ) from error
    _verify_download(folder)
    return folder


def _find_conversion(place: str, options: dict[str, Any]) -> Path | None:
    """Weights that the hub's own robot has converted to safetensors, in a pull request of its own.

    Older repositories, ProtT5's among them, hold pickled weights alone on their main branch.
    """
    requests = get_repo_discussions(place, author="SFconvertbot", discussion_type="pull_request")
    for request in requests:
        if request.title.startswith("Adding `safetensors` variant") and request.status != "closed":
            return Path(snapshot_download(**options | {"revision": request.git_reference}))
    return None


def _has_all_weights(folder: Path) -> bool:
    """Whether no file of weights is missing, as after a download that was cut short."""
    needed = set(folder.glob("*.safetensors"))
    for index in folder.glob("*.safetensors.index.json"):
        needed |= {folder / shard for shard in json.loads(index.read_text())["weight_map"].values()}
    return bool(needed) and all(file.exists() for file in needed)


def _verify_download(folder: Path) -> None:
    """Check large files against their SHA-256, which the hub's cache uses as their name."""
    for file in folder.glob("*.safetensors"):
        expected = file.resolve().name
        if len(expected) != 64:
            continue
        with open(file, "rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != expected:
            file.resolve().unlink()
            raise BackboneWeightsError(
                f"{file.name} arrived damaged: SHA-256 {found}, expected {expected}. "
                "The file was removed; try again."
            )
