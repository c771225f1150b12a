"""Signal peptides: types are probabilities of chains, regions are best paths, sites follow from them."""

import pickle
import re
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.base import is_classifier
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.utils import estimator_checks

from plmlearn import PLMSignalPeptideClassifier, load, save
from plmlearn.adapters import Frozen, LoRA
from plmlearn.estimators.signal_paths import PathLoss, SignalPeptideModel, as_codes
from plmlearn.estimators.signal_states import (
    CHAINS,
    LETTERS,
    REGIONS,
    STATES,
    TYPES,
    allowed_states,
    transitions,
)
from plmlearn.metrics import cleavage_site
from plmlearn.nn.packing import Ragged

COMMON = {"batch_size": 8, "precision": "fp32", "random_state": 0, "verbose": 0}
OPTIONS = {"adapter": Frozen(), "epochs": 2, **COMMON}


def make_proteins(n: int, seed: int = 0) -> tuple[list[str], np.ndarray, list[str], np.ndarray]:
    """Sequences, types, labels and kingdoms: signal peptides as text books draw them."""
    rng = np.random.default_rng(seed)

    def draw(letters: str, size: int) -> str:
        return "".join(rng.choice(list(letters), size))

    X, types, labels = [], [], []
    for i in range(n):
        kind = ["NO_SP", "SP", "LIPO"][i % 3]
        tail = draw("DEKNQSTGP", int(rng.integers(15, 40)))
        if kind == "NO_SP":
            signal, label = "", ""
        else:
            ending = "AQA" if kind == "SP" else "LAG"
            signal = "M" + draw("KR", 3) + draw("LIVFA", int(rng.integers(9, 14))) + ending
            label = ("S" if kind == "SP" else "L") * len(signal)
            tail = ("" if kind == "SP" else "C") + tail
        X.append((signal or "M") + tail)
        labels.append(label + ("O" if signal else "I") * (len(X[-1]) - len(label)))
        types.append(kind)
    return X, np.array(types), labels, np.array([["EUKARYA", "POSITIVE", None][i % 3] for i in range(n)])


@pytest.fixture(scope="module")
def proteins():
    return make_proteins(30)


@pytest.fixture
def make(esm_folder):
    return lambda **options: PLMSignalPeptideClassifier(str(esm_folder), **{**OPTIONS, **options})


@pytest.fixture(scope="module")
def learned(proteins):
    X, y, regions, kingdom = proteins
    options = {**OPTIONS, "epochs": 15, "head_lr": 0.02}
    return PLMSignalPeptideClassifier("mini", **options).fit(X, y, regions=regions, kingdom=kingdom)


# -- the loss -----------------------------------------------------------------------------------


def test_loss_is_that_of_all_agreeing_paths_and_similarity_that_of_their_regions():
    """Both against a sum over every path of a short protein."""
    torch.manual_seed(0)
    model = SignalPeptideModel.__new__(SignalPeptideModel)
    torch.nn.Module.__init__(model)
    from plmlearn.nn.crf import LinearChainCRF
    from plmlearn.nn.residue_heads import StartBias

    model.crf, model.kingdoms = LinearChainCRF(len(STATES)).double(), StartBias(4, len(STATES)).double()
    kept = np.isin(TYPES, ["SP", "NO_SP"])
    model.crf.constrain(transitions(), kept & np.isin(REGIONS, list("nIO")), np.ones(len(STATES), dtype=bool))
    for parameter in (*model.crf.parameters(), *model.kingdoms.parameters()):
        torch.nn.init.normal_(parameter)
    sequence = "MKLVS"
    states = allowed_states(sequence, "SP", list("SSSSO"))
    emissions = torch.randn(5, len(STATES), dtype=torch.float64)
    targets = Ragged.of([as_codes(states, sequence, 2)])
    loss = PathLoss(model, 0.5)(Ragged(emissions, [5]), targets)

    biased = emissions.clone()
    biased[0] += 10 * model.kingdoms.bias[2]
    paths = [[s] for s in range(len(STATES)) if model.crf.allowed_starts[s]]
    for _ in range(4):
        paths = [
            [*p, s] for p in paths for s in range(len(STATES)) if model.crf.allowed_transitions[p[-1], s]
        ]
    scores = torch.stack([path_score(model.crf, biased, path) for path in paths])
    agrees = torch.tensor([all(states[t, s] for t, s in enumerate(path)) for path in paths])
    scores = scores.detach()
    expected = scores.logsumexp(0) - scores[agrees].logsumexp(0)
    probability = scores.softmax(0)
    composition = {}
    for region in "nhc":
        state = STATES.index(("SP", region))
        counts = dict.fromkeys(sequence, 0.0)
        for weight, path in zip(probability, paths, strict=True):
            for letter, s in zip(sequence, path, strict=True):
                counts[letter] += float(weight) * (s == state)
        composition[region] = np.array(list(counts.values()))
    similarity = np.mean([cosine(composition[a], composition[b]) for a, b in ("nh", "hc")])
    assert loss.item() == pytest.approx(float(expected) + 0.5 * similarity, rel=1e-5)


