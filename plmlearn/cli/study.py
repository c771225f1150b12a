"""What the options of a command name: the rows of a file, the task, the estimator.

``Table``, ``read_table``   sequences, targets and all columns of a file
``Study``, ``make_study``   a table with its task and the estimator that suits it
``save_study``              the model, and beside it the settings that made it
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any, get_args

import numpy as np
import yaml
from sklearn.base import BaseEstimator
from sklearn.utils.validation import has_fit_parameter

from .. import persistence, presets
from ..adapters import Adapter, LoRA
from ..adapters.names import AdapterName, as_adapter
from ..estimators import frozen, pair, protein, residue
from ..estimators.signal_states import CHAINS
from ..model_selection import cluster_sequences
from ..model_selection.graph import check_clusters
from ..report.evaluation import metrics_of
from ..sequences import SequenceError, read_csv, read_fasta, target_kind
from ..sequences.clean import did_you_mean, first_few, is_missing, object_array
from ..sequences.files import is_fasta
from ..sequences.kinds import KIND_NAMES, TargetKind, are_pairs
from ..sequences.tables import are_meant_as_numbers, as_target, no_numbers
from .labels import MARK, as_indicator, labels_in
from .settings import dump

SETTINGS = "command.yaml"  # beside a saved model: what made it, for --config

# By pairs or proteins and kind of target: the estimator of the task, then others that suit it.
_ESTIMATORS: dict[tuple[bool, TargetKind], tuple[Any, ...]] = {
    (False, "labels"): (protein.PLMLoRAClassifier, protein.PLMClassifier, frozen.PLMFrozenMLP),
    (False, "numbers"): (protein.PLMLoRARegressor, protein.PLMRegressor, frozen.PLMFrozenMLPRegressor),
    (False, "residue_labels"): (residue.PLMResidueClassifier,),
    (False, "residue_numbers"): (residue.PLMResidueRegressor,),
    (True, "labels"): (pair.PLMPairClassifier,),
    (True, "numbers"): (pair.PLMPairRegressor,),
}
_WHAT = {False: "proteins", True: "pairs"}
_BY_NAME: dict[str, Any] = {cls.__name__: cls for classes in _ESTIMATORS.values() for cls in classes}
_ADAPTERS = {type(as_adapter(name, LoRA)): name for name in get_args(AdapterName)}


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
            hint = did_you_mean(name, self.columns)
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
        table = Table(read.sequences, None, read.columns, places, path)
    table = _where(table, options.get("where") or {})
    if options.get("proteins"):
        with table.naming_places():
            table = replace(table, X=_look_up(table.X, options["proteins"]))
    return replace(table, y=as_target([table.columns[name] for name in target]))


def _where(table: Table, conditions: Mapping[str, Any]) -> Table:
    """Rows that have, in each of these columns, the entry or one of the entries."""
    rows = np.full(len(table), True)
    lists = {name: any_of if isinstance(any_of, list) else [any_of] for name, any_of in conditions.items()}
    wanted = {name: list(map(str, texts)) for name, texts in lists.items()}
    for name, texts in wanted.items():
        rows &= np.isin(table.column(name), texts)
    if not rows.any():
        told = ", ".join(f"{name}={' or '.join(texts) or '(empty)'}" for name, texts in wanted.items())
        raise ValueError(f"{table.path} has no row with {told}.")
    return table.take(rows)


def _look_up(ids: np.ndarray, path: str) -> np.ndarray:
    """Sequences in place of ids, from a file of both."""
    table = read_table({"data": path})
    known: dict[str, str] = {}
    for name, sequence in zip(table.column("id"), table.X):
        if known.setdefault(name, sequence) != sequence:
            raise ValueError(f"{path} has different sequences with the id {name}; expected one for each id.")
    rows = [row for row, names in enumerate(ids) if not known.keys() >= set(np.ravel(names).tolist())]
    if rows:
        missing = [name or "(an empty id)" for name in sorted(set(ids.flat) - known.keys())]
        told = f"{path} lacks {len(missing)} of the proteins: {first_few(missing)}."
        raise SequenceError(f"{told} It has {first_few(known, n=3)}.", rows)
    return object_array(known[name] for name in ids.flat).reshape(ids.shape)


@dataclass(frozen=True)
class Study:
    """A table with its task, the estimator that suits it, and clusters of its proteins."""

    table: Table
    kind: TargetKind
    estimator: Any
    groups: Any
    options: dict[str, Any]
    labels: list[str] = field(default_factory=list)  # of a target such as "A|B", which y has as columns

    def settings(self) -> dict[str, Any]:
        """Everything that decides on the outcome, complete, as ``--config`` reads it."""
        chosen = {"task": self.kind, "labels": self.labels, "estimator": type(self.estimator).__name__}
        given = self.options | chosen
        named = {name: _plain(given[name]) for name in _SETTINGS if name in given}
        kept = {name: value for name, value in named.items() if value not in (None, [], {})}
        return {**kept, "set": parameters_of(self.estimator)}

    @property
    def metrics(self) -> dict[str, Callable[[Any, Any], float]]:
        """Scores of the task, from true and predicted targets."""
        several = self.table.y is not None and self.table.y.ndim > 1
        return metrics_of(self.kind, several, self.estimator.get_params().get("ignore_label"))


# Options that decide on the outcome, in the order of a file of settings.
_SETTINGS: tuple[str, ...] = ("data", "sequence", "target", "where", "proteins", "groups", "task", "labels")
_SETTINGS += ("estimator", "folds", "identity", "scoring", "floors", "param", "trials", "storage")
_SETTINGS += ("timeout", "jobs", "out", "report")


def make_study(options: dict[str, Any], say: Callable[[str], None]) -> Study:
    """Read the table, tell the task from it, and make the estimator; what was decided is said."""
    table = read_table(options, tuple(options["target"]))
    assert table.y is not None
    kind, pairs = options.get("task") or target_kind(table.X, table.y), are_pairs(table.X)
    if not (options.get("task") or options.get("labels") or kind.startswith("residue")):
        _refuse_few_texts(table, options["target"])
    _refuse_text(table.y, options["target"])
    if (pairs, kind) not in _ESTIMATORS:
        raise ValueError(f"task is {kind!r}, but the file holds pairs; expected 'labels' or 'numbers'.")
    labels = list(options.get("labels") or (labels_in(table.y) if kind == "labels" else []))
    table = with_labels(table, labels)
    estimator = _estimator(options, pairs, kind)
    told = f"{len(table)} {_WHAT[pairs]}, {', '.join(options['target'])}: {KIND_NAMES[kind]}"
    told += _classes(table.y, kind, labels)
    say(f"{told}. {type(estimator).__name__} on {estimator.backbone}.")
    return Study(table, kind, estimator, _groups(options, table), options, labels)


def with_labels(table: Table, labels: Sequence[str]) -> Table:
    """A table with a target such as "A|B" as a column of 0 and 1 for each label; the same without labels."""
    if not labels or table.y is None:
        return table
    with table.naming_places():
        return replace(table, y=as_indicator(table.y, labels))


def _refuse_few_texts(table: Table, names: Sequence[str]) -> None:
    """One cell that is no number must not make classes of all the numbers in its column."""
    for name in names:
        entries = table.columns[name]
        odd = no_numbers(entries)
        if odd and are_meant_as_numbers(entries) and not any(MARK in entry for entry in entries):
            told = first_few([f"{entries[row]!r} in {table.places[row]}" for row in odd])
            others = len(entries) - len(odd)
            told += f"; the other {others} are numbers or empty" if others else ""
            raise ValueError(
                f"{name} in {table.path} has {told}. Write a number as -0.51, with a hyphen and a "
                "point. Correct these rows or leave them out; if all of them are labels, pass --task labels."
            )


def _refuse_text(columns: np.ndarray, names: Sequence[str]) -> None:
    """Several targets are numbers; types and regions of signal peptides are for Python."""
    if columns.ndim == 1 or not any(isinstance(entry, str) for entry in columns.flat):
        return
    if any(set(column) <= CHAINS.keys() for column in columns.T):
        raise ValueError(
            f"{', '.join(names)} hold types and regions of signal peptides, which the command line does not "
            "fit together. In Python: PLMSignalPeptideClassifier().fit(X, types, regions=regions)."
        )
    raise ValueError(
        f"{', '.join(names)} hold text; expected columns of 0 and 1, or of numbers. Several labels per "
        f'protein may also stand in one column, as in "A{MARK}B".'
    )


def _classes(y: Any, kind: TargetKind, labels: list[str]) -> str:
    """How many classes or labels there are, and how frequent, where y has them by name."""
    if labels:
        counts = y.sum(axis=0)
        return f', several per protein, split at "{MARK}", {len(labels)} of {counts.min()} to {counts.max()}'
    if kind != "labels" or y.ndim > 1:
        return ""
    names, counts = np.unique([str(label) for label in y if not is_missing(label)], return_counts=True)
    if not len(names):
        return ""
    return f", {len(names)} classes of {counts.min()} to {counts.max()}"


def _estimator(options: Mapping[str, Any], pairs: bool, kind: TargetKind) -> Any:
    """The estimator of the task, of ``estimator`` or of ``preset``, with the parameters of ``set``."""
    backbone = {"backbone": options["backbone"]} if options.get("backbone") else {}
    parameters = {"random_state": 0, **options["set"], **backbone}
    if options.get("preset"):
        return changed(_of_preset(options, pairs, kind), parameters)
    if options.get("estimator"):
        return changed(_one_of(_BY_NAME, options["estimator"], "estimator")(), parameters)
    # --set adapter=… is for the first one that has this parameter.
    asked = any(name.split("__")[0] == "adapter" for name in [*parameters, *options.get("param", {})])
    suits = _ESTIMATORS[pairs, kind]
    able = [cls for cls in suits if not asked or "adapter" in cls().get_params(deep=False)]
    return changed(able[0](), parameters)


def _of_preset(options: Mapping[str, Any], pairs: bool, kind: TargetKind) -> Any:
    """An estimator with the settings of ``preset``, NAME or NAME/TASK, which has to suit the file."""
    if options.get("estimator"):
        raise ValueError("--preset decides on the estimator; leave --estimator out.")
    name, _, task = options["preset"].partition("/")
    preset = _one_of(presets.PRESETS, name, "preset")
    if preset.tasks and task not in preset.tasks:
        raise ValueError(f"{name} needs a task: write {name}/TASK with one of {', '.join(preset.tasks)}.")
    estimator = presets.make(name, task=task or None)
    suits = [key for key, classes in _ESTIMATORS.items() if type(estimator) in classes]
    if (pairs, kind) not in suits:
        wanted = f"types and regions, which the command line does not fit. In Python: presets.make({name!r})"
        if suits:
            here, there = (f"{KIND_NAMES[k]} of {_WHAT[p]}" for p, k in ((pairs, kind), suits[0]))
            wanted = f"{there}; the file has {here}"
        raise ValueError(f"{options['preset']} is a {type(estimator).__name__} for {wanted}.")
    return estimator


def changed(estimator: Any, parameters: Mapping[str, Any]) -> Any:
    """An estimator with other parameters, or one error that names the one that it does not have."""
    known = estimator.get_params(deep=False)
    for name in parameters:
        if (own := name.split("__")[0]) not in known:
            hint = did_you_mean(own, known) or f" It has {', '.join(known)}."
            raise ValueError(f"{type(estimator).__name__} has no parameter {own!r}.{hint}")
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
    """Clusters by the option ``groups``: those of a column; else the option as it is."""
    name = options.get("groups")
    if name in (None, "none", "clusters"):
        if name in table.columns:
            raise ValueError(
                f"{table.path} has a column {name!r}, which --groups {name} does not read. Rename the column."
            )
        return name
    with table.naming_places():
        return check_clusters(table.column(name), (len(table),))


def groups_of_fit(study: Study) -> dict[str, Any]:
    """What ``fit`` gets: clusters, where they were asked for."""
    if study.options.get("groups") in (None, "none"):
        return {}
    if not has_fit_parameter(study.estimator, "groups"):
        raise ValueError(f"{type(study.estimator).__name__} takes no groups in fit; leave --groups out.")
    if study.options["groups"] != "clusters":
        return {"groups": study.groups}
    clusters = cluster_sequences(study.table.X.ravel(), study.options["identity"])
    return {"groups": clusters.reshape(study.table.X.shape)}


def save_study(study: Study, folder: str) -> None:
    """The fitted estimator, and its settings in ``command.yaml``."""
    persistence.save(study.estimator, folder)
    Path(folder, SETTINGS).write_text(dump(study.settings()), encoding="utf-8")


def read_settings(folder: str) -> dict[str, Any]:
    """The settings beside a model, {} if there are none."""
    path = Path(folder, SETTINGS)
    found = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found if isinstance(found, dict) else {}
