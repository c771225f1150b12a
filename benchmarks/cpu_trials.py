"""Ways to a faster CPU that were tried: their figures (decision 38). All but ``adamw`` were thrown away.

    OMP_NUM_THREADS=1 python benchmarks/cpu_trials.py attention flex products low_rank adamw
    PLMLEARN_DATA=data python benchmarks/cpu_trials.py int8 --backbone FOLDER

``attention``  batched products with a softmax in place, block by block, against torch's kernel, float32
``flex``       compiled flex_attention against that kernel
``products``   matrices in 8 bits with activations in 8 bits (W8A8), against float32
``low_rank``   LoRA's products of rank 8 beside the frozen one, and joined with it
``adamw``      an optimiser's step tensor by tensor, and fused
``int8``       a whole model in W8A8: seconds, and rank correlations of a ridge regression on its embeddings
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from machine import machine
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention
from transformers import AutoTokenizer, EsmModel

from plmlearn.datasets import fetch_gb1, fetch_stability
from plmlearn.nn.attention import _blocked_backward, _flash_cpu, _library_backward

HEADS = 20
SEQUENCES = ((16, 58), (8, 128), (4, 256), (2, 512), (1, 1000))  # how many, and their length


def milliseconds(run: Callable[..., object], *given, **named) -> float:
    """Of the best of five calls."""
    run(*given, **named)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        run(*given, **named)
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def kernel(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    return _flash_cpu(query, key, value, 0.0, False, attn_mask=None, scale=query.shape[-1] ** -0.5)


def batched(query: Tensor, key: Tensor, value: Tensor, block_bytes: int = 1 << 20) -> Tensor:
    n, _, length, width = query.shape
    query = (query * width**-0.5).flatten(0, 1)
    key, value = key.flatten(0, 1).transpose(1, 2), value.flatten(0, 1)
    out, step = torch.empty_like(value), max(1, block_bytes // (4 * length**2))
    for start in range(0, len(query), step):
        block = slice(start, start + step)
        scores = torch.bmm(query[block], key[block])
        scores.sub_(scores.amax(-1, keepdim=True)).exp_()
        torch.bmm(scores, value[block], out=out[block])
        out[block].div_(scores.sum(-1, keepdim=True))
    return out.unflatten(0, (n, -1))


def attention() -> None:
    print("| head width | proteins × residues | forward, ms | batched | backward, ms | batched |")
    print("|---|---|---|---|---|---|")
    for width in (16, 24, 32, 64):
        for n, length in SEQUENCES:
            query, key, value, grad = (torch.randn(n, HEADS, length, width) for _ in range(4))
            out, sums = kernel(query, key, value)
            torch.testing.assert_close(batched(query, key, value), out, atol=1e-4, rtol=1e-4)
            given, scale = (grad, query, out, key, value, sums), width**-0.5
            cells = [
                milliseconds(kernel, query, key, value),
                milliseconds(batched, query, key, value),
                milliseconds(_library_backward, *given, scale),
                milliseconds(_blocked_backward, *given, scale, None, None, wants_query=True),
            ]
            print(f"| {width} | {n} × {length} | {' | '.join(f'{cell:.2f}' for cell in cells)} |", flush=True)


def flex() -> None:
    compiled = torch.compile(flex_attention, dynamic=False)
    print("| head width | proteins × residues | kernel, ms | flex_attention, ms |\n|---|---|---|---|")
    for width in (16, 64):
        for n, length in SEQUENCES[:4:2] + SEQUENCES[3:4]:
            given = [torch.randn(n, HEADS, length, width) for _ in range(3)]
            with torch.inference_mode():
                ours, theirs = milliseconds(kernel, *given), milliseconds(compiled, *given)
            print(f"| {width} | {n} × {length} | {ours:.2f} | {theirs:.2f} |", flush=True)


def in_8_bits(model: torch.nn.Module) -> torch.nn.Module:
    torch.backends.quantized.engine = "onednn"
    return torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)


def by_token(linear: torch.nn.Linear) -> Callable[[Tensor], Tensor]:
    """W8A8 with a scale for each output and each token, by torch's product of integers."""
    assert isinstance(linear.bias, Tensor)
    bias, scale = linear.bias, linear.weight.abs().amax(1) / 127
    weight = (linear.weight / scale[:, None]).round().to(torch.int8).T.contiguous()

    def forward(x: Tensor) -> Tensor:
        own = x.abs().amax(1, keepdim=True) / 127
        return (
            torch._int_mm((x / own).round().to(torch.int8), weight).float().mul_(own).mul_(scale).add_(bias)
        )

    return forward


def products() -> None:
    print("| matrix | float32, ms | W8A8, ms | relative error | by token, ms | relative error |")
    print("|---|---|---|---|---|---|")
    for inner, outer in ((320, 320), (320, 1280), (1280, 320), (640, 2560), (1280, 5120), (5120, 1280)):
        plain, x = torch.nn.Sequential(torch.nn.Linear(inner, outer)), torch.randn(4096, inner)
        cells = []
        with torch.inference_mode():
            expected = plain(x)
            for small in (in_8_bits(plain), by_token(plain[0])):
                error = (small(x) - expected).norm() / expected.norm()
                cells.append(f"{milliseconds(small, x):.1f} | {error:.3f}")
            cells.insert(0, f"{milliseconds(plain, x):.1f}")
        print(f"| {inner} × {outer} | {' | '.join(cells)} |", flush=True)


