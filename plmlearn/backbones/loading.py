"""Find a backbone by its name and load it, once per process, device, precision and quantization.

A name is a bundled encoder, a folder, a short name or a Hugging Face id. The tensors of a loaded backbone are
shared by every model built on it and never change.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import shutil
import warnings
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from huggingface_hub import get_repo_discussions, snapshot_download
from huggingface_hub.errors import HFValidationError

from ..nn.locks import ForkSafeLock
from ..sequences.checked import TEXT, checked, one_of
from ..sequences.files import local_path
from .backbone import ARCHITECTURES, CHECKPOINTS, DTYPES, Alphabet, Backbone, Precision
from .folder import (
    BackboneNotFoundError,
    BackboneWeightsError,
    check_files,
    digest_tensors,
    draw_weights,
    find_weights,
    make_model,
    quiet_transformers,
    read_config,
    read_vocabulary,
    read_weights,
)
from .quantization import Quantization, quantize

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


Init = Literal["pretrained", "random"]

_loaded: dict[tuple, Backbone] = {}
_lock = ForkSafeLock()


@checked(
    revision=[str, None],
    device=[str, torch.device],
    precision=one_of(DTYPES),
    init=one_of(get_args(Init)),
    quantization=[*one_of(get_args(Quantization)), None],
)
def load_backbone(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    device: str | torch.device = "cpu",
    precision: Precision = "fp32",
    init: Init = "pretrained",
    quantization: Quantization | None = None,
) -> Backbone:
    """A frozen pretrained encoder, loaded once per process, device, precision and quantization.

    Parameters
    ----------
    name : str or PathLike
        ``"mini"`` (bundled), a short name such as ``"esm2-35m"``, a Hugging Face id, or a folder
        with ``config.json``, the tokenizer, and the weights as safetensors or ``pytorch_model.bin``.
        With ``"#3di"`` after it, ProstT5 reads structural states.
    revision : str, optional
        Branch, tag or commit of a Hugging Face repository.
    device : str or torch.device, default="cpu"
    precision : {"fp32", "bf16", "fp16"}, default="fp32"
        Of the frozen matrices.
    init : {"pretrained", "random"}, default="pretrained"
        ``"random"`` keeps the architecture and draws new weights (seed 0): the control experiment.
    quantization : {"int8", "nf4"}, optional
        Hold the layers' matrices in 8 or 4 bits. "nf4" needs ``pip install "plmlearn[quantization]"``.

    Returns
    -------
    Backbone

    Raises
    ------
    ImportError
        A package is missing: bitsandbytes for "nf4", sentencepiece for some tokenizers.
    ValueError
        The architecture is unknown, or its activations overflow in this precision.
    BackboneNotFoundError
        Nothing has this name on this machine, and the hub is out of reach or does not know it.
    BackboneWeightsError
        A file is damaged or holds more than tensors, or a tensor is missing or has another shape.

    Warns
    -----
    UserWarning
        A folder has the name of published weights, or tensors are stored under an unusual prefix.

    Examples
    --------
    >>> from plmlearn.backbones import load_backbone
    >>> backbone = load_backbone("mini")
    >>> backbone.n_layers, backbone.config.hidden_size
    (4, 192)
    >>> ids, lengths = backbone.tokenize(["MKV"])
    >>> ids.tolist()
    [0, 20, 15, 7, 2]
    """
    place, alphabet = resolve_name(name)
    options = (revision, torch.device(device), precision, init, quantization, alphabet)
    key = (place, _stamp(Path(place)), *map(str, options))
    with _lock.lock:
        if key not in _loaded:
            _loaded[key] = _load(str(name), place, *options)
        return _loaded[key]


@checked(expected=TEXT)
def check_fingerprint(backbone: Backbone, expected: str) -> None:
    """Refuse a backbone that is not the one an estimator was fitted on.

    Parameters
    ----------
    backbone : Backbone
    expected : str
        Its fingerprint at the fit.

    Raises
    ------
    BackboneWeightsError
        The fingerprints differ.
    """
    if backbone.fingerprint != expected:
        raise BackboneWeightsError(
            f"This estimator was fitted on {backbone.name!r} with fingerprint {expected}, but what is found "
            f"under that name here has {backbone.fingerprint}: its weights, configuration or vocabulary "
            "differ. Predictions would be wrong; provide the original folder."
        )


def unload_backbones() -> None:
    """Forget every loaded backbone. Memory is freed once no estimator uses it any more."""
    with _lock.lock:
        _loaded.clear()


@checked(revision=[str, None])
def download_backbone(
    name: str | os.PathLike[str], folder: str | os.PathLike[str], *, revision: str | None = None
) -> Path:
    """Prepare a folder for a machine without network.

    Run it where there is network, copy the folder, and pass its path as ``backbone=``. Every file
    of weights is checked against the SHA-256 that the hub states for it.

    Parameters
    ----------
    name : str or PathLike
        Short name or Hugging Face id. A bundled backbone or a local folder is copied.
    folder : str or PathLike
        Where to write ``config.json``, the weights and the tokenizer's files.
    revision : str, optional
        Branch, tag or commit.

    Returns
    -------
    Path
        The folder, ready for ``backbone=``.

    Examples
    --------
    >>> import tempfile
    >>> from plmlearn.backbones import download_backbone
    >>> with tempfile.TemporaryDirectory() as home:
    ...     sorted(p.name for p in download_backbone("mini", home).iterdir())[:2]
    ['config.json', 'model.safetensors']
    """
    backbone = load_backbone(name, revision=revision)
    folder = local_path(folder, "folder")
    folder.mkdir(parents=True, exist_ok=True)
    weights = set(find_weights(backbone.folder))
    for pattern in (*HUB_FILES, *PICKLED_FILES, "*.ckpt"):
        for file in backbone.folder.glob(pattern):
            if file in weights or file.suffix not in (".safetensors", ".bin", ".ckpt"):
                shutil.copyfile(file, folder / file.name)
    if load_backbone(str(folder)).fingerprint != backbone.fingerprint:
        raise BackboneWeightsError(f"The copy of {name!r} in {folder} differs from its source.")
    return folder


def _load(
    name: str,
    place: str,
    revision: str | None,
    device: torch.device,
    precision: Precision,
    init: Init,
    quantization: Quantization | None,
    alphabet: Alphabet,
) -> Backbone:
    folder = find_files(name, place, revision)
    check_files(name, folder)
    with quiet_transformers():
        config = read_config(name, folder)
        architecture = ARCHITECTURES[config.model_type]
        if precision not in architecture.precisions:
            raise ValueError(
                f"precision={precision!r}: activations of {name!r} exceed what {precision} can hold, and "
                f"results would be nan; {architecture.model_class} runs in "
                f"{' or '.join(architecture.precisions)}. Pass precision='bf16', or 'fp32' on a device that "
                "is slow in it, or 'auto'."
            )
        vocabulary = read_vocabulary(name, folder)
        if init == "random":
            tensors = draw_weights(architecture, config)
        else:
            tensors = read_weights(name, folder, architecture, config)
        digest = digest_tensors(tensors, architecture.optional_weights)
        model = make_model(architecture, config, tensors, DTYPES[precision])
    backbone = Backbone(
        name, revision, model, architecture, vocabulary, precision, quantization, alphabet, folder, digest
    )
    _ = backbone.token_format  # or an error
    if quantization is not None:
        _ = backbone.n_parameters  # counted before matrices are packed
        quantize(backbone.layers, quantization)
    model.to(device)
    return backbone


def _stamp(folder: Path) -> tuple:
    """Changes when files in a local folder change, so that a rewritten folder is read again."""
    kept = (".json", ".txt", ".model", ".safetensors", ".bin", ".ckpt")
    files = [file for file in folder.glob("*") if file.suffix in kept and file.is_file()]
    return tuple(sorted((f.name, f.stat().st_mtime_ns, f.stat().st_size) for f in files))
