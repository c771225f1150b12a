"""Embeddings against transformers, one protein at a time; each computed once and found again."""

import itertools

import numpy as np
import pytest
import sklearn
import torch
from transformers import AutoModel, AutoTokenizer

from plmlearn import PLMEmbedder
from plmlearn.estimators import embedder as embedder_module
from plmlearn.training import features

LAYERS = [None, 1, 2, 3]


@pytest.fixture(scope="module")
def X(draw_proteins):
    return draw_proteins(12, seed=5)


@pytest.fixture
def folder(esm_folder):
    return str(esm_folder)


@pytest.fixture(scope="module")
def hidden_states(esm_folder, X):
    """Every hidden state of every protein by transformers, (4, L + 2, D), encoded one by one."""
    tokenizer = AutoTokenizer.from_pretrained(esm_folder)
    model = AutoModel.from_pretrained(esm_folder, add_pooling_layer=False).eval()
    states = []
    for sequence in X:
        with torch.no_grad():
            output = model(**tokenizer(sequence, return_tensors="pt"), output_hidden_states=True)
        states.append(torch.cat(output.hidden_states).numpy())
    return states


POOL = {
    "mean": lambda state: state[1:-1].mean(axis=0),
    "max": lambda state: state[1:-1].max(axis=0),
    "cls": lambda state: state[0],
}


@pytest.mark.parametrize("pooling", POOL)
def test_embeddings_equal_those_of_transformers(pooling, folder, X, hidden_states):
    """Means are over residues alone: neither padding nor special tokens count."""
    embedded = PLMEmbedder(folder, pooling=pooling, precision="fp32").fit_transform(X)
    assert embedded.dtype == np.float32
    expected = [POOL[pooling](states[-1]) for states in hidden_states]
    np.testing.assert_allclose(embedded, expected, atol=1e-5)


@pytest.mark.parametrize("layer", LAYERS)
def test_layers_are_hidden_states(layer, folder, X, hidden_states):
    """transformers applies the final norm to the last one alone."""
    norm = layer in (None, 3)
    embedded = PLMEmbedder(folder, n_layers=layer, final_norm=norm, precision="fp32").fit_transform(X)
    expected = [POOL["mean"](states[-1 if layer is None else layer]) for states in hidden_states]
    np.testing.assert_allclose(embedded, expected, atol=1e-5)


@pytest.mark.parametrize("layer", [None, 1])
def test_residues_equal_those_of_transformers(layer, folder, X, hidden_states):
    settings = {"n_layers": layer, "final_norm": layer is None, "pooling": None}
    residues = PLMEmbedder(folder, precision="fp32", **settings).fit_transform(X)
    assert residues.dtype == object
    assert [r.shape for r in residues] == [(len(sequence), 32) for sequence in X]
    for found, states in zip(residues, hidden_states, strict=True):
        np.testing.assert_allclose(found, states[-1 if layer is None else layer][1:-1], atol=1e-5)


def test_residues_of_proteins_of_one_length_are_an_object_array(folder):
    residues = PLMEmbedder(folder, pooling=None).fit_transform(["MKV", "ACD"])
    assert (residues.dtype, residues.shape) == (object, (2,))


@pytest.mark.parametrize("max_tokens", [1, 50, 10_000])
def test_batches_do_not_matter(max_tokens, folder, X, empty_cache):
    """Not the token budget, not the order, not the neighbours."""
    expected = PLMEmbedder(folder, precision="fp32").fit_transform(X)
    empty_cache.clear()
    embedder = PLMEmbedder(folder, precision="fp32", max_tokens=max_tokens).fit(X)
    np.testing.assert_allclose(embedder.transform(X[::-1])[::-1], expected, atol=1e-5)


def test_duplicates_have_a_row_each(folder, X):
    embedded = PLMEmbedder(folder).fit_transform([X[0], X[1], X[0]])
    np.testing.assert_array_equal(embedded[0], embedded[2])


def test_embedding_does_not_depend_on_what_was_fitted(folder, X):
    """fit learns nothing."""
    one, other = (PLMEmbedder(folder).fit(rows).transform(X) for rows in (X[:1], X))
    np.testing.assert_array_equal(one, other)


@pytest.fixture
def encoded(monkeypatch):
    """Which distinct sequences went through the encoder, call by call."""
    calls = []
    run = features.FrozenPart.run

    def listen(part, chosen):
        calls.append(len(chosen))
        return run(part, chosen)

    monkeypatch.setattr(features.FrozenPart, "run", listen)
    return calls


def test_each_protein_is_embedded_once(folder, X, empty_cache, encoded):
    embedder = PLMEmbedder(folder).fit(X)
    first = embedder.transform(X[:8])
    second = embedder.transform([*X, *X])
    third = PLMEmbedder(folder).fit_transform(X[:8])
    assert sum(encoded) == len(X)
    np.testing.assert_array_equal(second[:8], first)
    np.testing.assert_array_equal(third, first)


