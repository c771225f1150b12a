"""``PLMFitnessRegressor``: the likelihood of a protein language model, tuned to rank measured variants."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.utils._param_validation import Interval, StrOptions

from ..adapters import Frozen
from ..backbones import Backbone, BackboneWeightsError
from ..backbones.checkpoints import read_language_head
from ..estimators.dataset import Dataset
from ..estimators.loaded import LoadedModel
from ..estimators.parameters import AdapterParameters, adapter_of
from ..estimators.targets import check_value_y, check_weights
from ..estimators.task import Given, Task
from ..estimators.tuned import TunedEstimator
from ..messages import warn
from ..nn.encoders import PackedEncoder
from ..pretraining.mutations import marginal_ratios, pseudo_ratios
from ..pretraining.start import make_language_model, require_esm
from ..sequences import SequenceError, check_sequences
from ..sequences.clean import first_few
from ..sequences.variants import FIRST_SITE
from ..training.batching import Inputs
from ..training.devices import alone, resolve_device
from ..training.inference import drops_out, outputs_of
from ..training.steps import Loss, TrainingData
from .inputs import Strategy, VariantInputs, variant_inputs
from .losses import LOSSES
from .model import FitnessModel
from .target import Calibration, FitnessTarget
from .wild_type import consensus, read_table, write_out

_ANY_LENGTH = "pseudo-perplexity"


@dataclass(frozen=True)
class FitnessDecoder:
    """Scores of a model in training on the scale of the measurements: both have one mean and deviation."""

    model: FitnessModel
    target: FitnessTarget

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        mean, scale = (float(buffer) for buffer in (self.model.scaler.mean, self.model.scaler.scale))
        return self.target.mean[0] + self.target.scale[0] * (outputs[:, 0] - mean) / scale


@dataclass(frozen=True)
class FitnessTask(Task):
    """One measurement per variant, from the log-likelihood ratio of its residues."""

    backbone: Backbone
    wild_type: str
    loss: str
    kl: float
    train_head: bool

    def check(self, sequences: np.ndarray, given: Given) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        y = check_value_y(given.y, len(sequences))
        if y.ndim > 1:
            raise ValueError(f"y has shape {y.shape}; expected one measurement per variant, ({len(y)},).")
        return y, {}

    def learn(self, y: np.ndarray) -> FitnessTarget:
        if len(y) < 2:
            raise ValueError(
                f"y holds {len(y)} measurement; ranking needs at least 2. Without any, fit(X) alone scores "
                "variants by the untuned model."
            )
        if (y == y[0]).all():
            raise ValueError(
                f"All {len(y)} measurements in y (rows 0 to {len(y) - 1}) are {y[0]:g}, so there is nothing "
                "to rank. Pass variants that differ, or fit(X) alone."
            )
        return FitnessTarget.learn(self.wild_type, y)

    def make_model(self, encoder: PackedEncoder, n_outputs: int) -> FitnessModel:
        tensors = read_language_head(self.backbone)
        if not tensors:
            raise BackboneWeightsError(
                f"The checkpoint of {self.backbone.name!r} holds no language head (tensors lm_head.*). Train "
                "one: PLMMaskedLM(backbone, adapter=Frozen()).fit(proteins).save_pretrained(folder)."
            )
        model = make_language_model(encoder, self.backbone, tensors)
        model.lm_head.requires_grad_(self.train_head)
        return FitnessModel(encoder, model.lm_head, model.first_token)

    def encode(
        self, inputs: Inputs, target: FitnessTarget, dataset: Dataset, learned: np.ndarray
    ) -> TrainingData:
        """Put weights beside the measurements: the loss needs those of both variants of a pair."""
        weights = (dataset.weights / dataset.weights.mean()).astype(np.float32)
        targets = np.column_stack([target.encode(dataset.y)[:, 0], weights])
        return TrainingData(inputs, targets, np.ones(len(targets), dtype=np.float32))

    def make_loss(self, model: Any, target: FitnessTarget) -> Loss:
        rank = LOSSES[self.loss]

        def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            scores = outputs[:, :1]
            scores = (model.scaler(scores) if self.loss == "squared" else scores)[:, 0]
            return rank(scores, targets[:, 0], targets[:, 1]) + self.kl * outputs[:, 1]

        return loss

    def decoder(self, model: Any, target: FitnessTarget, extras: dict[str, np.ndarray]) -> FitnessDecoder:
        return FitnessDecoder(model, target)


@dataclass(kw_only=True, eq=False, repr=False)
class FitnessParameters(AdapterParameters):
    """How variants are scored, and how the scores are tuned."""

    wild_type: str | None = None
    first_site: int = 1
    strategy: Strategy = "wt-marginal"
    loss: Literal["ranking", "listwise", "squared"] = "ranking"
    kl: float = 0.1
    calibrate: Calibration | None = "linear"
    train_head: bool = False

    _parameter_constraints: ClassVar[dict] = {
        "wild_type": [str, None],
        "first_site": FIRST_SITE,
        "strategy": [StrOptions({"wt-marginal", "masked-marginal", "pseudo-perplexity"})],
        "loss": [StrOptions(set(LOSSES))],
        "kl": [Interval(Real, 0, None, closed="left")],
        "calibrate": [StrOptions({"linear", "isotonic"}), None],
        "train_head": ["boolean"],
    }


@dataclass(kw_only=True, eq=False, repr=False)
class PLMFitnessRegressor(RegressorMixin, TunedEstimator, FitnessParameters):
    """Rank the variants of one protein by the likelihood of a protein language model, tuned to do so.

    A masked language model tells how plausible each residue is at each site, and so ranks variants before
    any is measured. This estimator starts there and tunes that very likelihood, so that variants measured as
    better become more likely than worse ones. A fresh head on embeddings would start from nothing, which
    matters with tens to hundreds of variants.

    Parameters
    ----------
    backbone : str or PathLike, default="esm2-8m"
        Masked language model of the ESM architecture with its language head: "mini" (bundled, works offline),
        a short name such as "esm2-35m", a Hugging Face id, or a folder such as
        :meth:`PLMMaskedLM.save_pretrained` writes, for example of a model continued on the protein's family.
    adapter : Adapter, str or peft.PeftConfig, optional
        How the backbone is adapted; any class of :mod:`plmlearn.adapters`: LoRA (also for None), DoRA,
        AdaLoRA, VeRA, IA3, PrefixTuning, PromptTuning, Bottleneck, LayerNormTuning, FullFineTuning, Frozen,
        PeftAdapter. A name such as "ia3" or "full_fine_tuning" takes that class with its defaults, a
        configuration of peft is put into PeftAdapter. The parameters of an adapter, also of the default one,
        can be searched as ``adapter__rank``.
    wild_type : str, optional
        Sequence that variants are compared with. None takes the commonest residue of each column of ``X``,
        and says so; then ``X`` holds sequences of one length.
    first_site : int, default=1
        Number of the wild type's first residue in mutations such as "A23V": 24 where the table counts the
        precursor and ``wild_type`` begins with its residue 24.
    strategy : {"wt-marginal", "masked-marginal", "pseudo-perplexity"}, default="wt-marginal"
        How a variant is scored. The marginals add log p(new) - log p(wild type) over the substituted sites,
        where p comes from the wild type as it is, or with that site hidden. "pseudo-perplexity" compares the
        log-likelihoods of the whole variant and of the wild type, each residue hidden alone; it alone takes
        insertions and deletions.
    loss : {"ranking", "listwise", "squared"}, default="ranking"
        "ranking": Bradley-Terry over all pairs of a step, ties left out. "listwise": Plackett-Luce over the
        order of a step. "squared": squared difference of standardised scores and measurements.
    kl : float, default=0.1
        Weight of the mean Kullback-Leibler divergence, in nats per site, from the untuned model at the sites
        of a step. Larger values keep the model near it: worth it where zero-shot scores are good and variants
        few.
    calibrate : {"linear", "isotonic"} or None, default="linear"
        Map from scores to the scale of ``y``, learned on the training variants: least squares, or a monotone
        step function. None predicts the scores. Only "isotonic" can tie what scores tell apart.
    train_head : bool, default=False
        Train the language head too.
    epochs : int, default=100
        Passes over the training variants. With few variants an epoch is few steps; with thousands, or with
        another strategy than "wt-marginal", fewer epochs will do.
    lr : float, optional
        Highest learning rate of the adapter. None takes 0.3 of what suits the method elsewhere (3e-4 for
        LoRA, 3e-5 for full fine-tuning), so that few variants do not undo what the model knew.
    batch_size : int, default=32
        Variants per optimiser step, which are ranked among themselves.

    Attributes
    ----------
    wild_type_ : str
        The sequence that variants are compared with.
    history_ : list of dict
        One entry per epoch: train_loss, valid_loss, valid_score, lr, seconds, residues_per_second (of the
        variants). Empty where nothing was trained.
    best_epoch_ : int
        Epoch whose tensors were kept (the last one without validation); 0 where nothing was trained.
    best_score_ : float or None
        Its validation score.
    n_trainable_parameters_, n_parameters_ : int
        Trained parameters, and all.
    n_truncated_ : int
        Always 0: longer proteins are refused.
    backbone_fingerprint_ : str
        Digest of the frozen weights; predictions refuse others.

    Other Parameters
    ----------------
    head_lr : float, optional
        With ``train_head``: highest learning rate of the language head. None takes 1e-3, or ``lr`` where that
        is larger.
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
        Hold out ``validation_fraction`` of the variants (or whole ``groups``), stop after ``patience`` epochs
        without improvement and keep the best epoch.
    validation_fraction : float, default=0.1
        Share of the proteins to hold out, in (0, 1).
    patience : int, default=5
        Epochs without improvement after which training stops.
    scoring : str or callable, default="spearman"
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
    max_length : int, default=1022
        Residues of the longest protein, at most 10,000.
    long_sequences : {"raise"}, default="raise"
        The only choice: longer proteins are refused.
    invalid : {"raise", "replace"}, default="raise"
        What to do with characters of ``wild_type`` that do not denote a residue: refuse them, or read them
        as X.
    max_tokens : int or "auto", default="auto"
        Tokens that go through the model at once; a larger step is split and its gradients are added up.
        Memory grows with it. Results do not depend on it, except that an adapter's dropout draws
        its masks part by part. Halved, with a warning, when memory runs out.
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
        Variants that contradict the wild type, name sites that it has not, hold a stop codon or differ in
        length without ``strategy="pseudo-perplexity"``; all of them are named.
    ValueError
        Fewer than two measurements, or all of them equal.
    BackboneWeightsError
        The checkpoint has no language head. :class:`PLMMaskedLM` trains one.
    TrainingDivergedError
        The loss became infinite or nan; the message names step and samples.

    See Also
    --------
    PLMMaskedLM : Trains a language model, and scores mutations without labels.
    PLMRegressor : A fresh head on the tuned encoder, for proteins that are not variants of one.
    plmlearn.baselines.AdditiveMutationRegressor : A baseline on the residues alone.

    Notes
    -----
    Without ``y``, ``fit(X)`` trains nothing, and ``predict`` gives exactly the ``mutation_scores`` of
    ``PLMMaskedLM(backbone, adapter=Frozen(), max_steps=0)``. With ``adapter=Frozen()`` and ``y`` nothing is
    trained either, and only the map of ``calibrate`` is learned. ``score`` is R², as of every regressor; pass
    ``scoring="spearman"`` to cross-validation.

    Cost of an optimiser step, in passes over one protein, forward and backward: one for "wt-marginal" however
    many variants there are, one per mutated site for "masked-marginal", and one per residue of each variant
    and of the wild type for "pseudo-perplexity". ``predict`` needs as many forward passes, also of 100,000
    variants.

    References
    ----------
    Hawkins-Hooker, Kmec, Bent, Duckworth, Likelihood-based fine-tuning of protein language models for
    few-shot fitness prediction and design, 2024, doi:10.1101/2024.05.28.596156

    Meier et al., Language models enable zero-shot prediction of the effects of mutations on protein function,
    NeurIPS 2021, doi:10.1101/2021.07.09.450648

    Brandes et al., Genome-wide prediction of disease variant effects with a deep protein language model,
    Nature Genetics 2023, doi:10.1038/s41588-023-01465-0

    Examples
    --------
    >>> from plmlearn import PLMFitnessRegressor
    >>> wild_type = "MKTAYIAKQRQISFVKSHFSRQLEERLGLI"
    >>> X, y = ["K2R", "A4V:I6L", "Y5W", "WT"], [-0.2, 0.6, -1.4, 0.0]
    >>> model = PLMFitnessRegressor("mini", wild_type=wild_type, random_state=0, verbose=0)
    >>> model.fit(X, y).predict(["I6L", "A4V:Y5W"]).shape
    (2,)
    """

    epochs: int = 100
    batch_size: int = 32
    scoring: str | Callable | None = "spearman"
    long_sequences: Literal["raise"] = "raise"  # type: ignore[assignment]

    _parameter_constraints: ClassVar[dict] = {"long_sequences": [StrOptions({"raise"})]}
    _lr_factor: ClassVar[float] = 0.3

    # -- fit ----------------------------------------------------------------------------------

    @alone()  # a step's loss compares all its variants: shares of it would leave pairs out
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        groups: Any = None,
    ) -> Self:
        """Tune the model on measured variants, or take it as it is where nothing is measured.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_variants,)
            Sequences, or substitutions such as "A23V:G41D", sites counted from ``first_site``; "WT" is the
            wild type.
        y : array-like of shape (n_variants,), optional
            Measurements, the higher the better. None is zero-shot: nothing is trained.
        sample_weight : array-like of shape (n_variants,), optional
            Weight of each variant; a pair weighs the product of both. Variants of weight 0 are left out.
        X_val, y_val : optional
            A validation set of your own; the epoch that ranks it best is kept.
        sample_weight_val : array-like, optional
            Weights of the validation variants in the validation loss.
        groups : array-like of shape (n_variants,), optional
            Groups that the inner validation split must not cut (with ``early_stopping``), such as sites.

        Returns
        -------
        self
        """
        self._check_parameters()
        self._wild_type = self._find_wild_type(X)
        if y is None:
            passed = {"sample_weight": sample_weight, "X_val": X_val, "y_val": y_val, "groups": groups}
            passed["sample_weight_val"] = sample_weight_val
            if useless := [name for name, value in passed.items() if value is not None]:
                raise ValueError(
                    f"y is None, so that nothing is trained, and {', '.join(useless)} is passed. Pass y "
                    "too, or X alone."
                )
            self._check_X(X)  # or an error
            return self._stay_untuned()
        self._fit(Given(X, y, sample_weight, groups), Given(X_val, y_val, sample_weight_val))
        self._calibrate(self._check_X(X), y, sample_weight)
        return self

    def _find_wild_type(self, X: Any) -> str:
        """The one given, or the consensus of X."""
        if self.wild_type is None:
            return consensus(X)
        wild_type = check_sequences([self.wild_type], invalid=self.invalid)
        _refuse_longer(wild_type, int(self.max_length), "wild_type")
        return wild_type[0]

    def _check_X(self, X: Any) -> np.ndarray:
        """Variants written out."""
        known = vars(self).get("_wild_type") or getattr(self, "wild_type_", None)
        wild_type = known or self._find_wild_type(X)
        any_length = self.strategy == _ANY_LENGTH
        return write_out(wild_type, X, any_length=any_length, first_site=int(self.first_site))

    def _clean(self, X: Any) -> tuple[np.ndarray, int]:
        variants = self._check_X(X)
        _refuse_longer(variants, int(self.max_length))
        return variants, 0

    @property
    def _continues(self) -> bool:
        """An untuned fit has nothing to continue, and another wild type is another model."""
        if not super()._continues or not self.n_trainable_parameters_:
            return False
        if self._target.wild_type != self._wild_type:
            raise ValueError(
                "warm_start=True continues a fit on another wild type than that of now. Pass the same "
                "wild_type, or warm_start=False."
            )
        return True

    def _keep(self, model: LoadedModel, target: Any, history: list[dict], n_truncated: int) -> None:
        model.known.clear()  # it has been trained since
        super()._keep(model, target, history, n_truncated)

    def _stay_untuned(self) -> Self:
        """Fitted without training: the backbone as it is."""
        untuned = self._untuned()
        plain = untuned._plain()
        model = plain._build(plain._task(), 1)
        target = FitnessTarget.learn(self._wild_type, np.zeros(1))
        untuned._keep(model, target, [], 0)
        given = self.get_params(deep=False)
        for name in vars(untuned).keys() - given.keys():
            setattr(self, name, getattr(untuned, name))
        return self

    def _untuned(self) -> Self:
        """A copy that trains nothing."""
        copied = copy.copy(self)
        copied.adapter, copied.train_head = Frozen(), False
        return copied

    def _calibrate(self, X: np.ndarray, y: Any, sample_weight: Any) -> None:
        """Learn how the scores of measured variants become predictions."""
        y, weights = check_value_y(y, len(X)), check_weights(sample_weight, len(X))
        used = np.flatnonzero(weights)
        scores = self.mutation_scores(X[used])
        self._target = self._target.calibrated(self.calibrate, scores, y[used], weights[used])
        ends = self._target.values
        if ends[0] > ends[-1]:
            found = np.corrcoef(scores, y[used])[0, 1]
            warn(
                f"The model's scores fall where y rises (correlation {found:.2f} over {len(used)} variants), "
                "and so predictions fall where likelihood rises. Expected: the higher y, the better. Pass -y "
                "if lower is better, or calibrate=None for the scores."
            )

    def _task(self) -> FitnessTask:
        backbone = self._load_backbone(self.backbone, resolve_device(self.device))
        require_esm(backbone)
        wild_type = vars(self).get("_wild_type", "")
        return FitnessTask(backbone, wild_type, self.loss, self.kl, self.train_head)

    def _inputs(self, model: LoadedModel, sequences: np.ndarray) -> VariantInputs:
        return variant_inputs(model.backbone, self._wild_type, sequences, self.strategy)

    def _inputs_to_train(self, model: LoadedModel, sequences: np.ndarray) -> VariantInputs:
        inputs = self._inputs(model, sequences)
        if not (self.kl and model.n_trainable_parameters):
            return inputs
        untuned = self._untuned()
        before = untuned._build(untuned._task(), 1)
        return replace(inputs, reference=inputs.sequences.reference(before.module, before.config))

    def _learn_scale(self, model: LoadedModel, data: TrainingData) -> None:
        scores = outputs_of(model.module, data.inputs, model.config)[:, :1]
        model.module.scaler.learn(torch.from_numpy(scores).to(model.config.device))

    def _idle(self, validates: bool) -> dict[str, str]:
        idle = super()._idle(validates)
        if not self.train_head:
            idle["head_lr"] = "is that of the language head, and train_head=False keeps it"
            if isinstance(adapter_of(self), Frozen):
                names = ("epochs", "lr", "batch_size", "loss", "kl")
                idle |= dict.fromkeys(names, "is for training, and Frozen() trains nothing")
        return idle

    # -- predict ------------------------------------------------------------------------------

    @property
    def wild_type_(self) -> str:
        """The sequence that variants are compared with."""
        return self._fitted_target().wild_type

    def mutation_scores(self, X: Any) -> np.ndarray:
        """Log-likelihood ratio of each variant to the wild type, by the tuned model.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_variants,)
            Sequences, or substitutions such as "A23V:G41D".

        Returns
        -------
        ndarray of float, shape (n_variants,)
            In nats; 0 for the wild type.
        """
        model, wild_type = self._restored(), self.wild_type_
        fitted = self._as_fitted()
        strategy, first_site = fitted.strategy, int(fitted.first_site)
        language_model = model.module.language_model
        if strategy == _ANY_LENGTH:
            variants = write_out(wild_type, X, any_length=True, first_site=first_site)
            _refuse_longer(variants, int(self.max_length))
            return pseudo_ratios(language_model, model.backbone, model.config, wild_type, variants)
        hide = strategy == "masked-marginal"
        table = read_table(wild_type, X, first_site=first_site)
        known = {} if drops_out() else model.known
        return marginal_ratios(language_model, model.backbone, model.config, table, hide=hide, known=known)

    def predict(self, X: Any) -> np.ndarray:
        """Fitness of each variant, on the scale of ``y``.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_variants,)
            Sequences, or substitutions such as "A23V:G41D".

        Returns
        -------
        ndarray of float, shape (n_variants,)
            :meth:`mutation_scores`, mapped as ``calibrate`` says.
        """
        return self._fitted_target().decode(self.mutation_scores(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        tags.target_tags.multi_output = False
        return tags


def _refuse_longer(sequences: np.ndarray, max_length: int, name: str = "X") -> None:
    long = [row for row, sequence in enumerate(sequences) if len(sequence) > max_length]
    if long:
        shown = first_few((f"{row} ({len(sequences[row])} residues)" for row in long), n=5)
        raise SequenceError(
            f"{name} has sequences that are longer than max_length={max_length} (rows {shown}). Raise "
            "max_length (at most 10000), or pass the part that is mutated alone, with its first_site.",
            long,
        )
