"""``simulate_campaign``: rounds of proposals, replayed on a landscape that has been measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods

from ..baselines import AdditiveMutationRegressor
from ..baselines.comparison import HasRows, as_table, with_seed
from ..metrics.variants import chances_of_top
from ..sequences.checked import COUNT, FLAG, SEED, SHARE, checked
from ..sequences.clean import one_column, rows_of
from ..sequences.columns import check_numbers
from ..sequences.variants import is_notation
from .proposal import ACQUISITION, BETA, Acquisition, check_offers_std, propose, sequences_of, wild_type_of

RANDOM = "random"


@dataclass(frozen=True)
class Campaign(HasRows):
    """What each strategy had found after each round; ``print`` it for a table of medians.

    Attributes
    ----------
    rows : list of dict
        One per strategy, campaign and round, with the keys ``strategy``, ``campaign``, ``round`` (from 1),
        ``n_measured``, ``top_share`` (share of the best variants of the landscape that are measured; which of
        equal ones are among the best is left to chance, and averaged) and ``best`` (highest measurement so
        far).
    n_top : int
        How many variants count as the best.

    See Also
    --------
    simulate_campaign : Makes it.
    plmlearn.plotting.CampaignDisplay : A picture of it.

    Examples
    --------
    >>> from plmlearn.design import Campaign
    >>> row = {"strategy": "random", "campaign": 0, "round": 1, "n_measured": 96, "best": 2.0}
    >>> rows = [row | {"top_share": 0.25}, row | {"campaign": 1, "top_share": 0.5}]
    >>> Campaign(rows, n_top=4).medians()[0]["top_share"]
    0.375
    """

    rows: list[dict[str, Any]]
    n_top: int

    def medians(self) -> list[dict[str, Any]]:
        """Median over campaigns of ``top_share`` and ``best``: a dict per strategy and round."""
        keys = dict.fromkeys((row["strategy"], row["round"], row["n_measured"]) for row in self.rows)
        return [
            {"strategy": name, "round": step, "n_measured": n}
            | {figure: float(np.median(self.values(name, step, figure))) for figure in ("top_share", "best")}
            for name, step, n in keys
        ]

    def values(self, strategy: str, number: int, figure: str) -> np.ndarray:
        """One figure of one strategy after one round, (n_campaigns,)."""
        own = [row for row in self.rows if (row["strategy"], row["round"]) == (strategy, number)]
        return np.array([row[figure] for row in own], dtype=float)

    def __str__(self) -> str:
        return as_table(self.medians())


@checked(
    estimator=[HasMethods(["fit", "predict"]), Mapping],
    rounds=COUNT,
    batch=COUNT,
    acquisition=ACQUISITION,
    beta=BETA,
    diversity=COUNT,
    n_campaigns=COUNT,
    top=SHARE,
    floors=FLAG,
    random_state=SEED,
)
def simulate_campaign(
    X: Any,
    y: Any,
    estimator: Any,
    *,
    rounds: int = 3,
    batch: int = 96,
    acquisition: Acquisition = "ucb",
    beta: float = 1.0,
    diversity: int = 1,
    start: Any = None,
    n_campaigns: int = 10,
    top: float = 0.01,
    floors: bool = True,
    random_state: Any = None,
) -> Campaign:
    """Replay rounds of measuring on a landscape where everything is known, to see what they would have found.

    In the first round all strategies measure the same variants. In each further one a strategy fits its
    estimator on what it has measured, and measures what :func:`propose` makes of the rest. Chance decides
    between equally good variants.

    Parameters
    ----------
    X : list, array or Series of str, shape (n_variants,)
        All variants of the landscape: sequences, or substitutions such as "V39A:D40G" where a strategy has a
        parameter ``wild_type``.
    y : array of shape (n_variants,)
        Their measurements; higher is better.
    estimator : regressor, or mapping of name to regressor or (regressor, acquisition)
        The strategies. They are cloned, and get a seed of their own in each campaign.
    rounds : int, default=3
        Rounds, the first one included.
    batch : int, default=96
        Variants to measure in each round.
    acquisition : {"ucb", "ei", "thompson", "greedy"}, default="ucb"
        Of the strategies that name none; see :func:`propose`.
    beta, diversity : float and int, default=1.0 and 1
        As in :func:`propose`.
    start : array of shape (n_variants,), default=None
        Scores such as those of zero-shot prediction: the first round measures the highest of them. None
        draws at random.
    n_campaigns : int, default=10
        Repetitions with other seeds.
    top : float, default=0.01
        Share of the landscape that counts as its best variants.
    floors : bool, default=True
        Add one-hot ridge regression with greedy proposals. Random choice is always there.
    random_state : int, RandomState or None, default=None

    Returns
    -------
    Campaign

    Raises
    ------
    ValueError
        The landscape has fewer variants than the campaign measures, or all are the same.

    See Also
    --------
    propose : One round on variants that nobody has measured.
    plmlearn.plotting.CampaignDisplay : A picture of it.

    Notes
    -----
    Cost: n_campaigns times (rounds - 1) fits of each strategy, and as many predictions of the landscape.

    Examples
    --------
    >>> from plmlearn.baselines import gaussian_process
    >>> from plmlearn.design import combine_sites, simulate_campaign
    >>> X = combine_sites("MKVLAAG", [2, 4])[:]
    >>> y = [len(set(x)) + x.count("L") for x in X]
    >>> found = simulate_campaign(X, y, {"GP": gaussian_process("onehot")}, batch=20, n_campaigns=2, top=0.1,
    ...                           random_state=0)
    >>> [row["strategy"] for row in found.medians() if row["round"] == 3]
    ['GP', 'one-hot ridge, greedy', 'random']
    """
    strategies = _strategies(estimator, acquisition, floors)
    variants = _written_out(X, [model for model, _ in strategies.values()])
    y = _check_landscape(y, variants, rounds * batch)
    n_top = max(1, round(top * len(y)))
    top_chances = chances_of_top(y, n_top)
    seeds = check_random_state(random_state).randint(2**31 - 1, size=n_campaigns)
    rows = []
    for number, seed in enumerate(seeds):
        order = np.random.RandomState(seed).permutation(len(y))
        first = order[:batch] if start is None else _highest(start, batch, order)
        for name, (model, how) in strategies.items():
            options = {"acquisition": how, "beta": beta, "diversity": diversity}
            measured = first
            for step in range(1, rounds + 1):
                if step > 1:
                    # Not in the landscape's order, which may tell how good they are.
                    rest = order[~np.isin(order, measured)]
                    more = _next(model, variants, y, measured, rest, batch, int(seed), options)
                    measured = np.append(measured, more)
                told = {"strategy": name, "campaign": number, "round": step, "n_measured": len(measured)}
                share, best = float(top_chances[measured].sum() / n_top), float(y[measured].max())
                rows.append(told | {"top_share": share, "best": best})
    return Campaign(rows, n_top)


def _next(
    model: Any, X: np.ndarray, y: np.ndarray, measured: Any, rest: Any, n: int, seed: int, options: Any
):
    """Rows to measure next, of those that are left."""
    random = np.random.RandomState(seed + len(measured))
    if model is None:
        return random.choice(rest, n, replace=False)
    model = with_seed(model, seed).fit(X[measured], y[measured])
    return rest[propose(model, X[rest], n, random_state=random, best=y[measured].max(), **options).rows]


def _strategies(estimator: Any, acquisition: str, floors: bool) -> dict[str, tuple[Any, str]]:
    """Estimator and acquisition function by name; None stands for random choice."""
    named = estimator if isinstance(estimator, Mapping) else {type(estimator).__name__: estimator}
    given = {name: one if isinstance(one, tuple) else (one, acquisition) for name, one in named.items()}
    if RANDOM in given:
        raise ValueError(f"An estimator is named {RANDOM!r}, as random choice is; expected another name.")
    for name, (model, how) in given.items():
        if not hasattr(model, "fit") or not hasattr(model, "predict"):
            raise TypeError(f"estimator {name!r} is {model!r:.50}; expected a regressor.")
        if how not in get_args(Acquisition):
            raise ValueError(f"{name} has acquisition {how!r}; expected one of {get_args(Acquisition)}.")
        check_offers_std(model, how, f"strategy {name!r}")
    if floors:
        given.setdefault("one-hot ridge, greedy", (AdditiveMutationRegressor(order=1), "greedy"))
    return given | {RANDOM: (None, "greedy")}


def _written_out(X: Any, models: list) -> np.ndarray:
    """The variants; where some are mutations, all as sequences, which every strategy can read."""
    variants = np.asarray(one_column(rows_of(X, "variants"), X), dtype=object)
    if not any(map(is_notation, variants)):
        return variants
    knowing = [model for model in models if wild_type_of(model)[0]]
    return sequences_of((knowing or models)[0], variants, "X")


def _check_landscape(y: Any, variants: np.ndarray, n_measured: int) -> np.ndarray:
    y = check_numbers(y, "y", ("number per variant", len(variants)))
    if n_measured > len(y):
        raise ValueError(f"The rounds measure {n_measured} variants, and the landscape has {len(y)}.")
    if (y == y[0]).all():
        raise ValueError(f"All {len(y)} measurements in y are {y[0]:g}; expected some better than others.")
    if repeated := len(variants) - len(set(variants)):
        raise ValueError(f"{repeated} of {len(variants)} variants repeat another one; expected each once.")
    return y


def _highest(start: Any, n: int, order: np.ndarray) -> np.ndarray:
    """Rows with the n highest scores, equal ones as they come in ``order``."""
    scores = check_numbers(start, "start", ("score per variant", len(order)))
    return order[np.argsort(-scores[order], kind="stable")[:n]]
