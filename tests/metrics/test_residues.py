"""Scores of residues and segments, against loops and scikit-learn on joined residues."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import matthews_corrcoef, recall_score

from plmlearn.metrics import (
    residue_accuracy,
    residue_mcc,
    residue_spearman,
    residue_table,
    segment_overlap,
)

rows = st.lists(
    st.integers(1, 25).flatmap(lambda n: st.tuples(*[st.text("HEC", min_size=n, max_size=n)] * 2)),
    min_size=1,
    max_size=5,
)


@settings(deadline=None)
@given(rows)
def test_states_by_loops_and_scikit_learn(pairs):
    true, pred = zip(*pairs)
    joined = list("".join(true)), list("".join(pred))
    right = [[a == b for a, b in zip(*pair)] for pair in pairs]
    assert residue_accuracy(true, pred) == pytest.approx(np.mean(np.concatenate(right)))
    by_protein = residue_accuracy(true, pred, average="protein")
    assert by_protein == pytest.approx(np.mean([np.mean(row) for row in right]))
    several = len(set(joined[0] + joined[1])) > 1
    assert residue_mcc(true, pred) == pytest.approx(matthews_corrcoef(*joined) if several else 0)
    for row in residue_table(true, pred):
        if row["n"]:
            expected = recall_score(*joined, labels=[row["label"]], average="macro")
            assert row["recall"] == pytest.approx(expected)


@settings(deadline=None)
@given(rows, st.integers(0, 10**6))
def test_unmeasured_residues_do_not_count(pairs, seed):
    random = np.random.default_rng(seed)
    true, pred = zip(*pairs)
    hidden = [random.random(len(t)) < 0.3 for t in true]
    hidden[0][0] = False
    masked = [np.ma.array(list(t), mask=h) for t, h in zip(true, hidden)]
    marked = ["".join("-" if h else c for c, h in zip(t, hs)) for t, hs in zip(true, hidden)]
    seen = [[c for c, h in zip(t, hs) if not h] for t, hs in zip(true, hidden)]
    found = [[c for c, h in zip(p, hs) if not h] for p, hs in zip(pred, hidden)]
    kept = [(s, f) for s, f in zip(seen, found) if s]
    expected = residue_accuracy(*zip(*kept))
    assert residue_accuracy(masked, pred) == pytest.approx(expected)
    assert residue_accuracy(marked, pred, ignore_label="-") == pytest.approx(expected)
    assert segment_overlap(masked, pred) == segment_overlap(marked, pred, ignore_label="-")


@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_spearman_over_residues_and_by_protein(seed):
    random = np.random.default_rng(seed)
    true = [random.normal(size=n) for n in (9, 5, 14)]
    pred = [row + random.normal(size=len(row)) for row in true]
    hidden = [np.where(random.random(len(row)) < 0.2, np.nan, row) for row in true]
    kept = [~np.isnan(row) for row in hidden]
    joined = [np.concatenate([row[k] for row, k in zip(side, kept)]) for side in (true, pred)]
    assert residue_spearman(hidden, pred) == pytest.approx(spearmanr(*joined).statistic)
    single = [spearmanr(t[k], p[k]).statistic for t, p, k in zip(true, pred, kept) if k.sum() > 1]
    assert residue_spearman(hidden, pred, average="protein") == pytest.approx(np.mean(single))


@pytest.mark.parametrize("average", ["residue", "protein"])
def test_spearman_of_columns_is_their_mean(average):
    random = np.random.default_rng(0)
    true = [random.normal(size=(n, 2)) * [1, 0.1] + [0, 50] for n in (30, 12)]
    pred = [np.array([0, 50]) + random.normal(size=row.shape) for row in true]
    true[0][3, 1] = np.nan
    columns = [
        residue_spearman([t[:, k] for t in true], [p[:, k] for p in pred], average=average) for k in (0, 1)
    ]
    assert residue_spearman(true, pred, average=average) == pytest.approx(np.mean(columns))
    assert np.mean(columns) < 0.5


def test_constant_predictions_rank_nothing():
    assert residue_spearman([[1.0, 2.0, 3.0]], [[5.0, 5.0, 5.0]]) == 0


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: residue_accuracy(["HH"], ["HH", "C"]), "y_true has 1 proteins, y_pred 2"),
        (
            lambda: residue_accuracy(["HH", "HHC"], ["HH", "H"]),
            "^Protein 1 has 3 true and 1 predicted entries",
        ),
        (
            lambda: residue_mcc([0, 1], [[0], [1]]),
            r"^Protein 0 has a single value.*\nProtein 1 has a single value",
        ),
        (lambda: residue_accuracy(["--"], ["HH"], ignore_label="-"), "No residue of y_true was measured"),
        (
            lambda: residue_accuracy(["HH"], ["HH"], average="macro"),
            "average='macro'; expected one of 'residue', 'protein'",
        ),
        (
            lambda: residue_accuracy([[0, 1, 1]], [[0, None, 1]]),
            "^Protein 0 has no prediction for 1 measured",
        ),
        (
            lambda: residue_spearman([[1.0, 2.0]], [[1.0, np.nan]]),
            "^Protein 0 has no prediction for 1 measured",
        ),
        (lambda: residue_spearman([[1.0, 1.0]], [[1.0, 2.0]]), "1 different values"),
        (lambda: residue_spearman(["HH"], ["HC"]), "^Protein 0 has text; expected numbers"),
        (
            lambda: residue_spearman([np.ones((2, 1, 1))], [np.ones((2, 1, 1))]),
            r"^Protein 0 has shape \(2, 1, 1\)",
        ),
        (
            lambda: residue_spearman([[[1, 2], [3, 4]]], [[1, 2]]),
            r"^Protein 0 has \(2, 2\) true and \(2,\) predicted",
        ),
        (
            lambda: residue_spearman([np.eye(2), np.arange(3)], [np.eye(2), np.arange(3)]),
            "^Protein 1 has 1 columns; expected 2, as protein 0 has",
        ),
        (
            lambda: residue_accuracy([[0, 1], [0, 1]], [[0, 1], "01"]),
            "^Protein 1 has numbers in y_true and text in y_pred",
        ),
        (lambda: residue_spearman([[1.0, 1.0]], [[1.0, 2.0]], average="protein"), "No protein has two"),
        (lambda: segment_overlap(["CCC"], ["CCC"], states="H"), "no segment of the states 'H'"),
        (lambda: segment_overlap(["CCC"], ["CCC"], average="segment"), "average='segment'; expected one of"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_missing_entries_of_every_kind_do_not_count():
    for true in (["H", None, "E"], ["H", float("nan"), "E"], np.array(["H", None, "E"], dtype=object)):
        assert residue_accuracy([true], ["HHH"]) == 0.5
        assert residue_accuracy([true], [np.ma.array(list("HHH"), mask=[0, 1, 0])]) == 0.5


# ---- segments


def runs(states, state):
    """Sets of positions of every run of a state."""
    out, current = [], set()
    for i, letter in enumerate(states + "$"):
        if letter == state:
            current.add(i)
        elif current:
            out.append(current)
            current = set()
    return out


def slow_overlap(true, pred):
    """SOV'99 as the paper writes it, with sets of positions."""
    total = size = 0
    for state in set(true):
        for first in runs(true, state):
            partners = [second for second in runs(pred, state) if first & second]
            size += len(first) * (len(partners) or 1)
            for second in partners:
                both, either = len(first & second), len(first | second)
                allowance = min(either - both, both, len(first) // 2, len(second) // 2)
                total += (both + allowance) / either * len(first)
    return total, size


@settings(deadline=None)
@given(rows)
def test_segment_overlap_equals_the_definition(pairs):
    sums = [slow_overlap(true, pred) for true, pred in pairs]
    by_protein, over_all = (segment_overlap(*zip(*pairs), average=a) for a in ("protein", "residue"))
    assert by_protein == pytest.approx(np.mean([total / size for total, size in sums]))
    assert over_all == pytest.approx(sum(t for t, _ in sums) / sum(s for _, s in sums))
    assert 0 <= by_protein <= 1
    assert segment_overlap([pair[0] for pair in pairs], [pair[0] for pair in pairs]) == 1


def test_broken_helices_score_less_than_shifted_ones():
    true = ["CCCHHHHHHHHHHHCCC"]
    shifted, broken = ["CCCCHHHHHHHHHHHCC"], ["CCCHHCHHCHHCHHCCC"]
    assert segment_overlap(true, shifted, states="H") > 0.99
    assert segment_overlap(true, broken, states="H") < 0.5


def test_states_are_compared_whole_not_as_parts_of_a_text():
    """ "" and "HE" are parts of "HE", but neither is one of its states."""
    true = [np.array(["", "", "H", "H", "HE"])]
    assert segment_overlap(true, true, states="HE") == 1
    assert segment_overlap(true, [np.array(["C", "C", "H", "H", "C"])], states="HE") == 1
