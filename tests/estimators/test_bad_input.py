"""Every mistake of a caller has its own clear error, and leaves an estimator as it was."""

import pickle

import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import plmlearn.backbones.loading
from plmlearn import (
    PLMClassifier,
    PLMEmbedder,
    PLMFrozenMLP,
    PLMFrozenMLPRegressor,
    PLMLoRAClassifier,
    PLMLoRARegressor,
    PLMSignalPeptideClassifier,
)
from plmlearn.adapters import FullFineTuning, LoRA
from plmlearn.backbones import BackboneNotFoundError, BackboneWeightsError
from plmlearn.sequences import SequenceError
from plmlearn.training.engine import TrainingDivergedError

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 12
FAST = {"epochs": 1, "batch_size": 8, "precision": "fp32", "random_state": 0, "verbose": 0}
LABELS = np.array(["no", "yes"])[np.arange(N) % 2]
VALUES = np.linspace(0, 1, N)


@pytest.fixture(scope="module")
def X(draw_proteins):
    return draw_proteins(N, seed=4)


@pytest.fixture(scope="module")
def classifier(esm_folder):
    return PLMLoRAClassifier(str(esm_folder), rank=2, **FAST)


def assert_refused(estimator, error, message, X, y, **metadata):
    """``fit`` raises, an unfitted estimator stays unfitted, and a fitted one predicts as before."""
    unfitted = clone(estimator)
    before = set(vars(unfitted))
    with pytest.raises(error, match=message):
        unfitted.fit(X, y, **metadata)
    assert set(vars(unfitted)) == before


def assert_refit_refused(estimator, error, message, X, y, *, good, X_good, **changes):
    fitted = clone(estimator).fit(X_good, good)
    expected = fitted.transform(X_good)
    state = {name: value for name, value in vars(fitted).items() if name.endswith("_")}
    with pytest.raises(error, match=message):
        fitted.set_params(**changes).fit(X, y)
    assert {name: value for name, value in vars(fitted).items() if name.endswith("_")} == state
    np.testing.assert_array_equal(fitted.transform(X_good), expected)


# -- X ------------------------------------------------------------------------------------------

BAD_X = {
    "nothing": (lambda X: [], ValueError, r"0 sample\(s\)"),
    "empty": (lambda X: [*X[:-1], ""], SequenceError, f"Sequence {N - 1} is empty"),
    "blank": (lambda X: [*X[:-1], " \n"], SequenceError, f"Sequence {N - 1} is empty"),
    "digits": (lambda X: ["MK7V", *X[1:]], SequenceError, "Sequence 0 has '7' at residue 3"),
    "J": (lambda X: ["MKJ", *X[1:]], SequenceError, "Sequence 0 has 'J' at residue 3.*invalid='replace'"),
    "gap": (lambda X: ["M-KV", *X[1:]], SequenceError, "Sequence 0 has '-' at residue 2"),
    "None": (lambda X: [X[0], None, *X[2:]], SequenceError, "Sequence 1 is missing"),
    "nan": (lambda X: [X[0], np.nan, *X[2:]], SequenceError, "Sequence 1 is missing"),
    "bytes": (lambda X: [b"MKV", *X[1:]], SequenceError, "Sequence 0 is of type bytes.*decode"),
    "numbers": (lambda X: list(range(N)), SequenceError, "Sequence 0 is 0 of type int"),
    "two columns": (lambda X: np.array([X, X]).T, ValueError, r"shape \(12, 2\); expected \(n_sequences,\)"),
    "pairs": (lambda X: list(zip(X, X)), SequenceError, "Sequence 0 is a tuple.*pair estimator"),
    "one string": (lambda X: X[0], ValueError, "got one string"),
    "a dict": (lambda X: dict(enumerate(X)), TypeError, "got dict"),
}


@pytest.mark.parametrize("spoil, error, message", BAD_X.values(), ids=BAD_X.keys())
@pytest.mark.parametrize(
    "cls", [PLMLoRAClassifier, PLMLoRARegressor, PLMFrozenMLP, PLMFrozenMLPRegressor, PLMEmbedder]
)
def test_bad_sequences(cls, spoil, error, message, esm_folder, X):
    estimator = cls(str(esm_folder))
    y = VALUES if "Regressor" in cls.__name__ else LABELS
    assert_refused(estimator, error, message, spoil(X), y)


