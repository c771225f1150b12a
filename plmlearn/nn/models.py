"""Encoder, pooling and head in one module."""

from __future__ import annotations

from torch import Tensor, nn

from .encoders import PackedEncoder
from .packing import PackedTokens, unpack


class ProteinModel(nn.Module):
    """One vector of outputs per protein.

    Parameters
    ----------
    encoder : PackedEncoder
        Backbone with its adapter.
    pooling : nn.Module
        One of :data:`plmlearn.nn.pooling.POOLINGS`.
    head : nn.Module
        One of :data:`plmlearn.nn.heads.HEADS`.
    """

    def __init__(self, encoder: PackedEncoder, pooling: nn.Module, head: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.head = head

    def pool(self, tokens: PackedTokens) -> Tensor:
        """Pooled embeddings of a batch, (B, D) in float32."""
        if tokens.pooled is not None:
            return tokens.pooled
        return self.pooling(unpack(self.encoder(tokens), tokens)).float()

    def forward(self, tokens: PackedTokens, sequence_of_row: Tensor) -> Tensor:
        """Outputs of N rows over B distinct sequences, (N, C) in float32."""
        return self.head(self.pool(tokens)[sequence_of_row]).float()
