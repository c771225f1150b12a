"""The sweep over layers against the same cross-validation spelled out, layer by layer."""

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.model_selection import GroupKFold, KFold, LeaveOneOut, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from plmlearn import PLMEmbedder, layer_sweep
from plmlearn.metrics import get_scorer
from plmlearn.model_selection import ClusterKFold
from plmlearn.probing import LayerSweep

N = 30


@pytest.fixture(scope="module")
def X(draw_proteins):
    return draw_proteins(N, seed=9)


@pytest.fixture
def folder(esm_folder):
    return str(esm_folder)


LABELS = np.random.default_rng(0).choice(["a", "b"], N)
VALUES = np.random.default_rng(1).normal(size=N)
SEVERAL = np.random.default_rng(2).integers(0, 2, (N, 2))
GROUPS = np.arange(N) // 3


def embedded(folder, n_layers, **settings):
    return PLMEmbedder(folder, n_layers=n_layers, precision="fp32", **settings)


def by_hand(folder, X, y, probe, cv, scoring=None, groups=None, **settings) -> np.ndarray:
    return np.array(
        [
            cross_val_score(
                probe,
                embedded(folder, n, **settings).fit_transform(X),
                y,
                cv=cv,
                scoring=scoring,
                groups=groups,
            )
            for n in (1, 2, 3)
        ]
    )


def test_labels_are_scored_as_by_hand(folder, X):
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    found = layer_sweep(PLMEmbedder(folder, precision="fp32"), X, LABELS, cv=4)
    np.testing.assert_allclose(found.scores, by_hand(folder, X, LABELS, probe, StratifiedKFold(4)))


def test_values_and_a_scorer_of_this_package(folder, X):
    probe = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 5, 11)))
    embedder = PLMEmbedder(folder, precision="fp32", pooling="max", final_norm=False)
    found = layer_sweep(embedder, X, VALUES, cv=KFold(3), scoring="spearman")
    settings = {"scoring": get_scorer("spearman"), "pooling": "max", "final_norm": False}
    np.testing.assert_allclose(found.scores, by_hand(folder, X, VALUES, probe, KFold(3), **settings))


def test_a_probe_of_ones_own_and_groups(folder, X):
    """A number of folds with groups means folds of whole groups."""
    embedder = PLMEmbedder(folder, precision="fp32")
    found = layer_sweep(embedder, X, VALUES, cv=5, groups=GROUPS, estimator=Ridge(3.0))
    expected = by_hand(folder, X, VALUES, Ridge(3.0), GroupKFold(5), groups=GROUPS)
    np.testing.assert_allclose(found.scores, expected, rtol=1e-4)


def test_several_labels(folder, X):
    found = layer_sweep(folder, X, SEVERAL, cv=2)
    assert found.scores.shape == (3, 2)
    assert (found.scores >= 0).all()


def residue_targets(X, kind):
    if kind == "letters":
        return ["".join("H-E"[(ord(r) + i) % 3] for i, r in enumerate(s)) for s in X]
    return [np.where(np.arange(len(s)) % 4, [ord(r) % 7 for r in s], np.nan) for s in X]


@pytest.mark.parametrize("kind", ["letters", "numbers"])
def test_residues_are_scored_as_by_hand(kind, folder, X):
    """Folds are of proteins; what was not measured is left out."""
    y = residue_targets(X, kind)
    embedder = PLMEmbedder(folder, pooling=None, precision="fp32")
    probe = LogisticRegression(max_iter=200) if kind == "letters" else Ridge()
    found = layer_sweep(
        embedder, X, y, cv=3, estimator=probe, ignore_label="-" if kind == "letters" else None
    )
    measured = [[t != "-" for t in row] if kind == "letters" else ~np.isnan(row) for row in y]
    targets = np.concatenate([np.array(list(row))[m] for row, m in zip(y, measured)])
    owners = np.repeat(np.arange(N), [sum(m) for m in measured])
    folds = [[np.flatnonzero(np.isin(owners, part)) for part in fold] for fold in KFold(3).split(X)]
    for n_layers in (1, 2, 3):
        rows = embedded(folder, n_layers, pooling=None).fit_transform(X)
        features = np.concatenate([row[m] for row, m in zip(rows, measured)])
        expected = cross_val_score(probe, features, targets, cv=folds)
        np.testing.assert_allclose(found.scores[n_layers - 1], expected, rtol=1e-4)


def test_residues_with_several_values_are_probed_where_all_were_measured(folder, X):
    y = [np.stack([row, 1 - np.arange(len(row)) % 3], axis=1) for row in residue_targets(X, "numbers")]
    embedder = PLMEmbedder(folder, pooling=None, precision="fp32")
    found = layer_sweep(embedder, X, y, cv=3, estimator=Ridge())
    measured = [~np.isnan(row).any(axis=1) for row in y]
    targets = np.concatenate([row[m] for row, m in zip(y, measured)])
    owners = np.repeat(np.arange(N), [m.sum() for m in measured])
    folds = [[np.flatnonzero(np.isin(owners, part)) for part in fold] for fold in KFold(3).split(X)]
    last = embedded(folder, 3, pooling=None).fit_transform(X)
    features = np.concatenate([row[m] for row, m in zip(last, measured)])
    np.testing.assert_allclose(
        found.scores[2], cross_val_score(Ridge(), features, targets, cv=folds), rtol=1e-4
    )


