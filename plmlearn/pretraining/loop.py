"""The loop of masked-language-model training: steps by number, and checkpoints that resume exactly.

A step is a function of the weights, the optimiser's state and the step's number: rows, crops, masks
and dropout are all drawn from (seed, step). A checkpoint therefore holds tensors and numbers, no
generator, and a run that was killed goes on as if nothing had been. A checkpoint is one safetensors
file, its JSON document in the header, written beside the old one and moved into its place.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..nn.randomness import seeded
from ..training.config import TrainingConfig
from ..training.devices import Budget, autocast, n_processes, process_rank, sum_gradients
from ..training.engine import TrainingDivergedError, schedule_shape
from .language_head import MaskedLanguageModel
from .masking import Corpus, MaskedBatch, Masking, draw_crops, masked_batches

OPTIMIZERS = ("adamw", "muon")


@dataclass(frozen=True, kw_only=True)
class PretrainingConfig(TrainingConfig):
    """How to train a masked language model; ``batch_size`` counts crops of ``crop_length`` residues.

    Parameters
    ----------
    n_steps : int
    crop_length : int
        Tokens of the longest crop.
    curriculum : tuple of (float, int)
        (share of all steps, crop length) of shorter crops to begin with; a step has as many more of
        them as keeps its tokens.
    optimizer : {"adamw", "muon"}
        "muon" takes Muon for the layers' matrices and AdamW for all else.
    averaging : float or None
        Decay per step of the running mean of the weights, which is what is evaluated and kept.
    evaluate_every : int
        Steps between two looks at the held-out sequences.
    """

    n_steps: int
    crop_length: int = 256
    curriculum: tuple[tuple[float, int], ...] = ()
    optimizer: str = "adamw"
    averaging: float | None = None
    evaluate_every: int = 1000

    def crops_of(self, step: int) -> tuple[int, int, int]:
        """Crop length of a step, its number of crops, and the crops of all steps before it."""
        before, first = 0, 0
        for share, crop in (*self.curriculum, (1.0, self.crop_length)):
            n_rows = max(1, round(self.batch_size * self.crop_length / crop))
            stop = self.n_steps if crop == self.crop_length else first + round(share * self.n_steps)
            if step < stop or crop == self.crop_length:
                return crop, n_rows, before + (step - first) * n_rows
            before, first = before + (stop - first) * n_rows, stop
        raise AssertionError("the last stage has no end")


class RowStream:
    """Rows in the order of training: shuffled anew each time round, any stretch at once.

    Parameters
    ----------
    n_rows, seed : int
    """

    def __init__(self, n_rows: int, seed: int):
        self.n_rows, self.seed = n_rows, seed
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def take(self, start: int, n: int) -> np.ndarray:
        """The n rows from the ``start``-th of the stream."""
        taken = []
        while n:
            epoch, offset = divmod(start, self.n_rows)
            part = self._shuffled(epoch)[offset : offset + n]
            taken.append(part)
            start, n = start + len(part), n - len(part)
        return np.concatenate(taken)

    def _shuffled(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self.seed, 1, epoch]).permutation(self.n_rows)
        return self._order


@dataclass
class Run:
    """A run of training and where it stands.

    Parameters
    ----------
    model : MaskedLanguageModel
        Trained in place: whatever of it requires gradients.
    corpus : Corpus
    masking : Masking
    config : PretrainingConfig
    evaluate : callable, optional
        The model to its held-out loss; the best weights by it are kept.
    settings : dict, optional
        What a checkpoint must agree in, in JSON's terms.
    """

    model: MaskedLanguageModel
    corpus: Corpus
    masking: Masking
    config: PretrainingConfig
    evaluate: Callable[[MaskedLanguageModel], float] | None = None
    settings: dict = field(default_factory=dict)
    step: int = 0
    n_residues: int = 0
    seconds: float = 0.0
    history: list[dict] = field(default_factory=list)
    best_loss: float = math.inf
    best: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self):
        self.rows = RowStream(len(self.corpus), self.config.seed)
        self.trained = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        self.optimizers = make_optimizers(self.trained, self.config)
        self.shape = schedule_shape(self.config.schedule, self.config.warmup, self.config.n_steps)
        self.budget = Budget(self.config.max_tokens)
        self.averaged = (
            {} if self.config.averaging is None else {n: p.detach().clone() for n, p in self.trained.items()}
        )
        self.last_loss = math.nan  # training loss of the last step
        self._last_crops: tuple | None = None
        self._since: dict[str, float] = {"loss": 0.0, "predicted": 0, "residues": 0, "seconds": 0.0}

    # -- training -----------------------------------------------------------------------------

    def advance(self, stop: Callable[[Run], bool] = lambda run: False) -> None:
        """Steps until the last one, or until ``stop`` says so after one of them."""
        while self.step < self.config.n_steps:
            self._one_step()
            if self.step % self.config.evaluate_every == 0 or self.step == self.config.n_steps:
                self._look()
            if stop(self):
                return

    def _one_step(self) -> None:
        start = time.perf_counter()
        crop, n_rows, before = self.config.crops_of(self.step)
        rng = np.random.default_rng([self.config.seed, 2, self.step])
        ids, lengths = draw_crops(self.corpus, self.rows.take(before, n_rows), crop, rng)
        masked, positions = self.masking.mask(ids, rng)
        self._last_crops = ids, masked, positions, lengths
        with seeded(int(rng.integers(2**31)), self.config.device):
            loss = self._gradients(*self._last_crops)
        self._update(loss)
        self.step += 1
        n_residues = int(self.masking.is_residue(ids).sum())
        self.n_residues += n_residues
        seconds = time.perf_counter() - start
        self.seconds += seconds
        since = self._since
        self.last_loss = loss
        since["loss"] += loss * len(positions)
        since["predicted"] += len(positions)
        since["residues"] += n_residues
        since["seconds"] += seconds

    def progress(self) -> dict:
        """Where the run stands."""
        return {
            "step": self.step,
            "n_steps": self.config.n_steps,
            "residues": self.n_residues,
            "seconds": self.seconds,
            "train_loss": self.last_loss,
            "history": self.history,
        }

    def _gradients(self, ids, masked, positions, lengths) -> float:
        """Mean loss of a step's hidden residues; its gradients are in the model."""
        self.model.train()

        def run() -> float:
            self._zero_grad()
            total = 0.0
            for batch in self._own_batches(ids, masked, positions, lengths):
                loss = losses_of(self.model, batch, self.config).sum() / max(1, len(positions))
                if torch.is_grad_enabled():
                    loss.backward()
                total += float(loss.detach())
            return total

        return sum_gradients(self.budget.run(run, len(ids)), self.trained.values())

    def _own_batches(self, ids, masked, positions, lengths) -> Iterator[MaskedBatch]:
        """The crops of a step that are this process's share."""
        rank, n = process_rank(), n_processes()
        if n > 1:
            of_crop = np.repeat(np.arange(len(lengths)) % n == rank, lengths)
            place = np.cumsum(of_crop) - 1
            positions = place[positions[of_crop[positions]]]
            ids, masked, lengths = ids[of_crop], masked[of_crop], lengths[rank::n]
        if len(lengths):
            budget, device = self.budget.max_tokens, self.config.device
            yield from masked_batches(ids, masked, positions, lengths, budget, device)

    def _zero_grad(self) -> None:
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)

    def _update(self, loss: float) -> None:
        norm = nn.utils.clip_grad_norm_(list(self.trained.values()), self.config.gradient_clip or math.inf)
        self._check_finite(f"Loss {loss}, gradient norm {float(norm)}", loss, float(norm))
        factor = self.shape(self.step)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * factor
            optimizer.step()
        if self.averaged:
            # A young mean follows fast: it forgets its first weights within a tenth of the run so far.
            decay = min(self.config.averaging or 0.0, self.step / (self.step + 10))
            torch._foreach_lerp_(list(self.averaged.values()), list(self.trained.values()), 1 - decay)

    # -- evaluation ---------------------------------------------------------------------------

    def _look(self) -> None:
        since = self._since
        row = {
            "step": self.step,
            "residues": self.n_residues,
            "train_loss": since["loss"] / max(1, since["predicted"]),
            "lr": self.config.lr * self.shape(self.step - 1),
            "residues_per_second": since["residues"] / max(since["seconds"], 1e-9),
            "seconds": self.seconds,
        }
        self._since = dict.fromkeys(since, 0.0)
        if self.evaluate is not None:
            with self.final_weights():
                row["valid_loss"] = self.evaluate(self.model)
            self._check_finite(f"Validation loss {row['valid_loss']}", row["valid_loss"])
            row["best"] = row["valid_loss"] < self.best_loss
            if row["best"]:
                self.best_loss = row["valid_loss"]
                source = self.averaged or self.trained
                self.best = {name: tensor.detach().clone() for name, tensor in source.items()}
        self.history.append(row)

    @contextlib.contextmanager
    def final_weights(self) -> Iterator[None]:
        """The model with the running mean of its weights in it, where there is one."""
        kept = {name: tensor.detach().clone() for name, tensor in self.trained.items()}
        _copy(self.trained, self.averaged or kept)
        try:
            yield
        finally:
            _copy(self.trained, kept)

    def finish(self) -> None:
        """Leave the best weights in the model, or the last where nothing was held out."""
        _copy(self.trained, self.best or self.averaged or self.trained)
        if self._last_crops is not None:  # no later step looks at the loss of the last weights
            with torch.no_grad(), seeded(0, self.config.device):
                loss = self._gradients(*self._last_crops)
            self._check_finite(f"Loss {loss} after the last update", loss)

    def _check_finite(self, found: str, *values: float) -> None:
        if not all(map(math.isfinite, values)):
            raise TrainingDivergedError(
                f"{found} at step {self.step}. Try a smaller lr (now {self.config.lr:g}), gradient_clip=1.0, "
                "a longer warmup or precision='fp32'."
            )

    # -- checkpoints --------------------------------------------------------------------------

    _NUMBERS = ("step", "n_residues", "seconds", "history", "best_loss", "_since")

    def write(self, file: Path) -> None:
        """Everything that the rest of the run depends on; the file is whole or the old one."""
        tensors = {f"weights.{name}": tensor.detach() for name, tensor in self.trained.items()}
        tensors |= {f"averaged.{name}": tensor for name, tensor in self.averaged.items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for kind, optimizer in self.optimizers.items():
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"{kind}.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
        numbers = {name: getattr(self, name) for name in self._NUMBERS}
        document = json.dumps({"settings": self.settings, "numbers": numbers})
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_suffix(".part")
        save_file({n: t.cpu().contiguous() for n, t in tensors.items()}, beside, metadata={"run": document})
        os.replace(beside, file)

    def read(self, file: Path) -> None:
        """Go on from a checkpoint; an error where it belongs to another configuration."""
        with safe_open(file, "pt") as stored:
            document = json.loads(stored.metadata()["run"])
            check_settings(file, document["settings"], self.settings)
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        for name, value in document["numbers"].items():
            setattr(self, name, value)
        _copy(self.trained, _under("weights.", tensors))
        if self.averaged:
            _copy(self.averaged, _under("averaged.", tensors))
        self.best = {n: t.to(self.config.device) for n, t in _under("best.", tensors).items()}
        for kind, optimizer in self.optimizers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for name, tensor in _under(f"{kind}.", tensors).items():
                index, _, what = name.partition(".")
                state.setdefault(int(index), {})[what] = tensor
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def losses_of(model: MaskedLanguageModel, batch: MaskedBatch, config: TrainingConfig) -> Tensor:
    """Cross-entropy of each hidden residue, in nats, (N,)."""
    with autocast(config.device, config.dtype):
        logits = model(batch.tokens, batch.positions)
    return F.cross_entropy(logits, batch.targets, reduction="none")


def make_optimizers(
    trained: Mapping[str, Tensor], config: PretrainingConfig
) -> dict[str, torch.optim.Optimizer]:
    """Optimisers by name; norms, biases, embeddings and the vectors of adapters do not decay."""
    outside = ("embeddings.", "decoder")
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for name, tensor in trained.items():
        decays = config.adapter.decays(name, tensor) and not any(part in name for part in outside)
        takes_muon = tensor.ndim == 2 or config.optimizer != "muon"
        (matrices if decays and takes_muon else others).append(tensor)
    groups: dict[str, list[dict[str, Any]]] = {"adamw": [{"params": others, "weight_decay": 0.0}]}
    matrix_group = {"params": matrices, "weight_decay": config.weight_decay}
    made: dict[str, torch.optim.Optimizer] = {}
    if config.optimizer == "muon" and matrices:
        made["muon"] = torch.optim.Muon([matrix_group], lr=config.lr, adjust_lr_fn="match_rms_adamw")
    else:
        groups["adamw"].append(matrix_group)
    kept = [group for group in groups["adamw"] if group["params"]]
    if kept:
        made["adamw"] = torch.optim.AdamW(kept, lr=config.lr, betas=(0.9, 0.98), eps=1e-8, fused=True)
    for optimizer in made.values():
        for group in optimizer.param_groups:
            group["base_lr"] = config.lr
    return made


def check_settings(file: Path, found: dict, expected: dict) -> None:
    """Raise where a checkpoint is of another configuration."""
    differing = [name for name in sorted({*found, *expected}) if found.get(name) != expected.get(name)]
    if differing:
        told = "; ".join(
            f"{name}: there {found.get(name)!r}, here {expected.get(name)!r}" for name in differing
        )
        raise ValueError(
            f"{file} is a checkpoint of another configuration ({told}). Resume with the settings and "
            "sequences it was made with, or pass another checkpoint folder."
        )


_SETTINGS = (
    "max_tokens",
    "batch_size",
    "lr",
    "weight_decay",
    "schedule",
    "warmup",
    "gradient_clip",
    "seed",
    "n_steps",
    "crop_length",
    "curriculum",
    "optimizer",
    "averaging",
    "evaluate_every",
)


def as_settings(config: PretrainingConfig) -> dict:
    """What of a config decides the numbers, in JSON's terms."""
    told = {name: getattr(config, name) for name in _SETTINGS}
    return json.loads(json.dumps({**told, "dtype": str(config.dtype)}))


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _copy(own: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(values[name])
