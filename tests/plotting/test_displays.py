"""Pictures show the numbers they are said to show, on the caller's axes or on new ones."""

import sys
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import recall_score

from plmlearn import (
    PLMClassifier,
    PLMEmbedder,
    PLMFrozenMLP,
    PLMRegressor,
    PLMResidueClassifier,
    PLMResidueRegressor,
    PLMSignalPeptideClassifier,
    layer_sweep,
)
from plmlearn.adapters import Frozen
from plmlearn.design import Campaign
from plmlearn.metrics import expected_calibration_error
from plmlearn.model_selection import LeakageReport
from plmlearn.plotting import (
    AttentionDisplay,
    AttentionMaps,
    CampaignDisplay,
    ClassScoresDisplay,
    EmbeddingMapDisplay,
    LayerSweepDisplay,
    LeakageDisplay,
    LearningCurvesDisplay,
    ReliabilityDisplay,
    ResidueDisplay,
)
from plmlearn.probing import LayerSweep

plt = pytest.importorskip("matplotlib.pyplot")
SETTINGS = {"adapter": Frozen(), "random_state": 0, "verbose": 0}
LABELS = np.array(["a", "b"] * 10)
VALUES = np.random.default_rng(1).normal(size=20)


@pytest.fixture(scope="module")
def X(draw_proteins):
    return draw_proteins(20, seed=9)


@pytest.fixture(scope="module")
def clf(esm_folder, X):
    options = {"epochs": 3, "early_stopping": True, "validation_fraction": 0.3, "scoring": "roc_auc"}
    return PLMClassifier(esm_folder, **SETTINGS, **options).fit(X, LABELS)


@pytest.fixture
def ax():
    yield plt.subplots()[1]
    plt.close("all")


def assert_readable(figure):
    """Every text lies within the figure, and no two numbers or names of one axis overlap."""
    figure.canvas.draw()
    edge = figure.bbox
    for ax in figure.axes:
        box = ax.get_tightbbox(for_layout_only=False)
        if ax.axison:
            assert min(box.x0, box.y0, edge.x1 - box.x1, edge.y1 - box.y1) > -2
        for axis in (ax.xaxis, ax.yaxis):
            texts = [text for text in axis.get_ticklabels() if text.get_visible() and text.get_text()]
            places = sorted((b.x0, b.x1) if axis is ax.xaxis else (b.y0, b.y1)
                            for b in (text.get_window_extent() for text in texts))  # fmt: skip
            assert all(first[1] <= second[0] + 1 for first, second in pairwise(places))
    below = [ax.xaxis.label for ax in figure.axes if ax.get_xlabel()]
    boxes = sorted((label.get_window_extent() for label in below), key=lambda b: (round(b.y0), b.x0))
    assert not any(a.overlaps(b) for a, b in pairwise(boxes))


NAMES = np.array([f"a compartment of the cell with a long name, {i}" for i in range(20)])
SHARES = np.random.default_rng(0).dirichlet(np.ones(20), 500)
SCORES = {"difference": 0, "difference_low": 0, "difference_high": 0}


def _maps(n_layers, length):
    drawn = np.random.default_rng(0).dirichlet(np.ones(length), (n_layers, length))
    return AttentionMaps("M" * length, tuple(range(1, n_layers + 1)), drawn, drawn[:, ::-1])


def _campaign(n_rounds, names):
    rows = [
        {"strategy": name, "campaign": i, "round": r, "n_measured": 96 * r, "top_share": r / 20, "best": r}
        for name in names for i in range(2) for r in range(1, n_rounds + 1)
    ]  # fmt: skip
    return Campaign(rows, n_top=3)


