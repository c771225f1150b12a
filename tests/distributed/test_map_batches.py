"""Files in partitions: any format, any process, killed and started again, against one call in one process."""

import csv
import gzip
import json
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from unittest import mock

import joblib
import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
import torch
from safetensors.numpy import load_file
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from plmlearn import (
    PLMClassifier,
    PLMEmbedder,
    PLMFrozenMLP,
    PLMPairClassifier,
    PLMResidueClassifier,
    cache,
    save,
)
from plmlearn.adapters import Frozen, LoRA
from plmlearn.distributed import map_batches
from plmlearn.distributed.results import Folder
from plmlearn.search import PLMSearchCV, queue
from plmlearn.sequences import SequenceError
from plmlearn.sequences.clean import local_path
from plmlearn.training.devices import resolve_device

SETTINGS = {"epochs": 1, "precision": "fp32", "random_state": 0, "verbose": 0}


@pytest.fixture(scope="module")
def X(draw_proteins):
    return draw_proteins(23)


@pytest.fixture(scope="module")
def y(X):
    return np.array(["in", "out"])[np.arange(len(X)) % 2]


@pytest.fixture(scope="module")
def model(X, y):
    return PLMClassifier("mini", adapter=Frozen(), **SETTINGS).fit(X, y)


@pytest.fixture
def fasta(X, tmp_path) -> Path:
    path = tmp_path / "proteins.fasta"
    path.write_text("".join(f">P{i} some protein\n{x}\n" for i, x in enumerate(X)))
    return path


@pytest.fixture(scope="module")
def client(fresh_processes):
    """Of two worker processes."""
    import dask
    from distributed import Client, LocalCluster

    with (
        dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}),
        LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as connected,
    ):
        yield connected


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def with_bad_ones(fasta: Path, *rows: int) -> Path:
    lines = fasta.read_text().splitlines()
    for row in rows:
        lines[2 * row + 1] = "MKJ"
    fasta.write_text("\n".join(lines))
    return fasta


# -- in this process ------------------------------------------------------------------------------


def written(kind: str, X: list[str], folder: Path) -> Path:
    """The proteins in a file of one kind."""
    table = pd.DataFrame({"id": [f"P{i}" for i in range(len(X))], "sequence": X, "more": 1})
    path = folder / f"proteins.{kind}"
    if kind == "fa.gz":
        path.write_bytes(gzip.compress("".join(f">P{i}\tx\n{x}\n" for i, x in enumerate(X)).encode()))
    elif kind == "parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")
    return path


@pytest.mark.parametrize("kind", ["fa.gz", "csv", "tsv", "parquet"])
def test_a_file_of_any_kind(kind, model, X, tmp_path):
    path = written(kind, X, tmp_path)
    found = map_batches(model, path, tmp_path / "out", method="predict_proba", partition_size=7)
    assert (len(found.parts), found.n_computed, found.rejected) == (4, 4, None)
    table = pd.read_parquet(tmp_path / "out")
    assert table["id"].tolist() == [f"P{i}" for i in range(len(X))]
    assert table["record"].tolist() == list(range(1, len(X) + 1))
    assert set(table["source"]) == {str(path)}
    np.testing.assert_allclose(table[["p_in", "p_out"]], model.predict_proba(X), atol=1e-6)


def test_files_and_sequences_in_memory(model, fasta, X, tmp_path):
    found = map_batches(model, [fasta, X[:5], np.array(X[5:])], tmp_path / "out", partition_size=20)
    assert len(found.parts) == 4
    table = pd.read_parquet(tmp_path / "out")
    assert table["prediction"].tolist() == [*model.predict(X)] * 2
    assert table["id"].tolist()[len(X) :] == [*map(str, range(1, 6)), *map(str, range(1, 19))]


