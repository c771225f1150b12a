"""scikit-learn's own multi-layer perceptron on embeddings of a frozen encoder: the baseline that
tuning has to beat."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from numbers import Integral
from typing import Any, ClassVar, Literal, Self

import numpy as np
from sklearn.base import (
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    RegressorMixin,
    TransformerMixin,
    is_classifier,
)
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from ..adapters.base import Parameters
from ..training.devices import together
from ..training.engine import TrainingDivergedError
from .dataset import warn_of_conflicts
from .embedder import PLMEmbedder
from .parameters import (
    USED_AFTER_FIT,
    BackboneParameters,
    CutParameters,
    PoolingParameters,
    RuntimeParameters,
    fitted_place,
    keep_place,
)
from .targets import ClassTarget, check_class_y, check_length, check_value_y, check_weights, mean_and_scale


@dataclass(kw_only=True, eq=False, repr=False)
class PerceptronParameters(Parameters):
    """Those of scikit-learn's perceptrons, which check them."""

    hidden_layer_sizes: tuple[int, ...] = (64, 64)
    activation: Literal["identity", "logistic", "tanh", "relu"] = "relu"
    solver: Literal["lbfgs", "sgd", "adam"] = "adam"
    alpha: float = 1e-4
    batch_size: int | Literal["auto"] = "auto"
    learning_rate: Literal["constant", "invscaling", "adaptive"] = "constant"
    learning_rate_init: float = 1e-3
    power_t: float = 0.5
    max_iter: int = 200
    shuffle: bool = True
    random_state: int | np.random.RandomState | None = None
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

    _parameter_constraints: ClassVar[dict] = MLPClassifier._parameter_constraints

    def _check_parameters(self, names: Collection[str] | None = None) -> None:
        super()._check_parameters(names)
        sizes: Any = self.hidden_layer_sizes
        if not all(
            isinstance(n, Integral) and int(n) > 0 for n in (sizes if np.iterable(sizes) else [sizes])
        ):
            raise ValueError(f"hidden_layer_sizes is {sizes!r:.100}; expected whole numbers, 1 or more.")


@dataclass(kw_only=True, eq=False, repr=False)
class FrozenPerceptron(
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    RuntimeParameters,
    CutParameters,
    PerceptronParameters,
    PoolingParameters,
    BackboneParameters,
    ABC,
):
    """A perceptron on frozen embeddings; see the concrete classes."""

    pooling: Literal["mean", "max", "cls"] = "mean"

    _parameter_constraints: ClassVar[dict] = {"pooling": [StrOptions({"mean", "max", "cls"})]}

    _mlp_class: ClassVar[type]
    mlp_: Any = field(init=False)
    embedder_: PLMEmbedder = field(init=False)
    scaler_: StandardScaler = field(init=False)

    @abstractmethod
    def _check_y(self, y: Any, n_samples: int) -> np.ndarray:
        """Targets as an array, or one error."""

    @together()
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
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
        self._check_parameters()
        embedder = self._embedder_to_fit()
        sequences = embedder._check_X(X)
        weights = check_weights(sample_weight, len(sequences))
        kept = np.flatnonzero(weights)
        y = self._check_y(check_length(y, len(sequences))[kept], len(kept))
        if is_classifier(self):
            warn_of_conflicts(sequences[kept], y, kept)
        features = embedder.fit(sequences[kept[:1]]).transform(sequences[kept])
        scaler = StandardScaler().fit(features, sample_weight=weights[kept])
        mlp = self._mlp_to_fit()
        weighted = {} if sample_weight is None else {"sample_weight": weights[kept]}
        try:
            mlp.fit(scaler.transform(features), y, **weighted)
        except ValueError as error:
            if "non-finite" not in str(error):
                raise
            raise TrainingDivergedError(
                f"The perceptron's weights became infinite; pass a smaller learning_rate_init (now "
                f"{self.learning_rate_init:g}), or solver='lbfgs'."
            ) from error
        if not self._continues:
            keep_place(self)
        self.embedder_, self.scaler_, self.mlp_ = embedder, scaler, mlp
        self.n_samples_fit_ = len(features)
        self.backbone_fingerprint_ = embedder.backbone_fingerprint_
        return self

    @property
    def _continues(self) -> bool:
        return self.warm_start and hasattr(self, "mlp_")

    def _embedder_to_fit(self) -> PLMEmbedder:
        """An embedder on the backbone of an earlier fit to go on from, or on that of the parameter."""
        embedder = PLMEmbedder(**{f.name: getattr(self, f.name) for f in fields(PLMEmbedder) if f.init})
        if self._continues:
            embedder.backbone = fitted_place(self, **self._cut)
        return embedder

    def _mlp_to_fit(self) -> Any:
        """The perceptron of an earlier fit or a new one, with the parameters as they are now."""
        mlp, plain = self._mlp_class(), self._plain()
        if self._continues:
            mlp, now = self.mlp_, plain.hidden_layer_sizes
            if not np.array_equal(np.ravel(mlp.hidden_layer_sizes), np.ravel(now)):
                raise ValueError(
                    f"hidden_layer_sizes={now}; a warm start goes on with {mlp.hidden_layer_sizes}, those of "
                    "the fit before. Pass warm_start=False to begin anew."
                )
        named = {name: getattr(plain, name) for name in mlp.get_params() if hasattr(plain, name)}
        return mlp.set_params(**named)

    def transform(self, X: Any) -> np.ndarray:
        """Pooled embeddings, before they are standardised.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        ndarray of shape (n_proteins, D), float32
        """
        check_is_fitted(self, "mlp_")
        self._check_parameters(USED_AFTER_FIT)
        now = {f.name: getattr(self, f.name) for f in fields(RuntimeParameters) if f.name not in _FITTED}
        return copy.copy(self.embedder_).set_params(**now, backbone=self.backbone).transform(X)

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

    def _features(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "mlp_")
        return self.scaler_.transform(np.asarray(self.transform(X)))

    @property
    def _n_features_out(self) -> int:
        return self.embedder_.n_features_out_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags


