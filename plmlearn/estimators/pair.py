"""Estimators of pairs of proteins: ``PLMPairClassifier`` and ``PLMPairRegressor``.

One encoder reads both proteins. What it makes of them is combined, by default so that their order does
not matter, and scored by a head.
"""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, ClassVar, Literal, Self

import numpy as np
from sklearn.base import ClassifierMixin, ClassNamePrefixFeaturesOutMixin, RegressorMixin, TransformerMixin
from sklearn.utils._param_validation import Interval, StrOptions

from ..model_selection import PairWarning
from ..nn.combinations import COMBINATIONS, PairModel, ResidueProjection
from ..nn.encoders import PackedEncoder
from ..nn.models import POOLINGS, EncoderModel, make_head
from ..sequences.structure import PAIRS, Reader
from ..training.batching import Inputs
from ..training.inference import over_pairs
from ..training.steps import TrainingData
from .dataset import Dataset, warn_of_conflicts
from .parameters import AdapterParameters, BackboneParameters, ClassWeightParameters, PoolingParameters
from .protein import Labels, ProteinTask, Values
from .targets import Target, used_rows
from .task import Given
from .tuned import HeadedEstimator


@dataclass(frozen=True)
class PairTask(ProteinTask):
    """One prediction per pair, from what stands for its two proteins."""

    combine: str
    epoch_size: int | None
    sampling: str = "uniform"

    def check(self, sequences: np.ndarray, given: Given) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        y = self.targets.check(given.y, len(sequences))
        if isinstance(self.targets, Labels):
            used = used_rows(given.sample_weight, len(y))
            pairs = sequences[used] if COMBINATIONS[self.combine].ordered else np.sort(sequences[used])
            warn_of_conflicts(pairs, y[used], used, "pairs", PairWarning)
        return y, {}

    def make_model(self, encoder: PackedEncoder, n_outputs: int) -> EncoderModel:
        make_combination = COMBINATIONS[self.combine]
        make_pooling = ResidueProjection if make_combination.over_residues else POOLINGS[self.pooling]
        pooling = make_pooling(encoder.width)
        combination = make_combination(pooling.width)
        hidden = self.head_hidden or encoder.width
        head = make_head(self.head, combination.width, n_outputs, hidden, self.head_dropout)
        return PairModel(encoder, pooling, combination, head)

    def encode(self, inputs: Inputs, target: Target, dataset: Dataset, learned: np.ndarray) -> TrainingData:
        data = super().encode(inputs, target, dataset, learned)
        if self.sampling == "uniform":
            return data
        if dataset.y.ndim == 2:
            raise ValueError("sampling='balanced' is for one label per pair; with several pass 'uniform'.")
        return replace(data, strata=dataset.y)


@dataclass(kw_only=True, eq=False, repr=False)
class CombinationParameters(BackboneParameters):
    """How two proteins become one vector, and what an epoch is."""

    combine: Literal["mean", "symmetric", "concat", "cross_attention"] = "mean"
    epoch_size: int | None = None

    _parameter_constraints: ClassVar[dict] = {
        "combine": [StrOptions(set(COMBINATIONS))],
        "epoch_size": [Interval(Integral, 1, None, closed="left"), None],
    }


@dataclass(kw_only=True, eq=False, repr=False)
class SamplingParameters(BackboneParameters):
    """Which pairs an epoch draws."""

    sampling: Literal["uniform", "balanced"] = "uniform"

    _parameter_constraints: ClassVar[dict] = {"sampling": [StrOptions({"uniform", "balanced"})]}


@dataclass(kw_only=True, eq=False, repr=False)
class PairEstimator(
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    HeadedEstimator,
    PoolingParameters,
    CombinationParameters,
    ABC,
):
    """A tuned estimator of pairs; see the concrete classes."""

    _reader: ClassVar[Reader] = PAIRS

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
        """Tune the backbone and the head on labelled pairs of proteins.

        Parameters
        ----------
        X : array of str, shape (n_pairs, 2), DataFrame with two columns, or list of 2-tuples
            Amino-acid sequences of both partners, one pair per row. Of two lists a and b pass
            ``list(zip(a, b))``.
        y : array-like of shape (n_pairs,) or (n_pairs, n_targets)
            Targets.
        sample_weight : array-like of shape (n_pairs,), optional
            Weight of each pair in the loss; pairs of weight 0 are left out.
        X_val, y_val : optional
            A validation set of your own; the epoch that is best on it is kept.
        sample_weight_val : array-like, optional
            Weights of the validation pairs in the validation loss.
        groups : array-like of shape (n_pairs, 2) or (n_pairs,), optional
            Clusters of both partners, or one per pair, that the inner validation split must not cut (with
            ``early_stopping``).

        Returns
        -------
        self
        """
        return self._fit(Given(X, y, sample_weight, groups), Given(X_val, y_val, sample_weight_val))

    def transform(self, X: Any) -> np.ndarray:
        """Combined embeddings of the tuned backbone, as the head sees them before they are scaled.

        Parameters
        ----------
        X : array of str, shape (n_pairs, 2), DataFrame with two columns, or list of 2-tuples

        Returns
        -------
        ndarray of shape (n_pairs, n_features), float32
            A data frame with names of features where ``set_output`` asks for one.
        """
        model = self._restored()
        inputs = model.inputs(self._clean(X)[0], self._window)
        return over_pairs(model.module, inputs, model.config, model.module.combination)

    @property
    def _n_features_out(self) -> int:
        return self._restored().module.combination.width

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = False
        tags.input_tags.two_d_array = True
        tags._skip_test = True  # check_estimator would fit on arrays of numbers
        return tags


