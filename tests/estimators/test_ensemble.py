"""Ensembles against their members, one by one."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from plmlearn import (
    PLMClassifier,
    PLMEmbedder,
    PLMEnsemble,
    PLMFitnessRegressor,
    PLMFrozenMLP,
    PLMFrozenMLPRegressor,
    PLMPairRegressor,
    PLMRegressor,
    PLMResidueClassifier,
    PLMResidueRegressor,
    PLMSignalPeptideClassifier,
    SavedModelError,
    load,
    save,
)
from plmlearn.adapters import Frozen, LoRA
from plmlearn.baselines import AugmentedRidge, CompositionVectorizer
from plmlearn.design import propose, single_mutants
from plmlearn.estimators.dataset import Dataset
from plmlearn.metrics import residue_spearman
from plmlearn.nn.encoders import PackedEncoder
from plmlearn.sequences import SequenceError, name_variants

MLP = {"solver": "lbfgs", "max_iter": 20, "hidden_layer_sizes": (4,), "precision": "fp32"}
TUNING = {"epochs": 1, "batch_size": 8, "precision": "fp32", "verbose": 0}


pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def X():
    """Variants of one protein, a fifth of them mutated: the nearest is found by position, in no time."""
    random, letters = np.random.default_rng(3), np.array(list("ACDEFGHIKLMNPQRSTVWY"))
    parent = random.choice(letters, 40)
    variants = [np.where(random.random(40) < 0.2, random.choice(letters, 40), parent) for _ in range(30)]
    return np.array(["".join(variant) for variant in variants], dtype=object)


@pytest.fixture(scope="module")
def y(X):
    return np.array([sequence.count("A") / len(sequence) for sequence in X])


@pytest.fixture(scope="module")
def regressors(X, y):
    return PLMEnsemble(PLMFrozenMLPRegressor("mini", **MLP), n_members=3, random_state=0).fit(X[:20], y[:20])


def test_mean_and_deviation_are_those_of_the_members(regressors, X):
    members = np.array([member.predict(X) for member in regressors.estimators_])
    mean, std = regressors.predict(X, return_std=True)
    np.testing.assert_allclose(mean, sum(members) / 3)
    np.testing.assert_allclose(std, np.sqrt(((members - mean) ** 2).sum(axis=0) / 2))
    np.testing.assert_array_equal(regressors.predict(X), mean)
    seeds = [member.random_state for member in regressors.estimators_]
    assert len(set(seeds)) == 3
    assert (std > 0).all()


def test_equal_seeds_give_equal_members(regressors, X, y):
    again = clone(regressors).fit(X[:20], y[:20])
    np.testing.assert_array_equal(again.predict(X), regressors.predict(X))


def test_members_differ_by_what_they_have_seen(X, y):
    plain = make_pipeline(CompositionVectorizer(), Ridge())
    bagged = PLMEnsemble(plain, n_members=4, bootstrap=True, random_state=0).fit(X, y)
    assert (bagged.predict(X, return_std=True)[1] > 0).all()
    # Drawn by hand: seeds first, then the rows of each member.
    random = np.random.RandomState(0)
    random.randint(2**31 - 1, size=4)
    for member in bagged.estimators_:
        rows = random.choice(np.arange(30), 30)
        np.testing.assert_allclose(member.predict(X), clone(plain).fit(X[rows], y[rows]).predict(X))


def test_frozen_work_is_done_once(X, y, empty_cache, monkeypatch):
    """Five members run the encoder over no more tokens than one, in fit and in predict."""
    tokens, plain = [], PackedEncoder.forward

    def counting(self, row, *args, **kwargs):
        tokens.append(len(row.ids))
        return plain(self, row, *args, **kwargs)

    monkeypatch.setattr(PackedEncoder, "forward", counting)
    single = PLMFrozenMLPRegressor("mini", **MLP, random_state=0)
    counts = []
    for model in (single, PLMEnsemble(single, n_members=5, bootstrap=True, random_state=0)):
        empty_cache.clear()
        tokens.clear()
        model.fit(X[:20], y[:20]).predict(X)
        counts.append(sum(tokens))
    assert 0 < counts[1] <= counts[0] * 1.2


def test_draws_take_whole_groups_and_every_class(X, y):
    seen = []

    class Watching(AugmentedRidge):
        def fit(self, X, y, groups=None):
            seen.append((list(X), list(groups)))
            return self

    Watching.__name__ = "AugmentedRidge"
    groups = np.repeat(np.arange(10), 3)
    PLMEnsemble(Watching(), n_members=3, bootstrap=True, random_state=0).fit(X, y, groups=groups)
    for sequences, own in seen:
        counts = {group: own.count(group) for group in set(own)}
        assert all(count % 3 == 0 for count in counts.values())
        assert len(set(own)) < 10
        assert all(groups[list(X).index(s)] == g for s, g in zip(sequences, own))

    rare = np.array(["common"] * 29 + ["rare"])
    classifier = PLMEnsemble(PLMFrozenMLP("mini", **MLP), n_members=4, bootstrap=True, random_state=0)
    classifier.fit(X, rare)
    assert all(member.classes_.tolist() == ["common", "rare"] for member in classifier.estimators_)


def test_all_that_is_said_of_proteins_is_drawn_with_them(X, y):
    seen = []

    class Watching(AugmentedRidge):
        def fit(self, X, y, sample_weight=None, kingdom=None, X_val=None):
            seen.append((list(X), list(sample_weight), kingdom, X_val))
            return self

    Watching.__name__ = "AugmentedRidge"
    said = {
        "sample_weight": np.arange(30.0),
        "kingdom": [f"of {sequence}" for sequence in X],
        "X_val": X[::-1],
    }
    PLMEnsemble(Watching(), n_members=3, bootstrap=True, random_state=0).fit(X, y, **said)
    for sequences, weights, kingdom, X_val in seen:
        assert weights == [list(X).index(sequence) for sequence in sequences]
        assert kingdom == [f"of {sequence}" for sequence in sequences]
        assert X_val is said["X_val"]


def test_signal_peptides_are_drawn_with_their_regions(X):
    types, regions = ["SP", "NO_SP"] * 15, ["S" * 20 + "O" * 20, "I" * 40] * 15
    member = PLMSignalPeptideClassifier("mini", adapter=Frozen(), **TUNING)
    ensemble = PLMEnsemble(member, n_members=2, bootstrap=True, random_state=0)
    ensemble.fit(X, types, regions=regions, kingdom=["EUKARYA", None] * 15)
    assert ensemble.predict_proba(X[:3]).shape == (3, 2)
    with pytest.raises(
        SequenceError, match="The regions of 1 proteins are none that their type can have: row 4"
    ):
        ensemble.fit(X, types, regions=[*regions[:4], "I" * 40, *regions[5:]])


def test_draws_that_leave_classes_out(X):
    """Members have columns of their own; the mean is over those of one class, 0 where it is not known."""
    y, groups = np.repeat(list("abcdef"), 5), np.repeat(np.arange(6), 5)
    classifier = PLMEnsemble(PLMFrozenMLP("mini", **MLP), n_members=3, bootstrap=True, random_state=0)
    classifier.fit(X, y, groups=groups)
    members = classifier.estimators_
    assert len({tuple(member.classes_) for member in members}) > 1
    assert classifier.classes_.tolist() == sorted({name for member in members for name in member.classes_})
    found = [dict(zip(member.classes_, member.predict_proba(X[:4]).T)) for member in members]
    expected = [np.mean([p.get(name, np.zeros(4)) for p in found], axis=0) for name in classifier.classes_]
    mean, std = classifier.predict_proba(X[:4], return_std=True)
    np.testing.assert_allclose(mean, np.transpose(expected))
    np.testing.assert_allclose(mean.sum(axis=1), 1)
    assert std.shape == mean.shape
    assert classifier.predict(X[:4]).tolist() == classifier.classes_[mean.argmax(axis=1)].tolist()


def test_draws_that_leave_labels_of_residues_out(X):
    y = ["H" * 20 + "E" * 19 + label for label in "QRST" + "H" * 26]
    member = PLMResidueClassifier("mini", adapter=Frozen(), **TUNING)
    ensemble = PLMEnsemble(member, n_members=3, bootstrap=True, random_state=0).fit(X, y)
    assert len({tuple(one.classes_) for one in ensemble.estimators_}) > 1
    helix = [one.predict_proba(X[:1])[0][:, one.classes_.tolist().index("H")] for one in ensemble.estimators_]
    [mean] = ensemble.predict_proba(X[:1])
    np.testing.assert_allclose(mean[:, ensemble.classes_.tolist().index("H")], np.mean(helix, axis=0))
    np.testing.assert_allclose(mean.sum(axis=1), 1)
    assert len(ensemble.predict(X[:1])[0]) == 40


@pytest.mark.parametrize(
    "member",
    [
        AugmentedRidge(),
        make_pipeline(CompositionVectorizer(), Ridge()),
        PLMFrozenMLPRegressor("mini", **MLP),
    ],
    ids=lambda member: type(member).__name__,
)
def test_groups_are_for_the_draw_where_fit_takes_none(member, X, y):
    groups = np.repeat(np.arange(10), 3)
    ensemble = PLMEnsemble(member, n_members=2, bootstrap=True, random_state=0).fit(X, y, groups=groups)
    assert ensemble.predict(X).shape == (30,)


def test_copies_of_a_row_stay_on_one_side_of_early_stopping(X, y, monkeypatch):
    parts, plain = [], Dataset.hold_out

    def hold_out(self, *args, **kwargs):
        parts.append(plain(self, *args, **kwargs))
        return parts[-1]

    monkeypatch.setattr(Dataset, "hold_out", hold_out)
    member = PLMFitnessRegressor(
        "mini", wild_type=X[0], early_stopping=True, validation_fraction=0.3, calibrate=None, **TUNING
    )
    PLMEnsemble(member, n_members=2, bootstrap=True, random_state=0).fit(X, y)
    assert len(parts) == 2
    for training, validation in parts:
        assert not set(training.sequences) & set(validation.sequences)
        assert len(training.y) + len(validation.y) == 30


@pytest.mark.parametrize(
    "member",
    [
        PLMFitnessRegressor("mini", wild_type="MKVLAGIR", **TUNING),
        PLMFrozenMLPRegressor("mini", **MLP),
        make_pipeline(PLMEmbedder("mini"), Ridge()),
        make_pipeline(CompositionVectorizer(), Ridge()),
    ],
    ids=["fitness", "frozen", "embedder", "composition"],
)
def test_errors_of_draws_name_the_caller_s_rows(member, request):
    X = ["MKVLAGIC"] * 40 + ["MK1LAG"] + ["MKVLAGIC"] * 40 + ["MKVL?GIC"]
    for seed in range(3):
        ensemble = PLMEnsemble(member, n_members=2, bootstrap=True, random_state=seed)
        with pytest.raises(SequenceError) as caught:
            ensemble.fit(X, np.arange(82.0))
        assert set(caught.value.rows) <= {40, 81}
        if "composition" not in request.node.name:  # a reader of which only the draw is known
            assert caught.value.rows == [40, 81]
    y = np.arange(81.0)
    y[17] = np.nan
    with pytest.raises(ValueError, match=r"y is missing.* 17;"):
        ensemble.fit(["MKVLAGIC"] * 81, y)


def test_weights_are_drawn_with_their_proteins(X, y):
    plain = PLMFrozenMLPRegressor("mini", **MLP)
    weights = np.where(np.arange(30) < 15, 1.0, 0.0)
    some = PLMEnsemble(plain, n_members=2, random_state=0).fit(X, y, sample_weight=weights)
    assert [member.n_samples_fit_ for member in some.estimators_] == [15, 15]


def test_members_differ_by_adapter(X, y):
    adapters = [Frozen(), LoRA(rank=1, last_n_layers=1)]
    ensemble = PLMEnsemble(PLMRegressor("mini", **TUNING), n_members=2, adapters=adapters, random_state=0)
    ensemble.fit(X[:8], y[:8])
    assert [type(member.adapter) for member in ensemble.estimators_] == [Frozen, LoRA]
    n_trained = [member.n_trainable_parameters_ for member in ensemble.estimators_]
    assert n_trained[0] < n_trained[1]
    with pytest.raises(ValueError, match="PLMFrozenMLP has no parameter adapter"):
        PLMEnsemble(PLMFrozenMLP("mini"), adapters=adapters).fit(X, y > 0.1)


def test_classes(X, y):
    labels = np.where(y > np.median(y), "rich", "poor")
    ensemble = PLMEnsemble(PLMFrozenMLP("mini", **MLP), n_members=3, random_state=0).fit(X, labels)
    members = [member.predict_proba(X) for member in ensemble.estimators_]
    proba, std = ensemble.predict_proba(X, return_std=True)
    np.testing.assert_allclose(proba, sum(members) / 3)
    np.testing.assert_allclose(std, np.std(members, axis=0, ddof=1))
    assert ensemble.predict(X).tolist() == [["poor", "rich"][int(p[1] > p[0])] for p in proba]
    assert ensemble.score(X, labels) == pytest.approx((ensemble.predict(X) == labels).mean())
    assert is_classifier(ensemble)
    with pytest.raises(ValueError, match="return_std is for numbers"):
        ensemble.predict(X, return_std=True)
    several = np.column_stack([y > 0.05, y > 0.1]).astype(int)
    ensemble.fit(X, several)
    np.testing.assert_array_equal(ensemble.predict(X), ensemble.predict_proba(X) > 0.5)


@pytest.mark.parametrize("as_text", [True, False])
def test_residues(X, as_text):
    y = ["".join("HC"[letter in "ACDEF"] for letter in x) for x in X]
    y = y if as_text else [np.array(list(row)) for row in y]
    ensemble = PLMEnsemble(
        PLMResidueClassifier("mini", adapter=Frozen(), **TUNING), n_members=2, random_state=0
    )
    ensemble.fit(X[:10], y[:10])
    members = [member.predict_proba(X) for member in ensemble.estimators_]
    expected = [(one + two) / 2 for one, two in zip(*members)]
    for row, labels, other in zip(ensemble.predict_proba(X), ensemble.predict(X), expected):
        np.testing.assert_allclose(row, other)
        assert list(labels) == ["CH"[i] for i in other.argmax(axis=1)]
        assert isinstance(labels, str) == as_text
    pairs = zip(ensemble.predict(X), y)
    right = np.concatenate([np.array(list(found)) == np.array(list(true)) for found, true in pairs])
    assert ensemble.score(X, y) == pytest.approx(right.mean())


def test_residue_numbers(X):
    y = [np.stack([np.linspace(0, 1, len(x)), 50 - np.arange(len(x))], axis=1) for x in X]
    ensemble = PLMEnsemble(
        PLMResidueRegressor("mini", adapter=Frozen(), **TUNING), n_members=2, random_state=0
    )
    mean, std = ensemble.fit(X[:10], y[:10]).predict(X, return_std=True)
    one, two = (member.predict(X) for member in ensemble.estimators_)
    for row in range(len(X)):
        np.testing.assert_allclose(mean[row], (one[row] + two[row]) / 2)
        np.testing.assert_allclose(std[row], abs(one[row] - two[row]) / np.sqrt(2), atol=1e-7)
    columns = [residue_spearman([t[:, k] for t in y], [p[:, k] for p in mean]) for k in (0, 1)]
    assert ensemble.score(X, y) == pytest.approx(np.mean(columns))


def test_pairs_have_means_and_no_novelty(X, y):
    pairs = np.column_stack([X[:10], X[10:20]])
    ensemble = PLMEnsemble(PLMPairRegressor("mini", adapter=Frozen(), **TUNING), n_members=2, random_state=0)
    assert ensemble.fit(pairs, y[:10]).predict(pairs).shape == (10,)
    with pytest.raises(ValueError, match="fit had none such"):
        ensemble.novelty(X)


def test_scikit_learn_takes_ensembles(X, y):
    ensemble = PLMEnsemble(
        make_pipeline(PLMEmbedder("mini"), Ridge()), n_members=2, bootstrap=True, random_state=0
    )
    assert is_regressor(ensemble)
    assert cross_val_score(ensemble, X, y, cv=3).shape == (3,)
    ensemble.set_params(estimator__ridge__alpha=3.0)
    assert ensemble.get_params()["estimator__ridge__alpha"] == 3.0
    assert ensemble.fit(X, y).estimators_[1].get_params()["ridge__alpha"] == 3.0


def test_bad_parameters_are_named(X, y):
    for parameters in ({"n_members": 1}, {"estimator": None}, {"bootstrap": "yes"}, {"warn_below": 2}):
        with pytest.raises(ValueError, match=f"'{next(iter(parameters))}' parameter of PLMEnsemble"):
            PLMEnsemble(PLMFrozenMLPRegressor("mini")).set_params(**parameters).fit(X, y)
    for parameters in ({"adapters": []}, {"adapters": [LoRA(), Frozen()], "members": "dropout"}):
        with pytest.raises(ValueError, match=r"adapters has . entries; expected at least one, and one alone"):
            PLMEnsemble(PLMRegressor("mini"), **parameters).fit(X, y)
    drawing = PLMEnsemble(PLMFrozenMLPRegressor("mini"), bootstrap=True)
    for groups, message in (([None, "a"] * 15, "is missing in rows 0"), (np.ones((30, 2)), "has shape")):
        with pytest.raises(ValueError, match=f"groups {message}"):
            drawing.fit(X, y, groups=groups)


# -- novelty ----------------------------------------------------------------------------------------


def test_novelty_is_distance_to_the_nearest(regressors, X):
    changed = X[3][:-1] + ("A" if X[3][-1] != "A" else "C")
    found = regressors.novelty([X[3], changed])
    assert regressors.sequences_[found.nearest].tolist() == [X[3], X[3]]
    np.testing.assert_allclose(found.identity, [1, 1], atol=1.5 / len(X[3]))
    embedder = PLMEmbedder("mini", precision="fp32").fit(X)
    training, query = embedder.transform(X[:20]), embedder.transform([X[3], changed])
    between = np.linalg.norm(training[:, None] - training, axis=2)
    usual = np.median(np.sort(between, axis=1)[:, 1])
    expected = np.linalg.norm(query[:, None] - training, axis=2).min(axis=1) / usual
    np.testing.assert_allclose(found.distance, expected, atol=1e-3)


def test_new_proteins_are_warned_of_when_asked_for(regressors, X):
    ensemble = clone(regressors).set_params(warn_below=0.9)
    vars(ensemble).update(estimators_=regressors.estimators_, sequences_=regressors.sequences_)
    ensemble.predict(X[:20])
    with pytest.warns(UserWarning, match=r"1 of 3 proteins \(rows 2\) share less than 90%"):
        ensemble.predict([X[0], X[1], X[25]])


def test_members_without_a_backbone_have_no_embeddings(X, y):
    ensemble = PLMEnsemble(make_pipeline(CompositionVectorizer(), Ridge()), bootstrap=True).fit(X, y)
    assert ensemble.novelty(X[:2]).distance is None


def test_pipelines_that_embed_have_distances(regressors, X, y):
    ensemble = PLMEnsemble(make_pipeline(PLMEmbedder("mini", precision="fp32"), Ridge()), n_members=2).fit(
        X[:20], y[:20]
    )
    found, expected = ensemble.novelty(X[18:]), regressors.novelty(X[18:])
    np.testing.assert_allclose(found.distance, expected.distance, atol=1e-6)


def test_novelty_reads_what_the_members_read(X, y):
    """Mutations are written out, and unreadable residues become X, as in ``fit``."""
    wild, names = X[0], name_variants(X[0], X)
    member = PLMFitnessRegressor("mini", wild_type=wild, calibrate=None, **TUNING)
    ensemble = PLMEnsemble(member, n_members=2, warn_below=0.9, random_state=0).fit(names[:20], y[:20])
    assert ensemble.sequences_.tolist() == sorted(X[:20])
    ensemble.predict(["WT", *names[:20]])
    plain = PLMEnsemble(member, n_members=2, random_state=0).fit(X[:20], y[:20])
    for field in ("identity", "nearest", "distance"):
        found, expected = (getattr(e.novelty(given), field) for e, given in ((ensemble, names), (plain, X)))
        np.testing.assert_array_equal(found, expected)
    replacing = PLMFrozenMLPRegressor("mini", invalid="replace", **MLP)
    ensemble = PLMEnsemble(replacing, n_members=2, warn_below=0.9, random_state=0)
    odd = [x[:5] + "?" + x[6:] for x in X[:20]]
    ensemble.fit(odd, y[:20]).predict(odd)
    assert ensemble.sequences_.tolist() == sorted(x.replace("?", "X") for x in odd)


def test_warnings_of_new_proteins_need_proteins(X, y):
    pairs = np.column_stack([X[:10], X[10:20]])
    with pytest.raises(ValueError, match="for whole sequences of single proteins; fit had none such"):
        PLMEnsemble(PLMPairRegressor("mini", **TUNING), warn_below=0.5).fit(pairs, y[:10])
    with pytest.raises(ValueError, match="for whole sequences of single proteins; fit had none such"):
        PLMEnsemble(DummyRegressor(), warn_below=0.5).fit(["K2A", "K2C"], [1, 2])


# -- kept ---------------------------------------------------------------------------------------------


def test_saved_and_pickled_ensembles_predict_the_same(regressors, X, tmp_path):
    expected = regressors.predict(X, return_std=True)
    loaded = load(save(regressors, tmp_path / "model"))
    for kept in (pickle.loads(pickle.dumps(regressors)), loaded):
        np.testing.assert_array_equal(kept.predict(X, return_std=True), expected)
        np.testing.assert_array_equal(kept.novelty(X[:2]).nearest, regressors.novelty(X[:2]).nearest)
    assert loaded.estimator.get_params()["max_iter"] == 20
    assert loaded.set_params(n_members=2).fit(X[:6], np.arange(6.0)).predict(X).shape == (30,)
    assert len(pickle.dumps(regressors)) < 100_000
    assert not any(path.suffix in (".pkl", ".bin") for path in (tmp_path / "model").iterdir())


def test_ensembles_of_tuned_models_are_saved(X, y, tmp_path):
    ensemble = PLMEnsemble(PLMRegressor("mini", adapter=LoRA(rank=1, last_n_layers=1), **TUNING), n_members=2)
    ensemble.fit(X[:8], y[:8])
    np.testing.assert_array_equal(load(save(ensemble, tmp_path)).predict(X), ensemble.predict(X))
    np.testing.assert_array_equal(load(tmp_path, backbone="mini").predict(X), ensemble.predict(X))


def test_ensembles_of_others_are_for_pickle(X, y, tmp_path):
    ensemble = PLMEnsemble(make_pipeline(CompositionVectorizer(), Ridge()), bootstrap=True).fit(X, y)
    with pytest.raises(SavedModelError, match="estimators_ is"):
        save(ensemble, tmp_path)


def test_a_folder_holds_two_members_of_one_class_or_more(regressors, tmp_path):
    for members in (regressors.estimators_[:1], [regressors.estimators_[0], PLMEmbedder("mini").fit(["MK"])]):
        odd = clone(regressors)
        vars(odd).update(estimators_=members, sequences_=None)
        with pytest.raises(SavedModelError, match="expected two or more of one class"):
            save(odd, tmp_path)


def test_an_ensemble_proposes(X, y):
    library = single_mutants(X[0][:8])
    model = make_pipeline(CompositionVectorizer(), Ridge())
    ensemble = PLMEnsemble(model, bootstrap=True, random_state=0).fit(X, y)
    mean, std = ensemble.predict(library[:], return_std=True)
    assert (
        propose(ensemble, library, 4).rows.tolist() == np.argsort(-(mean + std), kind="stable")[:4].tolist()
    )


def test_members_of_dropout_are_passes_of_one_fit(X, y, tmp_path):
    """By hand: the same fit in training mode where it has dropout, with a seed for each pass."""
    member = PLMRegressor("mini", adapter=LoRA(dropout=0.2), head_dropout=0.3, **TUNING)
    ensemble = PLMEnsemble(member, n_members=3, members="dropout", random_state=0).fit(X[:20], y[:20])
    (fitted,) = ensemble.estimators_
    before = fitted.predict(X)
    mean, std = ensemble.predict(X, return_std=True)
    module = fitted._restored().module
    passes = []
    is_dropout = [m for m in module.modules() if isinstance(m, torch.nn.Dropout) and m.p]
    assert len(is_dropout) > 1
    for seed in range(3):
        torch.manual_seed(seed)
        passes.append(_in_training_mode(fitted, is_dropout, X))
    np.testing.assert_allclose(mean, np.mean(passes, axis=0), rtol=1e-6)
    np.testing.assert_allclose(std, np.std(passes, axis=0, ddof=1), rtol=1e-5)
    assert (std > 0).all()
    np.testing.assert_array_equal(fitted.predict(X), before)
    np.testing.assert_array_equal(ensemble.predict(X), mean)
    np.testing.assert_array_equal(load(save(ensemble, tmp_path / "saved")).predict(X), mean)
    np.testing.assert_array_equal(ensemble.set_params(members="fits").predict(X), mean)  # until the next fit


def _in_training_mode(fitted, dropouts, X):
    """A prediction through the model's own ``eval``, after which dropout is switched on again."""
    module = fitted._restored().module
    evaluate = type(module).eval

    def eval_with_dropout(model):
        evaluate(model)
        for dropout in dropouts:
            dropout.train()
        return model

    module.eval = eval_with_dropout.__get__(module)
    try:
        return fitted.predict(X)
    finally:
        del module.eval


