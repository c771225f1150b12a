"""What every packed encoder does: embed, run layers, finish, and begin at any layer.

An encoder is a module with ``n_layers``, ``width``, ``embed(tokens)``, ``run(hidden, tokens,
start, stop)`` and ``finish(hidden)``; calling it does all three.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from itertools import islice
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..attention import packed_attention
from ..packing import Activations, PackedTokens

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
}
"""Of feed-forward layers, by the names that configurations have for them."""


class PackedEncoder(nn.Module, ABC):
    """An encoder over packed rows around a transformers model.

    Parameters
    ----------
    backbone : nn.Module
        The transformers model that owns the weights.
    compute_dtype : torch.dtype, default=torch.float32
        Precision of the matrix products: that of the frozen weights.
    trunk_depth : int, default=0
        Layers below the first trained one. What leaves them is rounded to the compute precision,
        computed or read from a store alike, so both give the same numbers.
    final_norm : bool, default=True
        Apply the norm that follows the last layer.
    checkpointing : bool, default=False
        Recompute each layer in the backward pass rather than keep its activations.
    compiled : bool, default=False
        Run the layers through ``torch.compile``.
    layer_mixing : bool, default=False
        Give a learned mean of all hidden states, not the last one alone.
    """

    def __init__(
        self,
        backbone: Any,
        *,
        compute_dtype: torch.dtype = torch.float32,
        trunk_depth: int = 0,
        final_norm: bool = True,
        checkpointing: bool = False,
        compiled: bool = False,
        layer_mixing: bool = False,
    ):
        super().__init__()
        self.backbone: Any = backbone
        self.compute_dtype = compute_dtype
        self.trunk_depth = trunk_depth
        self.final_norm = final_norm
        self.checkpointing = checkpointing
        self.compiled = compiled
        self.mixing = LayerMixing(self.n_layers + 1) if layer_mixing else None

    @property
    def config(self) -> Any:
        return self.backbone.config

    @property
    def n_layers(self) -> int:
        return len(self.blocks)

    @property
    def width(self) -> int:
        return self.config.hidden_size

    @property
    @abstractmethod
    def blocks(self) -> nn.ModuleList:
        """The layers, from the lowest; each may hold a learned "prefix" or "prompt" (:mod:`.prompts`)."""

    @abstractmethod
    def embed(self, tokens: PackedTokens) -> Tensor:
        """Token embeddings, (T, D) in float32."""

    @abstractmethod
    def shared(self, tokens: PackedTokens) -> Any:
        """What all layers need of a batch and is worth making once: position tables, biases.

        What goes by token has ``tokens.n_rows`` rows.
        """

    @abstractmethod
    def layer(self, block: Any, hidden: Tensor, tokens: PackedTokens, shared: Any) -> Tensor:
        """One of the layers, (n_rows, D) to (n_rows, D); rows behind the last token are never read."""

    @abstractmethod
    def finish(self, hidden: Tensor) -> Tensor:
        """What follows the last layer, (T, D) to (T, D)."""

    def run(
        self,
        hidden: Tensor,
        tokens: PackedTokens,
        start: int,
        stop: int,
        states: list[Tensor] | None = None,
    ) -> Tensor:
        """Layers ``start`` to ``stop - 1``; prompts come before their layer, and are gone behind the last.

        What enters each layer is added to ``states``.
        """
        row, shared, hidden = tokens, self.shared(tokens), tokens.rounded(hidden)
        layer = partial(_compiled_layer(type(self)), self) if self.compiled else self.layer
        for block in islice(self.blocks, start, stop):
            if states is not None:
                states.append(hidden[row.without_prompt])
            prompt = learned_part(block, "prompt")
            if prompt is not None:
                hidden = prompt(hidden[row.without_prompt], tokens)
                row = tokens.with_prompt(prompt.n_tokens)
                shared, hidden = self.shared(row), row.rounded(hidden)
            if self.checkpointing and torch.is_grad_enabled():
                hidden = checkpoint(layer, block, hidden, row, shared, use_reentrant=False)
            else:
                hidden = layer(block, hidden, row, shared)
        return hidden[row.without_prompt]

    def attention(
        self,
        block: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        tokens: PackedTokens,
        **options: Any,
    ) -> Tensor:
        """Attention of a layer, with its learned prefix where it has one.

        Rows behind the last token belong to no sequence; their result is 0.
        """
        query, key, value = (x[: len(tokens.ids)] for x in (query, key, value))
        prefix = learned_part(block, "prefix")
        if prefix is not None:
            key, value = prefix(key, value, tokens)
        return tokens.rounded(packed_attention(query, key, value, tokens, **options))

    @torch.no_grad()
    def trunk(self, tokens: PackedTokens) -> Tensor:
        """Activations that enter the first trained layer, (T, D) in the compute precision."""
        return _by_pieces(self._trunk, tokens)

    def _trunk(self, tokens: PackedTokens) -> Tensor:
        hidden = self.run(self.embed(tokens), tokens, 0, self.trunk_depth)
        return hidden.to(self.compute_dtype)

    @torch.no_grad()
    def hidden_states(self, tokens: PackedTokens) -> Iterator[Tensor]:
        """The output of each layer as if it were the last, (T, D) in float32, one layer after the other.

        Equal, bit by bit, to what an encoder without trained parts gives that has no layer above.
        """
        pieces = list(tokens.pieces())
        hidden = [self.embed(piece) for piece in pieces]
        for layer in range(self.n_layers):
            hidden = [self.run(h, piece, layer, layer + 1) for h, piece in zip(hidden, pieces, strict=True)]
            yield self._last(torch.cat(hidden).to(self.compute_dtype).float())

    def forward(self, inputs: Any) -> Tensor:
        """Hidden state after the last layer, (T, D) in float32, of tokens or of activations."""
        return self._forward(inputs) if torch.is_grad_enabled() else _by_pieces(self._forward, inputs)

    def _forward(self, inputs: PackedTokens | Activations) -> Tensor:
        if isinstance(inputs, Activations):
            hidden, tokens = inputs.values.float(), inputs.tokens
        elif self.mixing is not None:
            return self.mixing(self._states(inputs))
        else:
            hidden, tokens = self.trunk(inputs).float() if self.trunk_depth else self.embed(inputs), inputs
        return self._last(self.run(hidden, tokens, self.trunk_depth, self.n_layers))

    def _states(self, tokens: PackedTokens) -> list[Tensor]:
        """Every hidden state, from the token embeddings to the last."""
        states: list[Tensor] = []
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trunk_depth == 0):
            hidden = self.run(self.embed(tokens), tokens, 0, self.trunk_depth, states)
        hidden = self.run(hidden, tokens, self.trunk_depth, self.n_layers, states)
        return [*states, self._last(hidden)]

    def _last(self, hidden: Tensor) -> Tensor:
        return self.finish(hidden) if self.final_norm else hidden


Part = TypeVar("Part", PackedTokens, Activations)


def _by_pieces(run: Callable[[Part], Tensor], inputs: Part) -> Tensor:
    """A protein in more windows than may go through at once, some windows after others."""
    results = [run(piece) for piece in inputs.pieces()]
    return results[0] if len(results) == 1 else torch.cat(results)


@cache
def _compiled_layer(encoder: type[PackedEncoder]) -> Callable[..., Tensor]:
    """One program for the layers of every encoder of a class, for any number of tokens."""
    _leave_attention_out()
    return torch.compile(encoder.layer, dynamic=True)


@cache
def _leave_attention_out() -> None:
    """Let no program enter attention: it walks over sequences, or is one kernel.

    As a decorator this would import torch's compiler together with this module.
    """
    attention = torch.compiler.disable(PackedEncoder.attention)
    PackedEncoder.attention = attention  # type: ignore[method-assign]


class LayerMixing(nn.Module):
    """A mean of all hidden states with learned weights, each state normed: the scalar mix of ELMo.

    All weights are equal at first. Hidden states grow from layer to layer, so that without a norm the
    last ones would drown the others.

    Parameters
    ----------
    n_states : int
        Layers run, and one for the token embeddings.

    References
    ----------
    Peters et al., Deep contextualized word representations, NAACL 2018, doi:10.18653/v1/N18-1202
    """

    def __init__(self, n_states: int):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(n_states))

    def forward(self, states: Iterable[Tensor]) -> Tensor:
        """States (T, D) to their mean (T, D)."""
        shares = self.weights.softmax(0)
        normed = (F.layer_norm(state.float(), state.shape[-1:]) for state in states)
        return torch.stack([share * state for share, state in zip(shares, normed, strict=True)]).sum(0)


def layer_norm(norm: nn.LayerNorm, hidden: Tensor) -> Tensor:
    """Layer norm of the float32 stream; the norm's own tensors may be of any precision."""
    bias = None if norm.bias is None else norm.bias.float()
    return F.layer_norm(hidden, norm.normalized_shape, norm.weight.float(), bias, norm.eps)


def learned_part(block: nn.Module, name: str) -> Any:
    """A layer's child of this name, or None."""
    return dict(block.named_children()).get(name)
