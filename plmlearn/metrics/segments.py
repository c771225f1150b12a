"""``segment_overlap``: how well helices and strands are found as segments (SOV'99)."""

from itertools import groupby
from typing import Any, get_args

import numpy as np

from ..sequences.clean import check_choice
from .residues import Average, paired_residues

Segment = tuple[int, int]


def segment_overlap(
    y_true: Any, y_pred: Any, *, states: Any = None, ignore_label: Any = None, average: Average = "protein"
) -> float:
    """Segment overlap of predicted states, SOV'99, 0 to 1.

    Residue by residue a helix that is predicted in five pieces looks good. This score compares segments: each
    true segment earns its length for every predicted segment of its state that it overlaps, in proportion to
    the overlap and with an allowance at the ends.

    Parameters
    ----------
    y_true, y_pred : list of str or of arrays, one entry per residue
        True and predicted states. Residues that were not measured belong to no segment.
    states : sequence of labels, default=None
        States that count, such as "HE"; None counts all of y_true.
    ignore_label : label, default=None
        Entry of y_true for residues that were not measured.
    average : {"protein", "residue"}, default="protein"
        Mean over proteins, as is usual, or one score over all segments.

    See Also
    --------
    residue_accuracy : Share of residues whose state is right.

    References
    ----------
    Zemla et al. (1999), doi:10.1002/(SICI)1097-0134(19990201)34:2<220::AID-PROT7>3.0.CO;2-K

    Examples
    --------
    >>> from plmlearn.metrics import segment_overlap
    >>> segment_overlap(["CCHHHHHCC"], ["CCHHHHHCC"])
    1.0
    >>> segment_overlap(["HHHHHHHHHH"], ["HHCHHCHHCH"], states="H").__round__(3)
    0.25
    """
    check_choice("average", average, get_args(Average))
    wanted = None if states is None else as_states(states, "states")
    pairs = paired_residues(y_true, y_pred, ignore_label)
    sums = [_sums(true.tolist(), pred.tolist(), wanted) for true, pred in pairs]
    earned, possible = np.array([row for row in sums if row[1] > 0], dtype=float).reshape(-1, 2).T
    if not len(possible):
        raise ValueError(f"y_true has no segment of the states {states!r}; expected at least one.")
    return float(np.mean(earned / possible) if average == "protein" else earned.sum() / possible.sum())


def as_states(states: Any, name: str) -> set:
    """A set of labels, given as text of one letter each or as a list."""
    if not isinstance(states, (str, list, tuple, set, frozenset)) or not all(map(np.isscalar, states)):
        raise TypeError(f"{name} is {states!r:.100}; expected a str or a list of labels.")
    return set(states)


def _sums(true: list, pred: list, states: set | None) -> tuple[float, int]:
    """What the segments of one protein earn, and what they could."""
    earned, possible = 0.0, 0
    found = _segments(pred)
    for state, segments in _segments(true).items():
        if states is not None and state not in states:
            continue
        for segment in segments:
            partners = [other for other in found.get(state, []) if _overlap(segment, other) > 0]
            earned += sum(_earned(segment, partner) for partner in partners)
            possible += _length(segment) * max(len(partners), 1)
    return earned, possible


def _segments(states: list) -> dict[Any, list[Segment]]:
    """First and last position of every run, by state."""
    out: dict[Any, list[Segment]] = {}
    for state, run in groupby(range(len(states)), key=lambda i: states[i]):
        positions = list(run)
        if state is not None:
            out.setdefault(state, []).append((positions[0], positions[-1]))
    return out


def _earned(true: Segment, pred: Segment) -> float:
    overlap = _overlap(true, pred)
    extent = max(true[1], pred[1]) - min(true[0], pred[0]) + 1
    allowance = min(extent - overlap, overlap, _length(true) // 2, _length(pred) // 2)
    return (overlap + allowance) / extent * _length(true)


def _overlap(first: Segment, second: Segment) -> int:
    return min(first[1], second[1]) - max(first[0], second[0]) + 1


def _length(segment: Segment) -> int:
    return segment[1] - segment[0] + 1
