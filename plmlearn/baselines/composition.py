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

Kind = Literal["composition", "kmer", "onehot", "blosum62"]
_KINDS = get_args(Kind)


@dataclass(kw_only=True, eq=False, repr=False)
class CompositionVectorizer(SequenceInput, TransformerMixin, BaseEstimator):
    """Sequences as vectors, the classical way: what a tuned language model has to beat.

    Parameters
    ----------
    kind : {"composition", "kmer", "onehot", "blosum62"}, default="composition"
        "composition": share of each of the 20 amino acids. "kmer": share of each of the 20^k words of k
        residues. "onehot": one indicator per position and amino acid. "blosum62": the 20 substitution scores
        of the residue at each position (Henikoff & Henikoff 1992, doi:10.1073/pnas.89.22.10915). The last two
        compare position by position and suit variants of one protein.
    k : int, default=2
        Length of the words of "kmer", 1 to 4.

    Attributes
    ----------
    length_ : int
        Positions of "onehot" and "blosum62": residues of the longest training sequence. Shorter sequences
        are padded with zeros, longer ones raise an error.

    See Also
    --------
    plmlearn.PLMEmbedder : Embeddings of a frozen backbone.

    Notes
    -----
    Rare letters (B, O, U, Z) and X count as no amino acid in "composition", "kmer" and "onehot". "kmer" and
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
        scores = np.zeros((len(sequences), self.length_, size))
        for row, sequence in enumerate(sequences):
            scores[row, : len(sequence)] = BLOSUM62[encode(sequence), :size]
        return scores.reshape(len(sequences), -1)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Words, or residues with their positions ("A1"), one per column."""
        check_is_fitted(self)
        if self.kind in ("composition", "kmer"):
            words = ("".join(word) for word in product(ALPHABET, repeat=self._word_length()))
            return np.array(list(words), dtype=object)
        positions = range(1, self.length_ + 1)
        return np.array([f"{letter}{p}" for p in positions for letter in ALPHABET], dtype=object)

    def _word_length(self) -> int:
        return 1 if self.kind == "composition" else int(self.k)


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
