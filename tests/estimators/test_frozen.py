"""Perceptrons on frozen embeddings against the same thing put together by hand."""

import pickle

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from plmlearn import PLMEmbedder, PLMFrozenMLP, PLMFrozenMLPRegressor, presets
from plmlearn.backbones import BackboneWeightsError
from plmlearn.training.features import FrozenPart

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {"hidden_layer_sizes": (5,), "max_iter": 5, "random_state": 0}


@pytest.fixture(scope="module")
def X(draw_proteins):
    return draw_proteins(30, seed=3)


@pytest.fixture(scope="module")
def y(X):
    return np.array(list("abc"))[np.arange(len(X)) % 3]


@pytest.fixture
def folder(esm_folder):
    return str(esm_folder)


def test_the_published_number_of_parameters(make_esm, tmp_path, X, y):
    """88,769 on embeddings of width 1280, where the scaler's means and factors are counted."""
    folder = make_esm(tmp_path, hidden_size=1280, num_hidden_layers=1)
    frozen = presets.make("sledzieski2024_symmetry_frozen_mlp", backbone=str(folder), max_iter=1)
    frozen.set_params(max_length=200).fit(X, y == "a")
    learned = [*frozen.mlp_.coefs_, *frozen.mlp_.intercepts_, frozen.scaler_.mean_, frozen.scaler_.scale_]
    assert sum(array.size for array in learned) == 88_769


def test_classifier_equals_a_pipeline(folder, X, y):
    """All rows are seen: the perceptron equals scikit-learn's on all embeddings."""
    frozen = PLMFrozenMLP(folder, precision="fp32", pooling="max", n_layers=1, **SMALL).fit(X, y)
    embedder = PLMEmbedder(folder, precision="fp32", pooling="max", n_layers=1)
    by_hand = make_pipeline(embedder, StandardScaler(), MLPClassifier(**SMALL)).fit(X, y)
    for some in (X, X[:7]):  # scaled as the training proteins were, whatever there is to predict
        np.testing.assert_array_equal(frozen.predict_proba(some), by_hand.predict_proba(some))
        np.testing.assert_array_equal(frozen.predict(some), by_hand.predict(some))
    np.testing.assert_array_equal(frozen.transform(X), by_hand[:1].transform(X))
    assert frozen.n_samples_fit_ == len(X)
    assert frozen.backbone_fingerprint_ == by_hand[0].backbone_fingerprint_


@pytest.mark.parametrize("n_targets", [None, 2])
def test_regressor_equals_a_pipeline(folder, X, n_targets):
    y = np.random.default_rng(0).normal(size=(len(X), n_targets) if n_targets else len(X))
    frozen = PLMFrozenMLPRegressor(folder, precision="fp32", **SMALL).fit(X, y)
    embedder = PLMEmbedder(folder, precision="fp32")
    by_hand = make_pipeline(embedder, StandardScaler(), MLPRegressor(alpha=3.0, **SMALL)).fit(X, y)
    for some in (X, X[:7]):
        np.testing.assert_array_equal(frozen.predict(some), by_hand.predict(some))


@pytest.mark.parametrize("cls, mlp", [(PLMFrozenMLP, MLPClassifier), (PLMFrozenMLPRegressor, MLPRegressor)])
def test_parameters_are_those_of_scikit_learn(cls, mlp):
    own, theirs = cls().get_params(), mlp().get_params()
    theirs = {name: value for name, value in theirs.items() if name not in ("loss", "hidden_layer_sizes")}
    if cls is PLMFrozenMLPRegressor:  # decided in decision 37
        theirs["alpha"] = 3.0
    assert {name: own.get(name, "absent") for name in theirs} == theirs


def test_several_labels_per_protein(folder, X):
    Y = np.random.default_rng(0).integers(0, 2, (len(X), 3))
    frozen = PLMFrozenMLP(folder, **SMALL).fit(X, Y)
    assert frozen.predict(X).shape == frozen.predict_proba(X).shape == Y.shape


def test_embeddings_are_computed_once(folder, X, y, empty_cache, monkeypatch):
    """A search over the perceptron's parameters runs the encoder once per protein."""
    encoded = []
    run = FrozenPart.run

    def listen(part, chosen):
        encoded.extend(chosen.tolist())
        return run(part, chosen)

    monkeypatch.setattr(FrozenPart, "run", listen)
    for alpha in (1e-4, 1e-2, 1.0):
        PLMFrozenMLP(folder, alpha=alpha, **SMALL).fit([*X, *X], [*y, *y]).predict(X)
    assert sorted(encoded) == list(range(len(X)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_layers_give_the_same(folder, X, y, graphs):
    plain = PLMFrozenMLP(folder, precision="fp32", **SMALL).fit(X, y)
    assert not graphs
    compiled = PLMFrozenMLP(folder, precision="fp32", compile=True, **SMALL).fit(X, y)
    assert graphs
    np.testing.assert_allclose(compiled.predict_proba(X), plain.predict_proba(X), atol=1e-4)
    graphs.clear()
    np.testing.assert_allclose(plain.set_params(compile=True).transform(X), compiled.transform(X), atol=1e-5)


def test_weights_reach_scaler_and_perceptron(folder, X, y):
    """A protein of weight 2 is a protein given twice, in mean and deviation too."""
    settings = SMALL | {"alpha": 0.0, "solver": "lbfgs"}
    twice = np.r_[np.arange(len(X)), np.arange(0, len(X), 2)]
    weighted = PLMFrozenMLP(folder, **settings).fit(X, y, sample_weight=np.bincount(twice))
    repeated = PLMFrozenMLP(folder, **settings).fit([X[i] for i in twice], y[twice])
    np.testing.assert_allclose(weighted.scaler_.mean_, repeated.scaler_.mean_, rtol=1e-6)
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), atol=1e-3)


