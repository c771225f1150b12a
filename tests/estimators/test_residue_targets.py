"""Targets per residue: what is read, what the losses are, and what comes out again."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight

from plmlearn.estimators.residue_targets import (
    ResidueClassTarget,
    ResidueValueTarget,
    check_residue_y,
    is_measured,
)
from plmlearn.nn.packing import Ragged

X = ["MKTAY", "GS", "ACD"]
TEXT = ["HHE-C", "C-", "EEE"]


def read(y, X=X, **options):
    return check_residue_y(y, X, **{"kind": "labels", "ignore_label": "-", **options})


def outputs(lengths: list[int], n: int, seed: int = 0) -> Ragged:
    generator = torch.Generator().manual_seed(seed)
    return Ragged(torch.randn(sum(lengths), n, generator=generator), lengths)


FORMS = {
    "strings": TEXT,
    "array of strings": np.array(TEXT),
    "lists of text": [list(row) for row in TEXT],
    "masked arrays": [np.ma.array(list(row), mask=[c == "-" for c in row]) for row in TEXT],
    "None for missing": [[None if c == "-" else c for c in row] for row in TEXT],
}


@pytest.mark.parametrize("y", FORMS.values(), ids=FORMS)
def test_every_form_of_labels_is_read_alike(y):
    target = ResidueClassTarget.learn(read(y))
    assert target.classes.tolist() == ["C", "E", "H"]
    assert target.encode(read(y)).values.tolist() == [2, 2, 1, -1, 0, 0, -1, 1, 1, 1]
    assert target.as_text == isinstance(y[0], str)
    np.testing.assert_allclose(target.shares, np.array([2, 4, 2]) / 8)


@pytest.mark.parametrize("rows", [TEXT, [list(row) for row in TEXT]], ids=["strings", "lists"])
def test_a_frame_of_one_column_is_read_as_that_column(rows):
    target = ResidueClassTarget.learn(read(pd.DataFrame({"y": rows})))
    assert target.encode(read(pd.DataFrame({"y": rows}))).values.tolist() == [2, 2, 1, -1, 0, 0, -1, 1, 1, 1]
    assert target.as_text == isinstance(rows[0], str)


def test_predictions_have_the_form_of_what_was_learned_from():
    codes = Ragged(torch.tensor([0, 1, 0]), [1, 2])
    assert ResidueClassTarget.learn(read(TEXT)).decode(codes).tolist() == ["C", "EC"]
    lists = ResidueClassTarget.learn(read([list(row) for row in TEXT])).decode(codes)
    assert [row.tolist() for row in lists] == [["C"], ["E", "C"]]
    numbers = ResidueClassTarget.learn(read([np.array([3, 3, 5, 5, 3]), [3, 3], [5, 5, 5]])).decode(codes)
    assert numbers[0].dtype.kind == "i"
    assert [row.tolist() for row in numbers] == [[3], [5, 3]]


@pytest.mark.parametrize("class_weight", [None, "balanced", {"C": 3, "E": 0.5, "H": 1}])
def test_class_loss_equals_that_of_scikit_learn(class_weight):
    y = read(TEXT)
    target = ResidueClassTarget.learn(y, class_weight)
    made = outputs([5, 2, 3], 3)
    targets = target.encode(y)
    sizes = target.sizes(targets)
    assert sizes.tolist() == [4, 1, 3]
    kept = targets.values != -1
    labels = target.classes[targets.values[kept]]
    weights = compute_class_weight(class_weight, classes=target.classes, y=labels)[targets.values[kept]]
    probabilities = made.values[kept].double().softmax(1)
    expected = log_loss(labels, probabilities, sample_weight=weights)
    assert float(target.loss(made, targets).sum() / sizes.sum()) == pytest.approx(expected, rel=1e-5)


def test_value_loss_is_the_mean_square_over_measured_entries():
    y = check_residue_y([[1.0, np.nan, 3], [5, 5]], ["ACD", "GS"], kind="values")
    target = ResidueValueTarget.learn(y)
    assert (target.mean.item(), target.scale.item()) == (3.5, pytest.approx(np.std([1, 3, 5, 5])))
    made = outputs([3, 2], 1)
    targets = target.encode(y)
    assert target.sizes(targets).tolist() == [2, 2]
    expected = (made.values - targets.values)[[0, 2, 3, 4], 0].square()
    np.testing.assert_allclose(target.loss(made, targets), [expected[:2].sum(), expected[2:].sum()])
    np.testing.assert_allclose(np.concatenate(target.decode(targets)), [1, np.nan, 3, 5, 5])


def test_columns_may_be_missing_apart():
    y = check_residue_y([[[1.0, 2], [np.nan, 4]]], ["AC"], kind="values")
    target = ResidueValueTarget.learn(y)
    targets = target.encode(y)
    assert target.sizes(targets).tolist() == [1.5]
    assert torch.isfinite(target.loss(outputs([2], 2), targets)).all()
    assert target.decode(targets)[0].shape == (2, 2)
    with pytest.raises(ValueError, match=r"No value was measured in columns \[0\] of 2"):
        ResidueValueTarget.learn(check_residue_y([[[np.nan, 2], [np.nan, 4]]], ["AC"], kind="values"))
    with pytest.raises(ValueError, match="1 values per residue in row 0, expected 2"):
        target.encode(check_residue_y([[1.0, 2]], ["AC"], kind="values"))


def test_unmeasured_residues_never_move_anything():
    y = read(TEXT)
    target = ResidueClassTarget.learn(y)
    made = outputs([5, 2, 3], 3)
    made.values.requires_grad_()
    target.loss(made, target.encode(y)).sum().backward()
    assert (made.values.grad.abs().sum(1) == 0).tolist() == [not m for row in y for m in is_measured(row)]


def test_constraints_are_inferred_or_read():
    y = read(["HHEE", "HE"], ["ACDE", "AC"])
    inferred = ResidueClassTarget.learn(y, constraints="infer").constraints
    assert {name: part.tolist() for name, part in inferred.items()} == {
        "transitions": [[True, False], [True, True]],
        "starts": [False, True],
        "ends": [True, False],
    }
    given_ = {"transitions": [("H", "H"), ("H", "E"), ("E", "E")], "starts": ["H"]}
    found = ResidueClassTarget.learn(y, constraints=given_).constraints
    assert np.array_equal(found["transitions"], inferred["transitions"])
    assert found["ends"].all()


@pytest.mark.parametrize(
    "constraints, message",
    [
        (
            {"ends": ["H"]},
            r"2 proteins break .*: row 0 at residue 4 \(at the end, 'E' after 'E'\)",
        ),
        ({"transitions": [("H", "H"), ("E", "E")]}, r"row 0 at residue 3 \('E' after 'H'\); row 1"),
        ({"starts": ["E"]}, r"row 0 at residue 1 \(at the start, 'H'\)"),
        ({"starts": ["X"]}, r"constraints\['starts'\] has 'X'; expected labels of \['E', 'H'\]"),
        ({"transitions": ["HEH"]}, "expected pairs of labels"),
        ({"begin": ["H"]}, r"constraints has \['begin'\]; expected some of transitions, starts, ends"),
        ({"starts": 0}, r"constraints\['starts'\] has 0; expected labels of \['E', 'H'\], in a list"),
        ({"starts": None}, r"constraints\['starts'\] has None; expected labels of"),
        ({"starts": [["H"]]}, r"constraints\['starts'\] has \['H'\]; expected labels of"),
        ({"transitions": [0, 1]}, r"constraints\['transitions'\] has 0; expected pairs of labels"),
        ({"transitions": 7}, r"constraints\['transitions'\] has 7; expected pairs of labels"),
    ],
)
def test_impossible_constraints_name_rows(constraints, message):
    with pytest.raises(ValueError, match=message):
        ResidueClassTarget.learn(read(["HHEE", "HE"], ["ACDE", "AC"]), constraints=constraints)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text("HEC-", min_size=1, max_size=9), min_size=1, max_size=6))
def test_labels_come_back_at_their_residues(y):
    measured = "".join(y).replace("-", "")
    sequences = ["A" * len(row) for row in y]
    if len(set(measured)) < 2:
        return
    rows = read(y, sequences)
    target = ResidueClassTarget.learn(rows)
    codes = target.encode(rows)
    again = target.decode(codes.with_values(codes.values.clamp(min=0)))
    assert all(a == b or b == "-" for one, other in zip(again, y, strict=True) for a, b in zip(one, other))
