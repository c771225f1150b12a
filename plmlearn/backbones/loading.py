"""Find a backbone by its name and load it, once per process, device, precision and quantization.

A name is a bundled encoder, a folder, a short name or a Hugging Face id. The tensors of a loaded backbone are
shared by every model built on it and never change.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import warnings
from collections.abc import Iterator
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from huggingface_hub import get_repo_discussions, snapshot_download
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import HFValidationError
from huggingface_hub.file_download import repo_folder_name

from ..messages import warn
from ..nn.locks import ForkSafeLock
from ..nn.randomness import on_cpu_by_default
from ..sequences.checked import TEXT, checked, one_of
from ..sequences.clean import did_you_mean, local_path
from .architectures import ARCHITECTURES, CHECKPOINTS
from .backbone import (
    DTYPES,
    Alphabet,
    Architecture,
    Backbone,
    Precision,
    check_n_layers,
    find_token_format,
)
from .folder import (
    BackboneNotFoundError,
    BackboneWeightsError,
    check_vocabulary,
    digest_tensors,
    draw_weights,
    find_weights,
    make_model,
    never_changes,
    quiet_transformers,
    read_config,
    read_vocabulary,
    read_weights,
    require_files,
)
from .quantization import Quantization, quantize

BUNDLED = ("mini",)  # folders under plmlearn/assets
_LONGEST_ID = 96  # characters, of a Hugging Face id

# What a backbone consists of. No code is ever fetched; pickled weights only where there are no others.
TOKENIZER_FILES = ("vocab.txt", "tokenizer*", "*.model")
HUB_FILES = (
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    *TOKENIZER_FILES,
    "special_tokens_map.json",
    "added_tokens.json",
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
    folder = _existing_folder(alone)
    is_short = alone in BUNDLED or alone in CHECKPOINTS
    if folder and (not is_short or (folder / "config.json").exists()):
        if is_short:
            warn(
                f"backbone={name!r} is read from the folder {folder}, not from the published "
                "weights of that short name. Rename the folder if those are meant."
            )
        return str(folder), "aa" if alone == name else "3di"
    place = CHECKPOINTS[alone].place if alone in CHECKPOINTS else alone
    alphabet: Alphabet = "3di" if "#3di" in (name[-4:], place[-4:]) else "aa"
    place = place.removesuffix("#3di")
    if place in BUNDLED:
        return str(files("plmlearn.assets") / place), alphabet
    if place.count("/") == 1 and not place.startswith((".", "/", "~")) and len(place) <= _LONGEST_ID:
        return place, alphabet
    known = [*BUNDLED, *CHECKPOINTS]
    raise BackboneNotFoundError(
        f"Unknown backbone {place!r}: neither a folder on this machine, nor a Hugging Face id "
        f"('owner/name'), nor one of {', '.join(known)}.{did_you_mean(place, known)}"
    )


def _existing_folder(name: str) -> Path | None:
    """The absolute path of a folder; a name too long for one is the name of none."""
    return local_path(name).resolve() if os.path.isdir(os.path.expanduser(name)) else None


def absolute_name(name: str | os.PathLike[str]) -> str:
    """The same backbone by a name that does not depend on the working directory."""
    with warnings.catch_warnings():  # told when it was loaded
        warnings.simplefilter("ignore")
        place, alphabet = resolve_name(name)
    alone = os.fspath(name).removesuffix("#3di")
    if place != str(_existing_folder(alone)):
        return os.fspath(name)
    return place if alphabet == "aa" else f"{place}#3di"


def reads_states(name: str | os.PathLike[str], revision: str | None) -> bool:
    """Whether residues may have structural states in a backbone's vocabulary; no weights are read."""
    place, alphabet = resolve_name(name)
    folder = find_files(str(name), place, revision)
    with quiet_transformers():
        architecture = ARCHITECTURES[read_config(str(name), folder).model_type]
        vocabulary = read_vocabulary(str(name), folder)
    return find_token_format(str(name), architecture, vocabulary, alphabet).reads_states


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
    if os.path.isdir(place):
        return Path(place)
    options: Any = {"repo_id": place, "revision": revision, "allow_patterns": list(HUB_FILES)}
    try:
        folder = Path(snapshot_download(**options, local_files_only=True))
        if _is_whole(folder):
            return folder
        if revision is None and (converted := _find_cached_request(name, place)) is not None:
            return converted
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
            f"found it whole in neither ({type(error).__name__}). Without network use backbone='mini', which "
            "is bundled, or a folder that plmlearn.backbones.download_backbone prepared elsewhere."
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


