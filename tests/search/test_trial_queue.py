"""Trials in a storage that processes share: none is lost or run twice, whoever is killed."""

import json
import os
import time
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from scipy.stats import loguniform
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from plmlearn.search import PLMSearchCV, estimator, queue

X, y = make_classification(90, random_state=0)
SPACE = {"C": loguniform(1e-4, 1e2), "fit_intercept": [True, False]}
N_TRIALS = 10


class Slow(LogisticRegression):
    """Takes its time, and writes down what it fits."""

    def fit(self, X, y):
        time.sleep(0.03)
        return super().fit(X, y)


def make_search(storage, sampler="random", **options):
    return PLMSearchCV(
        Slow(), SPACE, n_trials=N_TRIALS, cv=3, sampler=sampler, storage=storage, random_state=0, **options
    )


def run(storage, sampler="random"):
    make_search(storage, sampler, refit=False).fit(X, y)


def study_in(storage):
    return optuna.load_study(study_name="plmlearn", storage=queue.open_storage(storage))


def finished(storage):
    """What is stored of trials that have ended, by number."""
    trials = study_in(storage).get_trials(states=(TrialState.COMPLETE,))
    return {trial.number: (trial.params, trial.values, trial.user_attrs[queue.RESULT]) for trial in trials}


def wait_for(storage, n_finished):
    while not Path(storage).exists() or not Path(storage).stat().st_size:
        time.sleep(0.01)
    backend = queue.open_storage(storage)
    while True:
        try:
            study = optuna.load_study(study_name="plmlearn", storage=backend)
            if len(study.get_trials(states=(TrialState.COMPLETE,))) >= n_finished:
                return
        except KeyError:  # not yet there
            pass
        time.sleep(0.01)


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_search_that_was_killed_goes_on(sampler, tmp_path, fresh_processes):
    """Also where a line was being written; even TPE suggests what it would have suggested."""
    storage = tmp_path / "journal"
    for n_finished in (0, 3, 6):
        process = fresh_processes.Process(target=run, args=(storage, sampler))
        process.start()
        wait_for(storage, n_finished)
        process.kill()
        process.join()
        before = finished(storage)
        with storage.open("a") as file:
            file.write('{"op_code":5,"worker_id":"kil')
    search, whole = make_search(storage, sampler).fit(X, y), make_search(None, sampler).fit(X, y)
    after = finished(storage)
    assert before.items() <= after.items()
    slots = [
        trial.user_attrs[queue.SLOT] for trial in study_in(storage).get_trials(states=(TrialState.COMPLETE,))
    ]
    assert sorted(slots) == list(range(N_TRIALS))
    assert search.best_params_ == whole.best_params_
    for name in ("params", "state", "n_folds_run", "value", "mean_test_score"):
        np.testing.assert_array_equal(search.cv_results_[name], whole.cv_results_[name])


@pytest.mark.parametrize("names", [["C"], ["C", "fit_intercept"]])
def test_a_process_that_died_between_two_draws_changes_nothing(names, tmp_path):
    """The second parameter is drawn as if nothing had happened, not with the number that the first had."""
    storage = tmp_path / "journal"
    with pytest.raises(ValueError, match="No trial has ended within timeout"):
        make_search(storage, "tpe", timeout=1e-9).fit(X, y)
    whole = make_search(None, "tpe").fit(X, y)
    for _ in range(3):
        trial = study_in(storage).ask()
        trial.set_user_attr(queue.OWNER, {**queue._this_process(), "since": 0.0})
        drawn = whole.study_.trials[trial.user_attrs[queue.SLOT]]
        for name in names:
            value = drawn.distributions[name].to_internal_repr(drawn.params[name])
            trial.storage.set_trial_param(trial._trial_id, name, value, drawn.distributions[name])
    search = make_search(storage, "tpe").fit(X, y)
    np.testing.assert_array_equal(search.cv_results_["params"], whole.cv_results_["params"])


@pytest.mark.parametrize("kind", ["{}", "sqlite:///{}"])
def test_processes_share_a_search(kind, tmp_path, fresh_processes):
    """One of the two is killed; the other and this one do the rest, each trial once."""
    path = tmp_path / "shared"
    storage = kind.format(path)
    processes = [fresh_processes.Process(target=run, args=(storage,)) for _ in range(2)]
    for process in processes:
        process.start()
    if kind == "{}":
        wait_for(storage, 2)
        processes[0].kill()
    search = make_search(storage).fit(X, y)
    for process in processes:
        process.join()
    trials = [trial for trial in search.study_.trials if trial.state == TrialState.COMPLETE]
    assert sorted(trial.user_attrs[queue.SLOT] for trial in trials) == list(range(N_TRIALS))
    assert processes[1].exitcode == 0
    alone = make_search(None).fit(X, y)
    assert search.best_params_ == alone.best_params_
    owners = {trial.user_attrs[queue.OWNER]["pid"] for trial in trials}
    assert len(owners) > 1


