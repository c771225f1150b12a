"""Proteins longer than ``max_length``, read in windows: against transformers, window by window."""

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from plmlearn import PLMClassifier, PLMEmbedder, PLMFrozenMLP, cache
from plmlearn.adapters import Frozen, FullFineTuning, LoRA
from plmlearn.nn.packing import cut

SIZE = 16
ADAPTERS = {
    "frozen": Frozen(),
    "LoRA, last layer": LoRA(last_n_layers=1),
    "LoRA": LoRA(),
    "full, last layer": FullFineTuning(last_n_layers=1),
}


@pytest.fixture(scope="module")
def X(draw_proteins):
    """Some fit into one window, some take two, some many."""
    return [*draw_proteins(9, seed=3, shortest=5, longest=30), *draw_proteins(1, shortest=150, longest=160)]


@pytest.fixture(scope="module")
def y(X):
    return np.arange(len(X)) % 2


@pytest.fixture
def folder(esm_folder):
    return str(esm_folder)


@pytest.fixture(scope="module")
def by_hand(esm_folder, X):
    """(L, D) of each protein: transformers on each window by itself, blended residue by residue."""
    tokenizer = AutoTokenizer.from_pretrained(esm_folder)
    model = AutoModel.from_pretrained(esm_folder, add_pooling_layer=False).eval()
    proteins = []
    for sequence in X:
        n = len(sequence)
        total, height = np.zeros((n, 32)), np.zeros((n, 1))
        for first, last in cut(n, SIZE):
            with torch.no_grad():
                state = model(**tokenizer(sequence[first:last], return_tensors="pt")).last_hidden_state[0]
            for residue in range(first, last):
                left = n if first == 0 else residue - first + 1
                right = n if last == n else last - residue
                total[residue] += min(left, right) * state[1 + residue - first].numpy()
                height[residue] += min(left, right)
        proteins.append(total / height)
    return proteins


def embed(folder, X, **parameters):
    settings = {"precision": "fp32", "max_length": SIZE, "long_sequences": "window"}
    return PLMEmbedder(folder, **(settings | parameters)).fit_transform(X)


def test_residues_are_those_of_the_windows_by_hand(folder, X, by_hand):
    residues = embed(folder, X, pooling=None)
    assert [len(r) for r in residues] == [len(sequence) for sequence in X]
    for found, expected in zip(residues, by_hand, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("pooling, pool", [("mean", np.mean), ("max", np.max)])
def test_poolings_see_whole_proteins(folder, X, by_hand, pooling, pool):
    expected = [pool(protein, axis=0) for protein in by_hand]
    np.testing.assert_allclose(embed(folder, X, pooling=pooling), expected, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls", None])
@pytest.mark.parametrize("max_tokens", [1, 40, 10_000])
def test_one_by_one_and_any_budget_give_the_same(empty_cache, folder, X, pooling, max_tokens):
    with empty_cache.disabled():
        together = embed(folder, X, pooling=pooling, max_tokens=max_tokens)
        alone = [embed(folder, [sequence], pooling=pooling)[0] for sequence in X]
    for found, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_short_proteins_are_as_without_windows(folder, X):
    short = [sequence for sequence in X if len(sequence) <= SIZE]
    assert short
    np.testing.assert_array_equal(
        embed(folder, short), embed(folder, short, long_sequences="raise", pooling="mean")
    )


def test_windows_of_other_sizes_are_kept_apart(empty_cache, folder):
    """The windows "AAA", "AAA" may be those of 4 residues or of 5: what is kept is told apart."""
    for length in (20, 21, 22, 23):
        kept = embed(folder, ["A" * length], pooling=None)[0]
        with cache.disabled():
            again = embed(folder, ["A" * length], pooling=None)[0]
        assert len(kept) == length
        np.testing.assert_array_equal(kept, again)


def make(folder, adapter=None, **parameters):
    settings = {
        "adapter": adapter,
        "epochs": 2,
        "lr": 0.01,
        "precision": "fp32",
        "max_length": SIZE,
        "long_sequences": "window",
        "head_dropout": 0.0,
        "random_state": 0,
        "verbose": 0,
    }
    return PLMClassifier(folder, **(settings | parameters))


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=ADAPTERS)
@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_reuse_changes_nothing(empty_cache, folder, X, y, adapter, pooling):
    """Embeddings, or activations that enter the first trained layer, are kept with all windows."""
    reusing = make(folder, adapter, pooling=pooling).fit(X, y).predict_proba(X)
    with empty_cache.disabled():
        plain = make(folder, adapter, pooling=pooling).fit(X, y).predict_proba(X)
    np.testing.assert_allclose(reusing, plain, atol=1e-5)


@pytest.mark.parametrize("adapter", [LoRA(), LoRA(last_n_layers=1)])
def test_results_do_not_depend_on_the_token_budget(folder, X, y, adapter):
    expected = make(folder, adapter).fit(X, y).predict_proba(X)
    for max_tokens in (1, 64):
        found = make(folder, adapter, max_tokens=max_tokens).fit(X, y).predict_proba(X)
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_nothing_is_cut_and_nothing_is_warned_about(folder, X, y):
    """Warnings are errors here; with truncation the same proteins warn."""
    classifier = make(folder, LoRA(last_n_layers=1)).fit(X, y)
    assert classifier.n_truncated_ == 0
    tail = [sequence[:-1] + ("A" if sequence[-1] != "A" else "C") for sequence in X]
    assert np.abs(classifier.transform(tail) - classifier.transform(X)).max(axis=1).min() > 1e-6
    with pytest.warns(UserWarning, match=r"long_sequences='window'"):
        classifier.set_params(long_sequences="truncate").predict(X)


def test_a_frozen_perceptron_reads_windows_too(folder, X, y, by_hand):
    frozen = PLMFrozenMLP(folder, precision="fp32", max_length=SIZE, long_sequences="window", max_iter=5)
    frozen.set_params(solver="lbfgs", random_state=0)
    with pytest.warns(Warning, match="TOTAL NO|reached limit|converge"):
        frozen.fit(X, y)
    np.testing.assert_allclose(frozen.transform(X), [p.mean(axis=0) for p in by_hand], atol=1e-5)


def test_memory_of_attention_is_that_of_one_window(folder, X):
    windows = make(folder, LoRA()).memory_estimate(X)
    whole = make(folder, LoRA(), max_length=1022).memory_estimate(X)
    longest = max(map(len, X)) + 2
    assert whole.attention_workspace == longest**2 * whole.workspace_bytes
    assert windows.attention_workspace <= (SIZE + 2) ** 2 * windows.workspace_bytes


def test_forty_thousand_residues_keep_their_length(empty_cache):
    giant = "MKTAYIAKQR" * 4000
    with empty_cache.disabled():
        embedder = PLMEmbedder("mini", pooling=None, n_layers=1, max_length=100, long_sequences="window")
        assert embedder.fit_transform([giant])[0].shape == (40_000, 192)
