"""The frozen encoder as a transformer: sequences in, features out, each protein embedded once."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar, Literal

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ..adapters import Frozen
from ..backbones import Backbone, check_fingerprint
from ..nn.encoders import PackedEncoder
from ..nn.models import POOLINGS, EncoderModel, ProteinModel, ResidueModel
from ..sequences.clean import object_array
from ..training.batching import TokenizedSequences
from ..training.devices import resolve_device
from ..training.features import frozen_embeddings
from .loaded import LoadedModel
from .parameters import BackboneParameters, RuntimeParameters

CHUNK = 10_000  # sequences tokenised at once: beyond embeddings, memory does not grow with their number


@dataclass(kw_only=True, eq=False, repr=False)
class LayerParameters(BackboneParameters):
    """Which hidden state."""

    layer: int | None = None

    _parameter_constraints: ClassVar[dict] = {"layer": [Integral, None]}


@dataclass(kw_only=True, eq=False, repr=False)
class EmbeddingParameters(BackboneParameters):
    """How residues become one vector, or stay apart."""

    pooling: Literal["mean", "max", "cls"] | None = "mean"

    _parameter_constraints: ClassVar[dict] = {"pooling": [StrOptions({"mean", "max", "cls"}), None]}


@dataclass(kw_only=True, eq=False, repr=False)
class PLMEmbedder(
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    RuntimeParameters,
    LayerParameters,
    EmbeddingParameters,
):
    """Embeddings of proteins by a frozen protein language model.

    Each distinct sequence is embedded once per machine: embeddings are kept by content (weights, layer,
    pooling, precision, sequence) and found again in every fold, candidate and run.

    Parameters
    ----------
    backbone : str or PathLike, default="esm2-8m"
        Pretrained encoder: "mini" (bundled, works offline), a short name such as "esm2-35m", a Hugging Face
        id, or a folder written by ``save_pretrained``.
    pooling : {"mean", "max", "cls"} or None, default="mean"
        How residues become one vector per protein; None returns one (L, D) array per protein.
    layer : int, optional
        Hidden state to take: 0 is the token embeddings, n the output of the n-th layer; negative numbers
        count from the last. The last one, also for None, has passed the final norm.
    max_length : int, default=1022
        Residues that the backbone sees at once, at most 10,000.
    long_sequences : {"truncate", "window", "raise"}, default="truncate"
        What to do with proteins longer than ``max_length``. "truncate" reads their first residues and warns
        with counts. "window" reads all residues in overlapping windows and blends them; memory and time then
        grow in proportion to the length. "raise" refuses them.
    invalid : {"raise", "replace"}, default="raise"
        What to do with characters that do not denote a residue: refuse them, or read them as X.

    Attributes
    ----------
    n_features_out_ : int
        Width D of the embeddings.
    backbone_fingerprint_ : str
        Digest of the weights.

    Other Parameters
    ----------------
    max_tokens : int or "auto", default="auto"
        Tokens that go through the model at once. Memory grows with it, results do not change. Halved, with a
        warning, when memory runs out.
    precision : {"auto", "fp32", "bf16", "fp16"}, default="auto"
        Precision of the weights and of all products. "auto" takes bfloat16 where the device computes faster
        in it.
    quantization : {"int8", "nf4"}, optional
        Hold the matrices in 8 or 4 bits: a half or a quarter of the memory of bfloat16. "nf4" needs ``pip
        install "plmlearn[quantization]"``.
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

    See Also
    --------
    PLMFrozenMLP : A perceptron on these embeddings.

    Notes
    -----
    Cost: one forward pass per distinct sequence, then none. ``fit`` learns nothing; it loads the backbone.

    Examples
    --------
    >>> from plmlearn import PLMEmbedder
    >>> embedder = PLMEmbedder("mini")
    >>> embedder.fit_transform(["MKTAYIAKQR", "GSHMLEDP"]).shape
    (2, 192)
    >>> residues = PLMEmbedder("mini", pooling=None).fit_transform(["MKTAYIAKQR", "GSHMLEDP"])
    >>> [r.shape for r in residues]
    [(10, 192), (8, 192)]
    """

    def fit(self, X: Any, y: Any = None) -> PLMEmbedder:
        """Check parameters and load the backbone; nothing is learned.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)
        y : ignored

        Returns
        -------
        self
        """
        self._check_parameters()
        self._check_X(X, invalid=self.invalid)
        backbone = self._load_backbone(self.backbone, resolve_device(self.device))
        _depth(self.layer, backbone)
        self.n_features_out_ = backbone.config.hidden_size
        self.backbone_fingerprint_ = backbone.fingerprint
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Embeddings of proteins.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        ndarray of float32, shape (n_proteins, D)
            With ``pooling=None`` an object array of n_proteins arrays of shape (L, D), which are read-only.
        """
        check_is_fitted(self, "n_features_out_")
        self._check_parameters()
        sequences, _ = self._clean(X)
        model = self._load()
        check_fingerprint(model.backbone, self.backbone_fingerprint_)
        order: dict[str, int] = {}
        index = np.array([order.setdefault(s, len(order)) for s in sequences])
        distinct = list(order)
        # Of residues the cache must know the size of all, to choose between memory and disk.
        chunk = len(distinct) if self.pooling is None else CHUNK
        for start in range(0, len(distinct), chunk):
            some = self._embed(model, distinct[start : start + chunk])
            if start == 0:
                embeddings = np.empty((len(distinct), *some.shape[1:]), some.dtype)
            embeddings[start : start + chunk] = some
        return embeddings if len(distinct) == len(index) else embeddings[index]

    def _embed(self, model: LoadedModel, distinct: list[str]) -> np.ndarray:
        """Embeddings of distinct sequences."""
        tokens = TokenizedSequences(model.backbone, distinct, self._window)
        found = frozen_embeddings(model.module, tokens, model.backbone, model.config)
        if self.pooling is not None:
            return found.joined()
        residues = object_array([values.numpy() for values in found])
        for values in residues:
            values.flags.writeable = False  # a view of what the cache holds
        return residues

    def _load(self) -> LoadedModel:
        device = resolve_device(self.device)
        backbone = self._load_backbone(self.backbone, device)
        depth = _depth(self.layer, backbone)
        return LoadedModel.build(
            self._plain(), backbone, Frozen(), self._make_module, device=device, seed=0, depth=depth
        )

    def _make_module(self, encoder: PackedEncoder) -> EncoderModel:
        if self.pooling is None:
            return ResidueModel(encoder, nn.Identity()).eval()
        return ProteinModel(encoder, POOLINGS[self.pooling](encoder.width), nn.Identity()).eval()

    @property
    def _n_features_out(self) -> int:
        return self.n_features_out_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        return tags


def _depth(layer: int | None, backbone: Backbone) -> int:
    """Layers to run for the hidden state that ``layer`` names."""
    n_layers = backbone.n_layers
    if layer is None:
        return n_layers
    layer = int(layer)
    if not -n_layers - 1 <= layer <= n_layers:
        raise ValueError(
            f"layer={layer}, but {backbone.name!r} has hidden states 0 (embeddings) to {n_layers}, "
            f"or -{n_layers + 1} to -1."
        )
    return layer % (n_layers + 1)
