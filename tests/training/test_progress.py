"""The bar counts every step and shows what it should; a log file gets a line per epoch."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from plmlearn.backbones import load_backbone
from plmlearn.training import engine
from plmlearn.training.batching import Inputs
from plmlearn.training.config import TrainingConfig
from plmlearn.training.engine import Progress, train
from plmlearn.training.steps import TrainingData

CONFIG = TrainingConfig(
    max_tokens=99, device=torch.device("cpu"), dtype=torch.float32, epochs=3, batch_size=2
)


class Linear(nn.Module):
    """The mean token id, scaled."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, tokens, index):
        means = torch.stack([ids.float().mean() for ids in tokens.ids.split(tokens.lengths)])
        return (self.weight * means)[index, None]


def run(bar: Progress, config: TrainingConfig = CONFIG, **options) -> None:
    inputs = Inputs.of(load_backbone("mini"), ["MKV", "A", "GG", "WWWW", "C"])
    data = TrainingData(inputs, np.ones(5, dtype=np.float32), np.ones(5, dtype=np.float32))
    train(Linear(), lambda outputs, y: (outputs[:, 0] - y).square(), data, config, callbacks=[bar], **options)


@pytest.fixture
def terminal(monkeypatch):
    """A bar that is shown although no terminal is there."""
    tqdm = engine.tqdm
    monkeypatch.setattr(engine, "tqdm", lambda **options: tqdm(**(options | {"disable": False})))


def test_a_log_file_gets_a_line_per_epoch(capfd):
    run(Progress())
    out, lines = capfd.readouterr()
    assert out == ""
    told = [
        re.fullmatch(r"epoch (\d)/3: train_loss [\d.]+, residues/s [\d,]+, 0:00:\d\d left", line)
        for line in lines.splitlines()
    ]
    assert [line[1] for line in told] == ["1", "2", "3"]


def test_the_bar_counts_every_step(terminal, capfd):
    bar = Progress()
    run(bar)
    assert (bar.bar_.n, bar.bar_.total) == (9, 9)
    assert bar.residues_ == 3 * 11
    assert set(bar.shown_) == {"loss", "residues/s"}
    assert "0/9" in capfd.readouterr().err


def test_the_bar_counts_the_steps_of_epochs_that_are_drawn(terminal):
    bar = Progress()
    run(bar, replace(CONFIG, epoch_size=12))
    assert (bar.bar_.n, bar.bar_.total) == (18, 18)


def test_the_bar_shows_validation(terminal):
    bar = Progress()
    inputs = Inputs.of(load_backbone("mini"), ["MKV"])
    validation = TrainingData(inputs, np.ones(1, dtype=np.float32), np.ones(1, dtype=np.float32))
    run(bar, validation=validation, scorer=lambda outputs: 0.25)
    assert bar.shown_["valid_score"] == "0.250"
    assert float(bar.shown_["valid_loss"]) > 0
