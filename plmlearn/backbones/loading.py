"""Load each frozen backbone once per process, device, precision and quantization.

The tensors are shared by every model built on the backbone and never change.
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Literal

import torch

from .architectures import ARCHITECTURES, Alphabet, Precision
from .backbone import DTYPES, Backbone
from .folder import draw_model, quiet_transformers, read_config, read_model, read_vocabulary
from .hub import HUB_FILES, BackboneWeightsError, find_files, resolve_name
from .quantization import Quantization, quantize

Init = Literal["pretrained", "random"]

_loaded: dict[tuple, Backbone] = {}
_lock = threading.Lock()


def load_backbone(
    name: str,
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
    name : str
        ``"mini"`` (bundled), a short name such as ``"esm2-35m"``, a Hugging Face id, or a folder
        written by ``save_pretrained``. With ``"#3di"`` after it, ProstT5 reads structural states.
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
        A tensor is missing or has another shape.

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
            _loaded[key] = _load(name, *options)
        return _loaded[key]


def check_fingerprint(backbone: Backbone, expected: str) -> None:
    """Raise BackboneWeightsError unless the backbone has the fingerprint of the one fitted on."""
    if backbone.fingerprint != expected:
        raise BackboneWeightsError(
            f"This estimator was fitted on {backbone.name!r} with fingerprint {expected}, but the weights "
            f"found under that name here have {backbone.fingerprint}. Predictions would be wrong; provide "
            "the original weights."
        )


def unload_backbones() -> None:
    """Forget every loaded backbone. Memory is freed once no estimator uses it any more."""
    with _lock:
        _loaded.clear()


def download_backbone(name: str, folder: str | Path, *, revision: str | None = None) -> Path:
    """Prepare a folder for a machine without network.

    Run it where there is network, copy the folder, and pass its path as ``backbone=``. Every file
    of weights is checked against the SHA-256 that the hub states for it.

    Parameters
    ----------
    name : str
        Short name or Hugging Face id. A bundled backbone or a local folder is copied.
    folder : str or Path
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
    expected = load_backbone(name, revision=revision).fingerprint
    source, folder = find_files(name, revision), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for file in (file for pattern in HUB_FILES for file in source.glob(pattern)):
        shutil.copyfile(file, folder / file.name)
    if load_backbone(str(folder)).fingerprint != expected:
        raise BackboneWeightsError(f"The copy of {name!r} in {folder} differs from its source.")
    return folder


def _load(
    name: str,
    revision: str | None,
    device: torch.device,
    precision: Precision,
    init: Init,
    quantization: Quantization | None,
    alphabet: Alphabet,
) -> Backbone:
    folder = find_files(name, revision)
    config = read_config(name, folder)
    architecture = ARCHITECTURES[config.model_type]
    if precision not in architecture.precisions:
        raise ValueError(
            f"precision={precision!r}: activations of {name!r} exceed what {precision} can hold, and results "
            f"would be nan; {architecture.model_class} runs in {' or '.join(architecture.precisions)}. Pass "
            "precision='bf16', or 'fp32' on a device that is slow in it, or 'auto'."
        )
    dtype = torch.float32 if precision == "fp16" else DTYPES[precision]
    with quiet_transformers():
        vocabulary = read_vocabulary(name, folder)
        if init == "random":
            model = draw_model(architecture, config).to(dtype)
        else:
            model = read_model(name, folder, architecture, dtype)
    backbone = Backbone(name, revision, model, architecture, vocabulary, precision, quantization, alphabet)
    # Errors come up here, and both are kept as they are before rounding.
    _ = backbone.token_format, backbone.fingerprint, backbone.n_parameters
    model.to(DTYPES[precision])
    for module in model.modules():
        if type(module).__name__.endswith("LayerNorm"):
            module.float()
    if quantization is not None:
        quantize(backbone.layers, quantization)
    model.to(device).eval().requires_grad_(False)
    return backbone


def _stamp(folder: Path) -> tuple:
    """Changes when files in a local folder change, so that a rewritten folder is read again."""
    kept = [f for f in folder.glob("*") if f.suffix in (".json", ".safetensors")]
    return tuple(sorted((f.name, f.stat().st_mtime_ns, f.stat().st_size) for f in kept))
