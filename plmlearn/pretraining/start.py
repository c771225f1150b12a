"""Where a masked language model begins: an encoder of the ESM architecture, and its language head."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..backbones import Backbone
from ..nn.encoders import PackedEncoder
from .language_head import LanguageHead, MaskedLanguageModel


def require_esm(backbone: Backbone) -> None:
    """Raise unless a backbone is of the ESM architecture and reads residues alone."""
    if backbone.config.model_type != "esm" or backbone.token_format.reads_states:
        kind = "SaProt" if backbone.token_format.reads_states else backbone.config.model_type
        raise ValueError(
            f"backbone={backbone.name!r} is of architecture {kind!r}; masked language models are for ESM's."
        )


def make_language_model(
    encoder: PackedEncoder, backbone: Backbone, head_tensors: Mapping[str, Tensor]
) -> MaskedLanguageModel:
    """An encoder with the language head of these tensors, or with a new one where there are none."""
    config = backbone.config
    head = LanguageHead(
        encoder.width, config.vocab_size, config.layer_norm_eps, tied=config.tie_word_embeddings
    )
    if head_tensors:
        head.load(head_tensors)
    return MaskedLanguageModel(encoder, head, backbone.vocabulary[backbone.token_format.prefix[0]])
