"""Write backbones.md from the tables of architectures and checkpoints. Nothing is downloaded.

python docs/build_backbones.py
"""

from pathlib import Path

import torch
import transformers

from plmlearn.backbones.architectures import ARCHITECTURES, CHECKPOINTS, Architecture, Checkpoint

PAGE = Path(__file__).parent / "backbones.md"

HEADER = """# Backbones

`docs/build_backbones.py` writes this page from `plmlearn/backbones/architectures.py`. `backbone=` takes a
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
| ProtT5 | [agemagician/ProtTrans](https://github.com/agemagician/ProtTrans) |
| ProstT5 | [mheinzinger/ProstT5](https://github.com/mheinzinger/ProstT5) |
| Ankh | [agemagician/Ankh](https://github.com/agemagician/Ankh) |

"mini" comes with the package and needs no network. With `backbone_init="random"`, any backbone starts from
new random weights.

## How sequences are read

| architecture | tokens before and after | U, Z, O, B | J | `precision="auto"` |
|---|---|---|---|---|
| ESM-1b, ESM-1v, ESM-2, ESM-C | `<cls>`, `<eos>` | tokens of their own | refused, or X | bf16 where faster |
| ProtT5, Ankh | none, `</s>` | X | refused, or X | the same; fp16 is refused, because it overflows |
| ProstT5 | `<AA2fold>`, `</s>` | X | refused, or X | the same |
| ProstT5, `"prostt5-3di"` or `"<folder>#3di"` | `<fold2AA>`, `</s>` | – | – | the same |
| Ankh 3 | `[NLU]`, `</s>` | X | refused, or X | the same |

Special tokens are removed before pooling. `pooling="cls"` is for backbones with a `<cls>` token; use "mean"
with T5. With `"prostt5-3di"`, the letters of `X` are Foldseek's structural states, in upper or lower case.

ESM-1b and ESM-1v have positions for 1,022 residues. All other backbones can read longer sequences. The
default is `max_length=1022`. `long_sequences="window"` reads sequences of any length in overlapping
windows.

## What has to be installed

ESM-C needs a version of transformers that has `EsmcModel`, such as 5.23. ProtT5 and ProstT5 have a
SentencePiece tokenizer: `pip install "plmlearn[t5]"`.

Pickled weights are never read. If the main branch of a repository has no safetensors, plmlearn uses those
that Hugging Face's own robot converted in a pull request. It can find them only with network. For machines
without network, prepare a folder with `plmlearn.backbones.download_backbone`.
"""


def n_parameters(checkpoint: Checkpoint, architecture: Architecture) -> int:
    """Parameters of the encoder, counted on shapes without memory."""
    model_class = getattr(transformers, architecture.model_class)
    with torch.device("meta"):
        model = model_class(model_class.config_class(**checkpoint.shape), **architecture.load_options)
    unused = architecture.optional_weights
    return sum(p.numel() for name, p in model.named_parameters() if not unused or not name.startswith(unused))


def rounded(number: float) -> str:
    """A count with three digits and a unit.

    >>> rounded(651_043_254), rounded(1_208_141_824)
    ('651 M', '1.21 G')
    """
    unit, divisor = ("G", 1e9) if number >= 1e9 else ("M", 1e6)
    return f"{number / divisor:.3g} {unit}"


def row(name: str, checkpoint: Checkpoint) -> str:
    architecture = ARCHITECTURES[checkpoint.architecture]
    shape, count = checkpoint.shape, n_parameters(checkpoint, architecture)
    layers = shape.get("num_hidden_layers", shape.get("num_layers"))
    width = shape.get("hidden_size", shape.get("d_model"))
    sizes = (f"{rounded(count * n_bytes)}B" for n_bytes in (4, 2))
    cells = [f'"{name}"', f"`{checkpoint.place}`", rounded(count), layers, width, *sizes]
    return f"| {' | '.join(map(str, [*cells, ', '.join(architecture.precisions), checkpoint.licence]))} |\n"


def render() -> str:
    rows = [row(name, checkpoint) for name, checkpoint in CHECKPOINTS.items()]
    return "".join([HEADER, *rows, FOOTER]).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(render())
    print(f"wrote {PAGE}")
