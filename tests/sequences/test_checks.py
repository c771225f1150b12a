"""Sequences, pairs and residue targets: every container, every kind of bad row, and what the error says."""

import copy
import pickle
import string
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plmlearn.sequences import (
    ALPHABET,
    AMBIGUOUS,
    RARE,
    SequenceError,
    check_pairs,
    check_residue_targets,
    check_sequences,
    read_csv,
)

ALLOWED = ALPHABET + AMBIGUOUS + RARE
RAW = ["MKVLA", " mkt\tayi\n*", "mSeuX"]
CLEAN = ["MKVLA", "MKTAYI", "MSEUX"]


class Record:
    """A record as Biopython has it: ``seq`` is an object whose text is the sequence."""

    def __init__(self, seq, id="<unknown id>"):
        self.seq = seq
        self.id = id


class Seq:
    def __init__(self, text):
        self.text = text

    def __str__(self):
        return self.text


def naive_clean(raw):
    """One character at a time: (clean sequence, [(residue, character), ...] of what is not allowed)."""
    kept = [c for c in raw if not c.isspace()]
    while kept and kept[-1] == "*":
        kept.pop()
    kept = [chr(ord(c) - 32) if "a" <= c <= "z" else c for c in kept]
    return "".join(kept), [(i, c) for i, c in enumerate(kept, start=1) if c not in ALLOWED]


class UndefinedSeq:
    def __str__(self):
        raise TypeError("Sequence content is undefined")


def refused(check, *args, **kwargs):
    with pytest.raises(SequenceError) as caught:
        check(*args, **kwargs)
    return caught.value


# ---- sequences: what is accepted

CONTAINERS = {
    "list": list,
    "tuple": tuple,
    "str array": np.array,
    "object array": lambda rows: np.array(rows, dtype=object),
    "list of np.str_": lambda rows: list(np.array(rows)),
    "array of np.str_": lambda rows: np.array([np.str_(row) for row in rows], dtype=object),
    "strided array": lambda rows: np.repeat(np.array(rows, dtype=object), 2)[::2],
    "pandas Series": pd.Series,
    "pandas object Series": lambda rows: pd.Series(rows, dtype=object),
    "pandas nullable Series": lambda rows: pd.Series(rows, dtype="string"),
    "pandas categorical": lambda rows: pd.Series(rows, dtype="category"),
    "pandas Series with index": lambda rows: pd.Series(rows, index=list("cab")),
    "pandas Index": pd.Index,
    "pandas DataFrame": lambda rows: pd.DataFrame({"sequence": rows}),
    "polars Series": pl.Series,
    "polars categorical": lambda rows: pl.Series(rows, dtype=pl.Categorical),
    "polars DataFrame": lambda rows: pl.DataFrame({"sequence": rows}),
    "records of Seq": lambda rows: [Record(Seq(row)) for row in rows],
    "records of str": lambda rows: [Record(row) for row in rows],
    "array of records": lambda rows: np.array([Record(Seq(row)) for row in rows], dtype=object),
}
if hasattr(np.dtypes, "StringDType"):
    CONTAINERS["StringDType array"] = lambda rows: np.array(rows, dtype=np.dtypes.StringDType())


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_clean_strings(container):
    clean = check_sequences(CONTAINERS[container](RAW))
    assert isinstance(clean, np.ndarray)
    assert clean.shape == (3,)
    assert clean.dtype == object
    assert clean.tolist() == CLEAN
    assert {type(sequence) for sequence in clean} == {str}


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_callers_data_is_not_changed_and_not_shared(container):
    X = CONTAINERS[container](RAW)
    items = list(X.to_numpy().ravel() if hasattr(X, "to_numpy") else X)
    clean = check_sequences(X)
    clean[:] = "changed"
    after = list(X.to_numpy().ravel() if hasattr(X, "to_numpy") else X)
    assert all(
        before is now or before == now for before, now in zip(items, after)
    )  # records compare by identity
    assert [str(getattr(item, "seq", item)) for item in after] == RAW


@pytest.mark.parametrize("dtype", [object, str])
def test_a_column_of_an_array_is_read_as_a_frame_of_one_column(dtype):
    column = np.array(RAW, dtype=dtype).reshape(-1, 1)
    assert check_sequences(column).tolist() == CLEAN
    assert check_sequences(column[:1]).tolist() == CLEAN[:1]
    assert lists_of(check_residue_targets(["HHECC", "HHHHHH", "EEEEE"], column))[0] == list("HHECC")
    error = refused(check_sequences, np.array([["MKV"], [None]], dtype=object))
    assert error.rows == [1]


def test_a_clean_object_array_is_copied():
    X = np.array(CLEAN, dtype=object)
    clean = check_sequences(X)
    assert not np.shares_memory(clean, X)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("mkv", "MKV"),
        ("M K\tV\r\nL", "MKVL"),
        ("M\u00a0K\u2003V", "MKV"),
        ("MKV*", "MKV"),
        ("MKV**", "MKV"),
        ("MKV*\n", "MKV"),
        ("MKV *\n*", "MKV"),
        ("UZOBX", "UZOBX"),
        ("uzobx", "UZOBX"),
        ("A", "A"),
    ],
)
def test_cleaning(raw, clean):
    assert check_sequences([raw]).tolist() == [clean]


