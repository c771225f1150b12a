"""Pictures of variants: what is drawn are the numbers that were given."""

import numpy as np
import pytest

from plmlearn.baselines import AdditiveMutationRegressor, gaussian_process
from plmlearn.design import Campaign, single_mutants
from plmlearn.plotting import CampaignDisplay, MutationHeatmapDisplay, PredictedMeasuredDisplay

plt = pytest.importorskip("matplotlib.pyplot")
WILD = "MKVLAG"
SINGLES = single_mutants(WILD)[:]
VALUES = np.random.default_rng(0).normal(size=len(SINGLES))


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def test_hydrophobic_residues_are_on_top():
    # Kyte and Doolittle's hydropathy.
    scale = dict(
        zip(
            "ARNDCQEGHILKMFPSTWYV",
            [
                1.8,
                -4.5,
                -3.5,
                -3.5,
                2.5,
                -3.5,
                -3.5,
                -0.4,
                -3.2,
                4.5,
                3.8,
                -3.9,
                1.9,
                2.8,
                -1.6,
                -0.8,
                -0.7,
                -0.9,
                -1.3,
                4.2,
            ],
        )
    )
    heights = [scale[residue] for residue in MutationHeatmapDisplay.residues]
    assert heights == sorted(heights, reverse=True)


def test_heat_maps_hold_the_numbers_in_their_places():
    display = MutationHeatmapDisplay.from_predictions(WILD, SINGLES, y_true=VALUES, y_pred=-VALUES)
    assert list(display.tables) == ["measured", "predicted"]
    for variant, value in zip(SINGLES, VALUES):
        [site] = [i for i in range(6) if variant[i] != WILD[i]]
        row = display.residues.index(variant[site])
        assert display.tables["measured"][row, site] == value
        assert display.tables["predicted"][row, site] == -value
    assert np.isnan(display.tables["measured"]).sum() == 6
    drawn = display.images_[0].get_array()
    np.testing.assert_allclose(drawn[-1], np.nanmean(display.tables["measured"], axis=0))
    dots = display.axes_[0].collections[1].get_offsets()
    assert [display.residues[int(y)] for _, y in dots] == list(WILD)
    assert [int(x) for x, _ in dots] == [1, 2, 3, 4, 5, 6]


def test_heat_maps_of_estimators_and_numbering():
    model = AdditiveMutationRegressor(order=1).fit(SINGLES, VALUES)
    display = MutationHeatmapDisplay.from_estimator(
        model, WILD, variants=["M24A", "K25C"], y=[1.0, 2.0], first_site=24
    )
    assert np.isfinite(display.tables["measured"]).sum() == 2
    assert np.isfinite(display.tables["predicted"]).sum() == len(SINGLES)
    assert display.axes_[1].get_xticklabels()[0].get_text() == "24"
    figure, two = plt.subplots(2)
    assert display.plot(ax=two).figure_ is figure
    with pytest.raises(ValueError, match=r"1 axes for 2 maps \(measured, predicted\)"):
        display.plot(ax=two[0])


def test_heat_maps_say_what_they_leave_out():
    with pytest.warns(UserWarning, match="1 of 3 variants have several mutations"):
        MutationHeatmapDisplay.from_predictions(WILD, ["M1A", "WT", "M1A:K2C"], y_true=[1, 2, 3])
    repeated = MutationHeatmapDisplay.from_predictions(WILD, ["M1A"] * 3, y_true=[1, 2, np.nan])
    assert repeated.tables["measured"][repeated.residues.index("A"), 0] == 1.5
    with pytest.raises(ValueError, match="expected one of them at least"):
        MutationHeatmapDisplay.from_predictions(WILD, SINGLES)
    with pytest.raises(ValueError, match=r"expected \(114,\)"):
        MutationHeatmapDisplay.from_predictions(WILD, SINGLES, y_true=[1.0])


