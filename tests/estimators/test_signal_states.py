"""The chains of signal peptides: what may follow what, and where labels let the regions be."""

import numpy as np
import pytest

from plmlearn.datasets import fetch_signal_peptides
from plmlearn.estimators.signal_states import (
    CHAINS,
    LETTERS,
    REGIONS,
    STATES,
    TYPES,
    allowed_states,
    hydrophobic_core,
    rows_without_path,
    starts,
    transitions,
)

SIGNAL = "MKRSAAVLLLVLAAVASAQA"


def test_there_are_37_states_in_chains_that_never_meet():
    assert len(STATES) == 37
    allowed = transitions()
    assert not allowed[TYPES[:, None] != TYPES].any()
    assert allowed.diagonal()[REGIONS != "C"].all()


@pytest.mark.parametrize("kind", CHAINS)
def test_every_state_is_reached_from_a_start(kind):
    follows, reached = transitions(), starts([kind])
    for _ in STATES:
        reached = reached | (reached @ follows)
    assert (reached == (kind == TYPES)).all()


def test_data_letters_of_states():
    assert set(LETTERS[TYPES == "SP"]) == set("SOMI")
    assert set(LETTERS[TYPES == "LIPO"]) == set("LOMI")
    assert set(LETTERS[TYPES == "NO_SP"]) == set("OMI")


@pytest.mark.parametrize(
    "kind, sequence, regions",
    [
        ("SP", SIGNAL + "DDET", "nn......h........cccOOOO"),
        ("LIPO", "MKKLLALLLVALLLAGCSSN", "nn.......h...lllCOOO"),
        ("TAT", "MNDSRRAFLKAAGAVALVGAAGAARAEDD", "nnnnrr........h........cccOOO"),
        ("PILIN", "MRQKGFTLIELL", "ppppppOOOMMM"),
        ("NO_SP", "MKTAYIAKQR", "IIIMMMOOOO"),
    ],
)
def test_what_is_known_of_regions(kind, sequence, regions):
    letter = CHAINS[kind][0]
    labels = [region if region in "OMI" else "O" if region == "C" else letter for region in regions]
    allowed = allowed_states(sequence, kind, labels)
    for residue, (row, region) in enumerate(zip(allowed, regions, strict=True)):
        assert set(TYPES[row]) == {kind}
        if region == "C":
            assert set(REGIONS[row]) == {"C", "O"}
        elif region != ".":
            assert region in REGIONS[row], residue
            assert set(LETTERS[row]) == {labels[residue]}
        if region in "hlcr":
            assert set(REGIONS[row]) == {region}, residue
    assert not rows_without_path([allowed])


def test_the_core_is_the_middle_of_the_most_hydrophobic_window():
    assert "LLL" in SIGNAL[hydrophobic_core(SIGNAL) - 1 : hydrophobic_core(SIGNAL) + 3]
    assert hydrophobic_core("MKLLLSSS") in (2, 3, 4)


def test_without_labels_any_state_of_the_type_may_be():
    assert (allowed_states("MKT", "SP", None) == (TYPES == "SP")).all()
    unknown = allowed_states("MKT", "SP", ["", "S", ""])
    assert unknown[0].sum() == (TYPES == "SP").sum()
    assert set(LETTERS[unknown[1]]) == {"S"}


def test_rows_without_path_are_found():
    states = [
        allowed_states("MKTAY", "SP", list("SSSOO")),
        allowed_states("MKTAY", "SP", list("SSOOO")),  # no room for three regions
        allowed_states("MKTAY", "SP", list("OOSSS")),
        allowed_states("MKTAY", "NO_SP", list("SSSOO")),
    ]
    assert rows_without_path(states) == [1, 2, 3]


@pytest.mark.data
def test_all_public_labels_have_a_path(data_home):
    proteins = fetch_signal_peptides(data_home=data_home, download_if_missing=False)
    rows = [*range(0, len(proteins.data), 10), *np.flatnonzero(np.isin(proteins.type, ["PILIN", "TATLIPO"]))]
    states = [allowed_states(proteins.data[i], proteins.type[i], list(proteins.labels[i])) for i in rows]
    assert not rows_without_path(states)
