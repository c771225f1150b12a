"""Windows: every residue is read, with neighbours, and blended by weights that add up to 1."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import EsmModel

from plmlearn.nn.encoders import make_encoder
from plmlearn.nn.packing import Blend, PackedTokens, cut, unpack, whole_lengths

PROTEINS = st.lists(st.integers(1, 60), min_size=1, max_size=5)


@given(st.integers(1, 20_000), st.integers(1, 2000))
@settings(max_examples=300)
def test_windows_cover_a_protein_and_overlap_by_a_quarter(n_residues, size):
    windows = cut(n_residues, size)
    if n_residues <= size:
        assert windows == [(0, n_residues)]
        return
    assert windows[0][0] == 0
    assert windows[-1][1] == n_residues
    assert len({last - first for first, last in windows}) == 1
    assert windows[0][1] <= size
    overlaps = [left[1] - right[0] for left, right in itertools.pairwise(windows)]
    assert min(overlaps) >= size // 4
    assert (len(windows) - 1) * (size - size // 4) + size // 4 < n_residues  # one fewer would not do
    n_read = sum(last - first for first, last in windows)
    assert n_read < n_residues + len(windows) * (size // 4 + 1)  # nothing is read for nothing


def weights_by_hand(lengths: list[int], size: int) -> list[np.ndarray]:
    """For each window of each protein, the weight of each of its residues."""
    weights = []
    for n_residues in lengths:
        heights = []
        for first, last in cut(n_residues, size):
            height = np.zeros(n_residues)
            for residue in range(first, last):
                from_left = np.inf if first == 0 else residue - first + 1
                from_right = np.inf if last == n_residues else last - residue
                height[residue] = min(from_left, from_right, 1e9)
            heights.append(height)
        shares = np.array(heights) / np.sum(heights, axis=0)
        weights += [share[first:last] for share, (first, last) in zip(shares, cut(n_residues, size))]
    return weights


def windows_of(lengths: list[int], size: int) -> tuple[list[int], list[int]]:
    spans = [span for n in lengths for span in cut(n, size)]
    return [first for first, _ in spans], [last - first for first, last in spans]


@given(PROTEINS, st.integers(1, 20))
def test_weights_match_a_loop_over_residues(lengths, size):
    offsets, n_residues = windows_of(lengths, size)
    assert whole_lengths(offsets, n_residues) == lengths
    blend = Blend(offsets, n_residues, torch.device("cpu"))
    expected = np.concatenate(weights_by_hand(lengths, size))
    np.testing.assert_allclose(blend.weights.values.numpy(), expected, atol=1e-6)


def test_weights_of_two_windows_are_linear_ramps():
    blend = Blend([0, 3], [7, 7], torch.device("cpu"))  # 10 residues, 4 of them in both
    ramp = torch.tensor([0.8, 0.6, 0.4, 0.2])
    expected = torch.cat([torch.ones(3), ramp, ramp.flip(0), torch.ones(3)])
    torch.testing.assert_close(blend.weights.values, expected)


def pack(lengths: list[int], size: int, n_prefix: int = 1, n_suffix: int = 1) -> PackedTokens:
    offsets, n_residues = windows_of(lengths, size)
    n_tokens = [n + n_prefix + n_suffix for n in n_residues]
    return PackedTokens(torch.arange(sum(n_tokens)), n_tokens, n_prefix, n_suffix, offsets=offsets)


@given(PROTEINS, st.integers(1, 20), st.sampled_from([(1, 1), (0, 1), (1, 0)]))
@settings(deadline=None)
def test_blending_what_windows_agree_on_gives_it_back(lengths, size, specials):
    """Where every window says the same of a residue, so does the protein: weights add up to 1."""
    tokens = pack(lengths, size, *specials)
    truth = torch.randn(sum(lengths), 3, generator=torch.Generator().manual_seed(0))
    proteins = truth.split(lengths)
    hidden = torch.full((len(tokens.ids), 3), 7.0)
    pieces = [protein[a:b] for protein in proteins for a, b in cut(len(protein), size)]
    hidden[tokens.residue_index] = torch.cat(pieces)
    encoded = unpack(hidden, tokens)
    assert encoded.residues.lengths == lengths
    torch.testing.assert_close(encoded.residues.values, truth)
    if specials[0]:
        torch.testing.assert_close(encoded.first, torch.full((len(lengths), 3), 7.0))


def test_first_tokens_count_by_the_residues_their_windows_stand_for():
    tokens = pack([10, 4], size=7)
    hidden = torch.randn(len(tokens.ids), 2, generator=torch.Generator().manual_seed(1))
    first = hidden[tokens.starts]
    by_window = weights_by_hand([10, 4], 7)
    shares = [float(weights.sum()) for weights in by_window]
    expected = (shares[0] * first[0] + shares[1] * first[1]) / 10
    torch.testing.assert_close(unpack(hidden, tokens).first, torch.stack([expected, first[2]]))


def test_gradients_pass_the_blend():
    tokens = pack([10, 4], size=7)
    hidden = torch.randn(len(tokens.ids), 2, dtype=torch.double, requires_grad=True)
    unpack(hidden, tokens).residues.values.sum().backward()
    # Every residue's weights add up to 1, so all windows together get one gradient per residue.
    assert float(hidden.grad[:, 0].sum()) == pytest.approx(14)
    hidden.grad[tokens.residue_index] = 0
    assert not hidden.grad.any()


@given(PROTEINS, st.integers(1, 20), st.integers(1, 80))
@settings(deadline=None)
def test_pieces_keep_the_budget_and_the_order(lengths, size, max_tokens):
    tokens = replace(pack(lengths, size), max_tokens=max_tokens)
    pieces = list(tokens.pieces())
    assert torch.equal(torch.cat([piece.ids for piece in pieces]), tokens.ids)
    assert [n for piece in pieces for n in piece.lengths] == tokens.lengths
    for piece, following in itertools.pairwise(pieces):
        assert sum(piece.lengths) + following.lengths[0] > max_tokens
    assert all(sum(piece.lengths) <= max_tokens or len(piece.lengths) == 1 for piece in pieces)


@pytest.mark.parametrize("trunk_depth", [0, 2, 3])
def test_windows_go_through_the_layers_a_few_at_a_time(esm_folder, monkeypatch, trunk_depth):
    """Memory is bounded by the budget however long a protein is, with the same result."""
    model = EsmModel.from_pretrained(esm_folder, add_pooling_layer=False).eval()
    encoder = make_encoder(model, trunk_depth=trunk_depth)
    tokens = pack([200, 5], size=16)
    ids = torch.from_numpy(np.random.default_rng(0).integers(4, 24, len(tokens.ids)))
    tokens = replace(tokens, ids=ids)
    seen = []
    layer = encoder.layer
    monkeypatch.setattr(
        encoder, "layer", lambda i, h, t, *rest: seen.append(len(t.ids)) or layer(i, h, t, *rest)
    )
    with torch.no_grad():
        whole = encoder(tokens)
        assert max(seen) == len(ids)
        seen.clear()
        by_pieces = encoder(replace(tokens, max_tokens=40))
    assert max(seen) <= 40
    torch.testing.assert_close(by_pieces, whole, atol=1e-5, rtol=1e-5)
