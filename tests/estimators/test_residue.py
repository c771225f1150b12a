"""Estimators of residues: labels stay where they are, every road gives the same, scikit-learn works."""

import inspect
import pickle

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.metrics import make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    cross_val_predict,
    cross_val_score,
    learning_curve,
    train_test_split,
)
from sklearn.pipeline import make_pipeline

from plmlearn import PLMResidueClassifier, PLMResidueRegressor, cache, load, save
from plmlearn.adapters import Frozen, FullFineTuning, LoRA
from plmlearn.metrics import residue_accuracy

COMMON = {"epochs": 1, "batch_size": 4, "precision": "fp32", "random_state": 0, "verbose": 0}
LETTERS = "ACDEFGHIKLMNPQRSTVWY"
HEADS = ["linear", "mlp", "cnn", "light_attention", "crf"]


def label(sequence: str) -> str:
    """Helix for hydrophobic residues, strand for the others, nothing measured at glycines."""
    return "".join("-" if aa == "G" else "H" if aa in "AILMFVWC" else "E" for aa in sequence.upper())


def value(sequence: str) -> np.ndarray:
    return np.array([np.nan if aa == "G" else float(LETTERS.find(aa)) for aa in sequence.upper()])


@pytest.fixture(scope="module")
def X(draw_proteins):
    return draw_proteins(16, seed=4)


@pytest.fixture(scope="module")
def y(X):
    return [label(sequence) for sequence in X]


@pytest.fixture
def make(esm_folder):
    def make_one(**options):
        options = {"adapter": LoRA(rank=2, last_n_layers=1), "ignore_label": "-", **COMMON, **options}
        return PLMResidueClassifier(**{"backbone": str(esm_folder), **options})

    return make_one


@pytest.fixture
def make_regressor(esm_folder):
    def make_one(**options):
        defaults = {"backbone": str(esm_folder), "adapter": Frozen(), **COMMON}
        return PLMResidueRegressor(**{**defaults, **options})

    return make_one


def assert_rows_close(one, other, atol=1e-5):
    assert [row.shape for row in one] == [row.shape for row in other]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, atol=atol)


# -- it learns, with every head and method ------------------------------------------------------


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("adapter", [Frozen(), LoRA(last_n_layers=1)], ids=["frozen", "LoRA"])
def test_a_rule_of_residues_is_learned(make, X, y, head, adapter):
    classifier = make(backbone="mini", head=head, adapter=adapter, epochs=20, head_lr=0.02, head_dropout=0.0)
    assert classifier.fit(X, y).score(X, y) > 0.97
    found = "".join(classifier.predict(X))
    assert set(found) == {"E", "H"}  # never the mark of what was not measured


@pytest.mark.parametrize("head", HEADS)
def test_dropout_acts_in_training_alone(make, X, y, head):
    """Right after fit, and again: LoRA's and the head's dropout leave predictions and embeddings alone."""
    classifier = make(head=head, adapter=LoRA(rank=2, dropout=0.5), head_dropout=0.5).fit(X, y)
    for method in (classifier.transform, classifier.predict_proba):
        assert_rows_close(method(X), method(X), atol=0)


def test_values_are_learned_in_their_units(make_regressor, X):
    y = [100 + value(sequence) for sequence in X]
    regressor = make_regressor(backbone="mini", epochs=25, head_lr=0.02).fit(X, y)
    assert regressor.score(X, y) > 0.9
    assert abs(np.concatenate(regressor.predict(X)).mean() - np.nanmean(np.concatenate(y))) < 1


def test_several_values_per_residue(make_regressor, X):
    y = [np.column_stack([value(sequence), -value(sequence)]) for sequence in X]
    regressor = make_regressor(backbone="mini", epochs=25, head_lr=0.02).fit(X, y)
    predicted = regressor.predict(X)
    assert [row.shape for row in predicted] == [(len(sequence), 2) for sequence in X]
    pooled, true = np.concatenate(predicted), np.concatenate(y)
    kept = ~np.isnan(true[:, 0])
    expected = np.mean([spearmanr(true[kept, c], pooled[kept, c]).statistic for c in (0, 1)])
    assert regressor.score(X, y) == pytest.approx(expected)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("adapter", [Frozen(), LoRA(), FullFineTuning()], ids=["frozen", "LoRA", "full"])
