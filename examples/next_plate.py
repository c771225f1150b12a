"""The next plate
==============

A few measured variants of one protein: which to make next, and what would three rounds of this have found?"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import spearmanr

from plmlearn import PLMFitnessRegressor
from plmlearn.baselines import AugmentedRidge, gaussian_process
from plmlearn.datasets import fetch_gb1
from plmlearn.design import combine_sites, propose, simulate_campaign
from plmlearn.plotting import CampaignDisplay
from plmlearn.sequences import ALPHABET

# %%
# Real variants if the data home has them (see plmlearn.datasets.get_data_home), otherwise generated ones.
try:
    source, gb1 = "GB1", fetch_gb1(download_if_missing=False)
    X, y = np.array([s[:56] for s in gb1.data], dtype=object), gb1.target
    wild_type, sites = gb1.wild_type[:56], [39, 40, 41, 54]
except OSError:
    source, wild_type, sites = "generated", "MQYKLILNGKTLKGETTTEAVDAATAEKVFKQYANDNGVDGEWTYDDATK", [39, 40, 41]
    X, random = combine_sites(wild_type, sites)[:], np.random.default_rng(0)
    at = np.array([[ALPHABET.index(x[site - 1]) for site in sites] for x in X])
    effects, epistasis = random.normal(size=(3, 20)), random.normal(size=(20, 20))
    y = effects[range(3), at].sum(axis=1) + epistasis[at[:, 0], at[:, 1]]

# %%
# Before anything is measured: the likelihood of a language model. With 96 measurements: the same model, tuned
# to rank them, a ridge regression that starts from its scores, and a Gaussian process.
ranking = PLMFitnessRegressor("mini", wild_type=wild_type, random_state=0, verbose=0)
scores = dict(zip(X, ranking.fit(X).predict(X)))
train = np.random.default_rng(0).choice(len(X), 96, replace=False)
rest = np.setdiff1d(np.arange(len(X)), train)
augmented, gaussian = AugmentedRidge(scores=scores), gaussian_process(random_state=0)
models = {"augmented ridge": augmented, "Gaussian process": gaussian, "ranking": ranking}
predicted = {"zero-shot": np.array([scores[x] for x in X[rest]])}
for name, model in models.items():
    predicted[name] = model.fit(X[train], y[train]).predict(X[rest])
print(f"{len(X)} variants ({source}), trained on 96. Rank correlation, share of the top tenth found:")
for name, values in predicted.items():
    top = [set(np.argsort(-v)[: len(rest) // 10]) for v in (values, y[rest])]
    print(f"{name:18} {spearmanr(values, y[rest])[0]:.2f} {len(top[0] & top[1]) / len(top[1]):.2f}")

# %%
# The next plate, of everything that NDT codons encode at these sites.
library = combine_sites(wild_type, sites, codon="NDT")
plate = propose(gaussian, library, n=8, acquisition="ucb", diversity=2)
print(f"\nOf {len(library):,} candidates:\n{plate}\n")

# %%
# Three rounds of 96, replayed on what is known.
campaign = simulate_campaign(X, y, {"Gaussian process": gaussian_process()}, n_campaigns=2, random_state=0)
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
CampaignDisplay(campaign).plot(ax=ax)
figure.savefig("next_plate.png", dpi=120)
