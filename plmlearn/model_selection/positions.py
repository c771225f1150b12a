"""Splits of the variants of one protein, by where they are mutated or by how many there are.

``PositionKFold``   folds that share no mutated position
``low_n_splits``    the same folds with few training variants
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from sklearn.utils import check_random_state

from ..messages import warn
from ..sequences import read_variants
from ..sequences.checked import AT_LEAST_2, COUNT, SEED, TEXT, checked, one_of
from ..sequences.clean import check_parameters
from ..sequences.variants import FIRST_SITE
from .proteins import Split, Splitter

Scheme = Literal["random", "modulo", "contiguous"]
_CONSTRAINTS = {
    "wild_type": TEXT,
    "n_splits": AT_LEAST_2,
    "scheme": one_of(get_args(Scheme)),
    "first_site": FIRST_SITE,
    "random_state": SEED,
}


@dataclass(eq=False, repr=False)
class PositionKFold(Splitter):
    """Folds of variants of one protein, by their mutated positions, as ProteinGym has them.

    On random folds a model need only know how sensitive each position is, which it has seen in training.
    "modulo" and "contiguous" test it on positions that training does not have.

    Parameters
    ----------
    wild_type : str
        The protein that the variants derive from.
    n_splits : int, default=5
    scheme : {"random", "modulo", "contiguous"}, default="modulo"
        "random": variants at random, whatever their positions. "modulo": of the mutated positions, in their
        order, every ``n_splits``-th, so that test positions are spread over the protein. "contiguous":
        stretches of the protein with equally many mutated positions.
    first_site : int, default=1
        Number of the wild type's first residue, for variants given as substitutions.
    random_state : int, RandomState or None, default=None
        Of "random".

    Warns
    -----
    UserWarning
        Some variants have mutated positions in several folds. They are in no test set, and in training only
        where none of their positions is tested.

    See Also
    --------
    ClusterKFold : Folds of different proteins.
    MutationOrderSplit : Few mutations against many.
    low_n_splits : The same with few training variants.

    Notes
    -----
    Of variants with several mutations, those whose positions all lie in one fold are tested there. By
    "modulo" and "contiguous" the wild type itself, which has no mutation, is always in training; "random"
    tests it as any other. ProteinGym's own assignments, columns such as ``fold_modulo_5``, are for
    :class:`sklearn.model_selection.PredefinedSplit`.

    References
    ----------
    Notin et al. (2023), ProteinGym, doi:10.1101/2023.12.07.570727

    Examples
    --------
    >>> from plmlearn.model_selection import PositionKFold
    >>> X = ["M1A", "M1C", "K2A", "V3A", "L4A"]
    >>> [test.tolist() for _, test in PositionKFold("MKVL", 2, scheme="contiguous").split(X)]
    [[0, 1, 2], [3, 4]]
    >>> [test.tolist() for _, test in PositionKFold("MKVL", 2, scheme="modulo").split(X)]
    [[0, 1, 3], [2, 4]]
    """

    wild_type: str
    n_splits: int = 5
    scheme: Scheme = field(default="modulo", kw_only=True)
    first_site: int = field(default=1, kw_only=True)
    random_state: Any = field(default=None, kw_only=True)

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]:
        """Row numbers of training and test set, fold by fold."""
        check_parameters(_CONSTRAINTS, vars(self), type(self).__name__)
        variants = read_variants(self.wild_type, X, first_site=self.first_site)
        if self.scheme == "random":
            random = check_random_state(self.random_state)
            numbers = random.permutation(np.arange(len(variants)) % self.n_splits)
            folds = [{int(number)} for number in numbers]
        else:
            of_site = self._fold_of_each(sorted({site for variant in variants for site, _ in variant}))
            folds = [{of_site[site] for site, _ in variant} for variant in variants]
        self._check_folds(folds)
        for number in range(self.n_splits):
            touched = np.array([number in fold for fold in folds])
            tested = np.array([fold == {number} for fold in folds])
            yield np.flatnonzero(~touched), np.flatnonzero(tested)

    def _fold_of_each(self, sites: list[int]) -> dict[int, int]:
        """Number of the fold of every mutated position."""
        if self.scheme == "modulo":
            return {site: number % self.n_splits for number, site in enumerate(sites)}
        stretches = np.array_split(np.array(sites), self.n_splits)
        return {int(site): number for number, stretch in enumerate(stretches) for site in stretch}

    def _check_folds(self, folds: list[set[int]]) -> None:
        tested = set().union(*(fold for fold in folds if len(fold) == 1))
        if missing := sorted(set(range(self.n_splits)) - tested):
            raise ValueError(
                f"Folds {missing} of {self.n_splits} have no variant to test; choose a smaller n_splits, or "
                "another scheme."
            )
        if n_between := sum(len(fold) > 1 for fold in folds):
            warn(
                f"{n_between} of {len(folds)} variants have mutations in several folds; they are not tested, "
                "and train only where none of their positions is tested."
            )


@checked(n_train=COUNT, n_draws=COUNT, random_state=SEED)
def low_n_splits(
    splits: Iterable[Split], n_train: int, *, n_draws: int = 1, random_state: Any = 0
) -> list[Split]:
    """Splits with few training rows, drawn at random from those of other splits; test rows stay.

    Parameters
    ----------
    splits : iterable of (ndarray, ndarray)
        Rows of training and test sets, as of ``splitter.split(X, y)``.
    n_train : int
        Training rows to draw, such as 24, 96 or 384.
    n_draws : int, default=1
        Draws from each of the splits.
    random_state : int, RandomState or None, default=0
        With the same seed, the rows of a smaller draw are among those of a larger one.

    Returns
    -------
    list of (ndarray, ndarray)
        ``n_draws`` for each split; pass it as ``cv=``.

    Raises
    ------
    ValueError
        A split has fewer training rows.

    See Also
    --------
    PositionKFold : Folds that share no mutated position.
    sklearn.model_selection.ShuffleSplit : Random splits, with ``train_size``.

    Examples
    --------
    >>> from plmlearn.model_selection import low_n_splits
    >>> from sklearn.model_selection import KFold
    >>> splits = low_n_splits(KFold(5).split(range(100)), 24, n_draws=3)
    >>> len(splits), [len(rows) for rows in splits[0]]
    (15, [24, 20])
    """
    random, found = check_random_state(random_state), []
    for train, test in splits:
        if len(train) < n_train:
            raise ValueError(
                f"A split has {len(train)} training rows; expected {n_train} or more, as n_train."
            )
        found += [(random.permutation(train)[:n_train], test) for _ in range(n_draws)]
    return found
