"""The data home and what happens in it: look, download, verify, keep, read.

- ``get_data_home``, ``clear_data_home``: where the tables are, and how to delete those that were downloaded.
- ``load_table``: the columns of one table, from the data home or, if it is missing, from its publisher.

A table that is there is only read: the data home may be read-only or shared. A download is converted and
verified in memory, written next to its place and then moved there in one step, so no reader ever sees half a
file, and two processes that download at once both end with the same one. Reading verifies too: hashing takes
at most 10 ms, a twentieth of the time to read and split a table.
"""

import csv
import gzip
import hashlib
import http.client
import io
import logging
import os
import re
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import numpy as np

from ..messages import warn
from ..sequences.clean import local_path, object_array
from ..sequences.files import replacing
from .origins import TABLES, Table, description

logger = logging.getLogger(__name__)

DataHome = str | os.PathLike | None
TIMEOUT_SECONDS = 60
_MARK = b"plmlearn"  # written as file name into the gzip header: how clear_data_home knows its own downloads


def get_data_home(data_home: DataHome = None) -> Path:
    """
    Return the folder that holds the data sets.

    The argument comes first, then the environment variable ``PLMLEARN_DATA``, then ``plmlearn_data`` in the
    user's home folder. Nothing is created: the folder appears with the first download.

    Parameters
    ----------
    data_home : path-like, default=None
        The folder. ``~`` is expanded.

    Returns
    -------
    data_home : pathlib.Path

    See Also
    --------
    clear_data_home : Delete the tables that the package has downloaded, and nothing else.

    Examples
    --------
    >>> from plmlearn.datasets import get_data_home
    >>> get_data_home("somewhere/proteins").name
    'proteins'
    """
    if data_home is None or (isinstance(data_home, str) and not data_home):
        data_home = os.environ.get("PLMLEARN_DATA") or "~/plmlearn_data"
    return local_path(data_home, "data_home")


def clear_data_home(data_home: DataHome = None) -> None:
    """
    Delete the tables that the package has downloaded, and nothing else.

    Tables that were put there by hand, other files and the data home itself stay. Folders of data sets are
    deleted if nothing is left in them.

    Parameters
    ----------
    data_home : path-like, default=None
        The folder, as for `get_data_home`.

    See Also
    --------
    get_data_home : The folder that holds the data sets.

    Examples
    --------
    >>> from plmlearn.datasets import clear_data_home
    >>> clear_data_home("a_folder_that_is_not_there")
    """
    home = get_data_home(data_home)
    for table in TABLES.values():
        path = home / table.path
        if _is_download(path):
            path.unlink()
            if not any(path.parent.iterdir()):
                path.parent.rmdir()


def load_table(name: str, data_home: DataHome, download_if_missing: bool) -> dict[str, np.ndarray]:
    """Columns of one of ``TABLES``, 1-D in the order of the file, text or the numbers that it declares."""
    table = TABLES[name]
    path = get_data_home(data_home) / table.path
    if os.path.exists(path):  # False of a name that no file can have, too
        content = _verified(path, table)
    elif download_if_missing and table.urls:
        content = _download(path, table)
        _store(content, path)
    else:
        reason = (
            "nothing downloads it automatically" if download_if_missing else "download_if_missing is False"
        )
        raise _error(f"{path} is missing and {reason}. {_by_hand(path, table)}", table, FileNotFoundError)
    header, *rows = csv.reader(io.StringIO(content.decode()))
    if tuple(header) != table.columns:
        found = f"{path} has the columns {','.join(header)}, expected {','.join(table.columns)}"
        raise _error(f"{found}. {_remedy(path, table)}", table)
    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    numbers = (table.numbers.get(name, object) for name in header)
    return {name: object_array(column).astype(kind) for name, column, kind in zip(header, columns, numbers)}


def _error(text: str, table: Table, kind: type[OSError] = OSError) -> OSError:
    return kind(f"{table.data_set}: {text}")


def _verified(path: Path, table: Table) -> bytes:
    try:
        content = gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _error(f"{path} is not a whole gzip file ({error}). {_remedy(path, table)}", table) from error
    if found := _difference(content, table):
        fault = f"{path} is not the table that this version of plmlearn knows: {found}."
        if table.urls:
            raise _error(f"{fault} {_remedy(path, table)}", table)
        warn(f"{table.data_set}: {fault} It is used as it is; published figures do not apply to it.")
    return content


def _difference(content: bytes, table: Table) -> str:
    """The checksum of a table's text next to the expected one, '' if they agree."""
    found = hashlib.sha256(content).hexdigest()
    return "" if found == table.sha256 else f"got sha256 {found}, expected {table.sha256}"


def _download(path: Path, table: Table) -> bytes:
    """The CSV text of a table, fetched from its publisher, converted and verified."""
    files = [_fetch(url, path, table) for url in table.urls]
    text, end = io.StringIO(), f"Nothing was kept. {_by_hand(path, table)}"
    source = ", ".join(table.urls)
    try:
        csv.writer(text, lineterminator="\n").writerows([table.columns, *table.convert(*files)])
    except Exception as error:
        fault = f"{source} is not in the expected format ({type(error).__name__}: {error})"
        raise _error(f"{fault}. {end}", table) from error
    content = text.getvalue().encode()
    if found := _difference(content, table):
        raise _error(f"{source} does not give the expected table: {found}. {end}", table)
    return content


def _fetch(url: str, path: Path, table: Table) -> bytes:
    logger.info("Downloading %s", url)
    request = urllib.request.Request(url, headers={"User-Agent": "plmlearn"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            return response.read()
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection open
        raise _error(
            f"{path} is missing and {url} could not be downloaded ({type(error).__name__}: {error}). Nothing "
            f"was kept. Try again; or call plmlearn.datasets.fetch_{table.data_set} on a machine with a "
            f"network and copy its file to {path}; or name a folder that has it with data_home= or "
            "the environment variable PLMLEARN_DATA.",
            table,
        ) from error


def _store(content: bytes, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    packed = io.BytesIO()
    with gzip.GzipFile(_MARK.decode(), "wb", fileobj=packed, mtime=0) as file:
        file.write(content)
    with replacing(path) as part:
        part.write_bytes(packed.getvalue())


def _is_download(path: Path) -> bool:
    """Whether the gzip header at `path` bears the mark of `_store`: ten bytes, then the file name."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(10 + len(_MARK) + 1)[10:] == _MARK + b"\0"


def _remedy(path: Path, table: Table) -> str:
    return "Delete the file to have it downloaded again." if table.urls else _by_hand(path, table)


def _by_hand(path: Path, table: Table) -> str:
    [published] = re.findall("^Published at: (.*)$", description(table.data_set), re.MULTILINE)
    checksum = f"; the sha256 of its text must be {table.sha256}." if table.urls else "."
    return (
        f"The data set is published at {published}. A gzipped CSV file with the columns "
        f"{','.join(table.columns)} can be put at {path} by hand{checksum}"
    )
