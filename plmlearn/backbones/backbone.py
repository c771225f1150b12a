"""What a backbone is: how sequences become tokens, what an architecture needs, and one loaded encoder.

``TokenFormat``         how residues become tokens
``Architecture``        how one architecture is loaded, read and adapted
``find_token_format``   which of an architecture's formats a vocabulary is for
``Backbone``            a frozen encoder and how it reads sequences
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..sequences import ALPHABET
from ..sequences.clean import LETTERS, STATES, with_state
from .quantization import Quantization, QuantizedLinear

Alphabet = Literal["aa", "3di"]
Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class TokenFormat:
    """How a sequence becomes tokens.

    Parameters
    ----------
    prefix, suffix : tuple of str
        Special tokens before and after the residues.
    token : str, default="{}"
        Format string that turns a residue letter into its token.
    substitutes : dict of str to str
        Letters that are read as another letter.
    alphabet : {"aa", "3di"}, default="aa"
        What the letters are: amino acids, or Foldseek's structural states.
    reads_states : bool, default=False
        Whether a residue may have a structural state, which is then the second letter of its token.
    """

    prefix: tuple[str, ...]
    suffix: tuple[str, ...]
    token: str = "{}"
    substitutes: dict[str, str] = field(default_factory=dict)
    alphabet: Alphabet = "aa"
    reads_states: bool = False

    def token_of(self, letter: str, state: str = "") -> str:
        """The token of an upper-case letter, and of its state if it has one."""
        letter = self.substitutes.get(letter, letter)
        if state:
            return letter + state.lower()
        return self.token.format(letter.lower() if self.alphabet == "3di" else letter)

    @property
    def characters(self) -> dict[str, str]:
        """The token of each character that a clean sequence may have."""
        tokens = {letter: self.token_of(letter) for letter in LETTERS}
        if self.reads_states:
            pairs = itertools.product(LETTERS, STATES)
            tokens |= {with_state(letter, state): self.token_of(letter, state) for letter, state in pairs}
        return tokens

    def fits(self, vocabulary: Container[str]) -> bool:
        """Whether a vocabulary holds every token that this format needs."""
        residues = [self.token_of(letter) for letter in ALPHABET]
        states = map(self.token_of, ALPHABET, STATES) if self.reads_states else ()
        return all(token in vocabulary for token in [*self.prefix, *self.suffix, *residues, *states])


@dataclass(frozen=True)
class Architecture:
    """How one architecture is loaded, read and adapted.

    Parameters
    ----------
    model_class : str
        Class of transformers that holds the encoder.
    token_formats : tuple of TokenFormat
        The first one that fits a checkpoint's vocabulary applies.
    layers : str
        Path of the list of layers inside the model.
    targets : dict of str to tuple of str
        plmlearn's names of the adaptable matrices, and their paths inside a layer. A checkpoint may
        lack some of these paths.
    settings : tuple of str
        Fields of the configuration that embeddings depend on.
    max_length : int
        Residues of the longest sequence that pretraining saw.
    load_options : dict
        Further arguments of the model class.
    optional_weights : tuple of str
        Prefixes of tensors that the encoder does not use. A checkpoint may lack them.
    supported : dict of str to tuple
        Fields of the configuration, and the values of each that the forward pass knows. What is before a dot
        is a field that holds others.
    precisions : tuple of str
        Precisions in which no activation overflows.
    final_norm : str
        Path of the norm that follows the last layer; "" where the layers end in norms of their own.
    """

    model_class: str
    token_formats: tuple[TokenFormat, ...]
    layers: str
    targets: dict[str, tuple[str, ...]]
    settings: tuple[str, ...]
    max_length: int
    load_options: dict = field(default_factory=dict)
    optional_weights: tuple[str, ...] = ()
    supported: dict[str, tuple] = field(default_factory=dict)
    precisions: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
    final_norm: str = ""


_MOST_TOKENS = 1024  # in the vocabulary of a model of residues; a model of words has tens of thousands


def find_token_format(
    name: str, architecture: Architecture, vocabulary: Collection[str], alphabet: Alphabet
) -> TokenFormat:
    """How sequences become tokens of this vocabulary.

    Parameters
    ----------
    name : str
        Of the backbone, for messages.
    architecture : Architecture
    vocabulary : collection of str
    alphabet : {"aa", "3di"}

    Raises
    ------
    ValueError
        The vocabulary is none of single residues.
    """
    if len(vocabulary) <= _MOST_TOKENS:
        for token_format in architecture.token_formats:
            if token_format.alphabet == alphabet and token_format.fits(vocabulary):
                return token_format
    letters = {"aa": "amino acids", "3di": "3Di states (ProstT5 has them)"}[alphabet]
    lacks = "is one of words" if len(vocabulary) > _MOST_TOKENS else f"lacks tokens of {letters}"
    raise ValueError(
        f"Backbone {name!r}: its vocabulary ({len(vocabulary)} tokens) {lacks}, so plmlearn cannot read "
        "proteins with it. Take a protein language model, with the tokenizer that it was trained with."
    )


def check_n_layers(n_layers: Any, name: str, n_there: int) -> int:
    """How many layers of ``n_there`` to keep, or an error; None keeps all."""
    if n_layers is None:
        return n_there
    if isinstance(n_layers, bool) or not isinstance(n_layers, Integral) or not 1 <= int(n_layers) <= n_there:
        raise ValueError(
            f"n_layers={n_layers!r}, but {name!r} has {n_there} layers; pass a whole number from 1 to "
            f"{n_there}, or None for all."
        )
    return int(n_layers)


DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}

_TOKENIZED_AT_ONCE = 4096  # sequences: keeps the temporary copies of the look-up small


@dataclass(frozen=True, eq=False)
class Backbone:
    """A frozen pretrained encoder and how it reads sequences.

    Its tensors are shared by all models built on it: never change them in place.

    Parameters
    ----------
    name : str
        As the caller gave it.
    revision : str or None
        Branch, tag or commit, as the caller gave it.
    model : nn.Module
        The transformers model, in evaluation mode, without gradients.
    architecture : Architecture
    vocabulary : dict of str to int
    precision : {"fp32", "bf16", "fp16"}
        Of the matrices. Norms are float32.
    quantization : {"int8", "nf4"}, optional
        How the layers' matrices are held. Products are computed in ``precision``.
    alphabet : {"aa", "3di"}, default="aa"
        What the letters of sequences are: amino acids, or Foldseek's structural states.
    folder : Path, default=PosixPath('.')
        Where its files are.
    weights : str, default=""
        Digest of the tensors as they are stored.
    stored : callable, optional
        Returns the tensors as they are stored, by name of the model's parameter.
    final_norm : bool, default=True
        Whether the norm that follows the last layer is applied.

    See Also
    --------
    load_backbone : The frozen encoder itself.

    Examples
    --------
    >>> from plmlearn.backbones import load_backbone
    >>> load_backbone("mini").precision
    'fp32'
    """

    name: str
    revision: str | None
    model: nn.Module
    architecture: Architecture
    vocabulary: dict[str, int]
    precision: Precision
    quantization: Quantization | None = None
    alphabet: Alphabet = "aa"
    folder: Path = Path(".")
    weights: str = ""
    stored: Callable[[], Mapping[str, Tensor]] | None = None
    final_norm: bool = True

    @property
    def config(self) -> Any:
        """Configuration of the transformers model."""
        return self.model.config

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the matrix products."""
        return DTYPES[self.precision]

    @property
    def arithmetic(self) -> str:
        """What decides the last digits of a result, besides the weights: ``"bf16"``, ``"bf16-nf4"``."""
        return f"{self.precision}-{self.quantization}" if self.quantization else self.precision

    @property
    def layers(self) -> Any:
        """The list of layers, from the lowest to the highest."""
        return self.model.get_submodule(self.architecture.layers)

    @property
    def n_layers(self) -> int:
        """Number of layers; ``config.num_hidden_layers`` is that of the checkpoint."""
        return len(self.layers)

    @cached_property
    def n_parameters(self) -> int:
        """Number of parameters of the encoder, as many as before quantization."""
        packed = [module for module in self.model.modules() if isinstance(module, QuantizedLinear)]
        stood_for = sum(linear.in_features * linear.out_features - linear.packed.numel() for linear in packed)
        return stood_for + sum(p.numel() for p in self.model.parameters())

    @cached_property
    def targets(self) -> dict[str, tuple[str, ...]]:
        """plmlearn's names of the adaptable matrices, and their paths inside each layer."""
        here = {name for name, _ in self.layers[0].named_modules()}
        paths = self.architecture.targets.items()
        return {name: tuple(path for path in candidates if path in here) for name, candidates in paths}

    def share(self) -> nn.Module:
        """A model with modules of its own over this backbone's tensors; it takes milliseconds."""
        return copy.deepcopy(self.model, {id(tensor): tensor for tensor in self.tensors()})

    def cut(self, n_layers: int | None = None, final_norm: bool = True) -> Backbone:
        """The encoder up to a layer, over the same tensors; itself where there is nothing to cut.

        Parameters
        ----------
        n_layers : int, optional
            Layers to keep, from the lowest; None keeps all.
        final_norm : bool, default=True
            Keep the norm that follows the last layer.

        Returns
        -------
        Backbone
        """
        n_layers = check_n_layers(n_layers, self.name, self.n_layers)
        final_norm = self.final_norm and (final_norm or not self.architecture.final_norm)
        if (n_layers, final_norm) == (self.n_layers, self.final_norm):
            return self
        model = self.share()
        del model.get_submodule(self.architecture.layers)[n_layers:]  # type: ignore[operator]
        if not final_norm:
            model.set_submodule(self.architecture.final_norm, nn.Identity())
        return replace(self, model=model, final_norm=final_norm)

    def tensors(self) -> list[Tensor]:
        """All parameters and buffers."""
        return [*self.model.parameters(), *self.model.buffers()]

    def originals(self, tensors: Iterable[Tensor]) -> dict[int, Tensor]:
        """Float32 copies of some of the backbone's tensors, by ``id``, without the rounding of ``precision``.

        Where the matrices are rounded, the files are read again: it takes as long as loading.
        """
        asked = {id(tensor): tensor for tensor in tensors}
        names = {id(tensor): name for name, tensor in self.model.named_parameters() if id(tensor) in asked}
        rounded = [asked[i] for i in names if asked[i].dtype != torch.float32]
        stored = self.stored() if rounded and self.stored else {}
        found = {i: stored.get(name, asked[i]) for i, name in names.items()}
        return {i: tensor.to(asked[i].device, torch.float32, copy=True) for i, tensor in found.items()}

    @cached_property
    def fingerprint(self) -> str:
        """Digest of everything that embeddings depend on.

        It covers each stored bit of the encoder's tensors and their data type, the configuration, how
        letters become tokens, and where the encoder is cut. It is the same in every precision, file format
        and folder.
        """
        settings = {name: getattr(self.config, name, None) for name in self.architecture.settings}
        settings = {name: float(x) if type(x) is int else x for name, x in settings.items()}
        tokens = [asdict(self.token_format), self._token_ids.tolist()]
        del tokens[0]["reads_states"]  # the table of ids tells it
        parts = [self.config.model_type, settings, tokens, self.weights]
        if not self.final_norm or self.n_layers < self.config.num_hidden_layers:
            parts.append([self.n_layers, self.final_norm])
        told = json.dumps(parts, sort_keys=True)
        return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()

    @cached_property
    def token_format(self) -> TokenFormat:
        """How sequences become tokens, chosen by the vocabulary."""
        return find_token_format(self.name, self.architecture, self.vocabulary, self.alphabet)

    @property
    def n_positions(self) -> int | None:
        """Residues of the longest sequence that has position embeddings; None without a limit."""
        modules = dict(self.model.named_modules())
        table: Any = modules.get("embeddings.position_embeddings")
        if table is None:
            return None
        # ESM's positions begin behind that of its padding token, BERT's with the first.
        n_unused = 0 if table.padding_idx is None else table.padding_idx + 1
        n_special = len(self.token_format.prefix) + len(self.token_format.suffix)
        return table.num_embeddings - n_unused - n_special

    @cached_property
    def _token_ids(self) -> np.ndarray:
        """Token id of each character that :meth:`tokenize` looks up; special tokens are 1, 2, …"""
        names, token_format = self.vocabulary, self.token_format
        unknown = (token_format.token_of("X"), "<unk>", "[UNK]")
        unknown_id = next((names[token] for token in unknown if token in names), 0)
        specials = enumerate((*token_format.prefix, *token_format.suffix), start=1)
        ids = {i: names[token] for i, token in specials}
        for character, token in token_format.characters.items():
            ids[ord(character)] = names.get(token, unknown_id)
        # The smallest type, as ids are kept for every residue.
        table = np.zeros(max(256, *(code + 1 for code in ids)), np.min_scalar_type(max(ids.values())))
        table[list(ids)] = list(ids.values())
        return table

    def tokenize(self, sequences: Sequence[str], *, whole: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Token ids of clean sequences, by one table look-up for all of them.

        Parameters
        ----------
        sequences : sequence of str
            As :func:`plmlearn.sequences.check_sequences` returns them.
        whole : bool, default=True
            Whether the encoder is to read them whole. False for what is read in crops, which may be longer
            than there are positions.

        Returns
        -------
        ids : ndarray of uint8 or uint16, shape (n_tokens,)
            The sequences one after another, each with its special tokens. They equal the ids of the
            official tokenizer.
        lengths : ndarray of int, shape (n_sequences,)
            Tokens of each sequence.

        Raises
        ------
        ValueError
            A sequence is longer than the backbone has positions for.
        """
        lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
        longest = lengths.max(initial=0)
        if whole and self.n_positions is not None and longest > self.n_positions:
            raise ValueError(
                f"A sequence has {longest} residues, but {self.name!r} has positions for {self.n_positions}. "
                f"Pass max_length={self.n_positions} or less."
            )
        n_prefix, n_suffix = len(self.token_format.prefix), len(self.token_format.suffix)
        specials = bytes(range(1, 1 + n_prefix + n_suffix)).decode()
        prefix, suffix = specials[:n_prefix], specials[n_prefix:]
        lengths += n_prefix + n_suffix
        ids, end = np.empty(lengths.sum(), self._token_ids.dtype), 0
        for first in range(0, len(sequences), _TOKENIZED_AT_ONCE):
            chunk = sequences[first : first + _TOKENIZED_AT_ONCE]
            text = "".join([prefix + sequence + suffix for sequence in chunk])
            place = slice(end, end := end + len(text))
            # Of residues with states, each is one character of two bytes.
            codec, code = ("ascii", "u1") if text.isascii() else ("utf-16-le", "<u2")
            ids[place] = self._token_ids[np.frombuffer(text.encode(codec), code)]
        return ids, lengths
