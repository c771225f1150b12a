"""Write backbones.md from the tables of plmlearn.backbones. Sizes are counted, nothing is downloaded.

python docs/build_backbones.py
"""

from pathlib import Path

import torch
import transformers

from plmlearn.backbones import ARCHITECTURES, CHECKPOINTS

PAGE = Path(__file__).parent / "backbones.md"

HEADER = """# Backbones

`docs/build_backbones.py` writes this page. `backbone=` takes a
short name, any Hugging Face id of these architectures, or a folder. plmlearn finds the architecture in the
folder's files (`config.model_type`, configuration, vocabulary) and never in its name. Your own checkpoints
therefore work like the published ones.

| `backbone=` | Hugging Face id | parameters | layers | width | fp32 | bf16 | precisions | licence |
|---|---|---|---|---|---|---|---|---|
"""

FOOTER = """
The columns fp32 and bf16 give the memory of the encoder's weights, without activations.
`estimator.memory_estimate(X)` adds the activations for your data. Parameters are those of the encoder
alone: ProtT5, ProstT5 and Ankh also have a decoder, which is not loaded.

**Licences** are those that the publishers state. They apply to you, not to this package, which contains
none of these weights. **The licence of Ankh (CC BY-NC-SA) forbids commercial use**, and what you derive
from it may only be shared under the same terms. Read the licence itself before you rely on this table:

| weights | licence stated by |
|---|---|
| ESM-1b, ESM-1v, ESM-2 | [facebookresearch/esm](https://github.com/facebookresearch/esm) |
| ESM-C | [Biohub/esm](https://github.com/Biohub/esm), which also asks to follow its acceptable use policy; \
earlier releases under `EvolutionaryScale/` had other terms (600M: no commercial use) |
| ProtT5, ProtBert | [agemagician/ProtTrans](https://github.com/agemagician/ProtTrans) |
| ProstT5 | [mheinzinger/ProstT5](https://github.com/mheinzinger/ProstT5) |
| Ankh | [agemagician/Ankh](https://github.com/agemagician/Ankh) |
| IgBert, IgT5 | [Exscientia on the hub](https://huggingface.co/Exscientia) |
| SaProt | [westlake-repl/SaProt](https://github.com/westlake-repl/SaProt) |
| DPLM | [bytedance/dplm](https://github.com/bytedance/dplm) |

"mini" comes with the package and needs no network. With `backbone_init="random"`, any backbone starts from
new random weights.

## How sequences are read

| architecture | tokens before and after | U, Z, O, B | J | `precision="auto"` |
|---|---|---|---|---|
| ESM-1b, ESM-1v, ESM-2, DPLM, ESM-C | `<cls>`, `<eos>` | own tokens | refused, or X | bf16 where faster |
| SaProt | `<cls>`, `<eos>` | X | refused, or X | the same |
| ProtBert, IgBert | `[CLS]`, `[SEP]` | X | refused, or X | the same |
| ProtT5, IgT5, Ankh | none, `</s>` | X | refused, or X | the same; fp16 is refused, because it overflows |
| ProstT5 | `<AA2fold>`, `</s>` | X | refused, or X | the same |
| ProstT5, `"prostt5-3di"` or `"<folder>#3di"` | `<fold2AA>`, `</s>` | – | – | the same |
| Ankh 3 | `[NLU]`, `</s>` | X | refused, or X | the same |

Special tokens are removed before pooling. `pooling="cls"` takes the first one. ProtT5, IgT5 and Ankh have
none before the residues, and refuse it. With `"prostt5-3di"`, the letters of `X` are Foldseek's structural
states, in upper or lower case.

**SaProt** reads a residue together with its structural state, a letter that Foldseek computes from a
structure.
`X` may hold, row by row,

- residues alone (`"MEVQ"`): every state is unknown (`#`), and X, U, Z, O and B are unknown residues;
- residues in upper case and states in lower case in turn (`"MdEvVpQ#"`);
- two columns, or tuples: residues, and as many states in either case, or nothing.

Strings of different lengths, and strings of both cases that are not in turn, are errors that name the row.
Lengths, windows and labels count residues. Other backbones read letters of either case as residues.
Clusters, folds and leakage leave out states in turn with residues; two entries per row are a pair to
`make_folds`, so pass it the residues alone.

ESM-1b and ESM-1v have positions for 1,022 residues, and a BERT has them for as many tokens as its table has
rows. All other backbones can read longer sequences. The default is `max_length=1022`.
`long_sequences="window"` reads sequences of any length in overlapping windows.

## What has to be installed

ESM-C needs a version of transformers that has `EsmcModel`, such as 5.23. ProtT5, ProstT5 and IgT5 have a
SentencePiece tokenizer: `pip install "plmlearn[t5]"`.

## Where a backbone lies

`backbone=` takes a `str` or a `PathLike`, and `~` is the home folder, as in every path that plmlearn takes. A
folder that holds a checkpoint wins over a short name of the same spelling, with a warning.

`fit` remembers the absolute path of a folder, so a relative path still works after a change of the working
directory; the parameter stays as you wrote it. If the folder has moved since, say where it lies now:

    model = load("saved", backbone="/new/place/esm2")
    fitted.set_params(backbone="/new/place/esm2")
    ensemble.set_params(estimator__backbone="/new/place/esm2")

The weights there must be those of the fit: another fingerprint is an error.

## Your own checkpoints

A folder holds `config.json`, the tokenizer's files and the weights: `model.safetensors`, `pytorch_model.bin`,
either in shards with an index, or one Lightning `*.ckpt`. Safetensors are preferred where both are there.
Pickled files are read as tensors alone (`torch.load(weights_only=True)`): a file that asks for anything
else is refused, and nothing in it is executed. A folder with a peft adapter beside the weights is refused;
merge the adapter first.

The encoder may be stored inside another model. Its prefix (`esm.`, `module.`, `model.esm.`,
`base_model.model.`, ...) is found when exactly one prefix holds the whole encoder, and a warning names it.
Task heads, language heads and poolers are ignored. An encoder cut to fewer layers by another tool loads if
`num_hidden_layers` says how many there are. A tokenizer of words, or one of another model, is refused.
Rotary frequencies are used as they are stored, as in transformers, and computed where they are not.

`fit` keeps a fingerprint of the backbone: each stored bit of the encoder's tensors and their data type, the
configuration, and how letters become tokens. It does not depend on the file format or the folder. Another
fingerprint at prediction is an error, and cached embeddings belong to one fingerprint.

From the hub, safetensors on the main branch are taken first, then those that the hub's own robot has
converted in a pull request, then `pytorch_model.bin`. What is in
the local cache is found without network; of several cached pull requests, pass one as `revision=`. Use
`plmlearn.backbones.download_backbone` to prepare a folder for machines without network.
"""


