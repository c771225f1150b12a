"""The architectures and checkpoints that exist: what each needs, and short names of published weights."""

from dataclasses import dataclass

from ..nn.encoders import ACTIVATIONS
from .backbone import Architecture, TokenFormat

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
        supported={"hidden_act": ("silu",), "rope_parameters.rope_type": ("default",)},
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
        supported={"dense_act_fn": tuple(ACTIVATIONS)},
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
