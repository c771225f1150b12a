"""Data sets with one target per residue.

- ``fetch_secondary_structure``: a string of H, E and C per protein.
- ``fetch_disorder``: an array of Z-scores per protein.
- ``fetch_signal_peptides``: a string of regions per protein, or the type of its signal peptide.

What was not measured is "-" in a string (``ignore_label``) and nan in an array. Every fetcher returns a
Bunch whose ``data`` and ``target`` can be passed to ``fit``. ``DESCR`` says what the set is, its
licence and whom to cite.
"""

from collections.abc import Collection
from typing import Any, Literal, get_args

import numpy as np
from sklearn.utils import Bunch

from ..sequences.clean import check_choice, object_array
from .base import DataHome, load_table
from .rows import Subset, bundle

IGNORE_LABEL = "-"
_SIGNAL_NAMES = {
    "residue": ("I", "L", "M", "O", "P", "S", "T"),
    "type": ("LIPO", "NO_SP", "PILIN", "SP", "TAT", "TATLIPO"),
}


def fetch_secondary_structure(
    *,
    subset: Subset = "all",
    data_home: DataHome = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """
    Load secondary structure in three states of 11,156 protein chains (residue classification).

    Each residue of a crystal structure is in a helix (H), a strand (E) or neither (C). Residues that the
    structure does not resolve, 7 % of all, have no label: they are "-" in `target`. Training and validation
    chains are those of NetSurfP-2.0 [1]_. The test chains were solved later and are not similar to them [2]_.

    Parameters
    ----------
    subset : {"all", "train", "valid", "test"}, default="all"
        Which rows: 9,712 train, 1,080 valid, 364 test.
    data_home : path-like, default=None
        See `get_data_home`.
    download_if_missing : bool, default=True
        If False, raise when the table is not in the data home.
    return_X_y : bool, default=False
        If True, return ``(data, target)``.

    Returns
    -------
    Bunch
        data : ndarray of shape (n,), dtype object
            Sequences of 20 to 1,632 residues, some with B, O, U or X.
        target : ndarray of shape (n,), dtype object
            Strings of H, E, C and "-", as long as their sequences.
        resolved : ndarray of shape (n,), dtype object
            Bool arrays, True for a residue with a label.
        split : ndarray of shape (n,), dtype object
            "train", "valid" or "test" of each row.
        id : ndarray of shape (n,), dtype object
            PDB entry and chain.
        ignore_label : str
            "-".
        target_names : list of str
            C, E and H.
        DESCR : str
            What the set is, its licence and whom to cite.

    Raises
    ------
    ValueError
        For an unknown `subset`.
    OSError
        If the table is missing and cannot be downloaded, or is not the one expected.

    See Also
    --------
    make_residue_labels : Proteins with a label per residue.
    fetch_disorder : A number per residue.

    References
    ----------
    .. [1] Klausen et al. (2019), doi:10.1002/prot.25674
    .. [2] Elnaggar et al. (2021), doi:10.1109/TPAMI.2021.3095381

    Examples
    --------
    >>> from plmlearn.datasets import fetch_secondary_structure
    >>> test = fetch_secondary_structure(subset="test")  # doctest: +SKIP
    >>> test.data[0][:12], test.target[0][:12]  # doctest: +SKIP
    ('MTPAVTTYKLVI', '----CEEEEEEE')
    """
    check_choice("subset", subset, get_args(Subset))
    table = load_table("secondary_structure", data_home, download_if_missing)
    labels, resolved = table.pop("labels"), table.pop("resolved")
    table["resolved"] = object_array(np.frombuffer(row.encode(), np.uint8) == ord("1") for row in resolved)
    target = object_array(map(_blank_unresolved, labels, resolved))
    names: dict[str, Any] = {"ignore_label": IGNORE_LABEL, "target_names": ["C", "E", "H"]}
    return bundle("secondary_structure", table, target, return_X_y, subset=subset, **names)


def fetch_disorder(
    *,
    subset: Literal["all", "train", "test"] = "all",
    data_home: DataHome = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """
    Load the disorder of 1,291 proteins as CheZOD Z-scores (residue regression).

    The score of a residue says how much its NMR chemical shifts differ from those of a random coil. Below 8
    it is disordered, above 8 ordered, up to about 16 in a rigid fold [1]_. Residues without chemical shifts
    are nan. Training and test set are those of SETH [2]_.

    Parameters
    ----------
    subset : {"all", "train", "test"}, default="all"
        Which rows: 1,174 train, 117 test.
    data_home : path-like, default=None
        See `get_data_home`.
    download_if_missing : bool, default=True
        If False, raise when the table is not in the data home.
    return_X_y : bool, default=False
        If True, return ``(data, target)``.

    Returns
    -------
    Bunch
        data : ndarray of shape (n,), dtype object
            Sequences of 39 to 615 residues, some with X.
        target : ndarray of shape (n,), dtype object
            Float64 arrays as long as their sequences; nan means not measured.
        split : ndarray of shape (n,), dtype object
            "train" or "test" of each row.
        id : ndarray of shape (n,), dtype object
            BMRB entries.
        DESCR : str
            What the set is, its licence and whom to cite.

    Raises
    ------
    ValueError
        For an unknown `subset`.
    OSError
        If the table is missing and cannot be downloaded, or is not the one expected.

    See Also
    --------
    fetch_secondary_structure : A label per residue.
    plmlearn.PLMResidueRegressor : Predict numbers for every residue.

    References
    ----------
    .. [1] Dass, Mulder and Nielsen (2020), doi:10.1038/s41598-020-71716-1
    .. [2] Ilzhöfer, Heinzinger and Rost (2022), doi:10.3389/fbinf.2022.1019597

    Examples
    --------
    >>> from plmlearn.datasets import fetch_disorder
    >>> train = fetch_disorder(subset="train")  # doctest: +SKIP
    >>> train.data[0][:4], train.target[0][:4]  # doctest: +SKIP
    ('MASN', array([ nan,  nan, 2.73, 2.73]))
    """
    check_choice("subset", subset, ("all", "train", "test"))
    table = load_table("disorder", data_home, download_if_missing)
    target = object_array(np.array(scores.split(" "), dtype=float) for scores in table.pop("z_scores"))
    return bundle("disorder", table, target, return_X_y, subset=subset)


def fetch_signal_peptides(
    *,
    task: Literal["residue", "type"] = "residue",
    partitions: Collection[int] | None = None,
    data_home: DataHome = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """
    Load the signal peptides of SignalP 6.0 in 20,290 proteins (residue or protein classification).

    A signal peptide sends a new protein out of the cell or into a membrane and is then cut off. Its type says
    by which pathway and which peptidase [1]_. 15,625 proteins have none and 33 have the rarest type, so look
    at the score of each class. The three partitions are homology partitions: hold out whole ones.

    Parameters
    ----------
    task : {"residue", "type"}, default="residue"
        What `target` is.
    partitions : collection of int in 0 to 2, default=None
        Keep the proteins of these homology partitions; None keeps all.
    data_home : path-like, default=None
        See `get_data_home`.
    download_if_missing : bool, default=True
        If False, raise when the table is not in the data home.
    return_X_y : bool, default=False
        If True, return ``(data, target)``.

    Returns
    -------
    Bunch
        data : ndarray of shape (n,), dtype object
            The first 30 to 70 residues.
        target : ndarray of shape (n,), dtype object
            `labels` or `type`.
        target_names : list of str
            The classes of `target`, sorted.
        labels : ndarray of shape (n,), dtype object
            Strings as long as their sequences: S, L, T and P signal peptides (Sec/SPI, Sec/SPII, Tat,
            Sec/SPIII), I inside the cell, M in the membrane, O outside.
        type : ndarray of shape (n,), dtype object
            NO_SP, SP (Sec/SPI), LIPO (Sec/SPII), TAT (Tat/SPI), TATLIPO (Tat/SPII) or PILIN (Sec/SPIII).
        kingdom : ndarray of shape (n,), dtype object
            EUKARYA, ARCHAEA, POSITIVE or NEGATIVE (bacteria by Gram).
        partition : ndarray of shape (n,), dtype int64
            Serves as `groups`.
        accession : ndarray of shape (n,), dtype object
            UniProt.
        DESCR : str
            What the set is, its licence and whom to cite.

    Raises
    ------
    ValueError
        For an unknown `task` and for partitions that do not exist.
    OSError
        If the table is missing and cannot be downloaded, or is not the one expected.

    See Also
    --------
    plmlearn.PLMSignalPeptideClassifier : Types, regions and cleavage sites.

    References
    ----------
    .. [1] Teufel et al. (2022), doi:10.1038/s41587-021-01156-3

    Examples
    --------
    >>> from plmlearn.datasets import fetch_signal_peptides
    >>> X, y = fetch_signal_peptides(task="type", partitions=[0, 1], return_X_y=True)  # doctest: +SKIP
    >>> X.shape, y[0]  # doctest: +SKIP
    ((13288,), 'NO_SP')
    """
    check_choice("task", task, _SIGNAL_NAMES)
    table = load_table("signal_peptides", data_home, download_if_missing)
    target, names = table["labels" if task == "residue" else "type"], list(_SIGNAL_NAMES[task])
    return bundle("signal_peptides", table, target, return_X_y, partitions=partitions, target_names=names)


def _blank_unresolved(labels: str, resolved: str) -> str:
    return "".join(
        label if mark == "1" else IGNORE_LABEL for label, mark in zip(labels, resolved, strict=True)
    )
