"""Estimators with one prediction per protein: a class, several labels, or numbers.

``PLMClassifier`` and ``PLMRegressor`` take any ``adapter``; ``PLMLoRAClassifier`` and
``PLMLoRARegressor`` are the same with LoRA's parameters spelled out.
"""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin, ClassNamePrefixFeaturesOutMixin, RegressorMixin, TransformerMixin
from sklearn.utils.class_weight import compute_sample_weight

from ..nn.encoders import PackedEncoder
from ..nn.models import POOLINGS, EncoderModel, ProteinModel, make_head
from ..training.batching import Inputs
from ..training.steps import Loss, TrainingData
from .dataset import Dataset, warn_of_conflicts
from .parameters import (
    AdapterParameters,
    ClassWeightParameters,
    LoRAParameters,
    PoolingParameters,
)
from .targets import (
    ClassTarget,
    MultilabelTarget,
    Target,
    ValueTarget,
    check_class_y,
    check_value_y,
    used_rows,
)
from .task import Given, Task
from .tuned import HeadedEstimator


@dataclass(frozen=True)
class Labels:
    """Targets that are classes: one label per sample, or an indicator of several."""

    class_weight: Any = None

    def check(self, y: Any, n_samples: int) -> np.ndarray:
        return check_class_y(y, n_samples)

    def learn(self, y: np.ndarray) -> ClassTarget | MultilabelTarget:
        return MultilabelTarget.learn(y) if y.ndim == 2 else ClassTarget.learn(y)

    def balance(self, y: np.ndarray, learned: np.ndarray) -> np.ndarray:
        """Weight of each sample for its class; "balanced" counts classes in all y of the fit."""
        if self.class_weight is None:
            return np.ones(len(y))
        counted = {"indices": range(len(learned))} if self.class_weight == "balanced" else {}
        weights = compute_sample_weight(self.class_weight, np.concatenate([learned, y]), **counted)
        weights = weights[len(learned) :]
        if not np.isfinite(weights).all() or weights.min() < 0 or not weights.any():
            raise ValueError(
                f"class_weight={self.class_weight!r}; expected weights of 0 or more, finite, one above 0 "
                "among the classes of the training proteins, and of the validation proteins if there are any."
            )
        return weights


@dataclass(frozen=True)
class Values:
    """Targets that are numbers, one or several per sample."""

    def check(self, y: Any, n_samples: int) -> np.ndarray:
        return check_value_y(y, n_samples)

    def learn(self, y: np.ndarray) -> ValueTarget:
        return ValueTarget.learn(y)

    def balance(self, y: np.ndarray, learned: np.ndarray) -> np.ndarray:
        return np.ones(len(y))


@dataclass(frozen=True)
class ProteinTask(Task):
    """One prediction per protein, from one vector of it."""

    targets: Labels | Values
    pooling: str
    head: str
    head_hidden: int | None
    head_dropout: float

    def check(self, sequences: np.ndarray, given: Given) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        y = self.targets.check(given.y, len(sequences))
        if isinstance(self.targets, Labels):
            used = used_rows(given.sample_weight, len(y))
            warn_of_conflicts(sequences[used], y[used], used)
        return y, {}

    def learn(self, y: np.ndarray) -> Target:
        return self.targets.learn(y)

    def make_model(self, encoder: PackedEncoder, n_outputs: int) -> EncoderModel:
        pooling = POOLINGS[self.pooling](encoder.width)
        head = make_head(self.head, pooling.width, n_outputs, self.head_hidden, self.head_dropout)
        return ProteinModel(encoder, pooling, head)

    def encode(self, inputs: Inputs, target: Target, dataset: Dataset, learned: np.ndarray) -> TrainingData:
        """Data with one target per sample; weights have a mean of 1."""
        targets = target.encode(dataset.y)
        weights = dataset.weights * self.targets.balance(dataset.y, learned)
        return TrainingData(inputs, targets, (weights / weights.mean()).astype(np.float32))

    def make_loss(self, model: EncoderModel, target: Target) -> Loss:
        return target.loss

    def decoder(self, model: EncoderModel, target: Target, extras: dict[str, np.ndarray]) -> Target:
        return target


@dataclass(kw_only=True, eq=False, repr=False)
class ProteinEstimator(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, HeadedEstimator, PoolingParameters, ABC
):
    """A tuned estimator of proteins; see the concrete classes."""

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        groups: Any = None,
    ) -> Self:
        """Tune the backbone and the head on labelled proteins.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)
            Amino-acid sequences.
        y : array-like of shape (n_proteins,) or (n_proteins, n_targets)
            Targets.
        sample_weight : array-like of shape (n_proteins,), optional
            Weight of each protein in the loss; proteins of weight 0 are left out.
        X_val, y_val : optional
            A validation set of your own; the epoch that is best on it is kept.
        sample_weight_val : array-like, optional
            Weights of the validation proteins in the validation loss.
        groups : array-like of shape (n_proteins,), optional
            Clusters that the inner validation split must not cut (with ``early_stopping``).

        Returns
        -------
        self
        """
        return self._fit(Given(X, y, sample_weight, groups), Given(X_val, y_val, sample_weight_val))

    def transform(self, X: Any) -> np.ndarray:
        """Pooled embeddings of the tuned backbone.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        ndarray of shape (n_proteins, width), float32
            Twice as wide as the backbone with ``pooling="light_attention"``. A data frame with names of
            features where ``set_output`` asks for one.
        """
        model = self._restored()
        return model.embeddings(model.inputs(self._clean(X)[0], self._window)).values.numpy()

    @property
    def _n_features_out(self) -> int:
        return len(self._restored().module.scaler.mean)


