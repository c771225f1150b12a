"""Write backbones.md from the tables in plmlearn.backbones.architectures; sizes are counted, nothing is downloaded.

python docs/build_backbones.py
"""

from pathlib import Path

import torch
import transformers

from plmlearn.backbones.architectures import ARCHITECTURES, CHECKPOINTS, Architecture, Checkpoint

PAGE = Path(__file__).parent / "backbones.md"

HEADER = """# Backbones

Written by `docs/build_backbones.py` from `plmlearn/families.py`. `backbone=` takes a short name, any
Hugging Face id of these architectures, or a folder. What an architecture needs is read from the folder
(`config.model_type`, configuration, vocabulary) and never from its name, so your own checkpoints work like
the published ones.

| `backbone=` | on the hub | parameters | layers | width | fp32 | bf16 | precisions | licence |
|---|---|---|---|---|---|---|---|---|
"""

FOOTER = """
Memory is that of the encoder's weights, without activations: `estimator.memory_estimate(X)` adds those of
your data. Parameters count the encoder alone: ProtT5, ProstT5 and Ankh also have a decoder, which is not
loaded.

**Licences** are those that the publishers state, and bind you, not this package, which holds none of these
weights. **Ankh's (CC BY-NC-SA) forbids commercial use**, and what is made from it is shared under the same
terms, if at all. Read the licence itself before you rely on this table:

| weights | stated by |
|---|---|
| ESM-1b, ESM-1v, ESM-2 | [facebookresearch/esm](https://github.com/facebookresearch/esm) |
| ESM-C | [Biohub/esm](https://github.com/Biohub/esm), which also asks to follow its acceptable use policy; \
earlier releases under `EvolutionaryScale/` had other terms (600M: no commercial use) |
| ProtT5 | [agemagician/ProtTrans](https://github.com/agemagician/ProtTrans) |
| ProstT5 | [mheinzinger/ProstT5](https://github.com/mheinzinger/ProstT5) |
| Ankh | [agemagician/Ankh](https://github.com/agemagician/Ankh) |

"mini" comes with the package and needs no network. All can be drawn anew with `backbone_init="random"`.

## How sequences are read

| architecture | tokens before and behind | U, Z, O, B | J | `precision="auto"` |
|---|---|---|---|---|
| ESM-1b, ESM-1v, ESM-2, ESM-C | `<cls>`, `<eos>` | tokens of their own | refused, or X | bf16 where faster |
| ProtT5, Ankh | none, `</s>` | X | refused, or X | the same; fp16 is refused: it overflows |
| ProstT5 | `<AA2fold>`, `</s>` | X | refused, or X | the same |
| ProstT5, `"prostt5-3di"` or `"<folder>#3di"` | `<fold2AA>`, `</s>` | – | – | the same |
| Ankh 3 | `[NLU]`, `</s>` | X | refused, or X | the same |

Special tokens are gone before pooling. `pooling="cls"` is for backbones that have a `<cls>`; take "mean" on
T5. With `"prostt5-3di"` the letters of `X` are Foldseek's structural states, in upper or lower case.

ESM-1b and ESM-1v have positions for 1,022 residues. All others read longer sequences too; `max_length=1022`
is the default, and `long_sequences="window"` reads any length in overlapping windows.

## What has to be installed

ESM-C needs a version of transformers that has `EsmcModel` (5.23 does). ProtT5 and ProstT5 have a
SentencePiece tokenizer: `pip install "plmlearn[t5]"`. Pickled weights are never read. Where a repository
has no safetensors on its main branch, those that the hub's own robot has converted in a pull request are
taken; they are looked for with network alone, so prepare a folder with
`plmlearn.backbones.download_backbone` for machines without.
"""


def n_parameters(checkpoint: Checkpoint, family: Architecture) -> int:
    """Parameters of the encoder, counted on shapes without memory."""
    model_class = getattr(transformers, family.model_class)
    with torch.device("meta"):
        model = model_class(model_class.config_class(**checkpoint.shape), **family.load_options)
    unused = family.optional_weights
    return sum(p.numel() for name, p in model.named_parameters() if not unused or not name.startswith(unused))


def rounded(number: float) -> str:
    """A count with three digits and a unit.

    >>> rounded(651_043_254), rounded(1_208_141_824)
    ('651 M', '1.21 G')
    """
    unit, divisor = ("G", 1e9) if number >= 1e9 else ("M", 1e6)
    return f"{number / divisor:.3g} {unit}"


def row(name: str, checkpoint: Checkpoint) -> str:
    family = ARCHITECTURES[checkpoint.architecture]
    shape, count = checkpoint.shape, n_parameters(checkpoint, family)
    layers = shape.get("num_hidden_layers", shape.get("num_layers"))
    width = shape.get("hidden_size", shape.get("d_model"))
    sizes = (f"{rounded(count * n_bytes)}B" for n_bytes in (4, 2))
    cells = [f'"{name}"', f"`{checkpoint.place}`", rounded(count), layers, width, *sizes]
    return f"| {' | '.join(map(str, [*cells, ', '.join(family.precisions), checkpoint.licence]))} |\n"


def render() -> str:
    rows = [row(name, checkpoint) for name, checkpoint in CHECKPOINTS.items()]
    return "".join([HEADER, *rows, FOOTER]).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(render())
    print(f"wrote {PAGE}")