def test_cleaning_is_idempotent():
    once = check_sequences(RAW)
    assert check_sequences(once).tolist() == once.tolist()


SEQUENCE_TEXT = st.text(alphabet=ALLOWED + ALLOWED.lower() + " \t\n\r\x0b\u00a0*", min_size=1)
ANY_TEXT = st.text(
    alphabet=st.one_of(st.sampled_from(string.printable + ALPHABET * 3), st.characters()), min_size=1
)


@settings(deadline=None)
@given(st.lists(st.one_of(SEQUENCE_TEXT, ANY_TEXT, st.text(alphabet=ALPHABET)), min_size=1))
def test_matches_a_reference_that_goes_by_characters(raw):
    expected = [naive_clean(text) for text in raw]
    bad = [row for row, (clean, wrong) in enumerate(expected) if wrong or not clean]
    if not bad:
        assert check_sequences(raw).tolist() == [clean for clean, _ in expected]
        return
    error = refused(check_sequences, raw)
    assert error.rows == bad
    row = bad[0]
    wrong = expected[row][1]
    if wrong:
        assert f"Sequence {row} has {wrong[0][1]!r} at residue {wrong[0][0]}" in str(error)
    else:
        assert f"Sequence {row} is empty" in str(error)


@settings(deadline=None)
@given(st.lists(ANY_TEXT, min_size=1))
def test_replace_maps_each_invalid_character_to_one_x(raw):
    raw = ["M" + text for text in raw]  # so that none is empty
    expected = ["".join(c if c in ALLOWED else "X" for c in naive_clean(text)[0]) for text in raw]
    assert check_sequences(raw, invalid="replace").tolist() == expected


@pytest.mark.parametrize("letter", ["ß", "ſ", "ı", "ﬁ", "Å", "М", "Ａ", "\ud800", "🧬", "\u200b", "\x00"])
def test_letters_of_other_alphabets_are_invalid_not_upper_cased_into_residues(letter):
    error = refused(check_sequences, ["MKV", "mk" + letter + "v"])
    assert error.rows == [1]
    assert f"Sequence 1 has {letter!r} at residue 3; allowed" in str(error)
    assert check_sequences(["mk" + letter + "v"], invalid="replace").tolist() == ["MKXV"]


def test_every_allowed_letter_passes_and_every_other_ascii_letter_does_not():
    passed = []
    for code in range(33, 127):
        try:
            passed.append(check_sequences(["M" + chr(code) + "M"])[0][1])
        except SequenceError:
            continue
    assert set(passed) == set(ALLOWED)
    assert "J" not in passed


# ---- sequences: what is refused, and how


def test_the_line_of_an_invalid_residue():
    X = pd.Series(["MKV"] * 17 + ["A" * 42 + "J"], index=["Q"] * 17 + ["P69905"])
    error = refused(check_sequences, X)
    assert str(error) == (
        "Sequence 17 ('P69905') has 'J' at residue 43; allowed: ACDEFGHIKLMNPQRSTVWYXBOUZ. "
        "Pass invalid='replace' to map it to X."
    )
    assert error.rows == [17]


def test_residues_are_counted_in_the_clean_sequence_and_further_ones_are_counted():
    error = refused(check_sequences, ["m k\nj-v 1*"])
    assert "has 'J' at residue 3 (and 2 more)" in str(error)


BAD_ROWS = [
    ("", "is empty"),
    ("  \n", "is empty"),
    ("*", "is empty"),
    (None, "is missing (None)"),
    (float("nan"), "is missing (nan)"),
    (np.float32("nan"), "is missing"),
    (pd.NA, "is missing (<NA>)"),
    (pd.NaT, "is missing (NaT)"),
    (b"MKV", "is of type bytes; expected a str. Pass it through .decode()."),
    (3, "is 3 of type int"),
    (2.5, "is 2.5 of type float"),
    (True, "is True of type bool"),
    (["MKV"], "is a list; expected one str"),
    (("MKV", "MST"), "is a tuple; expected one str"),
    (np.array(["MKV"]), "is a ndarray; expected one str"),
    ({"a": 1}, "of type dict"),
    (Record(None, "P1"), "is missing (None)"),
    (Record(b"MKV", "P1"), "is of type bytes"),
    (Record(Seq(""), "P1"), "is empty"),
    (Record(UndefinedSeq(), "P1"), "is missing (None)"),
    ("MK-V", "has '-' at residue 3"),
    ("MK*V", "has '*' at residue 3"),
    ("MKJV", "has 'J' at residue 3"),
    ("MKV1", "has '1' at residue 4"),
]


