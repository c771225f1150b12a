"""What a model says of many samples, batch by batch, without gradients and within the token budget.

``outputs_of``          outputs in evaluation mode
``embeddings_of``       what the head reads: one vector per protein, or one per residue
``over_pairs``          a function of every pair of proteins, each protein encoded once
``with_dropout``        the same with dropout, as in training
``drops_out``           whether that is so now
``to_evaluation_mode``  puts a model there, for code that runs one itself
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..nn.combinations import PairModel
from ..nn.models import EncoderModel
from ..nn.packing import Ragged
from ..nn.randomness import seeded
from .batching import Batch, Inputs, make_batches
from .config import TrainingConfig
from .devices import Budget, autocast, n_processes, of_all_processes, own_share

Outputs = Tensor | Ragged
"""What a model says of N samples: one vector each, (N, C), or one per residue of each."""

_NUMBERS_AT_ONCE = 1 << 20  # of the features of pairs that are scored together
_drops_out = ContextVar("drops_out", default=False)


@contextmanager
def with_dropout(seed: int, device: torch.device) -> Iterator[None]:
    """Within this context models run with dropout, drawn by the seed."""
    token = _drops_out.set(True)
    try:
        with seeded(seed, device):
            yield
    finally:
        _drops_out.reset(token)


def dropouts(model: nn.Module) -> list[nn.Dropout]:
    """Those of a model that set anything to zero."""
    return [module for module in model.modules() if isinstance(module, nn.Dropout) and module.p]


def drops_out() -> bool:
    """Whether models run with dropout now."""
    return _drops_out.get()


def to_evaluation_mode(model: Any) -> None:
    """``model.eval()``, but for dropout within ``with_dropout``."""
    model.eval()
    if drops_out():
        for dropout in dropouts(model):
            dropout.train()


def outputs_of(model: Any, inputs: Inputs, config: TrainingConfig) -> Any:
    """Outputs for every sample in evaluation mode: an array (n_samples, C), or Ragged on the CPU."""
    if inputs.are_pairs:
        return over_pairs(model, inputs, config, model.score_pairs, scaled=True)
    to_evaluation_mode(model)
    if inputs.scored_together:
        encoded = embeddings_of(model, inputs.of_each_sequence, config).to(config.device)
        links = inputs.links(np.arange(len(inputs)), np.arange(len(encoded)))
        with torch.inference_mode(), autocast(config.device, config.dtype):
            return model(encoded, links.to(config.device)).float().cpu().numpy()
    return infer(lambda batch: model(batch.inputs, batch.index), inputs, config)


def embeddings_of(
    model: EncoderModel, inputs: Inputs, config: TrainingConfig, samples: np.ndarray | None = None
) -> Ragged:
    """What the head reads of every sample, or of some (ascending), in evaluation mode, on the CPU."""
    to_evaluation_mode(model)
    if model.per_residue:
        return infer(
            lambda batch: model.embed(batch.inputs).take(batch.index.tolist()), inputs, config, samples
        )
    vectors = infer(lambda batch: model.embed(batch.inputs).values[batch.index], inputs, config, samples)
    return Ragged(torch.from_numpy(vectors), [1] * len(vectors))


def infer(
    forward: Callable[[Batch], Outputs],
    inputs: Inputs,
    config: TrainingConfig,
    samples: np.ndarray | None = None,
) -> Any:
    """Outputs of all samples, or of those asked for, in their order.

    Where several processes work together, each computes its share and all get everything.

    Parameters
    ----------
    forward : callable
        A batch of N samples to (N, C), or to one entry per residue of each.
    inputs : Inputs
    config : TrainingConfig
    samples : ndarray of int, optional
        Ascending; None means all.

    Returns
    -------
    ndarray of float32, shape (n_samples, C), or Ragged on the CPU
    """
    wanted = np.arange(len(inputs)) if samples is None else samples
    outputs = _Collected(len(inputs))

    def run(batch: Batch) -> Outputs:
        with torch.inference_mode(), autocast(config.device, config.dtype):
            return forward(batch).float().to(torch.device("cpu"))

    def make(waiting: np.ndarray, max_tokens: int):
        return make_batches(inputs, waiting, max_tokens, config.device)

    own = own_share(wanted)
    for batch, found in Budget(config.max_tokens).run_batches(make, run, own, inputs.n_tokens):
        outputs.put(batch.samples, found)
    if n_processes() > 1:
        for samples, part in of_all_processes((own, outputs.take(own) if len(own) else None)):
            if part is not None:
                outputs.put(samples, part if isinstance(part, Ragged) else torch.from_numpy(part))
    return outputs.take(wanted)


class _Collected:
    """Outputs of batches, put where their samples belong."""

    def __init__(self, n_samples: int):
        self.n_samples = n_samples
        self.vectors: np.ndarray | None = None  # one per sample
        self.residues: dict[int, Tensor] = {}  # one (L, C) per sample

    def put(self, samples: np.ndarray, outputs: Outputs) -> None:
        if isinstance(outputs, Ragged):
            self.residues.update(zip(samples.tolist(), outputs.rows, strict=True))
            return
        if self.vectors is None:
            self.vectors = np.empty((self.n_samples, *outputs.shape[1:]), dtype=np.float32)
        self.vectors[samples] = outputs.numpy()

    def take(self, samples: np.ndarray) -> np.ndarray | Ragged:
        if self.vectors is None:
            return Ragged.of([self.residues[i] for i in samples.tolist()])
        return self.vectors[samples]


def over_pairs(
    model: PairModel,
    inputs: Inputs,
    config: TrainingConfig,
    function: Callable[[Ragged, Tensor], Tensor],
    *,
    scaled: bool = False,
) -> np.ndarray:
    """``function`` of the (scaled) proteins and of every pair, computed once for each distinct pair.

    Returns
    -------
    ndarray of float32, shape (n_pairs, F)
    """
    proteins = embeddings_of(model, inputs.of_each_sequence, config).to(config.device)
    numbers = inputs.index[:, 0] * len(inputs.sequences) + inputs.index[:, 1]
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    pairs = torch.from_numpy(inputs.index[first]).to(config.device)
    with torch.inference_mode(), autocast(config.device, config.dtype):
        proteins = model.scale(proteins) if scaled else proteins
        chunks = pairs.split(max(1, _NUMBERS_AT_ONCE // model.combination.width))
        results = [function(proteins, chunk).float().cpu().numpy() for chunk in chunks]
    return np.concatenate(results)[inverse]
