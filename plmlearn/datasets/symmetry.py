"""Symmetry of homo-oligomers: the 18 classes of Sledzieski et al., and a loader for one's own table.

- ``SYMMETRY_CLASSES``: the classes, in the order of the columns of an indicator.
- ``symmetry_class``: the class of one symmetry, "C8" to "C7-C9".
- ``load_symmetry``: proteins and classes from a table in the manner of 3DComplex.
- ``make_homo_oligomers``: generated proteins whose symmetry shows in composition and motif.
"""

import os
import re
from numbers import Integral

import numpy as np
from sklearn.utils import Bunch, check_random_state, check_scalar

from plmlearn.sequences import read_csv

from .rows import check_choices
from .synthetic import make_protein_classification

# Of each class but the last: letter and orders of the point groups that it takes.
_GROUPS: dict[str, tuple[str, range | None]] = {
    **{f"C{n}": ("C", range(n, n + 1)) for n in range(1, 7)},
    "C7-C9": ("C", range(7, 10)),
    "C10-C17": ("C", range(10, 18)),
    **{f"D{n}": ("D", range(n, n + 1)) for n in range(2, 6)},
    "D6-D12": ("D", range(6, 13)),
    **{letter: (letter, None) for letter in "HOTI"},
}
SYMMETRY_CLASSES = (*_GROUPS, "unknown")
"""C1 to C6, C7-C9, C10-C17, D2 to D5, D6-D12, H, O, T, I and unknown."""

_FORMS = ("multiclass", "multilabel")
_NO_POINT_GROUP = {"", "NPS", "NA", "NAN", "NONE", "UNKNOWN", "-"}


def symmetry_class(symmetry: str) -> str:
    """
    The class of one symmetry in Schoenflies notation.

    Parameters
    ----------
    symmetry : str
        Such as "C1", "c8", "D2" or "I"; "NPS" (no point symmetry), "unknown" and "" are the class "unknown".

    Raises
    ------
    ValueError
        It is none of these, or of an order that no class holds, such as "C18" and "D13".

    Examples
    --------
    >>> from plmlearn.datasets import symmetry_class
    >>> [symmetry_class(symmetry) for symmetry in ("C2", "c8", "D11", "NPS")]
    ['C2', 'C7-C9', 'D6-D12', 'unknown']
    """
    text = symmetry.strip().upper().replace("–", "-")
    if text in _NO_POINT_GROUP:
        return "unknown"
    if text in _GROUPS:
        return text
    found = re.fullmatch(r"([CD])(\d+)", text)
    for name, (letter, orders) in _GROUPS.items():
        if found and found[1] == letter and orders is not None and int(found[2]) in orders:
            return name
    raise ValueError(
        f"{symmetry!r} is no symmetry of the {len(SYMMETRY_CLASSES)} classes {', '.join(SYMMETRY_CLASSES)}. "
        "Write 'unknown' for others, or leave the row out."
    )


