"""Substitutions read from notation or from sequences."""

import pytest

from plmlearn.sequences import SequenceError, read_variants


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
    for part in (
        "has K at site 2",
        "site 9 of 5",
        "3 residues, the wild type has 5",
        "'K2', which is not",
        "'X'",
    ):
        assert part in str(error.value)


def test_two_substitutions_at_one_site_are_refused():
    with pytest.raises(
        SequenceError, match="Variant 1 has several substitutions at site 2; expected one"
    ) as error:
        read_variants("MKVLA", ["K2A:V3A", "K2A:K2C", "K2A,K2A", "K2A"])
    assert error.value.rows == [1, 2]


def test_a_residue_in_place_of_itself_is_no_substitution():
    assert read_variants("MKVLA", ["K2K:L4V", "M1M"]) == [[(3, "V")], []]
