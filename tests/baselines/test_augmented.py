"""Ridge regression with scores, position means and the Gaussian process, against linear algebra by hand."""

import pickle
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from plmlearn import PLMEmbedder
from plmlearn.baselines import (
    AdditiveMutationRegressor,
    AugmentedRidge,
    CompositionVectorizer,
    PositionMeanRegressor,
    compare,
    floors,
    gaussian_process,
)
from plmlearn.baselines.gaussian import DistanceScaler
from plmlearn.datasets import fetch_beta_lactamase, make_mutational_landscape
from plmlearn.similarity.blosum import BLOSUM62, RESIDUE_TYPES

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
X, Y = make_mutational_landscape(120, parent="MKTAYIAKQRQISFV", random_state=0)
X = np.unique(X)
rng = np.random.default_rng(0)
Y = np.array([sum(ord(a) * i for i, a in enumerate(x)) for x in X]) / 100 + rng.normal(size=len(X))
SCORE = dict(zip(X, Y + rng.normal(size=len(X))))
TRAIN, TEST = np.arange(len(X)) % 3 > 0, np.arange(len(X)) % 3 == 0


def by_hand(features, scores, alpha):
    """Ridge whose intercept and scores are free: both are projected out of features and targets."""
    free = np.column_stack([np.ones(TRAIN.sum()), scores[TRAIN]])
    project = np.eye(len(free)) - free @ np.linalg.pinv(free)
    own = project @ features[TRAIN]
    weights = np.linalg.solve(own.T @ own + alpha * np.eye(own.shape[1]), own.T @ (project @ Y[TRAIN]))
    rest = Y[TRAIN] - features[TRAIN] @ weights
    offset = np.linalg.lstsq(free, rest, rcond=None)[0]
    return features[TEST] @ weights + np.column_stack([np.ones(TEST.sum()), scores[TEST]]) @ offset


def encoded(kind):
    sites = [i for i in range(len(X[0])) if len({x[i] for x in X[TRAIN]}) > 1]
    if kind == "onehot":
        known = [sorted({x[i] for x in X[TRAIN]}) for i in sites]
        return np.array([[x[i] == a for i, own in zip(sites, known) for a in own] for x in X], dtype=float)
    rows = [[BLOSUM62[RESIDUE_TYPES.index(x[i]), :20] for i in sites] for x in X]
    return np.array(rows, dtype=float).reshape(len(X), -1)


@pytest.mark.parametrize("kind", ["onehot", "blosum62"])
def test_the_weight_of_a_score_is_free(kind):
    scores = np.array([SCORE[x] for x in X])
    model = AugmentedRidge(scores=SCORE, encoding=kind, alpha=3.0).fit(X[TRAIN], Y[TRAIN])
    expected = by_hand(encoded(kind), scores[:, None], 3.0)
    np.testing.assert_allclose(model.predict(X[TEST]), expected, atol=1e-3)


def test_without_scores_it_is_ridge_regression():
    model = AugmentedRidge(alpha=2.0).fit(X[TRAIN], Y[TRAIN])
    expected = by_hand(encoded("onehot"), np.empty((len(X), 0)), 2.0)
    np.testing.assert_allclose(model.predict(X[TEST]), expected, atol=1e-6)
    additive = AdditiveMutationRegressor(order=1, alpha=2.0).fit(X[TRAIN], Y[TRAIN])
    np.testing.assert_allclose(model.predict(X[TEST]), additive.predict(X[TEST]), atol=1e-6)


def test_every_form_of_scores_gives_the_same():
    table = pd.DataFrame({"sequence": X, "score": [SCORE[x] for x in X]})
    expected = AugmentedRidge(scores=SCORE).fit(X[TRAIN], Y[TRAIN]).predict(X[TEST])
    by_function = AugmentedRidge(scores=lambda sequences: [SCORE[x] for x in sequences])
    np.testing.assert_allclose(by_function.fit(X[TRAIN], Y[TRAIN]).predict(X[TEST]), expected)
    for form in (table, table.to_numpy()):
        rows = (form.iloc[TRAIN], form.iloc[TEST]) if form is table else (form[TRAIN], form[TEST])
        model = AugmentedRidge().fit(rows[0], Y[TRAIN])
        np.testing.assert_allclose(model.predict(rows[1]), expected)
    assert cross_val_score(AugmentedRidge(), table, Y, cv=3).shape == (3,)


