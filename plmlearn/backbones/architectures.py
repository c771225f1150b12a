"""The table of pretrained architectures, and the short names of published weights.

A architecture is a row of :data:`ARCHITECTURES`, chosen by ``config.model_type`` and never by a name; a short
name is a row of :data:`CHECKPOINTS`.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

from ..sequences import ALPHABET


@dataclass(frozen=True)
class TokenFormat:
    """How a sequence becomes tokens.

    Parameters
    ----------
    prefix, suffix : tuple of str
        Special tokens before and behind the residues.
    token : str, default="{}"
        Token of a residue letter, written as a format.
    substitutes : dict of str to str
        Letters that stand for others.
    alphabet : {"aa", "3di"}, default="aa"
        What the letters are: amino acids, or Foldseek's structural states.
    """

    prefix: tuple[str, ...]
    suffix: tuple[str, ...]
    token: str = "{}"
    substitutes: dict[str, str] = field(default_factory=dict)
    alphabet: str = "aa"

    def token_of(self, letter: str) -> str:
        """The token that stands for a letter in upper case."""
        letter = self.substitutes.get(letter, letter)
        return self.token.format(letter.lower() if self.alphabet == "3di" else letter)

    def fits(self, vocabulary: Container[str]) -> bool:
        """Whether a vocabulary has all that this reading needs."""
        needed = [*self.prefix, *self.suffix, *map(self.token_of, ALPHABET)]
        return all(token in vocabulary for token in needed)


@dataclass(frozen=True)
class Architecture:
    """How one architecture is loaded, read and adapted.

    Parameters
    ----------
    model_class : str
        Class of transformers that holds the encoder.
    load_options : dict
        Further arguments of its ``from_pretrained``.
    token_formats : tuple of TokenFormat
        Of those that a checkpoint's vocabulary fits, the first applies.
    layers : str
        Path of the list of layers inside the model.
    targets : dict of str to tuple of str
        plmlearn's names of the adaptable matrices, and their paths inside a layer; a checkpoint may
        lack some of these paths.
    optional_weights : tuple of str
        Prefixes of tensors that the encoder does not use and a checkpoint may lack.
    max_length : int
        Residues that a sequence may have without leaving what pretraining saw.
    precisions : tuple of str
        Those in which no activation overflows.
    """

    model_class: str
    token_formats: tuple[TokenFormat, ...]
    layers: str
    targets: dict[str, tuple[str, ...]]
    max_length: int
    load_options: dict = field(default_factory=dict)
    optional_weights: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ("fp32", "bf16", "fp16")


# ProtTrans and Ankh were trained with these letters written as X.
_NO_RARE = dict.fromkeys("UZOB", "X")

ARCHITECTURES = {
    "esm": Architecture(
        model_class="EsmModel",
        load_options={"add_pooling_layer": False},
        token_formats=(TokenFormat(prefix=("<cls>",), suffix=("<eos>",)),),
        layers="encoder.layer",
        targets={
            "query": ("attention.self.query",),
            "key": ("attention.self.key",),
            "value": ("attention.self.value",),
            "output": ("attention.output.dense",),
            "ffn_in": ("intermediate.dense",),
            "ffn_out": ("output.dense",),
        },
        optional_weights=("contact_head.",),
        max_length=1022,
    ),
    "esmc": Architecture(
        model_class="EsmcModel",
        token_formats=(TokenFormat(prefix=("<cls>",), suffix=("<eos>",)),),
        layers="layers",
        targets={
            "query": ("self_attn.q_proj",),
            "key": ("self_attn.k_proj",),
            "value": ("self_attn.v_proj",),
            "output": ("self_attn.o_proj",),
            "ffn_in": ("mlp.gate_proj", "mlp.up_proj"),
            "ffn_out": ("mlp.down_proj",),
        },
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
        targets={
            "query": ("layer.0.SelfAttention.q",),
            "key": ("layer.0.SelfAttention.k",),
            "value": ("layer.0.SelfAttention.v",),
            "output": ("layer.0.SelfAttention.o",),
            "ffn_in": tuple(f"layer.1.DenseReluDense.{name}" for name in ("wi", "wi_0", "wi_1")),
            "ffn_out": ("layer.1.DenseReluDense.wo",),
        },
        precisions=("fp32", "bf16"),
        max_length=1022,
    ),
}


@dataclass(frozen=True)
class Checkpoint:
    """Published weights that have a short name.

    Parameters
    ----------
    place : str
        Id on the Hugging Face hub; with ``#3di``, read as structural states.
    architecture : str
        Row of :data:`ARCHITECTURES`; loading goes by the folder's own ``config.model_type``.
    licence : str
        As its publishers state it.
    shape : dict
        What its configuration has other than the library's default, for sizes in the documentation.
    """

    place: str
    architecture: str
    licence: str
    shape: dict


def _esm(place: str, layers: int, width: int, heads: int, **more) -> Checkpoint:
    shape: dict = {"num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads}
    shape |= {"intermediate_size": 4 * width, "vocab_size": 33, "pad_token_id": 1, "mask_token_id": 32}
    shape |= {"max_position_embeddings": 1026, "position_embedding_type": "rotary"} | more
    return Checkpoint(f"facebook/{place}", "esm", "MIT", shape)


def _esmc(place: str, layers: int, width: int, heads: int, inner: int) -> Checkpoint:
    shape = {"num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads}
    return Checkpoint(f"biohub/{place}", "esmc", "MIT", shape | {"intermediate_size": inner})


def _prot_t5(place: str, licence: str, **more) -> Checkpoint:
    shape = {"num_layers": 24, "d_model": 1024, "num_heads": 32, "d_kv": 128, "d_ff": 16384}
    return Checkpoint(f"Rostlab/{place}", "t5", licence, shape | {"vocab_size": 128} | more)


def _ankh(place: str, width: int, heads: int, inner: int, **more) -> Checkpoint:
    shape: dict = {"num_layers": 48, "d_model": width, "num_heads": heads, "d_kv": 64, "d_ff": inner}
    shape |= {"vocab_size": 144, "relative_attention_num_buckets": 64, "feed_forward_proj": "gated-gelu"}
    return Checkpoint(f"ElnaggarLab/{place}", "t5", "CC BY-NC-SA 4.0", shape | more)


_ABSOLUTE = {"position_embedding_type": "absolute"}

CHECKPOINTS = {
    "esm2-8m": _esm("esm2_t6_8M_UR50D", 6, 320, 20),
    "esm2-35m": _esm("esm2_t12_35M_UR50D", 12, 480, 20),
    "esm2-150m": _esm("esm2_t30_150M_UR50D", 30, 640, 20),
    "esm2-650m": _esm("esm2_t33_650M_UR50D", 33, 1280, 20),
    "esm2-3b": _esm("esm2_t36_3B_UR50D", 36, 2560, 40),
    "esm2-15b": _esm("esm2_t48_15B_UR50D", 48, 5120, 40),
    "esm1b": _esm("esm1b_t33_650M_UR50S", 33, 1280, 20, emb_layer_norm_before=True, **_ABSOLUTE),
    "esm1v": _esm("esm1v_t33_650M_UR90S_1", 33, 1280, 20, **_ABSOLUTE),
    "esmc-300m": _esmc("ESMC-300M", 30, 960, 15, 2560),
    "esmc-600m": _esmc("ESMC-600M", 36, 1152, 18, 3072),
    "esmc-6b": _esmc("ESMC-6B", 80, 2560, 40, 6912),
    "prott5": _prot_t5("prot_t5_xl_half_uniref50-enc", "AFL 3.0"),
    "prott5-full": _prot_t5("prot_t5_xl_uniref50", "AFL 3.0"),
    "prostt5": _prot_t5("ProstT5", "MIT", vocab_size=150),
    "prostt5-3di": _prot_t5("ProstT5#3di", "MIT", vocab_size=150),
    "ankh-base": _ankh("ankh-base", 768, 12, 3072),
    "ankh-large": _ankh("ankh-large", 1536, 16, 3840),
    "ankh3-large": _ankh("ankh3-large", 1536, 16, 3840, vocab_size=256, feed_forward_proj="gated-silu"),
}

ALIASES = {name: checkpoint.place for name, checkpoint in CHECKPOINTS.items()}
