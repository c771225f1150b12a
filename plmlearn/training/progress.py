"""What a user sees while a fit runs."""

from __future__ import annotations

import sys
from typing import Any

from skorch.callbacks import Callback
from tqdm.auto import tqdm


class ProgressBar(Callback):
    """A bar over all optimiser steps: loss, validation score, residues/s and the time left.

    Shown where a person looks on (a terminal or a notebook), silent in logs and in workers.

    Parameters
    ----------
    epochs : int
    """

    def __init__(self, epochs: int):
        self.epochs = epochs

    def on_train_begin(self, net, **kwargs):
        self.bar_: Any = None
        self.shown_: dict[str, str] = {}

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        if self.bar_ is None:
            steps = -(-len(dataset_train) // net.config.batch_size) * self.epochs
            hidden = None if "ipykernel" not in sys.modules else False  # None: hidden unless a terminal
            self.bar_ = tqdm(total=steps, unit="step", disable=hidden, leave=False)
            self.residues_ = 0

    def on_batch_end(self, net, batch=None, training=False, loss=None, **kwargs):
        if not training or self.bar_.disable:
            return
        self.residues_ += batch.n_residues
        elapsed = max(self.bar_.format_dict["elapsed"], 1e-9)
        self.shown_["loss"] = f"{loss:.3f}"
        self.shown_["residues/s"] = f"{self.residues_ / elapsed:,.0f}"
        self.bar_.set_postfix(self.shown_, refresh=False)
        self.bar_.update()

    def on_epoch_end(self, net, dataset_valid=None, **kwargs):
        if dataset_valid is not None:
            self.shown_["valid_loss"] = f"{net.history[-1, 'valid_loss']:.3f}"
            if net.scorer is not None:
                self.shown_["valid_score"] = f"{net.history[-1, 'valid_score']:.3f}"

    def on_train_end(self, net, **kwargs):
        if self.bar_ is not None:
            self.bar_.close()
