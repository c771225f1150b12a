"""Model cards: what a fitted estimator is, in Markdown, with the front matter that the hub reads."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from numbers import Real
from typing import Any

import numpy as np
from huggingface_hub import ModelCardData
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from .backbones.architectures import CHECKPOINTS
from .backbones.loading import BUNDLED
from .baselines import Comparison
from .estimators.ensemble import PLMEnsemble
from .estimators.parameters import RuntimeParameters, places_of
from .fitness import PLMFitnessRegressor
from .pretraining import PLMMaskedLM
from .sequences.checked import TEXT, checked

__all__ = ["model_card"]

_CITATION = """\
```bibtex
@software{{plmlearn,
  title = {{plmlearn: fine-tune protein language models with scikit-learn's fit and predict}},
  author = {{{{The plmlearn developers}}}},
  version = {{{version}}}
}}
```

Cite the backbone too, as its page asks."""


@checked(
    scores=[Mapping, Comparison, None],
    library=TEXT,
    name=[str, None],
    data=[str, None],
    split=[str, None],
    licence=[str, None],
    usage=[str, None],
)
def model_card(
    estimator: BaseEstimator,
    *,
    name: str | None = None,
    X: Any = None,
    data: str | None = None,
    split: str | None = None,
    scores: Mapping[str, Any] | Comparison | None = None,
    licence: str | None = None,
    usage: str | None = None,
    library: str = "plmlearn",
) -> str:
    """Describe a fitted estimator for whoever gets it: a ``README.md`` as the Hugging Face hub reads it.

    What an estimator knows of itself is written by itself: backbone and its licence, parameters, classes,
    sizes, versions. What it cannot know is for the caller to say; a card says "not stated" where it is not.

    Parameters
    ----------
    estimator : fitted estimator
        Of plmlearn, or a :class:`plmlearn.PLMEnsemble` of such.
    name : str, optional
        Title; one with a slash (``"owner/name"``) is also the place on the hub.
    X : list, array or Series of str, optional
        Training proteins, for their number and lengths. They are not written.
    data : str, optional
        Where the training data come from, and under which terms.
    split : str, optional
        How test proteins were kept apart, for example "clusters at 30 % identity".
    scores : mapping or Comparison, optional
        ``{"accuracy": 0.81}``, or the same for several rows, so that baselines are shown beside the model:
        ``{"model": {"accuracy": 0.81}, "nearest neighbour": {"accuracy": 0.74}}``; or what
        :func:`plmlearn.baselines.compare` returns.
    licence : str, optional
        Of the model, as the hub writes it ("cc-by-4.0"). None takes that of the backbone, where it is known.
    usage : str, optional
        Python lines that predict. None shows how plmlearn loads the model.
    library : str, default="plmlearn"
        What reads the files, as the hub names it.

    Returns
    -------
    str
        Markdown that begins with YAML.

    Raises
    ------
    NotFittedError
    TypeError
        Not an estimator of plmlearn, or an ensemble of others.
    ValueError
        ``scores`` that are no numbers, or another argument of the wrong type.

    See Also
    --------
    push : Uploads a model and its card.

    Examples
    --------
    >>> from plmlearn import PLMLoRARegressor, hub
    >>> X = ["MKTAYIAKQR", "GSHMLEDPVD"]
    >>> regressor = PLMLoRARegressor("mini", epochs=1, verbose=0).fit(X, [0.1, 2.3])
    >>> card = hub.model_card(regressor, X=X, scores={"r2": 0.4})
    >>> card.splitlines()[:4]
    ['---', 'library_name: plmlearn', 'license: bsd-3-clause', 'metrics:']
    """
    member = _member(estimator)
    if not isinstance(member, RuntimeParameters):
        raise TypeError(f"model_card describes estimators of plmlearn, got {type(member).__name__}.")
    check_is_fitted(estimator)
    place, own_licence = _backbone(member)
    title = name or type(estimator).__name__
    rows, metrics = _rows(scores)
    front = ModelCardData(
        library_name=library,
        license=licence or (own_licence.lower().replace(" ", "-") if own_licence else None),
        base_model=place if place and "/" in place else None,
        pipeline_tag=_pipeline_tag(member),
        tags=["plmlearn", "protein-language-model", "biology", type(estimator).__name__],
        metrics=metrics or None,
    )
    usage = usage or _usage(member, name)
    sections = {
        "Use": f"```python\n{usage}\n```",
        "Data": _data(member, X, data, split),
        "Scores": _as_markdown(rows) if rows else "Not stated.",
        "Recipe": _recipe(estimator),
        "Limits": _limits(estimator),
        "Licence": _licence(place, own_licence, licence),
        "Citation": _CITATION.format(version=version("plmlearn")),
    }
    text = "\n\n".join(f"## {heading}\n\n{body}" for heading, body in sections.items())
    return f"---\n{front.to_yaml()}\n---\n\n# {title}\n\n{_summary(estimator, place)}\n\n{text}\n"


def _member(estimator: Any) -> Any:
    """One of the fits of an ensemble; anything else is itself."""
    if not isinstance(estimator, PLMEnsemble):
        return estimator
    check_is_fitted(estimator)
    return estimator.estimators_[0]


def _backbone(estimator: Any) -> tuple[str | None, str | None]:
    """Where the backbone is published, or its name; and its licence where it is known."""
    places = places_of(estimator)
    if not places:
        return None, None
    alone = places[0].removesuffix("#3di")
    if alone in BUNDLED:
        return alone, "BSD-3-Clause"
    for short, checkpoint in CHECKPOINTS.items():
        place = checkpoint.place.removesuffix("#3di")
        if alone in (short, place):
            return place, checkpoint.licence
    is_id = alone.count("/") == 1 and not alone.startswith((".", "/", "~"))
    return (alone if is_id else None), None


def _pipeline_tag(estimator: Any) -> str:
    """The kind of task, in the hub's words."""
    if isinstance(estimator, PLMMaskedLM):
        return "fill-mask"
    if "Residue" in type(estimator).__name__ or "SignalPeptide" in type(estimator).__name__:
        return "token-classification"
    return "text-classification" if hasattr(estimator, "predict") else "feature-extraction"


