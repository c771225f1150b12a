"""Where a backbone's files are: in the package, in a folder, in the hub's cache, or on the hub."""

from __future__ import annotations

import difflib
import hashlib
import os
import warnings
from importlib.resources import files
from pathlib import Path
from typing import Any

from huggingface_hub import get_repo_discussions, snapshot_download
from huggingface_hub.errors import HFValidationError

from .architectures import CHECKPOINTS, Alphabet
from .weights import BackboneWeightsError, find_weights

BUNDLED = ("mini",)  # folders under plmlearn/assets

# What a backbone consists of. No code is ever fetched; pickled weights only where there are no others.
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
PICKLED_FILES = ("pytorch_model*.bin", "pytorch_model.bin.index.json")


class BackboneNotFoundError(OSError):
    """No backbone under this name: neither on this machine nor on the hub."""


def resolve_name(name: str | os.PathLike[str]) -> tuple[str, Alphabet]:
    """What a backbone name stands for.

    Parameters
    ----------
    name : str or PathLike
        A folder, a bundled backbone, a short name, or a Hugging Face id. ``#3di`` may follow, and ``~``
        is the home folder. A folder that holds a checkpoint wins over a short name.

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
    name = os.fspath(name) if isinstance(name, os.PathLike) else name
    if not isinstance(name, str) or not name:
        raise TypeError(f"backbone is a name or a folder (str or PathLike), got {name!r}")
    alone = name.removesuffix("#3di")
    folder = Path(os.path.expanduser(alone))
    is_short = alone in BUNDLED or alone in CHECKPOINTS
    if folder.is_dir() and (not is_short or (folder / "config.json").exists()):
        if is_short:
            warnings.warn(
                f"backbone={name!r} is read from the folder {folder.resolve()}, not from the published "
                "weights of that short name. Rename the folder if those are meant.",
                stacklevel=2,
            )
        return str(folder.resolve()), "aa" if alone == name else "3di"
    place = CHECKPOINTS[alone].place if alone in CHECKPOINTS else alone
    alphabet: Alphabet = "3di" if "#3di" in (name[-4:], place[-4:]) else "aa"
    place = place.removesuffix("#3di")
    if place in BUNDLED:
        return str(files("plmlearn.assets") / place), alphabet
    if place.count("/") == 1 and not place.startswith((".", "/", "~")):
        return place, alphabet
    known = [*BUNDLED, *CHECKPOINTS]
    near = difflib.get_close_matches(place, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise BackboneNotFoundError(
        f"Unknown backbone {place!r}: neither a folder on this machine, nor a Hugging Face id "
        f"('owner/name'), nor one of {', '.join(known)}.{hint}"
    )


def find_files(name: str, place: str, revision: str | None) -> Path:
    """The local folder of a backbone; what is missing is downloaded and verified first.

    Parameters
    ----------
    name : str
        For messages.
    place : str
        As :func:`resolve_name` returns it.
    revision : str or None

    Raises
    ------
    BackboneNotFoundError
        The files are neither here nor on the hub, or the hub is out of reach.
    BackboneWeightsError
        A file arrived damaged.
    """
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
        if not find_weights(folder):
            folder = _find_other_weights(place, options)
    except (HFValidationError, OSError) as error:
        at = f" at revision {revision!r}" if revision else ""
        raise BackboneNotFoundError(
            f"Backbone {name!r}: looked for {place!r}{at} in the local Hugging Face cache and on the hub, "
            f"found neither ({type(error).__name__}). Without network use backbone='mini', which is "
            "bundled, or a folder that plmlearn.backbones.download_backbone prepared elsewhere."
        ) from error
    for file in find_weights(folder):
        _verify_download(file)
    return folder


def _find_other_weights(place: str, options: dict[str, Any]) -> Path:
    """Safetensors that the hub's own robot converted, in a pull request; pickled weights otherwise.

    Older repositories, ProtT5's among them, hold only pickled weights on their main branch.
    """
    if options["revision"] is None:
        for request in get_repo_discussions(place, author="SFconvertbot", discussion_type="pull_request"):
            if request.title.startswith("Adding `safetensors` variant") and request.status != "closed":
                return Path(snapshot_download(**options | {"revision": request.git_reference}))
    return Path(snapshot_download(**options | {"allow_patterns": [*HUB_FILES, *PICKLED_FILES]}))


def _has_all_weights(folder: Path) -> bool:
    """Whether every file of weights is here; a download may have been cut short."""
    found = find_weights(folder)
    return bool(found) and all(file.exists() for file in found)


def _verify_download(file: Path) -> None:
    """Check a large file against its SHA-256, which the hub's cache uses as its name."""
    expected = file.resolve().name
    if len(expected) != 64:
        return
    with open(file, "rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        file.resolve().unlink()
        raise BackboneWeightsError(
            f"{file.name} arrived damaged: SHA-256 {found}, expected {expected}. "
            "The file was removed; try again."
        )
