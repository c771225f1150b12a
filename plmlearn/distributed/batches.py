"""``map_batches``: one estimator over files of any size, in this process or in workers of dask."""

from __future__ import annotations

import copy
import re
import reprlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from os import PathLike
from os.path import isfile
from pathlib import Path
from typing import Any

import joblib
from sklearn.base import BaseEstimator
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from ..messages import warn
from ..persistence import SavedModelError, load
from ..persistence.values import decode, encode
from ..sequences.checked import COUNT, checked, one_of, require_package
from ..sequences.clean import first_few, local_path
from .partitions import Partition, digest_of, partitions_of
from .results import Folder
from .work import write_results

METHODS = ("predict", "predict_proba", "transform")
# What makes no other results: where and how a model runs, where its backbone lies, how long its fit took.
_NO_MATTER = {"history_", "verbose", "callbacks", "device", "max_tokens", "n_jobs", "compile"}
_NO_MATTER |= {"backbone", "_backbone_name", "_backbone_place"}  # the fingerprint tells which one it is


@checked(
    method=[*one_of(METHODS), None],
    sequence=[str, list, tuple],
    id=[str, None],
    partition_size=COUNT,
    on_error=one_of(("raise", "skip")),
)
def map_batches(
    estimator: Any,
    inputs: Any,
    out: str | PathLike[str],
    *,
    method: str | None = None,
    sequence: str | Sequence[str] = "sequence",
    id: str | None = None,
    partition_size: int = 1000,
    on_error: str = "raise",
    client: Any = None,
) -> Bunch:
    """Predict or embed the proteins of files of any size, partition by partition, and keep the results.

    Files are read record by record and cut into partitions. Each partition is predicted by itself, in a
    worker of dask or in this process, and its results are written to a file of their own, as a whole or not
    at all. A run that was interrupted goes on where it was if it is started again.

    Parameters
    ----------
    estimator : fitted estimator, str or PathLike
        Any estimator that takes sequences, pipelines too; or a folder that :func:`plmlearn.save` wrote.
    inputs : str, PathLike, or list of them, or list of lists or arrays of sequences
        FASTA files, tables (CSV and its relatives), plain or compressed, and Parquet files. A list of
        sequences within the list is one partition.
    out : str or PathLike
        Folder of the results, made if need be. All workers must see it under this path.
    method : {"predict", "predict_proba", "transform"}, optional
        What to call. None predicts, and embeds with an estimator that only embeds.
    sequence : str or sequence of str, default="sequence"
        Column of a table that holds the sequences; of pairs the names of the two columns.
    id : str, optional
        Column with ids. None takes the column "id" if there is one, and otherwise the number of the record.
        An id that is missing is "".
    partition_size : int, default=1000
        Records of a partition. The memory of a worker grows with it.
    on_error : {"raise", "skip"}, default="raise"
        What to do with sequences that the estimator refuses: stop, or go on without them and list them in
        ``_rejected.csv``.
    client : distributed.Client or str, optional
        Of dask's scheduler, or its address. None takes the current one, and this process where there is none.

    Returns
    -------
    Bunch
        ``parts``: paths of the results, in the order of the records. ``n_computed``: how many of them this
        call made. ``rejected``: path of the table of rejected sequences, or None.

    Raises
    ------
    SequenceError
        A sequence that is refused, with its file and record; what was finished before stays.
    ValueError
        ``out`` holds the results of another estimator, method or input; the message says what differs.
    NotFittedError
    ImportError
        A package that is needed is not installed.

    Warns
    -----
    UserWarning
        What the estimator warns of, such as sequences that were cut: each kind once, with the number of
        partitions.

    See Also
    --------
    plmlearn.PLMEmbedder : Embeddings of proteins in memory.

    Notes
    -----
    Predictions are Parquet files with the columns ``source``, ``record`` (from 1), ``id`` and ``prediction``
    (``prediction_0``, ... for several targets) or ``p_<class>``; ``pandas.read_parquet(out)`` reads them all.
    Embeddings are safetensors files with ``embeddings`` (n, D) and ``records``, and the ids as JSON in the
    metadata. Those of residues follow one another, (residues, D), with ``lengths`` (n,).

    Cost: files are read twice, first to tell whether they are the same as before. A worker holds the
    backbone and one partition; nothing is kept in the cache. Embeddings of residues take 4 D bytes each, and
    a worker holds them twice: 0.8 GB for 1,000 proteins of 300 residues and D = 320.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from plmlearn import PLMFrozenMLP
    >>> from plmlearn.distributed import map_batches
    >>> model = PLMFrozenMLP("mini", random_state=0).fit(["MKTAYIAK", "GSHMLEDP"] * 5, ["a", "b"] * 5)
    >>> with tempfile.TemporaryDirectory() as home:
    ...     path = Path(home, "proteins.fasta")
    ...     _ = path.write_text(">P1\\nMKTAYIAK\\n>P2\\nGSHMLEDP\\n>P3\\nMVLSPADK\\n")
    ...     found = map_batches(model, path, Path(home, "predicted"), partition_size=2)
    ...     table = pd.read_parquet(Path(home, "predicted"))
    >>> found.n_computed
    2
    >>> table["id"].tolist()
    ['P1', 'P2', 'P3']
    """
    estimator = load(estimator) if isinstance(estimator, (str, PathLike)) else estimator
    check_is_fitted(estimator)
    method, given = _check_method(estimator, method), _check_inputs(inputs)
    columns = [sequence] if isinstance(sequence, str) else list(sequence)
    with _client_of(client) as client:
        run = {
            "estimator": f"{type(estimator).__name__} {_identity(estimator)}",
            "method": method,
            "partition_size": str(partition_size),
            "columns": ", ".join([*columns, *([id] if id else [])]),
            **{f"input {i}": f"{getattr(x, 'name', '')} {digest_of(x)[:16]}" for i, x in enumerate(given)},
        }
        suffix = ".safetensors" if method == "transform" else ".parquet"
        folder = Folder.open(local_path(out, "out").absolute(), suffix, run)
        parts: list[Path] = []
        jobs = _missing(partitions_of(given, int(partition_size), columns, id), folder, parts)
        work = partial(write_results, method=method, skip=on_error == "skip")
        here = (work(estimator, *job) for job in jobs)
        warned = list(here if client is None else _there(client, estimator, work, jobs))
    rejected = folder.collect_rejected(parts)
    _warn_once(warned)
    return Bunch(parts=parts, n_computed=len(warned), rejected=rejected)


