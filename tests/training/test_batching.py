"""Every row once, budgets kept, duplicates encoded once, and what is known handed to the right rows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plmlearn.backbones import load_backbone
from plmlearn.cache import Entries
from plmlearn.training.batching import (
    TokenizedSequences,
    draw_rows,
    draw_steps,
    make_batches,
    split_by_budget,
)

CPU = torch.device("cpu")
SEQUENCES = st.lists(st.text("ACDE", min_size=1, max_size=12), min_size=1, max_size=25)


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("mini")


def batches_of(data, max_tokens, rows=None):
    rows = np.arange(len(data)) if rows is None else rows
    return list(make_batches(data, rows, max_tokens, CPU))


def entries(values) -> Entries:
    """Values of each distinct sequence, None for those that are not known."""
    known = Entries(len(values))
    for i, value in enumerate(values):
        if value is not None:
            known.put(np.array([i]), value, np.array([len(value)]))
    return known


def sequences_of(batch, backbone) -> list[str]:
    """The sequence of each row of a batch, read back from the token ids."""
    letters = {i: letter for letter, i in backbone.vocabulary.items()}
    pieces = batch.tokens.ids.split(batch.tokens.lengths)
    texts = ["".join(letters[i] for i in ids.tolist()) for ids in pieces]
    assert all(text.startswith("<cls>") and text.endswith("<eos>") for text in texts)
    return [texts[i][5:-5] for i in batch.sequence_of_row.tolist()]


@given(SEQUENCES, st.integers(1, 60), st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_batches_hold_every_row_once_with_its_sequence(backbone, sequences, max_tokens, seed):
    data = TokenizedSequences(backbone, sequences)
    rows = np.random.default_rng(seed).permutation(len(sequences))[: 1 + len(sequences) // 2]
    batches = batches_of(data, max_tokens, rows)
    assert sorted(r for b in batches for r in b.rows.tolist()) == sorted(rows.tolist())
    for batch in batches:
        assert sequences_of(batch, backbone) == [sequences[row] for row in batch.rows]


@given(SEQUENCES, st.integers(1, 60))
@settings(max_examples=80, deadline=None)
def test_batches_keep_the_budget_and_encode_duplicates_once(backbone, sequences, max_tokens):
    data = TokenizedSequences(backbone, sequences)
    batches = batches_of(data, max_tokens)
    for batch in batches:
        assert sum(batch.tokens.lengths) <= max_tokens or len(batch.tokens.lengths) == 1
        assert len(batch.tokens.ids) == sum(batch.tokens.lengths)
        assert batch.tokens.lengths == sorted(batch.tokens.lengths)
    n_encoded = sum(len(batch.tokens.lengths) for batch in batches)
    assert n_encoded == data.n_distinct == len(set(sequences))


def test_tokenized_sequences_count_tokens_and_residues(backbone):
    data = TokenizedSequences(backbone, ["MKV", "A", "MKV"])
    assert data.of_row.tolist() == [0, 1, 0]
    assert data.lengths.tolist() == [5, 3]
    assert data.n_residues.tolist() == [3, 1, 3]
    assert len(data) == 3


def test_tokens_of_rows_count_each_sequence_once(backbone):
    data = TokenizedSequences(backbone, ["MKV", "A", "MKV", "GGGG"])
    assert data.n_tokens(np.array([0, 1, 2])) == 5 + 3
    assert data.n_tokens(np.array([False, False, False, True])) == 6
    data.know("pooled", entries([torch.zeros(1, 2)] * 3))
    assert data.n_tokens(np.arange(4)) == 3


def test_keys_tell_sequences_apart_and_do_not_depend_on_neighbours(backbone):
    keys = dict(zip(["MKV", "MVK", "MK"], TokenizedSequences(backbone, ["MKV", "MVK", "MK"]).keys()))
    assert len(set(keys.values())) == 3
    assert all(len(key) == 16 for key in keys.values())
    assert TokenizedSequences(backbone, ["A", "MKV"]).keys()[1] == keys["MKV"]


def test_known_trunks_go_to_their_sequences(backbone):
    sequences = ["MKVA", "A", "GG", "MKVA"]
    data = TokenizedSequences(backbone, sequences)
    data.know("trunk", entries([torch.full((n, 2), float(i)) for i, n in enumerate(data.lengths)]))
    for batch in batches_of(data, 8):
        expected = [data.of_row[row] for row in batch.rows]
        pieces = batch.tokens.trunk.split(batch.tokens.lengths)
        assert [pieces[i][0, 0] for i in batch.sequence_of_row] == expected


def test_known_embeddings_go_to_their_sequences_and_cost_one_token(backbone):
    data = TokenizedSequences(backbone, ["MKVA" * 9, "A", "GG"])
    data.know("pooled", entries([torch.full((1, 2), float(i)) for i in range(3)]))
    (batch,) = batches_of(data, 3)
    pooled = batch.tokens.pooled[batch.sequence_of_row]
    assert pooled[:, 0].tolist() == data.of_row[batch.rows].tolist()


def test_budget_is_kept_where_only_some_embeddings_are_known(backbone):
    """A batch with one unknown embedding is encoded whole, so all its tokens count."""
    data = TokenizedSequences(backbone, ["A" * n for n in range(1, 30)])
    data.know("pooled", entries([None if i % 7 == 0 else torch.zeros(1, 2) for i in range(29)]))
    for batch in batches_of(data, 40):
        if batch.tokens.pooled is None:
            assert sum(batch.tokens.lengths) <= 40


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


@given(st.integers(1, 50), st.integers(1, 20), st.integers(0, 99))
def test_draw_steps_draws_every_row_once(n_rows, batch_size, seed):
    steps = draw_steps(n_rows, batch_size, np.random.default_rng(seed))
    assert sorted(np.concatenate(steps).tolist()) == list(range(n_rows))
    assert [len(rows) for rows in steps[:-1]] == [batch_size] * (len(steps) - 1)
    assert len(steps) == -(-n_rows // batch_size)


def test_draws_differ_from_epoch_to_epoch_and_do_not_sort_by_length():
    rng = np.random.default_rng(0)
    first, second = (np.concatenate(draw_steps(100, 10, rng)) for _ in range(2))
    assert not np.array_equal(first, second)
    assert abs(np.corrcoef(first, np.arange(100))[0, 1]) < 0.4


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 80), st.integers(0, 99))
def test_drawn_rows_are_even_over_classes_and_within_them(strata, n_drawn, seed):
    strata = np.array(strata)
    rows = draw_rows(len(strata), n_drawn, np.random.default_rng(seed), strata=strata)
    assert len(rows) == n_drawn
    classes = np.unique(strata)
    of_class = [(strata[rows] == c).sum() for c in classes]
    assert max(of_class) - min(of_class) <= 1
    for c in classes:
        times = np.bincount(rows, minlength=len(strata))[strata == c]
        assert max(times) - min(times) <= 1
