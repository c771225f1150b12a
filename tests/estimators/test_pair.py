"""Pair estimators: order, labels, what is encoded, the contract of the others on pairs, and bad input."""

import copy
import inspect
import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import polars
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_validate, train_test_split
from sklearn.utils import estimator_checks

import plmlearn.estimators.tuned
from plmlearn import PLMClassifier, PLMPairClassifier, PLMPairRegressor, load, save
from plmlearn.adapters import Frozen, FullFineTuning, LoRA
from plmlearn.datasets import make_protein_pairs
from plmlearn.model_selection import PairKFold, PairWarning
from plmlearn.nn.encoders import PackedEsm
from plmlearn.sequences import SequenceError
from plmlearn.training.steps import TrainingSteps

FAST = {"epochs": 1, "batch_size": 8, "precision": "fp32", "random_state": 0, "verbose": 0}
LAST_LAYER = LoRA(rank=2, last_n_layers=1)
COMBINATIONS = ["mean", "symmetric", "concat", "cross_attention"]


@pytest.fixture(scope="module")
def X(draw_proteins):
    proteins = np.array(draw_proteins(16, seed=3), dtype=object)
    rows = np.array([(i, j) for i in range(16) for j in range(i + 1, 16)])
    return proteins[np.random.default_rng(0).permutation(rows)[:40]]


@pytest.fixture(scope="module")
def y(X):
    return np.array(["apart", "bound"])[np.arange(len(X)) % 2]


@pytest.fixture(scope="module")
def values(X):
    return np.array([len(a) + len(b) for a, b in X], dtype=float)


@pytest.fixture
def make(esm_folder, y, values):
    """A function from "classifier" or "regressor" to a fresh estimator and the targets it takes."""

    def make_one(kind="classifier", adapter=LAST_LAYER, **changes):
        cls = PLMPairClassifier if kind == "classifier" else PLMPairRegressor
        return cls(str(esm_folder), adapter=adapter, **(FAST | changes)), (
            y if kind == "classifier" else values
        )

    return make_one


def results(estimator, X) -> list[np.ndarray]:
    methods = ("predict", "predict_proba", "transform")
    return [getattr(estimator, method)(X) for method in methods if hasattr(estimator, method)]


def assert_same(one, other, tolerance=0.0):
    for a, b in zip(one, other, strict=True):
        if a.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(a, b)


kinds = pytest.mark.parametrize("kind", ["classifier", "regressor"])


@pytest.mark.parametrize("combine", COMBINATIONS)
def test_dropout_acts_in_training_alone(make, X, combine):
    """Right after fit, and again: LoRA's and the head's dropout leave predictions and embeddings alone."""
    model, y = make(adapter=LoRA(rank=2, dropout=0.5), head_dropout=0.5, combine=combine)
    model.fit(X, y)
    for method in (model.transform, model.predict_proba):
        np.testing.assert_array_equal(method(X), method(X))


# -- order ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", [Frozen(), LAST_LAYER, FullFineTuning()], ids=["frozen", "LoRA", "full"])
@pytest.mark.parametrize("combine", ["mean", "symmetric", "cross_attention"])
@kinds
def test_order_is_nothing_to_the_last_bit(make, X, kind, combine, adapter):
    estimator, y = make(kind, adapter, combine=combine)
    estimator.fit(X, y)
    assert_same(results(estimator, X[:, ::-1]), results(estimator, X))
    for flipped in range(len(X)):  # one pair turned among others that are not
        some = X.copy()
        some[flipped] = some[flipped, ::-1]
        if flipped % 10 == 0:
            assert_same(results(estimator, some), results(estimator, X))


@pytest.mark.parametrize("combine", ["mean", "cross_attention"])
def test_order_in_training_is_nothing_to_the_last_bit(make, X, combine):
    turned = np.random.default_rng(2).random(len(X)) < 0.5
    other = np.where(turned[:, None], X[:, ::-1], X)
    one, y = make(adapter=FullFineTuning(), combine=combine, max_tokens=100)
    two = clone(one).fit(other, y)
    assert one.fit(X, y)._trained == two._trained


