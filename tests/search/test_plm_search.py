"""PLMSearchCV against scikit-learn's searches, and what it does beyond them."""

import pickle
import sys

import numpy as np
import optuna
import pytest
import sklearn
from optuna.pruners import BasePruner
from optuna.trial import TrialState
from scipy.stats import loguniform, poisson
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.datasets import make_classification
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, KFold, RandomizedSearchCV, StratifiedKFold
from sklearn.utils import get_tags

from plmlearn import PLMClassifier, PLMLoRAClassifier
from plmlearn.adapters import Frozen, LoRA
from plmlearn.model_selection import ClusterKFold
from plmlearn.plotting import SearchDisplay
from plmlearn.search import PLMSearchCV

UNPRUNED = {"pruner": None, "p_threshold": None}
A, b = make_classification(60, random_state=0)
LOGISTIC = LogisticRegression()


@pytest.fixture(scope="module")
def X(draw_proteins):
    return draw_proteins(18, seed=4)


@pytest.fixture(scope="module")
def y():
    return np.array(["a", "b"] * 9)


@pytest.fixture(scope="module")
def clf(esm_folder):
    return PLMLoRAClassifier(esm_folder, epochs=3, last_n_layers=1, random_state=0, verbose=0)


def assert_same_results(found, expected):
    """All that does not depend on the clock, to the bit."""
    for name in (name for name in expected.cv_results_ if "time" not in name):
        mine, theirs = found.cv_results_[name], expected.cv_results_[name]
        if name == "params":
            assert mine == theirs
            continue
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(np.ma.filled(mine, -1), np.ma.filled(theirs, -1), name)
    assert found.best_params_ == expected.best_params_
    assert found.best_index_ == expected.best_index_
    assert found.best_score_ == expected.best_score_


class Never(BasePruner):
    def prune(self, study, trial):
        return False


@pytest.mark.parametrize(
    "settings", [UNPRUNED, {"pruner": Never(), "p_threshold": None}], ids=["off", "never"]
)
def test_a_grid_is_that_of_grid_search(settings, clf, X, y):
    """To the bit, also where the epochs are watched."""
    options = {"cv": 2, "scoring": ["accuracy", "neg_log_loss"], "refit": "neg_log_loss"}
    grid = {"rank": [2, 1], "lr": [1e-3, 1e-2]}
    expected = GridSearchCV(clf, grid, **options).fit(X, y)
    found = PLMSearchCV(clf, grid, sampler="grid", **options, **settings).fit(X, y)
    assert_same_results(found, expected)
    np.testing.assert_array_equal(found.predict_proba(X), expected.predict_proba(X))
    assert found.score(X, y) == expected.score(X, y)
    assert found.cv_results_["epochs_run"].tolist() == [6] * 4
    assert found.cv_results_["state"].tolist() == ["complete"] * 4


def test_a_random_search_is_that_of_scikit_learn():
    space = {"C": loguniform(1e-3, 1e3), "fit_intercept": [True, False]}
    found = PLMSearchCV(LOGISTIC, space, n_trials=8, sampler="random", random_state=3, **UNPRUNED).fit(A, b)
    seed = np.random.RandomState(3).randint(2**31 - 1)
    assert_same_results(found, RandomizedSearchCV(LOGISTIC, space, n_iter=8, random_state=seed).fit(A, b))
    assert found.cv_results_["epochs_run"].tolist() == [0] * 8


def test_whole_adapters(esm_folder, X, y):
    clf = PLMClassifier(esm_folder, epochs=1, random_state=0, verbose=0)
    grids = [{"adapter": [Frozen()]}, {"adapter": [LoRA()], "adapter__rank": [1, 2]}]
    found = PLMSearchCV(clf, grids, sampler="grid", cv=2, **UNPRUNED).fit(X, y)
    assert_same_results(found, GridSearchCV(clf, grids, cv=2).fit(X, y))
    suggested = PLMSearchCV(clf, grids[1], n_trials=3, cv=2, random_state=0).fit(X, y)
    assert all(isinstance(params["adapter"], LoRA) for params in suggested.cv_results_["params"])


# -- pruning --------------------------------------------------------------------------------------


class Known(ClassifierMixin, BaseEstimator):
    """Its score is known: that of the candidate, and of the fold, told by the first test row."""

    def __init__(self, skill=0.0, bias=0.0):
        self.skill = skill
        self.bias = bias

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.zeros(len(X))

    def score(self, X, y):
        fold = int(X[0, 0]) // 10
        return self.skill + [0.3, 0.0, -0.3, 0.1][fold] + (self.bias if fold == 1 else 0.0)


