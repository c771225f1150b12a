"""Folders of checkpoints, changed for a test."""

import json
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save_file


def change_weights(folder: Path, change: Callable[[dict], object]) -> None:
    """Rewrite the weights of a folder after ``change`` has been at the dict of tensors."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def change_config(folder: Path, **fields) -> None:
    """Rewrite some fields of a folder's configuration."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
