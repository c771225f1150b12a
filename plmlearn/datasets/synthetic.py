"""Synthetic proteins whose targets can be learned from the sequence: for tests, examples and first steps.

- ``make_proteins``: random sequences with natural amino-acid frequencies and lengths.
- ``make_protein_classification``, ``make_protein_regression``: one target per protein, from composition and
  motif.
- ``make_mutational_landscape``: variants of one parent, additive effects and epistasis.
- ``make_residue_labels``: one label per residue, in segments.
- ``make_protein_pairs``: pairs that interact through complementary motifs.

All return ``(X, y)`` (``make_proteins``: X), which can be passed to ``fit``. All take a `random_state` and
need neither network nor files.
"""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import check_random_state, check_scalar

from ..sequences.checked import AT_LEAST_2, COUNT, COUNT_FROM_0, NOT_NEGATIVE, SEED, SHARE, Range, checked
from ..sequences.clean import object_array
from . import draw
from .draw import AMINO_ACIDS, FREQUENCIES

_LENGTHS: dict[str, Any] = dict.fromkeys(
    ("n_samples", "median_length", "min_length", "max_length"), COUNT
) | {"random_state": SEED}
_COMPOSITION_SPREAD = 100  # Dirichlet concentration: how much one protein's composition differs from the next


@checked(**_LENGTHS)
def make_proteins(
    n_samples: int = 100,
    *,
    median_length: int = 300,
    min_length: int = 30,
    max_length: int = 2000,
    random_state: int | np.random.RandomState | None = None,
) -> np.ndarray:
    """
    Make random protein sequences.

    Each begins with M; the other residues are drawn independently with the frequencies of Swiss-Prot.
    Lengths are log-normal, as those of natural proteins are: many of a few hundred residues, few very long.

    Parameters
    ----------
    n_samples : int, default=100
        Number of sequences.
    median_length : int, default=300
        Median of the lengths in residues, before they are confined to the range.
    min_length, max_length : int, default=30 and 2000
        Range of the lengths in residues, both included.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same sequences every time.

    Returns
    -------
    X : ndarray of shape (n_samples,), dtype object
        Sequences.

    See Also
    --------
    make_protein_classification : Proteins with classes.
    make_residue_labels : Proteins with a label per residue.

    Examples
    --------
    >>> from plmlearn.datasets import make_proteins
    >>> make_proteins(2, median_length=12, min_length=10, max_length=15, random_state=0)
    array(['MNLKPKVWISLM', 'MVACASSTYSKSD'], dtype=object)
    """
    rng = check_random_state(random_state)
    lengths = draw.lengths(rng, n_samples, median_length, min_length, max_length)
    return object_array(draw.sequence(rng, length, FREQUENCIES) for length in lengths)


