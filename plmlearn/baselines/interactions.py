"""Pairs, by counting with ``PairDegreeClassifier`` or by relatives with ``PairSimilarityClassifier``.

Both know which proteins interact in training, but not why. A model of pairs is worth what it gains over them.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, get_args

import numpy as np
from scipy.sparse import csr_array
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from ..model_selection.leakage import degree_scores
from ..sequences import check_pairs
from ..sequences.checked import SHARE, one_of
from ..sequences.clean import check_parameters
from ..sequences.columns import check_labels
from ..sequences.pairs import check_pair_rows
from ..similarity import find_similar
from ..similarity.search import Method


class _PairBaseline(ClassifierMixin, BaseEstimator):
    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.string = True, True
        tags._skip_test = True  # check_estimator would fit on arrays of numbers
        return tags

    def _remember(self, pairs: np.ndarray, y: Any) -> None:
        y = check_labels(y, "y", ("label per pair", len(pairs)))
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) != 2:
            raise ValueError(f"y has {len(self.classes_)} classes; expected 2: pairs interact or do not.")
        self.pairs_, self.labels_ = pairs, codes

    def predict(self, X: Any) -> np.ndarray:
        """Class of every pair, (n,)."""
        check_is_fitted(self)
        return self.classes_[self.predict_proba(X).argmax(axis=1)]  # type: ignore[attr-defined]


@dataclass(kw_only=True, eq=False, repr=False)
class PairDegreeClassifier(_PairBaseline):
    """Pairs by how often each of the two proteins interacts in training; sequences are not used.

    Its score is that of :func:`plmlearn.model_selection.pair_leakage`: the log odds of a positive label among
    the training pairs of either protein, added up. At level C3 no protein was seen and all scores are equal.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
    pairs_, labels_ : ndarray
        The training pairs.

    See Also
    --------
    PairSimilarityClassifier : Interactions of similar proteins.
    plmlearn.model_selection.pair_leakage : What test pairs share with training pairs.

    Examples
    --------
    >>> from plmlearn.baselines import PairDegreeClassifier
    >>> clf = PairDegreeClassifier().fit([("A", "B"), ("A", "C"), ("B", "C")], [1, 1, 0])
    >>> clf.predict([("A", "D")])
    array([1])
    """

    def fit(self, X: Any, y: Any) -> "PairDegreeClassifier":
        """Remember pairs, as sequences or accessions, and their two classes."""
        self._remember(check_pair_rows(X), y)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Sum of log odds, (n,)."""
        check_is_fitted(self)
        return degree_scores(self.pairs_, self.labels_, X)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of both classes, (n, 2)."""
        positive = expit(self.decision_function(X))
        return np.column_stack([1 - positive, positive])


@dataclass(kw_only=True, eq=False, repr=False)
class PairSimilarityClassifier(_PairBaseline):
    """Pairs by the training pairs of their relatives, that is, by interacting homologs (interologs).

    Every training pair (a', b') votes on a pair (a, b) with the weight s(a, a') s(b, b'), in both orders,
    where s is the identity of two proteins times the shares of them that align, and 1 for a protein with
    itself. The share of positive votes is shrunk to that of training by one pseudo-vote.

    Parameters
    ----------
    min_identity : float, default=0.3
        Least identity of a relative, 0 to 1.
    method : {"auto", "mmseqs", "exact"}, default="auto"
        How relatives are found, see :func:`plmlearn.similarity.find_similar`.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
    pairs_, labels_ : ndarray
        The training pairs.

    See Also
    --------
    PairDegreeClassifier : How often each protein interacts.
    HomologyClassifier : Class, or labels, of the nearest training protein.

    References
    ----------
    Matthews et al. (2001), interologs, doi:10.1101/gr.205301

    Examples
    --------
    >>> from plmlearn.baselines import PairSimilarityClassifier
    >>> X, y = [("MKVLAAGIVG", "GSHMASMTGG"), ("MKVLAAGIVG", "PPPPWWWWDD")], ["yes", "no"]
    >>> PairSimilarityClassifier(method="exact").fit(X, y).predict([("GSHMASMTGG", "MKVLAAGIVG")])
    array(['yes'], dtype='<U3')
    """

    min_identity: float = 0.3
    method: Method = "auto"

    _parameter_constraints: ClassVar[dict] = {"min_identity": SHARE, "method": one_of(get_args(Method))}

    def fit(self, X: Any, y: Any) -> "PairSimilarityClassifier":
        """Remember pairs of sequences and their two classes."""
        check_parameters(self._parameter_constraints, vars(self), type(self).__name__)
        self._remember(check_pairs(X), y)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of both classes, (n, 2)."""
        check_is_fitted(self)
        own, test = np.unique(check_pairs(X), return_inverse=True)
        known, train = np.unique(self.pairs_, return_inverse=True)
        hits = find_similar(own, known, min_identity=self.min_identity, method=self.method)
        weights = hits.identity * hits.query_coverage * hits.target_coverage
        similarity = csr_array((weights, (hits.query, hits.target)), shape=(len(own), len(known)))
        test, train = test.reshape(-1, 2), train.reshape(-1, 2)
        positive = _votes(similarity, train, self.labels_, test) + self.labels_.mean()
        positive /= _votes(similarity, train, np.ones(len(train)), test) + 1
        return np.column_stack([1 - positive, positive])


def _votes(similarity: csr_array, train: np.ndarray, weights: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Weighted votes of all training pairs on the test pairs, (n_test,); rows and columns by number."""
    size = similarity.shape[1]
    links = csr_array((weights.astype(float), tuple(train.T)), shape=(size, size))
    reach = (similarity @ (links + links.T)).tocsr()
    return np.asarray(reach[test[:, 0]].multiply(similarity[test[:, 1]]).sum(axis=1)).ravel()
