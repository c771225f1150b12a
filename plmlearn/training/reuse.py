"""Nothing frozen is computed twice: find out what is frozen, and keep it.

Where nothing below the head is trained, each distinct sequence's pooled embedding is kept, or those of
its residues; where only the last layers are trained, the activations that enter them. The cache bounds
what one entry per residue may take. Same weights, same sequence, same depth and precision: same numbers,
whoever asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from ..backbones import Backbone
from ..cache import Computed, Entries, default_cache
from ..nn.encoders import FORWARD_VERSION, PackedEncoder
from ..nn.models import PooledModel, ResidueModel
from ..nn.packing import PackedTokens, unpack
from .batching import TokenizedSequences
from .config import TrainingConfig
from .devices import autocast
from .inference import Budget

Make = Callable[[PackedTokens], Tensor]
Model = PooledModel | ResidueModel


def reuse_frozen(model: Model, inputs: TokenizedSequences, backbone: Backbone, plan: TrainingConfig) -> None:
    """Give ``inputs`` what the frozen part of ``model`` makes of them, computed or found.

    Parameters
    ----------
    model : PooledModel or ResidueModel
    inputs : TokenizedSequences
        Gains "pooled", "residues" or "trunk" values; unchanged where all layers are trained.
    backbone : Backbone
    plan : TrainingConfig
    """
    encoder, kind = model.encoder, reusable(model)
    if kind == "pooled" and isinstance(model, PooledModel):
        inputs.know("pooled", pooled_embeddings(model, inputs, backbone, plan))
        return
    if kind == "residues":
        size, values = 4, _kept_residues(encoder, inputs, backbone, plan)
    elif kind == "trunk":
        key, size = f"trunk-{encoder.trunk_depth}{_road(encoder)}", encoder.compute_dtype.itemsize
        values = _recall(key, encoder.trunk, inputs.lengths, size, inputs, backbone, plan)
    else:
        return
    if len(values.missing):
        default_cache().say_too_large(int(inputs.lengths.sum()) * encoder.width * size)
    inputs.know(kind, values)


def reusable(model: Model) -> str | None:
    """What of the frozen part to keep: "pooled" or "residues" embeddings, "trunk" activations, or nothing."""
    encoder = model.encoder
    if encoder.trunk_depth == 0 or encoder.mixing is not None:
        return None  # a mean of all hidden states changes with its weights
    return model.keeps if encoder.trunk_depth == encoder.depth else "trunk"


def pooled_embeddings(
    model: PooledModel, inputs: TokenizedSequences, backbone: Backbone, plan: TrainingConfig
) -> Entries:
    """The (1, D) pooled embedding of each distinct sequence; ``model`` must be frozen up to its head."""
    key = f"pooled-{type(model.pooling).__name__}-{model.encoder.depth}{_road(model.encoder)}"
    each_one = np.ones(inputs.n_distinct, dtype=int)
    values = _recall(key, model.pool, each_one, 4, inputs, backbone, plan, persist=True)
    return _complete(values, model.pool, each_one, inputs, plan)


def residue_embeddings(
    encoder: PackedEncoder, inputs: TokenizedSequences, backbone: Backbone, plan: TrainingConfig
) -> Entries:
    """The (L, D) residue embeddings of each distinct sequence by a frozen encoder."""
    values = _kept_residues(encoder, inputs, backbone, plan)
    return _complete(values, _residue_maker(encoder), inputs.residue_lengths, inputs, plan)


def _kept_residues(
    encoder: PackedEncoder, inputs: TokenizedSequences, backbone: Backbone, plan: TrainingConfig
) -> Entries:
    """The same, None for those that the cache has no room for."""
    key, n_residues = f"residues-{encoder.depth}{_road(encoder)}", inputs.residue_lengths
    return _recall(key, _residue_maker(encoder), n_residues, 4, inputs, backbone, plan)


def _road(encoder: PackedEncoder) -> str:
    """Compiled layers round otherwise: what one road computed is not found by the other."""
    return "-compiled" if encoder.compiled else ""


def _residue_maker(encoder: PackedEncoder) -> Make:
    return lambda tokens: unpack(encoder(tokens), tokens).residues


def _recall(
    key: str,
    make: Make,
    n_rows: np.ndarray,
    item_bytes: int,
    inputs: TokenizedSequences,
    backbone: Backbone,
    plan: TrainingConfig,
    *,
    persist: bool = False,
) -> Entries:
    """What ``make`` gives for each distinct sequence, ``n_rows`` vectors each, kept by content."""

    def compute(missing: np.ndarray) -> Iterator[Computed]:
        return run_frozen(make, n_rows, inputs, missing, plan)

    return default_cache().fetch(
        f"{backbone.fingerprint}-v{FORWARD_VERSION}-{backbone.arithmetic}-{key}",
        inputs.keys(),
        compute,
        bytes_needed=int(n_rows.sum()) * backbone.config.hidden_size * item_bytes,
        persist=persist,
    )


def _complete(
    values: Entries, make: Make, n_rows: np.ndarray, inputs: TokenizedSequences, plan: TrainingConfig
) -> Entries:
    """With what the cache had no room for, computed for this call alone."""
    for distinct, rows, computed in run_frozen(make, n_rows, inputs, values.missing, plan):
        values.put(distinct, computed, rows)
    return values


def run_frozen(
    make: Make, n_rows: np.ndarray, inputs: TokenizedSequences, distinct: np.ndarray, plan: TrainingConfig
) -> Iterator[Computed]:
    """Distinct sequences, how many vectors each has, and all these vectors: batch by batch, longest first."""
    budget = Budget(plan.max_tokens)
    remaining = distinct[np.argsort(-inputs.lengths[distinct], kind="stable")]
    while len(remaining):
        fits = int(np.searchsorted(inputs.lengths[remaining].cumsum(), budget.max_tokens, side="right"))
        chunk = remaining[: max(1, fits)]
        try:
            tokens = inputs.pack(chunk, plan.device, budget.max_tokens)
            with torch.no_grad(), autocast(plan.device, plan.dtype):
                result = make(tokens).cpu()
        except (RuntimeError, MemoryError) as error:
            budget.halve(error, int(inputs.lengths[remaining].sum()))
            continue
        yield chunk, n_rows[chunk], result
        remaining = remaining[len(chunk) :]
