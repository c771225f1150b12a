"""Tables of measured variants: ``read_proteingym``, ``read_flip``, ``read_mutants``."""

import os
import re
from collections import Counter
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from .checked import TEXT, checked
from .clean import check_sequences, first_few, object_array, refuse
from .tables import read_csv
from .variant_table import VariantTable
from .variants import FIRST_SITE

_ROWS_TO_TELL_BY = 1000  # most of them agree about the wild type
_WHOLE = re.compile(r"(-?\d+)(\.0*)?")


def read_proteingym(path: str | os.PathLike[str]) -> Bunch:
    """Read a table of substitutions from ProteinGym: ``mutant``, ``mutated_sequence``, ``DMS_score``.

    Parameters
    ----------
    path : str or PathLike
        A CSV file, plain or compressed.

    Returns
    -------
    Bunch
        ``sequences`` and ``target``, (n_variants,); ``mutants``, such as "V39A:D40G"; ``wild_type``,
        on which most rows agree; ``folds``, a dict from the name of each fold column ("fold_modulo_5") to an
        array of int, for :class:`sklearn.model_selection.PredefinedSplit`; and ``columns``, as of
        :func:`read_csv`.

    Raises
    ------
    ValueError
        A column is missing, or a fold is no whole number.
    SequenceError
        Some rows have a ``mutant`` that is not what ``mutated_sequence`` shows; all of them are named.

    See Also
    --------
    read_mutants : Tables without sequences.
    plmlearn.model_selection.PositionKFold : ProteinGym's schemes for your own variants.

    Notes
    -----
    Tables of insertions and deletions have no such notation: read them with :func:`read_csv`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from plmlearn.sequences import read_proteingym
    >>> text = "mutant,mutated_sequence,DMS_score,fold_random_5\\nK2A,MAVL,0.5,0\\nV3I:L4I,MKII,-1,3\\n"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "assay.csv").write_text(text)
    ...     assay = read_proteingym(Path(folder, "assay.csv"))
    >>> assay.wild_type, assay.target, assay.folds
    ('MKVL', array([ 0.5, -1. ]), {'fold_random_5': array([0, 3])})
    """
    table = read_csv(path, sequence=["mutant", "mutated_sequence"], target="DMS_score")
    mutants, sequences = table.columns["mutant"], check_sequences(table.columns["mutated_sequence"])
    [(own, _)] = Counter(map(_undone, mutants[:_ROWS_TO_TELL_BY], sequences)).most_common(1)
    _check_agreement(VariantTable.read(own, mutants).sequences(), sequences)
    folds = {name: _whole(path, name, table) for name in table.columns if name.startswith("fold_")}
    return Bunch(
        sequences=sequences,
        target=table.target,
        mutants=mutants,
        wild_type=own,
        folds=folds,
        columns=table.columns,
    )


def _undone(mutant: str, sequence: str) -> str:
    """What a variant's sequence was before its substitutions."""
    letters = list(sequence)
    for part in mutant.split(":"):
        if part[1:-1].isdigit() and int(part[1:-1]) <= len(letters):
            letters[int(part[1:-1]) - 1] = part[0]
    return "".join(letters)


def _whole(path: str | os.PathLike[str], name: str, table: Any) -> np.ndarray:
    """A column of whole numbers, also of such as 0.0."""
    matches = [_WHOLE.fullmatch(str(cell).strip()) for cell in table.columns[name]]
    if odd := [line for line, match in zip(table.lines, matches) if match is None]:
        raise ValueError(
            f"{path} has no whole number in the column {name}, in lines {first_few(odd)}; expected the "
            "number of a fold in each."
        )
    return np.array([int(match[1]) for match in matches if match])


def read_flip(path: str | os.PathLike[str]) -> Bunch:
    """Read a split of FLIP or FLIP2: ``sequence``, ``target``, ``set``, and ``validation``.

    Parameters
    ----------
    path : str or PathLike
        A CSV file, plain or compressed.

    Returns
    -------
    Bunch
        ``sequences`` and ``target``, (n,); ``split``, "train", "valid" or "test" of each row; and
        ``columns``, as of :func:`read_csv`.

    Raises
    ------
    ValueError
        A column is missing, or a row is in no set.

    See Also
    --------
    plmlearn.datasets.fetch_gb1 : One of them, downloaded and verified.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from plmlearn.sequences import read_flip
    >>> text = "sequence,target,set,validation\\nMKV,0.5,train,\\nMKL,1.5,train,True\\nMKI,2,test,\\n"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "split.csv").write_text(text)
    ...     read_flip(Path(folder, "split.csv")).split
    array(['train', 'valid', 'test'], dtype=object)
    """
    table = read_csv(path, sequence=["sequence", "set"], target="target")
    sets, validates = table.columns["set"], table.columns.get("validation", [""] * len(table.lines))
    if odd := [line for line, name in zip(table.lines, sets) if name not in ("train", "test")]:
        raise ValueError(f"{path} has rows in no set, in lines {first_few(odd)}; expected 'train' or 'test'.")
    held_out = [str(mark).lower() in ("true", "1", "1.0") for mark in validates]
    split = object_array("valid" if name == "train" and held else name for name, held in zip(sets, held_out))
    return Bunch(sequences=table.columns["sequence"], target=table.target, split=split, columns=table.columns)


@checked(wild_type=TEXT, mutant=TEXT, target=[str, None], first_site=FIRST_SITE)
def read_mutants(
    path: str | os.PathLike[str],
    wild_type: str,
    *,
    mutant: str = "mutant",
    target: str | None = None,
    first_site: int = 1,
) -> Bunch:
    """Read a table that names mutations alone, and make the sequences.

    Parameters
    ----------
    path : str or PathLike
        A table as for :func:`read_csv`.
    wild_type : str
    mutant : str, default="mutant"
        Column of the substitutions, such as "V39A:D40G".
    target : str, default=None
        Column to predict.
    first_site : int, default=1
        Number of the wild type's first residue in the table.

    Returns
    -------
    Bunch
        ``sequences``, ``target`` and ``mutants``, (n_variants,); ``wild_type``; and ``columns``, as of
        :func:`read_csv`.

    Raises
    ------
    SequenceError
        Some rows contradict the wild type, have a site that does not exist or a stop codon; all of them are
        named, with what was expected and found.

    See Also
    --------
    read_variants : The substitutions.
    read_proteingym : Tables that hold the sequences too.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from plmlearn.sequences import read_mutants
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "assay.csv").write_text("mutant,fitness\\nK25A,0.5\\nWT,1\\n")
    ...     read_mutants(Path(folder, "assay.csv"), "MKVL", target="fitness", first_site=24).sequences
    array(['MAVL', 'MKVL'], dtype=object)
    """
    table = read_csv(path, sequence=mutant, target=target)
    [own] = check_sequences([wild_type])
    return Bunch(
        sequences=VariantTable.read(own, table.sequences, first_site=first_site).sequences(),
        target=table.target,
        mutants=table.sequences,
        wild_type=own,
        columns=table.columns,
    )


def _check_agreement(made: np.ndarray, sequences: np.ndarray) -> None:
    """Raise where the named substitutions do not make the sequence beside them."""
    problems = []
    for row, (expected, found) in enumerate(zip(made, sequences)):
        if found != expected:
            sites = [i + 1 for i, (a, b) in enumerate(zip(expected, found)) if a != b]
            where = f"at site {sites[0]}" if sites else f"in length, {len(found)} for {len(expected)}"
            problems.append((row, f"has a mutated_sequence that differs from its mutant {where}."))
    refuse(problems, "Variant {}")