ROWS = np.arange(40.0)[:, None]
FOLDS = KFold(4)


def search_known(candidates, **options):
    grids = [{name: [value] for name, value in candidate.items()} for candidate in candidates]
    return PLMSearchCV(Known(), grids, sampler="grid", cv=FOLDS, **options).fit(ROWS, [0, 1] * 20)


def test_a_candidate_that_is_worse_on_two_folds_ends():
    """Its value is what its mean would be if the other folds differed as much: folds are not alike."""
    candidates = [{"skill": 0.5}, {"skill": 0.4, "bias": 0.04}, {"skill": 0.4, "bias": 0.2}, {"skill": 0.6}]
    found = search_known(candidates)
    assert found.cv_results_["state"].tolist() == ["complete", "pruned", "complete", "complete"]
    assert found.cv_results_["n_folds_run"].tolist() == [4, 2, 4, 4]
    np.testing.assert_allclose(found.cv_results_["value"], [0.525, 0.525 - 0.08, 0.475, 0.625])
    assert np.isnan(found.cv_results_["split2_test_score"][1])
    assert np.isnan(found.cv_results_["mean_test_score"][1])
    assert found.cv_results_["rank_test_score"].tolist() == [2, 4, 3, 1]
    assert found.best_params_ == {"skill": 0.6}
    assert found.study_.best_params == {"skill": 0.6}
    trials = found.study_.trials
    assert list(trials[1].intermediate_values) == [1, 2]  # folds; this estimator has no epochs
    stricter = search_known(candidates, p_threshold=0.1)
    assert stricter.cv_results_["n_folds_run"].tolist() == [4] * 4


class Second(BasePruner):
    """Ends the second trial after its first epoch."""

    def prune(self, study, trial):
        return trial.number == 1


def test_a_candidate_ends_between_epochs_of_its_first_fold(clf, X, y):
    grid = {"rank": [1, 2, 3]}
    found = PLMSearchCV(clf, grid, sampler="grid", cv=3, pruner=Second(), p_threshold=None).fit(X, y)
    expected = GridSearchCV(clf, grid, cv=3).fit(X, y)
    assert found.cv_results_["state"].tolist() == ["complete", "pruned", "complete"]
    assert found.cv_results_["n_folds_run"].tolist() == [3, 0, 3]
    assert found.cv_results_["epochs_run"].tolist() == [9, 1, 9]
    others = [0, 2]
    for name in ("split0_test_score", "split2_test_score", "mean_test_score"):
        np.testing.assert_array_equal(found.cv_results_[name][others], expected.cv_results_[name][others])
    first, second, _ = found.study_.trials
    assert list(first.intermediate_values) == [1, 2, 3, 4, 5, 6]  # three epochs, then three folds
    assert first.intermediate_values[3] == first.intermediate_values[4]  # the last epoch is the fit
    assert second.state == TrialState.PRUNED
    train, test = next(iter(StratifiedKFold(3).split(X, y)))
    ended = clone(clf).set_params(rank=2, callbacks=[lambda epoch: True])
    ended.fit([X[i] for i in train], y[train])
    score = ended.score([X[i] for i in test], y[test])
    assert second.value == found.cv_results_["value"][1] == score


class Always(BasePruner):
    def prune(self, study, trial):
        return True


def test_candidates_that_all_end_in_their_first_fold_are_one_error(clf, X, y):
    with pytest.raises(ValueError, match=r"All 2 candidates were pruned in their first fold.*pruner=None"):
        PLMSearchCV(clf, {"rank": [1, 2]}, sampler="grid", cv=2, pruner=Always()).fit(X, y)


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_pruners_by_name(pruner, clf, X, y):
    """On labels that mean nothing, who learns fast is worse."""
    grid = {"lr": [1e-5, 1e-4, 1e-3, 2e-3, 1e-2, 1e-1]}
    found = PLMSearchCV(clf, grid, sampler="grid", cv=2, pruner=pruner, scoring="neg_log_loss").fit(X, y)
    results = found.cv_results_
    assert (results["state"] == "pruned").any()
    assert results["epochs_run"].sum() < 6 * 6
    assert results["state"][found.best_index_] == "complete"
    display = SearchDisplay.from_estimator(found)
    assert len(display.points_["pruned"].get_offsets()) == (results["state"] == "pruned").sum()
    assert display.ax_.get_ylabel() == "neg_log_loss"
    with pytest.raises(ValueError, match="is no fitted PLMSearchCV"):
        SearchDisplay.from_estimator(clf)


