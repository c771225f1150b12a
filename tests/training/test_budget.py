"""Running out of memory halves the budget; nothing is lost, and nothing comes twice."""

import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plmlearn.training.devices import Budget


def out_of_memory() -> torch.OutOfMemoryError:
    return torch.OutOfMemoryError("out of memory (simulated)")


# -- one piece of work ----------------------------------------------------------------------------


def test_work_that_fits_runs_once():
    budget, calls = Budget(1000), []
    assert budget.run(lambda: calls.append(1) or "done", 5000) == "done"
    assert len(calls) == 1
    assert budget.max_tokens == 1000


@pytest.mark.parametrize(
    "error", [out_of_memory(), MemoryError(), RuntimeError("can't allocate memory: 1 byte")], ids=repr
)
def test_work_is_done_again_with_half_the_budget_until_it_fits(error):
    budget, tried = Budget(1000), []

    def work():
        tried.append(budget.max_tokens)
        if budget.max_tokens > 300:
            raise error
        return "done"

    with pytest.warns(UserWarning, match="Out of memory: continuing with max_tokens=") as warned:
        assert budget.run(work, 5000) == "done"
    assert tried == [1000, 500, 250]
    assert len(warned) == 2
    assert budget.max_tokens == 250  # kept for what comes next


def test_a_budget_beyond_what_there_is_to_run_is_halved_from_that():
    budget, tried = Budget(100_000), []

    def work():
        tried.append(budget.max_tokens)
        if budget.max_tokens > 200:
            raise out_of_memory()

    with pytest.warns(UserWarning, match="max_tokens=200"):
        budget.run(work, 400)
    assert tried == [100_000, 200]


def test_the_smallest_budget_is_not_halved():
    budget, calls = Budget(64), []

    def work():
        calls.append(1)
        raise out_of_memory()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(torch.OutOfMemoryError, match="simulated"):
            budget.run(work, 5000)
    assert len(calls) == 1
    assert budget.max_tokens == 64


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes do not match"), ValueError("no"), KeyboardInterrupt()]
)
def test_other_errors_are_raised_at_once(error):
    def work():
        raise error

    budget = Budget(1000)
    with pytest.raises(type(error)):
        budget.run(work, 5000)
    assert budget.max_tokens == 1000


# -- batches --------------------------------------------------------------------------------------


@dataclass
class Part:
    samples: np.ndarray


def cut(costs: np.ndarray):
    """Samples in descending order of their costs, as many as fit together."""

    def make(samples, max_tokens):
        waiting = samples[np.argsort(-costs[samples], kind="stable")]
        while len(waiting):
            n = max(1, int(np.searchsorted(costs[waiting].cumsum(), max_tokens, side="right")))
            yield Part(waiting[:n])
            waiting = waiting[n:]

    return make


@given(
    st.lists(st.integers(1, 200), min_size=1, max_size=30),
    st.integers(64, 3000),
    st.integers(200, 3000),
    st.data(),
)
@settings(max_examples=100, deadline=None)
def test_every_sample_comes_once_wherever_memory_runs_out(costs, max_tokens, fits, draw):
    """The device holds ``fits`` tokens, and now and then it fails although a batch would fit."""
    costs = np.array(costs)
    chosen = draw.draw(st.lists(st.sampled_from(range(len(costs))), unique=True).map(sorted))
    moody = draw.draw(st.sets(st.integers(1, 6), max_size=2))
    calls, budget = [], Budget(max_tokens, smallest=1)

    def run(part):
        calls.append(part.samples)
        if costs[part.samples].sum() > fits or len(calls) in moody:
            raise out_of_memory()
        return costs[part.samples] * 10

    samples, found = np.array(chosen, dtype=int), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for part, result in budget.run_batches(cut(costs), run, samples, lambda s: int(costs[s].sum())):
                assert not found.keys() & set(part.samples.tolist())
                found.update(zip(part.samples.tolist(), result.tolist()))
        except torch.OutOfMemoryError:
            assert len(calls) in moody  # at a batch that cannot be made smaller
            return
    assert found == {i: 10 * int(costs[i]) for i in chosen}


def test_only_what_is_not_finished_is_cut_anew():
    costs, seen, budget = np.full(10, 100), [], Budget(400)

    def run(part):
        seen.append(part.samples.tolist())
        if len(seen) == 2:
            raise out_of_memory()
        return len(part.samples)

    with pytest.warns(UserWarning, match="max_tokens=200") as warned:
        parts = list(budget.run_batches(cut(costs), run, np.arange(10), lambda s: 100 * len(s)))
    assert len(warned) == 1
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7], [4, 5], [6, 7], [8, 9]]
    assert [(part.samples.tolist(), n) for part, n in parts] == [(s, len(s)) for s in [seen[0], *seen[2:]]]


def test_running_out_of_memory_while_a_batch_is_made_counts_too():
    budget, made = Budget(400), []

    def make(samples, max_tokens):
        for part in cut(np.full(8, 100))(samples, max_tokens):
            made.append(part.samples.tolist())
            if len(made) == 2:
                raise out_of_memory()
            yield part

    with pytest.warns(UserWarning, match="max_tokens=200"):
        found = [
            part.samples.tolist()
            for part, _ in budget.run_batches(make, lambda part: None, np.arange(8), lambda s: 100 * len(s))
        ]
    assert found == [[0, 1, 2, 3], [4, 5], [6, 7]]


def test_nothing_to_run_makes_no_batch():
    def fail(*_):
        raise AssertionError("called")

    assert list(Budget(100).run_batches(fail, fail, np.arange(0), fail)) == []


def test_an_error_where_the_results_are_used_is_not_taken_for_lack_of_memory():
    calls, budget = [], Budget(400)
    batches = budget.run_batches(cut(np.full(8, 100)), calls.append, np.arange(8), len)
    next(batches)
    with pytest.raises(torch.OutOfMemoryError):
        batches.throw(out_of_memory())
    assert len(calls) == 1
    assert budget.max_tokens == 400