@pytest.mark.parametrize(
    "display",
    [
        ClassScoresDisplay([{"label": name, "n": 1000, "f1": 0.5} for name in NAMES]),
        EmbeddingMapDisplay(np.random.default_rng(0).normal(size=(500, 2)), NAMES[np.arange(500) % 20]),
        EmbeddingMapDisplay(np.zeros((1000, 2)), [f"cluster {i}" for i in range(1000)]),
        EmbeddingMapDisplay(np.zeros((1000, 2)), np.arange(1000)),
        ResidueDisplay("M" * 500, SHARES, labels=NAMES, y_true=NAMES[np.arange(500) % 20]),
        ResidueDisplay("M", SHARES[:1], labels=NAMES),
        LearningCurvesDisplay([{"epoch": 1, "train_loss": 0.5}]),
        LearningCurvesDisplay(
            [{"epoch": i, "train_loss": 1 / i, "valid_score": i} for i in range(1, 101)],
            score_name="neg_mean_absolute_percentage_error",
        ),
        LayerSweepDisplay(
            LayerSweep([{"layer": 1, "mean": 0.5, "low": 0.4, "high": 0.6} | SCORES], np.ones((1, 2)), 0.95)
        ),
        AttentionDisplay(_maps(1, 60)),
        AttentionDisplay(_maps(33, 60)),
        AttentionDisplay(_maps(4, 3)),
        CampaignDisplay(_campaign(30, ["random", *NAMES])),
        CampaignDisplay(_campaign(1, ["random", "ridge"])),
    ],
    ids=lambda display: type(display).__name__,
)
def test_pictures_of_any_size_are_readable(display):
    display.plot()
    assert_readable(display.figure_)
    plt.close("all")


def assert_drawn_on(display, ax):
    assert (display.ax_, display.figure_) == (ax, ax.figure)
    assert display.plot().figure_ is not ax.figure


def column(history, name):
    return [row[name] for row in history]


def test_learning_curves(clf, ax):
    display = LearningCurvesDisplay.from_estimator(clf, ax=ax)
    for name, line in display.lines_.items():
        assert line.get_xdata().tolist() == [1, 2, 3]
        assert line.get_ydata().tolist() == column(clf.history_, name)
    assert set(display.lines_) == {"train_loss", "valid_loss", "valid_score"}
    assert (display.best, display.score_name) == (clf.best_epoch_, "roc_auc")
    assert display.score_ax_.get_ylabel() == "validation roc_auc"
    assert_drawn_on(display, ax)


def test_learning_curves_without_a_score(ax):
    """Without ``scoring`` the score is the validation loss again; PLMMaskedLM counts steps."""
    history = [
        {"step": 5 * k, "train_loss": 3 / k, "valid_loss": 3 / k, "valid_score": -3 / k} for k in (1, 2)
    ]
    estimator = SimpleNamespace(history_=history, scoring=None)
    display = LearningCurvesDisplay.from_estimator(estimator, ax=ax)
    assert set(display.lines_) == {"train_loss", "valid_loss"}
    assert (ax.get_xlabel(), display.score_ax_, display.best) == ("step", None, None)
    with pytest.raises(ValueError, match="PLMClassifier has no history_"):
        LearningCurvesDisplay.from_estimator(PLMClassifier())
    with pytest.raises(ValueError, match="SimpleNamespace has no history_"):  # of what trained for no epoch
        LearningCurvesDisplay.from_estimator(SimpleNamespace(history_=[]))


def test_history_is_a_table(clf):
    table = pytest.importorskip("pandas").DataFrame(clf.history_)
    assert table["train_loss"].tolist() == column(clf.history_, "train_loss")
    assert table["epoch"].tolist() == [1, 2, 3]


@pytest.fixture(scope="module")
def labelled(X):
    return ["".join("HE"[r in "AILMFVWY"] for r in s) for s in X]


