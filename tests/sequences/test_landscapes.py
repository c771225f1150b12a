"""Tables of variants, against rows written by hand."""

import gzip

import numpy as np
import pytest

from plmlearn.datasets import fetch_beta_lactamase
from plmlearn.sequences import SequenceError, read_flip, read_mutants, read_proteingym

HEADER = "mutant,mutated_sequence,DMS_score,DMS_score_bin,fold_random_5,fold_modulo_5\n"


def test_proteingym(tmp_path):
    path = tmp_path / "assay.csv.gz"
    rows = "M1A,AKVL,0.5,1,0,1\nK2A:L4I,MAVI,-1.25,0,4,2\n"
    path.write_bytes(gzip.compress((HEADER + rows).encode()))
    assay = read_proteingym(path)
    assert assay.sequences.tolist() == ["AKVL", "MAVI"]
    assert assay.mutants.tolist() == ["M1A", "K2A:L4I"]
    assert assay.target.tolist() == [0.5, -1.25]
    assert assay.wild_type == "MKVL"
    assert {name: fold.tolist() for name, fold in assay.folds.items()} == {
        "fold_random_5": [0, 4],
        "fold_modulo_5": [1, 2],
    }
    assert assay.columns["DMS_score_bin"].tolist() == ["1", "0"]


def test_proteingym_rows_that_contradict_themselves_are_named(tmp_path):
    path = tmp_path / "assay.csv"
    path.write_text(HEADER + "M1A,AKVL,0.5,1,0,1\nK2A,MCVL,1,1,1,1\nK2A,MAVLL,1,1,1,1\n")
    with pytest.raises(
        SequenceError, match="Variant 1 has a mutated_sequence that differs from its mutant at site 2"
    ) as error:
        read_proteingym(path)
    assert error.value.rows == [1, 2]
    assert "in length, 5 for 4" in str(error.value)
    path.write_text(HEADER + "M1A,AKVL,0.5,1,0,1\nV2A,MAVL,1,1,1,1\n")
    with pytest.raises(SequenceError, match="Variant 1 has 'V2A', but the wild type has K at site 2"):
        read_proteingym(path)
    path.write_text(HEADER + "V2A,MAVL,1,1,1,1\nM1A,AKVL,0.5,1,0,1\nL4I,MKVI,0.5,1,0,1\n")
    with pytest.raises(SequenceError, match="Variant 0 has 'V2A', but") as error:  # the first, and it alone
        read_proteingym(path)
    assert error.value.rows == [0]
    path.write_text("mutant,DMS_score\nM1A,1\n")
    with pytest.raises(ValueError, match="no column 'mutated_sequence'"):
        read_proteingym(path)


def test_proteingym_folds_are_whole_numbers(tmp_path):
    path = tmp_path / "assay.csv"
    path.write_text(HEADER + "M1A,AKVL,0.5,1,0.0,1\nK2A,MAVL,1,1,4.0,2\n")
    assert read_proteingym(path).folds["fold_random_5"].tolist() == [0, 4]
    path.write_text(HEADER + "M1A,AKVL,0.5,1,,1\nK2A,MAVL,1,1,4,2\nK2C,MCVL,1,1,0.5,2\n")
    with pytest.raises(ValueError, match="no whole number in the column fold_random_5, in lines 2, 4;"):
        read_proteingym(path)


def test_flip(tmp_path):
    path = tmp_path / "split.csv"
    path.write_text("sequence,target,set,validation\nMK,1,train,True\nML,2.5,train,\nMV,3,test,False\n")
    flip = read_flip(path)
    assert flip.split.tolist() == ["valid", "train", "test"]
    assert flip.target.tolist() == [1, 2.5, 3]
    path.write_text("sequence,target,set\nMK,1,train\nMV,3,test\n")
    assert read_flip(path).split.tolist() == ["train", "test"]
    path.write_text("sequence,target,set\nMK,1,train\nMV,3,other\n")
    with pytest.raises(ValueError, match=r"in no set, in lines 3;"):
        read_flip(path)


def test_mutants_alone(tmp_path):
    path = tmp_path / "assay.tsv"
    path.write_text("variant\tscore\nK25A\t0.5\nM24C:L27I\t1\nWT\t2\n")
    assay = read_mutants(path, "mkvl", mutant="variant", target="score", first_site=24)
    assert assay.sequences.tolist() == ["MAVL", "CKVI", "MKVL"]
    assert assay.target.tolist() == [0.5, 1, 2]
    path.write_text("variant\tscore\nK2A\t0.5\nA25C\t1\nK25*\t2\n")
    with pytest.raises(SequenceError, match="counted from 24 to 27") as error:
        read_mutants(path, "MKVL", mutant="variant", first_site=24)
    assert error.value.rows == [0, 1, 2]


@pytest.mark.data
def test_beta_lactamase_is_the_table(data_home, tmp_path):
    """Sequences from names alone are those of the table."""
    bla = fetch_beta_lactamase(data_home=data_home)
    assert len(bla.data) == 4996
    assert len(bla.wild_type) == 263
    path = tmp_path / "mutants.csv"
    lines = [f"{mutant},{value}" for mutant, value in zip(bla.mutant, bla.target)]
    path.write_text("\n".join(["mutant,fitness", *lines]))
    again = read_mutants(path, bla.wild_type, target="fitness", first_site=24)
    assert (again.sequences == bla.data).all()
    np.testing.assert_array_equal(again.target, bla.target)
