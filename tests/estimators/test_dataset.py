"""Rows of proteins, targets, weights and groups stay together, and validation sets are fair."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import ShuffleSplit

from plmlearn.estimators.dataset import Dataset, warn_of_near_duplicates
from plmlearn.model_selection import PairWarning
from plmlearn.sequences.clean import with_state


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


@pytest.mark.parametrize("labels", [[0, 1], ["a", "b"], [True, False], [0.0, 1.0]])
def test_classes_have_equal_shares(labels):
    y = np.array(labels)[(np.arange(100) % 5 == 0).astype(int)]
    training, validation = draw(100, y).hold_out(0.2, 0, stratify=True)
    assert np.sum(validation.y == labels[1]) == 4
    assert np.sum(training.y == labels[1]) == 16


@pytest.mark.parametrize("seed", range(10))
def test_a_class_of_one_protein_stays_in_training(seed):
    training, validation = draw(10, [0] * 9 + [1]).hold_out(0.3, seed, stratify=True)
    assert sorted(training.y) == [0] * 6 + [1]
    assert validation.y.tolist() == [0] * 3


def test_measurements_are_no_classes():
    y = np.repeat([0.5, 1.5], 10)
    for seed in range(5):
        _, validation = draw(20, y).hold_out(0.2, seed, stratify=False)
        expected = next(ShuffleSplit(1, test_size=0.2, random_state=seed).split(y))[1]
        assert numbers(validation) == expected.tolist()


def test_labels_per_residue_are_not_stratified():
    y = np.empty(8, dtype=object)
    y[:] = [np.array(["H", "E"])] * 8
    training, validation = draw(8, y).hold_out(0.25, 0, stratify=True)
    assert (len(training.y), len(validation.y)) == (6, 2)


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


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 99))
def test_one_large_group_among_single_rows(seed):
    """Once between .05 and .64 of the rows."""
    groups = np.r_[np.zeros(60), np.arange(1, 41)]
    y = np.resize([0.0, 1.0, 1.0, 1.0, 1.0], 100)
    _, validation = draw(100, y, groups).hold_out(0.1, seed, stratify=True)
    assert len(validation.y) == 10
    assert validation.y.sum() == 8


def pairs(groups, y=None) -> Dataset:
    rows = np.arange(len(groups))
    sequences = np.array([("A" * (i + 1), "C") for i in rows], dtype=object)
    return Dataset(sequences, np.zeros(len(rows)) if y is None else y, rows + 1.0, np.asarray(groups), 0)


@pytest.mark.parametrize("seed", range(5))
def test_pairs_share_no_group_and_the_share_is_met(seed):
    """A sparse graph once held out a third."""
    groups = np.random.default_rng(seed).integers(0, 400, (200, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no pair is lost
        training, validation = pairs(groups).hold_out(0.1, seed, stratify=False)
    assert len(validation.y) in range(18, 23)
    assert len(training.y) + len(validation.y) == 200
    assert not set(training.groups.ravel()) & set(validation.groups.ravel())


def test_pairs_between_the_sides_are_left_out_and_counted():
    groups = np.random.default_rng(0).integers(0, 40, (300, 2))
    with pytest.warns(PairWarning) as said:
        training, validation = pairs(groups).hold_out(0.1, 0, stratify=False)
    assert not set(training.groups.ravel()) & set(validation.groups.ravel())
    n_lost = 300 - len(training.y) - len(validation.y)
    assert f"{n_lost} of 300 pairs are left out" in str(said[0].message)
    assert f"{len(training.y)} are trained on, {len(validation.y)} validate" in str(said[0].message)


def test_pairs_that_all_share_a_group_are_refused():
    with pytest.raises(ValueError, match=r"each pair shares a group with every other.*Pass X_val"):
        pairs([(0, i) for i in range(1, 9)]).hold_out(0.2, 0, stratify=False)


def test_a_missing_group_is_named():
    with pytest.raises(ValueError, match="groups is missing in rows 3; expected an entry in each"):
        draw(4, np.zeros(4), np.array(["a", "b", "a", None], dtype=object)).hold_out(0.5, 0, stratify=False)


def test_there_must_be_two_parts():
    with pytest.raises(ValueError, match=r"part of the groups aside .* 1 in all.*X_val"):
        draw(9, np.zeros(9), np.full(9, "same")).hold_out(0.3, 0, stratify=True)
    with pytest.raises(ValueError, match=r"part of the proteins aside .* 1 in all"):
        draw(1, [1.0]).hold_out(0.3, 0, stratify=True)


def test_the_seed_decides():
    labelled = draw(30, np.zeros((30, 2)))
    splits = [numbers(labelled.hold_out(0.3, seed, stratify=True)[1]) for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


def letters_of(sequences) -> Dataset:
    sequences = np.array(sequences, dtype=object)
    return Dataset(sequences, np.zeros(len(sequences)), np.ones(len(sequences)), None, 0)


A, B = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ", "MSDNGPQNQRNAPRITFGGPSDSTGSNQNGERSGAR"


def dress(sequence: str, states: str) -> str:
    """With structural states in turn, where there are any."""
    return "".join(map(with_state, sequence, itertools.cycle(states))) if states else sequence


@pytest.mark.parametrize("states", ["", "D", "DVP"], ids=["residues", "one state", "states"])
def test_near_duplicates_on_both_sides_are_told_once_with_counts(states):
    training = letters_of([dress(A, states), B])
    validation = letters_of([dress(s, states) for s in (A, A[:-1], B[:-2] + "KK", B[::-1])])
    expected = r"^early_stopping: 3 of 4 held-out proteins are nearly identical .*, 1 of them identical\."
    with pytest.warns(UserWarning, match=expected) as told:
        warn_of_near_duplicates(training, validation)
    assert len(told) == 1
    assert "params={'groups': groups}" in str(told[0].message)


def test_groups_variants_pairs_and_different_proteins_are_not_warned_of():
    warn_of_near_duplicates(letters_of([A, B]), letters_of([A[::-1], B[::-1]]))
    for states in ("", "DVP"):
        variants = [dress(s, states) for s in (A, A[:9] + "W" + A[10:], A[:-1] + "W")]
        warn_of_near_duplicates(letters_of(variants[:2]), letters_of(variants[2:]))
    warn_of_near_duplicates(letters_of([[A, B]]), letters_of([[B, A]]))
    grouped = Dataset(np.array([A], dtype=object), np.zeros(1), np.ones(1), np.zeros(1), 0)
    warn_of_near_duplicates(grouped, grouped)
