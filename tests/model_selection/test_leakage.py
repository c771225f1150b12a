"""Nearest training protein of every test protein."""

import numpy as np
import pytest

from plmlearn.model_selection import leakage_report


def test_variants_by_hand():
    report = leakage_report(["MKVLAAAAAA", "GGGGGAAAAA"], ["MKVLAAAAAC", "GGGGGAAAAA"])
    assert report.identity == pytest.approx([0.9, 1])
    assert report.nearest.tolist() == [0, 1]
    assert report.n_duplicates == 1
    assert report.share_above(0.95) == 0.5


def test_strangers_have_no_neighbour():
    random = np.random.default_rng(0)
    first, second = ("".join(random.choice(list("ACDEFGHIKLMNPQRSTVWY"), 60)) for _ in range(2))
    report = leakage_report([first], [second, "GSGS" + first], method="exact")
    assert report.nearest.tolist() == [-1, 0]
    assert report.identity.tolist() == [0, 1]
    assert report.coverage == pytest.approx([0, 60 / 64])
    assert "without a similar protein in training: 50.0%" in str(report)


def test_duplicates_are_found_whatever_their_case():
    assert leakage_report(["MKV", "GGG"], ["mkv*", "MKV", "AAA"], method="exact").n_duplicates == 2
