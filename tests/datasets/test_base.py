"""The data home and downloads; nothing here touches the network beyond 127.0.0.1."""

import dataclasses
import gzip
import hashlib
import http.server
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from plmlearn.datasets import base, clear_data_home, fetch_signal_peptides, get_data_home
from plmlearn.datasets.origins import TABLES

# Three proteins of the signal peptides as they are published, and the table made of them.
FASTA = (
    b">P58300|ARCHAEA|LIPO|0\nMRRA\nLLLO\n"
    b">Q8TF40|EUKARYA|NO_SP|2\nMAPT\nIIII\n"
    b">P27373|ARCHAEA|SP|1\nMRK\nSSS\n"
)
TABLE = (
    b"accession,sequence,labels,type,kingdom,partition\nP58300,MRRA,LLLO,LIPO,ARCHAEA,0\n"
    b"Q8TF40,MAPT,IIII,NO_SP,EUKARYA,2\nP27373,MRK,SSS,SP,ARCHAEA,1\n"
)
PATH = Path("signal_peptide/signalp6.csv.gz")


@pytest.fixture
def served(tmp_path):
    """A folder and the address where a server on this machine offers its files."""
    folder = tmp_path / "origin"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def do_GET(self):
            if "truncated" not in self.path:
                return super().do_GET()
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half of it")

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def move_origin(monkeypatch):
    """A function that has the signal peptides come from another address."""

    def move(url: str, sha256: str = hashlib.sha256(TABLE).hexdigest()) -> None:
        table = dataclasses.replace(TABLES["signal_peptides"], urls=(url,), sha256=sha256)
        monkeypatch.setitem(TABLES, "signal_peptides", table)

    return move


@pytest.fixture
def address(served, move_origin):
    """Where the server offers the three proteins and other files."""
    folder, address = served
    (folder / "train_set.fasta").write_bytes(FASTA)
    move_origin(f"{address}/train_set.fasta")
    return address


def files_under(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# --- the data home --------------------------------------------------------------------------------


def test_data_home_is_argument_then_variable_then_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PLMLEARN_DATA", str(tmp_path / "variable"))
    assert get_data_home(tmp_path / "argument") == tmp_path / "argument"
    assert get_data_home("~/argument") == tmp_path / "argument"
    assert get_data_home() == tmp_path / "variable"
    monkeypatch.delenv("PLMLEARN_DATA")
    assert get_data_home() == tmp_path / "plmlearn_data"
    assert files_under(tmp_path) == []


def test_clear_removes_downloads_only(tmp_path, address):
    home = tmp_path / "home"
    fetch_signal_peptides(data_home=home)
    by_hand = home / "stability" / "stability.csv.gz"
    by_hand.parent.mkdir()
    by_hand.write_bytes(gzip.compress(b"sequence,target,split\n"))
    (home / "signalp6.csv.gz").write_text("not at the place of a table")
    clear_data_home(home)
    assert files_under(home) == ["signalp6.csv.gz", "stability", "stability/stability.csv.gz"]


def test_clear_keeps_a_folder_with_other_files(tmp_path, address):
    fetch_signal_peptides(data_home=tmp_path / "home")
    (tmp_path / "home" / PATH.parent / "notes.txt").write_text("mine")
    clear_data_home(tmp_path / "home")
    assert files_under(tmp_path / "home") == ["signal_peptide", "signal_peptide/notes.txt"]


def test_clear_of_a_missing_data_home_does_nothing(tmp_path):
    clear_data_home(tmp_path / "nowhere")
    assert files_under(tmp_path) == []


# --- downloading ----------------------------------------------------------------------------------


def test_download_is_converted_kept_and_read_again(tmp_path, address, move_origin):
    home = tmp_path / "home"
    first = fetch_signal_peptides(data_home=home)
    assert first.data.tolist() == ["MRRA", "MAPT", "MRK"]
    assert first.target.tolist() == ["LLLO", "IIII", "SSS"]
    assert first.partition.tolist() == [0, 2, 1]
    assert files_under(home) == ["signal_peptide", str(PATH)]
    assert gzip.decompress((home / PATH).read_bytes()) == TABLE
    move_origin(f"{address}/no_longer_there.fasta")
    before = (home / PATH).stat()
    again = fetch_signal_peptides(data_home=home, download_if_missing=False)
    assert again.data.tolist() == first.data.tolist()
    assert (home / PATH).stat() == before


def test_download_from_a_file_address(tmp_path, monkeypatch, move_origin):
    (tmp_path / "train_set.fasta").write_bytes(FASTA)
    move_origin((tmp_path / "train_set.fasta").as_uri())
    monkeypatch.setenv("PLMLEARN_DATA", str(tmp_path / "home"))
    X, y = fetch_signal_peptides(task="type", partitions=(1, 2), return_X_y=True)
    assert X.tolist() == ["MAPT", "MRK"]
    assert y.tolist() == ["NO_SP", "SP"]
    assert (tmp_path / "home" / PATH).exists()


def test_another_table_than_expected_is_refused_and_not_kept(tmp_path, address, move_origin):
    move_origin(f"{address}/train_set.fasta", sha256="0" * 64)
    message = (
        f"train_set.fasta.*got sha256 {hashlib.sha256(TABLE).hexdigest()}, expected 0000.*Nothing was kept"
    )
    with pytest.raises(OSError, match=message) as caught:
        fetch_signal_peptides(data_home=tmp_path / "home")
    assert str(tmp_path / "home" / PATH) in str(caught.value)
    assert not (tmp_path / "home").exists()


def test_another_format_than_expected_is_refused_and_not_kept(tmp_path, served, address, move_origin):
    (served[0] / "page.html").write_text("<html>\n<p>moved</p>\n</html>")
    move_origin(f"{address}/page.html")
    with pytest.raises(OSError, match=r"page\.html is not in the expected format \(ValueError"):
        fetch_signal_peptides(data_home=tmp_path / "home")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("name", "reason"), [("truncated", "IncompleteRead"), ("not_there", "HTTPError: HTTP Error 404")]
)
def test_failed_download_says_what_and_where(tmp_path, address, move_origin, name, reason):
    move_origin(f"{address}/{name}")
    with pytest.raises(OSError, match="could not be downloaded") as caught:
        fetch_signal_peptides(data_home=tmp_path / "home")
    message = str(caught.value)
    for part in (f"{address}/{name}", reason, str(tmp_path / "home" / PATH), "data_home=", "PLMLEARN_DATA"):
        assert part in message
    assert not (tmp_path / "home").exists()