def test_concat_knows_a_direction(make, X):
    """Whether the first protein is the longer one: only an ordered combination can tell."""
    longer = np.array([len(a) > len(b) for a, b in X])
    model, _ = make(adapter=Frozen(), combine="concat", epochs=60, head="mlp")
    assert model.fit(X, longer).score(X, longer) > 0.9
    assert (model.predict(X[:, ::-1]) != model.predict(X)).any()


# -- what is learned --------------------------------------------------------------------------------


def test_labels_stay_with_their_pairs(make, X):
    """Full tuning learns arbitrary labels of every pair by heart, duplicates and all."""
    labels = np.random.default_rng(1).integers(0, 2, len(X))
    model, _ = make(adapter=FullFineTuning(), combine="symmetric", epochs=30, lr=1e-3, head_dropout=0.0)
    order = np.r_[np.arange(len(X)), 3, 3, 7]
    model.fit(X[order], labels[order])
    assert roc_auc_score(labels, model.predict_proba(X)[:, 1]) > 0.95


def test_families_that_fit_each_other_are_learned_for_new_proteins():
    X, y = make_protein_pairs(
        400, n_proteins=200, class_sep=0.8, median_length=40, max_length=60, random_state=0
    )
    model = PLMPairClassifier(
        "mini", adapter=Frozen(), combine="symmetric", head="mlp", epochs=15, batch_size=32, lr=3e-3,
        random_state=0, verbose=0,
    )  # fmt: skip
    with pytest.warns(PairWarning, match="left out of a fold"):
        train, test = next(PairKFold("C3", 3, random_state=0).split(X, y))
    model.fit(X[train], y[train])
    assert roc_auc_score(y[test], model.predict_proba(X[test])[:, 1]) > 0.75


@pytest.mark.parametrize("combine", COMBINATIONS)
def test_results_do_not_depend_on_the_token_budget(make, X, combine):
    whole, y = make(adapter=FullFineTuning(), combine=combine, max_tokens=100_000)
    parts = clone(whole).set_params(max_tokens=60).fit(X, y)
    assert_same(results(parts, X), results(whole.fit(X, y), X), 1e-4)


@pytest.fixture
def encoded(monkeypatch):
    """How many sequences pass the first layer that runs, call by call."""
    counts = []
    run = PackedEsm.run

    def count(self, hidden, tokens, start, stop):
        if stop > start:
            counts.append(len(tokens.lengths))
        return run(self, hidden, tokens, start, stop)

    monkeypatch.setattr(PackedEsm, "run", count)
    return counts


@pytest.mark.usefixtures("empty_cache")
def test_frozen_pairs_encode_each_protein_once_per_data_set(make, X, encoded):
    model, y = make(adapter=Frozen(), epochs=3)
    model.fit(X, y, X_val=X[:5], y_val=y[:5])
    assert sum(encoded) == len(set(X.ravel()))
    model.predict(X)
    model.predict_proba(X[:, ::-1])
    GridSearchCV(model, {"lr": [1e-3, 1e-2]}, cv=2, error_score="raise").fit(X, y)
    assert sum(encoded) == len(set(X.ravel()))


@pytest.mark.usefixtures("empty_cache")
def test_tuned_pairs_encode_each_protein_once_per_step(make, X, encoded):
    model, y = make(adapter=FullFineTuning(), batch_size=len(X), max_tokens=100_000, standardize=False)
    model.fit(X, y)
    assert encoded == [len(set(X.ravel()))] * 2  # in the step, and to look at its update
    encoded.clear()
    model.predict(np.concatenate([X, X]))
    assert sum(encoded) == len(set(X.ravel()))


# -- what an epoch draws ----------------------------------------------------------------------------


