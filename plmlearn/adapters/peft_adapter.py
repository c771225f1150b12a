"""Any method of peft, by its own configuration, tried out before it touches what models share."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..backbones import Backbone
from .base import PeftMethod, TargetModule


@dataclass(kw_only=True, eq=False, repr=False)
class PeftAdapter(PeftMethod):
    """Any method of peft that adapts matrices, by its configuration.

    Parameters
    ----------
    config : peft.PeftConfig
        For instance ``peft.OFTConfig(...)``; never changed. Its ``target_modules`` are names of the
        transformers model, unless ``target_modules`` is given here.
    target_modules : tuple of str, optional
        Adapted matrices by plmlearn's names, as for :class:`LoRA`, whatever the backbone; None leaves
        those of ``config``.
    last_n_layers : int, optional
        Adapt the last n layers only; asks for ``target_modules``. None adapts all.

    Raises
    ------
    ValueError
        A configuration that does not fit: prompts and prefixes (take :class:`PromptTuning`,
        :class:`PrefixTuning`), one that adapts anything but matrices, changes the pretrained weights as it
        starts (PiSSA, OLoRA), or draws what is not trained without a seed of its own, because that is drawn
        again when a fitted estimator is restored.

    See Also
    --------
    LoRA : Low-rank matrices beside those of the encoder.
    target_pattern : The matrices that an adapter changes.

    Examples
    --------
    >>> import peft
    >>> from plmlearn.adapters import PeftAdapter
    >>> adapter = PeftAdapter(peft.LoHaConfig(r=4, alpha=4), target_modules=("key", "value"))
    >>> adapter.config.peft_type.value
    'LOHA'
    """

    config: Any = field(kw_only=False)
    target_modules: Sequence[TargetModule] | TargetModule | None = None

    _parameter_constraints: ClassVar[dict] = {"config": "no_validation"}  # see _check

    default_lr: ClassVar[float] = 1e-3

    def peft_config(self, backbone: Backbone) -> Any:
        config = copy.deepcopy(self.config)
        if self.target_modules is not None:
            config.target_modules = self._pattern(backbone)
        return config

    def _check(self, backbone: Backbone) -> None:
        import peft

        super()._check(backbone)
        kind = type(self.config).__name__
        if not isinstance(self.config, peft.PeftConfig):
            raise ValueError(f"config is a configuration of peft, such as peft.LoHaConfig(), got a {kind}")
        if isinstance(self.config, peft.AdaLoraConfig):
            raise ValueError("AdaLoraConfig needs a schedule over all steps; take plmlearn's AdaLoRA().")
        if self.config.is_prompt_learning or self.config.is_adaption_prompt:
            raise ValueError(
                f"{kind} needs what an encoder lacks; take plmlearn's PromptTuning() or PrefixTuning()."
            )
        if not (self.target_modules or vars(self.config).get("target_modules")):
            raise ValueError(
                f"{kind} names no matrices; pass PeftAdapter(config, target_modules=('key', 'value'))."
            )
        if self.last_n_layers is not None and self.target_modules is None:
            raise ValueError("last_n_layers asks for target_modules by plmlearn's names; pass both.")
        self._try_out(backbone)

    def _try_out(self, backbone: Backbone) -> None:
        """Put the method into a model of no value twice, and raise where it misbehaves."""
        kind = type(self.config).__name__
        with torch.random.fork_rng(devices=[]):
            first, again = (self._trial(backbone) for _ in range(2))
        if not all(torch.equal(one, other) for one, other in zip(first, again, strict=True)):
            raise ValueError(
                f"{kind} draws at random what is not trained, which a restored estimator could not draw "
                "again; set a seed in the configuration."
            )

    def _trial(self, backbone: Backbone) -> list[Tensor]:
        """What the adapted matrices make of fixed input once the trained tensors have fixed values."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        model = backbone.share()
        blocks: Any = model.get_submodule(backbone.architecture.layers)
        block = copy.deepcopy(blocks[0])  # one for all layers, so that a trial takes the memory of one
        tensors = [*block.parameters(), *block.buffers()]
        for index in range(len(blocks)):
            blocks[index] = copy.deepcopy(block, {id(tensor): tensor for tensor in tensors})
        before = [tensor.clone() for tensor in tensors]
        try:
            trained = list(self._put_into(model, backbone))
        except Exception as error:  # whatever peft says of settings that do not fit
            kind = type(self.config).__name__
            raise ValueError(f"{kind} does not fit {backbone.name!r}: {error}") from error
        if not all(torch.equal(t.data, old) for t, old in zip(tensors, before, strict=True)):
            raise ValueError(
                f"{type(self.config).__name__} changes the backbone's weights as it starts, which other "
                "models share; take a start that leaves them (for LoRA: init_lora_weights=True)."
            )
        shared = {id(tensor) for tensor in backbone.tensors()}
        for tensor in trained:
            if id(tensor) not in shared:
                tensor.data = _fixed_values(tensor)
        adapted = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
        return [_answer(module, self.config) for module in adapted]


@torch.no_grad()
def _answer(module: Any, config: Any) -> Tensor:
    base = module.get_base_layer()
    if not isinstance(base, nn.Linear):
        raise ValueError(
            f"{type(config).__name__} adapts a {type(base).__name__}; plmlearn's encoders take adapted "
            "matrices (nn.Linear) alone."
        )
    x = torch.empty(2, base.in_features, device=base.weight.device)
    return module.eval()(_fixed_values(x).to(base.weight.dtype))


def _fixed_values(like: Tensor) -> Tensor:
    """Values of some irregularity, the same for the same shape."""
    steps = torch.arange(like.numel(), dtype=torch.float32, device=like.device)
    return (0.1 * torch.sin(steps * 1.7 + 1)).view(like.shape).to(like.dtype)