@pytest.mark.parametrize(("bad", "text"), BAD_ROWS, ids=[repr(text) for _, text in BAD_ROWS])
def test_every_kind_of_bad_row_has_its_line(bad, text):
    error = refused(check_sequences, ["MKV", bad, "MST"])
    assert error.rows == [1]
    lines = str(error).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Sequence 1 ")
    assert text in lines[0]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("MKJV", "Pass invalid='replace' to map it to X."),
        ("MK-V", "Gaps belong to an alignment: remove them"),
        ("MK..V", "Gaps belong to an alignment: remove them"),
        ("MK(MSE)V", "Write a modified residue as its parent, M for (MSE)"),
        ("MK[Oxidation]V", "Write a modified residue as its parent"),
        ("MK<mask>V", "A special token such as <mask> is not a residue: write X"),
        ("MK*V", "stop codon"),
    ],
)
def test_the_hint_fits_the_character(text, hint):
    error = str(refused(check_sequences, [text]))
    assert error.endswith(hint) or hint in error
    assert ("invalid='replace'" in error) == (
        text == "MKJV"
    )  # an X per character of a gap or of "(MSE)" is wrong


class Row(NamedTuple):
    """What ``DataFrame.itertuples`` yields."""

    id: str
    seq: object


@pytest.mark.parametrize(
    ("seq", "text"),
    [
        (float("nan"), "is missing (nan)"),
        (pd.NA, "is missing (<NA>)"),
        (pd.NaT, "is missing (NaT)"),
        (np.float32("nan"), "is missing"),
        (None, "is missing (None)"),
        (True, "is True of type bool"),
        (np.True_, "of type bool"),
        (5, "is 5 of type int"),
        (["M", "K"], "is a list"),
    ],
)
@pytest.mark.parametrize("make", [lambda seq: Row("P1", seq), lambda seq: Record(seq, "P1")])
def test_a_record_without_text_is_not_a_protein(make, seq, text):
    """ "NAN" and "TRUE" would pass as residues."""
    error = refused(check_sequences, [Row("P0", "MKV"), make(seq)])
    assert error.rows == [1]
    assert str(error).startswith("Sequence 1 ('P1') ")
    assert text in str(error)
    assert refused(check_pairs, [("MKV", make(seq))]).rows == [0]


def test_rows_of_a_frame_with_a_missing_sequence():
    frame = pd.DataFrame({"id": ["P0", "P1"], "seq": ["MKV", None]})
    assert refused(check_sequences, list(frame.itertuples())).rows == [1]
    assert check_sequences(list(frame[:1].itertuples())).tolist() == ["MKV"]


@pytest.mark.parametrize("text", ["nan", "None", "NaN"])
@pytest.mark.parametrize("invalid", ["raise", "replace"])
def test_missing_values_that_became_text_are_missing(text, invalid):
    """What numpy makes of ["MKV", nan], and astype(str) of None."""
    error = refused(check_sequences, np.array(["MKV", text]), invalid=invalid)
    assert f"Sequence 1 is missing ('{text}')" in str(error)
    assert check_sequences(["NAN"]).tolist() == ["NAN"]  # Asn-Ala-Asn


# ---- sequences: DNA by mistake


@pytest.mark.parametrize("X", [["ATGGCC", "ATGAAATGA"], ["AUGGCC", "NNN"], ["atggcntaa*"]])
def test_nucleotides_are_warned_of_once(X):
    with pytest.warns(UserWarning, match="look like DNA or RNA.*Translate") as caught:
        check_sequences(X)
    with pytest.warns(UserWarning, match="look like DNA or RNA") as of_pairs:
        check_pairs([(text, X[0]) for text in X])
    assert len(caught) == len(of_pairs) == 1
    assert caught[0].filename == of_pairs[0].filename == __file__
    check_sequences([*X, "MKV"])  # proteins among them: no warning


def test_short_peptides_are_not_taken_for_nucleotides():
    check_sequences(["GAG", "TAT", "NNN"])
    check_residue_targets(["HHEC"], ["ACGT"])  # estimators check the sequences themselves, and warn then


def test_all_kinds_of_bad_rows_are_in_one_error():
    X = ["MKV"]
    for bad, _ in BAD_ROWS:
        X += [bad, "MKV"]
    error = refused(check_sequences, X)
    assert error.rows == [1 + 2 * i for i in range(len(BAD_ROWS))]
    *shown, rest = str(error).splitlines()
    assert len(shown) == 10
    for line, row, (_, text) in zip(shown, error.rows, BAD_ROWS):
        assert line.startswith(f"Sequence {row} ")
        assert text in line
    assert rest.startswith(f"... and {len(BAD_ROWS) - 10} more;")


@pytest.mark.parametrize("n_bad", [9, 10, 11])
def test_ten_lines_are_shown_and_the_rest_is_counted(n_bad):
    error = refused(check_sequences, ["MKJ"] * n_bad)
    lines = str(error).splitlines()
    assert len(lines) == (n_bad if n_bad <= 10 else 11)
    assert ("... and 1 more" in lines[-1]) == (n_bad == 11)
    assert error.rows == list(range(n_bad))


def test_replace_still_refuses_what_has_no_residues():
    error = refused(check_sequences, ["MJ", "", None, 3], invalid="replace")
    assert error.rows == [1, 2, 3]


