"""An estimator as a notebook shows it: what it is and how well it does first, parameters folded."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

_FOLDED = (
    '<table style="margin-bottom: 0.3em">'
    '<caption style="text-align: left; font-weight: bold">{title}</caption>{rows}</table>'
    "<details><summary>All parameters</summary>{diagram}</details>"
)
_ROW = '<tr><th style="text-align: left">{}</th><td style="text-align: left">{}</td></tr>'


def fitted_rows(fitted: Mapping[str, Any]) -> dict[str, str]:
    """Size and scores among the attributes of an estimator."""
    rows = {}
    if "n_parameters_" in fitted:
        trained, n = fitted["n_trainable_parameters_"], fitted["n_parameters_"]
        rows["size"] = f"{trained:,} of {n:,} parameters trained ({trained / n:.2%})"
    history = fitted.get("history_")
    if not history:
        return rows | ({"state": "fitted" if "backbone_fingerprint_" in fitted else "not fitted"})
    unit = "epoch" if "epoch" in history[0] else "step"
    best = fitted.get("best_epoch_", history[-1][unit])
    kept = next((row for row in history if row[unit] == best), history[-1])
    names = {"train_loss": "training loss", "valid_loss": "validation loss"}
    if (scoring := fitted.get("scoring")) is not None:  # else the score is the loss with its sign changed
        names["valid_score"] = f"validation {scoring if isinstance(scoring, str) else 'score'}"
    told = [f"{name} {kept[key]:.3f}" for key, name in names.items() if kept.get(key) is not None]
    return rows | {"scores": f"{unit} {kept[unit]} of {history[-1][unit]}: {', '.join(told)}"}


def summary_html(title: str, rows: Mapping[str, str], diagram: str) -> str:
    """A small table, and what scikit-learn shows of an estimator folded below it.

    Parameters
    ----------
    title : str
    rows : mapping of str to str
    diagram : str
        HTML.
    """
    cells = "".join(_ROW.format(escape(name), escape(text)) for name, text in rows.items())
    return _FOLDED.format(title=escape(title), rows=cells, diagram=diagram)
