"""The frozen encoder as a transformer: sequences in, features out, each protein embedded once."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ..backbones import Backbone, check_fingerprint, load_backbone
from ..backbones.quantization import QUANTIZATIONS
from ..nn.encoders import make_encoder
from ..nn.models import ProteinModel
from ..nn.pooling import POOLINGS
from ..sequences import check_sequences, truncate
from ..sequences.containers import object_array
from ..training.batching import TokenizedSequences
from ..training.config import TrainingConfig
from ..training.devices import PRECISIONS, resolve_device, resolve_precision
from ..training.memory import auto_max_tokens
from ..training.reuse import pooled_embeddings, residue_embeddings

CHUNK = 10_000  # sequences tokenised at once: beyond embeddings, memory does not grow with their number


@dataclass(kw_only=True, eq=False, repr=False)
class PLMEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Embeddings of proteins by a frozen protein language model.

    Each distinct sequence is embedded once per machine: embeddings are kept by content (weights,
    layer, pooling, precision, sequence) and found again in every fold, candidate and run.

    Parameters
    ----------
    backbone : str, default="esm2-8m"
        "mini" (bundled), a short name such as "esm2-35m", a Hugging Face id, or a local folder.
    revision : str, optional
        Branch, tag or commit of a Hugging Face repository.
    pooling : {"mean", "max", "cls"} or None, default="mean"
        How residues become one vector; None returns one (L, D) array per protein.
    layer : int, optional
        Hidden state to take: 0 is the token embeddings, n the output of the n-th layer, negative
        counts from the last. The last one, also for None, has passed the final norm.
    max_tokens : int or "auto", default="auto"
        Tokens that go through the encoder at once; memory grows with it, results do not change.
    precision : {"auto", "fp32", "bf16", "fp16"}, default="auto"
        "auto" takes bfloat16 where the processor is faster in it.
    quantization : {"int8", "nf4"}, optional
        Hold the backbone's matrices in 8 or 4 bits; "nf4" needs ``pip install "plmlearn[quantization]"``.
    compile : bool, default=False
        Run the layers through ``torch.compile``, which takes some seconds at first; see docs/speed.md.
    max_length : int, default=1022
        Residues that the encoder sees at once, at most 10,000.
    long_sequences : {"truncate", "window", "raise"}, default="truncate"
        What to do with longer sequences: read their first ``max_length`` residues, and warn with counts;
        read all of them in overlapping windows of at most ``max_length``, and blend these; or refuse.
    invalid : {"raise", "replace"}, default="raise"
        What to do with characters that are no residue: refuse, or read as X.
    device : str, default="auto"
        "auto" takes a GPU where there is one.

    Attributes
    ----------
    n_features_out_ : int
        Width D of the embeddings.
    backbone_fingerprint_ : str
        Digest of the weights.

    Notes
    -----
    Cost: one forward pass per distinct sequence, then none. ``fit`` learns nothing; it loads the
    backbone.

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

    backbone: str = field(default="esm2-8m", kw_only=False)
    revision: str | None = None
    pooling: str | None = "mean"
    layer: int | None = None
    max_tokens: int | str = "auto"
    precision: str = "auto"
    quantization: str | None = None
    compile: bool = False
    max_length: int = 1022
    long_sequences: str = "truncate"
    invalid: str = "raise"
    device: str = "auto"

    _parameter_constraints: ClassVar[dict] = {
        "backbone": [str],
        "revision": [str, None],
        "pooling": [StrOptions({"mean", "max", "cls"}), None],
        "layer": [Integral, None],
        "max_tokens": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "precision": [StrOptions(set(PRECISIONS))],
        "quantization": [StrOptions(set(QUANTIZATIONS)), None],
        "compile": ["boolean"],
        "max_length": [Interval(Integral, 1, 10_000, closed="both")],
        "long_sequences": [StrOptions({"truncate", "window", "raise"})],
        "invalid": [StrOptions({"raise", "replace"})],
        "device": [str],
    }

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
        self._validate_params()
        check_sequences(X, invalid=self.invalid)
        backbone = self._backbone()
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
            With ``pooling=None`` an object array of n_proteins arrays of shape (L, D), to be read only.
        """
        check_is_fitted(self, "n_features_out_")
        sequences = check_sequences(X, invalid=self.invalid)
        sequences, _ = truncate(sequences, self.max_length, self.long_sequences)
        backbone = self._backbone()
        check_fingerprint(backbone, self.backbone_fingerprint_)
        model, plan = self._model(backbone)
        order: dict[str, int] = {}
        of_row = np.array([order.setdefault(s, len(order)) for s in sequences])
        distinct = list(order)
        # Of residues the cache must know the size of all, to choose between memory and disk.
        chunk = len(distinct) if self.pooling is None else CHUNK
        for start in range(0, len(distinct), chunk):
            some = self._embed(distinct[start : start + chunk], model, backbone, plan)
            if start == 0:
                embeddings = np.empty((len(distinct), *some.shape[1:]), some.dtype)
            embeddings[start : start + chunk] = some
        return embeddings if len(distinct) == len(of_row) else embeddings[of_row]

    def _embed(
        self, distinct: list[str], model: ProteinModel, backbone: Backbone, plan: TrainingConfig
    ) -> np.ndarray:
        """Embeddings of distinct sequences."""
        window = self.max_length if self.long_sequences == "window" else None
        inputs = TokenizedSequences(backbone, distinct, window)
        if self.pooling is not None:
            return pooled_embeddings(model, inputs, backbone, plan).joined()
        rows = residue_embeddings(model.encoder, inputs, backbone, plan)
        out = object_array(residues.numpy() for residues in rows)
        for residues in out:
            residues.flags.writeable = False  # a view of what the cache holds
        return out

    def _backbone(self) -> Backbone:
        device = resolve_device(self.device)
        return load_backbone(
            self.backbone,
            revision=self.revision,
            device=device,
            precision=resolve_precision(self.precision, device),
            quantization=self.quantization,
        )

    def _model(self, backbone: Backbone) -> tuple[ProteinModel, TrainingConfig]:
        device = resolve_device(self.device)
        depth = _depth(self.layer, backbone)
        encoder = make_encoder(
            backbone.model,
            compute_dtype=backbone.dtype,
            trunk_depth=depth,
            depth=depth,
            compiled=self.compile,
        )
        pooling = POOLINGS[self.pooling or "mean"](encoder.width)
        max_tokens = auto_max_tokens(backbone, device, 0) if self.max_tokens == "auto" else self.max_tokens
        plan = TrainingConfig(max_tokens=int(max_tokens), device=device, dtype=backbone.dtype)
        return ProteinModel(encoder, pooling, nn.Identity()).eval(), plan

    @property
    def _n_features_out(self) -> int:
        return self.n_features_out_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.requires_fit = True
        return tags


def _depth(layer: int | None, backbone: Backbone) -> int:
    """Layers to run for the hidden state that ``layer`` names."""
    n_layers = backbone.n_layers
    if layer is None:
        return n_layers
    if not -n_layers - 1 <= layer <= n_layers:
        raise ValueError(
            f"layer={layer}, but {backbone.name!r} has hidden states 0 (embeddings) to {n_layers}, "
            f"or -{n_layers + 1} to -1."
        )
    return layer % (n_layers + 1)
