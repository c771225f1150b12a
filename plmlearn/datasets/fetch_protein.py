"""Data sets with one target per protein or per pair of proteins.

- ``fetch_gb1``, ``fetch_beta_lactamase``, ``fetch_stability``: regression on variants and on designs.
- ``fetch_deeploc2``: multi-label location, binary membrane association.
- ``fetch_ppi``: whether two proteins interact.

Every fetcher returns a Bunch whose ``data`` can be passed to ``fit``. ``DESCR`` says
what the set is, its licence and whom to cite.
"""

from collections.abc import Collection
from typing import Literal, get_args

import numpy as np
from sklearn.utils import Bunch

from ..sequences.clean import check_choice, object_array
from .base import DataHome, load_table
from .converters import GB1_SPLITS, LOCATIONS, Gb1Split
from .rows import Subset, bundle

_DEEPLOC2_NAMES = {"location": LOCATIONS, "membrane": ("soluble", "membrane")}


def fetch_gb1(
    *,
    split: Gb1Split = "sampled",
    subset: Subset = "all",
    data_home: DataHome = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """
    Load the GB1 fitness landscape: 8,733 variants of one protein with four mutated sites (regression).

    Protein G domain B1 binds antibodies; each variant's fitness is its binding relative to the wild type.
    Mutations at the four sites (V39, D40, G41, V54) influence each other, so adding up the effects of single
    mutations does not find the best variants [1]_. The splits are those of the FLIP benchmark [2]_.

    Parameters
    ----------
    split : {"sampled", "low_vs_high", "three_vs_rest", "two_vs_rest", "one_vs_rest"}, default="sampled"
        Which official split. "sampled" is random (FLIP advises against comparing methods on it);
        "low_vs_high" trains on fitness below the wild type; "three_vs_rest" trains on one to three
        mutations and tests on four, "two_vs_rest" and "one_vs_rest" accordingly.
    subset : {"all", "train", "valid", "test"}, default="all"
        Which rows.
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
            Sequences of 265 residues.
        target : ndarray of shape (n,), dtype float64
            Fitness, 1 for the wild type, 0 for no binding.
        split : ndarray of shape (n,), dtype object
            "train", "valid" or "test" of each row.
        wild_type : str
            Sequence of 265 residues. At three of the four sites it is not the commonest residue.
        DESCR : str
            What the set is, its licence and whom to cite.

    Raises
    ------
    ValueError
        For an unknown `split` or `subset`.
    OSError
        If the table is missing and cannot be downloaded, or is not the one expected.

    See Also
    --------
    make_mutational_landscape : Variants of one protein and their fitness.
    fetch_stability : Stability of designed proteins.

    References
    ----------
    .. [1] Wu et al. (2016), doi:10.7554/eLife.16965
    .. [2] Dallago et al. (2021), doi:10.1101/2021.11.09.467890

    Examples
    --------
    >>> from plmlearn.datasets import fetch_gb1
    >>> gb1 = fetch_gb1(split="three_vs_rest", subset="train")  # doctest: +SKIP
    >>> len(gb1.data), len(gb1.wild_type), gb1.target.max().round(1)  # doctest: +SKIP
    (2691, 265, np.float64(6.3))
    """
    check_choice("split", split, GB1_SPLITS)
    check_choice("subset", subset, get_args(Subset))
    table = load_table("gb1", data_home, download_if_missing)
    chosen = {"sequence": table["sequence"], "split": table[split]}
    return bundle("gb1", chosen, table["target"], return_X_y, subset=subset, wild_type=table["sequence"][0])


def fetch_beta_lactamase(
    *,
    data_home: DataHome = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """
    Load the deep mutational scan of TEM-1 beta-lactamase: 4,996 single mutants (regression).

    Each mutant's fitness is how well bacteria with it grow in ampicillin, relative to the wild type [1]_. The
    zero-shot scores of ESM-1v [2]_ have a Spearman correlation of 0.70 with it.

    Parameters
    ----------
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
            Sequences of 263 residues.
        target : ndarray of shape (n,), dtype float64
            Fitness in 2,500 µg/ml ampicillin, 0 for the wild type; higher is better.
        mutant : ndarray of shape (n,), dtype object
            Substitutions such as "H24C", numbered from 24.
        fitness_625 : ndarray of shape (n,), dtype float64
            Fitness in 625 µg/ml.
        esm1v : ndarray of shape (n,), dtype float64
            Log-odds of the mutant by ESM-1v, the mean of five models.
        wild_type : str
            Sequence of 263 residues.
        first_site : int
            Number of its first residue, 24.
        DESCR : str
            What the set is, its licence and whom to cite.

    Raises
    ------
    OSError
        If the table is missing and cannot be downloaded, or is not the one expected.

    See Also
    --------
    fetch_gb1 : Variants with up to four mutations.
    plmlearn.model_selection.PositionKFold : Folds that share no mutated position.

    References
    ----------
    .. [1] Stiffler, Hekstra & Ranganathan (2015), doi:10.1016/j.cell.2015.01.035
    .. [2] Meier et al. (2021), doi:10.1101/2021.07.09.450648

    Examples
    --------
    >>> from plmlearn.datasets import fetch_beta_lactamase
    >>> bla = fetch_beta_lactamase()  # doctest: +SKIP
    >>> bla.data.shape, bla.mutant[0], bla.target[0].round(2)  # doctest: +SKIP
    ((4996,), 'H24C', np.float64(-0.42))
    """
    table = load_table("beta_lactamase", data_home, download_if_missing)
    first, sequence = table["mutant"][0], table["sequence"][0]
    return bundle(
        "beta_lactamase",
        table,
        table.pop("fitness"),
        return_X_y,
        wild_type=first[0] + sequence[1:],
        first_site=int(first[1:-1]),
    )


def fetch_stability(
    *,
    subset: Subset = "all",
    data_home: DataHome = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """
    Load the stability of 68,977 designed mini-proteins against proteases (regression).

    Small proteins of four designed folds and their mutants were displayed on yeast and digested; what
    survives is stable [1]_. Training covers a broad set of designs; the test set has the
    one-mutation neighbours of some of the best [2]_, which are hard to tell apart. 26 sequences are in both
    sets, as published.

    Parameters
    ----------
    subset : {"all", "train", "valid", "test"}, default="all"
        Which rows: 53,614 train, 2,512 valid, 12,851 test.
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
            Sequences of 43 to 50 residues.
        target : ndarray of shape (n,), dtype float64
            Stability score; 1 means ten times the protease that the unfolded chain survives.
        split : ndarray of shape (n,), dtype object
            "train", "valid" or "test" of each row.
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
    fetch_gb1 : Fitness of variants of one protein.
    make_protein_regression : Proteins with numbers.

    References
    ----------
    .. [1] Rocklin et al. (2017), doi:10.1126/science.aan0693
    .. [2] Rao et al. (2019), arXiv:1906.08230; as redistributed by Brandes et al. (2022),
       doi:10.1093/bioinformatics/btac020

    Examples
    --------
    >>> from plmlearn.datasets import fetch_stability
    >>> X, y = fetch_stability(subset="valid", return_X_y=True)  # doctest: +SKIP
    >>> X.shape, y[:2]  # doctest: +SKIP
    ((2512,), array([-0.01,  1.53]))
    """
    check_choice("subset", subset, get_args(Subset))
    table = load_table("stability", data_home, download_if_missing)
    return bundle("stability", table, table.pop("target"), return_X_y, subset=subset)


def fetch_deeploc2(
    *,
    task: Literal["location", "membrane"] = "location",
    subset: Literal["swissprot", "hpa"] = "swissprot",
    partitions: Collection[int] | None = None,
    data_home: DataHome = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """
    Load DeepLoc 2.0: locations of 28,303 eukaryotic proteins (multi-label), or their membrane association.

    A protein is in one to five of ten locations, a quarter of them in more than one. The five partitions
    share no homologues: hold out whole partitions. An independent set of 1,717 human proteins comes from
    microscopy [1]_.

    Parameters
    ----------
    task : {"location", "membrane"}, default="location"
        What `target` is.
    subset : {"swissprot", "hpa"}, default="swissprot"
        The training set, or the independent human test set, which has locations only.
    partitions : collection of int in 0 to 4, default=None
        Keep the proteins of these homology partitions; None keeps all. For "swissprot" only.
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
            Sequences of 23 to 34,350 residues, some with B, U or X.
        target : ndarray of shape (n, 10) or (n,), dtype int64
            1 for each location the protein is in; for "membrane", 1 for a protein bound to a membrane.
        target_names : list of str
            The locations in DeepLoc's order, or ["soluble", "membrane"].
        accession : ndarray of shape (n,), dtype object
            UniProt, or for "hpa" Ensembl.
        partition : ndarray of shape (n,), dtype int64 ("swissprot" only)
            Serves as `groups`.
        kingdom : ndarray of shape (n,), dtype object ("swissprot" only)
            Metazoa, Fungi, Viridiplantae or Other.
        DESCR : str
            What the set is, its licence and whom to cite.

    Raises
    ------
    ValueError
        For an unknown `task` or `subset`, for partitions that do not exist, and for what "hpa" does not have.
    OSError
        If the table is missing and cannot be downloaded, or is not the one expected.

    See Also
    --------
    make_protein_classification : Proteins with classes.

    References
    ----------
    .. [1] Thumuluri et al. (2022), doi:10.1093/nar/gkac278

    Examples
    --------
    >>> from plmlearn.datasets import fetch_deeploc2
    >>> train = fetch_deeploc2(partitions=(0, 1, 2, 3))  # doctest: +SKIP
    >>> train.target.shape, train.target_names[:2]  # doctest: +SKIP
    ((22841, 10), ['Cytoplasm', 'Nucleus'])
    """
    check_choice("task", task, _DEEPLOC2_NAMES)
    check_choice("subset", subset, ("swissprot", "hpa"))
    if subset == "hpa" and (task != "location" or partitions is not None):
        raise ValueError("subset='hpa' has no membrane labels and no partitions: omit task and partitions.")
    table = load_table(f"deeploc2/{subset}", data_home, download_if_missing)
    locations, membrane = table.pop("locations"), table.pop("membrane", None)
    if membrane is not None and task == "membrane":
        target = membrane.astype(int)
    else:
        target = np.array([[name in row.split("|") for name in LOCATIONS] for row in locations], dtype=int)
    names = list(_DEEPLOC2_NAMES[task])
    return bundle("deeploc2", table, target, return_X_y, partitions=partitions, target_names=names)


def fetch_ppi(
    *,
    subset: Subset = "all",
    data_home: DataHome = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """
    Load protein-protein interactions free of leakage: 176,959 pairs of 8,852 human proteins (binary).

    A model that knows a protein from training can guess its partners. Here no protein is in two subsets (C3),
    similarity between subsets is minimal, and negative pairs match positive ones in how often each protein
    occurs, so only the sequences help [1]_. This version leaves out the longer proteins. It cannot be
    downloaded automatically: the error says where it is published and which files to make.

    Parameters
    ----------
    subset : {"all", "train", "valid", "test"}, default="all"
        Which pairs: 92,806 train, 44,578 valid, 39,575 test, half of them interacting.
    data_home : path-like, default=None
        See `get_data_home`.
    download_if_missing : bool, default=True
        No effect: the data set is never downloaded.
    return_X_y : bool, default=False
        If True, return ``(data, target)``.

    Returns
    -------
    Bunch
        data : ndarray of shape (n, 2), dtype object
            Two sequences of 51 to 1,013 residues.
        target : ndarray of shape (n,), dtype int64
            1 for a pair that interacts.
        pairs : ndarray of shape (n, 2), dtype object
            Their UniProt accessions.
        split : ndarray of shape (n,), dtype object
            "train", "valid" or "test" of each pair.
        DESCR : str
            What the set is, its licence and whom to cite.

    Raises
    ------
    ValueError
        For an unknown `subset`, and for pairs of proteins without sequence.
    OSError
        If a table is missing or damaged. A table other than the known one is used, with a warning.

    See Also
    --------
    make_protein_pairs : Pairs that interact or not.
    plmlearn.model_selection.PairKFold : Folds of pairs.

    References
    ----------
    .. [1] Bernett et al. (2024), doi:10.1093/bib/bbae076

    Examples
    --------
    >>> from plmlearn.datasets import fetch_ppi
    >>> ppi = fetch_ppi(subset="test")  # doctest: +SKIP
    >>> ppi.data.shape, ppi.pairs[0]  # doctest: +SKIP
    ((39575, 2), array(['P51946', 'P29083'], dtype=object))
    """
    check_choice("subset", subset, get_args(Subset))
    table = load_table("ppi/pairs", data_home, download_if_missing)
    proteins = load_table("ppi/proteins", data_home, download_if_missing)
    sequences = dict(zip(proteins["id"], proteins["sequence"]))
    pairs = np.column_stack([table["id_a"], table["id_b"]])
    if missing := set(pairs.flat) - sequences.keys():
        raise ValueError(
            f"ppi: {len(missing)} proteins of pairs.csv.gz are not in proteins.csv.gz, among them "
            f"{sorted(missing)[:5]}: add their sequences there."
        )
    data = object_array(map(sequences.get, pairs.flat)).reshape(pairs.shape)
    chosen = {"sequence": data, "pairs": pairs, "split": table["split"]}
    return bundle("ppi", chosen, table["label"], return_X_y, subset=subset)