def test_a_hundred_thousand_rows_of_which_three_are_bad():
    rng = np.random.default_rng(0)
    letters = rng.choice(list(ALPHABET), size=100_000 + 50)
    text = "".join(letters)
    X = [text[i : i + 1 + i % 50] for i in range(100_000)]
    X[7], X[50_000], X[99_999] = "MKJ", None, "MK\u00e9"
    assert refused(check_sequences, X).rows == [7, 50_000, 99_999]
    X[7] = X[50_000] = X[99_999] = "mkv"
    expected = X.copy()
    expected[7] = expected[50_000] = expected[99_999] = "MKV"
    assert check_sequences(X).tolist() == expected


@pytest.mark.parametrize("invalid", ["raise", "replace"])
def test_min_length(invalid):
    X = ["MKVL", "m k *", "MKV"]
    assert check_sequences(X, invalid=invalid, min_length=2).tolist() == ["MKVL", "MK", "MKV"]
    error = refused(check_sequences, X, invalid=invalid, min_length=3)
    assert error.rows == [1]
    assert "Sequence 1 has 2 residue(s); expected at least 3" in str(error)
    assert check_sequences(["", " *", "M"], invalid=invalid, min_length=0).tolist() == ["", "", "M"]


@pytest.mark.parametrize(
    ("X", "name"),
    [
        (pd.Series(["MKV", "J"]), ""),
        (pd.Series(["MKV", "J"], index=["a", "b"]), " ('b')"),
        (pd.Series(["MKV", "J"], index=[7, 5]), " (5)"),
        (pd.Series(["AAA", "MKV", "J"])[1:], " (2)"),
        (pd.Series(["MKV", "J"], index=pd.MultiIndex.from_tuples([("x", 1), ("y", 2)])), " (('y', 2))"),
        (pd.DataFrame({"s": ["MKV", "J"]}, index=["a", "b"]), " ('b')"),
        (pd.DataFrame({"s": ["MKV", "J"]}), ""),
        (pl.Series(["MKV", "J"]), ""),
        ([Record("MKV", "P1"), Record("J", "P2")], " ('P2')"),
        (pd.Series([Record("MKV", "P1"), Record("J", "P2")]), " ('P2')"),
    ],
)
def test_rows_are_named_as_the_caller_names_them(X, name):
    error = refused(check_sequences, X)
    assert str(error).startswith(f"Sequence 1{name} has 'J' at residue 1;")


@pytest.mark.parametrize(
    "X",
    [
        pd.Series(["MKV", None]),
        pd.Series(["MKV", None], dtype=object),
        pd.Series(["MKV", None], dtype="string"),
        pd.Series(["MKV", None], dtype="category"),
        pd.DataFrame({"s": ["MKV", None]}),
        pl.Series(["MKV", None]),
        pl.DataFrame({"s": ["MKV", None]}),
        np.ma.array(["MKV", "MST"], mask=[False, True]),
    ],
)
def test_missing_entries_of_every_container(X):
    error = refused(check_sequences, X)
    assert error.rows == [1]
    assert "Sequence 1 is missing" in str(error)


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="numpy before 2.0")
@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
def test_missing_entries_of_string_dtype(missing):
    X = np.array(["MKV", missing], dtype=np.dtypes.StringDType(na_object=missing))
    assert refused(check_sequences, X).rows == [1]


@pytest.mark.parametrize("X", ["MKV", b"MKV", np.str_("MKV"), "proteins.fasta"])
def test_one_string_is_not_a_list_of_sequences(X):
    with pytest.raises(ValueError, match="a list of sequences, got one string"):
        check_sequences(X)


@pytest.mark.parametrize(
    ("X", "kind"),
    [
        ({"P1": "MKV"}, "dict"),
        (Path("proteins.fasta"), "PosixPath|WindowsPath"),
        (None, "NoneType"),
        (3, "int"),
        ({"MKV"}, "set"),
        (iter(["MKV"]), "list_iterator"),
        (Record("MKV"), "Record"),
        (pl.LazyFrame({"s": ["MKV"]}), "LazyFrame"),
    ],
)
def test_what_is_not_a_list_is_a_type_error(X, kind):
    with pytest.raises(TypeError, match=f"list, array or Series of sequences, got ({kind})"):
        check_sequences(X)


@pytest.mark.parametrize(
    "X",
    [[], (), np.array([], dtype=str), pd.Series([], dtype=object), pl.Series([]), pd.DataFrame({"s": []})],
)
def test_no_rows(X):
    with pytest.raises(ValueError, match=r"found 0 sequences.* 0 sample\(s\)"):
        check_sequences(X)


@pytest.mark.parametrize("shape", [(1, 3), (3, 1, 1)])
def test_arrays_of_two_dimensions(shape):
    with pytest.raises(ValueError, match=r"expected \(n_sequences,\)\. Pass one column: X\[:, 0\]"):
        check_sequences(np.array(RAW).reshape(shape))


def test_an_array_without_dimensions():
    with pytest.raises(ValueError, match="without dimensions"):
        check_sequences(np.array("MKV"))


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames_of_two_columns(frame):
    with pytest.raises(ValueError, match="X has 2 columns; expected one"):
        check_sequences(frame({"a": ["MKV"], "b": ["MST"]}))


@pytest.mark.parametrize("check", [check_sequences, check_pairs])
def test_unknown_way_with_invalid_residues(check):
    with pytest.raises(ValueError, match="invalid='drop'; expected one of 'raise', 'replace'"):
        check(["MKV"], invalid="drop")


