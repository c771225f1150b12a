"""Parameters: their ranges before and after fit, NumPy's numbers, names of adapters, those without effect."""

import inspect
import warnings

import numpy as np
import peft
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils._param_validation import InvalidParameterError

import plmlearn.adapters
from plmlearn import (
    PLMClassifier,
    PLMEmbedder,
    PLMFrozenMLP,
    PLMLoRAClassifier,
    PLMLoRARegressor,
    PLMMaskedLM,
    PLMPairRegressor,
    PLMRegressor,
    PLMResidueClassifier,
    PLMResidueRegressor,
    load,
    save,
)
from plmlearn.adapters import Adapter, Frozen, FullFineTuning, LoRA, PeftAdapter
from plmlearn.adapters.names import AdapterName, as_adapter
from plmlearn.training.engine import TrainingDivergedError

N = 12
FAST = {"epochs": 1, "batch_size": 8, "precision": "fp32", "random_state": 0, "verbose": 0}
LABELS = np.array(["no", "yes"])[np.arange(N) % 2]
VALUES = np.linspace(0, 1, N)


@pytest.fixture(scope="module")
def X(draw_proteins):
    return draw_proteins(N, seed=4)


@pytest.fixture(scope="module")
def classifier(esm_folder):
    return PLMLoRAClassifier(str(esm_folder), rank=2, **FAST)


@pytest.fixture(scope="module")
def language_model(esm_folder):
    return PLMMaskedLM(
        str(esm_folder), max_steps=2, batch_size=4, validation_fraction=None, random_state=0, verbose=0
    )


# -- ranges -------------------------------------------------------------------------------------

ADAPTERS = [
    method
    for method in vars(plmlearn.adapters).values()
    if inspect.isclass(method) and issubclass(method, Adapter) and method is not Adapter
]


@pytest.mark.parametrize("method", ADAPTERS, ids=lambda method: method.__name__)
def test_every_setting_of_an_adapter_has_a_range(method):
    assert method._parameter_constraints.keys() == set(method._get_param_names())


OUT_OF_RANGE = {
    "max_length": [0, -1, 2.5, "long", None],
    "max_tokens": [0, np.inf, "all"],
    "long_sequences": ["fold"],
    "invalid": ["drop", None],
    "precision": ["fp8", 16],
    "compile": ["yes"],
    "device": ["meta", 3],
}


@pytest.fixture(scope="module")
def fitted(classifier, language_model, esm_folder, X):
    """Estimators of every way in which a parameter is used again, and the method that uses it."""
    frozen = PLMFrozenMLP(str(esm_folder), solver="lbfgs", max_iter=5, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "tuned": clone(classifier).fit(X, LABELS).predict,
            "embedder": PLMEmbedder(str(esm_folder)).fit(X).transform,
            "perceptron": frozen.fit(X, LABELS).predict,
            "language model": clone(language_model).fit(X).score_samples,
        }


@pytest.mark.parametrize("kind", ["tuned", "embedder", "perceptron", "language model"])
def test_parameters_changed_after_fit_are_checked_when_used(kind, fitted, X):
    method = fitted[kind]
    estimator = method.__self__
    expected, before = method(X), estimator.get_params(deep=False)
    for name, values in OUT_OF_RANGE.items():
        for value in values:
            with pytest.raises(ValueError, match=name):
                estimator.set_params(**{name: value}) and method(X)
        estimator.set_params(**{name: before[name]})
    np.testing.assert_array_equal(method(X), expected)


def test_an_embedder_checks_what_it_returns(esm_folder, X):
    embedder = PLMEmbedder(str(esm_folder)).fit(X)
    for changes in ({"pooling": "nope"}, {"n_layers": 0.5}):
        with pytest.raises(InvalidParameterError, match=next(iter(changes))):
            clone(embedder).fit(X).set_params(**changes).transform(X)


def test_a_perceptron_is_refused_before_anything_is_embedded(X):
    bad = PLMFrozenMLP("no such backbone", alpha=-1)
    with pytest.raises(InvalidParameterError, match="'alpha' parameter of PLMFrozenMLP"):
        bad.fit(X, LABELS)


def test_what_a_fit_froze_may_have_any_value_later(classifier, X):
    model = clone(classifier).fit(X, LABELS)
    expected = model.predict_proba(X)
    np.testing.assert_array_equal(model.set_params(rank=0, pooling="nope").predict_proba(X), expected)


@pytest.mark.parametrize("curriculum", [[1, 2], ["ab"], [(0.5,)], [(0.5, np.inf)], [(0.5, 4)]])
def test_a_curriculum_is_pairs_of_numbers(curriculum, language_model, X):
    with pytest.raises(ValueError, match="curriculum is"):
        clone(language_model).set_params(curriculum=curriculum).fit(X)


