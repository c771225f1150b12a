"""What a caller may pass as param_distributions, and what Optuna makes of it."""

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.stats import geom, loguniform, norm, randint, uniform
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import ParameterGrid, ParameterSampler
from sklearn.pipeline import make_pipeline

from plmlearn import PLMClassifier, PLMLoRAClassifier
from plmlearn.adapters import DoRA, Frozen, LoRA
from plmlearn.search.fingerprint import digest, short_text, text_of
from plmlearn.search.space import Space, cheap_first, suggest

LOGISTIC = LogisticRegression()


def test_a_grid_is_that_of_scikit_learn():
    grids = [{"C": [0.1, 1.0], "tol": np.array([1e-4, 1e-3])}, {"fit_intercept": [False]}]
    assert Space.of(LOGISTIC, grids).candidates("grid", None, 0) == list(ParameterGrid(grids))


def test_distributions_are_drawn_as_scikit_learn_draws_them():
    given = {"C": loguniform(1e-3, 1e3), "tol": [1e-4, 1e-3], "max_iter": randint(10, 20)}
    drawn = Space.of(LOGISTIC, given).candidates("random", 7, 3)
    assert drawn == list(ParameterSampler(given, 7, random_state=3))


@pytest.mark.parametrize(
    "given",
    [
        {"C": loguniform(1e-3, 1e3), "tol": [1e-4, 1e-3]},
        {"C": np.logspace(-3, 3, 9), "tol": [1e-4, 1e-3]},
        {"C": FloatDistribution(1e-3, 1e3, log=True), "max_iter": IntDistribution(1, 9, step=2)},
    ],
)
def test_more_trials_begin_with_the_same_candidates(given):
    space = Space.of(LOGISTIC, given)
    few, many = space.candidates("random", 4, 0), space.candidates("random", 12, 0)
    assert many[:4] == few
    assert len({text_of(candidate) for candidate in many}) == 12


def test_random_candidates_of_lists_are_as_many_as_there_are():
    assert len(Space.of(LOGISTIC, {"C": [1, 2, 3]}).candidates("random", 50, 0)) == 3


def test_distributions_of_scipy_are_read():
    given = {
        "C": loguniform(1e-3, 10),
        "tol": uniform(1, 2),
        "max_iter": randint(3, 8),
        "penalty": ["l1", "l2"],
    }
    assert Space.of(LOGISTIC, given).distributions(None) == {
        "C": FloatDistribution(1e-3, 10, log=True),
        "tol": FloatDistribution(1, 3),
        "max_iter": IntDistribution(3, 7),
        "penalty": CategoricalDistribution(["l1", "l2"]),
    }


def test_what_optuna_stores_means_the_same_candidate():
    """Adapters, numbers of NumPy, and 1 beside True and 1.0."""
    given = {
        "adapter": [LoRA(rank=2), DoRA(), None, "frozen"],
        "adapter__rank": [2, np.int64(4)],
        "epochs": [1, True, 1.0],
        "callbacks": [[len], [max], None],
    }
    space = Space.of(PLMClassifier(), given)
    candidates = space.candidates("grid", None, 0)
    distributions = space.distributions(candidates)
    study = optuna.create_study()
    for candidate in candidates:
        study.enqueue_trial(space.encode(candidate, distributions))
        stored = suggest(study.ask(), distributions)
        decoded = space.decode(stored)
        assert all(decoded[name] is value for name, value in candidate.items())
    assert len(candidates) == 4 * 2 * 3 * 3
    assert study.trials[0].params["adapter"] == "LoRA(rank=2)"


def test_unknown_parameters_are_named_with_the_nearest():
    """Those of whole adapters are known, be they in the list, in the estimator, or stand for None."""
    given = {"rnk": [2], "adapter__rnk": [4], "adapter__rank": [2], "learning": [], "lr": 3}
    with pytest.raises(ValueError) as caught:
        Space.of(PLMClassifier(), given)
    message = str(caught.value)
    assert "'adapter__rnk' is no parameter of PLMClassifier; did you mean 'adapter__rank'?" in message
    assert "'rnk' is no parameter" in message
    assert "learning is an empty list" in message
    assert "lr is 3; expected a list" in message
    assert "'adapter__rank' is" not in message
    Space.of(PLMClassifier(adapter=Frozen()), {"adapter": [Frozen(), LoRA()], "adapter__rank": [2]})
    Space.of(make_pipeline(PLMClassifier()), {"plmclassifier__adapter__rank": [2]})
    with pytest.raises(ValueError, match="did you mean 'plmclassifier__adapter'"):
        Space.of(make_pipeline(PLMClassifier()), {"plmclassifier__adaptor": [2]})