def test_few_measurements_leave_the_ranking_to_the_score():
    few = np.flatnonzero(TRAIN)[:6]
    model = AugmentedRidge(scores=SCORE, alpha=1e3).fit(X[few], Y[few])
    assert spearmanr(model.predict(X[TEST]), [SCORE[x] for x in X[TEST]])[0] > 0.99
    assert model.score_weights_.shape == (1,)


def test_fitted_models_are_pickled_and_cloned():
    model = AugmentedRidge(scores=SCORE).fit(X[TRAIN], Y[TRAIN])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    assert clone(model).scores == SCORE


def test_bad_scores_are_named():
    with pytest.raises(
        ValueError, match=r"scores lacks 2 of 120|scores lacks 2 of \d+ variants \(rows 0, 1\)"
    ):
        AugmentedRidge(scores=dict.fromkeys(X[2:], 1.0)).fit(X, Y)
    with pytest.raises(ValueError, match="scores returns 3 rows"):
        AugmentedRidge(scores=lambda sequences: [1, 2, 3]).fit(X, Y)
    table = np.column_stack([X, Y]).astype(object)
    with pytest.raises(ValueError, match="columns and scores is set"):
        AugmentedRidge(scores=SCORE).fit(table, Y)
    with pytest.raises(ValueError, match="comes with 0 scores per variant; fit had 1"):
        AugmentedRidge().fit(table, Y).predict(X)
    with pytest.raises(ValueError, match="'encoding' parameter of AugmentedRidge"):
        AugmentedRidge(encoding="pam").fit(X, Y)
    with pytest.raises(ValueError, match="are the same"):
        AugmentedRidge().fit(["MK", "MK"], [1, 2])


def test_position_means():
    wild = "MKVL"
    model = PositionMeanRegressor().fit(["AKVL", "CKVL", "MAVL", "MKVL", "MKVL"], [1.0, 3.0, 6.0, 0.0, 0.0])
    assert model.wild_type_ == wild
    np.testing.assert_allclose(model.predict(["WKVL", "MWVL", "WWVL", wild, "MKVA"]), [2, 6, 4, 2, 2])
    given = PositionMeanRegressor(wild_type="AKVL").fit(["MKVL", "AAVL"], [[1.0], [2.0]])
    np.testing.assert_allclose(given.predict(["AKVL", "CKVL"]), [1.5, 1])
    with pytest.raises(ValueError, match="differ in length from the wild type"):
        PositionMeanRegressor(wild_type="AKV").fit(["MKVL"], [1.0])


def test_the_gaussian_process_is_that_of_its_kernel():
    model = gaussian_process("onehot", random_state=0).fit(X[TRAIN], Y[TRAIN])
    features = CompositionVectorizer(kind="onehot").fit(X).transform(X).toarray()
    features = (features - features[TRAIN].mean(axis=0)) / np.sqrt(features[TRAIN].var(axis=0).sum())
    k1, k2 = model[-1].kernel_.k1, model[-1].kernel_.k2
    kernel = ConstantKernel(k1.k1.constant_value) * RBF(k1.k2.length_scale) + WhiteKernel(k2.noise_level)
    centred = (Y[TRAIN] - Y[TRAIN].mean()) / Y[TRAIN].std()
    expected = kernel(features[TEST], features[TRAIN]) @ np.linalg.solve(kernel(features[TRAIN]), centred)
    found = model.predict(X[TEST])
    np.testing.assert_allclose(found, expected * Y[TRAIN].std() + Y[TRAIN].mean(), rtol=1e-4)


