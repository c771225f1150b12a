"""FASTA and CSV files: plain and compressed, tidy and untidy."""

import csv
import gzip
import lzma
import os
import tracemalloc

import numpy as np
import pytest

from plmlearn import PLMClassifier
from plmlearn.sequences import files, read_csv, read_fasta

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
    with pytest.warns(UserWarning, match="line 2 is not in UTF-8. It is read as Windows-1252"):
        data = read_fasta(write("a.fa", text))
    assert data.ids.tolist() == ["P1"]
    assert data.descriptions.tolist() == ["Müller"]
    assert data.sequences.tolist() == ["MKVLA"]


def test_csv_that_excel_saves_in_windows_1252(write):
    text = "id;sequence;Größe\r\n1;MKV;klein\r\n".encode("cp1252")
    text += "2;MST;groß – 5 €\r\n".encode("cp1252") + "3;MAA;groß\r\n".encode() + b"4;MGG;\x81\r\n"
    with pytest.warns(UserWarning, match=r"a\.csv.*, line 1 is not in UTF-8") as told:
        data = read_csv(write("a.csv", text), target="Größe")
    assert len(told) == 1
    assert data.target.tolist() == ["klein", "groß – 5 €", "groß", "\\x81"]


def test_a_table_whose_first_column_has_no_name_is_no_fasta_file(write):
    """As pandas writes its index with sep=";"; before it, a line for Excel."""
    path = write("a.csv", ";sequence;y\n0;MKV;1\n1;MST;2\n")
    assert not files.is_fasta(path)
    assert files.is_fasta(write("a.fa", "\n; of 1985\n\n>P1\nMKV\n"))
    assert not files.is_fasta(write("b.csv", ";sequence\n;MKV\n"))
    path = write("c.csv", "sep=;\r\n;sequence;y\r\n0;MKV;1\r\n")
    data = read_csv(path, target="y")
    assert data.columns[""].tolist() == ["0"]
    assert (data.sequences.tolist(), data.target.tolist(), data.lines.tolist()) == (["MKV"], [1], [3])


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
        (["1", "NA", "2"], np.array([1, np.nan, 2])),
        (["-1", "null", "N/A"], np.array([-1, np.nan, np.nan])),
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
        ["0.5 0.25", "nan a"],
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


def test_csv_numbers_per_residue(write):
    path = write("a.csv", "sequence,y\nMKV,0.5 nan  -2\nMK,\nM,3\n")
    first, missing, last = read_csv(path, target="y").target
    assert str(first.tolist()) == "[0.5, nan, -2.0]"
    assert missing is None
    assert last.tolist() == [3.0]


def test_csv_of_pairs_and_several_targets(write):
    path = write("a.csv", "a,b,y,z\nMKV,GS,1,0.5\nAA,MK,0,NA\n")
    data = read_csv(path, sequence=("a", "b"), target=["y", "z"])
    assert data.sequences.tolist() == [["MKV", "GS"], ["AA", "MK"]]
    assert str(data.target.tolist()) == "[[1.0, 0.5], [0.0, nan]]"
    with pytest.raises(ValueError, match=r"no column 'bb'.*Did you mean 'b'"):
        read_csv(path, sequence=("a", "bb"))


def test_csv_missing_column(write):
    path = write("a.csv", "Sequence,fitness\nMKV,1\n")
    with pytest.raises(
        ValueError, match=r"no column 'sequence'; its .* are Sequence, fitness\..*'Sequence'\?$"
    ):
        read_csv(path)
    with pytest.raises(ValueError, match=r"no column 'y'; its columns are Sequence, fitness\.$"):
        read_csv(path, sequence="Sequence", target="y")


def test_csv_ragged_rows_are_all_named(write):
    with pytest.raises(ValueError, match=r"expected 2 fields .*; 2 lines .* line 3 has 1, line 5 has 3\."):
        read_csv(write("a.csv", "sequence,y\nMKV,1\nMKV\nMKV,1\nMKV,1,2\n"))
    with pytest.raises(ValueError, match=r"12 lines .* line 11 has 1, …\."):
        read_csv(write("b.csv", "sequence,y\n" + "MKV\n" * 12))


