"""From samples to batches: tokens kept once per distinct sequence, no padding.

``TokenizedSequences``   tokens of distinct sequences
``Inputs``               which of them each sample has
``make_batches``         samples that go through the model together, within a token budget

Batches are packed, not padded, so a batch needs no neighbours of similar length; it is only cut where
it exceeds the token budget. A long protein may come in several windows; they stay together, as one
sequence of all their tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..backbones import Backbone
from ..nn.models import ModelInputs
from ..nn.packing import PackedTokens, cut


class DistinctSequences(Protocol):
    """What batches are made of: tokens of distinct sequences, or features of them."""

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each sequence, all its windows together, (n_distinct,)."""

    @property
    def residue_lengths(self) -> np.ndarray:
        """Residues of each sequence, (n_distinct,)."""

    @property
    def costs(self) -> np.ndarray:
        """What each sequence takes of the token budget, (n_distinct,)."""

    def pack(
        self, chosen: Sequence[int] | np.ndarray, device: torch.device, max_tokens: int | None = None
    ) -> ModelInputs:
        """Some of the sequences on a device; ``max_tokens`` is the budget of the batch."""


class TokenizedSequences:
    """Tokens of distinct sequences.

    Parameters
    ----------
    backbone : Backbone
    sequences : list of str
        Clean and distinct.
    window : int, optional
        Residues of the largest window; longer sequences are read in several. None never cuts.

    Attributes
    ----------
    lengths : ndarray of int, shape (n_distinct,)
        Tokens of each sequence, all windows together.
    residue_lengths : ndarray of int, shape (n_distinct,)
        Residues of each sequence.
    longest_window : int
        Tokens of the longest sequence that the encoder sees.
    """

    def __init__(self, backbone: Backbone, sequences: Sequence[str], window: int | None = None):
        self.residue_lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
        cuts = [cut(len(sequence), window or len(sequence)) for sequence in sequences]
        pieces = [s[first:last] for s, windows in zip(sequences, cuts) for first, last in windows]
        self.ids, tokens_of_window = backbone.tokenize(pieces)
        self.longest_window = int(tokens_of_window.max(initial=0))
        # By sequence: (first residue, tokens) of each of its windows.
        by_window = iter(tokens_of_window.tolist())
        self._windows = [[(first, next(by_window)) for first, _ in windows] for windows in cuts]
        self.lengths = np.array([sum(n for _, n in windows) for windows in self._windows], dtype=np.int64)
        self.starts = np.cumsum(self.lengths) - self.lengths
        token_format = backbone.token_format
        self.n_prefix, self.n_suffix = len(token_format.prefix), len(token_format.suffix)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def costs(self) -> np.ndarray:
        return self.lengths

    def keys(self) -> list[bytes]:
        """Digest of the tokens of each sequence, and of its windows where it has several."""
        keys = []
        for start, length, windows in zip(self.starts, self.lengths, self._windows):
            digest = hashlib.blake2b(self.ids[start : start + length].data, digest_size=16)
            for first, _ in windows[1:]:
                digest.update(first.to_bytes(8, "little"))
            keys.append(digest.digest())
        return keys

    def pack(
        self, chosen: Sequence[int] | np.ndarray, device: torch.device, max_tokens: int | None = None
    ) -> PackedTokens:
        windows = [window for i in chosen for window in self._windows[i]]
        are_cut = len(windows) > len(chosen)
        pieces = [self.ids[self.starts[i] : self.starts[i] + self.lengths[i]] for i in chosen]
        ids = torch.from_numpy(np.concatenate(pieces).astype(np.int64))
        return PackedTokens(
            to_device(ids, device),
            [n_tokens for _, n_tokens in windows],
            self.n_prefix,
            self.n_suffix,
            offsets=[first for first, _ in windows] if are_cut else None,
            max_tokens=max_tokens if are_cut else None,
        )


