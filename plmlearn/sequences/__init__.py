"""Protein sequences: what counts as one, files that hold them, and variants of one.

``check_sequences``, ``check_pairs``     clean sequences, or one error that names every bad row
``check_residue_targets``                labels or values per residue, checked against their sequences
``truncate``                             what to do with long sequences
``read_fasta``, ``read_csv``             files
``read_variants``, ``name_variants``     substitutions such as "V39A:D40G"
``read_proteingym``, ``read_flip``,
``read_mutants``                         tables of measured variants
``target_kind``                          labels or numbers, per protein or per residue
"""

from .clean import ALPHABET, AMBIGUOUS, RARE, SequenceError, check_sequences, truncate
from .files import read_fasta
from .kinds import target_kind
from .landscapes import read_flip, read_mutants, read_proteingym
from .pairs import check_pairs
from .residue_targets import check_residue_targets
from .tables import read_csv
from .variants import name_variants, read_variants

__all__ = [
    "ALPHABET",
    "AMBIGUOUS",
    "RARE",
    "SequenceError",
    "check_pairs",
    "check_residue_targets",
    "check_sequences",
    "name_variants",
    "read_csv",
    "read_fasta",
    "read_flip",
    "read_mutants",
    "read_proteingym",
    "read_variants",
    "target_kind",
    "truncate",
]