def rows_drawn(monkeypatch):
    drawn = []
    draw = TrainingSteps.__iter__

    def listen(epoch):
        steps = list(draw(epoch))
        drawn.append(np.concatenate([step.samples for step in steps]))
        return iter(steps)

    monkeypatch.setattr(TrainingSteps, "__iter__", listen)
    return drawn


def test_an_epoch_of_drawn_pairs(make, X, monkeypatch):
    drawn = rows_drawn(monkeypatch)
    model, y = make(adapter=Frozen(), epochs=3, epoch_size=10)
    model.fit(X, y)
    assert [len(set(rows)) for rows in drawn] == [10] * 3
    assert len({tuple(rows) for rows in drawn}) == 3


def test_balanced_sampling_draws_each_class_alike(make, X, monkeypatch):
    drawn = rows_drawn(monkeypatch)
    labels = np.where(np.arange(len(X)) < 4, "bound", "apart")
    model, _ = make(adapter=Frozen(), epochs=2, sampling="balanced", epoch_size=20)
    model.fit(X, labels)
    assert [(labels[rows] == "bound").sum() for rows in drawn] == [10, 10]


def test_balanced_sampling_is_for_one_label(make, X):
    model, _ = make(sampling="balanced")
    with pytest.raises(ValueError, match="one label per pair"):
        model.fit(X, np.eye(2, dtype=int)[np.arange(len(X)) % 2])


def test_inner_validation_by_clusters_of_both_proteins_shares_none(make, X, monkeypatch):
    seen = {}
    train = plmlearn.estimators.tuned.train

    def listen(model, loss, data, config, *, validation, **kwargs):
        seen.update(train=data.inputs, valid=validation.inputs)
        return train(model, loss, data, config, validation=validation, **kwargs)

    monkeypatch.setattr(plmlearn.estimators.tuned, "train", listen)
    number = {protein: i // 2 for i, protein in enumerate(sorted(set(X.ravel())))}
    groups = np.vectorize(number.get)(X)
    model, y = make(adapter=Frozen(), early_stopping=True)
    with pytest.warns(PairWarning, match="left out"):
        model.fit(X, y, groups=groups)
    ids = {side: set(inputs.sequences.tokens.keys()) for side, inputs in seen.items()}
    assert ids["train"]
    assert ids["valid"]
    assert not ids["train"] & ids["valid"]
    assert model.best_score_ is not None


# -- the contract -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "check",
    [
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
    ],
)
@kinds
def test_check_of_scikit_learn(make, kind, check):
    estimator, _ = make(kind)
    getattr(estimator_checks, check)(type(estimator).__name__, estimator)


@kinds
def test_tags_parameters_and_constraints(make, kind):
    estimator, _ = make(kind)
    tags = sklearn.utils.get_tags(estimator)
    assert tags.input_tags.two_d_array
    assert tags.input_tags.string
    assert not tags.input_tags.one_d_array
    assert tags.estimator_type == kind
    assert estimator._parameter_constraints.keys() == estimator.get_params(deep=False).keys()
    assert clone(estimator).get_params()["adapter__rank"] == 2


@kinds
def test_fit_changes_neither_parameters_nor_data(make, X, kind):
    estimator, y = make(kind)
    messy = np.array([[f" {a.lower()}*", b] for a, b in X], dtype=object)
    kept, before = messy.copy(), {k: joblib.hash(v) for k, v in estimator.get_params().items()}
    assert estimator.fit(messy, y) is estimator
    found = results(estimator, messy)
    np.testing.assert_array_equal(messy, kept)
    assert {k: joblib.hash(v) for k, v in estimator.get_params().items()} == before
    assert_same(results(estimator.fit(X, y), X), found)


@kinds
def test_weights(make, X, kind):
    estimator, y = make(kind)
    kept = np.arange(len(X)) % 3 > 0
    weighted = clone(estimator).fit(X, y, sample_weight=kept.astype(float))
    assert_same(results(weighted, X), results(estimator.fit(X[kept], y[kept]), X))


