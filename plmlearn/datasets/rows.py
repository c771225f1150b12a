"""``bundle``: the rows of a table that were asked for, as every fetcher returns them."""

from collections.abc import Collection
from typing import Any, Literal

import numpy as np
from sklearn.utils import Bunch

from .origins import description

Subset = Literal["all", "train", "valid", "test"]


def bundle(
    name: str,
    table: dict[str, np.ndarray],
    target: np.ndarray,
    return_X_y: bool,
    *,
    subset: str = "all",
    partitions: Collection[int] | None = None,
    **others: Any,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """The rows of a subset and of some partitions as (data, target) or as a Bunch with all columns.

    ``data`` is the column "sequence"; ``others`` go into the Bunch as they are, with DESCR.
    """
    columns = {"data": table.pop("sequence"), "target": target, **table}
    rows = np.full(len(target), True) if subset == "all" else columns["split"] == subset
    if partitions is not None:
        known = np.unique(columns["partition"]).tolist()
        if unknown := sorted(set(partitions) - set(known)):
            raise ValueError(f"partitions {unknown} do not exist; choose from {known}.")
        rows &= np.isin(columns["partition"], list(partitions))
    chosen = {column: entries[rows] for column, entries in columns.items()}
    if return_X_y:
        return chosen["data"], chosen["target"]
    return Bunch(**chosen, **others, DESCR=description(name))
