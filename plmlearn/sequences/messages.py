"""What errors say: which rows are wrong, in one error for all of them.

``SequenceError``    everything that is wrong with one input, with the rows
``refuse``           raise it for a list of problems
``row_name``         the caller's own name for a row
``first_few``        the first items of many, in words
``check_choice``     a parameter that takes one of a few strings
"""

from collections.abc import Iterable
from typing import Any

from .containers import is_table

_SHOWN = 10


class SequenceError(ValueError):
    """Bad rows in sequences, pairs or residue targets; the message shows 10 problems and counts the rest.

    Attributes
    ----------
    rows : list of int
        Positions of all bad rows, counted from 0, in ascending order.

    Examples
    --------
    >>> from plmlearn.sequences import SequenceError, check_sequences
    >>> try:
    ...     check_sequences(["MKV", "", None])
    ... except SequenceError as error:
    ...     print(error.rows)
    [1, 2]
    """

    def __init__(self, message: str, rows: Iterable[int] = ()) -> None:
        super().__init__(message)
        self.rows = list(rows)


def refuse(problems: list[tuple[int, str]], title: str, X: Any = None, items: Any = None) -> None:
    """Raise one error for all problems, each a row and what is wrong there; without problems do nothing.

    Parameters
    ----------
    problems : list of (row, text)
    title : str
        How a line begins, with {} for the row, such as "Sequence {}".
    X, items : optional
        The caller's container and its entries, which may have names for the rows.
    """
    if not problems:
        return
    lines = []
    for row, text in sorted(problems, key=lambda problem: problem[0])[:_SHOWN]:
        name = row_name(X, row, None if items is None else items[row])
        lines.append(f"{title.format(f'{row}{name}')} {text}")
    if (rest := len(problems) - _SHOWN) > 0:
        lines.append(f"... and {rest} more; the attribute `rows` of this error lists all rows.")
    raise SequenceError("\n".join(lines), rows=sorted({row for row, _ in problems}))


def row_name(X: Any, row: int, item: Any = None) -> str:
    """The caller's own name for a row, in brackets: its label in a pandas index, or the id of its record."""
    index = X.index if is_table(X) and hasattr(X, "index") else None
    if index is None or (type(index).__name__ == "RangeIndex" and (index.start, index.step) == (0, 1)):
        return f" ({item.id!r})" if hasattr(item, "seq") and hasattr(item, "id") else ""
    return f" ({index[row : row + 1].tolist()[0]!r})"


def first_few(items: Iterable, separator: str = ", ", n: int = _SHOWN) -> str:
    """The first ``n`` items in words, and "…" where there are more."""
    words = list(map(str, items))
    return separator.join([*words[:n], *["…"] * (len(words) > n)])


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Raise unless a parameter is one of its choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}={value!r}; expected one of {', '.join(map(repr, choices))}.")