def test_heat_maps_of_wild_types_in_any_form():
    plain = MutationHeatmapDisplay.from_predictions(WILD, SINGLES, y_true=VALUES)
    lower = MutationHeatmapDisplay.from_predictions(WILD.lower() + "*", SINGLES, y_true=VALUES)
    np.testing.assert_array_equal(lower.tables["measured"], plain.tables["measured"])
    assert lower.wild_type == WILD
    unknown = MutationHeatmapDisplay.from_predictions("XX", ["X1A", "AX"], y_true=[1, 2])
    assert np.nanmax(unknown.tables["measured"]) == 1.5


def test_predictions_without_partners_are_refused():
    for given, name in (
        (([1, 2, 3], [1, 2]), "y_pred"),
        (([[1, 2], [3, 4]], [1, 2]), "y_true"),
    ):
        with pytest.raises(ValueError, match=f"{name} has shape"):
            PredictedMeasuredDisplay.from_predictions(*given)
    with pytest.raises(ValueError, match=r"std has shape \(3,\); expected .*\(2,\)"):
        PredictedMeasuredDisplay.from_predictions([1, 2], [1, 2], std=[1, 1, 1])
    display = PredictedMeasuredDisplay.from_predictions(np.ones((2, 1)) * [[1], [2]], [1, 2])
    assert display.y_true.tolist() == [1, 2]


def test_predictions_and_their_intervals():
    true, pred = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.5, 1.0, 1.0, 3.5])
    intervals = np.column_stack([pred - 0.6, pred + 0.6])
    for form in (intervals, intervals[:, :, None]):
        display = PredictedMeasuredDisplay.from_predictions(true, pred, intervals=form)
        assert display.coverage == 0.75
    several = np.repeat(intervals[:, :, None], 2, axis=2)
    with pytest.raises(ValueError, match=r"have shape \(4, 2, 2\); expected \(4, 2\)"):
        PredictedMeasuredDisplay.from_predictions(true, pred, intervals=several)
    points = [
        c.get_offsets()
        for c in display.ax_.collections
        if len(c.get_offsets()) and "inside" in str(c.get_label())
    ]
    np.testing.assert_allclose(points[0], np.column_stack([true, pred])[[0, 1, 3]])
    assert "75% inside" in display.ax_.get_title()
    assert PredictedMeasuredDisplay.from_predictions(true, pred).coverage is None
    by_std = PredictedMeasuredDisplay.from_predictions(true, pred, std=np.full(4, 0.6 / 1.645))
    np.testing.assert_allclose(by_std.intervals, intervals)


def test_predictions_of_estimators():
    with_std = gaussian_process("onehot").fit(SINGLES, VALUES)
    display = PredictedMeasuredDisplay.from_estimator(with_std, SINGLES, VALUES)
    mean, std = with_std.predict(SINGLES, return_std=True)
    np.testing.assert_allclose(display.intervals[:, 1], mean + 1.645 * std)
    without_std = AdditiveMutationRegressor(order=1).fit(SINGLES, VALUES)
    plain = PredictedMeasuredDisplay.from_estimator(without_std, SINGLES, VALUES)
    assert plain.intervals is None


def test_campaigns_are_medians_of_their_rounds():
    rows = [
        {"strategy": name, "campaign": c, "round": r, "n_measured": 10 * r, "top_share": share * r, "best": r}
        for name, shares in {"ours": [0.1, 0.2, 0.4], "random": [0.0, 0.1, 0.1]}.items()
        for c, share in enumerate(shares)
        for r in (1, 2)
    ]
    display = CampaignDisplay(Campaign(rows, n_top=5)).plot()
    np.testing.assert_allclose(display.lines_["ours"].get_xydata(), [[10, 0.2], [20, 0.4]])
    np.testing.assert_allclose(display.plot(figure="best").lines_["random"].get_ydata(), [1, 2])
    with pytest.raises(ValueError, match="figure='worst'"):
        display.plot(figure="worst")
