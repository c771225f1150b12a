"""An estimator of signal peptides: their type, their regions and where they are cut off."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils._param_validation import Interval, StrOptions

from ..metrics import cleavage_site
from ..nn.encoders import PackedEncoder
from ..nn.packing import Ragged
from ..nn.residue_heads import RESIDUE_HEADS, make_residue_head
from ..sequences import SequenceError, check_residue_targets
from ..sequences.clean import is_missing, object_array, residues_of
from ..training.batching import Inputs
from ..training.steps import Loss, TrainingData
from .dataset import Dataset, warn_of_conflicts
from .parameters import AdapterParameters, BackboneParameters, ClassWeightParameters
from .protein import Labels
from .residue import IgnoreLabelParameters, ResidueTransformer, encode_residues
from .signal_paths import (
    KINGDOMS,
    PathLoss,
    SignalPeptideDecoder,
    SignalPeptideModel,
    SignalPeptideTarget,
    as_codes,
)
from .signal_states import (
    CHAINS,
    LETTERS,
    REGIONS,
    STATES,
    allowed_states,
    rows_without_path,
    starts,
    transitions,
)
from .targets import ClassTarget, check_class_y, check_length, used_rows
from .task import Given, Task


@dataclass(frozen=True)
class SignalPeptideTask(Task):
    """A type, regions and a cleavage site for each protein."""

    head: str
    head_hidden: int | None
    head_dropout: float
    ignore_label: Any
    max_length: int
    class_weight: Any
    composition_weight: float

    def check(self, sequences: np.ndarray, given: Given) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        y = _check_types(given.y, len(sequences))
        used = used_rows(given.sample_weight, len(y))
        warn_of_conflicts(sequences[used], y[used], used)
        states = self._allowed_states(given.X, sequences, y, given.extras["regions"])
        kingdom = _check_kingdoms(given.extras["kingdom"], len(sequences))
        return y, {"states": object_array(states), "kingdom": kingdom}

    def _allowed_states(self, X: Any, sequences: np.ndarray, y: np.ndarray, regions: Any) -> list[np.ndarray]:
        """States that each residue may be in by type and labels, or one error."""
        labels: list = [None] * len(y)
        if regions is not None:
            rows = check_residue_targets(regions, X, ignore_label=self.ignore_label)
            labels = [np.ma.filled(row.astype(object), "")[: self.max_length] for row in rows]
        states = [allowed_states(*row) for row in zip(map(residues_of, sequences), y, labels, strict=True)]
        lost = rows_without_path(states)
        if lost:
            shown = "; ".join(f"row {row}, a protein of type {y[row]}" for row in lost[:10])
            raise SequenceError(
                f"The regions of {len(lost)} proteins are none that their type can have: {shown}. A signal "
                "peptide (S, L, T or P by its type) begins at the first residue and is followed by O; a "
                "protein of type NO_SP has I, M and O, the first of them I or O. Correct them, or leave "
                "those proteins out.",
                lost,
            )
        return states

    def learn(self, y: np.ndarray) -> SignalPeptideTarget:
        return SignalPeptideTarget(ClassTarget.learn(y).classes)

    def make_model(self, encoder: PackedEncoder, n_outputs: int) -> SignalPeptideModel:
        head = make_residue_head(self.head, encoder.width, len(STATES), self.head_hidden, self.head_dropout)
        return SignalPeptideModel(encoder, head)

    def encode(
        self, inputs: Inputs, target: SignalPeptideTarget, dataset: Dataset, learned: np.ndarray
    ) -> TrainingData:
        target.encode(dataset.y)  # refuses types that training did not have
        residues = map(residues_of, dataset.sequences)
        known = zip(dataset.extras["states"], residues, dataset.extras["kingdom"], strict=True)
        targets = Ragged.of([as_codes(*sample) for sample in known])
        weights = dataset.weights * Labels(self.class_weight).balance(dataset.y, learned)
        return encode_residues(inputs, targets, weights, np.array(targets.lengths, dtype=np.float64))

    def make_loss(self, model: Any, target: SignalPeptideTarget) -> Loss:
        model.crf.constrain(transitions(), starts(target.classes.tolist()), np.ones(len(STATES), dtype=bool))
        return PathLoss(model, self.composition_weight)

    def decoder(
        self, model: Any, target: SignalPeptideTarget, extras: dict[str, np.ndarray]
    ) -> SignalPeptideDecoder:
        return SignalPeptideDecoder(model, target, extras["kingdom"])


@dataclass(kw_only=True, eq=False, repr=False)
class SignalParameters(BackboneParameters):
    """The regulariser, and what ``predict`` returns."""

    composition_weight: float = 0.5
    predict_output: Literal["label", "proba"] = "label"

    _parameter_constraints: ClassVar[dict] = {
        "composition_weight": [Interval(Real, 0, None, closed="left")],
        "predict_output": [StrOptions({"label", "proba"})],
    }


@dataclass(kw_only=True, eq=False, repr=False)
class PLMSignalPeptideClassifier(
    ClassifierMixin,
    ResidueTransformer,
    ClassWeightParameters,
    SignalParameters,
    IgnoreLabelParameters,
    AdapterParameters,
):
    """Tune a protein language model to find signal peptides: their type, regions and cleavage site.

    A signal peptide at the start of a protein sends it out of the cell or into a membrane, and is cut off.
    The backbone gives one vector per residue, a head one score per state, and a conditional random field
    allows only paths that exist in biology: 37 states in six chains, one per type, each from the n-region
    through the hydrophobic core to the cleavage site and the mature protein. The probability of a type is the
    summed probability of all paths through its chain; regions and site are those of the best path of that
    type.

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
    ignore_label : str, optional
        Letter of ``regions`` for residues that were not measured.
    composition_weight : float, default=0.5
        Weight of the regulariser of SignalP 6, by which neighbouring regions differ in their amino acids: the
        cosine similarity of their expected compositions, added to the negative log-likelihood of a protein. 0
        leaves it out, and halves the time that the random field takes.
    predict_output : {"label", "proba"}, default="label"
        What ``predict`` returns. "proba" is for ``cross_val_predict``, whose own ``method="predict_proba"``
        replaces the types by numbers.
    class_weight : dict, "balanced" or None, default=None
        Weight of each type in the loss; "balanced" weighs by inverse frequency.
    epochs : int, default=10
        Passes over the training proteins.
    lr : float, optional
        Highest learning rate of the adapter. None takes what suits the method (1e-3 for LoRA, 1e-4 for full
        fine-tuning).
    batch_size : int, default=16
        Proteins per optimiser step. It does not change the memory needed: see ``max_tokens``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_types,)
        Types of the training proteins, in the order of the columns of ``predict_proba``.
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
    head : {"linear", "mlp", "cnn", "light_attention"}, default="linear"
        From the vector of a residue to the scores of its states, below the random field. "linear": dropout,
        dense. "mlp": layer norm, dense, ReLU, dropout, dense. "cnn": two convolutions over 7 residues with
        tanh between them, as in SETH. "light_attention": convolutions over 9 residues and a learned summary
        of the protein.
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
    max_length : int, default=70
        Residues read of each protein, from the first. The rest plays no part.
    long_sequences : {"truncate"}, default="truncate"
        The only choice: the first ``max_length`` residues are read.
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
    ValueError
        Types other than the six, or kingdoms other than the four.
    SequenceError
        Entries of ``X`` that are not protein sequences, regions of another length than their sequence, or
        that no protein of their type can have; all of them are named.
    TrainingDivergedError
        The loss became infinite or nan; the message names step and samples.

    See Also
    --------
    PLMResidueClassifier : Any other labels of residues.

    Notes
    -----
    The labels of public data do not hold the regions n, h and c. Training sums over all ways to place them
    that agree with the labels and with a few rules; see :mod:`plmlearn.estimators.signal_states`.

    References
    ----------
    Teufel et al., SignalP 6.0 predicts all five types of signal peptides using protein language models,
    Nature Biotechnology 2022, doi:10.1038/s41587-021-01156-3

    Zeng, Wang, Xu, Parameter-efficient fine-tuning on large protein language models improves signal peptide
    prediction, Genome Research 2024, doi:10.1101/gr.279132.124

    Examples
    --------
    >>> from plmlearn import PLMSignalPeptideClassifier
    >>> X = ["MKRLLVLLALLLVAASAQADDETKPE", "MSTEEQKRNDPEEAGKDDSSQTEPR"] * 4
    >>> y = ["SP", "NO_SP"] * 4
    >>> regions = ["S" * 18 + "O" * 8, "I" * 25] * 4
    >>> clf = PLMSignalPeptideClassifier("mini", epochs=1, random_state=0).fit(X, y, regions=regions)
    >>> clf.predict_proba(X).shape, len(clf.predict_cleavage_site(X))
    ((8, 2), 8)
    """

    max_length: int = 70
    long_sequences: Literal["truncate"] = "truncate"

    _reads_starts: ClassVar[bool] = True
    _parameter_constraints: ClassVar[dict] = {
        "head": [StrOptions(set(RESIDUE_HEADS) - {"crf"})],
        "max_length": [Interval(Integral, 1, 10_000, closed="both")],
        "long_sequences": [StrOptions({"truncate"})],
    }

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        regions: Any = None,
        kingdom: Any = None,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        regions_val: Any = None,
        kingdom_val: Any = None,
        sample_weight_val: Any = None,
        groups: Any = None,
    ) -> Self:
        """Tune the backbone, the head and the random field.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)
            Sequences from their first residue; ``max_length`` residues are read.
        y : array of shape (n_proteins,)
            NO_SP, SP (Sec/SPI), LIPO (Sec/SPII), TAT (Tat/SPI), TATLIPO (Tat/SPII) or PILIN (Sec/SPIII).
        regions : list of str or of arrays, one label per residue, optional
            S, L, T and P signal peptide (Sec/SPI, Sec/SPII, Tat, Sec/SPIII), I inside the cell, M in the
            membrane, O outside. Without them the model learns the types alone, and the cleavage site is a
            guess.
        kingdom : array of shape (n_proteins,), optional
            EUKARYA, ARCHAEA, POSITIVE or NEGATIVE (bacteria by Gram), None where it is not known: prior
            knowledge of which types a protein can have.
        sample_weight : array of shape (n_proteins,), optional
            Weight of each protein in the loss; proteins of weight 0 are left out.
        X_val, y_val, regions_val, kingdom_val, sample_weight_val : optional
            A validation set of your own; the epoch that is best on it is kept.
        groups : array of shape (n_proteins,), optional
            Clusters that the inner validation split must not cut (with ``early_stopping``).

        Returns
        -------
        self
        """
        extras = {"regions": regions, "kingdom": kingdom}
        extras_val = {"regions": regions_val, "kingdom": kingdom_val}
        return self._fit(
            Given(X, y, sample_weight, groups, extras),
            Given(X_val, y_val, sample_weight_val, None, extras_val),
        )

    def _task(self) -> SignalPeptideTask:
        return SignalPeptideTask(
            self.head,
            self.head_hidden,
            self.head_dropout,
            self.ignore_label,
            self.max_length,
            self.class_weight,
            self.composition_weight,
        )

    # -- predict ------------------------------------------------------------------------------

    @property
    def classes_(self) -> np.ndarray:
        """Types, in the order of ``predict_proba``'s columns."""
        return self._fitted_classes()

    def predict(self, X: Any, kingdom: Any = None) -> np.ndarray:
        """The most probable type of each protein.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)
        kingdom : array of shape (n_proteins,), optional

        Returns
        -------
        ndarray of shape (n_proteins,)
        """
        self._check_parameters({"predict_output"})
        if self.predict_output == "proba":
            return self.predict_proba(X, kingdom)
        decoder, outputs = self._read(X, kingdom)
        return decoder.decode(outputs)

    def predict_proba(self, X: Any, kingdom: Any = None) -> np.ndarray:
        """Probability of each type.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)
        kingdom : array of shape (n_proteins,), optional

        Returns
        -------
        ndarray of shape (n_proteins, n_types)
            Rows add up to 1.
        """
        decoder, outputs = self._read(X, kingdom)
        return decoder.probabilities(outputs)

    def predict_regions(self, X: Any, kingdom: Any = None, *, detailed: bool = False) -> np.ndarray:
        """Label of every residue read, on the most probable path of the predicted type.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)
        kingdom : array of shape (n_proteins,), optional
        detailed : bool, default=False
            Tell n-, h- and c-regions, twin arginines and lipoboxes apart, by the letters of
            :mod:`plmlearn.estimators.signal_states`; else signal peptides are S, L, T or P throughout.

        Returns
        -------
        ndarray of shape (n_proteins,), dtype object
            One string for the first ``max_length`` residues of each protein.
        """
        decoder, outputs = self._read(X, kingdom)
        letters = REGIONS if detailed else LETTERS
        return object_array(["".join(letters[path]) for path in decoder.paths(outputs)])

    def predict_region_proba(
        self, X: Any, kingdom: Any = None, *, detailed: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Probability of each label at every residue read: marginals of the random field.

        Parameters
        ----------
        X, kingdom, detailed
            As in :meth:`predict_regions`.

        Returns
        -------
        probabilities : ndarray of shape (n_proteins,), dtype object
            One array (L, n_labels) per protein; rows add up to 1.
        labels : ndarray of shape (n_labels,)
            Letters of the columns.
        """
        decoder, outputs = self._read(X, kingdom)
        letters = REGIONS if detailed else LETTERS
        labels = np.unique(letters)
        belongs = (letters[:, None] == labels).astype(float)
        return object_array([row.numpy() @ belongs for row in decoder.states(outputs).rows]), labels

    def predict_cleavage_site(self, X: Any, kingdom: Any = None) -> np.ndarray:
        """Where signal peptides are cut off, on the most probable path of the predicted type.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)
        kingdom : array of shape (n_proteins,), optional

        Returns
        -------
        ndarray of int, shape (n_proteins,)
            Number, from 1, of the residue after which a protein is cut; 0 where there is no signal peptide.
        """
        return np.array([cleavage_site(regions)[0] for regions in self.predict_regions(X, kingdom)])

    def _read(self, X: Any, kingdom: Any) -> tuple[SignalPeptideDecoder, Ragged]:
        model = self._restored()
        outputs = self._outputs(X)
        kingdoms = _check_kingdoms(kingdom, len(outputs))
        return SignalPeptideDecoder(model.module, self._target, kingdoms), outputs


def _check_types(y: Any, n_rows: int) -> np.ndarray:
    y = check_class_y(y, n_rows)
    unknown = sorted({str(kind) for kind in np.ravel(y).tolist()} - set(CHAINS))
    if unknown or y.ndim > 1:
        raise ValueError(
            f"y has the types {unknown[:5]}; expected one of {', '.join(CHAINS)} for each protein."
        )
    return y


def _check_kingdoms(kingdom: Any, n_rows: int) -> np.ndarray:
    """Index of each protein's kingdom, -1 where it is not known."""
    if kingdom is None:
        return np.full(n_rows, -1)
    names = check_length(kingdom, n_rows, "kingdom").tolist()
    codes = [-1 if is_missing(name) or name not in KINGDOMS else KINGDOMS.index(name) for name in names]
    unknown = sorted({str(name) for name in names if not is_missing(name) and name not in KINGDOMS})
    if unknown:
        raise ValueError(
            f"kingdom has {unknown[:5]}; expected {', '.join(KINGDOMS)}, or None for each protein."
        )
    return np.array(codes)
