"""Structural states of residues, as Foldseek writes them and SaProt reads them.

``Reader``                 how an estimator reads X, without states and with them
``SEQUENCES``, ``PAIRS``   the readers of one protein per row, and of two
``check_residues``         clean sequences without states, for what compares residues
``clean_with_states``      a clean sequence of residues, each with its state where it has one

A state belongs to its residue, and both are one character of a clean sequence. Lengths, positions, windows
and labels are therefore counted in residues, with states or without.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import numpy as np

from .clean import (
    AMBIGUOUS,
    STATES,
    UNKNOWN_STATE,
    Invalid,
    check_choice,
    check_sequences,
    clean_one,
    is_clean,
    is_couple,
    is_missing,
    is_mixed,
    may_have_states,
    object_array,
    one_column,
    refuse,
    rows_of,
    some_row,
    text_of,
    with_state,
)
from .pairs import check_pairs, clean_pairs

_IN_TURN = re.compile(r"(?:[A-Z#][a-z#])+")
_NO_STATE = re.compile(f"[^{STATES}{UNKNOWN_STATE}]")


@dataclass(frozen=True)
class Reader:
    """How an estimator reads a caller's X.

    Parameters
    ----------
    check : callable
        Of residues alone: :func:`check_sequences` or :func:`check_pairs`.
    check_with_states : callable
        The same for residues that may have structural states.
    may_have_states : callable
        Whether any row could be such a protein: text of both cases or with ``#``, or residues and states
        as two entries.
    """

    check: Callable[..., np.ndarray]
    check_with_states: Callable[..., np.ndarray]
    may_have_states: Callable[[Any], bool]


def check_residues(X: Any, *, invalid: Invalid = "raise") -> np.ndarray:
    """As :func:`check_sequences`, but without states that stand in turn with residues."""
    if not some_row(_is_in_turn, X):
        return check_sequences(X, invalid=invalid)
    return check_sequences(
        [
            "".join(text_of(item).split())[::2].replace(UNKNOWN_STATE, AMBIGUOUS)
            if _is_in_turn(item)
            else item
            for item in one_column(rows_of(X, "sequences"), X)
        ],
        invalid=invalid,
    )


def _is_in_turn(item: Any) -> bool:
    text = text_of(item)
    return is_mixed(text) and bool(_IN_TURN.fullmatch("".join(text.split())))


def clean_with_states(item: Any, invalid: Invalid) -> tuple[str, str]:
    """The clean sequence of one protein, and what is wrong with it ('' if nothing is).

    Parameters
    ----------
    item : str, or pair of str
        Residues alone; residues and states in turn, as in "MdEvVp"; or residues, and their states in either
        case. ``#`` stands for an unknown residue or state. The states may be missing as a whole.
    invalid : {"raise", "replace"}
    """
    if is_couple(item):
        residues, states = item[0], text_of(item[1])
        if is_missing(states) or states == "":
            return clean_one(residues, invalid)
        if not isinstance(states, str):
            return "", f"has structural states of type {type(states).__name__}; expected a str."
        return _joined(residues, "".join(states.split()).upper(), invalid)
    text = text_of(item)
    text = "".join(text.split()) if isinstance(text, str) else text
    if not is_mixed(text) or is_clean(text):
        return clean_one(item, invalid)
    if not _IN_TURN.fullmatch(text):
        return "", _not_in_turn(text)
    return _joined(text[::2].replace(UNKNOWN_STATE, AMBIGUOUS), text[1::2].upper(), invalid)


def _check_sequences(X: Any, *, invalid: Invalid) -> np.ndarray:
    check_choice("invalid", invalid, get_args(Invalid))
    rows = rows_of(X, "sequences")
    has_two_columns = isinstance(rows, np.ndarray) and rows.ndim == 2 and rows.shape[1] == 2
    given = list(map(tuple, rows.tolist())) if has_two_columns else one_column(rows, X)
    cleaned = [clean_with_states(item, invalid) for item in given]
    refuse([(row, fault) for row, (_, fault) in enumerate(cleaned) if fault], "Sequence {}", X, given)
    return object_array(sequence for sequence, _ in cleaned)


def _check_pairs(X: Any, *, invalid: Invalid) -> np.ndarray:
    return clean_pairs(X, invalid, clean_with_states)


def _joined(residues: Any, states: str, invalid: Invalid) -> tuple[str, str]:
    sequence, fault = clean_one(residues, invalid)
    if not fault and len(sequence) != len(states):
        fault = (
            f"has {len(sequence)} residues and {len(states)} structural states; expected one state for each "
            f"residue. Write {UNKNOWN_STATE} where it is unknown."
        )
    elif not fault and (wrong := _NO_STATE.search(states)):
        fault = (
            f"has the structural state {wrong[0].lower()!r} at residue {wrong.start() + 1}; expected one of "
            f"{STATES.lower()}, or {UNKNOWN_STATE} where it is unknown."
        )
    if fault:
        return "", fault
    known = (r if s == UNKNOWN_STATE else with_state(r, s) for r, s in zip(sequence, states, strict=True))
    return "".join(known), ""


def _not_in_turn(text: str) -> str:
    good = _IN_TURN.match(text)
    n_read = good.end() if good else 0
    return (
        f"is neither residues alone nor residues (upper case) and structural states (lower case or "
        f"{UNKNOWN_STATE}) in turn: after {n_read // 2} of these comes {text[n_read : n_read + 4]!r}. Write "
        f"it as 'MdEvVp', with {UNKNOWN_STATE} for an unknown state, or pass both as two columns."
    )


SEQUENCES = Reader(check_sequences, _check_sequences, partial(some_row, may_have_states))
PAIRS = Reader(check_pairs, _check_pairs, partial(some_row, partial(some_row, may_have_states)))
