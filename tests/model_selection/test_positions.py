"""Folds by position, low-N draws and groups of other programs, against definitions."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, PredefinedSplit, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline

from plmlearn.baselines import CompositionVectorizer, PositionMeanRegressor
from plmlearn.design import single_mutants
from plmlearn.model_selection import PositionKFold, low_n_splits, read_groups

WILD = "MKVLAGHIKWED"
SINGLES = single_mutants(WILD)[:]


def sites(variant):
    return {i for i, (a, b) in enumerate(zip(variant, WILD)) if a != b}


@pytest.mark.parametrize("scheme", ["modulo", "contiguous"])
@pytest.mark.parametrize("n_splits", [2, 5])
def test_folds_share_no_position(scheme, n_splits):
    folds = list(PositionKFold(WILD, n_splits, scheme=scheme).split(SINGLES))
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(SINGLES)))
    for train, test in folds:
        tested = set.union(*(sites(v) for v in SINGLES[test]))
        assert not tested & set.union(*(sites(v) for v in SINGLES[train]))
        assert len(train) + len(test) == len(SINGLES)


def test_schemes_are_what_they_say():
    # ProteinGym's rule: positions without a variant are not counted
    few = np.array([v for v in SINGLES if min(sites(v)) not in (1, 4, 5)])
    order = {site: number for number, site in enumerate(sorted({min(sites(v)) for v in few}))}
    modulo = [test for _, test in PositionKFold(WILD, 5, first_site=24).split(few)]
    assert sum(map(len, modulo)) == len(few)
    assert all(order[min(sites(v))] % 5 == number for number, test in enumerate(modulo) for v in few[test])
    stretches = [test for _, test in PositionKFold(WILD, 5, scheme="contiguous").split(SINGLES)]
    found = [sorted({min(sites(v)) for v in SINGLES[test]}) for test in stretches]
    assert found == [[0, 1, 2], [3, 4, 5], [6, 7], [8, 9], [10, 11]]
    random = [test for _, test in PositionKFold(WILD, 5, scheme="random", random_state=0).split(SINGLES)]
    assert sorted(np.concatenate(random)) == list(range(len(SINGLES)))
    assert max(map(len, random)) - min(map(len, random)) <= 1
    again = [test for _, test in PositionKFold(WILD, 5, scheme="random", random_state=0).split(SINGLES)]
    assert all((a == b).all() for a, b in zip(random, again))


def test_variants_with_several_mutations():
    """Of positions in one fold: tested there. In several: never, and no training where one is tested."""
    X = ["M1A", "K2A", "M1A:V3A", "M1A:K2A", "WT", "L4A"]
    splitter = PositionKFold("MKVL", 2)
    with pytest.warns(UserWarning, match="1 of 6 variants have mutations in several folds"):
        (train_0, test_0), (train_1, test_1) = splitter.split(X)
    assert (test_0.tolist(), train_0.tolist()) == ([0, 2], [1, 4, 5])
    assert (test_1.tolist(), train_1.tolist()) == ([1, 5], [0, 2, 4])


def test_folds_without_variants_are_an_error():
    with pytest.raises(ValueError, match=r"Folds \[2, 3, 4\] of 5 have no variant to test"):
        list(PositionKFold(WILD, 5).split(["M1A", "K2A"]))
    with pytest.raises(ValueError, match="'scheme' parameter of PositionKFold"):
        list(PositionKFold(WILD, scheme="blocks").split(SINGLES))


def test_the_mean_of_a_position_knows_nothing_of_other_positions():
    y = np.array([min(sites(v)) + 0.01 * ord(v[min(sites(v))]) for v in SINGLES])
    model = PositionMeanRegressor(wild_type=WILD)
    random = cross_val_score(model, SINGLES, y, cv=PositionKFold(WILD, scheme="random", random_state=0))
    assert random.min() > 0.98
    assert cross_val_score(model, SINGLES, y, cv=PositionKFold(WILD)).max() < 0.1
    plain = make_pipeline(CompositionVectorizer(), Ridge())
    assert cross_val_predict(plain, SINGLES, y, cv=PositionKFold(WILD)).shape == y.shape


def test_low_n_draws_are_nested():
    splits = list(KFold(5).split(SINGLES))
    small, large = (low_n_splits(splits, n, n_draws=2, random_state=0) for n in (24, 96))
    assert len(small) == 10
    for number, ((few, test), (many, same)) in enumerate(zip(small, large)):
        assert (len(set(few)), len(set(many))) == (24, 96)
        assert set(few) < set(many) <= set(splits[number // 2][0])
        np.testing.assert_array_equal(test, splits[number // 2][1])
        np.testing.assert_array_equal(same, test)
    assert set(small[0][0]) != set(small[1][0])
    with pytest.raises(ValueError, match="has 182 training rows; expected 500"):
        low_n_splits(splits, 500)


# -- groups that other programs have written -----------------------------------------------------------


def test_groups_of_mmseqs2(tmp_path):
    path = tmp_path / "x_cluster.tsv"
    path.write_text("A\tA\nA\tB\nC\tC\n")
    assert read_groups(path, np.array(["C", "B", "A"])).tolist() == ["C", "A", "A"]


def test_groups_of_mmseqs2_with_blanks_and_broken_lines(tmp_path):
    path = tmp_path / "x_cluster.tsv"
    path.write_text("A 1\tA 1\nA 1\tB\n")
    assert read_groups(path, ["B", "A 1"]).tolist() == ["A 1", "A 1"]
    path.write_text("A\tA\n\nA\tB\nC\nD\t\n")
    with pytest.raises(ValueError, match="has no two ids, separated by a tab, in lines 4, 5;"):
        read_groups(path, ["A"])


def test_proteins_without_a_group_are_no_group(tmp_path):
    path = tmp_path / "splits.tsv"
    path.write_text("ID\tSplit\nP1\ttrain\nP2\t\nP3\t\n")
    assert read_groups(path, ["P1"]).tolist() == ["train"]
    with pytest.raises(ValueError, match=r"no group for 2 of 3 ids: rows 0 \('P2'\), 2 \('P3'\)"):
        read_groups(path, ["P2", "P1", "P3"])


def test_groups_of_graphpart(tmp_path):
    path = tmp_path / "graphpart.csv"
    path.write_text("AC,priority,label-val,between_connectivity,cluster\nP1,0,1,0,3.0\nP2,0,0,0,4.0\n")
    assert read_groups(path, ["P2", "P1"]).tolist() == ["4.0", "3.0"]
    assert read_groups(path, ["P2", "P1"], column="label-val").tolist() == ["0", "1"]
    with pytest.raises(ValueError, match=r"no group for 2 of 3 ids: rows 0 \('P0'\), 2 \('P9'\)"):
        read_groups(path, ["P0", "P1", "P9"])


def test_groups_of_datasail(tmp_path):
    path = tmp_path / "splits.tsv"
    path.write_text("ID\tSplit\nP1\ttrain\nP2\ttest\n")
    groups = read_groups(path, ["P1", "P2", "P1"])
    assert groups.tolist() == ["train", "test", "train"]
    folds = PredefinedSplit((groups == "test") - 1)
    assert [test.tolist() for _, test in folds.split()] == [[1]]


def test_other_tables_need_a_column(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("name,family,x\nP1,a,1\nP2,b,2\n")
    assert read_groups(path, ["P2"], column="family").tolist() == ["b"]
    with pytest.raises(ValueError, match="is of no known kind"):
        read_groups(path, ["P2"])
    path.write_text("ID\tSplit\nP1\ttrain\nP1\ttest\n")
    with pytest.raises(ValueError, match="has P1 in several groups, train and test"):
        read_groups(path, ["P1"])