def test_joblib_runs_trials_side_by_side(tmp_path):
    search = make_search(None, n_jobs=2, p_threshold=None).fit(X, y)
    alone = make_search(None, p_threshold=None).fit(X, y)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])
    assert [trial.state for trial in search.study_.trials] == [TrialState.COMPLETE] * N_TRIALS
    pids = {trial.user_attrs[queue.OWNER]["pid"] for trial in search.study_.trials}
    assert os.getpid() not in pids


def test_the_time_is_counted_once_over_all_processes(monkeypatch):
    """Here the workers begin nothing before it is over, and this process then begins nothing either."""
    monkeypatch.setattr(estimator, "Parallel", lambda n_jobs: lambda calls: time.sleep(0.2))
    with pytest.raises(ValueError, match="No trial has ended within timeout"):
        make_search(None, n_jobs=2, timeout=0.1).fit(X, y)


def test_a_trial_of_a_silent_machine_is_run_again(monkeypatch, tmp_path):
    monkeypatch.setattr(queue, "GRACE_SECONDS", 0.3)
    storage = tmp_path / "journal"
    make_search(storage, timeout=1e-9)  # nothing yet
    with pytest.raises(ValueError, match="No trial has ended within timeout"):
        make_search(storage, timeout=1e-9).fit(X, y)
    study = study_in(storage)
    trial = study.ask()
    elsewhere = {"machine": "elsewhere", "pid": os.getpid(), "since": 0.0}
    trial.set_user_attr(queue.OWNER, elsewhere)
    search = make_search(storage).fit(X, y)
    states = [(t.user_attrs[queue.SLOT], t.state) for t in search.study_.trials]
    slot = trial.user_attrs[queue.SLOT]
    assert states[trial.number] == (slot, TrialState.FAIL)
    assert sorted(s for s, state in states if state == TrialState.COMPLETE) == list(range(N_TRIALS))
    with pytest.raises(RuntimeError):  # if it speaks up after all, nobody listens
        trial.set_user_attr(queue.BEAT, 1)


def test_signs_of_life_keep_a_trial(monkeypatch):
    monkeypatch.setattr(queue, "GRACE_SECONDS", 0.05)
    study = optuna.create_study()
    trial = study.ask()
    trial.set_user_attr(queue.OWNER, {"machine": "elsewhere", "pid": 1, "since": 0.0})
    trials = queue.TrialQueue(study, {}, 1)
    for beat in range(4):
        trial.set_user_attr(queue.BEAT, beat)
        assert not trials._is_dead(study.trials[0])
        time.sleep(0.06)
    assert trials._is_dead(study.trials[0])


def test_a_process_gives_signs_of_life(monkeypatch):
    monkeypatch.setattr(queue, "BEAT_SECONDS", 0.01)
    study = optuna.create_study()
    trials = queue.TrialQueue(study, {0: {}}, 1)
    with trials.beating():
        trial = trials.take()
        time.sleep(0.1)
        assert study.trials[0].user_attrs[queue.BEAT] > study.trials[0].user_attrs[queue.OWNER]["since"]
        assert not trials._is_dead(study.trials[0])
        assert trials.take() is None
        assert trials.release(trial)
    assert trials.take().user_attrs[queue.SLOT] == 0


def test_of_two_trials_of_a_slot_the_first_counts():
    study = optuna.create_study()
    for _ in range(2):
        study.enqueue_trial({}, user_attrs={queue.SLOT: 0})
    one, other = queue.TrialQueue(study, {0: {}}, 2), queue.TrialQueue(study, {0: {}}, 2)
    assert one.take().number == 0
    assert other.take() is None
    assert [trial.state for trial in study.trials] == [TrialState.RUNNING, TrialState.FAIL]


def test_a_file_that_is_no_journal_is_refused(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("sequence,y\nMKV,1\nGSH,0\n")
    with pytest.raises(ValueError, match=r"table\.csv' is no journal of Optuna"):
        make_search(path).fit(X, y)
    assert path.read_text().startswith("sequence,y")
    with pytest.raises(ValueError, match="is no journal"):
        make_search(tmp_path).fit(X, y)  # a folder
    path.write_text(json.dumps([1]) + "\n")
    with pytest.raises(ValueError, match="is no journal"):
        make_search(path).fit(X, y)


def test_who_asked_too_late_leaves_a_trial_alone():
    study = optuna.create_study()
    first, second = (queue.TrialQueue(study, {0: {}}, 1) for _ in range(2))
    first.fill()
    waiting = study.get_trials(deepcopy=True)[0]
    trial = first.take()
    assert not second._claim(waiting)
    second.fill()
    assert [t.state for t in study.trials] == [TrialState.RUNNING]
    first.finish(trial, {"state": "complete"}, TrialState.COMPLETE, 1.0)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE]
