"""``gaussian_process``: scikit-learn's Gaussian process on sequences, with a kernel that learns."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.validation import check_is_fitted

from ..sequences.checked import SEED, checked
from .composition import CompositionVectorizer


@dataclass(eq=False, repr=False)
class DistanceScaler(TransformerMixin, BaseEstimator):
    """Centre features and divide all by one number: the mean squared distance of two rows becomes 2.

    One length scale, near 1, then suits features of any number and size. Sparse features become dense.

    Attributes
    ----------
    mean_ : ndarray of float, shape (n_features,)
    scale_ : float
    """

    def fit(self, X: Any, y: Any = None) -> "DistanceScaler":
        """Learn mean and scale."""
        X = _dense(X)
        self.mean_ = X.mean(axis=0)
        X -= self.mean_
        total = np.vdot(X, X) / len(X)
        self.scale_ = float(np.sqrt(total)) if total > 0 else 1.0
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Scaled features, (n, n_features)."""
        check_is_fitted(self)
        X = _dense(X)
        X -= self.mean_
        X /= self.scale_
        return X


def maximize_likelihood(objective: Any, start: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, float]:
    """L-BFGS a hair inside the bounds: data without noise, say, is no fault that every fit should warn of."""
    inside = bounds + np.array([0.01, -0.01])
    found = minimize(objective, np.clip(start, *inside.T), jac=True, method="L-BFGS-B", bounds=inside)
    return found.x, found.fun


def _dense(X: Any) -> np.ndarray:
    """A copy of the caller's features, to be changed in place: at once they can take most of the memory."""
    return X.toarray().astype(float, copy=False) if issparse(X) else np.array(X, dtype=float)


@checked(random_state=SEED)
def gaussian_process(features: Any = "onehot", *, random_state: Any = None) -> Pipeline:
    """A Gaussian process on sequences: good with tens to some thousands of measurements, and unsure where it
    should be.

    In many dimensions the default kernel of scikit-learn learns nothing: all sequences are equally far from
    one another at its length scale, and its optimiser finds no slope. Here features are scaled so that
    sequences are about 1 apart, and the kernel knows noise. Its length scale is at least 0.5: with few and
    noisy measurements the likelihood favours ever shorter ones, which predict the mean everywhere.

    Parameters
    ----------
    features : transformer or str, default="onehot"
        Sequences to vectors: a transformer such as :class:`plmlearn.PLMEmbedder`, or the ``kind`` of a
        :class:`CompositionVectorizer`, such as "onehot" or "blosum62".
    random_state : int, RandomState or None, default=None
        Of the restarts of the optimiser.

    Returns
    -------
    Pipeline
        Not fitted. ``predict(X, return_std=True)`` gives standard deviations too.

    See Also
    --------
    plmlearn.PLMEnsemble : Deviations for any estimator.
    sklearn.gaussian_process.GaussianProcessRegressor : The model.

    Notes
    -----
    Cost: time grows with the cube of the number of training sequences, memory with its square.

    Examples
    --------
    >>> from plmlearn.baselines import gaussian_process
    >>> X = [a + b + "VL" for a in "MKAG" for b in "MKAG"]
    >>> y = [x.count("K") + 0.1 * x.count("G") for x in X]
    >>> mean, std = gaussian_process().fit(X[:12], y[:12]).predict(X[12:], return_std=True)
    >>> mean.shape, std.shape
    ((4,), (4,))
    """
    if isinstance(features, str):
        features = CompositionVectorizer(kind=features)  # type: ignore[arg-type]
    # Sequences lie about 1 apart: shorter scales than half of that would tell of none but the training ones.
    kernel = ConstantKernel(1.0, (1e-3, 1e3)) * RBF(1.0, (0.5, 1e3)) + WhiteKernel(0.1, (1e-6, 1e1))
    model = GaussianProcessRegressor(
        kernel,
        optimizer=maximize_likelihood,
        normalize_y=True,
        n_restarts_optimizer=1,
        random_state=random_state,
    )
    return make_pipeline(features, DistanceScaler(), model)
