"""Mistakes of callers with targets per residue, each with its one error."""

import numpy as np
import pytest

from plmlearn import PLMResidueClassifier, PLMResidueRegressor, PLMSignalPeptideClassifier
from plmlearn.adapters import Frozen
from plmlearn.sequences import SequenceError

COMMON = {"adapter": Frozen(), "epochs": 1, "precision": "fp32", "random_state": 0, "verbose": 0}
X = ["MKTAYIAK", "GSHMLE", "ACDEF"]
Y = ["HHHEEECC", "HECHEC", "CCCCH"]


def classifier(esm_folder, **options):
    return PLMResidueClassifier(str(esm_folder), **COMMON, **options)


def change(row, target):
    return [target if i == row else y for i, y in enumerate(Y)]


CASES = {
    "shorter": (X, change(1, "HEC"), {}, r"Target 1 has 3 entries for 6 residues", [1]),
    "longer": (X, change(2, "CCCCHH"), {}, r"Target 2 has 6 entries for 5 residues", [2]),
    "several": (X, ["H", "HECHEC", "C"], {}, r"Target 0 has 1 .*\nTarget 2 has 1", [0, 2]),
    "star": ([X[0] + "*", *X[1:]], change(0, "HHHEEECCC"), {}, r"'\*' at the end", [0]),
    "all masked": (X, change(1, "------"), {"ignore_label": "-"}, r"1 of 3 targets have no .*: rows 1", [1]),
    "none measured": (X, ["-" * len(s) for s in X], {"ignore_label": "-"}, "No residue of the 3 prot", None),
    "mixed": (X, change(1, np.array([0, 1, 0, 1, 0, 1])), {}, "Target 1 is an array of numbers.*a str", [1]),
    "empty": (["MKTAYIAK", "", "ACDEF"], Y, {}, "Sequence 1 is empty", [1]),
    "rows": (X, Y[:2], {}, "y has 2 targets for 3 sequences", None),
    "no y": (X, None, {}, "y is None", None),
    "one class": (X, ["H" * len(s) for s in X], {}, r"one class only, 'H', at 19 measured residues", None),
    "values": (
        X,
        [np.linspace(0, 1, len(s)) for s in X],
        {},
        "Use a residue regressor for numbers",
        [0, 1, 2],
    ),
    "beyond": (
        X,
        change(0, "----EECC"),
        {"ignore_label": "-", "max_length": 4, "long_sequences": "truncate"},
        "no measured residue: rows 0; .* among the residues that are read",
        [0],
    ),
    "weights": (X, Y, {"class_weight": {"H": 0, "E": 0, "C": 0}}, "expected weights of 0 or more", None),
    "nan": (X, Y, {"class_weight": {"H": np.nan, "E": 0, "C": 1}}, "expected weights of 0 or more", None),
    "inf": (X, Y, {"class_weight": {"H": np.inf, "E": 0, "C": 1}}, "expected weights of 0 or more", None),
    "constraints": (X, Y, {"constraints": "infer"}, "pass head='crf', got head='linear'", None),
    "crf weights": (X, Y, {"head": "crf", "class_weight": "balanced"}, "a CRF scores whole proteins", None),
    "impossible": (
        X,
        Y,
        {"head": "crf", "constraints": {"ends": ["C"]}},
        r"1 proteins break the constraints: row 2 at residue 5 \(at the end, 'H' after 'C'\)",
        [2],
    ),
    "head": (X, Y, {"head": "esm"}, "'head' parameter", None),
}


@pytest.mark.filterwarnings("ignore:.*cut to their first 4")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_one_error_says_what_is_wrong_and_where(esm_folder, case):
    X, y, options, message, rows = case
    with pytest.raises(ValueError, match=f"(?s){message}") as caught:
        classifier(esm_folder, **options).fit(X, y)
    if rows is not None:
        assert isinstance(caught.value, SequenceError)
        assert caught.value.rows == rows


def test_unknown_labels_when_scoring(esm_folder):
    fitted = classifier(esm_folder).fit(X, Y)
    with pytest.raises(SequenceError, match=r"not seen in the training data: \['X'\], in 1 proteins: rows 1"):
        fitted.score(X, change(1, "HECHEX"))
    with pytest.raises(SequenceError, match="Target 1 has 3 entries for 6 residues"):
        fitted.score(X, change(1, "HEC"))
    with pytest.raises(ValueError, match="No residue of the 1 proteins was measured"):
        classifier(esm_folder, ignore_label="-").fit(X, Y).score(X[:1], ["-" * 8])
    with pytest.raises(ValueError, match="sample_weight is 0 for every protein with a measured residue"):
        fitted.score(X[:2], [Y[0], [None] * 6], sample_weight=[0, 1])


def test_scoring_takes_proteins_without_a_measured_residue(esm_folder):
    fitted = classifier(esm_folder, ignore_label="-").fit(X, Y)
    assert fitted.score(X, change(1, "------")) == fitted.score(X[::2], Y[::2])


def test_a_class_only_present_in_validation(esm_folder):
    with pytest.raises(SequenceError, match=r"not seen in the training data: \['G'\].*rows 0"):
        classifier(esm_folder).fit(X, Y, X_val=["ACD"], y_val=["HEG"])


