"""From a protein's vector (B, D) to its outputs (B, C).

A head is a module built as ``Head(width, n_outputs, hidden, dropout)``, where ``width`` is D,
``n_outputs`` is C, ``hidden`` is the width of the hidden layer (None: that of the input) and
``dropout`` lies in [0, 1). A new head is one class and one entry in :data:`HEADS`.
"""

from __future__ import annotations

from torch import nn


class EsmHead(nn.Sequential):
    """The classification head of ESM and T5: dropout, dense, tanh, dropout, dense.

    With a dropout of 0.2 it is the head of Schmirler et al. (2024) on ProtT5 and Ankh.
    """

    def __init__(self, width: int, n_outputs: int, hidden: int | None, dropout: float):
        hidden = hidden or width
        inner = nn.Linear(width, hidden)
        super().__init__(
            nn.Dropout(dropout), inner, nn.Tanh(), nn.Dropout(dropout), nn.Linear(hidden, n_outputs)
        )


class ReluHead(nn.Sequential):
    """Dense, ReLU, dropout, dense.

    On standardised embeddings, with ``hidden=32`` and a dropout of 0.2, it is the head of Schmirler
    et al. (2024) on frozen encoders.
    """

    def __init__(self, width: int, n_outputs: int, hidden: int | None, dropout: float):
        hidden = hidden or width
        super().__init__(
            nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, n_outputs)
        )


class MlpHead(nn.Sequential):
    """Layer norm, dense, ReLU, dropout, dense.

    The layer norm takes the place of standardising the features, which vary by orders of magnitude
    in a frozen encoder.
    """

    def __init__(self, width: int, n_outputs: int, hidden: int | None, dropout: float):
        super().__init__(nn.LayerNorm(width), *ReluHead(width, n_outputs, hidden, dropout))


class LinearHead(nn.Sequential):
    """Dropout, dense; ``hidden`` is not used."""

    def __init__(self, width: int, n_outputs: int, hidden: int | None, dropout: float):
        super().__init__(nn.Dropout(dropout), nn.Linear(width, n_outputs))


HEADS: dict[str, type[nn.Module]] = {
    "esm": EsmHead,
    "mlp": MlpHead,
    "relu": ReluHead,
    "linear": LinearHead,
}


def make_head(name: str, width: int, n_outputs: int, hidden: int | None, dropout: float) -> nn.Module:
    """A head by name; initial values come from torch's global random state."""
    return HEADS[name](width, n_outputs, hidden, dropout)


def has_weights(module: nn.Module) -> bool:
    """Whether a module has parameters to train."""
    return any(True for _ in module.parameters())
