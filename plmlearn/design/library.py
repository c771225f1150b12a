"""``VariantLibrary``: variants of a wild type by number, each made when it is looked at.

``single_mutants``      one substitution
``combine_sites``       all combinations of residues, or of what a degenerate codon encodes, at some sites
``combine_mutations``   given mutations, one or several in a variant
``codon_residues``      what a degenerate codon encodes
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import product
from numbers import Integral
from typing import Any

import numpy as np

from ..sequences import ALPHABET, check_sequences, read_variants
from ..sequences.checked import COUNT, TEXT, checked
from ..sequences.clean import object_array
from ..sequences.variants import FIRST_SITE

_MOST = 2**62  # what 64 bits number
_SITES = [list, tuple, range, set, frozenset, np.ndarray, None]

_BASES = "TCAG"
_ENCODED = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
_GENETIC_CODE = {"".join(codon): residue for codon, residue in zip(product(_BASES, repeat=3), _ENCODED)}
_IUPAC = {
    **{base: base for base in _BASES},
    **{"U": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC"},
    **{"B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT"},
}


class VariantLibrary(Sequence):
    """Variants of a wild type that differ from it at given sites, numbered and made on demand.

    A library of ten million variants takes no more memory than its wild type. ``library[i]`` is a sequence;
    a slice or an array of numbers gives an array of sequences. The wild type itself is left out.

    Parameters
    ----------
    wild_type : str
        Clean sequence.
    choices : mapping of int to str
        The residues that each site may have, by the number of the site. A site that is to keep its residue in
        some variants has that residue among its choices.
    max_mutations : int, default=None
        Most substitutions of a variant; None sets no limit.
    first_site : int, default=1
        Number of the wild type's first residue.

    Raises
    ------
    ValueError
        A site that the wild type does not have, residues that are none of the 20, no variant at all, or more
        than 4.6e18 of them.

    See Also
    --------
    single_mutants, combine_sites, combine_mutations : The usual libraries.
    propose : Choose variants to measure.

    Examples
    --------
    >>> from plmlearn.design import VariantLibrary
    >>> library = VariantLibrary("MKVL", {2: "KRE", 4: "LI"})
    >>> len(library), library[0], library[1:]
    (5, 'MKVI', array(['MRVL', 'MRVI', 'MEVL', 'MEVI'], dtype=object))
    """

    @checked(wild_type=TEXT, choices=[Mapping], max_mutations=[*COUNT, None], first_site=FIRST_SITE)
    def __init__(
        self,
        wild_type: str,
        choices: Mapping[int, str],
        *,
        max_mutations: int | None = None,
        first_site: int = 1,
    ):
        [self.wild_type] = check_sequences([wild_type])
        self.first_site = first_site
        self.sites, self._others, self._keeps = self._read(choices)
        limit = len(self.sites) if max_mutations is None else min(max_mutations, len(self.sites))
        ways = [[1] * (limit + 1)]  # by site from the last: variants of what follows, by mutations left
        for others, keeps in zip(self._others[::-1], self._keeps[::-1]):
            after = ways[0]
            changed = [0, *(len(others) * n for n in after[:-1])]
            ways.insert(0, [keeps * same + other for same, other in zip(after, changed)])
        if max(map(max, ways)) > _MOST:
            raise ValueError(f"The library has more than {_MOST:.0e} variants: take fewer sites or residues.")
        self._ways = np.array(ways, dtype=np.int64)
        self._first = int(all(self._keeps))  # number 0 is then the wild type
        self._n = int(self._ways[0, -1]) - self._first
        if self._n < 1:
            raise ValueError(f"No variant has these residues and at most {max_mutations} substitutions.")

    def _read(self, choices: Mapping[int, str]) -> tuple[np.ndarray, list[np.ndarray], list[bool]]:
        """Sites counted from 0, in ascending order; other residues, and whether the own one is a choice."""
        sites = sorted(_whole(choices, "choices"))
        last = self.first_site + len(self.wild_type) - 1
        if odd := [site for site in sites if not self.first_site <= site <= last]:
            raise ValueError(f"choices has sites {odd}; sites are counted from {self.first_site} to {last}.")
        places = np.array(sites, dtype=int) - self.first_site
        own = [self.wild_type[place] for place in places]
        for site, w in zip(sites, own):
            given = choices[site] if isinstance(choices[site], str) else ""
            if not given or set(given) - {*ALPHABET, w}:
                raise ValueError(f"choices of site {site} is {choices[site]!r}; expected some of {ALPHABET}.")
        others = ["".join(dict.fromkeys(choices[s])).replace(w, "") for s, w in zip(sites, own)]
        encoded = [np.frombuffer(letters.encode(), dtype=np.uint8) for letters in others]
        return places, encoded, [w in choices[s] for s, w in zip(sites, own)]

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, slice):
            return self._variants(np.arange(*rows.indices(self._n)))
        numbers = np.atleast_1d(np.asarray(rows))
        if numbers.dtype == bool or (numbers.size and numbers.dtype.kind not in "iu"):
            raise TypeError(f"A library takes numbers of variants, got {rows!r:.50}.")
        numbers = np.where(numbers < 0, numbers + self._n, numbers).astype(np.int64)
        if ((numbers < 0) | (numbers >= self._n)).any():
            raise IndexError(f"The library has the variants 0 to {self._n - 1}, got {rows!r:.50}.")
        found = self._variants(numbers)
        return found[0] if isinstance(rows, Integral) else found

    def _variants(self, numbers: np.ndarray) -> np.ndarray:
        rank, left = numbers + self._first, np.full(len(numbers), self._ways.shape[1] - 1)
        letters = np.tile(np.frombuffer(self.wild_type.encode(), dtype=np.uint8), (len(numbers), 1))
        for place, others, keeps, ways in zip(self.sites, self._others, self._keeps, self._ways[1:]):
            same = ways[left] * keeps
            changes = rank >= same
            rank = rank - same * changes
            each = ways[left[changes] - 1]
            letters[changes, place] = others[rank[changes] // each]
            rank[changes] %= each
            left = left - changes
        text, length = letters.tobytes().decode(), len(self.wild_type)
        return object_array(text[i * length : (i + 1) * length] for i in range(len(numbers)))

    def __repr__(self) -> str:
        sites = ", ".join(str(place + self.first_site) for place in self.sites[:5])
        more = ", …" if len(self.sites) > 5 else ""
        return f"<{self._n:,} variants at {len(self.sites)} sites ({sites}{more})>"


@checked(wild_type=TEXT, sites=_SITES, first_site=FIRST_SITE)
def single_mutants(
    wild_type: str, sites: Collection[int] | None = None, *, first_site: int = 1
) -> VariantLibrary:
    """All variants with one substitution: 19 for each site.

    Parameters
    ----------
    wild_type : str
    sites : collection of int, default=None
        Numbers of the sites; None takes all.
    first_site : int, default=1
        Number of the wild type's first residue.

    Returns
    -------
    VariantLibrary

    See Also
    --------
    combine_mutations : Several mutations in one variant.

    Examples
    --------
    >>> from plmlearn.design import single_mutants
    >>> len(single_mutants("MKVL")), single_mutants("MKVL", [2])[:2]
    (76, array(['MAVL', 'MCVL'], dtype=object))
    """
    [wild_type] = check_sequences([wild_type])
    if sites is None:
        sites = range(first_site, first_site + len(wild_type))
    choices = {site: ALPHABET + _own(wild_type, site - first_site) for site in _whole(sites, "sites")}
    return VariantLibrary(wild_type, choices, max_mutations=1, first_site=first_site)


@checked(
    wild_type=TEXT, sites=_SITES, codon=[str, Mapping], max_mutations=[*COUNT, None], first_site=FIRST_SITE
)
def combine_sites(
    wild_type: str,
    sites: Collection[int],
    *,
    codon: str | Mapping[int, str] = "NNN",
    max_mutations: int | None = None,
    first_site: int = 1,
) -> VariantLibrary:
    """All combinations of residues at some sites, as a site-saturation library has them.

    Parameters
    ----------
    wild_type : str
    sites : collection of int
        Numbers of the sites.
    codon : str or mapping of int to str, default="NNN"
        Degenerate codon at all sites, such as "NNK" or "NDT", or one for each site. "NNN" encodes all 20
        residues.
    max_mutations : int, default=None
        Most substitutions of a variant; None sets no limit.
    first_site : int, default=1
        Number of the wild type's first residue.

    Returns
    -------
    VariantLibrary
        Each protein once, however many codons encode it. A site keeps its residue only where the codon
        encodes that.

    See Also
    --------
    codon_residues : What a degenerate codon encodes.

    Examples
    --------
    >>> from plmlearn.design import combine_sites
    >>> len(combine_sites("MKVL", [2, 3, 4])), len(combine_sites("MKVL", [2, 3], codon="NDT"))
    (7999, 144)
    """
    sites = _whole(sites, "sites")
    codons = dict.fromkeys(sites, codon) if isinstance(codon, str) else dict(codon)
    if missing := sorted(set(sites) - codons.keys()):
        raise ValueError(f"codon has none for the sites {missing}; expected one for each.")
    if unused := sorted(codons.keys() - set(sites)):
        raise ValueError(f"codon has sites {unused}, which are not among sites={list(sites)}.")
    choices = {site: codon_residues(codons[site]) for site in sites}
    return VariantLibrary(wild_type, choices, max_mutations=max_mutations, first_site=first_site)


@checked(wild_type=TEXT, max_mutations=COUNT, first_site=FIRST_SITE)
def combine_mutations(
    wild_type: str, mutations: Sequence[str], *, max_mutations: int = 2, first_site: int = 1
) -> VariantLibrary:
    """All variants that combine up to ``max_mutations`` of given mutations, such as the best single ones.

    Parameters
    ----------
    wild_type : str
    mutations : sequence of str
        Substitutions such as "V39A", or whole variants, whose substitutions are taken apart.
    max_mutations : int, default=2
        Most substitutions of a variant.
    first_site : int, default=1
        Number of the wild type's first residue.

    Returns
    -------
    VariantLibrary
        With at most one of the mutations at each site.

    See Also
    --------
    single_mutants : All single mutants, to choose from.

    Examples
    --------
    >>> from plmlearn.design import combine_mutations
    >>> combine_mutations("MKVL", ["K2A", "K2R", "L4I"], max_mutations=2)[:]
    array(['MKVI', 'MAVL', 'MAVI', 'MRVL', 'MRVI'], dtype=object)
    """
    [wild_type] = check_sequences([wild_type])
    choices: dict[int, str] = {}
    for variant in read_variants(wild_type, mutations, first_site=first_site):
        for place, new in variant:
            own = choices.setdefault(place + first_site, _own(wild_type, place))
            choices[place + first_site] = own + new
    if not choices:
        raise ValueError("mutations has no substitution; expected some, such as 'V39A'.")
    return VariantLibrary(wild_type, choices, max_mutations=max_mutations, first_site=first_site)


def _whole(sites: Iterable, name: str) -> list[int]:
    """Numbers of sites, or an error that names the parameter."""
    found = [] if isinstance(sites, np.ndarray) and sites.ndim != 1 else list(sites)
    if not found or not all(isinstance(site, Integral) and not isinstance(site, bool) for site in found):
        raise ValueError(f"{name} has the sites {found!r:.100}; expected some whole numbers.")
    return [int(site) for site in found]


def _own(wild_type: str, place: int) -> str:
    """The wild type's residue; "" beyond its ends."""
    return wild_type[place : place + 1] if place >= 0 else ""


@checked(codon=TEXT)
def codon_residues(codon: str) -> str:
    """The residues that a degenerate codon encodes, by the standard genetic code.

    Parameters
    ----------
    codon : str
        Three letters of IUPAC's code for mixed bases, such as "NNK" or "NDT".

    Returns
    -------
    str
        One letter for each residue, in alphabetical order; stop codons are left out.

    Raises
    ------
    ValueError
        It is no codon, or encodes stops alone.

    See Also
    --------
    combine_sites : A library with this codon at some sites.

    Examples
    --------
    >>> from plmlearn.design import codon_residues
    >>> codon_residues("NDT")
    'CDFGHILNRSVY'
    """
    letters = codon.upper()
    if len(letters) != 3 or set(letters) - _IUPAC.keys():
        raise ValueError(f"codon is {codon!r}; expected three of {''.join(_IUPAC)}, such as 'NNK'.")
    mixed = product(*(_IUPAC[letter] for letter in letters))
    residues = sorted({_GENETIC_CODE["".join(bases)] for bases in mixed} - {"*"})
    if not residues:
        raise ValueError(f"codon is {codon!r}, a stop codon; expected one that encodes residues.")
    return "".join(residues)
