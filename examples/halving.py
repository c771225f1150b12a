"""Successive halving, by epochs and by proteins
=============================================

Give many candidates a small budget and the best of them a larger one, with scikit-learn's halving search."""

import numpy as np
from scipy.stats import loguniform
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.metrics import make_scorer
from sklearn.model_selection import HalvingRandomSearchCV

from plmlearn import PLMLoRARegressor
from plmlearn.datasets import fetch_gb1, make_protein_regression
from plmlearn.metrics import spearman_score

# %%
# Real proteins if the data home has them (see plmlearn.datasets.get_data_home), otherwise generated ones.
try:
    gb1 = fetch_gb1(split="sampled", subset="train", download_if_missing=False)
    source, y = "GB1", gb1.target[::40]
    X = np.array([sequence[:56] for sequence in gb1.data[::40]])  # the rest is the same in all variants
except FileNotFoundError:
    source = "generated"
    X, y = make_protein_regression(160, median_length=50, max_length=60, random_state=0)
print(f"{len(X)} {source} proteins")

# %%
# The budget is the number of epochs: nine candidates for one epoch, three for three, one for nine. Each fit
# starts anew: one that ``warm_start`` continues is another one, as schedule and optimiser begin again.
model = PLMLoRARegressor("mini", last_n_layers=1, epochs=9, random_state=0, verbose=0)
space = {"rank": [2, 4, 8], "lr": loguniform(3e-4, 3e-2)}
options = {"cv": 2, "scoring": make_scorer(spearman_score), "factor": 3, "random_state": 0}
search = HalvingRandomSearchCV(
    model, space, resource="epochs", n_candidates=9, min_resources=1, max_resources=9, **options
)
search.fit(X, y)
print("by epochs:  ", search.best_params_, f"{search.best_score_:.2f}", search.n_resources_)

# %%
# The budget is the number of proteins. Their frozen layers are computed once, in whichever round they appear.
search = HalvingRandomSearchCV(
    model.set_params(epochs=3), space, n_candidates=9, min_resources=len(X) // 9, **options
)
search.fit(X, y)
print("by proteins:", search.best_params_, f"{search.best_score_:.2f}", search.n_resources_)
for budget in np.unique(search.cv_results_["n_resources"]):
    here = search.cv_results_["n_resources"] == budget
    seconds = search.cv_results_["mean_fit_time"][here].sum()
    print(f"{budget:4} proteins: {here.sum()} candidates, {seconds:.1f} s per fold")
