"""What all tuned estimators share: one fit, one road to a prediction, one small state.

``fit`` cleans the sequences, encodes the targets, builds a model that shares the frozen backbone,
trains it and keeps the trained tensors alone. Everything else (predict, pickle, save) starts from
those tensors; the model is rebuilt when it is first needed.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import safetensors.torch
import torch
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ..adapters import Adapter
from ..backbones import Backbone, check_fingerprint, load_backbone
from ..backbones.quantization import QUANTIZATIONS
from ..nn.encoders import PackedEncoder, make_encoder
from ..nn.heads import HEADS
from ..nn.models import learned_tensors, load_learned
from ..sequences import check_sequences, truncate
from ..training.batching import TokenizedSequences
from ..training.config import TrainingConfig
from ..training.devices import PRECISIONS, resolve_device, resolve_precision
from ..training.engine import OPTIMIZERS, Loss, TrainingData, TuningNet, train
from ..training.inference import outputs_of
from ..training.memory import MemoryEstimate, auto_max_tokens, estimate_memory
from ..training.progress import ProgressBar
from ..training.reuse import reuse_frozen
from ..training.schedules import SCHEDULES
from .dataset import Dataset
from .scoring import make_score
from .shared_docs import BLOCKS, PARAMETERS, retell
from .targets import Target, check_length, check_weights


@dataclass
class _Live:
    """A model ready to run: rebuilt from the trained tensors, never pickled."""

    model: Any  # one of plmlearn.nn.models
    backbone: Backbone
    plan: TrainingConfig
    where: tuple  # device, precision and max_tokens asked for

    @property
    def n_parameters(self) -> int:
        """All of the model's; a quantized backbone holds fewer, larger numbers than it stands for."""
        held, of_backbone = (
            sum(p.numel() for p in module.parameters()) for module in (self.model, self.backbone.model)
        )
        return held - of_backbone + self.backbone.n_parameters


