"""The architectures and checkpoints that exist.

``TokenFormat``                      how residues become tokens
``ARCHITECTURES``, ``CHECKPOINTS``   what an architecture needs, and short names of published weights
``find_token_format``                which of an architecture's formats a vocabulary is for
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Container
from dataclasses import dataclass, field
from typing import Literal

from ..nn.encoders import ACTIVATIONS
from ..sequences import ALPHABET
from ..sequences.clean import LETTERS, STATES, with_state

Alphabet = Literal["aa", "3di"]
Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class TokenFormat:
    """How a sequence becomes tokens.

    Parameters
    ----------
    prefix, suffix : tuple of str
        Special tokens before and after the residues.
    token : str, default="{}"
        Format string that turns a residue letter into its token.
    substitutes : dict of str to str
        Letters that are read as another letter.
    alphabet : {"aa", "3di"}, default="aa"
        What the letters are: amino acids, or Foldseek's structural states.
    reads_states : bool, default=False
        Whether a residue may have a structural state, which is then the second letter of its token.
    """

    prefix: tuple[str, ...]
    suffix: tuple[str, ...]
    token: str = "{}"
    substitutes: dict[str, str] = field(default_factory=dict)
    alphabet: Alphabet = "aa"
    reads_states: bool = False

    def token_of(self, letter: str, state: str = "") -> str:
        """The token of an upper-case letter, and of its state if it has one."""
        letter = self.substitutes.get(letter, letter)
        if state:
            return letter + state.lower()
        return self.token.format(letter.lower() if self.alphabet == "3di" else letter)

    @property
    def characters(self) -> dict[str, str]:
        """The token of each character that a clean sequence may have."""
        tokens = {letter: self.token_of(letter) for letter in LETTERS}
        if self.reads_states:
            pairs = itertools.product(LETTERS, STATES)
            tokens |= {with_state(letter, state): self.token_of(letter, state) for letter, state in pairs}
        return tokens

    def fits(self, vocabulary: Container[str]) -> bool:
        """Whether a vocabulary holds every token that this format needs."""
        residues = [self.token_of(letter) for letter in ALPHABET]
        states = map(self.token_of, ALPHABET, STATES) if self.reads_states else ()
        return all(token in vocabulary for token in [*self.prefix, *self.suffix, *residues, *states])


@dataclass(frozen=True)
class Architecture:
    """How one architecture is loaded, read and adapted.

    Parameters
    ----------
    model_class : str
        Class of transformers that holds the encoder.
    token_formats : tuple of TokenFormat
        The first one that fits a checkpoint's vocabulary applies.
    layers : str
        Path of the list of layers inside the model.
    targets : dict of str to tuple of str
        plmlearn's names of the adaptable matrices, and their paths inside a layer. A checkpoint may
        lack some of these paths.
    settings : tuple of str
        Fields of the configuration that embeddings depend on.
    max_length : int
        Residues of the longest sequence that pretraining saw.
    load_options : dict
        Further arguments of the model class.
    optional_weights : tuple of str
        Prefixes of tensors that the encoder does not use. A checkpoint may lack them.
    supported : dict of str to tuple
        Fields of the configuration, and the values of each that the forward pass knows.
    precisions : tuple of str
        Precisions in which no activation overflows.
    final_norm : str
        Path of the norm that follows the last layer; "" where the layers end in norms of their own.
    """

    model_class: str
    token_formats: tuple[TokenFormat, ...]
    layers: str
    targets: dict[str, tuple[str, ...]]
    settings: tuple[str, ...]
    max_length: int
    load_options: dict = field(default_factory=dict)
    optional_weights: tuple[str, ...] = ()
    supported: dict[str, tuple] = field(default_factory=dict)
    precisions: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
    final_norm: str = ""


# ProtTrans and Ankh were trained with these letters written as X.
_NO_RARE = dict.fromkeys("UZOB", "X")

_SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
_MATRICES_OF_BERT: dict[str, tuple[str, ...]] = {
    "query": ("attention.self.query",),
    "key": ("attention.self.key",),
    "value": ("attention.self.value",),
    "output": ("attention.output.dense",),
    "ffn_in": ("intermediate.dense",),
    "ffn_out": ("output.dense",),
}

ARCHITECTURES = {
    "bert": Architecture(
        model_class="BertModel",
        load_options={"add_pooling_layer": False},
        token_formats=(TokenFormat(("[CLS]",), ("[SEP]",), "{}", _NO_RARE),),
        layers="encoder.layer",
        targets=_MATRICES_OF_BERT,
        settings=(
            *_SIZES,
            "intermediate_size",
            "layer_norm_eps",
            "hidden_act",
            "max_position_embeddings",
            "type_vocab_size",
        ),
        supported={
            "position_embedding_type": ("absolute", None),
            "hidden_act": tuple(ACTIVATIONS),
            "is_decoder": (False,),
        },
        max_length=1022,
    ),
    "esm": Architecture(
        model_class="EsmModel",
        load_options={"add_pooling_layer": False},
        token_formats=(
            TokenFormat(prefix=("<cls>",), suffix=("<eos>",)),
            # SaProt: a residue and its structural state, either of them # where it is unknown.
            TokenFormat(("<cls>",), ("<eos>",), "{}#", dict.fromkeys("XBOUZ", "#"), reads_states=True),
        ),
        layers="encoder.layer",
        final_norm="encoder.emb_layer_norm_after",
        targets=_MATRICES_OF_BERT,
        settings=(
            *_SIZES,
            "intermediate_size",
            "layer_norm_eps",
            "token_dropout",
            "mask_token_id",
            "pad_token_id",
            "position_embedding_type",
            "max_position_embeddings",
            "rope_theta",
            "emb_layer_norm_before",
        ),
        supported={"position_embedding_type": ("rotary", "absolute"), "is_decoder": (False, None)},
        optional_weights=("contact_head.",),
        max_length=1022,
    ),
    "esmc": Architecture(
        model_class="EsmcModel",
        token_formats=(TokenFormat(prefix=("<cls>",), suffix=("<eos>",)),),
        layers="layers",
        final_norm="norm",
        targets={
            "query": ("self_attn.q_proj",),
            "key": ("self_attn.k_proj",),
            "value": ("self_attn.v_proj",),
            "output": ("self_attn.o_proj",),
            "ffn_in": ("mlp.gate_proj", "mlp.up_proj"),
            "ffn_out": ("mlp.down_proj",),
        },
        settings=(
            *_SIZES,
            "intermediate_size",
            "num_key_value_heads",
            "head_dim",
            "hidden_act",
            "rope_parameters",
        ),
        max_length=2046,
    ),
    "t5": Architecture(
        model_class="T5EncoderModel",
        token_formats=(
            # ProstT5: lower-case letters are Foldseek's structural states.
            TokenFormat(("<AA2fold>",), ("</s>",), "▁{}", _NO_RARE),
            TokenFormat(("<fold2AA>",), ("</s>",), alphabet="3di"),
            TokenFormat((), ("</s>",), "▁{}", _NO_RARE),  # ProtT5
            TokenFormat(("[NLU]",), ("</s>",), "{}", _NO_RARE),  # Ankh 3
            TokenFormat((), ("</s>",), "{}", _NO_RARE),  # Ankh
        ),
        layers="encoder.block",
        final_norm="encoder.final_layer_norm",
        targets={
            "query": ("layer.0.SelfAttention.q",),
            "key": ("layer.0.SelfAttention.k",),
            "value": ("layer.0.SelfAttention.v",),
            "output": ("layer.0.SelfAttention.o",),
            "ffn_in": tuple(f"layer.1.DenseReluDense.{name}" for name in ("wi", "wi_0", "wi_1")),
            "ffn_out": ("layer.1.DenseReluDense.wo",),
        },
        settings=(
            *_SIZES,
            "d_ff",
            "d_kv",
            "layer_norm_epsilon",
            "feed_forward_proj",
            "relative_attention_num_buckets",
            "relative_attention_max_distance",
        ),
        precisions=("fp32", "bf16"),
        max_length=1022,
    ),
}


@dataclass(frozen=True)
class Checkpoint:
    """Published weights with a short name.

    Parameters
    ----------
    place : str
        Id on the Hugging Face hub. With ``#3di`` after it, letters are structural states.
    licence : str
        As the publishers state it.
    """

    place: str
    licence: str


CHECKPOINTS = {
    "esm2-8m": Checkpoint("facebook/esm2_t6_8M_UR50D", "MIT"),
    "esm2-35m": Checkpoint("facebook/esm2_t12_35M_UR50D", "MIT"),
    "esm2-150m": Checkpoint("facebook/esm2_t30_150M_UR50D", "MIT"),
    "esm2-650m": Checkpoint("facebook/esm2_t33_650M_UR50D", "MIT"),
    "esm2-3b": Checkpoint("facebook/esm2_t36_3B_UR50D", "MIT"),
    "esm2-15b": Checkpoint("facebook/esm2_t48_15B_UR50D", "MIT"),
    "esm1b": Checkpoint("facebook/esm1b_t33_650M_UR50S", "MIT"),
    "esm1v": Checkpoint("facebook/esm1v_t33_650M_UR90S_1", "MIT"),
    "esmc-300m": Checkpoint("biohub/ESMC-300M", "MIT"),
    "esmc-600m": Checkpoint("biohub/ESMC-600M", "MIT"),
    "esmc-6b": Checkpoint("biohub/ESMC-6B", "MIT"),
    "prott5": Checkpoint("Rostlab/prot_t5_xl_half_uniref50-enc", "AFL 3.0"),
    "prott5-full": Checkpoint("Rostlab/prot_t5_xl_uniref50", "AFL 3.0"),
    "prostt5": Checkpoint("Rostlab/ProstT5", "MIT"),
    "prostt5-3di": Checkpoint("Rostlab/ProstT5#3di", "MIT"),
    "ankh-base": Checkpoint("ElnaggarLab/ankh-base", "CC BY-NC-SA 4.0"),
    "ankh-large": Checkpoint("ElnaggarLab/ankh-large", "CC BY-NC-SA 4.0"),
    "ankh3-large": Checkpoint("ElnaggarLab/ankh3-large", "CC BY-NC-SA 4.0"),
    "ankh3-xl": Checkpoint("ElnaggarLab/ankh3-xl", "CC BY-NC-SA 4.0"),
    "protbert": Checkpoint("Rostlab/prot_bert", "AFL 3.0"),
    "protbert-bfd": Checkpoint("Rostlab/prot_bert_bfd", "AFL 3.0"),
    "igbert": Checkpoint("Exscientia/IgBert", "MIT"),
    "igt5": Checkpoint("Exscientia/IgT5", "MIT"),
    "saprot-35m": Checkpoint("westlake-repl/SaProt_35M_AF2", "MIT"),
    "saprot-650m": Checkpoint("westlake-repl/SaProt_650M_AF2", "MIT"),
    "dplm-150m": Checkpoint("airkingbd/dplm_150m", "Apache 2.0"),
    "dplm-650m": Checkpoint("airkingbd/dplm_650m", "Apache 2.0"),
    "dplm-3b": Checkpoint("airkingbd/dplm_3b", "Apache 2.0"),
}


_MOST_TOKENS = 1024  # in the vocabulary of a model of residues; a model of words has tens of thousands


def find_token_format(
    name: str, architecture: Architecture, vocabulary: Collection[str], alphabet: Alphabet
) -> TokenFormat:
    """How sequences become tokens of this vocabulary.

    Parameters
    ----------
    name : str
        Of the backbone, for messages.
    architecture : Architecture
    vocabulary : collection of str
    alphabet : {"aa", "3di"}

    Raises
    ------
    ValueError
        The vocabulary is none of single residues.
    """
    if len(vocabulary) <= _MOST_TOKENS:
        for token_format in architecture.token_formats:
            if token_format.alphabet == alphabet and token_format.fits(vocabulary):
                return token_format
    letters = {"aa": "amino acids", "3di": "3Di states (ProstT5 has them)"}[alphabet]
    lacks = "is one of words" if len(vocabulary) > _MOST_TOKENS else f"lacks tokens of {letters}"
    raise ValueError(
        f"Backbone {name!r}: its vocabulary ({len(vocabulary)} tokens) {lacks}, so plmlearn cannot read "
        "proteins with it. Take a protein language model, with the tokenizer that it was trained with."
    )
