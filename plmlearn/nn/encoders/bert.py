"""BERT: ProtBert, IgBert and other encoders of that architecture."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..packing import PackedTokens
from .base import ACTIVATIONS, PackedEncoder, layer_norm


class PackedBert(PackedEncoder):
    """BERT (``transformers.BertModel``): learned positions, and a norm after each sum rather than before.

    All tokens are of the first type, as a single sequence's are.

    References
    ----------
    Devlin et al., BERT, NAACL 2019, doi:10.18653/v1/N19-1423. Elnaggar et al., ProtTrans, TPAMI 2022,
    doi:10.1109/TPAMI.2021.3095381. Kenlay et al., Large scale paired antibody language models, PLOS
    Computational Biology 2024, doi:10.1371/journal.pcbi.1012646.
    """

    @property
    def blocks(self) -> nn.ModuleList:
        return self.backbone.encoder.layer

    def embed(self, tokens: PackedTokens) -> Tensor:
        embeddings = self.backbone.embeddings
        hidden = embeddings.word_embeddings(tokens.ids).float() + embeddings.token_type_embeddings.weight[0]
        return layer_norm(embeddings.LayerNorm, hidden + embeddings.position_embeddings(tokens.positions))

    def shared(self, tokens: PackedTokens) -> None:
        """Nothing: positions are in the embeddings."""

    def layer(self, block: Any, hidden: Tensor, tokens: PackedTokens, shared: None) -> Tensor:
        hidden = layer_norm(block.attention.output.LayerNorm, hidden + self._attend(block, hidden, tokens))
        inner = block.intermediate.dense(hidden.to(self.compute_dtype))
        fed = block.output.dense(ACTIVATIONS[self.config.hidden_act](inner))
        return layer_norm(block.output.LayerNorm, hidden + fed)

    def _attend(self, block: Any, hidden: Tensor, tokens: PackedTokens) -> Tensor:
        project, rounded = block.attention.self, hidden.to(self.compute_dtype)
        query, key, value = (
            linear(rounded).to(self.compute_dtype).unflatten(-1, (self.config.num_attention_heads, -1))
            for linear in (project.query, project.key, project.value)
        )
        context = self.attention(block, query, key, value, tokens, scale=query.shape[-1] ** -0.5)
        return block.attention.output.dense(context.flatten(1))

    def finish(self, hidden: Tensor) -> Tensor:
        return hidden