# -- what fails -----------------------------------------------------------------------------------


def fails_in_one_fold(estimator, X, y):
    if X[0, 0] == 10:
        raise ValueError("no score today")
    return estimator.score(X, y)


def test_a_score_that_fails_in_one_fold():
    options = {"param_distributions": {"skill": [0.1, 0.2]}, "sampler": "grid", "cv": FOLDS}
    search = PLMSearchCV(Known(), scoring=fails_in_one_fold, **options)
    with pytest.warns(UserWarning, match="Scoring failed|non-finite"):
        found = search.fit(ROWS, [0, 1] * 20)
    assert found.cv_results_["state"].tolist() == ["failed"] * 2
    assert found.cv_results_["n_folds_run"].tolist() == [4, 4]
    with pytest.warns(UserWarning, match="Scoring failed"):
        found = search.set_params(error_score=-9.0).fit(ROWS, [0, 1] * 20)
    assert found.cv_results_["split1_test_score"].tolist() == [-9, -9]
    with pytest.raises(ValueError, match="no score today"):
        search.set_params(error_score="raise").fit(ROWS, [0, 1] * 20)


def test_a_candidate_that_cannot_be_fitted(tmp_path):
    space = {"C": [-1.0, 1.0]}
    search = PLMSearchCV(LOGISTIC, space, sampler="grid", storage=tmp_path / "s", **UNPRUNED)
    with pytest.warns((FitFailedWarning, UserWarning), match="5 fits failed out of a total of 10|non-finite"):
        found = search.fit(A, b)
    assert found.cv_results_["state"].tolist() == ["failed", "complete"]
    assert found.best_params_ == {"C": 1.0}
    assert len(found.study_.trials) == 2
    with pytest.raises(ValueError, match="All the 5 fits failed"):
        PLMSearchCV(LOGISTIC, {"C": [-1.0]}, sampler="grid").fit(A, b)


def test_targets_that_do_not_fit_are_named(clf, X, y):
    with pytest.raises(ValueError, match=f"y has {len(y) - 1} targets for {len(X)} samples in X"):
        PLMSearchCV(clf, {"rank": [1, 2]}).fit(X, y[:-1])


def test_a_trial_that_raises_is_run_again(tmp_path):
    search = PLMSearchCV(LOGISTIC, {"C": [-1.0]}, sampler="grid", storage=tmp_path / "s", error_score="raise")
    for _ in range(2):
        with pytest.raises(ValueError, match="'C' parameter"):
            search.fit(A, b)
    states = [
        trial.state for trial in optuna.load_study(study_name="plmlearn", storage=search._open("")).trials
    ]
    assert states == [TrialState.FAIL] * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"estimator": LogisticRegression(tol=0.1)}, "estimator__tol is 0.1 here, 0.0001 there"),
        ({"param_distributions": {"C": [1.0]}}, r"param_distributions\['C'\] is \[1.0\] here"),
        ({"cv": KFold(3)}, "the splits of cv differs"),
        ({"scoring": "f1"}, "scoring is 'f1' here, None there"),
        ({"random_state": 1}, "random_state is 1 here, 0 there"),
    ],
)
def test_the_storage_of_another_search_is_refused(changes, message, tmp_path):
    search = PLMSearchCV(LOGISTIC, {"C": [0.1, 1.0]}, sampler="grid", random_state=0, storage=tmp_path / "s")
    search.fit(A, b)
    with pytest.raises(ValueError, match=message):
        clone(search).set_params(**changes).fit(A, b)
    clone(search).set_params(**changes, study_name="another").fit(A, b)


def test_long_settings_are_shown_where_they_differ(tmp_path):
    one, other = ({"C": [*np.arange(1.0, 40), last]} for last in (0.5, 0.25))
    PLMSearchCV(LOGISTIC, one, sampler="grid", storage=tmp_path / "s", n_trials=1).fit(A, b)
    message = r"is \.\.\.[\d., ]+39\.0, 0\.25\] here, \.\.\.[\d., ]+39\.0, 0\.5\] there"
    with pytest.raises(ValueError, match=message):
        PLMSearchCV(LOGISTIC, other, sampler="grid", storage=tmp_path / "s", n_trials=1).fit(A, b)


