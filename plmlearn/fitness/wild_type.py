"""The wild type that variants are compared with, and variants written out.

``consensus``   the commonest residue of each column
``write_out``   sequences of whatever form variants were given in
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from ..messages import warn
from ..sequences import SequenceError, check_sequences
from ..sequences.clean import first_few, one_column, rows_of
from ..sequences.variant_table import VariantTable, with_names_written_out
from ..sequences.variants import is_notation
from ..similarity.alignment import commonest_letters, stack_letters


def consensus(X: Any) -> str:
    """The commonest residue of each column of sequences of one length, the first by letter among equals."""
    given = list(one_column(rows_of(X, "variants"), X))
    notation = [row for row, variant in enumerate(given) if is_notation(variant)]
    if notation:
        raise SequenceError(
            f"{len(notation)} of {len(given)} variants (rows {first_few(notation)}) are mutations such as "
            f"{given[notation[0]]!r}, and wild_type is None. Pass the wild type's sequence.",
            notation,
        )
    sequences = check_sequences(X)
    [(length, _)] = Counter(map(len, sequences)).most_common(1)
    odd = [row for row, sequence in enumerate(sequences) if len(sequence) != length]
    if odd:
        raise SequenceError(
            f"wild_type is None, and {len(odd)} of {len(sequences)} variants (rows {first_few(odd)}) differ "
            f"in length from the others, which have {length} residues: no residue is the commonest of a "
            "column. Pass wild_type.",
            odd,
        )
    letters = stack_letters(sequences, length, "the first")
    found = commonest_letters(letters)
    n_changes = (letters != np.frombuffer(found.encode(), dtype=np.uint8)).sum(axis=1)
    warn(
        f"wild_type is None: the commonest residue of each of {length} columns is taken, from which variants "
        f"differ at {n_changes.min()} to {n_changes.max()} sites. Pass wild_type to be sure."
    )
    return found


def read_table(wild_type: str, X: Any, *, first_site: int = 1) -> VariantTable:
    """Substitutions of variants as long as the wild type, or an error that says what to do of others."""
    try:
        return VariantTable.read(wild_type, X, first_site=first_site)
    except SequenceError as error:
        if "residues, the wild type has" not in str(error):
            raise
        raise SequenceError(
            f"{error}\nOnly strategy='pseudo-perplexity' scores insertions and deletions.", error.rows
        ) from None


def write_out(wild_type: str, X: Any, *, any_length: bool, first_site: int = 1) -> np.ndarray:
    """Variants as clean sequences, (n,) of str.

    Parameters
    ----------
    wild_type : str
    X : list, array or Series of str
        Sequences, or substitutions such as "A23V:G41D".
    any_length : bool
        Whether sequences may have insertions and deletions.
    first_site : int, default=1
        Number of the wild type's first residue.
    """
    if not any_length:
        return read_table(wild_type, X, first_site=first_site).sequences()
    given = list(one_column(rows_of(X, "variants"), X))
    if not any(map(is_notation, given)):
        return check_sequences(X)
    return check_sequences(with_names_written_out(wild_type, given, first_site=first_site))
