"""Substitutions read from notation or from sequences."""

import pytest

from plmlearn.sequences import SequenceError
from plmlearn.sequences.variants import read_variants


def test_both_forms_agree():
    assert read_variants("MKVLA", ["K2A:L4V", "MAVVA", "l4v, k2a", "WT", "", "MKVLA"]) == [
        [(1, "A"), (3, "V")],
        [(1, "A"), (3, "V")],
        [(1, "A"), (3, "V")],
        [],
        [],
        [],
    ]


def test_every_bad_row_is_named():
    with pytest.raises(SequenceError) as error:
        read_variants("MKVLA", ["A2K", "K9A", "MKV", "K2", "K2X", 3, "K2A", "MKVLX"])
    assert error.value.rows == [0, 1, 2, 3, 4, 5, 7]
    for part in ("has K at site 2", "site 9 of 5", "3 residues, the wild type has 5", "'K2' is no", "'X'"):
        assert part in str(error.value)