def test_the_error_survives_a_pickle_with_its_rows():
    error = refused(check_sequences, ["MKV", None])
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is SequenceError
        assert str(twin) == str(error)
        assert twin.rows == [1]


# ---- pairs

PAIRS = [("MKVLA", "mk t*"), ("gsx", "UZO"), ("AA", "KK")]
CLEAN_PAIRS = [["MKVLA", "MKT"], ["GSX", "UZO"], ["AA", "KK"]]
PAIR_CONTAINERS = {
    "tuples": list,
    "lists": lambda rows: [list(row) for row in rows],
    "tuple of tuples": tuple,
    "arrays": lambda rows: [np.array(row) for row in rows],
    "str array": np.array,
    "object array": lambda rows: np.array(rows, dtype=object),
    "pandas DataFrame": lambda rows: pd.DataFrame(rows, columns=["a", "b"]),
    "pandas same names": lambda rows: pd.DataFrame(rows, columns=["a", "a"]),
    "pandas categorical": lambda rows: pd.DataFrame(rows, columns=["a", "b"]).astype({"b": "category"}),
    "polars DataFrame": lambda rows: pl.DataFrame(rows, schema=["a", "b"], orient="row"),
    "Series of tuples": pd.Series,
    "records": lambda rows: [(Record(Seq(a)), Record(Seq(b))) for a, b in rows],
}
if hasattr(np.dtypes, "StringDType"):
    PAIR_CONTAINERS["StringDType array"] = lambda rows: np.array(rows, dtype=np.dtypes.StringDType())


@pytest.mark.parametrize("n_pairs", [1, 2, 3])
@pytest.mark.parametrize("container", PAIR_CONTAINERS)
def test_every_container_of_pairs(container, n_pairs):
    X = PAIR_CONTAINERS[container](PAIRS[:n_pairs])
    before = X if container == "records" else copy.deepcopy(X)
    clean = check_pairs(X)
    assert clean.shape == (n_pairs, 2)
    assert clean.dtype == object
    assert clean.tolist() == CLEAN_PAIRS[:n_pairs]
    assert {type(sequence) for sequence in clean.ravel()} == {str}
    clean[:] = "changed"
    assert str(X) == str(before)


def test_pairs_are_cleaned_as_sequences_are():
    rng = np.random.default_rng(1)
    texts = ["".join(rng.choice(list(ALLOWED.lower() + " J-"), size=20)) + "M" for _ in range(40)]
    pairs = check_pairs(list(zip(texts[:20], texts[20:])), invalid="replace")
    assert pairs.T.ravel().tolist() == check_sequences(texts, invalid="replace").tolist()


def test_the_line_of_a_pair_says_which_partner():
    X = pd.DataFrame({"a": ["MKV", "", "MK", None], "b": ["MKV", "MST", "MKJ", "A-"]}, index=list("wxyz"))
    error = refused(check_pairs, X)
    assert error.rows == [1, 2, 3]
    lines = str(error).splitlines()
    assert lines[0].startswith("Pair 1 ('x'): first protein is empty")
    assert lines[1].startswith("Pair 2 ('y'): second protein has 'J' at residue 3; allowed: ")
    assert lines[2].startswith("Pair 3 ('z'): first protein is missing")
    assert lines[3].startswith("Pair 3 ('z'): second protein has '-' at residue 2")
    assert len(lines) == 4


def test_the_line_of_a_pair_of_records_has_the_id():
    error = refused(check_pairs, [(Record("MKV", "P1"), Record("MKJ", "P2"))])
    assert str(error).startswith("Pair 0: second protein ('P2') has 'J' at residue 3")


def test_rows_that_are_no_pairs():
    error = refused(check_pairs, [("A", "C"), ("A", "C", "D"), "AC", ["A"], None, ("A", "C")])
    assert error.rows == [1, 2, 3, 4]
    lines = str(error).splitlines()
    assert lines[0].startswith("Pair 1: has 3 entries; expected two proteins")
    assert lines[1].startswith("Pair 2: is of type str; expected a tuple of two proteins")
    assert lines[2].startswith("Pair 3: has 1 entries")
    assert lines[3].startswith("Pair 4: is of type NoneType")


@pytest.mark.parametrize("n_pairs", [1, 3, 4])
@pytest.mark.parametrize("make", [tuple, list])
@pytest.mark.parametrize("column", [list, tuple, np.array, pd.Series, pl.Series])
def test_two_lists_are_not_a_list_of_pairs(n_pairs, make, column):
    X = make([column(["MKV"] * n_pairs), column(["MST"] * n_pairs)])
    with pytest.raises(ValueError, match=r"pass list\(zip\(a, b\)\)"):
        check_pairs(X)


@pytest.mark.parametrize(
    "X",
    [
        np.full((4, 3), "MKV"),
        np.full((4, 1), "MKV"),
        np.full((2, 2, 2), "MKV"),
        pd.DataFrame({"a": ["MKV"], "b": ["MKV"], "c": ["MKV"]}),
        pl.DataFrame({"a": ["MKV"], "b": ["MKV"], "c": ["MKV"]}),
        pd.DataFrame({"a": ["MKV"]}),
    ],
)
def test_pairs_have_two_columns(X):
    with pytest.raises(ValueError, match=r"expected \(n_pairs, 2\)"):
        check_pairs(X)