# -- NumPy's numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "numbers, same",
    [
        ({"batch_size": np.uint8(2), "epochs": np.int8(2)}, {"batch_size": 2, "epochs": 2}),
        (
            {"max_length": np.int64(9), "long_sequences": "window"},
            {"max_length": 9, "long_sequences": "window"},
        ),
        ({"max_tokens": np.uint8(200), "rank": np.uint8(3)}, {"max_tokens": 200, "rank": 3}),
        ({"weight_decay": np.float32(0.5), "lr": np.float16(0.25)}, {"weight_decay": 0.5, "lr": 0.25}),
        ({"alpha": np.float32(8), "standardize": np.bool_(False)}, {"alpha": 8, "standardize": False}),
        ({"head_hidden": np.uint8(200), "pooling": np.str_("max")}, {"head_hidden": 200, "pooling": "max"}),
    ],
)
def test_numbers_of_numpy_are_numbers(numbers, same, classifier, X, tmp_path):
    model = clone(classifier).set_params(**numbers).fit(X, LABELS)
    expected = clone(classifier).set_params(**same).fit(X, LABELS).predict_proba(X)
    np.testing.assert_array_equal(model.predict_proba(X), expected)
    save(model, tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").predict_proba(X), expected)


def test_numbers_of_numpy_train_a_language_model(language_model, X, tmp_path):
    numbers = {"weight_decay": np.float32(0.5), "batch_size": np.uint8(3), "max_steps": np.int16(2)}
    model = clone(language_model).set_params(**numbers, checkpoint=str(tmp_path)).fit(X)
    same = clone(language_model).set_params(weight_decay=0.5, batch_size=3, max_steps=2).fit(X)
    np.testing.assert_array_equal(model.transform(X), same.transform(X))


# -- gradients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_fit_records_gradients_whatever_the_caller_does(mode, classifier, language_model, draw_proteins):
    X, new = draw_proteins(N, seed=31), draw_proteins(N, seed=32)
    with mode():
        tuned = clone(classifier).set_params(last_n_layers=1).fit(X, LABELS)
        pretrained = clone(language_model).fit(X)
        tuned.predict(new)
    again = clone(tuned).fit(X, LABELS)
    np.testing.assert_array_equal(tuned.predict_proba(X), again.predict_proba(X))
    np.testing.assert_array_equal(pretrained.transform(X), clone(language_model).fit(X).transform(X))
    assert np.isfinite(clone(tuned).fit(new, LABELS).predict_proba(new)).all()


# -- divergence ---------------------------------------------------------------------------------


@pytest.mark.parametrize("lr", [2**63, 1e30])
def test_a_single_step_that_spoils_the_weights_is_named(lr, classifier, language_model, X):
    one_step = {"batch_size": N, "warmup": 0.0, "schedule": "constant"}
    wild = clone(classifier).set_params(lr=lr, **one_step)
    with pytest.raises(TrainingDivergedError, match=r"loss after the last update became nan.*smaller lr"):
        wild.fit(X, LABELS)
    pairs = PLMPairRegressor(wild.backbone, lr=lr, **(FAST | one_step))
    with pytest.raises(TrainingDivergedError, match="after the last update"):
        pairs.fit(np.column_stack([X, X[::-1]]), VALUES)
    with pytest.raises(TrainingDivergedError, match=r"after the last update.*smaller lr"):
        clone(language_model).set_params(lr=lr, max_steps=1, warmup=0.0).fit(X)
    with pytest.raises(TrainingDivergedError, match="validation loss became nan"):
        wild.fit(X, LABELS, X_val=X, y_val=LABELS)
    with pytest.raises(TrainingDivergedError, match="Validation loss nan"):
        clone(language_model).set_params(lr=lr, max_steps=1, warmup=0.0).fit(X, X_val=[X[0][::-1]])


HUGE = np.where(np.arange(N) % 2, 1e308, -1e308)


def test_targets_beyond_all_numbers_are_named(esm_folder, X):
    for cls in (PLMRegressor, plmlearn.PLMFrozenMLPRegressor):
        for y in (HUGE, np.abs(HUGE), np.r_[1e300, VALUES[1:]]):
            with pytest.raises(TrainingDivergedError, match=r"y holds numbers up to 1e.30[08].*divide y"):
                cls(str(esm_folder)).fit(X, y)
    residues = [np.where(np.arange(len(x)) % 2, 1e308, -1e308) for x in X]
    with pytest.raises(TrainingDivergedError, match="y holds numbers up to"):
        PLMResidueRegressor(str(esm_folder), **FAST).fit(X, residues)
    with pytest.raises(TrainingDivergedError, match="too far from the training data"):
        PLMLoRARegressor(str(esm_folder), **FAST).fit(X, VALUES, X_val=X, y_val=HUGE)


def test_large_targets_are_predicted_in_their_units(esm_folder, X):
    """What float64 can hold is scaled: 1e150 times the values give 1e150 times the predictions."""
    model = PLMLoRARegressor(str(esm_folder), **FAST)
    small = clone(model).fit(X, VALUES).predict(X)
    np.testing.assert_allclose(model.fit(X, VALUES * 1e150).predict(X) / 1e150, small, rtol=1e-4)


# -- adapters -----------------------------------------------------------------------------------


def test_every_method_has_its_name():
    names = AdapterName.__args__
    made = {name: type(as_adapter(name, LoRA)) for name in names}
    assert set(made.values()) == set(ADAPTERS) - {PeftAdapter}
    assert {name: cls.__name__.lower() for name, cls in made.items()} == {
        n: n.replace("_", "") for n in names
    }


def test_parameters_of_the_default_adapter_are_searched(esm_folder, X):
    model = PLMClassifier(str(esm_folder), **FAST)
    search = GridSearchCV(model, {"adapter__rank": [1, 2]}, cv=2, error_score="raise").fit(X, LABELS)
    assert model.adapter is None
    best = search.best_params_["adapter__rank"]
    assert search.best_estimator_.get_params()["adapter__rank"] == best
    same = clone(model).set_params(adapter=LoRA(rank=best)).fit(X, LABELS)
    np.testing.assert_array_equal(search.predict_proba(X), same.predict_proba(X))
    assert PLMMaskedLM("mini").set_params(adapter__last_n_layers=1).adapter.get_params() == (
        FullFineTuning(last_n_layers=1).get_params()
    )
    named = clone(model).set_params(adapter="dora", adapter__rank=3).adapter
    assert (type(named).__name__, named.rank) == ("DoRA", 3)
    with pytest.raises(ValueError, match="nope"):
        model.set_params(adapter__nope=1)
    with pytest.raises(InvalidParameterError, match=r"'adapter' parameter of PLMClassifier .*'lora'"):
        model.set_params(adapter="Lora", adapter__rank=1)


@pytest.mark.parametrize(
    "short, whole",
    [
        ("lora", LoRA()),
        ("frozen", Frozen()),
        (
            peft.LoraConfig(r=2, target_modules=["key"]),
            PeftAdapter(peft.LoraConfig(r=2, target_modules=["key"])),
        ),
    ],
    ids=["lora", "frozen", "peft"],
)
def test_short_forms_of_adapters_are_those_adapters(short, whole, esm_folder, X, tmp_path):
    model = PLMClassifier(str(esm_folder), adapter=short, **FAST)
    expected = clone(model).set_params(adapter=whole).fit(X, LABELS).predict_proba(X)
    np.testing.assert_array_equal(clone(model).fit(X, LABELS).predict_proba(X), expected)
    save(model.fit(X, LABELS), tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").predict_proba(X), expected)


# -- parameters without effect ------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters, validates, message",
    [
        ({"patience": 3}, False, "patience=3 is for early_stopping"),
        ({"scoring": "mcc"}, False, "scoring='mcc' is for validation"),
        ({"patience": 3, "validation_fraction": 0.2}, True, "patience=3 .*; validation_fraction=0.2 "),
        ({"head": "linear", "head_hidden": 7}, False, "head_hidden=7 .*head='linear' has none"),
    ],
)
def test_parameters_without_effect_are_told_once(parameters, validates, message, classifier, X):
    validation = {"X_val": X, "y_val": LABELS} if validates else {}
    with pytest.warns(UserWarning, match=f"without effect: .*{message}") as said:
        clone(classifier).set_params(**parameters).fit(X, LABELS, **validation)
    assert len(said) == 1


@pytest.mark.filterwarnings("error")
def test_parameters_with_effect_are_not_told(classifier, esm_folder, X):
    used = {"patience": 3, "scoring": "mcc", "early_stopping": True, "validation_fraction": 0.4}
    clone(classifier).set_params(**used).fit(X, LABELS)
    clone(classifier).set_params(scoring="mcc").fit(X, LABELS, X_val=X, y_val=LABELS)
    PLMClassifier(str(esm_folder), adapter=Frozen(), lr=1e-4, head_lr=1e-4, **FAST).fit(X, LABELS)
    PLMClassifier(str(esm_folder), adapter=Frozen(), lr=1e-2, **FAST).fit(X, LABELS)


def test_a_rate_for_nothing_is_told(esm_folder, X):
    with pytest.warns(UserWarning, match=r"lr=0.0001 is that of the adapter, .* set head_lr"):
        PLMClassifier(str(esm_folder), adapter="frozen", lr=1e-4, **FAST).fit(X, LABELS)


def test_shapes_of_a_given_backbone_are_told(language_model, X):
    model = clone(language_model).set_params(width=64, checkpoint_minutes=1)
    with pytest.warns(UserWarning, match=r"width=64 .*; checkpoint_minutes=1 is for"):
        model.fit(X)


# -- labels -------------------------------------------------------------------------------------


def test_class_weights_of_several_labels_multiply(classifier, X):
    """As scikit-learn has it: a sample's weight is the product over its labels of n / (2 n_of_that_value)."""
    y = np.column_stack([np.arange(N) % 2, np.arange(N) % 3 == 0]).astype(int)
    product = np.prod([N / (2 * np.bincount(column)[column]) for column in y.T], axis=0)
    expected = clone(classifier).fit(X, y, sample_weight=product).predict_proba(X)
    by_dicts = [{0: 1.0, 1: 1.0}, {0: N / 16, 1: N / 8}]  # the first label has as many 0 as 1
    for weights in ("balanced", by_dicts):
        weighted = clone(classifier).set_params(class_weight=weights).fit(X, y)
        np.testing.assert_allclose(weighted.predict_proba(X), expected, atol=1e-6)
    assert np.abs(clone(classifier).fit(X, y).predict_proba(X) - expected).max() > 1e-4


CONFLICT = (
    r"1 of 12 distinct sequences are given with different labels: rows 2 and 12 \(no, yes\)\. All are kept"
)


@pytest.mark.parametrize("cls", [PLMLoRAClassifier, PLMFrozenMLP])
def test_conflicting_labels_are_told_and_kept(cls, esm_folder, X):
    settings = FAST if cls is PLMLoRAClassifier else {"solver": "lbfgs", "max_iter": 2000, "random_state": 0}
    model = cls(str(esm_folder), **settings)
    twice, y = [*X, X[2], X[3]], [*LABELS, "yes", LABELS[3]]
    with pytest.warns(UserWarning, match=CONFLICT) as said:
        model.fit(twice, y)
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.fit(twice, y, sample_weight=[*np.ones(N), 0, 1])


def test_conflicting_labels_of_several_and_of_residues_are_told(classifier, esm_folder, X):
    y = np.column_stack([np.arange(N) % 2, np.arange(N) % 3 == 0]).astype(int)
    with pytest.warns(UserWarning, match=r"1 of 12 distinct sequences .* rows 0 and 12. All"):
        clone(classifier).fit([*X, X[0]], np.vstack([y, 1 - y[:1]]))
    states = ["".join("HE"[i % 2] for i in range(len(x))) for x in X]
    model = PLMResidueClassifier(str(esm_folder), ignore_label="-", **FAST)
    with pytest.warns(UserWarning, match=r"1 of 12 distinct sequences .* rows 1 and 13. All"):
        model.fit([*X, X[0], X[1]], [*states, "-" * 4 + states[0][4:], "E" + states[1][1:]])


def test_repeated_measurements_are_no_conflict(esm_folder, X):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PLMLoRARegressor(str(esm_folder), **FAST).fit([*X, X[0]], [*VALUES, 3.0])


@pytest.mark.parametrize("as_text", [False, True])
def test_labels_of_minus_100_are_no_class(as_text, esm_folder, X):
    y = [np.where(np.arange(len(x)) < 2, -100, np.arange(len(x)) % 3) for x in X]
    y = [row.astype(str) for row in y] if as_text else y
    model = PLMResidueClassifier(str(esm_folder), **FAST)
    with pytest.warns(UserWarning, match=r"24 labels in 12 of 12 targets .*Pass ignore_label=-100") as said:
        model.fit(X, y)
    assert len(said) == 1
    assert model.classes_.tolist() == (["0", "1", "2"] if as_text else [0, 1, 2])
    masked = [np.ma.array(row, mask=np.arange(len(row)) < 2) for row in y]
    same = clone(model).fit(X, masked)
    for one, other in zip(model.predict_proba(X), same.predict_proba(X), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.warns(UserWarning, match="are -100"):
        assert model.score(X, y) == same.score(X, masked)
    if not as_text:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            named = clone(model).set_params(ignore_label=-100).fit(X, y)
            assert named.score(X, y) == same.score(X, masked)