def test_residues_of_classes(esm_folder, X, labelled, ax):
    clf = PLMResidueClassifier(esm_folder, **SETTINGS, epochs=1, ignore_label="-").fit(X, labelled)
    measured = "-?" + labelled[0][2:]
    display = ResidueDisplay.from_estimator(clf, X[0], y_true=measured, ax=ax)
    drawn = np.column_stack([line.get_ydata() for line in display.lines_])
    np.testing.assert_allclose(drawn, clf.predict_proba(X[:1])[0])
    assert display.labels == ["E", "H"]
    colors = {line.get_label(): line.get_color() for line in display.lines_}
    bars = {bar.get_x() + 0.5: bar.get_facecolor() for bar in ax.patches}
    assert 1 not in bars  # not measured
    to_rgba = sys.modules["matplotlib.colors"].to_rgba
    assert all(bars[k] == to_rgba(colors[x]) for k, x in enumerate(measured, 1) if x in "HE")
    assert bars[2] not in [to_rgba(color) for color in colors.values()]
    assert_drawn_on(display, ax)


def test_residues_with_states_are_drawn_once_each(miniature, X, labelled, ax):
    in_turn = ["".join(f"{residue}d" for residue in x) for x in X]
    clf = PLMResidueClassifier(miniature("saprot"), **SETTINGS, epochs=1).fit(in_turn, labelled)
    display = ResidueDisplay.from_estimator(clf, in_turn[0], y_true=labelled[0], ax=ax)
    assert display.sequence == X[0]
    np.testing.assert_allclose(display.values, clf.predict_proba(in_turn[:1])[0])


def test_residues_of_values(esm_folder, X, ax):
    y = [np.arange(len(s), dtype=float) for s in X]
    reg = PLMResidueRegressor(esm_folder, **SETTINGS, epochs=1).fit(X, y)
    display = ResidueDisplay.from_estimator(reg, X[0], y_true=y[0], ax=ax)
    [line, dots] = ax.lines
    np.testing.assert_allclose(line.get_ydata(), reg.predict(X[:1])[0])
    np.testing.assert_allclose(dots.get_ydata(), y[0])
    assert display.unit == ax.get_ylabel() == "predicted value"
    single = ResidueDisplay.from_predictions("MKV", [1, 2, 3], y_true=np.float32([1, 2, 3]), unit="value")
    assert [line.get_label() for line in single.ax_.lines] == ["column 0", "measured"]
    classes = ResidueDisplay.from_predictions("MKV", np.eye(3)[:, :2], labels=["0", "1"], y_true=[0, 1, 0])
    assert len(classes.ax_.patches) == 3  # numbers that are names of classes


def test_signal_peptides(esm_folder, ax):
    X = ["MKRLLVLLALLLVAASAQADDETKPE", "MSTEEQKRNDPEEAGKDDSSQTEPR"] * 4
    regions = ["S" * 18 + "O" * 8, "I" * 25] * 4
    clf = PLMSignalPeptideClassifier(esm_folder, **SETTINGS, epochs=4, head_lr=0.1)
    clf.fit(X, ["SP", "NO_SP"] * 4, regions=regions)
    display = ResidueDisplay.from_estimator(clf, X[0], y_true=regions[0], ax=ax)
    probabilities, letters = clf.predict_region_proba(X[:1], detailed=True)
    h = display.lines_[display.labels.index("h-region")]
    np.testing.assert_allclose(h.get_ydata(), probabilities[0][:, list(letters).index("h")])
    assert display.labels[:3] == ["n-region", "h-region", "c-region"]
    [site] = clf.predict_cleavage_site(X[:1])
    assert display.sites == {f"cut after {site}": site + 0.5}
    assert display.y_true == ["signal peptide"] * 18 + ["outside"] * 8


def test_long_sequences_have_no_letters(ax):
    ResidueDisplay.from_predictions("A" * 300, np.zeros(300), labels=["x"], ax=ax, line_kw={"linewidth": 3})
    assert ax.get_xticklabels(minor=True) == []
    assert ax.lines[0].get_linewidth() == 3