@dataclass(kw_only=True, eq=False, repr=False)
class PLMPairClassifier(
    ClassifierMixin, PairEstimator, ClassWeightParameters, SamplingParameters, AdapterParameters
):
    """Tune a protein language model to classify pairs of proteins, such as those that interact.

    ``X`` is an (n_pairs, 2) array, a DataFrame with two columns or a list of 2-tuples of sequences. Both
    proteins go through one encoder. Unless ``combine="concat"``, a pair and its reverse give the same result
    to the last bit, in training and in prediction.

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
    sampling : {"uniform", "balanced"}, default="uniform"
        "balanced" draws equally many pairs of each class for an epoch, and those of rare classes repeatedly.
    class_weight : dict, list of dict, "balanced" or None, default=None
        Weight of each class in the loss; "balanced" weighs by inverse frequency. With several labels, a list
        of one dict per label such as {0: 1, 1: 5}; what it gives for each label is multiplied, as in
        scikit-learn.
    combine : {"mean", "symmetric", "concat", "cross_attention"}, default="mean"
        How two proteins become one vector. "mean": mean of their embeddings. "symmetric": mean, absolute
        difference and product. "concat": one after the other, for relations with a direction (kinase and
        substrate). "cross_attention": residues of each attend to those of the other; ``pooling`` is not used,
        and every pair costs a pass of its own.
    epoch_size : int, optional
        Pairs drawn for an epoch, anew each time; None takes every pair once. An epoch of 16,384 pairs of a
        large set lets validation and early stopping act often.
    pooling : {"mean", "max", "cls", "attention", "light_attention"}, default="mean"
        How residues become one vector per protein. "attention" learns one weight per residue,
        "light_attention" learns convolutions and one weight per residue and feature, and doubles the width.
        ProtT5 and Ankh have no token for "cls".
    epochs : int, default=10
        Passes over the training pairs.
    lr : float, optional
        Highest learning rate of the adapter. None takes what suits the method (1e-3 for LoRA, 1e-4 for full
        fine-tuning).
    batch_size : int, default=16
        Pairs per optimiser step. It does not change the memory needed: see ``max_tokens``.

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
        Hold out ``validation_fraction`` of the pairs (stratified by class, or whole ``groups``), stop after
        ``patience`` epochs without improvement and keep the best epoch.
    validation_fraction : float, default=0.1
        Share of the pairs to hold out, in (0, 1).
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
        Entries of ``X`` that are not pairs of protein sequences; all of them are named.
    TrainingDivergedError
        The loss became infinite or nan; the message names step and samples.

    Warns
    -----
    PairWarning
        Training pairs that are given again with another label. All are kept.

    See Also
    --------
    PLMPairRegressor : The same for numbers.
    plmlearn.model_selection.PairKFold : Splits of pairs that do not leak.

    Notes
    -----
    Each distinct protein is encoded once: per data set with ``Frozen()``, also at prediction; per optimiser
    step where the backbone is tuned. A step is a random draw of pairs. Where its proteins exceed
    ``max_tokens``, they run forward once more, with the same result. In a sparse graph the pairs of a step
    share few proteins; adapting only the last n layers then saves most, because what lies below is computed
    once per protein.

    ``groups`` of shape (n_pairs, 2), the clusters of both proteins, make the inner validation split of
    ``early_stopping`` one of new proteins (C3): it validates on pairs inside the clusters held out and leaves
    out the pairs between, which are many.

    References
    ----------
    Sledzieski et al., Democratizing protein language models with parameter-efficient fine-tuning,
    PNAS 2024, doi:10.1073/pnas.2405840121

    Examples
    --------
    >>> from plmlearn import PLMPairClassifier
    >>> from plmlearn.adapters import Frozen
    >>> from plmlearn.datasets import make_protein_pairs
    >>> X, y = make_protein_pairs(60, n_proteins=60, max_length=60, random_state=0)
    >>> clf = PLMPairClassifier("mini", adapter=Frozen(), epochs=2, random_state=0).fit(X, y)
    >>> bool((clf.predict_proba(X) == clf.predict_proba(X[:, ::-1])).all())
    True
    """

    def _task(self) -> PairTask:
        return PairTask(
            Labels(self.class_weight),
            self.pooling,
            self.head,
            self.head_hidden,
            self.head_dropout,
            self.combine,
            self.epoch_size,
            self.sampling,
        )

    @property
    def classes_(self) -> np.ndarray:
        """Class labels, in the order of ``predict_proba``'s columns."""
        return self._fitted_classes()

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each pair, or an (n, k) indicator of its labels.

        Parameters
        ----------
        X : array of str, shape (n_pairs, 2), DataFrame with two columns, or list of 2-tuples

        Returns
        -------
        ndarray of shape (n_pairs,) or (n_pairs, k)
        """
        return self._fitted_target().decode(self._outputs(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class.

        Parameters
        ----------
        X : array of str, shape (n_pairs, 2), DataFrame with two columns, or list of 2-tuples

        Returns
        -------
        ndarray of shape (n_pairs, n_classes)
            Rows add up to 1; with several labels per pair each column stands by itself.
        """
        return self._fitted_target().probabilities(self._outputs(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


@dataclass(kw_only=True, eq=False, repr=False)
class PLMPairRegressor(RegressorMixin, PairEstimator, AdapterParameters):
    """Tune a protein language model to predict numbers for pairs of proteins, such as affinities.

    One value per pair, or k of them (``y`` of shape (n, k)). Targets are standardised for training;
    predictions have the units of ``y``. ``X`` and the order within a pair are as in
    :class:`PLMPairClassifier`.

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
    combine : {"mean", "symmetric", "concat", "cross_attention"}, default="mean"
        How two proteins become one vector. "mean": mean of their embeddings. "symmetric": mean, absolute
        difference and product. "concat": one after the other, for relations with a direction (kinase and
        substrate). "cross_attention": residues of each attend to those of the other; ``pooling`` is not used,
        and every pair costs a pass of its own.
    epoch_size : int, optional
        Pairs drawn for an epoch, anew each time; None takes every pair once. An epoch of 16,384 pairs of a
        large set lets validation and early stopping act often.
    pooling : {"mean", "max", "cls", "attention", "light_attention"}, default="mean"
        How residues become one vector per protein. "attention" learns one weight per residue,
        "light_attention" learns convolutions and one weight per residue and feature, and doubles the width.
        ProtT5 and Ankh have no token for "cls".
    epochs : int, default=10
        Passes over the training pairs.
    lr : float, optional
        Highest learning rate of the adapter. None takes what suits the method (1e-3 for LoRA, 1e-4 for full
        fine-tuning).
    batch_size : int, default=16
        Pairs per optimiser step. It does not change the memory needed: see ``max_tokens``.

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
        Hold out ``validation_fraction`` of the pairs (stratified by class, or whole ``groups``), stop after
        ``patience`` epochs without improvement and keep the best epoch.
    validation_fraction : float, default=0.1
        Share of the pairs to hold out, in (0, 1).
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
        Entries of ``X`` that are not pairs of protein sequences; all of them are named.
    TrainingDivergedError
        The loss became infinite or nan; the message names step and samples.

    See Also
    --------
    PLMPairClassifier : The same for classes.

    Notes
    -----
    Cost and ``groups``: see :class:`PLMPairClassifier`.

    References
    ----------
    Sledzieski et al., Democratizing protein language models with parameter-efficient fine-tuning,
    PNAS 2024, doi:10.1073/pnas.2405840121

    Examples
    --------
    >>> from plmlearn import PLMPairRegressor
    >>> from plmlearn.adapters import Frozen
    >>> from plmlearn.datasets import make_protein_pairs
    >>> X, _ = make_protein_pairs(60, n_proteins=60, max_length=60, random_state=0)
    >>> y = [len(a) + len(b) for a, b in X]
    >>> reg = PLMPairRegressor("mini", adapter=Frozen(), epochs=2, random_state=0).fit(X, y)
    >>> reg.predict(X).shape
    (60,)
    """

    def _task(self) -> PairTask:
        return PairTask(
            Values(),
            self.pooling,
            self.head,
            self.head_hidden,
            self.head_dropout,
            self.combine,
            self.epoch_size,
        )

    def predict(self, X: Any) -> np.ndarray:
        """Predicted values of each pair, in the units of ``y``.

        Parameters
        ----------
        X : array of str, shape (n_pairs, 2), DataFrame with two columns, or list of 2-tuples

        Returns
        -------
        ndarray of shape (n_pairs,) or (n_pairs, n_targets)
        """
        return self._fitted_target().decode(self._outputs(X))
