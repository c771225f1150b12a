"""How likely a masked language model finds residues where they stand.

``hide_parts``, ``hide_each``   sequences with some residues hidden, or one at a time
``log_likelihoods``             log-probabilities of the hidden ones, by sequence
``pseudo_log_likelihoods``      the same with each residue hidden alone
``site_log_probabilities``      what might stand at given sites of one protein

All run without gradients, in one batch after the other, and give the same whatever the batches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..nn.packing import PackedTokens
from ..training.batching import to_device
from ..training.config import TrainingConfig
from ..training.devices import Budget, autocast
from ..training.inference import to_evaluation_mode
from .language_head import MaskedLanguageModel
from .masking import Corpus, Masking

_RESIDUES_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class View:
    """One sequence with some of its residues hidden, and what to predict of it.

    Parameters
    ----------
    sequence : int
        Index of the sequence in its corpus.
    masked_ids : ndarray of uint8, shape (L,)
        Its tokens, some of them ``<mask>``.
    places : ndarray of int, shape (N,)
        Tokens to predict.
    """

    sequence: int
    masked_ids: np.ndarray
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.masked_ids)


@dataclass(frozen=True)
class _ViewBatch:
    samples: np.ndarray
    views: list[View]


def log_probabilities(
    model: MaskedLanguageModel, views: Sequence[View], config: TrainingConfig
) -> Iterator[tuple[View, np.ndarray]]:
    """Each view with its natural log-probabilities over the vocabulary, (N, V) float64, by length."""
    to_evaluation_mode(model)
    views = sorted(views, key=len)
    lengths = np.array([len(view) for view in views])

    def make(waiting: np.ndarray, max_tokens: int) -> Iterator[_ViewBatch]:
        while len(waiting):
            n_fits = int(np.searchsorted(lengths[waiting].cumsum(), max_tokens, side="right"))
            chosen, waiting = np.split(waiting, [max(1, n_fits)])
            yield _ViewBatch(chosen, [views[i] for i in chosen])

    def run(batch: _ViewBatch) -> np.ndarray:
        return _run(model, batch.views, config)

    def n_tokens(waiting: np.ndarray) -> int:
        return int(lengths[waiting].sum())

    budget = Budget(config.max_tokens)
    for batch, found in budget.run_batches(make, run, np.arange(len(views)), n_tokens):
        yield from zip(batch.views, np.split(found, np.cumsum([len(v.places) for v in batch.views])[:-1]))


def _run(model: MaskedLanguageModel, views: list[View], config: TrainingConfig) -> np.ndarray:
    with torch.inference_mode(), autocast(config.device, config.dtype):
        logits = model(*pack(views, config.device))
    return F.log_softmax(logits.double(), -1).cpu().numpy()


def pack(views: Sequence[View], device: torch.device) -> tuple[PackedTokens, torch.Tensor]:
    """Tokens of some views on a device, and where those to predict are among them."""
    lengths = [len(view) for view in views]
    starts = np.cumsum(lengths) - lengths
    ids = np.concatenate([view.masked_ids for view in views]).astype(np.int64)
    places = np.concatenate([view.places + start for view, start in zip(views, starts)])
    tokens = PackedTokens(to_device(torch.from_numpy(ids), device), lengths, 0, 0)
    return tokens, to_device(torch.from_numpy(places), device)


def log_likelihoods(
    model: MaskedLanguageModel, corpus: Corpus, views: Sequence[View], config: TrainingConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Log-probability of the true residues in all views of each sequence.

    Returns
    -------
    sums : ndarray of float, shape (n_sequences,)
        In nats.
    counts : ndarray of int, shape (n_sequences,)
        Residues predicted.
    """
    sums, counts = np.zeros(len(corpus)), np.zeros(len(corpus), dtype=np.int64)
    for view, logs in log_probabilities(model, views, config):
        sums[view.sequence] += logs[np.arange(len(view.places)), corpus[view.sequence][view.places]].sum()
        counts[view.sequence] += len(view.places)
    return sums, counts


def hide_parts(corpus: Corpus, masking: Masking, seed: int, n_parts: int | None = None) -> list[View]:
    """Views of each sequence that hide one random part of its residues after the other, or the first few.

    What is drawn for a sequence depends on the sequence and the seed alone.
    """
    views = []
    for row in range(len(corpus)):
        ids = corpus[row]
        digest = hashlib.blake2b(ids.tobytes(), digest_size=8).digest()
        rng = np.random.default_rng([seed, int.from_bytes(digest)])
        for part in masking.parts(ids, rng)[:n_parts]:
            views.append(View(row, _masked(ids, part, masking), part))
    return views


def pseudo_log_likelihoods(
    model: MaskedLanguageModel, corpus: Corpus, masking: Masking, config: TrainingConfig
) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`log_likelihoods`, each residue hidden alone; few views exist at a time."""
    sums, counts = np.zeros(len(corpus)), np.zeros(len(corpus), dtype=np.int64)
    step = max(1, _RESIDUES_AT_ONCE // int(corpus.lengths.max()))
    for start in range(0, len(corpus), step):
        rows = range(start, min(start + step, len(corpus)))
        found, n_found = log_likelihoods(model, corpus, hide_each(corpus, masking, rows), config)
        sums += found
        counts += n_found
    return sums, counts


def hide_each(corpus: Corpus, masking: Masking, rows: Sequence[int] | None = None) -> list[View]:
    """Views of each sequence, or of those in some rows, that hide one residue each."""
    return [
        view
        for row in (range(len(corpus)) if rows is None else rows)
        for view in hide_alone(corpus[row], np.flatnonzero(masking.is_residue(corpus[row])), masking, row)
    ]


def hide_alone(ids: np.ndarray, places: np.ndarray, masking: Masking, row: int = 0) -> list[View]:
    """Views of one sequence, that in a row of its corpus, that hide one of these tokens each."""
    return [View(row, _masked(ids, place, masking), np.array([place])) for place in places]


def _masked(ids: np.ndarray, places: Any, masking: Masking) -> np.ndarray:
    masked_ids = ids.copy()
    masked_ids[places] = masking.mask_id
    return masked_ids


def site_log_probabilities(
    model: MaskedLanguageModel,
    ids: np.ndarray,
    places: np.ndarray,
    masking: Masking,
    config: TrainingConfig,
    *,
    hide: bool,
) -> np.ndarray:
    """Log-probabilities over the vocabulary at some tokens of one sequence, (n_places, V).

    Parameters
    ----------
    ids : ndarray of uint8, shape (L,)
    places : ndarray of int
    hide : bool
        Hide each place in turn, one pass per place, alone: to the last bit, what one place gives does not
        depend on the others that are asked for. Else one pass over the sequence as it is.
    """
    if not hide:
        [(_, logs)] = log_probabilities(model, [View(0, ids, places)], config)
        return logs
    views = hide_alone(ids, places, masking)
    return np.concatenate([logs for view in views for _, logs in log_probabilities(model, [view], config)])