@pytest.mark.parametrize("gap", [None, np.nan, pd.NA])
def test_residues_without_a_label_have_no_band(gap):
    display = ResidueDisplay("MKV", SHARES[:3, :2], labels=["H", "E"], y_true=["H", gap, "E"]).plot()
    assert len(display.ax_.patches) == 2
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["H", "E"]
    plt.close("all")


def test_residues_that_do_not_fit():
    with pytest.raises(ValueError, match="has 3 residues, but values has 2 and y_true has 4"):
        ResidueDisplay("MKV", [1, 2], y_true="HHHH")
    with pytest.raises(ValueError, match="labels has 1 names; expected 2"):
        ResidueDisplay("MK", [[1, 2], [3, 4]], labels=["a"])


def test_scores_by_class(ax):
    y_true, y_pred = ["a", "a", "b", "b", "b"], ["a", "b", "b", "b", "a"]
    display = ClassScoresDisplay.from_predictions(y_true, y_pred, labels=list("abc"), score="recall", ax=ax)
    expected = recall_score(y_true, y_pred, labels=["a", "b"], average=None)
    widths = [bar.get_width() for bar in display.bars_]
    np.testing.assert_allclose(widths, [*expected, 0])
    assert [text.get_text() for text in ax.texts] == ["not defined"]
    assert ax.lines[0].get_xdata()[0] == pytest.approx(expected.mean())
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a (n=2)", "b (n=3)", "c (n=0)"]
    assert_drawn_on(display, ax)
    with pytest.raises(ValueError, match="score"):
        ClassScoresDisplay([], score="mcc")


def test_scores_by_class_of_an_estimator(clf, X):
    display = ClassScoresDisplay.from_estimator(clf, X, LABELS, score="aupr")
    assert [row["label"] for row in display.rows] == ["a", "b"]
    assert 0 < display.rows[0]["aupr"] <= 1
    plt.close("all")


def test_reliability_by_hand(ax):
    rng = np.random.default_rng(0)
    proba = rng.dirichlet([1, 1, 1], 300)
    y = np.array(["x", "y", "z"])[[rng.choice(3, p=p) for p in proba]]
    display = ReliabilityDisplay.from_predictions(y, proba, n_bins=5, ax=ax)
    sure, right = proba.max(1), np.array(["x", "y", "z"])[proba.argmax(1)] == y
    bins = [(sure > low) & (sure <= low + 0.2) for low in (0.2, 0.4, 0.6, 0.8)]
    np.testing.assert_allclose(display.prob_true, [right[b].mean() for b in bins])
    np.testing.assert_allclose(display.prob_pred, [sure[b].mean() for b in bins])
    np.testing.assert_allclose(display.shares, [b.mean() for b in bins])
    gaps = [b.mean() * abs(right[b].mean() - sure[b].mean()) for b in bins]
    assert display.error == pytest.approx(sum(gaps))
    np.testing.assert_array_equal(display.line_.get_ydata(), display.prob_true)
    assert_drawn_on(display, ax)


def test_reliability_of_an_estimator(clf, X):
    display = ReliabilityDisplay.from_estimator(clf, X, LABELS)
    expected = expected_calibration_error(LABELS, clf.predict_proba(X)[:, 1], n_bins=10)
    assert display.error == pytest.approx(expected)
    plt.close("all")


def test_map_by_hand(esm_folder, X, ax):
    """Principal components of standardised embeddings."""
    embedder = PLMEmbedder(esm_folder).fit(X)
    display = EmbeddingMapDisplay.from_estimator(embedder, X, LABELS, ax=ax)
    features = embedder.transform(X).astype(float)
    features = (features - features.mean(0)) / features.std(0)
    u, s, _ = np.linalg.svd(features, full_matrices=False)
    np.testing.assert_allclose(np.abs(display.points), np.abs(u[:, :2] * s[:2]), rtol=1e-3, atol=1e-3)
    of_a, of_b = display.points_
    np.testing.assert_allclose(of_a.get_offsets(), display.points[LABELS == "a"])
    assert [of_a.get_label(), of_b.get_label()] == ["a", "b"]
    assert ax.get_xlabel() == f"component 1 ({s[0] ** 2 / (s**2).sum():.0%} of variance)"
    assert_drawn_on(display, ax)


