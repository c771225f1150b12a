"""Courses of the learning rate."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plmlearn.training.engine import SCHEDULES, schedule_shape


@pytest.mark.parametrize("schedule", SCHEDULES)
@given(st.integers(1, 300), st.floats(0, 1))
def test_schedules_rise_then_fall_and_never_stop_before_the_end(schedule, n_steps, warmup):
    shape = schedule_shape(schedule, warmup, n_steps)
    factors = [shape(step) for step in range(n_steps)]
    n_warmup = round(warmup * n_steps)
    assert factors[:n_warmup] == [(i + 1) / n_warmup for i in range(n_warmup)]
    rest = factors[n_warmup:]
    assert all(left >= right > 0 for left, right in itertools.pairwise(rest))
    assert not rest or rest[0] == 1.0


@pytest.mark.parametrize("schedule, half", [("linear", 0.5), ("cosine", 0.5), ("constant", 1.0)])
@pytest.mark.parametrize("n_steps", [100, 1000])
def test_schedules_depend_on_the_share_of_steps_done(schedule, half, n_steps):
    shape = schedule_shape(schedule, 0.2, n_steps)
    assert shape(int(0.1 * n_steps) - 1) == pytest.approx(0.5)
    assert shape(int(0.6 * n_steps)) == pytest.approx(half)