def test_class_weight_moves_the_balance(make, X):
    model, _ = make(adapter=Frozen(), epochs=30, head_lr=0.01)
    labels = np.arange(len(X)) % 4 == 0
    even = clone(model).set_params(class_weight="balanced").fit(X, labels).predict_proba(X)[:, 1]
    assert even.mean() > model.fit(X, labels).predict_proba(X)[:, 1].mean() + 0.1
    named = clone(model).set_params(class_weight={True: 2.0})
    others = {"X_val": X[~labels], "y_val": labels[~labels]}
    assert np.isfinite(named.fit(X, labels, **others).best_score_)


@kinds
def test_neighbours_do_not_matter_and_no_row_is_lost(make, X, kind):
    estimator, y = make(kind)
    estimator.fit(X, y)
    rows = np.concatenate([X[:3], X[:1], [["M", "M"], ["MKV" * 340, X[0, 0]]], X[:1, ::-1]])
    found = results(estimator, rows)
    assert all(len(value) == len(rows) for value in found)
    one_by_one = [np.concatenate(parts) for parts in zip(*(results(estimator, [row]) for row in rows))]
    assert_same(found, one_by_one, 1e-5)
    assert_same([value[[0]] for value in found], [value[[3]] for value in found])
    assert_same([value[[0]] for value in found], [value[[6]] for value in found])


@pytest.mark.parametrize(
    "container",
    [
        lambda X: [tuple(row) for row in X],
        lambda X: [list(row) for row in X],
        lambda X: X.astype(str),
        lambda X: X.astype(np.dtypes.StringDType()),
        lambda X: pd.DataFrame(X, columns=["bait", "prey"]),
        lambda X: polars.DataFrame({"bait": X[:, 0].tolist(), "prey": X[:, 1].tolist()}),
    ],
    ids=["tuples", "lists", "str", "StringDType", "DataFrame", "polars"],
)
def test_containers_give_the_same(make, X, container):
    model, y = make()
    expected = results(model.fit(X, y), X)
    assert_same(results(model.fit(container(X), y), container(X)), expected)


@kinds
def test_copies_and_folders_predict_the_same(make, X, kind, tmp_path):
    estimator, y = make(kind, combine="symmetric")
    expected = results(estimator.fit(X, y), X)
    for copied in (pickle.loads(pickle.dumps(estimator)), copy.deepcopy(estimator)):
        assert_same(results(copied, X), expected)
    assert_same(results(load(save(estimator, tmp_path)), X), expected)
    assert len(pickle.dumps(estimator)) < 100_000
    estimator.set_params(combine="mean")  # a fitted model stays what it was
    assert_same(results(pickle.loads(pickle.dumps(estimator)), X), expected)


@kinds
def test_unfitted(make, X, kind):
    estimator, _ = make(kind)
    with pytest.raises(NotFittedError):
        estimator.predict(X)


def test_a_warm_start_goes_on(make, X):
    model, y = make(adapter=Frozen(), epochs=8, warm_start=True)
    first = model.fit(X, y).history_[-1]["train_loss"]
    assert model.fit(X, y).history_[-1]["train_loss"] < first


@kinds
def test_memory_is_estimated(make, X, kind):
    estimator, _ = make(kind, FullFineTuning())
    small, large = (estimator.set_params(max_tokens=n).memory_estimate(X) for n in (60, 100_000))
    assert small.activations < large.activations
    assert small.frozen_weights == large.frozen_weights