def test_pairs_laid_out_in_rows():
    with pytest.raises(ValueError, match=r"Pass X\.T"):
        check_pairs(np.full((2, 5), "MKV"))


@pytest.mark.parametrize("X", [[], np.empty((0, 2), dtype=object), pd.DataFrame({"a": [], "b": []})])
def test_no_pairs(X):
    with pytest.raises(ValueError, match=r"found 0 pairs.* 0 sample\(s\)"):
        check_pairs(X)


def test_pairs_of_the_wrong_type():
    with pytest.raises(ValueError, match="a list of pairs, got one string"):
        check_pairs("MKV")
    with pytest.raises(TypeError, match="of pairs, got dict"):
        check_pairs({"a": ["MKV"], "b": ["MKV"]})


# ---- residue targets: labels

SEQUENCES = ["MKV", "GSHM", "AA"]


def lists_of(arrays):
    """Masked entries as None."""
    return [array.tolist() for array in arrays]


LETTERS = ["HHE", "CCHH", "EE"]
NUMBERS = [[0, 0, 1], [2, 2, 0, 0], [1, 1]]
LABEL_FORMS = {
    "list of str": (LETTERS, LETTERS),
    "tuple of str": (tuple(LETTERS), LETTERS),
    "str array": (np.array(LETTERS), LETTERS),
    "object array of str": (np.array(LETTERS, dtype=object), LETTERS),
    "pandas Series of str": (pd.Series(LETTERS), LETTERS),
    "polars Series of str": (pl.Series(LETTERS), LETTERS),
    "lists of letters": ([list(row) for row in LETTERS], LETTERS),
    "arrays of letters": ([np.array(list(row)) for row in LETTERS], LETTERS),
    "object arrays of letters": ([np.array(list(row), dtype=object) for row in LETTERS], LETTERS),
    "lists of int": (NUMBERS, NUMBERS),
    "tuples of int": ([tuple(row) for row in NUMBERS], NUMBERS),
    "arrays of int": ([np.array(row, dtype=np.int8) for row in NUMBERS], NUMBERS),
    "arrays of whole floats": ([np.array(row, dtype=float) for row in NUMBERS], NUMBERS),
    "object arrays of int": ([np.array(row, dtype=object) for row in NUMBERS], NUMBERS),
    "Series of int": ([pd.Series(row) for row in NUMBERS], NUMBERS),
    "pandas Series of lists": (pd.Series(NUMBERS), NUMBERS),
    "polars Series of lists": (pl.Series(NUMBERS), NUMBERS),
    "bool": (
        [[True, False, True], [False] * 4, [True, True]],
        [[True, False, True], [False] * 4, [True] * 2],
    ),
    "words": ([["helix", "turn", "helix"], ["turn"] * 4, ["sheet"] * 2],) * 2,
}


@pytest.mark.parametrize("form", LABEL_FORMS)
def test_every_form_of_labels(form):
    y, expected = LABEL_FORMS[form]
    arrays = check_residue_targets(y, SEQUENCES)
    assert isinstance(arrays, list)
    assert lists_of(arrays) == [list(row) for row in expected]
    for array, sequence in zip(arrays, SEQUENCES):
        assert isinstance(array, np.ma.MaskedArray)
        assert array.shape == (len(sequence),)
        assert not np.ma.getmaskarray(array).any()
        assert array.dtype.kind in "biufU"


def test_labels_of_sequences_of_one_length_may_be_one_array():
    y = np.ma.array([[0, 1], [2, -1]], mask=[[False, True], [False, False]])
    assert lists_of(check_residue_targets(y, ["MK", "VL"], ignore_label=-1)) == [[0, None], [2, None]]
    assert lists_of(check_residue_targets(y.data, ["MK", "VL"])) == [[0, 1], [2, -1]]


@pytest.mark.parametrize(
    ("target", "ignore_label"),
    [
        ("HH-", "-"),
        (["H", "H", "-"], "-"),
        (np.array(["H", "H", "unknown"]), "unknown"),
        (np.array(["H", "H", -1], dtype=object), -1),
        (["H", "H", None], None),
        (["H", "H", pd.NA], None),
        (["H", "H", pd.NA], "-"),
        (["H", "H", float("nan")], None),
        (["H", "H", float("nan")], float("nan")),
        (np.ma.array(["H", "H", "E"], mask=[0, 0, 1]), None),
        (np.ma.array(["H", "H", 5], mask=[0, 0, 1], dtype=object), None),
        (pd.Series(["H", "H", None]), None),
    ],
)
def test_letters_that_were_not_measured(target, ignore_label):
    (array,) = check_residue_targets([target], ["MKV"], ignore_label=ignore_label)
    assert np.ma.getmaskarray(array).tolist() == [False, False, True]
    assert array.compressed().tolist() == ["H", "H"]
    assert array.dtype.kind == "U"


