"""What all pictures share: colours, new axes, and the ticks of a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..sequences.checked import require_package

# Okabe and Ito's colours, told apart by colour-blind readers too; yellow, faint on white, comes last.
BLUE, ORANGE, GREEN, PINK, AMBER, SKY, BLACK, YELLOW = COLORS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7"),
    *("#E69F00", "#56B4E9", "#000000", "#F0E442"),
)
GREY = "0.7"
MARKERS = "os^Dv*"
SEQUENTIAL, DIVERGING = "cividis", "PuOr"

_MOST_LETTERS = 100  # residues whose letters can be read side by side


def axes(ax: Any, width: float = 6.4, height: float = 4.0) -> Any:
    """The caller's axes, or those of a new figure of this size in inches."""
    if ax is not None:
        return ax
    require_package("matplotlib", 'Pictures need matplotlib: pip install "plmlearn[plot]".')
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def legend_below(ax: Any, **options: Any) -> None:
    """A legend under the label of the horizontal axis, in a figure of any height."""
    from matplotlib.transforms import ScaledTranslation

    lower = ScaledTranslation(0, -0.5, ax.figure.dpi_scale_trans)  # inches
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "bbox_transform": ax.transAxes + lower}
    ax.legend(**place, frameon=False, **options)


def legend_beside(ax: Any, **options: Any) -> None:
    """A legend to the right of the axes."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, **options)


def legend_size(names: Sequence[str], n_rows: int) -> tuple[int, float]:
    """Columns of a legend of so many rows, and the inches that they take."""
    columns = max(1, -(-len(names) // n_rows))
    return columns, columns * (0.5 + 0.08 * max(map(len, names), default=0))


def width_of(sequence: str) -> float:
    """Inches that a sequence takes side by side."""
    return float(np.clip(1.5 + 0.1 * len(sequence), 6.4, 12.0))


def mark_residues(ax: Any, sequence: str, first: int = 1) -> None:
    """Number the residues from ``first``, and write the letters of a sequence that is not too long."""
    ax.set(xlabel="residue", xlim=(0.5, len(sequence) + 0.5))
    step = 10 if len(sequence) <= _MOST_LETTERS else 20 * -(-len(sequence) // 400)
    tens = range(step * (first // step + 1), first + len(sequence), step)
    numbers = [first, *(number for number in tens if number - first > step / 3)]
    ax.set_xticks([number - first + 1 for number in numbers], [str(number) for number in numbers])
    if len(sequence) > _MOST_LETTERS:
        return
    ax.xaxis.remove_overlapping_locs = False
    ax.set_xticks(range(1, len(sequence) + 1), list(sequence), minor=True)
    points = 72 * width_of(sequence) / len(sequence)  # of a letter, in a figure of this package
    ax.tick_params(axis="x", which="minor", length=0, pad=3, labelsize=min(9.0, points))
    ax.tick_params(axis="x", which="major", length=0, pad=13)