@pytest.mark.parametrize("cls", [PLMPairClassifier, PLMPairRegressor])
def test_methods_speak_of_pairs(cls):
    methods = [name for name in ("fit", "predict", "predict_proba") if hasattr(cls, name)]
    for name in methods:
        told, of_one = inspect.getdoc(getattr(cls, name)), getattr(PLMClassifier, name)
        assert "X : array of str, shape (n_pairs, 2), DataFrame with two columns, or list of 2-tuples" in told
        assert "n_proteins" not in told
        assert "X : list, array or Series of str, shape (n_proteins,)" in inspect.getdoc(of_one)
        assert inspect.signature(getattr(cls, name)) == inspect.signature(of_one)
        assert max(map(len, told.splitlines())) <= 110
    assert "list(zip(a, b))" in inspect.getdoc(cls.fit)
    assert "groups : array-like of shape (n_pairs, 2) or (n_pairs,)" in inspect.getdoc(cls.fit)
    assert "Passes over the training pairs." in inspect.getdoc(cls)


# -- scikit-learn's tools ---------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::plmlearn.model_selection.PairWarning")
@pytest.mark.parametrize("level", ["C1", "C2", "C3"])
def test_grid_search_over_pair_folds(make, X, level):
    model, y = make(adapter=Frozen())
    grid = {"combine": ["mean", "symmetric"], "adapter": [Frozen(), LAST_LAYER]}
    cv = PairKFold(level, 2, random_state=0)
    search = GridSearchCV(model, grid, cv=cv, scoring="average_precision", error_score="raise")
    scored = search.fit(X, y == "bound").cv_results_["mean_test_score"]
    assert np.isfinite(scored).all()
    assert search.predict(X).shape == y.shape


@kinds
def test_cross_validation_and_splits_of_rows(make, X, kind):
    estimator, y = make(kind)
    assert cross_val_predict(estimator, X, y, cv=2).shape == y.shape
    X_train, X_test, y_train, y_test = train_test_split(pd.DataFrame(X), y, random_state=0)
    assert np.isfinite(estimator.fit(X_train, y_train).score(X_test, y_test))
    folds = cross_validate(estimator, X, y, cv=2, return_estimator=True, return_indices=True)
    for fitted, train in zip(folds["estimator"], folds["indices"]["train"]):
        assert_same(results(clone(estimator).fit(X[train], y[train]), X), results(fitted, X))


@pytest.mark.parametrize("combine", COMBINATIONS)
@kinds
def test_features_have_names_in_data_frames(make, X, kind, combine):
    estimator, y = make(kind, adapter=Frozen(), combine=combine)
    plain = estimator.fit_transform(X, y)
    names = estimator.get_feature_names_out()
    assert len(names) == plain.shape[1]
    assert names[0] == f"{type(estimator).__name__.lower()}0"
    pairs = pd.DataFrame(X, index=[f"complex {i}" for i in range(len(X))])
    frame = estimator.set_output(transform="pandas").transform(pairs)
    assert list(frame.columns) == list(names)
    assert list(frame.index) == list(pairs.index)
    np.testing.assert_array_equal(frame.to_numpy(), plain)
    with pytest.raises(NotFittedError):
        clone(estimator).get_feature_names_out()


