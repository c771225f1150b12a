"""A quick look for near-duplicates, compared with counting k-mers in sets of strings."""

import numpy as np
import pytest

from plmlearn.similarity import kmers
from plmlearn.similarity.kmers import K, near_duplicates

LETTERS = np.array(list("ACDEFGHIKLMNPQRSTVWY"))


def draw(n: int, length: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array(["".join(rng.choice(LETTERS, length)) for _ in range(n)], dtype=object)


def mutate(sequences, share: float, seed: int = 1) -> np.ndarray:
    """Other residues in a share of the positions."""
    rng, made = np.random.default_rng(seed), []
    for sequence in sequences:
        letters = list(sequence)
        for i in rng.choice(len(letters), round(share * len(letters)), replace=False):
            letters[i] = rng.choice(LETTERS[letters[i] != LETTERS])
        made.append("".join(letters))
    return np.array(made, dtype=object)


def counted(queries, targets) -> list[bool]:
    """The definition, written out."""
    words = [{s[i : i + K] for i in range(len(s) - K + 1)} for s in targets]
    known = set().union(*words)
    answers = []
    for query in queries:
        own = [query[i : i + K] for i in range(len(query) - K + 1)]
        answers.append(query in set(targets) or (bool(own) and sum(w in known for w in own) >= len(own) / 3))
    return answers


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 0.12, 0.3])
def test_it_counts_k_mers(share):
    targets = np.concatenate([draw(40, 60, 0), draw(9, 7, 2), draw(5, 10, 3)])
    queries = np.concatenate([mutate(targets, share), draw(20, 50, 4)])
    assert near_duplicates(queries, targets).tolist() == counted(queries, targets)


def test_what_is_nearly_identical_is_found_and_no_other():
    targets = draw(300, 250, 0)
    found = {
        share: near_duplicates(mutate(targets, share), targets).mean() for share in (0.02, 0.05, 0.2, 0.5)
    }
    assert found == {0.02: 1.0, 0.05: 1.0, 0.2: 0.0, 0.5: 0.0}


def test_many_proteins_are_compared_by_a_sample_of_their_k_mers(monkeypatch):
    targets = draw(300, 250, 0)
    monkeypatch.setattr(kmers, "_MOST_KMERS", 10_000)
    monkeypatch.setattr(kmers, "_AT_ONCE", 7)
    limit = np.uint64(2**64 - 1) // np.uint64(8)
    assert len(kmers._hashes(targets, limit)[0]) == pytest.approx(300 * 241 / 8, rel=0.1)
    assert near_duplicates(mutate(targets, 0.02), targets).mean() > 0.98
    assert near_duplicates(draw(300, 250, 5), targets).mean() == 0
    assert near_duplicates(targets[::-1], targets).all()


def test_short_proteins_are_compared_as_a_whole():
    found = near_duplicates(np.array(["MKV", "MKA", "G"], dtype=object), np.array(["MKV", "G"], dtype=object))
    assert found.tolist() == [True, False, True]
