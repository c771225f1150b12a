"""One contract for every public estimator, and the tools of scikit-learn and Optuna at work on them.

scikit-learn's ``check_estimator`` runs next to nothing on estimators of text, so its checks that need no
data are called here one by one, and those that do have twins on protein sequences.
"""

import copy
import pickle
from dataclasses import dataclass

import joblib
import numpy as np
import optuna
import pandas as pd
import polars
import pytest
import sklearn
from scipy.stats import randint
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

import plmlearn.estimators.parameters
from plmlearn import (
    PLMClassifier,
    PLMEmbedder,
    PLMEnsemble,
    PLMFitnessRegressor,
    PLMFrozenMLP,
    PLMFrozenMLPRegressor,
    PLMLoRAClassifier,
    PLMLoRARegressor,
    PLMMaskedLM,
    PLMPairClassifier,
    PLMPairRegressor,
    PLMRegressor,
    PLMResidueClassifier,
    PLMResidueRegressor,
    PLMSignalPeptideClassifier,
)
from plmlearn.adapters import Frozen, FullFineTuning, LoRA

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

TUNING = {"epochs": 1, "batch_size": 8, "precision": "fp32", "random_state": 0, "verbose": 0}
PERCEPTRON = {"hidden_layer_sizes": (4,), "max_iter": 2, "precision": "fp32", "random_state": 0}
ESTIMATORS = {
    "PLMClassifier": PLMClassifier("mini", adapter=LoRA(rank=2, last_n_layers=1), **TUNING),
    "PLMRegressor": PLMRegressor("mini", adapter=LoRA(rank=2, last_n_layers=1), **TUNING),
    "PLMLoRAClassifier": PLMLoRAClassifier("mini", rank=2, last_n_layers=1, **TUNING),
    "PLMLoRARegressor": PLMLoRARegressor("mini", rank=2, last_n_layers=1, **TUNING),
    "PLMFrozenMLP": PLMFrozenMLP("mini", **PERCEPTRON),
    "PLMFrozenMLPRegressor": PLMFrozenMLPRegressor("mini", **PERCEPTRON),
    "PLMEmbedder": PLMEmbedder("mini", precision="fp32"),
    "PLMMaskedLM": PLMMaskedLM(
        "mini", max_steps=2, batch_size=8, precision="fp32", random_state=0, verbose=0
    ),
}
TRANSFORMERS = ["PLMEmbedder", "PLMMaskedLM"]
# X or y of another form: files of their own in estimators/ hold these to the rest of the contract.
ELSEWHERE = {
    cls.__name__: cls("mini")
    for cls in (
        PLMFitnessRegressor,
        PLMPairClassifier,
        PLMPairRegressor,
        PLMResidueClassifier,
        PLMResidueRegressor,
        PLMSignalPeptideClassifier,
    )
} | {"PLMEnsemble": PLMEnsemble(PLMFrozenMLP("mini"))}
PREDICTORS = [name for name in ESTIMATORS if name not in TRANSFORMERS]
CLASSIFIERS = [name for name, estimator in ESTIMATORS.items() if is_classifier(estimator)]
REGRESSORS = [name for name, estimator in ESTIMATORS.items() if is_regressor(estimator)]
DATA_FREE_CHECKS = [
    "check_estimator_cloneable",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_mixin_order",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
]


@pytest.fixture(scope="module")
def X(draw_proteins):
    return draw_proteins(24, seed=1)


@pytest.fixture(scope="module")
def y(X):
    """Two classes, in turns, so that every fold has both."""
    return np.array(["membrane", "soluble"])[np.arange(len(X)) % 2]


@pytest.fixture(scope="module")
def values(X):
    return np.array([0.1 * len(sequence) + sequence.count("A") for sequence in X])


@pytest.fixture
def make(X, y, values):
    """A function from the name of an estimator to a fresh one and the targets it takes."""

    def make_one(name: str):
        return clone(ESTIMATORS[name]), values if name in REGRESSORS else y

    return make_one


@pytest.fixture(scope="module")
def fitted(X, y, values):
    """Every estimator, fitted once; tests must not change them."""
    return {
        name: clone(estimator).fit(X, values if name in REGRESSORS else y)
        for name, estimator in ESTIMATORS.items()
    }