def with_lora(x: Tensor, frozen: Tensor, first: Tensor, second: Tensor) -> list[Callable[[], Tensor]]:
    """x @ frozen; with x @ first @ second added; and the same with frozen and first as one matrix."""
    both, rank = torch.cat([frozen, first], 1).contiguous(), len(second)
    return [
        lambda: x @ frozen,
        lambda: (x @ frozen).addmm_(x @ first, second),
        lambda: torch.addmm((found := x @ both)[:, :-rank], found[:, -rank:], second),
    ]


def gradient_with_lora(grad: Tensor, frozen: Tensor, first: Tensor, second: Tensor) -> list:
    """The same for the gradient of x."""
    both = torch.cat([frozen, first], 1).contiguous()
    return [
        lambda: grad @ frozen.T,
        lambda: (grad @ frozen.T).addmm_(grad @ second.T, first.T),
        lambda: torch.cat([grad, grad @ second.T], 1) @ both.T,
    ]


def low_rank(n_tokens: int = 1000, rank: int = 8) -> None:
    print("| matrix | pass | frozen alone, ms | LoRA beside it | joined |\n|---|---|---|---|---|")
    for inner, outer in ((320, 320), (320, 1280), (1280, 320), (640, 640), (640, 2560), (1280, 5120)):
        matrices = [torch.randn(n) / 20 for n in ((inner, outer), (inner, rank), (rank, outer))]
        ways = {
            "forward": with_lora(torch.randn(n_tokens, inner), *matrices),
            "gradient of the input": gradient_with_lora(torch.randn(n_tokens, outer), *matrices),
        }
        for name, (alone, beside, joined) in ways.items():
            torch.testing.assert_close(joined(), beside(), atol=1e-2, rtol=1e-3)
            cells = [f"{milliseconds(way):.2f}" for way in (alone, beside, joined)]
            print(f"| {inner} × {outer} | {name} | {' | '.join(cells)} |", flush=True)


def adamw() -> None:
    print("| trained | tensor by tensor, ms | fused, ms |\n|---|---|---|")
    for layers, width in ((6, 320), (12, 480)):
        matrices = [(width, width)] * 4 + [(4 * width, width), (width, 4 * width)]
        full = [*matrices, *[(width,)] * 9, (4 * width,)] * layers
        low = [shape for n, m in matrices for shape in ((n, 8), (8, m))] * layers
        for name, shapes in (("all", full), ("LoRA of rank 8", low)):
            cells = []
            for fused in (False, True):
                trained = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
                for tensor in trained:
                    tensor.grad = torch.randn_like(tensor)
                cells.append(f"{milliseconds(torch.optim.AdamW(trained, fused=fused).step):.2f}")
            print(f"| {name} of {layers} layers of {width} | {' | '.join(cells)} |", flush=True)


def embedded(model: torch.nn.Module, tokenizer, sequences: list[str]) -> np.ndarray:
    vectors = []
    for start in range(0, len(sequences), 16):
        tokens = tokenizer(sequences[start : start + 16], return_tensors="pt", padding=True)
        with torch.inference_mode():
            hidden = model(**tokens).last_hidden_state
        mask = tokens["attention_mask"][..., None]
        vectors.append(((hidden * mask).sum(1) / mask.sum(1)).numpy())
    return np.concatenate(vectors)


def int8(backbone: str, n: int = 1000) -> None:
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    plain = EsmModel.from_pretrained(backbone, add_pooling_layer=False).eval()
    models = {"float32": plain, "W8A8": in_8_bits(plain)}
    for length in (60, 240, 480, 1000):
        letters = np.random.default_rng(0).choice(list("ACDEFGHIKLMNPQRSTVWY"), (4000 // length, length))
        tokens = tokenizer(["".join(row) for row in letters], return_tensors="pt")
        with torch.inference_mode():
            found = {name: milliseconds(model, **tokens) for name, model in models.items()}
        print(f"{length} residues: " + ", ".join(f"{name} {ms:.0f} ms" for name, ms in found.items()))
    for name, fetch in {"gb1": fetch_gb1, "stability": fetch_stability}.items():
        drawn = []
        for subset in ("train", "test"):
            X, y = fetch(subset=subset, return_X_y=True)
            rows = np.random.default_rng(0).permutation(len(X))[:n]
            drawn.append(([X[row][: 56 if name == "gb1" else None] for row in rows], np.asarray(y)[rows]))
        (X, y), (X_test, y_test) = drawn
        for precision, model in models.items():
            ridge = RidgeCV(np.logspace(-3, 4, 15)).fit(embedded(model, tokenizer, X), y)
            found = spearmanr(ridge.predict(embedded(model, tokenizer, X_test)), y_test)[0]
            print(f"{name}, {precision}: Spearman {found:.3f}", flush=True)


TRIALS: dict[str, Callable[..., None]] = {
    "attention": attention,
    "flex": flex,
    "products": products,
    "low_rank": low_rank,
    "adamw": adamw,
    "int8": int8,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trials", nargs="+", choices=TRIALS)
    parser.add_argument("--backbone", default="mini", help="folder, for int8")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(machine())
    for name in options.trials:
        print(f"\n## {name}\n")
        TRIALS[name](*[options.backbone] * (name == "int8"))


if __name__ == "__main__":
    main()
