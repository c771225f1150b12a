"""Packed rows: where sequences begin, which tokens are residues, and parting them again."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from plmlearn.nn.packing import PackedTokens, unpack

LENGTHS = st.lists(st.integers(2, 9), min_size=1, max_size=12)


def make_tokens(lengths: list[int], n_prefix: int = 1, n_suffix: int = 1) -> PackedTokens:
    return PackedTokens(torch.arange(sum(lengths)), lengths, n_prefix, n_suffix)


@given(LENGTHS)
def test_positions_starts_and_runs_match_a_loop(lengths):
    tokens = make_tokens(lengths)
    assert tokens.positions.tolist() == [i for n in lengths for i in range(n)]
    assert tokens.starts.tolist() == [sum(lengths[:i]) for i in range(len(lengths))]
    assert [length for n, length in tokens.runs for _ in range(n)] == lengths
    neighbours = zip(tokens.runs, tokens.runs[1:])
    assert all(left[1] != right[1] for left, right in neighbours)


@given(LENGTHS, st.sampled_from([(1, 1), (0, 1), (2, 0), (1, 0)]))
def test_residue_index_leaves_out_special_tokens(lengths, specials):
    n_prefix, n_suffix = specials
    tokens = make_tokens(lengths, n_prefix, n_suffix)
    mask = [n_prefix <= i < n - n_suffix for n in lengths for i in range(n)]
    assert tokens.residue_index.tolist() == [i for i, is_residue in enumerate(mask) if is_residue]
    assert tokens.residue_lengths == [n - n_prefix - n_suffix for n in lengths]


@given(LENGTHS)
def test_unpack_gives_residues_and_first_tokens(lengths):
    tokens = make_tokens(lengths)
    hidden = torch.arange(sum(lengths) * 3.0).view(-1, 3)
    encoded = unpack(hidden, tokens)
    pieces = hidden.split(lengths)
    assert torch.equal(encoded.residues.values, torch.cat([piece[1:-1] for piece in pieces]))
    assert torch.equal(encoded.first, torch.stack([piece[0] for piece in pieces]))
    assert encoded.residues.lengths == [n - 2 for n in lengths]
