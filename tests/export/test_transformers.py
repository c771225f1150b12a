"""Exported folders, read by the lines of their own README in a process that cannot import plmlearn."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from plmlearn import (
    PLMClassifier,
    PLMEmbedder,
    PLMFrozenMLP,
    PLMFrozenMLPRegressor,
    PLMLoRAClassifier,
    PLMMaskedLM,
    PLMPairClassifier,
    PLMPairRegressor,
    PLMRegressor,
    PLMResidueClassifier,
    PLMResidueRegressor,
    PLMSignalPeptideClassifier,
    export_transformers,
)
from plmlearn.export import head as head_module

FAST = {"epochs": 1, "batch_size": 8, "precision": "fp32", "random_state": 0, "verbose": 0}
BLOCKED = """
import pathlib, re, sys
import numpy as np
sys.modules["plmlearn"] = None
for folder in sys.argv[1:]:
    page = pathlib.Path(folder, "README.md").read_text()
    code = re.search("```python\\n(.*?)```", page, re.DOTALL)[1]
    code = code.replace('folder = "."', f"folder = {folder!r}")
    given = pathlib.Path(folder, "sequences.txt").read_text().split()
    code = re.sub(r"(?m)^sequences = .*", f"sequences = {given!r}", code)
    sys.path.insert(0, folder)
    sys.modules.pop("load_head", None)
    names = {}
    exec(code, names)
    np.save(pathlib.Path(folder, "logits.npy"), names["logits"].numpy())
    if "path" in names:
        np.save(pathlib.Path(folder, "path.npy"), names["path"].numpy())
    sys.path.remove(folder)