def test_everything_that_should_be_trained_is(make, X, y, head, adapter, monkeypatch):
    """The head and the random field above all: they are frozen in code that wraps whole models."""
    classifier = make(head=head, adapter=adapter, epochs=2)
    before = {}
    build = PLMResidueClassifier._build

    def listen(self, *arguments):
        loaded = build(self, *arguments)
        before.update({k: p.detach().clone() for k, p in loaded.module.named_parameters() if p.requires_grad})
        return loaded

    monkeypatch.setattr(PLMResidueClassifier, "_build", listen)
    classifier.fit(X, y)
    after = dict(classifier._loaded.module.named_parameters())
    still = {name for name, tensor in before.items() if torch.equal(tensor, after[name])}
    assert still <= {"encoder.backbone.embeddings.position_embeddings.weight"}
    heads = {name for name in before if not name.startswith("encoder.")}
    assert {name for name in after if not name.startswith("encoder.")} == heads
    assert ("crf.transitions" in heads) == (head == "crf")


# -- labels stay with their residues ------------------------------------------------------------

sequences = st.text(LETTERS.lower() + LETTERS + "XBZUO", min_size=1, max_size=40)
proteins = st.lists(sequences, min_size=2, max_size=7)


@pytest.fixture(scope="module")
def oracle():
    """A frozen model that names each residue's letter: any shift shows."""
    rng = np.random.default_rng(0)
    X = ["".join(rng.choice(list(LETTERS), n)) for n in rng.integers(1, 41, 150)]
    options = {**COMMON, "epochs": 30, "batch_size": 8, "head_lr": 0.02, "head_dropout": 0.0}
    classifier = PLMResidueClassifier("mini", adapter=Frozen(), max_length=24, **options).fit(X, X)
    assert classifier.score(X, X) > 0.99
    return classifier


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(X=proteins, max_tokens=st.sampled_from([10, 64, 4096]))
def test_labels_stay_with_their_residues(oracle, X, max_tokens):
    """Random lengths, lower case, rare letters, windows (of 24), every size of batch."""
    classifier = pickle.loads(pickle.dumps(oracle)).set_params(max_tokens=max_tokens)
    for sequence, found in zip(X, classifier.predict(X), strict=True):
        assert len(found) == len(sequence)
        common = [(a, b) for a, b in zip(sequence.upper(), found, strict=True) if a in LETTERS]
        assert sum(a == b for a, b in common) >= 0.8 * len(common) - 1


def test_neither_batches_nor_neighbours_matter(make, X, y):
    for head in HEADS:
        classifier = make(head=head).fit(X, y)
        alone = [classifier.predict_proba([sequence])[0] for sequence in X]
        assert_rows_close(classifier.predict_proba(X), alone)
        assert_rows_close(classifier.set_params(max_tokens=50).predict_proba(X[::-1]), alone[::-1])


@pytest.mark.parametrize("head", ["linear", "crf"])
def test_steps_may_be_cut_anyhow(make, X, y, head):
    """The loss of a step is over its residues, whatever fits the memory at once."""
    whole = make(head=head, epochs=2, head_dropout=0.0, max_tokens=4096).fit(X, y)
    cut = make(head=head, epochs=2, head_dropout=0.0, max_tokens=20).fit(X, y)
    for one, other in zip(whole.history_, cut.history_, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-5)
    assert_rows_close(whole.predict_proba(X), cut.predict_proba(X), atol=1e-4)


def test_each_measured_residue_weighs_the_same(make):
    """One step over a long and a short protein: its loss is the mean over residues, not over proteins."""
    X, y = ["ACDEFIKLMNPQ", "AC"], ["HEEEHHEHHEEE", "H-"]
    classifier = make(batch_size=2, head_dropout=0.0, adapter=Frozen(), lr=1e-9, head_lr=1e-9).fit(X, y)
    probabilities = np.concatenate(classifier.predict_proba(X))[:13]
    codes = np.array([classifier.classes_.tolist().index(c) for c in (y[0] + "H")])
    expected = -np.log(probabilities[np.arange(13), codes]).mean()
    assert classifier.history_[0]["train_loss"] == pytest.approx(expected, rel=1e-4)