_FITTED = {"quantization", "revision"}  # runtime parameters that a fitted perceptron depends on


@dataclass(kw_only=True, eq=False, repr=False)
class PLMFrozenMLP(ClassifierMixin, FrozenPerceptron):
    """Classify proteins by a multi-layer perceptron on embeddings of a frozen protein language model.

    The baseline of Sledzieski et al.: pooled embeddings, standardised, as input of scikit-learn's
    :class:`~sklearn.neural_network.MLPClassifier`, whose parameters this class has. Each distinct protein is
    embedded once per machine, so a search over the perceptron's parameters costs only its own fits.

    Parameters
    ----------
    backbone : str or PathLike, default="esm2-8m"
        Pretrained encoder: "mini" (bundled, works offline), a short name such as "esm2-35m", a Hugging Face
        id, or a folder written by ``save_pretrained``.
    pooling : {"mean", "max", "cls"}, default="mean"
        How residues become one vector per protein.
    hidden_layer_sizes : tuple of int, default=(64, 64)
        Widths of the hidden layers.
    activation : {"identity", "logistic", "tanh", "relu"}, default="relu"
        Activation of the hidden layers.
    solver : {"lbfgs", "sgd", "adam"}, default="adam"
        Optimiser of the perceptron.
    alpha : float, default=0.0001
        Strength of the L2 penalty.
    batch_size : int or "auto", default="auto"
        Proteins per step of "sgd" and "adam"; "auto" takes at most 200.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Course of the learning rate of "sgd".
    learning_rate_init : float, default=0.001
        Initial learning rate.
    power_t : float, default=0.5
        Exponent of learning_rate="invscaling".
    max_iter : int, default=200
        Largest number of iterations.
    shuffle : bool, default=True
        Shuffle the proteins in each iteration.
    random_state : int, RandomState or None, default=None
        Seed of weights, order and the validation split.
    tol : float, default=0.0001
        Improvement below which training is taken to have converged.
    verbose : bool, default=False
        Print progress.
    warm_start : bool, default=False
        ``fit`` continues from the previous perceptron.
    momentum : float, default=0.9
        Momentum of "sgd".
    nesterovs_momentum : bool, default=True
        Use Nesterov's momentum.
    early_stopping : bool, default=False
        Stop when the score on a part held out does not improve.
    validation_fraction : float, default=0.1
        Share of the proteins to hold out, in (0, 1).
    beta_1 : float, default=0.9
        Decay of the first moment of "adam".
    beta_2 : float, default=0.999
        Decay of the second moment of "adam".
    epsilon : float, default=1e-08
        Numerical stability of "adam".
    n_iter_no_change : int, default=10
        Iterations without improvement after which training stops.
    max_fun : int, default=15000
        Largest number of function calls of "lbfgs".

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, in the order of the columns of ``predict_proba``.
    mlp_ : MLPClassifier
        The fitted perceptron.
    embedder_ : PLMEmbedder
        The fitted embedder.
    scaler_ : StandardScaler
        The fitted scaler of the embeddings.
    n_samples_fit_ : int
        Proteins that the perceptron saw.
    backbone_fingerprint_ : str
        Digest of the frozen weights; predictions refuse others.

    Other Parameters
    ----------------
    n_layers : int, optional
        Cut the backbone after this layer, counted from the lowest: the layers above are not run and not held
        in memory. From 1 to the number of its layers; None keeps all. See :func:`plmlearn.layer_sweep`.
    final_norm : bool, default=True
        Apply the backbone's final norm to the output of its last layer, wherever it is cut. False gives the
        plain output of layer ``n_layers``.
    max_length : int, default=1022
        Residues that the backbone sees at once, at most 10,000.
    long_sequences : {"truncate", "window", "raise"}, default="truncate"
        What to do with proteins longer than ``max_length``. "truncate" reads their first residues and warns
        with counts. "window" reads all residues in overlapping windows and blends them; memory and time then
        grow in proportion to the length. "raise" refuses them.
    invalid : {"raise", "replace"}, default="raise"
        What to do with characters that do not denote a residue: refuse them, or read them as X.
    max_tokens : int or "auto", default="auto"
        Tokens that go through the model at once. Memory grows with it, results do not change. Halved, with a
        warning, when memory runs out.
    precision : {"auto", "fp32", "bf16", "fp16"}, default="auto"
        Precision of the weights and of all products. "auto" takes bfloat16 where the device computes faster
        in it.
    quantization : {"int8", "nf4"}, optional
        Hold the matrices in 8 or 4 bits: a half or a quarter of the memory of bfloat16. "nf4" needs ``pip
        install "plmlearn[quantization]"``.
    compile : bool, default=False
        Run the layers through ``torch.compile``, for long runs on a GPU. The first steps take some seconds
        longer; on a CPU nothing is gained.
    device : str, default="auto"
        "auto" takes a GPU where there is one; otherwise "cpu", "cuda", "cuda:1", ….
    revision : str, optional
        Branch, tag or commit of a Hugging Face repository.

    Raises
    ------
    SequenceError
        Entries of ``X`` that are not protein sequences; all of them are named.

    See Also
    --------
    PLMClassifier : Tunes the backbone too.

    Notes
    -----
    Cost: one forward pass per distinct protein, then none.

    References
    ----------
    Sledzieski et al., Democratizing protein language models with parameter-efficient fine-tuning,
    PNAS 2024, doi:10.1073/pnas.2405840121

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

    def _check_y(self, y: Any, n_samples: int) -> np.ndarray:
        y = check_class_y(y, n_samples)
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
        """Probability of each class.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        ndarray of shape (n_proteins, n_classes)
        """
        features = self._features(X)
        return self.mlp_.predict_proba(features)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


@dataclass(kw_only=True, eq=False, repr=False)
class PLMFrozenMLPRegressor(RegressorMixin, FrozenPerceptron):
    """Predict numbers by a multi-layer perceptron on embeddings of a frozen protein language model.

    As :class:`PLMFrozenMLP`, with :class:`~sklearn.neural_network.MLPRegressor` and a stronger penalty.

    Parameters
    ----------
    backbone : str or PathLike, default="esm2-8m"
        Pretrained encoder: "mini" (bundled, works offline), a short name such as "esm2-35m", a Hugging Face
        id, or a folder written by ``save_pretrained``.
    pooling : {"mean", "max", "cls"}, default="mean"
        How residues become one vector per protein.
    hidden_layer_sizes : tuple of int, default=(64, 64)
        Widths of the hidden layers.
    activation : {"identity", "logistic", "tanh", "relu"}, default="relu"
        Activation of the hidden layers.
    solver : {"lbfgs", "sgd", "adam"}, default="adam"
        Optimiser of the perceptron.
    alpha : float, default=3.0
        Strength of the L2 penalty. scikit-learn's default, 0.0001, fits the noise of some hundred
        measurements. 10 is often better still with "adam"; with "lbfgs" and few proteins it may leave a
        constant.
    batch_size : int or "auto", default="auto"
        Proteins per step of "sgd" and "adam"; "auto" takes at most 200.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Course of the learning rate of "sgd".
    learning_rate_init : float, default=0.001
        Initial learning rate.
    power_t : float, default=0.5
        Exponent of learning_rate="invscaling".
    max_iter : int, default=200
        Largest number of iterations.
    shuffle : bool, default=True
        Shuffle the proteins in each iteration.
    random_state : int, RandomState or None, default=None
        Seed of weights, order and the validation split.
    tol : float, default=0.0001
        Improvement below which training is taken to have converged.
    verbose : bool, default=False
        Print progress.
    warm_start : bool, default=False
        ``fit`` continues from the previous perceptron.
    momentum : float, default=0.9
        Momentum of "sgd".
    nesterovs_momentum : bool, default=True
        Use Nesterov's momentum.
    early_stopping : bool, default=False
        Stop when the score on a part held out does not improve.
    validation_fraction : float, default=0.1
        Share of the proteins to hold out, in (0, 1).
    beta_1 : float, default=0.9
        Decay of the first moment of "adam".
    beta_2 : float, default=0.999
        Decay of the second moment of "adam".
    epsilon : float, default=1e-08
        Numerical stability of "adam".
    n_iter_no_change : int, default=10
        Iterations without improvement after which training stops.
    max_fun : int, default=15000
        Largest number of function calls of "lbfgs".

    Attributes
    ----------
    mlp_ : MLPRegressor
        The fitted perceptron.
    embedder_ : PLMEmbedder
        The fitted embedder.
    scaler_ : StandardScaler
        The fitted scaler of the embeddings.
    n_samples_fit_ : int
        Proteins that the perceptron saw.
    backbone_fingerprint_ : str
        Digest of the frozen weights; predictions refuse others.

    Other Parameters
    ----------------
    n_layers : int, optional
        Cut the backbone after this layer, counted from the lowest: the layers above are not run and not held
        in memory. From 1 to the number of its layers; None keeps all. See :func:`plmlearn.layer_sweep`.
    final_norm : bool, default=True
        Apply the backbone's final norm to the output of its last layer, wherever it is cut. False gives the
        plain output of layer ``n_layers``.
    max_length : int, default=1022
        Residues that the backbone sees at once, at most 10,000.
    long_sequences : {"truncate", "window", "raise"}, default="truncate"
        What to do with proteins longer than ``max_length``. "truncate" reads their first residues and warns
        with counts. "window" reads all residues in overlapping windows and blends them; memory and time then
        grow in proportion to the length. "raise" refuses them.
    invalid : {"raise", "replace"}, default="raise"
        What to do with characters that do not denote a residue: refuse them, or read them as X.
    max_tokens : int or "auto", default="auto"
        Tokens that go through the model at once. Memory grows with it, results do not change. Halved, with a
        warning, when memory runs out.
    precision : {"auto", "fp32", "bf16", "fp16"}, default="auto"
        Precision of the weights and of all products. "auto" takes bfloat16 where the device computes faster
        in it.
    quantization : {"int8", "nf4"}, optional
        Hold the matrices in 8 or 4 bits: a half or a quarter of the memory of bfloat16. "nf4" needs ``pip
        install "plmlearn[quantization]"``.
    compile : bool, default=False
        Run the layers through ``torch.compile``, for long runs on a GPU. The first steps take some seconds
        longer; on a CPU nothing is gained.
    device : str, default="auto"
        "auto" takes a GPU where there is one; otherwise "cpu", "cuda", "cuda:1", ….
    revision : str, optional
        Branch, tag or commit of a Hugging Face repository.

    Raises
    ------
    SequenceError
        Entries of ``X`` that are not protein sequences; all of them are named.

    See Also
    --------
    PLMRegressor : Tunes the backbone too.

    Notes
    -----
    Cost: one forward pass per distinct protein, then none.

    References
    ----------
    Sledzieski et al., Democratizing protein language models with parameter-efficient fine-tuning,
    PNAS 2024, doi:10.1073/pnas.2405840121

    Examples
    --------
    >>> from plmlearn import PLMFrozenMLPRegressor
    >>> from plmlearn.datasets import make_protein_regression
    >>> X, y = make_protein_regression(n_samples=60, max_length=60, random_state=0)
    >>> PLMFrozenMLPRegressor("mini", solver="lbfgs", max_iter=50, random_state=0).fit(X, y).predict(X).shape
    (60,)
    """

    alpha: float = 3.0

    _mlp_class: ClassVar[type] = MLPRegressor

    def _check_y(self, y: Any, n_samples: int) -> np.ndarray:
        y = check_value_y(y, n_samples)
        mean_and_scale(y.reshape(len(y), -1))  # refuses numbers too large for it
        if self._continues and y[0].size != self.mlp_.n_outputs_:
            raise ValueError(
                f"y has {y[0].size} columns, expected {self.mlp_.n_outputs_}: a warm start goes on with "
                "those of the fit before. Pass warm_start=False to begin anew."
            )
        return y
