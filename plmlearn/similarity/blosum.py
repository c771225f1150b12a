"""BLOSUM62 (Henikoff & Henikoff 1992, doi:10.1073/pnas.89.22.10915), half bits, and residues as its rows."""

import numpy as np

from ..sequences import ALPHABET

RESIDUE_TYPES = ALPHABET + "XBZ"
ENCODED_X = RESIDUE_TYPES.index("X")

_TABLE = """
 4  0 -2 -1 -2  0 -2 -1 -1 -1 -1 -2 -1 -1 -1  1  0  0 -3 -2  0 -2 -1
 0  9 -3 -4 -2 -3 -3 -1 -3 -1 -1 -3 -3 -3 -3 -1 -1 -1 -2 -2 -2 -3 -3
-2 -3  6  2 -3 -1 -1 -3 -1 -4 -3  1 -1  0 -2  0 -1 -3 -4 -3 -1  4  1
-1 -4  2  5 -3 -2  0 -3  1 -3 -2  0 -1  2  0  0 -1 -2 -3 -2 -1  1  4
-2 -2 -3 -3  6 -3 -1  0 -3  0  0 -3 -4 -3 -3 -2 -2 -1  1  3 -1 -3 -3
 0 -3 -1 -2 -3  6 -2 -4 -2 -4 -3  0 -2 -2 -2  0 -2 -3 -2 -3 -1 -1 -2
-2 -3 -1  0 -1 -2  8 -3 -1 -3 -2  1 -2  0  0 -1 -2 -3 -2  2 -1  0  0
-1 -1 -3 -3  0 -4 -3  4 -3  2  1 -3 -3 -3 -3 -2 -1  3 -3 -1 -1 -3 -3
-1 -3 -1  1 -3 -2 -1 -3  5 -2 -1  0 -1  1  2  0 -1 -2 -3 -2 -1  0  1
-1 -1 -4 -3  0 -4 -3  2 -2  4  2 -3 -3 -2 -2 -2 -1  1 -2 -1 -1 -4 -3
-1 -1 -3 -2  0 -3 -2  1 -1  2  5 -2 -2  0 -1 -1 -1  1 -1 -1 -1 -3 -1
-2 -3  1  0 -3  0  1 -3  0 -3 -2  6 -2  0  0  1  0 -3 -4 -2 -1  3  0
-1 -3 -1 -1 -4 -2 -2 -3 -1 -3 -2 -2  7 -1 -2 -1 -1 -2 -4 -3 -2 -2 -1
-1 -3  0  2 -3 -2  0 -3  1 -2  0  0 -1  5  1  0 -1 -2 -2 -1 -1  0  3
-1 -3 -2  0 -3 -2  0 -3  2 -2 -1  0 -2  1  5 -1 -1 -3 -3 -2 -1 -1  0
 1 -1  0  0 -2  0 -1 -2  0 -2 -1  1 -1  0 -1  4  1 -2 -3 -2  0  0  0
 0 -1 -1 -1 -2 -2 -2 -1 -1 -1 -1  0 -1 -1 -1  1  5  0 -2 -2  0 -1 -1
 0 -1 -3 -2 -1 -3 -3  3 -2  1  1 -3 -2 -2 -3 -2  0  4 -3 -1 -1 -3 -2
-3 -2 -4 -3  1 -2 -2 -3 -3 -2 -1 -4 -4 -2 -3 -3 -2 -3 11  2 -2 -4 -3
-2 -2 -3 -2  3 -3  2 -1 -2 -1 -1 -2 -3 -1 -2 -2 -2 -1  2  7 -1 -3 -2
 0 -2 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -2 -1 -1  0  0 -1 -2 -1 -1 -1 -1
-2 -3  4  1 -3 -1  0 -3  0 -4 -3  3 -2  0 -1  0 -1 -3 -4 -3 -1  4  1
-1 -3  1  4 -3 -2  0 -3  1 -3 -1  0 -1  3  0  0 -1 -2 -3 -2 -1  1  4
"""
BLOSUM62 = np.array(_TABLE.split(), dtype=np.int8).reshape(len(RESIDUE_TYPES), -1)

# Selenocysteine and pyrrolysine stand for their nearest relatives; anything unknown is an X.
_CODES = np.full(256, ENCODED_X, dtype=np.int64)
_CODES[[ord(letter) for letter in RESIDUE_TYPES]] = np.arange(len(RESIDUE_TYPES))
_CODES[ord("U")], _CODES[ord("O")] = RESIDUE_TYPES.index("C"), RESIDUE_TYPES.index("K")


def encode(sequence: str) -> np.ndarray:
    """Row of ``BLOSUM62`` for every residue of a clean sequence, (L,)."""
    return _CODES[np.frombuffer(sequence.encode("ascii"), dtype=np.uint8)]
