"""What users put around an estimator: ensembles, samplers, conformal intervals, other ways to save."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import AdaBoostClassifier, AdaBoostRegressor, BaggingClassifier, BaggingRegressor
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.inspection import permutation_importance
from sklearn.linear_model import Ridge
from sklearn.model_selection import ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from plmlearn import (
    PLMEnsemble,
    PLMFrozenMLPRegressor,
    PLMLoRAClassifier,
    PLMLoRARegressor,
    PLMPairClassifier,
    PLMPairRegressor,
    PLMResidueClassifier,
)
from plmlearn.baselines import CompositionVectorizer, PairDegreeClassifier, PairSimilarityClassifier
from plmlearn.datasets import fetch_stability

FAST = {"epochs": 1, "batch_size": 8, "precision": "fp32", "random_state": 0, "verbose": 0}


@pytest.fixture(scope="module")
def X(draw_proteins):
    return np.array(draw_proteins(16, seed=4), dtype=object)


@pytest.fixture(scope="module")
def y(X):
    return np.arange(len(X)) % 2


@pytest.fixture
def classifier(esm_folder):
    return PLMLoRAClassifier(str(esm_folder), **FAST)


@pytest.fixture
def regressor(esm_folder):
    return PLMLoRARegressor(str(esm_folder), **FAST)


# -- (n, 1) columns, where a library insists on two axes --------------------------------------------


@pytest.mark.parametrize("ensemble", [BaggingClassifier, AdaBoostClassifier])
def test_ensembles_of_classifiers_take_a_column(ensemble, classifier, X, y):
    classifier.set_params(epochs=5, lr=1e-2)  # AdaBoost refuses what is worse than chance
    fitted = ensemble(classifier, n_estimators=2, random_state=0).fit(X[:, None], y)
    probabilities = fitted.predict_proba(X[:, None])
    assert probabilities.shape == (16, 2)
    if ensemble is BaggingClassifier:
        members = [member.predict_proba(X) for member in fitted.estimators_]
        np.testing.assert_allclose(probabilities, np.mean(members, axis=0))


@pytest.mark.parametrize("ensemble", [BaggingRegressor, AdaBoostRegressor])
def test_ensembles_of_regressors_take_a_column(ensemble, regressor, X, y):
    fitted = ensemble(regressor, n_estimators=2, random_state=0).fit(X[:, None], y * 1.5)
    assert fitted.predict(X[:, None]).shape == (16,)


def test_permutation_importance_of_a_column(classifier, X, y):
    result = permutation_importance(classifier.fit(X, y), X[:, None], y, n_repeats=3, random_state=0)
    rng = np.random.RandomState(np.random.RandomState(0).randint(np.iinfo(np.int32).max + 1))
    rows, permuted, drops = np.arange(16), X, []
    for _ in range(3):
        rng.shuffle(rows)
        permuted = permuted[rows]
        drops.append(classifier.score(X, y) - classifier.score(permuted, y))
    np.testing.assert_allclose(result.importances[0], drops)


def test_samplers_of_imbalanced_learn_take_a_column(classifier, X):
    samplers, pipeline = (
        pytest.importorskip("imblearn.over_sampling"),
        pytest.importorskip("imblearn.pipeline"),
    )
    y = np.arange(16) < 4
    model = pipeline.make_pipeline(samplers.RandomOverSampler(random_state=0), classifier)
    assert model.fit(X[:, None], y).predict(X[:, None]).shape == (16,)


# -- scikit-learn's contract ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator", [PLMPairClassifier(), PLMPairRegressor(), PairDegreeClassifier(), PairSimilarityClassifier()]
)
def test_check_estimator_skips_pairs(estimator):
    """Its data are numbers; the checks that need none run in ``tests/estimators/test_pair.py``."""
    with pytest.warns(SkipTestWarning, match=type(estimator).__name__):
        check_estimator(estimator)


def test_a_residue_estimator_is_a_transformer(esm_folder, X):
    labels = ["HE" * (len(sequence) // 2) + "H" * (len(sequence) % 2) for sequence in X]
    residues = PLMResidueClassifier(str(esm_folder), **FAST)
    for one, other in zip(residues.fit_transform(X, labels), residues.transform(X)):
        np.testing.assert_array_equal(one, other)
        assert one.ndim == 2


# -- MAPIE and skops --------------------------------------------------------------------------------


def test_fitted_is_there_after_a_fit_alone(regressor, X, y):
    for estimator in (regressor, PLMFrozenMLPRegressor(regressor.backbone, max_iter=2000, random_state=0)):
        assert not hasattr(estimator, "fitted_")
        with pytest.raises(NotFittedError):
            _ = estimator.fitted_
        assert estimator.fit(X, y * 1.5).fitted_
        assert not hasattr(clone(estimator), "fitted_")


def test_intervals_and_sets_of_mapie(classifier, regressor, X, y):
    regression = pytest.importorskip("mapie.regression")
    classification = pytest.importorskip("mapie.classification")
    numbers = np.array([len(sequence) for sequence in X], dtype=float)
    regressor.fit(X[:8], numbers[:8])
    conformal = regression.SplitConformalRegressor(regressor, confidence_level=0.75, prefit=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*appear fitted.*")
        predicted, intervals = conformal.conformalize(X[8:], numbers[8:]).predict_interval(X)
    residuals = np.sort(np.abs(numbers[8:] - regressor.predict(X[8:])))
    np.testing.assert_allclose(intervals[:, 1, 0] - predicted, residuals[6], rtol=1e-4)  # ceil(9 * 0.75) - 1

    sets = classification.SplitConformalClassifier(classifier.fit(X, y), confidence_level=0.8, prefit=True)
    assert sets.conformalize(X, y).predict_set(X)[1].shape == (16, 2, 1)
    crossed = regression.CrossConformalRegressor(regressor, confidence_level=0.8, cv=2)
    assert crossed.fit_conformalize(X, numbers).predict_interval(X)[1].shape == (16, 2, 1)


@pytest.mark.data
def test_intervals_of_an_ensemble_cover_what_they_promise(data_home):
    """90 %, on twenty splits of real proteins; by a model without a backbone, which is as good a test."""
    regression = pytest.importorskip("mapie.regression")
    X, y = fetch_stability(subset="valid", data_home=data_home, return_X_y=True)
    plain = make_pipeline(CompositionVectorizer(), StandardScaler(), Ridge())
    member = PLMEnsemble(plain, n_members=2, bootstrap=True, random_state=0)
    covered = []
    for train, rest in ShuffleSplit(20, train_size=500, random_state=0).split(X):
        held_out, new = rest[:1000], rest[1000:]
        model = member.fit(X[train], y[train])
        conformal = regression.SplitConformalRegressor(model, confidence_level=0.9)
        ends = conformal.conformalize(X[held_out], y[held_out]).predict_interval(X[new])[1][:, :, 0]
        covered.append(np.mean((ends[:, 0] <= y[new]) & (y[new] <= ends[:, 1])))
    assert 0.88 < np.mean(covered) < 0.92


def test_skops_asks_to_trust_our_types_alone(classifier, X, y):
    """These are what ``skops_trusted_types`` of MLflow's ``log_model`` is given; docs/other-libraries.md."""
    skops = pytest.importorskip("skops.io")
    stored = skops.dumps(classifier.fit(X, y))
    types = skops.get_untrusted_types(data=stored)
    assert types == [
        "plmlearn.estimators.protein.PLMLoRAClassifier",
        "plmlearn.estimators.targets.ClassTarget",
    ]
    np.testing.assert_array_equal(skops.loads(stored, trusted=types).predict(X), classifier.predict(X))


@pytest.mark.filterwarnings("ignore:.*Any type hint:UserWarning")  # X has many forms; MLflow checks none
def test_mlflow_logs_and_loads_what_is_trusted(classifier, X, y, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a folder, in place of a data base
    mlflow = pytest.importorskip("mlflow")
    skops = pytest.importorskip("skops.io")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    trusted = skops.get_untrusted_types(data=skops.dumps(classifier.fit(X, y)))
    with mlflow.start_run():
        logged = mlflow.sklearn.log_model(
            classifier, name="classifier", skops_trusted_types=trusted, pip_requirements=["plmlearn"]
        )
    expected = classifier.predict_proba(X)
    loaded = mlflow.sklearn.load_model(logged.model_uri)
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)
    served = mlflow.pyfunc.load_model(logged.model_uri).predict(X)
    np.testing.assert_array_equal(served, classifier.predict(X))
