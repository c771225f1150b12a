"""From rows to batches: tokens kept once per distinct sequence, steps drawn at random, no padding.

An optimiser step is a random draw of rows, whatever their lengths: shuffling is honest. Because
batches are packed, not padded, a step needs no neighbours of similar length; it is only cut into
micro-batches where it exceeds the token budget. A long protein may come in several windows; they
stay together, as one sequence of all their tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..backbones import Backbone
from ..cache import Entries
from ..nn.packing import PackedTokens
from ..nn.windows import cut


class TokenizedSequences:
    """Tokens of n rows, each distinct sequence held once.

    Parameters
    ----------
    backbone : Backbone
    sequences : sequence of str
        Clean sequences, one per row.
    window : int, optional
        Residues of the largest window; longer sequences are read in several. None never cuts.

    Attributes
    ----------
    lengths : ndarray of int, shape (n_distinct,)
        Tokens of each distinct sequence, all windows together.
    residue_lengths : ndarray of int, shape (n_distinct,)
        Residues of each distinct sequence.
    longest_window : int
        Tokens of the longest sequence that the encoder sees.
    of_row : ndarray of int, shape (n_rows,)
        Which distinct sequence each row has.
    """

    def __init__(self, backbone: Backbone, sequences: Iterable[str], window: int | None = None):
        order: dict[str, int] = {}
        self.of_row = np.array([order.setdefault(s, len(order)) for s in sequences], dtype=np.int64)
        self.residue_lengths = np.fromiter(map(len, order), dtype=np.int64, count=len(order))
        cuts = [cut(len(sequence), window or len(sequence)) for sequence in order]
        pieces = [s[first:last] for s, windows in zip(order, cuts) for first, last in windows]
        self.ids, tokens_of_window = backbone.tokenize(pieces)
        self.longest_window = int(tokens_of_window.max(initial=0))
        # By distinct sequence: (first residue, tokens) of each of its windows.
        by_window = iter(tokens_of_window.tolist())
        self._windows = [[(first, next(by_window)) for first, _ in windows] for windows in cuts]
        self.lengths = np.array([sum(n for _, n in windows) for windows in self._windows], dtype=np.int64)
        self.starts = np.cumsum(self.lengths) - self.lengths
        self.n_prefix, self.n_suffix = len(backbone.token_format.prefix), len(backbone.token_format.suffix)
        self._known: dict[str, Entries] = {}

    def __len__(self) -> int:
        return len(self.of_row)

    @property
    def n_distinct(self) -> int:
        return len(self.lengths)

    @property
    def n_residues(self) -> np.ndarray:
        """Residues of each row."""
        return self.residue_lengths[self.of_row]

    def know(self, kind: str, values: Entries) -> None:
        """Take in what has been computed of each distinct sequence.

        Parameters
        ----------
        kind : {"trunk", "pooled", "residues"}
        values : Entries
            (L, D) activations that enter the first trained layer, (1, D) pooled embeddings, or one
            embedding per residue.
        """
        self._known[kind] = values

    @property
    def costs(self) -> np.ndarray:
        """What each distinct sequence takes of the token budget: its tokens, or 1 if all are embedded.

        A batch with one unknown embedding is encoded whole, so known ones cost their tokens too.
        """
        pooled = self._known.get("pooled")
        if pooled is None or len(pooled.missing):
            return self.lengths
        return np.ones_like(self.lengths)

    def n_tokens(self, rows: np.ndarray) -> int:
        """What the distinct sequences of these rows take of the token budget together."""
        return int(self.costs[np.unique(self.of_row[rows])].sum())

    def keys(self) -> list[bytes]:
        """Digest of the tokens of each distinct sequence, and of its windows where it has several."""
        keys = []
        for start, length, windows in zip(self.starts, self.lengths, self._windows):
            digest = hashlib.blake2b(self.ids[start : start + length].data, digest_size=16)
            for first, _ in windows[1:]:
                digest.update(first.to_bytes(8, "little"))
            keys.append(digest.digest())
        return keys

    def pack(
        self, distinct: Sequence[int] | np.ndarray, device: torch.device, max_tokens: int | None = None
    ) -> PackedTokens:
        """A batch of distinct sequences on a device; ``max_tokens`` is the budget it was made by."""
        windows = [window for i in distinct for window in self._windows[i]]
        are_cut = len(windows) > len(distinct)
        pieces = [self.ids[self.starts[i] : self.starts[i] + self.lengths[i]] for i in distinct]
        ids = torch.from_numpy(np.concatenate(pieces).astype(np.int64))
        known = {kind: [values[i] for i in distinct] for kind, values in self._known.items()}
        whole: dict[str, Any] = {
            kind: _to(torch.cat(values), device)
            for kind, values in known.items()
            if all(value is not None for value in values)
        }
        return PackedTokens(
            _to(ids, device),
            [n_tokens for _, n_tokens in windows],
            self.n_prefix,
            self.n_suffix,
            **whole,
            offsets=[first for first, _ in windows] if are_cut else None,
            max_tokens=max_tokens if are_cut else None,
        )


@dataclass(frozen=True)
class Batch:
    """Rows that go through the model together.

    Parameters
    ----------
    rows : ndarray of int, shape (N,)
    tokens : PackedTokens
        The distinct sequences among them.
    sequence_of_row : Tensor of int, shape (N,)
        Which of the batch's sequences each row has.
    """

    rows: np.ndarray
    tokens: PackedTokens
    sequence_of_row: Tensor


def make_batches(
    data: TokenizedSequences, rows: np.ndarray, max_tokens: int, device: torch.device
) -> Iterator[Batch]:
    """Rows as batches of at most ``max_tokens`` tokens (one sequence where it alone has more).

    Rows with the same sequence share a batch, which encodes it once. Sequences go by length, so
    that those of equal length meet.
    """
    distinct, inverse = np.unique(data.of_row[rows], return_inverse=True)
    by_length = np.argsort(data.lengths[distinct], kind="stable")
    place = np.empty_like(by_length)
    place[by_length] = np.arange(len(by_length))
    position = place[inverse]  # of each row's sequence in the order by length
    by_position = np.argsort(position, kind="stable")
    cuts = split_by_budget(data.costs[distinct[by_length]], max_tokens)
    bounds = np.searchsorted(position[by_position], [*cuts, len(distinct)])
    for i, (first, last) in enumerate(zip(cuts, [*cuts[1:], len(distinct)])):
        members = by_position[bounds[i] : bounds[i + 1]]
        tokens = data.pack(distinct[by_length[first:last]], device, max_tokens)
        sequence_of_row = _to(torch.from_numpy(position[members] - first), device)
        yield Batch(rows[members], tokens, sequence_of_row)


def split_by_budget(lengths: np.ndarray, max_tokens: int) -> list[int]:
    """Where to begin a new batch so that none exceeds the budget and all are of like size.

    >>> split_by_budget(np.array([40, 40, 50, 60, 300]), max_tokens=100)
    [0, 2, 3, 4]
    """
    total = int(lengths.sum())
    n_batches = max(1, -(-total // max_tokens))
    budget = min(max_tokens, -(-total // n_batches) + int(lengths.max(initial=0)) // 2)
    cuts, filled = [0], 0
    for i, length in enumerate(lengths.tolist()):
        if filled and filled + length > budget:
            cuts.append(i)
            filled = 0
        filled += length
    return cuts


def draw_steps(
    n_rows: int,
    batch_size: int,
    rng: np.random.Generator,
    *,
    epoch_size: int | None = None,
    strata: np.ndarray | None = None,
) -> list[np.ndarray]:
    """One epoch in optimiser steps of ``batch_size`` rows (the last may be short): see :func:`draw_rows`."""
    rows = draw_rows(n_rows, n_rows if epoch_size is None else epoch_size, rng, strata=strata)
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]


def draw_rows(
    n_rows: int, n_drawn: int, rng: np.random.Generator, *, strata: np.ndarray | None = None
) -> np.ndarray:
    """Rows of one epoch in random order, none drawn again before all others were.

    Parameters
    ----------
    n_rows, n_drawn : int
    rng : Generator
    strata : ndarray of shape (n_rows,), optional
        Class of each row; equally many are drawn of each class.

    Examples
    --------
    >>> draw_rows(3, 7, np.random.default_rng(0))
    array([2, 0, 1, 2, 1, 0, 2])
    """
    if strata is None:
        n_rounds = -(-n_drawn // n_rows)
        return np.concatenate([rng.permutation(n_rows) for _ in range(n_rounds)])[:n_drawn]
    members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    shares = np.diff(np.arange(len(members) + 1) * n_drawn // len(members))
    drawn = [rows[draw_rows(len(rows), n, rng)] for rows, n in zip(members, shares) if n]
    return rng.permutation(np.concatenate(drawn))


def _to(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