@checked(n_classes=AT_LEAST_2, class_sep=NOT_NEGATIVE, motif_length=COUNT_FROM_0, flip_y=SHARE, **_LENGTHS)
def make_protein_classification(
    n_samples: int = 100,
    *,
    n_classes: int = 2,
    class_sep: float = 0.5,
    motif_length: int = 6,
    flip_y: float = 0.0,
    median_length: int = 300,
    min_length: int = 30,
    max_length: int = 2000,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """
    Make proteins of classes that differ in composition and each carry a motif of their own.

    Families of proteins differ in the same two ways: they prefer certain amino acids (membrane proteins are
    rich in hydrophobic ones) and have short conserved stretches (the active site of an enzyme).

    Parameters
    ----------
    n_samples : int, default=100
        Number of proteins, divided among the classes as evenly as possible.
    n_classes : int, default=2
        Number of classes.
    class_sep : float, default=0.5
        How much the compositions of classes differ: standard deviation of the logarithm of each amino acid's
        preference. 0 gives the same composition; above 1 proteins look unnatural.
    motif_length : int, default=6
        Residues of the motif, which occurs once, anywhere after the first residue; 0 for none.
    flip_y : float in [0, 1], default=0
        Fraction of proteins whose class is drawn again at random.
    median_length, min_length, max_length : int, default=300, 30 and 2000
        Lengths in residues, as for `make_proteins`.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same data every time.

    Returns
    -------
    X : ndarray of shape (n_samples,), dtype object
        Sequences.
    y : ndarray of shape (n_samples,), dtype int64
        Classes from 0 to n_classes - 1.

    See Also
    --------
    make_protein_regression : Proteins with numbers.
    make_proteins : Make random protein sequences.

    Examples
    --------
    >>> from plmlearn.datasets import make_protein_classification
    >>> X, y = make_protein_classification(6, n_classes=3, random_state=0)
    >>> y
    array([1, 2, 0, 1, 0, 2])
    """
    rng = check_random_state(random_state)
    check_scalar(motif_length, "motif_length", Integral, min_val=0, max_val=min_length - 1)
    lengths = draw.lengths(rng, n_samples, median_length, min_length, max_length)
    preferences = draw.preferences(rng, n_classes, class_sep)
    motifs = [draw.letters(rng, motif_length, FREQUENCIES) for _ in range(n_classes)]
    y = rng.permutation(np.arange(n_samples) % n_classes)
    X = object_array(
        draw.plant(rng, draw.sequence(rng, length, preferences[label]), motifs[label])
        for length, label in zip(lengths, y)
    )
    flipped = rng.random_sample(n_samples) < flip_y
    return X, np.where(flipped, rng.randint(n_classes, size=n_samples), y)


@checked(noise=NOT_NEGATIVE, **_LENGTHS)
def make_protein_regression(
    n_samples: int = 100,
    *,
    noise: float = 0.1,
    median_length: int = 300,
    min_length: int = 30,
    max_length: int = 2000,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """
    Make proteins whose target is the mean of a hidden property of their residues.

    Many properties are approximately of this kind, such as hydropathy, charge and melting temperature. The
    proteins differ in composition more than independent draws would, as natural proteins do.

    Parameters
    ----------
    n_samples : int, default=100
        Number of proteins.
    noise : float, default=0.1
        Standard deviation of the normal noise; that of the target without noise is about 1.
    median_length, min_length, max_length : int, default=300, 30 and 2000
        Lengths in residues, as for `make_proteins`.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same data every time.

    Returns
    -------
    X : ndarray of shape (n_samples,), dtype object
        Sequences.
    y : ndarray of shape (n_samples,), dtype float64
        Targets.

    See Also
    --------
    make_protein_classification : Proteins with classes.
    make_mutational_landscape : Variants of one protein and their fitness.

    Examples
    --------
    >>> from plmlearn.datasets import make_protein_regression
    >>> X, y = make_protein_regression(4, random_state=0)
    >>> y.round(2)
    array([ 1.51,  0.12,  0.52, -0.09])
    """
    rng = check_random_state(random_state)
    lengths = draw.lengths(rng, n_samples, median_length, min_length, max_length)
    property_ = rng.standard_normal(len(AMINO_ACIDS))
    compositions = rng.dirichlet(FREQUENCIES * _COMPOSITION_SPREAD, size=n_samples)
    X = object_array(draw.sequence(rng, length, own) for length, own in zip(lengths, compositions))
    centred = property_ - property_ @ FREQUENCIES
    scale = np.sqrt(centred**2 @ FREQUENCIES * (1 / (_COMPOSITION_SPREAD + 1) + 1 / median_length))
    signal = np.array([centred[draw.indices_of(sequence)].mean() for sequence in X]) / scale
    return X, signal + noise * rng.standard_normal(n_samples)


@checked(
    n_samples=COUNT,
    parent=[str, None],
    length=COUNT,
    max_mutations=COUNT,
    epistasis=[Range(Real, -1e6, 1e6, closed="both")],
    noise=NOT_NEGATIVE,
    random_state=SEED,
)
def make_mutational_landscape(
    n_samples: int = 100,
    *,
    parent: str | None = None,
    length: int = 60,
    max_mutations: int = 4,
    epistasis: float = 0.3,
    noise: float = 0.0,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """
    Make variants of one protein with additive mutation effects and epistasis, as of a mutational scan.

    Most substitutions harm, few help, and some sites tolerate more than others. A variant's target is the sum
    of the effects e of its mutations plus, for every pair of its mutated sites i and j, ``epistasis * J[i,
    j] * e_i * e_j`` with standard normal couplings J: what one mutation does depends on the others.

    Parameters
    ----------
    n_samples : int, default=100
        Number of variants, the first of which is the parent itself. Variants may repeat.
    parent : str, default=None
        The protein, of the 20 amino acids; None draws one of `length` residues.
    length : int, default=60
        Residues of the parent that is drawn.
    max_mutations : int, default=4
        Every variant has between 1 and this many mutations; all numbers are equally likely.
    epistasis : float, default=0.3
        Strength of the interaction; 0 for an additive landscape.
    noise : float, default=0
        Standard deviation of the normal noise; an effect is about as large as 1.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same data every time.

    Returns
    -------
    X : ndarray of shape (n_samples,), dtype object
        Sequences, all as long as the parent.
    y : ndarray of shape (n_samples,), dtype float64
        Targets, 0 for the parent without noise.

    See Also
    --------
    fetch_gb1 : Fitness of variants of one protein.

    Examples
    --------
    >>> from plmlearn.datasets import make_mutational_landscape
    >>> X, y = make_mutational_landscape(3, parent="MKTAYIAKQR", random_state=0)
    >>> X
    array(['MKTAYIAKQR', 'MNTAYIIKAR', 'FKGAYIAKQR'], dtype=object)
    """
    rng = check_random_state(random_state)
    sites = draw.indices_of(draw.sequence(rng, length, FREQUENCIES) if parent is None else parent)
    check_scalar(max_mutations, "max_mutations", Integral, min_val=1, max_val=len(sites))
    effects = draw.effects(rng, sites)
    couplings = np.triu(rng.standard_normal((len(sites), len(sites))), k=1)
    variants = np.tile(sites, (n_samples, 1))  # (n_samples, L)
    for variant in variants[1:]:
        mutated = rng.choice(len(sites), size=rng.randint(1, max_mutations + 1), replace=False)
        shift = rng.randint(1, len(AMINO_ACIDS), size=len(mutated))
        variant[mutated] = (variant[mutated] + shift) % len(AMINO_ACIDS)
    e = effects[np.arange(len(sites)), variants]  # (n_samples, L), 0 where not mutated
    y = e.sum(axis=1) + epistasis * ((e @ couplings) * e).sum(axis=1)
    X = object_array("".join(AMINO_ACIDS[variant]) for variant in variants)
    return X, y + noise * rng.standard_normal(n_samples)


@checked(
    labels=[Sequence],
    mean_segment=[Range(Real, 1, 1e6, closed="both")],
    class_sep=NOT_NEGATIVE,
    missing=SHARE,
    **_LENGTHS,
)
def make_residue_labels(
    n_samples: int = 100,
    *,
    labels: Sequence[str] = "CEH",
    mean_segment: float = 8.0,
    class_sep: float = 1.0,
    missing: float = 0.0,
    median_length: int = 300,
    min_length: int = 30,
    max_length: int = 2000,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """
    Make proteins with one label per residue, such as secondary structure.

    Labels come in segments. Within a segment the residues are drawn with the preferences of its label, so a
    single residue says little and its neighbours say more.

    Parameters
    ----------
    n_samples : int, default=100
        Number of proteins.
    labels : str or sequence of one-letter str, default="CEH"
        At least two labels, other than "-".
    mean_segment : float, default=8
        Mean length of a segment in residues, at least 1; lengths are geometric.
    class_sep : float, default=1
        How much the preferences of the labels differ, as for `make_protein_classification`.
    missing : float in [0, 1], default=0
        Fraction of the residues whose label is replaced by "-", not measured.
    median_length, min_length, max_length : int, default=300, 30 and 2000
        Lengths in residues, as for `make_proteins`.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same data every time.

    Returns
    -------
    X : ndarray of shape (n_samples,), dtype object
        Sequences.
    y : ndarray of shape (n_samples,), dtype object
        Strings of labels, as long as their sequences.

    See Also
    --------
    fetch_secondary_structure : A label per residue.

    Examples
    --------
    >>> from plmlearn.datasets import make_residue_labels
    >>> X, y = make_residue_labels(1, median_length=30, max_length=40, random_state=0)
    >>> print(X[0], y[0], sep="\\n")
    KPEGLQEEIKAVGGAAYDKHAFHTSAKEPRIEDVI
    EEHHCCEEECCCCCHHHHHHHHHHCCEEEEEEEEE
    """
    rng = check_random_state(random_state)
    are_letters = all(isinstance(label, str) and len(label) == 1 and label != "-" for label in labels)
    if not are_letters or len(set(labels)) < 2:
        raise ValueError(f"labels={labels!r}: expected at least two different letters, and no '-'.")
    letters = np.array(list(labels))
    lengths = draw.lengths(rng, n_samples, median_length, min_length, max_length)
    preferences = draw.preferences(rng, len(letters), class_sep)
    X, y = [], []
    for length in lengths:
        states = draw.states(rng, length, len(letters), mean_segment)
        X.append(draw.by_state(rng, states, preferences))
        y.append("".join(np.where(rng.random_sample(length) < missing, "-", letters[states])))
    return object_array(X), object_array(y)


@checked(
    n_proteins=COUNT, n_families=AT_LEAST_2, class_sep=NOT_NEGATIVE, motif_length=COUNT_FROM_0, **_LENGTHS
)
def make_protein_pairs(
    n_samples: int = 100,
    *,
    n_proteins: int = 40,
    n_families: int = 2,
    class_sep: float = 0.5,
    motif_length: int = 6,
    median_length: int = 300,
    min_length: int = 30,
    max_length: int = 2000,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """
    Make pairs of proteins that interact if their families fit each other.

    Every protein belongs to one of 2 * `n_families` families, which differ in motif and composition. Families
    come in pairs, like a domain and the peptide that it binds; proteins interact exactly if their families
    are such a pair. Half of the pairs interact, and a single protein says nothing about the answer.

    Parameters
    ----------
    n_samples : int, default=100
        Number of pairs, half of them interacting. Pairs may repeat if there are few proteins.
    n_proteins : int, default=40
        Number of proteins to draw pairs from, at least 2 * `n_families`.
    n_families : int, default=2
        Number of pairs of families, at least 2.
    class_sep, motif_length : float and int, default=0.5 and 6
        How much the families differ, as for `make_protein_classification`.
    median_length, min_length, max_length : int, default=300, 30 and 2000
        Lengths in residues, as for `make_proteins`.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same data every time.

    Returns
    -------
    X : ndarray of shape (n_samples, 2), dtype object
        Pairs of sequences.
    y : ndarray of shape (n_samples,), dtype int64
        1 for a pair that interacts.

    See Also
    --------
    fetch_ppi : Pairs of human proteins.

    Examples
    --------
    >>> from plmlearn.datasets import make_protein_pairs
    >>> X, y = make_protein_pairs(6, random_state=0)
    >>> X.shape, y
    ((6, 2), array([1, 1, 1, 0, 0, 0]))
    """
    rng = check_random_state(random_state)
    check_scalar(n_proteins, "n_proteins", Integral, min_val=2 * n_families)
    lengths = {"median_length": median_length, "min_length": min_length, "max_length": max_length}
    own: dict[str, Any] = {"class_sep": class_sep, "motif_length": motif_length, **lengths}
    proteins, family = make_protein_classification(
        n_proteins, n_classes=2 * n_families, random_state=rng, **own
    )
    members = [np.flatnonzero(family == k) for k in range(2 * n_families)]
    y = rng.permutation(np.arange(n_samples) % 2)
    pairs = np.empty((n_samples, 2), dtype=int)
    for pair, interacts in zip(pairs, y):
        pair[0] = rng.randint(n_proteins)
        partner = family[pair[0]] ^ 1  # families 0 and 1 fit, 2 and 3, and so on
        if not interacts:
            partner = rng.choice([k for k in range(2 * n_families) if k != partner])
        pair[1] = rng.choice(members[partner])
    return proteins[pairs], y
