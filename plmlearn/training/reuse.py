"""Nothing frozen is computed twice: find out what is frozen, and keep it.

Where nothing below the head is trained, each distinct sequence's pooled embedding is kept; where
only the last layers are trained, the activations that enter them. Same weights, same sequence, same
depth and precision: same numbers, whoever asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from ..backbones import Backbone
from ..cache import default_cache
from ..nn.encoders import PackedEncoder
from ..nn.heads import has_weights
from ..nn.models import ProteinModel
from ..nn.packing import PackedTokens, unpack
from .batching import TokenizedSequences
from .devices import autocast
from .engine import Budget, Plan

Make = Callable[[PackedTokens], Tensor]


def reuse_frozen(model: ProteinModel, inputs: TokenizedSequences, backbone: Backbone, plan: Plan) -> None:
    """Give ``inputs`` what the frozen part of ``model`` makes of them, computed or found.

    Parameters
    ----------
    model : ProteinModel
    inputs : TokenizedSequences
        Gains "pooled" or "trunk" values; unchanged where all layers are trained.
    backbone : Backbone
    plan : Plan
    """
    encoder, kind = model.encoder, reusable(model)
    if kind == "pooled":
        inputs.know("pooled", pooled_embeddings(model, inputs, backbone, plan))
    elif kind == "trunk":
        key, size = f"trunk-{encoder.trunk_depth}", encoder.compute_dtype.itemsize
        trunk = _recall(key, encoder.trunk, inputs.lengths, size, inputs, backbone, plan)
        if any(value is None for value in trunk):
            default_cache().say_too_large(int(inputs.lengths.sum()) * encoder.width * size)
        inputs.know("trunk", trunk)


def reusable(model: ProteinModel) -> str | None:
    """What of the frozen part is worth keeping: "pooled" embeddings, "trunk" activations, or nothing."""
    encoder = model.encoder
    if encoder.trunk_depth == 0:
        return None
    return "pooled" if encoder.trunk_depth == encoder.depth and not has_weights(model.pooling) else "trunk"


def pooled_embeddings(
    model: ProteinModel, inputs: TokenizedSequences, backbone: Backbone, plan: Plan
) -> list[Tensor]:
    """The (1, D) pooled embedding of each distinct sequence; ``model`` must be frozen up to its head."""
    key = f"pooled-{type(model.pooling).__name__}-{model.encoder.depth}"
    each_one = np.ones(inputs.n_distinct, dtype=int)
    values = _recall(key, model.pool, each_one, 4, inputs, backbone, plan, persist=True)
    return _complete(values, model.pool, each_one, inputs, plan)


def residue_embeddings(
    encoder: PackedEncoder, inputs: TokenizedSequences, backbone: Backbone, plan: Plan
) -> list[Tensor]:
    """The (L, D) residue embeddings of each distinct sequence by a frozen encoder."""

    def make(tokens: PackedTokens) -> Tensor:
        return unpack(encoder(tokens), tokens).residues

    n_residues = inputs.lengths - inputs.n_prefix - inputs.n_suffix
    values = _recall(f"residues-{encoder.depth}", make, n_residues, 4, inputs, backbone, plan)
    return _complete(values, make, n_residues, inputs, plan)


def _recall(
    key: str,
    make: Make,
    n_rows: np.ndarray,
    item_bytes: int,
    inputs: TokenizedSequences,
    backbone: Backbone,
    plan: Plan,
    *,
    persist: bool = False,
) -> list[Tensor | None]:
    """What ``make`` gives for each distinct sequence, ``n_rows`` vectors each, kept by content."""

    def compute(missing: list[int]) -> Iterator[tuple[int, Tensor]]:
        return run_frozen(make, n_rows, inputs, np.array(missing), plan)

    return default_cache().fetch(
        f"{backbone.fingerprint}-{backbone.arithmetic}-{key}",
        inputs.keys(),
        compute,
        bytes_needed=int(n_rows.sum()) * backbone.config.hidden_size * item_bytes,
        persist=persist,
    )


def _complete(
    values: list[Tensor | None], make: Make, n_rows: np.ndarray, inputs: TokenizedSequences, plan: Plan
) -> list[Tensor]:
    """Values that the cache had no room for, computed for this call alone."""
    missing = [i for i, value in enumerate(values) if value is None]
    for i, value in run_frozen(make, n_rows, inputs, np.array(missing, dtype=int), plan):
        values[i] = value
    return values  # type: ignore[return-value]


def run_frozen(
    make: Make, n_rows: np.ndarray, inputs: TokenizedSequences, distinct: np.ndarray, plan: Plan
) -> Iterator[tuple[int, Tensor]]:
    """(index of the distinct sequence, its vectors) for each, batch by batch, longest first."""
    budget = Budget(plan.max_tokens)
    remaining = distinct[np.argsort(-inputs.lengths[distinct], kind="stable")]
    while len(remaining):
        fits = int(np.searchsorted(inputs.lengths[remaining].cumsum(), budget.max_tokens, side="right"))
        chunk = remaining[: max(1, fits)]
        try:
            tokens = inputs.pack(chunk, plan.device)
            with torch.no_grad(), autocast(plan.device, plan.dtype):
                result = make(tokens).cpu()
        except (RuntimeError, MemoryError) as error:
            budget.halve(error, int(inputs.lengths[remaining].sum()))
            continue
        yield from zip(chunk.tolist(), result.split(n_rows[chunk].tolist()), strict=True)
        remaining = remaining[len(chunk) :]
