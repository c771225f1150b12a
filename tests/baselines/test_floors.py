"""Baselines by task: which they are, and that each fits and predicts what it is for."""

import numpy as np
import pytest

from plmlearn.baselines import (
    AugmentedRidge,
    ResiduePropensityClassifier,
    ResiduePropensityRegressor,
    compare,
    floors,
)
from plmlearn.datasets import (
    make_mutational_landscape,
    make_protein_classification,
    make_protein_pairs,
    make_residue_labels,
)

X, y = make_protein_classification(20, median_length=40, max_length=50, random_state=0)
VARIANTS, FITNESS = make_mutational_landscape(30, random_state=0)
MANY = make_mutational_landscape(501, random_state=0)[0]
PAIRS, INTERACT = make_protein_pairs(40, n_proteins=20, max_length=40, random_state=0)
RESIDUES, STATES = make_residue_labels(10, median_length=30, max_length=40, random_state=0)
VALUES = [np.linspace(0, 3, len(x)) for x in RESIDUES]


@pytest.mark.filterwarnings("ignore:.*resemble no training sequence")
@pytest.mark.parametrize(
    "X, y, names",
    [
        (X, y, ["most frequent", "composition", "homology"]),
        (X, np.column_stack([y, 1 - y]), ["most frequent", "composition", "homology"]),
        (X, np.linspace(0, 1.5, 20), ["mean", "composition", "homology"]),
        (VARIANTS, FITNESS, ["mean", "additive", "position mean", "Gaussian process", "nearest variant"]),
        (MANY, np.arange(501) / 2, ["mean", "additive", "position mean", "nearest variant"]),
        (VARIANTS, np.column_stack([FITNESS, FITNESS]), ["mean", "nearest variant"]),
        (PAIRS, INTERACT, ["most frequent", "degree", "similar pairs"]),
        (PAIRS, np.arange(40) % 3, ["most frequent"]),
        (PAIRS, np.linspace(0, 1.5, 40), ["mean"]),
        (RESIDUES, STATES, ["amino acid"]),
        (RESIDUES, VALUES, ["amino acid"]),
    ],
    ids=lambda value: None,
)
def test_floors_fit_the_task(X, y, names, monkeypatch):
    monkeypatch.setattr("plmlearn.similarity.search.find_mmseqs", lambda: None)
    models = floors(X, y)
    assert list(models) == names
    for model in models.values():
        assert len(model.fit(X, y).predict(X)) == len(X)


def test_zero_shot_scores_make_a_floor_of_variants():
    scores = dict(zip(VARIANTS, np.arange(30.0)))
    model = floors(VARIANTS, FITNESS, scores=scores)["augmented ridge"].fit(VARIANTS, FITNESS)
    expected = AugmentedRidge(scores=scores).fit(VARIANTS, FITNESS).predict(VARIANTS)
    np.testing.assert_array_equal(model.predict(VARIANTS), expected)


def test_label_of_each_amino_acid_equals_counting():
    model = ResiduePropensityClassifier().fit(RESIDUES, STATES)
    pairs = [pair for x, s in zip(RESIDUES, STATES) for pair in zip(x, s)]
    for letter in {letter for letter, _ in pairs}:
        labels = [label for other, label in pairs if other == letter]
        assert labels.count(model.labels_[letter]) == max(map(labels.count, set(labels)))
    predicted = model.predict(RESIDUES)
    right = [a == b for row, found in zip(STATES, predicted) for a, b in zip(row, found)]
    assert model.score(RESIDUES, STATES) == pytest.approx(np.mean(right))


def test_unmeasured_residues_do_not_count():
    model = ResiduePropensityClassifier(ignore_label="-").fit(["AAAG"], ["H--C"])
    assert model.predict(["AGW"]).tolist() == ["HCC"]
    assert model.score(["AG"], ["H-"]) == 1
    arrays = ResiduePropensityClassifier().fit(["AAG"], [[1, None, 2]]).predict(["AG"])
    assert arrays[0].tolist() == [1, 2]
    values = ResiduePropensityRegressor().fit(["AAG"], [[1.0, np.nan, 4.0]]).predict(["AGW"])
    assert values[0].tolist() == [1, 4, 2.5]
    y = [[[1.0, 8.0], [np.nan, 6.0], [4.0, np.nan]]]
    columns = ResiduePropensityRegressor().fit(["AAG"], y)
    assert columns.predict(["AGW"])[0].tolist() == [[1, 7], [4, 7], [2.5, 7]]
    assert columns.score(["AAG"], y) == pytest.approx((1 + 0) / 2)


def test_compare_tells_each_fold(capsys):
    result = compare(floors(RESIDUES, STATES), RESIDUES, STATES, cv=2, verbose=1)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"amino acid, fold 1/2: score {result.scores['amino acid', 'score'][0, 0]:.3f}, ")
    assert second.startswith("amino acid, fold 2/2: ")
