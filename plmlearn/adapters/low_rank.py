"""Low-rank adaptation (LoRA, DoRA, VeRA), and IA3, which scales features by vectors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from sklearn.utils._param_validation import Interval, StrOptions, validate_parameter_constraints

from ..backbones import Backbone
from .base import COUNT, POSITIVE, SHARE, PeftMethod, TargetModule, layer_path, target_names

if TYPE_CHECKING:
    import peft

Biases = Literal["none", "all", "lora_only"]


@dataclass(kw_only=True, eq=False, repr=False)
class _LowRank(PeftMethod):
    rank: int = 8
    alpha: float = 16
    dropout: float = 0.0
    use_rslora: bool = False
    bias: Biases = "none"
    rank_pattern: Mapping[str, int] | None = None
    alpha_pattern: Mapping[str, float] | None = None

    _dora: ClassVar[bool]
    _parameter_constraints: ClassVar[dict] = {
        "rank": [COUNT],
        "alpha": [POSITIVE],
        "dropout": [SHARE],
        "use_rslora": ["boolean"],
        "bias": [StrOptions(set(get_args(Biases)))],
        "rank_pattern": [Mapping, None],
        "alpha_pattern": [Mapping, None],
    }

    default_lr: ClassVar[float] = 1e-3

    def peft_config(self, backbone: Backbone) -> peft.LoraConfig:
        import peft

        return peft.LoraConfig(
            r=int(self.rank),
            lora_alpha=self.alpha,  # type: ignore[arg-type]  # peft scales by any number
            lora_dropout=self.dropout,
            use_rslora=self.use_rslora,
            use_dora=self._dora,
            bias=self.bias,
            rank_pattern={k: int(r) for k, r in self._patterns(backbone, self.rank_pattern).items()},
            alpha_pattern={k: float(a) for k, a in self._patterns(backbone, self.alpha_pattern).items()},
            target_modules=self._pattern(backbone),
        )

    def _patterns(self, backbone: Backbone, by_name: Mapping[str, Any] | None) -> dict[str, Any]:
        """Values by plmlearn's names as values by peft's patterns; those of one layer come first."""
        found = {}
        for key, value in sorted((by_name or {}).items(), key=lambda item: "." not in item[0]):
            layer, _, name = key.rpartition(".")
            for path in backbone.targets[name]:
                found[layer_path(backbone, layer or r"\d+", re.escape(path))] = value
        return found

    def _check(self, backbone: Backbone) -> None:
        super()._check(backbone)
        adapted, layers = target_names(backbone, self.target_modules or ()), self._layers(backbone)
        known = {*adapted, *(f"{layer}.{name}" for layer in layers for name in adapted)}
        for pattern, rule in (("rank_pattern", COUNT), ("alpha_pattern", POSITIVE)):
            for key, value in (getattr(self, pattern) or {}).items():
                if key not in known:
                    raise ValueError(
                        f"{pattern}: {key!r} is not an adapted matrix; expected one of {', '.join(adapted)}, "
                        f"or one of them after the number of an adapted layer ({layers[-1]}.{adapted[0]})."
                    )
                setting = f"{pattern}[{key!r}]"
                validate_parameter_constraints({setting: [rule]}, {setting: value}, type(self).__name__)


@dataclass(kw_only=True, eq=False, repr=False)
class LoRA(_LowRank):
    """Low-rank adaptation: a trained product of two thin matrices beside each adapted matrix.

    Parameters
    ----------
    rank : int, default=8
        Width of the thin matrices, >= 1.
    alpha : float, default=16
        The product is scaled by ``alpha / rank``, > 0.
    dropout : float, default=0.0
        Dropout on the adapter's input, in [0, 1).
    target_modules : str or tuple of str, default="all"
        Which matrices of a layer: "query", "key", "value", "output" (all of attention), "ffn_in",
        "ffn_out" (of the feed-forward layer); or the groups "attention" (the first four) and "all".
        Key and value take a sixth less time, and were best for protein interactions (Sledzieski et al.).
    last_n_layers : int, optional
        Adapt the last n layers only, >= 1. What lies below is then computed once per sequence and reused
        in every epoch, fold and candidate. None adapts all layers.
    use_rslora : bool, default=False
        Scale by ``alpha / sqrt(rank)``, so that large ranks learn as fast as small ones.
    bias : {"none", "all", "lora_only"}, default="none"
        Which of the encoder's biases are trained too: none, all (of the adapted layers, with
        ``last_n_layers``), or those of the adapted matrices. T5 encoders have no biases.
    rank_pattern, alpha_pattern : dict, optional
        Other ranks and alphas by matrix, ``{"key": 4}``, or by layer and matrix, ``{"5.key": 16}``,
        which takes precedence.

    See Also
    --------
    DoRA : Separates magnitude and direction.
    AdaLoRA : Spreads ranks over the matrices.
    FullFineTuning : Trains the encoder itself.

    References
    ----------
    Hu et al., LoRA, 2021, doi:10.48550/arXiv.2106.09685. Sledzieski et al., Democratizing protein
    language models with parameter-efficient fine-tuning, PNAS 2024, doi:10.1073/pnas.2405840121.
    Kalajdzievski, rsLoRA, 2023, doi:10.48550/arXiv.2312.03732.

    Examples
    --------
    >>> from plmlearn.adapters import LoRA
    >>> LoRA(rank=4, target_modules=("query", "value"))
    LoRA(rank=4, target_modules=('query', 'value'))
    """

    _dora: ClassVar[bool] = False


@dataclass(kw_only=True, eq=False, repr=False)
class DoRA(_LowRank):
    """LoRA that learns the length of each matrix row separately from its direction.

    Parameters
    ----------
    rank : int, default=8
        Width of the thin matrices, >= 1.
    alpha : float, default=16
        The product is scaled by ``alpha / rank``, > 0.
    dropout : float, default=0.0
        Dropout on the adapter's input, in [0, 1).
    target_modules : str or tuple of str, default="all"
        Which matrices of a layer: "query", "key", "value", "output" (all of attention), "ffn_in",
        "ffn_out" (of the feed-forward layer); or the groups "attention" (the first four) and "all".
    last_n_layers : int, optional
        Adapt the last n layers only, >= 1. What lies below is then computed once per sequence and reused
        in every epoch, fold and candidate. None adapts all layers.
    use_rslora : bool, default=False
        Scale by ``alpha / sqrt(rank)``, so that large ranks learn as fast as small ones.
    bias : {"none", "all", "lora_only"}, default="none"
        Which of the encoder's biases are trained too: none, all (of the adapted layers, with
        ``last_n_layers``), or those of the adapted matrices. T5 encoders have no biases.
    rank_pattern, alpha_pattern : dict, optional
        Other ranks and alphas by matrix, ``{"key": 4}``, or by layer and matrix, ``{"5.key": 16}``,
        which takes precedence.

    See Also
    --------
    LoRA : Low-rank matrices beside those of the encoder.

    Notes
    -----
    A step takes longer than LoRA's, because each adapted matrix is assembled to measure its rows.

    References
    ----------
    Liu et al., DoRA: weight-decomposed low-rank adaptation, 2024, doi:10.48550/arXiv.2402.09353

    Examples
    --------
    >>> from plmlearn.adapters import DoRA
    >>> DoRA(rank=4)
    DoRA(rank=4)
    """

    _dora: ClassVar[bool] = True


@dataclass(kw_only=True, eq=False, repr=False)
class VeRA(PeftMethod):
    """Vectors that scale a frozen random low-rank product beside each adapted matrix.

    One pair of random matrices serves all layers. Two vectors are trained for each adapted matrix.

    Parameters
    ----------
    rank : int, default=256
        Width of the random matrices, >= 1. It costs little, because they are not trained.
    dropout : float, default=0.0
        Dropout on the adapter's input, in [0, 1).
    initial_scale : float, default=0.1
        Initial value of the vector between the random matrices, > 0.
    projection_seed : int, default=0
        Seed of the random matrices, >= 0. They are the same on every machine, so that a fitted
        estimator need not keep them.
    target_modules : str or tuple of str, default="all"
        Which matrices of a layer: "query", "key", "value", "output" (all of attention), "ffn_in",
        "ffn_out" (of the feed-forward layer); or the groups "attention" (the first four) and "all".
    last_n_layers : int, optional
        Adapt the last n layers only, >= 1. What lies below is then computed once per sequence and reused
        in every epoch, fold and candidate. None adapts all layers.

    See Also
    --------
    LoRA : Low-rank matrices beside those of the encoder.
    IA3 : Trains scales of keys, values and hidden features.

    References
    ----------
    Kopiczko et al., VeRA: vector-based random matrix adaptation, 2023, doi:10.48550/arXiv.2310.11454

    Examples
    --------
    >>> from plmlearn.adapters import VeRA
    >>> VeRA(rank=64)
    VeRA(rank=64)
    """

    rank: int = 256
    dropout: float = 0.0
    initial_scale: float = 0.1
    projection_seed: int = 0

    _parameter_constraints: ClassVar[dict] = {
        "rank": [COUNT],
        "dropout": [SHARE],
        "initial_scale": [POSITIVE],
        "projection_seed": [Interval(Integral, 0, None, closed="left")],
    }

    default_lr: ClassVar[float] = 1e-2

    def peft_config(self, backbone: Backbone) -> peft.VeraConfig:
        import peft

        config = peft.VeraConfig(
            r=int(self.rank),
            vera_dropout=self.dropout,
            d_initial=self.initial_scale,
            projection_prng_key=int(self.projection_seed),
            target_modules=self._pattern(backbone),
        )
        config.save_projection = False  # set here, it does not warn
        return config


@dataclass(kw_only=True, eq=False, repr=False)
class IA3(PeftMethod):
    """Vectors that scale keys, values and the inner features of the feed-forward layers.

    It trains the fewest numbers of all adapters: one per feature.

    Parameters
    ----------
    target_modules : str or tuple of str, default=("key", "value", "ffn_out")
        Which matrices of a layer: "query", "key", "value", "output" (all of attention), "ffn_in",
        "ffn_out" (of the feed-forward layer); or the groups "attention" (the first four) and "all".
        Inputs of "output" and "ffn_out" are scaled, and outputs of the others.
    last_n_layers : int, optional
        Adapt the last n layers only, >= 1. What lies below is then computed once per sequence and reused
        in every epoch, fold and candidate. None adapts all layers.

    See Also
    --------
    LoRA : Low-rank matrices beside those of the encoder.
    VeRA : Trains two vectors per matrix.

    References
    ----------
    Liu et al., Few-shot parameter-efficient fine-tuning is better and cheaper than in-context learning,
    2022, doi:10.48550/arXiv.2205.05638

    Examples
    --------
    >>> from plmlearn.adapters import IA3
    >>> IA3(last_n_layers=2)
    IA3(last_n_layers=2)
    """

    target_modules: Sequence[TargetModule] | TargetModule | None = ("key", "value", "ffn_out")

    default_lr: ClassVar[float] = 3e-3

    def peft_config(self, backbone: Backbone) -> peft.IA3Config:
        import peft

        scaled = target_names(backbone, self.target_modules or ())
        at_input = [name for name in scaled if name in ("output", "ffn_out")]
        return peft.IA3Config(
            target_modules=self._pattern(backbone),
            feedforward_modules=self._pattern(backbone, at_input) if at_input else [],
        )
