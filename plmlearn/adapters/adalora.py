"""AdaLoRA: ranks that move to the matrices that need them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import peft
import torch
from peft.tuners.adalora import RankAllocator, SVDLinear
from torch import Tensor, nn

from ..backbones import Backbone
from .base import check_count, check_positive, check_share
from .peft_methods import PeftMethod

_FEWEST_STEPS = 10  # of allocation: below that, importance is hardly known when ranks are taken away


@dataclass(kw_only=True, eq=False, repr=False)
class AdaLoRA(PeftMethod):
    """LoRA whose ranks are spread over the matrices by what they are worth to the task.

    Every matrix starts with ``initial_rank`` pairs of vectors. During training the least important pairs of
    all matrices are switched off, until ``rank`` are left in each on average.

    Parameters
    ----------
    rank : int, default=8
        Mean rank at the end, >= 1.
    initial_rank : int, default=12
        Rank of every matrix at the start, above ``rank``.
    alpha : float, default=16
        The product is scaled by ``alpha / initial_rank``.
    dropout : float, default=0.0
        Dropout on the adapter's input, in [0, 1).
    tinit : float, default=0.1
        Share of all optimiser steps before the first rank is taken away.
    tfinal : float, default=0.3
        Share of all optimiser steps at the end, in which ranks stay as they are.
    interval : int, default=1
        Steps from one allocation to the next.
    orthogonality : float, default=0.5
        Weight of the penalty that keeps the vectors of a matrix at right angles, >= 0. The losses in the
        history are without it.
    target_modules : tuple of str, default=("key", "value")
        As for :class:`LoRA`.
    last_n_layers : int, optional
        Adapt the last n layers only; None adapts all.

    Raises
    ------
    ValueError
        Fewer than 10 steps of allocation between ``tinit`` and ``tfinal``.

    Notes
    -----
    With early stopping, the best epoch may lie before the end of the allocation and have more ranks.

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

    _allocation: Any = field(default=None, init=False)

    def peft_config(self, backbone: Backbone) -> peft.AdaLoraConfig:
        return peft.AdaLoraConfig(
            target_r=int(self.rank),
            init_r=int(self.initial_rank),
            lora_alpha=self.alpha,  # type: ignore[arg-type]
            lora_dropout=self.dropout,
            deltaT=int(self.interval),
            orth_reg_weight=self.orthogonality,
            total_step=1,
            target_modules=self._pattern(backbone),
        )

    def penalty(self, model: nn.Module) -> Tensor | None:
        """Mean distance of each thin matrix times its transpose from the identity, weighed."""
        distances = [
            torch.linalg.norm(product - torch.eye(len(product), device=product.device))
            for layer in _layers_of(model)
            for product in _products(layer)
        ]
        return self.orthogonality * torch.stack(distances).mean()

    def after_step(self, model: nn.Module, step: int, n_steps: int) -> None:
        if self._allocation is None:
            self._allocation = _Allocation(model, self._schedule(n_steps))
        self._allocation.update(model, step)

    def _schedule(self, n_steps: int) -> peft.AdaLoraConfig:
        first, last = round(self.tinit * n_steps), round(self.tfinal * n_steps)
        n_left = n_steps - first - last
        if n_left < _FEWEST_STEPS * self.interval:
            raise ValueError(
                f"AdaLoRA has {max(n_left, 0)} of {n_steps} optimiser steps for its allocation "
                f"(tinit={self.tinit}, tfinal={self.tfinal}), and wants {_FEWEST_STEPS * self.interval} or "
                "more. Raise epochs, lower batch_size, or take LoRA()."
            )
        return peft.AdaLoraConfig(
            target_r=int(self.rank),
            init_r=int(self.initial_rank),
            tinit=first,
            tfinal=last,
            deltaT=int(self.interval),
            total_step=n_steps,
        )

    def _check(self, backbone: Backbone) -> None:
        super()._check(backbone)
        for name in ("rank", "initial_rank", "interval"):
            check_count(f"AdaLoRA {name}", getattr(self, name))
        for name in ("dropout", "tinit", "tfinal"):
            check_share(f"AdaLoRA {name}", getattr(self, name))
        check_positive("AdaLoRA alpha", self.alpha)
        if self.initial_rank <= self.rank:
            raise ValueError(
                f"AdaLoRA takes ranks away: initial_rank={self.initial_rank} must be above rank={self.rank}."
            )
        if self.orthogonality < 0:
            raise ValueError(f"AdaLoRA orthogonality is >= 0, got {self.orthogonality!r}")


class _Allocation:
    """The ranks of one training run."""

    def __init__(self, model: nn.Module, config: peft.AdaLoraConfig):
        self.config = config
        self.allocator = RankAllocator(model, config, "default")
        self.pattern: dict[str, list[bool]] | None = None

    def update(self, model: nn.Module, step: int) -> None:
        last = self.config.total_step - self.config.tfinal  # type: ignore[operator]
        if step <= last:
            _, pattern = self.allocator.update_and_allocate(model, step, force_mask=step == last)
            self.pattern = pattern or self.pattern
        elif self.pattern is not None:
            self.allocator.mask_using_rank_pattern(model, self.pattern)


def _layers_of(model: nn.Module) -> Iterator[SVDLinear]:
    return (module for module in model.modules() if isinstance(module, SVDLinear))


def _products(layer: Any) -> tuple[Tensor, Tensor]:
    """Inner products of the vectors of a layer's thin matrices, (rank, rank) each."""
    right, left = layer.lora_A["default"], layer.lora_B["default"]
    return right @ right.T, left.T @ left