@pytest.mark.parametrize("pooling", ["mean", None])
def test_many_sequences_are_embedded_in_several_goes(folder, X, empty_cache, encoded, monkeypatch, pooling):
    """Every row its own protein's, each distinct one once, however many are tokenised at a time."""
    expected = PLMEmbedder(folder, pooling=pooling).fit_transform(X)
    empty_cache.clear()
    encoded.clear()
    monkeypatch.setattr(embedder_module, "CHUNK", 3)
    rows = [0, 5, *range(len(X)), 5, 0]
    found = PLMEmbedder(folder, pooling=pooling).fit_transform([X[i] for i in rows])
    assert (sum(encoded), max(encoded)) == (len(X), 3 if pooling else len(X))
    for i, embedding_of_row in zip(rows, found):
        np.testing.assert_allclose(embedding_of_row, expected[i], atol=1e-5)


def test_embeddings_of_residues_cannot_spoil_the_cache(folder, X, empty_cache):
    residues = PLMEmbedder(folder, pooling=None).fit_transform(X)
    with pytest.raises(ValueError, match="read-only"):
        residues[0][:] = 0


def test_embeddings_are_found_on_disk(folder, X, empty_cache, encoded):
    first = PLMEmbedder(folder).fit_transform(X)
    empty_cache.clear(memory=True, disk=False)
    np.testing.assert_array_equal(PLMEmbedder(folder).fit_transform(X), first)
    assert sum(encoded) == len(X)


def test_embeddings_of_different_settings_are_not_mixed_up(folder, make_esm, tmp_path, X, empty_cache):
    """Other weights, layers, poolings and precisions have entries of their own."""
    other = str(make_esm(tmp_path / "other", seed=7))
    settings = itertools.product((folder, other), ("mean", "max", "cls"), (None, 1), ("fp32", "bf16"))
    embedders = [PLMEmbedder(b, pooling=p, n_layers=n, precision=x) for b, p, n, x in settings]
    first = [embedder.fit_transform(X) for embedder in embedders]
    for one, two in itertools.combinations(first, 2):
        assert np.abs(one - two).max() > 1e-6
    for embedder, embedded in zip(embedders, first, strict=True):
        np.testing.assert_array_equal(embedder.transform(X), embedded)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute:UserWarning")
@pytest.mark.parametrize("pooling", ["mean", None])
def test_compiled_layers_give_the_same_and_are_kept_apart(pooling, folder, X, empty_cache, encoded, graphs):
    settings = {"pooling": pooling, "precision": "fp32"}
    plain = PLMEmbedder(folder, **settings).fit_transform(X)
    assert not graphs
    compiled = PLMEmbedder(folder, compile=True, **settings).fit_transform(X)
    assert graphs
    assert sum(encoded) == 2 * len(X)
    for one, other in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_bfloat16_is_close(folder, X):
    exact = PLMEmbedder(folder, precision="fp32").fit_transform(X)
    rounded = PLMEmbedder(folder, precision="bf16").fit_transform(X)
    assert rounded.dtype == np.float32
    assert np.abs(rounded - exact).max() < 0.1 * np.abs(exact).max()


def test_long_proteins_are_cut_with_counts(folder, X):
    embedder = PLMEmbedder(folder, max_length=10, precision="fp32").fit(X)
    n_long = sum(len(sequence) > 10 for sequence in X)
    with pytest.warns(UserWarning, match=f"{n_long} of 12 sequences .* first 10 residues") as said:
        cut = embedder.transform(X)
    assert len(said) == 1
    np.testing.assert_allclose(cut, embedder.transform([sequence[:10] for sequence in X]), atol=1e-5)
    with pytest.raises(ValueError, match="max_length=10"):
        embedder.set_params(long_sequences="raise").transform(X)


def test_feature_names_follow_the_width(folder, X):
    embedder = PLMEmbedder(folder).fit(X)
    assert embedder.n_features_out_ == 32
    assert list(embedder.get_feature_names_out()) == [f"plmembedder{i}" for i in range(32)]


def test_arrays_of_residues_are_put_into_no_data_frame(folder, X):
    residues = PLMEmbedder(folder, pooling=None)
    assert not hasattr(residues, "set_output")
    assert not hasattr(residues, "get_feature_names_out")
    with sklearn.config_context(transform_output="pandas"):
        assert [rows.shape for rows in residues.fit_transform(X[:2])] == [(len(x), 32) for x in X[:2]]
        pooled = PLMEmbedder(folder).fit_transform(X[:2])
    assert list(pooled.columns[:2]) == ["plmembedder0", "plmembedder1"]
