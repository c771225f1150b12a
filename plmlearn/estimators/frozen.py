"""scikit-learn's own multi-layer perceptron on embeddings of a frozen encoder: the baseline that
tuning has to beat."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from ..sequences import check_sequences
from .embedder import PLMEmbedder
from .targets import ClassTarget, check_class_y, check_length, check_value_y, check_weights

_EMBEDDING = ("backbone", "revision", "pooling", "layer", "quantization")
_AT_RUN_TIME = ("max_tokens", "precision", "max_length", "long_sequences", "invalid", "device")


@dataclass(kw_only=True, eq=False, repr=False)
class _FrozenMLP(BaseEstimator):
    backbone: str = field(default="esm2-8m", kw_only=False)
    revision: str | None = None
    pooling: str = "mean"
    layer: int | None = None
    max_tokens: int | str = "auto"
    precision: str = "auto"
    quantization: str | None = None
    max_length: int = 1022
    long_sequences: str = "truncate"
    invalid: str = "raise"
    device: str = "auto"
    hidden_layer_sizes: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    solver: str = "adam"
    alpha: float = 1e-4
    batch_size: int | str = "auto"
    learning_rate: str = "constant"
    learning_rate_init: float = 1e-3
    power_t: float = 0.5
    max_iter: int = 200
    shuffle: bool = True
    random_state: Any = None
    tol: float = 1e-4
    verbose: bool = False
    warm_start: bool = False
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    early_stopping: bool = False
    validation_fraction: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    n_iter_no_change: int = 10
    max_fun: int = 15000

    _mlp_class: ClassVar[type]
    mlp_: Any = field(init=False)

    def _check_y(self, y: Any, n_rows: int) -> np.ndarray:
        raise NotImplementedError

    def fit(self, X: Any, y: Any, sample_weight: Any = None):
        """Embed each distinct protein (once per machine), standardise, fit the perceptron.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)
        y : array-like of shape (n_proteins,) or (n_proteins, n_targets)
        sample_weight : array-like of shape (n_proteins,), optional
            Weight of each protein; proteins of weight 0 are left out.

        Returns
        -------
        self
        """
        if self.pooling is None:
            raise ValueError(
                "pooling=None gives one vector per residue; a perceptron takes one per protein. Pass 'mean', "
                "'max' or 'cls'."
            )
        sequences = check_sequences(X, invalid=self.invalid)
        weights = check_weights(sample_weight, len(sequences))
        rows = np.flatnonzero(weights)
        y = self._check_y(check_length(y, len(sequences))[rows], len(rows))
        embedder = PLMEmbedder(**{name: getattr(self, name) for name in (*_EMBEDDING, *_AT_RUN_TIME)})
        features = embedder.fit(sequences[rows[:1]]).transform(sequences[rows])
        scaler = StandardScaler().fit(features, sample_weight=weights[rows])
        mlp = self.mlp_ if self.warm_start and hasattr(self, "mlp_") else self._make_mlp()
        weighted = {} if sample_weight is None else {"sample_weight": weights[rows]}
        mlp.fit(scaler.transform(features), y, **weighted)
        self.embedder_, self.scaler_, self.mlp_ = embedder, scaler, mlp
        self.n_samples_fit_ = len(features)
        self.backbone_fingerprint_ = embedder.backbone_fingerprint_
        return self

    def _make_mlp(self) -> BaseEstimator:
        own = self._mlp_class().get_params()
        return self._mlp_class(**{name: getattr(self, name) for name in own if hasattr(self, name)})

    def transform(self, X: Any) -> np.ndarray:
        """Pooled embeddings, (n_proteins, D) float32."""
        check_is_fitted(self, "mlp_")
        now = {name: getattr(self, name) for name in _AT_RUN_TIME}
        return copy.copy(self.embedder_).set_params(**now).transform(X)

    def _features(self, X: Any) -> np.ndarray:
        embeddings = self.transform(X)
        return self.scaler_.transform(embeddings)

    def predict(self, X: Any) -> np.ndarray:
        """Predictions in the form of ``y``.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        ndarray of shape (n_proteins,) or (n_proteins, n_targets)
        """
        features = self._features(X)
        return self.mlp_.predict(features)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags


@dataclass(kw_only=True, eq=False, repr=False)
class PLMFrozenMLP(ClassifierMixin, _FrozenMLP):
    """A multi-layer perceptron on embeddings of a frozen protein language model.

    The baseline of Sledzieski et al.: pooled embeddings, standardised, into scikit-learn's
    :class:`~sklearn.neural_network.MLPClassifier`. Each distinct protein is embedded once per
    machine, so searching the perceptron's parameters costs nothing but its own fits.

    Parameters
    ----------
    backbone, revision, pooling, layer, max_tokens, precision, quantization, max_length, long_sequences, \
    invalid, device
        As in :class:`~plmlearn.PLMEmbedder`.
    hidden_layer_sizes : tuple of int, default=(64, 64)
        Widths of the hidden layers.
    activation, solver, alpha, batch_size, learning_rate, learning_rate_init, power_t, max_iter, shuffle, \
    random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping, \
    validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun
        As in :class:`~sklearn.neural_network.MLPClassifier`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    mlp_ : MLPClassifier
    embedder_ : PLMEmbedder
    scaler_ : StandardScaler
    n_samples_fit_ : int
        Proteins that the perceptron saw.
    backbone_fingerprint_ : str

    References
    ----------
    Sledzieski et al., PNAS 2024, doi:10.1073/pnas.2405840121

    Examples
    --------
    >>> from plmlearn import PLMFrozenMLP
    >>> from plmlearn.datasets import make_protein_classification
    >>> X, y = make_protein_classification(n_samples=60, max_length=60, random_state=0)
    >>> clf = PLMFrozenMLP("mini", max_iter=50, solver="lbfgs", random_state=0).fit(X, y)
    >>> clf.predict(X).shape
    (60,)
    """

    _mlp_class: ClassVar[type] = MLPClassifier

    def _check_y(self, y: Any, n_rows: int) -> np.ndarray:
        y = check_class_y(y, n_rows)
        if y.ndim == 1:
            ClassTarget.learn(y)  # refuses a single class
        return y

    @property
    def classes_(self) -> np.ndarray:
        """Class labels, in the order of ``predict_proba``'s columns."""
        if not hasattr(self, "mlp_"):
            raise AttributeError("PLMFrozenMLP is not fitted yet")
        return self.mlp_.classes_

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class, (n_proteins, n_classes).

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)
        """
        features = self._features(X)
        return self.mlp_.predict_proba(features)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


@dataclass(kw_only=True, eq=False, repr=False)
class PLMFrozenMLPRegressor(RegressorMixin, _FrozenMLP):
    """A multi-layer perceptron for numbers, on embeddings of a frozen protein language model.

    As :class:`PLMFrozenMLP`, with :class:`~sklearn.neural_network.MLPRegressor`.

    Parameters
    ----------
    backbone, revision, pooling, layer, max_tokens, precision, quantization, max_length, long_sequences, \
    invalid, device
        As in :class:`~plmlearn.PLMEmbedder`.
    hidden_layer_sizes : tuple of int, default=(64, 64)
        Widths of the hidden layers.
    activation, solver, alpha, batch_size, learning_rate, learning_rate_init, power_t, max_iter, shuffle, \
    random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping, \
    validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun
        As in :class:`~sklearn.neural_network.MLPRegressor`.

    Attributes
    ----------
    mlp_ : MLPRegressor
    embedder_ : PLMEmbedder
    scaler_ : StandardScaler
    n_samples_fit_ : int
    backbone_fingerprint_ : str

    Examples
    --------
    >>> from plmlearn import PLMFrozenMLPRegressor
    >>> from plmlearn.datasets import make_protein_regression
    >>> X, y = make_protein_regression(n_samples=60, max_length=60, random_state=0)
    >>> PLMFrozenMLPRegressor("mini", solver="lbfgs", max_iter=50, random_state=0).fit(X, y).predict(X).shape
    (60,)
    """

    _mlp_class: ClassVar[type] = MLPRegressor

    def _check_y(self, y: Any, n_rows: int) -> np.ndarray:
        return check_value_y(y, n_rows)
