"""Prefix tuning (learned keys and values of attention) and prompt tuning (learned tokens)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from sklearn.utils._param_validation import StrOptions
from torch import Tensor, nn

from ..backbones import Backbone
from ..nn.encoders import make_encoder
from ..nn.packing import PackedTokens
from ..nn.prompts import Prefix, Prompt
from ..sequences import ALPHABET
from .base import COUNT, LayeredAdapter

PromptLayers = Literal["first", "last", "top", "all"]


@dataclass(kw_only=True, eq=False, repr=False)
class PrefixTuning(LayeredAdapter):
    """A prefix in each layer: learned keys and values that every residue attends to.

    Parameters
    ----------
    n_tokens : int, default=16
        Learned keys and values per layer, >= 1; every protein sees the same.
    hidden : int, optional
        Learn them through a perceptron of this width, >= 1, as the paper does for stability. None learns
        them directly.
    last_n_layers : int, optional
        Put prefixes into the last n layers only, >= 1. What lies below is then computed once per sequence
        and reused in every epoch, fold and candidate. None puts them into all layers.

    See Also
    --------
    PromptTuning : Learned tokens beside the residues.

    Notes
    -----
    Keys and values are initially small random numbers. The first predictions differ from those of the
    frozen backbone, because each query gives the prefix a share of its attention. Prefixes have no
    position (no rotary angle, no position bias), and residues keep theirs.

    References
    ----------
    Li and Liang, Prefix-tuning: optimizing continuous prompts for generation, 2021,
    doi:10.18653/v1/2021.acl-long.353. On proteins: Schmirler et al. 2024, doi:10.1038/s41467-024-51844-2.

    Examples
    --------
    >>> from plmlearn.adapters import PrefixTuning
    >>> PrefixTuning(n_tokens=30)
    PrefixTuning(n_tokens=30)
    """

    n_tokens: int = 16
    hidden: int | None = None

    default_lr: ClassVar[float] = 1e-2

    _parameter_constraints: ClassVar[dict] = {"n_tokens": [COUNT], "hidden": [COUNT, None]}

    def _put_into(self, model: nn.Module, backbone: Backbone) -> Iterable[Tensor]:
        blocks: Any = model.get_submodule(backbone.architecture.layers)
        hidden = None if self.hidden is None else int(self.hidden)
        for index in self._layers(backbone):
            key = blocks[index].get_submodule(backbone.targets["key"][0])
            prefix = Prefix(int(self.n_tokens), key.out_features, hidden).to(_device_of(backbone))
            blocks[index].add_module("prefix", prefix)
            yield from prefix.parameters()


@dataclass(kw_only=True, eq=False, repr=False)
class PromptTuning(LayeredAdapter):
    """A prompt: learned tokens that enter the encoder with the residues of each protein.

    Parameters
    ----------
    n_tokens : int, default=16
        Learned tokens, >= 1; every protein gets the same.
    layers : {"first", "last", "top", "all"}, default="first"
        Where tokens enter. "first": before the first adapted layer, from where they pass through all
        layers above. "last": before the last layer. "all": new tokens before each adapted layer, which
        replace those of the layer below. "top": the same in the upper half of the layers.
    last_n_layers : int, optional
        Adapt the last n layers only, >= 1. What lies below is then computed once per sequence and reused
        in every epoch, fold and candidate. None adapts all layers, or half of them for "top".

    See Also
    --------
    PrefixTuning : Learned keys and values in each layer.

    Notes
    -----
    A prompt stands between the special tokens before the residues and the residues. Masked-language-model
    training reads crops; in a crop without those special tokens, the prompt comes first. The initial tokens
    are the encoder's own embeddings of random residues. A prompt is removed before pooling, residue outputs
    and heads.
    Residues move ``n_tokens`` positions away from the special tokens before them, and keep their distances
    to one another; those of ESM-1b, ESM-1v and BERT, whose positions are added to the embeddings, stay where
    they are. Cost: every protein grows by ``n_tokens`` tokens.

    References
    ----------
    Lester et al., The power of scale for parameter-efficient prompt tuning, 2021,
    doi:10.18653/v1/2021.emnlp-main.243. On proteins: Zeng et al. 2024, doi:10.1101/gr.279132.124.

    Examples
    --------
    >>> from plmlearn.adapters import PromptTuning
    >>> PromptTuning(layers="all", n_tokens=8)
    PromptTuning(layers='all', n_tokens=8)
    """

    n_tokens: int = 16
    layers: PromptLayers = "first"

    default_lr: ClassVar[float] = 1e-2

    _parameter_constraints: ClassVar[dict] = {
        "n_tokens": [COUNT],
        "layers": [StrOptions(set(get_args(PromptLayers)))],
    }

    def first_trained_layer(self, n_layers: int) -> int:
        if self.layers == "last":
            return n_layers - 1
        if self.layers == "top" and self.last_n_layers is None:
            return n_layers - math.ceil(n_layers / 2)
        return super().first_trained_layer(n_layers)

    def _check(self, backbone: Backbone) -> None:
        super()._check(backbone)
        if self.layers == "last" and self.last_n_layers not in (None, 1):
            raise ValueError(
                f"layers='last' is one layer, got last_n_layers={self.last_n_layers}; pass None."
            )

    def _put_into(self, model: nn.Module, backbone: Backbone) -> Iterable[Tensor]:
        blocks: Any = model.get_submodule(backbone.architecture.layers)
        adapted = self._layers(backbone)
        for index in adapted[:1] if self.layers in ("first", "last") else adapted:
            prompt = Prompt(_random_residues(int(self.n_tokens), backbone))
            blocks[index].add_module("prompt", prompt)
            yield from prompt.parameters()


@torch.no_grad()
def _random_residues(n: int, backbone: Backbone) -> Tensor:
    """The encoder's embeddings of n random residues, as they enter its first layer: (n, D)."""
    letters = [ALPHABET[i] for i in torch.randint(len(ALPHABET), (n,)).tolist()]
    ids, lengths = backbone.tokenize(["".join(letters)])
    row = torch.from_numpy(ids.astype(np.int64)).to(_device_of(backbone))
    specials = backbone.token_format
    tokens = PackedTokens(row, lengths.tolist(), len(specials.prefix), len(specials.suffix))
    return make_encoder(backbone.model).embed(tokens)[tokens.residue_index]


def _device_of(backbone: Backbone) -> torch.device:
    return next(backbone.model.parameters()).device
