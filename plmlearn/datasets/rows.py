"""The rows of a table that were asked for, and the Bunch they are returned in.

- ``check_choices``: refuse a parameter that is not one of its options, before anything is read or downloaded.
- ``rows_of_subset``, ``rows_of_partitions``: masks, True for a row to keep.
- ``as_objects``: a 1-D object array, the form of sequences and of targets per residue.
- ``bundle``: the Bunch or the pair (data, target) that every fetcher returns.
"""

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from .origins import Origin

SUBSETS = ("all", "train", "valid", "test")


def check_choices(**choices: tuple[str, Collection[str]]) -> None:
    """Raise a ValueError unless each parameter, given as (value, options), is one of its options."""
    for name, (value, options) in choices.items():
        if value not in options:
            raise ValueError(f"{name}={value!r} is unknown; choose one of {', '.join(map(repr, options))}.")


def rows_of_subset(split: np.ndarray, subset: str) -> np.ndarray:
    """Mask of the rows of `split` that belong to `subset`; "all" keeps every row."""
    return np.full(len(split), True) if subset == "all" else split == subset


def rows_of_partitions(partition: np.ndarray, partitions: Collection[int] | None) -> np.ndarray:
    """Mask of the rows whose partition is one of `partitions`; None keeps every row."""
    if partitions is None:
        return np.full(len(partition), True)
    known = np.unique(partition)
    if unknown := sorted(set(partitions) - set(known.tolist())):
        raise ValueError(f"partitions {unknown} do not exist; choose from {known.tolist()}.")
    return np.isin(partition, list(partitions))


def bundle(
    origin: Origin, row_wise: dict[str, np.ndarray], rows: np.ndarray, return_X_y: bool, **others: Any
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """The chosen rows of every array in `row_wise`, among them data and target; with `others` and DESCR."""
    chosen = {name: array[rows] for name, array in row_wise.items()}
    if return_X_y:
        return chosen["data"], chosen["target"]
    return Bunch(**chosen, **others, DESCR=origin.description)


def as_objects(items: Iterable) -> np.ndarray:
    """1-D object array of items that may themselves be arrays of one length."""
    return np.fromiter(items, dtype=object)
