"""Adapt a language model to one family
====================================

Continue pretraining on one protein family, without labels, and measure what this changes."""

import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from plmlearn import PLMMaskedLM
from plmlearn.datasets import fetch_gb1, make_mutational_landscape

# The family: variants of one protein that passed a selection. Pretraining sees only their sequences.
try:
    train, test = (fetch_gb1(subset=part, download_if_missing=False) for part in ("train", "test"))
    source = "GB1"
    X, y = np.array([s[:56] for s in train.data]), train.target
    X_test, y_test = np.array([s[:56] for s in test.data])[:1000], test.target[:1000]
except FileNotFoundError:
    source = "generated"
    X, y = make_mutational_landscape(1200, length=56, random_state=0)
    X, y, X_test, y_test = X[:800], y[:800], X[800:], y[800:]
selected = np.unique(X[y >= np.quantile(y, 0.8)])
family, held_out = selected[: 3 * len(selected) // 4], selected[3 * len(selected) // 4 :]
labelled = np.random.default_rng(0).choice(len(X), 96, replace=False)
print(f"{source} variants: {len(family)} selected ones to adapt to, 96 with measured fitness for regression")

before = PLMMaskedLM("mini", max_steps=0, validation_fraction=None, random_state=0, verbose=0).fit(family)
after = PLMMaskedLM("mini", max_steps=60, lr=2e-3, batch_size=16, random_state=0, verbose=0)
after.set_params(evaluate_every=10).fit(family, X_val=held_out)


def evaluate(lm: PLMMaskedLM) -> tuple[float, float, float]:
    """Perplexity of the held-out family; Spearman's correlation of log-odds, and of ridge on embeddings."""
    perplexity = np.exp(-lm.score(held_out))
    unlabelled = spearmanr(lm.mutation_scores(family[0], X_test), y_test)[0]
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 5, 7)))
    tuned = ridge.fit(lm.transform(X[labelled]), y[labelled]).predict(lm.transform(X_test))
    return perplexity, unlabelled, spearmanr(tuned, y_test)[0]


scores = {"before": evaluate(before), "after": evaluate(after)}
print(f"{'':8}{'perplexity':>12}{'log-odds':>12}{'ridge':>12}   (Spearman's correlation with fitness)")
for name, (perplexity, unlabelled, tuned) in scores.items():
    print(f"{name:8}{perplexity:12.2f}{unlabelled:12.2f}{tuned:12.2f}")

try:
    import matplotlib.pyplot as plt
except ImportError:
    raise SystemExit('for a plot: pip install "plmlearn[plot]"') from None
figure, (curve, bars) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
curve.plot([row["step"] for row in after.history_], [np.exp(row["valid_loss"]) for row in after.history_])
curve.set(xlabel="step", ylabel="held-out perplexity")
for i, (name, (_, *spearman)) in enumerate(scores.items()):
    bars.bar(np.arange(2) + 0.4 * i, spearman, width=0.4, label=name)
bars.set(xticks=[0.2, 1.2], xticklabels=["log-odds", "ridge"], ylabel="Spearman with fitness")
bars.legend()
figure.savefig("adapt_to_a_family.png", dpi=120)
