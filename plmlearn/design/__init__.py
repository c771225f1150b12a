"""The next plate: candidates, which of them to measure, and what such a campaign would have found.

``VariantLibrary``                          variants that are made when they are looked at
``single_mutants``, ``combine_sites``,
``combine_mutations``                       the libraries that one designs
``codon_residues``                          what a degenerate codon such as "NNK" encodes
``propose``, ``Proposal``                   the candidates to measure next
``simulate_campaign``, ``Campaign``         rounds of proposals on a landscape that has been measured
"""

from .campaign import Campaign, simulate_campaign
from .library import VariantLibrary, codon_residues, combine_mutations, combine_sites, single_mutants
from .proposal import Proposal, propose

__all__ = [
    "Campaign",
    "Proposal",
    "VariantLibrary",
    "codon_residues",
    "combine_mutations",
    "combine_sites",
    "propose",
    "simulate_campaign",
    "single_mutants",
]
