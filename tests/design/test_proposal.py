"""Proposals against scores computed by hand, for candidates of every kind."""

import tracemalloc
import warnings

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from plmlearn.baselines import gaussian_process
from plmlearn.design import combine_sites, propose, single_mutants
from plmlearn.sequences.variant_table import VariantTable

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
rng = np.random.default_rng(0)
WEIGHTS, SPREAD = rng.normal(size=128), rng.random(128)


class ByLetters(RegressorMixin, BaseEstimator):
    """Mean and deviation as sums over letters; it counts what it has seen."""

    seen = 0
    most = 0

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def predict(self, X, return_std=False):
        self.seen, self.most = self.seen + len(X), max(self.most, len(X))
        codes = np.array([[ord(letter) for letter in x] for x in X])
        mean, std = WEIGHTS[codes].sum(axis=1), SPREAD[codes].sum(axis=1)
        return (mean, std) if return_std else mean


class MeanOnly(RegressorMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def predict(self, X):
        return ByLetters().predict(X)


class ByRow(MeanOnly):
    def predict(self, X):
        return np.arange(len(X), dtype=float)


LIBRARY = combine_sites("MKVLAG", [2, 3, 5], codon="NDT")
CANDIDATES = LIBRARY[:]
MEAN, STD = ByLetters().predict(CANDIDATES, return_std=True)


def best(scores, n):
    return CANDIDATES[np.argsort(-scores, kind="stable")[:n]].tolist()


@pytest.mark.parametrize(
    "candidates", [LIBRARY, CANDIDATES, CANDIDATES.tolist()], ids=["lazy", "array", "list"]
)
def test_each_acquisition_takes_its_best(candidates):
    z = (MEAN - 3) / STD
    expected = {
        "greedy": MEAN,
        "ucb": MEAN + 2 * STD,
        "ei": (MEAN - 3) * norm.cdf(z) + STD * norm.pdf(z),
    }
    for kind, scores in expected.items():
        plate = propose(ByLetters(), candidates, 7, acquisition=kind, beta=2, best=3, batch_size=100)
        assert plate.sequences.tolist() == best(scores, 7)
        np.testing.assert_allclose(plate.score, np.sort(scores)[::-1][:7])
        assert CANDIDATES[plate.rows].tolist() == plate.sequences.tolist()
        np.testing.assert_allclose(plate.mean, MEAN[plate.rows])
        assert (plate.std is None) == (kind == "greedy")


def test_thompson_draws_from_the_predicted_distributions():
    plates = [
        propose(ByLetters(), LIBRARY, 20, acquisition="thompson", random_state=seed).rows
        for seed in (0, 0, 1)
    ]
    assert plates[0].tolist() == plates[1].tolist() != plates[2].tolist()
    plate = propose(ByLetters(), LIBRARY, len(LIBRARY), acquisition="thompson", random_state=0)
    drawn = (plate.score - MEAN[plate.rows]) / STD[plate.rows]
    assert abs(drawn.mean()) < 0.1
    assert drawn.std() == pytest.approx(1, abs=0.1)


def test_known_variants_are_left_out_and_counted():
    known = best(MEAN, 5)
    for exclude in (known, np.array(known)):
        with pytest.warns(UserWarning, match="5 of 1728 candidates are in exclude and were left out"):
            plate = propose(ByLetters(), LIBRARY, 3, acquisition="greedy", exclude=exclude)
        assert plate.sequences.tolist() == best(MEAN, 8)[5:]
        assert (plate.n_candidates, plate.n_excluded) == (1728, 5)
    with pytest.warns(UserWarning, match="1 of 1728"):
        plate = propose(ByLetters(), LIBRARY, 3, acquisition="greedy", exclude=["K2C:V3C:A5C", "WT"])
    assert "MCCLCG" not in plate.sequences


class ByMutations(ByLetters):
    """Reads sequences and mutations, as PLMFitnessRegressor does."""

    wild_type_ = "MKVLAG"

    def predict(self, X, return_std=False):
        table = VariantTable.read(self.wild_type_, [x if any(map(str.isdigit, x)) else x.upper() for x in X])
        return super().predict(table.sequences(), return_std)


@pytest.mark.parametrize(
    "wrap", [lambda model: model, lambda model: make_pipeline(FunctionTransformer(), model)]
)
def test_variants_are_compared_however_they_are_written(wrap):
    names = ["K2A:V3T", "k2c", "L4A", "A5C", "MKVLAC", "A5C:K2A"]
    sequences = np.array(["MATLAG", "MCVLAG", "MKVAAG", "MKVLCG", "MKVLAC", "MAVLCG"])
    model = wrap(ByMutations()).fit(names)
    options = {"acquisition": "greedy", "exclude": ["V3T:K2A", "mkvaag\n"]}
    with pytest.warns(
        UserWarning, match="1 of 7 candidates repeat another one|2 of 6 candidates are in exclude"
    ):
        plate = propose(model, [*names, "K2A:A5C"], 4, **options)
    left = [1, 3, 4, 5]
    order = np.argsort(-ByLetters().predict(sequences[left]), kind="stable")
    assert plate.rows.tolist() == np.array(left)[order].tolist()
    assert plate.sequences.tolist() == [names[row] for row in plate.rows]
    with pytest.warns(UserWarning, match="others fill the plate"):
        found = propose(model, names, 6, acquisition="greedy", diversity=2)
    with pytest.warns(UserWarning, match="others fill the plate"):
        expected = propose(ByLetters(), sequences, 6, acquisition="greedy", diversity=2)
    assert found.rows.tolist() == expected.rows.tolist()
    with pytest.warns(UserWarning, match="left out"):
        known = propose(model, names, 2, acquisition="ei", exclude=names[:3])
    best = ByLetters().predict(sequences[:3]).max()
    with pytest.warns(UserWarning, match="left out"):
        given = propose(model, names, 2, acquisition="ei", exclude=names[:3], best=best)
    assert known.score.tolist() == given.score.tolist()


def test_mutations_without_a_wild_type_are_refused():
    for candidates, exclude in ((["K2A", "MKV"], None), (["MKV", "MKL"], ["K2A"])):
        with pytest.raises(ValueError, match="in rows 0, and ByLetters knows no wild type"):
            propose(ByLetters(), candidates, 1, exclude=exclude)
    with pytest.raises(ValueError, match="exclude has no text in rows 0"):
        propose(ByLetters(), ["MKV", "MKL"], 1, exclude=[["a"]])


def test_deviations_and_the_best_are_finite():
    class Unsure(ByLetters):
        def predict(self, X, return_std=False):
            return np.zeros(len(X)), np.full(len(X), np.nan)

    with pytest.raises(ValueError, match="Unsure predicts standard deviations that are not finite"):
        propose(Unsure(), LIBRARY)
    with pytest.raises(ValueError, match="'best' parameter of propose must be"):
        propose(ByLetters(), LIBRARY, acquisition="ei", best=np.nan)


def test_ei_starts_from_the_best_that_is_known():
    known = best(MEAN, 5)
    with pytest.warns(UserWarning, match="left out"):
        plate = propose(ByLetters(), LIBRARY, 4, acquisition="ei", exclude=known)
    with pytest.warns(UserWarning, match="left out"):
        given = propose(ByLetters(), LIBRARY, 4, acquisition="ei", exclude=known, best=MEAN.max())
    assert plate.rows.tolist() == given.rows.tolist()
    with pytest.raises(ValueError, match="pass best=, or exclude="):
        propose(ByLetters(), LIBRARY, acquisition="ei")


def test_repeated_candidates_are_proposed_once():
    with pytest.warns(UserWarning, match="3 of 6 candidates repeat another one"):
        plate = propose(ByLetters(), ["MKV", "MKL", "MKV", "MKV", "AKL", "MKL"], 3, acquisition="greedy")
    assert len(set(plate.sequences)) == 3
    assert set(plate.rows) == {0, 1, 4}


def test_plates_of_variants_that_differ():
    plate = propose(ByLetters(), LIBRARY, 12, diversity=2)
    letters = np.array([list(s) for s in plate.sequences])
    distances = (letters[:, None] != letters).sum(axis=2)[np.triu_indices(12, 1)]
    assert distances.min() >= 2
    # Greedy by hand.
    chosen = []
    for variant in best(MEAN + STD, len(CANDIDATES)):
        if all(sum(a != b for a, b in zip(variant, other)) >= 2 for other in chosen):
            chosen.append(variant)
    assert plate.sequences.tolist() == chosen[:12]


def test_a_plate_is_filled_where_too_few_differ():
    with pytest.warns(UserWarning, match="3 of the best 57 candidates differ at 2 sites or more; 7 others"):
        plate = propose(ByLetters(), single_mutants("MKVL", [1, 2, 3]), 10, diversity=2, acquisition="greedy")
    assert len(plate) == len(set(plate.sequences)) == 10
    with pytest.raises(ValueError, match="they have 2 to 3 residues"):
        propose(ByRow(), ["MKV", "MK"], 1, diversity=2, acquisition="greedy")


def test_models_without_deviations_are_for_greedy_alone():
    for model in (MeanOnly(), make_pipeline(FunctionTransformer(), MeanOnly()).fit(CANDIDATES)):
        assert propose(model, LIBRARY, 3, acquisition="greedy").sequences.tolist() == best(MEAN, 3)
        with pytest.raises(TypeError, match="needs predict"):
            propose(model, LIBRARY, 3)
    pipeline = make_pipeline(FunctionTransformer(), ByLetters()).fit(CANDIDATES)
    assert propose(pipeline, LIBRARY, 3).sequences.tolist() == best(MEAN + STD, 3)


def test_bad_input_is_one_clear_error():
    with pytest.warns(UserWarning, match="19 candidates are left for n=96"):
        assert len(propose(ByLetters(), single_mutants("MKVL", [2]))) == 19
    with pytest.raises(ValueError, match="All 19 candidates are in exclude"):
        propose(ByLetters(), single_mutants("MKVL", [2]), exclude=single_mutants("MKVL", [2])[:])
    with pytest.raises(ValueError, match=r"no text in rows 1, 2"):
        propose(ByLetters(), ["MKVL", 1, None], acquisition="greedy")
    with pytest.raises(ValueError, match="'acquisition' parameter of propose must be"):
        propose(ByLetters(), LIBRARY, acquisition="best")

    class Labels(MeanOnly):
        def predict(self, X):
            return np.array(["a"] * len(X))

    with pytest.raises(ValueError, match="expected one finite number for each"):
        propose(Labels(), LIBRARY, acquisition="greedy")


def test_names_and_tables():
    plate = propose(ByLetters(), single_mutants("MKVL", [24, 25], first_site=24), 3, acquisition="ucb")
    assert all(name[1:3] in ("24", "25") for name in plate.names)
    frame = plate.to_frame()
    assert frame["sequence"].tolist() == plate.sequences.tolist()
    assert str(plate).splitlines()[0].split() == ["variant", "mean", "std", "score"]


def test_large_libraries_are_read_in_batches():
    class Constant(MeanOnly):
        most = total = 0

        def predict(self, X):
            self.most, self.total = max(self.most, len(X)), self.total + len(X)
            return np.array([hash(x[:3]) % 1000 for x in X], dtype=float)

    model, library = Constant(), combine_sites("MKVLAG", [1, 2, 3, 4])
    tracemalloc.start()
    propose(model, library, 5, acquisition="greedy", batch_size=2000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (model.most, model.total) == (2000, 20**4 - 1)
    assert peak < 3e6  # all of them as strings take ten times as much


def test_a_gaussian_process_proposes():
    y = MEAN[::40] - MEAN.mean()
    model = gaussian_process("onehot").fit(CANDIDATES[::40], y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plate = propose(model, LIBRARY, 5, exclude=CANDIDATES[::40])
    assert MEAN[plate.rows].mean() > np.quantile(MEAN, 0.9)