@pytest.mark.parametrize(
    ("target", "ignore_label"),
    [
        ([4, 0, -100], -100),
        ([4, 0, None], None),
        (np.array([4, 0, -100], dtype=np.int16), -100),
        (np.array([4, 0, np.nan]), None),
        (np.array([4, 0, np.nan]), np.nan),
        (np.ma.array([4, 0, 9], mask=[0, 0, 1]), None),
        (np.ma.array([4, -1, 0, 9][0:4:1], mask=[0, 0, 0, 1])[[0, 2, 3]], -1),
        (pd.array([4, 0, None], dtype="Int64"), None),
    ],
)
def test_numbers_that_were_not_measured(target, ignore_label):
    (array,) = check_residue_targets([target], ["MKV"], ignore_label=ignore_label)
    assert np.ma.getmaskarray(array).tolist() == [False, False, True]
    assert array.compressed().tolist() == [4, 0]


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="numpy before 2.0")
def test_labels_of_string_dtype():
    target = np.array(["helix", "-", "turn"], dtype=np.dtypes.StringDType())
    (array,) = check_residue_targets([target], ["MKV"], ignore_label="-")
    assert array.tolist() == ["helix", None, "turn"]
    assert array.dtype.kind == "U"


def test_a_target_of_which_nothing_was_measured_is_kept():
    arrays = check_residue_targets([["H", "E"], [None, None], ["C", "C"]], ["MK", "MK", "MK"])
    assert lists_of(arrays) == [["H", "E"], [None, None], ["C", "C"]]


@settings(deadline=None)
@given(st.data())
def test_labels_match_a_reference_that_goes_by_residues(data):
    labels = st.text(alphabet="HEC-", min_size=1, max_size=12)
    y = data.draw(st.lists(labels, min_size=1, max_size=6))
    sequences = ["A" * len(row) for row in y]
    expected = [[None if label == "-" else label for label in row] for row in y]
    for form in (y, [list(row) for row in y], [np.array(list(row)) for row in y]):
        assert lists_of(check_residue_targets(form, sequences, ignore_label="-")) == expected


@pytest.mark.parametrize("kind", ["labels", "values"])
def test_targets_of_the_caller_are_neither_changed_nor_shared(kind):
    y = [np.ma.array([1.0, -1.0, 2.0], mask=[1, 0, 0]), np.array([0.0, np.nan]), [None, 3.0]]
    before = copy.deepcopy(y)
    arrays = check_residue_targets(y, ["MKV", "MK", "MK"], ignore_label=-1, kind=kind)
    for array in arrays:
        array[:] = 7
    np.testing.assert_array_equal(y[0].data, before[0].data)
    np.testing.assert_array_equal(y[0].mask, before[0].mask)
    np.testing.assert_array_equal(y[1], before[1])
    assert y[2] == before[2]
    objects = np.array([None, "H", pd.NA], dtype=object)
    check_residue_targets([objects], ["MKV"])
    assert objects.tolist() == [None, "H", pd.NA]


# ---- residue targets: values


def test_values_become_floats_with_nan_where_nothing_was_measured():
    y = [
        [0.5, None, 2],
        np.ma.array([1.0, 9.0], mask=[False, True]),
        np.array([np.nan, 3], dtype=np.float32),
        (1, -99),
        pd.Series([1.5, pd.NA], dtype="Float64"),
        np.array([True, False]),
    ]
    sequences = ["MKV"] + ["MK"] * 5
    arrays = check_residue_targets(y, sequences, ignore_label=-99, kind="values")
    expected = [[0.5, np.nan, 2], [1, np.nan], [np.nan, 3], [1, np.nan], [1.5, np.nan], [1, 0]]
    for array, row in zip(arrays, expected):
        assert type(array) is np.ndarray
        assert array.dtype == np.float64
        np.testing.assert_array_equal(array, row)


def test_several_values_per_residue():
    y = [np.arange(6.0).reshape(3, 2), [[1, None], [2, 3]]]
    arrays = check_residue_targets(y, ["MKV", "MK"], kind="values")
    np.testing.assert_array_equal(arrays[0], y[0])
    np.testing.assert_array_equal(arrays[1], [[1, np.nan], [2, 3]])


# ---- residue targets: what is refused


def test_lengths_that_differ_are_listed_together():
    y = ["HHE", "CCH", "EEEEEE"]
    error = refused(check_residue_targets, y, pd.Series(SEQUENCES, index=["P1", "P2", "P3"]))
    assert error.rows == [1, 2]
    assert str(error).splitlines() == [
        "Target 1 ('P2') has 3 entries for 4 residues; expected one per residue.",
        "Target 2 ('P3') has 6 entries for 2 residues; expected one per residue.",
    ]


@pytest.mark.parametrize("raw", ["MKV*", "MK V", "MKV\n"])
def test_labels_of_what_cleaning_removes_are_recognised(raw):
    assert lists_of(check_residue_targets(["HHE"], [raw])) == [["H", "H", "E"]]
    error = refused(check_residue_targets, ["HHEC"], [raw])
    assert "4 entries for 3 residues" in str(error)
    assert "counts whitespace or the '*' at the end" in str(error)


