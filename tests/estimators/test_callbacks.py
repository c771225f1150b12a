"""Functions and skorch's callbacks work or are refused by name; what they record is in the history."""

import importlib.util
import sys

import numpy as np
import pytest
import skorch.callbacks as skc
import torch
from sklearn.metrics import f1_score, matthews_corrcoef
from sklearn.model_selection import cross_val_score

import plmlearn
from plmlearn import PLMLoRAClassifier, PLMMaskedLM
from plmlearn.estimators import callbacks as callbacks_of_sklearn
from plmlearn.training import engine

N_EPOCHS, N_STEPS = 3, 2


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


def column(classifier, name: str) -> list:
    return [epoch[name] for epoch in classifier.history_]


# -- functions ------------------------------------------------------------------------------------


def test_a_function_sees_each_epoch_as_the_history_has_it(make, X, y):
    seen = []
    scoring = skc.EpochScoring("accuracy", lower_is_better=False)
    classifier = make(callbacks=[seen.append, scoring]).fit(X, y, X_val=X, y_val=y)
    assert seen == classifier.history_
    assert len(seen) == N_EPOCHS
    assert "accuracy" in seen[0]


def test_a_function_ends_training_and_everyone_sees_the_last_epoch(make, X, y):
    seen = []
    callbacks = [lambda epoch: epoch["epoch"] == 2, seen.append]
    classifier = make(callbacks=callbacks).fit(X, y)
    assert column(classifier, "epoch") == [1, 2] == [epoch["epoch"] for epoch in seen]


def test_all_callbacks_see_the_epoch_at_which_patience_ends(make, X, y):
    seen = []
    classifier = make(epochs=20, patience=2, early_stopping=True, lr=3e-3, callbacks=[seen.append])
    classifier.set_params(scoring=lambda estimator, X, y: 0.5).fit(X, y)
    assert len(seen) == len(classifier.history_) == 3


def test_functions_report_to_the_caller_from_every_fold(make, X, y):
    seen = []
    cross_val_score(make(callbacks=[lambda epoch: seen.append(epoch["epoch"])]), X, y, cv=2)
    assert seen == [1, 2, 3] * 2


class Shared(skc.Callback):
    """A callback that clones share."""

    def __init__(self):
        self.epochs = []

    def __sklearn_clone__(self):
        return self

    def on_epoch_end(self, net, **kwargs):
        self.epochs.append(net.history[-1, "epoch"])


def test_a_callback_of_skorch_may_be_shared_by_clones(make, X, y):
    shared = Shared()
    cross_val_score(make(callbacks=[shared]), X, y, cv=2)
    assert shared.epochs == [1, 2, 3] * 2


# -- callbacks of skorch --------------------------------------------------------------------------


def test_scoring_callbacks_score_the_validation_samples(make, X, y):
    predicted = []

    def by_hand(estimator, sequences, labels):
        assert list(sequences) == X[:7]
        predicted.append(estimator.predict(sequences))
        return f1_score(labels, predicted[-1], average="macro", zero_division=0)

    callbacks = [
        skc.EpochScoring("f1_macro", lower_is_better=False),
        skc.EpochScoring(matthews_corrcoef, name="mcc", lower_is_better=None),
        skc.EpochScoring(by_hand, lower_is_better=True),
        ("named", skc.BatchScoring("accuracy", lower_is_better=False)),
    ]
    classifier = make(callbacks=callbacks, lr=3e-3).fit(X, y, X_val=X[:7], y_val=y[:7])
    scores = column(classifier, "by_hand")
    assert column(classifier, "f1_macro") == scores
    assert column(classifier, "mcc") == [matthews_corrcoef(y[:7], labels) for labels in predicted]
    assert column(classifier, "accuracy") == [np.mean(labels == y[:7]) for labels in predicted]
    lowest_before = [min(scores[:i], default=2) for i in range(N_EPOCHS)]
    assert column(classifier, "by_hand_best") == [s < low for s, low in zip(scores, lowest_before)]
    assert "mcc_best" not in classifier.history_[0]


def test_early_stopping_monitors_what_a_scoring_callback_records(make, X, y):
    stop = skc.EarlyStopping(monitor="constant", patience=2, sink=lambda text: None)
    scoring = skc.EpochScoring(lambda estimator, X, y: 1.0, name="constant")
    classifier = make(epochs=9, callbacks=[stop, scoring]).fit(X, y, X_val=X, y_val=y)
    assert column(classifier, "constant") == [1.0] * 3