def test_weights_count_as_repeated_proteins(make, X, y):
    """In one step over all rows; what is not a residue's weight, such as the scaler, is left out."""
    options = {"batch_size": 99, "head_dropout": 0.0, "standardize": False, "weight_decay": 0.0}
    weights = np.ones(4)
    weights[1], weights[3] = 3, 0
    weighted = make(**options).fit(X[:4], y[:4], sample_weight=weights)
    rows = [0, 1, 1, 1, 2]
    repeated = make(**options).fit([X[i] for i in rows], [y[i] for i in rows])
    assert_rows_close(weighted.predict_proba(X), repeated.predict_proba(X), atol=1e-5)


def test_windows_read_long_proteins_whole(make, X, y):
    longer = make(max_length=16).fit(X, y)
    assert longer.n_truncated_ == 0
    assert [len(row) for row in longer.predict(X)] == [len(sequence) for sequence in X]
    assert not any(np.isnan(row).any() for row in longer.transform(X))


def test_cut_off_residues_get_what_is_known_without_them(make, make_regressor, X, y):
    options = {"max_length": 8, "long_sequences": "truncate"}
    with pytest.warns(UserWarning, match="cut to their first 8 residues"):
        classifier = make(**options, adapter=Frozen()).fit(X, y)
    row = max(range(len(X)), key=lambda i: len(X[i]))
    with pytest.warns(UserWarning, match="cut to their first 8 residues"):
        proba, embedded = classifier.predict_proba(X)[row], classifier.transform(X)[row]
    assert len(proba) == len(embedded) == len(X[row])
    read = "".join(labels[:8] for labels in y).replace("-", "")
    np.testing.assert_allclose(proba[8:, 1], read.count("H") / len(read), rtol=1e-5)
    assert np.isnan(embedded[8:]).all()
    assert not np.isnan(embedded[:8]).any()
    values = [value(sequence) for sequence in X]
    with pytest.warns(UserWarning, match="cut to their first 8 residues"):
        predicted = make_regressor(**options).fit(X, values).predict(X)[row]
    np.testing.assert_allclose(predicted[8:], np.nanmean(np.concatenate([v[:8] for v in values])))


# -- a random field -----------------------------------------------------------------------------


