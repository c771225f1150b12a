"""Fitted estimators as pickles and as folders: small, complete, readable by others, never executed."""

import copy
import io
import json
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import peft
import pytest
import safetensors.torch
import torch
from saved_folders import as_format_1, edited, peft_blocks, read_document, write_document
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from transformers import AutoTokenizer, EsmModel

import plmlearn
from plmlearn import (
    PLMClassifier,
    PLMEmbedder,
    PLMFrozenMLP,
    PLMFrozenMLPRegressor,
    PLMLoRAClassifier,
    PLMLoRARegressor,
    PLMMaskedLM,
    PLMRegressor,
    SavedModelError,
)
from plmlearn.adapters import Frozen, FullFineTuning, LoRA, PeftAdapter, names
from plmlearn.estimators.parameters import adapter_of
from plmlearn.nn.packing import Encoded, Ragged

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FAST = {"epochs": 1, "batch_size": 8, "precision": "fp32", "random_state": 0, "verbose": 0}
LOHA = PeftAdapter(peft.LoHaConfig(r=2, rank_pattern={"query": 3}), target_modules=("query", "value"))
SMALL = {"hidden_layer_sizes": (5,), "max_iter": 5, "random_state": 0}
N = 16


def text(n):
    return np.array(["no", "yes"])[np.arange(n) % 2]


def three(n):
    return np.array([10, 20, 30])[np.arange(n) % 3]


def several(n):
    return np.random.default_rng(0).integers(0, 2, (n, 3))


def numbers(n):
    return np.random.default_rng(0).normal(7, 2, n)


def table(n):
    return np.random.default_rng(0).normal(7, 2, (n, 3))


KINDS = {
    "LoRA": (PLMLoRAClassifier, {"rank": 2, "class_weight": {"no": 1.0, "yes": 2.0}, **FAST}, text),
    "LoRA of the last layer": (PLMLoRAClassifier, {"last_n_layers": 1, "head": "mlp", **FAST}, three),
    "LoRA everywhere": (PLMLoRARegressor, {"target_modules": "all", "pooling": "attention", **FAST}, table),
    "adapter=LoRA": (PLMClassifier, {"adapter": LoRA(rank=2, target_modules=["query"]), **FAST}, several),
    "peft": (PLMClassifier, {"adapter": LOHA, **FAST}, three),
    "full": (PLMClassifier, {"adapter": FullFineTuning(last_n_layers=1), **FAST}, text),
    "frozen": (PLMRegressor, {"adapter": Frozen(), "head": "linear", **FAST}, numbers),
    "booleans": (PLMClassifier, {"adapter": Frozen(), **FAST}, lambda n: np.arange(n) % 2 == 0),
    "objects": (PLMClassifier, {"adapter": Frozen(), **FAST}, lambda n: text(n).astype(object)),
    "MLP": (PLMFrozenMLP, SMALL, text),
    "MLP, several labels": (PLMFrozenMLP, SMALL, several),
    "MLP, early stopping": (PLMFrozenMLP, {**SMALL, "early_stopping": True}, three),
    "MLP regressor": (PLMFrozenMLPRegressor, {**SMALL, "solver": "lbfgs"}, table),
    "embedder": (PLMEmbedder, {"pooling": "max", "n_layers": 1}, lambda n: None),
}


@pytest.fixture(scope="module")
def X(draw_proteins):
    return draw_proteins(N, seed=6)


@pytest.fixture(scope="module")
def fitted(esm_folder, X):
    """One fitted estimator of every kind."""
    return {
        name: cls(str(esm_folder), **parameters).fit(X, make_y(N))
        for name, (cls, parameters, make_y) in KINDS.items()
    }


def results(estimator, X) -> dict[str, np.ndarray]:
    methods = ("predict", "predict_proba", "transform")
    return {method: getattr(estimator, method)(X) for method in methods if hasattr(estimator, method)}


