"""What each command does, with the options that ``commands`` has read."""

import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from scipy import stats
from sklearn.utils.validation import has_fit_parameter

from .. import datasets, persistence, report
from ..backbones import download_backbone
from ..baselines.comparison import named_scorers
from ..datasets.origins import TABLES
from ..estimators.embedder import PLMEmbedder
from ..model_selection import Folds
from ..persistence.folder import read_folder
from ..report.evaluation import checked_rows, folds_of, refuse_constant_folds, scorers_of
from ..report.pictures import check_matplotlib
from ..search import PLMSearchCV
from ..sequences import ALPHABET, check_sequences
from .labels import joined
from .predictions import named, one_protein, probabilities, scanner, scores_of, table_of
from .results import (
    check_file,
    check_folder,
    check_format,
    check_ids,
    say,
    show,
    show_fields,
    write_csv,
    write_embeddings,
)
from .settings import dump, typed
from .study import Study, Table, changed, groups_of_fit, make_study, read_settings, read_table, save_study

Options = dict[str, Any]


def _on_study(work: Callable[[Study], None]) -> Callable[[Options], None]:
    """A command on a study; with --dry-run it only prints the settings. Where it writes is checked first."""

    @wraps(work)
    def command(options: Options) -> None:
        study = make_study(options, say)
        if options["dry_run"]:
            print(dump(study.settings()), end="")
            return
        if options.get("out"):
            check_folder(options["out"])
        work(study)

    return command


# -- fit and predict --------------------------------------------------------------------------


@_on_study
def fit(study: Study) -> None:
    """Fit, save, say how it went."""
    estimator, options = study.estimator, study.options
    with study.table.naming_places(), _finishing_epochs(estimator) as stop:
        estimator.fit(study.table.X, study.table.y, **groups_of_fit(study))
    save_study(study, options["out"])
    result = {**describe(estimator), "rows": len(study.table), "saved in": options["out"]}
    show_fields(result, options["as_json"])
    if stop.asked:
        raise KeyboardInterrupt


class _Stop:
    """A callback that ends training after the epoch in which it was asked to."""

    asked = False

    def __call__(self, epoch: dict) -> bool:
        return self.asked


@contextmanager
def _finishing_epochs(estimator: Any) -> Iterator[_Stop]:
    """Make the first Ctrl-C end training after the epoch that runs; the second one is as ever."""
    stop = _Stop()
    if "callbacks" not in estimator.get_params():
        yield stop
        return

    def ask(*args: Any) -> None:
        stop.asked = True
        signal.signal(signal.SIGINT, before)
        say("\nStopping after this epoch, then saving. Ctrl-C again stops at once.")

    before = signal.signal(signal.SIGINT, ask)
    try:
        estimator.set_params(callbacks=[stop])
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
        estimator.set_params(callbacks=None)


def predict(options: Options) -> None:
    """Predict; score where the file has the targets."""
    model, settings = persistence.load(options["model"]), read_settings(options["model"])
    if not hasattr(model, "predict"):
        raise ValueError(f"{type(model).__name__} in {options['model']} makes no predictions; pass another.")
    if options["out"]:
        check_file(options["out"])
    table, target = table_of(options, settings), tuple(settings.get("target", ()))
    with table.naming_places():
        predicted = model.predict(table.X)
    labels = list(settings.get("labels", ()))
    found = named(joined(predicted, labels) if labels else predicted, target)
    if options["proba"]:
        found |= probabilities(model, table.X, labels or target)
    if replaced := found.keys() & table.columns.keys():
        say(f"Warning: predictions replace the columns {', '.join(sorted(replaced))} of {table.path}.")
    columns = table.columns | found
    if not options["as_json"] or options["out"]:
        write_csv(columns, options["out"])
    scores = scores_of(model, settings, table, predicted) if target else {}
    result = {"rows": len(table), "scores": scores}
    if options["out"]:
        show_fields({**result, "scores": scores or None, "saved in": options["out"]}, options["as_json"])
    elif options["as_json"]:
        rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
        show({**result, "predictions": rows}, True, [])
    else:
        say(", ".join(f"{name} {score:.4g}" for name, score in scores.items()) or f"{len(table)} rows")


# -- evaluate and search ----------------------------------------------------------------------


@_on_study
def evaluate(study: Study) -> None:
    """Cross-validate the estimator and the floors."""
    options, page = study.options, _report_path(study.options["report"])
    _check_rows(study)
    found = report.evaluate(
        _quiet(study),
        study.table.X,
        study.table.y,
        folds=options["folds"],
        **_split(study),
        baselines=None if options["floors"] else {},
        kind=study.kind,
        scoring=options["scoring"] or None,
        n_jobs=options["jobs"],
        verbose=1,
    )
    name, rows = found.comparison.reference, found.comparison.rows
    shown = ("estimator", "metric", "mean", "low", "high", "difference", "p_value", "fit_seconds")
    result = {"folds": str(found.folds), "leakage": found.leaked, "reference": name, "rows": rows}
    show(result, options["as_json"], [{key: row[key] for key in shown} for row in rows])
    if not options["as_json"]:
        print(f"\nlow and high bound the mean with 95% confidence; difference and p_value are to {name}.")
        print(f"Leakage, mean of the folds: {', '.join(f'{k} {v:.1%}' for k, v in found.leaked.items())}")
    if page is not None:
        names = study.labels or (options["target"] if len(options["target"]) > 1 else None)
        title = f"{', '.join(options['target'])} of {options['data']}"
        texts = {"command": typed(), "settings": dump(study.settings())}
        report.write(found, page, title=title, target_names=names, **texts)
        say(f"The report is in {page}.")


