"""``propose``: which candidates to measure next, by what a fitted model predicts of them."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
from scipy.stats import norm
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods

from ..baselines.comparison import as_table, last_step
from ..messages import warn
from ..sequences import name_variants
from ..sequences.checked import COUNT, SEED, Range, checked, one_of
from ..sequences.clean import clean_rows, first_few, object_array, one_column, rows_of
from ..sequences.variant_table import VariantTable, with_names_written_out
from ..sequences.variants import is_notation
from .library import VariantLibrary

Acquisition = Literal["ucb", "ei", "thompson", "greedy"]
ACQUISITION = one_of(get_args(Acquisition))
BETA = [Range(Real, 0, None, closed="left")]

_SHORTLIST = 50  # times n: candidates among which different ones are looked for


@dataclass(frozen=True)
class Proposal:
    """Candidates to measure, best first; ``print`` it for a table.

    Attributes
    ----------
    sequences : ndarray of str, shape (n,)
        As they stand among the candidates.
    rows : ndarray of int, shape (n,)
        Their numbers among the candidates.
    mean, std : ndarray of float, shape (n,)
        Predicted mean and standard deviation; ``std`` is None for a model that predicts none.
    score : ndarray of float, shape (n,)
        What the acquisition function makes of them.
    names : ndarray of str or None
        Substitutions such as "V39A:D40G", for candidates of a :class:`VariantLibrary`.
    n_candidates, n_excluded : int
        Different candidates, and those among them that were left out because they are known.

    See Also
    --------
    propose : Makes it.

    Examples
    --------
    >>> from plmlearn.baselines import AdditiveMutationRegressor
    >>> from plmlearn.design import propose, single_mutants
    >>> model = AdditiveMutationRegressor(order=1, alpha=0.1).fit(["MKV", "MRV", "MKL"], [0.0, 1.0, 0.5])
    >>> print(propose(model, single_mutants("MKV"), n=2, acquisition="greedy"))
    variant  mean    std  score
    K2R      0.9555  -    0.9555
    K2A      0.5104  -    0.5104
    """

    sequences: np.ndarray
    rows: np.ndarray
    mean: np.ndarray
    std: np.ndarray | None
    score: np.ndarray
    names: np.ndarray | None
    n_candidates: int
    n_excluded: int

    def __len__(self) -> int:
        return len(self.sequences)

    def to_frame(self) -> Any:
        """The variants, one per row, as a pandas DataFrame (needs pandas)."""
        import pandas as pd

        return pd.DataFrame(self._columns() | {"sequence": self.sequences, "row": self.rows})

    def _columns(self) -> dict[str, np.ndarray]:
        std = np.full(len(self), np.nan) if self.std is None else self.std
        variants = self.sequences if self.names is None else self.names
        return {"variant": variants, "mean": self.mean, "std": std, "score": self.score}

    def __str__(self) -> str:
        columns = self._columns()
        return as_table([dict(zip(columns, row)) for row in zip(*columns.values())])


@checked(
    estimator=[HasMethods("predict")],
    n=COUNT,
    acquisition=ACQUISITION,
    beta=BETA,
    diversity=COUNT,
    best=[Range(Real, None, None, closed="neither"), None],
    batch_size=COUNT,
    random_state=SEED,
)
def propose(
    estimator: Any,
    candidates: Any,
    n: int = 96,
    *,
    acquisition: Acquisition = "ucb",
    beta: float = 1.0,
    diversity: int = 1,
    exclude: Any = None,
    best: float | None = None,
    batch_size: int = 10_000,
    random_state: Any = None,
) -> Proposal:
    """Choose the candidates to measure next.

    A plate of the highest predictions alone (greedy) repeats what the model knows. The other acquisition
    functions weigh in how uncertain it is, and so find what it does not know yet.

    Parameters
    ----------
    estimator : fitted regressor
        Higher is better. For all but "greedy" its ``predict`` takes ``return_std=True``, as that of
        scikit-learn's Gaussian processes does, :class:`plmlearn.PLMEnsemble`, and pipelines that end in one.
    candidates : VariantLibrary, or list, array or Series of str
        What can be made. A library is read in batches and never held as a whole. Others are sequences, or
        substitutions such as "V39A:D40G" where the estimator knows its wild type (``wild_type_``) and takes
        them.
    n : int, default=96
        Variants to propose.
    acquisition : {"ucb", "ei", "thompson", "greedy"}, default="ucb"
        "ucb": mean + ``beta`` times standard deviation. "ei": expected improvement over ``best``. "thompson":
        a random draw from each candidate's predicted normal distribution. "greedy": the mean.
    beta : float, default=1.0
        Of "ucb": 0 is greedy; 2 or more mostly explores.
    diversity : int, default=1
        Fewest substitutions between any two variants of the plate. 2 or more needs variants of one length.
    exclude : list, array or Series of str, default=None
        Variants that are known already, in the forms of ``candidates``. Of a library substitutions will do.
    best : float, default=None
        Of "ei": the best measurement so far. None takes the highest prediction of the variants in
        ``exclude``.
    batch_size : int, default=10000
        Candidates that are predicted at once: it bounds memory.
    random_state : int, RandomState or None, default=None
        Of "thompson".

    Returns
    -------
    Proposal
        Variants, best first, none of them twice.

    Raises
    ------
    TypeError
        The estimator predicts no standard deviation, and the acquisition function needs one.
    ValueError
        No candidate is left, predictions are not one finite number each, or substitutions have no wild type.

    Warns
    -----
    UserWarning
        Candidates are known already, or repeat one another; they are left out. Too few of them are left, or
        too few that differ enough: then the best of the others fill the plate.

    See Also
    --------
    simulate_campaign : What such proposals would have found on a known landscape.
    single_mutants, combine_sites, combine_mutations : Libraries of candidates.

    Notes
    -----
    Cost: one prediction per candidate. Memory: one batch of sequences, and the best 50 ``n`` candidates.
    Where two are equally good, the first stays. Different variants are chosen one by one from the best 50
    ``n``.

    References
    ----------
    Romero, Krause & Arnold (2013), doi:10.1073/pnas.1215251110

    Examples
    --------
    >>> from plmlearn.baselines import gaussian_process
    >>> from plmlearn.design import combine_sites, propose
    >>> library = combine_sites("MKVLAAG", [2, 4], codon="NDT")
    >>> rest = library[::5]
    >>> X = [variant for variant in library if variant not in rest]
    >>> model = gaussian_process("onehot").fit(X, [x.count("R") + x.count("V") for x in X])
    >>> propose(model, rest, n=5).sequences[0]
    'MVVVAAG'
    """
    check_offers_std(estimator, acquisition, type(estimator).__name__)
    listed = _checked_candidates(estimator, candidates)
    n_candidates = len(listed[0])
    known = _known(estimator, candidates, exclude)
    if acquisition == "ei" and best is None:
        best = _best_known(estimator, known, batch_size)
    random = check_random_state(random_state)
    size, n_known = n if diversity == 1 else _SHORTLIST * n, 0
    best_so_far: list[np.ndarray] = []  # sequences, rows, texts, means, deviations and scores
    for sequences, rows, texts in _batches(*listed, batch_size):
        new = np.array([sequence not in known for sequence in sequences])
        n_known += len(new) - int(new.sum())
        if new.any():
            mean, std = predictions(estimator, texts[new], with_std=acquisition != "greedy")
            score = _score(acquisition, mean, std, beta, best, random)
            found = [sequences[new], rows[new], texts[new], mean, std, score]
            best_so_far = _highest(best_so_far, found, size)
    _warn_of_known(n_known, n_candidates, len(best_so_far[0]) if best_so_far else 0, n)
    chosen = _different(best_so_far[0], n, diversity)
    rows, texts, mean, std, score = (column[chosen] for column in best_so_far[1:])
    named = isinstance(candidates, VariantLibrary)
    names = name_variants(candidates.wild_type, texts, first_site=candidates.first_site) if named else None
    known_std = None if acquisition == "greedy" else std
    return Proposal(texts, rows, mean, known_std, score, names, n_candidates, n_known)


def _highest(columns: list[np.ndarray], more: list[np.ndarray], size: int) -> list[np.ndarray]:
    """The rows of both tables with the highest entries in the last column, in this order."""
    joined = [np.append(*pair) for pair in zip(columns, more)] if columns else more
    order = np.argsort(-joined[-1], kind="stable")[:size]
    return [column[order] for column in joined]


def check_offers_std(estimator: Any, acquisition: str, name: str) -> None:
    """Raise where the acquisition function needs what the estimator does not predict."""
    if acquisition != "greedy" and not offers_std(estimator):
        raise TypeError(
            f"acquisition={acquisition!r} needs predict(X, return_std=True), which {name} does not offer. "
            "Pass acquisition='greedy', a PLMEnsemble of the estimator, or a Gaussian process."
        )


def offers_std(estimator: Any) -> bool:
    """Whether ``predict`` takes ``return_std``; a pipeline passes it to its last step."""
    return "return_std" in inspect.signature(last_step(estimator)[1].predict).parameters


def predictions(estimator: Any, X: np.ndarray, *, with_std: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every candidate; nan for deviations that are not asked for."""
    if with_std:
        mean, std = map(np.asarray, estimator.predict(X, return_std=True))
    else:
        mean = np.asarray(estimator.predict(X))
        std = np.full(mean.shape, np.nan)
    right = mean.shape == std.shape == (len(X),) and mean.dtype.kind in "iuf"
    if with_std and right and not (std.dtype.kind in "iuf" and np.isfinite(std).all()):
        raise ValueError(
            f"{type(estimator).__name__} predicts standard deviations that are not finite numbers; expected "
            "one for each candidate. Pass acquisition='greedy' to do without."
        )
    if not right or not np.isfinite(mean).all():
        raise ValueError(
            f"{type(estimator).__name__} predicts {mean.dtype} of shape {mean.shape} for {len(X)} "
            "candidates; expected one finite number for each, as of a regressor of one target."
        )
    return mean.astype(float), std.astype(float)


