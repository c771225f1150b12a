"""Generators of synthetic proteins: what they promise, and that it can be learned."""

from itertools import groupby

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from plmlearn.datasets import (
    make_mutational_landscape,
    make_protein_classification,
    make_protein_pairs,
    make_protein_regression,
    make_proteins,
    make_residue_labels,
)

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
SWISS_PROT = {"L": 0.0965, "A": 0.0825, "G": 0.0707, "C": 0.0138, "W": 0.0110, "E": 0.0672, "K": 0.0580}
GENERATORS = (
    make_proteins,
    make_protein_classification,
    make_protein_regression,
    make_mutational_landscape,
    make_residue_labels,
    make_protein_pairs,
)


def composition(sequences) -> np.ndarray:
    return np.array(
        [[sequence.count(letter) / len(sequence) for letter in AMINO_ACIDS] for sequence in sequences]
    )


def one_hot(sequences) -> np.ndarray:
    letters = np.array([list(sequence) for sequence in sequences])
    return (letters[:, :, None] == np.array(list(AMINO_ACIDS))).reshape(len(sequences), -1).astype(float)


@pytest.mark.parametrize("make", GENERATORS)
def test_the_same_seed_makes_the_same_data(make):
    def made(seed):
        output = make(12, random_state=seed)
        arrays = output if isinstance(output, tuple) else (output,)
        return [array.tolist() for array in arrays]

    assert made(0) == made(0)
    assert made(0) != made(1)
    assert made(np.random.RandomState(0)) == made(0)


@pytest.mark.parametrize("make", GENERATORS)
def test_sequences_are_plain_strings_of_amino_acids(make):
    output = make(20, random_state=3)
    X = output[0] if isinstance(output, tuple) else output
    assert X.dtype == object
    assert len(X) == 20
    assert all(type(sequence) is str for sequence in X.ravel())
    assert set("".join(X.ravel())) <= set(AMINO_ACIDS)


def test_proteins_have_natural_lengths_and_frequencies():
    X = make_proteins(3000, random_state=0)
    lengths = np.array([len(sequence) for sequence in X])
    assert lengths.min() >= 30
    assert lengths.max() <= 2000
    assert np.median(lengths) == pytest.approx(300, rel=0.05)
    assert np.log(lengths).std() == pytest.approx(0.65, abs=0.05)
    assert all(sequence.startswith("M") for sequence in X)
    residues = "".join(sequence[1:] for sequence in X)
    for letter, frequency in SWISS_PROT.items():
        assert residues.count(letter) / len(residues) == pytest.approx(frequency, rel=0.02)


@pytest.mark.parametrize(
    ("low", "high", "median"), [(10, 10, 300), (1, 3, 2), (30, 60, 300), (500, 520, 300)]
)
def test_lengths_fill_their_range(low, high, median):
    X = make_proteins(2000, median_length=median, min_length=low, max_length=high, random_state=0)
    assert {len(sequence) for sequence in X} == set(range(low, high + 1))


def test_classes_are_balanced_and_learned_from_composition():
    X, y = make_protein_classification(300, n_classes=3, motif_length=0, random_state=0)
    assert np.bincount(y).tolist() == [100, 100, 100]
    model = make_pipeline(StandardScaler(), LogisticRegression())
    assert cross_val_score(model, composition(X), y, cv=5).mean() > 0.9
    X, y = make_protein_classification(300, n_classes=3, motif_length=0, class_sep=0, random_state=0)
    assert cross_val_score(model, composition(X), y, cv=5).mean() < 0.5


def test_classes_are_learned_from_motifs():
    X, y = make_protein_classification(200, class_sep=0, motif_length=6, random_state=0)
    words = CountVectorizer(analyzer="char", ngram_range=(6, 6), min_df=20, lowercase=False, binary=True)
    found = words.fit_transform(X).toarray()
    assert found.shape[1] == 2  # one motif per class, planted in every protein of it and in no other
    assert {tuple(column) for column in found.T} == {tuple(y == 0), tuple(y == 1)}


def test_flipped_classes():
    clean = make_protein_classification(2000, n_classes=4, max_length=60, random_state=0)
    noisy = make_protein_classification(2000, n_classes=4, max_length=60, flip_y=0.4, random_state=0)
    assert clean[0].tolist() == noisy[0].tolist()
    assert np.mean(clean[1] != noisy[1]) == pytest.approx(0.4 * 3 / 4, abs=0.03)


def test_regression_target_is_linear_in_composition():
    X, y = make_protein_regression(200, noise=0, random_state=0)
    model = LinearRegression().fit(composition(X[:100]), y[:100])
    np.testing.assert_allclose(model.predict(composition(X[100:])), y[100:], atol=1e-9)
    _, many = make_protein_regression(1500, noise=0, random_state=1)
    assert many.std() == pytest.approx(1, abs=0.15)


def test_regression_noise():
    clean = make_protein_regression(2000, noise=0, max_length=60, random_state=0)
    noisy = make_protein_regression(2000, noise=0.5, max_length=60, random_state=0)
    assert clean[0].tolist() == noisy[0].tolist()
    assert (noisy[1] - clean[1]).std() == pytest.approx(0.5, rel=0.06)


def test_landscape_without_epistasis_is_additive():
    X, y = make_mutational_landscape(1500, length=15, max_mutations=3, epistasis=0, random_state=0)
    model = LinearRegression().fit(one_hot(X[:1200]), y[:1200])
    np.testing.assert_allclose(model.predict(one_hot(X[1200:])), y[1200:], atol=1e-6)
    X, y = make_mutational_landscape(1500, length=15, max_mutations=3, epistasis=1, random_state=0)
    residual = y[1200:] - clone(model).fit(one_hot(X[:1200]), y[:1200]).predict(one_hot(X[1200:]))
    assert residual.std() > 0.1 * y.std()