def test_inferred_constraints_hold_in_every_prediction(make, X):
    """Labels of two segments, H then E: no prediction goes back."""
    y = ["H" * (len(sequence) // 2) + "E" * (len(sequence) - len(sequence) // 2) for sequence in X]
    classifier = make(head="crf", constraints="infer").fit(X, y)
    for copy in (classifier, pickle.loads(pickle.dumps(classifier))):
        for found in copy.predict(X):
            assert found.lstrip("H").strip("E") == ""
            assert found[0] == "H"
            assert found[-1] == "E"
    assert all(row[0, 1] > 0.999 for row in classifier.predict_proba(X))


def test_proteins_too_short_for_any_path_are_named(make, X):
    y = ["H" + "E" * (len(sequence) - 1) for sequence in X]
    classifier = make(head="crf", constraints="infer").fit(X, y)
    with pytest.raises(ValueError, match=r"no path of labels for rows \[1\] of 2, of length \[1\]"):
        classifier.predict(["ACD", "A"])


@pytest.mark.parametrize("head", ["linear", "crf"])
def test_probabilities_are_float64_and_add_up(make, X, y, head):
    for row in make(head=head).fit(X, y).predict_proba(X):
        assert row.dtype == np.float64
        np.testing.assert_allclose(row.sum(axis=1), 1, atol=1e-6)


def test_crf_learns_from_partly_measured_proteins(make, X, y):
    classifier = make(head="crf", epochs=3).fit(X, y)
    assert all(np.isfinite(epoch["train_loss"]) for epoch in classifier.history_)


# -- what is kept -------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["cnn", "crf"])
def test_pickle_and_folder_predict_the_same(make, X, y, head, tmp_path):
    options = {"constraints": {"starts": ["H", "E"]}} if head == "crf" else {}
    classifier = make(head=head, **options).fit(X, y)
    for copy in (pickle.loads(pickle.dumps(classifier)), load(save(classifier, tmp_path / "saved"))):
        assert copy.predict(X).tolist() == classifier.predict(X).tolist()
        assert_rows_close(copy.predict_proba(X), classifier.predict_proba(X), atol=0)


def test_regressor_comes_back_from_a_folder(make_regressor, X, tmp_path):
    regressor = make_regressor().fit(X, [value(sequence) for sequence in X])
    assert_rows_close(load(save(regressor, tmp_path)).predict(X), regressor.predict(X), atol=0)


def test_a_frozen_encoder_runs_once_for_all_epochs_and_folds(make, X, y, empty_cache, monkeypatch):
    from plmlearn.nn.encoders import PackedEsm

    tokens = []
    layer = PackedEsm.layer

    def count(self, block, hidden, *rest):
        tokens.append(len(hidden) * (block is self.blocks[0]))
        return layer(self, block, hidden, *rest)

    monkeypatch.setattr(PackedEsm, "layer", count)
    classifier = make(adapter=Frozen(), epochs=3)
    cross_val_score(classifier, X, y, cv=2, error_score="raise")
    assert 0 < sum(tokens) < 1.5 * sum(len(sequence) + 2 for sequence in X)


def test_a_cache_without_room_changes_nothing(make, X, y, empty_cache):
    kept = make(adapter=Frozen()).fit(X, y).predict_proba(X)
    memory, disk = (cache.info()[name] for name in ("memory_limit", "disk_limit"))
    empty_cache.clear()
    cache.limit(memory=0, disk=0)
    try:
        anew = make(adapter=Frozen()).fit(X, y).predict_proba(X)
    finally:
        cache.limit(memory=memory / 2**30, disk=disk / 2**30)
    assert_rows_close(kept, anew, atol=1e-6)


def test_the_best_epoch_is_chosen_by_a_scorer_of_residues(make, X, y):
    scorer = make_scorer(residue_accuracy)
    for scoring in ("residue_accuracy", scorer, "residue_mcc"):
        classifier = make(epochs=3, scoring=scoring).fit(X[:10], y[:10], X_val=X[10:], y_val=y[10:])
        assert classifier.best_score_ == max(epoch["valid_score"] for epoch in classifier.history_)
    chosen = make(epochs=3, scoring="residue_accuracy").fit(X[:10], y[:10], X_val=X[10:], y_val=y[10:])
    assert chosen.score(X[10:], y[10:]) == pytest.approx(chosen.best_score_)


def test_early_stopping_respects_groups(make, X, y):
    groups = np.arange(16) // 2
    classifier = make(early_stopping=True, validation_fraction=0.25, epochs=2).fit(X, y, groups=groups)
    assert "valid_loss" in classifier.history_[0]


def test_class_weights_move_predictions(make, X, y):
    options = {"epochs": 4, "adapter": Frozen(), "head_lr": 0.01}
    plain = "".join(make(**options).fit(X, y).predict(X)).count("H")
    heavy = "".join(make(**options, class_weight={"H": 20, "E": 1}).fit(X, y).predict(X)).count("H")
    assert heavy > plain


def test_a_warm_start_takes_weights_and_constraints_as_they_are_now(make, X, y):
    classifier = make(warm_start=True, class_weight={"H": 1, "E": 1}).fit(X, y)
    classes, shares = classifier._target.classes, classifier._target.shares
    again = classifier.set_params(class_weight={"H": 3, "E": 1}).fit(X, y)._target
    assert again.weights[1] == pytest.approx(3 * again.weights[0])
    assert again.classes is classes
    assert again.shares is shares
    halves = ["H" * 3 + "E" * (len(sequence) - 3) for sequence in X]
    chain = make(warm_start=True, head="crf").fit(X, halves)
    for constraints, may_return in (("infer", False), (None, True)):
        chain.set_params(constraints=constraints).fit(X, halves)
        for model in (chain, pickle.loads(pickle.dumps(chain))):
            assert bool(model._restored().module.crf.allowed_transitions[0, 1]) is may_return


def test_a_seed_fixes_every_bit(make, X, y):
    one, other = (make(head="light_attention").fit(X, y).predict_proba(X) for _ in range(2))
    assert_rows_close(one, other, atol=0)


def test_the_data_of_the_caller_stay_as_they_are(make, X, y):
    targets = [np.ma.array(list(row), mask=[c == "-" for c in row]) for row in y]
    kept = [row.copy() for row in targets]
    make().fit(X, targets)
    for row, before in zip(targets, kept, strict=True):
        assert row.tolist() == before.tolist()


# -- scikit-learn's tools -----------------------------------------------------------------------


def test_it_is_neither_of_scikit_learns_kinds(make, make_regressor):
    for estimator in (make(), make_regressor()):
        assert not is_classifier(estimator)
        assert not is_regressor(estimator)
        assert clone(estimator).get_params().keys() == estimator.get_params().keys()


def ragged(kind: str, y: list[str]):
    arrays = [np.ma.array(list(row), mask=[c == "-" for c in row]) for row in y]
    if kind == "object array":
        out = np.empty(len(y), dtype=object)
        out[:] = arrays
        return out
    return {"strings": y, "array of strings": np.array(y), "list of arrays": arrays}[kind]


KINDS = ["strings", "array of strings", "list of arrays", "object array"]


@pytest.mark.parametrize("kind", KINDS)
def test_cross_validation(make, X, y, kind):
    targets = ragged(kind, y)
    assert np.isfinite(cross_val_score(make(), X, targets, cv=2, error_score="raise")).all()
    found = cross_val_predict(make(), X, targets, cv=2)
    assert found.shape == (16,)
    assert [len(row) for row in found] == [len(sequence) for sequence in X]
    assert isinstance(found[0], str) == ("strings" in kind)
    proba = cross_val_predict(make(predict_output="proba"), X, targets, cv=2)
    assert [row.shape for row in proba] == [(len(sequence), 2) for sequence in X]


@pytest.mark.parametrize("kind", KINDS)
def test_search_curves_and_splits(make, X, y, kind):
    targets = ragged(kind, y)
    search = GridSearchCV(make(), {"head": ["linear", "crf"]}, cv=2, error_score="raise").fit(X, targets)
    assert search.predict(X).shape == (16,)
    sizes, _, scores = learning_curve(make(), X, targets, cv=2, train_sizes=[4, 8], error_score="raise")
    assert list(sizes) == [4, 8]
    assert np.isfinite(scores).all()
    X_train, X_test, y_train, y_test = train_test_split(X, targets, random_state=0)
    pipeline = make_pipeline("passthrough", make()).fit(X_train, y_train)
    assert 0 <= pipeline.score(X_test, y_test) <= 1
    scorer = make_scorer(residue_accuracy, ignore_label="-")
    assert scorer(pipeline, X_test, y_test) == pytest.approx(pipeline.score(X_test, y_test))


def test_regressor_in_cross_validation(make_regressor, X):
    y = [value(sequence) for sequence in X]
    search = GridSearchCV(make_regressor(), {"head": ["linear", "cnn"]}, cv=2, error_score="raise").fit(X, y)
    assert np.isfinite(search.best_score_)
    found = cross_val_predict(make_regressor(), X, y, cv=2)
    assert [row.shape for row in found] == [row.shape for row in y]
    scores = cross_val_score(make_regressor(), X, y, cv=2, error_score="raise")
    assert np.isfinite(scores).all()


def test_scores_weigh_proteins(make, X, y):
    classifier = make().fit(X, y)
    weights = np.zeros(16)
    weights[3] = 2
    assert classifier.score(X, y, sample_weight=weights) == pytest.approx(classifier.score(X[3:4], y[3:4]))


@pytest.mark.parametrize("cls", [PLMResidueClassifier, PLMResidueRegressor])
def test_fit_speaks_of_residues(cls):
    assert "with an entry for each of its residues" in inspect.getdoc(cls.fit)
    assert "n_targets" not in inspect.getdoc(cls.fit)
