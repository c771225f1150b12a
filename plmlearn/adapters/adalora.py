"""AdaLoRA: low-rank adaptation that gives more rank to the matrices that need it."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn

from ..backbones import Backbone
from .base import COUNT, POSITIVE, SHARE, PeftMethod

if TYPE_CHECKING:
    import peft
    from peft.tuners.adalora import RankAllocator

_FEWEST_STEPS = 10  # of allocation: with fewer, importance is hardly known when ranks are taken away


@dataclass(kw_only=True, eq=False, repr=False)
class AdaLoRA(PeftMethod):
    """LoRA whose ranks are spread over the matrices by their importance for the task.

    Every matrix starts with ``initial_rank`` pairs of vectors. Training switches off the least important
    pairs of all matrices until each matrix has ``rank`` pairs on average.

    Parameters
    ----------
    rank : int, default=8
        Mean rank at the end of training, >= 1.
    initial_rank : int, default=12
        Rank of every matrix at the start, above ``rank``.
    alpha : float, default=16
        The product is scaled by ``alpha / initial_rank``, > 0.
    dropout : float, default=0.0
        Dropout on the adapter's input, in [0, 1).
    tinit : float, default=0.1
        Share of all optimiser steps before the first rank is taken away, in [0, 1).
    tfinal : float, default=0.3
        Share of all optimiser steps at the end during which ranks stay as they are, in [0, 1).
    interval : int, default=1
        Steps from one allocation to the next, >= 1.
    orthogonality : float, default=0.5
        Weight of the penalty that keeps the vectors of a matrix at right angles, >= 0. The losses in the
        history do not include it.
    target_modules : str or tuple of str, default="all"
        Which matrices of a layer: "query", "key", "value", "output" (all of attention), "ffn_in",
        "ffn_out" (of the feed-forward layer); or the groups "attention" (the first four) and "all".
    last_n_layers : int, optional
        Adapt the last n layers only, >= 1. What lies below is then computed once per sequence and reused
        in every epoch, fold and candidate. None adapts all layers.

    Raises
    ------
    ValueError
        If fewer than 10 allocations fit between ``tinit`` and ``tfinal``.

    See Also
    --------
    LoRA : Low-rank matrices beside those of the encoder.

    Notes
    -----
    With early stopping, the best epoch may precede the end of the allocation and have higher ranks.

    References
    ----------
    Zhang et al., AdaLoRA: adaptive budget allocation for parameter-efficient fine-tuning, 2023,
    doi:10.48550/arXiv.2303.10512

    Examples
    --------
    >>> from plmlearn.adapters import AdaLoRA
    >>> AdaLoRA(rank=4, initial_rank=8)
    AdaLoRA(initial_rank=8, rank=4)
    """

    rank: int = 8
    initial_rank: int = 12
    alpha: float = 16
    dropout: float = 0.0
    tinit: float = 0.1
    tfinal: float = 0.3
    interval: int = 1
    orthogonality: float = 0.5

    default_lr: ClassVar[float] = 2e-3

    _parameter_constraints: ClassVar[dict] = {
        **{name: [COUNT] for name in ("rank", "initial_rank", "interval")},
        **{name: [SHARE] for name in ("dropout", "tinit", "tfinal")},
        "alpha": [POSITIVE],
        "orthogonality": [Interval(Real, 0, None, closed="left")],
    }
    _allocator: RankAllocator | None = field(default=None, init=False)
    _ranks: dict[str, list[bool]] | None = field(default=None, init=False)

    def peft_config(self, backbone: Backbone) -> peft.AdaLoraConfig:
        return self._config(
            total_step=1,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            orth_reg_weight=self.orthogonality,
            target_modules=self._pattern(backbone),
        )

    def _config(self, **options: Any) -> peft.AdaLoraConfig:
        import peft

        ranks: dict[str, Any] = {
            "target_r": int(self.rank),
            "init_r": int(self.initial_rank),
            "deltaT": int(self.interval),
        }
        return peft.AdaLoraConfig(**ranks, **options)

    def penalty(self, model: nn.Module) -> Tensor | None:
        """Mean distance of each thin matrix times its transpose from the identity, weighted: a scalar."""
        from peft.tuners.adalora import SVDLinear

        layers = [module for module in model.modules() if isinstance(module, SVDLinear)]
        thin: Any = [m for layer in layers for m in (layer.lora_A["default"], layer.lora_B["default"].T)]
        distances = [torch.linalg.norm(m @ m.T - torch.eye(len(m), device=m.device)) for m in thin]
        return self.orthogonality * torch.stack(distances).mean()

    def after_step(self, model: nn.Module, step: int, n_steps: int) -> None:
        from peft.tuners.adalora import RankAllocator

        if self._allocator is None:
            self._allocator = RankAllocator(model, self._schedule(n_steps), "default")
        last = n_steps - self._allocator.peft_config.tfinal
        if step <= last:
            _, ranks = self._allocator.update_and_allocate(model, step, force_mask=step == last)
            self._ranks = ranks or self._ranks
        elif self._ranks is not None:
            self._allocator.mask_using_rank_pattern(model, self._ranks)

    def _schedule(self, n_steps: int) -> peft.AdaLoraConfig:
        first, last = round(self.tinit * n_steps), round(self.tfinal * n_steps)
        n_left = n_steps - first - last
        if n_left < _FEWEST_STEPS * self.interval:
            raise ValueError(
                f"AdaLoRA has {max(n_left, 0)} of {n_steps} optimiser steps for its allocation "
                f"(tinit={self.tinit}, tfinal={self.tfinal}) and needs at least "
                f"{_FEWEST_STEPS * self.interval}. Raise epochs, lower batch_size, or use LoRA()."
            )
        return self._config(tinit=first, tfinal=last, total_step=n_steps)

    def _check(self, backbone: Backbone) -> None:
        super()._check(backbone)
        if self.initial_rank <= self.rank:
            raise ValueError(
                f"AdaLoRA takes ranks away: initial_rank={self.initial_rank} must be above rank={self.rank}."
            )
