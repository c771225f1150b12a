"""``AugmentedRidge``: ridge regression on the residues of variants, and on scores from elsewhere."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from scipy.sparse import csr_array, hstack
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from ..sequences import check_sequences
from ..sequences.checked import one_of
from ..sequences.clean import check_parameters, first_few, is_table
from ..sequences.columns import check_numbers
from ..similarity.alignment import stack_letters
from .composition import residue_scales
from .inputs import SequenceInput, variable_sites

Encoding = Literal["onehot", "blosum62", "zscales"]
_ALPHAS = np.logspace(-2, 3, 6)
_FREE = 1e3  # a column this large needs so small a weight that its penalty is none


@dataclass(kw_only=True, eq=False, repr=False)
class AugmentedRidge(SequenceInput, RegressorMixin, BaseEstimator):
    """Ridge regression on the residues of variants, augmented with scores such as zero-shot predictions.

    A floor that few methods beat where measurements are few: the score ranks variants before anything has
    been measured, and the residues at the sites that vary correct it. Its weight is not penalised (its column
    is standardised and enlarged), so that with few measurements the score prevails.

    Parameters
    ----------
    scores : callable or mapping, default=None
        Scores of variants: a function of clean sequences that returns an array, (n,) or (n, k), such as
        ``zero_shot.predict``; or numbers by sequence. None takes the columns of X beside the sequences; where
        X has none, this is plain ridge regression.
    encoding : {"onehot", "blosum62", "zscales"}, default="onehot"
        How the residue at a site becomes numbers: an indicator of each, its 20 substitution scores, or the
        five physico-chemical z-scales of Sandberg et al.
    alpha : float, default=None
        Strength of the ridge penalty. None chooses among 0.01 to 1,000 by leave-one-out error.

    Attributes
    ----------
    sites_ : ndarray of int
        Positions that vary in training, counted from 0; others tell nothing and are left out.
    alpha_ : float
        Penalty used.
    score_weights_ : ndarray of float
        What one standard deviation of each score adds to a prediction; (k,) of the first target.
    model_ : Ridge or RidgeCV
        The linear model.

    See Also
    --------
    AdditiveMutationRegressor : Residues, and pairs of them, alone.
    plmlearn.PLMMaskedLM : ``mutation_scores`` are such scores.

    Notes
    -----
    Cost: seconds for thousands of variants. A function passed as ``scores`` is called again on every fit and
    prediction; numbers by sequence are looked up, and can be pickled whatever they came from.

    References
    ----------
    Hsu, Nisonoff, Fannjiang & Listgarten (2022), doi:10.1038/s41587-021-01146-5

    Examples
    --------
    >>> from plmlearn.baselines import AugmentedRidge
    >>> X, scores = ["MKVL", "AKVL", "MKVA", "AKVA"], [0.0, 1.0, 2.0, 3.0]
    >>> model = AugmentedRidge(scores=dict(zip(X, scores)), alpha=1.0).fit(X[:3], [0.0, 10.0, 20.0])
    >>> model.predict(X[3:]).round(1)
    array([30.])
    """

    scores: Callable[[np.ndarray], Any] | Mapping[str, Any] | None = None
    encoding: Encoding = "onehot"
    alpha: float | None = None

    _parameter_constraints: ClassVar[dict] = {
        "scores": [callable, Mapping, None],
        "encoding": one_of(get_args(Encoding)),
        "alpha": [Interval(Real, 0, 1e100, closed="both"), None],
    }

    def fit(self, X: Any, y: Any) -> "AugmentedRidge":
        """Learn from variants of one length, or a table of them and their scores; y is (n,)."""
        check_parameters(self._parameter_constraints, vars(self), type(self).__name__)
        variants, scores = self._read(X)
        letters, self.sites_, y = variable_sites(variants, y)
        self.length_ = letters.shape[1]
        self.encoder_ = OneHotEncoder(handle_unknown="ignore").fit(letters[:, self.sites_])
        self.scaler_ = StandardScaler().fit(scores) if scores.shape[1] else None
        model = RidgeCV(_ALPHAS) if self.alpha is None else Ridge(float(self.alpha), solver="auto", tol=1e-10)
        self.model_ = model.fit(self._features(letters, scores), y)
        self.alpha_ = float(self.model_.alpha_ if self.alpha is None else self.alpha)
        n_scores = scores.shape[1]
        self.score_weights_ = np.atleast_2d(self.model_.coef_)[0, :n_scores] * _FREE
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predicted measurements, (n,); a residue that training did not have at its site adds none."""
        check_is_fitted(self)
        check_parameters(self._parameter_constraints, vars(self), type(self).__name__)
        variants, scores = self._read(X)
        n_fitted = 0 if self.scaler_ is None else self.scaler_.n_features_in_
        if scores.shape[1] != n_fitted:
            raise ValueError(f"X comes with {scores.shape[1]} scores per variant; fit had {n_fitted}.")
        return self.model_.predict(
            self._features(stack_letters(variants, self.length_, "those of fit"), scores)
        )

    def _features(self, letters: np.ndarray, scores: np.ndarray) -> Any:
        """Scores first, then what the residues at the sites are; (n, k + features)."""
        own = letters[:, self.sites_]
        scores = np.empty((len(own), 0)) if self.scaler_ is None else self.scaler_.transform(scores) * _FREE
        if self.encoding == "onehot":
            return hstack([csr_array(scores), self.encoder_.transform(own)], format="csr")
        return np.hstack([scores, residue_scales(self.encoding)[own].reshape(len(own), -1)])

    def _read(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Clean variants, and their scores, (n, k)."""
        table = np.asarray(X, dtype=object) if is_table(X) or isinstance(X, np.ndarray) else None
        if table is None or table.ndim != 2 or table.shape[1] < 2:
            variants = check_sequences(X)
            return variants, self._looked_up(variants)
        if self.scores is not None:
            raise ValueError(f"X has {table.shape[1]} columns and scores is set; expected either.")
        return check_sequences(table[:, 0]), check_numbers(table[:, 1:], "the score columns of X")

    def _looked_up(self, variants: np.ndarray) -> np.ndarray:
        if self.scores is None:
            return np.empty((len(variants), 0))
        if isinstance(self.scores, Mapping):
            if missing := [row for row, variant in enumerate(variants) if variant not in self.scores]:
                rows = f"{len(missing)} of {len(variants)} variants (rows {first_few(missing, n=5)})"
                raise ValueError(f"scores lacks {rows}; expected a number for each.")
            found = [self.scores[variant] for variant in variants]
        else:
            try:
                found = self.scores(variants)
            except Exception as error:
                raise ValueError(
                    f"scores raises {type(error).__name__} for clean variants: {error}"
                ) from error
        scores = check_numbers(found, "what scores returns")
        if len(scores) != len(variants):
            raise ValueError(
                f"scores returns {len(scores)} rows for {len(variants)} variants; expected as many."
            )
        return scores.reshape(len(scores), -1)