def assert_same(one, other, X) -> None:
    """Equal parameters, predictions and learned attributes."""
    assert type(one) is type(other)
    assert repr(one) == repr(other)
    expected = results(one, X)
    for method, value in results(other, X).items():
        np.testing.assert_array_equal(value, expected[method])
        assert value.dtype == expected[method].dtype
    for name in (
        "history_",
        "best_epoch_",
        "best_score_",
        "n_trainable_parameters_",
        "backbone_fingerprint_",
    ):
        assert getattr(one, name, None) == getattr(other, name, None)
    if hasattr(one, "classes_"):
        np.testing.assert_array_equal(one.classes_, other.classes_)
        assert one.classes_.dtype == other.classes_.dtype


# -- round trips --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_pickle_joblib_and_folder_predict_the_same(name, fitted, X, tmp_path):
    """Saving keeps configuration, labels, best weights and head, not the adapter alone."""
    estimator = fitted[name]
    assert_same(estimator, pickle.loads(pickle.dumps(estimator)), X)
    joblib.dump(estimator, tmp_path / "file.joblib")
    assert_same(estimator, joblib.load(tmp_path / "file.joblib"), X)
    plmlearn.save(estimator, tmp_path / "folder")
    assert_same(estimator, plmlearn.load(tmp_path / "folder"), X)


@pytest.mark.parametrize("name", KINDS)
def test_a_folder_holds_no_pickle(name, fitted, tmp_path):
    """JSON and safetensors only: reading a folder cannot run code."""
    folder = plmlearn.save(fitted[name], tmp_path / "made" / "here")
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md"}
    for path in files:
        content = (folder / path).read_bytes()
        if path.suffix == ".safetensors":
            safetensors.torch.load(content)
        elif path.suffix == ".json":
            json.loads(content)


@pytest.mark.parametrize("name", ["LoRA", "full", "frozen", "MLP"])
def test_a_loaded_estimator_can_be_saved_and_fitted_again(name, fitted, X, tmp_path):
    loaded = plmlearn.load(plmlearn.save(fitted[name], tmp_path / "one"))
    again = plmlearn.load(plmlearn.save(loaded, tmp_path / "two"))
    assert_same(fitted[name], again, X)
    refitted, expected = results(again.fit(X, KINDS[name][2](N)), X), results(fitted[name], X)
    for method in expected:
        np.testing.assert_array_equal(refitted[method], expected[method])


def test_saving_over_an_earlier_save_leaves_nothing_of_it(fitted, X, tmp_path):
    plmlearn.save(fitted["LoRA"], tmp_path)
    assert (tmp_path / "adapter_config.json").exists()
    plmlearn.save(fitted["full"], tmp_path)
    assert not list(tmp_path.glob("adapter*"))
    assert_same(fitted["full"], plmlearn.load(tmp_path), X)
    plmlearn.save(fitted["LoRA"], tmp_path)
    plmlearn.save(fitted["MLP"], tmp_path)
    assert not list(tmp_path.glob("adapter*"))
    assert_same(fitted["MLP"], plmlearn.load(tmp_path), X)


def test_what_set_params_changed_after_fit_is_not_saved_into_the_model(esm_folder, X, tmp_path):
    classifier = PLMLoRAClassifier(str(esm_folder), rank=2, **FAST).fit(X, text(N))
    expected = classifier.predict_proba(X)
    plmlearn.save(classifier.set_params(rank=5, alpha=1, target_modules="all"), tmp_path)
    loaded = plmlearn.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)
    assert loaded.rank == 5


def test_warm_start_goes_on_after_loading(esm_folder, X, tmp_path):
    settings = FAST | {"weight_decay": 0.0, "warm_start": True}
    classifier = PLMLoRAClassifier(str(esm_folder), **settings).fit(X, text(N))
    loaded = plmlearn.load(plmlearn.save(classifier, tmp_path)).set_params(lr=1e-12, head_lr=1e-12)
    expected = classifier.predict_proba(X)
    np.testing.assert_allclose(loaded.fit(X, text(N)).predict_proba(X), expected, atol=1e-6)


