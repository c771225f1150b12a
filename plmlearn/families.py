"""The table of pretrained architectures, and the short names of published weights.

A family is a row of :data:`FAMILIES`, chosen by ``config.model_type`` and never by a name; a short
name is a row of :data:`ALIASES`.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Reading:
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
        needed = [*self.prefix, *self.suffix, *map(self.token_of, "ACDEFGHIKLMNPQRSTVWY")]
        return all(token in vocabulary for token in needed)


@dataclass(frozen=True)
class Family:
    """How one architecture is loaded, read and adapted.

    Parameters
    ----------
    model_class : str
        Class of transformers that holds the encoder.
    load_options : dict
        Further arguments of its ``from_pretrained``.
    readings : tuple of Reading
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
    readings: tuple[Reading, ...]
    layers: str
    targets: dict[str, tuple[str, ...]]
    max_length: int
    load_options: dict = field(default_factory=dict)
    optional_weights: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ("fp32", "bf16", "fp16")


# ProtTrans and Ankh were trained with these letters written as X.
_NO_RARE = dict.fromkeys("UZOB", "X")

FAMILIES = {
    "esm": Family(
        model_class="EsmModel",
        load_options={"add_pooling_layer": False},
        readings=(Reading(prefix=("<cls>",), suffix=("<eos>",)),),
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
    "esmc": Family(
        model_class="EsmcModel",
        readings=(Reading(prefix=("<cls>",), suffix=("<eos>",)),),
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
    "t5": Family(
        model_class="T5EncoderModel",
        readings=(
            # ProstT5: lower-case letters are Foldseek's structural states.
            Reading(("<AA2fold>",), ("</s>",), "▁{}", _NO_RARE),
            Reading(("<fold2AA>",), ("</s>",), alphabet="3di"),
            Reading((), ("</s>",), "▁{}", _NO_RARE),  # ProtT5
            Reading(("[NLU]",), ("</s>",), "{}", _NO_RARE),  # Ankh 3
            Reading((), ("</s>",), "{}", _NO_RARE),  # Ankh
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

ALIASES = {
    "esm2-8m": "facebook/esm2_t6_8M_UR50D",
    "esm2-35m": "facebook/esm2_t12_35M_UR50D",
    "esm2-150m": "facebook/esm2_t30_150M_UR50D",
    "esm2-650m": "facebook/esm2_t33_650M_UR50D",
    "esm2-3b": "facebook/esm2_t36_3B_UR50D",
    "esm2-15b": "facebook/esm2_t48_15B_UR50D",
    "esm1b": "facebook/esm1b_t33_650M_UR50S",
    "esm1v": "facebook/esm1v_t33_650M_UR90S_1",
    "esmc-300m": "biohub/ESMC-300M",
    "esmc-600m": "biohub/ESMC-600M",
    "esmc-6b": "biohub/ESMC-6B",
    "prott5": "Rostlab/prot_t5_xl_half_uniref50-enc",
    "prott5-full": "Rostlab/prot_t5_xl_uniref50",
    "prostt5": "Rostlab/ProstT5",
    "prostt5-3di": "Rostlab/ProstT5#3di",
    "ankh-base": "ElnaggarLab/ankh-base",
    "ankh-large": "ElnaggarLab/ankh-large",
    "ankh3-large": "ElnaggarLab/ankh3-large",
    "ankh3-xl": "ElnaggarLab/ankh3-xl",
}