def results(estimator, X) -> dict[str, np.ndarray]:
    """What every method of a fitted estimator says of ``X``."""
    methods = ("predict", "predict_proba", "transform")
    return {method: getattr(estimator, method)(X) for method in methods if hasattr(estimator, method)}


def assert_equal(one: dict, other: dict, tolerance: float = 0.0) -> None:
    assert one.keys() == other.keys()
    for method in one:
        if one[method].dtype.kind == "f":
            np.testing.assert_allclose(one[method], other[method], rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(one[method], other[method])


# -- scikit-learn's own checks, and what its tags say -------------------------------------------


@pytest.mark.parametrize("check", DATA_FREE_CHECKS)
@pytest.mark.parametrize("name", ESTIMATORS | ELSEWHERE)
def test_check_of_scikit_learn(name, check):
    getattr(estimator_checks, check)(name, clone((ESTIMATORS | ELSEWHERE)[name]))


def test_every_public_estimator_is_under_contract():
    classes = [getattr(plmlearn, name) for name in plmlearn.__all__]
    public = {c.__name__ for c in classes if isinstance(c, type) and issubclass(c, BaseEstimator)}
    assert public == {*ESTIMATORS, *ELSEWHERE}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_tags_tell_what_an_estimator_takes(name):
    tags = sklearn.utils.get_tags(ESTIMATORS[name])
    assert tags.input_tags.string
    assert tags.input_tags.one_d_array
    assert not tags.input_tags.two_d_array
    expected = "classifier" if name in CLASSIFIERS else "regressor" if name in REGRESSORS else "transformer"
    assert tags.estimator_type == (None if expected == "transformer" else expected)
    assert (tags.transformer_tags is not None) == hasattr(ESTIMATORS[name], "transform")
    assert tags.target_tags.required == (expected != "transformer")


# -- construction -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ESTIMATORS)
def test_construction_loads_nothing_and_checks_nothing(name, monkeypatch):
    """Constructors have no side effects: no model, file or network is touched before fit."""

    def refuse(*args, **kwargs):
        raise AssertionError("a constructor loaded a backbone")

    monkeypatch.setattr(plmlearn.estimators.parameters, "load_backbone", refuse)
    estimator = type(ESTIMATORS[name])(backbone="no such backbone", precision="no such precision")
    assert clone(estimator).get_params()["backbone"] == "no such backbone"
    assert repr(estimator.set_params(device="nowhere"))
    assert vars(estimator).keys() == estimator.get_params(deep=False).keys()


@pytest.mark.parametrize("name", ESTIMATORS | ELSEWHERE)
def test_every_parameter_is_checked(name):
    """Each has a declared range."""
    estimator = (ESTIMATORS | ELSEWHERE)[name]
    assert estimator._parameter_constraints.keys() == estimator.get_params(deep=False).keys()


@pytest.mark.parametrize("name", ["PLMClassifier", "PLMRegressor"])
def test_parameters_of_the_adapter_are_parameters_of_the_estimator(name):
    estimator = clone(ESTIMATORS[name])
    assert estimator.get_params()["adapter__rank"] == 2
    copied = clone(estimator).set_params(adapter__rank=5)
    assert (copied.adapter.rank, estimator.adapter.rank) == (5, 2)
    assert "adapter__rank" not in estimator.set_params(adapter=Frozen()).get_params()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_only_the_backbone_is_positional(name):
    with pytest.raises(TypeError):
        type(ESTIMATORS[name])("mini", "main")


# -- fit ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ESTIMATORS)
def test_fit_returns_itself_and_changes_no_parameter(name, make, X):
    """Fit does not overwrite constructor parameters."""
    estimator, y = make(name)
    before = {key: joblib.hash(value) for key, value in estimator.get_params().items()}
    assert estimator.fit(X, y) is estimator
    assert {key: joblib.hash(value) for key, value in estimator.get_params().items()} == before


@pytest.mark.parametrize("name", ESTIMATORS)
def test_fit_leaves_the_data_of_the_caller_alone(name, make, X):
    """The caller's sequences and targets are not mutated, whatever cleaning they need."""
    estimator, y = make(name)
    messy = np.array([f" {sequence.lower()}*" for sequence in X], dtype=object)
    kept = messy.copy(), y.copy()
    results(estimator.fit(messy, y), messy)
    np.testing.assert_array_equal(messy, kept[0])
    np.testing.assert_array_equal(y, kept[1])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_fitting_again_gives_the_same(name, make, X):
    estimator, y = make(name)
    first = results(estimator.fit(X, y), X)
    assert_equal(results(estimator.fit(X, y), X), first)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_learned_attributes_end_in_an_underscore(name, fitted):
    estimator = fitted[name]
    learned = vars(estimator).keys() - estimator.get_params(deep=False).keys()
    assert learned
    assert all(key.startswith("_") or key.endswith("_") for key in learned)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_predicting_changes_nothing(name, fitted, X):
    estimator = fitted[name]
    before = dict(vars(estimator))
    results(estimator, X)
    assert vars(estimator).keys() == before.keys()
    assert all(vars(estimator)[key] is value for key, value in before.items())


@pytest.mark.parametrize("name", PREDICTORS)
def test_weight_zero_is_left_out(name, make, X):
    estimator, y = make(name)
    kept = np.arange(len(X)) % 3 > 0
    some = [sequence for sequence, keep in zip(X, kept) if keep]
    weighted = clone(estimator).fit(X, y, sample_weight=kept.astype(float))
    assert_equal(results(weighted, X), results(estimator.fit(some, y[kept]), X))


@pytest.mark.parametrize("name", PREDICTORS)
def test_equal_weights_are_no_weights(name, make, X):
    estimator, y = make(name)
    weighted = clone(estimator).fit(X, y, sample_weight=np.full(len(X), 1.0))
    assert_equal(results(weighted, X), results(estimator.fit(X, y), X), 1e-6)


@pytest.mark.parametrize("name", [n for n in PREDICTORS if "Frozen" not in n])
def test_only_the_ratio_of_weights_counts(name, make, X):
    estimator, y = make(name)
    weights = np.random.default_rng(0).uniform(0.5, 2, len(X))
    one = clone(estimator).fit(X, y, sample_weight=weights)
    ten = clone(estimator).fit(X, y, sample_weight=10 * weights)
    assert_equal(results(ten, X), results(one, X), 1e-5)


@pytest.mark.parametrize("name", [n for n in PREDICTORS if "Frozen" not in n])
def test_weight_two_is_a_protein_given_twice(name, make, X):
    """One step over all rows: the loss is the weighted mean over rows."""
    estimator, y = make(name)
    estimator.set_params(batch_size=100, standardize=False, head_dropout=0.0)
    if name in REGRESSORS:
        y = np.where(np.arange(len(X)) % 2, 1.0, -1.0)  # with the same mean and deviation in both fits
    twice = np.r_[np.arange(len(X)), np.arange(0, len(X), 4), np.arange(1, len(X), 4)]
    weighted = clone(estimator).fit(X, y, sample_weight=np.bincount(twice))
    repeated = estimator.fit([X[i] for i in twice], y[twice])
    assert_equal(results(weighted, X), results(repeated, X), 1e-5)


@dataclass
class Record:
    """A protein as a reader of FASTA files gives it."""

    seq: str
    id: str = "P69905"


# -- predict ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ESTIMATORS)
def test_neighbours_do_not_matter(name, fitted, X):
    """Predictions do not depend on the batch, its padding or its order."""
    estimator = fitted[name]
    whole = results(estimator, X)
    one_by_one = [results(estimator, [sequence]) for sequence in X]
    assert_equal({m: np.concatenate([r[m] for r in one_by_one]) for m in whole}, whole, 1e-5)
    order = np.random.default_rng(0).permutation(len(X))
    shuffled = results(estimator, [X[i] for i in order])
    assert_equal(shuffled, {method: value[order] for method, value in whole.items()}, 1e-5)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_row_for_every_row(name, fitted, X):
    """No row is dropped: not duplicates, not one-residue proteins, not long ones."""
    rows = [X[0], "M", X[0], "MKV" * 340, X[1]]
    found = results(fitted[name], rows)
    assert all(len(value) == len(rows) for value in found.values())
    first, third = ({method: value[[i]] for method, value in found.items()} for i in (0, 2))
    assert_equal(first, third, 1e-5)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize(
    "container",
    [
        list,
        tuple,
        np.array,
        lambda X: np.array(X, dtype=object),
        lambda X: np.array(X, dtype=np.dtypes.StringDType()),
        pd.Series,
        pd.DataFrame,
        polars.Series,
        lambda X: [Record(sequence) for sequence in X],
    ],
    ids=["list", "tuple", "str", "object", "StringDType", "Series", "DataFrame", "polars", "records"],
)
def test_containers_give_the_same(name, container, fitted, X):
    assert_equal(results(fitted[name], container(X)), results(fitted[name], X))


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize(
    "copied",
    [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy],
    ids=["pickle", "deepcopy"],
)
def test_copies_predict_the_same(name, copied, fitted, X):
    assert_equal(results(copied(fitted[name]), X), results(fitted[name], X))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_unfitted_pickles_and_clones_of_fitted_are_unfitted(name, fitted, X):
    unfitted = ESTIMATORS[name]
    for estimator in (unfitted, clone(fitted[name]), pickle.loads(pickle.dumps(unfitted))):
        for method in ("predict", "predict_proba", "transform"):
            if hasattr(type(estimator), method):
                with pytest.raises(NotFittedError):
                    getattr(estimator, method)(X)
        assert not hasattr(estimator, "classes_")


@pytest.mark.parametrize("name", ESTIMATORS)
def test_no_data_is_refused(name, make, fitted, X):
    estimator, y = make(name)
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        estimator.fit([], y[:0])
    for method in ("predict", "transform"):
        if hasattr(estimator, method):
            with pytest.raises(ValueError, match=r"0 sample\(s\)"):
                getattr(fitted[name], method)([])


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_one_class_is_refused(name, make, X):
    estimator, _ = make(name)
    with pytest.raises(ValueError, match="one class only, 'soluble'"):
        estimator.fit(X, ["soluble"] * len(X))
    with pytest.raises(NotFittedError):
        estimator.predict(X)


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize(
    "labels",
    [["b", "a"], [7, -2], [True, False], ["c", "b", "a"], [10, 30, 20], [1.0, 0.0]],
    ids=lambda labels: f"{type(labels[0]).__name__}{len(labels)}",
)
def test_classes_of_every_kind(name, labels, make, X):
    """Labels come back as they were given, in the columns that classes_ names."""
    estimator, _ = make(name)
    y = np.array(labels)[np.arange(len(X)) % len(labels)]
    estimator.fit(X, y)
    np.testing.assert_array_equal(estimator.classes_, sorted(labels))
    assert estimator.classes_.dtype == y.dtype
    probabilities = estimator.predict_proba(X)
    assert probabilities.shape == (len(X), len(labels))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    predicted = estimator.predict(X)
    assert predicted.dtype == y.dtype
    np.testing.assert_array_equal(predicted, estimator.classes_[probabilities.argmax(axis=1)])
    assert estimator.score(X, y) == pytest.approx(np.mean(predicted == y))


@pytest.mark.parametrize("name", PREDICTORS)
def test_feature_names_and_counts_of_text_are_not_claimed(name, fitted):
    assert not hasattr(fitted[name], "n_features_in_")


@pytest.mark.parametrize("name", ESTIMATORS)
def test_features_have_names(name, fitted, X):
    names = fitted[name].get_feature_names_out()
    assert names[0] == f"{name.lower()}0"
    assert len(names) == fitted[name].transform(X).shape[1] == 192
    with pytest.raises(NotFittedError):
        clone(fitted[name]).get_feature_names_out()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_data_frames_on_request(name, make, fitted, X, tmp_path):
    """Rows keep the caller's index, columns have the features' names; predictions are what they were."""
    plain, (estimator, y) = fitted[name].transform(X), make(name)
    series = pd.Series(X, index=[f"P{i:05}" for i in range(len(X))])
    frame = estimator.set_output(transform="pandas").fit_transform(series, y)
    assert list(frame.columns) == list(fitted[name].get_feature_names_out())
    assert list(frame.index) == list(series.index)
    np.testing.assert_array_equal(frame.to_numpy(), plain)
    loaded = plmlearn.load(plmlearn.save(estimator, tmp_path))
    for again in (pickle.loads(pickle.dumps(estimator)), loaded):
        pd.testing.assert_frame_equal(again.transform(series), frame)
    if name in PREDICTORS:
        np.testing.assert_array_equal(estimator.predict(X), fitted[name].predict(X))
    others = estimator.set_output(transform="polars").transform(X)
    assert isinstance(others, polars.DataFrame)
    np.testing.assert_array_equal(others.to_numpy(), plain)


# -- scikit-learn's tools -----------------------------------------------------------------------


TOOLS_SEE = {
    f"{container.__name__}{'-routing' * routing}": (container, routing)
    for container in (list, np.array, pd.Series)
    for routing in (False, True)
}


@pytest.fixture(params=TOOLS_SEE.values(), ids=TOOLS_SEE.keys())
def X_in(request, X):
    """The proteins in a list, an array and a Series whose index is no 0, 1, 2, …; routing off and on."""
    container, routing = request.param
    made = container(X)
    with sklearn.config_context(enable_metadata_routing=routing):
        yield made.set_axis(range(100, 100 + len(X))) if container is pd.Series else made


@pytest.fixture
def classifier():
    return clone(ESTIMATORS["PLMLoRAClassifier"])


@pytest.mark.parametrize("name", PREDICTORS)
def test_cross_validation(name, make, X_in):
    estimator, y = make(name)
    scores = cross_val_score(estimator, X_in, y, cv=2, error_score="raise")
    predicted = cross_val_predict(estimator, X_in, y, cv=2)
    assert np.isfinite(scores).all()
    assert predicted.shape == y.shape


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_cross_validated_probabilities(name, make, X_in):
    estimator, y = make(name)
    probabilities = cross_val_predict(estimator, X_in, y, cv=2, method="predict_proba")
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_grid_search(classifier, X_in, y):
    search = GridSearchCV(classifier, {"rank": [1, 2], "last_n_layers": [1, 2]}, cv=2, error_score="raise")
    search.fit(X_in, y)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_estimator_.rank == search.best_params_["rank"]
    assert search.predict(X_in).shape == y.shape


def test_grid_search_over_parameters_and_kinds_of_adapters(X, y):
    classifier = PLMClassifier("mini", adapter=LoRA(last_n_layers=1), **TUNING)
    grid = [{"adapter__rank": [1, 2]}, {"adapter": [Frozen()]}]
    search = GridSearchCV(classifier, grid, cv=2, error_score="raise").fit(X, y)
    assert len(search.cv_results_["params"]) == 3


def test_grid_search_in_two_processes_finds_the_same(classifier, X_in, y):
    """Parallel fits neither share files nor state."""
    grid = {"rank": [1, 2]}
    alone = GridSearchCV(classifier, grid, cv=2, scoring="neg_log_loss", error_score="raise").fit(X_in, y)
    both = clone(alone).set_params(n_jobs=2).fit(X_in, y)
    key = "mean_test_score"
    np.testing.assert_allclose(both.cv_results_[key], alone.cv_results_[key], atol=1e-5)


def test_randomized_search(classifier, X_in, y):
    spaces = {"rank": randint(1, 4), "lr": [1e-3, 1e-2]}
    search = RandomizedSearchCV(classifier, spaces, n_iter=2, cv=2, random_state=0, error_score="raise")
    assert search.fit(X_in, y).best_params_["rank"] in (1, 2, 3)


def test_embedder_in_a_pipeline(X_in, y):
    pipeline = make_pipeline(PLMEmbedder("mini", precision="fp32"), LogisticRegression(max_iter=1000))
    search = GridSearchCV(pipeline, {"plmembedder__pooling": ["mean", "max"]}, cv=2, error_score="raise")
    assert search.fit(X_in, y).predict(X_in).shape == y.shape
    assert len(pipeline.fit(X_in, y)[:-1].get_feature_names_out()) == 192


def test_estimator_as_the_last_step(classifier, X_in, y):
    pipeline = make_pipeline("passthrough", classifier)
    assert cross_val_score(pipeline, X_in, y, cv=2, error_score="raise").shape == (2,)


def test_stacking(classifier, X_in, y):
    stack = StackingClassifier(
        [("tuned", classifier), ("frozen", clone(ESTIMATORS["PLMFrozenMLP"]))], LogisticRegression(), cv=2
    )
    assert stack.fit(X_in, y).predict_proba(X_in).shape == (len(y), 2)


def test_calibration(classifier, X_in, y):
    calibrated = CalibratedClassifierCV(classifier, cv=2).fit(X_in, y)
    np.testing.assert_allclose(calibrated.predict_proba(X_in).sum(axis=1), 1)


def test_tuned_threshold(classifier, X_in, y):
    tuned = TunedThresholdClassifierCV(classifier, cv=2).fit(X_in, y)
    assert set(tuned.predict(X_in)) <= set(y)


def test_learning_curve(classifier, X_in, y):
    sizes, _, scores = learning_curve(
        classifier, X_in, y, cv=2, train_sizes=[6, 12], shuffle=True, random_state=0, error_score="raise"
    )
    assert list(sizes) == [6, 12]
    assert np.isfinite(scores).all()


def test_train_test_split(classifier, X_in, y):
    X_train, X_test, y_train, y_test = train_test_split(X_in, y, stratify=y, random_state=0)
    assert 0 <= classifier.fit(X_train, y_train).score(X_test, y_test) <= 1


def test_optuna_objective(classifier, X_in, y):
    def objective(trial: optuna.Trial) -> float:
        candidate = clone(classifier).set_params(rank=trial.suggest_int("rank", 1, 3))
        return cross_val_score(candidate, X_in, y, cv=2, scoring="neg_log_loss", error_score="raise").mean()

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=2)
    assert np.isfinite(study.best_value)