def _find_cached_request(name: str, place: str) -> Path | None:
    """The snapshot of a pull request with weights, where an earlier download has left one in the cache."""
    refs = Path(HF_HUB_CACHE, repo_folder_name(repo_id=place, repo_type="model"), "refs", "refs", "pr")
    found = {}
    for ref in refs.glob("*"):
        revision = f"refs/pr/{ref.name}"
        with contextlib.suppress(OSError):
            folder = Path(snapshot_download(repo_id=place, revision=revision, local_files_only=True))
            if _is_whole(folder) and (folder / "config.json").exists():
                found[revision] = folder
    if len(found) > 1:
        raise BackboneWeightsError(
            f"Backbone {name!r}: in the cache the main branch of {place!r} has no weights, and several pull "
            f"requests have: {', '.join(sorted(found))}. Pass the one that is meant as revision=."
        )
    return next(iter(found.values()), None)


def _is_whole(folder: Path) -> bool:
    """Whether every file of weights and a tokenizer are here.

    A download may have been cut short, and a model that transformers loaded is in the cache without its
    tokenizer.
    """
    weights = find_weights(folder)
    tokenizer = (file for pattern in TOKENIZER_FILES for file in folder.glob(pattern))
    return bool(weights) and all(file.exists() for file in weights) and any(tokenizer)


def _verify_download(file: Path) -> None:
    """Check a large file against its SHA-256, which the hub's cache uses as its name."""
    expected = file.resolve().name
    if not never_changes(file):
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
    n_layers: int | None = None,
    final_norm: bool = True,
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
    n_layers : int, optional
        Keep only the lowest layers, from 1 to all. The others are freed, except where another caller uses
        them: encoders of one checkpoint share the tensors of the deepest one loaded.
    final_norm : bool, default=True
        Apply the norm that follows the last layer to what leaves the last layer kept.

    Returns
    -------
    Backbone

    Raises
    ------
    ImportError
        A package is missing: bitsandbytes for "nf4", sentencepiece for some tokenizers.
    ValueError
        The architecture is unknown, its activations overflow in this precision, or it has not as many
        layers.
    BackboneNotFoundError
        Nothing has this name on this machine, and the hub is out of reach or does not know it.
    BackboneWeightsError
        A file is damaged or holds more than tensors, or a tensor is missing or has another shape.

    Warns
    -----
    UserWarning
        A folder has the name of published weights, or tensors are stored under an unusual prefix.

    See Also
    --------
    plmlearn.download_backbone : Prepare a folder for a machine without network.
    unload_backbones : Forget every loaded backbone.
    Backbone : A frozen pretrained encoder and how it reads sequences.

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
    options = (revision, _device(device), precision, init, quantization, alphabet)
    key = (place, _stamp(Path(place)), *map(str, options))
    with _lock.lock, torch.inference_mode(False), on_cpu_by_default():
        held = _loaded.get(key)
        if held is None or held.n_layers < check_n_layers(n_layers, str(name), held.config.num_hidden_layers):
            held = _load(str(name), place, *options, n_layers)
            for old in [old for old in _loaded if old[0] == place and old[1] != key[1]]:
                del _loaded[old]  # of a folder that has been rewritten since
            _loaded[key] = held
        return held.cut(n_layers, final_norm)