@pytest.mark.parametrize("scoring", ["accuracy", "matthews_corrcoef", "roc_auc"])
def test_a_scorer_of_proteins_is_refused_before_training(esm_folder, scoring):
    epochs = []
    fitted = classifier(esm_folder, scoring=scoring, callbacks=[epochs.append])
    with pytest.raises(ValueError, match=f"scoring='{scoring}' cannot score residues .*residue_accuracy"):
        fitted.fit(X, Y, X_val=X, y_val=Y)
    assert not epochs
    values, regressor = [np.arange(len(s)) for s in X], PLMResidueRegressor(str(esm_folder), **COMMON)
    for scorer in ("r2", "spearman"):
        with pytest.raises(ValueError, match=f"scoring='{scorer}' cannot score residues .*residue_spearman"):
            regressor.set_params(scoring=scorer).fit(X, values, X_val=X, y_val=values)
    regressor.set_params(scoring="residue_spearman").fit(X, values, X_val=X, y_val=values)


def test_rows_are_counted_in_the_caller_s_x(esm_folder):
    """Also where proteins of weight 0 are left out."""
    fitted = classifier(esm_folder, head="crf", constraints={"starts": ["E"]})
    with pytest.raises(
        SequenceError, match=r"row 0 at .*\nRows are counted .* weight 0; in X they are 1"
    ) as caught:
        fitted.fit(
            X,
            ["E" + y[1:] for y in Y[:1]] + ["C" + y[1:] for y in Y[1:2]] + ["E" + y[1:] for y in Y[2:]],
            sample_weight=[0] + [1] * (len(X) - 1),
        )
    assert caught.value.rows == [1]


def test_validation_labels_that_break_constraints(esm_folder):
    fitted = classifier(esm_folder, head="crf", constraints="infer")
    with pytest.raises(SequenceError, match="break the constraints: row 0 at residue 1"):
        fitted.fit(X, Y, X_val=["ACD"], y_val=["EEC"])


def test_values(esm_folder):
    regressor = PLMResidueRegressor(str(esm_folder), **COMMON)
    values = [np.arange(float(len(s))) for s in X]
    for target, message in (
        ("HHHHHHHH", "Target 0 is a str; expected an array"),
        (np.full(8, np.inf), "Target 0 is infinite at residue 1"),
        (np.full(8, np.nan), "1 of 3 targets have no measured residue: rows 0"),
        (np.zeros(7), "Target 0 has 7 entries for 8 residues"),
        (np.zeros((8, 2)), "Target 1 is an array of numbers, those before it are an array of 2 columns"),
    ):
        with pytest.raises(ValueError, match=message):
            regressor.fit(X, [target, *values[1:]])
    fitted = regressor.fit(X, values)
    with pytest.raises(ValueError, match="2 values per residue in row 0, expected 1"):
        fitted.score(X, [np.zeros((len(s), 2)) for s in X])


def test_weight_zero_excuses_a_protein(esm_folder):
    y = change(1, "------")
    classifier(esm_folder, ignore_label="-").fit(X, y, sample_weight=[1, 0, 1])


SIGNAL, MATURE = "MKRSAAVLLLVLAAVASAQADDET", "MSTEEQKRNDPEEAGKDDSSQTEP"
SP, NONE = "S" * 20 + "OOOO", "I" * 24


@pytest.mark.parametrize(
    "y, options, message",
    [
        (["SP", "NO"], {}, r"y has the types \['NO'\]; expected one of NO_SP, SP, LIPO"),
        (["SP", "SP"], {}, "one class only"),
        (["SP", "NO_SP"], {"regions": [SP[1:], NONE]}, "Target 0 has 23 entries for 24 residues"),
        (
            ["SP", "NO_SP"],
            {"regions": [SP, SP]},
            "regions of 1 proteins .*: row 1, a protein of type NO_SP",
        ),
        (["LIPO", "NO_SP"], {"regions": [SP, NONE]}, "row 0, a protein of type LIPO"),
        (["SP", "NO_SP"], {"regions": ["O" * 24, NONE]}, "row 0, a protein of type SP"),
        (["SP", "NO_SP"], {"kingdom": ["PLANTS", None]}, r"kingdom has \['PLANTS'\]; expected ARCHAEA"),
        (["SP", "NO_SP"], {"kingdom": ["EUKARYA"]}, "X has 2 proteins and kingdom has 1 rows"),
        (["SP", "NO_SP"], {"X_val": [SIGNAL], "y_val": ["TAT"]}, r"not seen in the training data: \['TAT'\]"),
        (
            ["SP", "NO_SP"],
            {"X_val": [SIGNAL], "y_val": ["SP"], "regions_val": ["O" * 24]},
            "row 0, a protein of type SP",
        ),
    ],
)
def test_signal_peptides(esm_folder, y, options, message):
    with pytest.raises(ValueError, match=message):
        PLMSignalPeptideClassifier(str(esm_folder), **COMMON).fit([SIGNAL, MATURE], y, **options)
