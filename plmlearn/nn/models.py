"""From an encoder's residues to outputs: poolings, heads, and the models that join them with an encoder.

``POOLINGS``   one vector per protein from those of its residues: a class and an entry each
``HEADS``      a protein's vector to its outputs: a class and an entry each
Models         encoder, scaler and head in one module. ``embed`` gives what the head reads of a batch, and
               ``keeps`` says what is worth keeping of it where the encoder is frozen.

Shapes: B distinct sequences, P proteins, R residues, N samples, D width, C outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from .crf import LinearChainCRF
from .encoders import PackedEncoder
from .packing import Activations, Encoded, PackedTokens, Ragged, unpack


class Pooling(nn.Module):
    """Base class of all poolings.

    Parameters
    ----------
    width : int
        Width W of the vectors that it makes. Concrete poolings take the width D of residues.
    """

    width: int

    def __init__(self, width: int):
        super().__init__()
        self.width = width


class MeanPooling(Pooling):
    """Mean over residues, (P, D)."""

    def forward(self, encoded: Encoded) -> Tensor:
        return encoded.residues.means()


class MaxPooling(Pooling):
    """Largest value of each feature over residues, (P, D)."""

    def forward(self, encoded: Encoded) -> Tensor:
        return encoded.residues.maxima()


class ClsPooling(Pooling):
    """The vector of the first token, ``<cls>``, (P, D)."""

    def forward(self, encoded: Encoded) -> Tensor:
        if encoded.first is None:
            raise ValueError("This backbone has no token before the residues; pass pooling='mean'.")
        return encoded.first


class AttentionPooling(Pooling):
    """Weighted mean over residues, (P, D); a learned linear score per residue gives the weights."""

    def __init__(self, width: int):
        super().__init__(width)
        self.score = nn.Linear(width, 1)

    def forward(self, encoded: Encoded) -> Tensor:
        residues = encoded.residues
        return residues.weighted_means(residues.with_values(self.score(residues.values).float()))


class LightAttentionPooling(Pooling):
    """Light attention: a weighted mean and a maximum over residues, (P, 2 D).

    Two convolutions along the sequence make values and, for each feature separately, scores. A softmax
    over the residues turns scores into weights of the values. The maximum of the values joins their mean.

    References
    ----------
    Staerk et al., Light attention predicts protein location from the language of life, Bioinformatics
    Advances 2021, doi:10.1093/bioadv/vbab035
    """

    KERNEL = 9
    DROPOUT = 0.25

    def __init__(self, width: int):
        super().__init__(2 * width)
        self.value = nn.Conv1d(width, width, self.KERNEL)
        self.score = nn.Conv1d(width, width, self.KERNEL)
        self.dropout = nn.Dropout(self.DROPOUT)

    def forward(self, encoded: Encoded) -> Tensor:
        values, scores = (encoded.residues.convolved(conv).float() for conv in (self.value, self.score))
        return light_attention(values.with_values(self.dropout(values.values)), scores)


def light_attention(values: Ragged, scores: Ragged) -> Tensor:
    """Mean of values (R, W) by the softmax of scores (R, W), and their maximum, by protein: (P, 2 W)."""
    return torch.cat([values.weighted_means(scores), values.maxima()], dim=1)


POOLINGS: dict[str, type[Pooling]] = {
    "mean": MeanPooling,
    "max": MaxPooling,
    "cls": ClsPooling,
    "attention": AttentionPooling,
    "light_attention": LightAttentionPooling,
}


class EsmHead(nn.Sequential):
    """The classification head of ESM and T5: dropout, dense, tanh, dropout, dense.

    With a dropout of 0.2 it is the head of Schmirler et al. (2024) on ProtT5 and Ankh.
    """

    def __init__(self, width: int, n_outputs: int, hidden: int | None, dropout: float):
        hidden = hidden or width
        inner = nn.Linear(width, hidden)
        super().__init__(
            nn.Dropout(dropout), inner, nn.Tanh(), nn.Dropout(dropout), nn.Linear(hidden, n_outputs)
        )


class ReluHead(nn.Sequential):
    """Dense, ReLU, dropout, dense.

    On standardised embeddings, with ``hidden=32`` and a dropout of 0.2, it is the head of Schmirler
    et al. (2024) on frozen encoders.
    """

    def __init__(self, width: int, n_outputs: int, hidden: int | None, dropout: float):
        hidden = hidden or width
        super().__init__(
            nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, n_outputs)
        )


class MlpHead(nn.Sequential):
    """Layer norm, dense, ReLU, dropout, dense.

    The layer norm takes the place of standardising the features, which vary by orders of magnitude
    in a frozen encoder.
    """

    def __init__(self, width: int, n_outputs: int, hidden: int | None, dropout: float):
        super().__init__(nn.LayerNorm(width), *ReluHead(width, n_outputs, hidden, dropout))


class LinearHead(nn.Sequential):
    """Dropout, dense; ``hidden`` is not used."""

    def __init__(self, width: int, n_outputs: int, hidden: int | None, dropout: float):
        super().__init__(nn.Dropout(dropout), nn.Linear(width, n_outputs))


HEADS: dict[str, type[nn.Module]] = {
    "esm": EsmHead,
    "mlp": MlpHead,
    "relu": ReluHead,
    "linear": LinearHead,
}


def make_head(name: str, width: int, n_outputs: int, hidden: int | None, dropout: float) -> nn.Module:
    """A head by name; initial values come from torch's global random state."""
    return HEADS[name](width, n_outputs, hidden, dropout)