@dataclass(kw_only=True, eq=False, repr=False)
class BasePLMEstimator(BaseEstimator, ABC):
    """Parameters and methods of every tuned estimator; see the concrete classes."""

    backbone: str = field(default="esm2-8m", kw_only=False)
    revision: str | None = None
    backbone_init: str = "pretrained"
    layer_mixing: bool = False
    head: str = "esm"
    head_hidden: int | None = None
    head_dropout: float = 0.1
    standardize: bool = True
    epochs: int = 10
    lr: float | None = None
    head_lr: float | None = None
    weight_decay: float = 0.01
    optimizer: str = "adamw"
    schedule: str = "linear"
    warmup: float = 0.1
    batch_size: int = 16
    max_tokens: int | str = "auto"
    gradient_clip: float | None = 1.0
    early_stopping: bool = False
    validation_fraction: float = 0.1
    patience: int = 5
    scoring: Any = None
    precision: str = "auto"
    quantization: str | None = None
    gradient_checkpointing: bool = False
    compile: bool = False
    max_length: int = 1022
    long_sequences: str = "truncate"
    invalid: str = "raise"
    device: str = "auto"
    callbacks: Sequence | None = None
    random_state: Any = None
    verbose: int = 1
    warm_start: bool = False

    _parameter_constraints: ClassVar[dict] = {
        "backbone": [str],
        "revision": [str, None],
        "backbone_init": [StrOptions({"pretrained", "random"})],
        "layer_mixing": ["boolean"],
        "head": [StrOptions(set(HEADS))],
        "head_hidden": [Interval(Integral, 1, None, closed="left"), None],
        "head_dropout": [Interval(Real, 0, 1, closed="left")],
        "standardize": ["boolean"],
        "epochs": [Interval(Integral, 1, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither"), None],
        "head_lr": [Interval(Real, 0, None, closed="neither"), None],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "optimizer": [StrOptions(set(OPTIMIZERS))],
        "schedule": [StrOptions(set(SCHEDULES))],
        "warmup": [Interval(Real, 0, 1, closed="both")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_tokens": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "gradient_clip": [Interval(Real, 0, None, closed="neither"), None],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "scoring": [str, callable, None],
        "precision": [StrOptions(set(PRECISIONS))],
        "quantization": [StrOptions(set(QUANTIZATIONS)), None],
        "gradient_checkpointing": ["boolean"],
        "compile": ["boolean"],
        "max_length": [Interval(Integral, 1, 10_000, closed="both")],
        "long_sequences": [StrOptions({"truncate", "window", "raise"})],
        "invalid": [StrOptions({"raise", "replace"})],
        "device": [str],
        "callbacks": ["array-like", None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
    }

    _SHARED: ClassVar[str] = PARAMETERS
    _WORDS: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        declared = [vars(base).get("_parameter_constraints", {}) for base in reversed(cls.__mro__)]
        cls._parameter_constraints = {name: rule for rules in declared for name, rule in rules.items()}
        if cls.__doc__:
            for name, text in {"shared": cls._SHARED, **BLOCKS}.items():
                cls.__doc__ = cls.__doc__.replace(f"{{{name}}}", text.strip())
        retell(cls, cls._WORDS)

    # What the trained tensors fit into; all else may change between fit and predict.
    _ARCHITECTURE: ClassVar[tuple[str, ...]] = (
        "backbone",
        "revision",
        "backbone_init",
        "quantization",
        "layer_mixing",
        "head",
        "head_hidden",
    )

    # How an optimiser step is run.
    _net_class: ClassVar[type[TuningNet]] = TuningNet

    # -- what a task decides ------------------------------------------------------------------

    @abstractmethod
    def _make_adapter(self) -> Adapter:
        """The adaptation method that the parameters ask for."""

    @abstractmethod
    def _check_y(self, y: Any, n_rows: int) -> np.ndarray:
        """Targets as an array, or one error."""

    @abstractmethod
    def _learn_target(self, y: np.ndarray) -> Target:
        """How this ``y`` is encoded and decoded."""

    @abstractmethod
    def _make_model(self, encoder: PackedEncoder, n_outputs: int) -> nn.Module:
        """Encoder and head in one of :mod:`plmlearn.nn.models`, with fresh weights."""

    @abstractmethod
    def _learn_scale(self, live: _Live, inputs: TokenizedSequences) -> None:
        """Let the head's scaler see the embeddings of (a random draw of) the training proteins."""

    def _make_loss(self, live: _Live, target: Target) -> Loss:
        """What is made small."""
        return target.loss

    def _balance(self, y: np.ndarray) -> np.ndarray:
        """Weight of each row for its class."""
        return np.ones(len(y))

    # -- fit ----------------------------------------------------------------------------------

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
    ):
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
            A validation set of one's own; the epoch that is best on it is kept.
        sample_weight_val : array-like, optional
            Weights of the validation proteins in the validation loss.
        groups : array-like of shape (n_proteins,), optional
            Clusters that the inner validation split must not cut (with ``early_stopping``).

        Returns
        -------
        self
        """
        self._validate_params()
        labelled = self._check_labelled(X, y, sample_weight, groups)
        return self._fit_to(labelled, self._check_validation(X_val, y_val, sample_weight_val))

    def _fit_to(self, labelled: Dataset, validation: Dataset | None):
        """The rest of ``fit``, on checked input."""
        training = labelled
        if self.early_stopping and validation is None:
            training, validation = labelled.hold_out(
                self.validation_fraction, self._seed(), stratify=is_classifier(self)
            )
        target = self._target if self._continues() else self._learn_target(labelled.y)
        live = self._build(target.n_outputs, self._trained if self._continues() else None)
        data = self._encode(live, target, training)
        if self.standardize and not self._continues():
            self._learn_scale(live, data.inputs)
        history = train(
            live.model,
            self._make_loss(live, target),
            data,
            live.plan,
            validation=None if validation is None else self._encode(live, target, validation),
            scorer=self._scorer(live, target, validation),
            callbacks=[*self._progress(), *(self.callbacks or [])],
            net_class=self._net_class,
        )
        self.n_truncated_ = labelled.n_truncated
        self._keep(live, target, history)
        return self

    def _check_labelled(self, X: Any, y: Any, sample_weight: Any, groups: Any = None) -> Dataset:
        sequences, n_truncated = self._prepare(X)
        y = self._check_y(y, len(sequences))
        weights = check_weights(sample_weight, len(sequences))
        if groups is not None:
            groups = check_length(groups, len(sequences), "groups")
        return Dataset(sequences, y, weights, groups, n_truncated).take(np.flatnonzero(weights))

    def _check_validation(
        self, X_val: Any, y_val: Any, sample_weight_val: Any, **extras: Any
    ) -> Dataset | None:
        given = [part is not None for part in (X_val, y_val, sample_weight_val)]
        if not any(given):
            return None
        if not all(given[:2]):
            missing = ("X_val", "y_val")[given.index(False)]
            raise ValueError(f"{missing} is None; a validation set is X_val and y_val together. Pass both.")
        return self._check_labelled(X_val, y_val, sample_weight_val, **extras)

    def _encode(self, live: _Live, target: Target, labelled: Dataset) -> TrainingData:
        weights = labelled.weights * self._balance(labelled.y)
        return TrainingData(
            self._inputs(live, labelled.sequences),
            target.encode(labelled.y),
            (weights / weights.mean()).astype(np.float32),
        )

    def _inputs(self, live: _Live, sequences: np.ndarray) -> TokenizedSequences:
        """Tokens, with what the frozen part makes of them where that is known or worth keeping."""
        inputs = self._tokenize(live, sequences)
        reuse_frozen(live.model, inputs, live.backbone, live.plan)
        return inputs

    def _tokenize(self, live: _Live, sequences: np.ndarray) -> TokenizedSequences:
        return TokenizedSequences(live.backbone, sequences, self._window())

    def _window(self) -> int | None:
        return self.max_length if self.long_sequences == "window" else None

    def _continues(self) -> bool:
        return self.warm_start and hasattr(self, "_trained")

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _progress(self) -> list:
        return [ProgressBar(self.epochs)] if self.verbose else []

    def _scorer(self, live: _Live, target: Target, validation: Dataset | None):
        if self.scoring is None or validation is None:
            return None
        return make_score(self, target, validation, self.scoring)

    # -- the model ----------------------------------------------------------------------------

    def _build(self, n_outputs: int, tensors: bytes | None) -> _Live:
        """A model with fresh trained tensors, or with those given."""
        device = resolve_device(self.device)
        precision = resolve_precision(self.precision, device)
        adapter = self._make_adapter()
        backbone = load_backbone(
            self.backbone,
            revision=self.revision,
            device=device,
            precision=precision,
            init=self.backbone_init,
            quantization=self.quantization,
        )
        plan = self._make_plan(backbone, adapter, device)
        cuda = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(plan.seed)
            encoder = make_encoder(
                adapter.install(backbone),
                compute_dtype=backbone.dtype,
                trunk_depth=adapter.first_trained_layer(backbone.n_layers),
                checkpointing=self.gradient_checkpointing,
                compiled=self.compile,
                layer_mixing=self.layer_mixing,
            )
            model = self._make_model(encoder, n_outputs).to(device)
        if tensors is not None:
            load_learned(model, safetensors.torch.load(tensors))
        return _Live(model, backbone, plan, self._where())

    def _make_plan(self, backbone: Backbone, adapter: Adapter, device: torch.device) -> TrainingConfig:
        lr = adapter.default_lr if self.lr is None else self.lr
        max_tokens = self.max_tokens
        if max_tokens == "auto":
            n_trained = backbone.n_layers - adapter.first_trained_layer(backbone.n_layers)
            max_tokens = auto_max_tokens(
                backbone, device, n_trained, checkpointing=self.gradient_checkpointing
            )
        return TrainingConfig(
            epochs=self.epochs,
            batch_size=self.batch_size,
            adapter=adapter,
            lr=lr,
            lr_factors=adapter.lr_factors(backbone),
            head_lr=max(self.lr or 0.0, 1e-3) if self.head_lr is None else self.head_lr,
            weight_decay=self.weight_decay,
            optimizer=self.optimizer,
            schedule=self.schedule,
            warmup=self.warmup,
            gradient_clip=self.gradient_clip,
            patience=self.patience if self.early_stopping else None,
            max_tokens=int(max_tokens),
            device=device,
            dtype=backbone.dtype,
            seed=self._seed(),
        )

    def _keep(self, live: _Live, target: Target, history: list[dict]) -> None:
        """What a fitted estimator consists of."""
        learned = learned_tensors(live.model)
        tensors = {name: t.detach().cpu().contiguous() for name, t in learned.items()}
        self._trained = safetensors.torch.save(tensors)
        self._target: Any = target
        self._live = live
        self._architecture = {name: clone(getattr(self, name), safe=False) for name in self._ARCHITECTURE}
        self.history_ = history
        self.n_parameters_ = live.n_parameters
        self.n_trainable_parameters_ = sum(p.numel() for p in live.model.parameters() if p.requires_grad)
        self.backbone_fingerprint_ = live.backbone.fingerprint
        kept = [row for row in self.history_ if row.get("best")]
        best = kept[-1] if kept else self.history_[-1]
        self.best_epoch_ = best["epoch"]
        self.best_score_ = best.get("valid_score")

    def _restored(self) -> _Live:
        """The fitted model, rebuilt where this process has not built it yet, or it is to run elsewhere."""
        check_is_fitted(self)
        if self._live is None or self._live.where != self._where():
            live = self._as_fitted()._build(self._target.n_outputs, self._trained)
            check_fingerprint(live.backbone, self.backbone_fingerprint_)
            self._live = live
        return self._live

    def _where(self) -> tuple:
        return self.device, self.precision, self.max_tokens

    def _as_fitted(self):
        """A copy with the architecture of the fit, whatever ``set_params`` has changed since."""
        fitted = copy.copy(self)
        fitted.__dict__.update(self._architecture)
        return fitted

    def _fitted_target(self) -> Any:
        check_is_fitted(self)
        return self._target

    def __getstate__(self) -> dict:
        state = super().__getstate__()
        if "_live" in state:
            state = {**state, "_live": None}
        return state

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_trained")

    # -- predict ------------------------------------------------------------------------------

    def _outputs(self, X: Any) -> Any:
        """Raw outputs of the model, (n_proteins, n_outputs) or Ragged."""
        live = self._restored()
        return outputs_of(live.model, self._inputs(live, self._prepare(X)[0]), live.plan)

    def memory_estimate(self, X: Any) -> MemoryEstimate:
        """Memory that ``fit`` would take on these proteins, by what it is for; nothing is trained.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        MemoryEstimate
            ``total`` in bytes, ``longest_sequence(memory_bytes)``; ``print`` shows a table.

        Notes
        -----
        Cost: the backbone is loaded, and kept for ``fit``.
        """
        self._validate_params()
        sequences, _ = self._prepare(X)
        live = self._build(1, None)
        inputs = self._tokenize(live, sequences)
        return estimate_memory(live.model, live.backbone, inputs, live.plan)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags

    def _prepare(self, X: Any) -> tuple[np.ndarray, int]:
        """Clean sequences, the long ones dealt with as asked for, and how many lost residues."""
        sequences = check_sequences(X, invalid=self.invalid)
        return truncate(sequences, self.max_length, self.long_sequences)
