"""The report: its figures are those of the evaluation, its texts are only texts, and it fits a phone."""

import re
import shutil
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import Ridge
from sklearn.metrics import accuracy_score, confusion_matrix
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline

import plmlearn
from plmlearn import report
from plmlearn.adapters import LoRA
from plmlearn.cli import main
from plmlearn.datasets import (
    make_protein_classification,
    make_protein_pairs,
    make_protein_regression,
    make_residue_labels,
)
from plmlearn.metrics import expected_calibration_error, residue_spearman
from plmlearn.model_selection import Folds, PairWarning
from plmlearn.report import facts
from plmlearn.report.evaluation import _arguments as facts_of_call

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = [
    "<script>alert(1)</script>",
    r'"><img src=https://a.example/x onerror=alert(2)> $\frac{$ ' + "x" * 99,
]
SHORT = {"median_length": 25, "max_length": 40, "random_state": 0}
OPTIONS = {"adapter": "frozen", "epochs": 1, "random_state": 0, "verbose": 0}


@pytest.fixture(scope="module", autouse=True)
def _exact_alignments():
    """Of so few proteins they take less time than to start MMseqs2."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plmlearn.similarity.search.find_mmseqs", lambda: None)
        yield


def random_folds(n, n_splits=2):
    splits = list(KFold(n_splits, shuffle=True, random_state=0).split(np.zeros(n)))
    return Folds(splits, None, f"{n_splits} random folds")


cut = pytest.mark.filterwarnings("ignore:.*truncated|.*cut to")


class Page(HTMLParser):
    """Tags with their attributes, cells of tables, and all text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.rows, self.text, self.open = [], [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def found():
    X, y = make_protein_classification(24, **SHORT)
    X = [*X, X[0]]
    y = [HOSTILE[label] for label in [*y, 1 - y[0]]]
    clf = plmlearn.PLMClassifier("mini", max_length=32, **OPTIONS)
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        found = report.evaluate(clf, X, y, folds=random_folds(25))
    texts = dict.fromkeys(str(warning.message) for warning in raised)
    assert found.warnings == list(texts)  # of proteins that are cut: they were shown too
    return found


@pytest.fixture(scope="module")
def file(found, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    report.write(found, path, title="<b>title</b>", command="plmlearn 'a b' <i>", settings="<u>set: 1</u>")
    return path


@pytest.fixture(scope="module")
def page(file):
    return Page(file.read_text())


# -- figures ----------------------------------------------------------------------------------


@cut
def test_scores_are_those_of_the_comparison(found, page):
    for row in found.comparison.rows:
        cells = [f"{row['mean']:.3f}", f"{row['low']:.3f} to {row['high']:.3f}"]
        assert any(line[:4] == [row["estimator"], row["metric"], *cells] for line in page.rows)
    own = next(r for r in found.comparison.rows if r["estimator"] == "PLMClassifier mini")
    assert f"a mean mcc of {own['mean']:.3f}" in page.text
    clf = clone(found.estimator)
    predicted = cross_val_predict(clf, found.X, found.y, cv=found.folds.splits)
    accuracy = np.mean([accuracy_score(found.y[rows], predicted[rows]) for _, rows in found.folds.splits])
    assert ["PLMClassifier mini", "accuracy", f"{accuracy:.3f}"] in [line[:3] for line in page.rows]


def test_data_are_counted(found, page):
    lengths = [len(x) for x in found.X]
    for text in (
        f"{min(lengths)} to {max(lengths)} residues, median {np.median(lengths):.0f}",
        "1, 1 with another target than the first",
        "not used",
    ):
        assert text in page.text
    for label in HOSTILE:
        n = (found.y == label).sum()
        assert [label, str(n), f"{n / 25:.1%}"] in [line[:3] for line in page.rows]


def test_split_tells_sizes_and_leakage(found, page):
    for number, ((train, test), leaked) in enumerate(zip(found.folds.splits, found.leakage), start=1):
        expected = [str(number), str(len(train)), str(len(test)), str(leaked.n_duplicates)]
        shares = [
            f"{np.mean((leaked.identity >= t) & (leaked.coverage >= 0.5)):.1%}" for t in (0.3, 0.5, 0.9)
        ]
        assert expected + shares in page.rows


@cut
def test_each_class_against_the_others(found, page):
    predicted = cross_val_predict(clone(found.estimator), found.X, found.y, cv=found.folds.splits)
    counts = confusion_matrix(found.y, predicted, labels=HOSTILE)
    for k, label in enumerate(HOSTILE):
        recall = counts[k, k] / counts[k].sum()
        precision = counts[k, k] / counts[:, k].sum()
        assert [label, str(counts[k].sum()), f"{precision:.3f}", f"{recall:.3f}"] in [
            r[:4] for r in page.rows
        ]


@cut
def test_probabilities_are_those_of_cross_val_predict(found):
    true, proba, classes = facts.probabilities(found)
    clf = clone(found.estimator)
    expected = cross_val_predict(clf, found.X, found.y, cv=found.folds.splits, method="predict_proba")
    rows = np.concatenate([test for _, test in found.folds.splits])
    assert np.array_equal(true, found.y[rows])
    assert proba == pytest.approx(expected[rows], abs=1e-6)
    error = expected_calibration_error(found.y, expected, labels=sorted(HOSTILE))
    assert expected_calibration_error(true, proba, labels=classes) == pytest.approx(error, abs=1e-6)


def test_costs_warnings_and_how_to_do_it_again(found, page):
    outcome = found.outcomes[0]
    assert f"{outcome.n_trained:,} of {outcome.n_parameters:,}" in [line[-1] for line in page.rows]
    assert len(found.warnings) >= 1
    for text in (
        found.warnings[0],
        "plmlearn 'a b' <i>",
        "<u>set: 1</u>",
        "folds=folds)",
        outcome.fingerprint,
    ):
        assert text in page.text
    assert "random_state=0: the same versions" in page.text
    assert f"torch{facts.version('torch')}" in page.text.replace("\n", "")


@pytest.mark.parametrize("as_array", [False, True], ids=["one number", "two numbers"])
def test_numbers(as_array, tmp_path):
    X, y = make_protein_regression(20, **SHORT)
    target = np.column_stack([y, -y]) if as_array else y
    reg, folds = plmlearn.PLMRegressor("mini", **OPTIONS), random_folds(20)
    found = report.evaluate(reg, X, target, folds=folds, scoring="r2", baselines={})
    true, predicted = facts.measured(found)
    rows = np.concatenate([test for _, test in folds.splits])
    assert predicted == pytest.approx(cross_val_predict(reg, X, target, cv=folds.splits)[rows])
    assert np.array_equal(true, target[rows])
    report.write(found, tmp_path / "r.html", target_names=["up", "down"] if as_array else None)
    text = Page((tmp_path / "r.html").read_text()).text
    names = [" up", " down"] if as_array else [""]
    assert all(f"Predicted against measured{name}\n" in f"{text}\n" for name in names)
    assert "There are no probabilities to judge" in text
    assert f"{target.min():.4g} to {target.max():.4g}" in text
    assert "It was not compared with baselines." in text
    assert "p-value" not in text


@pytest.mark.parametrize("form", [pd.Series, pd.DataFrame])
@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
def test_numbers_of_a_data_frame(form):
    X, y = make_protein_regression(20, **SHORT)
    reg, options = plmlearn.PLMRegressor("mini", **OPTIONS), {"folds": random_folds(20), "baselines": {}}
    found, expected = report.evaluate(reg, X, form(y), **options), report.evaluate(reg, X, y, **options)
    assert found.kind == "numbers"
    assert [row["mean"] for row in found.comparison.rows] == [row["mean"] for row in expected.comparison.rows]


@pytest.mark.parametrize("invalid", ["raise", "replace"])
def test_structural_states_are_fitted_and_scored(invalid, miniature, draw_proteins):
    X = ["".join(f"{residue}d" for residue in x) for x in draw_proteins(8, seed=1)]
    y = np.array(["a", "b"] * 4)
    clf = plmlearn.PLMClassifier(str(miniature("saprot")), invalid=invalid, **OPTIONS)
    folds = random_folds(8)
    found = report.evaluate(clf, X, y, folds=folds, baselines={})
    train, test = folds.splits[0]
    expected = clone(clf).fit([X[i] for i in train], y[train]).predict_proba([X[i] for i in test])
    np.testing.assert_allclose(found.outcomes[0].proba, expected, atol=1e-6)


def test_residues(tmp_path):
    X, y = make_residue_labels(16, missing=0.2, **SHORT)
    clf = plmlearn.PLMResidueClassifier("mini", ignore_label="-", **OPTIONS)
    folds = random_folds(16)
    found = report.evaluate(clf, X, y, folds=folds)
    predicted = cross_val_predict(clf, X, y, cv=folds.splits)
    rows = np.concatenate([test for _, test in folds.splits])
    pairs = [(t, p) for row in rows for t, p in zip(y[row], predicted[row]) if t != "-"]
    assert list(zip(*facts.measured(found))) == pairs
    true, proba, classes = facts.probabilities(found)
    assert proba.shape == (len(pairs), len(classes))
    assert np.mean(classes[proba.argmax(axis=1)] == true) == np.mean([t == p for t, p in pairs])
    report.write(found, tmp_path / "r.html")
    cells = [line[:2] for line in Page((tmp_path / "r.html").read_text()).rows]
    for label in classes:
        assert [label, str(sum(t == label for t, _ in pairs))] in cells


def test_columns_of_residue_values(tmp_path):
    X, y = make_residue_labels(8, **SHORT)
    y = [np.array([[letter == "H", 100 + i] for i, letter in enumerate(row)], dtype=float) for row in y]
    folds = random_folds(8)
    found = report.evaluate(plmlearn.PLMResidueRegressor("mini", **OPTIONS), X, y, folds=folds)
    for row, (outcome, (_, test)) in enumerate(zip(found.outcomes, folds.splits)):
        columns = [([y[i][:, k] for i in test], [p[:, k] for p in outcome.predicted]) for k in (0, 1)]
        mean = np.mean([residue_spearman(*column) for column in columns])
        scores = found.comparison.scores["PLMResidueRegressor mini", "spearman"]
        assert scores.ravel()[row] == pytest.approx(mean)
    assert ("amino acid", "spearman") in found.comparison.scores
    report.write(found, tmp_path / "r.html")


def test_pairs(tmp_path):
    X, y = make_protein_pairs(40, n_proteins=40, **SHORT)
    with pytest.warns(PairWarning, match="are left out of a fold") as raised:
        found = report.evaluate(plmlearn.PLMPairClassifier("mini", **OPTIONS), X, y, folds=2, groups=None)
    report.write(found, tmp_path / "r.html")
    page = Page((tmp_path / "r.html").read_text())
    assert f"Different proteins in them{len(np.unique(X))}\n" in page.text
    for train, test in found.folds.splits:
        assert any(line[1:3] == [str(len(train)), str(len(test))] for line in page.rows)
    assert str(raised[0].message) in page.text
    assert "groups=None" in page.text


class Sure(ClassifierMixin, BaseEstimator):
    """Predicts its training classes in turn; has no class that its training rows lack."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return self.classes_[np.arange(len(X)) % len(self.classes_)]

    def predict_proba(self, X):
        return np.eye(len(self.classes_))[np.arange(len(X)) % len(self.classes_)]


def test_a_class_that_a_fold_does_not_train_on_and_other_estimators(tmp_path):
    X, y = ["MKTAYIAK", "GSHMLEDP", "ALVVGKTR", "WWPQRSTV"], np.array(["a", "b", "a", "c"])
    splits = [(np.array([0, 1]), np.array([2, 3])), (np.array([2, 3]), np.array([0, 1]))]
    found = report.evaluate(Sure(), X, y, folds=Folds(splits, None, "by hand"), baselines={})
    true, proba, classes = facts.probabilities(found)
    assert (true.tolist(), classes.tolist()) == (["a", "c", "a", "b"], ["a", "b", "c"])
    assert proba.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]]
    report.write(found, tmp_path / "r.html")
    assert "This estimator keeps no losses" in (tmp_path / "r.html").read_text()


def test_a_tie_is_no_loss():
    X, y = make_protein_classification(12, **SHORT)
    same = DummyClassifier(strategy="prior")
    tied = report.evaluate(clone(same), X, y, folds=random_folds(12), baselines={"same": same})
    assert facts.verdict(tied).endswith("the model is no better.")


def test_several_labels_per_protein(tmp_path):
    X, y = make_protein_classification(24, **SHORT)
    y = np.column_stack([y, 1 - y, np.arange(24) % 3 == 0]).astype(int)
    found = report.evaluate(plmlearn.PLMClassifier("mini", **OPTIONS), X, y, folds=random_folds(24))
    true, proba, classes = facts.probabilities(found)
    assert true.shape == proba.shape == (72,)
    assert classes is None
    report.write(found, tmp_path / "r.html", target_names=["one", "two", "three"])
    cells = [line[:3] for line in Page((tmp_path / "r.html").read_text()).rows]
    assert ["three", "8", "33.3%"] in cells
    with pytest.raises(ValueError, match="target_names has 1 names; expected 3"):
        report.write(found, tmp_path / "r.html", target_names=["one"])


def test_missing_numbers_do_not_conflict():
    y = np.array([1.0, np.nan, 1.0, np.nan, 2.0, np.nan])
    assert facts._conflicts(["a", "b", "a", "b", "a", "a"], y) == 2
    assert facts._conflicts(["a", "b", "a"], np.array(["in", "in", "out"], dtype=object)) == 1


@pytest.mark.parametrize(
    "estimator",
    [
        plmlearn.PLMRegressor("mini", adapter=LoRA(rank=2)),
        plmlearn.baselines.HomologyRegressor(method="exact"),
        make_pipeline(plmlearn.PLMEmbedder("mini"), Ridge()),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_the_lines_of_python_import_what_they_name(estimator):
    lines = facts.as_python(SimpleNamespace(estimator=estimator, arguments=[])).partition("found =")[0]
    names: dict = {}
    exec(lines, names)
    assert repr(names["estimator"]) == repr(estimator)
    assert names["report"] is report


# -- the page ---------------------------------------------------------------------------------


def test_texts_are_only_texts(file, page):
    assert {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "b", "i", "u"} == set()
    assert "<b>title</b>" in page.text
    addresses = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href")]
    assert len(addresses) > 10
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in addresses)
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert "url(" not in file.read_text()
    anchors = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {address[1:] for address in addresses if address[0] == "#"} == anchors


def test_the_file_is_replaced_in_one_step(found, tmp_path, monkeypatch):
    path = tmp_path / "r.html"
    path.write_text("old")

    def fail(*args):
        raise OSError("disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("plmlearn.report.page.os.replace", fail)
        with pytest.raises(OSError, match="disk is full"):
            report.write(found, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_without_matplotlib_one_error(found, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'pip install "plmlearn\[plot\]"'):
        report.write(found, tmp_path / "r.html")


PROBE = """<iframe src="report.html" width="390" height="800" onload="
  const root = this.contentDocument.documentElement;
  const pictures = [...this.contentDocument.images];
  document.title = [root.scrollWidth, pictures.length, pictures.filter(p => p.naturalWidth > 300).length]">
</iframe>"""


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_it_fits_a_phone(file, tmp_path):
    """Of 390 px: the page does not scroll sideways, and all pictures are there."""
    probe = file.with_name("probe.html")
    probe.write_text(PROBE)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    options += [f"--user-data-dir={tmp_path}", "--allow-file-access-from-files", "--virtual-time-budget=3000"]
    command = [str(CHROMIUM), *options, "--dump-dom", probe.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    width, n, shown = map(int, re.search(r"<title>(\d+),(\d+),(\d+)</title>", done.stdout).groups())
    assert width <= 390
    assert n == shown > 5
    assert "CONSOLE" not in done.stderr


# -- the command line -------------------------------------------------------------------------


def test_evaluate_writes_a_report(tmp_path):
    X, y = make_protein_classification(24, **SHORT)
    data = tmp_path / "p.csv"
    data.write_text("sequence,place\n" + "".join(f"{x},{'in' if k else 'out'}\n" for x, k in zip(X, y)))
    options = ["evaluate", data, "-t", "place", "--backbone", "mini", "--set", "last_n_layers=1"]
    options += ["--set", "epochs=1", "--folds", "2", "--no-floors", "--report"]
    arguments = [*map(str, options), str(tmp_path / "r.html")]
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    page = Page((tmp_path / "r.html").read_text())
    mean = re.search(r'"mean": ([-\d.]+)', result.stdout)[1]
    assert f"{float(mean):.3f}" in page.text
    assert " ".join(["plmlearn", *arguments, "--json"]) in page.text
    assert "lora_dropout:" in page.text
    assert "folds=2" in page.text
    assert ["in", "12"] in [line[:2] for line in page.rows]


@pytest.mark.parametrize(
    "path, missing, message",
    [
        ("no/r.html", False, "is no folder; expected one."),
        ("r.html", True, "pictures, which need matplotlib"),
    ],
)
def test_what_cannot_be_written_is_told_before_anything_is_fitted(
    tmp_path, monkeypatch, path, missing, message
):
    if missing:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(plmlearn.PLMLoRAClassifier, "fit", None)
    data = tmp_path / "p.csv"
    data.write_text("sequence,place\nMKV,in\nGSH,out\n")
    options = ["evaluate", str(data), "-t", "place", "--backbone", "mini", "--report", str(tmp_path / path)]
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 1
    assert message in result.stderr


def test_what_is_no_estimator_is_refused():
    X, y = ["MKV", "MAV"], [0, 1]
    with pytest.raises(ValueError, match="'estimator' parameter of evaluate"):
        report.evaluate("labels", X, y)
    with pytest.raises(TypeError, match="estimators has 'mine', a str; expected an estimator"):
        plmlearn.baselines.compare({"mine": "labels"}, X, y)


def test_the_call_names_an_array_and_spells_out_the_rest():
    given = {"groups": np.arange(3), "scoring": None, "n_jobs": 2, "baselines": {}}
    assert facts_of_call(given) == ["groups=groups", "n_jobs=2", "baselines={}"]