def _score(kind: str, mean: np.ndarray, std: np.ndarray, beta: float, best: Any, random: Any) -> np.ndarray:
    if kind == "greedy":
        return mean
    if kind == "ucb":
        return mean + beta * std
    if kind == "thompson":
        return mean + std * random.standard_normal(len(mean))
    gain = mean - best
    z = gain / np.maximum(std, np.finfo(float).tiny)
    return np.where(std > 0, gain * norm.cdf(z) + std * norm.pdf(z), np.maximum(gain, 0))


def _checked_candidates(estimator: Any, candidates: Any) -> tuple[Any, Any, Any]:
    """The different sequences, and the row and text of each; of a library they are made when asked for."""
    if isinstance(candidates, VariantLibrary):
        return candidates, range(len(candidates)), candidates
    given = _texts(candidates, "candidates")
    first: dict[str, tuple[int, str]] = {}
    for row, sequence in enumerate(sequences_of(estimator, given, "candidates")):
        first.setdefault(sequence, (row, given[row]))
    if repeated := len(given) - len(first):
        warn(f"{repeated} of {len(given)} candidates repeat another one; each is proposed once at most.")
    rows, texts = zip(*first.values())
    return object_array(first), rows, object_array(texts)


def _texts(variants: Any, name: str) -> Any:
    given = one_column(rows_of(variants, name), variants)
    if odd := [row for row, entry in enumerate(given) if not isinstance(entry, str)]:
        raise ValueError(f"{name} has no text in rows {first_few(odd)}; expected one str in each.")
    return given