@dataclass(frozen=True)
class Inputs:
    """n samples, and the distinct sequences that they are made of.

    Parameters
    ----------
    sequences : TokenizedSequences or FeatureSet
    index : ndarray of int, shape (n,), or (n, 2) for pairs
        Which of the distinct sequences each sample has.
    """

    sequences: Any
    index: np.ndarray

    @classmethod
    def of(cls, backbone: Backbone, sequences: Iterable[str], window: int | None = None) -> Inputs:
        """Samples of one sequence each."""
        place: dict[str, int] = {}
        index = np.array([place.setdefault(s, len(place)) for s in sequences], dtype=np.int64)
        return cls(TokenizedSequences(backbone, list(place), window), index)

    @classmethod
    def of_pairs(
        cls, backbone: Backbone, pairs: np.ndarray, *, ordered: bool, window: int | None = None
    ) -> Inputs:
        """Samples of two sequences each, (n, 2).

        Where (a, b) and (b, a) do not differ (``ordered=False``), both are held alike, and the sequences
        stand in an order that does not depend on theirs: then no bit of any result does.
        """
        place = {sequence: i for i, sequence in enumerate(sorted(set(pairs.ravel().tolist())))}
        index = np.array([place[s] for s in pairs.ravel().tolist()], dtype=np.int64).reshape(-1, 2)
        return cls(
            TokenizedSequences(backbone, list(place), window), index if ordered else np.sort(index, axis=1)
        )

    def __len__(self) -> int:
        return len(self.index)

    @property
    def are_pairs(self) -> bool:
        return self.index.ndim == 2

    @property
    def scored_together(self) -> bool:
        """Whether samples share sequences: a step encodes each of them once, then scores all its samples."""
        return self.are_pairs

    @property
    def n_residues(self) -> np.ndarray:
        """Residues of each sample, (n,), or of both sequences of each, (n, 2)."""
        return self.sequences.residue_lengths[self.index]

    @property
    def of_each_sequence(self) -> Inputs:
        """The distinct sequences, one sample each."""
        return replace(self, index=np.arange(len(self.sequences)))

    def distinct(self, samples: np.ndarray) -> np.ndarray:
        """The distinct sequences of some samples, ascending."""
        return np.unique(self.index[samples])

    def n_tokens(self, samples: np.ndarray) -> int:
        """What the distinct sequences of some samples take of the token budget together."""
        return int(self.sequences.costs[self.distinct(samples)].sum())

    def links(self, samples: np.ndarray, order: np.ndarray) -> Any:
        """Which of the encoded sequences each sample has, where these came in this order."""
        place = np.empty(len(self.sequences), dtype=np.int64)
        place[order] = np.arange(len(order))
        return torch.from_numpy(place[self.index[samples]])


@dataclass(frozen=True)
class Batch:
    """Samples that go through the model together.

    Parameters
    ----------
    samples : ndarray of int, shape (N,)
    inputs : PackedTokens, Activations or Ragged
        The distinct sequences among them.
    index : Tensor of int, shape (N,)
        Which of the batch's sequences each sample has.
    """

    samples: np.ndarray
    inputs: ModelInputs
    index: Tensor


def make_batches(data: Inputs, samples: np.ndarray, max_tokens: int, device: torch.device) -> Iterator[Batch]:
    """Samples as batches of at most ``max_tokens`` tokens (one sequence where it alone has more).

    Samples with the same sequence share a batch, which encodes it once. Sequences go by length, so
    that those of equal length meet.
    """
    distinct, inverse = np.unique(data.index[samples], return_inverse=True)
    by_length = np.argsort(data.sequences.lengths[distinct], kind="stable")
    place = np.empty_like(by_length)
    place[by_length] = np.arange(len(by_length))
    position = place[inverse]  # of each sample's sequence in the order by length
    by_position = np.argsort(position, kind="stable")
    cuts = split_by_budget(data.sequences.costs[distinct[by_length]], max_tokens)
    bounds = np.searchsorted(position[by_position], [*cuts, len(distinct)])
    for i, (first, last) in enumerate(zip(cuts, [*cuts[1:], len(distinct)])):
        members = by_position[bounds[i] : bounds[i + 1]]
        packed = data.sequences.pack(distinct[by_length[first:last]], device, max_tokens)
        index = to_device(torch.from_numpy(position[members] - first), device)
        yield Batch(samples[members], packed, index)


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


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy on the device; a GPU goes on computing meanwhile."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