@pytest.mark.parametrize("given", [poisson(5, loc=1), [{"C": [1, 2]}, {"C": loguniform(0.1, 1)}]])
def test_more_draws_of_scipy_go_on(given, tmp_path):
    space = given if isinstance(given, list) else {"C": given}
    search = PLMSearchCV(LOGISTIC, space, n_trials=3, sampler="random", random_state=1, **UNPRUNED)
    few = search.set_params(storage=tmp_path / "s").fit(A, b).cv_results_["params"]
    many = clone(search).set_params(n_trials=9).fit(A, b).cv_results_["params"]
    assert many == clone(search).set_params(n_trials=9, storage=None).fit(A, b).cv_results_["params"]
    assert many[:3] == few
    assert clone(search).set_params(n_trials=2).fit(A, b).cv_results_["params"][:3] == few


def test_other_data_are_refused_and_the_same_go_on(tmp_path):
    search = PLMSearchCV(LOGISTIC, {"C": loguniform(0.1, 1)}, n_trials=3, sampler="random", random_state=0)
    search.set_params(storage=f"sqlite:///{tmp_path / 'study.db'}").fit(A, b)
    with pytest.raises(
        ValueError, match=r"study.db' holds another search named 'plmlearn': y differs\. Pass"
    ):
        clone(search).fit(A, 1 - b)
    again = clone(search).set_params(n_trials=5, n_jobs=1, timeout=60, refit=False).fit(A, b)
    assert len(again.study_.trials) == 5
    for name, values in search.cv_results_.items():
        if not name.startswith("rank"):
            np.testing.assert_array_equal(again.cv_results_[name][:3], values)


def test_bad_input_is_one_error(monkeypatch):
    with pytest.raises(ValueError, match="did you mean 'C'"):
        PLMSearchCV(LOGISTIC, {"c": [1]}).fit(A, b)
    with pytest.raises(ValueError, match="nothing to search"):
        PLMSearchCV(LOGISTIC, {}).fit(A, b)
    with pytest.raises(ValueError, match="'sampler' parameter of PLMSearchCV must be"):
        PLMSearchCV(LOGISTIC, {"C": [1]}, sampler="bayes").fit(A, b)
    with pytest.raises(ValueError, match="'acuracy' is not a scorer"):
        PLMSearchCV(LOGISTIC, {"C": [1]}, scoring="acuracy").fit(A, b)
    with pytest.raises(ValueError, match="pass sampler='grid' instead"):
        PLMSearchCV(LOGISTIC, {"C": [1]}, sampler=optuna.samplers.GridSampler({"C": [1]})).fit(A, b)
    with pytest.raises(ValueError, match="refit='three' is no score; expected one of 'one', 'two'"):
        PLMSearchCV(LOGISTIC, {"C": [1]}, scoring=several, refit="three").fit(A, b)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r'pip install "plmlearn\[search\]"'):
        PLMSearchCV(LOGISTIC, {"C": [1]}).fit(A, b)


# -- one estimator among others -------------------------------------------------------------------


def test_it_is_an_estimator_of_scikit_learn(clf, X, y):
    search = PLMSearchCV(clf.set_params(epochs=1), {"rank": [1, 2]}, sampler="grid", cv=2, scoring="mcc")
    assert is_classifier(search)
    assert get_tags(search).input_tags == get_tags(clf).input_tags
    assert not hasattr(search, "classes_")
    found = clone(search).fit(X, y)
    assert found.classes_.tolist() == ["a", "b"]
    copied = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(copied.predict(X), found.predict(X))
    np.testing.assert_array_equal(copied.transform(X), found.best_estimator_.transform(X))
    assert len(copied.study_.trials) == 2
    assert found.study_.best_value == found.best_score_
    clf.set_params(epochs=3)


def test_suggestions_repeat_themselves():
    space = {"C": loguniform(1e-3, 1e3), "fit_intercept": [True, False]}
    one, other = (PLMSearchCV(LOGISTIC, space, n_trials=14, random_state=1).fit(A, b) for _ in range(2))
    assert one.cv_results_["params"] == other.cv_results_["params"]
    assert len({params["C"] for params in one.cv_results_["params"]}) == 14
    assert optuna.importance.get_param_importances(one.study_).keys() == space.keys()


def test_a_sampler_of_optuna_tries_nothing_twice(tmp_path):
    """Neither in several processes nor when the search goes on; in one process its seed decides."""
    search = PLMSearchCV(LOGISTIC, {"C": loguniform(1e-3, 1e3)}, refit=False)
    search.set_params(n_trials=3, sampler=optuna.samplers.RandomSampler(seed=0))
    few = [search.fit(A, b).cv_results_["param_C"].tolist() for _ in range(2)]
    assert few[0] == few[1]
    search.set_params(storage=tmp_path / "s").fit(A, b)
    for n_trials, n_jobs in ((6, 1), (12, 2)):
        found = search.set_params(n_trials=n_trials, n_jobs=n_jobs).fit(A, b).cv_results_["param_C"]
        assert found[:3].tolist() == few[0]
        assert len(set(found)) == n_trials


