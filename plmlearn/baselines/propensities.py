"""``ResiduePropensityClassifier``, ``ResiduePropensityRegressor``: each residue by its amino acid alone.

What a model of residues has to beat: it sees no neighbours and no language model.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ..metrics import residue_accuracy, residue_spearman
from ..sequences import check_residue_targets, check_sequences
from ..sequences.clean import object_array
from .inputs import SequenceInput


@dataclass(kw_only=True, eq=False, repr=False)
class ResiduePropensityClassifier(SequenceInput, BaseEstimator):
    """The label that a residue's amino acid most often has in training.

    Parameters
    ----------
    ignore_label : label, default=None
        Entry of y that says "not measured", as masked entries, None and nan do.

    Attributes
    ----------
    labels_ : dict
        Label of each amino acid.
    most_frequent_ : label
        Of all residues; what an amino acid gets that training lacks.

    See Also
    --------
    plmlearn.PLMResidueClassifier : Label every residue.

    References
    ----------
    Chou & Fasman (1974), doi:10.1021/bi00699a002

    Examples
    --------
    >>> from plmlearn.baselines import ResiduePropensityClassifier
    >>> ResiduePropensityClassifier().fit(["AAKGG", "AGK"], ["HHHCC", "HCC"]).predict(["AGA"])
    array(['HCH'], dtype=object)
    """

    ignore_label: Any = None

    def fit(self, X: Any, y: Any) -> "ResiduePropensityClassifier":
        """Count labels by amino acid; y has one str or array per protein."""
        letters, labels = _measured(X, check_residue_targets(y, X, ignore_label=self.ignore_label))
        classes, codes = np.unique(labels, return_inverse=True)
        counts = {letter: np.bincount(codes[letters == letter]) for letter in np.unique(letters)}
        self.labels_ = {letter: classes[count.argmax()] for letter, count in counts.items()}
        self.most_frequent_ = classes[np.bincount(codes).argmax()]
        self.as_text_ = all(isinstance(target, str) for target in y)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Labels as y had them: one str or array per protein."""
        check_is_fitted(self)
        rows = [[self.labels_.get(letter, self.most_frequent_) for letter in s] for s in check_sequences(X)]
        return object_array("".join(row) if self.as_text_ else np.array(row) for row in rows)

    def score(self, X: Any, y: Any) -> float:
        """Share of measured residues whose label is right."""
        return residue_accuracy(y, self.predict(X), ignore_label=self.ignore_label)


@dataclass(kw_only=True, eq=False, repr=False)
class ResiduePropensityRegressor(SequenceInput, BaseEstimator):
    """The mean that a residue's amino acid has in training.

    Attributes
    ----------
    means_ : dict
        Mean of each amino acid, a float or one of each column.
    mean_ : float or ndarray of shape (k,)
        Of all residues; what an amino acid gets that training lacks.

    See Also
    --------
    plmlearn.PLMResidueRegressor : Predict numbers for every residue.

    Examples
    --------
    >>> from plmlearn.baselines import ResiduePropensityRegressor
    >>> ResiduePropensityRegressor().fit(["AAG", "GK"], [[1, 3, 0], [2, 7]]).predict(["AGK"])[0]
    array([2., 1., 7.])
    """

    def fit(self, X: Any, y: Any) -> "ResiduePropensityRegressor":
        """Average values by amino acid; y has an array (L,) or (L, k) per protein, nan = not measured."""
        letters = np.array(list("".join(check_sequences(X))))
        values = np.ma.masked_invalid(np.concatenate(check_residue_targets(y, X, kind="values")))
        self.mean_ = _means(values, np.nan)
        self.means_ = {letter: _means(values[letters == letter], self.mean_) for letter in np.unique(letters)}
        return self

    def predict(self, X: Any) -> np.ndarray:
        """One array per protein, (L,) or (L, k)."""
        check_is_fitted(self)
        rows = [[self.means_.get(letter, self.mean_) for letter in s] for s in check_sequences(X)]
        return object_array(np.array(row) for row in rows)

    def score(self, X: Any, y: Any) -> float:
        """Spearman's correlation over all measured residues; the mean over columns where y has several."""
        return residue_spearman(y, self.predict(X))


def _means(values: np.ma.MaskedArray, otherwise: Any) -> Any:
    """The mean of what was measured, in each column if there are several."""
    means = values.mean(axis=0)
    filled = np.where(np.ma.getmaskarray(means), otherwise, np.ma.getdata(means))
    return filled if filled.ndim else float(filled)


def _measured(X: Any, targets: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Letters and targets of all measured residues."""
    letters = np.array(list("".join(check_sequences(X))))
    joined = np.ma.concatenate(targets)
    measured = ~np.ma.getmaskarray(joined)
    return letters[measured], np.ma.getdata(joined)[measured]