@dataclass(kw_only=True, eq=False, repr=False)
class ProteinClassifier(ClassifierMixin, ProteinEstimator, ClassWeightParameters, ABC):
    """A tuned classifier of proteins; see the concrete classes."""

    def _task(self) -> ProteinTask:
        return ProteinTask(
            Labels(self.class_weight), self.pooling, self.head, self.head_hidden, self.head_dropout
        )

    @property
    def classes_(self) -> np.ndarray:
        """Class labels, in the order of ``predict_proba``'s columns."""
        return self._fitted_classes()

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each protein, or an (n, k) indicator of its labels.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        ndarray of shape (n_proteins,) or (n_proteins, k)
        """
        return self._fitted_target().decode(self._outputs(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        ndarray of shape (n_proteins, n_classes)
            Rows add up to 1; with several labels per protein each column stands by itself.
        """
        return self._fitted_target().probabilities(self._outputs(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


@dataclass(kw_only=True, eq=False, repr=False)
class ProteinRegressor(RegressorMixin, ProteinEstimator, ABC):
    """A tuned regressor of proteins; see the concrete classes."""

    def _task(self) -> ProteinTask:
        return ProteinTask(Values(), self.pooling, self.head, self.head_hidden, self.head_dropout)

    def predict(self, X: Any) -> np.ndarray:
        """Predicted values of each protein, in the units of ``y``.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        ndarray of shape (n_proteins,) or (n_proteins, n_targets)
        """
        return self._fitted_target().decode(self._outputs(X))


@dataclass(kw_only=True, eq=False, repr=False)
class PLMClassifier(ProteinClassifier, AdapterParameters):
    """Tune a protein language model to classify proteins.

    One label per protein of two or more classes, or several (``y`` an (n, k) indicator of 0 and 1).

    Parameters
    ----------
    backbone : str or PathLike, default="esm2-8m"
        Pretrained encoder: "mini" (bundled, works offline), a short name such as "esm2-35m", a Hugging Face
        id, or a folder written by ``save_pretrained``.
    adapter : Adapter, str or peft.PeftConfig, optional
        How the backbone is adapted; any class of :mod:`plmlearn.adapters`: LoRA (also for None), DoRA,
        AdaLoRA, VeRA, IA3, PrefixTuning, PromptTuning, Bottleneck, LayerNormTuning, FullFineTuning, Frozen,
        PeftAdapter. A name such as "ia3" or "full_fine_tuning" takes that class with its defaults, a
        configuration of peft is put into PeftAdapter. The parameters of an adapter, also of the default one,
        can be searched as ``adapter__rank``.
    class_weight : dict, list of dict, "balanced" or None, default=None
        Weight of each class in the loss; "balanced" weighs by inverse frequency. With several labels, a list
        of one dict per label such as {0: 1, 1: 5}; what it gives for each label is multiplied, as in
        scikit-learn.
    pooling : {"mean", "max", "cls", "attention", "light_attention"}, default="mean"
        How residues become one vector per protein. "attention" learns one weight per residue,
        "light_attention" learns convolutions and one weight per residue and feature, and doubles the width.
        ProtT5 and Ankh have no token for "cls".
    epochs : int, default=10
        Passes over the training proteins.
    lr : float, optional
        Highest learning rate of the adapter. None takes what suits the method (1e-3 for LoRA, 1e-4 for full
        fine-tuning).
    batch_size : int, default=16
        Proteins per optimiser step. It does not change the memory needed: see ``max_tokens``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, in the order of the columns of ``predict_proba``.
    history_ : list of dict
        One entry per epoch: train_loss, valid_loss, valid_score, lr, seconds, residues_per_second.
    best_epoch_ : int
        Epoch whose tensors were kept (the last one without validation).
    best_score_ : float or None
        Its validation score.
    n_trainable_parameters_, n_parameters_ : int
        Trained parameters, and all.
    n_truncated_ : int
        Training proteins cut to ``max_length``.
    backbone_fingerprint_ : str
        Digest of the frozen weights; predictions refuse others.

    Other Parameters
    ----------------
    head_lr : float, optional
        Highest learning rate of pooling and head. None takes 1e-3, or ``lr`` where that is larger.
    weight_decay : float, default=0.01
        Weight decay of matrices. Norms and biases do not decay.
    optimizer : {"adamw", "adamax"}, default="adamw"
        AdamW shrinks the weights directly; Adamax adds the decay to the gradient.
    schedule : {"linear", "cosine", "constant"}, default="linear"
        Course of the learning rate after the warm-up.
    warmup : float, default=0.1
        Share of all steps in which the learning rate rises from zero, in [0, 1].
    gradient_clip : float or None, default=1.0
        Largest norm of all gradients together; None does not clip.
    early_stopping : bool, default=False
        Hold out ``validation_fraction`` of the proteins (stratified by class, or whole ``groups``), stop
        after ``patience`` epochs without improvement and keep the best epoch.
    validation_fraction : float, default=0.1
        Share of the proteins to hold out, in (0, 1).
    patience : int, default=5
        Epochs without improvement after which training stops.
    scoring : str or callable, optional
        scikit-learn scorer that chooses the best epoch; None takes the validation loss.
    warm_start : bool, default=False
        ``fit`` continues from the tensors of the previous fit.
    random_state : int, RandomState or None, default=None
        Seed of head, adapter, dropout, order of samples and splits. The same seed on the same CPU gives the
        same bits.
    verbose : int, default=1
        1 shows a progress bar in a terminal or notebook; 0 shows nothing.
    callbacks : list of callables or skorch callbacks, optional
        A function is called after each epoch with its entry in ``history_``; if it returns True, training
        ends. skorch's callbacks record into ``history_`` too. See docs/callbacks.md for which of them work.
    gradient_checkpointing : bool, default=False
        Keep only the input of each layer and recompute the rest in the backward pass. Needs a fraction of the
        memory, and takes a third to a half longer.
    head : {"esm", "mlp", "relu", "linear"}, default="esm"
        "esm": dropout, dense, tanh, dropout, dense, the head of ESM; with ``head_dropout=0.2`` also the usual
        head of T5. "mlp": layer norm, dense, ReLU, dropout, dense. "relu": the same without the norm.
        "linear": dropout, dense.
    head_hidden : int, optional
        Width of the head's hidden layer; None takes the backbone's width.
    head_dropout : float, default=0.1
        In [0, 1).
    standardize : bool, default=True
        Scale the features that enter the head by their mean and standard deviation over (at most 2,048 of)
        the training proteins, measured before training. Embeddings of related proteins differ by one percent
        of their size, and a head learns from that only after scaling.
    layer_mixing : bool, default=False
        Read a mean of all hidden states with learned weights instead of the last one. Frozen computation is
        then not reused: every epoch runs the whole backbone.
    n_layers : int, optional
        Cut the backbone after this layer, counted from the lowest: the layers above are not run and not held
        in memory. From 1 to the number of its layers; None keeps all. See :func:`plmlearn.layer_sweep`.
    final_norm : bool, default=True
        Apply the backbone's final norm to the output of its last layer, wherever it is cut. False gives the
        plain output of layer ``n_layers``.
    backbone_init : {"pretrained", "random"}, default="pretrained"
        "random" keeps the architecture and draws new weights: a control experiment.
    max_length : int, default=1022
        Residues that the backbone sees at once, at most 10,000.
    long_sequences : {"truncate", "window", "raise"}, default="truncate"
        What to do with proteins longer than ``max_length``. "truncate" reads their first residues and warns
        with counts. "window" reads all residues in overlapping windows and blends them; memory and time then
        grow in proportion to the length. "raise" refuses them.
    invalid : {"raise", "replace"}, default="raise"
        What to do with characters that do not denote a residue: refuse them, or read them as X.
    max_tokens : int or "auto", default="auto"
        Tokens that go through the model at once; a larger step is split and its gradients are added up.
        Memory grows with it. Results do not depend on it, except that dropout (``head_dropout``,
        ``lora_dropout``) draws its masks part by part. Halved, with a warning, when memory runs out.
    precision : {"auto", "fp32", "bf16", "fp16"}, default="auto"
        Precision of the frozen weights and of all products; trained tensors are always float32. "auto" takes
        bfloat16 where the device computes faster in it.
    quantization : {"int8", "nf4"}, optional
        Hold the frozen matrices in 8 or 4 bits: a half or a quarter of the memory of bfloat16, and slightly
        slower steps. "nf4" needs ``pip install "plmlearn[quantization]"``. Not with full fine-tuning.
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
    TrainingDivergedError
        The loss became infinite or nan; the message names step and samples.

    See Also
    --------
    PLMLoRAClassifier : The same with LoRA's parameters spelled out.
    PLMFrozenMLP : The baseline on frozen embeddings.
    sklearn.model_selection.GridSearchCV : A search over its parameters, the adapter among them.

    Notes
    -----
    Cost: one forward pass per protein and epoch, and one backward pass through the adapted layers. A fitted
    estimator holds and pickles only the trained tensors, a few MB for LoRA.

    References
    ----------
    Schmirler, Heinzinger, Rost, Fine-tuning protein language models boosts predictions across diverse
    tasks, Nature Communications 2024, doi:10.1038/s41467-024-51844-2

    Examples
    --------
    >>> from plmlearn import PLMClassifier
    >>> from plmlearn.adapters import FullFineTuning
    >>> from plmlearn.datasets import make_protein_classification
    >>> X, y = make_protein_classification(n_samples=40, median_length=40, max_length=80, random_state=0)
    >>> model = PLMClassifier("mini", adapter=FullFineTuning(), epochs=2, random_state=0).fit(X, y)
    >>> model.predict_proba(X).shape
    (40, 2)
    """


@dataclass(kw_only=True, eq=False, repr=False)
class PLMRegressor(ProteinRegressor, AdapterParameters):
    """Tune a protein language model to predict numbers for proteins.

    One value per protein, or k of them (``y`` of shape (n, k)). Targets are standardised for training;
    predictions have the units of ``y``.

    Parameters
    ----------
    backbone : str or PathLike, default="esm2-8m"
        Pretrained encoder: "mini" (bundled, works offline), a short name such as "esm2-35m", a Hugging Face
        id, or a folder written by ``save_pretrained``.
    adapter : Adapter, str or peft.PeftConfig, optional
        How the backbone is adapted; any class of :mod:`plmlearn.adapters`: LoRA (also for None), DoRA,
        AdaLoRA, VeRA, IA3, PrefixTuning, PromptTuning, Bottleneck, LayerNormTuning, FullFineTuning, Frozen,
        PeftAdapter. A name such as "ia3" or "full_fine_tuning" takes that class with its defaults, a
        configuration of peft is put into PeftAdapter. The parameters of an adapter, also of the default one,
        can be searched as ``adapter__rank``.
    pooling : {"mean", "max", "cls", "attention", "light_attention"}, default="mean"
        How residues become one vector per protein. "attention" learns one weight per residue,
        "light_attention" learns convolutions and one weight per residue and feature, and doubles the width.
        ProtT5 and Ankh have no token for "cls".
    epochs : int, default=10
        Passes over the training proteins.
    lr : float, optional
        Highest learning rate of the adapter. None takes what suits the method (1e-3 for LoRA, 1e-4 for full
        fine-tuning).
    batch_size : int, default=16
        Proteins per optimiser step. It does not change the memory needed: see ``max_tokens``.

    Attributes
    ----------
    history_ : list of dict
        One entry per epoch: train_loss, valid_loss, valid_score, lr, seconds, residues_per_second.
    best_epoch_ : int
        Epoch whose tensors were kept (the last one without validation).
    best_score_ : float or None
        Its validation score.
    n_trainable_parameters_, n_parameters_ : int
        Trained parameters, and all.
    n_truncated_ : int
        Training proteins cut to ``max_length``.
    backbone_fingerprint_ : str
        Digest of the frozen weights; predictions refuse others.

    Other Parameters
    ----------------
    head_lr : float, optional
        Highest learning rate of pooling and head. None takes 1e-3, or ``lr`` where that is larger.
    weight_decay : float, default=0.01
        Weight decay of matrices. Norms and biases do not decay.
    optimizer : {"adamw", "adamax"}, default="adamw"
        AdamW shrinks the weights directly; Adamax adds the decay to the gradient.
    schedule : {"linear", "cosine", "constant"}, default="linear"
        Course of the learning rate after the warm-up.
    warmup : float, default=0.1
        Share of all steps in which the learning rate rises from zero, in [0, 1].
    gradient_clip : float or None, default=1.0
        Largest norm of all gradients together; None does not clip.
    early_stopping : bool, default=False
        Hold out ``validation_fraction`` of the proteins (stratified by class, or whole ``groups``), stop
        after ``patience`` epochs without improvement and keep the best epoch.
    validation_fraction : float, default=0.1
        Share of the proteins to hold out, in (0, 1).
    patience : int, default=5
        Epochs without improvement after which training stops.
    scoring : str or callable, optional
        scikit-learn scorer that chooses the best epoch; None takes the validation loss.
    warm_start : bool, default=False
        ``fit`` continues from the tensors of the previous fit.
    random_state : int, RandomState or None, default=None
        Seed of head, adapter, dropout, order of samples and splits. The same seed on the same CPU gives the
        same bits.
    verbose : int, default=1
        1 shows a progress bar in a terminal or notebook; 0 shows nothing.
    callbacks : list of callables or skorch callbacks, optional
        A function is called after each epoch with its entry in ``history_``; if it returns True, training
        ends. skorch's callbacks record into ``history_`` too. See docs/callbacks.md for which of them work.
    gradient_checkpointing : bool, default=False
        Keep only the input of each layer and recompute the rest in the backward pass. Needs a fraction of the
        memory, and takes a third to a half longer.
    head : {"esm", "mlp", "relu", "linear"}, default="esm"
        "esm": dropout, dense, tanh, dropout, dense, the head of ESM; with ``head_dropout=0.2`` also the usual
        head of T5. "mlp": layer norm, dense, ReLU, dropout, dense. "relu": the same without the norm.
        "linear": dropout, dense.
    head_hidden : int, optional
        Width of the head's hidden layer; None takes the backbone's width.
    head_dropout : float, default=0.1
        In [0, 1).
    standardize : bool, default=True
        Scale the features that enter the head by their mean and standard deviation over (at most 2,048 of)
        the training proteins, measured before training. Embeddings of related proteins differ by one percent
        of their size, and a head learns from that only after scaling.
    layer_mixing : bool, default=False
        Read a mean of all hidden states with learned weights instead of the last one. Frozen computation is
        then not reused: every epoch runs the whole backbone.
    n_layers : int, optional
        Cut the backbone after this layer, counted from the lowest: the layers above are not run and not held
        in memory. From 1 to the number of its layers; None keeps all. See :func:`plmlearn.layer_sweep`.
    final_norm : bool, default=True
        Apply the backbone's final norm to the output of its last layer, wherever it is cut. False gives the
        plain output of layer ``n_layers``.
    backbone_init : {"pretrained", "random"}, default="pretrained"
        "random" keeps the architecture and draws new weights: a control experiment.
    max_length : int, default=1022
        Residues that the backbone sees at once, at most 10,000.
    long_sequences : {"truncate", "window", "raise"}, default="truncate"
        What to do with proteins longer than ``max_length``. "truncate" reads their first residues and warns
        with counts. "window" reads all residues in overlapping windows and blends them; memory and time then
        grow in proportion to the length. "raise" refuses them.
    invalid : {"raise", "replace"}, default="raise"
        What to do with characters that do not denote a residue: refuse them, or read them as X.
    max_tokens : int or "auto", default="auto"
        Tokens that go through the model at once; a larger step is split and its gradients are added up.
        Memory grows with it. Results do not depend on it, except that dropout (``head_dropout``,
        ``lora_dropout``) draws its masks part by part. Halved, with a warning, when memory runs out.
    precision : {"auto", "fp32", "bf16", "fp16"}, default="auto"
        Precision of the frozen weights and of all products; trained tensors are always float32. "auto" takes
        bfloat16 where the device computes faster in it.
    quantization : {"int8", "nf4"}, optional
        Hold the frozen matrices in 8 or 4 bits: a half or a quarter of the memory of bfloat16, and slightly
        slower steps. "nf4" needs ``pip install "plmlearn[quantization]"``. Not with full fine-tuning.
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
    TrainingDivergedError
        The loss became infinite or nan; the message names step and samples.

    See Also
    --------
    PLMLoRARegressor : The same with LoRA's parameters spelled out.
    PLMFrozenMLPRegressor : The baseline on frozen embeddings.
    sklearn.model_selection.GridSearchCV : A search over its parameters, the adapter among them.

    Notes
    -----
    Cost: one forward pass per protein and epoch, and one backward pass through the adapted layers. A fitted
    estimator holds and pickles only the trained tensors, a few MB for LoRA.

    References
    ----------
    Schmirler, Heinzinger, Rost, Fine-tuning protein language models boosts predictions across diverse
    tasks, Nature Communications 2024, doi:10.1038/s41467-024-51844-2

    Examples
    --------
    >>> from plmlearn import PLMRegressor
    >>> from plmlearn.adapters import FullFineTuning
    >>> from plmlearn.datasets import make_protein_regression
    >>> X, y = make_protein_regression(n_samples=40, median_length=40, max_length=80, random_state=0)
    >>> model = PLMRegressor("mini", adapter=FullFineTuning(), epochs=2, random_state=0).fit(X, y)
    >>> model.predict(X).shape
    (40,)
    """


@dataclass(kw_only=True, eq=False, repr=False)
class PLMLoRAClassifier(ProteinClassifier, LoRAParameters):
    """Tune a protein language model by LoRA to classify proteins.

    One label per protein of two or more classes, or several (``y`` an (n, k) indicator of 0 and 1). The same
    as :class:`PLMClassifier` with ``adapter=LoRA(...)``.

    Parameters
    ----------
    backbone : str or PathLike, default="esm2-8m"
        Pretrained encoder: "mini" (bundled, works offline), a short name such as "esm2-35m", a Hugging Face
        id, or a folder written by ``save_pretrained``.
    rank : int, default=8
        Rank of LoRA's two thin matrices.
    alpha : float, default=16
        LoRA's product is scaled by ``alpha / rank``.
    lora_dropout : float, default=0.0
        Dropout of what enters LoRA's matrices, in [0, 1).
    target_modules : str or tuple of str, default="all"
        Adapted matrices: "query", "key", "value", "output" (of attention), "ffn_in", "ffn_out", or the groups
        "attention" and "all".
    last_n_layers : int, optional
        Adapt only the last n layers. What lies below is computed once per protein and reused in every epoch,
        fold and candidate, which is several times faster. None adapts all layers.
    class_weight : dict, list of dict, "balanced" or None, default=None
        Weight of each class in the loss; "balanced" weighs by inverse frequency. With several labels, a list
        of one dict per label such as {0: 1, 1: 5}; what it gives for each label is multiplied, as in
        scikit-learn.
    pooling : {"mean", "max", "cls", "attention", "light_attention"}, default="mean"
        How residues become one vector per protein. "attention" learns one weight per residue,
        "light_attention" learns convolutions and one weight per residue and feature, and doubles the width.
        ProtT5 and Ankh have no token for "cls".
    epochs : int, default=10
        Passes over the training proteins.
    lr : float, optional
        Highest learning rate of the adapter. None takes what suits the method (1e-3 for LoRA, 1e-4 for full
        fine-tuning).
    batch_size : int, default=16
        Proteins per optimiser step. It does not change the memory needed: see ``max_tokens``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, in the order of the columns of ``predict_proba``.
    history_ : list of dict
        One entry per epoch: train_loss, valid_loss, valid_score, lr, seconds, residues_per_second.
    best_epoch_ : int
        Epoch whose tensors were kept (the last one without validation).
    best_score_ : float or None
        Its validation score.
    n_trainable_parameters_, n_parameters_ : int
        Trained parameters, and all.
    n_truncated_ : int
        Training proteins cut to ``max_length``.
    backbone_fingerprint_ : str
        Digest of the frozen weights; predictions refuse others.

    Other Parameters
    ----------------
    head_lr : float, optional
        Highest learning rate of pooling and head. None takes 1e-3, or ``lr`` where that is larger.
    weight_decay : float, default=0.01
        Weight decay of matrices. Norms and biases do not decay.
    optimizer : {"adamw", "adamax"}, default="adamw"
        AdamW shrinks the weights directly; Adamax adds the decay to the gradient.
    schedule : {"linear", "cosine", "constant"}, default="linear"
        Course of the learning rate after the warm-up.
    warmup : float, default=0.1
        Share of all steps in which the learning rate rises from zero, in [0, 1].
    gradient_clip : float or None, default=1.0
        Largest norm of all gradients together; None does not clip.
    early_stopping : bool, default=False
        Hold out ``validation_fraction`` of the proteins (stratified by class, or whole ``groups``), stop
        after ``patience`` epochs without improvement and keep the best epoch.
    validation_fraction : float, default=0.1
        Share of the proteins to hold out, in (0, 1).
    patience : int, default=5
        Epochs without improvement after which training stops.
    scoring : str or callable, optional
        scikit-learn scorer that chooses the best epoch; None takes the validation loss.
    warm_start : bool, default=False
        ``fit`` continues from the tensors of the previous fit.
    random_state : int, RandomState or None, default=None
        Seed of head, adapter, dropout, order of samples and splits. The same seed on the same CPU gives the
        same bits.
    verbose : int, default=1
        1 shows a progress bar in a terminal or notebook; 0 shows nothing.
    callbacks : list of callables or skorch callbacks, optional
        A function is called after each epoch with its entry in ``history_``; if it returns True, training
        ends. skorch's callbacks record into ``history_`` too. See docs/callbacks.md for which of them work.
    gradient_checkpointing : bool, default=False
        Keep only the input of each layer and recompute the rest in the backward pass. Needs a fraction of the
        memory, and takes a third to a half longer.
    head : {"esm", "mlp", "relu", "linear"}, default="esm"
        "esm": dropout, dense, tanh, dropout, dense, the head of ESM; with ``head_dropout=0.2`` also the usual
        head of T5. "mlp": layer norm, dense, ReLU, dropout, dense. "relu": the same without the norm.
        "linear": dropout, dense.
    head_hidden : int, optional
        Width of the head's hidden layer; None takes the backbone's width.
    head_dropout : float, default=0.1
        In [0, 1).
    standardize : bool, default=True
        Scale the features that enter the head by their mean and standard deviation over (at most 2,048 of)
        the training proteins, measured before training. Embeddings of related proteins differ by one percent
        of their size, and a head learns from that only after scaling.
    layer_mixing : bool, default=False
        Read a mean of all hidden states with learned weights instead of the last one. Frozen computation is
        then not reused: every epoch runs the whole backbone.
    n_layers : int, optional
        Cut the backbone after this layer, counted from the lowest: the layers above are not run and not held
        in memory. From 1 to the number of its layers; None keeps all. See :func:`plmlearn.layer_sweep`.
    final_norm : bool, default=True
        Apply the backbone's final norm to the output of its last layer, wherever it is cut. False gives the
        plain output of layer ``n_layers``.
    backbone_init : {"pretrained", "random"}, default="pretrained"
        "random" keeps the architecture and draws new weights: a control experiment.
    max_length : int, default=1022
        Residues that the backbone sees at once, at most 10,000.
    long_sequences : {"truncate", "window", "raise"}, default="truncate"
        What to do with proteins longer than ``max_length``. "truncate" reads their first residues and warns
        with counts. "window" reads all residues in overlapping windows and blends them; memory and time then
        grow in proportion to the length. "raise" refuses them.
    invalid : {"raise", "replace"}, default="raise"
        What to do with characters that do not denote a residue: refuse them, or read them as X.
    max_tokens : int or "auto", default="auto"
        Tokens that go through the model at once; a larger step is split and its gradients are added up.
        Memory grows with it. Results do not depend on it, except that dropout (``head_dropout``,
        ``lora_dropout``) draws its masks part by part. Halved, with a warning, when memory runs out.
    precision : {"auto", "fp32", "bf16", "fp16"}, default="auto"
        Precision of the frozen weights and of all products; trained tensors are always float32. "auto" takes
        bfloat16 where the device computes faster in it.
    quantization : {"int8", "nf4"}, optional
        Hold the frozen matrices in 8 or 4 bits: a half or a quarter of the memory of bfloat16, and slightly
        slower steps. "nf4" needs ``pip install "plmlearn[quantization]"``. Not with full fine-tuning.
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
    TrainingDivergedError
        The loss became infinite or nan; the message names step and samples.

    See Also
    --------
    PLMClassifier : The same with any adapter.
    PLMFrozenMLP : The baseline on frozen embeddings.
    sklearn.model_selection.GridSearchCV : A search over its parameters.
    plmlearn.search.PLMSearchCV : One that ends bad candidates early, and resumes.

    Notes
    -----
    Cost: one forward pass per protein and epoch, and one backward pass through the adapted layers. A fitted
    estimator holds and pickles only the trained tensors, a few MB for LoRA.

    References
    ----------
    Sledzieski et al., Democratizing protein language models with parameter-efficient fine-tuning,
    PNAS 2024, doi:10.1073/pnas.2405840121

    Examples
    --------
    >>> from plmlearn import PLMLoRAClassifier
    >>> from plmlearn.datasets import make_protein_classification
    >>> X, y = make_protein_classification(n_samples=40, median_length=40, max_length=80, random_state=0)
    >>> model = PLMLoRAClassifier("mini", rank=4, epochs=2, random_state=0).fit(X, y)
    >>> model.predict_proba(X).shape
    (40, 2)
    """


@dataclass(kw_only=True, eq=False, repr=False)
class PLMLoRARegressor(ProteinRegressor, LoRAParameters):
    """Tune a protein language model by LoRA to predict numbers for proteins.

    One value per protein, or k of them (``y`` of shape (n, k)). Targets are standardised for training;
    predictions have the units of ``y``. The same as :class:`PLMRegressor` with ``adapter=LoRA(...)``.

    Parameters
    ----------
    backbone : str or PathLike, default="esm2-8m"
        Pretrained encoder: "mini" (bundled, works offline), a short name such as "esm2-35m", a Hugging Face
        id, or a folder written by ``save_pretrained``.
    rank : int, default=8
        Rank of LoRA's two thin matrices.
    alpha : float, default=16
        LoRA's product is scaled by ``alpha / rank``.
    lora_dropout : float, default=0.0
        Dropout of what enters LoRA's matrices, in [0, 1).
    target_modules : str or tuple of str, default="all"
        Adapted matrices: "query", "key", "value", "output" (of attention), "ffn_in", "ffn_out", or the groups
        "attention" and "all".
    last_n_layers : int, optional
        Adapt only the last n layers. What lies below is computed once per protein and reused in every epoch,
        fold and candidate, which is several times faster. None adapts all layers.
    pooling : {"mean", "max", "cls", "attention", "light_attention"}, default="mean"
        How residues become one vector per protein. "attention" learns one weight per residue,
        "light_attention" learns convolutions and one weight per residue and feature, and doubles the width.
        ProtT5 and Ankh have no token for "cls".
    epochs : int, default=10
        Passes over the training proteins.
    lr : float, optional
        Highest learning rate of the adapter. None takes what suits the method (1e-3 for LoRA, 1e-4 for full
        fine-tuning).
    batch_size : int, default=16
        Proteins per optimiser step. It does not change the memory needed: see ``max_tokens``.

    Attributes
    ----------
    history_ : list of dict
        One entry per epoch: train_loss, valid_loss, valid_score, lr, seconds, residues_per_second.
    best_epoch_ : int
        Epoch whose tensors were kept (the last one without validation).
    best_score_ : float or None
        Its validation score.
    n_trainable_parameters_, n_parameters_ : int
        Trained parameters, and all.
    n_truncated_ : int
        Training proteins cut to ``max_length``.
    backbone_fingerprint_ : str
        Digest of the frozen weights; predictions refuse others.

    Other Parameters
    ----------------
    head_lr : float, optional
        Highest learning rate of pooling and head. None takes 1e-3, or ``lr`` where that is larger.
    weight_decay : float, default=0.01
        Weight decay of matrices. Norms and biases do not decay.
    optimizer : {"adamw", "adamax"}, default="adamw"
        AdamW shrinks the weights directly; Adamax adds the decay to the gradient.
    schedule : {"linear", "cosine", "constant"}, default="linear"
        Course of the learning rate after the warm-up.
    warmup : float, default=0.1
        Share of all steps in which the learning rate rises from zero, in [0, 1].
    gradient_clip : float or None, default=1.0
        Largest norm of all gradients together; None does not clip.
    early_stopping : bool, default=False
        Hold out ``validation_fraction`` of the proteins (stratified by class, or whole ``groups``), stop
        after ``patience`` epochs without improvement and keep the best epoch.
    validation_fraction : float, default=0.1
        Share of the proteins to hold out, in (0, 1).
    patience : int, default=5
        Epochs without improvement after which training stops.
    scoring : str or callable, optional
        scikit-learn scorer that chooses the best epoch; None takes the validation loss.
    warm_start : bool, default=False
        ``fit`` continues from the tensors of the previous fit.
    random_state : int, RandomState or None, default=None
        Seed of head, adapter, dropout, order of samples and splits. The same seed on the same CPU gives the
        same bits.
    verbose : int, default=1
        1 shows a progress bar in a terminal or notebook; 0 shows nothing.
    callbacks : list of callables or skorch callbacks, optional
        A function is called after each epoch with its entry in ``history_``; if it returns True, training
        ends. skorch's callbacks record into ``history_`` too. See docs/callbacks.md for which of them work.
    gradient_checkpointing : bool, default=False
        Keep only the input of each layer and recompute the rest in the backward pass. Needs a fraction of the
        memory, and takes a third to a half longer.
    head : {"esm", "mlp", "relu", "linear"}, default="esm"
        "esm": dropout, dense, tanh, dropout, dense, the head of ESM; with ``head_dropout=0.2`` also the usual
        head of T5. "mlp": layer norm, dense, ReLU, dropout, dense. "relu": the same without the norm.
        "linear": dropout, dense.
    head_hidden : int, optional
        Width of the head's hidden layer; None takes the backbone's width.
    head_dropout : float, default=0.1
        In [0, 1).
    standardize : bool, default=True
        Scale the features that enter the head by their mean and standard deviation over (at most 2,048 of)
        the training proteins, measured before training. Embeddings of related proteins differ by one percent
        of their size, and a head learns from that only after scaling.
    layer_mixing : bool, default=False
        Read a mean of all hidden states with learned weights instead of the last one. Frozen computation is
        then not reused: every epoch runs the whole backbone.
    n_layers : int, optional
        Cut the backbone after this layer, counted from the lowest: the layers above are not run and not held
        in memory. From 1 to the number of its layers; None keeps all. See :func:`plmlearn.layer_sweep`.
    final_norm : bool, default=True
        Apply the backbone's final norm to the output of its last layer, wherever it is cut. False gives the
        plain output of layer ``n_layers``.
    backbone_init : {"pretrained", "random"}, default="pretrained"
        "random" keeps the architecture and draws new weights: a control experiment.
    max_length : int, default=1022
        Residues that the backbone sees at once, at most 10,000.
    long_sequences : {"truncate", "window", "raise"}, default="truncate"
        What to do with proteins longer than ``max_length``. "truncate" reads their first residues and warns
        with counts. "window" reads all residues in overlapping windows and blends them; memory and time then
        grow in proportion to the length. "raise" refuses them.
    invalid : {"raise", "replace"}, default="raise"
        What to do with characters that do not denote a residue: refuse them, or read them as X.
    max_tokens : int or "auto", default="auto"
        Tokens that go through the model at once; a larger step is split and its gradients are added up.
        Memory grows with it. Results do not depend on it, except that dropout (``head_dropout``,
        ``lora_dropout``) draws its masks part by part. Halved, with a warning, when memory runs out.
    precision : {"auto", "fp32", "bf16", "fp16"}, default="auto"
        Precision of the frozen weights and of all products; trained tensors are always float32. "auto" takes
        bfloat16 where the device computes faster in it.
    quantization : {"int8", "nf4"}, optional
        Hold the frozen matrices in 8 or 4 bits: a half or a quarter of the memory of bfloat16, and slightly
        slower steps. "nf4" needs ``pip install "plmlearn[quantization]"``. Not with full fine-tuning.
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
    TrainingDivergedError
        The loss became infinite or nan; the message names step and samples.

    See Also
    --------
    PLMRegressor : The same with any adapter.
    PLMFrozenMLPRegressor : The baseline on frozen embeddings.
    sklearn.model_selection.GridSearchCV : A search over its parameters.
    plmlearn.search.PLMSearchCV : One that ends bad candidates early, and resumes.

    Notes
    -----
    Cost: one forward pass per protein and epoch, and one backward pass through the adapted layers. A fitted
    estimator holds and pickles only the trained tensors, a few MB for LoRA.

    References
    ----------
    Sledzieski et al., Democratizing protein language models with parameter-efficient fine-tuning,
    PNAS 2024, doi:10.1073/pnas.2405840121

    Examples
    --------
    >>> from plmlearn import PLMLoRARegressor
    >>> from plmlearn.datasets import make_protein_regression
    >>> X, y = make_protein_regression(n_samples=40, median_length=40, max_length=80, random_state=0)
    >>> model = PLMLoRARegressor("mini", rank=4, epochs=2, random_state=0).fit(X, y)
    >>> model.predict(X).shape
    (40,)
    """