def test_pairs_and_labels_of_residues(X, y, tmp_path):
    pairs = list(zip(X, reversed(X)))
    of_pairs = PLMPairClassifier("mini", adapter=Frozen(), **SETTINGS).fit(pairs, y)
    pd.DataFrame(pairs, columns=["one", "two"]).to_csv(tmp_path / "pairs.csv")
    map_batches(
        of_pairs, tmp_path / "pairs.csv", tmp_path / "pairs", sequence=("one", "two"), partition_size=9
    )
    assert pd.read_parquet(tmp_path / "pairs")["prediction"].tolist() == of_pairs.predict(pairs).tolist()

    states = ["".join("ab"[i % 2] for i in range(len(x))) for x in X]
    of_residues = PLMResidueClassifier("mini", adapter=Frozen(), **SETTINGS).fit(X, states)
    map_batches(of_residues, [X], tmp_path / "states")
    assert pd.read_parquet(tmp_path / "states")["prediction"].tolist() == of_residues.predict(X).tolist()
    map_batches(of_residues, [X], tmp_path / "shares", method="predict_proba")
    for row, expected in zip(pd.read_parquet(tmp_path / "shares")["p"], of_residues.predict_proba(X)):
        np.testing.assert_allclose(np.stack(row), expected, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", None])
def test_embeddings_are_written_as_tensors(pooling, X, tmp_path, empty_cache):
    embedder = PLMEmbedder("mini", pooling=pooling, precision="fp32").fit(X)
    found = map_batches(embedder, [X[:9], X[9:]], tmp_path / "out")
    assert cache.info()["memory_bytes"] == cache.info()["disk_bytes"] == 0
    parts = [load_file(path) for path in found.parts]
    if pooling is None:
        ends = [np.cumsum(part["lengths"])[:-1] for part in parts]
        rows = [row for part, end in zip(parts, ends) for row in np.split(part["embeddings"], end)]
    else:
        rows = [row for part in parts for row in part["embeddings"]]
    for row, expected in zip(rows, embedder.transform(X), strict=True):
        np.testing.assert_allclose(row, expected, atol=1e-5)


def test_what_is_there_is_not_computed_again(model, fasta, X, y, tmp_path):
    """Nor after the same fit in another process, or on another device."""
    out = tmp_path / "out"
    first = map_batches(model, fasta, out, partition_size=5)
    before = contents(out)
    first.parts[2].unlink()
    out.joinpath(".part-000002-x.parquet.x.part").touch()  # of a worker that was killed
    again = clone(model).set_params(verbose=0, max_tokens=500).fit(X, y)
    assert map_batches(again, str(fasta), out, partition_size=5).n_computed == 1
    assert contents(out) == before
    assert map_batches(save(again, tmp_path / "model"), fasta, out, partition_size=5).n_computed == 0


def test_another_run_is_refused_by_name(model, fasta, X, y, tmp_path):
    out = tmp_path / "out"
    map_batches(model, fasta, out)
    before = contents(out)
    other = clone(model).set_params(random_state=1).fit(X, y)
    with pytest.raises(
        ValueError, match=r"another run: estimator is PLMClassifier \w+, was PLMClassifier \w+"
    ):
        map_batches(other, fasta, out)
    with pytest.raises(
        ValueError, match=r"method is predict_proba, was predict; partition_size is 5, was 1000"
    ):
        map_batches(model, fasta, out, method="predict_proba", partition_size=5)
    fasta.write_text(fasta.read_text() + ">another\nMKV\n")
    with pytest.raises(ValueError, match=r"input 0 is proteins.fasta \w+, was proteins.fasta \w+\. Pass"):
        map_batches(model, fasta, out)
    assert contents(out) == before
    out.joinpath("_run.json").unlink()
    with pytest.raises(ValueError, match=r"holds parts and no _run\.json"):
        map_batches(model, fasta, out)


def test_a_bad_sequence_stops_the_run_and_can_be_skipped(model, fasta, X, tmp_path):
    with_bad_ones(fasta, 12, 13, 20, 21, 22)
    out = tmp_path / "out"
    with pytest.raises(SequenceError, match=r"proteins\.fasta, record 13 \('P12'\): has 'J'") as caught:
        map_batches(model, fasta, out, partition_size=5)
    assert caught.value.rows == [12, 13]
    found = map_batches(model, fasta, out, partition_size=5, on_error="skip")
    assert found.n_computed == 3  # of five: two were finished before
    with found.rejected.open() as file:
        rejected = list(csv.DictReader(file))
    assert [(row["record"], row["id"], row["sequence"]) for row in rejected] == [
        (str(i + 1), f"P{i}", "MKJ") for i in (12, 13, 20, 21, 22)
    ]
    assert all(row["reason"].startswith("has 'J' at residue 3") for row in rejected)
    table = pd.concat(map(pd.read_parquet, reversed(found.parts)))  # the last one has no row
    kept = [i for i in range(len(X)) if i not in (12, 13, 20, 21, 22)]
    table = table.sort_values("record")
    assert table["record"].tolist() == [i + 1 for i in kept]
    assert table["prediction"].tolist() == model.predict([X[i] for i in kept]).tolist()


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_a_first_part_without_rows_has_the_columns_of_others(method, model, fasta, X, tmp_path):
    with_bad_ones(fasta, *range(10))
    out = tmp_path / "out"
    found = map_batches(model, fasta, out, method=method, partition_size=10, on_error="skip")
    assert [len(pd.read_parquet(part)) for part in found.parts] == [0, 10, 3]
    assert len({str(pyarrow.parquet.read_schema(part).remove_metadata()) for part in found.parts}) == 1
    table = pd.read_parquet(out)
    assert table["record"].tolist() == list(range(11, 24))
    assert table["id"].tolist() == [f"P{i}" for i in range(10, 23)]


@pytest.mark.parametrize("pooling", ["mean", None])
def test_embeddings_of_a_part_without_rows_are_as_wide_as_others(pooling, X, tmp_path):
    embedder = PLMEmbedder("mini", pooling=pooling, precision="fp32").fit(X)
    found = map_batches(embedder, [["MKJ"], X[:3]], tmp_path / "out", on_error="skip")
    shapes = [load_file(part)["embeddings"].shape for part in found.parts]
    assert shapes[0] == (0, shapes[1][1])
    assert shapes[1][0] == (3 if pooling else sum(map(len, X[:3])))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_id_that_is_missing_is_empty(kind, model, X, tmp_path):
    table = pd.DataFrame({"id": ["P0", None], "sequence": X[:2]})
    path = tmp_path / f"x.{kind}"
    table.to_csv(path, index=False) if kind == "csv" else table.to_parquet(path)
    map_batches(model, path, tmp_path / "out")
    assert pd.read_parquet(tmp_path / "out")["id"].tolist() == ["P0", ""]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_saved_perceptron_goes_on(solver, X, y, tmp_path):
    """Its folder lacks the state of the optimiser, which predictions do not need."""
    mlp = PLMFrozenMLP("mini", solver=solver, max_iter=3, early_stopping=False, random_state=0).fit(X, y)
    folder = save(mlp, tmp_path / "model")
    assert map_batches(mlp, [X[:5]], tmp_path / "out").n_computed == 1
    assert map_batches(folder, [X[:5]], tmp_path / "out").n_computed == 0
    with pytest.raises(ValueError, match="another run: estimator is PLMFrozenMLP"):
        map_batches(clone(mlp).set_params(random_state=1).fit(X, y), [X[:5]], tmp_path / "out")


def test_warnings_come_once_with_counts(model, fasta, tmp_path):
    short = clone(model).set_params(max_length=20, adapter=Frozen())
    short.fit(["MKTAYIAK", "GSHMLEDP"], ["in", "out"])
    with pytest.warns(
        UserWarning, match=r"In [345] of 5 partitions, such as: \d of 5 sequences .* were cut"
    ) as caught:
        map_batches(short, fasta, tmp_path / "out", partition_size=5)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_what_is_wrong_is_said_at_once(model, fasta, X, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(NotFittedError):
        map_batches(clone(model), fasta, out)
    pipeline = make_pipeline(PLMEmbedder("mini"), LogisticRegression()).fit(X, np.arange(23) % 2)
    with pytest.raises(ValueError, match="method='transform', but Pipeline has predict and predict_proba"):
        map_batches(pipeline, fasta, out, method="transform")
    with pytest.raises(FileNotFoundError, match=r"no file .*pass \[sequences\]"):
        map_batches(model, X, out)
    with pytest.raises(TypeError, match=r"client is <object .*expected a distributed\.Client, the address"):
        map_batches(model, fasta, out, client=object())
    with pytest.raises(ValueError, match="inputs is empty"):
        map_batches(model, [], out)
    fasta.with_suffix(".csv").write_text("id,seq\nP1,MKV\n")
    with pytest.raises(ValueError, match="no column 'sequence'"):
        map_batches(model, fasta.with_suffix(".csv"), out)


def test_packages_that_are_missing_are_named(model, fasta, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "distributed", None)
        with pytest.raises(ImportError, match=r'pip install "plmlearn\[dask\]"'):
            map_batches(model, fasta, tmp_path / "out", client="tcp://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r'pip install "plmlearn\[dask\]"'):
        map_batches(model, fasta, tmp_path / "out")


# -- in workers of dask ---------------------------------------------------------------------------


class KillsItsWorker(BaseEstimator):
    """Predicts as a fitted estimator does, after some workers have died in the middle of it."""

    def __init__(self, estimator, folder, deaths):
        self.estimator = estimator
        self.folder = folder
        self.deaths = deaths
        self.fitted_ = True

    def fit(self, X, y=None):
        return self

    def predict(self, X):
        place = Path(self.folder, str(len(os.listdir(self.folder))))
        if len(os.listdir(self.folder)) < self.deaths:
            place.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.estimator.predict(X)


def test_workers_that_are_killed_leave_no_trace(model, fasta, tmp_path, client):
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    killed = KillsItsWorker(model, str(deaths), 2)
    found = map_batches(killed, fasta, tmp_path / "killed", partition_size=3, client=client)
    assert len(list(deaths.iterdir())) >= 2
    assert found.n_computed == 8
    calm = map_batches(killed, fasta, tmp_path / "calm", partition_size=3)
    assert contents(tmp_path / "killed") == contents(tmp_path / "calm")
    assert json.loads((tmp_path / "calm" / "_run.json").read_text())["partition_size"] == "3"
    assert calm.n_computed == 8


def test_an_error_in_a_worker_names_the_record(model, fasta, tmp_path, client):
    with_bad_ones(fasta, 12)
    with pytest.raises(SequenceError, match=r"proteins\.fasta, record 13 \('P12'\): has 'J'"):
        map_batches(model, fasta, tmp_path / "out", partition_size=5, client=client)
    address = client.scheduler.address
    found = map_batches(model, fasta, tmp_path / "out", partition_size=5, on_error="skip", client=address)
    assert 1 <= found.n_computed <= 5
    assert "P12" in found.rejected.read_text()


def gpu_of_this_worker(_: int) -> str:
    """The GPU of two, whatever number the process has, as after a restart."""
    number = mock.patch.object(multiprocessing.current_process(), "_identity", (7,))
    with number, mock.patch.object(torch.cuda, "device_count", return_value=2):
        return str(resolve_device("cuda"))


def test_workers_take_gpus_in_turn(client):
    client.wait_for_workers(2)
    found = [client.submit(gpu_of_this_worker, i, workers=[w]) for i, w in enumerate(client.nthreads())]
    assert sorted(client.gather(found)) == ["cuda:0", "cuda:1"]


def test_a_grid_search_on_dask_finds_what_it_finds_here(X, y, client):
    search = GridSearchCV(
        PLMClassifier("mini", adapter=LoRA(last_n_layers=1), **SETTINGS),
        {"adapter__rank": [2, 4]},
        cv=2,
        scoring="neg_log_loss",
    )
    alone = clone(search).fit(X, y)
    with client.as_current(), joblib.parallel_config("dask"):
        search.fit(X, y)
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"], atol=1e-6
    )


@pytest.mark.parametrize("storage", [None, "journal"])
def test_plm_search_on_dask_finds_what_it_finds_here(storage, X, y, client, tmp_path):
    """With pruning off, as processes that run at once compare with different trials."""
    search = PLMSearchCV(
        PLMClassifier("mini", adapter=LoRA(last_n_layers=1), **SETTINGS),
        {"adapter__rank": [2, 4], "lr": [1e-4, 1e-3]},
        sampler="grid",
        cv=2,
        scoring="neg_log_loss",
        pruner=None,
        p_threshold=None,
        n_jobs=-1,
    )
    alone = clone(search).set_params(n_jobs=None).fit(X, y)
    search.set_params(storage=None if storage is None else tmp_path / storage)
    with client.as_current(), joblib.parallel_config("dask"):
        search.fit(X, y)
    for name in ("params", "state"):
        np.testing.assert_array_equal(search.cv_results_[name], alone.cv_results_[name])
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"], atol=1e-6
    )
    owners = {trial.user_attrs[queue.OWNER]["pid"] for trial in search.study_.trials}
    assert owners <= set(client.run(os.getpid).values()) | {os.getpid()}
    assert owners != {os.getpid()}


def test_a_file_is_no_folder_of_results(tmp_path):
    out = tmp_path / "results"
    out.write_text("mine")
    with pytest.raises(ValueError, match="results is a file; expected a folder"):
        Folder.open(out, ".parquet", {})
    assert out.read_text() == "mine"


def test_names_that_no_file_system_takes_are_refused():
    with pytest.raises(ValueError, match=r"out is 'aaa.*names of files have at most 255 bytes"):
        local_path("a" * 300, "out")
    assert local_path("b" * 255).name == "b" * 255
