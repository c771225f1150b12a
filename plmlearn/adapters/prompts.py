"""Learned vectors beside the residues: keys and values of attention, or tokens."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..backbones import Backbone
from ..nn.encoders import make_encoder
from ..nn.packing import PackedTokens
from ..nn.prompts import Prefix, Prompt
from ..sequences import ALPHABET
from .base import LayeredAdapter, check_count


@dataclass(kw_only=True, eq=False, repr=False)
class PrefixTuning(LayeredAdapter):
    """Learned keys and values that every residue attends to, in each layer.

    Parameters
    ----------
    n_tokens : int, default=16
        Learned keys and values per layer, >= 1; every protein sees the same.
    hidden : int, optional
        Learn them through a perceptron of this width, as the paper does for stability; None learns
        them directly.
    last_n_layers : int, optional
        Prefixes in the last n layers only; None in all.

    Notes
    -----
    Starts from small random keys and values, so that the first predictions are not those of the frozen
    backbone: each query gives the prefix a share of its attention. Prefixes have no position (no rotary
    angle, no position bias), and residues keep theirs.

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

    def _check(self, backbone: Backbone) -> None:
        super()._check(backbone)
        check_count("PrefixTuning n_tokens", self.n_tokens)
        if self.hidden is not None:
            check_count("PrefixTuning hidden", self.hidden, "None (no perceptron) or an int")

    def _put_into(self, model: nn.Module, backbone: Backbone) -> Iterable[str]:
        blocks: Any = model.get_submodule(backbone.architecture.layers)
        hidden = None if self.hidden is None else int(self.hidden)
        for index in self._layers(backbone):
            key = blocks[index].get_submodule(backbone.targets["key"][0])
            prefix = Prefix(int(self.n_tokens), key.out_features, hidden).to(_device_of(backbone))
            yield from _add(blocks[index], "prefix", prefix, f"{backbone.architecture.layers}.{index}")


@dataclass(kw_only=True, eq=False, repr=False)
class PromptTuning(LayeredAdapter):
    """Learned tokens that enter the encoder beside the residues of each protein.

    Parameters
    ----------
    n_tokens : int, default=16
        Learned tokens, >= 1; every protein gets the same.
    layers : {"first", "last", "top", "all"}, default="first"
        Where tokens enter: "first", before the first adapted layer, from where they go on through all
        layers; "last", before the last layer; "all", new ones before each adapted layer, in place of
        those before; "top", the same in the upper half of the layers.
    last_n_layers : int, optional
        Adapt the last n layers only; None all, or half of them for "top".

    Notes
    -----
    Prompts stand between the special tokens before the residues and the residues, and start as the
    encoder's own embeddings of random residues. They are gone before pooling, residue outputs and heads.
    Residues move ``n_tokens`` positions away from the special tokens before them, and keep their distances
    to one another; those of ESM-1b and ESM-1v, whose positions are added to the embeddings, stay where they
    are. Cost: every protein grows by ``n_tokens`` tokens.

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
    layers: str = "first"

    default_lr: ClassVar[float] = 1e-2

    def first_trained_layer(self, n_layers: int) -> int:
        if self.layers == "last":
            return n_layers - 1
        if self.layers == "top" and self.last_n_layers is None:
            return n_layers - math.ceil(n_layers / 2)
        return super().first_trained_layer(n_layers)

    def _check(self, backbone: Backbone) -> None:
        super()._check(backbone)
        check_count("PromptTuning n_tokens", self.n_tokens)
        if self.layers not in ("first", "last", "top", "all"):
            raise ValueError(f"PromptTuning layers is 'first', 'last', 'top' or 'all', got {self.layers!r}")
        if self.layers == "last" and self.last_n_layers not in (None, 1):
            raise ValueError(
                f"layers='last' is one layer, got last_n_layers={self.last_n_layers}; pass None."
            )

    def _put_into(self, model: nn.Module, backbone: Backbone) -> Iterable[str]:
        blocks: Any = model.get_submodule(backbone.architecture.layers)
        adapted = self._layers(backbone)
        for index in adapted[:1] if self.layers in ("first", "last") else adapted:
            prompt = Prompt(_random_residues(int(self.n_tokens), backbone))
            yield from _add(blocks[index], "prompt", prompt, f"{backbone.architecture.layers}.{index}")


def _add(block: nn.Module, name: str, module: nn.Module, path: str) -> list[str]:
    """Make a module the child of a layer; returns the full names of its parameters."""
    block.add_module(name, module)
    return [f"{path}.{name}.{leaf}" for leaf, _ in module.named_parameters()]


@torch.no_grad()
def _random_residues(n: int, backbone: Backbone) -> Tensor:
    """What the encoder makes of random residues before its first layer, (n, D)."""
    letters = [ALPHABET[i] for i in torch.randint(len(ALPHABET), (n,)).tolist()]
    ids, lengths = backbone.tokenize(["".join(letters)])
    reading = backbone.token_format
    tokens = PackedTokens(
        torch.from_numpy(ids.astype(np.int64)).to(_device_of(backbone)),
        lengths.tolist(),
        len(reading.prefix),
        len(reading.suffix),
    )
    return make_encoder(backbone.model).embed(tokens)[tokens.residue_index]


def _device_of(backbone: Backbone) -> torch.device:
    return next(backbone.model.parameters()).device