def has_weights(module: nn.Module) -> bool:
    """Whether a module has parameters to train."""
    return any(True for _ in module.parameters())


ModelInputs = PackedTokens | Activations | Ragged
"""A batch: its tokens, what enters the first trained layer, or embeddings made before training."""


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


class EncoderModel(nn.Module, ABC):
    """What every model is: an encoder, and a head that reads scaled embeddings.

    Parameters
    ----------
    encoder : PackedEncoder
        Backbone with its adapter.
    width : int
        Of the embeddings that the head reads.
    """

    head: nn.Module
    per_residue: bool = False
    """Whether the head reads a vector per residue, not one per protein."""

    def __init__(self, encoder: PackedEncoder, width: int):
        super().__init__()
        self.encoder = encoder
        self.scaler = FeatureScaler(width)

    @property
    @abstractmethod
    def keeps(self) -> str:
        """What to keep of a frozen encoder: "pooled" or "residues" embeddings, or the "trunk"."""

    @abstractmethod
    def read_out(self, encoded: Encoded) -> Ragged:
        """What the head reads of encoded proteins: a vector or several for each, in float32."""

    def embed(self, inputs: ModelInputs) -> Ragged:
        """What the head reads of a batch, before it is scaled; embeddings are returned as they are."""
        if isinstance(inputs, Ragged):
            return inputs
        tokens = inputs.tokens if isinstance(inputs, Activations) else inputs
        return self.read_out(unpack(self.encoder(inputs), tokens))


class PooledModel(EncoderModel, ABC):
    """A model over one vector per protein, which a pooling makes of its residues.

    Parameters
    ----------
    encoder : PackedEncoder
    pooling : nn.Module
        One of :data:`plmlearn.nn.models.POOLINGS`.
    width : int
    """

    def __init__(self, encoder: PackedEncoder, pooling: nn.Module, width: int):
        super().__init__(encoder, width)
        self.pooling = pooling

    @property
    def keeps(self) -> str:
        return "trunk" if has_weights(self.pooling) else "pooled"


class ProteinModel(PooledModel):
    """One vector of outputs per protein.

    Parameters
    ----------
    encoder : PackedEncoder
    pooling : Pooling
    head : nn.Module
        One of :data:`plmlearn.nn.models.HEADS`.
    """

    def __init__(self, encoder: PackedEncoder, pooling: Pooling, head: nn.Module):
        super().__init__(encoder, pooling, pooling.width)
        self.head = head

    def read_out(self, encoded: Encoded) -> Ragged:
        return Ragged(self.pooling(encoded).float(), [1] * len(encoded.residues))

    def forward(self, inputs: ModelInputs, index: Tensor) -> Tensor:
        """Outputs of N samples over B distinct sequences, (N, C) in float32."""
        return self.head(self.scaler(self.embed(inputs).values)[index]).float()


class ResidueModel(EncoderModel):
    """One vector of outputs per residue.

    Parameters
    ----------
    encoder : PackedEncoder
    head : nn.Module
        One of :data:`plmlearn.nn.residue_heads.RESIDUE_HEADS`.
    crf : LinearChainCRF, optional
        Scores paths of labels through the outputs, which are its emissions; trained with the rest.
    """

    keeps = "residues"
    per_residue = True

    def __init__(self, encoder: PackedEncoder, head: nn.Module, crf: LinearChainCRF | None = None):
        super().__init__(encoder, encoder.width)
        self.head = head
        self.crf = crf

    def read_out(self, encoded: Encoded) -> Ragged:
        return encoded.residues.float()

    def forward(self, inputs: ModelInputs, index: Tensor) -> Ragged:
        """Outputs of the residues of N samples over B distinct sequences, (R, C) in float32."""
        embedded = self.embed(inputs)
        outputs = self.head(embedded.with_values(self.scaler(embedded.values)))
        return embedded.with_values(outputs.float()).take(index.tolist())

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
        marginals = self.crf.marginals
        return _in_chunks(self.crf, outputs, lambda *padded: marginals(*padded).double())


_CHUNK = 2**16  # residues, padding included, that a CRF decodes at once


@torch.no_grad()
def _in_chunks(crf: LinearChainCRF, outputs: Ragged, decode: Callable[[Tensor, Tensor], Tensor]) -> Ragged:
    """What ``decode`` makes of padded emissions and their mask, a few samples of like length at a time."""
    crf.require_paths(outputs.lengths)
    found: dict[int, Tensor] = {}
    for samples in _samples_of_like_length(outputs.lengths):
        emissions, mask = outputs.take(samples).to(crf.transitions.device).padded()
        decoded = decode(emissions, mask).cpu()
        found.update((sample, decoded[i, : outputs.lengths[sample]]) for i, sample in enumerate(samples))
    return Ragged.of([found[sample] for sample in range(len(outputs))])


def _samples_of_like_length(lengths: list[int]) -> Iterator[list[int]]:
    chunk: list[int] = []
    for sample in sorted(range(len(lengths)), key=lengths.__getitem__):
        if chunk and (len(chunk) + 1) * lengths[sample] > _CHUNK:
            yield chunk
            chunk = []
        chunk.append(sample)
    yield chunk


def learned_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Everything that a fit changed, by name: trained parameters and the buffers beside the encoder."""
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
