"""Every sample once, budgets kept, duplicates encoded once."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plmlearn.backbones import load_backbone
from plmlearn.training.batching import Inputs, make_batches, split_by_budget

CPU = torch.device("cpu")
SEQUENCES = st.lists(st.text("ACDE", min_size=1, max_size=12), min_size=1, max_size=25)


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("mini")


def batches_of(data, max_tokens, samples=None):
    samples = np.arange(len(data)) if samples is None else samples
    return list(make_batches(data, samples, max_tokens, CPU))


def sequences_of(batch, backbone) -> list[str]:
    """The sequence of each sample of a batch, read back from the token ids."""
    letters = {i: letter for letter, i in backbone.vocabulary.items()}
    pieces = batch.inputs.ids.split(batch.inputs.lengths)
    texts = ["".join(letters[i] for i in ids.tolist()) for ids in pieces]
    assert all(text.startswith("<cls>") and text.endswith("<eos>") for text in texts)
    return [texts[i][5:-5] for i in batch.index.tolist()]


@given(SEQUENCES, st.integers(1, 60), st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_batches_hold_every_sample_once_with_its_sequence(backbone, sequences, max_tokens, seed):
    data = Inputs.of(backbone, sequences)
    rows = np.random.default_rng(seed).permutation(len(sequences))[: 1 + len(sequences) // 2]
    batches = batches_of(data, max_tokens, rows)
    assert sorted(r for b in batches for r in b.samples.tolist()) == sorted(rows.tolist())
    for batch in batches:
        assert sequences_of(batch, backbone) == [sequences[row] for row in batch.samples]


@given(SEQUENCES, st.integers(1, 60))
@settings(max_examples=80, deadline=None)
def test_batches_keep_the_budget_and_encode_duplicates_once(backbone, sequences, max_tokens):
    data = Inputs.of(backbone, sequences)
    batches = batches_of(data, max_tokens)
    for batch in batches:
        assert sum(batch.inputs.lengths) <= max_tokens or len(batch.inputs.lengths) == 1
        assert len(batch.inputs.ids) == sum(batch.inputs.lengths)
        assert batch.inputs.lengths == sorted(batch.inputs.lengths)
    n_encoded = sum(len(batch.inputs.lengths) for batch in batches)
    assert n_encoded == len(data.sequences) == len(set(sequences))


def test_tokenized_sequences_count_tokens_and_residues(backbone):
    data = Inputs.of(backbone, ["MKV", "A", "MKV"])
    assert data.index.tolist() == [0, 1, 0]
    assert data.sequences.lengths.tolist() == [5, 3]
    assert data.n_residues.tolist() == [3, 1, 3]
    assert len(data) == 3


def test_tokens_of_samples_count_each_sequence_once(backbone):
    data = Inputs.of(backbone, ["MKV", "A", "MKV", "GGGG"])
    assert data.n_tokens(np.array([0, 1, 2])) == 5 + 3
    assert data.n_tokens(np.array([3])) == 6


def test_keys_tell_sequences_apart_and_do_not_depend_on_neighbours(backbone):
    keys = dict(zip(["MKV", "MVK", "MK"], Inputs.of(backbone, ["MKV", "MVK", "MK"]).sequences.keys()))
    assert len(set(keys.values())) == 3
    assert all(len(key) == 16 for key in keys.values())
    assert Inputs.of(backbone, ["A", "MKV"]).sequences.keys()[1] == keys["MKV"]


@given(st.lists(st.integers(1, 400), max_size=60), st.integers(1, 500))
def test_split_by_budget(lengths, max_tokens):
    lengths = np.array(lengths, dtype=int)
    cuts = split_by_budget(lengths, max_tokens)
    assert cuts[0] == 0
    assert cuts == sorted(set(cuts))
    for first, last in zip(cuts, [*cuts[1:], len(lengths)]):
        assert last > first or len(lengths) == 0
        assert lengths[first:last].sum() <= max_tokens or last - first == 1


def test_split_by_budget_makes_batches_of_like_size():
    cuts = split_by_budget(np.full(101, 10), 1000)
    sizes = np.diff([*cuts, 101])
    assert len(sizes) == 2
    assert sizes.max() - sizes.min() <= 1
