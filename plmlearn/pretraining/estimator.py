"""``PLMMaskedLM``: parameters, fit, and what a fitted model consists of."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..adapters import Adapter, FullFineTuning
from ..adapters.names import AdapterName
from ..backbones import Backbone, BackboneWeightsError
from ..backbones.checkpoints import draw_backbone, read_language_head
from ..estimators.loaded import LoadedModel, run_settings
from ..estimators.parameters import (
    USED_AFTER_FIT,
    AdapterChoice,
    adapter_of,
    fitted_place,
    keep_place,
    seed_from,
    warn_of_idle,
)
from ..messages import warn
from ..training.devices import of_all_processes, resolve_device, resolve_precision, together
from ..training.engine import SCHEDULES
from .initialization import attend_to_neighbours
from .language_model import LanguageModel
from .loop import OPTIMIZERS, PretrainingConfig, Run, as_settings
from .masking import Corpus, Masking
from .start import make_language_model, require_esm
from .unlabelled import HeldOut, Unlabelled, frequencies
from .watch import Watch, check_functions

if TYPE_CHECKING:
    from peft import PeftConfig


_MOST_EPOCHS = 1e9  # finite, so that the steps can be counted


@dataclass(kw_only=True, eq=False, repr=False)
class PretrainingParameters(AdapterChoice):
    """What is trained, on what, and how."""

    backbone: str | PathLike[str] | None = field(default=None, kw_only=False)
    adapter: Adapter | AdapterName | PeftConfig | None = None
    epochs: float = 10
    max_steps: int | None = None
    lr: float | None = None
    batch_size: int = 32
    crop_length: int = 256
    mask_rate: float = 0.15
    n_layers: int = 6
    width: int = 192
    n_heads: int = 6
    ffn_width: int | None = None
    init: Literal["neighbours", "uniform"] = "neighbours"
    curriculum: Sequence[tuple[float, int]] | None = None
    weight_decay: float = 0.01
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: float = 0.05
    gradient_clip: float | None = 1.0
    optimizer: Literal["adamw", "muon"] = "adamw"
    averaging: float | None = None
    validation_fraction: float | None = 0.05
    evaluate_every: int | None = None
    checkpoint: str | PathLike[str] | None = None
    checkpoint_minutes: float = 5
    time_limit: float | None = None
    gradient_checkpointing: bool = False
    callbacks: Sequence[Callable[[dict], bool | None]] | None = None
    random_state: int | np.random.RandomState | None = None
    verbose: int = 1

    _default_adapter: ClassVar[type[Adapter]] = FullFineTuning
    _parameter_constraints: ClassVar[dict] = {
        "backbone": [str, PathLike, None],
        "epochs": [Interval(Real, 0, _MOST_EPOCHS, closed="right")],
        "max_steps": [Interval(Integral, 0, None, closed="left"), None],
        "lr": [Interval(Real, 0, None, closed="neither"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "crop_length": [Interval(Integral, 8, None, closed="left")],
        "mask_rate": [Interval(Real, 0, 1, closed="neither")],
        "n_layers": [Interval(Integral, 1, None, closed="left")],
        "width": [Interval(Integral, 2, None, closed="left")],
        "n_heads": [Interval(Integral, 1, None, closed="left")],
        "ffn_width": [Interval(Integral, 1, None, closed="left"), None],
        "init": [StrOptions({"neighbours", "uniform"})],
        "curriculum": ["array-like", None],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "schedule": [StrOptions(set(SCHEDULES))],
        "warmup": [Interval(Real, 0, 1, closed="both")],
        "gradient_clip": [Interval(Real, 0, None, closed="neither"), None],
        "optimizer": [StrOptions(set(OPTIMIZERS))],
        "averaging": [Interval(Real, 0, 1, closed="neither"), None],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither"), None],
        "evaluate_every": [Interval(Integral, 1, None, closed="left"), None],
        "checkpoint": [str, PathLike, None],
        "checkpoint_minutes": [Interval(Real, 0, None, closed="left")],
        "time_limit": [Interval(Real, 0, None, closed="neither"), None],
        "gradient_checkpointing": ["boolean"],
        "callbacks": [list, tuple, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }


# Those that only training uses, with their defaults.
_OF_TRAINING = {f.name: f.default for f in fields(PretrainingParameters) if f.name not in USED_AFTER_FIT}


@dataclass(kw_only=True, eq=False, repr=False)
class PLMMaskedLM(LanguageModel, PretrainingParameters):
    """Train a protein language model on sequences alone, by predicting hidden residues.

    From random weights this makes a small protein language model. Continued on one protein family (domain
    adaptation) it makes a model that knows the family, before a supervised task or for scoring mutants
    without any labels.

    Parameters
    ----------
    backbone : str or PathLike, optional
        Continue training this model of the ESM architecture, with its language head: "mini" (bundled), a
        short name such as "esm2-8m", a Hugging Face id or a folder. A checkpoint without language head gets
        a new one, with a warning. None begins with random weights.
    adapter : Adapter, str or peft.PeftConfig, optional
        With ``backbone``: train an adapter, such as ``LoRA()`` or "lora", and the language head;
        ``Frozen()`` trains the head alone. None trains all weights.
    epochs : float, default=10
        Passes over the training sequences.
    max_steps : int, optional
        Optimiser steps; overrides ``epochs``. 0 leaves the weights as they are: with ``adapter=Frozen()`` a
        published model is ready to score mutations and sequences.
    lr : float, optional
        Highest learning rate. None takes 2e-3 for random weights, otherwise what suits the adapter (1e-4 when
        all weights are trained).
    batch_size : int, default=32
        Crops of ``crop_length`` tokens per optimiser step.
    crop_length : int, default=256
        Tokens of the longest window that training looks at; each pass takes a window at a random place of a
        sequence. Shorter sequences are taken whole.
    mask_rate : float, default=0.15
        Share of residues to predict, in (0, 1). Of these 80 % are masked, 10 % replaced and 10 % left, as in
        ESM-2.

    Attributes
    ----------
    history_ : list of dict
        One entry per evaluation: step, residues, train_loss, valid_loss, lr, residues_per_second, seconds,
        best.
    valid_loss_by_sequence_ : ndarray of shape (n_held_out,)
        Mean cross-entropy of hidden residues, in nats, of each held-out sequence.
    valid_loss_by_group_ : dict
        The same by group, where groups are given; each residue weighs the same.
    valid_loss_ : float
        The same over all.
    unigram_loss_ : float
        What the residue frequencies of the training sequences reach on the same residues.
    valid_rows_ : ndarray of int or None
        Rows of X that were held out; None where X_val was given or nothing was held out.
    n_residues_seen_, n_steps_ : int
        Residues and optimiser steps of the run.
    finished_ : bool
        False where ``time_limit`` or a callback ended training.
    n_parameters_, n_trainable_parameters_ : int
        All parameters, and the trained ones.
    backbone_fingerprint_ : str or None
        Digest of the weights that training started from.

    Other Parameters
    ----------------
    n_layers : int, default=6
        Layers of a model that begins with random weights. A given backbone is never cut: its language head
        reads the last layer.
    width : int, default=192
        Its width; ``width / n_heads`` must be even.
    n_heads : int, default=6
        Its attention heads.
    ffn_width : int, optional
        Inner width of its feed-forward layers; None takes four times ``width``.
    init : {"neighbours", "uniform"}, default="neighbours"
        Attention of random weights. "neighbours": each head first attends to one near offset along the chain,
        which learns many times faster. "uniform": to everything alike, as is usual.
    curriculum : sequence of (float, int), optional
        Shorter crops to begin with: (share of all steps, crop length). A step then has as many more of them.
    weight_decay : float, default=0.01
        Weight decay of matrices. Embeddings, norms and biases do not decay.
    schedule : {"linear", "cosine", "constant"}, default="linear"
        Course of the learning rate after the warm-up.
    warmup : float, default=0.05
        Share of all steps in which the learning rate rises from zero, in [0, 1].
    gradient_clip : float or None, default=1.0
        Largest norm of all gradients together; None does not clip.
    optimizer : {"adamw", "muon"}, default="adamw"
        "muon" orthogonalises the updates of the layers' matrices and uses AdamW for the rest.
    averaging : float, optional
        Decay per step of a running mean of the weights, such as 0.999; the mean is then evaluated and kept.
        None keeps the weights themselves.
    validation_fraction : float, optional, default=0.05
        Share of sequences (of ``groups``, where given) to hold out where no ``X_val`` is given; the best
        weights by their loss are kept. None holds nothing out and keeps the last weights.
    evaluate_every : int, optional
        Steps between two evaluations on the held-out sequences; None evaluates once per epoch.
    checkpoint : str or PathLike, optional
        Folder for checkpoints, ``~`` expanded. A ``fit`` that finds one there continues from it; after a
        kill the result is that of an uninterrupted run, bit for bit on a CPU in float32.
    checkpoint_minutes : float, default=5
        Minutes between two checkpoints.
    time_limit : float, optional
        Minutes after which ``fit`` ends with a checkpoint, to be continued another time.
    gradient_checkpointing : bool, default=False
        Keep only the input of each layer and recompute the rest in the backward pass. Needs a fraction of the
        memory, and takes a third to a half longer.
    callbacks : list of callable, optional
        Each is called after every step with a dict (step, n_steps, residues, train_loss, seconds, …); one
        that returns True ends training there.
    random_state : int, RandomState or None, default=None
        Seed of weights, order, crops, masks and the held-out part.
    verbose : int, default=1
        1 shows a progress bar in a terminal or notebook; 0 shows nothing.
    max_length : int, default=1022
        Residues read of a sequence outside training, at most 10,000.
    long_sequences : {"truncate", "raise"}, default="truncate"
        What to do with sequences longer than ``max_length`` outside training: read their first residues and
        warn with counts, or refuse them.
    invalid : {"raise", "replace"}, default="raise"
        What to do with characters that do not denote a residue: refuse them, or read them as X, which is
        never predicted.
    max_tokens : int or "auto", default="auto"
        Tokens that go through the model at once; a larger step is split and its gradients are added up.
        Memory grows with it. Halved, with a warning, when memory runs out.
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
        The loss became infinite or nan; the message names the step.

    See Also
    --------
    PLMEmbedder : Embeddings of the trained model, by the folder that ``save_pretrained`` writes.

    Notes
    -----
    Cost: six floating-point operations per parameter and residue; a 3-million-parameter model reads some
    6,000 residues/s on one CPU thread. On several GPUs run the script under ``accelerate launch`` or
    ``torchrun``: every process takes its share of each step.

    References
    ----------
    Lin et al., Evolutionary-scale prediction of atomic-level protein structure with a language model,
    Science 2023, doi:10.1126/science.ade2574

    Meier et al., Language models enable zero-shot prediction of the effects of mutations on protein function,
    NeurIPS 2021, doi:10.1101/2021.07.09.450648

    Examples
    --------
    >>> from plmlearn import PLMMaskedLM
    >>> family = ["MKTAYIAKQRQISFVKSH", "MKTAYLAKQRQLSFVKSH", "MRTAYIAKQRQISFIKSH"]
    >>> lm = PLMMaskedLM("mini", epochs=2, validation_fraction=None, random_state=0, verbose=0)
    >>> lm.fit(family).mutation_scores(family[0], ["I6L", "I6W"]).shape
    (2,)
    """

    long_sequences: Literal["truncate", "raise"] = "truncate"

    _parameter_constraints: ClassVar[dict] = {"long_sequences": [StrOptions({"truncate", "raise"})]}

    # What the trained tensors fit into; all else may change between fit and use.
    _ARCHITECTURE: ClassVar[tuple[str, ...]] = (
        "backbone",
        "revision",
        "quantization",
        "n_layers",
        "width",
        "n_heads",
        "ffn_width",
        "adapter",
    )

    # -- fit ----------------------------------------------------------------------------------

    def fit(
        self, X: Any, y: Any = None, *, X_val: Any = None, groups: Any = None, groups_val: Any = None
    ) -> Self:
        """Learn from unlabelled proteins.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)
            Sequences; neither their length nor their number is limited.
        y : ignored
        X_val : list, array or Series of str, optional
            Held-out sequences of one's own.
        groups : array-like of shape (n_proteins,), optional
            Families: the held-out part cuts none, and losses are reported by family.
        groups_val : array-like of shape (n_val,), optional
            Families of ``X_val``.

        Returns
        -------
        self
        """
        with torch.inference_mode(False), torch.enable_grad(), together():
            return self._fit(X, groups, X_val, groups_val)

    def _fit(self, X: Any, groups: Any, X_val: Any, groups_val: Any) -> Self:
        self._check_parameters()
        check_functions(self.callbacks or [])
        warn_of_idle(self, self._idle())
        plain = self._plain()
        seed = plain._seed()
        training, held_out = plain._part(X, groups, X_val, groups_val, seed)
        model = plain._build(seed, None)
        corpus, masking = Corpus(model.backbone, training, plain.crop_length), Masking.of(model.backbone)
        model.config = plain._schedule(model.config, len(corpus))
        if model.module.lm_head.is_new:
            model.module.lm_head.start_from(torch.from_numpy(frequencies(corpus, model.backbone)))
            plain._tell_of_new_head(model.config.n_steps)
        look = None
        if held_out is not None:
            look = HeldOut(held_out, model.backbone, masking, model.config, plain.max_length)
        run = Run(
            model.module,
            corpus,
            replace(masking, rate=plain.mask_rate),
            model.config,
            evaluate=None if look is None else look.loss,
            settings=as_settings(model.config) | plain._own_settings(corpus, look),
        )
        watch = Watch(
            run,
            plain.checkpoint,
            plain.checkpoint_minutes,
            plain.time_limit,
            plain.callbacks or [],
            bool(plain.verbose),
        )
        watch.resume()
        run.advance(watch)
        watch.close()
        run.finish()
        self._keep(model, run, look)
        return self

    def _tell_of_new_head(self, n_steps: int) -> None:
        """Say that a backbone came without language head, or refuse to leave a new one untrained."""
        if self.backbone is None:
            return
        found = (
            f"The checkpoint of backbone={str(self.backbone)!r} holds no language head (tensors lm_head.*): "
            "it was saved from an encoder alone."
        )
        if n_steps == 0:
            raise BackboneWeightsError(
                f"{found} Train a new one (max_steps is 0), or take a checkpoint saved from EsmForMaskedLM."
            )
        warn(f"{found} A new one is trained from random weights.")

    def _idle(self) -> dict[str, str]:
        """Parameters that a fit will not use, and what would have to be different."""
        idle = {}
        if self.backbone is None:
            idle["revision"] = "is of a backbone, and backbone=None begins with random weights"
        else:
            names = ("width", "n_heads", "ffn_width", "init")
            idle |= dict.fromkeys(names, "is for random weights, with backbone=None")
        if self.checkpoint is None:
            idle["checkpoint_minutes"] = "is for a checkpoint"
        return idle

    def _part(self, X, groups, X_val, groups_val, seed) -> tuple[np.ndarray, Unlabelled | None]:
        """Clean sequences to learn from, and those held out."""
        rows = Unlabelled.check(X, groups, self.invalid, "X")
        rows.warn_of_duplicates()
        if X_val is not None:
            held_out = Unlabelled.check(X_val, groups_val, self.invalid, "X_val")
            held_out.warn_of_repeats(rows)
            return rows.sequences, held_out
        if groups_val is not None:
            raise ValueError("X_val is None; groups_val are the families of X_val. Pass both, or neither.")
        if self.validation_fraction is None:
            return rows.sequences, None
        kept, out = rows.split(self.validation_fraction, seed)
        return rows.sequences[kept], rows.take(out)

    def _seed(self) -> int:
        return of_all_processes(seed_from(self.random_state))[0]

    def _schedule(self, config: PretrainingConfig, n_rows: int) -> PretrainingConfig:
        """The configuration with its steps counted."""
        per_epoch = max(1, round(n_rows / self.batch_size))
        n_steps = math.ceil(self.epochs * n_rows / self.batch_size)
        return replace(
            config,
            n_steps=n_steps if self.max_steps is None else self.max_steps,
            evaluate_every=self.evaluate_every or per_epoch,
        )

    def _own_settings(self, corpus: Corpus, look: HeldOut | None) -> dict:
        """What a checkpoint must agree in, beside the configuration."""
        named = {name: repr(getattr(self, name)) for name in (*self._ARCHITECTURE, "init", "mask_rate")}
        held_out = None if look is None else look.corpus.digest
        return {**named, "sequences": corpus.digest, "held_out": held_out}

    # -- the model ----------------------------------------------------------------------------

    def _build(self, seed: int, tensors: bytes | None) -> LoadedModel:
        """A model with fresh trained tensors, or with those given."""
        device = resolve_device(self.device)
        adapter = adapter_of(self)
        if type(adapter).after_step is not Adapter.after_step:
            raise ValueError(
                f"{type(adapter).__name__} steers its own training, which this loop has no place for; "
                "pass LoRA(), or adapter=None to train all weights."
            )
        backbone, head_tensors = self._start(device, seed)
        return LoadedModel.build(
            self,
            backbone,
            adapter,
            lambda encoder: make_language_model(encoder, backbone, head_tensors),
            device=device,
            seed=seed,
            tensors=tensors,
            gradient_checkpointing=self.gradient_checkpointing,
            make_config=PretrainingConfig,
            n_steps=1,
            crop_length=self.crop_length,
            curriculum=check_curriculum(self.curriculum, self.crop_length),
            batch_size=self.batch_size,
            lr=self.lr or (2e-3 if self.backbone is None else adapter.default_lr),
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            warmup=self.warmup,
            gradient_clip=self.gradient_clip,
            optimizer=self.optimizer,
            averaging=self.averaging,
        )

    def _start(self, device: torch.device, seed: int) -> tuple[Backbone, dict]:
        """The encoder to begin with, and the tensors of its language head where it has one."""
        if self.backbone is not None:
            backbone = self._load_backbone(self.backbone, device)
            require_esm(backbone)
            return backbone, read_language_head(backbone)
        if self.adapter is not None:
            raise ValueError("adapter is for going on from a backbone; with backbone=None all is trained.")
        if self.quantization is not None:
            raise ValueError(
                f"quantization={self.quantization!r} is for frozen weights, and with backbone=None all are "
                "trained; pass quantization=None, or a backbone and adapter=LoRA()."
            )
        if self.width % (2 * self.n_heads):
            raise ValueError(
                f"width={self.width} is not an even multiple of n_heads={self.n_heads}: a head needs an even "
                "number of features."
            )
        shape = {
            "num_hidden_layers": int(self.n_layers),
            "hidden_size": int(self.width),
            "num_attention_heads": int(self.n_heads),
            "intermediate_size": int(self.ffn_width or 4 * self.width),
        }
        precision: Any = resolve_precision(self.precision, device)
        backbone = draw_backbone(shape, precision=precision, seed=seed)
        if self.init == "neighbours":
            attend_to_neighbours(backbone.model)
        backbone.model.to(device)
        return backbone, {}

    def _keep(self, model: LoadedModel, run: Run, look: HeldOut | None) -> None:
        """What a fitted model consists of."""
        self._trained = model.state()
        self._loaded = model
        self._architecture = {name: clone(getattr(self, name), safe=False) for name in self._ARCHITECTURE}
        keep_place(self)
        self.history_ = run.history
        self.n_steps_, self.n_residues_seen_ = run.step, run.n_residues
        self.finished_ = run.step >= run.config.n_steps
        self.n_parameters_ = model.n_parameters
        self.n_trainable_parameters_ = sum(p.numel() for p in run.trained.values())
        self.backbone_fingerprint_ = None if self.backbone is None else model.backbone.fingerprint
        self._n_features_out = model.module.encoder.width
        self.valid_rows_ = None if look is None else look.held_out.rows
        if look is not None:
            self.valid_loss_ = look.loss(model.module)
            self.valid_loss_by_sequence_, self.valid_loss_by_group_ = look.by_part(model.module)
            self.unigram_loss_ = look.unigram_loss(run.corpus, Masking.of(model.backbone))

    def _restored(self) -> LoadedModel:
        """The fitted model, rebuilt where this process has not built it yet, or it is to run elsewhere."""
        check_is_fitted(self)
        self._check_parameters(USED_AFTER_FIT)
        if self._loaded is None or self._loaded.settings != run_settings(self):
            fitted = copy.copy(self)
            fitted.__dict__.update(_OF_TRAINING | self._architecture, backbone=self.backbone)
            fitted.backbone = fitted_place(fitted)
            self._loaded = fitted._plain()._build(0, self._trained)
        return self._loaded

    def __getstate__(self) -> dict:
        state = super().__getstate__()
        return {**state, "_loaded": None} if "_loaded" in state else state

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_trained")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        return tags


def check_curriculum(
    curriculum: Sequence[tuple[float, int]] | None, crop_length: int
) -> tuple[tuple[float, int], ...]:
    """Stages of shorter crops as plain numbers, or one error."""
    try:
        given = () if curriculum is None else curriculum
        stages = tuple((float(share), int(crop)) for share, crop in given)
    except (TypeError, ValueError, OverflowError):
        stages = ((1.0, 0),)  # not even pairs of numbers
    in_range = all(share > 0 and 8 <= crop < crop_length for share, crop in stages)
    if not in_range or sum(share for share, _ in stages) >= 1:
        raise ValueError(
            "curriculum is (share of all steps, crop length) with shares that add up to less than 1 and "
            f"crops of 8 to less than crop_length={crop_length} tokens, got {curriculum!r}"
        )
    return stages
