"""Variants of a protein as substitutions: ``V39A:D40G``, or whole sequences to compare with the wild type."""

import re
from collections.abc import Sequence
from itertools import pairwise

from .checked import TEXT, checked
from .clean import ALPHABET, clean_one, one_column, refuse, rows_of

Substitutions = list[tuple[int, str]]
"""(site counted from 0, new residue) of one variant, in ascending order."""

_NOTATION = re.compile(r"([A-Z])(\d+)([A-Z])")


@checked(wild_type=TEXT)
def read_variants(wild_type: str, variants: Sequence[str]) -> list[Substitutions]:
    """Read what each variant has in place of the wild type's residues.

    Parameters
    ----------
    wild_type : str
        Clean sequence.
    variants : sequence of str
        Each either a sequence as long as the wild type, or its substitutions, ``"V39A:D40G"``: wild
        residue, site counted from 1, new residue, with ``:`` or ``,`` between them. "WT" and "" are the wild
        type itself.

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
    plmlearn.baselines.AdditiveMutationRegressor : Additive effects of mutations.

    Examples
    --------
    >>> from plmlearn.sequences import read_variants
    >>> read_variants("MKVL", ["K2A:L4V", "MAVL", "WT"])
    [[(1, 'A'), (3, 'V')], [(1, 'A')], []]
    """
    found, problems = [], []
    for row, variant in enumerate(one_column(rows_of(variants, "variants"), variants)):
        try:
            found.append(_read(wild_type, variant))
        except ValueError as error:
            problems.append((row, str(error)))
    refuse(problems, "Variant {}")
    return found


def _read(wild_type: str, variant: str) -> Substitutions:
    """Substitutions of one variant; what is wrong is raised, and reads on from "Variant 3 "."""
    if not isinstance(variant, str):
        raise ValueError(f"is of type {type(variant).__name__}; expected a str.")
    text = variant.strip().upper()
    if text in ("", "WT"):
        return []
    if any(letter.isdigit() for letter in text):
        named = sorted(_substitution(wild_type, part) for part in re.split(r"[:,;\s]+", text))
        if twice := [site + 1 for (site, _), (other, _) in pairwise(named) if site == other]:
            raise ValueError(f"has several substitutions at site {twice[0]}; expected one for each site.")
    else:
        sequence, fault = clean_one(text, "raise")
        if fault or len(sequence) != len(wild_type):
            raise ValueError(fault or f"has {len(sequence)} residues, the wild type has {len(wild_type)}.")
        named = list(enumerate(sequence))
    changed = [(site, new) for site, new in named if new != wild_type[site]]
    if odd := [new for _, new in changed if new not in ALPHABET]:
        raise ValueError(f"has {odd[0]!r}, which is not one of the 20 amino acids.")
    return changed


def _substitution(wild_type: str, part: str) -> tuple[int, str]:
    match = _NOTATION.fullmatch(part)
    if match is None:
        raise ValueError(f"has {part!r}, which is not a substitution such as 'V39A'.")
    site = int(match[2])
    if not 1 <= site <= len(wild_type):
        raise ValueError(f"has {part!r}, site {site} of {len(wild_type)}; sites are counted from 1.")
    if wild_type[site - 1] != match[1]:
        known = wild_type[site - 1]
        raise ValueError(f"has {part!r}, but the wild type has {known} at site {site}, counted from 1.")
    return site - 1, match[3]
