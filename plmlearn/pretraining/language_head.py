"""The masked language model: an encoder, and a head that says which residue was hidden.

Modules and names of the head are those of ``transformers.EsmForMaskedLM``, so checkpoints fit both
ways; the head runs on the hidden positions alone.

Shapes: T tokens, N positions to predict, D width, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..nn.encoders import PackedEncoder
from ..nn.packing import PackedTokens


class LanguageHead(nn.Module):
    """Hidden states to logits over the vocabulary: dense, GELU, layer norm, output embedding.

    Parameters
    ----------
    width, vocabulary_size : int
    eps : float, default=1e-5
        Of the layer norm.
    tied : bool, default=True
        The token embedding serves as output embedding too; else the head has one of its own.

    Attributes
    ----------
    is_new : bool
        It has random weights: nothing was loaded.
    """

    def __init__(self, width: int, vocabulary_size: int, eps: float = 1e-5, *, tied: bool = True):
        super().__init__()
        self.is_new = True
        self.dense = nn.Linear(width, width)
        self.layer_norm = nn.LayerNorm(width, eps=eps)
        self.decoder = None if tied else nn.Linear(width, vocabulary_size, bias=False)
        self.bias = nn.Parameter(self.dense.weight.new_zeros(vocabulary_size))
        nn.init.normal_(self.dense.weight, std=width**-0.5)
        nn.init.zeros_(self.dense.bias)
        if self.decoder is not None:
            nn.init.normal_(self.decoder.weight, std=0.02)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the weights of a checkpoint."""
        self.load_state_dict({name: tensors[name] for name in self.state_dict()})
        self.is_new = False

    def start_from(self, shares: Tensor) -> None:
        """Let the biases say how frequent each token is, (V,), so that training need not find out."""
        with torch.no_grad():
            self.bias.copy_(shares.log())

    def forward(self, hidden: Tensor, tied: Tensor) -> Tensor:
        """Logits of (N, D) hidden states, (N, V) in float32; ``tied`` is the token embedding."""
        hidden = F.gelu(self.dense(hidden)).float()
        hidden = F.layer_norm(
            hidden,
            self.layer_norm.normalized_shape,
            self.layer_norm.weight,
            self.layer_norm.bias,
            self.layer_norm.eps,
        )
        output = tied if self.decoder is None else self.decoder.weight
        return F.linear(hidden, output.to(hidden.dtype)).float() + self.bias


class MaskedLanguageModel(nn.Module):
    """Logits of chosen positions of proteins, or of crops of proteins.

    A crop that begins with a protein's first token, ``<cls>``, is read as the whole protein is: an adapter's
    prompt stands after that token. In other crops the prompt comes first.

    Parameters
    ----------
    encoder : PackedEncoder
        Backbone, with its adapter where it has one.
    head : LanguageHead
    first_token : int
        Id of the special token before the residues.
    """

    def __init__(self, encoder: PackedEncoder, head: LanguageHead, first_token: int):
        super().__init__()
        self.encoder = encoder
        self.lm_head = head
        self.first_token = first_token

    def forward(self, tokens: PackedTokens, positions: Tensor) -> Tensor:
        """Logits of N positions of the packed tokens, (N, V) in float32."""
        has_prefix = tokens.ids[tokens.starts] == self.first_token
        hidden = self.encoder(replace(tokens, n_prefix=has_prefix.long()))
        return self.lm_head(hidden[positions], self.token_embedding)

    @property
    def token_embedding(self) -> Tensor:
        return self.encoder.backbone.get_input_embeddings().weight