@pytest.mark.parametrize("ends", [loguniform(1e-2, 1e-4), loguniform(0, 1), uniform(1, -2), randint(5, 3)])
def test_a_distribution_without_values_is_named(ends):
    with pytest.raises(ValueError, match=rf"C is a {ends.dist.name} distribution without values; expected"):
        Space.of(LOGISTIC, {"C": ends})


@pytest.mark.parametrize("given", [{}, [], [{}]])
def test_an_empty_space_is_one_error(given):
    with pytest.raises(ValueError, match="nothing to search"):
        Space.of(LOGISTIC, given)


def test_a_sampler_names_what_it_cannot_draw():
    with pytest.raises(ValueError, match="sampler='grid' takes lists, and C is a distribution"):
        Space.of(LOGISTIC, {"C": norm()}).candidates("grid", None, 0)
    with pytest.raises(ValueError, match="C: sampler='tpe' cannot draw from scipy's norm"):
        Space.of(LOGISTIC, {"C": norm()}).distributions(None)
    with pytest.raises(ValueError, match="A list of dicts is for"):
        Space.of(LOGISTIC, [{"C": [1]}, {"tol": [1]}]).distributions(None)
    space = Space.of(LOGISTIC, {"C": norm(5)})
    drawn = space.candidates("random", 5, 0)
    low, high = min(c["C"] for c in drawn), max(c["C"] for c in drawn)
    assert space.distributions(drawn) == {"C": FloatDistribution(low, high)}


def test_candidates_with_the_same_frozen_layers_are_neighbours():
    given = {"lr": [1e-3, 1e-2], "last_n_layers": [None, 2, 1], "backbone": ["mini", "esm2-8m"]}
    clf = PLMLoRAClassifier()
    candidates = Space.of(clf, given).candidates("grid", None, 0)
    order = cheap_first(clf, candidates)
    ordered = [(c["backbone"], c["last_n_layers"]) for c in (candidates[i] for i in order)]
    assert ordered[::2] == ordered[1::2]
    assert ordered[::2] == [(b, n) for b in ("mini", "esm2-8m") for n in (1, 2, None)]
    lists = [{"adapter": [LoRA(last_n_layers=2), Frozen()]}, {"adapter": [LoRA()], "adapter__rank": [2]}]
    candidates = Space.of(PLMClassifier(), lists).candidates("grid", None, 0)
    assert cheap_first(PLMClassifier(), candidates) == [1, 0, 2]
    assert cheap_first(LOGISTIC, [{"C": 3}, {"C": 1}, {"C": 2}]) == [0, 1, 2]


def test_the_largest_value():
    of = [{"epochs": [3, 7]}, {"epochs": randint(2, 10)}, {"epochs": IntDistribution(1, 12)}, {"lr": [1.0]}]
    found = [Space.of(PLMClassifier(), given).largest("epochs", 5) for given in of]
    assert found == [7, 9, 12, 5]
    space = Space.of(PLMClassifier(), {"epochs": geom(0.5)})
    drawn = space.candidates("random", 6, 0)
    assert space.largest("epochs", 5, drawn) == max(candidate["epochs"] for candidate in drawn) > 1


def test_texts_are_the_same_for_equal_values():
    assert text_of(LoRA(rank=2)) == text_of(LoRA(rank=np.int64(2)))
    assert text_of(LoRA(rank=2)) != text_of(LoRA(rank=3))
    assert text_of([lambda x: x]) == text_of([lambda x: x])
    assert text_of(loguniform(1, 2)) == text_of(loguniform(1, 2)) != text_of(loguniform(1, 3))
    assert text_of(np.random.RandomState(0)) == text_of(np.random.RandomState(0))
    assert list({0, 8}) != list({8, 0})
    assert text_of([{0, 8}]) == text_of([{8, 0}])
    assert short_text({0, 8}) == short_text({8, 0})
    assert text_of({"a": np.arange(3)}) != text_of({"a": np.arange(4)})


@pytest.mark.parametrize("rows", [["MKV", "A"], [1, 0], [0.5, 1.5], [("MKV", "A"), ("A", "MKV")]])
def test_digests_are_the_same_in_every_container(rows):
    found = {digest(given) for given in (rows, tuple(rows), np.array(rows), np.array(rows, dtype=object))}
    frame = pd.DataFrame(rows)
    found.add(digest(frame if len(frame.columns) > 1 else frame[0]))
    assert len(found) == 1
    assert digest(rows[::-1]) not in found