def _report_path(path: str | None) -> Path | None:
    """Where the report goes; one error before anything is fitted if it cannot be written."""
    if path is None:
        return None
    check_matplotlib()
    return check_file(path)


def _check_rows(study: Study) -> None:
    """Refuse bad rows of the whole table, by their lines; a fold would count them among its own."""
    with study.table.naming_places(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the folds tell them
        checked_rows(study.table.X, study.table.y, study.kind, study.estimator)


def _quiet(study: Study) -> Any:
    """The estimator, which tells its epochs only if it was asked to."""
    given = "verbose" in study.options["set"]
    return study.estimator if given else study.estimator.set_params(verbose=0)


def _split(study: Study) -> dict[str, Any]:
    """How folds are made."""
    groups = {None: "clusters", "none": None}.get(study.options.get("groups"), study.groups)
    return {"groups": groups, "min_identity": study.options["identity"]}


def _folds(study: Study) -> Folds:
    folds = folds_of(study.table.X, study.table.y, study.kind, study.options["folds"], **_split(study))
    say(f"{folds}.")
    refuse_constant_folds(folds, np.asarray(study.table.y), study.kind, study.options["scoring"] or None)
    return folds


@_on_study
def search(study: Study) -> None:
    """A grid, or what Optuna suggests, on the same folds."""
    options = study.options
    _check_rows(study)
    space = {name: _candidates(name, values) for name, values in options["param"].items()}
    if options["trials"] is None and (odd := [name for name, v in space.items() if not isinstance(v, list)]):
        raise ValueError(
            f"{odd[0]} is a range; say by --n-trials how many candidates to try, or pass a list."
        )
    table, folds, estimator = study.table, _folds(study), _quiet(study)
    scorers = named_scorers(options["scoring"]) if options["scoring"] else scorers_of(study.metrics)
    # An estimator that stops early must not validate on relatives of what it trains on.
    stops = folds.groups is not None and getattr(estimator, "early_stopping", False)
    stops = stops and has_fit_parameter(estimator, "groups")
    settings: dict[str, Any] = {
        "cv": folds.splits,
        "scoring": scorers,
        "refit": next(iter(scorers)),
        "n_jobs": options["jobs"],
        "error_score": "raise",
        "sampler": "grid" if options["trials"] is None else "tpe",
        "random_state": 0,
    }
    settings |= {"n_trials": options["trials"], "storage": options["storage"], "timeout": options["timeout"]}
    with sklearn.config_context(enable_metadata_routing=stops):
        if stops:
            estimator.set_fit_request(groups=True)
        found = PLMSearchCV(estimator, space, **settings)
        found.fit(table.X, table.y, **({"groups": folds.groups} if stops else {}))
    rows = _candidate_rows(found.cv_results_, list(scorers), list(space))
    if options["out"]:
        groups = options["groups"] or ("clusters" if stops else None)  # which a fit with these settings needs
        best_study = replace(study, estimator=found.best_estimator_, options={**options, "groups": groups})
        save_study(best_study, options["out"])
    best = {name: str(value) for name, value in found.best_params_.items()}
    result = {"folds": str(folds), "best": best, "candidates": rows, "out": options["out"]}
    show(result, options["as_json"], rows)


def _candidates(name: str, values: Any) -> Any:
    """A list of values, or a distribution between two ends."""
    if isinstance(values, list):
        return values
    ends: list[Any] = [values.get(end) for end in ("low", "high")] if isinstance(values, dict) else []
    numbers = bool(ends) and all(isinstance(end, (int, float)) for end in ends)
    if not numbers or not values.keys() <= {"low", "high", "log"}:
        raise ValueError(f"{name} is {values!r}; expected a list, or {{low: 1e-4, high: 1e-2, log: true}}.")
    low, high = ends
    if values.get("log"):
        return stats.loguniform(low, high)
    whole = isinstance(low, int) and isinstance(high, int)
    return stats.randint(low, high + 1) if whole else stats.uniform(low, high - low)


def _candidate_rows(results: Mapping[str, Any], metrics: list[str], names: list[str]) -> list[dict[str, Any]]:
    """Candidates from the best to the worst; nan is what those that ended early have not shown."""
    order = np.argsort(results[f"rank_test_{metrics[0]}"], kind="stable")
    return [
        {
            **{name: str(results[f"param_{name}"][i]) for name in names},
            **{
                f"{what}_{metric}": float(results[f"{what}_test_{metric}"][i])
                for metric in metrics
                for what in ("mean", "std")
            },
            "fit_seconds": float(results["mean_fit_time"][i]),
            "state": str(results["state"][i]),
        }
        for i in order
    ]


# -- embed, scan, info, download --------------------------------------------------------------


def embed(options: Options) -> None:
    """Embeddings of a frozen or a tuned backbone, in a file."""
    check_format(options["out"])
    check_file(options["out"])
    table = read_table(options)
    with table.naming_places():
        ids = _different_ids(options, table)
        model = _embedder(options)
        embeddings = model.transform(table.X) if options["model"] else model.fit_transform(table.X)
    write_embeddings(options["out"], ids, embeddings)
    result = {"proteins": len(ids), "width": embeddings[0].shape[-1], "saved in": options["out"]}
    show_fields(result, options["as_json"])


def _embedder(options: Options) -> Any:
    """The backbone of a saved model, or a frozen one."""
    if not options["model"]:
        parameters = {"pooling": None} if options["residues"] else {}
        parameters |= {"backbone": options["backbone"]} if options["backbone"] else {}
        return changed(PLMEmbedder(), options["set"] | parameters)
    if options["residues"] or options["set"] or options["backbone"]:
        raise ValueError("--model decides on backbone and pooling; leave the other options out.")
    model = persistence.load(options["model"])
    if not hasattr(model, "transform"):
        raise ValueError(f"{type(model).__name__} in {options['model']} makes no embeddings; pass one model.")
    return model


def _different_ids(options: Options, table: Table) -> list[str]:
    if not options["id"] and "id" not in table.columns:
        return [str(row) for row in range(1, len(table) + 1)]
    ids = table.column(options["id"] or "id").tolist()
    check_ids(options["out"], ids)
    return ids


def scan(options: Options) -> None:
    """All single mutations of one protein and their scores."""
    if options["out"]:
        check_file(options["out"])
    [protein] = check_sequences([one_protein(options["protein"])])
    sites = [(site, old, new) for site, old in enumerate(protein) for new in ALPHABET if new != old]
    names = [f"{old}{site + 1}{new}" for site, old, new in sites]
    model = scanner(options, protein)
    if hasattr(model, "mutation_scores"):
        scores = model.mutation_scores(protein, names, method=options["method"])
    else:
        mutants = [protein[:site] + new + protein[site + 1 :] for site, _, new in sites]
        scores = np.asarray(model.predict(mutants))
        if scores.ndim > 1 or scores.dtype.kind not in "if":
            raise ValueError(f"{type(model).__name__} in {options['model']} does not predict one number.")
    columns = {
        "mutation": names,
        "site": [site + 1 for site, _, _ in sites],
        "wild": [old for _, old, _ in sites],
        "new": [new for _, _, new in sites],
        "score": scores.tolist(),
    }
    if options["as_json"]:
        show([dict(zip(columns, row)) for row in zip(*columns.values())], True, [])
    else:
        write_csv(columns, options["out"])


def info(options: Options) -> None:
    """What a saved model is."""
    model, settings = persistence.load(options["model"]), read_settings(options["model"])
    versions = read_folder(Path(options["model"]))[0]["versions"]
    shown = {name: settings.get(name) for name in ("data", "target", "task")}
    show_fields({**describe(model), **shown, "versions": versions}, options["as_json"])


def describe(model: Any) -> dict[str, Any]:
    """A fitted estimator in some fields; None for what it does not have."""
    history = getattr(model, "history_", None) or [{}]
    kept = getattr(model, "best_epoch_", None)
    best = next((epoch for epoch in history if epoch.get("epoch") == kept), history[-1])
    inner = getattr(model, "estimator", model)  # of an ensemble
    adapter, backbone = getattr(inner, "adapter", None), getattr(inner, "backbone", None)
    classes = getattr(model, "classes_", None)
    return {
        "estimator": type(model).__name__,
        "backbone": None if backbone is None else str(backbone),
        "fingerprint": getattr(model, "backbone_fingerprint_", None),
        "adapter": None if adapter is None else repr(adapter),
        "classes": None if classes is None else classes.tolist(),
        "parameters": getattr(model, "n_parameters_", None),
        "trained": getattr(model, "n_trainable_parameters_", None),
        "epochs": len(history) if history[0] else None,
        "best epoch": kept,
        "train_loss": best.get("train_loss"),
        "valid_loss": best.get("valid_loss"),
        "best score": getattr(model, "best_score_", None),
    }


def download(options: Options) -> None:
    """A data set by its name, or a backbone."""
    name, out = options["name"], options["out"]
    tables = [table.path for table in TABLES.values() if table.data_set == name]
    if tables:
        getattr(datasets, f"fetch_{name}")(data_home=out)
        paths = [str(datasets.get_data_home(out) / path) for path in tables]
    else:
        paths = [str(download_backbone(name, out or name))]
    show({"name": name, "paths": paths}, options["as_json"], [{"name": name, "path": path} for path in paths])
