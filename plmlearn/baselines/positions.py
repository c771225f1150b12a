"""``PositionMeanRegressor``: where a variant is mutated tells more than what it is mutated to."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from ..sequences import check_sequences
from ..sequences.clean import check_parameters
from ..sequences.columns import check_numbers, flat
from ..similarity.alignment import commonest_letters, stack_letters
from .inputs import SequenceInput, refuse_huge


@dataclass(kw_only=True, eq=False, repr=False)
class PositionMeanRegressor(SequenceInput, RegressorMixin, BaseEstimator):
    """Mean measurement of the training variants that are mutated at the same site.

    On random splits of single mutants this is a strong floor, and a sign of leakage: every site of the test
    set is in training too. :class:`plmlearn.model_selection.PositionKFold` takes it away.

    Parameters
    ----------
    wild_type : str, default=None
        What mutations are counted from; None takes the commonest residue of each position in training.

    Attributes
    ----------
    wild_type_ : str
        The one used.
    means_ : ndarray of float, shape (length,)
        By position; where training has no mutation, the mean of all its variants.
    mean_ : float
        Of all training variants: what the wild type gets.

    See Also
    --------
    AdditiveMutationRegressor : Effects of residues, not of sites alone.
    plmlearn.model_selection.PositionKFold : Folds that share no site.

    Notes
    -----
    A variant with several mutations gets the mean over its sites.

    Examples
    --------
    >>> from plmlearn.baselines import PositionMeanRegressor
    >>> model = PositionMeanRegressor(wild_type="MKV").fit(["MRV", "MAV", "MKL"], [1.0, 2.0, 0.0])
    >>> model.predict(["MCV", "MCI"])
    array([1.5 , 0.75])
    """

    wild_type: str | None = None

    _parameter_constraints: ClassVar[dict] = {"wild_type": [str, None]}

    def fit(self, X: Any, y: Any) -> "PositionMeanRegressor":
        """Average the measurements, (n,), of variants of one length by site."""
        check_parameters(self._parameter_constraints, vars(self), type(self).__name__)
        variants, y = check_sequences(X), flat(check_numbers(y, "y"))
        if y.shape != (len(variants),):
            raise ValueError(
                f"y has shape {y.shape} for {len(variants)} variants; expected one number for each."
            )
        refuse_huge(y)
        wild = variants[0] if self.wild_type is None else check_sequences([self.wild_type])[0]
        letters = stack_letters(variants, len(wild), "the wild type" if self.wild_type else "the first")
        if self.wild_type is None:
            wild = commonest_letters(letters)
        self.wild_type_, self.mean_ = wild, float(y.mean())
        mutated = self._mutated(letters)
        n, sums = mutated.sum(axis=0), y @ mutated
        self.means_ = np.where(n > 0, sums / np.maximum(n, 1), self.mean_)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Mean of the means of the mutated sites, (n,)."""
        check_is_fitted(self)
        mutated = self._mutated(stack_letters(check_sequences(X), len(self.wild_type_), "the wild type"))
        n = mutated.sum(axis=1)
        return np.where(n > 0, mutated @ self.means_ / np.maximum(n, 1), self.mean_)

    def _mutated(self, letters: np.ndarray) -> np.ndarray:
        return letters != np.frombuffer(self.wild_type_.encode(), dtype=np.uint8)
