"""``write_results``: what is done with one partition, in whichever process."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from .. import cache
from ..sequences import SequenceError
from .partitions import Partition
from .results import write_part

# Stands for the rows of a partition in which all were rejected, so that its part has the columns of others.
_STAND_IN = "MKTAYIAKQR"
# A worker may have several threads: their partitions take turns, so that one at a time is in memory.
_ONE_AT_A_TIME = threading.Lock()


def write_results(estimator: Any, partition: Partition, place: Path, *, method: str, skip: bool) -> list[str]:
    """Write the part of one partition; the kinds of warnings that came.

    Parameters
    ----------
    estimator : fitted estimator
    partition : Partition
    place : Path
    method : str
    skip : bool
        Whether rejected sequences are left out.
    """
    with _ONE_AT_A_TIME, cache.disabled(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            rows, found, reasons = _results(estimator, partition, method, skip)
        except Exception as error:
            if not isinstance(error, SequenceError):
                error.add_note(f"This was partition {partition.number}, from {partition.place(0)} on.")
            raise
        columns = {
            "source": [partition.source] * len(rows),
            "record": [partition.first + row for row in rows],
            "id": [partition.records[row][0] for row in rows],
        }
        rejected = [
            (partition.source, partition.first + row, *_flat(partition.records[row], reason))
            for row, reason in sorted(reasons.items())
        ]
        write_part(place, columns, found, rejected)
    return sorted({str(w.message) for w in caught if issubclass(w.category, UserWarning)})


def _results(
    estimator: Any, partition: Partition, method: str, skip: bool
) -> tuple[list[int], dict[str, np.ndarray], dict[int, str]]:
    """Rows that were predicted, columns of results, and why other rows were not.

    The results are those of a stand-in if no row was predicted.
    """
    call: Callable = getattr(estimator, method)
    items = [item for _, item in partition.records]
    rows, reasons = list(range(len(items))), dict[int, str]()
    while True:
        left = [items[row] for row in rows]
        try:
            found = call(left or [_stand_in(items[0])])
            return rows, _columns(estimator, method, np.asarray(found)), reasons
        except SequenceError as error:
            if not error.rows or not rows:
                raise
            bad = [rows[row] for row in error.rows]
            if not skip:
                positions = [partition.first - 1 + row for row in bad]
                raise SequenceError(_told(call, partition, bad), positions) from None
            reasons |= {row: _reason(call, items[row]) for row in bad}
            rows = [row for row in rows if row not in reasons]


def _stand_in(item: Any) -> Any:
    return (_STAND_IN,) * len(item) if isinstance(item, tuple) else _STAND_IN


def _reason(call: Callable, item: Any) -> str:
    """What is wrong with one sequence, in the words of the estimator."""
    try:
        call([item])
    except SequenceError as error:
        return re.sub(r"^(\w+) 0(?: \(.*?\))?:? ", "", str(error))
    return "is refused beside others"


def _told(call: Callable, partition: Partition, bad: list[int], n_shown: int = 10) -> str:
    """A line for each bad row, or for the first of them."""
    lines = [f"{partition.place(row)}: {_reason(call, partition.records[row][1])}" for row in bad[:n_shown]]
    if len(bad) > n_shown:
        lines.append(f"... and {len(bad) - n_shown} more in this partition.")
    return "\n".join([*lines, "Pass on_error='skip' to go on without them and list them in _rejected.csv."])


def _flat(record: tuple[str, Any], reason: str) -> tuple[str, str, str]:
    """Id, reason and sequence of a rejected record, as text."""
    items = record[1] if isinstance(record[1], tuple) else (record[1],)
    return record[0], reason, " ".join(str(getattr(item, "seq", item)) for item in items)


def _columns(estimator: Any, method: str, found: np.ndarray) -> dict[str, np.ndarray]:
    """Results by the name of their column."""
    if method == "transform":
        return {"embeddings": found}
    if method == "predict":
        return named_columns("prediction", found)
    return named_columns("p", found, getattr(estimator, "classes_", ()))


def named_columns(name: str, found: np.ndarray, labels: Collection = ()) -> dict[str, np.ndarray]:
    """Columns by name and label, or by name and number where labels are not as many."""
    if found.ndim == 1:
        return {name: found}
    labels = labels if len(labels) == found.shape[1] else range(found.shape[1])
    return {f"{name}_{label}": column for label, column in zip(labels, found.T)}
