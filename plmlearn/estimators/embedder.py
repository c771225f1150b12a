"""The frozen encoder as a transformer: sequences in, features out, each protein embedded once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ..adapters import Frozen
from ..cache import Entries
from ..nn.encoders import PackedEncoder
from ..nn.models import POOLINGS, EncoderModel, ProteinModel, ResidueModel
from ..sequences.clean import object_array
from ..training.batching import TokenizedSequences
from ..training.devices import resolve_device, together
from ..training.features import embeddings_by_layer, frozen_embeddings
from .loaded import LoadedModel
from .parameters import BackboneParameters, CutParameters, RuntimeParameters, fitted_place, keep_place

CHUNK = 10_000  # sequences tokenised at once: beyond embeddings, memory does not grow with their number
_CHUNK_OF_LAYERS = 1_000  # the same where all layers are held at once


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
    CutParameters,
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
    n_layers : int, optional
        Cut the backbone after this layer, counted from the lowest: the layers above are not run and not held
        in memory. From 1 to the number of its layers; None keeps all. See :func:`plmlearn.layer_sweep`.
    final_norm : bool, default=True
        Apply the backbone's final norm to the output of its last layer, wherever it is cut. False gives the
        plain output of layer ``n_layers``.
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
        clone(self)._check_X(X)  # an earlier fit may have had another backbone
        backbone = self._load_backbone(self.backbone, resolve_device(self.device), **self._cut)
        self.n_features_out_ = backbone.config.hidden_size
        self.backbone_fingerprint_ = backbone.fingerprint
        keep_place(self)
        return self

    @together()
    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        """:meth:`fit`, then :meth:`transform`; processes that were launched together share the work.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)
        y : ignored

        Returns
        -------
        ndarray of float32, shape (n_proteins, D)
            As of :meth:`transform`.
        """
        return self.fit(X).transform(X)

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
        # Of residues the cache must know the size of all, to choose between memory and disk.
        return self._by_chunks(X, self._embed, None if self.pooling is None else CHUNK)

    def transform_layers(self, X: Any) -> np.ndarray:
        """Embeddings of proteins after every layer, from one pass through the backbone.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        ndarray of float32, shape (n_layers, n_proteins, D)
            Entry k - 1 is what the same embedder with ``n_layers=k`` gives. With ``pooling=None`` an object
            array of shape (n_layers, n_proteins) with arrays of shape (L, D).

        Notes
        -----
        Cost: one forward pass per distinct sequence. Pooled embeddings are found again, also by an embedder
        with ``n_layers=k``. Those of residues are not kept, and take n_layers D 4 bytes per residue: 8 kB in
        ESM2-8M.

        Examples
        --------
        >>> from plmlearn import PLMEmbedder
        >>> PLMEmbedder("mini").fit(["MKTAYIAKQR"]).transform_layers(["MKTAYIAKQR", "GSHMLEDP"]).shape
        (4, 2, 192)
        """
        return self._by_chunks(X, self._embed_layers, _CHUNK_OF_LAYERS).swapaxes(0, 1)

    @available_if(lambda embedder: embedder.pooling is not None)
    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the features of pooled embeddings; without them there are no data frames.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str, shape (D,)
        """
        return super().get_feature_names_out(input_features)

    def _by_chunks(
        self, X: Any, embed: Callable[[LoadedModel, TokenizedSequences], np.ndarray], chunk: int | None
    ) -> np.ndarray:
        """What ``embed`` makes of each sequence, some distinct ones at a time."""
        check_is_fitted(self, "n_features_out_")
        self._check_parameters()
        sequences, _ = self._clean(X)
        model = self._load()
        order: dict[str, int] = {}
        index = np.array([order.setdefault(s, len(order)) for s in sequences])
        distinct = list(order)
        chunk = chunk or len(distinct)
        for start in range(0, len(distinct), chunk):
            tokens = TokenizedSequences(model.backbone, distinct[start : start + chunk], self._window)
            some = embed(model, tokens)
            if start == 0:
                embeddings = np.empty((len(distinct), *some.shape[1:]), some.dtype)
            embeddings[start : start + chunk] = some
        return embeddings if len(distinct) == len(index) else embeddings[index]

    def _embed_layers(self, model: LoadedModel, tokens: TokenizedSequences) -> np.ndarray:
        """Embeddings of distinct sequences after every layer, (n, n_layers, D)."""
        found = embeddings_by_layer(model.module, tokens, model.backbone, model.config)
        return np.stack([self._as_array(layer) for layer in found], axis=1)

    def _embed(self, model: LoadedModel, tokens: TokenizedSequences) -> np.ndarray:
        """Embeddings of distinct sequences."""
        return self._as_array(frozen_embeddings(model.module, tokens, model.backbone, model.config))

    def _as_array(self, found: Entries) -> np.ndarray:
        if self.pooling is not None:
            return found.joined()
        residues = object_array([values.numpy() for values in found])
        for values in residues:
            values.flags.writeable = False  # a view of what the cache holds
        return residues

    def _load(self) -> LoadedModel:
        device = resolve_device(self.device)
        backbone = self._load_backbone(fitted_place(self, **self._cut), device, **self._cut)
        return LoadedModel.build(self._plain(), backbone, Frozen(), self._make_module, device=device, seed=0)

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
