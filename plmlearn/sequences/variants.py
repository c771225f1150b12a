"""Variants of a protein as substitutions: ``V39A:D40G``, or whole sequences beside the wild type."""

import re
from collections.abc import Sequence

from plmlearn.sequences.checks import ALPHABET, SequenceError, check_sequences

Substitutions = list[tuple[int, str]]
"""(site counted from 0, new residue) of one variant, ascending."""

_NOTATION = re.compile(r"([A-Z])(\d+)([A-Z])")
_SHOWN = 10


def read_variants(wild_type: str, variants: Sequence[str]) -> list[Substitutions]:
    """What each variant has other than the wild type.

    Parameters
    ----------
    wild_type : str
        Clean sequence.
    variants : sequence of str
        Each either a sequence as long as the wild type, or its substitutions, ``"V39A:D40G"``: wild
        residue, site counted from 1, new residue; ``:`` or ``,`` between them. "WT" and "" are the wild
        type itself.

    Raises
    ------
    SequenceError
        Naming every row that is of another length, names another wild residue or a site that is not
        there, or is no variant at all.

    Examples
    --------
    >>> from plmlearn.sequences.variants import read_variants
    >>> read_variants("MKVL", ["K2A:L4V", "MAVL", "WT"])
    [[(1, 'A'), (3, 'V')], [(1, 'A')], []]
    """
    found, problems = [], {}
    for row, variant in enumerate(variants):
        try:
            found.append(_read(wild_type, variant))
        except ValueError as error:
            problems[row] = str(error)
    if problems:
        shown = "; ".join(f"variant {row}: {text}" for row, text in list(problems.items())[:_SHOWN])
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise SequenceError(f"{shown}{more}. Sites are counted from 1, as in 'V39A:D40G'.", problems)
    return found


def _read(wild_type: str, variant: str) -> Substitutions:
    if not isinstance(variant, str):
        raise ValueError(f"expected a str, got {type(variant).__name__}")
    text = variant.strip().upper()
    if text in ("", "WT"):
        return []
    if any(letter.isdigit() for letter in text):
        return sorted(_substitution(wild_type, part) for part in re.split(r"[:,;\s]+", text))
    [sequence] = check_sequences([text])
    if len(sequence) != len(wild_type):
        raise ValueError(f"{len(sequence)} residues, the wild type has {len(wild_type)}")
    changed = [(i, new) for i, (old, new) in enumerate(zip(wild_type, sequence)) if old != new]
    for _, new in changed:
        _check_residue(new)
    return changed


def _substitution(wild_type: str, part: str) -> tuple[int, str]:
    match = _NOTATION.fullmatch(part)
    if match is None:
        raise ValueError(f"{part!r} is no substitution")
    old, site, new = match[1], int(match[2]), match[3]
    if not 1 <= site <= len(wild_type):
        raise ValueError(f"{part!r} is at site {site} of {len(wild_type)}")
    if wild_type[site - 1] != old:
        raise ValueError(f"{part!r}, but the wild type has {wild_type[site - 1]} at site {site}")
    _check_residue(new)
    return site - 1, new


def _check_residue(letter: str) -> None:
    if letter not in ALPHABET:
        raise ValueError(f"{letter!r} is none of the 20 residues")