@pytest.mark.parametrize("adapter", [LoRA(rank=2), FullFineTuning(last_n_layers=2)], ids=repr)
@pytest.mark.parametrize("name", ["PLMClassifier", "PLMRegressor"])
def test_no_state_passes_between_folds(name, adapter, make, X):
    """Each fold starts from the same pretrained weights: a fold fitted alone is that fold."""
    estimator, y = make(name)
    estimator.set_params(adapter=adapter)
    folds = cross_validate(estimator, X, y, cv=3, return_estimator=True, return_indices=True)
    for fitted, train in zip(folds["estimator"], folds["indices"]["train"], strict=True):
        alone = clone(estimator).fit([X[i] for i in train], y[train])
        assert_equal(results(alone, X), results(fitted, X))


# -- metadata routing ---------------------------------------------------------------------------


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.fixture
def heard(monkeypatch):
    """What fit was given beside X and y, call by call."""
    calls = []
    fit = PLMLoRAClassifier.fit

    def listen(self, X, y, **metadata):
        calls.append(metadata)
        return fit(self, X, y, **metadata)

    monkeypatch.setattr(PLMLoRAClassifier, "fit", listen)
    return calls


@pytest.mark.usefixtures("routing")
def test_weights_are_routed_to_fit_and_score(classifier, heard, X, y):
    classifier.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    weights = np.arange(1, len(X) + 1)
    GridSearchCV(classifier, {"rank": [1]}, cv=2, error_score="raise").fit(X, y, sample_weight=weights)
    assert [len(call["sample_weight"]) for call in heard] == [12, 12, 24]
    assert set(np.concatenate([call["sample_weight"] for call in heard[:2]])) == set(weights)


