"""``read_groups``: clusters or splits that another program has written, as ``groups`` for the rows of X."""

import os
import re
from collections.abc import Iterable

import numpy as np

from ..sequences.checked import checked
from ..sequences.clean import first_few, object_array, one_column, rows_of
from ..sequences.files import read_lines
from ..sequences.tables import read_csv

# Columns with the id of a protein and with its group, of GraphPart and of DataSAIL.
_COLUMNS = (("AC", "cluster"), ("ID", "Split"))


@checked(column=[str, None])
def read_groups(path: str | os.PathLike[str], ids: Iterable[str], *, column: str | None = None) -> np.ndarray:
    """Read the assignments of MMseqs2, GraphPart or DataSAIL, in the order of your proteins.

    Parameters
    ----------
    path : str or PathLike
        MMseqs2: the ``_cluster.tsv`` of ``easy-cluster``, representative and member without a header.
        GraphPart: its CSV file with the columns ``AC`` and ``cluster``. DataSAIL: its TSV file with ``ID``
        and ``Split``.
    ids : list, array or Series of str, shape (n_proteins,)
        The id of each protein, row by row as in X.
    column : str, default=None
        Column to read, such as GraphPart's "label-val" or another table's own; ids are then in the column
        ``AC``, ``ID``, or else the first. None takes the one named above.

    Returns
    -------
    ndarray of str, shape (n_proteins,)
        The group of each protein: ``groups`` of any grouped splitter, or of
        :class:`sklearn.model_selection.PredefinedSplit` once numbered.

    Raises
    ------
    ValueError
        Some ids have no group there: GraphPart and DataSAIL leave out proteins that they cannot place. They
        are named, to be left out of X and y, too. Or one id has several groups, or the table is of another
        kind.

    See Also
    --------
    cluster_sequences : Clusters without another program's files.
    ClusterKFold : Folds that share no group.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from plmlearn.model_selection import read_groups
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "result_cluster.tsv")
    ...     _ = path.write_text("P1\\tP1\\nP1\\tP2\\nP3\\tP3\\n")
    ...     read_groups(path, ["P3", "P2", "P1"])
    array(['P3', 'P1', 'P1'], dtype=object)
    """
    given = [str(entry) for entry in one_column(rows_of(ids, "ids"), ids)]
    assigned: dict[str, str] = {}
    for name, group in _assignments(path, column):
        if not group.strip():  # proteins that are in no group are no relatives of one another
            continue
        if assigned.setdefault(name, group) != group:
            raise ValueError(
                f"{path} has {name} in several groups, {assigned[name]} and {group}; expected one."
            )
    if absent := [f"{row} ({name!r})" for row, name in enumerate(given) if name not in assigned]:
        raise ValueError(
            f"{path} has no group for {len(absent)} of {len(given)} ids: rows {first_few(absent)}. Programs "
            "leave out proteins that would leak: leave these out of X and y too, or check the ids."
        )
    return object_array(assigned[name] for name in given)


def _assignments(path: str | os.PathLike[str], column: str | None) -> list[tuple[str, str]]:
    """Id and group of every line."""
    first = next((line for line in read_lines(path) if line.strip()), "")
    names = [name.strip() for name in re.split("[\t,;]", first)]
    known = [pair for pair in _COLUMNS if pair[0] in names]
    if not known and column is None:
        if len(names) == 2 and "\t" in first:  # of MMseqs2
            return _members(path)
        expected = ", or ".join(" and ".join(pair) for pair in _COLUMNS)
        raise ValueError(
            f"{path} is of no known kind; expected two columns without a header, separated by a tab, as of "
            f"MMseqs2, or the columns {expected}. Pass column= for another table."
        )
    own, group = known[0] if known else (names[0], "")
    table = read_csv(path, sequence=own, target=column or group).columns
    return list(zip(table[own], table[column or group]))


def _members(path: str | os.PathLike[str]) -> list[tuple[str, str]]:
    """Id and representative in every line of MMseqs2."""
    lines = enumerate(read_lines(path), start=1)
    cells = {number: [cell.strip() for cell in line.split("\t")] for number, line in lines if line.strip()}
    if odd := [number for number, found in cells.items() if len(found) != 2 or not all(found)]:
        raise ValueError(
            f"{path} has no two ids, separated by a tab, in lines {first_few(odd)}; expected representative "
            "and member of a cluster in each, as MMseqs2 writes them."
        )
    return [(member, representative) for representative, member in cells.values()]
