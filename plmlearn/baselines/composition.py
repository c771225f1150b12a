"""``CompositionVectorizer``: sequences as counts or positions of residues, without any language model."""

from dataclasses import dataclass
from itertools import product
from numbers import Integral
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from ..sequences import ALPHABET, check_sequences
from ..sequences.checked import one_of
from ..sequences.clean import check_parameters
from ..similarity.blosum import BLOSUM62, encode
from .inputs import SequenceInput

Kind = Literal["composition", "kmer", "onehot", "blosum62", "zscales"]

# Sandberg et al. 1998, in the order of ALPHABET.
_Z_SCALES_TABLE = """
 0.24 -2.32  0.60 -0.14  1.30
 0.84 -1.67  3.71  0.18 -2.65
 3.98  0.93  1.93 -2.46  0.75
 3.11  0.26 -0.11 -3.04 -0.25
-4.22  1.94  1.06  0.54 -0.62
 2.05 -4.06  0.36 -0.82 -0.38
 2.47  1.95  0.26  3.90  0.09
-3.89 -1.73 -1.71 -0.84  0.26
 2.29  0.89 -2.49  1.49  0.31
-4.28 -1.30 -1.49 -0.72  0.84
-2.85 -0.22  0.47  1.94 -0.98
 3.05  1.62  1.04 -1.15  1.61
-1.66  0.27  1.84  0.70  2.00
 1.75  0.50 -1.44 -1.34  0.66
 3.52  2.50 -3.50  1.99 -0.17
 2.39 -1.07  1.15 -1.39  0.67
 0.75 -2.18 -1.12 -1.46 -0.40
-2.59 -2.64 -1.54 -0.85 -0.02
-4.36  3.94  0.59  3.44 -1.59
-2.54  2.44  0.43  0.04 -1.47
"""
_Z_SCALES = np.array(_Z_SCALES_TABLE.split(), dtype=float).reshape(len(ALPHABET), -1)