def load_symmetry(
    path: str | os.PathLike,
    *,
    sequence: str = "sequence",
    symmetry: str = "symmetry",
    form: str = "multiclass",
    return_X_y: bool = False,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """
    Load homo-oligomers and their symmetries from a table of one's own.

    The data of the publication [1]_ come from 3DComplex [2]_ and are not public as a set; any table with a
    column of sequences and one of symmetries will do. Symmetries are those of point groups ("C2", "D3", "I"),
    put into 18 classes; a protein that occurs in several forms has them all, separated by blank, comma or
    semicolon ("C1 C2").

    Parameters
    ----------
    path : path-like
        A text file, or ``.gz`` or ``.xz``, separated by comma, tab or semicolon, with a header.
    sequence, symmetry : str, default="sequence" and "symmetry"
        Names of the columns.
    form : {"multiclass", "multilabel"}, default="multiclass"
        "multiclass": one class per protein; of several the rarest in the table, for it tells most.
        "multilabel": an indicator of all classes.
    return_X_y : bool, default=False
        If True, return ``(data, target)``.

    Returns
    -------
    Bunch
        data : ndarray of shape (n,), dtype object
            Sequences.
        target : ndarray of shape (n,), dtype object, or (n, 18), dtype int64
            Classes, or an indicator with columns in the order of ``target_names``.
        target_names : list of str
            The 18 classes.
        columns : dict of str to ndarray
            All columns of the table.

    Raises
    ------
    ValueError
        A column is missing, or rows hold what is no symmetry; all of them are counted.

    References
    ----------
    .. [1] Sledzieski et al., PNAS 2024, doi:10.1073/pnas.2405840121
    .. [2] Levy et al., 3D Complex, PLoS Computational Biology 2006, doi:10.1371/journal.pcbi.0020155

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from plmlearn.datasets import load_symmetry
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "3dcomplex.csv")
    ...     _ = path.write_text("sequence,symmetry\\nMKVLA,C2\\nMSTGA,C1 D8\\n")
    ...     oligomers = load_symmetry(path)
    >>> oligomers.target
    array(['C2', 'C1'], dtype=object)
    """
    check_choices(form=(form, _FORMS))
    table = read_csv(os.fspath(path), sequence=sequence, target=symmetry)
    indicator = _indicator(table.columns[symmetry], path)
    names = np.array(SYMMETRY_CLASSES, dtype=object)
    rarity = np.where(indicator, -indicator.sum(axis=0), -len(indicator) - 1)
    target = indicator if form == "multilabel" else names[rarity.argmax(axis=1)]
    if return_X_y:
        return table.sequences, target
    return Bunch(data=table.sequences, target=target, target_names=list(names), columns=table.columns)


def make_homo_oligomers(
    n_samples: int = 200,
    *,
    n_classes: int = 4,
    class_sep: float = 0.7,
    share_of_several: float = 0.1,
    median_length: int = 100,
    max_length: int = 300,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """
    Make proteins with symmetries as a table of homo-oligomers holds them.

    Parameters
    ----------
    n_samples : int, default=200
        Number of proteins.
    n_classes : int, default=4
        Number of symmetries, 2 to 18, from the first of ``SYMMETRY_CLASSES`` on.
    class_sep : float, default=0.7
        How far the classes differ, as for `make_protein_classification`.
    share_of_several : float, default=0.1
        Share of proteins that have the next symmetry too.
    median_length, max_length : int, default=100 and 300
        Lengths in residues.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same data every time.

    Returns
    -------
    X : ndarray of shape (n_samples,), dtype object
        Sequences.
    symmetries : ndarray of shape (n_samples,), dtype object
        Such as "C2", or "C2 C3".

    Examples
    --------
    >>> from plmlearn.datasets import make_homo_oligomers
    >>> X, symmetries = make_homo_oligomers(4, n_classes=2, random_state=0)
    >>> sorted(set(" ".join(symmetries).split()))
    ['C1', 'C2']
    """
    check_scalar(n_classes, "n_classes", Integral, min_val=2, max_val=len(SYMMETRY_CLASSES))
    rng = check_random_state(random_state)
    X, y = make_protein_classification(
        n_samples,
        n_classes=n_classes,
        class_sep=class_sep,
        median_length=median_length,
        max_length=max_length,
        random_state=rng,
    )
    examples = [name.split("-")[0] for name in SYMMETRY_CLASSES]
    several = rng.random_sample(n_samples) < share_of_several
    own, other = ([examples[(k + shift) % n_classes] for k in y] for shift in (0, 1))
    joined = [f"{a} {b}" if two else a for a, b, two in zip(own, other, several)]
    return X, np.array(joined, dtype=object)


def _indicator(entries: np.ndarray, path: str | os.PathLike) -> np.ndarray:
    """(n, 18) of 0 and 1."""
    indicator = np.zeros((len(entries), len(SYMMETRY_CLASSES)), dtype=np.int64)
    problems = []
    for row, entry in enumerate(entries):
        try:
            of_row = [symmetry_class(part) for part in re.split(r"[\s,;]+", entry.strip())]
        except ValueError as error:
            problems.append((row, error))
            continue
        indicator[row, [SYMMETRY_CLASSES.index(name) for name in of_row]] = 1
    if problems:
        rows = ", ".join(str(row) for row, _ in problems[:10])
        raise ValueError(f"{path}: {len(problems)} of {len(entries)} rows ({rows}): {problems[0][1]}")
    return indicator