def test_one_label_too_many_for_a_clean_sequence_hints_at_the_stop():
    assert "stands for a '*' at the end" in str(refused(check_residue_targets, ["HHEC"], ["MKV"]))
    assert "*" not in str(refused(check_residue_targets, ["HHECC"], ["MKV"]))


def test_sequences_are_accepted_in_every_form_the_estimators_take():
    for sequences in ([Record(Seq("MKV*"))], pd.DataFrame({"s": ["mkv"]}), pl.Series(["M-V"]), ["MJV"]):
        assert lists_of(check_residue_targets(["HHE"], sequences)) == [["H", "H", "E"]]


@pytest.mark.parametrize(
    ("y", "text"),
    [
        (["HH", ["H", "E"]], "is an array of text, those before it are a str"),
        ([["H", "E"], "HH"], "is a str, those before it are an array of text"),
        ([["H", "E"], [0, 1]], "is an array of numbers, those before it are an array of text"),
        ([[0, 1], np.array(["H", "E"])], "is an array of text, those before it are an array of numbers"),
        ([[0, 1], [0, "E"]], "mixes text and numbers"),
        ([[0, 1], [[0], [1, 2]]], "has lists as entries"),
        ([[0, 1], [[0, 1], [1, 0]]], "has shape (2, 2)"),
        ([[0, 1], 3], "has shape ()"),
        ([[0, 1], None], "expected one label per residue"),
        ([[0, 1], np.array([b"H", b"E"])], "expected one label per residue"),
        ([[0, 1], [0, 0.25]], "has 0.25, which is not a label"),
        ([[0, 1], [0, float("inf")]], "has inf, which is not a label"),
        ([[0, 1], ""], "has 0 entries for 2 residues"),
    ],
)
def test_bad_labels(y, text):
    error = refused(check_residue_targets, y, ["MK", "VL"])
    assert error.rows == [1]
    assert str(error).startswith("Target 1 ")
    assert text in str(error)


@pytest.mark.parametrize(
    ("y", "text"),
    [
        ([[0, 1.5], "0 1"], "is a str; expected an array"),
        ([[0, 1.5], ["a", "b"]], "expected an array of numbers"),
        ([[0, 1.5], np.zeros((2, 2, 2))], "has shape (2, 2, 2)"),
        ([[0, 1.5], [[0, 1], [1, 0]]], "is an array of 2 columns, those before it are an array of numbers"),
        ([np.zeros((2, 3)), np.zeros((2, 2))], "is an array of 2 columns, those before it are an array of 3"),
        ([[0, 1.5], [0, -np.inf]], "is infinite at residue 2"),
        ([[0, 1.5], np.zeros((3, 2))], "has 3 entries for 2 residues"),
        ([[0, 1.5], 2.0], "has shape ()"),
    ],
)
def test_bad_values(y, text):
    error = refused(check_residue_targets, y, ["MK", "VL"], kind="values")
    assert error.rows == [1]
    assert str(error).startswith("Target 1 ")
    assert text in str(error)


def test_problems_of_targets_are_in_one_error():
    error = refused(check_residue_targets, ["HHE", [0, 1, 1], "H", "HHEC", "HHE"], ["MKV"] * 5)
    assert error.rows == [1, 2, 3]
    assert len(str(error).splitlines()) == 3


def test_one_target_per_sequence():
    with pytest.raises(ValueError, match="y has 2 targets for 3 sequences"):
        check_residue_targets(["HHE", "CCHH"], SEQUENCES)


@pytest.mark.parametrize(
    ("y", "kind", "error"),
    [
        ("HHE", "labels", ValueError),
        ({0: "HHE"}, "labels", TypeError),
        (None, "labels", TypeError),
        ([], "labels", ValueError),
        (["HHE"], "classes", ValueError),
    ],
)
def test_targets_of_the_wrong_type(y, kind, error):
    with pytest.raises(error):
        check_residue_targets(y, ["MKV"], kind=kind)


# ---- real data


@pytest.mark.data
def test_real_sequences_pass_and_equal_the_reference(data_home):
    sequences = read_csv(data_home / "stability" / "stability.csv.gz").sequences
    clean = check_sequences(sequences)
    assert clean.tolist() == [naive_clean(text)[0] for text in sequences]


@pytest.mark.data
def test_real_secondary_structure(data_home):
    data = read_csv(data_home / "secondary_structure" / "secondary_structure.csv.gz", target="labels")
    resolved = [np.array(list(row)) == "1" for row in data.columns["resolved"]]
    y = [np.ma.array(list(row), mask=~mask) for row, mask in zip(data.target, resolved)]
    arrays = check_residue_targets(y, data.sequences)
    assert [len(array) for array in arrays] == [len(sequence) for sequence in data.sequences]
    assert sum(array.count() for array in arrays) == sum(mask.sum() for mask in resolved)


@pytest.mark.data
def test_real_disorder_scores(data_home):
    data = read_csv(data_home / "disorder" / "chezod.csv.gz", target="z_scores")
    written = [row.split() for row in data.columns["z_scores"]]
    arrays = check_residue_targets(data.target, data.sequences, kind="values")
    assert [len(array) for array in arrays] == [len(row) for row in written]
    assert sum(np.isnan(array).sum() for array in arrays) == sum(row.count("nan") for row in written)
