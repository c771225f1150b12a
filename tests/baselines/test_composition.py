"""Sequences as vectors, counted by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plmlearn.baselines import CompositionVectorizer
from plmlearn.sequences import ALPHABET
from plmlearn.similarity.blosum import BLOSUM62, RESIDUE_TYPES

sequences = st.lists(st.text(ALPHABET + "XBU", min_size=1, max_size=9), min_size=1, max_size=5)


@settings(max_examples=50, deadline=None)
@given(sequences, st.integers(1, 3))
def test_words_equal_counting(X, k):
    vectorizer = CompositionVectorizer(kind="kmer", k=k).fit(X)
    found = np.asarray(vectorizer.transform(X).toarray() if k > 1 else vectorizer.transform(X))
    names = vectorizer.get_feature_names_out().tolist()
    for x, row in zip(X, found):
        words = [x[i : i + k] for i in range(len(x) - k + 1) if set(x[i : i + k]) <= set(ALPHABET)]
        counts = np.zeros(len(names))
        for word in words:
            counts[names.index(word)] += 1 / len(words)
        assert row == pytest.approx(counts)


@settings(deadline=None)
@given(sequences)
def test_positions_equal_a_loop(X):
    onehot, blosum = (
        CompositionVectorizer(kind="onehot").fit(X),
        CompositionVectorizer(kind="blosum62").fit(X),
    )
    names = onehot.get_feature_names_out()
    for x, row, scores in zip(X, onehot.transform(X).toarray(), blosum.transform(X)):
        assert [name for name, value in zip(names, row) if value] == [
            f"{letter}{i}" for i, letter in enumerate(x, start=1) if letter in ALPHABET
        ]
        for i, letter in enumerate(x.replace("U", "C")):
            assert (
                scores[20 * i : 20 * i + 20].tolist() == BLOSUM62[RESIDUE_TYPES.index(letter), :20].tolist()
            )
        assert not scores[20 * len(x) :].any()


def test_blosum62_is_symmetric_and_known():
    assert (BLOSUM62 == BLOSUM62.T).all()
    score = {(a, b): BLOSUM62[i, j] for i, a in enumerate(RESIDUE_TYPES) for j, b in enumerate(RESIDUE_TYPES)}
    assert [score["W", "W"], score["C", "C"], score["I", "V"], score["E", "D"], score["G", "L"]] == [
        11,
        9,
        3,
        2,
        -4,
    ]


def test_longer_sequences_are_refused():
    with pytest.raises(ValueError, match="has 4 residues, the longest in fit had 3"):
        CompositionVectorizer(kind="onehot").fit(["MKV"]).transform(["MKVA"])


@pytest.mark.parametrize(
    "parameters, message",
    [({"kind": "tfidf"}, "'kind' parameter .* Got 'tfidf'"), ({"k": 9}, "'k' parameter .* Got 9")],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        CompositionVectorizer(**parameters).fit(["MKV"])
