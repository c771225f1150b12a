"""Steps over pairs of proteins: each distinct protein of a step is encoded once, whatever it costs.

A step is a random draw of pairs. Its distinct proteins are encoded, then all of its pairs are judged
together. Where the proteins exceed the token budget, they are encoded twice, exactly: first without
gradients, to learn what the loss asks of each protein's vector, then micro-batch by micro-batch with
gradients, to pass that on. So no result depends on how a step was cut.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..backbones import Backbone
from ..nn.combinations import PairModel
from ..nn.ragged import Ragged
from .batching import Batch, TokenizedSequences, make_batches
from .config import TrainingConfig
from .devices import autocast
from .engine import TuningNet, _Step
from .inference import infer

_NUMBERS_AT_ONCE = 1 << 20  # of the features of pairs that are judged together


class TokenizedPairs(TokenizedSequences):
    """Tokens of n pairs, each distinct protein held once.

    Parameters
    ----------
    backbone : Backbone
    pairs : ndarray of str, shape (n_pairs, 2)
        Clean sequences.
    ordered : bool
        Whether (a, b) and (b, a) differ. Where they do not, both are held alike, and proteins stand in
        an order that does not depend on theirs: so not one bit of any result does.
    window : int, optional
        As in :class:`TokenizedSequences`.

    Attributes
    ----------
    of_row : ndarray of int, shape (n_pairs, 2)
        Which distinct proteins each pair has.
    """

    def __init__(self, backbone: Backbone, pairs: np.ndarray, *, ordered: bool, window: int | None = None):
        proteins = pairs.ravel().tolist()
        distinct = sorted(set(proteins))
        super().__init__(backbone, distinct, window)
        number = {protein: i for i, protein in enumerate(distinct)}
        rows = np.array([number[protein] for protein in proteins], dtype=np.int64).reshape(-1, 2)
        self.of_row = rows if ordered else np.sort(rows, axis=1)

    @property
    def proteins(self) -> TokenizedSequences:
        """The distinct proteins, a row each."""
        alone = copy.copy(self)
        alone.of_row = np.arange(self.n_distinct)
        return alone


class PairNet(TuningNet):
    """Optimiser steps over pairs; private to plmlearn."""

    def _backpropagate(self, step: _Step) -> float:
        inputs: Any = step.data.inputs
        distinct, place = np.unique(inputs.of_row[step.rows], return_inverse=True)
        batches = list(self._batches(inputs, distinct))
        order = np.concatenate([batch.rows for batch in batches])
        pairs = np.argsort(np.searchsorted(distinct, order))[place.reshape(-1, 2)]
        if len(batches) == 1:
            return self._score_pairs(self._encode(batches[0]), pairs, step)
        states = []
        with torch.no_grad():
            proteins = []
            for batch in batches:
                states.append(_random_state(self.plan.device))
                proteins.append(self._encode(batch))
        whole = _joined(proteins)
        values: Any = whole.values.requires_grad_()
        loss = self._score_pairs(whole, pairs, step)
        if not _trains_below_the_pairs(self.module_):
            return loss
        wanted = values.grad.split([len(part.values) for part in proteins])
        for batch, state, gradient in zip(batches, states, wanted, strict=True):
            with _replayed(state, self.plan.device):
                self._encode(batch).values.backward(gradient)
        return loss

    def _batches(self, inputs: TokenizedPairs, distinct: np.ndarray) -> Iterator[Batch]:
        return make_batches(inputs.proteins, distinct, self.budget_.max_tokens, self.plan.device)

    def _encode(self, batch: Batch) -> Ragged:
        with autocast(self.plan.device, self.plan.dtype):
            return self.module_.represent(batch.tokens)

    def _score_pairs(self, proteins: Ragged, pairs: np.ndarray, step: _Step) -> float:
        """Gradients of the step's loss as far down as ``proteins`` go; returns the loss."""
        with autocast(self.plan.device, self.plan.dtype):
            outputs = self.module_(proteins, torch.from_numpy(pairs).to(self.plan.device))
        loss = self._weighted_loss(outputs, step.rows, step.data) / step.data.size(step.rows)
        self.scaler_.scale(loss).backward()
        return float(loss.detach())

    def _outputs(self, inputs: Any, plan: TrainingConfig) -> np.ndarray:
        return outputs_of_pairs(self.module_, inputs, plan)


def outputs_of_pairs(model: PairModel, inputs: TokenizedPairs, plan: TrainingConfig) -> np.ndarray:
    """What ``model`` says of every pair, in evaluation mode, (n_pairs, C) float32.

    Each distinct protein is encoded once, and each distinct pair is judged once.
    """
    return over_pairs(
        model, inputs, plan, lambda proteins, pairs: model.score_pairs(proteins, pairs), scaled=True
    )


def features_of_pairs(model: PairModel, inputs: TokenizedPairs, plan: TrainingConfig) -> np.ndarray:
    """Combined embeddings of every pair, in evaluation mode, (n_pairs, F) float32."""
    return over_pairs(model, inputs, plan, model.combination)


def over_pairs(
    model: PairModel,
    inputs: TokenizedPairs,
    plan: TrainingConfig,
    function: Callable[[Ragged, Tensor], Tensor],
    *,
    scaled: bool = False,
) -> np.ndarray:
    """``function`` of the (scaled) proteins and of every pair, computed once for each distinct pair."""
    proteins = represent_proteins(model, inputs, plan).to(plan.device)
    numbers = inputs.of_row[:, 0] * inputs.n_distinct + inputs.of_row[:, 1]
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    pairs = torch.from_numpy(inputs.of_row[first]).to(plan.device)
    with torch.inference_mode(), autocast(plan.device, plan.dtype):
        proteins = model.scale(proteins) if scaled else proteins
        chunks = pairs.split(max(1, _NUMBERS_AT_ONCE // model.combination.width))
        results = [function(proteins, chunk).float().cpu().numpy() for chunk in chunks]
    return np.concatenate(results)[inverse]


def represent_proteins(
    model: PairModel, inputs: TokenizedPairs, plan: TrainingConfig, rows: np.ndarray | None = None
) -> Ragged:
    """What stands for each distinct protein, or for those of ``rows``, in evaluation mode, on the CPU."""
    model.eval()
    return infer(lambda batch: model.represent(batch.tokens), inputs.proteins, plan, rows=rows)


def _joined(parts: list[Ragged]) -> Ragged:
    return Ragged(torch.cat([p.values for p in parts]), [n for p in parts for n in p.lengths])


def _trains_below_the_pairs(model: PairModel) -> bool:
    below = [*model.encoder.parameters(), *model.pooling.parameters()]
    return any(parameter.requires_grad for parameter in below)


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


@contextmanager
def _replayed(state: tuple[Tensor, Tensor | None], device: torch.device) -> Iterator[None]:
    """Within this context random numbers come as they did from ``state`` on; outside none was drawn."""
    on_cpu, on_device = state
    with torch.random.fork_rng(devices=[] if on_device is None else [device]):
        torch.set_rng_state(on_cpu)
        if on_device is not None:
            torch.cuda.set_rng_state(on_device, device)
        yield
