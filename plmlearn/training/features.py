"""Features: what the frozen part of a model makes of sequences, computed once, before training.

Where nothing below the head is trained, these are embeddings, one per protein or one per residue; where
only the last layers are trained, the activations that enter them. Same weights, same sequence, same depth
and precision give the same numbers, so the cache finds them again in every epoch, fold and candidate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..backbones import Backbone
from ..cache import BLOCK_BYTES, Compute, Computed, Entries, default_cache
from ..nn.encoders import FORWARD_VERSION
from ..nn.models import EncoderModel, ModelInputs
from ..nn.packing import Activations, Ragged, unpack
from .batching import Batch, Inputs, TokenizedSequences, split_by_budget, to_device
from .config import TrainingConfig
from .devices import Budget, autocast, check_same_in_all, n_processes, of_all_processes, own_share


@dataclass(frozen=True)
class FeatureSet:
    """What a model's frozen part makes of distinct sequences.

    Parameters
    ----------
    tokens : TokenizedSequences
    stage : {"trunk", "pooled", "residues"}
        (L, D) activations that enter the first trained layer, (1, D) pooled embeddings, or (L, D) residue
        embeddings.
    values : Entries
        Of each sequence; None for those that the cache had no room for, which are computed when needed.
    """

    tokens: TokenizedSequences
    stage: str
    values: Entries

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def lengths(self) -> np.ndarray:
        return self.tokens.lengths

    @property
    def residue_lengths(self) -> np.ndarray:
        return self.tokens.residue_lengths

    @property
    def costs(self) -> np.ndarray:
        """The tokens of each sequence, or 1 where all are pooled.

        A batch with one unknown embedding is encoded whole, so known ones cost their tokens too.
        """
        if self.stage == "pooled" and not len(self.values.missing):
            return np.ones_like(self.lengths)
        return self.lengths

    def pack(
        self, chosen: Sequence[int] | np.ndarray, device: torch.device, max_tokens: int | None = None
    ) -> ModelInputs:
        found = [self.values[i] for i in chosen]
        if any(values is None for values in found):
            return self.tokens.pack(chosen, device, max_tokens)
        joined = to_device(torch.cat(found), device)
        if self.stage == "trunk":
            return Activations(joined, self.tokens.pack(chosen, device, max_tokens))
        return Ragged(joined, [len(values) for values in found])


def with_features(model: EncoderModel, inputs: Inputs, backbone: Backbone, config: TrainingConfig) -> Inputs:
    """The same samples over features, where a part of the model is frozen; else over tokens, as they came.

    Parameters
    ----------
    model : EncoderModel
    inputs : Inputs
        Over tokens.
    backbone : Backbone
    config : TrainingConfig
    """
    stage, tokens = reusable_stage(model), inputs.sequences
    if stage is None:
        return inputs
    frozen = FrozenPart(model, stage, tokens, backbone, config)
    values = frozen.recall()
    if stage == "pooled":
        frozen.complete(values)
    elif len(values.missing):
        default_cache().say_too_large(int(tokens.lengths.sum()) * model.encoder.width * frozen.item_bytes)
    return replace(inputs, sequences=FeatureSet(tokens, stage, values))


def frozen_embeddings(
    model: EncoderModel, tokens: TokenizedSequences, backbone: Backbone, config: TrainingConfig
) -> Entries:
    """Embeddings of each sequence, pooled or per residue as the model reads them; it must be frozen."""
    frozen = FrozenPart(model, model.keeps, tokens, backbone, config)
    return frozen.complete(frozen.recall())


def embeddings_by_layer(
    model: EncoderModel, tokens: TokenizedSequences, backbone: Backbone, config: TrainingConfig
) -> list[Entries]:
    """Embeddings of each sequence after each layer, from one pass; pooled ones are kept, residues are not."""
    every = EveryLayer(model, model.keeps, tokens, backbone, config)
    layers = [OneLayer(every, layer) for layer in range(backbone.n_layers)]
    kept = model.keeps == "pooled"
    return [layer.complete(layer.recall() if kept else Entries(len(tokens))) for layer in layers]


def reusable_stage(model: EncoderModel) -> str | None:
    """What of the frozen part to keep: "pooled" or "residues" embeddings, "trunk" activations, or nothing."""
    encoder = model.encoder
    if encoder.trunk_depth == 0 or encoder.mixing is not None:
        return None  # a mean of all hidden states changes with its weights
    return model.keeps if encoder.trunk_depth == encoder.n_layers else "trunk"


class FrozenPart:
    """The part of a model up to a stage, run on sequences: what it computes is kept by content.

    Parameters
    ----------
    model : EncoderModel
    stage : {"trunk", "pooled", "residues"}
    tokens : TokenizedSequences
    backbone : Backbone
    config : TrainingConfig
    """

    def __init__(
        self,
        model: EncoderModel,
        stage: str,
        tokens: TokenizedSequences,
        backbone: Backbone,
        config: TrainingConfig,
    ):
        self.model, self.stage, self.tokens = model, stage, tokens
        self.backbone, self.config = backbone, config
        self.counts = {
            "trunk": tokens.lengths,
            "pooled": np.ones(len(tokens), dtype=int),
            "residues": tokens.residue_lengths,
        }[stage]
        """Vectors of each sequence."""
        self.item_bytes = model.encoder.compute_dtype.itemsize if stage == "trunk" else 4

    @property
    def namespace(self) -> str:
        """All but the sequence that the numbers depend on."""
        encoder = self.model.encoder
        part = {
            "trunk": f"trunk-{encoder.trunk_depth}",
            "pooled": f"pooled-{type(getattr(self.model, 'pooling', None)).__name__}",
            "residues": "residues",
        }[self.stage]
        compiled = "-compiled" if encoder.compiled else ""  # compiled layers round differently
        backbone = self.backbone
        return f"{backbone.fingerprint}-v{FORWARD_VERSION}-{backbone.arithmetic}-{part}{compiled}"

    def recall(self) -> Entries:
        """Found or computed; None where the cache has no room."""
        every = np.arange(len(self.tokens))
        if n_processes() > 1:
            check_same_in_all({"backbone": self.namespace, "X": b"".join(self._keys)})
            per_block = max(1, BLOCK_BYTES // self._bytes_of_vector)
            for block in np.split(every, split_by_budget(self.counts, per_block)[1:]):
                self._share(block)
        return self._fetch(every, self.run)

    def _fetch(self, chosen: np.ndarray, run: Compute) -> Entries:
        """Entries of some sequences (ascending); ``run`` computes those that are missing."""

        def compute(missing: np.ndarray) -> Iterator[Computed]:
            for samples, counts, vectors in run(chosen[missing]):
                yield np.searchsorted(chosen, samples), counts, vectors

        return default_cache().fetch(
            self.namespace,
            [self._keys[i] for i in chosen],
            compute,
            bytes_needed=int(self.counts.sum()) * self._bytes_of_vector,
            persist=self.stage == "pooled",
        )

    def _share(self, block: np.ndarray) -> None:
        """Each process computes its part of some sequences, and keeps what all have computed."""
        own = own_share(block)
        found = self._fetch(own, self.run)
        known = np.setdiff1d(np.arange(len(own)), found.missing)
        part = (own[known], torch.cat([found[i] for i in known])) if len(known) else None
        parts = [part for part in of_all_processes(part) if part is not None]

        def received(missing: np.ndarray) -> Iterator[Computed]:
            for samples, vectors in parts:
                wanted, counts = np.isin(samples, missing), self.counts[samples]
                yield samples[wanted], counts[wanted], vectors[torch.from_numpy(np.repeat(wanted, counts))]

        self._fetch(block, received)

    @cached_property
    def _keys(self) -> list[bytes]:
        return self.tokens.keys()

    @property
    def _bytes_of_vector(self) -> int:
        return self.backbone.config.hidden_size * self.item_bytes

    def complete(self, values: Entries) -> Entries:
        """With what the cache had no room for, computed for this call alone."""
        for chosen, counts, computed in self.run(values.missing):
            values.put(chosen, computed, counts)
        return values

    def run(self, chosen: np.ndarray) -> Iterator[Computed]:
        """Sequences, how many vectors each has, and all these vectors: batch by batch, longest first."""
        budget = Budget(self.config.max_tokens)
        for batch, vectors in budget.run_batches(self._batches, self._compute, chosen, self._n_tokens):
            yield batch.samples, self.counts[batch.samples], vectors

    def _batches(self, waiting: np.ndarray, max_tokens: int) -> Iterator[Batch]:
        order = waiting[np.argsort(-self.tokens.lengths[waiting], kind="stable")]
        while len(order):
            fits = int(np.searchsorted(self.tokens.lengths[order].cumsum(), max_tokens, side="right"))
            batch, order = order[: max(1, fits)], order[max(1, fits) :]
            packed = self.tokens.pack(batch, self.config.device, max_tokens)
            yield Batch(batch, packed, torch.arange(len(batch)))

    def _compute(self, batch: Batch) -> Tensor:
        inputs: Any = batch.inputs
        with torch.no_grad(), autocast(self.config.device, self.config.dtype):
            if self.stage == "trunk":
                return self.model.encoder.trunk(inputs).cpu()
            return self.model.embed(inputs).values.cpu()

    def _n_tokens(self, waiting: np.ndarray) -> int:
        return int(self.tokens.lengths[waiting].sum())


class EveryLayer(FrozenPart):
    """Embeddings of sequences after every layer, from one pass through all layers."""

    @cached_property
    def _known(self) -> dict[int, Tensor]:
        """Of each sequence that was run, its vectors after every layer, (n, n_layers, D)."""
        return {}

    def after(self, layer: int, chosen: list[int]) -> Tensor:
        """All vectors of some sequences after one layer, (n, D)."""
        new = np.array([i for i in chosen if i not in self._known], dtype=int)
        for samples, counts, vectors in self.run(new):
            self._known.update(zip(samples.tolist(), vectors.split(counts.tolist()), strict=True))
        return torch.cat([self._known[i][:, layer] for i in chosen])

    def _compute(self, batch: Batch) -> Tensor:
        tokens: Any = batch.inputs
        with torch.no_grad(), autocast(self.config.device, self.config.dtype):
            states = self.model.encoder.hidden_states(tokens)
            read = [self.model.read_out(unpack(state, tokens)).values for state in states]
        return torch.stack(read, dim=1).cpu()


class OneLayer(FrozenPart):
    """One layer of :class:`EveryLayer`, kept where an encoder that is cut after it looks for its own.

    Parameters
    ----------
    every : EveryLayer
    layer : int
        Counted from 0.
    """

    def __init__(self, every: EveryLayer, layer: int):
        cut = every.backbone.cut(layer + 1, every.backbone.final_norm)
        super().__init__(every.model, every.stage, every.tokens, cut, every.config)
        self.every, self.layer = every, layer

    def run(self, chosen: np.ndarray) -> Iterator[Computed]:
        if len(chosen):
            yield chosen, self.counts[chosen], self.every.after(self.layer, chosen.tolist())
