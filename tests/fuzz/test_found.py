"""Faults that the fuzzing script found among inputs that no one had mended against."""

from dataclasses import fields
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier

from plmlearn import (
    PLMEnsemble,
    PLMFrozenMLP,
    PLMFrozenMLPRegressor,
    PLMLoRAClassifier,
    PLMMaskedLM,
    layer_sweep,
)
from plmlearn.backbones import BackboneNotFoundError, load_backbone
from plmlearn.baselines import AdditiveMutationRegressor, AugmentedRidge, compare
from plmlearn.estimators.parameters import TrainingParameters
from plmlearn.metrics import top_recall
from plmlearn.model_selection import make_folds
from plmlearn.report import evaluate
from plmlearn.search import PLMSearchCV
from plmlearn.search.fingerprint import digest
from plmlearn.sequences import target_kind
from plmlearn.training.engine import TrainingDivergedError

X = ["MKTAYIAKQR", "GSHMLEDPVA", "MKVLAAGIVG", "DDEEDDKKRR", "MSTNPKPQRK", "MALWMRLLPL"]


@pytest.mark.parametrize("name", ["a" * 5000, "/" + "a" * 300, "owner/" + "a" * 5000, "a\0b"])
def test_a_name_longer_than_a_path_may_be_is_unknown(name):
    with pytest.raises(BackboneNotFoundError, match="Unknown backbone '"):
        load_backbone(name)


@pytest.mark.parametrize("scoring", [{}, []])
def test_no_scorer_at_all(scoring):
    with pytest.raises(ValueError, match="scoring is empty; expected one scorer or more"):
        compare({"dummy": DummyClassifier()}, X, [0, 1] * 3, cv=2, scoring=scoring)


def test_a_set_is_no_target():
    folds = make_folds(X, [0, 1] * 3, n_splits=2, groups=None)
    with pytest.raises(TypeError, match=r"y holds sets or mappings \(row 1 of 2 such\)"):
        compare({"dummy": DummyClassifier()}, X, [1e308, {"a"}, "no", {}, "no", "yes"], cv=folds)


def test_groups_that_cannot_be_compared():
    groups = np.array([0, 0, 1, {}, 2, 2], dtype=object)
    with pytest.raises(TypeError, match="groups holds entries of several kinds"):
        make_folds(X, [0, 1] * 3, n_splits=2, groups=groups)


def test_a_masked_target_has_no_length():
    assert target_kind(X, np.ma.array([0, 1, 0, 1, 0, 1], mask=[0, 1, 0, 0, 0, 0])) == "labels"


def test_scores_of_another_kind_of_target():
    with pytest.raises(ValueError, match="scoring='accuracy', or the estimator, does not suit this y"):
        layer_sweep("mini", X, np.linspace(0.1, 0.9, 6), cv=2, scoring="accuracy")


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_perceptron_that_diverges():
    model = PLMFrozenMLPRegressor("mini", learning_rate_init=1e30, random_state=0)
    with pytest.raises(TrainingDivergedError, match="pass a smaller learning_rate_init"):
        model.fit(X, range(6))


def test_a_missing_value_is_no_boolean_after_a_fit_either():
    settings = {"n_layers": 1, "width": 16, "n_heads": 2, "max_steps": 1, "verbose": 0}
    model = PLMMaskedLM(**settings, validation_fraction=None, random_state=0).fit(X)
    model.set_params(gradient_checkpointing=pd.NA)
    with pytest.raises(ValueError, match="'gradient_checkpointing' parameter of PLMMaskedLM"):
        model.pseudo_perplexity(X)


@pytest.mark.parametrize("value", ["text", pd.NA, [None], np.arange(3)])
def test_what_only_training_uses_may_be_anything_after_a_fit(value):
    model = PLMLoRAClassifier("mini", epochs=1, last_n_layers=1, random_state=0, verbose=0)
    model.fit(X, [0, 1] * 3)
    expected = model.predict_proba(X)
    names = {f.name for f in fields(TrainingParameters)} - {"gradient_checkpointing"}
    model.set_params(**dict.fromkeys(names, value))._loaded = None
    np.testing.assert_array_equal(model.predict_proba(X), expected)


@pytest.mark.parametrize("value", ["text", pd.NA, [None], np.arange(3)])
def test_what_only_pretraining_uses_may_be_anything_after_a_fit(value):
    settings = {"n_layers": 1, "width": 16, "n_heads": 2, "max_steps": 1, "verbose": 0}
    model = PLMMaskedLM(**settings, validation_fraction=None, random_state=0).fit(X)
    expected = model.score_samples(X)
    names = ("lr", "curriculum", "crop_length", "batch_size", "init", "optimizer", "averaging", "max_steps")
    model.set_params(**dict.fromkeys(names, value))._loaded = None
    np.testing.assert_array_equal(model.score_samples(X), expected)


@pytest.mark.parametrize("cv", [{0: 1.0, 1: 2.0}, {"a": 1}, [1, 2], np.arange(3), [([0, 1],)], [(1, 2)] * 2])
def test_folds_that_are_no_pairs_of_rows(cv):
    dummy, y = DummyClassifier(), [0, 1] * 3
    calls = [
        lambda: compare({"dummy": dummy}, X, y, cv=cv),
        lambda: layer_sweep("mini", X, y, cv=cv),
        lambda: PLMSearchCV(PLMFrozenMLP("mini"), {"alpha": [0.1, 1.0]}, cv=cv).fit(X, y),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"cv=.* holds no pairs of row numbers; expected a number"):
            call()


def test_a_member_that_is_no_estimator():
    with pytest.raises(ValueError, match=r"'estimator' parameter of PLMEnsemble .* Got 'text' instead"):
        PLMEnsemble("text").set_params(estimator__alpha=1.0)
    ensemble = PLMEnsemble(None).set_params(estimator=PLMFrozenMLPRegressor("mini"), estimator__alpha=2.0)
    assert ensemble.estimator.alpha == 2.0


@pytest.mark.parametrize("make", [AdditiveMutationRegressor, AugmentedRidge])
def test_a_fraction_is_a_number(make):
    variants, y = [X[0], *("W" + x[1:] for x in X[:1]), X[0][:-1] + "W"], [0.0, 1.0, 2.0]
    half = make(alpha=Fraction(1, 2)).fit(variants, y)
    np.testing.assert_array_equal(half.predict(variants), make(alpha=0.5).fit(variants, y).predict(variants))
    assert half.alpha_ == 0.5


@pytest.mark.parametrize("y", [[0.0, 1.0, np.array([1.0, 2.0])], [0.0, np.array(3), 1.0]])
def test_numbers_of_several_shapes_have_a_digest(y):
    assert digest(y) == digest(list(y)) != digest([0.0, 1.0, 2.0])


@pytest.mark.parametrize("scoring", [pd.NA, np.arange(3)])
def test_what_is_no_scorer_is_told_by_its_name(scoring):
    dummy = DummyClassifier()
    with pytest.raises((ValueError, TypeError), match="scoring"):
        evaluate(dummy, X, np.linspace(0, 1, 6), folds=2, groups=None, kind="numbers", scoring=scoring)


def test_small_integers_of_numpy_count():
    values = np.arange(10.0)
    assert top_recall(values, values, k=np.uint8(2)) == top_recall(values, values, k=2)