def _summary(estimator: Any, place: str | None) -> str:
    kind = (type(estimator).__doc__ or "").strip().splitlines()[0]
    on = f"[{place}](https://huggingface.co/{place})" if place and "/" in place else place
    what = f"`{type(estimator).__name__}` of plmlearn"
    if isinstance(estimator, PLMEnsemble):
        what += f" ({len(estimator.estimators_)} fits of `{type(_member(estimator)).__name__}`)"
    return f"{what} on {on or 'weights of its own or a local folder'}: {kind}"


def _usage(estimator: Any, name: str | None) -> str:
    where = f'hub.load("{name}")' if name and "/" in name else 'load("folder")'
    load = f"from plmlearn import {where.partition('.')[0].partition('(')[0]}\n\nmodel = {where}"
    call = "predict" if hasattr(estimator, "predict") else "transform"
    proteins = '("MKTAYIAKQR", "GSHMLEDPVD")' if "Pair" in type(estimator).__name__ else '"MKTAYIAKQR"'
    proteins = '"A23V:G41D"' if isinstance(estimator, PLMFitnessRegressor) else proteins
    return f"{load}\nmodel.{call}([{proteins}])"


def _data(estimator: Any, X: Any, data: str | None, split: str | None) -> str:
    facts = {"Source": data or "not stated"}
    if X is not None:
        lengths = np.array([len(s) for s in estimator._check_X(X).ravel()])
        facts["Proteins"] = f"{len(X):,}"
        facts["Lengths"] = (
            f"{lengths.min()} to {lengths.max()} residues, median {np.median(lengths):g}; "
            f"{getattr(estimator, 'n_truncated_', 0)} cut to {estimator.max_length} in training"
        )
    classes = getattr(estimator, "classes_", None)
    if classes is not None:
        more = f", … ({len(classes)})" if len(classes) > 30 else ""
        facts["Classes"] = ", ".join(map(str, classes[:30])) + more
    facts["Split"] = split or "not stated"
    return "\n".join(f"- {label}: {text}" for label, text in facts.items())


def _rows(scores: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of a table, and the names of metrics."""
    if isinstance(scores, Comparison):
        shown = ("estimator", "metric", "mean", "low", "high")
        rows = [{key: row[key] for key in shown} for row in scores.rows]
        return rows, list(dict.fromkeys(row["metric"] for row in rows))
    scores = scores or {}
    if not all(isinstance(value, Mapping) for value in scores.values()):
        scores = {"this model": scores}
    odd = [value for row in scores.values() for value in row.values() if not isinstance(value, Real | str)]
    if odd:
        raise ValueError(f"scores has {odd[0]!r}; expected a number by the name of each metric.")
    rows = [{"": label, **row} for label, row in scores.items()]
    return rows, list(dict.fromkeys(str(name) for row in rows for name in row if name))


def _as_markdown(rows: list[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [list(map(str, columns)), ["---"] * len(columns)]
    lines += [[_shown(row.get(column, "")) for column in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _recipe(estimator: Any) -> str:
    sizes = [f"{package} {version(package)}" for package in ("plmlearn", "torch", "transformers")]
    member = _member(estimator)
    trained = getattr(member, "n_trainable_parameters_", None)
    if trained is not None:
        each = "" if member is estimator else " by each fit"
        sizes.insert(0, f"{trained:,} of {member.n_parameters_:,} parameters trained{each}")
    if member is estimator and getattr(estimator, "best_epoch_", None) is not None:
        sizes.insert(1, f"epoch {estimator.best_epoch_} of {len(estimator.history_)} kept")
    return f"```python\n{estimator!r}\n```\n\n{'; '.join(sizes)}. Other parameters have their defaults."


def _limits(estimator: Any) -> str:
    member = _member(estimator)
    lines = [
        "Predictions hold for proteins like those of training; scores on a random split say little about "
        "new families.",
        f"Reads {member.max_length} residues; of longer proteins see `long_sequences` "
        f"({member.long_sequences!r}).",
    ]
    if member is not estimator:
        lines.append("Where the fits differ (`return_std=True`) they are less sure; it is no interval.")
    if hasattr(estimator, "predict_proba"):
        lines.append("Probabilities are not calibrated.")
    return "\n".join(f"- {line}" for line in lines)


def _licence(place: str | None, own: str | None, licence: str | None) -> str:
    of_backbone = f"Backbone ({place or 'see above'}): {own or 'see its page'}."
    return f"Model: {licence}. {of_backbone}" if licence else f"{of_backbone} It binds what is built on it."