def test_the_recipe_learns_where_the_default_kernel_does_not():
    embedder = PLMEmbedder("mini", precision="fp32")
    ours = gaussian_process(embedder, random_state=0).fit(X[TRAIN], Y[TRAIN]).predict(X[TEST])
    plain = make_pipeline(embedder, GaussianProcessRegressor(normalize_y=True)).fit(X[TRAIN], Y[TRAIN])
    assert spearmanr(ours, Y[TEST])[0] > spearmanr(plain.predict(X[TEST]), Y[TEST])[0]
    with pytest.raises(ValueError, match="'kind' parameter"):
        gaussian_process("pam").fit(X, Y)


@pytest.mark.parametrize("seed", range(5))
def test_few_and_noisy_measurements_do_not_make_it_predict_the_mean(seed):
    """A length scale that tells of none but the training sequences is often the likelihood's favourite."""
    rng = np.random.default_rng(seed)
    sequences = ["".join(row) for row in rng.choice(list("AVDK"), (224, 12))]
    signal = np.array([sequence.count("D") - sequence.count("V") for sequence in sequences])
    y = signal + rng.normal(0, 3 * signal.std(), len(signal))
    model = gaussian_process(random_state=0).fit(sequences[:24], y[:24])
    assert model[-1].kernel_.k1.k2.length_scale >= 0.5
    assert np.ptp(model.predict(sequences[24:])) > 1e-3


def test_zscales_describe_residues():
    vectors = CompositionVectorizer(kind="zscales").fit(["AG"]).transform(["AG", "WX"])
    np.testing.assert_allclose(vectors[0], [0.24, -2.32, 0.60, -0.14, 1.30, 2.05, -4.06, 0.36, -0.82, -0.38])
    np.testing.assert_allclose(vectors[1, 5:], 0)
    names = CompositionVectorizer(kind="zscales").fit(["AG"]).get_feature_names_out()
    assert names[[0, -1]].tolist() == ["Z1_1", "Z5_2"]
    table = CompositionVectorizer(kind="zscales").fit(["A"]).transform(list(LETTERS))
    # Scales of a principal component analysis: lipophilic residues have a low first one.
    assert {LETTERS[i] for i in np.argsort(table[:, 0])[:5]} == set("WLFIM")


def test_compare_takes_them():
    models = {
        "augmented": AugmentedRidge(scores=SCORE),
        "blosum": AugmentedRidge(encoding="blosum62"),
        "position": PositionMeanRegressor(),
    }
    result = compare(models | floors(X, Y), X, Y, cv=3, scoring="spearman")
    mean = {row["estimator"]: row["mean"] for row in result.rows}
    assert mean["augmented"] > mean["blosum"]
    assert "position mean" in mean


@pytest.mark.data
def test_the_score_is_a_floor_on_beta_lactamase(data_home):
    """At 96 variants the augmented ridge beats both the score and the ridge without it."""
    bla = fetch_beta_lactamase(data_home=data_home)
    order = np.random.default_rng(0).permutation(len(bla.data))
    train, test = order[:96], order[96:2096]
    scores = dict(zip(bla.data, bla.esm1v))

    def spearman(model):
        return spearmanr(
            model.fit(bla.data[train], bla.target[train]).predict(bla.data[test]), bla.target[test]
        )[0]

    zero_shot = spearmanr(bla.esm1v[test], bla.target[test])[0]
    plain, augmented = spearman(AugmentedRidge()), spearman(AugmentedRidge(scores=scores))
    assert plain < 0.4 < zero_shot - 0.01
    assert augmented > zero_shot - 0.02
    assert isinstance(AugmentedRidge(scores=scores).fit(bla.data[train], bla.target[train]).model_, RidgeCV)


@pytest.mark.parametrize("sparse", [True, False])
def test_features_of_a_gaussian_process_are_dense_once(sparse):
    rng = np.random.default_rng(0)
    dense = (rng.random((300, 2000)) < 0.05).astype(float)
    features, before = csr_matrix(dense) if sparse else dense, dense.copy()
    tracemalloc.start()
    scaler = DistanceScaler().fit(features)
    found = scaler.transform(features)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * dense.nbytes
    np.testing.assert_array_equal(dense, before)
    np.testing.assert_allclose(scaler.scale_, np.sqrt(dense.var(axis=0).sum()))
    np.testing.assert_allclose(found, (dense - dense.mean(axis=0)) / scaler.scale_)
