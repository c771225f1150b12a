"""``VariantTable``: the substitutions of many variants in three arrays, read at the speed of NumPy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from .clean import ALPHABET, object_array, one_column, rows_of
from .variants import is_notation, read_variants

_LETTERS_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class VariantTable:
    """M substitutions of n variants of one protein, variant by variant, in ascending order of the sites.

    Parameters
    ----------
    wild_type : str
    n_variants : int
    row : ndarray of int, shape (M,)
        Which variant.
    site : ndarray of int, shape (M,)
        Counted from 0.
    letter : ndarray of uint8, shape (M,)
        The new residue, as in ASCII.
    """

    wild_type: str
    n_variants: int
    row: np.ndarray
    site: np.ndarray
    letter: np.ndarray

    @classmethod
    def read(cls, wild_type: str, variants: Any, *, first_site: int = 1) -> VariantTable:
        """Read what :func:`plmlearn.sequences.read_variants` takes, with the same errors.

        Tables whose rows are all clean sequences take some 10 ns per residue.
        """
        given = list(one_column(rows_of(variants, "variants"), variants))
        parts = _compared(wild_type, given)
        if parts is None:
            changes = read_variants(wild_type, given, first_site=first_site)
            flat = [(row, site, ord(new)) for row, found in enumerate(changes) for site, new in found]
            parts = list(np.array(flat, dtype=np.int64).reshape(-1, 3).T)
        return cls(wild_type, len(given), parts[0], parts[1], parts[2].astype(np.uint8))

    @property
    def sites(self) -> np.ndarray:
        """Sites where any variant differs, ascending."""
        return np.unique(self.site)

    def sequences(self) -> np.ndarray:
        """The variants written out, (n_variants,) of str."""
        return object_array(self._written_out())

    def _written_out(self) -> Iterator[str]:
        wild_type = np.frombuffer(self.wild_type.encode(), dtype=np.uint8)
        bounds = np.searchsorted(self.row, np.arange(self.n_variants + 1))
        for first, last in pairwise(bounds.tolist()):
            letters = wild_type.copy()
            letters[self.site[first:last]] = self.letter[first:last]
            yield letters.tobytes().decode()


def with_names_written_out(wild_type: str, variants: Sequence, *, first_site: int = 1) -> np.ndarray:
    """Variants of any length, the substitutions among them as sequences, all others as they are."""
    named = [variant if is_notation(variant) else "WT" for variant in variants]
    written = VariantTable.read(wild_type, named, first_site=first_site).sequences()
    return object_array(new if is_notation(old) else old for new, old in zip(written, variants, strict=True))


def _compared(wild_type: str, variants: list) -> list[np.ndarray] | None:
    """Rows, sites and letters of sequences of the 20 residues, as long as the wild type; None of others."""
    length, parts = len(wild_type), []
    if any(type(variant) is not str or len(variant) != length for variant in variants):
        return None
    own, step = np.frombuffer(wild_type.encode(), dtype=np.uint8), max(1, _LETTERS_AT_ONCE // length)
    for start in range(0, len(variants), step):
        text = "".join(variants[start : start + step])
        if not text.isascii() or text.encode().translate(None, ALPHABET.encode()):
            return None
        letters = np.frombuffer(text.encode(), dtype=np.uint8).reshape(-1, length)
        rows, sites = np.nonzero(letters != own)
        parts.append((rows + start, sites, letters[rows, sites]))
    return [np.concatenate(columns) for columns in zip(*parts)]