def test_groups_and_splitters():
    groups = np.arange(60) // 2
    search = PLMSearchCV(LOGISTIC, {"C": [0.1, 1.0]}, sampler="grid", cv=3, **UNPRUNED).fit(
        A, b, groups=groups
    )
    expected = GridSearchCV(LOGISTIC, {"C": [0.1, 1.0]}, cv=ClusterKFold(3)).fit(A, b, groups=groups)
    assert_same_results(search, expected)
    with pytest.raises(ValueError, match="gives no splits"):
        PLMSearchCV(LOGISTIC, {"C": [1.0]}, cv=[]).fit(A, b)


def test_metadata_are_routed():
    weights = np.random.default_rng(0).uniform(size=60)
    grid = {"C": [0.1, 1.0]}
    with sklearn.config_context(enable_metadata_routing=True):
        weighed = LogisticRegression().set_fit_request(sample_weight=True)
        scorer = get_scorer("accuracy").set_score_request(sample_weight=True)
        options = {"cv": ClusterKFold(3), "scoring": scorer}
        given = {"sample_weight": weights, "groups": np.arange(60) // 2}
        search = PLMSearchCV(weighed, grid, sampler="grid", **options, **UNPRUNED).fit(A, b, **given)
        assert_same_results(search, GridSearchCV(weighed, grid, **options).fit(A, b, **given))
        assert search.score(A, b, sample_weight=weights) != search.score(A, b)


def several(estimator, X, y):
    return {"one": estimator.score(X, y), "two": -1.0}


def test_scores_from_a_function():
    grid = {"C": [0.1, 1.0]}
    options = {"scoring": several, "refit": "one"}
    search = PLMSearchCV(LOGISTIC, grid, sampler="grid", **options, **UNPRUNED).fit(A, b)
    assert_same_results(search, GridSearchCV(LOGISTIC, grid, **options).fit(A, b))
    last = PLMSearchCV(LOGISTIC, grid, sampler="grid", refit=lambda results: len(results["params"]) - 1)
    assert last.fit(A, b).best_index_ == 1
    unrefitted = PLMSearchCV(LOGISTIC, grid, sampler="grid", scoring=["accuracy", "f1"], refit=False).fit(
        A, b
    )
    assert not hasattr(unrefitted, "best_params_")


def test_a_line_per_trial(capsys):
    PLMSearchCV(LOGISTIC, {"C": [0.5, 1.0]}, sampler="grid", cv=2, verbose=1, p_threshold=None).fit(A, b)
    said = capsys.readouterr()
    assert [line.split(",")[0].split(" score")[0] for line in said.out.splitlines()] == [
        "[1/2] complete",
        "[2/2] complete",
    ]
    assert "C=0.5" in said.out
    assert said.err == ""


# -- callbacks of scikit-learn --------------------------------------------------------------------


def test_callbacks_see_trials_folds_and_epochs(clf, X, y):
    callback = pytest.importorskip("sklearn.callback")

    class Tasks:
        max_propagation_depth = None
        seen = []

        def setup(self, estimator, context): ...

        def teardown(self, estimator, context): ...

        def on_fit_task_begin(self, estimator, context):
            self.seen.append((type(estimator).__name__, context.task_name))

        def on_fit_task_end(self, estimator, context): ...

    assert isinstance(Tasks(), callback.AutoPropagatedCallback)
    search = PLMSearchCV(clone(clf).set_params(epochs=2), {"rank": [1, 2]}, sampler="grid", cv=2)
    search.set_callbacks(Tasks()).fit(X, y)
    fits = [("PLMLoRAClassifier", "fit"), *[("PLMLoRAClassifier", "epoch")] * 2]
    trial = [("PLMSearchCV", "trial"), *fits * 2]
    assert Tasks.seen == [("PLMSearchCV", "fit"), ("PLMSearchCV", "search"), *trial * 2, *fits]


def test_a_progress_bar(clf, X, y, capsys):
    callback = pytest.importorskip("sklearn.callback")
    pytest.importorskip("rich")
    search = PLMSearchCV(clone(clf).set_params(epochs=1), {"rank": [1, 2]}, sampler="grid", cv=2)
    search.set_callbacks(callback.ProgressBar()).fit(X, y)
    assert "PLMSearchCV - search" in capsys.readouterr().out