def path_score(crf, emissions, path):
    steps = sum(crf.transitions[a, b] for a, b in pairwise(path))
    return crf.starts[path[0]] + crf.ends[path[-1]] + steps + sum(emissions[t, s] for t, s in enumerate(path))


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


# -- predictions --------------------------------------------------------------------------------


def test_types_regions_and_sites_are_learned(learned):
    X, y, regions, kingdom = make_proteins(30, seed=5)
    assert learned.score(X, y) > 0.95
    sites = np.array([cleavage_site(row)[0] for row in regions])
    assert (learned.predict_cleavage_site(X, kingdom) == sites).mean() > 0.8


def test_predictions_agree_with_one_another(learned, proteins):
    X, _, _, kingdom = proteins
    types, proba = learned.predict(X, kingdom), learned.predict_proba(X, kingdom)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert (learned.classes_[proba.argmax(axis=1)] == types).all()
    found, detailed = learned.predict_regions(X, kingdom), learned.predict_regions(X, kingdom, detailed=True)
    follows, sites = transitions(), learned.predict_cleavage_site(X, kingdom)
    for sequence, kind, row, fine, site in zip(X, types, found, detailed, sites, strict=True):
        assert len(row) == len(fine) == len(sequence)
        path = [STATES.index((kind, region)) for region in fine]
        assert row == "".join(LETTERS[path])
        assert all(follows[a, b] for a, b in pairwise(path))
        signal = CHAINS[kind][0]
        assert site == (len(row) - len(row.lstrip(signal)) if signal else 0)


def test_type_probabilities_are_marginals_of_any_residue(learned, proteins):
    X, _, _, kingdom = proteins
    reading, outputs = learned._read(X, kingdom)
    for row, proba in zip(reading.states(outputs).rows, reading.probabilities(outputs), strict=True):
        of_type = row.numpy() @ (TYPES[:, None] == learned.classes_)
        np.testing.assert_allclose(of_type, np.tile(proba, (len(of_type), 1)), atol=1e-5)


@pytest.mark.parametrize("detailed", [False, True])
def test_region_probabilities(learned, proteins, detailed):
    probabilities, labels = learned.predict_region_proba(proteins[0], detailed=detailed)
    assert set(labels) == (set("nrxhclpCOMI") if detailed else set("SLTPOMI"))
    for row, sequence in zip(probabilities, proteins[0], strict=True):
        assert row.shape == (len(sequence), len(labels))
        np.testing.assert_allclose(row.sum(axis=1), 1, atol=1e-5)


def test_only_the_start_of_a_protein_matters(learned, proteins):
    X = [sequence + "W" * 200 for sequence in proteins[0]]
    cut = [sequence[:70] for sequence in X]
    np.testing.assert_array_equal(learned.predict_proba(X), learned.predict_proba(cut))
    assert [len(row) for row in learned.predict_regions(X)] == [70] * len(X)


def test_kingdoms_shift_types(make, proteins):
    """In the training data LIPO has no kingdom, NO_SP is of eukaryotes, SP of Gram-positive bacteria."""
    X, y, regions, kingdom = proteins
    classifier = make(head_lr=0.003).fit(X, y, regions=regions, kingdom=kingdom)

    def mean(name: str) -> dict[str, float]:
        logs = np.log(classifier.predict_proba(X, [name] * len(X)))
        return dict(zip(classifier.classes_, logs.mean(axis=0), strict=True))

    eukarya, positive = mean("EUKARYA"), mean("POSITIVE")
    assert eukarya["NO_SP"] - eukarya["SP"] > positive["NO_SP"] - positive["SP"] + 0.01
    unknown = classifier.predict_proba(X, [None] * len(X))
    np.testing.assert_array_equal(classifier.predict_proba(X), unknown)


def test_types_alone_are_enough_to_train(make, proteins):
    X, y, _, _ = proteins
    classifier = make().fit(X, y)
    assert classifier.predict_regions(X).shape == (30,)


def test_everything_is_trained(make, proteins):
    X, y, regions, kingdom = proteins
    classifier = make(adapter=LoRA(rank=2)).fit(X, y, regions=regions, kingdom=kingdom)
    tensors = dict(classifier._loaded.module.named_parameters())
    assert tensors["crf.transitions"].any()
    assert tensors["crf.starts"].any()
    assert tensors["kingdoms.bias"].any()
    assert all(t.requires_grad for name, t in tensors.items() if not name.startswith("encoder."))


