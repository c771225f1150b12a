"""What an epoch draws: every sample once, equally many of each class where that is asked for."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plmlearn.backbones import load_backbone
from plmlearn.nn.packing import Ragged
from plmlearn.training.batching import Inputs
from plmlearn.training.config import TrainingConfig
from plmlearn.training.steps import Step, TrainingData, TrainingSteps, ValidationPass, draw_samples

CPU = torch.device("cpu")
SEQUENCES = ["MKVA", "A", "GG", "MKVA", "WWWWW"]


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return Inputs.of(load_backbone("mini"), SEQUENCES)


def steps_of(n_samples: int, batch_size: int, seed: int = 0, **settings) -> TrainingSteps:
    """Steps over samples of which only the number matters."""
    ones = np.ones(n_samples, dtype=np.float32)
    config = TrainingConfig(
        max_tokens=99, device=CPU, dtype=torch.float32, batch_size=batch_size, seed=seed, **settings
    )
    return TrainingSteps(TrainingData(None, ones, ones), config)


# -- draws ----------------------------------------------------------------------------------------


@given(st.integers(1, 50), st.integers(1, 20), st.integers(0, 99))
def test_an_epoch_draws_every_sample_once(n_samples, batch_size, seed):
    epoch = steps_of(n_samples, batch_size, seed)
    steps = [step.samples for step in epoch]
    assert sorted(np.concatenate(steps).tolist()) == list(range(n_samples))
    assert [len(samples) for samples in steps[:-1]] == [batch_size] * (len(steps) - 1)
    assert len(steps) == len(epoch) == -(-n_samples // batch_size)


def test_draws_differ_from_epoch_to_epoch_and_do_not_sort_by_length():
    epoch = steps_of(100, 10)
    first, second = (np.concatenate([step.samples for step in epoch]) for _ in range(2))
    assert not np.array_equal(first, second)
    assert abs(np.corrcoef(first, np.arange(100))[0, 1]) < 0.4


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 80), st.integers(0, 99))
def test_drawn_samples_are_even_over_classes_and_within_them(strata, n_drawn, seed):
    strata = np.array(strata)
    samples = draw_samples(len(strata), n_drawn, np.random.default_rng(seed), strata=strata)
    assert len(samples) == n_drawn
    classes = np.unique(strata)
    of_class = [(strata[samples] == c).sum() for c in classes]
    assert max(of_class) - min(of_class) <= 1
    for c in classes:
        times = np.bincount(samples, minlength=len(strata))[strata == c]
        assert max(times) - min(times) <= 1


def test_steps_are_numbered_through_all_epochs():
    epoch = steps_of(5, 2)
    numbers = [(step.number, step.epoch) for _ in range(2) for step in epoch]
    assert numbers == [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 2)]


def test_an_epoch_may_be_smaller_or_larger_than_the_data():
    assert [len(step.samples) for step in steps_of(10, 4, epoch_size=6)] == [4, 2]
    drawn = np.concatenate([step.samples for step in steps_of(3, 4, epoch_size=7)])
    assert len(drawn) == 7
    assert set(np.bincount(drawn).tolist()) == {2, 3}


# -- data -----------------------------------------------------------------------------------------


def test_a_step_counts_residues_and_losses_of_its_samples(inputs):
    ones = np.ones(5, dtype=np.float32)
    of_proteins = TrainingData(inputs, ones, ones)
    of_residues = TrainingData(inputs, ones, ones, sizes=np.array([4.0, 1, 0, 3, 5]))
    samples = np.array([3, 0, 2])
    assert Step(of_proteins, samples).n_residues == 4 + 4 + 2
    assert Step(of_proteins, samples).size == 3
    assert Step(of_residues, samples).size == 3 + 4 + 0


def test_a_step_of_pairs_counts_the_residues_of_both_proteins():
    pairs = np.array([["MKVA", "A"], ["GG", "GG"]], dtype=object)
    both = Inputs.of_pairs(load_backbone("mini"), pairs, ordered=True)
    ones = np.ones(2, dtype=np.float32)
    assert Step(TrainingData(both, ones, ones), np.array([0])).n_residues == 5
    assert Step(TrainingData(both, ones, ones), np.array([1])).n_residues == 4


def test_targets_are_those_of_the_samples(inputs):
    ones, samples = np.ones(5, dtype=np.float32), np.array([4, 1])
    numbers = TrainingData(inputs, np.arange(5, dtype=np.float32), ones)
    assert numbers.targets_of(samples, CPU).tolist() == [4, 1]
    rows = Ragged.of([torch.full((len(s),), i) for i, s in enumerate(SEQUENCES)])
    residues = TrainingData(inputs, rows, ones).targets_of(samples, CPU)
    assert residues.lengths == [5, 1]
    assert residues.values.tolist() == [4] * 5 + [1]


def test_a_validation_pass_is_one_step_of_all_samples(inputs):
    ones = np.ones(5, dtype=np.float32)
    (step,) = whole = ValidationPass(TrainingData(inputs, ones, ones))
    assert len(whole) == 1
    assert step.samples.tolist() == [0, 1, 2, 3, 4]
