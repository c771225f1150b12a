"""Targets: encoded, decoded and weighed as scipy and scikit-learn do."""

import numpy as np
import pandas as pd
import polars
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.exceptions import DataConversionWarning
from sklearn.metrics import log_loss, mean_squared_error

from plmlearn.estimators.residue_targets import ResidueValueTarget, check_residue_y
from plmlearn.estimators.targets import (
    ClassTarget,
    MultilabelTarget,
    ValueTarget,
    check_class_y,
    check_value_y,
    check_weights,
)
from plmlearn.nn.packing import Ragged


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_classes_round_trip_and_cost_their_log_loss(n_classes, rng):
    """One logit for two classes, one per class for more; the loss is scikit-learn's."""
    y = np.array(list("gfedcba"))[:n_classes][rng.permutation(np.arange(50) % n_classes)]
    target = ClassTarget.learn(y)
    np.testing.assert_array_equal(target.classes, sorted(set(y)))
    assert target.n_outputs == (1 if n_classes == 2 else n_classes)
    encoded = target.encode(y)
    np.testing.assert_array_equal(target.classes[encoded.astype(int)], y)
    outputs = rng.normal(size=(50, target.n_outputs)).astype(np.float32)
    probabilities = target.probabilities(outputs)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    loss = target.loss(torch.from_numpy(outputs), torch.from_numpy(encoded))
    assert loss.shape == (50,)
    assert float(loss.mean()) == pytest.approx(log_loss(y, probabilities), rel=1e-5)
    np.testing.assert_array_equal(target.decode(outputs), target.classes[probabilities.argmax(axis=1)])


def test_extreme_outputs_have_finite_probabilities():
    outputs = np.array([[-1e4], [1e4]], dtype=np.float32)
    np.testing.assert_array_equal(ClassTarget.learn([0, 1]).probabilities(outputs), [[1, 0], [0, 1]])
    many = ClassTarget.learn([0, 1, 2]).probabilities(np.array([[1e4, 0, -1e4]], dtype=np.float32))
    np.testing.assert_array_equal(many, [[1, 0, 0]])


@pytest.mark.parametrize("known, new", [("ab", "c"), ("bd", "a"), ("bd", "c"), ("abc", "d")])
def test_unseen_labels_are_named(known, new):
    with pytest.raises(
        ValueError, match=rf"not seen in the training data: \['{new}'\]; known are \['{known[0]}'"
    ):
        ClassTarget.learn(list(known)).encode([known[0], new])


def test_labels_of_another_kind_are_unseen():
    with pytest.raises(ValueError, match="not seen"):
        ClassTarget.learn([0, 1]).encode(np.array(["0", "1"]))
    with pytest.raises(ValueError, match="not seen"):
        ClassTarget.learn(["a", "b"]).encode(np.array([0, 1]))


def test_several_labels(rng):
    Y = rng.integers(0, 2, (20, 4))
    target = MultilabelTarget.learn(Y)
    outputs = rng.normal(size=(20, 4)).astype(np.float32)
    probabilities = target.probabilities(outputs)
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-outputs)), rtol=1e-5)
    np.testing.assert_array_equal(target.decode(outputs), (probabilities > 0.5).astype(int))
    loss = target.loss(torch.from_numpy(outputs), torch.from_numpy(target.encode(Y)))
    chances = np.where(Y == 1, probabilities, 1 - probabilities)
    np.testing.assert_allclose(loss, -np.log(chances).mean(axis=1), rtol=1e-4)
    with pytest.raises(ValueError, match=r"expected \(n_proteins, 4\)"):
        target.encode(Y[:, :3])