def test_a_scheduler_of_skorch_replaces_schedule_and_warmup(make, X, y):
    rates = []

    class Rates(skc.Callback):
        def on_grad_computed(self, net, **kwargs):
            rates.append([group["lr"] for group in net.optimizer_.param_groups])

    by_epoch = skc.LRScheduler("StepLR", step_size=1, gamma=0.5)
    classifier = make(callbacks=[by_epoch, Rates()], lr=0.01, head_lr=0.02, warmup=0.5).fit(X, y)
    factors = np.repeat([1, 0.5, 0.25], N_STEPS)
    np.testing.assert_allclose([max(r) for r in rates], 0.02 * factors)
    np.testing.assert_allclose([min(r) for r in rates], 0.01 * factors)
    assert set(column(classifier, "event_lr")) <= {0.02, 0.01, 0.005, 0.0025}

    rates.clear()
    by_step = skc.LRScheduler(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5, step_every="batch")
    make(callbacks=[by_step, Rates()], lr=0.02, head_lr=0.02).fit(X, y)
    np.testing.assert_allclose(np.ravel(rates)[:: len(rates[0])], 0.02 * 0.5 ** np.arange(6))

    rates.clear()
    never_good = {"monitor": "valid_loss", "patience": 0, "threshold": 9.0, "factor": 0.5}
    plateau = skc.LRScheduler("ReduceLROnPlateau", **never_good)
    make(callbacks=[plateau, Rates()], lr=0.02, head_lr=0.02).fit(X, y, X_val=X, y_val=y)
    np.testing.assert_allclose([r[0] for r in rates], 0.02 * factors)


def test_print_log_prints_a_row_per_epoch(make, X, y, capsys):
    scoring = skc.EpochScoring("accuracy", lower_is_better=False)
    make(callbacks=[skc.PrintLog(), scoring]).fit(X, y, X_val=X, y_val=y)
    header, _, *rows = capsys.readouterr().out.splitlines()
    assert {"epoch", "train_loss", "valid_loss", "accuracy"} <= set(header.split())
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]


class Records(skc.Callback):
    def on_epoch_end(self, net, **kwargs):
        net.history.record("norm", torch.linalg.norm(next(net.module_.parameters())))
        net.history.record("answer", np.int64(42))


def test_what_callbacks_record_is_in_the_history_as_plain_numbers(make, X, y, tmp_path):
    classifier = make(callbacks=[Records()]).fit(X, y)
    assert {type(value) for value in column(classifier, "norm")} == {float}
    assert column(classifier, "answer") == [42] * N_EPOCHS
    plmlearn.save(classifier.set_params(callbacks=None), tmp_path / "model")
    assert plmlearn.load(tmp_path / "model").history_ == classifier.history_


REFUSED = {
    "Checkpoint: the best epoch is kept anyway": skc.Checkpoint(),
    "TrainEndCheckpoint: plmlearn.save": skc.TrainEndCheckpoint(),
    "LoadInitState: warm_start=True": skc.LoadInitState(skc.Checkpoint()),
    "Freezer: the adapter decides": skc.Freezer("encoder.*"),
    "InputShapeSetter: a model has": skc.InputShapeSetter(),
    "ProgressBar: verbose=1": skc.ProgressBar(),
    "EarlyStopping: the best epoch is kept anyway": skc.EarlyStopping("train_loss", load_best=True),
    "EarlyStopping: it monitors 'valid_loss', and nothing is held out": skc.EarlyStopping(),
    "EpochScoring: nothing is held out": skc.EpochScoring("accuracy"),
    "EpochScoring: on_train=True": skc.EpochScoring("accuracy", on_train=True),
    "BatchScoring: scoring is None": skc.BatchScoring(None),
    "PrintLog: this is the class": skc.PrintLog,
    "int: expected a callback of skorch, or a function": 3,
}


def test_the_others_are_refused_by_name_before_the_backbone_is_loaded(X, y):
    classifier = PLMLoRAClassifier("no/such-backbone", callbacks=list(REFUSED.values()))
    with pytest.raises(ValueError, match="callbacks: ") as caught:
        classifier.fit(X, y)
    assert [reason for reason in REFUSED if reason not in str(caught.value)] == []


def test_masked_language_models_take_functions_alone(X):
    with pytest.raises(ValueError, match=r"PrintLog cannot work here\. PLMMaskedLM takes functions"):
        PLMMaskedLM("no/such-backbone", callbacks=[skc.PrintLog()]).fit(X)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_the_progress_bar_is_closed_however_a_fit_ends(make, X, y, monkeypatch, error):
    bars = []
    tqdm = engine.tqdm
    monkeypatch.setattr(
        engine, "tqdm", lambda **options: bars.append(tqdm(**options | {"disable": False})) or bars[-1]
    )

    def fail(epoch):
        raise error

    with pytest.raises(error):
        make(verbose=1, callbacks=[fail]).fit(X, y)
    assert [bar.disable for bar in bars] == [True]  # tqdm's word for closed


def test_an_older_scikit_learn_has_no_callbacks(monkeypatch):
    """As ``plmlearn.estimators.callbacks`` is with scikit-learn 1.7 and 1.8."""
    monkeypatch.setitem(sys.modules, "sklearn.callback", None)
    spec = importlib.util.spec_from_file_location("plmlearn.estimators.older", callbacks_of_sklearn.__file__)
    older = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, older)
    spec.loader.exec_module(older)
    assert not hasattr(older.CallbackSupportMixin, "set_callbacks")
    assert older.with_callbacks(len) is len