# -- before the run -------------------------------------------------------------------------------


def _check_method(estimator: Any, method: str | None) -> str:
    method = method or ("predict" if hasattr(estimator, "predict") else "transform")
    if not hasattr(estimator, method):
        able = [name for name in METHODS if hasattr(estimator, name)]
        raise ValueError(f"method={method!r}, but {type(estimator).__name__} has {first_few(able, ' and ')}.")
    if method != "transform":
        message = 'Predictions are Parquet files, which need pyarrow: pip install "plmlearn[dask]".'
        require_package("pyarrow", message)
    return method


def _check_inputs(inputs: Any) -> list[Any]:
    """Files as paths, containers of sequences as they are."""
    if not isinstance(inputs, (str, PathLike, Iterable)):
        raise TypeError(f"inputs is {reprlib.repr(inputs)}; expected files, or lists of sequences.")
    given = [inputs] if isinstance(inputs, (str, PathLike)) else list(inputs)
    if not given:
        raise ValueError("inputs is empty; expected files, or lists of sequences.")
    given = [local_path(part, "inputs") if isinstance(part, (str, PathLike)) else part for part in given]
    missing = [str(part) for part in given if isinstance(part, Path) and not isfile(part)]
    if missing:
        raise FileNotFoundError(
            f"inputs: there is no file {reprlib.repr(missing[0])}. A list of sequences is one of several "
            "partitions: pass [sequences]."
        )
    return given


def _identity(estimator: Any) -> str:
    """A digest of what an estimator was given and has learned: the same after the same fit."""
    kept, arrays = copy.deepcopy(estimator), dict[str, Any]()
    for part in _estimators_in(kept):
        vars(part).update(dict.fromkeys({"callbacks"} & vars(part).keys()))
    with suppress(TypeError, SavedModelError):  # as a folder holds it, if one can
        kept = decode(encode(kept, "estimator", arrays), "estimator", arrays)
    for part in _estimators_in(kept):
        for name in _NO_MATTER & vars(part).keys():
            delattr(part, name)
    return joblib.hash(kept)[:16]


def _estimators_in(whole: Any) -> Iterator[BaseEstimator]:
    """An estimator and all within it."""
    waiting = [whole]
    while waiting:
        part = waiting.pop()
        if isinstance(part, BaseEstimator):
            waiting += vars(part).values()
            yield part
        elif isinstance(part, (list, tuple)):
            waiting += part
        elif isinstance(part, dict):
            waiting += part.values()


@contextmanager
def _client_of(client: Any) -> Iterator[Any]:
    """The client that was passed, that of an address, or the current one; None without any."""
    if client is None and "distributed" not in sys.modules:
        yield None
        return
    require_package("distributed", 'client needs dask: pip install "plmlearn[dask]".')
    import distributed

    if isinstance(client, str):
        with distributed.Client(client, set_as_default=False) as connected:
            yield connected
        return
    if client is None:
        with suppress(ValueError):  # there is none
            client = distributed.default_client()
    if client is not None and not hasattr(client, "submit"):
        raise TypeError(
            f"client is {reprlib.repr(client)}; expected a distributed.Client, the address of a scheduler, "
            "or None."
        )
    yield client


def _missing(
    partitions: Iterable[Partition], folder: Folder, parts: list[Path]
) -> Iterator[tuple[Partition, Path]]:
    """Partitions that have no part yet, and where it goes; ``parts`` gets those of all."""
    for partition in partitions:
        parts.append(folder.part(partition.number))
        if not parts[-1].exists():
            yield partition, parts[-1]


# -- the run --------------------------------------------------------------------------------------


def _there(
    client: Any, estimator: Any, work: Callable, jobs: Iterable[tuple[Partition, Path]]
) -> Iterator[list[str]]:
    """Warnings of each partition as it is finished; two per worker wait or run at a time.

    The estimator is itself the result of a task: if the worker that holds it dies, dask makes it again.
    """
    from distributed import as_completed

    model = client.submit(copy.copy, estimator, pure=False)
    finished = as_completed(loop=client.loop)
    for job in jobs:
        while finished.count() >= 2 * max(1, len(client.nthreads())):
            yield next(finished).result()
        finished.add(client.submit(work, model, *job, pure=False))
    for future in finished:
        yield future.result()


def _warn_once(warned: Sequence[Sequence[str]]) -> None:
    """Each kind of warning once, with the partitions that it came from; numbers make no other kind."""
    first: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for texts in warned:
        kinds = {re.sub(r"\d+|\(.*\)", "", text): text for text in texts}
        first = kinds | first
        counts.update(kinds.keys())
    for kind, n in counts.items():
        text = f"In {n} of {len(warned)} partitions, such as: {first[kind]}"
        warn(text)
