"""Every method inside an estimator: fit, pickle, folder, plain peft, search, reuse of frozen layers."""

import pickle
import warnings

import numpy as np
import peft
import pytest
import torch
import transformers
from every_method import METHODS, tokens_of
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import plmlearn
from plmlearn import PLMClassifier, PLMRegressor
from plmlearn.adapters import AdaLoRA, Bottleneck, Frozen, LoRA, PrefixTuning, PromptTuning
from plmlearn.adapters.base import PeftMethod
from plmlearn.backbones import load_backbone

N = 24
FIT = {"epochs": 4, "batch_size": 4, "precision": "fp32", "device": "cpu", "random_state": 0, "verbose": 0}
MODELS = {"esm2": transformers.EsmModel, "ankh": transformers.T5EncoderModel, "esmc": transformers.EsmcModel}
names = pytest.mark.parametrize("name", [name for name in METHODS if name != "frozen"])


@pytest.fixture(scope="module")
def X(draw_proteins):
    return draw_proteins(N, seed=4, longest=14)


@pytest.fixture(scope="module")
def y(X):
    return np.array([sequence.count("A") + 0.1 * len(sequence) for sequence in X])


@pytest.fixture(scope="module")
def fitted(miniature, X, y):
    """A regressor fitted with a method on an architecture; fitted once."""
    made: dict[tuple, PLMRegressor] = {}

    def fit(name: str, architecture: str) -> PLMRegressor:
        if (name, architecture) not in made:
            regressor = PLMRegressor(str(miniature(architecture)), adapter=clone(METHODS[name]), **FIT)
            made[name, architecture] = regressor.fit(X, y)
        return made[name, architecture]

    return fit


@names
@pytest.mark.parametrize("architecture", MODELS)
def test_pickle_and_folder_predict_the_same(name, architecture, fitted, X, tmp_path):
    """No backbone goes with them: only what was trained."""
    regressor = fitted(name, architecture)
    expected = regressor.predict(X)
    pickled = pickle.dumps(regressor)
    assert len(pickled) < 4 * regressor.n_trainable_parameters_ + 40_000
    for other in (pickle.loads(pickled), plmlearn.load(plmlearn.save(regressor, tmp_path))):
        np.testing.assert_array_equal(other.predict(X), expected)
        assert repr(other) == repr(regressor)


@names
@pytest.mark.parametrize("architecture", MODELS)
def test_proteins_one_by_one_give_what_all_give(name, architecture, fitted, X):
    regressor = fitted(name, architecture)
    alone = [regressor.predict([sequence])[0] for sequence in X[:6]]
    np.testing.assert_allclose(alone, regressor.predict(X)[:6], atol=1e-5)


@pytest.mark.parametrize("name", [n for n in METHODS if isinstance(METHODS[n], PeftMethod)])
@pytest.mark.parametrize("architecture", MODELS)
def test_plain_peft_reads_what_peft_has(name, architecture, fitted, miniature, X, tmp_path):
    """peft and transformers alone give the hidden states of the tuned backbone."""
    regressor = fitted(name, architecture)
    plmlearn.save(regressor, tmp_path)
    options = {"add_pooling_layer": False} if architecture == "esm2" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # VeRA's matrices are drawn again, and peft says so
        base = MODELS[architecture].from_pretrained(miniature(architecture), **options)
        model = peft.PeftModel.from_pretrained(base, tmp_path).eval()
    encoder = regressor._restored().module.eval().encoder
    for sequence in X[:3]:
        tokens = tokens_of(load_backbone(str(miniature(architecture))), [sequence])
        with torch.no_grad():
            ids = tokens.ids[None]
            found = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
            torch.testing.assert_close(found, encoder(tokens), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["LoRA, last", "VeRA", "AdaLoRA", "DoRA", "IA3, last"])
def test_tensors_of_the_adapter_are_kept_once(name, fitted, tmp_path):
    plmlearn.save(fitted(name, "esm2"), tmp_path)
    size = sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    assert size < 4 * fitted(name, "esm2").n_trainable_parameters_ + 20_000


@names
def test_a_fit_learns(name, fitted):
    history = fitted(name, "esm2").history_
    assert history[-1]["train_loss"] < history[0]["train_loss"]


@pytest.mark.parametrize(
    "name", ["LoRA, last", "DoRA", "AdaLoRA, last", "prefix, last", "prompt, last", "prompt, top"]
)
@pytest.mark.parametrize("architecture", MODELS)
def test_layers_below_are_computed_once_and_give_the_same(name, architecture, fitted, X, empty_cache):
    """From the store, and anew."""
    regressor = pickle.loads(pickle.dumps(fitted(name, architecture)))
    first = regressor.predict(X)
    model = regressor._restored().module
    assert model.encoder.trunk_depth == METHODS[name].first_trained_layer(3) > 0
    np.testing.assert_array_equal(regressor.predict(X), first)
    empty_cache.clear()
    np.testing.assert_array_equal(regressor.predict(X), first)


def test_a_search_over_methods_and_their_settings(miniature, X, y):
    search = GridSearchCV(
        PLMRegressor(str(miniature("esm2")), **(FIT | {"epochs": 1})),
        [
            {"adapter": [LoRA()], "adapter__rank": [1, 2]},
            {"adapter": [PrefixTuning(), PromptTuning()], "adapter__n_tokens": [1, 3]},
            {"adapter": [Bottleneck(size=2), Frozen()]},
        ],
        cv=2,
    ).fit(X, y)
    assert len(search.cv_results_["params"]) == 8
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.adapter is not None


def test_saving_what_a_search_has_set(miniature, X, y, tmp_path):
    """Ranks out of numpy, and patterns, survive a folder."""
    adapter = LoRA(rank=np.int64(2), rank_pattern={"key": 1, "0.value": 3}, alpha_pattern={"key": 2.5})
    classifier = PLMClassifier(str(miniature("esm2")), adapter=adapter, **FIT).fit(X, y > np.median(y))
    loaded = plmlearn.load(plmlearn.save(classifier, tmp_path))
    np.testing.assert_array_equal(loaded.predict_proba(X), classifier.predict_proba(X))
    assert loaded.adapter.rank_pattern == adapter.rank_pattern


def test_early_stopping_restores_an_adalora_of_the_best_epoch(miniature, X, y):
    regressor = PLMRegressor(
        str(miniature("esm2")),
        adapter=AdaLoRA(rank=1, initial_rank=2),
        early_stopping=True,
        validation_fraction=0.25,
        **FIT,
    ).fit(X, y)
    expected = regressor.predict(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(regressor)).predict(X), expected)


@pytest.mark.parametrize("name", ["LoRA, all", "VeRA", "AdaLoRA", "prefix", "prompt, all", "bottleneck"])
def test_methods_on_quantized_weights_survive_a_pickle(name, miniature, X, y):
    regressor = PLMRegressor(
        str(miniature("esm2")),
        adapter=clone(METHODS[name]),
        quantization="int8",
        gradient_checkpointing=True,
        **FIT,
    ).fit(X, y)
    expected = regressor.predict(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(regressor)).predict(X), expected)
