"""Substitutions read from notation or from sequences."""

import pytest

from plmlearn.sequences import SequenceError, name_variants, read_variants


def test_both_forms_agree():
    assert read_variants("MKVLA", ["K2A:L4V", "MAVVA", "l4v, k2a", "WT", "", "MKVLA"]) == [
        [(1, "A"), (3, "V")],
        [(1, "A"), (3, "V")],
        [(1, "A"), (3, "V")],
        [],
        [],
        [],
    ]


@pytest.mark.parametrize("wild_type", ["mkvla", " MKV\nLA*"])
def test_the_wild_type_is_cleaned(wild_type):
    assert read_variants(wild_type, ["K2A", "MAVLA"]) == [[(1, "A")], [(1, "A")]]
    assert name_variants(wild_type, ["MAVLA", "MKVLA"]).tolist() == ["K2A", "WT"]
    for function in (read_variants, name_variants):
        with pytest.raises(SequenceError, match="wild_type has '1' at residue 3"):
            function("MK1LA", ["MKVLA"])


def test_every_bad_row_is_named():
    with pytest.raises(SequenceError) as error:
        read_variants("MKVLA", ["A2K", "K9A", "MKV", "K2", "K2X", 3, "K2A", "MKVLX"])
    assert error.value.rows == [0, 1, 2, 3, 4, 5, 7]
    for part in (
        "has K at site 2",
        "counted from 1 to 5",
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


def test_numbering_may_begin_elsewhere():
    assert read_variants("MKVLA", ["K25A:L27V", "M24=", "MAVLA"], first_site=24) == [
        [(1, "A"), (3, "V")],
        [],
        [(1, "A")],
    ]
    with pytest.raises(SequenceError, match="wild type has K at site 25, counted from 24") as error:
        read_variants("MKVLA", ["V25A", "K2A", "K25*"], first_site=24)
    assert "counted from 24 to 28" in str(error.value)
    assert "stop codon" in str(error.value)
    assert error.value.rows == [0, 1, 2]


def test_names_are_the_way_back():
    sequences = ["MAVVA", "MKVLA", "WKVLW"]
    names = name_variants("MKVLA", sequences, first_site=24)
    assert names.tolist() == ["K25A:L27V", "WT", "M24W:A28W"]
    changes = read_variants("MKVLA", names, first_site=24)
    assert changes == read_variants("MKVLA", sequences)
    with pytest.raises(SequenceError, match="Variant 1 has 4 residues, the wild type has 5"):
        name_variants("MKVLA", ["MKVLA", "MKVL"])
