"""The states that a protein's start goes through, by the type of its signal peptide.

Every type has a chain of its own: the regions of its signal peptide, then what follows the cleavage site.
No chain leads into another, so one residue's state tells the type, and the probability of a type is that
of all paths through its chain. Data sets label a signal peptide as one stretch; its regions are found while
training, within what is known of them:

- the n-region, positively charged, begins; at least 2 residues are in it;
- the h-region is the hydrophobic core: the middle of the most hydrophobic 7 residues is in it;
- the c-region ends at the cleavage site; the last 3 residues are in it. Lipoproteins have the lipobox there,
  before a cysteine;
- twin arginines stand in the n-region of Tat signal peptides, where a sequence has them;
- Sec/SPIII cuts before the hydrophobic stretch: its signal peptide has one region.

====== ========================================== ====== =========================
region what                                       region what
====== ========================================== ====== =========================
n, x   n-region (x: behind the twin arginines)    C      cysteine behind the site
r      twin arginines                             O      outside
h      h-region                                   M      membrane
c      c-region                                   I      inside
l      lipobox                                    p      Sec/SPIII signal peptide
====== ========================================== ====== =========================

References: Teufel et al. (2022), doi:10.1038/s41587-021-01156-3; hydrophobicity of Kyte and Doolittle (1982),
doi:10.1016/0022-2836(82)90515-0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np

# Type: letter of its signal peptide in residue labels, and its regions in order.
CHAINS = {
    "NO_SP": ("", "IMO"),
    "SP": ("S", "nhcOMI"),
    "LIPO": ("L", "nhlCOMI"),
    "TAT": ("T", "nrxhcOMI"),
    "TATLIPO": ("T", "nrxhlCOMI"),
    "PILIN": ("P", "pOMI"),
}
SIGNAL_REGIONS = "nrxhclp"
# Region: those that may follow it, where the type has them.
_NEXT = {"n": "nrh", "r": "rx", "x": "xh", "h": "hcl", "c": "cO", "l": "lC", "p": "pO"}
_NEXT |= {"C": "O", "I": "IM", "M": "MIO", "O": "OM"}
_HYDROPHOBICITY = {"A": 1.8, "R": -4.5, "N": -3.5, "D": -3.5, "C": 2.5, "Q": -3.5, "E": -3.5, "G": -0.4}
_HYDROPHOBICITY |= {"H": -3.2, "I": 4.5, "L": 3.8, "K": -3.9, "M": 1.9, "F": 2.8, "P": -1.6, "S": -0.8}
_HYDROPHOBICITY |= {"T": -0.7, "W": -0.9, "Y": -1.3, "V": 4.2}
_CORE = 7  # residues of the window that finds the h-region

STATES = [(kind, region) for kind, (_, regions) in CHAINS.items() for region in regions]
TYPES = np.array([kind for kind, _ in STATES])
REGIONS = np.array([region for _, region in STATES])
# What data sets call the residues of each state; the cysteine behind a site is outside.
LETTERS = np.array(
    [CHAINS[kind][0] if region in SIGNAL_REGIONS else region.replace("C", "O") for kind, region in STATES]
)


def transitions() -> np.ndarray:
    """Which state may follow which, bool (S, S)."""
    follows = np.array([[region in _NEXT[before] for region in REGIONS] for before in REGIONS])
    return follows & (TYPES[:, None] == TYPES)


def starts(kinds: Iterable[str]) -> np.ndarray:
    """Which states a protein of one of these types may begin in, bool (S,)."""
    first = _are("np") | ((TYPES == "NO_SP") & _are("IO"))
    return first & np.isin(TYPES, list(kinds))


def allowed_states(sequence: str, kind: str, labels: Sequence[str] | None) -> np.ndarray:
    """States that each residue may be in, bool (L, S).

    Parameters
    ----------
    sequence : str
    kind : str
        Type of the signal peptide.
    labels : sequence of str, one per residue, or None
        I, M, O, S, L, T, P, or "" where nothing is known; None where nothing is known of any residue.
    """
    allowed = np.tile(kind == TYPES, (len(sequence), 1))
    if labels is None:
        return allowed
    known = np.asarray(labels)
    allowed &= (known[:, None] == LETTERS) | (known[:, None] == "")
    signal = np.flatnonzero(np.cumprod(known == CHAINS[kind][0]))
    n_signal = len(signal) if CHAINS[kind][0] else 0
    if n_signal >= 6 and "h" in CHAINS[kind][1]:
        _place_regions(allowed, sequence[:n_signal], CHAINS[kind][1])
    return allowed


def _place_regions(allowed: np.ndarray, signal: str, regions: str) -> None:
    """Rule out what is known not to be: regions before and behind the core, and at the ends."""
    last, core = len(signal) - 3, hydrophobic_core(signal)
    _only(allowed, range(2), "nr")
    _only(allowed, range(core), "nrxh")
    _only(allowed, range(core, core + 1), "h")
    _only(allowed, range(core + 1, last), "h" if "l" in regions else "hc")
    _only(allowed, range(last, len(signal)), "lc")
    twins = signal.rfind("RR", 1, core - 1)
    if "r" not in regions or twins < 0:
        return _only(allowed, range(core), "nh")
    _only(allowed, range(twins), "n")
    _only(allowed, range(twins, twins + 2), "r")
    _only(allowed, range(twins + 2, core), "xh")
    return None


def _only(allowed: np.ndarray, residues: range, regions: str) -> None:
    allowed[residues.start : residues.stop] &= _are(regions)


@cache
def _are(regions: str) -> np.ndarray:
    """Which states are of these regions, bool (S,)."""
    return np.isin(REGIONS, list(regions))


def hydrophobic_core(signal: str) -> int:
    """Residue, from 0, in the middle of the most hydrophobic window between the first 2 and the last 3.

    >>> hydrophobic_core("MKRSAAVLLLVLAAVASAQA")
    8
    """
    values = np.array([_HYDROPHOBICITY.get(letter, 0.0) for letter in signal[2:-3]])
    size = min(_CORE, len(values))
    return 2 + int(np.convolve(values, np.ones(size), "valid").argmax()) + size // 2


def rows_without_path(allowed: Sequence[np.ndarray]) -> list[int]:
    """Proteins whose allowed states (L, S) no path through the chains goes along."""
    follows, first = transitions().astype(np.float32), starts(CHAINS)
    lost = []
    for row, states in enumerate(allowed):
        reached = first & states[0]
        for here in states[1:]:
            reached = (reached @ follows > 0) & here
        if not reached.any():
            lost.append(row)
    return lost
