"""What the options of a command name: the rows of a file, the task, the estimator.

``Table``, ``read_table``   sequences, targets and all columns of a file
``Study``, ``make_study``   a table with its task and the estimator that suits it
``save_study``              the model, and beside it the settings that made it
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import Any, get_args

import numpy as np
import yaml
from sklearn.base import BaseEstimator
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, r2_score
from sklearn.utils.validation import has_fit_parameter

from .. import persistence
from ..adapters import Adapter, LoRA
from ..adapters.names import AdapterName, as_adapter
from ..estimators import frozen, pair, protein, residue
from ..metrics import residue_accuracy, residue_spearman, spearman_score
from ..model_selection import cluster_sequences
from ..sequences import SequenceError, read_csv, read_fasta, target_kind
from ..sequences.clean import first_few, object_array
from ..sequences.files import read_lines
from ..sequences.kinds import TargetKind, are_pairs
from .settings import dump

SETTINGS = "command.yaml"  # beside a saved model: what made it, for --config

_ESTIMATORS = {
    (False, "labels"): protein.PLMLoRAClassifier,
    (False, "numbers"): protein.PLMLoRARegressor,
    (False, "residue_labels"): residue.PLMResidueClassifier,
    (False, "residue_numbers"): residue.PLMResidueRegressor,
    (True, "labels"): pair.PLMPairClassifier,
    (True, "numbers"): pair.PLMPairRegressor,
}
_OTHERS = (protein.PLMClassifier, protein.PLMRegressor, frozen.PLMFrozenMLP, frozen.PLMFrozenMLPRegressor)
_BY_NAME: dict[str, Any] = {cls.__name__: cls for cls in (*_ESTIMATORS.values(), *_OTHERS)}
_ADAPTERS = {type(as_adapter(name, LoRA)): name for name in get_args(AdapterName)}
_TOLD = {
    "labels": "labels",
    "numbers": "numbers",
    "residue_labels": "labels per residue",
    "residue_numbers": "numbers per residue",
}


@dataclass(frozen=True)
class Table:
    """The rows of a file that were asked for.

    Attributes
    ----------
    X : ndarray of str, shape (n,), or (n, 2) for pairs
    y : ndarray or None
    columns : dict of str to ndarray
        All columns, by name; of a FASTA file id, description and sequence.
    places : ndarray of str
        What a row is in the file, such as "line 7".
    path : str
        The file.
    """

    X: np.ndarray
    y: np.ndarray | None
    columns: dict[str, np.ndarray]
    places: np.ndarray
    path: str

    def __len__(self) -> int:
        return len(self.X)

    def take(self, rows: np.ndarray) -> "Table":
        """Some rows."""
        columns = {name: entries[rows] for name, entries in self.columns.items()}
        y = None if self.y is None else self.y[rows]
        return replace(self, X=self.X[rows], y=y, columns=columns, places=self.places[rows])

    def column(self, name: str) -> np.ndarray:
        """A column by its name, or one error."""
        if name not in self.columns:
            close = get_close_matches(name, self.columns, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"{self.path} has no column {name!r}; it has {', '.join(self.columns)}.{hint}")
        return self.columns[name]

    @contextmanager
    def naming_places(self) -> Iterator[None]:
        """Let an error that names rows name their lines too."""
        try:
            yield
        except SequenceError as error:
            named = first_few([f"row {row} is {self.places[row]}" for row in error.rows if row < len(self)])
            raise ValueError(f"{error}\nIn {self.path}, {named}.") from error


def read_table(options: Mapping[str, Any], target: tuple[str, ...] = ()) -> Table:
    """The file ``data`` by the options ``sequence``, ``where`` and ``proteins``."""
    path, names = options["data"], list(options.get("sequence") or ["sequence"])
    if is_fasta(path):
        if target:
            raise ValueError(f"{path} is a FASTA file, which has no targets; expected a CSV file.")
        found = read_fasta(path)
        columns = {"id": found.ids, "description": found.descriptions, "sequence": found.sequences}
        places = object_array(f"record {number}" for number in range(1, len(found.ids) + 1))
        table = Table(found.sequences, None, columns, places, path)
    else:
        read = read_csv(path, sequence=names, target=list(target) or None)
        places = object_array(f"line {line}" for line in read.lines)
        table = Table(read.sequences, read.target, read.columns, places, path)
    table = _where(table, options.get("where") or {})
    return replace(table, X=_look_up(table.X, options["proteins"])) if options.get("proteins") else table


def is_fasta(path: str) -> bool:
    """Whether the first line of a file that is not empty begins with ">"."""
    return next((line for line in read_lines(path) if line.strip()), "").lstrip().startswith((">", ";"))


def _where(table: Table, conditions: Mapping[str, str]) -> Table:
    rows = np.full(len(table), True)
    for name, text in conditions.items():
        rows &= table.column(name) == str(text)
    if not rows.any():
        told = ", ".join(f"{name}={text}" for name, text in conditions.items())
        raise ValueError(f"{table.path} has no row with {told}.")
    return table.take(rows)


def _look_up(ids: np.ndarray, path: str) -> np.ndarray:
    """Sequences in place of ids, from a file of both."""
    table = read_table({"data": path})
    known = dict(zip(table.column("id"), table.X))
    if missing := sorted(set(ids.flat) - known.keys()):
        raise ValueError(f"{path} lacks {len(missing)} of the proteins: {first_few(missing)}.")
    return object_array(known[name] for name in ids.flat).reshape(ids.shape)


@dataclass(frozen=True)
class Study:
    """A table with its task, the estimator that suits it, and clusters of its proteins."""

    table: Table
    kind: TargetKind
    estimator: Any
    groups: Any
    options: dict[str, Any]

    def settings(self) -> dict[str, Any]:
        """Everything that decides on the outcome, complete, as ``--config`` reads it."""
        chosen = {"task": self.kind, "estimator": type(self.estimator).__name__}
        given = {name: (self.options | chosen).get(name) for name in _SETTINGS}
        named = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
        kept = {name: value for name, value in named.items() if value not in (None, [], {})}
        return {**kept, "set": parameters_of(self.estimator)}

    @property
    def metrics(self) -> dict[str, Callable[[Any, Any], float]]:
        """Scores of the task, from true and predicted targets."""
        if self.kind.startswith("residue"):
            ignored = partial(residue_accuracy, ignore_label=self.estimator.get_params().get("ignore_label"))
            return {"accuracy": ignored} if self.kind == "residue_labels" else {"spearman": residue_spearman}
        if self.kind == "numbers":
            return {"spearman": spearman_score, "r2": r2_score}
        if self.table.y is not None and self.table.y.ndim > 1:
            return {"f1_micro": partial(f1_score, average="micro"), "accuracy": accuracy_score}
        return {"mcc": matthews_corrcoef, "accuracy": accuracy_score}


# Options that decide on the outcome, in the order of a file of settings.
_SETTINGS: tuple[str, ...] = ("data", "sequence", "target", "where", "proteins", "groups", "task")
_SETTINGS += ("estimator", "folds", "identity", "scoring", "floors", "param", "trials", "storage")
_SETTINGS += ("timeout", "jobs", "out")


def make_study(options: dict[str, Any], say: Callable[[str], None]) -> Study:
    """Read the table, tell the task from it, and make the estimator; what was decided is said."""
    table = read_table(options, tuple(options["target"]))
    assert table.y is not None
    kind, pairs = options.get("task") or target_kind(table.X, table.y), are_pairs(table.X)
    if (pairs, kind) not in _ESTIMATORS:
        raise ValueError(f"task is {kind!r}, but the file holds pairs; expected 'labels' or 'numbers'.")
    cls = _ESTIMATORS[pairs, kind]
    if options.get("estimator"):
        cls = _one_of(_BY_NAME, options["estimator"], "estimator")
    backbone = {"backbone": options["backbone"]} if options.get("backbone") else {}
    estimator = make_estimator(cls, {"random_state": 0, **options["set"], **backbone})
    what = "pairs" if pairs else "proteins"
    told = f"{len(table)} {what}, {', '.join(options['target'])}: {_TOLD[kind]}"
    if kind == "labels" and table.y.ndim == 1:
        names, counts = np.unique(table.y.astype(str), return_counts=True)
        told += f", {len(names)} classes of {counts.min()} to {counts.max()}"
    say(f"{told}. {cls.__name__} on {estimator.backbone}.")
    return Study(table, kind, estimator, _groups(options, table), options)


def make_estimator(cls: Any, parameters: Mapping[str, Any]) -> Any:
    """An estimator with these parameters, or one error that names the one that it does not have."""
    estimator = cls()
    known = estimator.get_params(deep=False)
    for name in parameters:
        if (own := name.split("__")[0]) not in known:
            close = get_close_matches(own, known, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"It has {', '.join(known)}."
            raise ValueError(f"{cls.__name__} has no parameter {own!r}. {hint}")
    return estimator.set_params(**parameters)


def parameters_of(estimator: BaseEstimator) -> dict[str, Any]:
    """All parameters as YAML holds them."""
    return {name: _plain(value) for name, value in estimator.get_params().items() if name != "callbacks"}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, PathLike):
        return fspath(value)
    value = value.item() if isinstance(value, np.generic) else value
    return _ADAPTERS[type(value)] if isinstance(value, Adapter) else value


def _one_of(known: Mapping[str, Any], name: str, what: str) -> Any:
    if name not in known:
        raise ValueError(f"{what} is {name!r}; expected one of {', '.join(known)}.")
    return known[name]


def _groups(options: Mapping[str, Any], table: Table) -> Any:
    """Clusters by the option ``groups``: of a column, computed, or none; None if nothing was asked for."""
    name = options.get("groups")
    if name in (None, "none", "clusters"):
        return name
    return table.column(name)


def groups_of_fit(study: Study) -> dict[str, Any]:
    """What ``fit`` gets: clusters, where they were asked for."""
    groups = study.groups
    if groups is None or (isinstance(groups, str) and groups == "none"):
        return {}
    if not has_fit_parameter(study.estimator, "groups"):
        raise ValueError(f"{type(study.estimator).__name__} takes no groups in fit; leave --groups out.")
    if isinstance(groups, str):
        proteins = np.unique(study.table.X)
        found = dict(zip(proteins, cluster_sequences(proteins)))
        groups = np.array([found[p] for p in study.table.X.flat]).reshape(study.table.X.shape)
    return {"groups": groups}


def save_study(study: Study, folder: str) -> None:
    """The fitted estimator, and its settings in ``command.yaml``."""
    persistence.save(study.estimator, folder)
    Path(folder, SETTINGS).write_text(dump(study.settings()), encoding="utf-8")


def read_settings(folder: str) -> dict[str, Any]:
    """The settings beside a model, {} if there are none."""
    path = Path(folder, SETTINGS)
    found = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found if isinstance(found, dict) else {}
