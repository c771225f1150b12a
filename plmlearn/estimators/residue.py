"""Estimators with one prediction per residue: a class, or numbers.

A protein's labels are a string ("HHHEC") or an array, its values an array; what was not measured is masked,
nan or ``ignore_label``. scikit-learn's tools for classifiers need one label per sample, so a residue
classifier is not a ``ClassifierMixin``: they see an estimator with a ``score`` of its own.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from sklearn.base import TransformerMixin
from sklearn.utils._param_validation import StrOptions
from torch import Tensor

from ..metrics import residue_spearman
from ..nn.chain_scores import UNKNOWN
from ..nn.crf import LinearChainCRF
from ..nn.encoders import PackedEncoder
from ..nn.models import ResidueModel
from ..nn.packing import Ragged
from ..nn.residue_heads import RESIDUE_HEADS, make_residue_head
from ..sequences.clean import object_array
from ..training.batching import Inputs
from ..training.steps import Loss, TrainingData
from .dataset import Dataset, warn_of_conflicts
from .parameters import AdapterParameters, BackboneParameters, ClassWeightParameters
from .residue_targets import (
    CONSTRAINTS,
    ResidueClassTarget,
    ResidueTarget,
    ResidueValueTarget,
    Rows,
    check_residue_y,
    require_measured,
)
from .targets import check_weights, used_rows
from .task import Given, Task
from .tuned import HeadedEstimator


@dataclass(frozen=True)
class ResidueLabels:
    """Targets that are labels of residues."""

    class_weight: Any
    constraints: Any

    kind: ClassVar[Literal["labels", "values"]] = "labels"

    def learn(self, y: Rows) -> ResidueClassTarget:
        return ResidueClassTarget.learn(y, self.class_weight, self.constraints)


@dataclass(frozen=True)
class ResidueValues:
    """Targets that are numbers of residues."""

    kind: ClassVar[Literal["labels", "values"]] = "values"

    def learn(self, y: Rows) -> ResidueValueTarget:
        return ResidueValueTarget.learn(y)


@dataclass(frozen=True)
class ResidueTask(Task):
    """One prediction per residue."""

    targets: ResidueLabels | ResidueValues
    head: str
    head_hidden: int | None
    head_dropout: float
    ignore_label: Any

    def check(self, sequences: np.ndarray, given: Given) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        used = used_rows(given.sample_weight, len(sequences))
        whole = check_residue_y(given.y, given.X, kind=self.targets.kind, ignore_label=self.ignore_label)
        read = object_array([row[: len(sequence)] for row, sequence in zip(whole, sequences, strict=True)])
        require_measured(read, used)
        if self.targets.kind == "labels":
            warn_of_conflicts(sequences[used], read[used], used)
        return read, {}

    def learn(self, y: np.ndarray) -> ResidueTarget:
        return self.targets.learn(y)

    def relearn(self, y: np.ndarray, earlier: Any) -> ResidueTarget:
        labels = self.targets
        if not isinstance(labels, ResidueLabels):
            return earlier
        return earlier.weighed(y, labels.class_weight, labels.constraints)

    def make_model(self, encoder: PackedEncoder, n_outputs: int) -> ResidueModel:
        head = make_residue_head(self.head, encoder.width, n_outputs, self.head_hidden, self.head_dropout)
        return ResidueModel(encoder, head, LinearChainCRF(n_outputs) if self.head == "crf" else None)

    def encode(
        self, inputs: Inputs, target: ResidueTarget, dataset: Dataset, learned: np.ndarray
    ) -> TrainingData:
        targets = target.encode(dataset.y)
        return encode_residues(inputs, targets, dataset.weights, target.sizes(targets))

    def make_loss(self, model: Any, target: Any) -> Loss:
        if model.crf is None:
            return target.loss
        model.crf.constrain(**(target.constraints or dict.fromkeys(CONSTRAINTS)))

        def loss(outputs: Ragged, targets: Ragged) -> Tensor:
            emissions, mask = outputs.padded()
            return -model.crf.log_likelihood(emissions, targets.padded()[0], mask)

        return loss

    def decoder(self, model: Any, target: Any, extras: dict[str, np.ndarray]) -> Any:
        return target if isinstance(target, ResidueValueTarget) else LabelDecoder(model, target)


def encode_residues(inputs: Inputs, targets: Ragged, weights: np.ndarray, sizes: np.ndarray) -> TrainingData:
    """Training data with targets per residue; weights have a mean of 1 over the measured ones."""
    weights = (weights / np.average(weights, weights=sizes)).astype(np.float32)
    return TrainingData(inputs, targets, weights, sizes)


@dataclass(frozen=True)
class LabelDecoder:
    """How a classifier's outputs become labels and probabilities."""

    model: ResidueModel
    target: ResidueClassTarget

    @property
    def classes(self) -> np.ndarray:
        return self.target.classes

    @property
    def n_outputs(self) -> int:
        return self.target.n_outputs

    def decode(self, outputs: Ragged) -> np.ndarray:
        return self.target.decode(self.model.labels(outputs))

    def probabilities(self, outputs: Ragged) -> np.ndarray:
        return object_array([row.numpy() for row in self.model.probabilities(outputs).rows])


