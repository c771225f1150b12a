"""The command line: every command on small data, errors and exit codes, and the figures that Python gives."""

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from sklearn.dummy import DummyClassifier
from sklearn.metrics import accuracy_score, make_scorer, matthews_corrcoef
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score

import plmlearn
from plmlearn.adapters import Frozen, LoRA
from plmlearn.cli import main, runs
from plmlearn.cli.settings import dump, parse
from plmlearn.datasets import (
    fetch_deeploc2,
    fetch_gb1,
    fetch_ppi,
    fetch_secondary_structure,
    make_protein_classification,
)
from plmlearn.metrics import residue_accuracy, spearman_score
from plmlearn.model_selection import ClusterKFold, PairKFold, cluster_sequences
from plmlearn.sequences import read_csv

QUICK = ["--backbone", "mini", "--set", "epochs=1", "--set", "last_n_layers=1"]
FROZEN = ["--backbone", "mini", "--set", "adapter=frozen", "--set", "epochs=1"]


@pytest.fixture(autouse=True)
def _exact_alignments(monkeypatch):
    """Of so few proteins they take less time than to start MMseqs2."""
    monkeypatch.setattr("plmlearn.similarity.search.find_mmseqs", lambda: None)


def run(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def write(path, rows, header):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def proteins(tmp_path_factory):
    """40 proteins of two places: a CSV file."""
    X, y = make_protein_classification(40, median_length=30, max_length=40, random_state=0)
    rows = [
        (f"P{i}", x, ("in", "out")[label], ("train", "test")[i % 4 == 0])
        for i, (x, label) in enumerate(zip(X, y))
    ]
    return write(tmp_path_factory.mktemp("proteins") / "p.csv", rows, ["id", "sequence", "place", "part"])


@pytest.fixture(scope="module")
def model(proteins):
    folder = proteins.parent / "model"
    run("fit", proteins, "-t", "place", "--where", "part=train", *QUICK, "--out", folder)
    return folder


def part(proteins, name):
    data = read_csv(proteins, target="place")
    rows = data.columns["part"] == name
    return data.sequences[rows], data.target[rows]


# -- fit, predict, info -----------------------------------------------------------------------


def test_fit_and_predict_equal_python(proteins, model, tmp_path):
    X, y = part(proteins, "train")
    clf = plmlearn.PLMLoRAClassifier("mini", epochs=1, last_n_layers=1, random_state=0, verbose=0).fit(X, y)
    X, y = part(proteins, "test")
    out = tmp_path / "out.csv"
    result = run("predict", model, proteins, "--where", "part=test", "--proba", "--out", out, "--json")
    scores = json.loads(result.stdout)["scores"]
    assert scores == {
        "mcc": pytest.approx(matthews_corrcoef(y, clf.predict(X))),
        "accuracy": pytest.approx(clf.score(X, y)),
    }
    columns = read_csv(out).columns
    assert columns["predicted_place"].tolist() == clf.predict(X).tolist()
    assert columns["p_out"].astype(float) == pytest.approx(clf.predict_proba(X)[:, 1], abs=1e-12)
    assert columns["id"].tolist() == [f"P{i}" for i in range(0, 40, 4)]


def test_predict_without_targets_and_for_fasta(proteins, model, tmp_path):
    fasta = tmp_path / "new.fasta"
    fasta.write_text(">A first\nMKTAYIAKQR\n>B\nGSHMLEDP\n")
    found = run("predict", model, fasta)
    rows = list(csv.DictReader(found.stdout.splitlines()))
    assert [row["id"] for row in rows] == ["A", "B"]
    assert {row["predicted_place"] for row in rows} <= {"in", "out"}
    assert found.stderr == "2 rows\n"
    blank = write(tmp_path / "blank.csv", [("MKTAYIAKQR", ""), ("GSHMLEDP", "")], ["sequence", "place"])
    assert run("predict", model, blank).stderr == "2 rows\n"  # targets that are not known yet
    listed = json.loads(run("predict", model, fasta, "--json").stdout)
    assert [row["predicted_place"] for row in listed["predictions"]] == [
        row["predicted_place"] for row in rows
    ]


@pytest.mark.parametrize(
    "rows, told",
    [
        ([("MKTAYIAK", "1.5")], "y_true has 1 different values"),
        ([("MKTAYIAK", "1"), ("GSHMLEDP", "1")], "y_true has 1 different values"),
        (
            [("MKTAYIAK", "1"), ("GSHMLEDP", "n.d."), ("GSHM", "2")],
            "Expected numbers in y, got 'n.d.' in line 3.",
        ),
    ],
)
def test_predictions_that_cannot_be_scored_are_written(regressor, tmp_path, rows, told):
    path = write(tmp_path / "p.csv", rows, ["sequence", "y"])
    out = tmp_path / "out.csv"
    said = run("predict", regressor, path, "--out", out).stderr
    assert said == f"Warning: the predictions are not scored. {told}{said.partition(told)[2]}"
    expected = plmlearn.load(regressor).predict([row[0] for row in rows])
    assert read_csv(out, target="predicted_y").target == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "fitted, new, scores",
    [
        (["1", "2", "2a", "x"], ["1", "2", "", "2"], 3),  # text that looks like numbers
        (["0", "1", "0", "1"], ["0", "unknown", "1", "1"], 0),
        (["A", "B", "A|B", "B"], ["A", "C", "", "B"], 0),
        (["A", "B", "A|B", "B"], ["A", "A|B", "", "B"], 3),
    ],
)
def test_new_targets_are_read_as_those_of_the_fit(tmp_path, fitted, new, scores):
    sequences = ["MKTAYIAK", "GSHMLEDP", "MKTAYIAR", "GSHMLEDA"]
    options = ["-t", "y", *FROZEN, "--out", tmp_path / "m"]
    run("fit", write(tmp_path / "f.csv", zip(sequences, fitted), ["sequence", "y"]), *options)
    path, out = write(tmp_path / "n.csv", zip(sequences, new), ["sequence", "y"]), tmp_path / "out.csv"
    found = run("predict", tmp_path / "m", path, "--out", out, "--json")
    predicted = read_csv(out).columns["predicted_y"]
    if not scores:
        assert "Warning: the predictions are not scored." in found.stderr
        assert "line 3" in found.stderr
        return
    right = [a == b for a, b in zip(predicted, new) if b]
    assert len(right) == scores
    assert json.loads(found.stdout)["scores"]["accuracy"] == pytest.approx(np.mean(right))


def test_rows_with_a_gap_in_one_of_two_targets_are_not_scored(numbers, tmp_path):
    rows = [[*row, row[2]] for row in numbers]
    header = ["id", "sequence", "y", "z"]
    options = ["-t", "y", "-t", "z", *FROZEN, "--out", tmp_path / "m"]
    run("fit", write(tmp_path / "f.csv", rows, header), *options)
    for row, column in ((2, 2), (4, 3), (5, 2), (5, 3)):
        rows[row][column] = ""
    new = write(tmp_path / "n.csv", rows[:8], header)
    found = run("predict", tmp_path / "m", new, "--out", tmp_path / "o.csv", "--json")
    whole = [0, 1, 3, 6, 7]
    predicted = plmlearn.load(tmp_path / "m").predict([rows[i][1] for i in whole])
    true = np.array([rows[i][2:] for i in whole], dtype=float)
    assert json.loads(found.stdout)["scores"]["spearman"] == pytest.approx(spearman_score(true, predicted))
    empty = write(tmp_path / "e.csv", [[*row[:2], "", ""] for row in rows[:3]], header)
    assert run("predict", tmp_path / "m", empty).stderr == "3 rows\n"


def test_predictions_that_replace_columns_are_told(model, tmp_path):
    rows = [("MKTAYIAKQR", 0.5, "mine", "a")]
    path = write(tmp_path / "p.csv", rows, ["sequence", "p_in", "predicted_place", "note"])
    said = run("predict", model, path, "--proba").stderr
    assert f"Warning: predictions replace the columns p_in, predicted_place of {path}." in said