def sequences_of(estimator: Any, given: Any, name: str) -> np.ndarray:
    """Clean sequences, by which variants are compared; how the estimator reads them is its own affair."""
    if named := [row for row, text in enumerate(given) if is_notation(text)]:
        wild_type, first_site = wild_type_of(estimator)
        if wild_type is None:
            raise ValueError(
                f"{name} has mutations such as {given[named[0]]!r} in rows {first_few(named)}, and "
                f"{type(estimator).__name__} knows no wild type. Pass sequences or a VariantLibrary."
            )
        given = with_names_written_out(wild_type, given, first_site=first_site)
    return clean_rows(given, "replace")[0]


def wild_type_of(estimator: Any) -> tuple[str | None, int]:
    """The wild type that an estimator, its last step or first member reads mutations by; its first site."""
    _, last = last_step(estimator)
    model = getattr(last, "estimators_", [getattr(last, "estimator", last)])[0]
    wild_type = getattr(model, "wild_type_", None) or getattr(model, "wild_type", None)
    return wild_type, getattr(model, "first_site", 1)


def _batches(sequences: Any, rows: Any, texts: Any, size: int) -> Iterator[tuple[np.ndarray, ...]]:
    for start in range(0, len(sequences), size):
        part = slice(start, start + size)
        made = sequences[part]
        yield made, np.array(rows[part]), made if texts is sequences else texts[part]