@pytest.mark.parametrize(
    "member", [PLMFrozenMLPRegressor("mini", **MLP), PLMRegressor("mini", head_dropout=0, **TUNING)]
)
def test_dropout_where_there_is_none_is_refused(member, X, y):
    with pytest.raises(ValueError, match="members='dropout' needs dropout, and PLM"):
        PLMEnsemble(member, members="dropout").fit(X[:20], y[:20])


@pytest.mark.parametrize("strategy", ["wt-marginal", "masked-marginal", "pseudo-perplexity"])
def test_dropout_of_fitness(strategy, X, y):
    settings = {"strategy": strategy, "calibrate": None, "adapter": LoRA(dropout=0.5)}
    member = PLMFitnessRegressor("mini", wild_type=X[0], **settings, **TUNING)
    ensemble = PLMEnsemble(member, n_members=3, members="dropout", random_state=0).fit(X[:6], y[:6])
    before = ensemble.estimators_[0].predict(X[1:6])
    mean, std = ensemble.predict(X[1:6], return_std=True)
    assert (std > 0).all()
    np.testing.assert_array_equal(ensemble.predict(X[1:6]), mean)
    np.testing.assert_array_equal(ensemble.estimators_[0].predict(X[1:6]), before)


def test_dropout_of_classes_residues_and_pairs(X, y):
    labels = [np.array(list(s)) == "A" for s in X]
    residues = PLMResidueClassifier("mini", adapter=Frozen(), head="cnn", **TUNING)
    pairs = np.column_stack([X, X[::-1]])
    for member, data, target, method in [
        (residues, X, labels, "predict_proba"),
        (PLMClassifier("mini", **TUNING), X, y > np.median(y), "predict_proba"),
        (PLMPairRegressor("mini", **TUNING), pairs, y, "predict"),
    ]:
        ensemble = PLMEnsemble(member, n_members=2, members="dropout", random_state=0).fit(data, target)
        _, std = getattr(ensemble, method)(data, return_std=True)
        assert all(np.any(of_one > 0) for of_one in std), type(member)
