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


def test_settings_beside_a_model_fit_it_again(model, tmp_path):
    run("fit", "--config", model / "command.yaml", "--out", tmp_path / "again")
    first, again = plmlearn.load(model), plmlearn.load(tmp_path / "again")
    assert again._trained == first._trained


@pytest.mark.parametrize(
    "text, message",
    [
        ("tagret: [place]\n", "has tagret; expected some of"),
        ("- a\n", "has list; expected some of"),
        ("a: [\n", "is no YAML"),
    ],
)
def test_config_that_is_none(proteins, tmp_path, text, message):
    config = tmp_path / "config.yaml"
    config.write_text(text)
    assert message in run("fit", proteins, "--config", config, code=2).stderr


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


def test_search_at_random_with_early_stopping_within_clusters(proteins, tmp_path):
    options = ["-t", "place", *QUICK, "--set", "early_stopping=True", "--folds", "2", "--trials", "2"]
    options += ["--param", "lr={low: 1e-4, high: 1e-2, log: true}", "--out", tmp_path / "m", "--json"]
    rows = json.loads(run("search", proteins, *options).stdout)["candidates"]
    rates = [float(row["lr"]) for row in rows]
    assert len(set(rates)) == 2
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert plmlearn.load(tmp_path / "m").lr in rates


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
    monkeypatch.setattr("plmlearn.cli.results.find_spec", lambda package: None)
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