"""


def protein(name, adapter="lora", y="classes", **parameters):
    """An estimator of proteins, as a function of its backbone, and the kind of its targets."""
    cls = PLMRegressor if y in ("values", "value") else PLMClassifier
    return name, lambda folder: cls(folder, adapter=adapter, **parameters, **FAST), y


def other(name, cls, y, **parameters):
    return name, lambda folder: cls(folder, **parameters), y


CLASS, APART = {"pooling": "cls", "head": "esm"}, {"pooling": "mean", "head": "mlp"}
CASES = {
    "esm-2-classes": (*protein("esm2", y="binary", **CLASS), "EsmForSequenceClassification"),
    "esm-labels": (*protein("esm2", "dora", y="labels", **CLASS), "EsmForSequenceClassification"),
    "esm-values": (*protein("esm2", y="values", **CLASS), "EsmForSequenceClassification"),
    "esm-full": (*protein("esm1b", "full_fine_tuning", **CLASS), "EsmForSequenceClassification"),
    "esmc": (*protein("esmc", "ia3", **CLASS), "EsmcForSequenceClassification"),
    "bert": (*protein("bert", **CLASS), "BertForSequenceClassification"),
    "esmc-cut": (*protein("esmc", n_layers=2, **CLASS), "EsmcForSequenceClassification"),
    "cut": (*protein("esm2", n_layers=2, **CLASS), "EsmForSequenceClassification"),
    "esm-mean": (*protein("esm2", y="binary", **APART), "EsmModel"),
    **{
        f"{name}-mean": (*protein(name, **APART), of_class)
        for name, of_class in {
            **{"bert": "BertModel", "saprot": "EsmModel"},
            **dict.fromkeys(("prostt5", "prostt5#3di", "ankh3"), "T5EncoderModel"),
        }.items()
    },
    "esm-max": (*protein("esm2", pooling="max", head="linear", standardize=False), "EsmModel"),
    "esm-hidden": (*protein("esm2", head_hidden=5, **CLASS), "EsmModel"),
    "esm-attention": (*protein("esm2", y="labels", pooling="attention", head="relu"), "EsmModel"),
    "t5-light": (*protein("prott5", y="value", pooling="light_attention"), "T5EncoderModel"),
    "residues-linear": (
        *other("esm2", PLMResidueClassifier, "residues", head="linear", **FAST),
        "EsmForTokenClassification",
    ),
    "residues-t5": (
        *other("prostt5", PLMResidueClassifier, "residues", head="linear", **FAST),
        "T5ForTokenClassification",
    ),
    "residues-bert": (
        *other("bert", PLMResidueClassifier, "residues", head="linear", **FAST),
        "BertForTokenClassification",
    ),
    "residues-esmc": (
        *other("esmc", PLMResidueRegressor, "residue-values", head="linear", **FAST),
        "EsmcForTokenClassification",
    ),
    "residues-cnn": (*other("ankh", PLMResidueClassifier, "residues", head="cnn", **FAST), "T5EncoderModel"),
    "residues-light": (
        *other("esm2", PLMResidueRegressor, "residue-values", head="light_attention", **FAST),
        "EsmModel",
    ),
    **{
        f"pairs-{combine}": (
            *other("esm2", PLMPairClassifier, "pairs", combine=combine, head="mlp", **FAST),
            "EsmModel",
        )
        for combine in ("mean", "symmetric", "concat", "cross_attention")
    },
    "pairs-values": (*other("bert", PLMPairRegressor, "pair-values", pooling="cls", **FAST), "BertModel"),
    "crf": (
        *other("esm2", PLMResidueClassifier, "paths", head="crf", constraints="infer", **FAST),
        "EsmModel",
    ),
    "crf-t5": (*other("prott5", PLMResidueClassifier, "paths", head="crf", **FAST), "T5EncoderModel"),
    "signal-peptides": (*other("esm2", PLMSignalPeptideClassifier, "signals", **FAST), "EsmModel"),
    "perceptron": (
        *other("esm2", PLMFrozenMLP, "binary", hidden_layer_sizes=(8,), max_iter=5, random_state=0),
        "EsmModel",
    ),
    "perceptron-values": (
        *other(
            "esm2",
            PLMFrozenMLPRegressor,
            "values",
            activation="tanh",
            hidden_layer_sizes=(8,),
            max_iter=5,
            random_state=0,
        ),
        "EsmModel",
    ),
    "embedder": (*other("esm2", PLMEmbedder, "nothing", pooling="max"), "EsmModel"),
}


@pytest.fixture(scope="module")
def X(draw_proteins):
    """Every letter that is read is among them."""
    return [*draw_proteins(11, seed=3, shortest=6, longest=30), "XMUBKZXXOAWX"]


def targets(kind, X):
    rng = np.random.default_rng(1)
    made = {
        "binary": lambda: np.arange(len(X)) % 2,
        "classes": lambda: np.array(["a", "b", "c"])[np.arange(len(X)) % 3],
        "labels": lambda: np.eye(3, dtype=int)[np.arange(len(X)) % 3],
        "value": lambda: 100 + 10 * rng.random(len(X)),
        "values": lambda: [100, -3] + [10, 2] * rng.random((len(X), 2)),
        "pairs": lambda: np.arange(len(X)) % 2,
        "pair-values": lambda: 100 + 10 * rng.random(len(X)),
        "paths": lambda: ["".join(sorted(rng.choice(list("HEC"), len(x)))) for x in X],
        "signals": lambda: np.array(["SP", "NO_SP", "TAT"])[np.arange(len(X)) % 3],
        "residues": lambda: ["".join(rng.choice(list("HEC"), len(x))) for x in X],
        "residue-values": lambda: [50 + 9 * rng.random(len(x)) for x in X],
        "nothing": lambda: None,
    }
    return made[kind]()


def pairs_of(X):
    """The first half with the second."""
    return list(zip(X[: len(X) // 2], X[len(X) // 2 :]))


@pytest.fixture(scope="module")
def exported(X, miniature, tmp_path_factory):
    """Every case, fitted, exported, and run in one process without plmlearn."""
    home, fitted = tmp_path_factory.mktemp("exported"), {}
    for name, (backbone, make, kind, _) in CASES.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of perceptrons with few iterations
            rows = pairs_of(X) if kind.startswith("pair") else X
            folder, _, states = backbone.partition("#")
            place = str(miniature(folder)) + "#3di" * bool(states)
            fitted[name] = make(place).fit(rows, targets(kind, rows))
        export_transformers(fitted[name], home / name)
        (home / name / "sequences.txt").write_text(" ".join(X))
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    folders = [str(home / name) for name in CASES]
    run = [sys.executable, "-c", BLOCKED, *folders]
    subprocess.run(run, check=True, env=environment)
    return home, fitted


@pytest.mark.parametrize("name", CASES)
def test_transformers_alone_predicts_the_same(exported, name, X):
    home, fitted = exported
    model, kind = fitted[name], CASES[name][2]
    logits = np.load(home / name / "logits.npy")
    if kind == "nothing":
        expected, found = model.set_params(precision="fp32").transform(X), logits
    elif kind == "signals":
        of_type = [[label.split()[0] == kind for kind in model.classes_] for label in labels_in(home / name)]
        expected, found = model.predict_proba(X), softmax(logits[:, 1].astype(float), axis=1) @ of_type
    elif kind in ("residues", "paths", "residue-values"):
        start = 0 if CASES[name][0] == "ankh" else int(CASES[name][0] != "prott5")
        rows = [row[start : start + len(x)].astype(float) for row, x in zip(logits, X)]
        if kind != "residue-values":
            model.set_params(predict_output="proba")
            rows = [softmax(row, axis=1) for row in rows]
        found = np.concatenate(rows).reshape(sum(map(len, X)), -1)
        expected = np.concatenate(list(model.predict(X))).reshape(found.shape)
    elif kind == "pairs":
        expected, found = model.predict_proba(pairs_of(X)), softmax(logits.astype(float), axis=1)
    elif kind == "pair-values":
        expected = model.predict(pairs_of(X))
        expected, found = expected / expected.std(), logits[:, 0] / expected.std()
    elif kind in ("value", "values"):
        expected, found = model.predict(X), logits.reshape(len(X), -1)[:, : 2 if kind == "values" else 1]
        expected = expected.reshape(found.shape)
        # In units of the targets' deviation: the numbers themselves have seven digits.
        expected, found = expected / expected.std(0), found / expected.std(0)
    else:
        expected = model.predict_proba(X)
        found = expit(logits) if kind == "labels" else softmax(logits.astype(float), axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


def labels_in(folder):
    return json.loads((folder / "head.json").read_text())["labels"]


@pytest.mark.parametrize("name, start", [("crf", 1), ("crf-t5", 0)])
def test_the_best_path_is_that_of_the_estimator(exported, name, start, X):
    home, fitted = exported
    labels, paths = labels_in(home / name), np.load(home / name / "path.npy")
    found = ["".join(labels[i] for i in path[start : start + len(x)]) for path, x in zip(paths, X)]
    assert found == fitted[name].set_params(predict_output="label").predict(X).tolist()


def test_paths_of_signal_peptides_are_those_of_the_estimator_where_the_types_agree(exported, X):
    home, fitted = exported
    labels, paths = labels_in(home / "signal-peptides"), np.load(home / "signal-peptides" / "path.npy")
    states = [[labels[i].split() for i in path[1 : 1 + len(x)]] for path, x in zip(paths, X)]
    model = fitted["signal-peptides"].set_params(precision="fp32")
    expected = zip(model.predict(X), model.predict_regions(X, detailed=True), strict=True)
    same = [(path, regions) for path, (kind, regions) in zip(states, expected) if path[0][0] == kind]
    assert len(same) > 1
    assert all("".join(region for _, region in path) == regions for path, regions in same)


def test_heads_beside_the_encoder_bring_only_what_they_need(exported):
    loader = (exported[0] / "esm-mean" / "load_head.py").read_text()
    assert "def mean(" in loader
    assert "def crf(" not in loader
    assert len(loader.splitlines()) < 75


@pytest.mark.parametrize("name", CASES)
def test_transformers_classes_are_used_where_they_have_the_head(exported, name):
    folder, of_class = exported[0] / name, CASES[name][3]
    assert json.loads((folder / "config.json").read_text())["architectures"] == [of_class]
    assert (folder / "load_head.py").exists() == (folder / "head.safetensors").exists()
    assert (folder / "load_head.py").exists() == of_class.endswith("Model")


def test_labels_stand_in_the_configuration(exported):
    config = json.loads((exported[0] / "esm-2-classes" / "config.json").read_text())
    assert config["id2label"] == {"0": "0", "1": "1"}
    assert config["problem_type"] == "single_label_classification"
    assert json.loads((exported[0] / "esm-mean" / "head.json").read_text())["labels"] == ["0", "1"]


@pytest.mark.parametrize(
    "make, reason",
    [
        (lambda f: PLMClassifier(f, quantization="int8", **FAST), "quantization='int8'"),
        (lambda f: PLMClassifier(f, layer_mixing=True, **FAST), "layer_mixing=True"),
        (lambda f: PLMClassifier(f, final_norm=False, n_layers=2, **FAST), "final_norm=False"),
        (lambda f: PLMClassifier(f, adapter="bottleneck", **FAST), "adds to the architecture"),
    ],
)
def test_what_transformers_cannot_compute_is_refused(make, reason, esm_folder, X, tmp_path):
    fitted = make(str(esm_folder)).fit(X[:4], [0, 1, 0, 1])
    with pytest.raises(ValueError, match=reason):
        export_transformers(fitted, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_odd_number_of_partners_is_refused(exported):
    head = head_module.load_head(exported[0] / "pairs-mean")
    with pytest.raises(RuntimeError, match="unflatten"):
        head(torch.zeros(3, 5, 32), torch.ones(3, 5))


def test_only_fitted_estimators_of_the_package_are_exported(tmp_path):
    with pytest.raises(NotFittedError):
        export_transformers(PLMLoRAClassifier("mini"), tmp_path)
    with pytest.raises(TypeError, match="save_pretrained"):
        export_transformers(PLMMaskedLM("mini"), tmp_path)


def test_the_loader_stands_alone():
    source = Path(head_module.__file__).read_text()
    assert "from ." not in source
    assert "import plmlearn" not in source