@dataclass(kw_only=True, eq=False, repr=False)
class CompositionVectorizer(SequenceInput, TransformerMixin, BaseEstimator):
    """Sequences as vectors, the classical way: what a tuned language model has to beat.

    Parameters
    ----------
    kind : {"composition", "kmer", "onehot", "blosum62", "zscales"}, default="composition"
        "composition": share of each of the 20 amino acids. "kmer": share of each of the 20^k words of k
        residues. "onehot": one indicator per position and amino acid. "blosum62": the 20 substitution scores
        of the residue at each position (Henikoff & Henikoff 1992, doi:10.1073/pnas.89.22.10915). "zscales":
        its five physico-chemical scales (Sandberg et al. 1998, doi:10.1021/jm9700575): lipophilicity, size,
        polarity and two electronic ones. The last three compare position by position and suit variants of one
        protein.
    k : int, default=2
        Length of the words of "kmer", 1 to 4.

    Attributes
    ----------
    length_ : int
        Positions of "onehot", "blosum62" and "zscales": residues of the longest training sequence. Shorter
        sequences are padded with zeros, longer ones raise an error.

    See Also
    --------
    plmlearn.PLMEmbedder : Embeddings of a frozen backbone.

    Notes
    -----
    Rare letters (B, O, U, Z) and X count as no amino acid, except in "blosum62". "kmer" and
    "onehot" return a sparse array, which scikit-learn's linear models take as it is.

    Examples
    --------
    >>> from plmlearn.baselines import CompositionVectorizer
    >>> CompositionVectorizer().fit_transform(["AACA"])[0, :3]
    array([0.75, 0.25, 0.  ])
    >>> CompositionVectorizer(kind="kmer", k=3).fit_transform(["AACA", "MKVLA"]).shape
    (2, 8000)
    """

    kind: Kind = "composition"
    k: int = 2

    _parameter_constraints: ClassVar[dict] = {
        "kind": one_of(get_args(Kind)),
        "k": [Interval(Integral, 1, 4, closed="both")],
    }

    def fit(self, X: Any, y: Any = None) -> "CompositionVectorizer":
        """Learn the number of positions."""
        check_parameters(self._parameter_constraints, vars(self), type(self).__name__)
        self.length_ = max(map(len, check_sequences(X)))
        return self

    def transform(self, X: Any) -> Any:
        """Vectors, array of shape (n_sequences, n_features)."""
        check_is_fitted(self)
        check_parameters(self._parameter_constraints, vars(self), type(self).__name__)
        sequences = check_sequences(X)
        if self.kind in ("composition", "kmer"):
            shares = _word_shares(sequences, self._word_length())
            return shares if self._word_length() > 1 else shares.toarray()
        longest = max(map(len, sequences))
        if longest > self.length_:
            raise ValueError(
                f"A sequence has {longest} residues, the longest in fit had {self.length_}; "
                f"kind={self.kind!r} compares positions. Use kind='kmer' for sequences of different lengths."
            )
        size = len(ALPHABET)
        if self.kind == "onehot":
            rows, positions, letters = _letters(sequences)
            shape = len(sequences), self.length_ * size
            return csr_array((np.ones(len(rows)), (rows, positions * size + letters)), shape)
        table = residue_scales(self.kind)
        scores = np.zeros((len(sequences), self.length_, table.shape[1]))
        for row, sequence in enumerate(sequences):
            scores[row, : len(sequence)] = table[np.frombuffer(sequence.encode(), dtype=np.uint8)]
        return scores.reshape(len(sequences), -1)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Words, or residues or scales with their positions ("A1", "Z1_1"), one per column."""
        check_is_fitted(self)
        if self.kind in ("composition", "kmer"):
            words = ("".join(word) for word in product(ALPHABET, repeat=self._word_length()))
            return np.array(list(words), dtype=object)
        names = ["Z1", "Z2", "Z3", "Z4", "Z5"] if self.kind == "zscales" else list(ALPHABET)
        separator = "_" if self.kind == "zscales" else ""
        positions = range(1, self.length_ + 1)
        return np.array([f"{name}{separator}{p}" for p in positions for name in names], dtype=object)

    def _word_length(self) -> int:
        return 1 if self.kind == "composition" else int(self.k)


def residue_scales(kind: str) -> np.ndarray:
    """Rows of numbers for the letters by their code: BLOSUM62, (256, 20), or the z-scales, (256, 5)."""
    if kind == "zscales":
        scales = np.zeros((256, 5))
        scales[np.frombuffer(ALPHABET.encode(), dtype=np.uint8)] = _Z_SCALES
        return scales
    codes = encode("".join(map(chr, range(128))))
    return np.vstack([BLOSUM62[codes, : len(ALPHABET)], np.zeros((128, len(ALPHABET)))])


def _letters(sequences: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, position and number of every amino acid of the alphabet; other letters are left out."""
    lengths = np.array([len(sequence) for sequence in sequences])
    codes = np.full(256, -1)
    codes[np.frombuffer(ALPHABET.encode(), dtype=np.uint8)] = np.arange(len(ALPHABET))
    letters = codes[np.frombuffer("".join(sequences).encode(), dtype=np.uint8)]
    rows = np.repeat(np.arange(len(sequences)), lengths)
    positions = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    known = letters >= 0
    return rows[known], positions[known], letters[known]


def _word_shares(sequences: np.ndarray, k: int) -> csr_array:
    rows, positions, letters = _letters(sequences)
    n = max(len(rows) - k + 1, 0)
    first, last = slice(0, n), slice(k - 1, k - 1 + n)
    whole = (rows[last] == rows[first]) & (positions[last] == positions[first] + k - 1)
    words = sum(letters[i : i + n] * len(ALPHABET) ** (k - 1 - i) for i in range(k))
    rows = rows[first][whole]
    shape = len(sequences), len(ALPHABET) ** k
    counts = csr_array((np.ones(len(rows)), (rows, words[whole])), shape)
    counts.sum_duplicates()
    counts.data /= np.repeat(np.bincount(rows, minlength=len(sequences)), np.diff(counts.indptr))
    return counts
