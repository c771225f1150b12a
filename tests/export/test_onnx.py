"""ONNX files, run by ONNX Runtime from nothing but the file."""

import json
import sys

import numpy as np
import pytest
from scipy.special import softmax

from plmlearn import PLMClassifier, PLMRegressor, PLMResidueClassifier, export_onnx
from plmlearn.export import onnx
from plmlearn.export.plain import PlainModel

FAST = {"epochs": 1, "batch_size": 8, "precision": "fp32", "random_state": 0, "verbose": 0}


@pytest.fixture(scope="module")
def X(draw_proteins):
    """Every letter that is read is among them."""
    return [*draw_proteins(8, seed=5, shortest=4, longest=50), "XMUBKZXXOAWX"]


def served(file, sequences):
    """What ONNX Runtime makes of sequences, tokenised by the file's own metadata."""
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    said = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()}
    known = said["vocabulary"] | said["letters"]
    rows = [[known[t] for t in (*said["prefix"], *sequence, *said["suffix"])] for sequence in sequences]
    ids = np.full((len(rows), max(map(len, rows))), said["pad_token_id"], dtype=np.int64)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)], mask[i, : len(row)] = row, 1
    return session.run(None, {"input_ids": ids, "attention_mask": mask})[0], said


@pytest.mark.parametrize(
    "backbone, parameters",
    [
        ("esm2", {"pooling": "light_attention", "head": "mlp"}),
        ("esmc", {"pooling": "attention"}),
        ("bert", {"pooling": "max", "head": "linear"}),
        ("saprot", {}),
    ],
)
def test_onnx_runtime_predicts_the_same_for_any_batch_and_length(
    backbone, parameters, miniature, X, tmp_path
):
    pytest.importorskip("onnxscript")
    y = np.array(["a", "b", "c"])[np.arange(len(X)) % 3]
    classifier = PLMClassifier(str(miniature(backbone)), **parameters, **FAST).fit(X, y)
    file = export_onnx(classifier, tmp_path / "new" / "model.onnx")
    for some in (X, X[:1], X[2:4] * 5):
        logits, said = served(file, some)
        np.testing.assert_allclose(softmax(logits, axis=1), classifier.predict_proba(some), atol=1e-4)
    assert said["labels"] == ["a", "b", "c"]
    assert [path.name for path in file.parent.iterdir()] == ["model.onnx"]


@pytest.fixture(scope="module")
def regressor(esm_folder, X):
    return PLMRegressor(str(esm_folder), **FAST).fit(X, 100.0 + np.arange(len(X)))


@pytest.fixture(scope="module")
def program(regressor):
    """What torch's exporter makes of the regressor, which takes it some seconds."""
    pytest.importorskip("onnxscript")
    return onnx._traced(PlainModel.of(regressor))


def test_numbers_are_in_the_units_of_y(regressor, program, monkeypatch, X, tmp_path):
    monkeypatch.setattr(onnx, "_traced", lambda model: program)
    logits, _ = served(export_onnx(regressor, tmp_path / "values.onnx"), X)
    np.testing.assert_allclose(logits[:, 0], regressor.predict(X), atol=1e-4, rtol=1e-6)


def test_a_file_that_computes_something_else_is_removed(regressor, program, monkeypatch, tmp_path):
    monkeypatch.setattr(onnx, "_traced", lambda model: program)
    monkeypatch.setattr(onnx, "_EXTERNAL_FROM", 1)  # weights in a second file
    right = PlainModel.logits
    monkeypatch.setattr(PlainModel, "logits", lambda self, sequences: right(self, sequences) + 1)
    with pytest.raises(RuntimeError, match="was removed"):
        export_onnx(regressor, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_folder_in_its_place_is_told_before_anything_is_traced(regressor, monkeypatch, tmp_path):
    pytest.importorskip("onnxscript")
    monkeypatch.setattr(onnx, "_traced", None)
    with pytest.raises(IsADirectoryError, match="is a folder; expected the name of a file"):
        export_onnx(regressor, tmp_path)


def test_residues_have_their_outputs_at_their_tokens(esm_folder, X, tmp_path):
    pytest.importorskip("onnxscript")
    labels = ["HE" * (len(x) // 2) + "H" * (len(x) % 2) for x in X]
    residues = PLMResidueClassifier(str(esm_folder), head="cnn", predict_output="proba", **FAST)
    logits, said = served(export_onnx(residues.fit(X, labels), tmp_path / "residues.onnx"), X)
    start = len(said["prefix"])
    for row, expected, x in zip(logits, residues.predict(X), X):
        np.testing.assert_allclose(softmax(row[start : start + len(x)], axis=1), expected, atol=1e-4)


def test_t5_is_refused(miniature, X, tmp_path):
    pytest.importorskip("onnxscript")
    regressor = PLMRegressor(str(miniature("prott5")), **FAST).fit(X, np.arange(len(X)))
    with pytest.raises(ValueError, match=r"is a T5.*export_transformers"):
        export_onnx(regressor, tmp_path / "model.onnx")


def test_missing_packages_are_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"needs onnx\w*, .*plmlearn\[onnx\]"):
        export_onnx(PLMRegressor("mini"), tmp_path / "model.onnx")