@pytest.mark.filterwarnings("ignore::plmlearn.model_selection.PairWarning")
def test_clusters_are_routed_to_the_splitter_and_to_fit(make, X, monkeypatch):
    heard = []
    fit = PLMPairClassifier.fit
    monkeypatch.setattr(
        PLMPairClassifier,
        "fit",
        lambda self, X, y, **metadata: heard.append(metadata["groups"]) or fit(self, X, y, **metadata),
    )
    number = {protein: i // 2 for i, protein in enumerate(sorted(set(X.ravel())))}
    groups = np.vectorize(number.get)(X)
    with sklearn.config_context(enable_metadata_routing=True):
        model, y = make(adapter=Frozen())
        model.set_fit_request(groups=True)
        cv = PairKFold("C3", 2, random_state=0)
        cross_validate(model, X, y, cv=cv, params={"groups": groups}, error_score="raise")
    assert len(heard) == 2
    assert not set(heard[0].ravel()) & set(heard[1].ravel())


# -- bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad, message",
    [
        (lambda X: (list(X[:, 0]), list(X[:, 1])), r"two lists of proteins.*list\(zip\(a, b\)\)"),
        (lambda X: np.column_stack([X, X[:, 0]]), r"expected \(n_pairs, 2\)"),
        (lambda X: X[:, 0], "of type str; expected a tuple of two proteins"),
        (lambda X: X[:0], r"0 sample\(s\)"),
        (lambda X: [("MKV", "MSA")] * 3 + [("MKV", "")], "Pair 3: second protein is empty"),
        (lambda X: [("MKV", "MSA"), ("M1V", "MSA")], "Pair 1: first protein has '1' at residue 2"),
        (lambda X: {"a": "MKV"}, "got dict"),
    ],
    ids=["two lists", "three columns", "one column", "no rows", "empty protein", "bad letter", "dict"],
)
@kinds
def test_what_is_no_pair_is_refused_by_fit_and_predict(make, X, kind, bad, message):
    estimator, y = make(kind)
    rows = bad(X)
    with pytest.raises((ValueError, TypeError), match=message):
        estimator.fit(rows, y[: len(rows)])
    estimator.fit(X[:8], y[:8])
    with pytest.raises((ValueError, TypeError), match=message):
        estimator.predict(rows)


def test_a_pair_with_an_empty_protein_names_its_row(make, X):
    model, y = make()
    broken = X.copy()
    broken[[4, 9], 1] = ""
    with pytest.raises(SequenceError) as error:
        model.fit(broken, y)
    assert error.value.rows == [4, 9]


def test_self_pairs_are_pairs(make, X):
    model, y = make(combine="symmetric")
    selves = np.column_stack([X[:, 0], X[:, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(np.concatenate([X, selves[:2]]), np.r_[y, y[:2]])
    assert np.isfinite(model.predict_proba(selves)).all()


def test_repeated_pairs_count_each_time(make, X):
    model, _ = make(adapter=Frozen(), batch_size=100, head_dropout=0.0, standardize=False)
    labels = np.arange(len(X)) % 2
    twice = np.concatenate([X, X[:6, ::-1]])
    weighted = clone(model).fit(X, labels, sample_weight=1 + (np.arange(len(X)) < 6))
    repeated = model.fit(twice, np.r_[labels, labels[:6]])
    assert_same(results(weighted, X), results(repeated, X), 1e-5)


def test_contradictory_pairs_are_said_and_kept(make, X):
    model, y = make(adapter=Frozen())
    other = np.where(y == "bound", "apart", "bound")
    with pytest.warns(
        PairWarning, match=r"2 of 40 distinct pairs .* rows 0 and 40 .*; rows 1 and 41 .* All are kept"
    ):
        model.fit(np.concatenate([X, X[:2, ::-1]]), np.r_[y, other[:2]])
    model.set_params(combine="concat")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # with a direction, the reverse is another pair
        model.fit(np.concatenate([X, X[:2, ::-1]]), np.r_[y, other[:2]])


def test_long_proteins_are_cut_with_one_warning(make, X):
    model, y = make(adapter=Frozen(), max_length=20)
    n_long = sum(len(protein) > 20 for protein in X.ravel())
    with pytest.warns(UserWarning, match=f"{n_long} of 80 sequences") as said:
        model.fit(X, y)
    assert len(said) == 1
    assert model.n_truncated_ == n_long
    with pytest.raises(SequenceError, match="longer than max_length=20") as error:
        model.set_params(long_sequences="raise").fit(X, y)
    assert error.value.rows == [i for i, pair in enumerate(X) if max(map(len, pair)) > 20]


def test_other_numbers_of_targets_and_groups_are_refused(make, X):
    model, y = make()
    with pytest.raises(ValueError, match="X has 40 proteins and y has 39 rows"):
        model.fit(X, y[:-1])
    with pytest.raises(ValueError, match="one class only"):
        model.fit(X, ["bound"] * len(X))
    with pytest.raises(ValueError, match="combine"):
        model.set_params(combine="sum").fit(X, y)
