"""Libraries: every variant once, against enumeration by hand."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plmlearn.design import VariantLibrary, codon_residues, combine_mutations, combine_sites, single_mutants
from plmlearn.sequences import SequenceError

ALPHABET = "ACDEFGHIKLMNPQRSTVWY"


def enumerated(wild_type, choices, most):
    """All variants but the wild type, by trying all combinations."""
    columns = [choices.get(site, letter) for site, letter in enumerate(wild_type, start=1)]
    made = {"".join(letters) for letters in product(*columns)}
    return {v for v in made if 0 < sum(a != b for a, b in zip(v, wild_type)) <= most}


residues = st.text(ALPHABET, min_size=1, max_size=5)


@given(st.dictionaries(st.integers(1, 6), residues, min_size=1, max_size=4), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_a_library_has_every_variant_once(choices, most):
    expected = enumerated("MKVLAG", choices, most)
    if not expected:
        with pytest.raises(ValueError, match="No variant has these residues"):
            VariantLibrary("MKVLAG", choices, max_mutations=most)
        return
    library = VariantLibrary("MKVLAG", choices, max_mutations=most)
    found = library[:]
    assert len(library) == len(found) == len(expected)
    assert set(found) == expected
    assert [library[i] for i in range(len(library))] == list(found) == list(library)


def test_single_mutants_are_nineteen_for_each_site():
    wild = "MKVLAX"
    found = single_mutants(wild)
    singles = [wild[:i] + new + wild[i + 1 :] for i in range(6) for new in ALPHABET if new != wild[i]]
    assert sorted(found[:]) == sorted(singles)
    assert set(single_mutants(wild, [2])[:]) == {s for s in singles if s[1] != "K"}
    assert set(single_mutants(wild, [25], first_site=24)[:]) == {s for s in singles if s[1] != "K"}


def test_numbers_are_those_of_a_sequence():
    library = combine_sites("MKVLAG", [2, 3])
    everything = library[:]
    assert library[-1] == everything[-1]
    np.testing.assert_array_equal(library[[5, -1, 0]], everything[[5, -1, 0]])
    np.testing.assert_array_equal(library[10:50:7], everything[10:50:7])
    with pytest.raises(IndexError, match="0 to 398, got 399"):
        library[399]
    with pytest.raises(TypeError, match="takes numbers"):
        library["a"]
    assert "399 variants at 2 sites (2, 3)" in repr(library)


def test_large_libraries_are_not_made():
    library = combine_sites("MKVLAGHIKW", range(1, 11))
    assert len(library) == 20**10 - 1
    assert library[20**10 - 2] == "YYYYYYYYYY"
    with pytest.raises(ValueError, match="more than 5e"):
        combine_sites("MKVLAGHIKWAAAAAA", range(1, 17))


@pytest.mark.parametrize(
    "codon, residues",
    [
        ("NNK", ALPHABET),
        ("nns", ALPHABET),
        ("NDT", "CDFGHILNRSVY"),
        ("ATG", "M"),
        ("DBK", "ACFGILMRSTVW"),
        ("VHG", "AEKLMPQTV"),
        ("AUG", "M"),
    ],
)
def test_degenerate_codons(codon, residues):
    assert codon_residues(codon) == residues


def test_bad_codons_are_refused():
    for codon in ("NN", "NNKK", "NNJ", ""):
        with pytest.raises(ValueError, match="expected three of"):
            codon_residues(codon)
    with pytest.raises(ValueError, match="a stop codon"):
        codon_residues("TAA")


def test_codons_by_site_and_limits():
    library = combine_sites("MKVL", [2, 4], codon={2: "NNK", 4: "NDT"}, max_mutations=1)
    # NDT encodes L, so that site 4 may stay; NNK encodes all.
    assert len(library) == 19 + 11
    forced = combine_sites("MKVL", [2], codon="NDT")  # has no K: the site always changes
    assert {v[1] for v in forced} == set("CDFGHILNRSVY")
    with pytest.raises(ValueError, match=r"codon has none for the sites \[3\]"):
        combine_sites("MKVL", [2, 3], codon={2: "NNK"})
    with pytest.raises(ValueError, match=r"codon has sites \[4\], which are not among sites=\[2\]"):
        combine_sites("MKVL", [2], codon={2: "NNK", 4: "NDT"})


def test_mutations_are_combined_up_to_k():
    mutations = ["K2A", "K2R", "V3I", "MKVW:", "M1A:L4I"]
    mutations[3] = "L4W"
    found = set(combine_mutations("MKVL", mutations, max_mutations=2)[:])
    choices = {1: "MA", 2: "KAR", 3: "VI", 4: "LWI"}
    assert found == enumerated("MKVL", choices, 2)
    with pytest.raises(SequenceError, match="wild type has K at site 2"):
        combine_mutations("MKVL", ["V2A"])
    with pytest.raises(ValueError, match="has no substitution"):
        combine_mutations("MKVL", ["WT"])


def test_sites_and_residues_that_do_not_exist_are_named():
    with pytest.raises(ValueError, match=r"sites \[0, 9\]; sites are counted from 1 to 4"):
        combine_sites("MKVL", [0, 2, 9])
    with pytest.raises(ValueError, match=r"sites \[23\]; sites are counted from 24 to 27"):
        single_mutants("MKVL", [23], first_site=24)
    with pytest.raises(ValueError, match="choices of site 2 is 'AJ'"):
        VariantLibrary("MKVL", {2: "AJ"})
