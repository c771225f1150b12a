"""FASTA and CSV files: plain and compressed, tidy and untidy."""

import gzip
import lzma

import numpy as np
import pytest

from plmlearn.sequences import read_csv, read_fasta

OPENERS = {"": open, ".gz": gzip.open, ".xz": lzma.open, ".GZ": gzip.open}


@pytest.fixture(params=OPENERS)
def write(request, tmp_path):
    """Writes text to a file, plain or compressed, and returns its path."""

    def write_file(name, text):
        path = tmp_path / (name + request.param)
        with OPENERS[request.param](path, "wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
        return path

    return write_file


FASTA = ">sp|P69905|HBA_HUMAN Hemoglobin alpha\nMVLSPADK\nTNVKAAW*\n\n>P2\nmk v\n>P3  two  blanks \n\n>\nAA"


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("as_path", [str, lambda path: path])
def test_fasta(write, newline, as_path):
    data = read_fasta(as_path(write("a.fasta", FASTA.replace("\n", newline))))
    assert data.ids.tolist() == ["sp|P69905|HBA_HUMAN", "P2", "P3", ""]
    assert data.sequences.tolist() == ["MVLSPADKTNVKAAW*", "mk v", "", "AA"]
    assert data.descriptions.tolist() == ["Hemoglobin alpha", "", "two  blanks", ""]
    assert data.sequences.dtype == object


def test_fasta_comments_byte_order_mark_and_foreign_bytes(write):
    text = b"\xef\xbb\xbf; of 1985\n>P1 M\xfcller\nMKV\n; between\nLA\n"
    data = read_fasta(write("a.fa", text))
    assert data.ids.tolist() == ["P1"]
    assert data.descriptions.tolist() == ["M\\xfcller"]
    assert data.sequences.tolist() == ["MKVLA"]


def test_fasta_round_trip(write):
    rng = np.random.default_rng(0)
    sequences = ["".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), size=n)) for n in rng.integers(1, 300, 50)]
    width = rng.integers(1, 80, 50)
    lines = ["\n".join(s[i : i + w] for i in range(0, len(s), w)) for s, w in zip(sequences, width)]
    data = read_fasta(write("a.fa", "".join(f">P{i}\n{text}\n" for i, text in enumerate(lines))))
    assert data.sequences.tolist() == sequences
    assert data.ids.tolist() == [f"P{i}" for i in range(50)]


def test_fasta_without_records(write):
    with pytest.raises(ValueError, match=r"a\.fa.* holds no record"):
        read_fasta(write("a.fa", "\n\n"))
    with pytest.raises(ValueError, match=r"line 2: got 'MKV', expected '>'"):
        read_fasta(write("b.fa", "\nMKV\n>P1\nMKV\n"))


@pytest.mark.parametrize("read", [read_fasta, read_csv])
def test_missing_file(read, tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.csv")


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_csv(write, delimiter, newline):
    rows = [["id", " sequence", "y", "split"], ["P1", "MKV", "1.5", "train"], ["P2", "NA", "-2", "test"]]
    text = newline.join(delimiter.join(row) for row in rows) + newline
    data = read_csv(write("a.csv", text), target="y")
    assert data.sequences.tolist() == ["MKV", "NA"]  # Asn-Ala, which pandas takes for a missing value
    np.testing.assert_array_equal(data.target, [1.5, -2])
    assert list(data.columns) == ["id", "sequence", "y", "split"]
    assert data.columns["split"].tolist() == ["train", "test"]
    assert data.columns["y"].tolist() == ["1.5", "-2"]
    assert read_csv(write("a.csv", text)).target is None


def test_csv_byte_order_mark_quotes_and_blank_lines(write):
    data = read_csv(write("a.csv", '\ufeffsequence,note\n\nMKV,"a, ""b""\nc"\n\nMST,\n\n'))
    assert data.sequences.tolist() == ["MKV", "MST"]
    assert data.columns["note"].tolist() == ['a, "b"\nc', ""]


def test_csv_columns_of_any_name_do_not_collide(write):
    path = write("a.csv", "sequences,target,columns,y\nMKV,a,b,1\n")
    data = read_csv(path, sequence="sequences", target="y")
    assert data.sequences.tolist() == ["MKV"]
    assert data.target.tolist() == [1]
    assert data.columns["target"].tolist() == ["a"]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (["1", "0", "-3"], np.array([1, 0, -3])),
        (["1", "0.5"], np.array([1, 0.5])),
        (["1e-3", "2E4", "3."], np.array([1e-3, 2e4, 3])),
        (["1.5", "nan", "NaN"], np.array([1.5, np.nan, np.nan])),
        (["1.5", "", "2"], np.array([1.5, np.nan, 2])),
        (["-.5", "+2"], np.array([-0.5, 2])),
    ],
)
def test_csv_numbers(write, entries, expected):
    rows = "".join(f"MKV,{entry}\n" for entry in entries)
    target = read_csv(write("a.csv", "sequence,y\n" + rows), target="y").target
    assert target.dtype == expected.dtype
    np.testing.assert_array_equal(target, expected)


@pytest.mark.parametrize(
    "entries",
    [
        ["a", "1"],
        ["0011", "1100"],  # labels of residues
        ["1" * 30, "1" * 20],
        ["1_000", "2"],
        ["0.5 0.25", "nan 1"],
        ["", ""],
        ["-", "+"],
        ["e5", "."],
        ["٣", "1"],
    ],
)
def test_csv_text_that_only_looks_like_numbers(write, entries):
    rows = "".join(f"MKV,{entry}\n" for entry in entries)
    target = read_csv(write("a.csv", "sequence,y\n" + rows), target="y").target
    assert target.dtype == object
    assert target.tolist() == entries


def test_csv_missing_column(write):
    path = write("a.csv", "Sequence,fitness\nMKV,1\n")
    with pytest.raises(
        ValueError, match=r"no column 'sequence'; its .* are Sequence, fitness\..*'Sequence'\?$"
    ):
        read_csv(path)
    with pytest.raises(ValueError, match=r"no column 'y'; its columns are Sequence, fitness\.$"):
        read_csv(path, sequence="Sequence", target="y")


def test_csv_ragged_rows_are_all_named(write):
    with pytest.raises(ValueError, match=r"expected 2 fields .*; line 3 has 1, line 5 has 3\."):
        read_csv(write("a.csv", "sequence,y\nMKV,1\nMKV\nMKV,1\nMKV,1,2\n"))
    with pytest.raises(ValueError, match=r"line 11 has 1 and 2 lines more\."):
        read_csv(write("b.csv", "sequence,y\n" + "MKV\n" * 12))


def test_csv_without_rows_or_with_a_name_twice(write):
    for text in ("", "\n", "sequence,y\n", "sequence,y\n\n\n"):
        with pytest.raises(ValueError, match="holds no rows"):
            read_csv(write("a.csv", text))
    with pytest.raises(ValueError, match="several columns named y"):
        read_csv(write("b.csv", "sequence,y,y\nMKV,1,2\n"))


@pytest.mark.data
def test_real_tables(data_home):
    data = read_csv(data_home / "gb1" / "gb1.csv.gz", target="target")
    assert len(data.sequences) == len(data.target) == 8733
    assert data.target.dtype == float
    parts = dict(zip(*np.unique(data.columns["three_vs_rest"], return_counts=True)))
    assert parts == {"train": 2691, "valid": 299, "test": 5743}
    signal = read_csv(data_home / "signal_peptide" / "signalp6.csv.gz", target="type")
    assert len(np.unique(signal.target)) == 6
