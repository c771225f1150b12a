"""Low-rank adaptation and its relatives: LoRA, DoRA, VeRA; and IA3, which scales by vectors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import peft

from ..backbones import Backbone
from .base import check_count, check_positive, check_share, layer_path, target_names
from .peft_methods import PeftMethod

_INTO_THE_STREAM = ("output", "ffn_out")


@dataclass(kw_only=True, eq=False, repr=False)
class _LowRank(PeftMethod):
    rank: int = 8
    alpha: float = 16
    dropout: float = 0.0
    use_rslora: bool = False
    bias: str = "none"
    rank_pattern: Mapping[str, int] | None = None
    alpha_pattern: Mapping[str, float] | None = None

    _dora: ClassVar[bool]

    default_lr: ClassVar[float] = 1e-3

    def peft_config(self, backbone: Backbone) -> peft.LoraConfig:
        return peft.LoraConfig(
            r=int(self.rank),
            lora_alpha=self.alpha,  # type: ignore[arg-type]  # peft scales by any number
            lora_dropout=self.dropout,
            use_rslora=self.use_rslora,
            use_dora=self._dora,
            bias=self.bias,  # type: ignore[arg-type]
            rank_pattern={k: int(r) for k, r in self._patterns(backbone, self.rank_pattern).items()},
            alpha_pattern=self._patterns(backbone, self.alpha_pattern),
            target_modules=self._pattern(backbone),
        )

    def _patterns(self, backbone: Backbone, by_name: Mapping[str, Any] | None) -> dict[str, Any]:
        """Values by plmlearn's names as values by peft's patterns; those of one layer come first."""
        found = {}
        for key in sorted(by_name or {}, key=lambda key: "." not in key):
            layer, _, name = key.rpartition(".")
            for path in backbone.targets[name]:
                found[layer_path(backbone, layer or r"\d+", re.escape(path))] = (by_name or {})[key]
        return found

    def _check(self, backbone: Backbone) -> None:
        super()._check(backbone)
        name = type(self).__name__
        check_count(f"{name} rank", self.rank)
        check_share(f"{name} dropout", self.dropout)
        check_positive(f"{name} alpha", self.alpha)
        if self.bias not in ("none", "all", "lora_only"):
            raise ValueError(f"{name} bias is 'none', 'all' or 'lora_only', got {self.bias!r}")
        adapted = target_names(backbone, self.target_modules or ())
        for pattern, settings in (("rank_pattern", self.rank_pattern), ("alpha_pattern", self.alpha_pattern)):
            for key, value in (settings or {}).items():
                self._check_entry(pattern, key, value, adapted, backbone)

    def _check_entry(
        self, pattern: str, key: str, value: Any, adapted: list[str], backbone: Backbone
    ) -> None:
        layer, _, name = key.rpartition(".")
        in_range = not layer or (layer.isdigit() and int(layer) in self._layers(backbone))
        if name not in adapted or not in_range:
            raise ValueError(
                f"{pattern}: {key!r} is no adapted matrix; expected one of {', '.join(adapted)}, or with the "
                f"number of an adapted layer ({self._layers(backbone)[-1]}.{adapted[0]})."
            )
        check = check_count if pattern == "rank_pattern" else check_positive
        check(f"{pattern}[{key!r}]", value)


@dataclass(kw_only=True, eq=False, repr=False)
class LoRA(_LowRank):
    """Low-rank adaptation: a trained product of two thin matrices beside each adapted one.

    Parameters
    ----------
    rank : int, default=8
        Width of the thin matrices, >= 1.
    alpha : float, default=16
        The product is scaled by ``alpha / rank``.
    dropout : float, default=0.0
        Dropout on the adapter's input, in [0, 1).
    target_modules : tuple of str, default=("key", "value")
        Which matrices: "query", "key", "value", "output" (attention), "ffn_in", "ffn_out"; also
        "attention" (the first four) and "all". Key and value were best in Sledzieski et al.
    last_n_layers : int, optional
        Adapt the last n layers only. What lies below is then computed once per sequence and reused
        in every epoch, fold and candidate. None adapts all layers.
    use_rslora : bool, default=False
        Scale by ``alpha / sqrt(rank)``, so that large ranks learn as fast as small ones.
    bias : {"none", "all", "lora_only"}, default="none"
        Which of the encoder's biases are trained too: none, all (of the adapted layers, with
        ``last_n_layers``), or those of the adapted matrices. T5 encoders have none.
    rank_pattern, alpha_pattern : dict, optional
        Other ranks and alphas by matrix, ``{"key": 4}``, or by layer and matrix, ``{"5.key": 16}``,
        which comes first.

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
    """LoRA that learns the length of each row of a matrix apart from its direction.

    Parameters
    ----------
    rank, alpha, dropout, target_modules, last_n_layers, use_rslora, bias, rank_pattern, alpha_pattern
        As for :class:`LoRA`.

    Notes
    -----
    Cost: a step takes longer than LoRA's, as each adapted matrix is put together to measure it.

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

    One pair of random matrices serves all layers; trained are two vectors for each adapted matrix.

    Parameters
    ----------
    rank : int, default=256
        Width of the random matrices, >= 1; costs little, as they are not trained.
    dropout : float, default=0.0
        Dropout on the adapter's input, in [0, 1).
    initial_scale : float, default=0.1
        Where the vector between the random matrices starts, > 0.
    projection_seed : int, default=0
        Draws the random matrices: the same on every machine, so that no fit keeps them.
    target_modules : tuple of str, default=("key", "value")
        As for :class:`LoRA`.
    last_n_layers : int, optional
        Adapt the last n layers only; None adapts all.

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

    default_lr: ClassVar[float] = 1e-2

    def peft_config(self, backbone: Backbone) -> peft.VeraConfig:
        config = peft.VeraConfig(
            r=int(self.rank),
            vera_dropout=self.dropout,
            d_initial=self.initial_scale,
            projection_prng_key=int(self.projection_seed),
            target_modules=self._pattern(backbone),
        )
        config.save_projection = False  # set here, it does not warn
        return config

    def _check(self, backbone: Backbone) -> None:
        super()._check(backbone)
        check_count("VeRA rank", self.rank)
        check_share("VeRA dropout", self.dropout)
        check_positive("VeRA initial_scale", self.initial_scale)
        if int(self.projection_seed) < 0:
            raise ValueError(f"VeRA projection_seed is an int >= 0, got {self.projection_seed!r}")


@dataclass(kw_only=True, eq=False, repr=False)
class IA3(PeftMethod):
    """Vectors that scale keys, values and what the feed-forward layers pass on.

    The fewest trained numbers of all: one per feature.

    Parameters
    ----------
    target_modules : tuple of str, default=("key", "value", "ffn_out")
        As for :class:`LoRA`. "output" and "ffn_out" are scaled where features enter them, the others
        where they leave.
    last_n_layers : int, optional
        Adapt the last n layers only; None adapts all.

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

    target_modules: Sequence[str] | str = ("key", "value", "ffn_out")

    default_lr: ClassVar[float] = 3e-3

    def peft_config(self, backbone: Backbone) -> peft.IA3Config:
        scaled = target_names(backbone, self.target_modules)
        entering = [name for name in scaled if name in _INTO_THE_STREAM]
        return peft.IA3Config(
            target_modules=self._pattern(backbone),
            feedforward_modules=self._pattern(backbone, entering) if entering else [],
        )
