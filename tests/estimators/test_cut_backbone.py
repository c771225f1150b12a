"""Every estimator on a backbone cut after a layer: as on a checkpoint that has no more layers."""

import pickle

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from transformers import AutoTokenizer, EsmModel

from plmlearn import (
    PLMClassifier,
    PLMEmbedder,
    PLMFrozenMLP,
    PLMFrozenMLPRegressor,
    PLMLoRAClassifier,
    PLMLoRARegressor,
    PLMPairClassifier,
    PLMPairRegressor,
    PLMRegressor,
    PLMResidueClassifier,
    PLMResidueRegressor,
    PLMSignalPeptideClassifier,
    load,
    save,
)
from plmlearn.adapters import Frozen, FullFineTuning, LoRA
from plmlearn.backbones import BackboneWeightsError, load_backbone, unload_backbones
from plmlearn.training import features

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FAST = {"epochs": 1, "batch_size": 4, "precision": "fp32", "random_state": 0, "verbose": 0}
MLP = {"hidden_layer_sizes": (4,), "max_iter": 3, "solver": "lbfgs", "precision": "fp32", "random_state": 0}
LAST = FAST | {"adapter": LoRA(last_n_layers=1)}
N = 10
LABELS, VALUES = np.array(["a", "b"])[np.arange(N) % 2], np.arange(N) / 3.0
SIGNALS = np.array(["SP", "NO_SP"]).repeat(5)

KINDS = {
    "LoRA": (PLMLoRAClassifier, FAST | {"last_n_layers": 1}, "labels"),
    "LoRA regressor": (PLMLoRARegressor, FAST, "values"),
    "full": (PLMClassifier, FAST | {"adapter": FullFineTuning()}, "labels"),
    "frozen": (PLMRegressor, FAST | {"adapter": Frozen()}, "values"),
    "mixed": (PLMRegressor, LAST | {"layer_mixing": True}, "values"),
    "pair": (PLMPairClassifier, LAST, "pair labels"),
    "pair regressor": (PLMPairRegressor, LAST, "pair values"),
    "residue": (PLMResidueClassifier, LAST, "letters"),
    "residue regressor": (PLMResidueRegressor, LAST, "lengths"),
    "signal peptides": (PLMSignalPeptideClassifier, LAST, "signals"),
    "MLP": (PLMFrozenMLP, MLP, "labels"),
    "MLP regressor": (PLMFrozenMLPRegressor, MLP, "values"),
    "embedder": (PLMEmbedder, {"precision": "fp32"}, "nothing"),
}


@pytest.fixture(scope="module")
def data(draw_proteins):
    X = draw_proteins(N, seed=8)
    pairs = [(one, X[i - 1]) for i, one in enumerate(X)]
    return {
        "labels": (X, LABELS),
        "values": (X, VALUES),
        "pair labels": (pairs, LABELS),
        "pair values": (pairs, VALUES),
        "letters": (X, ["".join("HE"[i % 2] for i in range(len(s))) for s in X]),
        "lengths": (X, [np.arange(len(s)) / 7 for s in X]),
        "signals": (["MKRLLLLLLLLLLAQA" + s for s in X[:5]] + ["M" + s for s in X[5:]], SIGNALS),
        "nothing": (X, None),
    }


@pytest.fixture(scope="module")
def two_layers(esm_folder, tmp_path_factory) -> str:
    """The small ESM without its third layer, as another tool would write it."""
    folder = tmp_path_factory.mktemp("two_layers")
    model = EsmModel.from_pretrained(esm_folder, add_pooling_layer=False)
    model.config.num_hidden_layers = 2
    del model.encoder.layer[2:]
    del model.contact_head
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(esm_folder).save_pretrained(folder)
    return str(folder)


def results(estimator, X) -> list[np.ndarray]:
    if isinstance(estimator, PLMEmbedder):
        return [estimator.transform(X)]
    return [np.asarray(estimator.predict(X)), np.asarray(estimator.transform(X))]