def _device(device: str | torch.device) -> torch.device:
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch's own, of many kinds
        raise ValueError(f"device={str(device)!r} is not on this machine: {str(error)[:200]}") from None


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

    See Also
    --------
    load_backbone : The frozen encoder itself.

    Examples
    --------
    >>> from plmlearn.backbones import check_fingerprint, load_backbone
    >>> backbone = load_backbone("mini")
    >>> check_fingerprint(backbone, backbone.fingerprint)
    """
    if backbone.fingerprint != expected:
        raise BackboneWeightsError(
            f"This estimator was fitted on {backbone.name!r} with fingerprint {expected}, but what is found "
            f"under that name here has {backbone.fingerprint}: its weights, configuration or vocabulary "
            f"differ. Predictions would be wrong; provide the original. {_HOW_TO_MOVE}"
        )


_HOW_TO_MOVE = (
    'If the backbone has moved since the fit, say where it lies now: load(folder, backbone="...") for a '
    'saved estimator, set_params(backbone="...") for one at hand, set_params(estimator__backbone="...") for '
    "an ensemble."
)


@contextlib.contextmanager
def looking_for_fitted() -> Iterator[None]:
    """While the backbone of a fit is loaded: where it is not found, the error says what to do."""
    try:
        yield
    except BackboneNotFoundError as error:
        raise BackboneNotFoundError(f"{error} {_HOW_TO_MOVE}") from error


def unload_backbones() -> None:
    """Forget every loaded backbone. Memory is freed once no estimator uses it any more.

    See Also
    --------
    load_backbone : The frozen encoder itself.
    plmlearn.cache.clear : Empty the cache.

    Examples
    --------
    >>> from plmlearn.backbones import unload_backbones
    >>> unload_backbones()
    """
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
        The folder, ready for ``backbone=``; with ``#3di`` after it, if that was asked for.

    See Also
    --------
    plmlearn.backbones.load_backbone : The frozen encoder itself.
    plmlearn.backbones.CHECKPOINTS : The short names of backbones.

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
    patterns = () if folder.samefile(backbone.folder) else (*HUB_FILES, *PICKLED_FILES, "*.ckpt")
    for pattern in patterns:
        for file in backbone.folder.glob(pattern):
            if file in weights or file.suffix not in (".safetensors", ".bin", ".ckpt"):
                shutil.copyfile(file, folder / file.name)
    copied = f"{folder}#3di" if backbone.alphabet == "3di" else folder
    if load_backbone(copied).fingerprint != backbone.fingerprint:
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
    n_layers: int | None,
) -> Backbone:
    folder = find_files(name, place, revision)
    require_files(name, folder)
    with quiet_transformers():
        config = read_config(name, folder)
        architecture = ARCHITECTURES[config.model_type]
        n_layers = check_n_layers(n_layers, name, config.num_hidden_layers)
        if precision not in architecture.precisions:
            raise ValueError(
                f"precision={precision!r}: activations of {name!r} exceed what {precision} can hold, and "
                f"results would be nan; {architecture.model_class} runs in "
                f"{' or '.join(architecture.precisions)}. Pass precision='bf16', or 'fp32' on a device that "
                "is slow in it, or 'auto'."
            )
        vocabulary = read_vocabulary(name, folder)
        read = partial(_stored, name, folder, architecture, config, init)
        tensors = read()
        digest = digest_tensors(tensors, architecture.optional_weights)
        model = make_model(architecture, config, tensors, DTYPES[precision], copy=_may_change(folder, init))
    backbone = Backbone(
        name, revision, model, architecture, vocabulary, precision, quantization, alphabet, folder, digest,
        stored=partial(_stored_again, read, digest),
    )  # fmt: skip
    _ = backbone.token_format  # or an error
    check_vocabulary(name, vocabulary, model)
    backbone = backbone.cut(n_layers)
    if quantization is not None:
        quantize(backbone.layers, quantization)
    backbone.model.to(device)
    return backbone


def _may_change(folder: Path, init: Init) -> bool:
    """Whether tensors must be copied: a folder may be written over while they are in use."""
    return init == "random" or not all(map(never_changes, find_weights(folder)))


def _stored(
    name: str, folder: Path, architecture: Architecture, config: Any, init: Init
) -> dict[str, torch.Tensor]:
    """The tensors as they are in the files, or as they were drawn."""
    if init == "random":
        return draw_weights(architecture, config)
    return read_weights(name, folder, architecture, config)


def _stored_again(read: partial[dict[str, torch.Tensor]], expected: str) -> dict[str, torch.Tensor]:
    """The same tensors, unless the files have changed since the backbone was loaded."""
    name, folder, architecture = read.args[:3]
    with warnings.catch_warnings(), quiet_transformers():
        warnings.simplefilter("ignore")  # said when the backbone was loaded
        tensors = read()
    if digest_tensors(tensors, architecture.optional_weights) != expected:
        raise BackboneWeightsError(
            f"Backbone {name!r}: the weights in {folder} have changed since they were loaded. "
            "Load it again with plmlearn.backbones.unload_backbones() and a new fit."
        )
    return tensors


def _stamp(folder: Path) -> tuple:
    """Changes when files in a local folder change, so that a rewritten folder is read again."""
    kept = (".json", ".txt", ".model", ".safetensors", ".bin", ".ckpt")
    files = [file for file in folder.glob("*") if file.suffix in kept and file.is_file()]
    return tuple(sorted((f.name, f.stat().st_mtime_ns, f.stat().st_size) for f in files))
