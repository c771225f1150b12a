"""What baselines share of their input: tags for scikit-learn, and numbers that can be computed with."""

from typing import Any

import numpy as np

_LARGEST = 1e100  # its square and sums of such are numbers still


class SequenceInput:
    """X holds one sequence per row: a list, array or Series of str."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.one_d_array, tags.input_tags.two_d_array, tags.input_tags.string = True, False, True
        return tags


def refuse_huge(y: np.ndarray) -> None:
    """Raise where measurements are too large for squares and sums of them."""
    if np.abs(y).max() > _LARGEST:
        raise ValueError(f"y holds numbers up to {np.abs(y).max():g}. Look for placeholders among them.")
