"""The pictures of a report: Displays of this package and of scikit-learn, each as a PNG in text."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay

from ..baselines import Comparison
from ..model_selection import LeakageReport
from ..plotting import ClassScoresDisplay, LeakageDisplay, LearningCurvesDisplay, ReliabilityDisplay
from ..plotting.style import BLUE, GREY, ORANGE, SEQUENTIAL
from ..sequences.checked import require_package
from .evaluation import Evaluation
from .facts import label_rows, lengths_of, measured, names_of, numbers, probabilities

_MOST_CLASSES = 40  # whose names can be read side by side
_WRITTEN = 12  # classes whose counts fit into the cells
_MOST_POINTS = 3000
_MOST_COLUMNS = 6
_LONGEST_NAME = 28


@dataclass(frozen=True)
class Picture:
    """A PNG as an address of its own ("data:…"), and what it shows in words."""

    source: str
    text: str


def check_matplotlib() -> None:
    """One error where the pictures cannot be drawn."""
    message = 'A report has pictures, which need matplotlib: pip install "plmlearn[plot]".'
    require_package("matplotlib", message)


def drawn(
    text: str, draw: Callable[..., Any], *data: Any, width: float = 6.0, height: float = 3.6
) -> Picture:
    """What ``draw(ax, *data)`` puts on new axes; names are text, whatever they look like."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    file = io.BytesIO()
    with rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.subplots(), *data)
        figure.savefig(file, format="png", dpi=144)
    return Picture(f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}", text)


def of_data(evaluation: Evaluation) -> Iterator[Picture]:
    """Lengths, and numbers if these are predicted."""
    noun = "proteins" if evaluation.X.ndim == 1 else "proteins of the pairs"
    lengths = lengths_of(evaluation)
    if np.ptp(lengths):
        yield drawn("Lengths of the proteins", _histogram, lengths, "residues", noun)
    if evaluation.kind.endswith("numbers"):
        values = numbers(evaluation)
        noun = "values" if evaluation.kind == "numbers" else "residues"
        yield drawn("Values to predict", _histogram, values[~np.isnan(values)], "measured value", noun)


def _histogram(ax: Any, values: np.ndarray, label: str, noun: str) -> None:
    ax.hist(values, bins=min(40, max(5, len(np.unique(values)))), color=BLUE)
    ax.axvline(np.median(values), color=ORANGE, linestyle="--", label=f"median {np.median(values):.4g}")
    ax.set(xlabel=label, ylabel=noun)
    ax.legend(frameon=False)


def of_split(evaluation: Evaluation) -> Iterator[Picture]:
    """Leakage of all folds together; of pairs the table says all."""
    reports = [report for report in evaluation.leakage if isinstance(report, LeakageReport)]
    if reports:
        identity, coverage, nearest = (
            np.concatenate(parts) for parts in zip(*((r.identity, r.coverage, r.nearest) for r in reports))
        )
        report = LeakageReport(identity, coverage, nearest, sum(r.n_duplicates for r in reports))
        yield drawn("Identity of test proteins to training, all folds", LeakageDisplay(report).plot)


def of_scores(evaluation: Evaluation) -> Iterator[Picture]:
    """Means and intervals of all models, a picture for each score."""
    rows = evaluation.comparison.rows
    for metric in dict.fromkeys(row["metric"] for row in rows):
        of_metric = [row for row in rows if row["metric"] == metric]
        if len(of_metric) < 2:  # nothing to compare
            return
        options: dict[str, float] = {"height": 1.2 + 0.4 * len(of_metric)}
        yield drawn(f"{metric} with intervals", _intervals, of_metric, evaluation.comparison, **options)


def _intervals(ax: Any, rows: list[dict[str, Any]], comparison: Comparison) -> None:
    for place, row in enumerate(rows):
        color = BLUE if row["estimator"] == comparison.reference else GREY
        ax.plot([row["low"], row["high"]], [place, place], color=color, linewidth=3)
        ax.plot(row["mean"], place, "o", color=color, markersize=8)
    ax.set_yticks(range(len(rows)), [short(row["estimator"]) for row in rows])
    ax.set(xlabel=f"{rows[0]['metric']} (mean, {comparison.confidence:.0%} interval)")
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(axis="x", color="0.9")
    ax.set_axisbelow(True)


