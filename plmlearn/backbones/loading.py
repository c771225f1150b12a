"""Load each frozen backbone once per process, device, precision and quantization.

The tensors are shared by every model built on the backbone and never change.
"""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Literal

import torch

from .architectures import ARCHITECTURES, Alphabet, Precision
from .backbone import DTYPES, Backbone
from .folder import draw_weights, make_model, quiet_transformers, read_config, read_vocabulary, read_weights
from .hub import HUB_FILES, PICKLED_FILES, find_files, resolve_name
from .quantization import Quantization, quantize
from .weights import BackboneWeightsError, digest_tensors, find_weights

Init = Literal["pretrained", "random"]

_loaded: dict[tuple, Backbone] = {}
_lock = threading.Lock()


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
    with _lock:
        if key not in _loaded:
            _loaded[key] = _load(str(name), place, *options)
        return _loaded[key]


def check_fingerprint(backbone: Backbone, expected: str) -> None:
    """Raise BackboneWeightsError unless the backbone has the fingerprint of the one fitted on."""
    if backbone.fingerprint != expected:
        raise BackboneWeightsError(
            f"This estimator was fitted on {backbone.name!r} with fingerprint {expected}, but what is found "
            f"under that name here has {backbone.fingerprint}: its weights, configuration or vocabulary "
            "differ. Predictions would be wrong; provide the original folder."
        )


def unload_backbones() -> None:
    """Forget every loaded backbone. Memory is freed once no estimator uses it any more."""
    with _lock:
        _loaded.clear()


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
    folder = Path(os.path.expanduser(folder))
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
    files = [file for file in folder.glob("*") if file.suffix in kept]
    return tuple(sorted((f.name, f.stat().st_mtime_ns, f.stat().st_size) for f in files))