def test_landscape_is_additive_plus_pairwise():
    parent = "MKV"
    X, y = make_mutational_landscape(60_000, parent=parent, max_mutations=3, epistasis=0.7, random_state=1)
    value = dict(zip(X, y))
    sites = [[letter for letter in AMINO_ACIDS if letter != own] for own in parent]

    def mutant(**letters) -> str:
        return "".join(letters.get(name, own) for name, own in zip("abc", parent))

    rng = np.random.RandomState(0)
    checked = 0
    for _ in range(200):
        a, b, c = (rng.choice(letters) for letters in sites)
        e = {name: value[mutant(**{name: letter})] for name, letter in zip("abc", (a, b, c))}
        pair_ab = value[mutant(a=a, b=b)] - e["a"] - e["b"]
        pair_ac = value[mutant(a=a, c=c)] - e["a"] - e["c"]
        pair_bc = value[mutant(b=b, c=c)] - e["b"] - e["c"]
        if mutant(a=a, b=b, c=c) in value:
            triple = sum(e.values()) + pair_ab + pair_ac + pair_bc  # no interaction of three
            assert value[mutant(a=a, b=b, c=c)] == pytest.approx(triple)
            checked += 1
        coupling = pair_ab / (e["a"] * e["b"])
        assert coupling == pytest.approx(
            (value[mutant(a="W", b="W")] - value[mutant(a="W")] - value[mutant(b="W")])
            / (value[mutant(a="W")] * value[mutant(b="W")])
        )
    assert checked > 150


def test_landscape_variants():
    parent = "MKTAYIAKQRQISFVKSHFSRQ"
    X, y = make_mutational_landscape(400, parent=parent, max_mutations=4, random_state=0)
    assert X[0] == parent
    assert y[0] == 0
    mutations = [sum(a != b for a, b in zip(variant, parent)) for variant in X[1:]]
    assert np.bincount(mutations, minlength=5)[0] == 0
    assert np.bincount(mutations).min(where=np.arange(5) > 0, initial=400) > 60
    assert y.mean() < -1  # most mutations harm
    assert (y > 0).any()  # few help


def test_residue_labels_come_in_segments_with_preferences():
    X, y = make_residue_labels(300, labels="HEC", mean_segment=6, random_state=0)
    assert [len(sequence) for sequence in X] == [len(labels) for labels in y]
    assert all(type(labels) is str for labels in y)
    residues, labels = "".join(X), "".join(y)
    assert set(labels) == set("HEC")
    assert all(labels.count(label) / len(labels) == pytest.approx(1 / 3, abs=0.05) for label in "HEC")
    segments = [len(list(group)) for one in y for _, group in groupby(one)]
    assert np.mean(segments) == pytest.approx(6, rel=0.06)
    for label in "HEC":
        own = [residue for residue, its in zip(residues, labels) if its == label]
        others = [residue for residue, its in zip(residues, labels) if its != label]
        difference = composition(["".join(own)]) - composition(["".join(others)])
        assert np.abs(difference).max() > 0.05


def test_residue_labels_missing():
    _, full = make_residue_labels(100, random_state=0)
    _, partial = make_residue_labels(100, missing=0.25, random_state=0)
    full, partial = "".join(full), "".join(partial)
    assert partial.count("-") / len(partial) == pytest.approx(0.25, abs=0.01)
    assert all(b in (a, "-") for a, b in zip(full, partial))


def test_pairs_interact_if_their_families_fit():
    X, y = make_protein_pairs(600, n_proteins=24, n_families=3, class_sep=0, random_state=0)
    assert X.shape == (600, 2)
    assert np.bincount(y).tolist() == [300, 300]
    proteins = sorted(set(X.ravel()))
    assert len(proteins) <= 24
    words = CountVectorizer(analyzer="char", ngram_range=(6, 6), min_df=4, lowercase=False, binary=True)
    family = dict(zip(proteins, words.fit_transform(proteins).toarray().argmax(axis=1)))
    assert sorted(np.bincount(list(family.values()))) == [4] * 6
    truth = {}
    for (a, b), interacts in zip(X, y):
        assert truth.setdefault(frozenset((family[a], family[b])), interacts) == interacts
    assert sum(truth.values()) == 3


@pytest.mark.parametrize(
    ("make", "parameters", "message"),
    [
        (make_proteins, {"n_samples": 0}, "'n_samples' parameter .* Got 0"),
        (make_proteins, {"min_length": 50, "max_length": 40}, "max_length == 40"),
        (make_protein_classification, {"n_classes": 1}, "'n_classes' parameter .* Got 1"),
        (make_protein_classification, {"motif_length": 40, "min_length": 40}, "motif_length == 40"),
        (make_protein_regression, {"noise": -1}, "'noise' parameter .* Got -1"),
        (make_mutational_landscape, {"parent": "MKZ"}, r"parent has \['Z'\]; allowed: ACDEFGHIKLMNPQRSTVWY"),
        (make_mutational_landscape, {"parent": "MK"}, "max_mutations == 4"),
        (make_residue_labels, {"labels": "HH"}, "at least two different letters"),
        (make_residue_labels, {"labels": "H-"}, "and no '-'"),
        (make_residue_labels, {"mean_segment": 0.5}, "'mean_segment' parameter .* Got 0.5"),
        (make_protein_pairs, {"n_proteins": 3}, "n_proteins == 3"),
    ],
)
def test_bad_parameters_are_refused(make, parameters, message):
    with pytest.raises(ValueError, match=message):
        make(**parameters)