@dataclass(kw_only=True, eq=False, repr=False)
class IgnoreLabelParameters(BackboneParameters):
    """Which entries of y were not measured."""

    ignore_label: Any = None

    _parameter_constraints: ClassVar[dict] = {"ignore_label": "no_validation"}


@dataclass(kw_only=True, eq=False, repr=False)
class ResidueTransformer(TransformerMixin, HeadedEstimator, ABC):
    """A tuned estimator with one output per residue; see the concrete classes."""

    head: str = "linear"

    def transform(self, X: Any) -> np.ndarray:
        """Residue embeddings of the tuned backbone.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        ndarray of shape (n_proteins,), dtype object
            One float32 array of shape (L, width) per protein; nan for residues that
            ``long_sequences="truncate"`` cut off.
        """
        model = self._restored()
        read = model.embeddings(model.inputs(self._clean(X)[0], self._window))
        unread = torch.full((model.module.encoder.width,), torch.nan, dtype=read.values.dtype)
        whole = self._lengthened(read, X, unread)
        return object_array([row.numpy() for row in whole.rows])

    def _lengthened(self, read: Ragged, X: Any, unread: Tensor) -> Ragged:
        """With an entry for each residue that was cut off."""
        lengths = [len(sequence) for sequence in self._check_X(X)]
        if lengths == read.lengths:
            return read
        return Ragged.of(
            [torch.cat([row, unread.expand(n - len(row), -1)]) for row, n in zip(read.rows, lengths)]
        )