def test_what_does_not_predict_or_embed_is_refused(tmp_path):
    X = ["MKTAYIAK", "GSHMLEDP"]
    (tmp_path / "p.fasta").write_text(f">a\n{X[0]}\n>b\n{X[1]}\n")
    member = plmlearn.PLMClassifier("mini", adapter=Frozen(), epochs=1, verbose=0, random_state=0)
    ensemble = plmlearn.PLMEnsemble(member, n_members=2, random_state=0).fit(X, ["in", "out"])
    plmlearn.save(ensemble, tmp_path / "e")
    plmlearn.save(plmlearn.PLMEmbedder("mini").fit(X), tmp_path / "m")
    found = json.loads(run("info", tmp_path / "e", "--json").stdout)
    assert (found["estimator"], found["backbone"], found["classes"]) == ("PLMEnsemble", "mini", ["in", "out"])
    out = ["--out", tmp_path / "e.npz"]
    said = run("embed", tmp_path / "p.fasta", "--model", tmp_path / "e", *out, code=1).stderr
    assert "PLMEnsemble in" in said
    assert "makes no embeddings" in said
    said = run("predict", tmp_path / "m", tmp_path / "p.fasta", code=1).stderr
    assert "PLMEmbedder in" in said
    assert "makes no predictions" in said


def test_info(model):
    found = json.loads(run("info", model, "--json").stdout)
    loaded = plmlearn.load(model)
    assert found["trained"] == loaded.n_trainable_parameters_
    assert found["train_loss"] == loaded.history_[-1]["train_loss"]
    assert found["classes"] == ["in", "out"]
    assert found["target"] == ["place"]
    assert f"fingerprint  {loaded.backbone_fingerprint_}" in run("info", model).stdout


def test_what_was_decided_is_said(proteins, tmp_path):
    said = run("fit", proteins, "-t", "place", *QUICK, "--out", tmp_path / "m").stderr
    assert "40 proteins, place: labels, 2 classes of 20 to 20. PLMLoRAClassifier on mini." in said
    assert re.search(r"^epoch 1/1: train_loss", said, re.M)  # a line per epoch where there is no terminal


# -- settings ---------------------------------------------------------------------------------


def test_values_are_yaml_as_python_users_write_it():
    texts = ["1e-3", "None", "null", "True", "[2, 8]", "-", "cls", "0.5", "2E5", "{low: 1e-4}", "", "-1.5e-2"]
    values = [0.001, None, None, True, [2, 8], "-", "cls", 0.5, 2e5, {"low": 1e-4}, None, -0.015]
    assert [parse(text) for text in texts] == values


def test_dry_run_prints_what_config_reads(proteins, tmp_path):
    options = ["-t", "place", "--out", tmp_path / "m", "--backbone", "mini", "--set", "adapter__rank=3"]
    options += ["--estimator", "PLMClassifier", "--where", "part=train", "--set", "lr=1e-3"]
    printed = run("fit", proteins, *options, "--dry-run").stdout
    assert not (tmp_path / "m").exists()
    found = yaml.safe_load(printed)
    assert found["set"]["adapter"] == "lora"
    assert found["set"]["adapter__rank"] == 3
    assert set(plmlearn.PLMClassifier(adapter=LoRA()).get_params()) - {"callbacks"} == set(found["set"])
    config = tmp_path / "config.yaml"
    config.write_text(printed)
    assert run("fit", "--config", config, "--dry-run").stdout == printed
    changed = run("fit", "--config", config, "--set", "lr=1e-4", "--dry-run").stdout
    assert yaml.safe_load(changed) == {**found, "set": {**found["set"], "lr": 1e-4}}


def test_config_by_hand_needs_no_lists(proteins, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(
        f"data: {proteins}\ntarget: place\nwhere: {{part: train}}\nset: {{epochs: 3, lr: 1e-3}}\n"
    )
    found = yaml.safe_load(run("fit", "--config", config, "--out", "m", "--dry-run").stdout)
    assert (found["target"], found["where"]) == (["place"], {"part": "train"})
    assert (found["set"]["epochs"], found["set"]["lr"]) == (3, 0.001)


def test_early_stopping_gets_clusters(proteins, tmp_path):
    options = ["-t", "place", *QUICK, "--set", "early_stopping=True", "--groups", "clusters"]
    run("fit", proteins, *options, "--out", tmp_path / "m")
    data = read_csv(proteins, target="place")
    clf = plmlearn.PLMLoRAClassifier(
        "mini", epochs=1, last_n_layers=1, early_stopping=True, random_state=0, verbose=0
    )
    clf.fit(data.sequences, data.target, groups=cluster_sequences(data.sequences))
    assert plmlearn.load(tmp_path / "m").best_score_ == clf.best_score_


def test_clusters_of_fit_are_as_similar_as_identity_says(proteins, tmp_path):
    X, y = part(proteins, "train")
    X, y = X[:10], y[:10]
    relatives = [
        "".join(y if i % 3 == 0 else x for i, (x, y) in enumerate(zip(a, b))) for a, b in zip(X, X[::-1])
    ]
    X, y = np.array([*X, *relatives]), np.array([*y, *y])
    file = write(tmp_path / "p.csv", zip(X, y), ["sequence", "place"])
    early = [
        *QUICK,
        "--set",
        "early_stopping=True",
        "--set",
        "validation_fraction=0.4",
        "--groups",
        "clusters",
    ]
    searched = ["--identity", "0.9", "--folds", "2", "--param", "rank=[8]", "--out", tmp_path / "best"]
    run("search", file, "-t", "place", *early, *searched)
    run("fit", "--config", tmp_path / "best" / "command.yaml", "--out", tmp_path / "m")
    settings = {"epochs": 1, "last_n_layers": 1, "early_stopping": True, "validation_fraction": 0.4}
    scores = {}
    for identity in (0.3, 0.9):
        clf = plmlearn.PLMLoRAClassifier("mini", **settings, random_state=0, verbose=0)
        scores[identity] = clf.fit(X, y, groups=cluster_sequences(X, identity)).history_[-1]["valid_loss"]
    assert plmlearn.load(tmp_path / "m").history_[-1]["valid_loss"] == scores[0.9] != scores[0.3]


def test_settings_beside_a_model_fit_it_again(model, tmp_path):
    run("fit", "--config", model / "command.yaml", "--out", tmp_path / "again")
    first, again = plmlearn.load(model), plmlearn.load(tmp_path / "again")
    assert again._trained == first._trained


def test_settings_pass_between_commands(proteins, model, tmp_path):
    options = ["-t", "place", *QUICK, "--folds", "2"]
    early = ["--set", "early_stopping=True", "--param", "rank=[2]"]
    run("search", proteins, *options, *early, "--out", tmp_path / "best")
    run("fit", "--config", tmp_path / "best" / "command.yaml", "--out", tmp_path / "again")
    first, again = plmlearn.load(tmp_path / "best"), plmlearn.load(tmp_path / "again")
    assert again.best_score_ == first.best_score_  # in early stopping on the same clusters
    assert again._trained == first._trained
    assert "20 to 20" not in run("evaluate", "--config", model / "command.yaml", "--dry-run").stderr
    config = tmp_path / "e.yaml"
    config.write_text(run("evaluate", proteins, *options, "--dry-run").stdout)
    assert "folds" not in run("fit", "--config", config, "--out", "m", "--dry-run").stdout
    assert "folds: 2" in run("search", "--config", config, "--param", "rank=[2]", "--dry-run").stdout


@pytest.mark.parametrize("nothing", ["set:", "where:", "groups:", "set: {}", "where: []"])
def test_what_is_left_blank_in_a_file_is_not_given(proteins, tmp_path, nothing):
    config = tmp_path / "config.yaml"
    config.write_text(f"\ufeffdata: {proteins}\ntarget: place\n{nothing}\n")
    found = yaml.safe_load(
        run("fit", "--config", config, "--set", "epochs=3", "--out", "m", "--dry-run").stdout
    )
    assert found["set"]["epochs"] == 3
    assert "where" not in found


@pytest.mark.parametrize(
    "text, message",
    [
        ("tagret: [place]\n", "has tagret; expected some of"),
        ("- a\n", "has list; expected some of"),
        ("a: [\n", "is no YAML"),
        ("data: 5\n", "File '5' does not exist"),
        ("data: [a.csv, b.csv]\n", "data in {path} is ['a.csv', 'b.csv']; expected one entry."),
        ("target: {place: out}\n", "target in {path} is {'place': 'out'}; expected one entry or a list."),
        ("set: 5\n", "got 5, expected NAME=VALUE"),
        ("set: [{epochs: 5}]\n", "got {'epochs': 5}, expected NAME=VALUE"),
    ],
)
def test_config_that_is_none(proteins, tmp_path, text, message):
    config = tmp_path / "config.yaml"
    config.write_text(text)
    data = [] if "data" in text else [proteins]
    told = run("fit", *data, "-t", "place", "--out", "m", "--config", config, code=2).stderr
    assert message.replace("{path}", str(config)) in told


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_entries_of_a_file_are_text_as_on_the_command_line(proteins, tmp_path, encoding):
    header = ["sequence", "2026-01-31", "yes", "split"]
    file = write(tmp_path / "5", [("MKV", "a", "no", ""), ("GSH", "b", "no", "")], header)
    config = tmp_path / "config.yaml"
    text = f"data: {file}\ntarget: 2026-01-31\nwhere: {{yes: no, split: }}\nout: 1e3\nset: {{epochs: 1e0}}\n"
    config.write_text(text, encoding=encoding)
    found = yaml.safe_load(run("fit", "--config", config, "--dry-run").stdout)
    assert (found["target"], found["where"]) == (["2026-01-31"], {"yes": "no", "split": ""})
    assert (found["out"], found["set"]["epochs"]) == ("1e3", 1)
    told = run("fit", "--config", config, "--where", "yes=maybe", code=1).stderr
    assert "no row with yes=maybe, split=(empty)." in told


# -- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (
            ["-t", "plce"],
            1,
            "has no column 'plce'; its columns are id, sequence, place, part. Did you mean 'place'?",
        ),
        (
            ["-t", "place", "--set", "rnk=3"],
            1,
            "PLMLoRAClassifier has no parameter 'rnk'. Did you mean 'rank'?",
        ),
        (["-t", "place", "--set", "rank"], 2, "got 'rank', expected NAME=VALUE."),
        (["-t", "place", "--set", "rank=["], 2, "the value of rank is no YAML"),
        (
            ["-t", "place", "--set", "epochs=-1"],
            1,
            "The 'epochs' parameter of PLMLoRAClassifier must be an int",
        ),
        (["-t", "place", "--where", "part=trian"], 1, "has no row with part=trian."),
        (["-t", "place", "--estimator", "PLMClasifier"], 1, "estimator is 'PLMClasifier'; expected one of"),
        (["-t", "place", "--groups", "family"], 1, "has no column 'family'"),
        (["-t", "place", "--estimator", "PLMFrozenMLP", "--groups", "id"], 1, "takes no groups in fit"),
        ([], 2, "Missing option '--target'"),
    ],
)
def test_errors_have_a_code_and_no_traceback(proteins, tmp_path, arguments, code, message):
    result = run("fit", proteins, *arguments, "--backbone", "mini", "--out", tmp_path / "m", code=code)
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert not (tmp_path / "m").exists()