def of_predictions(evaluation: Evaluation, names: Sequence[str] | None) -> Iterator[Picture]:
    """Confusion and scores by class; of numbers, predicted against measured."""
    true, predicted = measured(evaluation)
    if evaluation.kind.endswith("numbers"):
        yield from _of_numbers(true, predicted, names)
        return
    rows = [{**row, "label": short(row["label"])} for row in label_rows(evaluation, names)]
    if len(rows) > _MOST_CLASSES:
        return
    if true.ndim == 1:
        side = 2.4 + 0.4 * min(len(rows), 20)
        size = {"width": max(side, 4.8), "height": max(side, 4.2)}
        yield drawn("Confusion of classes", _confusion, true, predicted, **size)
    yield drawn("F1 by class", ClassScoresDisplay(rows).plot, height=1.8 + 0.28 * len(rows))


def _confusion(ax: Any, true: np.ndarray, predicted: np.ndarray) -> None:
    true, predicted = true.astype(str), predicted.astype(str)
    names = [short(name) for name in np.union1d(true, predicted)]
    display = ConfusionMatrixDisplay.from_predictions(
        true,
        predicted,
        display_labels=names,
        include_values=len(names) <= _WRITTEN,
        xticks_rotation="vertical" if len(names) > 3 else "horizontal",
        cmap=SEQUENTIAL,
        ax=ax,
    )
    display.ax_.set(xlabel="predicted", ylabel="measured", title="Predictions of all folds")


def _of_numbers(true: np.ndarray, predicted: np.ndarray, names: Sequence[str] | None) -> Iterator[Picture]:
    several = true.ndim > 1
    columns = zip(true.reshape(len(true), -1).T, predicted.reshape(len(true), -1).T)
    labels = names_of(true, names) if several else [""]
    for label, (t, p) in list(zip(labels, columns))[:_MOST_COLUMNS]:
        kept = ~np.isnan(t.astype(float))
        t, p = t[kept].astype(float), p[kept].astype(float)
        text = f"Predicted against measured {label}".strip()
        yield drawn(text, _scatter, t, p, label, width=4.8, height=4.8)


def _scatter(ax: Any, true: np.ndarray, predicted: np.ndarray, label: str) -> None:
    rows = np.random.default_rng(0).permutation(len(true))[:_MOST_POINTS]
    ax.scatter(true[rows], predicted[rows], s=12, alpha=0.5, color=BLUE, edgecolors="none")
    middle = np.median(true)
    ax.axline((middle, middle), slope=1, color="0.4", linestyle=":", label="predicted = measured")
    some = f"{len(rows):,} of {len(true):,}" if len(rows) < len(true) else f"{len(rows):,}"
    title = f"{short(label)}: {some} predictions" if label else f"{some} predictions"
    ax.set(xlabel="measured", ylabel="predicted", title=title)
    ax.legend(frameon=False)


def of_probabilities(evaluation: Evaluation) -> Iterator[Picture]:
    """How reliable probabilities are."""
    found = probabilities(evaluation)
    if found is not None:
        true, proba, classes = found
        if classes is not None:  # a class that no training fold has gets no probability
            known = np.isin(true, classes)
            true, proba = true[known], proba[known]
        draw = partial(ReliabilityDisplay.from_predictions, true, proba, labels=classes)
        yield drawn("Reliability of probabilities", lambda ax: draw(ax=ax), width=4.8, height=5.2)


def of_training(evaluation: Evaluation) -> Iterator[Picture]:
    """Losses of all folds."""
    histories = [outcome.history for outcome in evaluation.outcomes if outcome.history]
    if histories:
        yield drawn("Learning curves of all folds", _curves, histories, height=4.2)


def _curves(ax: Any, histories: list[list[dict[str, Any]]]) -> None:
    for history in histories:
        losses = [{key: row[key] for key in row if key != "valid_score"} for row in history]
        LearningCurvesDisplay(losses).plot(ax=ax, alpha=0.6)  # the last one's legend replaces the others'
    ax.set_title(f"Learning curves of {len(histories)} fits")


def short(name: Any) -> str:
    """A name that leaves room for the picture."""
    text = str(name)
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"
