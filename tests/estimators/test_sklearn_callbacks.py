"""scikit-learn's callbacks, from 1.9 on: a fit is a task and so is each epoch."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold

import plmlearn
from plmlearn import (
    PLMClassifier,
    PLMLoRAClassifier,
    PLMLoRARegressor,
    PLMPairClassifier,
    PLMPairRegressor,
    PLMRegressor,
    PLMResidueClassifier,
    PLMResidueRegressor,
    PLMSignalPeptideClassifier,
)

sklearn_callback = pytest.importorskip("sklearn.callback", reason="scikit-learn 1.9 or later")

N_EPOCHS = 3


@pytest.fixture(scope="module")
def X(draw_proteins):
    return draw_proteins(12, seed=3)


@pytest.fixture(scope="module")
def y(X):
    return np.arange(len(X)) % 2


@pytest.fixture
def make(esm_folder):
    def make_one(cls=PLMLoRAClassifier, **parameters):
        settings = {"epochs": N_EPOCHS, "batch_size": 6, "precision": "fp32", "random_state": 0, "verbose": 0}
        return cls(str(esm_folder), **settings | parameters)

    return make_one


class Tasks:
    """Notes the tasks, and what the fitted estimator of each predicts; stops after an epoch."""

    def __init__(self, X, last_epoch: int = 99):
        self.X, self.last_epoch = X, last_epoch
        self.events, self.predicted = [], []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None):
        self.events.append(f"{context.task_name} {context.task_id}")

    def on_fit_task_end(self, estimator, context, *, metadata=None, fitted_estimator=None):
        self.events.append("end")
        self.metadata = metadata
        self.predicted.append(fitted_estimator.predict_proba(self.X))
        return context.task_name == "epoch" and context.task_id + 1 == self.last_epoch


def test_a_fit_is_a_task_and_so_is_each_epoch(make, X, y):
    tasks, weights = Tasks(X), np.arange(1.0, 13.0)
    watched = make().set_callbacks(tasks).fit(X, y, sample_weight=weights)
    epochs = [event for i in range(N_EPOCHS) for event in (f"epoch {i}", "end")]
    assert tasks.events == ["setup", "fit 0", *epochs, "end", "teardown"]
    assert tasks.metadata["sample_weight"] is weights

    expected = make().fit(X, y, sample_weight=weights).predict_proba(X)  # nothing changes by being watched
    for predicted in (watched.predict_proba(X), tasks.predicted[-1], tasks.predicted[-2]):
        np.testing.assert_array_equal(predicted, expected)
    assert not np.array_equal(tasks.predicted[0], expected)


def test_a_callback_that_asks_to_stop_stops_after_the_epoch(make, X, y):
    tasks = Tasks(X, last_epoch=2)
    assert len(make().set_callbacks(tasks).fit(X, y).history_) == 2
    assert tasks.events[-3:] == ["end", "end", "teardown"]


def test_callbacks_are_torn_down_when_a_fit_fails(make, X, y):
    tasks = Tasks(X)
    with pytest.raises(ZeroDivisionError):
        make(callbacks=[lambda epoch: 1 / 0]).set_callbacks(tasks).fit(X, y)
    assert tasks.events[-1] == "teardown"


def test_the_end_of_a_fit_has_the_best_epoch(make, X, y):
    """With a validation set, the last epoch is not the one that stays."""
    tasks = Tasks(X)
    scores = iter([1.0, 0.0, 0.0])
    classifier = make(lr=3e-3, scoring=lambda estimator, X, y: next(scores)).set_callbacks(tasks)
    classifier.fit(X, y, X_val=X, y_val=y)
    np.testing.assert_array_equal(tasks.predicted[-1], classifier.predict_proba(X))
    np.testing.assert_array_equal(tasks.predicted[0], tasks.predicted[-1])
    assert not np.array_equal(tasks.predicted[2], tasks.predicted[-1])


def test_callbacks_harm_neither_clone_nor_pickle_nor_folders(make, X, y, tmp_path):
    monitor = sklearn_callback.ScoringMonitor(scoring="accuracy")
    classifier = make().set_callbacks(monitor).fit(X, y)
    assert [row["accuracy"] for row in monitor.get_logs().data][-1] == classifier.score(X, y)
    assert clone(classifier)._skl_callbacks[0] is monitor
    plmlearn.save(classifier, tmp_path / "model")
    for restored in (pickle.loads(pickle.dumps(classifier)), plmlearn.load(tmp_path / "model")):
        np.testing.assert_array_equal(restored.predict_proba(X), classifier.predict_proba(X))


LABELS = {
    PLMResidueClassifier: lambda sequence: "HE" * (len(sequence) // 2) + "H" * (len(sequence) % 2),
    PLMResidueRegressor: lambda sequence: np.arange(len(sequence)) / 10,
    PLMSignalPeptideClassifier: lambda sequence: "SP" if len(sequence) % 2 else "NO_SP",
}
PROTEINS = [PLMClassifier, PLMRegressor, PLMLoRAClassifier, PLMLoRARegressor]
PAIRS = [PLMPairClassifier, PLMPairRegressor]


@pytest.mark.parametrize("cls", [*PROTEINS, *PAIRS, *LABELS])
def test_a_search_with_a_progress_bar_around_every_tuned_estimator(cls, make, X, y):
    pytest.importorskip("rich")
    samples = list(zip(X, [*X[1:], X[0]])) if cls in PAIRS else X
    targets = [LABELS[cls](sequence) for sequence in X] if cls in LABELS else y
    estimator = make(cls, epochs=2)
    requests = copy.deepcopy(estimator.get_metadata_routing())
    search = GridSearchCV(estimator, {"batch_size": [6]}, cv=KFold(2))
    search.set_callbacks(sklearn_callback.ProgressBar())
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*callback.*")
        search.fit(samples, targets)
    assert len(search.best_estimator_.history_) == 2
    assert not hasattr(search.best_estimator_, "_skl_callbacks")
    assert str(estimator.get_metadata_routing()) == str(requests)
