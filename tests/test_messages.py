"""Warnings name the line of the caller, however deep in the package they arise."""

import inspect
import warnings

import numpy as np
import pytest
from sklearn.model_selection import cross_val_score

from plmlearn import PLMClassifier, PLMEmbedder, PLMRegressor


@pytest.fixture
def data(draw_proteins):
    X = draw_proteins(12, seed=0)
    return X, np.arange(len(X)) % 2


def _fit(estimator, X, y):
    return estimator.fit(X, y)


SETTINGS = {"epochs": 1, "random_state": 0, "verbose": 0}
CALLS = {
    "cut to max_length": lambda X, y: _fit(PLMRegressor("mini", max_length=5, **SETTINGS), X, y),
    "without effect": lambda X, y: _fit(PLMRegressor("mini", patience=3, **SETTINGS), X, y),
    "nearly identical": lambda X, y: _fit(
        PLMClassifier("mini", early_stopping=True, **SETTINGS), [*X, *X], [*y, *y]
    ),
    "fp16": lambda X, y: _fit(PLMClassifier("mini", precision="fp16", device="cpu", **SETTINGS), X, y),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_warnings_of_a_fit_name_the_line_that_called_fit(call, data):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        call(*data)
    [first, *_] = told
    source, line = inspect.getsourcelines(_fit)
    assert (first.filename, first.lineno) == (__file__, line + 1)
    assert source[1].strip() == "return estimator.fit(X, y)"


def test_warnings_in_a_cross_validation_name_the_line_that_asked_for_it(data):
    with pytest.warns(UserWarning, match="sequences") as told:
        cross_val_score(PLMRegressor("mini", max_length=5, **SETTINGS), *data, cv=2, error_score="raise")
    assert {warning.filename for warning in told} == {__file__}


def test_warnings_at_a_call_of_the_embedder_name_its_line(data):
    with pytest.warns(UserWarning, match="of 12 sequences") as told:
        PLMEmbedder("mini", max_length=5).fit_transform(data[0])
    assert [warning.filename for warning in told] == [__file__]