def assert_same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for one, other in zip(found, expected, strict=True):
        for row, expected_row in zip(one, other, strict=True):
            np.testing.assert_array_equal(row, expected_row)


@pytest.mark.parametrize("final_norm", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_as_a_checkpoint_without_the_layers_above(
    kind, final_norm, data, esm_folder, two_layers, tmp_path
):
    """The same bits, before and after pickle and a saved folder; no layer above is ever loaded."""
    cls, settings, of = KINDS[kind]
    X, y = data[of]
    unload_backbones()
    cut = cls(str(esm_folder), n_layers=2, final_norm=final_norm, **settings).fit(X, y)
    whole = cls(two_layers, final_norm=final_norm, **settings).fit(X, y)
    expected = results(whole, X)
    assert_same(results(cut, X), expected)
    if hasattr(cut, "n_parameters_"):
        counts = [(e.n_parameters_, e.n_trainable_parameters_) for e in (cut, whole)]
        n_contacts = 4  # of the contact head, which has a weight for every head of a layer, never used
        assert counts[0][0] - counts[1][0] == n_contacts
        assert counts[0][1] == counts[1][1]
    save(cut, tmp_path / "model")
    unload_backbones()
    for again in (pickle.loads(pickle.dumps(cut)), load(tmp_path / "model")):
        assert (again.n_layers, again.final_norm) == (2, final_norm)
        assert_same(results(again, X), expected)
    held = load_backbone(str(esm_folder), n_layers=1)
    assert sum(p.numel() for p in held.model.parameters()) < whole_size(esm_folder)


def whole_size(folder) -> int:
    return sum(p.numel() for p in EsmModel.from_pretrained(folder, add_pooling_layer=False).parameters())


def test_a_search_over_layers(esm_folder, data):
    X, y = data["labels"]
    search = GridSearchCV(
        PLMLoRAClassifier(str(esm_folder), **FAST), {"n_layers": [1, 3], "final_norm": [True, False]}, cv=2
    ).fit(X, y)
    assert search.best_estimator_.predict(X).shape == (N,)


def test_setting_the_layer_afterwards_does_not_change_a_fit(esm_folder, data):
    X, y = data["values"]
    model = PLMRegressor(str(esm_folder), n_layers=1, **LAST).fit(X, y)
    expected = model.predict(X)
    np.testing.assert_array_equal(model.set_params(n_layers=3, final_norm=False).predict(X), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), expected)


def test_an_embedder_whose_layer_was_set_afterwards_is_refused(esm_folder, data):
    embedder = PLMEmbedder(str(esm_folder), n_layers=1).fit(data["labels"][0])
    with pytest.raises(BackboneWeightsError, match="fitted on"):
        embedder.set_params(n_layers=2).transform(data["labels"][0])


@pytest.fixture
def passes(monkeypatch):
    """Sequences that went through the encoder, by class of the part that ran."""
    calls = []

    def listen(part, batch, compute):
        calls.append((type(part).__name__, len(batch.samples)))
        return compute(part, batch)

    for cls in (features.FrozenPart, features.EveryLayer):
        compute = cls._compute
        monkeypatch.setattr(
            cls, "_compute", lambda part, batch, compute=compute: listen(part, batch, compute)
        )
    return calls


def test_layers_from_one_pass_are_found_by_embedders_of_each(esm_folder, data, empty_cache, passes):
    X = data["labels"][0]
    folder = str(esm_folder)
    PLMEmbedder(folder, n_layers=2).fit_transform(X[:4])
    assert sum(n for _, n in passes) == 4
    every = PLMEmbedder(folder).fit(X).transform_layers(X)
    assert sum(n for _, n in passes) == 4 + N
    empty_cache.clear(disk=False)  # found on disk too
    for n_layers, expected in enumerate(every, start=1):
        np.testing.assert_array_equal(PLMEmbedder(folder, n_layers=n_layers).fit_transform(X), expected)
    np.testing.assert_array_equal(PLMEmbedder(folder, n_layers=2).fit(X).transform_layers(X), every[:2])
    assert sum(n for _, n in passes) == 4 + N
