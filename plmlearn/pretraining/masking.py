"""What a masked language model is asked: crops of sequences with some residues hidden.

Everything random here comes from a generator that the caller seeds by step, so a step's batch is
a function of seed and step alone: a resumed run masks what an uninterrupted one would have.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..backbones import Backbone
from ..nn.packing import PackedTokens
from ..sequences import ALPHABET
from ..training.batching import split_by_budget


class Corpus:
    """Tokens of many sequences, one behind the other, a byte each.

    Parameters
    ----------
    backbone : Backbone
    sequences : sequence of str
        Clean sequences.
    crop_length : int, optional
        Tokens of the longest crop that is read of them; None reads them whole.

    Attributes
    ----------
    ids : ndarray of uint8, shape (n_tokens,)
    lengths, starts : ndarray of int, shape (n_sequences,)
        Tokens of each sequence, special ones included, and where they begin.
    """

    def __init__(
        self, backbone: Backbone, sequences: Sequence[str] | np.ndarray, crop_length: int | None = None
    ):
        self.ids, self.lengths = backbone.tokenize(list(sequences), whole=crop_length is None)
        if crop_length is not None and backbone.n_positions is not None:
            _check_crops(backbone, min(crop_length, self.lengths.max()))
        self.starts = np.cumsum(self.lengths) - self.lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> np.ndarray:
        """Tokens of one sequence."""
        return self.ids[self.starts[row] : self.starts[row] + self.lengths[row]]

    @cached_property
    def digest(self) -> str:
        """Of the sequences and their order."""
        digest = hashlib.blake2b(self.ids.data, digest_size=16)
        digest.update(self.lengths.data)
        return digest.hexdigest()


def _check_crops(backbone: Backbone, longest: int) -> None:
    n_special = len(backbone.token_format.prefix) + len(backbone.token_format.suffix)
    n_most = (backbone.n_positions or 0) + n_special
    if longest > n_most:
        raise ValueError(
            f"Crops have up to {longest} tokens, but {backbone.name!r} has positions for {n_most}. Pass "
            f"crop_length={n_most} or less."
        )


@dataclass(frozen=True)
class Masking:
    """Which residues are hidden, and how: ESM-2's rule by default.

    Special tokens and letters other than the 20 standard residues are never chosen.

    Parameters
    ----------
    mask_id : int
        Token id of ``<mask>``.
    residues : tuple of int
        Token ids of the 20 standard residues.
    rate : float, default=0.15
        Share of residues to predict.
    masked, random : float, default=0.8 and 0.1
        Of those, the shares that become ``<mask>`` and a residue drawn at random; the rest stay.
    """

    mask_id: int
    residues: tuple[int, ...]
    rate: float = 0.15
    masked: float = 0.8
    random: float = 0.1

    @classmethod
    def of(cls, backbone: Backbone, rate: float = 0.15) -> Masking:
        """For the vocabulary of a backbone."""
        vocabulary = backbone.vocabulary
        residues = tuple(vocabulary[letter] for letter in ALPHABET)
        return cls(backbone.config.mask_token_id, residues, rate)

    def is_residue(self, ids: np.ndarray) -> np.ndarray:
        """Which tokens are standard residues."""
        table = np.zeros(256, dtype=bool)
        table[list(self.residues)] = True
        return table[ids]

    def mask(self, ids: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Hide residues of a row of tokens.

        Parameters
        ----------
        ids : ndarray of uint8, shape (T,)
        rng : numpy.random.Generator

        Returns
        -------
        masked_ids : ndarray of uint8, shape (T,)
            A copy with residues hidden.
        positions : ndarray of int, shape (N,)
            What is to be predicted, ascending.
        """
        positions = np.flatnonzero(
            (rng.random(len(ids), dtype=np.float32) < self.rate) & self.is_residue(ids)
        )
        return self.hide(ids, positions, rng), positions

    def parts(self, ids: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """The residues of one sequence in random parts of the masking rate's size, each in one part.

        >>> masking = Masking(32, residues=(5, 6), rate=0.5)
        >>> parts = masking.parts(np.array([0, 5, 6, 5, 6, 2], dtype=np.uint8), np.random.default_rng(0))
        >>> [len(part) for part in parts], sorted(np.concatenate(parts).tolist())
        ([2, 2], [1, 2, 3, 4])
        """
        places = rng.permutation(np.flatnonzero(self.is_residue(ids)))
        n_parts = max(1, min(len(places), round(1 / self.rate)))
        return [np.sort(part) for part in np.array_split(places, n_parts)]

    def hide(self, ids: np.ndarray, positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A copy of a row with the residues at ``positions`` masked, replaced or left."""
        masked_ids, fate = ids.copy(), rng.random(len(positions))
        masked_ids[positions[fate < self.masked]] = self.mask_id
        replaced = positions[(fate >= self.masked) & (fate < self.masked + self.random)]
        masked_ids[replaced] = rng.choice(np.array(self.residues, dtype=ids.dtype), len(replaced))
        return masked_ids


@dataclass(frozen=True)
class MaskedBatch:
    """A row of tokens with hidden residues.

    Parameters
    ----------
    tokens : PackedTokens
    positions : Tensor of int, shape (N,)
        Where to predict, in the row.
    targets : Tensor of int, shape (N,)
        Token ids of the true residues there.
    """

    tokens: PackedTokens
    positions: Tensor
    targets: Tensor


def draw_crops(
    corpus: Corpus, rows: np.ndarray, crop: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One window of at most ``crop`` tokens of each row's sequence, at a random place.

    Special tokens are tokens like any other: a window holds them where it reaches an end. Windows
    that would reach over an end are moved inside, so ends are seen as often as half of all places.

    Returns
    -------
    ids : ndarray of uint8, shape (T,)
        Window behind window, sorted by length.
    lengths : ndarray of int, shape (n_rows,)
    """
    whole = corpus.lengths[rows]
    lengths = np.minimum(whole, crop)
    shift = np.floor(rng.random(len(rows)) * (whole + 1) - crop / 2).astype(np.int64)
    starts = corpus.starts[rows] + np.clip(shift, 0, whole - lengths)
    order = np.argsort(lengths, kind="stable")
    windows = [corpus.ids[start : start + n] for start, n in zip(starts[order], lengths[order])]
    return np.concatenate(windows), lengths[order]


def masked_batches(
    ids: np.ndarray,
    masked_ids: np.ndarray,
    positions: np.ndarray,
    lengths: np.ndarray,
    max_tokens: int,
    device: torch.device,
) -> Iterator[MaskedBatch]:
    """A row of crops as batches of at most ``max_tokens`` tokens.

    Parameters
    ----------
    ids, masked_ids : ndarray of uint8, shape (T,)
        Tokens, and the same with residues hidden.
    positions : ndarray of int
        What to predict, ascending.
    lengths : ndarray of int
        Tokens of each crop.
    max_tokens : int
    device : torch.device
    """
    ends = np.concatenate([[0], np.cumsum(lengths)])
    cuts = [*split_by_budget(lengths, max_tokens), len(lengths)]
    for first, last in itertools.pairwise(cuts):
        start, stop = ends[first], ends[last]
        here = positions[np.searchsorted(positions, start) : np.searchsorted(positions, stop)]
        row = torch.from_numpy(masked_ids[start:stop].astype(np.int64)).to(device)
        yield MaskedBatch(
            PackedTokens(row, lengths[first:last].tolist(), 0, 0),
            torch.from_numpy(here - start).to(device),
            torch.from_numpy(ids[here].astype(np.int64)).to(device),
        )