@pytest.mark.usefixtures("routing")
def test_groups_are_routed_to_the_splitter_and_to_fit(classifier, heard, X, y):
    classifier.set_params(early_stopping=True, validation_fraction=0.3)
    classifier.set_fit_request(groups=True)
    groups = np.repeat(np.arange(8), 3)
    cross_validate(classifier, X, y, cv=GroupKFold(2), params={"groups": groups}, error_score="raise")
    first, second = (set(call["groups"]) for call in heard)
    assert not first & second
    assert first | second == set(groups)


@pytest.mark.usefixtures("routing")
def test_a_validation_set_is_routed_through_a_pipeline(classifier, heard, draw_proteins, X, y):
    classifier.set_fit_request(X_val=True, y_val=True)
    X_val = draw_proteins(10, seed=9)
    make_pipeline("passthrough", classifier).fit(X, y, X_val=X_val, y_val=y[:10])
    assert heard[0]["X_val"] == X_val


@pytest.mark.usefixtures("routing")
def test_metadata_that_nobody_asked_for_is_refused(classifier, X, y):
    params = {"sample_weight": np.ones(len(X))}
    with pytest.raises((TypeError, ValueError), match="sample_weight"):
        cross_val_score(classifier, X, y, cv=2, params=params, error_score="raise")


def test_weights_without_routing(classifier, heard, X, y):
    GridSearchCV(classifier, {"rank": [1]}, cv=2, error_score="raise").fit(
        X, y, sample_weight=np.ones(len(X))
    )
    assert [len(call["sample_weight"]) for call in heard] == [12, 12, 24]
