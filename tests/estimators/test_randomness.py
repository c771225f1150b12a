"""Seeds mean the same in threads as alone, and no public call moves a generator of the caller."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from plmlearn import PLMLoRAClassifier, PLMMaskedLM, PLMPairClassifier, PLMResidueClassifier
from plmlearn.adapters import LoRA

X = ["MKTAYIAKQR", "GSHMLEDPVA", "MKVLAAGIVG", "DDEEDDKKRR", "MKKLLPTAAG", "GHMSDEELRK"]
Y = np.array([0, 0, 1, 1, 0, 1])
PAIRS = np.array(list(zip(X, X[::-1])), dtype=object)
OPTIONS = {"epochs": 2, "batch_size": 2, "verbose": 0, "precision": "fp32"}


def classifier(seed=0, **options) -> PLMLoRAClassifier:
    return PLMLoRAClassifier("mini", lora_dropout=0.3, random_state=seed, **OPTIONS, **options)


def test_fits_in_threads_give_what_each_gives_alone():
    alone = [classifier(seed).fit(X, Y).predict_proba(X) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: classifier(seed).fit(X, Y).predict_proba(X), range(4)))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def generators():
    """The caller's generators, and a check that they stand where they stood."""
    random = np.random.RandomState(5)

    def states():
        return torch.get_rng_state().tolist(), pickle.dumps(np.random.get_state())  # noqa: NPY002, pickle.dumps(random)

    before = states()
    yield random
    assert states() == before


@pytest.mark.parametrize("validation", [{}, {"early_stopping": True, "validation_fraction": 0.4}])
def test_no_call_moves_a_generator_of_the_caller(generators, validation):
    fitted = classifier(generators, **validation).fit(X, Y)
    fitted.predict(X)
    restored = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(restored.predict_proba(X), fitted.predict_proba(X))
    classifier(None).fit(X, Y).predict(X)


def test_other_estimators_move_no_generator_either(generators):
    options = {"adapter": LoRA(), "random_state": generators, **OPTIONS}
    PLMPairClassifier("mini", **options).fit(PAIRS, [0, 1, 1, 1, 1, 0]).predict(PAIRS)
    labels = ["".join("HC"[letter in "KR"] for letter in sequence) for sequence in X]
    PLMResidueClassifier("mini", **options).fit(X, labels).predict(X)
    PLMMaskedLM("mini", max_steps=1, random_state=generators, verbose=0).fit(X).score(X)


def test_a_random_state_gives_the_same_seed_each_time():
    random = np.random.RandomState(3)
    first, second = (classifier(random).fit(X, Y).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_without_a_seed_two_fits_differ():
    first, second = (classifier(None).fit(X, Y).predict_proba(X) for _ in range(2))
    assert not np.array_equal(first, second)
