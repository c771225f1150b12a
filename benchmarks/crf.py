"""The cost of the CRF in a training step: 64 proteins of 70 residues, 37 labels.

    python benchmarks/crf.py [--rounds 9]

Two models are trained: a linear head alone (320 → 37), and an encoder of ESM2-8M's shape with random
weights under that head. Each is trained with cross-entropy per residue and with the likelihood of the CRF.
If pytorch-crf is installed, its step is timed too. A step is forward pass, backward pass and AdamW. The
kinds of step take turns, so that other load on the machine slows all of them equally. Results are medians
over rounds.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import transformers
from machine import machine
from torch import Tensor, nn

from plmlearn.nn.crf import LinearChainCRF

try:
    import torchcrf
except ImportError:
    torchcrf = None

ROWS, LENGTH, WIDTH, LABELS = 64, 70, 320, 37
MASK = torch.ones(ROWS, LENGTH, dtype=torch.bool)


class HeadAlone(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(WIDTH, LABELS)
        self.register_buffer("residues", torch.randn(ROWS, LENGTH, WIDTH))

    def forward(self) -> Tensor:
        return self.head(self.residues)


class EncoderAndHead(nn.Module):
    def __init__(self):
        super().__init__()
        shape = {
            "num_hidden_layers": 6,
            "hidden_size": WIDTH,
            "num_attention_heads": 20,
            "intermediate_size": 4 * WIDTH,
        }
        tokens = {"vocab_size": 33, "pad_token_id": 1, "mask_token_id": 32, "token_dropout": True}
        config = transformers.EsmConfig(**shape, **tokens, position_embedding_type="rotary")
        self.encoder = transformers.EsmModel(config, add_pooling_layer=False)
        self.head = nn.Linear(WIDTH, LABELS)
        self.register_buffer("tokens", torch.randint(4, 24, (ROWS, LENGTH + 2)))

    def forward(self) -> Tensor:
        return self.head(self.encoder(self.tokens).last_hidden_state[:, 1:-1])


class CrossEntropy(nn.Module):
    def forward(self, emissions: Tensor, tags: Tensor) -> Tensor:
        return nn.functional.cross_entropy(emissions.transpose(1, 2), tags)


class OurCRF(nn.Module):
    def __init__(self):
        super().__init__()
        self.crf = LinearChainCRF(LABELS)

    def forward(self, emissions: Tensor, tags: Tensor) -> Tensor:
        return -self.crf.log_likelihood(emissions, tags, MASK).mean()


class TheirCRF(nn.Module):
    def __init__(self):
        super().__init__()
        self.crf = torchcrf.CRF(LABELS, batch_first=True)

    def forward(self, emissions: Tensor, tags: Tensor) -> Tensor:
        return -self.crf(emissions, tags, MASK, reduction="mean")


def make_step(model: nn.Module, loss: nn.Module, tags: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.AdamW([*model.parameters(), *loss.parameters()], lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        loss(model(), tags).backward()
        optimizer.step()

    return step


def seconds(step: Callable[[], None]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def take_turns(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    for step in steps.values():
        step()
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            taken[name].append(seconds(step))
    return taken


def report(title: str, taken: dict[str, list[float]]) -> None:
    plain, ours = taken["cross-entropy"], taken["plmlearn CRF"]
    print(f"\n{title}\n| step | median, ms | of the step without CRF | of the step with plmlearn's CRF |")
    print("|---|---|---|---|")
    for name, times in taken.items():
        ratios = [statistics.median(t / base for t, base in zip(times, bases)) for bases in (plain, ours)]
        print(f"| {name} | {1e3 * statistics.median(times):.1f} | {ratios[0]:.2f} | {ratios[1]:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--rounds", type=int, default=9, help="rounds with the encoder; ten times as many with the head"
    )
    rounds = parser.parse_args().rounds
    print(f"{ROWS} × {LENGTH} × {LABELS}, float32\n{machine('torch', 'transformers')}")
    tags = torch.randint(LABELS, (ROWS, LENGTH))
    losses = {"cross-entropy": CrossEntropy, "plmlearn CRF": OurCRF}
    if torchcrf is not None:
        losses["pytorch-crf"] = TheirCRF
    for title, model, n in (
        ("Head alone", HeadAlone, 10 * rounds),
        ("Encoder of ESM2-8M's shape", EncoderAndHead, rounds),
    ):
        steps = {name: make_step(model(), loss(), tags) for name, loss in losses.items()}
        report(f"{title}, {n} rounds", take_turns(steps, n))


if __name__ == "__main__":
    main()
