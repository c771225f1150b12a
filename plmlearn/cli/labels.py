"""Several labels per protein in one column, as in "Nucleus|Cytoplasm".

``labels_in``      the labels of such a column, or none
``as_indicator``   a column of 0 and 1 for each label
``joined``         the text again
"""

from collections.abc import Sequence

import numpy as np

from ..sequences import SequenceError
from ..sequences.clean import first_few, object_array

MARK = "|"


def labels_in(y: np.ndarray) -> list[str]:
    """Labels of texts of which any has the mark, sorted; [] for all other targets."""
    texts = [text for text in y if isinstance(text, str)] if y.ndim == 1 else []
    if not any(MARK in text for text in texts):
        return []
    return sorted({label for text in texts for label in _split(text)})


def as_indicator(y: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """0 and 1 of shape (n, n_labels), or one error that names every row that has none or unknown ones."""
    rows = [[] if text is None else _split(str(text)) for text in y]
    if gaps := [row for row, found in enumerate(rows) if not found]:
        raise SequenceError(
            f"The target is empty in rows {first_few(gaps)}; expected one label or more.", gaps
        )
    known = set(labels)
    if odd := [row for row, found in enumerate(rows) if not known.issuperset(found)]:
        extra = {label for row in odd for label in rows[row]} - known
        raise SequenceError(
            f"The target has unknown labels: {first_few(sorted(extra))}, in rows {first_few(odd)}; "
            f"expected some of {first_few(labels)}.",
            odd,
        )
    return np.array([[label in found for label in labels] for found in rows], dtype=int)


def joined(indicator: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """The labels of each row as text; empty where there is none."""
    return object_array(MARK.join(label for label, has in zip(labels, row) if has) for row in indicator)


def _split(text: str) -> list[str]:
    return [label for part in text.split(MARK) if (label := part.strip())]
