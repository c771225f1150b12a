"""Pretrained protein encoders: how each reads a sequence, and how one is loaded.

Which there are is told in :mod:`plmlearn.backbones.architectures`. :func:`load_backbone` keeps each frozen backbone
once per process, device, precision and quantization; its tensors are shared by every model built on
it and never change.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib.util
import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor, nn

from ..sequences.clean import LETTERS
from .architectures import ARCHITECTURES, Architecture, TokenFormat
from .hub import (
    HUB_FILES,
    BackboneNotFoundError,
    BackboneWeightsError,
    find_files,
    part_name,
    resolve_name,
)
from .quantization import quantize

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


_TOKENIZED_AT_ONCE = 4096  # sequences: what the look-up copies on its way stays small


@dataclass(frozen=True, eq=False)
class Backbone:
    """A frozen pretrained encoder and how it reads sequences.

    Its tensors are shared by all models built on it: never change them in place.

    Parameters
    ----------
    name, revision : str, str or None
        As asked for by the caller.
    model : nn.Module
        The transformers model, in evaluation mode, nothing requiring gradients.
    architecture : Architecture
    vocabulary : dict of str to int
    precision : {"fp32", "bf16", "fp16"}
        Of the matrices; norms are float32.
    quantization : {"int8", "nf4"}, optional
        How the layers' matrices are held; products are in ``precision``.
    alphabet : {"aa", "3di"}, default="aa"
        What the letters of sequences are: amino acids, or Foldseek's structural states.
    """

    name: str
    revision: str | None
    model: nn.Module
    architecture: Architecture
    vocabulary: dict[str, int]
    precision: str
    quantization: str | None = None
    alphabet: str = "aa"

    @property
    def config(self):
        return self.model.config

    @property
    def dtype(self) -> torch.dtype:
        return DTYPES[self.precision]

    @property
    def n_layers(self) -> int:
        return sum(1 for _ in self.model.get_submodule(self.architecture.layers).children())

    @cached_property
    def token_format(self) -> TokenFormat:
        """How sequences become tokens of this checkpoint, as its vocabulary tells."""
        for reading in self.architecture.token_formats:
            if reading.alphabet == self.alphabet and reading.fits(self.vocabulary):
                return reading
        letters = {"aa": "amino acids", "3di": "3Di states (ProstT5 has them)"}[self.alphabet]
        raise ValueError(
            f"Backbone {self.name!r}: its vocabulary ({len(self.vocabulary)} tokens) lacks tokens of "
            f"{letters}, so plmlearn cannot read them with it."
        )

    @cached_property
    def targets(self) -> dict[str, tuple[str, ...]]:
        """plmlearn's names of the adaptable matrices, and their paths inside each layer."""
        layer = next(self.model.get_submodule(self.architecture.layers).children())
        here = {name for name, _ in layer.named_modules()}
        return {
            name: tuple(path for path in paths if path in here)
            for name, paths in self.architecture.targets.items()
        }

    @cached_property
    def n_parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    @property
    def arithmetic(self) -> str:
        """What beside the weights decides the last digits of a result: ``"bf16"``, ``"bf16-nf4"``."""
        return f"{self.precision}-{self.quantization}" if self.quantization else self.precision

    @cached_property
    def fingerprint(self) -> str:
        """Digest of architecture and weights, the same in every precision, format and folder."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(self.config.model_type.encode())
        for name, tensor in sorted(self.model.named_parameters()):
            if name.startswith(self.architecture.optional_weights):
                continue
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(tensor.to("cpu", torch.bfloat16).contiguous().view(torch.int16).numpy().data)
        return digest.hexdigest()

    @cached_property
    def _letter_ids(self) -> np.ndarray:
        """Token id of each byte of the text that :meth:`tokenize` reads; specials are bytes 1, 2, …"""
        ids = np.zeros(256, dtype=np.uint8)
        unknown = self.vocabulary.get(self.token_format.token_of("X"), self.vocabulary.get("<unk>", 0))
        for letter in LETTERS:
            ids[ord(letter)] = self.vocabulary.get(self.token_format.token_of(letter), unknown)
        for byte, token in enumerate((*self.token_format.prefix, *self.token_format.suffix), start=1):
            ids[byte] = self.vocabulary[token]
        return ids

    def tokenize(self, sequences: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Token ids of clean sequences, by one table look-up for all of them.

        Parameters
        ----------
        sequences : sequence of str
            As :func:`plmlearn.sequences.check_sequences` returns them.

        Returns
        -------
        ids : ndarray of uint8, shape (n_tokens,)
            Sequence behind sequence, each with its special tokens; equal to the ids of the official
            tokenizer.
        lengths : ndarray of int, shape (n_sequences,)
            Tokens of each sequence.
        """
        n_prefix, n_suffix = len(self.token_format.prefix), len(self.token_format.suffix)
        self._check_positions(sequences)
        specials = bytes(range(1, 1 + n_prefix + n_suffix)).decode()
        prefix, suffix = specials[:n_prefix], specials[n_prefix:]
        lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
        lengths += n_prefix + n_suffix
        ids, end = np.empty(lengths.sum(), dtype=np.uint8), 0
        for first in range(0, len(sequences), _TOKENIZED_AT_ONCE):
            chunk = sequences[first : first + _TOKENIZED_AT_ONCE]
            text = "".join([prefix + sequence + suffix for sequence in chunk])
            place = slice(end, end := end + len(text))
            ids[place] = self._letter_ids[np.frombuffer(text.encode("ascii"), dtype=np.uint8)]
        return ids, lengths

    @property
    def n_positions(self) -> int | None:
        """Residues of the longest sequence there are position embeddings for; None without a limit."""
        if getattr(self.config, "position_embedding_type", None) != "absolute":
            return None
        n_special = len(self.token_format.prefix) + len(self.token_format.suffix)
        return self.config.max_position_embeddings - self.config.pad_token_id - 1 - n_special

    def _check_positions(self, sequences: Sequence[str]) -> None:
        longest = max(map(len, sequences), default=0)
        if self.n_positions is not None and longest > self.n_positions:
            raise ValueError(
                f"A sequence has {longest} residues, but {self.name!r} has positions for {self.n_positions}. "
                f"Pass max_length={self.n_positions} or less."
            )

    def share(self) -> nn.Module:
        """A model of its own modules over this backbone's tensors; copying takes milliseconds."""
        return copy.deepcopy(self.model, {id(tensor): tensor for tensor in self.tensors()})

    def tensors(self) -> list[Tensor]:
        """Everything that the weights are held in."""
        return [*self.model.parameters(), *self.model.buffers()]


