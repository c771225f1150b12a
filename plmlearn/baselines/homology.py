"""``HomologyClassifier``, ``HomologyRegressor``: predict what is known of the nearest training protein.

Homology-based inference is how most proteins are annotated. A model that does not beat it has learned nothing
beyond similarity to its training set.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, column_or_1d

from ..messages import warn
from ..sequences import check_sequences
from ..sequences.checked import one_of
from ..sequences.clean import check_count, check_parameters
from ..sequences.columns import check_labels, check_numbers
from ..similarity import find_nearest
from ..similarity.search import NearestMethod
from .inputs import SequenceInput


@dataclass(kw_only=True, eq=False, repr=False)
class _NearestProtein(SequenceInput, BaseEstimator):
    method: NearestMethod = "auto"
    ties: Literal["average", "first"] = "average"

    _parameter_constraints: ClassVar[dict] = {
        "method": one_of(get_args(NearestMethod)),
        "ties": one_of(("average", "first")),
    }

    def _remember(self, X: Any, y: np.ndarray) -> np.ndarray:
        check_parameters(self._parameter_constraints, vars(self), type(self).__name__)
        self.sequences_ = check_sequences(X)
        check_count(y, len(self.sequences_), "sequences")
        return y

    def _averages(self, X: Any) -> np.ndarray:
        """Mean target of the nearest training proteins of every sequence, (n, k)."""
        check_is_fitted(self)
        check_parameters(self._parameter_constraints, vars(self), type(self).__name__)
        sequences = check_sequences(X)
        hits = find_nearest(sequences, self.sequences_, method=self.method)
        if self.ties == "first":
            hits = hits.take(np.unique(hits.query, return_index=True)[1])
        n_hits = np.bincount(hits.query, minlength=len(sequences))
        shape = len(sequences), len(self.sequences_)
        averages = csr_array((1 / n_hits[hits.query], (hits.query, hits.target)), shape) @ self.targets_
        averages[n_hits == 0] = self.targets_.mean(axis=0)
        if (n_alone := int((n_hits == 0).sum())) > 0:
            warn(
                f"{n_alone} of {len(sequences)} sequences resemble no training sequence; "
                "they get the mean of all training targets."
            )
        return averages


@dataclass(kw_only=True, eq=False, repr=False)
class HomologyRegressor(RegressorMixin, _NearestProtein):
    """Measurement of the nearest training protein.

    Parameters
    ----------
    method : {"auto", "mmseqs", "exact", "ungapped", "hamming"}, default="auto"
        How the nearest is found, see :func:`plmlearn.similarity.find_nearest`: position by position for
        variants of one protein, by MMseqs2 or exact alignment otherwise.
    ties : {"average", "first"}, default="average"
        What happens where several training proteins are equally near, as with most variants: their mean, or
        the first in training order, as a search for a single best hit has it.

    Attributes
    ----------
    sequences_ : ndarray of str
        The training proteins.
    targets_ : ndarray of float, shape (n_sequences, n_targets)

    Warns
    -----
    UserWarning
        Some sequences resemble no training sequence and get the mean of all.

    See Also
    --------
    HomologyClassifier : Class, or labels, of the nearest training protein.
    AdditiveMutationRegressor : Additive effects of mutations.

    Notes
    -----
    The definition matters. Test Spearman on the GB1 variants of FLIP, trained on the rows "train", with the
    mean of ties and, in brackets, the first of them:

    =================== ============= =============
    nearest by          three_vs_rest sampled
    =================== ============= =============
    ungapped (default)  .663 (.645)   .760 (.726)
    hamming             .635 (.523)   .797 (.548)
    mmseqs              .651 (.630)
    =================== ============= =============

    References
    ----------
    Schmirler, Heinzinger & Rost (2024), doi:10.1038/s41467-024-51844-2

    Examples
    --------
    >>> from plmlearn.baselines import HomologyRegressor
    >>> HomologyRegressor().fit(["MKVLA", "MKVLV", "GKVGG"], [1.0, 2.0, 5.0]).predict(["MKVLS", "MKVLT"])
    array([1. , 1.5])
    """

    def fit(self, X: Any, y: Any) -> "HomologyRegressor":
        """Remember sequences and their measurements, (n,) or (n, k)."""
        y = self._remember(X, check_numbers(y, "y"))
        self.targets_, self.one_target_ = y.reshape(len(y), -1), y.ndim == 1
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Measurement of the nearest training protein, (n,) or (n, k)."""
        averages = self._averages(X)
        return averages[:, 0] if self.one_target_ else averages


@dataclass(kw_only=True, eq=False, repr=False)
class HomologyClassifier(ClassifierMixin, _NearestProtein):
    """Class, or labels, of the nearest training protein.

    Parameters
    ----------
    method : {"auto", "mmseqs", "exact", "ungapped", "hamming"}, default="auto"
        How the nearest is found, see :func:`plmlearn.similarity.find_nearest`.
    ties : {"average", "first"}, default="average"
        What happens where several training proteins are equally near: the commonest class among them, or
        that of the first in training order.

    Attributes
    ----------
    classes_ : ndarray
        Classes, or numbers of the columns of a multi-label y.
    sequences_ : ndarray of str
        The training proteins.
    targets_ : ndarray of float, shape (n_sequences, n_classes)
        Their classes, 0 or 1.

    Warns
    -----
    UserWarning
        Some sequences resemble no training sequence and get the class frequencies of training.

    See Also
    --------
    HomologyRegressor : Measurement of the nearest training protein.
    PairSimilarityClassifier : Interactions of similar proteins.

    Examples
    --------
    >>> from plmlearn.baselines import HomologyClassifier
    >>> clf = HomologyClassifier().fit(["MKVLA", "MKVLG", "GKVGG"], ["in", "in", "out"])
    >>> clf.predict(["MKVLC", "GKVGA"])
    array(['in', 'out'], dtype='<U3')
    """

    def fit(self, X: Any, y: Any) -> "HomologyClassifier":
        """Remember sequences and their classes, (n,), or 0/1 labels, (n, k)."""
        y = self._remember(X, check_labels(y, "y"))
        check_classification_targets(y)
        self.multilabel_ = type_of_target(y) == "multilabel-indicator"
        if self.multilabel_:
            self.classes_, self.targets_ = np.arange(y.shape[1]), y.astype(float)
        else:
            self.classes_, codes = np.unique(column_or_1d(y), return_inverse=True)
            self.targets_ = np.eye(len(self.classes_))[codes]
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Share of each class among the nearest training proteins, (n, n_classes)."""
        return self._averages(X)

    def predict(self, X: Any) -> np.ndarray:
        """Class of the nearest training protein, (n,), or 0/1 labels, (n, k)."""
        averages = self._averages(X)
        return (averages > 0.5).astype(int) if self.multilabel_ else self.classes_[averages.argmax(axis=1)]
