"""Rows of proteins, targets, weights and groups stay together, and validation sets are fair."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plmlearn.estimators.dataset import Dataset


def draw(n_rows: int, y, groups=None) -> Dataset:
    """Rows that carry their own number in everything."""
    sequences = np.array(["A" * (i + 1) for i in range(n_rows)], dtype=object)
    return Dataset(sequences, np.asarray(y), np.arange(1.0, n_rows + 1), groups, 0)


def numbers(labelled: Dataset) -> list[int]:
    """The numbers of the rows, the same whatever they are read from."""
    lengths = [len(sequence) for sequence in labelled.sequences]
    assert lengths == labelled.weights.tolist()
    return [length - 1 for length in lengths]


def test_taking_rows_keeps_them_together():
    groups = np.array(list("abcd"))
    taken = draw(4, [3, 2, 1, 0], groups).take(np.array([2, 0]))
    assert numbers(taken) == [2, 0]
    assert taken.y.tolist() == [1, 3]
    assert taken.groups.tolist() == ["c", "a"]


@settings(deadline=None, max_examples=40)
@given(n_rows=st.integers(4, 60), fraction=st.floats(0.1, 0.6), seed=st.integers(0, 99))
def test_every_row_is_on_one_side(n_rows, fraction, seed):
    training, validation = draw(n_rows, np.arange(n_rows) % 2).hold_out(fraction, seed, stratify=True)
    assert sorted(numbers(training) + numbers(validation)) == list(range(n_rows))
    assert len(validation.y) == int(np.ceil(fraction * n_rows))


@pytest.mark.parametrize("labels", [[0, 1], ["a", "b"], [True, False]])
def test_classes_have_equal_shares(labels):
    y = np.array(labels)[(np.arange(100) % 5 == 0).astype(int)]
    training, validation = draw(100, y).hold_out(0.2, 0, stratify=True)
    assert np.sum(validation.y == labels[1]) == 4
    assert np.sum(training.y == labels[1]) == 16


def test_a_class_of_one_protein_is_no_error():
    training, validation = draw(10, [0] * 9 + [1]).hold_out(0.3, 0, stratify=True)
    assert len(training.y) == 7
    assert len(validation.y) == 3


@settings(deadline=None, max_examples=40)
@given(groups=st.lists(st.integers(0, 5), min_size=6, max_size=40), seed=st.integers(0, 99))
def test_no_group_is_on_both_sides(groups, seed):
    """Groups of similar proteins are not cut, so that validation does not leak."""
    if len(set(groups)) < 2:
        return
    groups = np.array(groups)
    training, validation = draw(len(groups), np.zeros(len(groups)), groups).hold_out(0.3, seed, stratify=True)
    assert not set(training.groups) & set(validation.groups)
    assert sorted(numbers(training) + numbers(validation)) == list(range(len(groups)))


def test_there_must_be_two_parts():
    with pytest.raises(ValueError, match=r"part of the groups aside .* 1 in all.*X_val"):
        draw(9, np.zeros(9), np.full(9, "same")).hold_out(0.3, 0, stratify=True)
    with pytest.raises(ValueError, match=r"part of the proteins aside .* 1 in all"):
        draw(1, [1.0]).hold_out(0.3, 0, stratify=True)


def test_the_seed_decides():
    labelled = draw(30, np.zeros((30, 2)))
    splits = [numbers(labelled.hold_out(0.3, seed, stratify=True)[1]) for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]
