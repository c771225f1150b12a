"""Crops and masks: their statistics, and that they are what a step's number says."""

import numpy as np
import pytest
import torch

from plmlearn.backbones import load_backbone
from plmlearn.pretraining.masking import Corpus, Masking, draw_crops, masked_batches


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("mini")


def test_esm2s_shares(backbone):
    """15 % of residues are chosen: 80 % masked, 10 % replaced by any residue, 10 % left."""
    masking = Masking.of(backbone)
    rng = np.random.default_rng(0)
    n = 400_000
    ids = rng.choice(np.array(masking.residues, dtype=np.uint8), n)
    masked_ids, positions = masking.mask(ids, rng)
    chosen = len(positions)
    assert chosen == pytest.approx(0.15 * n, abs=5 * np.sqrt(n * 0.15 * 0.85))
    fates = masked_ids[positions]
    masked = (fates == backbone.config.mask_token_id).sum()
    assert masked == pytest.approx(0.8 * chosen, abs=5 * np.sqrt(chosen * 0.16))
    changed = ((fates != ids[positions]) & (fates != backbone.config.mask_token_id)).sum()
    # A random residue is the true one once in twenty.
    assert changed == pytest.approx(0.095 * chosen, abs=5 * np.sqrt(chosen * 0.09))
    drawn = np.bincount(fates[(fates != ids[positions]) & (fates != 32)], minlength=33)[
        list(masking.residues)
    ]
    assert drawn.min() > 0.8 * drawn.mean()
    untouched = np.delete(np.arange(n), positions)
    np.testing.assert_array_equal(masked_ids[untouched], ids[untouched])


def test_only_standard_residues_are_chosen(backbone):
    ids, _ = backbone.tokenize(["MXBOUZ" * 200])
    before = ids.copy()
    _, positions = Masking.of(backbone, rate=0.99).mask(ids, np.random.default_rng(0))
    assert set(ids[positions]) == {backbone.vocabulary["M"]}
    np.testing.assert_array_equal(ids, before)


def test_parts_hold_every_residue_once(backbone):
    masking = Masking.of(backbone)
    for n in (1, 3, 7, 40, 101):
        ids, _ = backbone.tokenize(["X" + "ACDEFGHIKL" * 11][:1])
        ids = np.concatenate([ids[: n + 2], ids[-1:]])
        parts = masking.parts(ids, np.random.default_rng(n))
        assert sorted(np.concatenate(parts)) == list(np.flatnonzero(masking.is_residue(ids)))
        assert len(parts) == min(7, masking.is_residue(ids).sum())
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_crops_are_windows_of_their_sequences(backbone, draw_proteins):
    sequences = draw_proteins(40, shortest=3, longest=60)
    corpus = Corpus(backbone, sequences)
    whole = [backbone.tokenize([s])[0].tobytes() for s in sequences]
    rng = np.random.default_rng(0)
    for _ in range(20):
        rows = rng.choice(40, 12)
        ids, lengths = draw_crops(corpus, rows, 20, rng)
        assert (np.diff(lengths) >= 0).all()
        expected = sorted(min(20, len(sequences[row]) + 2) for row in rows)
        assert lengths.tolist() == expected
        for crop in np.split(ids, np.cumsum(lengths)[:-1]):
            assert any(crop.tobytes() in whole[row] for row in rows)


def test_ends_are_seen_as_often_as_half_of_all_places(backbone):
    corpus = Corpus(backbone, ["A" * 98])
    rng = np.random.default_rng(0)
    seen = [draw_crops(corpus, np.array([0]), 20, rng)[0][0] == 0 for _ in range(4000)]
    assert np.mean(seen) == pytest.approx(0.1, abs=0.03)


def test_batches_hold_the_step_whole(backbone, draw_proteins):
    """Whatever the token budget, every position is predicted once with its true residue."""
    corpus = Corpus(backbone, draw_proteins(20))
    masking, rng = Masking.of(backbone, rate=0.3), np.random.default_rng(1)
    ids, lengths = draw_crops(corpus, np.arange(20), 30, rng)
    masked_ids, positions = masking.mask(ids, rng)
    for budget in (1, 50, 10_000):
        batches = list(masked_batches(ids, masked_ids, positions, lengths, budget, torch.device("cpu")))
        starts = np.cumsum([0, *(len(batch.tokens.ids) for batch in batches[:-1])])
        places = [batch.positions + start for batch, start in zip(batches, starts, strict=True)]
        np.testing.assert_array_equal(torch.cat(places), positions)
        np.testing.assert_array_equal(torch.cat([batch.tokens.ids for batch in batches]), masked_ids)
        np.testing.assert_array_equal(torch.cat([batch.targets for batch in batches]), ids[positions])
        rows = torch.cat([batch.tokens.ids[batch.positions] for batch in batches])
        np.testing.assert_array_equal(rows, masked_ids[positions])
        assert [n for batch in batches for n in batch.tokens.lengths] == lengths.tolist()