def test_csv_missing_labels_are_missing_not_classes(write):
    path = write("a.csv", "sequence,y,note\nMKV,in,\nMST,,NA\nMAA,NA,x\nMGG, ,x\nMWW,out,x\n")
    data = read_csv(path, target="y")
    assert data.target.tolist() == ["in", None, None, None, "out"]
    assert data.columns["y"].tolist() == ["in", "", "NA", "", "out"]
    assert data.columns["note"].tolist()[:2] == ["", "NA"]
    with pytest.raises(ValueError, match=r"y is missing \(nan or None\) in 3 rows: 1, 2, 3;"):
        PLMClassifier("mini", epochs=1, verbose=0).fit(data.sequences, data.target)
    assert read_csv(write("b.csv", "sequence,y\nMKV,\nMST,\n"), target="y").target.tolist() == [None, None]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_blanks_around_entries_are_not_part_of_them(write, delimiter):
    rows = ["sequence, y ,split", "MKV, 1.5, train", 'MST , 2 ,"test"', 'MAA,\u00a03, "a, b"']
    text = "\n".join(rows).replace(",", delimiter).replace(f"a{delimiter}", "a,")
    data = read_csv(write("a.csv", text), target="y")
    assert data.sequences.tolist() == ["MKV", "MST", "MAA"]
    assert data.target.tolist() == [1.5, 2, 3]
    assert data.columns["split"].tolist() == ["train", "test", "a, b"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("start", ["", "\n", "\r\n \r\n", ";;;\r\n"])
def test_csv_as_excel_saves_it(tmp_path, encoding, start):
    text = start + "sequence;note;;\r\nMKV;Größe;;\r\n;;;\r\nMST;b;;\r\n;;;\r\n;\r\n"
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    path = tmp_path / "a.csv"
    path.write_bytes((mark + text).encode(encoding))
    data = read_csv(path, target="note")
    assert list(data.columns) == ["sequence", "note"]
    assert data.sequences.tolist() == ["MKV", "MST"]
    assert data.target.tolist() == ["Größe", "b"]


def test_csv_columns_without_a_name(write):
    data = read_csv(write("a.csv", ",sequence\n0,MKV\n1,MST\n"))  # as pandas writes its index
    assert data.columns[""].tolist() == ["0", "1"]
    with pytest.raises(ValueError, match="several columns named ''"):
        read_csv(write("b.csv", ",,sequence\n0,0,MKV\n"))
    with pytest.raises(ValueError, match=r"expected 1 fields .* 1 lines .*: line 3 has 2"):
        read_csv(write("c.csv", "sequence,\nMKV,\nMST,b\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('sequence,y\nMKV,1\nMST,"2\nMAA,3\nMGG,4\n', "line 3: a quote opens a field and is never closed"),
        ('sequence,y\nMKV,1\nMST,"2\nMAA,3\nMGG,"4"\n', "line 3: text follows a closing quote"),
        (
            'sequence,y\nMKV,"a\nMST,b\nMAA,c"\nMGG,d\n',
            "line 2: a quoted field goes on over 2 more lines",
        ),
        ('sequence,y\n\nMKV,"a"b\n', "line 3: text follows a closing quote"),
        ('"sequence,y\nMKV,1\n', "line 1: a quote opens a field and is never closed"),
    ],
)
def test_csv_a_quote_that_is_not_closed_swallows_no_rows(write, text, message):
    with pytest.raises(ValueError, match=rf"a\.csv.*, {message}"):
        read_csv(write("a.csv", text))


def test_csv_line_breaks_within_a_field_are_kept(write):
    data = read_csv(write("a.csv", 'sequence,note\nMKV,"first\nsecond, third"\n"MST\nMAA",b\n'))
    assert data.sequences.tolist() == ["MKV", "MST\nMAA"]
    assert data.columns["note"].tolist() == ["first\nsecond, third", "b"]
    assert read_csv(write("b.csv", 'sequence\n"MST\nMAA"\n')).sequences.tolist() == ["MST\nMAA"]


def test_csv_a_very_long_field(write):
    path = write("a.csv", f"sequence,y\nMKV,1\n{'M' * 200_000},2\n")
    with pytest.raises(ValueError, match=r"a\.csv.*, line 3: a field is longer than csv\.field_size"):
        read_csv(path)
    limit = csv.field_size_limit(10**6)
    try:
        assert len(read_csv(path).sequences[1]) == 200_000
    finally:
        csv.field_size_limit(limit)


# ---- damaged files


@pytest.mark.parametrize("read", [read_fasta, read_csv])
@pytest.mark.parametrize("ending", ["gz", "xz"])
@pytest.mark.parametrize(
    "damage", [lambda b: b[:-9], lambda b: b[:40] + b"\xff\x00" + b[42:], lambda b: b">P1"]
)
def test_a_damaged_file_is_named(read, ending, damage, tmp_path):
    letters = np.random.default_rng(0).choice(list("ACDEFGHIKLMNPQRSTVWY"), size=3000)
    text = "sequence\n" + "".join(letters) if read is read_csv else ">P1\n" + "".join(letters)
    path = tmp_path / f"a.{ending}"
    path.write_bytes(damage({"gz": gzip, "xz": lzma}[ending].compress(text.encode())))
    with pytest.raises(
        OSError, match=rf"a\.{ending} is damaged, or not compressed as its name says"
    ) as caught:
        read(path)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("read", [read_fasta, read_csv])
def test_what_is_not_text_is_refused(read, write):
    with pytest.raises(ValueError, match=r"a\.csv.*, line 1 has NUL characters; expected text"):
        read(write("a.csv", "sequence\nMKV\n".encode("utf-16-le")))


@pytest.mark.parametrize("read", [read_fasta, read_csv])
@pytest.mark.parametrize("start", [b"PK\x03\x04\x14\x00\x06\x00", bytes.fromhex("d0cf11e0a1b11ae100")])
def test_a_workbook_is_named(read, start, write):
    with pytest.raises(
        ValueError, match=r"a\.csv.* is an Excel workbook or a zip archive; expected text\. Save"
    ):
        read(write("a.csv", start + b"\xff\n" * 9))


@pytest.mark.parametrize("read", [read_fasta, read_csv])
@pytest.mark.parametrize("line", [b"MKVLA\n", b"MKVLA"], ids=["lines", "one line"])
def test_a_file_that_unpacks_without_end_is_refused(read, line, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_ALWAYS_UNPACKED", 1000)
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress((b"sequence\n" if read is read_csv else b">P1\n") + line * 10**6))
    with pytest.raises(ValueError, match=r"bomb\.gz unpacks to more than 100 times its size.*gunzip"):
        read(path)


def test_a_file_that_unpacks_without_end_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_ALWAYS_UNPACKED", 1000)
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(b"sequence\n" + b"MKVLA" * 10**7))
    tracemalloc.start()
    with pytest.raises(ValueError, match="unpacks to more than 100 times"):
        read_csv(path)
    assert tracemalloc.get_traced_memory()[1] < 400 * path.stat().st_size < 30e6  # of 50 MB
    tracemalloc.stop()


def test_any_file_may_unpack_to_some_size(tmp_path):
    path = tmp_path / "a.fasta.gz"
    path.write_bytes(gzip.compress(b">P1\n" + b"MKVLA\n" * 10**5))
    assert path.stat().st_size < 5_000  # of 600,000 bytes
    assert len(read_fasta(path).sequences[0]) == 5 * 10**5


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


@pytest.mark.parametrize("read", [read_fasta, read_csv])
def test_what_may_never_end_is_not_read(read, tmp_path):
    """A pipe without a writer would block for good."""
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(OSError, match=r"pipe.csv is a pipe or device.*expected a file"):
        read(tmp_path / "pipe.csv")
    with pytest.raises(OSError, match="is a folder; expected a file"):
        read(tmp_path)
