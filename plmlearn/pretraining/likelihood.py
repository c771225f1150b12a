"""How likely a masked language model finds residues where they stand.

``hide_parts``, ``hide_each``   sequences with some residues hidden, or one at a time
``log_likelihoods``             how well the hidden ones are told, by sequence
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
from ..training.config import TrainingConfig
from ..training.devices import autocast
from ..training.inference import Budget
from .language_head import MaskedLanguageModel
from .masking import Corpus, Masking


@dataclass(frozen=True)
class View:
    """One sequence with some of its residues hidden, and what to say of it.

    Parameters
    ----------
    row : int
        Of the sequence in its corpus.
    asked : ndarray of uint8, shape (L,)
        Its tokens, some of them ``<mask>``.
    places : ndarray of int, shape (N,)
        Tokens to predict.
    """

    row: int
    asked: np.ndarray
    places: np.ndarray


def log_probabilities(
    model: MaskedLanguageModel, views: Sequence[View], plan: TrainingConfig
) -> Iterator[tuple[View, np.ndarray]]:
    """Each view with its natural log-probabilities over the vocabulary, (N, V) float64, by length."""
    model.eval()
    budget = Budget(plan.max_tokens)
    waiting = sorted(views, key=lambda view: len(view.asked))
    while waiting:
        batch = _first_batch(waiting, budget.max_tokens)
        try:
            rows = _run(model, batch, plan)
        except (RuntimeError, MemoryError) as error:
            budget.halve(error, sum(len(view.asked) for view in batch))
            continue
        waiting = waiting[len(batch) :]
        yield from zip(batch, np.split(rows, np.cumsum([len(view.places) for view in batch])[:-1]))


def _first_batch(views: list[View], max_tokens: int) -> list[View]:
    n_tokens = np.cumsum([len(view.asked) for view in views[: max_tokens // len(views[0].asked) + 1]])
    return views[: max(1, int(np.searchsorted(n_tokens, max_tokens, side="right")))]


def _run(model: MaskedLanguageModel, batch: list[View], plan: TrainingConfig) -> np.ndarray:
    lengths = [len(view.asked) for view in batch]
    starts = np.cumsum(lengths) - lengths
    ids = torch.from_numpy(np.concatenate([view.asked for view in batch]).astype(np.int64))
    places = torch.from_numpy(np.concatenate([view.places + start for view, start in zip(batch, starts)]))
    with torch.inference_mode(), autocast(plan.device, plan.dtype):
        logits = model(PackedTokens(ids.to(plan.device), lengths, 0, 0), places.to(plan.device))
    return F.log_softmax(logits.double(), -1).cpu().numpy()


def log_likelihoods(
    model: MaskedLanguageModel, corpus: Corpus, views: Sequence[View], plan: TrainingConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Log-probability of the true residues in all views of each sequence.

    Returns
    -------
    sums : ndarray of float, shape (n_sequences,)
        In nats.
    counts : ndarray of int, shape (n_sequences,)
        Residues asked for.
    """
    sums, counts = np.zeros(len(corpus)), np.zeros(len(corpus), dtype=np.int64)
    for view, logs in log_probabilities(model, views, plan):
        sums[view.row] += logs[np.arange(len(view.places)), corpus[view.row][view.places]].sum()
        counts[view.row] += len(view.places)
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


def hide_each(corpus: Corpus, masking: Masking) -> list[View]:
    """Views of each sequence that hide one residue each."""
    return [
        View(row, _masked(corpus[row], place, masking), np.array([place]))
        for row in range(len(corpus))
        for place in np.flatnonzero(masking.is_residue(corpus[row]))
    ]


def _masked(ids: np.ndarray, places: Any, masking: Masking) -> np.ndarray:
    asked = ids.copy()
    asked[places] = masking.mask_id
    return asked


def site_log_probabilities(
    model: MaskedLanguageModel,
    ids: np.ndarray,
    places: np.ndarray,
    masking: Masking,
    plan: TrainingConfig,
    *,
    hide: bool,
) -> np.ndarray:
    """Log-probabilities over the vocabulary at some tokens of one sequence, (n_places, V).

    Parameters
    ----------
    ids : ndarray of uint8, shape (L,)
    places : ndarray of int
    hide : bool
        Hide each place in turn, one pass per place; else one pass over the sequence as it is.
    """
    if not hide:
        [(_, logs)] = log_probabilities(model, [View(0, ids, places)], plan)
        return logs
    views = [View(i, _masked(ids, place, masking), np.array([place])) for i, place in enumerate(places)]
    of_view = {view.row: found[0] for view, found in log_probabilities(model, views, plan)}
    return np.stack([of_view[i] for i in range(len(places))])