def test_setting_parameters_does_not_change_a_fit(folder, X, y):
    frozen = PLMFrozenMLP(folder, **SMALL).fit(X, y)
    expected = frozen.predict_proba(X)
    frozen.set_params(pooling="max", n_layers=1, backbone="mini", hidden_layer_sizes=(9,))
    np.testing.assert_array_equal(frozen.predict_proba(X), expected)


def test_how_it_runs_may_change(folder, X, y):
    frozen = PLMFrozenMLP(folder, **SMALL).fit(X, y)
    with pytest.warns(UserWarning, match="cut to their first 12"):
        frozen.set_params(max_length=12).predict(X)


def test_long_proteins_are_said_once(folder, X, y):
    """Truncation warns once with counts, at fit and at predict."""
    frozen = PLMFrozenMLP(folder, max_length=20, **SMALL)
    with pytest.warns(UserWarning, match="of 30 sequences .* first 20") as said:
        frozen.fit(X, y)
    assert sum("first 20" in str(w.message) for w in said) == 1
    with pytest.warns(UserWarning, match="first 20") as said:
        assert len(frozen.predict(X)) == len(X)
    assert sum("first 20" in str(w.message) for w in said) == 1


def test_other_weights_under_the_same_name_are_refused(make_esm, tmp_path, X, y):
    folder = tmp_path / "backbone"
    make_esm(folder, seed=0)
    frozen = PLMFrozenMLP(str(folder), **SMALL).fit(X, y)
    make_esm(folder, seed=1)
    with pytest.raises(BackboneWeightsError, match="provide the original"):
        frozen.predict(X)


def test_warm_start_goes_on(folder, X, y):
    frozen = PLMFrozenMLP(folder, warm_start=True, **SMALL).fit(X, y)
    first = list(frozen.mlp_.loss_curve_)
    frozen.fit(X, y)
    assert frozen.mlp_.loss_curve_[: len(first)] == first
    assert len(frozen.mlp_.loss_curve_) == 2 * len(first)
    frozen.set_params(max_iter=3, alpha=7.0).fit(X, y)
    assert (frozen.mlp_.max_iter, frozen.mlp_.alpha) == (3, 7.0)
    assert len(frozen.mlp_.loss_curve_) == 2 * len(first) + 3
    with pytest.raises(ValueError, match=r"hidden_layer_sizes=\(6,\); a warm start goes on with \(5,\)"):
        frozen.set_params(hidden_layer_sizes=(6,)).fit(X, y)
    assert frozen.set_params(warm_start=False).fit(X, y).mlp_.coefs_[0].shape[1] == 6
    regressor = PLMFrozenMLPRegressor(folder, warm_start=True, **SMALL).fit(X, np.arange(len(X)))
    with pytest.raises(ValueError, match="y has 2 columns, expected 1: a warm start goes on with those"):
        regressor.fit(X, np.ones((len(X), 2)))


@pytest.mark.parametrize(
    "y, message",
    [
        (["a"] * 30, "one class only, 'a'"),
        (np.linspace(0, 1, 30), "For numbers use a regressor"),
        (["a"] * 29, "X has 30 proteins and y has 29 rows"),
        ([np.nan] * 30, "y is missing"),
    ],
)
def test_bad_targets_leave_an_earlier_fit_alone(folder, X, y, message):
    good = np.array(list("ab"))[np.arange(30) % 2]
    frozen = PLMFrozenMLP(folder, **SMALL).fit(X, good)
    expected = frozen.predict_proba(X)
    with pytest.raises(ValueError, match=message):
        frozen.fit(X, y)
    np.testing.assert_array_equal(frozen.predict_proba(X), expected)
    with pytest.raises(ValueError, match=message):
        (unfitted := PLMFrozenMLP(folder, **SMALL)).fit(X, y)
    with pytest.raises(NotFittedError):
        unfitted.predict(X)


@pytest.mark.parametrize(
    "weights, message",
    [
        (np.zeros(30), "0 for every protein|non-zero"),
        (np.ones(3), "sample_weight"),
        (-np.ones(30), "[Nn]egative"),
    ],
)
def test_bad_weights(folder, X, y, weights, message):
    with pytest.raises(ValueError, match=message):
        PLMFrozenMLP(folder, **SMALL).fit(X, y, sample_weight=weights)


def test_a_pickle_holds_no_backbone(folder, X, y):
    frozen = PLMFrozenMLP(folder, **SMALL).fit(X, y)
    pickled = pickle.dumps(frozen)
    assert len(pickled) < 20_000
    np.testing.assert_array_equal(pickle.loads(pickled).predict_proba(X), frozen.predict_proba(X))
