"""Which proteins resemble which: by MMseqs2, or exactly without it.

``find_similar``   all pairs of two lists above an identity and a coverage
``find_nearest``   for every query the closest target, with all that tie
``are_variants``   whether sequences are variants of one protein
``Hits``           the table that searches return
``find_mmseqs``    where the MMseqs2 program is

Identity clusters, homology baselines and leakage reports all rest on these.
"""

from .hits import Hits
from .mmseqs import find_mmseqs
from .search import are_variants, find_nearest, find_similar

__all__ = ["Hits", "are_variants", "find_mmseqs", "find_nearest", "find_similar"]