# -- size ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def eight_million(make_esm, tmp_path_factory) -> str:
    """A folder with the architecture of ESM2-8M and random weights."""
    architecture = {
        "hidden_size": 320,
        "num_hidden_layers": 6,
        "num_attention_heads": 20,
        "intermediate_size": 1280,
        "max_position_embeddings": 1026,
    }
    return str(make_esm(tmp_path_factory.mktemp("esm2-8m"), **architecture))


@pytest.mark.parametrize("matrices, most", [(("key", "value"), 1_000_000), ("all", None)], ids=str)
def test_a_pickle_holds_what_was_trained_and_no_backbone(matrices, most, eight_million, X, tmp_path):
    """A rank-8 LoRA on key and value of 8 million parameters is a few hundred kB; both predict elsewhere."""
    classifier = PLMLoRAClassifier(eight_million, rank=8, target_modules=matrices, **FAST).fit(X, text(N))
    trained = 4 * classifier.n_trainable_parameters_
    assert classifier.n_parameters_ > 7_000_000
    file = tmp_path / "classifier.pickle"
    file.write_bytes(pickle.dumps(classifier))
    assert file.stat().st_size <= min(most or trained + 50_000, trained + 50_000)
    with_joblib = io.BytesIO()
    joblib.dump(classifier, with_joblib)
    assert len(with_joblib.getvalue()) <= trained + 50_000
    folder = plmlearn.save(classifier, tmp_path / "folder")
    assert sum(path.stat().st_size for path in folder.iterdir()) <= trained + 50_000
    code = (
        "import pickle, sys, numpy, plmlearn; out, file, folder, *X = sys.argv[1:];"
        "estimators = pickle.load(open(file, 'rb')), plmlearn.load(folder);"
        "numpy.save(out, [estimator.predict_proba(X) for estimator in estimators])"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "out.npy", file, folder, *X], check=True)
    for found in np.load(tmp_path / "out.npy"):
        np.testing.assert_allclose(found, classifier.predict_proba(X), atol=1e-5)


@pytest.mark.data
def test_that_is_the_architecture_of_the_real_one(eight_million, data_home):
    folder = data_home / "esm2_8m_config"
    if not folder.is_dir():
        pytest.skip("no configuration of ESM2-8M in the data home")
    real, own = (json.loads((Path(f) / "config.json").read_text()) for f in (folder, eight_million))
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
    assert [own[name] for name in sizes] == [real[name] for name in sizes]