@pytest.mark.parametrize("spoil, error, message", BAD_X.values(), ids=BAD_X.keys())
def test_bad_sequences_to_predict(spoil, error, message, fitted, X):
    for method in (fitted.predict, fitted.predict_proba, fitted.transform):
        with pytest.raises(error, match=message):
            method(spoil(X))


@pytest.fixture(scope="module")
def fitted(classifier, X):
    return clone(classifier).fit(X, LABELS)


def test_all_bad_rows_are_named_at_once(classifier, X):
    with pytest.raises(SequenceError, match=r"(?s)Sequence 0 .*Sequence 2 .*Sequence 4 ") as caught:
        clone(classifier).fit(["MJ", X[0], "", X[1], None, *X[5:]], LABELS)
    assert caught.value.rows == [0, 2, 4]


def test_letters_that_are_no_residues_are_read_as_x_on_request(fitted, X):
    lenient = clone(fitted).set_params(invalid="replace").fit(X, LABELS)
    np.testing.assert_allclose(lenient.predict_proba(["MK7JV"]), lenient.predict_proba(["MKXXV"]), atol=1e-6)


# -- y and what goes with it --------------------------------------------------------------------

BAD_LABELS = {
    "too few": (lambda y: y[1:], "X has 12 proteins and y has 11 rows"),
    "too many": (lambda y: [*y, "yes"], "X has 12 proteins and y has 13 rows"),
    "none": (lambda y: None, "y is None"),
    "one class": (lambda y: ["yes"] * N, "one class only, 'yes'"),
    "nan": (lambda y: [np.nan, *np.arange(N - 1) % 2], "missing .* in 1 row: 0"),
    "None": (lambda y: [None, *y[1:]], "missing .* in 1 row: 0"),
    "nan among text": (lambda y: [*y[1:].tolist(), np.nan], "missing .* in 1 row: 11"),
    "ragged": (
        lambda y: [["no"], *[["no", "yes"]] * (N - 1)],
        "lists or sets .*MultiLabelBinarizer",
    ),
    "sets": (lambda y: [{"no"}, *[{"no", "yes"}] * (N - 1)], "lists or sets .*MultiLabelBinarizer"),
    "pairs of text": (lambda y: [("no", "yes")] * N, "lists or sets .*MultiLabelBinarizer"),
    "numbers of labels": (lambda y: [[0, 2], [1, 3]] * (N // 2), "indicator of 0 and 1.*MultiLabelBinarizer"),
    "numbers": (lambda y: VALUES, "For numbers use a regressor"),
    "not 0 and 1": (lambda y: np.ones((N, 2), dtype=int) + 1, "indicator of 0 and 1"),
}


@pytest.mark.parametrize("spoil, message", BAD_LABELS.values(), ids=BAD_LABELS.keys())
def test_bad_labels(spoil, message, classifier, X):
    assert_refused(classifier, ValueError, message, X, spoil(LABELS))


BAD_VALUES = {
    "nan": ([np.nan, *VALUES[1:]], "missing .* in 1 row: 0"),
    "inf": ([*VALUES[1:], -np.inf], "infinite in 1 row: 11"),
    "text": (LABELS, "no number in 12 rows: 0, .*'no'.*takes floats"),
    "too few": (VALUES[:3], "X has 12 proteins and y has 3 rows"),
    "three dimensions": (np.ones((N, 2, 2)), r"expected \(n_proteins,\)"),
}


@pytest.mark.parametrize("y, message", BAD_VALUES.values(), ids=BAD_VALUES.keys())
@pytest.mark.parametrize("cls", [PLMLoRARegressor, PLMFrozenMLPRegressor])
def test_bad_values(cls, y, message, esm_folder, X):
    assert_refused(cls(str(esm_folder)), ValueError, message, X, y)


BAD_METADATA = {
    "short weights": ({"sample_weight": np.ones(3)}, "sample_weight"),
    "negative weights": ({"sample_weight": -np.ones(N)}, "[Nn]egative"),
    "nan weights": ({"sample_weight": np.full(N, np.nan)}, "missing in rows 0"),
    "zero weights": ({"sample_weight": np.zeros(N)}, "0 for every protein|non-zero"),
    "one class has weight": ({"sample_weight": np.arange(N) % 2}, "one class only, 'yes'"),
    "short groups": ({"groups": [1, 2]}, "X has 12 proteins and groups has 2 rows"),
    "X_val alone": ({"X_val": ["MKV"]}, "y_val is None.*together"),
    "y_val alone": ({"y_val": ["yes"]}, "X_val is None.*together"),
    "weights of no validation set": ({"sample_weight_val": [1.0]}, "X_val is None.*together"),
    "unequal validation set": ({"X_val": ["MKV"], "y_val": LABELS}, "X has 1 proteins and y has 12 rows"),
    "unseen label": ({"X_val": ["MKV"], "y_val": ["maybe"]}, r"not seen .*\['maybe'\]; known are \['no'"),
    "bad validation protein": ({"X_val": ["MJV"], "y_val": ["yes"]}, "has 'J' at residue 2"),
}


@pytest.mark.parametrize("metadata, message", BAD_METADATA.values(), ids=BAD_METADATA.keys())
def test_bad_metadata(metadata, message, classifier, X):
    assert_refused(classifier, ValueError, message, X, LABELS, **metadata)


def test_class_weights_of_several_labels_fit_their_number(classifier, X):
    y = np.column_stack([np.arange(N) % 2, np.arange(N) % 3 == 0]).astype(int)
    for weights, message in (
        ({0: 1, 1: 2}, "class_weight should be a list of dicts"),
        ([{0: 1, 1: 2}] * 3, "class_weight should match number of outputs"),
    ):
        bad = clone(classifier).set_params(class_weight=weights)
        assert_refused(bad, ValueError, message, X, y)


@pytest.mark.parametrize("weights", [(-1.0, 2.0), (0.0, 0.0), (np.nan, 1.0), (np.inf, 1.0)])
def test_class_weights_are_weights(weights, classifier, X):
    bad = clone(classifier).set_params(class_weight=dict(zip(("no", "yes"), weights, strict=True)))
    assert_refused(bad, ValueError, "class_weight=.* 0 or more", X, LABELS)
    named = dict(zip(("NO_SP", "SP"), weights, strict=True))
    signals = PLMSignalPeptideClassifier(classifier.backbone, class_weight=named, verbose=0)
    types = np.where(LABELS == "no", "NO_SP", "SP")
    assert_refused(signals, ValueError, "class_weight=.* 0 or more", X, types)


def test_class_weights_name_every_class(classifier, X):
    bad = clone(classifier).set_params(class_weight={"maybe": 2.0})
    assert_refused(bad, ValueError, "not in class_weight", X, LABELS)


def test_a_warm_start_keeps_its_classes(classifier, X):
    fitted = clone(classifier).set_params(warm_start=True).fit(X, LABELS)
    expected = fitted.predict_proba(X)
    with pytest.raises(ValueError, match=r"not seen .*'maybe'"):
        fitted.fit(X, np.where(LABELS == "no", "maybe", LABELS))
    np.testing.assert_array_equal(fitted.predict_proba(X), expected)


def test_perceptrons_take_one_vector_per_protein(esm_folder, X):
    bad = PLMFrozenMLP(str(esm_folder), pooling=None)
    assert_refused(bad, ValueError, "pooling=None gives one vector per residue.*'mean'", X, LABELS)


# -- parameters ---------------------------------------------------------------------------------

BAD_PARAMETERS = [
    ({"epochs": 0}, "'epochs'"),
    ({"epochs": 1.5}, "'epochs'"),
    ({"precision": "fp8"}, "'precision'.*'bf16'"),
    ({"pooling": "sum"}, "'pooling'.*'mean'"),
    ({"head": "huge"}, "'head'"),
    ({"head_hidden": 0}, "'head_hidden'"),
    ({"head_dropout": 1.0}, "'head_dropout'"),
    ({"lr": 0.0}, "'lr'"),
    ({"lr": "fast"}, "'lr'"),
    ({"weight_decay": -1}, "'weight_decay'"),
    ({"schedule": "stairs"}, "'schedule'"),
    ({"warmup": 2}, "'warmup'"),
    ({"batch_size": 0}, "'batch_size'"),
    ({"max_tokens": "all"}, "'max_tokens'"),
    ({"gradient_clip": 0}, "'gradient_clip'"),
    ({"validation_fraction": 1.0}, "'validation_fraction'"),
    ({"patience": 0}, "'patience'"),
    ({"scoring": 3}, "'scoring'"),
    ({"max_length": 10_001}, "'max_length'"),
    ({"long_sequences": "fold"}, "'long_sequences'"),
    ({"invalid": "drop"}, "'invalid'"),
    ({"class_weight": "heavy"}, "'class_weight'"),
    ({"random_state": "lucky"}, "'random_state'"),
    ({"backbone_init": "zero"}, "'backbone_init'"),
    ({"standardize": "yes"}, "'standardize'"),
    ({"rank": 0}, r"'rank' parameter of PLMLoRAClassifier must be an int in the range \[1, inf\). Got 0"),
    ({"rank": 2.5}, "'rank' parameter of PLMLoRAClassifier must be an int .*Got 2.5"),
    ({"alpha": 0}, r"'alpha' parameter of PLMLoRAClassifier must be a float in the range \(0.0, inf\)"),
    ({"lora_dropout": 1.0}, r"'lora_dropout' parameter of PLMLoRAClassifier must .* range \[0.0, 1.0\)"),
    ({"target_modules": ("key", "dense")}, "target_modules: got 'dense'; .* query, key"),
    ({"target_modules": ()}, "target_modules: got none"),
    ({"last_n_layers": 4}, "last_n_layers=4, but .* has 3 layers; pass at most 3"),
    (
        {"last_n_layers": 0},
        r"'last_n_layers' parameter of PLMLoRAClassifier must be an int in the range \[1, inf\) or None",
    ),
]


@pytest.mark.parametrize("parameters, message", BAD_PARAMETERS, ids=lambda value: str(value)[:40])
def test_bad_parameters(parameters, message, classifier, X):
    bad = clone(classifier).set_params(**parameters)
    assert_refused(bad, (ValueError, RuntimeError), message, X, LABELS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("cls", [PLMLoRAClassifier, PLMFrozenMLP, PLMEmbedder])
def test_without_gpu_there_is_no_cuda(cls, esm_folder, X):
    bad = cls(str(esm_folder), device="cuda")
    assert_refused(bad, ValueError, "torch sees no CUDA device; pass device='auto'", X, LABELS)


def test_an_unknown_scorer_is_refused(classifier, X):
    """By name, before a backbone is looked for, whether it would be used or not."""
    for early_stopping in (True, False):
        bad = clone(classifier).set_params(scoring="best", early_stopping=early_stopping, backbone="nowhere")
        assert_refused(bad, ValueError, "scoring='best' is not a scorer", X, LABELS)


@pytest.mark.parametrize("adapter", ["LoRA", LoRA, 8])
def test_adapters_are_configurations(adapter, esm_folder, X):
    assert_refused(
        PLMClassifier(str(esm_folder), adapter=adapter), (TypeError, ValueError), "adapter", X, LABELS
    )


def test_layers_that_the_backbone_lacks(esm_folder, X):
    bad = PLMClassifier(str(esm_folder), adapter=FullFineTuning(last_n_layers=9), **FAST)
    assert_refused(bad, ValueError, "last_n_layers=9, but .* has 3 layers", X, LABELS)
    for n_layers in (4, 0, -1, True):
        message = f"n_layers={n_layers}, but .* has 3 layers; pass a whole number from 1 to 3, or None"
        assert_refused(PLMEmbedder(str(esm_folder), n_layers=n_layers), ValueError, message, X, None)
        bad = PLMClassifier(str(esm_folder), n_layers=n_layers, **FAST)
        assert_refused(bad, ValueError, message, X, LABELS)
    bad = PLMClassifier(str(esm_folder), n_layers=2, adapter=LoRA(last_n_layers=3), **FAST)
    assert_refused(bad, ValueError, "last_n_layers=3, but .* has 2 layers", X, LABELS)
    assert_refused(PLMEmbedder(str(esm_folder), pooling="attention"), ValueError, "'pooling'", X, None)
    assert_refused(PLMFrozenMLP(str(esm_folder), precision="fp8"), ValueError, "'precision'", X, LABELS)


# -- backbones ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [PLMLoRAClassifier, PLMFrozenMLP, PLMEmbedder])
def test_unknown_backbones(cls, X):
    assert_refused(cls("esm2-8mm"), BackboneNotFoundError, "Did you mean 'esm2-8m'", X, LABELS)
    assert_refused(cls("/no/such/folder"), BackboneNotFoundError, "neither a folder", X, LABELS)


@pytest.mark.parametrize("cls", [PLMLoRAClassifier, PLMFrozenMLP, PLMEmbedder])
def test_without_network_the_way_out_is_named(cls, X, monkeypatch, tmp_path):

    def offline(*args, **kwargs):
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr(plmlearn.backbones.loading, "snapshot_download", offline)
    message = "looked for 'nobody/no-such-model'.*backbone='mini'"
    assert_refused(cls("nobody/no-such-model"), BackboneNotFoundError, message, X, LABELS)


def test_missing_weights_are_refused(make_esm, tmp_path, X):
    """A checkpoint that lacks a tensor raises; it does not go on with random numbers."""
    folder = make_esm(tmp_path / "incomplete")
    tensors = load_file(folder / "model.safetensors")
    lacking = next(name for name in tensors if name.endswith("layer.1.attention.self.query.weight"))
    del tensors[lacking]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    for cls in (PLMLoRAClassifier, PLMFrozenMLP, PLMEmbedder):
        message = "layer.1.attention.self.query.weight"
        assert_refused(cls(str(folder)), BackboneWeightsError, message, X, LABELS)
    (folder / "model.safetensors").unlink()
    assert_refused(PLMEmbedder(str(folder)), BackboneNotFoundError, "holds no .*safetensors", X, None)


def test_other_weights_under_the_same_name_are_refused(make_esm, tmp_path, X):
    """Predictions by other weights than those of the fit would be wrong."""
    folder = make_esm(tmp_path / "backbone", seed=0)
    fitted = PLMLoRAClassifier(str(folder), rank=2, **FAST).fit(X, LABELS)
    embedder = PLMEmbedder(str(folder)).fit(X)
    make_esm(folder, seed=1)
    for method in (pickle.loads(pickle.dumps(fitted)).predict, embedder.transform):
        with pytest.raises(BackboneWeightsError, match="provide the original"):
            method(X)


# -- earlier fits -------------------------------------------------------------------------------


def test_a_failed_fit_leaves_an_earlier_one_alone(classifier, X):
    good = {"good": LABELS, "X_good": X}
    assert_refit_refused(classifier, SequenceError, "empty", ["", *X[1:]], LABELS, **good)
    assert_refit_refused(classifier, ValueError, "one class", X, ["a"] * N, **good)
    assert_refit_refused(classifier, BackboneNotFoundError, "Unknown", X, LABELS, **good, backbone="none")
    assert_refit_refused(classifier, ValueError, "rank", X, LABELS, **good, rank=0)


def test_a_diverging_fit_is_named_and_leaves_an_earlier_one_alone(classifier, X):
    good = {"good": VALUES, "X_good": X}
    regressor = PLMLoRARegressor(classifier.backbone, **(FAST | {"epochs": 4}))
    wild = {"lr": 1e30, "head_lr": 1e30, "warmup": 0.0, "gradient_clip": None}
    assert_refit_refused(regressor, TrainingDivergedError, "(?i)smaller lr", X, VALUES, **good, **wild)


@pytest.mark.parametrize("cls", [PLMLoRAClassifier, PLMLoRARegressor, PLMFrozenMLP, PLMEmbedder])
def test_predicting_before_fit(cls, X):
    for method in ("predict", "predict_proba", "transform"):
        if hasattr(cls, method):
            with pytest.raises(NotFittedError, match=cls.__name__):
                getattr(cls("mini"), method)(X)
