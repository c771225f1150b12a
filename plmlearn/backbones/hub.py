"""Where a backbone's files are: in the package, in a folder, in the hub's cache, or on the hub."""

from __future__ import annotations

import difflib
import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from huggingface_hub import get_repo_discussions, snapshot_download
from huggingface_hub.errors import HFValidationError

from .architectures import CHECKPOINTS, Alphabet

BUNDLED = ("mini",)  # folders under plmlearn/assets

# What a backbone consists of. Nothing executable (no pickled weights, no code) is ever fetched.
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
    """No backbone under this name: neither on this machine nor on the hub."""


class BackboneWeightsError(ValueError):
    """The weights found are not those of the architecture: tensors are missing or have other shapes."""


def resolve_name(name: str) -> tuple[str, Alphabet]:
    """What a backbone name stands for.

    Parameters
    ----------
    name : str
        A bundled backbone, a short name, a folder, or a Hugging Face id. ``#3di`` may follow.

    Returns
    -------
    place : str
        Absolute path of a folder, or Hugging Face id.
    alphabet : {"aa", "3di"}

    Raises
    ------
    BackboneNotFoundError
        The name is none of these.

    Examples
    --------
    >>> resolve_name("esm2-8m"), resolve_name("me/my-model#3di")
    (('facebook/esm2_t6_8M_UR50D', 'aa'), ('me/my-model', '3di'))
    """
    if not isinstance(name, str) or not name:
        raise TypeError(f"backbone is a name or a folder (str), got {name!r}")
    alphabet: Alphabet = "aa"
    place = CHECKPOINTS[name].place if name in CHECKPOINTS else name
    if place.endswith("#3di"):
        place, alphabet = place.removesuffix("#3di"), "3di"
        place = CHECKPOINTS[place].place if place in CHECKPOINTS else place
    if place in BUNDLED:
        return str(files("plmlearn.assets") / place), alphabet
    if Path(place).is_dir():
        return str(Path(place).resolve()), alphabet
    if place.count("/") == 1 and not place.startswith((".", "/", "~")):
        return place, alphabet
    known = [*BUNDLED, *CHECKPOINTS]
    near = difflib.get_close_matches(place, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise BackboneNotFoundError(
        f"Unknown backbone {place!r}: neither a folder on this machine, nor a Hugging Face id "
        f"('owner/name'), nor one of {', '.join(known)}.{hint}"
    )


def find_files(name: str, revision: str | None) -> Path:
    """The local folder of a backbone; what is missing is downloaded and verified first."""
    place, _ = resolve_name(name)
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
    """Weights that the hub's own robot converted to safetensors, in a pull request.

    Older repositories, ProtT5's among them, hold only pickled weights on their main branch.
    """
    for request in get_repo_discussions(place, author="SFconvertbot", discussion_type="pull_request"):
        if request.title.startswith("Adding `safetensors` variant") and request.status != "closed":
            return Path(snapshot_download(**options | {"revision": request.git_reference}))
    return None


def _has_all_weights(folder: Path) -> bool:
    """Whether every file of weights is here; a download may have been cut short."""
    needed = set(folder.glob("*.safetensors"))
    for index in folder.glob("*.safetensors.index.json"):
        needed |= {folder / shard for shard in json.loads(index.read_text())["weight_map"].values()}
    return bool(needed) and all(file.exists() for file in needed)


def _verify_download(folder: Path) -> None:
    """Check large files against their SHA-256, which the hub's cache uses as their name."""
    for file in folder.glob("*.safetensors"):
        expected = file.resolve().name
        with open(file, "rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest() if len(expected) == 64 else expected
        if found != expected:
            file.resolve().unlink()
            raise BackboneWeightsError(
                f"{file.name} arrived damaged: SHA-256 {found}, expected {expected}. "
                "The file was removed; try again."
            )
