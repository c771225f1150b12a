"""Encoder and head in one module: one vector of outputs per protein, or one per residue.

A model has an ``encoder``, a ``scaler`` and a ``head``, says what it makes of a batch without the head
(``features``), and what of that is worth keeping where the encoder is frozen (``keeps``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from .crf import LinearChainCRF
from .encoders import PackedEncoder
from .heads import has_weights
from .packing import PackedTokens, unpack
from .pooling import Pooling
from .ragged import Ragged


class FeatureScaler(nn.Module):
    """Centres and scales each feature by its mean and deviation over the training proteins.

    Pooled embeddings of related proteins differ by a hundredth of their size; a head sees that only
    after scaling. The figures are taken before training and stay fixed.

    Parameters
    ----------
    width : int
    """

    def __init__(self, width: int):
        super().__init__()
        self.mean = nn.Buffer(torch.zeros(width))
        self.scale = nn.Buffer(torch.ones(width))

    def learn(self, features: Tensor) -> None:
        """Take mean and deviation from (N, D) features."""
        deviation = features.std(dim=0, correction=0)
        self.mean.copy_(features.mean(dim=0))
        self.scale.copy_(torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation)))

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.scale


class PooledModel(nn.Module):
    """What models of whole proteins share: an encoder, and a pooling that makes a vector of its residues.

    Parameters
    ----------
    encoder : PackedEncoder
        Backbone with its adapter.
    pooling : nn.Module
        One of :data:`plmlearn.nn.pooling.POOLINGS`.
    """

    def __init__(self, encoder: PackedEncoder, pooling: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling

    @property
    def keeps(self) -> str:
        """What to keep of a frozen encoder: "pooled" embeddings, or the "trunk" below a trained pooling."""
        return "trunk" if has_weights(self.pooling) else "pooled"

    def pool(self, tokens: PackedTokens) -> Tensor:
        """Pooled embeddings of a batch, (B, D) in float32."""
        if tokens.pooled is not None:
            return tokens.pooled
        return self.pooling(unpack(self.encoder(tokens), tokens)).float()


class ProteinModel(PooledModel):
    """One vector of outputs per protein.

    Parameters
    ----------
    encoder : PackedEncoder
        Backbone with its adapter.
    pooling : Pooling
        One of :data:`plmlearn.nn.pooling.POOLINGS`.
    head : nn.Module
        One of :data:`plmlearn.nn.heads.HEADS`.
    """

    def __init__(self, encoder: PackedEncoder, pooling: Pooling, head: nn.Module):
        super().__init__(encoder, pooling)
        self.scaler = FeatureScaler(pooling.width)
        self.head = head

    def forward(self, tokens: PackedTokens, sequence_of_row: Tensor) -> Tensor:
        """Outputs of N rows over B distinct sequences, (N, C) in float32."""
        return self.head(self.scaler(self.pool(tokens))[sequence_of_row]).float()


class ResidueModel(nn.Module):
    """One vector of outputs per residue.

    Parameters
    ----------
    encoder : PackedEncoder
        Backbone with its adapter.
    head : nn.Module
        One of :data:`plmlearn.nn.residue_heads.RESIDUE_HEADS`.
    crf : LinearChainCRF, optional
        Scores paths of labels through the outputs, which are its emissions; trained with the rest.
    """

    keeps = "residues"

    def __init__(self, encoder: PackedEncoder, head: nn.Module, crf: LinearChainCRF | None = None):
        super().__init__()
        self.encoder = encoder
        self.scaler = FeatureScaler(encoder.width)
        self.head = head
        self.crf = crf

    def embed(self, tokens: PackedTokens) -> Ragged:
        """Residue embeddings of a batch, (R, D) in float32."""
        if tokens.residues is not None:
            return Ragged(tokens.residues, tokens.residue_lengths)
        encoded = unpack(self.encoder(tokens), tokens)
        return Ragged(encoded.residues.float(), encoded.lengths)

    def forward(self, tokens: PackedTokens, sequence_of_row: Tensor) -> Ragged:
        """Outputs of the residues of N rows over B distinct sequences, (R, C) in float32."""
        embedded = self.embed(tokens)
        outputs = self.head(embedded.with_values(self.scaler(embedded.values)))
        return embedded.with_values(outputs.float()).take(sequence_of_row.tolist())

    def labels(self, outputs: Ragged) -> Ragged:
        """The most probable label of each residue, or those of the most probable path of a CRF, int (R,)."""
        if self.crf is None:
            return outputs.with_values(outputs.values.argmax(dim=1))
        crf = self.crf
        return _in_chunks(crf, outputs, lambda emissions, mask: crf.viterbi(emissions, mask)[0])

    def probabilities(self, outputs: Ragged) -> Ragged:
        """Probability of each label at each residue, (R, C): a softmax, or the marginals of a CRF."""
        if self.crf is None:
            return outputs.with_values(outputs.values.double().softmax(dim=1))
        return _in_chunks(self.crf, outputs, self.crf.marginals)


_CHUNK = 2**16  # residues, padding included, that a CRF decodes at once


@torch.no_grad()
def _in_chunks(crf: LinearChainCRF, outputs: Ragged, decode: Callable[[Tensor, Tensor], Tensor]) -> Ragged:
    """What ``decode`` makes of padded emissions and their mask, a few rows of like length at a time."""
    crf.require_paths(outputs.lengths)
    found: dict[int, Tensor] = {}
    for rows in _rows_of_like_length(outputs.lengths):
        emissions, mask = outputs.take(rows).to(crf.transitions.device).padded()
        decoded = decode(emissions, mask).cpu()
        found.update((row, decoded[i, : outputs.lengths[row]]) for i, row in enumerate(rows))
    return Ragged.of([found[row] for row in range(len(outputs))])


def _rows_of_like_length(lengths: list[int]) -> Iterator[list[int]]:
    chunk: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if chunk and (len(chunk) + 1) * lengths[row] > _CHUNK:
            yield chunk
            chunk = []
        chunk.append(row)
    yield chunk


def learned_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Everything that a fit changed, by name: trained parameters and the buffers of the head's side."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    buffers = {name: b for name, b in model.named_buffers() if not name.startswith("encoder.")}
    return trained | buffers


def load_learned(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Write learned tensors into a model freshly built with the same settings."""
    own = learned_tensors(model)
    if own.keys() != tensors.keys():
        differing = ", ".join(sorted(own.keys() ^ tensors.keys())[:5])
        raise ValueError(f"The learned tensors do not fit the model: {differing} differ.")
    for name, tensor in own.items():
        found = tensors[name]
        if (found.shape, found.dtype) != (tensor.shape, tensor.dtype):
            raise ValueError(
                f"The learned tensors do not fit the model: {name} is {found.dtype} of shape "
                f"{tuple(found.shape)}; expected {tensor.dtype} of shape {tuple(tensor.shape)}."
            )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
