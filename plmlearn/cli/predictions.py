"""Predictions of a saved model: the proteins, columns of the result, scores; and what ``scan`` asks a model.

``table_of``        the proteins to predict
``named``           predictions as columns
``probabilities``   those of classes as columns
``scores_of``       scores, where the file has the targets
``scanner``         the model that scores mutations
``one_protein``     a sequence, as text or from a file
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from .. import persistence
from ..adapters import Frozen
from ..distributed.work import named_columns
from ..pretraining import PLMMaskedLM
from ..sequences import read_fasta
from ..sequences.clean import first_few
from ..sequences.tables import as_target, is_gap, no_numbers
from .results import say
from .study import Study, Table, changed, is_fasta, read_table, with_labels


def table_of(options: Mapping[str, Any], settings: Mapping[str, Any]) -> Table:
    """The proteins to predict: in the columns of the fit, or where that had ids, in ``sequence``."""
    names, given = list(settings.get("sequence", ())), list(options["sequence"])
    ids = settings.get("proteins") and not options["proteins"] and given in ([], names)
    if not ids or is_fasta(options["data"]):
        return read_table({**options, "sequence": given or names})
    told = (
        f"The model was fitted on ids, in {', '.join(names)}. Pass --proteins, the file of their sequences, "
        "or name the columns of sequences by --sequence."
    )
    if given or len(names) > 1:
        raise ValueError(told)
    try:
        return read_table({**options, "sequence": ["sequence"]})
    except ValueError as error:
        raise ValueError(f"{told} ({error})") from error


def scores_of(
    model: Any, settings: Mapping[str, Any], table: Table, predicted: np.ndarray
) -> dict[str, float]:
    """Scores of the predictions where the file has the targets; what cannot be scored is only told."""
    names, labels = settings["target"], list(settings.get("labels", ()))
    if not set(names) <= table.columns.keys():
        return {}
    entries = [table.columns[name] for name in names]
    known = np.flatnonzero([not any(map(is_gap, row)) for row in zip(*entries)])
    if not len(known):
        return {}
    table, entries = table.take(known), [column[known] for column in entries]
    # Classes of text such as "1" and "2" stay text.
    as_text = len(names) == 1 and getattr(model, "classes_", np.array(0)).dtype.kind in "OU"
    y = entries[0] if as_text else as_target(entries)
    try:
        for name, column in zip(names, entries):
            if not as_text and not labels and (odd := no_numbers(column)):
                told = first_few(f"{column[row]!r} in {table.places[row]}" for row in odd)
                raise ValueError(f"Expected numbers in {name}, got {told}.")
        table = with_labels(replace(table, y=y), labels)
        metrics = Study(table, settings["task"], model, None, {}, labels).metrics
        return {name: float(score(table.y, predicted[known])) for name, score in metrics.items()}
    except ValueError as error:
        say(f"Warning: the predictions are not scored. {error}")
        return {}


def named(predicted: np.ndarray, target: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Predictions as columns, named after the targets where these are known."""
    if predicted.ndim == 1 and len(target) == 1:
        return {f"predicted_{target[0]}": predicted}
    return named_columns("predicted", predicted, target)


def probabilities(model: Any, X: Any, names: Sequence[str]) -> dict[str, np.ndarray]:
    found = model.predict_proba(X) if hasattr(model, "predict_proba") else None
    if found is None or found.dtype == object:
        more = "" if found is None else " Those per residue are for Python: load(folder).predict_proba(X)."
        raise ValueError(f"{type(model).__name__} has no probabilities per row; leave --proba out.{more}")
    several = len(names) > 1 and len(names) == found.shape[1]  # labels per protein, which have no other name
    return named_columns("p", found, names if several else model.classes_)


def scanner(options: Mapping[str, Any], protein: str) -> Any:
    """A saved model that reads the whole protein and scores it by a number, or a language model."""
    if not options["model"]:
        backbone = {"backbone": options["backbone"] or options["set"].get("backbone", "esm2-8m")}
        usual = {"adapter": Frozen(), "max_steps": 0, "validation_fraction": None, "verbose": 0}
        return changed(PLMMaskedLM(), usual | options["set"] | backbone).fit([protein])
    if options["set"] or options["backbone"]:
        raise ValueError("--model decides on backbone and parameters; leave the other options out.")
    model = persistence.load(options["model"])
    name, inner = f"{type(model).__name__} in {options['model']}", getattr(model, "estimator", model)
    if is_classifier(model) or not (hasattr(model, "mutation_scores") or hasattr(model, "predict")):
        raise ValueError(f"{name} does not predict one number.")
    length = getattr(inner, "max_length", None) or len(protein)
    if len(protein) > length and getattr(inner, "long_sequences", "") == "truncate":
        raise ValueError(
            f"The protein has {len(protein)} residues, of which {name} reads {length}. Fit it with a larger "
            "max_length, or scan a part of the protein."
        )
    return model


def one_protein(text: str) -> str:
    """A sequence as it is given, or that of a FASTA file."""
    if not os.path.isfile(text):  # which takes a text of any length
        looks = re.search(r"[./\\]", text) or sum(map(str.islower, text)) > len(text) / 2
        if looks:
            raise ValueError(
                f"There is no file {text[:80]!r}; expected a FASTA file, or a sequence in upper case."
            )
        return text
    found = read_fasta(text).sequences if is_fasta(text) else []
    if len(found) != 1:
        raise ValueError(f"{text} holds {len(found)} FASTA records; expected one.")
    return found[0]
