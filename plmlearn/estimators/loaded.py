"""One loaded model: encoder, head, backbone and run settings, which every estimator has and runs.

An estimator holds parameters and trained tensors; a :class:`LoadedModel` is made from them when something
is to run, and never pickled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn

from ..adapters import Adapter
from ..backbones import Backbone
from ..nn.encoders import PackedEncoder, make_encoder
from ..nn.models import learned_tensors, load_learned
from ..nn.packing import Ragged
from ..nn.randomness import seeded
from ..training.batching import Inputs
from ..training.config import TrainingConfig
from ..training.devices import auto_max_tokens
from ..training.features import with_features
from ..training.inference import embeddings_of, outputs_of
from .parameters import RuntimeParameters

_PROTEINS_TO_SCALE_BY = 2048
_RESIDUES_TO_SCALE_BY = 2**15


@dataclass
class LoadedModel:
    """A model ready to run.

    Parameters
    ----------
    module : nn.Module
        Encoder and head; one of :mod:`plmlearn.nn.models`.
    backbone : Backbone
        Whose frozen tensors the encoder shares.
    config : TrainingConfig
    settings : tuple
        Device, precision and token budget that were asked for.
    known : dict
        What an estimator keeps of earlier predictions by this model as it is.
    """

    module: Any
    backbone: Backbone
    config: Any
    settings: tuple
    known: dict = field(default_factory=dict)

    @classmethod
    def build(
        cls,
        parameters: RuntimeParameters,
        backbone: Backbone,
        adapter: Adapter,
        make_module: Callable[[PackedEncoder], nn.Module],
        *,
        device: torch.device,
        seed: int,
        tensors: bytes | None = None,
        gradient_checkpointing: bool = False,
        layer_mixing: bool = False,
        make_config: Callable[..., Any] = TrainingConfig,
        **training: Any,
    ) -> LoadedModel:
        """A model with fresh trained tensors, or with those given.

        Parameters
        ----------
        parameters : RuntimeParameters
            Of the estimator.
        backbone : Backbone
        adapter : Adapter
        make_module : callable
            Puts a head on an encoder; initial values come from torch's random state, seeded here.
        device : torch.device
        seed : int
        tensors : bytes, optional
            Of :meth:`state`.
        gradient_checkpointing, layer_mixing : bool
            As for :class:`plmlearn.nn.encoders.PackedEncoder`.
        make_config : callable
            Takes ``training`` and what is decided here.
        """
        first_trained = adapter.first_trained_layer(backbone.n_layers)
        with torch.inference_mode(False), seeded(seed, device):
            encoder = make_encoder(
                adapter.install(backbone),
                compute_dtype=backbone.dtype,
                trunk_depth=first_trained,
                final_norm=backbone.final_norm,
                checkpointing=gradient_checkpointing,
                compiled=parameters.compile,
                layer_mixing=layer_mixing,
            )
            module = make_module(encoder).to(device)
        if tensors is not None:
            load_learned(module, safetensors.torch.load(tensors))
        max_tokens = parameters.max_tokens
        if isinstance(max_tokens, str):
            n_layers = 1 if gradient_checkpointing else backbone.n_layers - first_trained
            max_tokens = auto_max_tokens(device, backbone.dtype, encoder.width, n_layers)
        shared = {"adapter": adapter, "device": device, "dtype": backbone.dtype, "seed": seed}
        config = make_config(max_tokens=int(max_tokens), **shared, **training)
        return cls(module, backbone, config, run_settings(parameters))

    @property
    def n_parameters(self) -> int:
        """All of the model's; a quantized backbone holds fewer, larger numbers than it stands for."""
        held, of_backbone = (
            sum(p.numel() for p in module.parameters()) for module in (self.module, self.backbone.model)
        )
        return held - of_backbone + self.backbone.n_parameters

    @property
    def n_trainable_parameters(self) -> int:
        return sum(p.numel() for p in self.module.parameters() if p.requires_grad)

    def tokens(self, sequences: np.ndarray, window: int | None = None) -> Inputs:
        """Tokens of clean sequences, (n,), or of pairs of them, (n, 2)."""
        if sequences.ndim == 1:
            return Inputs.of(self.backbone, sequences, window)
        ordered = self.module.combination.ordered
        return Inputs.of_pairs(self.backbone, sequences, ordered=ordered, window=window)

    def inputs(self, sequences: np.ndarray, window: int | None = None) -> Inputs:
        """The same, over features where a part of the model is frozen."""
        return with_features(self.module, self.tokens(sequences, window), self.backbone, self.config)

    def outputs(self, inputs: Inputs) -> Any:
        """What the model says of every sample: an array (n, C), or Ragged."""
        return outputs_of(self.module, inputs, self.config)

    def embeddings(self, inputs: Inputs) -> Ragged:
        """What the head reads of every sample, before it is scaled."""
        return embeddings_of(self.module, inputs, self.config)

    def learn_scale(self, inputs: Inputs) -> None:
        """Let the head's scaler see the embeddings of (a random draw of) the training proteins."""
        proteins = inputs.of_each_sequence if inputs.are_pairs else inputs
        drawn = np.random.default_rng(self.config.seed).permutation(len(proteins))
        n_drawn = _PROTEINS_TO_SCALE_BY
        if self.module.keeps == "residues":
            n_residues = np.cumsum(proteins.n_residues[drawn])
            n_drawn = int(np.searchsorted(n_residues, _RESIDUES_TO_SCALE_BY)) + 1
        embedded = embeddings_of(self.module, proteins, self.config, np.sort(drawn[:n_drawn]))
        self.module.scaler.learn(embedded.values)

    def state(self) -> bytes:
        """Everything that a fit changed, as safetensors."""
        learned = learned_tensors(self.module)
        return safetensors.torch.save({name: t.detach().cpu().contiguous() for name, t in learned.items()})


def run_settings(parameters: RuntimeParameters) -> tuple:
    """What a loaded model was asked for; another answer asks for another model."""
    return parameters.device, parameters.precision, parameters.max_tokens, parameters.compile