@pytest.mark.parametrize("shape", [(30,), (30, 3)])
def test_values_are_standardised_and_brought_back(shape, rng):
    y = rng.normal(100, 25, shape)
    target = ValueTarget.learn(y)
    encoded = target.encode(y)
    np.testing.assert_allclose(encoded.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(encoded.std(axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(target.decode(encoded), y, rtol=1e-5)
    assert target.decode(encoded).shape == shape
    loss = target.loss(torch.zeros(30, target.n_outputs), torch.from_numpy(encoded))
    assert float(loss.mean()) == pytest.approx(mean_squared_error(encoded, np.zeros_like(encoded)), rel=1e-5)


def test_constant_values_are_not_divided_by_zero():
    target = ValueTarget.learn([3.0, 3.0])
    np.testing.assert_array_equal(target.encode([3.0, 4.0]), [[0.0], [1.0]])


@pytest.mark.parametrize("value", [0.1, 1e-6, -3.7, 0.0, 1e9])
def test_constants_are_predicted_as_they_are(value):
    """However the mean of so many rounds: that of 3 times 0.1 is not 0.1."""
    outputs = np.array([[0.3], [-2.0]], dtype=np.float32)
    for n in range(1, 30):
        found = ValueTarget.learn([value] * n).decode(outputs)
        np.testing.assert_allclose(found, [value] * 2, rtol=1e-12)
    columns = ValueTarget.learn(np.array([[value, 1.0], [value, 3.0], [value, 2.0]]))
    assert columns.scale[0] == 0
    assert columns.scale[1] == pytest.approx(np.sqrt(2 / 3))
    y = check_residue_y([np.full(3, value), np.full(4, value)], ["ACD", "ACDE"], kind="values")
    [row] = ResidueValueTarget.learn(y).decode(Ragged(torch.tensor([[0.3], [-2.0]]), [2]))
    np.testing.assert_allclose(row, [value] * 2, rtol=1e-12)


def test_values_of_other_width_are_refused():
    with pytest.raises(ValueError, match="y has 2 columns, expected 1"):
        ValueTarget.learn([1.0, 2.0]).encode(np.ones((3, 2)))


@pytest.mark.parametrize(
    "y",
    [
        ["a", "b", "a"],
        np.array([0, 1, 0], dtype=np.int8),
        [True, False, True],
        pd.Series(["a", "b", "a"], index=[5, 6, 7]),
        pd.Series(["a", "b", "a"], dtype="category"),
        np.array(["a", "b", "a"], dtype=object),
        np.array(["a", "b", "a"], dtype=np.dtypes.StringDType()),
        np.ma.array([0, 1, 0]),
        polars.Series(["a", "b", "a"]),
        ("a", "b", "a"),
    ],
    ids=lambda y: type(y).__name__,
)
def test_class_labels_of_every_kind(y):
    checked = check_class_y(y, 3)
    assert checked.shape == (3,)
    assert checked.tolist() == list(y)


def test_indicators_of_every_kind():
    Y = np.array([[0, 1], [1, 1], [0, 0]])
    for given in (Y, Y.tolist(), csr_matrix(Y), pd.DataFrame(Y)):
        np.testing.assert_array_equal(check_class_y(given, 3), Y)


@pytest.mark.parametrize(
    "y, message",
    [
        (None, "y is None"),
        ("a", "a single value"),
        (["a", "b"], "X has 3 proteins and y has 2 rows"),
        (["a", None, "b"], "missing .* in 1 row: 1;"),
        ([0.0, np.nan, np.nan], "missing .* in 2 rows: 1, 2;"),
        (pd.Series([0, 1, None], dtype="Int64"), "missing .* in 1 row: 2;"),
        ([0.5, 1.5, 2.5], "For numbers use a regressor"),
        (np.ones((3, 2), dtype=int) * [1, 2], "indicator of 0 and 1"),
        (np.ones((3, 2), dtype=int) * [-1, 1], "indicator of 0 and 1"),
        (np.array(["a", 1, "b"], dtype=object), "mixes text and other labels"),
        ([["a"], ["b"], ["a", "b"]], "lists or sets of labels.*MultiLabelBinarizer"),
        (["a", np.nan, "b"], "missing .* in 1 row: 1;"),
        (("a", "b", float("nan")), "missing .* in 1 row: 2;"),
        (np.array(["a", np.nan, "b"], dtype=np.dtypes.StringDType(na_object=np.nan)), "in 1 row: 1;"),
        (np.ma.array([0, 1, 1], mask=[0, 0, 1]), "missing .* in 1 row: 2;"),
        (["a", 1, "b"], "mixes text and other labels"),
    ],
)
def test_bad_labels(y, message):
    with pytest.raises(ValueError, match=message):
        check_class_y(y, 3)


@pytest.mark.parametrize("y", [[1, 2, 3], [True, False, True], pd.Series([1.0, 2.0, 3.0]), ["1", "2.5", "3"]])
def test_values_of_every_kind(y):
    assert check_value_y(y, 3).dtype == np.float64


def test_a_column_of_values_is_made_flat():
    with pytest.warns(DataConversionWarning):
        assert check_value_y(np.ones((3, 1)), 3).shape == (3,)


@pytest.mark.parametrize(
    "y, message",
    [
        (["high", "low", "low"], "no number in 3 rows: 0, 1, 2 .*'high'.* takes floats. For labels use a cl"),
        (["1", "2", "3 mM"], "no number in 1 row: 2 .*'3 mM'"),
        (np.array([1.0, {}, 2.0], dtype=object), "no number in 1 row: 1 "),
        ([1.0, 2 + 1j, 2.0], "no number in 3 rows"),
        ([[1.0], [2.0, 3.0], [4.0]], "rows of different lengths"),
        (np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0]), "missing .* in 1 row: 1;"),
        ([1.0, np.inf, -np.inf], "infinite in 2 rows: 1, 2;"),
        ([1.0, np.nan, 2.0], "missing .* in 1 row: 1;"),
        ([[1.0, 2.0], [None, 1.0], [1.0, 1.0]], "missing .* in 1 row: 1;"),
        (np.ones((3, 2, 2)), r"expected \(n_proteins,\)"),
        (np.ones(4), "X has 3 proteins and y has 4 rows"),
    ],
)
def test_bad_values(y, message):
    with pytest.raises(ValueError, match=message):
        check_value_y(y, 3)


def test_weights():
    np.testing.assert_array_equal(check_weights(None, 3), [1, 1, 1])
    np.testing.assert_array_equal(check_weights([0, 2, 1], 3), [0, 2, 1])
    for bad, message in (
        ([0, 0, 0], "0 for every protein"),
        ([1, 2], "sample_weight"),
        ([1, -1, 1], "negative in 1 row: 1"),
        ([1, np.nan, 1], "sample_weight is missing in rows 1"),
        ([1, 1e308, 1], r"sample_weight is up to 1e\+308, too large to add up. Divide it by a constant"),
    ):
        with pytest.raises(ValueError, match=message):
            check_weights(bad, 3)