# -- peft ---------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("name", ["LoRA", "LoRA of the last layer", "adapter=LoRA", "LoRA everywhere"])
def test_plain_peft_reads_the_adapter(name, fitted, esm_folder, X, tmp_path):
    """peft and transformers alone give the same embeddings of the tuned backbone."""
    folder = plmlearn.save(fitted[name], tmp_path)
    base = EsmModel.from_pretrained(esm_folder, add_pooling_layer=False)
    model = peft.PeftModel.from_pretrained(base, folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(esm_folder)
    pooling = fitted[name]._restored().module.pooling
    for row, sequence in zip(fitted[name].transform(X), X, strict=True):
        with torch.no_grad():
            state = model(**tokenizer(sequence, return_tensors="pt")).last_hidden_state[0]
            pooled = pooling(Encoded(Ragged(state[1:-1], [len(sequence)]), state[:1]))
        np.testing.assert_allclose(pooled[0], row, atol=1e-4)


@pytest.mark.parametrize("given", [None, "dora"])
def test_the_adapter_is_kept_in_full(given, esm_folder, X, tmp_path, monkeypatch):
    """What a name, or None, stands for may change between versions: a saved model has it from its fit."""
    classifier = PLMClassifier(esm_folder, adapter=given, **FAST).fit(X, text(N))
    expected = classifier.predict_proba(X)
    plmlearn.save(classifier, tmp_path)
    other = partial(LoRA, rank=3)
    monkeypatch.setattr(PLMClassifier, "_default_adapter", other)
    monkeypatch.setitem(names._METHODS, "dora", other)
    assert adapter_of(classifier).rank == 3
    assert plmlearn.load(tmp_path).adapter == given
    np.testing.assert_array_equal(plmlearn.load(tmp_path).predict_proba(X), expected)


def test_tensors_of_the_adapter_are_kept_once(fitted, tmp_path):
    folder = plmlearn.save(fitted["LoRA"], tmp_path)
    adapter = safetensors.torch.load_file(folder / "adapter_model.safetensors")
    assert len(adapter) == 2 * 6 * 3  # A and B of six matrices in three layers
    arrays = safetensors.torch.load_file(folder / "arrays.safetensors")
    rest = safetensors.torch.load(arrays["estimator._trained"].numpy().tobytes())
    assert not any("lora" in key for key in rest)


# -- what cannot be saved or loaded -------------------------------------------------------------


def test_unfitted_estimators_are_not_saved(tmp_path):
    with pytest.raises(NotFittedError):
        plmlearn.save(PLMLoRAClassifier("mini"), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_only_estimators_of_the_package_are_saved(tmp_path):
    class Mine(PLMEmbedder):
        pass

    for other in (LogisticRegression(), Mine("mini").fit(["MKV"]), {"a": 1}):
        with pytest.raises(TypeError, match="use pickle"):
            plmlearn.save(other, tmp_path / "none")


def test_parameters_that_a_folder_cannot_hold_are_named(esm_folder, X, tmp_path):
    classifier = PLMClassifier(str(esm_folder), adapter=Frozen(), **FAST).fit(X, text(N))
    classifier.set_params(scoring=print)
    with pytest.raises(TypeError, match=r"estimator\.scoring is a builtin_function.*set_params"):
        plmlearn.save(classifier, tmp_path / "none")
    assert not list(tmp_path.rglob("*.json"))


def test_folders_that_are_none_of_ours(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no estimator\.json"):
        plmlearn.load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no estimator\.json"):
        plmlearn.load(tmp_path / "nowhere")


def test_a_newer_format_is_refused(fitted, tmp_path):
    folder = edited(plmlearn.save(fitted["embedder"], tmp_path), lambda d: d.update(format=99))
    with pytest.raises(ValueError, match=r"in format 99.*Update plmlearn"):
        plmlearn.load(folder)


@pytest.mark.parametrize("name", ["os.system", "Popen", "builtins.eval", "BaseEstimator"])
def test_only_listed_classes_are_built(name, fitted, tmp_path):
    folder = plmlearn.save(fitted["embedder"], tmp_path)
    edited(folder, lambda document: document["estimator"].update(object=name))
    with pytest.raises(ValueError, match="no class that plmlearn builds from files"):
        plmlearn.load(folder)


def test_a_module_that_a_folder_names_is_never_imported(esm_folder, X, tmp_path, monkeypatch):
    """megatron_core would be imported by peft, whatever package of that name lies about."""
    (tmp_path / "megatron").mkdir()
    (tmp_path / "megatron" / "evil.py").write_text("open('executed', 'w').write('it was')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    config = peft.LoraConfig(r=2, target_modules=["query"])
    classifier = PLMClassifier(str(esm_folder), adapter=PeftAdapter(config), **FAST).fit(X, text(N))
    folder = plmlearn.save(classifier, tmp_path / "megatron" / "saved")
    document = read_document(folder)
    blocks = peft_blocks(document)
    assert len(blocks) == 2  # the parameter, and the architecture of the fit
    for block in blocks:
        block += [["megatron_config", {"dict": [["x", 1]]}], ["megatron_core", "megatron.evil"]]
    write_document(folder, document)
    with pytest.raises(SavedModelError, match=r"estimator\.json.*adapter\.config\.megatron_config is"):
        plmlearn.load(folder).predict(X)
    assert not (tmp_path / "executed").exists()
    assert "megatron.evil" not in sys.modules


@pytest.mark.filterwarnings("ignore:.*should not be instantiated")
@pytest.mark.parametrize("name", ["LoRA", "MLP", "embedder"])
def test_no_folder_starts_a_compiler(name, fitted, X, tmp_path, graphs):
    """Whoever loads it may: ``graphs`` then holds what was compiled."""
    estimator = copy.copy(fitted[name]).set_params(compile=True)
    folder = plmlearn.save(estimator, tmp_path)
    assert state(read_document(folder))["compile"] is True
    with plmlearn.cache.disabled():
        loaded = plmlearn.load(folder)
        loaded.transform(X)
        assert (loaded.compile, graphs) == (False, [])
        loaded.set_params(compile=True).transform(X)
    assert graphs


def test_folders_from_before_the_first_release_are_refused(fitted, tmp_path):
    """Their fingerprints leave out the configuration, so no backbone would fit them."""
    folder = as_format_1(plmlearn.save(fitted["embedder"], tmp_path))
    with pytest.raises(SavedModelError, match=r"before the first release.*Fit and save the model again"):
        plmlearn.load(folder)


def test_the_home_folder_is_found(fitted, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert plmlearn.save(fitted["embedder"], "~/model") == tmp_path / "model"
    assert isinstance(plmlearn.load(Path("~/model")), PLMEmbedder)


def state(document, *names):
    """The state of the estimator, or of one of its parts."""
    found = document["estimator"]["state"]
    for name in names:
        found = found[name]["state"]
    return found


def architecture(document, name, value, *, key=None) -> None:
    """Change a value of the fit's architecture, or its name."""
    for pair in state(document)["_architecture"]["dict"]:
        if pair[0] == name:
            pair[:] = [key or name, value]


def classes(document, items, dtype) -> None:
    state(document, "_target")["classes"] = {"items": items, "dtype": dtype, "shape": [len(items)]}


def nested():
    """Too deep for ``decode`` and not for JSON, whatever the limit is by now: compilers raise it."""
    value: dict = {"tuple": []}
    for _ in range(sys.getrecursionlimit() * 34 // 100):
        value = {"tuple": [value]}
    return value


# By what is told: which estimator, what it is told by, and what the refusal says.
LIES = {
    "no estimator": ("LoRA", lambda d: d.update(estimator={"dict": []}), "is a dict; expected one of plml"),
    "a part": ("adapter=LoRA", lambda d: d.update(estimator=state(d)["adapter"]), "is a LoRA; expected one"),
    "nothing": ("LoRA", lambda d: d.pop("estimator"), "is a NoneType; expected one of plmlearn"),
    "nothing trained": ("LoRA", lambda d: state(d).pop("_trained"), "_trained is missing; expected bytes"),
    "text for tensors": ("LoRA", lambda d: state(d).update(_trained="x"), "_trained is 'x'; expected bytes"),
    "no target": ("LoRA", lambda d: state(d).pop("_target"), "_target is missing; expected ClassTarget or M"),
    "no such target": ("LoRA", lambda d: state(d).update(_target=3), "_target is 3; expected ClassTarget or"),
    "one class": ("LoRA", lambda d: classes(d, ["no"], "<U3"), "1-D array of two or more labels"),
    "letters": ("LoRA", lambda d: classes(d, ["a", "b"], "<U999999999"), "expected the items of an array"),
    "cut letters": ("LoRA", lambda d: classes(d, ["aa", "b"], "<U1"), "expected the items of an array"),
    "objects": ("LoRA", lambda d: classes(d, [{}, {}], "|O"), "expected the items of an array"),
    "void": ("LoRA", lambda d: classes(d, [1, 2], "|V8"), "expected the items of an array"),
    "a length": ("LoRA", lambda d: state(d).update(max_length=-1), "'max_length'.*Got -1"),
    "a flag": ("LoRA", lambda d: state(d).update(max_length=True), "'max_length'.*Got True"),
    "a backbone": ("LoRA", lambda d: state(d).update(backbone=3), "'backbone'.*Got 3"),
    "a rank": ("LoRA", lambda d: architecture(d, "rank", 10**9), r"_architecture\.rank is 1000000000"),
    "a head": ("LoRA", lambda d: architecture(d, "head_hidden", 10**9), "head_hidden is 1000000000"),
    "a name": ("LoRA", lambda d: architecture(d, "head", 1, key="predict"), "_architecture has .'predict'."),
    "a compiler": (
        "LoRA",
        lambda d: architecture(d, "head", True, key="compile"),
        "_architecture has .'compil",
    ),
    "a method": ("LoRA", lambda d: state(d).update(predict="x"), r"estimator\.predict: no attribute of"),
    "an attribute": ("LoRA", lambda d: state(d).update(transform_all="x"), r"transform_all: no attribute of"),
    "a property": ("LoRA", lambda d: state(d).update(classes_=[1]), r"estimator\.classes_: no attribute of"),
    "an array": (
        "LoRA everywhere",
        lambda d: state(d, "_target")["mean"].update(array="nowhere"),
        "names the array 'nowhere', which arrays.safetensors lacks",
    ),
    "a shape": (
        "LoRA everywhere",
        lambda d: state(d, "_target")["mean"].update(shape=[5, 5]),
        r"_target\.mean is an array of float64, \(3,\); expected the shape \[5, 5\]",
    ),
    "a form": ("LoRA", lambda d: state(d).update(verbose={"code": "x"}), "verbose is .*stands for nothing"),
    "keys": (
        "LoRA",
        lambda d: state(d).update(history_={"dict": [[[], 1]]}),
        "expected one that can be hashed",
    ),
    "pairs": ("LoRA", lambda d: state(d).update(history_={"dict": [3]}), "expected the pairs of a dict"),
    "layers": ("MLP", lambda d: state(d, "mlp_").update(coefs_=[]), r"mlp_\.coefs_ has the shapes \[\]"),
    "features": ("MLP", lambda d: state(d, "scaler_").update(n_features_in_=5), "do not fit 5 features"),
    "a width": ("MLP", lambda d: state(d, "embedder_").update(n_features_out_=5), "do not fit together"),
    "a parameter": (
        "peft",
        lambda d: state(d, "adapter").pop("config"),
        r"adapter\.config is missing; PeftAdapter has no default",
    ),
    "a dropout": ("adapter=LoRA", lambda d: state(d, "adapter").update(dropout="all"), "float .*Got 'all'"),
    "tensors": ("LoRA", lambda d: d["adapter_names"].update(more="more"), "expected those of adapter_names"),
    "nesting": ("LoRA", lambda d: state(d).update(history_=nested()), "recursion"),
}


@pytest.mark.parametrize("kind, change, message", LIES.values(), ids=LIES.keys())
def test_a_folder_that_tells_what_no_fit_leaves_is_refused(kind, change, message, fitted, tmp_path):
    """Checksums that fit do not make it believable."""
    folder = edited(plmlearn.save(fitted[kind], tmp_path), change)
    with pytest.raises(SavedModelError, match=message) as raised:
        plmlearn.load(folder)
    assert str(folder) in str(raised.value)


def test_a_target_of_another_size_does_not_fit_the_tensors(fitted, X, tmp_path):
    target = {"object": "MultilabelTarget", "state": {"n_labels": 3}}
    folder = edited(plmlearn.save(fitted["LoRA"], tmp_path), lambda d: state(d).update(_target=target))
    with pytest.raises(ValueError, match="learned tensors do not fit"):
        plmlearn.load(folder).predict(X)


def with_tensor(folder, name, change):
    """A folder one of whose trained tensors ``change`` has changed, with checksums that fit."""
    path = folder / "arrays.safetensors"
    arrays = safetensors.torch.load_file(path)
    tensors = safetensors.torch.load(arrays["estimator._trained"].numpy().tobytes())
    tensors[name] = change(tensors[name])
    trained = bytearray(safetensors.torch.save(tensors))
    arrays["estimator._trained"] = torch.frombuffer(trained, dtype=torch.uint8)
    safetensors.torch.save_file(arrays, path)
    return write_document(folder, read_document(folder))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda tensor: tensor.fill_(torch.nan), "head.1.bias has values that are not finite"),
        (lambda tensor: tensor.fill_(-torch.inf), "head.1.bias has values that are not finite"),
        (lambda tensor: tensor.double(), "head.1.bias is of type float64; expected float32"),
        (lambda tensor: tensor.bfloat16(), "holds no tensors: 'BF16'"),
    ],
)
def test_tensors_that_no_fit_leaves_are_named(change, message, fitted, tmp_path):
    folder = with_tensor(plmlearn.save(fitted["full"], tmp_path), "head.1.bias", change)
    with pytest.raises(SavedModelError, match=message):
        plmlearn.load(folder)


@pytest.mark.parametrize("shape", [(1,), (7,), (1, 32), ()])
def test_a_tensor_of_another_shape_is_not_stretched(shape, fitted, X, tmp_path):
    folder = with_tensor(
        plmlearn.save(fitted["full"], tmp_path), "head.1.bias", lambda tensor: tensor.new_ones(shape)
    )
    with pytest.raises(ValueError, match=r"head\.1\.bias is torch\.float32 of shape .*expected .*\(32,\)"):
        plmlearn.load(folder).predict(X)


def test_a_model_without_backbone_is_no_larger_than_what_was_trained(X, tmp_path):
    model = PLMMaskedLM(n_layers=1, width=16, n_heads=2, max_steps=1, precision="fp32", verbose=0)
    folder = plmlearn.save(model.set_params(validation_fraction=None).fit(X), tmp_path)
    for name, value in {"n_layers": 60_000, "width": 60_000, "ffn_width": 60_000}.items():
        plmlearn.save(model, folder)
        edited(folder, lambda d, name=name, value=value: architecture(d, name, value))
        with pytest.raises(SavedModelError, match=r"have more weights than the \d+ saved"):
            plmlearn.load(folder)


def test_a_model_without_backbone_is_told_of_none(X, tmp_path):
    model = PLMMaskedLM(n_layers=1, width=16, n_heads=2, max_steps=1, validation_fraction=None, verbose=0)
    folder = plmlearn.save(model.fit(X), tmp_path)
    with pytest.raises(ValueError, match="This PLMMaskedLM has no backbone: leave out backbone='mini'"):
        plmlearn.load(folder, backbone="mini")


def test_a_parameter_that_fit_would_refuse_is_not_saved(fitted, tmp_path):
    embedder = PLMEmbedder(**fitted["embedder"].get_params()).fit(["MKV"]).set_params(max_length=0)
    with pytest.raises(SavedModelError, match="'max_length' parameter of PLMEmbedder"):
        plmlearn.save(embedder, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_what_is_not_read_from_files_is_pickled(esm_folder, X, tmp_path):
    """In memory, a configuration of peft is as free as peft is."""
    config = peft.LoraConfig(r=2, target_modules=r".*\.(query|value)")
    classifier = PLMClassifier(str(esm_folder), adapter=PeftAdapter(config), **FAST).fit(X, text(N))
    assert_same(classifier, pickle.loads(pickle.dumps(classifier)), X)
    with pytest.raises(SavedModelError, match=r"adapter\.config\.target_modules is .*no regular expression"):
        plmlearn.save(classifier, tmp_path)


def test_versions_are_written_down(fitted, tmp_path):
    document = json.loads((plmlearn.save(fitted["LoRA"], tmp_path) / "estimator.json").read_text())
    assert torch.__version__.startswith(document["versions"]["torch"])
    assert {"plmlearn", "torch", "transformers", "peft", "scikit-learn", "numpy"} <= set(document["versions"])


def test_a_backbone_folder_that_is_gone_is_named(make_esm, tmp_path, X):
    folder = make_esm(tmp_path / "backbone")
    classifier = PLMLoRAClassifier(str(folder), rank=2, **FAST).fit(X, text(N))
    pickled = pickle.dumps(classifier)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="backbone"):
        pickle.loads(pickled).predict(X)
