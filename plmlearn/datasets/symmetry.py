"""Symmetry of homo-oligomers: the 18 classes of Sledzieski et al., and a loader for your own table.

- ``SYMMETRY_CLASSES``: the classes, in the order of the columns of an indicator.
- ``symmetry_class``: the class of one symmetry, "C8" to "C7-C9".
- ``load_symmetry``: proteins and classes from a table like that of 3DComplex.
- ``make_homo_oligomers``: generated proteins whose symmetry shows in composition and motif.
"""

import os
import re
from numbers import Integral
from typing import Literal, get_args

import numpy as np
from sklearn.utils import Bunch, check_random_state

from ..sequences import read_csv
from ..sequences.checked import COUNT, FLAG, NOT_NEGATIVE, SEED, SHARE, TEXT, Range, checked
from ..sequences.clean import check_choice, object_array, refuse
from .synthetic import make_protein_classification

SYMMETRY_CLASSES = (
    *("C1", "C2", "C3", "C4", "C5", "C6", "C7-C9", "C10-C17"),
    *("D2", "D3", "D4", "D5", "D6-D12", "H", "O", "T", "I", "unknown"),
)
"""C1 to C6, C7-C9, C10-C17, D2 to D5, D6-D12, H, O, T, I and unknown."""

_CLASS_OF = {name: name for name in SYMMETRY_CLASSES}
_CLASS_OF |= {f"C{n}": "C7-C9" if n < 10 else "C10-C17" for n in range(7, 18)}
_CLASS_OF |= {f"D{n}": "D6-D12" for n in range(6, 13)}
_CLASS_OF |= dict.fromkeys(("", "NPS", "NA", "NAN", "NONE", "UNKNOWN", "-"), "unknown")

Form = Literal["multiclass", "multilabel"]


@checked(symmetry=TEXT)
def symmetry_class(symmetry: str) -> str:
    """
    Find the class of one symmetry in Schoenflies notation.

    Parameters
    ----------
    symmetry : str
        Such as "C1", "c8", "D2" or "I"; "NPS" (no point symmetry), "unknown" and "" give "unknown".

    Raises
    ------
    ValueError
        It is not a symmetry, or has an order that no class holds, such as "C18" and "D13".

    See Also
    --------
    load_symmetry : Homo-oligomers from your own table.

    Examples
    --------
    >>> from plmlearn.datasets import symmetry_class
    >>> [symmetry_class(symmetry) for symmetry in ("C2", "c8", "D11", "NPS")]
    ['C2', 'C7-C9', 'D6-D12', 'unknown']
    """
    text = re.sub("^([CD])0+", r"\1", symmetry.strip().upper().replace("–", "-"))
    if text not in _CLASS_OF:
        raise ValueError(
            f"{symmetry!r} is not a symmetry of the {len(SYMMETRY_CLASSES)} classes "
            f"{', '.join(SYMMETRY_CLASSES)}. Write 'unknown' for others, or leave the row out."
        )
    return _CLASS_OF[text]


@checked(sequence=TEXT, symmetry=TEXT, return_X_y=FLAG)
def load_symmetry(
    path: str | os.PathLike[str],
    *,
    sequence: str = "sequence",
    symmetry: str = "symmetry",
    form: Form = "multiclass",
    return_X_y: bool = False,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """
    Load homo-oligomers and their symmetries from your own table.

    The data of the publication [1]_ come from 3DComplex [2]_ and are not public as a set. Any table with a
    column of sequences and one of symmetries works. Symmetries are point groups ("C2", "D3", "I") and are put
    into 18 classes. A protein that occurs in several forms lists them all, separated by blank, comma or
    semicolon ("C1 C2").

    Parameters
    ----------
    path : path-like
        A text file, or ``.gz`` or ``.xz``, separated by comma, tab or semicolon, with a header.
    sequence, symmetry : str, default="sequence" and "symmetry"
        Names of the columns.
    form : {"multiclass", "multilabel"}, default="multiclass"
        "multiclass": one class per protein; of several, the one that is rarest in the table.
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
        A column is missing, or rows hold something other than symmetries; all of them are named.

    See Also
    --------
    make_homo_oligomers : Generated proteins and symmetries.
    symmetry_class : The class of one symmetry.

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
    check_choice("form", form, get_args(Form))
    table = read_csv(path, sequence=sequence, target=symmetry)
    indicator = _indicator(table.columns[symmetry], path)
    names = np.array(SYMMETRY_CLASSES, dtype=object)
    rarity = np.where(indicator, -indicator.sum(axis=0), -len(indicator) - 1)
    target = indicator if form == "multilabel" else names[rarity.argmax(axis=1)]
    if return_X_y:
        return table.sequences, target
    return Bunch(data=table.sequences, target=target, target_names=list(names), columns=table.columns)


@checked(
    n_samples=COUNT,
    n_classes=[Range(Integral, 2, len(SYMMETRY_CLASSES), closed="both")],
    class_sep=NOT_NEGATIVE,
    share_of_several=SHARE,
    median_length=COUNT,
    max_length=COUNT,
    random_state=SEED,
)
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
    Make proteins and symmetries, like those in a table of homo-oligomers.

    Parameters
    ----------
    n_samples : int, default=200
        Number of proteins.
    n_classes : int, default=4
        Number of symmetries, 2 to 18, from the first of ``SYMMETRY_CLASSES`` on.
    class_sep : float, default=0.7
        How much the classes differ, as for `make_protein_classification`.
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

    See Also
    --------
    load_symmetry : Homo-oligomers from your own table.

    Examples
    --------
    >>> from plmlearn.datasets import make_homo_oligomers
    >>> X, symmetries = make_homo_oligomers(4, n_classes=2, random_state=0)
    >>> sorted(set(" ".join(symmetries).split()))
    ['C1', 'C2']
    """
    rng = check_random_state(random_state)
    lengths = {"median_length": median_length, "max_length": max_length}
    X, y = make_protein_classification(
        n_samples, n_classes=n_classes, class_sep=class_sep, **lengths, random_state=rng
    )
    examples = [name.split("-")[0] for name in SYMMETRY_CLASSES]
    several = rng.random_sample(n_samples) < share_of_several
    names = [[examples[(k + shift) % n_classes] for shift in range(1 + two)] for k, two in zip(y, several)]
    return X, object_array(map(" ".join, names))


def _indicator(entries: np.ndarray, path: str | os.PathLike) -> np.ndarray:
    """(n, 18) of 0 and 1."""
    indicator = np.zeros((len(entries), len(SYMMETRY_CLASSES)), dtype=np.int64)
    problems = []
    for row, entry in enumerate(entries):
        try:
            classes = [symmetry_class(part) for part in re.split(r"[\s,;]+", entry)]
            indicator[row, [SYMMETRY_CLASSES.index(name) for name in classes]] = 1
        except ValueError as error:
            problems.append((row, f"of {path}: {error}"))
    refuse(problems, "Row {}")
    return indicator