def test_rows_that_are_refused_are_named_by_their_lines(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("\nsequence,y,part\nMKV,1,b\n\nMK1,2,a\nGSH,,a\n")
    options = [
        "-t",
        "y",
        "--where",
        "part=a",
        "--task",
        "numbers",
        "--backbone",
        "mini",
        "--out",
        tmp_path / "m",
    ]
    said = run("fit", path, *options, code=1).stderr
    assert "Sequence 0 has '1' at residue 3" in said
    assert f"In {path}, row 0 is line 5." in said
    said = run("fit", path, *options, "--set", "invalid=replace", code=1).stderr
    assert f"In {path}, row 1 is line 6." in said


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """30 proteins with a number each, as texts: id, sequence, number."""
    X, _ = make_protein_classification(30, median_length=25, max_length=35, random_state=0)
    return [[f"P{i}", x, f"{(-1) ** i * i / 7:.2f}"] for i, x in enumerate(X)]


@pytest.fixture(scope="module")
def regressor(numbers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("numbers")
    run(
        "fit",
        write(folder / "n.csv", numbers, ["id", "sequence", "y"]),
        "-t",
        "y",
        *QUICK,
        "--out",
        folder / "m",
    )
    return folder / "m"


def with_entries(numbers, entries):
    """The rows with other targets in some of them."""
    return [[*row[:2], entries.get(i, row[2])] for i, row in enumerate(numbers)]


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate"],
        ["evaluate", "--no-floors"],
        ["evaluate", "--groups", "none"],
        ["search", "--param", "lr=[1e-3]"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize(
    "kind, entries, message",
    [
        ("number", {7: "", 20: "NA"}, "y is missing (nan or None) in 2 rows: 7, 20"),
        ("label", {7: "", 20: "NA"}, "y is missing (nan or None) in 2 rows: 7, 20"),
        ("states", {7: "HH", 20: ""}, "Target 7 has 2 entries for"),
    ],
)
def test_bad_rows_are_named_before_any_fold(numbers, tmp_path, command, kind, entries, message):
    """Rows of the file, not those of a fold's training set."""
    made = {"number": lambda row: row[2], "label": lambda row: "ab"[len(row[1]) % 2]}
    made["states"] = lambda row: "".join("HE"[letter < "L"] for letter in row[1])
    rows = with_entries([[*row[:2], made[kind](row)] for row in numbers], entries)
    path = write(tmp_path / "p.csv", rows, ["id", "sequence", "y"])
    name, *options = command
    options += ["--backbone", "mini", "--set", "adapter=frozen", "--folds", "2"]
    said = run(name, path, "-t", "y", *options, code=1).stderr
    assert message in said
    assert f"In {path}, row 7 is line 9, row 20 is line 22." in said
    assert "fold 1" not in said
    assert "2 folds" not in said


def test_missing_labels_are_no_class(proteins, tmp_path):
    rows = [("MKV", "in"), ("GSH", ""), ("AAA", "out"), ("MKL", "in")]
    path = write(tmp_path / "p.csv", rows, ["sequence", "place"])
    said = run("fit", path, "-t", "place", "--out", "m", "--backbone", "mini", "--dry-run").stderr
    assert "2 classes of 1 to 2" in said


@pytest.mark.parametrize(
    "entries, told",
    [
        ({7: "#DIV/0!"}, "'#DIV/0!' in line 9; the other 29 are numbers or empty."),
        ({7: "n.d.", 20: "9"}, "'n.d.' in line 9; the other 29 are numbers or empty."),
        (
            {3: "\N{MINUS SIGN}0.43", 9: "0,51"},
            "'\N{MINUS SIGN}0.43' in line 5, '0,51' in line 11; the other 28 are",
        ),
        ({i: f"{i},5" for i in range(30)}, "has '0,5' in line 2, '1,5' in line 3"),
        ({i: f"1.{i:03},5" for i in range(30)}, "has '1.000,5' in line 2, '1.001,5' in line 3"),
        ({i: f"{i} %" for i in range(30)}, "has '0 %' in line 2, '1 %' in line 3"),
    ],
)
@pytest.mark.parametrize("targets", [["y"], ["id", "y"]], ids=["one target", "two"])
def test_one_cell_makes_no_classes_of_numbers(numbers, tmp_path, entries, told, targets):
    rows = [[i, *row[1:]] for i, row in enumerate(with_entries(numbers, entries))]
    path = write(tmp_path / "p.csv", rows, ["id", "sequence", "y"])
    options = [part for name in targets for part in ("-t", name)]
    said = run("fit", path, *options, *QUICK, "--out", tmp_path / "m", code=1).stderr
    assert told in said
    assert "pass --task labels" in said
    if targets == ["y"]:
        said = run("fit", path, *options, *QUICK, "--task", "labels", "--out", "m", "--dry-run").stderr
        assert "y: labels" in said
        said = run("fit", path, *options, *QUICK, "--task", "numbers", "--out", tmp_path / "m", code=1).stderr
        row = min(row for row, entry in entries.items() if entry)
        assert f"In {path}, row {row} is line {row + 2}" in said


def test_labels_of_few_texts_and_many_are_labels(tmp_path):
    for labels in (["1", "2a", "2b", "x"], ["1", "2", "1|2", "2"], ["3.4.21.4", "1.1.1.1", "2", "3.4.21.4"]):
        rows = zip(["MKV", "GSH", "AAA", "MKL"], labels)
        path = write(tmp_path / "p.csv", rows, ["sequence", "y"])
        assert (
            "y: labels" in run("fit", path, "-t", "y", "--out", "m", "--backbone", "mini", "--dry-run").stderr
        )


def test_rows_that_are_left_out_do_not_decide_on_the_task(numbers, tmp_path):
    part = ["use" if i < 20 else "fail" if i < 25 else "new" for i in range(30)]
    texts = [["0", "1"][i % 2] if i < 20 else "n.d." if i < 25 else "" for i in range(30)]
    table = [
        [*row, label, kind] for row, label, kind in zip(with_entries(numbers, {22: "n.d."}), texts, part)
    ]
    path = write(tmp_path / "p.csv", table, ["id", "sequence", "y", "label", "part"])
    options = ["--where", "part=use", *QUICK, "--out", tmp_path / "m"]
    assert "20 proteins, y: numbers." in run("fit", path, "-t", "y", *options, "--dry-run").stderr
    run("fit", path, "-t", "label", *options)
    assert plmlearn.load(tmp_path / "m").classes_.tolist() == [0, 1]
    assert plmlearn.load(tmp_path / "m").classes_.dtype.kind == "i"


def test_several_entries_of_a_column_mean_any(proteins, tmp_path):
    options = ["-t", "place", "--backbone", "mini", "--out", "m", "--dry-run"]
    chosen = ["--where", "id=P1", "--where", "id=P2", "--where", "id=P4", "--where", "part=train"]
    printed = run("fit", proteins, *options, *chosen)
    assert printed.stderr.startswith("2 proteins, ")
    assert yaml.safe_load(printed.stdout)["where"] == {"id": ["P1", "P2", "P4"], "part": "train"}
    config = tmp_path / "config.yaml"
    config.write_text(printed.stdout)
    assert run("fit", "--config", config, "--dry-run").stdout == printed.stdout
    said = run("fit", "--config", config, "--where", "id=P1", "--where", "id=P3", "--dry-run").stderr
    assert said.startswith("2 proteins, ")
    said = run("fit", proteins, *options, "--where", "id=X", "--where", "id=Y", code=1).stderr
    assert "has no row with id=X or Y." in said


def test_a_column_of_the_name_of_an_option_of_groups(proteins, tmp_path):
    rows = [("MKV", "in", "a", ""), ("GSH", "out", "b", "x"), ("AAA", "out", "c", "")]
    path = write(tmp_path / "p.csv", rows, ["sequence", "place", "clusters", "family"])
    options = ["-t", "place", "--backbone", "mini", "--folds", "2"]
    said = run("evaluate", path, *options, "--groups", "clusters", code=1).stderr
    assert "has a column 'clusters', which --groups clusters does not read" in said
    said = run("evaluate", path, *options, "--groups", "family", code=1).stderr
    assert "groups is blank in rows 0, 2; expected a cluster in each." in said
    assert f"In {path}, row 0 is line 2, row 2 is line 4." in said


def test_an_adapter_needs_no_estimator(proteins):
    options = ["-t", "place", "--backbone", "mini", "--out", "m", "--dry-run", "--set", "adapter=dora"]
    found = yaml.safe_load(run("fit", proteins, *options, "--set", "adapter__rank=3").stdout)
    assert (found["estimator"], found["set"]["adapter__rank"]) == ("PLMClassifier", 3)


@pytest.mark.parametrize("command", ["fit", "predict", "search", "embed", "scan"])
def test_where_results_go_is_checked_first(proteins, model, tmp_path, command, monkeypatch):
    """A fit of hours must not end with nowhere to save it."""
    for cls in (plmlearn.PLMLoRAClassifier, plmlearn.PLMEmbedder, plmlearn.PLMMaskedLM):
        for name in ("fit", "predict", "fit_transform"):
            monkeypatch.setattr(cls, name, None, raising=False)
    study = [proteins, "-t", "place", *QUICK, "--out", proteins / "m"]
    options = {"fit": study, "search": [*study, "--param", "rank=[2]"]}
    options["predict"] = [model, proteins, "--out", tmp_path / "no" / "p.csv"]
    options["embed"] = [proteins, "--backbone", "mini", "--out", tmp_path / "no" / "e.npz"]
    options["scan"] = ["MKTA", "--backbone", "mini", "--out", tmp_path / "no" / "s.csv"]
    said = run(command, *options[command], code=1).stderr
    assert (
        "p.csv is a file, so the folder" if command in ("fit", "search") else "is no folder; expected one"
    ) in said


def test_debug_shows_where(proteins):
    result = CliRunner().invoke(main, ["--debug", "fit", str(proteins), "-t", "plce", "--out", "m"])
    assert isinstance(result.exception, ValueError)


def test_unexpected_errors_say_how_to_find_them(proteins, monkeypatch):
    monkeypatch.setattr(runs, "info", lambda options: {}["key"])
    said = run("info", proteins.parent, code=1).stderr
    assert said == "Error: KeyError: 'key'\n'plmlearn --debug' before the command shows where.\n"


def test_warnings_are_lines(monkeypatch, proteins, recwarn):
    import warnings

    def warn(options):
        warnings.simplefilter("default")
        warnings.warn("2 proteins were cut", stacklevel=1)

    monkeypatch.setattr(runs, "info", warn)
    assert run("info", proteins.parent).stderr == "Warning: 2 proteins were cut\n"


# -- files of spreadsheet programs ------------------------------------------------------------


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode("utf-8-sig").replace(b",", b";").replace(b"\n", b"\r\n"),
        lambda text: text.replace(",", "\t").encode("utf-16"),
        lambda text: (text + ",,,\n,,,\n").encode(),
        lambda text: text.replace("\n", ",,\n").encode(),
    ],
    ids=["BOM, semicolons, CRLF", "UTF-16", "empty rows", "empty columns"],
)
def test_exports_of_spreadsheet_programs(proteins, tmp_path, encode):
    path, options = tmp_path / "p.csv", ["-t", "place", "--out", "m", "--backbone", "mini", "--dry-run"]
    path.write_bytes(encode(proteins.read_text()))
    expected, found = run("fit", proteins, *options), run("fit", path, *options)
    assert found.stderr == expected.stderr
    assert found.stdout.replace(str(path), "p") == expected.stdout.replace(str(proteins), "p")


def test_a_table_that_cannot_be_read_is_refused_with_the_line(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text('sequence,place\nMKV,in\n"GSH,out\n')
    assert "line 3: a quote opens" in run("fit", path, "-t", "place", "--out", tmp_path / "m", code=1).stderr


# -- evaluate and search ----------------------------------------------------------------------


def test_evaluate_equals_cross_val_score(proteins):
    said = run("evaluate", proteins, "-t", "place", *QUICK, "--folds", "3", "--json")
    found = json.loads(said.stdout)
    X, y = (np.concatenate(parts) for parts in zip(*[part(proteins, name) for name in ("train", "test")]))
    data = read_csv(proteins, target="place")
    X, y = data.sequences, data.target
    clf = plmlearn.PLMLoRAClassifier("mini", epochs=1, last_n_layers=1, random_state=0, verbose=0)
    clusters, cv = cluster_sequences(X), ClusterKFold(3)
    for model, name in ((clf, "PLMLoRAClassifier mini"), (DummyClassifier(), "most frequent")):
        expected = cross_val_score(model, X, y, groups=clusters, cv=cv, scoring="accuracy")
        [row] = [r for r in found["rows"] if (r["estimator"], r["metric"]) == (name, "accuracy")]
        assert row["mean"] == pytest.approx(expected.mean())
        assert row["low"] <= row["mean"] <= row["high"]
    assert {row["estimator"] for row in found["rows"]} >= {"composition", "homology"}
    assert found["leakage"]["90% identical over half"] == 0
    assert len(re.findall(r"^PLMLoRAClassifier mini, fold \d/3: mcc", said.stderr, re.M)) == 3


def test_evaluate_prints_a_table(proteins):
    printed = run(
        "evaluate",
        proteins,
        "-t",
        "place",
        *FROZEN,
        "--estimator",
        "PLMClassifier",
        "--folds",
        "2",
        "--no-floors",
    ).stdout
    assert printed.splitlines()[0].split()[:5] == ["estimator", "metric", "mean", "low", "high"]
    assert "Leakage, mean of the folds: 30% identical over half" in printed


def test_search_equals_grid_search(proteins, tmp_path):
    options = [
        "-t",
        "place",
        *QUICK,
        "--folds",
        "2",
        "--param",
        "rank=[2, 4]",
        "--out",
        tmp_path / "m",
        "--json",
    ]
    found = json.loads(run("search", proteins, *options).stdout)
    data = read_csv(proteins, target="place")
    clf = plmlearn.PLMLoRAClassifier("mini", epochs=1, last_n_layers=1, random_state=0, verbose=0)
    cv = list(ClusterKFold(2).split(data.sequences, data.target, cluster_sequences(data.sequences)))
    search = GridSearchCV(clf, {"rank": [2, 4]}, cv=cv, scoring=make_scorer(matthews_corrcoef))
    search.fit(data.sequences, data.target)
    assert found["best"] == {"rank": str(search.best_params_["rank"])}
    assert found["candidates"][0]["mean_mcc"] == pytest.approx(search.best_score_)
    assert plmlearn.load(tmp_path / "m").rank == search.best_params_["rank"]
    assert (
        yaml.safe_load((tmp_path / "m" / "command.yaml").read_text())["set"]["rank"]
        == search.best_params_["rank"]
    )


@pytest.mark.parametrize(
    "values, message",
    [
        ("{low: 1e-4, high: 1e-2}", "lr is a range; say by --n-trials how many candidates to try"),
        ("{low: a, high: b}", "lr is {'low': 'a', 'high': 'b'}; expected a list, or {low: 1e-4"),
        ("{low: 1e-4}", "lr is {'low': 0.0001}; expected a list"),
        ("3", "lr is 3; expected a list"),
    ],
)
def test_what_cannot_be_searched_is_told(proteins, values, message):
    assert message in run("search", proteins, "-t", "place", *QUICK, "--param", f"lr={values}", code=1).stderr


def test_search_at_random_with_early_stopping_within_clusters(proteins, tmp_path):
    options = ["-t", "place", *QUICK, "--set", "early_stopping=True", "--folds", "2", "--trials", "2"]
    options += ["--param", "lr={low: 1e-4, high: 1e-2, log: true}", "--out", tmp_path / "m", "--json"]
    rows = json.loads(run("search", proteins, *options).stdout)["candidates"]
    rates = [float(row["lr"]) for row in rows]
    assert len(set(rates)) == 2
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert plmlearn.load(tmp_path / "m").lr in rates


@pytest.mark.parametrize("command", [["evaluate"], ["search", "--param", "lr=[1e-3]"]], ids=" ".join)
@pytest.mark.parametrize(
    "scoring", [[], ["--scoring", "r2", "--scoring", "spearman"]], ids=["usual", "named"]
)
def test_a_fold_of_equal_numbers_is_named_before_anything_is_fitted(numbers, tmp_path, command, scoring):
    rows = with_entries(numbers, {i: "1.5" if i in (3, 4) else "0" for i in range(30)})
    path = write(tmp_path / "p.csv", rows, ["id", "sequence", "y"])
    name, *options = command
    options += [*FROZEN, "--estimator", "PLMRegressor", "--folds", "5", "-t", "y", "--task", "numbers"]
    said = run(name, path, *options, *scoring, code=1).stderr
    assert re.search(r"All 6 test rows of fold \d have the same target, so Spearman's correlation", said)
    assert "fold 1/5" not in said
    run(name, path, *options, "--scoring", "r2")


def test_labels_in_a_table_and_sequences_in_a_fasta_file(tmp_path):
    fasta = tmp_path / "p.fasta"
    fasta.write_text(">sp|P1|A some protein\nMKTAYIAK\n>sp|P2|B\nGSHMLEDP\n")
    options = ["-s", "id", "--proteins", fasta, "-t", "place", *FROZEN, "--estimator", "PLMClassifier"]
    table = write(tmp_path / "l.csv", [("sp|P2|B", "in"), ("sp|P1|A", "out")], ["id", "place"])
    run("fit", table, *options, "--out", tmp_path / "m")
    clf = plmlearn.PLMClassifier("mini", adapter=Frozen(), epochs=1, random_state=0, verbose=0)
    clf.fit(["GSHMLEDP", "MKTAYIAK"], ["in", "out"])
    assert plmlearn.load(tmp_path / "m").history_[0]["train_loss"] == clf.history_[0]["train_loss"]
    table = write(tmp_path / "l.csv", [("P2", "in"), ("P1", "out")], ["id", "place"])
    said = run("fit", table, *options, "--out", tmp_path / "m", code=1).stderr
    assert "lacks 2 of the proteins: P1, P2. It has sp|P1|A, sp|P2|B." in said
    fasta.write_text(">P1\nMKTAYIAK\n>P2\nGSHMLEDP\n>P1\nMKTAYIAR\n")
    said = run("fit", table, *options, "--out", tmp_path / "m", code=1).stderr
    assert "has different sequences with the id P1; expected one for each id." in said
    fasta.write_text(">P1\nMKTAYIAK\n>P2\nGSHMLEDP\n")
    write(table, [("P2", "in"), ("", "out")], ["id", "place"])
    said = run("fit", table, *options, "--out", tmp_path / "m", code=1).stderr
    assert "lacks 1 of the proteins: (an empty id)." in said
    assert f"In {table}, row 1 is line 3." in said


def test_ids_are_not_taken_for_sequences(tmp_path):
    """LACAA and LACDE are ids, and proteins as well."""
    rows = [("LACAA", "MKTAYIAK", "in"), ("LACDE", "GSHMLEDP", "out")]
    both = write(tmp_path / "b.csv", rows, ["id", "sequence", "place"])
    table = write(tmp_path / "l.csv", [(row[0], row[2]) for row in rows], ["id", "place"])
    options = ["-s", "id", "--proteins", both, "-t", "place", *FROZEN]
    run("fit", table, *options, "--out", tmp_path / "m")
    expected = plmlearn.load(tmp_path / "m").predict(["MKTAYIAK", "GSHMLEDP"]).tolist()
    for given in ([table, "--proteins", both], [both], [both, "-s", "sequence"]):
        found = list(csv.DictReader(run("predict", tmp_path / "m", *given).stdout.splitlines()))
        assert [row["predicted_place"] for row in found] == expected
    for given in ([table], [table, "-s", "id"], [both, "-s", "id"]):
        said = run("predict", tmp_path / "m", *given, code=1).stderr
        assert "The model was fitted on ids, in id. Pass --proteins" in said


def test_probabilities_per_residue_are_for_python(tmp_path):
    path = write(
        tmp_path / "r.csv", [("MKTAYIAK", "HHHEEECC"), ("GSHMLEDP", "CCHHHHCC")], ["sequence", "states"]
    )
    run("fit", path, "-t", "states", *FROZEN, "--out", tmp_path / "m")
    said = run("predict", tmp_path / "m", path, "--proba", code=1).stderr
    assert "load(folder).predict_proba(X)" in said


# -- several labels in a column, presets, signal peptides -------------------------------------


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Proteins with one or two labels each, in one column."""
    X, y = make_protein_classification(24, median_length=25, max_length=35, random_state=0)
    rows = [(x, "in|a b" if i % 3 == 0 else ("in", "out ")[label]) for i, (x, label) in enumerate(zip(X, y))]
    return write(tmp_path_factory.mktemp("several") / "p.csv", rows, ["sequence", "place"])


def test_several_labels_in_one_column(several, tmp_path):
    options = [several, "-t", "place", *FROZEN, "--estimator", "PLMClassifier"]
    said = run("fit", *options, "--out", tmp_path / "m").stderr
    data = read_csv(several, target="place")
    y = np.array(
        [[label in text.split("|") for label in ("a b", "in", "out")] for text in data.target]
    ).astype(int)
    counts = y.sum(axis=0)
    assert f'labels, several per protein, split at "|", 3 of {min(counts)} to {max(counts)}. PLM' in said
    clf = plmlearn.PLMClassifier("mini", adapter="frozen", epochs=1, random_state=0, verbose=0)
    clf.fit(data.sequences, y)
    found = run("predict", tmp_path / "m", several, "--proba", "--out", tmp_path / "o.csv", "--json")
    columns = read_csv(tmp_path / "o.csv").columns
    predicted = clf.predict(data.sequences)
    texts = ["|".join(np.array(["a b", "in", "out"])[row == 1]) for row in predicted]
    assert columns["predicted_place"].tolist() == texts
    assert columns["p_a b"].astype(float) == pytest.approx(clf.predict_proba(data.sequences)[:, 0], rel=1e-6)
    assert json.loads(found.stdout)["scores"]["accuracy"] == pytest.approx(accuracy_score(y, predicted))
    rows = json.loads(run("evaluate", *options, "--folds", "2", "--no-floors", "--json").stdout)["rows"]
    expected = cross_val_score(
        clf,
        data.sequences,
        y,
        groups=cluster_sequences(data.sequences),
        cv=ClusterKFold(2),
        scoring="f1_micro",
    )
    assert rows[0]["mean"] == pytest.approx(expected.mean())


@pytest.mark.parametrize(
    "text, options, message",
    [
        ("in|out\n|\nin\n", [], "The target is empty in rows 1; expected one label or more."),
        (
            "in|out\nin\nup\n",
            ["--labels", "in", "--labels", "out"],
            "unknown labels: up, in rows 2; expected some of",
        ),
    ],
)
def test_labels_that_cannot_be_read_are_named_by_their_lines(tmp_path, text, options, message):
    path = tmp_path / "p.csv"
    path.write_text("sequence,place\n" + "".join(f"MKV,{line}\n" for line in text.splitlines()))
    said = run(
        "fit", path, "-t", "place", "--backbone", "mini", *options, "--out", tmp_path / "m", code=1
    ).stderr
    assert message in said
    assert re.search(r"row \d is line \d", said)


def test_a_preset_is_the_one_of_python(proteins):
    options = ["--preset", "sledzieski2024_symmetry_lora", "--backbone", "mini", "--set", "epochs=2"]
    found = yaml.safe_load(run("fit", proteins, "-t", "place", *options, "--out", "m", "--dry-run").stdout)
    clf = plmlearn.presets.make("sledzieski2024_symmetry_lora", backbone="mini", epochs=2, random_state=0)
    assert found["estimator"] == "PLMClassifier"
    expected = {k: list(v) if isinstance(v, tuple) else v for k, v in clf.get_params().items()}
    expected = expected | {"adapter": "lora"}
    del expected["callbacks"]
    assert found["set"] == expected
    task = run(
        "fit", proteins, "-t", "place", "--preset", "schmirler2024_full/location", "--out", "m", "--dry-run"
    )
    assert yaml.safe_load(task.stdout)["set"]["lr"] == 2e-5


@pytest.mark.parametrize(
    "options, message",
    [
        (["--preset", "nobody2024"], "preset is 'nobody2024'; expected one of"),
        (
            ["--preset", "schmirler2024_full"],
            "needs a task: write schmirler2024_full/TASK with one of stability",
        ),
        (
            ["--preset", "schmirler2024_full/gb1"],
            "is a PLMRegressor for numbers of proteins; the file has labels",
        ),
        (["--preset", "peft_sp_lora"], "In Python: presets.make('peft_sp_lora')"),
        (["--preset", "x", "--estimator", "PLMClassifier"], "leave --estimator out"),
    ],
)
def test_presets_that_do_not_suit(proteins, options, message):
    assert message in run("fit", proteins, "-t", "place", *options, "--out", "m", code=1).stderr


@pytest.mark.parametrize(
    "types, message",
    [(["SP", "NO_SP"], "PLMSignalPeptideClassifier().fit(X, types, regions=regions)"), (["a", "b"], '"A|B"')],
)
def test_text_in_several_targets_is_refused(tmp_path, types, message):
    path = write(
        tmp_path / "p.csv", zip(["MKV", "GSH"], types, ["SSO", "III"]), ["sequence", "type", "regions"]
    )
    assert message in run("fit", path, "-t", "type", "-t", "regions", "--out", tmp_path / "m", code=1).stderr


# -- embed, scan, download --------------------------------------------------------------------


def test_embed(proteins, model, tmp_path):
    X = read_csv(proteins).sequences
    run("embed", proteins, "--backbone", "mini", "--out", tmp_path / "e.npz")
    found = np.load(tmp_path / "e.npz")
    assert found["ids"].tolist() == [f"P{i}" for i in range(40)]
    assert np.array_equal(found["embeddings"], plmlearn.PLMEmbedder("mini").fit_transform(X))
    run("embed", proteins, "--model", model, "--out", tmp_path / "t.npz")
    assert np.array_equal(np.load(tmp_path / "t.npz")["embeddings"], plmlearn.load(model).transform(X))
    run("embed", proteins, "--backbone", "mini", "--residues", "--out", tmp_path / "r.npz")
    residues = plmlearn.PLMEmbedder("mini", pooling=None).fit_transform(X)
    assert np.array_equal(np.load(tmp_path / "r.npz")["P7"], residues[7])


def test_residues_of_any_id_go_into_npz(tmp_path):
    path = tmp_path / "p.fasta"
    path.write_text(">file\nMKTAYIAK\n>allow_pickle\nGSHMLE\n")
    run("embed", path, "--backbone", "mini", "--residues", "--out", tmp_path / "r.npz")
    found = np.load(tmp_path / "r.npz")
    expected = plmlearn.PLMEmbedder("mini", pooling=None).fit_transform(["MKTAYIAK", "GSHMLE"])
    assert sorted(found) == ["allow_pickle", "file"]
    assert np.array_equal(found["file"], expected[0])
    assert np.array_equal(found["allow_pickle"], expected[1])


@pytest.mark.parametrize(
    "ids, name, message",
    [
        (["P1", "P2", "P1", "P3", "P2"], "e.npz", "2 ids occur again: P1, P2;"),
        (["P1", "", "P2"], "e.npz", "1 ids are ''; expected a name for each. Use --id."),
        (["P1", "P1/1-6", "P2"], "e.h5", "1 ids are 'P1/1-6'; expected a name for each, without \"/\""),
    ],
)
def test_ids_are_checked_before_anything_is_embedded(tmp_path, monkeypatch, ids, name, message):
    if name.endswith("h5"):
        pytest.importorskip("h5py")
    monkeypatch.setattr(plmlearn.PLMEmbedder, "fit_transform", None)
    path = tmp_path / "p.fasta"
    path.write_text("".join(f">{one}\nMKTAYI\n" for one in ids))
    said = run("embed", path, "--backbone", "mini", "--out", tmp_path / name, code=1).stderr
    assert message in said
    assert f"In {path}, row " in said
    assert not (tmp_path / name).exists()


def test_embed_writes_the_file_that_was_named_or_none(proteins, tmp_path, monkeypatch):
    run("embed", proteins, "--backbone", "mini", "--out", tmp_path / "e.NPZ")
    assert [path.name for path in tmp_path.iterdir()] == ["e.NPZ"]
    assert np.load(tmp_path / "e.NPZ")["embeddings"].shape == (40, 192)
    before = (tmp_path / "e.NPZ").read_bytes()

    def half(file, **arrays):
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", half)
    run("embed", proteins, "--backbone", "mini", "--out", tmp_path / "e.NPZ", code=1)
    assert [path.name for path in tmp_path.iterdir()] == ["e.NPZ"]
    assert (tmp_path / "e.NPZ").read_bytes() == before
    path = tmp_path / "p.csv"
    path.write_text("sequence\n\nMKV\nMK1\n")
    said = run("embed", path, "--backbone", "mini", "--out", tmp_path / "e.npz", code=1).stderr
    assert f"In {path}, row 1 is line 4." in said


def test_embed_as_parquet_and_h5(proteins, tmp_path):
    parquet, h5py = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("h5py")
    expected = plmlearn.PLMEmbedder("mini").fit_transform(read_csv(proteins).sequences)
    for name in ("e.parquet", "e.h5"):
        run("embed", proteins, "--backbone", "mini", "--out", tmp_path / name)
    table = parquet.read_table(tmp_path / "e.parquet").to_pydict()
    assert np.array_equal(np.array(table["embedding"], dtype=np.float32), expected)
    with h5py.File(tmp_path / "e.h5") as file:
        assert np.array_equal(file["P3"], expected[3])
    run("embed", proteins, "--backbone", "mini", "--residues", "--out", tmp_path / "r.parquet")
    row = parquet.read_table(tmp_path / "r.parquet").to_pydict()["embedding"][3]
    assert np.array(row).mean(axis=0) == pytest.approx(expected[3], abs=1e-5)


@pytest.mark.parametrize(
    "name, message", [("e.parquet", "files need pyarrow: pip install"), ("e.txt", "ends in '.txt'")]
)
def test_embed_refuses_a_format_before_it_computes(proteins, tmp_path, name, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr(plmlearn.PLMEmbedder, "fit_transform", None)
    assert message in run("embed", proteins, "--out", tmp_path / name, code=1).stderr


def test_scan(tmp_path):
    fasta, out = tmp_path / "wt.fasta", tmp_path / "scan.csv"
    fasta.write_text(">wt\nMKTAYI\n")
    run("scan", fasta, "--backbone", "mini", "--out", out)
    data = read_csv(out, sequence="mutation", target="score")
    lm = plmlearn.PLMMaskedLM("mini", adapter=Frozen(), max_steps=0, validation_fraction=None, verbose=0)
    scores = lm.fit(["MKTAYI"]).mutation_scores("MKTAYI", data.sequences.tolist())
    assert len(scores) == 6 * 19
    assert data.target == pytest.approx(scores)


def test_scan_with_a_tuned_model(tmp_path):
    variants = ["MKTA", "MKTG", "MKTV", "GKTA"]
    write(tmp_path / "v.csv", zip(variants, [0.5, 1.5, 2.5, 3.5]), ["sequence", "y"])
    run("fit", tmp_path / "v.csv", "-t", "y", *QUICK, "--out", tmp_path / "m")
    rows = json.loads(run("scan", "MKTA", "--model", tmp_path / "m", "--json").stdout)
    model = plmlearn.load(tmp_path / "m")
    [row] = [row for row in rows if row["mutation"] == "T3W"]
    assert row["score"] == pytest.approx(model.predict(["MKWA"])[0], rel=1e-5)


def test_scan_of_a_long_protein(tmp_path):
    protein = "MKTAYIAKQR" * 110
    options = [protein, "--backbone", "mini", "--method", "wild_type", "--json"]
    assert "longer than max_length=1022" in run("scan", *options, code=1).stderr
    rows = json.loads(run("scan", *options, "--set", "max_length=1100").stdout)
    assert len(rows) == 1100 * 19
    lm = plmlearn.PLMMaskedLM("mini", adapter=Frozen(), max_steps=0, validation_fraction=None, verbose=0)
    lm.set_params(max_length=1100).fit([protein])
    [last] = lm.mutation_scores(protein, ["R1100Y"], method="wild_type")
    assert rows[-1]["score"] == pytest.approx(last, rel=1e-5)


def test_scan_refuses_what_the_model_does_not_read(numbers, model, tmp_path):
    path = write(tmp_path / "p.csv", numbers, ["id", "sequence", "y"])
    run("fit", path, "-t", "y", *FROZEN, "--set", "max_length=40", "--out", tmp_path / "m")
    said = run("scan", "M" * 41, "--model", tmp_path / "m", code=1).stderr
    assert "The protein has 41 residues, of which PLMRegressor in" in said
    assert "reads 40" in said
    run("scan", "M" * 40, "--model", tmp_path / "m")
    said = run("scan", "MKTAYI", "--model", tmp_path / "m", "--set", "max_length=9", code=1).stderr
    assert "--model decides on backbone and parameters" in said


def test_scan_refuses_a_classifier_of_numbers(tmp_path):
    rows = [("MKTAYIAK", 0), ("GSHMLEDP", 1)]
    run(
        "fit", write(tmp_path / "p.csv", rows, ["sequence", "y"]), "-t", "y", *FROZEN, "--out", tmp_path / "m"
    )
    said = run("scan", "MKTAYI", "--model", tmp_path / "m", code=1).stderr
    assert "PLMClassifier in" in said
    assert "does not predict one number" in said


@pytest.mark.parametrize("text", ["lysozyme", "nofile.fasta", "proteins/WT", "../WT"])
def test_scan_takes_no_name_of_a_file_for_a_protein(text):
    said = run("scan", text, "--backbone", "mini", code=1).stderr
    assert f"There is no file {text!r}; expected a FASTA file, or a sequence in upper case." in said


def test_download(tmp_path):
    assert run("download", "mini", "--out", tmp_path / "mini").stdout.split()[-1] == str(tmp_path / "mini")
    assert (tmp_path / "mini" / "model.safetensors").is_file()


@pytest.mark.data
def test_download_of_a_data_set_that_is_there(data_home):
    found = json.loads(run("download", "gb1", "--out", data_home, "--json").stdout)
    assert [Path(path).name for path in found["paths"]] == ["gb1.csv.gz"]


# -- the four tasks on real data --------------------------------------------------------------


def short(data, n, length=90):
    """Rows of the first n proteins up to a length."""
    return np.flatnonzero([len(x) <= length for x in data])[:n]


@pytest.mark.data
def test_deeploc2(data_home, tmp_path):
    """Several labels per protein, a column each."""
    data = fetch_deeploc2(data_home=data_home)
    rows = short(data.data, 60)
    columns = [data.target_names.index(name) for name in ("Extracellular", "Nucleus")]
    X, y = data.data[rows], data.target[rows][:, columns]
    write(tmp_path / "d.csv", ((x, *row) for x, row in zip(X, y)), ["sequence", "Extracellular", "Nucleus"])
    options = [tmp_path / "d.csv", "-t", "Extracellular", "-t", "Nucleus", *QUICK]
    clf = plmlearn.PLMLoRAClassifier("mini", epochs=1, last_n_layers=1, random_state=0, verbose=0)
    run("fit", *options, "--out", tmp_path / "m")
    run("predict", tmp_path / "m", tmp_path / "d.csv", "--out", tmp_path / "p.csv")
    predicted = read_csv(tmp_path / "p.csv", target=["predicted_Extracellular", "predicted_Nucleus"]).target
    assert np.array_equal(predicted, clf.fit(X, y).predict(X))
    found = json.loads(run("evaluate", *options, "--folds", "2", "--no-floors", "--json").stdout)
    expected = cross_val_score(clf, X, y, groups=cluster_sequences(X), cv=ClusterKFold(2), scoring="f1_micro")
    assert found["rows"][0]["mean"] == pytest.approx(expected.mean())


@pytest.mark.data
def test_gb1(data_home, tmp_path):
    X, y = (part[::150] for part in fetch_gb1(data_home=data_home, return_X_y=True))
    write(tmp_path / "g.csv", zip(X, y), ["sequence", "fitness"])
    options = [tmp_path / "g.csv", "-t", "fitness", *FROZEN, "--estimator", "PLMRegressor"]
    reg = plmlearn.PLMRegressor("mini", adapter=Frozen(), epochs=1, random_state=0, verbose=0)
    run("fit", *options, "--out", tmp_path / "m")
    scored = run("predict", tmp_path / "m", tmp_path / "g.csv", "--out", tmp_path / "p.csv", "--json")
    expected = reg.fit(X, y).predict(X)
    assert read_csv(tmp_path / "p.csv", target="predicted_fitness").target == pytest.approx(
        expected, rel=1e-6
    )
    assert json.loads(scored.stdout)["scores"]["spearman"] == pytest.approx(spearman_score(y, expected))
    found = json.loads(run("evaluate", *options, "--folds", "3", "--json").stdout)
    cv = KFold(3, shuffle=True, random_state=0)
    [row] = [r for r in found["rows"] if r["estimator"] == found["reference"] and r["metric"] == "spearman"]
    assert row["mean"] == pytest.approx(
        cross_val_score(reg, X, y, cv=cv, scoring=make_scorer(spearman_score)).mean()
    )
    assert {r["estimator"] for r in found["rows"]} >= {"mean", "additive", "nearest variant"}
    assert found["folds"] == "3 random folds of variants of one protein"


@pytest.mark.data
def test_secondary_structure(data_home, tmp_path):
    data = fetch_secondary_structure(data_home=data_home, subset="valid")
    rows = short(data.data, 30)
    X, y = data.data[rows], data.target[rows]
    write(tmp_path / "s.csv", zip(X, y), ["sequence", "states"])
    options = [tmp_path / "s.csv", "-t", "states", *FROZEN, "--set", "ignore_label=-"]
    clf = plmlearn.PLMResidueClassifier(
        "mini", adapter=Frozen(), epochs=1, ignore_label="-", random_state=0, verbose=0
    )
    run("fit", *options, "--out", tmp_path / "m")
    scored = run("predict", tmp_path / "m", tmp_path / "s.csv", "--out", tmp_path / "p.csv", "--json")
    expected = clf.fit(X, y).predict(X)
    assert read_csv(tmp_path / "p.csv").columns["predicted_states"].tolist() == expected.tolist()
    accuracy = residue_accuracy(y, expected, ignore_label="-")
    assert json.loads(scored.stdout)["scores"] == {"accuracy": pytest.approx(accuracy)}
    found = json.loads(run("evaluate", *options, "--folds", "2", "--json").stdout)
    expected = cross_val_score(clf, X, y, groups=cluster_sequences(X), cv=ClusterKFold(2))
    assert found["rows"][1]["mean"] == pytest.approx(expected.mean())
    assert found["rows"][0]["estimator"] == "amino acid"


@pytest.mark.data
@pytest.mark.filterwarnings("ignore::plmlearn.model_selection.PairWarning")
def test_pairs(data_home, tmp_path):
    data = fetch_ppi(data_home=data_home, subset="test")
    order = np.random.default_rng(0).permutation(len(data.data))
    rows = order[short(["".join(pair) for pair in data.data[order]], 100, 350)]
    X, y = data.data[rows], data.target[rows]
    ids = {x: f"P{i}" for i, x in enumerate(np.unique(X))}
    write(
        tmp_path / "p.csv", ((ids[a], ids[b], label) for (a, b), label in zip(X, y)), ["a", "b", "interact"]
    )
    (tmp_path / "p.fasta").write_text("".join(f">{name}\n{x}\n" for x, name in ids.items()))
    options = ["-s", "a", "-s", "b", "--proteins", tmp_path / "p.fasta"]
    chosen = [tmp_path / "p.csv", *options, "-t", "interact", *FROZEN]
    clf = plmlearn.PLMPairClassifier("mini", adapter=Frozen(), epochs=1, random_state=0, verbose=0)
    run("fit", *chosen, "--out", tmp_path / "m")
    scored = run(
        "predict", tmp_path / "m", tmp_path / "p.csv", *options, "--out", tmp_path / "o.csv", "--json"
    )
    expected = clf.fit(X, y).predict(X)
    assert (
        read_csv(tmp_path / "o.csv", sequence="a", target="predicted_interact").target.tolist()
        == expected.tolist()
    )
    assert json.loads(scored.stdout)["scores"]["accuracy"] == pytest.approx(accuracy_score(y, expected))
    found = json.loads(run("evaluate", *chosen, "--folds", "2", "--json").stdout)
    clusters = dict(zip(ids, cluster_sequences(list(ids))))
    cv = PairKFold("C3", 2, clusters=clusters, random_state=0)
    [row] = [r for r in found["rows"] if r["estimator"] == found["reference"] and r["metric"] == "accuracy"]
    assert row["mean"] == pytest.approx(cross_val_score(clf, X, y, cv=cv, scoring="accuracy").mean())
    assert found["leakage"] == {"C1": 0, "C2": 0, "C3": 1}


# -- real processes ---------------------------------------------------------------------------


def test_help_imports_next_to_nothing():
    heavy = {"torch", "sklearn", "numpy", "pandas", "scipy", "transformers"}
    code = "import sys\nfrom plmlearn.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += f"assert not {heavy!r} & set(sys.modules), set(sys.modules)"
    for arguments in (["--help"], ["fit", "--help"]):
        subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=subprocess.DEVNULL)
    completed = subprocess.run(
        [sys.executable, "-m", "plmlearn"],
        env={
            **os.environ,
            "_PLMLEARN_COMPLETE": "bash_complete",
            "COMP_WORDS": "plmlearn ev",
            "COMP_CWORD": "1",
        },
        capture_output=True,
        text=True,
    )
    assert completed.stdout == "plain,evaluate\n"


def test_ctrl_c_keeps_the_finished_epochs(proteins, tmp_path):
    command = [sys.executable, "-m", "plmlearn", "fit", proteins, "-t", "place", "--backbone", "mini"]
    command += ["--set", "epochs=100000", "--out", tmp_path / "m"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert any(line.startswith("epoch 1/") for line in process.stderr)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=300)[1]
    assert process.returncode == 130
    assert "Stopping after this epoch, then saving." in said
    assert "Traceback" not in said
    loaded = plmlearn.load(tmp_path / "m")
    assert 1 <= len(loaded.history_) < 100000
    assert len(loaded.predict(["MKTAYIAK"])) == 1


# -- the guide --------------------------------------------------------------------------------


def test_the_guide_runs_as_written(tmp_path, monkeypatch):
    """Commands of docs/command-line.md, one after the other, in an empty folder."""
    page = Path(plmlearn.__file__).parents[1].joinpath("docs", "command-line.md").read_text()
    blocks = re.findall(r"^```(python|console)\n(.*?)^```$", page, re.M | re.S)
    monkeypatch.chdir(tmp_path)
    n_commands = 0
    for language, text in blocks:
        if language == "python":
            exec(compile(text, "command-line.md", "exec"), {})
            continue
        for line in text.replace("\\\n", " ").splitlines():
            program, *arguments = shlex.split(line.removeprefix("$ "))
            assert program == "plmlearn"
            output = arguments.index(">") if ">" in arguments else len(arguments)
            result = run(*arguments[:output])
            if output < len(arguments):
                Path(arguments[output + 1]).write_text(result.stdout)
            n_commands += 1
    assert n_commands >= 10


def test_dump_is_read_again():
    settings = {"a": [1, "-"], "b": {"lr": 1e-3, "c": None, "d": "no"}}
    assert yaml.safe_load(dump(settings)) == settings