_loaded: dict[tuple, Backbone] = {}
_lock = threading.Lock()


def load_backbone(
    name: str,
    *,
    revision: str | None = None,
    device: str | torch.device = "cpu",
    precision: str = "fp32",
    init: str = "pretrained",
    quantization: str | None = None,
) -> Backbone:
    """A frozen pretrained encoder, loaded once per process, device, precision and quantization.

    Parameters
    ----------
    name : str
        ``"mini"`` (bundled), a short name such as ``"esm2-35m"``, a Hugging Face id, or a folder
        written by ``save_pretrained``. ProstT5 reads 3Di states where ``"#3di"`` follows.
    revision : str, optional
        Branch, tag or commit of a Hugging Face repository.
    device : str or torch.device, default="cpu"
    precision : {"fp32", "bf16", "fp16"}, default="fp32"
        Of the frozen matrices.
    init : {"pretrained", "random"}, default="pretrained"
        ``"random"`` keeps the architecture and draws new weights (seed 0): the control experiment.
    quantization : {"int8", "nf4"}, optional
        Hold the layers' matrices in 8 or 4 bits; "nf4" needs ``pip install "plmlearn[quantization]"``.

    Returns
    -------
    Backbone

    Raises
    ------
    ImportError
        ``quantization="nf4"`` without bitsandbytes; a SentencePiece tokenizer without sentencepiece.
    ValueError
        An architecture that is not known, or a precision in which it overflows.
    BackboneNotFoundError
        Nothing under this name on this machine, and the hub is out of reach or does not know it.
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
    place = resolve_name(name)
    options = (revision, torch.device(device), precision, init, quantization, part_name(name)[1])
    key = (place, _stamp(place), *map(str, options))
    with _lock:
        if key not in _loaded:
            _loaded[key] = _load(name, place, *options)
        return _loaded[key]


def check_fingerprint(backbone: Backbone, expected: str) -> None:
    """Raise where a ``backbone`` has not the ``expected`` fingerprint, that of a fit."""
    if backbone.fingerprint != expected:
        raise BackboneWeightsError(
            f"This estimator was fitted on {backbone.name!r} with fingerprint {expected}, but the weights "
            f"found under that name here have {backbone.fingerprint}. Predictions would be wrong; provide "
            "the original weights."
        )


def unload_backbones() -> None:
    """Forget every loaded backbone; memory is freed once no estimator uses it any more."""
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
    backbone = load_backbone(name, revision=revision)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    source = find_files(name, resolve_name(name), revision)
    for pattern in HUB_FILES:
        for file in source.glob(pattern):
            shutil.copyfile(file, folder / file.name)
    copied = load_backbone(str(folder))
    if copied.fingerprint != backbone.fingerprint:
        raise BackboneWeightsError(f"The copy of {name!r} in {folder} differs from its source.")
    return folder


def _load(
    name: str,
    place: str,
    revision: str | None,
    device: torch.device,
    precision: str,
    init: str,
    quantization: str | None,
    alphabet: str,
) -> Backbone:
    folder = find_files(name, place, revision)
    config = _read_config(name, folder)
    architecture = ARCHITECTURES[config.model_type]
    _check_precision(name, architecture, precision)
    dtype = torch.float32 if precision == "fp16" else DTYPES[precision]
    with _quiet_transformers():
        vocabulary = _read_vocabulary(name, folder)
        if init == "random":
            model = _draw_weights(architecture, config, dtype)
        else:
            model = _read_weights(name, folder, architecture, dtype)
    backbone = Backbone(name, revision, model, architecture, vocabulary, precision, quantization, alphabet)
    _ = backbone.token_format  # or an error
    if precision == "fp16":
        _ = backbone.fingerprint  # kept from here on: float16 rounds otherwise than the digest does
        model.half()
    for module in model.modules():
        if type(module).__name__.endswith("LayerNorm"):
            module.float()
    if quantization is not None:
        _ = backbone.fingerprint, backbone.n_parameters  # kept from here on, as before rounding
        quantize(model.get_submodule(architecture.layers), quantization)
    model.to(device).eval().requires_grad_(False)
    return backbone


def _read_config(name: str, folder: Path):
    if not (folder / "config.json").exists():
        raise BackboneNotFoundError(
            f"Backbone {name!r}: {folder} has no config.json; expected a folder written by "
            "save_pretrained or by plmlearn.backbones.download_backbone."
        )
    model_type = json.loads((folder / "config.json").read_text()).get("model_type")
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
    return transformers.AutoConfig.from_pretrained(folder)


def _check_precision(name: str, architecture: Architecture, precision: str) -> None:
    if precision not in architecture.precisions:
        raise ValueError(
            f"precision={precision!r}: activations of {name!r} exceed what {precision} can hold, and results "
            f"would be nan; {architecture.model_class} runs in {' or '.join(architecture.precisions)}. Pass "
            "precision='bf16', or 'fp32' on a device that is slow in it, or 'auto'."
        )


def _read_vocabulary(name: str, folder: Path) -> dict[str, int]:
    try:
        return transformers.AutoTokenizer.from_pretrained(folder).get_vocab()
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


def _read_weights(name: str, folder: Path, architecture: Architecture, dtype: torch.dtype) -> nn.Module:
    if not any(folder.glob("*.safetensors")):
        raise BackboneNotFoundError(
            f"Backbone {name!r}: {folder} holds no *.safetensors file. Pickled weights (*.bin) are not "
            "read, because reading them can run code; convert them with save_pretrained."
        )
    model_class = getattr(transformers, architecture.model_class)
    options = {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
    try:
        model, report = model_class.from_pretrained(
            folder, dtype=dtype, **options, **architecture.load_options
        )
    except (OSError, SafetensorError) as error:
        raise BackboneWeightsError(
            f"Backbone {name!r}: the weights in {folder} cannot be read ({error}). Get the checkpoint again."
        ) from error
    missing = [k for k in report["missing_keys"] if not k.startswith(architecture.optional_weights)]
    wrong = sorted([*missing, *(str(key) for key in report["mismatched_keys"])])
    if wrong:
        raise BackboneWeightsError(
            f"Backbone {name!r}: {len(wrong)} tensors of {architecture.model_class} are missing from {folder} or "
            f"have another shape, among them {', '.join(wrong[:3])}. They would be random; get the whole "
            "checkpoint, or pass backbone_init='random' if random weights are meant."
        )
    return model


def _draw_weights(architecture: Architecture, config, dtype: torch.dtype) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return getattr(transformers, architecture.model_class)(config, **architecture.load_options).to(dtype)


def _stamp(place: str) -> tuple:
    """Changes when files in a local folder change, so that a folder written anew is read anew."""
    folder = Path(place)
    if not folder.is_dir():
        return ()
    kept = [f for f in folder.iterdir() if f.suffix in (".json", ".safetensors")]
    return tuple(sorted((f.name, f.stat().st_mtime_ns, f.stat().st_size) for f in kept))


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Loading without the library's bars and reports: what matters of them is raised instead."""
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