def esm(layers: int, width: int, heads: int, **more) -> tuple[str, dict]:
    shape: dict = {"num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads}
    shape |= {"intermediate_size": 4 * width, "vocab_size": 33, "pad_token_id": 1, "mask_token_id": 32}
    shape |= {"max_position_embeddings": 1026, "position_embedding_type": "rotary"} | more
    return "esm", shape


def esmc(layers: int, width: int, heads: int, inner: int) -> tuple[str, dict]:
    shape = {"num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads}
    return "esmc", shape | {"intermediate_size": inner}


def prot_t5(**more) -> tuple[str, dict]:
    shape = {"num_layers": 24, "d_model": 1024, "num_heads": 32, "d_kv": 128, "d_ff": 16384}
    return "t5", shape | {"vocab_size": 128} | more


def ankh(width: int, heads: int, inner: int, **more) -> tuple[str, dict]:
    shape: dict = {"num_layers": 48, "d_model": width, "num_heads": heads, "d_kv": 64, "d_ff": inner}
    shape |= {"vocab_size": 144, "relative_attention_num_buckets": 64, "feed_forward_proj": "gated-gelu"}
    return "t5", shape | more


def bert(**more) -> tuple[str, dict]:
    shape = {"num_hidden_layers": 30, "hidden_size": 1024, "num_attention_heads": 16}
    shape |= {"intermediate_size": 4096, "vocab_size": 30, "max_position_embeddings": 40_000}
    return "bert", shape | more


ABSOLUTE = {"position_embedding_type": "absolute"}

# Each checkpoint's architecture, and the fields of its configuration that differ from the library's defaults.
SHAPES = {
    "esm2-8m": esm(6, 320, 20),
    "esm2-35m": esm(12, 480, 20),
    "esm2-150m": esm(30, 640, 20),
    "esm2-650m": esm(33, 1280, 20),
    "esm2-3b": esm(36, 2560, 40),
    "esm2-15b": esm(48, 5120, 40),
    "esm1b": esm(33, 1280, 20, emb_layer_norm_before=True, **ABSOLUTE),
    "esm1v": esm(33, 1280, 20, **ABSOLUTE),
    "esmc-300m": esmc(30, 960, 15, 2560),
    "esmc-600m": esmc(36, 1152, 18, 3072),
    "esmc-6b": esmc(80, 2560, 40, 6912),
    "prott5": prot_t5(),
    "prott5-full": prot_t5(),
    "prostt5": prot_t5(vocab_size=150),
    "prostt5-3di": prot_t5(vocab_size=150),
    "ankh-base": ankh(768, 12, 3072),
    "ankh-large": ankh(1536, 16, 3840),
    "ankh3-large": ankh(1536, 16, 3840, vocab_size=256, feed_forward_proj="gated-silu"),
    "ankh3-xl": ankh(2560, 32, 0),
    "protbert": bert(),
    "protbert-bfd": bert(),
    "igbert": bert(),
    "igt5": prot_t5(),
    "saprot-35m": esm(12, 480, 20, vocab_size=446),
    "saprot-650m": esm(33, 1280, 20, vocab_size=446),
    "dplm-150m": esm(30, 640, 20),
    "dplm-650m": esm(33, 1280, 20),
    "dplm-3b": esm(36, 2560, 40),
}


# Of shapes that are not known in full, the published counts.
PUBLISHED = {"ankh3-xl": 3_490_000_000}


def n_parameters(architecture: str, shape: dict) -> int:
    """Parameters of the encoder, counted on shapes without memory."""
    row = ARCHITECTURES[architecture]
    model_class = getattr(transformers, row.model_class)
    with torch.device("meta"):
        model = model_class(model_class.config_class(**shape), **row.load_options)
    unused = row.optional_weights
    return sum(p.numel() for name, p in model.named_parameters() if not unused or not name.startswith(unused))


def rounded(number: float) -> str:
    """A count with three digits and a unit.

    >>> rounded(651_043_254), rounded(1_208_141_824)
    ('651 M', '1.21 G')
    """
    unit, divisor = ("G", 1e9) if number >= 1e9 else ("M", 1e6)
    return f"{number / divisor:.3g} {unit}"


def row(name: str) -> str:
    checkpoint, (architecture, shape) = CHECKPOINTS[name], SHAPES[name]
    count = PUBLISHED.get(name) or n_parameters(architecture, shape)
    layers = shape.get("num_hidden_layers", shape.get("num_layers"))
    width = shape.get("hidden_size", shape.get("d_model"))
    sizes = (f"{rounded(count * n_bytes)}B" for n_bytes in (4, 2))
    cells = [f'"{name}"', f"`{checkpoint.place}`", rounded(count), layers, width, *sizes]
    precisions = ", ".join(ARCHITECTURES[architecture].precisions)
    return f"| {' | '.join(map(str, [*cells, precisions, checkpoint.licence]))} |\n"


def render() -> str:
    return "".join([HEADER, *map(row, CHECKPOINTS), FOOTER]).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(render())
    print(f"wrote {PAGE}")