def test_no_batch_matters(make, proteins):
    X, y, regions, _ = proteins
    classifier = make().fit(X, y, regions=regions)
    alone = np.concatenate([classifier.predict_proba([sequence]) for sequence in X])
    np.testing.assert_allclose(classifier.predict_proba(X), alone, atol=1e-5)
    cut = make(max_tokens=80).fit(X, y, regions=regions)
    np.testing.assert_allclose(cut.predict_proba(X), alone, atol=1e-4)


def test_pickle_and_folder(learned, proteins, tmp_path):
    X, _, _, kingdom = proteins
    for copy in (pickle.loads(pickle.dumps(learned)), load(save(learned, tmp_path))):
        np.testing.assert_array_equal(copy.predict_proba(X, kingdom), learned.predict_proba(X, kingdom))
        assert copy.predict_regions(X).tolist() == learned.predict_regions(X).tolist()


# -- scikit-learn -------------------------------------------------------------------------------


def test_it_is_a_classifier(make):
    assert is_classifier(make())
    for check in (
        "check_estimator_cloneable",
        "check_no_attributes_set_in_init",
        "check_get_params_invariance",
    ):
        getattr(estimator_checks, check)("PLMSignalPeptideClassifier", make())


def test_cross_validation_with_regions_and_search(make, proteins):
    X, y, regions, kingdom = proteins
    params = {"regions": regions, "kingdom": kingdom}
    assert np.isfinite(cross_val_score(make(), X, y, cv=3, params=params, error_score="raise")).all()
    proba = cross_val_predict(make(predict_output="proba"), X, y, cv=2, params=params)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    search = GridSearchCV(
        make(), {"head": ["linear", "cnn"]}, cv=2, scoring="matthews_corrcoef", error_score="raise"
    )
    assert search.fit(X, y, regions=regions).predict(X).shape == (30,)


def test_kingdoms_are_routed_to_fit_and_predict(make, proteins):
    X, y, regions, kingdom = proteins
    with sklearn.config_context(enable_metadata_routing=True):
        classifier = make().set_fit_request(regions=True, kingdom=True).set_predict_request(kingdom=True)
        params = {"regions": regions, "kingdom": kingdom}
        found = cross_val_predict(classifier, X, y, cv=2, params=params)
    assert found.shape == (30,)


def test_kingdoms_that_are_missing_or_none(make, proteins):
    X, y, _, kingdom = proteins
    expected = make().fit(X, y, kingdom=kingdom)._trained
    missing = pd.Series([np.nan if name is None else name for name in kingdom])
    assert make().fit(X, y, kingdom=missing)._trained == expected
    assert make().fit(X, y, kingdom=missing.astype("string"))._trained == expected
    for name in ("None", "nan", 3, ["EUKARYA"]):
        odd = np.empty(len(X), dtype=object)
        odd[0] = name
        with pytest.raises(ValueError, match=rf"kingdom has .*{re.escape(str(name)[1:-1])}.*; expected ARC"):
            make().fit(X, y, kingdom=odd.tolist() if isinstance(name, str) else odd)


@pytest.mark.parametrize("name", ["regions_val", "kingdom_val", "sample_weight_val"])
def test_what_belongs_to_a_validation_set_needs_one(make, proteins, name):
    X, y, regions, kingdom = proteins
    part = {"regions_val": regions, "kingdom_val": kingdom, "sample_weight_val": [1.0] * 30}[name]
    with pytest.raises(ValueError, match="X_val is None; a validation set is X_val and y_val together"):
        make().fit(X, y, regions=regions, **{name: part})


def test_validation_early_stopping_weights_and_scoring(make, proteins):
    X, y, regions, kingdom = proteins
    classifier = make(early_stopping=True, validation_fraction=0.3, scoring="matthews_corrcoef")
    classifier.fit(X, y, regions=regions, kingdom=kingdom, sample_weight=np.arange(30))
    assert -1 <= classifier.best_score_ <= 1
    given = {"X_val": X[:6], "y_val": y[:6], "regions_val": regions[:6], "kingdom_val": kingdom[:6]}
    lacking = {"X_val": X[:1], "y_val": y[:1], "regions_val": regions[:1]}  # no lipoprotein
    for weights, validation in (("balanced", given), ({"LIPO": 3.0}, lacking)):
        classifier = make(class_weight=weights).fit(X, y, regions=regions, **validation)
        assert np.isfinite(classifier.best_score_)