def test_map_of_errors(esm_folder, X, clf, ax):
    reg = PLMRegressor(esm_folder, **SETTINGS, epochs=1).fit(X, VALUES)
    display = EmbeddingMapDisplay.from_estimator(reg, X, VALUES, color_by="error", ax=ax)
    np.testing.assert_allclose(display.points_[0].get_array(), np.abs(reg.predict(X) - VALUES))
    assert display.color_name == "absolute error"
    display = EmbeddingMapDisplay.from_estimator(clf, X, LABELS, color_by="error")
    assert np.array_equal(display.color_by == "right", clf.predict(X) == LABELS)
    with pytest.raises(ValueError, match='color_by="error" needs y'):
        EmbeddingMapDisplay.from_estimator(clf, X, color_by="error")
    with pytest.raises(ValueError, match="expected \\(n, 2\\) and n"):
        EmbeddingMapDisplay(np.zeros((3, 2)), [1, 2])


@pytest.mark.parametrize(
    "color_by, n_drawn, not_known",
    [
        (np.array(["a", None, "b", "b"], dtype=object), [1, 2], 1),
        (np.array([0.5, np.nan, 1.5, 2.5]), [3], 1),
        (pd.array([True, None, False, False], dtype="boolean"), [2, 1], 1),
        (pd.array([0.5, 1, 2, None], dtype="Float64"), [3], 1),
        (pd.Categorical(["a", "c", "a", "a"]), [3, 1], 0),
        (np.arange(4), [1, 1, 1, 1], 0),
        ([1, "a", 1, "a"], [2, 2], 0),
    ],
)
def test_colours_of_any_type(color_by, n_drawn, not_known):
    display = EmbeddingMapDisplay(np.arange(8).reshape(4, 2), color_by).plot()
    assert [len(p.get_offsets()) for p in display.points_] == n_drawn + [not_known] * bool(not_known)
    assert (display.points_[-1].get_label() == "not known") == bool(not_known)
    plt.close("all")


def test_whole_numbers_of_many_values_are_a_scale_and_rare_labels_are_grey():
    points = np.zeros((60, 2))
    [drawn] = EmbeddingMapDisplay(points, np.arange(60)).plot().points_
    np.testing.assert_array_equal(drawn.get_array(), np.arange(60))
    values = [f"c{i}" for i in range(50)] + ["c49"] * 10
    *own, others = EmbeddingMapDisplay(points, values).plot().points_
    assert (len(own), len(others.get_offsets()), others.get_label()) == (48, 2, "2 others")
    assert {f"c{i}" for i in range(50)} - {p.get_label() for p in own} == {"c8", "c9"}
    plt.close("all")


def test_embeddings_that_are_all_the_same():
    display = EmbeddingMapDisplay.from_embeddings(np.ones((5, 3)))
    assert display.axis_names == ("component 1 (0% of variance)", "component 2 (0%)")
    plt.close("all")


def test_many_labels_differ_in_colour_and_marker(ax):
    values = np.arange(20)
    display = EmbeddingMapDisplay(np.zeros((20, 2)), values).plot(ax=ax)
    looks = {(tuple(p.get_facecolor()[0]), p.get_paths()[0].vertices.tobytes()) for p in display.points_}
    assert len(looks) == 20