@dataclass(kw_only=True, eq=False, repr=False)
class ResidueEstimator(ResidueTransformer, IgnoreLabelParameters, ABC):
    """A tuned estimator of residues; see the concrete classes."""

    long_sequences: Literal["truncate", "window", "raise"] = "window"

    _parameter_constraints: ClassVar[dict] = {"head": [StrOptions(set(RESIDUE_HEADS) - {"crf"})]}

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
        """Tune the backbone and the head on proteins with targets per residue.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)
            Amino-acid sequences.
        y : list or array of targets, shape (n_proteins,)
            One str or array per protein, with an entry for each of its residues.
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

    def _residue_outputs(self, X: Any) -> Ragged:
        """Outputs for every residue; of those that were cut off, what is known without the sequence."""
        return self._lengthened(self._outputs(X), X, torch.from_numpy(self._target.unread()))


@dataclass(kw_only=True, eq=False, repr=False)
class PathParameters(BackboneParameters):
    """Which paths of labels a random field allows, and what ``predict`` returns."""

    constraints: Mapping | Literal["infer"] | None = None
    predict_output: Literal["label", "proba"] = "label"

    _parameter_constraints: ClassVar[dict] = {
        "constraints": [Mapping, StrOptions({"infer"}), None],
        "predict_output": [StrOptions({"label", "proba"})],
    }


@dataclass(kw_only=True, eq=False, repr=False)
class PLMResidueClassifier(ResidueEstimator, ClassWeightParameters, PathParameters, AdapterParameters):
    """Tune a protein language model to label every residue of a protein.

    For secondary structure, topology, binding sites or any other state per residue. The backbone gives one
    vector per residue, a head turns it into one score per class, and with ``head="crf"`` the labels of
    neighbours are scored together.

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
    constraints : "infer", mapping or None, default=None
        For ``head="crf"``: which labels may follow one another, begin and end a protein. "infer" allows
        exactly what the training labels show. A mapping holds some of "transitions" (pairs of labels),
        "starts" and "ends" (labels); what it lacks is free. None allows everything.
    predict_output : {"label", "proba"}, default="label"
        What ``predict`` returns. "proba" is for ``cross_val_predict``, whose own ``method="predict_proba"``
        cannot handle proteins of different lengths.
    class_weight : dict, "balanced" or None, default=None
        Weight of each class in the loss; "balanced" weighs by inverse frequency among the residues. Not with
        a CRF, whose loss is that of whole proteins.
    ignore_label : label, optional
        Entry of ``y`` for residues that were not measured, such as "-". Masked entries, None and nan are
        always taken as not measured.
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
        Highest learning rate of the head. None takes 1e-3, or ``lr`` where that is larger.
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
        Scorer of residues that chooses the best epoch: "residue_accuracy", "residue_mcc", or for numbers
        "residue_spearman"; None takes the validation loss.
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
    head : {"linear", "mlp", "cnn", "light_attention", "crf"}, default="linear"
        From the vector of a residue to its outputs. "linear": dropout, dense. "mlp": layer norm, dense, ReLU,
        dropout, dense. "cnn": two convolutions over 7 residues with tanh between them, as in SETH.
        "light_attention": convolutions over 9 residues and a learned summary of the protein. "crf": "linear"
        below a linear-chain conditional random field.
    head_hidden : int, optional
        Width of the head's hidden layer; None takes the backbone's width, 28 for "cnn" and 64 for
        "light_attention".
    head_dropout : float, default=0.1
        In [0, 1).
    standardize : bool, default=True
        Scale the features that enter the head by their mean and standard deviation over (at least 32,768 of)
        the training residues, measured before training.
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
    long_sequences : {"truncate", "window", "raise"}, default="window"
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
        Entries of ``X`` that are not protein sequences, labels of another length than their sequence,
        proteins without a measured residue, labels that break the constraints; all of them are named.
    TrainingDivergedError
        The loss became infinite or nan; the message names step and samples.

    See Also
    --------
    PLMResidueRegressor : The same for numbers.

    Notes
    -----
    Every measured residue of an optimiser step weighs the same, whatever protein it is in, and however the
    step is split to fit memory. Cost: one forward pass per protein and epoch, and one backward pass through
    the adapted layers. With ``adapter=Frozen()`` each protein is embedded once, as far as the cache has room.

    References
    ----------
    Schmirler, Heinzinger, Rost, Fine-tuning protein language models boosts predictions across diverse
    tasks, Nature Communications 2024, doi:10.1038/s41467-024-51844-2

    Examples
    --------
    >>> from plmlearn import PLMResidueClassifier
    >>> from plmlearn.datasets import make_residue_labels
    >>> X, y = make_residue_labels(20, missing=0.1, median_length=40, max_length=60, random_state=0)
    >>> clf = PLMResidueClassifier("mini", ignore_label="-", epochs=2, random_state=0).fit(X, y)
    >>> len(clf.predict(X)[0]) == len(X[0])
    True
    """

    _parameter_constraints: ClassVar[dict] = {"head": [StrOptions(set(RESIDUE_HEADS))]}

    def _task(self) -> ResidueTask:
        if self.head == "crf" and self.class_weight is not None:
            raise ValueError(
                "class_weight weighs residues, and a CRF scores whole proteins; pass class_weight=None, and "
                "sample_weight where some proteins should count for more."
            )
        if self.head != "crf" and self.constraints is not None:
            raise ValueError(f"constraints are those of a CRF; pass head='crf', got head={self.head!r}.")
        targets = ResidueLabels(self.class_weight, self.constraints)
        return ResidueTask(targets, self.head, self.head_hidden, self.head_dropout, self.ignore_label)

    @property
    def classes_(self) -> np.ndarray:
        """Labels, in the order of ``predict_proba``'s columns."""
        return self._fitted_classes()

    def predict(self, X: Any) -> np.ndarray:
        """The label of every residue: the most probable one, or that on the most probable path of a CRF.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        ndarray of shape (n_proteins,), dtype object
            As ``y`` was in ``fit``: one string per protein, or one array; as long as its (clean) sequence.
            Residues that ``long_sequences="truncate"`` cut off get the most frequent training label, or what
            the CRF makes of the frequencies. With ``predict_output="proba"`` what ``predict_proba`` returns.
        """
        self._check_parameters({"predict_output"})
        if self.predict_output == "proba":
            return self.predict_proba(X)
        return self._decoder().decode(self._residue_outputs(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each label at each residue; of a CRF the marginals.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        ndarray of shape (n_proteins,), dtype object
            One float64 array of shape (L, n_classes) per protein; its rows add up to 1.
        """
        return self._decoder().probabilities(self._residue_outputs(X))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of measured residues whose label is right: Q3 of three states.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)
        y : list or array of targets, one str or array per protein
        sample_weight : array-like of shape (n_proteins,), optional
            Weight of the residues of each protein.

        Returns
        -------
        float
        """
        true = check_residue_y(y, X, kind="labels", ignore_label=self.ignore_label)
        codes = self._fitted_target().codes(true)
        labels = self._decoder().model.labels(self._residue_outputs(X)).rows
        kept = [row != UNKNOWN for row in codes]
        right = [(row == found.numpy())[k] for row, found, k in zip(codes, labels, kept, strict=True)]
        weights = np.repeat(check_weights(sample_weight, len(codes)), [k.sum() for k in kept])
        if not weights.any():
            raise ValueError(
                "sample_weight is 0 for every protein with a measured residue; at least one must be positive."
            )
        return float(np.average(np.concatenate(right), weights=weights))

    def _decoder(self) -> LabelDecoder:
        return LabelDecoder(self._restored().module, self._target)


@dataclass(kw_only=True, eq=False, repr=False)
class PLMResidueRegressor(ResidueEstimator, AdapterParameters):
    """Tune a protein language model to predict numbers for every residue of a protein.

    For disorder, flexibility, accessibility or chemical shifts: one value per residue, or k of them. Targets
    are standardised for training; predictions have the units of ``y``.

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
    ignore_label : float, optional
        Entry of ``y`` for residues that were not measured, such as -999. nan, None and masked entries are
        always taken as not measured.
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
        Highest learning rate of the head. None takes 1e-3, or ``lr`` where that is larger.
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
        Scorer of residues that chooses the best epoch: "residue_accuracy", "residue_mcc", or for numbers
        "residue_spearman"; None takes the validation loss.
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
    head : {"linear", "mlp", "cnn", "light_attention"}, default="linear"
        From the vector of a residue to its outputs. "linear": dropout, dense. "mlp": layer norm, dense, ReLU,
        dropout, dense. "cnn": two convolutions over 7 residues with tanh between them, as in SETH.
        "light_attention": convolutions over 9 residues and a learned summary of the protein.
    head_hidden : int, optional
        Width of the head's hidden layer; None takes the backbone's width, 28 for "cnn" and 64 for
        "light_attention".
    head_dropout : float, default=0.1
        In [0, 1).
    standardize : bool, default=True
        Scale the features that enter the head by their mean and standard deviation over (at least 32,768 of)
        the training residues, measured before training.
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
    long_sequences : {"truncate", "window", "raise"}, default="window"
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
        Entries of ``X`` that are not protein sequences, values of another length than their sequence,
        proteins without a measured residue; all of them are named.
    TrainingDivergedError
        The loss became infinite or nan; the message names step and samples.

    See Also
    --------
    PLMResidueClassifier : The same for classes.

    Notes
    -----
    The loss is the squared error of standardised values; every measured residue of an optimiser step weighs
    the same. Cost as for :class:`PLMResidueClassifier`.

    References
    ----------
    Ilzhöfer, Heinzinger, Rost, SETH predicts nuances of residue disorder from protein embeddings,
    Frontiers in Bioinformatics 2022, doi:10.3389/fbinf.2022.1019597

    Examples
    --------
    >>> import numpy as np
    >>> from plmlearn import PLMResidueRegressor
    >>> X = ["MKTAYIAKQR", "GSHMLEDPVA"]
    >>> y = [np.array([np.nan, *range(9)]), np.arange(10.0)]
    >>> reg = PLMResidueRegressor("mini", epochs=1, random_state=0).fit(X, y)
    >>> [values.shape for values in reg.predict(X)]
    [(10,), (10,)]
    """

    def _task(self) -> ResidueTask:
        return ResidueTask(ResidueValues(), self.head, self.head_hidden, self.head_dropout, self.ignore_label)

    def predict(self, X: Any) -> np.ndarray:
        """Predicted values of every residue, in the units of ``y``.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        ndarray of shape (n_proteins,), dtype object
            One float64 array per protein, (L,) or (L, k), as long as its (clean) sequence. Residues that
            ``long_sequences="truncate"`` cut off get the mean of the training values.
        """
        return self._fitted_target().decode(self._residue_outputs(X))

    def score(self, X: Any, y: Any) -> float:
        """Spearman's rank correlation over all measured residues; the mean over columns where y has several.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)
        y : list of arrays, (L,) or (L, k), nan = not measured

        Returns
        -------
        float
        """
        true = check_residue_y(y, X, kind="values", ignore_label=self.ignore_label)
        self._fitted_target().encode(true)  # refuses another number of columns
        return residue_spearman(true, self.predict(X))
