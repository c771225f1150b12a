"""Nothing frozen is computed twice: find out what is frozen, and keep it.

Where nothing below the head is trained, each distinct sequence's pooled embedding is kept; where
only the last layers are trained, the activations that enter them. Same weights, same sequence, same
depth and precision: same numbers, whoever asks.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..backbones import Backbone
from ..cache import default_cache
from ..nn.heads import has_weights
from ..nn.models import ProteinModel
from .batching import TokenizedSequences
from .devices import autocast
from .engine import Budget, Plan


def reuse_frozen(
    model: ProteinModel, inputs: TokenizedSequences, backbone: Backbone, plan: Plan, pooling: str
) -> None:
    """Give ``inputs`` what the frozen part of ``model`` makes of them, computed or found.

    Parameters
    ----------
    model : ProteinModel
    inputs : TokenizedSequences
        Gains "pooled" or "trunk" values; unchanged where all layers are trained.
    backbone : Backbone
    plan : Plan
    pooling : str
        Name of the pooling, part of the key of pooled embeddings.
    """
    encoder = model.encoder
    if encoder.trunk_depth == 0:
        return
    all_frozen = encoder.trunk_depth == encoder.n_layers
    kind = "pooled" if all_frozen and not has_weights(model.pooling) else "trunk"
    make = model.pool if kind == "pooled" else encoder.trunk
    what = f"{kind}-{pooling}" if kind == "pooled" else f"{kind}-{encoder.trunk_depth}"
    n_vectors = inputs.n_distinct if kind == "pooled" else int(inputs.lengths.sum())
    n_bytes = 4 if kind == "pooled" else encoder.compute_dtype.itemsize

    def compute(missing: list[int]) -> Iterator[tuple[int, Tensor]]:
        return _run_frozen(model, make, inputs, np.array(missing), plan, by_token=kind == "trunk")

    values = default_cache().fetch(
        f"{backbone.fingerprint}-{backbone.precision}-{what}",
        inputs.keys(),
        compute,
        bytes_needed=n_vectors * encoder.width * n_bytes,
        persist=kind == "pooled",
    )
    inputs.know(kind, values)


def _run_frozen(
    model, make, inputs: TokenizedSequences, distinct: np.ndarray, plan: Plan, *, by_token: bool
) -> Iterator[tuple[int, Tensor]]:
    """(index of the distinct sequence, its tensor) for each, batch by batch, longest first."""
    model.eval()
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
            budget.halve(error)
            continue
        yield from zip(chunk.tolist(), result.split(tokens.lengths if by_token else 1), strict=True)
        remaining = remaining[len(chunk) :]