def test_umap_is_asked_where_it_is_installed(monkeypatch, ax):
    """A stand-in: it gets standardised features and the seed."""
    asked = {}

    class UMAP:
        def __init__(self, **settings):
            asked.update(settings)

        def fit_transform(self, features):
            asked["deviation"] = features.std(0)
            return features[:, :2]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=UMAP))
    embeddings = np.random.default_rng(0).normal(size=(20, 4)) * [1, 2, 3, 4]
    display = EmbeddingMapDisplay.from_embeddings(embeddings, method="umap", random_state=3, ax=ax)
    assert (asked["random_state"], asked["n_jobs"], asked["n_neighbors"]) == (3, 1, 15)
    np.testing.assert_allclose(asked["deviation"], 1)
    assert display.axis_names == ("UMAP 1", "UMAP 2")
    with pytest.raises(ValueError, match="4 proteins or more, got 3"):
        EmbeddingMapDisplay.from_embeddings(embeddings[:3], method="umap")


def test_umap_draws_few_and_many_without_a_warning(ax):
    pytest.importorskip("umap")
    embeddings = np.random.default_rng(0).normal(size=(20, 4))
    once, again, few = (
        EmbeddingMapDisplay.from_embeddings(rows, method="umap", ax=ax)
        for rows in (embeddings, embeddings, embeddings[:4])
    )
    np.testing.assert_array_equal(once.points, again.points)
    assert few.points.shape == (4, 2)


def test_leakage_shows_all_test_proteins(ax):
    """Bars add up to 1: the proteins without relatives, and the others by identity."""
    identity, nearest = np.array([0.0, 0.31, 0.99, 1.0]), np.array([-1, 0, 1, 2])
    report = LeakageReport(identity, np.array([0.0, 1, 1, 1]), nearest, 1)
    display = LeakageDisplay(report).plot(ax=ax)
    heights = [bar.get_height() for bar in ax.patches]
    assert sum(heights) == pytest.approx(1)
    assert heights[0] == 0.25
    assert heights[-1] == 0.5
    assert display.bars_[6].get_height() == 0.25
    assert "1 of 4" in ax.get_title()
    assert_drawn_on(display, ax)


def test_leakage_of_a_split(ax):
    display = LeakageDisplay.from_split(["MKVLAAAAAA"], ["MKVLAAAAAC"], ax=ax)
    assert display.report.identity == pytest.approx([0.9])


def test_layers(esm_folder, X, ax):
    display = LayerSweepDisplay.from_backbone(
        str(esm_folder), X, VALUES, cv=3, scoring="spearman", ax=ax, line_kw={"color": "green"}
    )
    line = display.errorbar_[0]
    assert line.get_color() == "green"
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
    expected = layer_sweep(str(esm_folder), X, VALUES, cv=3, scoring="spearman")
    np.testing.assert_allclose(line.get_ydata(), expected.scores.mean(axis=1))
    assert ax.get_ylabel() == "spearman"
    assert_drawn_on(display, ax)


def test_notebooks_show_the_gist_first(clf, esm_folder, X):
    shown = clf._repr_html_()
    first, _, rest = shown.partition("<details>")
    kept = clf.history_[clf.best_epoch_ - 1]
    assert f"{clf.n_trainable_parameters_:,} of {clf.n_parameters_:,} parameters trained" in first
    assert f"validation roc_auc {kept['valid_score']:.3f}" in first
    assert f"epoch {clf.best_epoch_} of 3" in first
    assert "Frozen()" in first
    assert str(esm_folder) in first
    assert "head_dropout" not in first
    assert "head_dropout" in rest
    assert clf._repr_mimebundle_()["text/html"].startswith("<table")


@pytest.mark.parametrize(
    "estimator, method",
    [
        (PLMClassifier("<b>", adapter="ia3", n_layers=3), "ia3"),
        (PLMRegressor(adapter=None), "LoRA()"),
        (PLMFrozenMLP(), "frozen backbone"),
    ],
)
def test_notebooks_show_what_is_not_fitted(estimator, method):
    first = estimator._repr_html_().partition("<details>")[0]
    assert method in first
    assert "not fitted" in first
    assert "<b>" not in first
