"""Rounds of measuring on GB1, replayed: how much of the best does each strategy find? Takes some minutes.

    PLMLEARN_DATA=data python benchmarks/campaign.py [--campaigns 10] [--write docs/campaigns.md]

Three rounds of 96 variants out of 8,733. The first round is random and the same for all strategies; each
further one is what ``plmlearn.design.propose`` makes of a model of all that is measured so far. Figures are
medians of the campaigns, with quartiles.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from machine import machine
from scipy.stats import spearmanr
from sklearn.exceptions import ConvergenceWarning

from plmlearn import PLMEnsemble, PLMFitnessRegressor, PLMFrozenMLPRegressor
from plmlearn.baselines import AdditiveMutationRegressor, AugmentedRidge, gaussian_process
from plmlearn.datasets import fetch_gb1
from plmlearn.design import Campaign, simulate_campaign

ROUNDS, BATCH, TOP = 3, 96, 0.01
LENGTH = 56  # of the domain; the rest of a row is linker and another protein, and never varies
STRATEGIES = {
    "Gaussian process on one-hot, UCB": (gaussian_process("onehot"), "ucb"),
    "Gaussian process on one-hot, EI": (gaussian_process("onehot"), "ei"),
    "Gaussian process on one-hot, Thompson": (gaussian_process("onehot"), "thompson"),
    "Gaussian process on one-hot, greedy": (gaussian_process("onehot"), "greedy"),
    "Gaussian process on z-scales, UCB": (gaussian_process("zscales"), "ucb"),
    "pairs of residues, greedy": (AdditiveMutationRegressor(order=2), "greedy"),
    "ensemble of BLOSUM62 ridge, UCB": (
        PLMEnsemble(AugmentedRidge(encoding="blosum62"), n_members=5, bootstrap=True),
        "ucb",
    ),
}


def with_a_model(wild_type: str) -> dict:
    ranking = PLMFitnessRegressor("mini", wild_type=wild_type, verbose=0)
    perceptron = PLMFrozenMLPRegressor("mini", solver="lbfgs", max_iter=200)
    return {
        'ranking by the likelihood of "mini", greedy': (ranking, "greedy"),
        'ensemble of rankings by the likelihood of "mini", UCB': (PLMEnsemble(ranking, n_members=3), "ucb"),
        'ensemble of frozen MLPs on "mini", UCB': (PLMEnsemble(perceptron, n_members=5), "ucb"),
    }


def table(campaign: Campaign) -> str:
    """A row per strategy: what it has found after the last round."""
    lines = [
        "| strategy | share of the top 1 % | quartiles | best fitness |",
        "|---|---|---|---|",
    ]
    last = [row for row in campaign.medians() if row["round"] == ROUNDS]
    for row in sorted(last, key=lambda row: -row["top_share"]):
        low, high = np.quantile(campaign.values(row["strategy"], ROUNDS, "top_share"), [0.25, 0.75])
        cells = (row["strategy"], f"{row['top_share']:.3f}", f"{low:.3f} to {high:.3f}", f"{row['best']:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def spread_against_error(X: np.ndarray, y: np.ndarray) -> float:
    """Spearman's correlation of predicted deviations and errors, of the first strategy after 192 variants."""
    order = np.random.default_rng(0).permutation(len(X))
    model = gaussian_process("onehot", random_state=0).fit(X[order[:192]], y[order[:192]])
    mean, std = model.predict(X[order[192:]], return_std=True)
    return float(spearmanr(std, abs(mean - y[order[192:]]))[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--campaigns", type=int, default=10)
    parser.add_argument("--models", action="store_true", help="add strategies that run a language model")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    gb1 = fetch_gb1()
    X, y = np.array([sequence[:LENGTH] for sequence in gb1.data], dtype=object), gb1.target
    strategies = STRATEGIES | (with_a_model(gb1.wild_type[:LENGTH]) if options.models else {})
    start = time.perf_counter()
    campaign = simulate_campaign(
        X, y, strategies, rounds=ROUNDS, batch=BATCH, top=TOP, n_campaigns=options.campaigns, random_state=0
    )
    minutes = (time.perf_counter() - start) / 60
    text = (
        "# Campaigns on GB1\n\n"
        f"{ROUNDS} rounds of {BATCH} of {len(X):,} variants; medians of {options.campaigns} campaigns, which "
        f"`benchmarks/campaign.py{' --models' * options.models}` replays. "
        "The first round is random for all.\n\n"
        f"{table(campaign)}\n\n"
        f"After 192 random variants, the Gaussian process's standard deviations and its errors have a rank "
        f"correlation of {spread_against_error(X, y):.2f}.\n\n"
        f"{machine('scikit-learn', 'numpy', 'torch')}; {minutes:.0f} minutes.\n"
    )
    print(text)
    if options.write:
        options.write.write_text(text)


if __name__ == "__main__":
    main()
