"""``write``: an evaluation as one HTML file. What it looks like is in ``page.html``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..sequences.checked import checked
from ..sequences.clean import local_path
from ..sequences.files import replacing
from . import facts, pictures
from .evaluation import Evaluation


@checked(
    evaluation=[Evaluation],
    title=[str, None],
    command=[str, None],
    settings=[str, None],
    target_names=[list, tuple, None],
)
def write(
    evaluation: Evaluation,
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    command: str | None = None,
    settings: str | None = None,
    target_names: Sequence[str] | None = None,
) -> None:
    """Write an evaluation as a page: one HTML file with its pictures inside.

    It shows the data, the split and what it leaks, all models with confidence intervals, what is taken for
    what, calibration, learning curves, costs, warnings, and how to get the same figures again. It loads
    nothing from elsewhere, runs no script, and fits the screen of a phone.

    Parameters
    ----------
    evaluation : Evaluation
        Of :func:`evaluate`.
    path : str or PathLike
        The file. It is replaced in one step.
    title : str, default=None
        None takes the name of the estimator.
    command : str, default=None
        What was typed, for a reader who wants to do it again.
    settings : str, default=None
        All settings, to be shown as they are.
    target_names : sequence of str, default=None
        Of the columns of y, where it has several.

    Raises
    ------
    ImportError
        matplotlib is missing (``pip install "plmlearn[plot]"``).
    OSError
        The file cannot be written.

    See Also
    --------
    evaluate : Makes an evaluation.
    plmlearn.hub.model_card : What a fitted estimator is, in Markdown.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from plmlearn import PLMLoRARegressor, report
    >>> from plmlearn.datasets import make_protein_regression
    >>> X, y = make_protein_regression(20, max_length=30, random_state=0)
    >>> reg = PLMLoRARegressor("mini", last_n_layers=1, epochs=1, random_state=0, verbose=0)
    >>> found = report.evaluate(reg, X, y, folds=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report.write(found, Path(folder, "report.html"))
    ...     "Predicted against measured" in Path(folder, "report.html").read_text()
    True
    """
    pictures.check_matplotlib()
    names = None if target_names is None else list(target_names)
    text = _TEMPLATES.get_template("page.html").render(
        title=title or evaluation.comparison.reference,
        command=command,
        settings=settings,
        date=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        **_contents(evaluation, names),
    )
    with replacing(local_path(path)) as part:
        part.write_text(text, encoding="utf-8")


def _contents(evaluation: Evaluation, names: Sequence[str] | None) -> dict[str, Any]:
    """Everything that the page shows, by the name that the template has for it."""
    rows = evaluation.comparison.rows
    return {
        "evaluation": evaluation,
        "verdict": facts.verdict(evaluation),
        "data": facts.data_facts(evaluation),
        "classes": facts.class_rows(evaluation, names),
        "folds": facts.split_rows(evaluation),
        "scores": facts.score_rows(evaluation),
        "labels": facts.label_rows(evaluation, names),
        "costs": facts.cost_rows(evaluation),
        "n_scores": rows[0]["n_scores"],
        "versions": facts.versions(),
        "fingerprint": evaluation.outcomes[0].fingerprint,
        "python": facts.as_python(evaluation),
        "seed": getattr(evaluation.estimator, "random_state", None),
        "pictures": {
            "data": list(pictures.of_data(evaluation)),
            "split": list(pictures.of_split(evaluation)),
            "scores": list(pictures.of_scores(evaluation)),
            "predictions": list(pictures.of_predictions(evaluation, names)),
            "calibration": list(pictures.of_probabilities(evaluation)),
            "training": list(pictures.of_training(evaluation)),
        },
    }


# Every text is escaped: names of classes and files may hold anything.
_TEMPLATES = Environment(
    loader=PackageLoader("plmlearn.report", "."),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