def test_no_network_says_so(tmp_path, move_origin):
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        url = f"http://127.0.0.1:{server.server_port}/train_set.fasta"
    move_origin(url)  # the server is closed again: nobody listens
    with pytest.raises(OSError, match=rf"{url} could not be downloaded .*refused.*fetch_signal_peptides"):
        fetch_signal_peptides(data_home=tmp_path)


def test_nothing_is_downloaded_when_told_not_to(tmp_path, address):
    with pytest.raises(FileNotFoundError, match="download_if_missing is False"):
        fetch_signal_peptides(data_home=tmp_path / "home", download_if_missing=False)
    assert not (tmp_path / "home").exists()


def test_an_interrupted_write_leaves_nothing(tmp_path, address, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(base.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch_signal_peptides(data_home=tmp_path / "home")
    assert files_under(tmp_path / "home") == ["signal_peptide"]


def test_downloads_at_once_agree(tmp_path, address):
    with ThreadPoolExecutor(8) as pool:
        bunches = list(pool.map(lambda _: fetch_signal_peptides(data_home=tmp_path / "home"), range(16)))
    assert {tuple(bunch.data) for bunch in bunches} == {("MRRA", "MAPT", "MRK")}
    assert files_under(tmp_path / "home") == ["signal_peptide", str(PATH)]


def test_downloaded_file_obeys_the_umask(tmp_path, address):
    fetch_signal_peptides(data_home=tmp_path / "home")
    plain = tmp_path / "plain"
    plain.touch()
    assert (tmp_path / "home" / PATH).stat().st_mode == plain.stat().st_mode


# --- reading what is there ------------------------------------------------------------------------


def test_a_damaged_file_is_named_with_the_remedy(tmp_path, address):
    fetch_signal_peptides(data_home=tmp_path)
    path = tmp_path / PATH
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(OSError, match=rf"{path} is not a whole gzip file.*Delete the file"):
        fetch_signal_peptides(data_home=tmp_path)


def test_a_changed_file_is_named_with_the_remedy(tmp_path, address):
    path = tmp_path / PATH
    path.parent.mkdir()
    path.write_bytes(gzip.compress(TABLE.replace(b"MRRA", b"MRKA")))
    message = rf"{path} is not the table.*got sha256 \w+, expected \w+\. Delete the file"
    with pytest.raises(OSError, match=message):
        fetch_signal_peptides(data_home=tmp_path)