def _known(estimator: Any, candidates: Any, exclude: Any) -> dict[str, str]:
    """The variants that are not to be proposed: sequences, and texts that the estimator reads."""
    if exclude is None or (hasattr(exclude, "__len__") and not len(exclude)):
        return {}
    if not isinstance(candidates, VariantLibrary):
        given = _texts(exclude, "exclude")
        return dict(zip(sequences_of(estimator, given, "exclude"), given))
    table = VariantTable.read(candidates.wild_type, exclude, first_site=candidates.first_site)
    return {sequence: sequence for sequence in table.sequences()}


def _best_known(estimator: Any, known: dict[str, str], size: int) -> float:
    if not known:
        raise ValueError("acquisition='ei' needs the best measurement so far: pass best=, or exclude=.")
    texts = object_array(known.values())
    parts = (texts[start : start + size] for start in range(0, len(texts), size))
    return max(float(predictions(estimator, part, with_std=False)[0].max()) for part in parts)


def _warn_of_known(n_excluded: int, n_candidates: int, n_found: int, n: int) -> None:
    if not n_found:
        raise ValueError(f"All {n_candidates} candidates are in exclude; expected some that are not known.")
    told = []
    if n_excluded:
        told.append(f"{n_excluded} of {n_candidates} candidates are in exclude and were left out")
    if n_found < n:
        told.append(f"{n_found} candidates are left for n={n}, and all of them are proposed")
    if told:
        warn("; ".join(told) + ".")


def _different(sequences: np.ndarray, n: int, least: int) -> np.ndarray:
    """Positions of up to n sequences, best first, that differ from one another at ``least`` sites or more."""
    if least == 1:
        return np.arange(min(n, len(sequences)))
    lengths = sorted({len(sequence) for sequence in sequences})
    if len(lengths) > 1:
        raise ValueError(
            f"diversity={least} compares variants site by site; they have {lengths[0]} to {lengths[-1]} "
            "residues. Pass diversity=1."
        )
    letters = np.frombuffer("".join(sequences).encode("utf-32-le"), dtype=np.uint32)
    letters = letters.reshape(len(sequences), -1)
    letters = letters[:, (letters != letters[0]).any(axis=0)]
    nearest = np.full(len(letters), np.inf)
    chosen: list[int] = []
    for row in range(len(letters)):
        if nearest[row] >= least and len(chosen) < n:
            chosen.append(row)
            nearest = np.minimum(nearest, (letters != letters[row]).sum(axis=1))
    if (missing := min(n, len(letters)) - len(chosen)) > 0:
        warn(
            f"{len(chosen)} of the best {len(letters)} candidates differ at {least} sites or more; {missing} "
            "others fill the plate."
        )
        others = np.setdiff1d(np.arange(len(letters)), chosen)
        chosen = sorted([*chosen, *others[:missing]])
    return np.array(chosen)
