"""Variants of a protein as substitutions: ``V39A:D40G``, or whole sequences to compare with the wild type.

``read_variants``   what each variant has in place of the wild type's residues
``name_variants``   sequences in that notation
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any

import numpy as np

from .checked import TEXT, Range, checked
from .clean import (
    ALPHABET,
    SequenceError,
    check_sequences,
    clean_one,
    object_array,
    one_column,
    refuse,
    rows_of,
)

Substitutions = list[tuple[int, str]]
"""(site counted from 0, new residue) of one variant, in ascending order."""

_NOTATION = re.compile(r"([A-Z])(\d+)([A-Z*=])")
FIRST_SITE = [Range(Integral, 0, 10**9, closed="both")]


@checked(wild_type=TEXT, first_site=FIRST_SITE)
def read_variants(wild_type: str, variants: Sequence[str], *, first_site: int = 1) -> list[Substitutions]:
    """Read what each variant has in place of the wild type's residues.

    Parameters
    ----------
    wild_type : str
    variants : sequence of str
        Each either a sequence as long as the wild type, or its substitutions, ``"V39A:D40G"``: wild
        residue, site, new residue, with ``:`` or ``,`` between them. "WT" and "" are the wild type itself.
    first_site : int, default=1
        Number of the wild type's first residue: 24 where the table counts the precursor and the wild type
        begins with its residue 24.

    Returns
    -------
    list of list of (int, str)
        Sites, counted from 0, and new residues of every variant, in ascending order of the sites.

    Raises
    ------
    SequenceError
        Some rows have another length, name a wrong wild residue, a site that does not exist or one site
        twice, or are not variants at all; all of them are named.

    See Also
    --------
    name_variants : Sequences in this notation.
    plmlearn.baselines.AdditiveMutationRegressor : Additive effects of mutations.

    Examples
    --------
    >>> from plmlearn.sequences import read_variants
    >>> read_variants("MKVL", ["K2A:L4V", "MAVL", "WT"])
    [[(1, 'A'), (3, 'V')], [(1, 'A')], []]
    >>> read_variants("MKVL", ["K25A"], first_site=24)
    [[(1, 'A')]]
    """
    wild_type, found, problems = clean_wild_type(wild_type), [], []
    for row, variant in enumerate(one_column(rows_of(variants, "variants"), variants)):
        try:
            found.append(_read(wild_type, variant, first_site))
        except ValueError as error:
            problems.append((row, str(error)))
    refuse(problems, "Variant {}")
    return found


def clean_wild_type(wild_type: str) -> str:
    """The sequence that variants are compared with, cleaned as theirs are."""
    sequence, fault = clean_one(wild_type, "raise")
    if fault:
        raise SequenceError(f"wild_type {fault}")
    return sequence


def _read(wild_type: str, variant: str, first_site: int) -> Substitutions:
    """Substitutions of one variant; what is wrong is raised, and reads on from "Variant 3 "."""
    if not isinstance(variant, str):
        raise ValueError(f"is of type {type(variant).__name__}; expected a str.")
    text = variant.strip().upper()
    if text in ("", "WT"):
        return []
    if any(letter.isdigit() for letter in text):
        named = sorted(_substitution(wild_type, part, first_site) for part in re.split(r"[:,;\s]+", text))
        if twice := [site + first_site for (site, _), (other, _) in pairwise(named) if site == other]:
            raise ValueError(f"has several substitutions at site {twice[0]}; expected one for each site.")
    else:
        sequence, fault = clean_one(text, "raise")
        if fault or len(sequence) != len(wild_type):
            raise ValueError(fault or f"has {len(sequence)} residues, the wild type has {len(wild_type)}.")
        named = list(enumerate(sequence))
    changed = [(site, new) for site, new in named if new != wild_type[site]]
    if odd := [new for _, new in changed if new not in ALPHABET]:
        if odd[0] == "*":
            raise ValueError("has a stop codon ('*'), which makes no whole protein. Leave the row out.")
        raise ValueError(f"has {odd[0]!r}, which is not one of the 20 amino acids.")
    return changed


def is_notation(variant: Any) -> bool:
    """Whether a variant is given by its substitutions, or as "WT"."""
    if not isinstance(variant, str):
        return False
    text = variant.strip().upper()
    return text in ("", "WT") or any(letter.isdigit() for letter in text)


def _substitution(wild_type: str, part: str, first_site: int) -> tuple[int, str]:
    match = _NOTATION.fullmatch(part)
    if match is None:
        raise ValueError(f"has {part!r}, which is not a substitution such as 'V39A'.")
    site, last = int(match[2]) - first_site, first_site + len(wild_type) - 1
    if not 0 <= site < len(wild_type):
        raise ValueError(f"has {part!r}; sites of the wild type are counted from {first_site} to {last}.")
    if wild_type[site] != match[1]:
        raise ValueError(
            f"has {part!r}, but the wild type has {wild_type[site]} at site {match[2]}, counted from "
            f"{first_site}."
        )
    return site, wild_type[site] if match[3] == "=" else match[3]


@checked(wild_type=TEXT, first_site=FIRST_SITE)
def name_variants(wild_type: str, sequences: Any, *, first_site: int = 1) -> np.ndarray:
    """Write variants as substitutions of the wild type's residues: ``"V39A:D40G"``.

    Parameters
    ----------
    wild_type : str
    sequences : list, array or Series of str, shape (n_variants,)
        As long as the wild type.
    first_site : int, default=1
        Number of the wild type's first residue.

    Returns
    -------
    ndarray of str, shape (n_variants,)
        In ascending order of the sites; "WT" for the wild type itself.

    Raises
    ------
    SequenceError
        Some sequences have another length; all of them are named.

    See Also
    --------
    read_variants : The way back.

    Examples
    --------
    >>> from plmlearn.sequences import name_variants
    >>> name_variants("MKVL", ["MAVV", "MKVL"])
    array(['K2A:L4V', 'WT'], dtype=object)
    """
    wild_type, variants = clean_wild_type(wild_type), check_sequences(sequences)
    own = f"residues, the wild type has {len(wild_type)}."
    refuse(
        [(row, f"has {len(v)} {own}") for row, v in enumerate(variants) if len(v) != len(wild_type)],
        "Variant {}",
        sequences,
    )

    def name(variant: str) -> str:
        changes = enumerate(zip(wild_type, variant), start=first_site)
        return ":".join(f"{old}{site}{new}" for site, (old, new) in changes if old != new) or "WT"

    return object_array(map(name, variants))