@pytest.mark.parametrize("kind", ["letters", "numbers"])
def test_none_is_what_was_not_measured(kind, folder, X):
    y = residue_targets(X, kind)
    gaps = [[None if x in ("-",) or x != x else x for x in row] for row in y]
    embedder = PLMEmbedder(folder, pooling=None, precision="fp32")
    ignored = "-" if kind == "letters" else None
    expected = layer_sweep(embedder, X, y, cv=2, ignore_label=ignored).scores
    np.testing.assert_array_equal(layer_sweep(embedder, X, gaps, cv=2).scores, expected)
    nothing = [np.full(len(X[0]), np.nan), *gaps[1:]]  # of a whole protein
    assert layer_sweep(embedder, X, nothing, cv=2).scores.shape == (3, 2)


def test_structural_states_are_read(miniature, X):
    """In every form that the embedder takes; folds by similarity know the residues alone."""
    rng = np.random.default_rng(3)
    states = ["".join(rng.choice(list("acdefghiklmnpqrstvwy"), len(x))) for x in X]
    in_turn = ["".join(map("".join, zip(x, s))) for x, s in zip(X, states)]
    saprot = str(miniature("saprot"))
    probe = make_pipeline(StandardScaler(), Ridge())
    expected = by_hand(saprot, in_turn, VALUES, probe, KFold(3))
    embedder = PLMEmbedder(saprot, precision="fp32")
    for given in (in_turn, list(zip(X, states)), np.array([X, states], dtype=object).T):
        found = layer_sweep(embedder, given, VALUES, cv=KFold(3), estimator=probe).scores
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert np.abs(by_hand(saprot, X, VALUES, probe, KFold(3)) - expected).max() > 0.01
    by_residues = list(ClusterKFold(3, random_state=0).split(X))
    one, other = (
        layer_sweep(embedder, in_turn, VALUES, cv=cv, estimator=probe).scores
        for cv in (ClusterKFold(3, random_state=0), by_residues)
    )
    np.testing.assert_array_equal(one, other)
    residues = layer_sweep(PLMEmbedder(saprot, pooling=None), in_turn, residue_targets(X, "letters"), cv=2)
    assert residues.scores.shape == (3, 2)


def test_residues_behind_the_cut_are_not_probed(folder, X):
    y = residue_targets(X, "letters")
    embedder = PLMEmbedder(folder, pooling=None, precision="fp32", max_length=15)
    with pytest.warns(UserWarning, match="cut to their first 15") as said:
        found = layer_sweep(embedder, X, y, cv=2, ignore_label="-")
    assert len(said) == 1
    cut = [sequence[:15] for sequence in X], [row[:15] for row in y]
    expected = layer_sweep(PLMEmbedder(folder, pooling=None, precision="fp32"), *cut, cv=2, ignore_label="-")
    np.testing.assert_allclose(found.scores, expected.scores)


def test_residues_are_drawn_by_seed(folder, X):
    y = residue_targets(X, "numbers")
    one, two, other = (
        layer_sweep(PLMEmbedder(folder, pooling=None), X, y, cv=2, max_residues=60, random_state=seed).scores
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_intervals_are_those_of_nadeau_and_bengio(folder, X):
    sweep = layer_sweep(folder, X, VALUES, cv=5, confidence=0.9)
    for layer, row in enumerate(sweep.rows):
        for values, low, high in (
            (sweep.scores[layer], row["low"], row["high"]),
            (sweep.scores[layer] - sweep.scores[-1], row["difference_low"], row["difference_high"]),
        ):
            half = stats.t.ppf(0.95, 4) * np.sqrt((1 / 5 + 6 / 24) * values.var(ddof=1))
            np.testing.assert_allclose([low, high], [values.mean() - half, values.mean() + half])
    assert sweep.to_frame().shape == (3, 7)


def sweep_of(*rows) -> LayerSweep:
    names = ("layer", "mean", "low", "high", "difference", "difference_low", "difference_high")
    return LayerSweep([dict(zip(names, row)) for row in rows], np.zeros((len(rows), 2)), 0.95)


LAST = (3, 0.5, 0.4, 0.6, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    "first, layer, verdict",
    [
        (
            (1, 0.6, 0.5, 0.7, 0.1, -0.1, 0.3),
            1,
            "layer 1 of 3; no difference to the last (+0.100, 95% interval",
        ),
        ((1, 0.6, 0.5, 0.7, 0.1, 0.05, 0.15), 1, "layer 1 of 3; better than the last (+0.100, 95% interval"),
        ((1, 0.4, 0.3, 0.5, -0.1, -0.2, 0.0), 3, "layer 3 of 3, the last"),
        ((1, 0.5, 0.3, 0.5, 0.0, -0.2, 0.2), 1, "layer 1 of 3; no difference to the last (+0.000"),
    ],
)
def test_the_verdict(first, layer, verdict):
    sweep = sweep_of(first, (2, *first[1:]), LAST)
    assert sweep.best_layer == layer
    assert sweep.verdict.startswith(verdict)
    assert str(sweep).endswith(sweep.verdict)


@pytest.mark.parametrize(
    "y, options, message",
    [
        (LABELS[:-1], {}, "y"),
        (np.full(N, "a"), {"cv": 2}, "class"),
        (VALUES, {"cv": [(np.arange(20), np.arange(20, 30))]}, "cv of 2 folds or more"),
        (VALUES, {"scoring": "spearmann"}, "not a scorer"),
        (np.where(np.arange(N) == 3, np.nan, VALUES), {}, "y is missing|missing"),
        pytest.param(
            VALUES,
            {"cv": LeaveOneOut()},
            "nan in 30 of 30 folds.*neg_mean_absolute_error",
            marks=pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning"),
        ),
    ],
)
def test_bad_input_is_refused(y, options, message, folder, X):
    with pytest.raises(ValueError, match=message):
        layer_sweep(folder, X, y, **options)


def test_the_callers_embedder_is_left_alone(folder, X):
    embedder = PLMEmbedder(folder)
    layer_sweep(embedder, X, VALUES, cv=2)
    assert not hasattr(embedder, "n_features_out_")
