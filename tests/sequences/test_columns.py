"""Columns beside sequences: what is missing in them."""

import numpy as np
import pandas as pd
import pytest

from plmlearn.sequences.columns import as_array, check_labels, check_numbers

MASKED = np.ma.array([1.0, 2.0, 999.0], mask=[False, False, True])


@pytest.mark.parametrize(
    "y",
    [MASKED, MASKED.astype(int), [1, 2.0, None], ["1", "2", "nan"], pd.Series([1, 2, pd.NA], dtype="Int64")],
)
def test_missing_numbers(y):
    """Masked, None, NA and the text "nan" are nan where that is allowed, and are refused by row elsewhere."""
    np.testing.assert_array_equal(check_numbers(y, "y", missing=True), [1, 2, np.nan])
    with pytest.raises(ValueError, match="y is missing in rows 2; expected an entry in each"):
        check_numbers(y, "y")


def test_missing_entries_keep_what_the_others_are():
    numbers = as_array([[1, 2], [None, 3]], "y", missing=True)
    assert numbers.dtype == np.float64
    np.testing.assert_array_equal(numbers, [[1, 2], [np.nan, 3]])
    assert as_array(["in", np.nan, "out"], "y", missing=True).tolist() == ["in", None, "out"]
    masked = np.ma.array(["in", "out"], mask=[False, True])
    assert as_array(masked, "y", missing=True).tolist() == ["in", None]
    assert as_array([True, None], "y", missing=True).tolist() == [True, None]


@pytest.mark.parametrize(
    "entries, kind",
    [([0.5, 1], "f"), ([1, 2], "i"), ([True, False], "b"), (["a", "b"], "O"), ([1, "a"], "O")],
)
def test_entries_of_a_series_have_their_type(entries, kind):
    for y in (pd.Series(entries), np.array(entries, dtype=object), pd.DataFrame({"y": entries})):
        found = as_array(y, "y")
        assert (found.dtype.kind, found.ravel().tolist()) == (kind, entries)


def test_rows_of_several_entries_are_named():
    with pytest.raises(ValueError, match="y is missing in rows 1; expected"):
        check_labels(np.array([[0, 1], [np.nan, 1]]), "y")
    with pytest.raises(ValueError, match="y is infinite in rows 0; expected finite numbers"):
        check_numbers([[np.inf, 1], [0, 1]], "y")
