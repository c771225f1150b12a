"""What every baseline has to do as a scikit-learn estimator."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_checks as checks
from sklearn.utils import get_tags

from plmlearn.baselines import (
    AdditiveMutationRegressor,
    CompositionVectorizer,
    HomologyClassifier,
    HomologyRegressor,
    PairDegreeClassifier,
    PairSimilarityClassifier,
)

SEQUENCES = ["MKVLAAGIVG", "AKVLAAGIVG", "MKALAAGIVG", "MKVLAAGIVA", "MKVLWAGIVG", "AKVLAAGIVA"]
PAIRS = [(SEQUENCES[i], SEQUENCES[j]) for i, j in [(0, 1), (0, 2), (0, 3), (4, 5), (4, 3), (5, 2)]]
CASES = [
    (AdditiveMutationRegressor(order=1), SEQUENCES, np.arange(6.0)),
    (AdditiveMutationRegressor(), SEQUENCES, np.arange(6.0)),
    (HomologyRegressor(), SEQUENCES, np.arange(6.0)),
    (HomologyRegressor(ties="first"), SEQUENCES, np.arange(12.0).reshape(6, 2)),
    (HomologyClassifier(), SEQUENCES, np.array(list("aabbcc"))),
    (CompositionVectorizer(), SEQUENCES, None),
    (CompositionVectorizer(kind="blosum62"), SEQUENCES, None),
    (PairDegreeClassifier(), PAIRS, np.array([1, 1, 1, 0, 0, 0])),
    (PairSimilarityClassifier(method="exact"), PAIRS, np.array(["y", "y", "y", "n", "n", "n"])),
]
every_baseline = pytest.mark.parametrize("estimator, X, y", CASES, ids=lambda value: type(value).__name__)


def output(estimator, X):
    return estimator.predict(X) if hasattr(estimator, "predict") else estimator.transform(X)


@every_baseline
@pytest.mark.parametrize(
    "check",
    [
        checks.check_estimator_cloneable,
        checks.check_estimator_repr,
        checks.check_no_attributes_set_in_init,
        checks.check_do_not_raise_errors_in_init_or_set_params,
        checks.check_parameters_default_constructible,
        checks.check_get_params_invariance,
        checks.check_set_params,
        checks.check_mixin_order,
        checks.check_valid_tag_types,
    ],
    ids=lambda check: check.__name__,
)
def test_scikit_learn_checks(estimator, X, y, check):
    check(type(estimator).__name__, clone(estimator))


@every_baseline
def test_pickle_order_and_determinism(estimator, X, y):
    fitted = clone(estimator).fit(X, y)
    expected = output(fitted, X)
    np.testing.assert_array_equal(output(pickle.loads(pickle.dumps(fitted)), X), expected)
    np.testing.assert_array_equal(output(clone(fitted).fit(X, y), X), expected)
    np.testing.assert_array_equal(output(fitted, X[::-1]), expected[::-1])
    assert len(expected) == len(X)


@every_baseline
def test_unfitted(estimator, X, y):
    with pytest.raises(NotFittedError):
        output(clone(estimator), X)


@every_baseline
def test_tags_tell_what_X_holds(estimator, X, y):
    tags = get_tags(estimator).input_tags
    assert tags.string
    assert tags.two_d_array == (X is PAIRS)
    assert tags.one_d_array == (X is SEQUENCES)


@pytest.mark.parametrize("estimator, X, y", [case for case in CASES if case[2] is not None])
def test_one_target_each(estimator, X, y):
    with pytest.raises(ValueError):
        clone(estimator).fit(X, y[:-1])
