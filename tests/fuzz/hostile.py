"""Values that callers pass by mistake, by the kind of argument that they stand in for."""

from __future__ import annotations

import gzip
import io
import lzma
import os
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
import torch

Rng = np.random.Generator
LETTERS = np.array(list("ACDEFGHIKLMNPQRSTVWY"))

NUMBERS: tuple[Any, ...] = (
    0, 1, 2, 3, 7, -1, -7, 64, 2**31, 2**63, -(2**63), 10**30, 0.1, 0.5, 0.999, 1.0, 1.5, -0.5, 1e-300, 1e308,
    -1e308, float("nan"), float("inf"), -float("inf"), 1j, True, False, np.int64(2), np.uint8(2), np.int8(-1),
    np.float32(0.5), np.float16(0.5), np.float64("nan"), np.bool_(True), np.array(2), np.array(0.5),
    Decimal(2),
    Fraction(1, 2), torch.tensor(2), np.datetime64("2020-01-01"), pd.NA,
)  # fmt: skip
WORDS: tuple[Any, ...] = (
    None, "", "x", "3", "0.5", "auto", "mean", "max", "cls", "attention", "light_attention", "window",
    "raise",
    "replace", "truncate", "first", "all", "key", "int8", "nf4", "fp16", "bf16", "fp32", "cpu", "cuda",
    "cuda:99",
    "mps", "meta", "linear", "mlp", "crf", "cnn", "balanced", "exact", "ungapped", "hamming", "C1", "C2",
    "label",
    "labels", "values", "proba", "infer", "random", "accuracy", "spearman", "kmer", "onehot", "macro",
    "binary",
    "mini", "nowhere/at/all", "../..", "~", "\0", "\ud800", "a" * 5000, b"mean", np.str_("mean"),
    Path("nowhere"),
)  # fmt: skip
CONTAINERS: tuple[Callable[[], Any], ...] = (
    list, tuple, dict, set, object, lambda: [1], lambda: (1, 2), lambda: ("key", "nope"), lambda: ["key",
    "value"],
    lambda: {"a": 1}, lambda: {0: 1.0, 1: 2.0}, lambda: {"a", "b"}, lambda: range(3), lambda: iter([1]),
    lambda: (i for i in range(3)), lambda: np.arange(3), lambda: np.zeros((2, 2)), lambda: np.array([]),
    lambda: np.array(["a", None], dtype=object), lambda: pd.Series([1, 2]), lambda: pd.DataFrame({"a": [1]}),
    lambda: torch.zeros(2), lambda: scipy.sparse.eye_array(3), lambda: len, lambda: int, lambda: float("nan"),
    lambda: [None], lambda: [[]], lambda: bytearray(b"x"), lambda: memoryview(b"x"),
    lambda: np.random.default_rng(0),
    lambda: np.random.RandomState(0), lambda: np.ma.masked, lambda: slice(2), lambda: NotImplemented,
)  # fmt: skip


def parameter(good: Any, rng: Rng) -> Any:
    """A number, a word, a container, or what one has typed instead of the right value."""
    kind = rng.random()
    if kind < 0.45:
        return NUMBERS[rng.integers(len(NUMBERS))]
    if kind < 0.7:
        return WORDS[rng.integers(len(WORDS))]
    if kind < 0.9:
        return CONTAINERS[rng.integers(len(CONTAINERS))]()
    wrapped: tuple[Callable[[], Any], ...] = (
        lambda: [good], lambda: (good,), lambda: str(good), lambda: {"value": good},
        lambda: np.array([good], object),
        lambda: lambda: good, lambda: str(good).upper(), lambda: f" {good} ",
    )  # fmt: skip
    return wrapped[rng.integers(len(wrapped))]()


# -- sequences and pairs --------------------------------------------------------------------------


class Record:
    """What Biopython's SeqRecord looks like."""

    def __init__(self, seq: Any):
        self.seq, self.id = seq, "P1"


ENTRIES: tuple[Any, ...] = (
    None, float("nan"), pd.NA, np.nan, "", " ", "*", "nan", "None", b"MKTAYIAK", 3, 1.5, True,
    "ACGTACGTUACG", "MK-TAY",
    "mktayiak", "MKT*", "M*KT", "MKTJ", "MKT1", "(MSE)MKT", "<mask>MKT", "MKT AYI\n", "ΜΚΤ", "ß", "\0",
    "\ud800", "X",
    "XXXX", "BOUZ", "M", "M" * 3000, ["M", "K"], ("MKT",), {"seq": "MKT"}, Record("MKTAYIAK"), Record(None),
    Record(5),
    Record(True), np.str_("MKTAYIAK"), np.array("MKT"), np.array(["MKT"]), object(), Ellipsis,
)  # fmt: skip


def sequences(good: Any, rng: Rng) -> Any:
    """Proteins (or pairs of them) in another container, or with entries that are none."""
    rows = list(good)
    n = len(rows)
    as_array = np.array(rows, dtype=object)
    containers: tuple[Callable[[], Any], ...] = (
        lambda: as_array, lambda: np.array(rows), lambda: tuple(rows), lambda: pd.Series(list(rows)),
        lambda: pd.Series(list(rows), index=rng.permutation(n) + 5), lambda: pd.DataFrame(list(rows)),
        lambda: pd.Categorical(list(map(str, rows))), lambda: as_array[::-1], lambda: as_array.reshape(n, -1),
        lambda: as_array.reshape(1, -1), lambda: as_array.reshape(n, -1, 1), lambda: as_array.T,
        lambda: iter(rows),
        lambda: (row for row in rows), lambda: dict(enumerate(rows)), lambda: set(map(str, rows)),
        lambda: rows[0],
        lambda: str(rows[0]).encode(), lambda: np.array(rows[0]), lambda: [], lambda: np.array([]),
        lambda: rows[:1],
        lambda: np.zeros((0, 2)), lambda: None, lambda: 7, lambda: [rows], lambda: [[row] for row in rows],
        lambda: [list(map(str, row)) for row in rows], lambda: rows * 3, lambda: [rows[0]] * n,
        lambda: np.ma.masked_array(as_array, mask=np.arange(as_array.size).reshape(as_array.shape) == 1),
        lambda: scipy.sparse.eye_array(n), lambda: torch.zeros(n), lambda: np.array(rows, dtype="S"),
        lambda: np.zeros((n, 3)), lambda: pd.DataFrame({"a": rows, "b": rows}), lambda: pd.DataFrame(),
        lambda: [Record(row) for row in rows], lambda: map(str, rows), lambda: [*rows, None],
        lambda: rows[: n // 2],
    )  # fmt: skip
    if rng.random() < 0.5:
        return containers[rng.integers(len(containers))]()
    for _ in range(rng.integers(1, 3)):
        rows[rng.integers(n)] = _bad_entry(rows[0], rng)
    if rng.random() < 0.3:
        return _or_list(lambda: np.fromiter(rows, dtype=object), rows)
    return pd.Series(rows, dtype=object) if rng.random() < 0.3 else rows


def _bad_entry(good: Any, rng: Rng) -> Any:
    entry = ENTRIES[rng.integers(len(ENTRIES))]
    if isinstance(good, str) or rng.random() < 0.3:
        return entry
    odd = (entry, good[0]), (good[0], entry), (entry, entry), (good[0],), (*good, good[0]), [good[0], entry]
    return odd[rng.integers(len(odd))]


def _or_list(make: Callable[[], Any], rows: list) -> Any:
    try:
        return make()
    except (ValueError, TypeError):
        return rows


# -- targets --------------------------------------------------------------------------------------

LABELS: tuple[Any, ...] = (
    None, float("nan"), pd.NA, float("inf"), -float("inf"), 1e308, -1e308, 1e39, "", "a", 0, -1, -100,
    10**30, 2**63,
    1.5, 1j, b"a", True, [1], {"a"}, {}, (1, 2), object(), np.float32(0.5), "1", pd.Timestamp(0),
    Decimal(1), "H" * 50,
    [], np.array([1.0, 2.0]), np.array(3), np.ma.masked, "\ud800",
)  # fmt: skip


def targets(good: Any, rng: Rng) -> Any:
    """Labels, values or targets per residue, in another form or with entries that are none."""
    rows = ["no", "yes"] * 5 if good is None else list(good)
    n = len(rows)
    containers: tuple[Callable[[], Any], ...] = (
        lambda: None, lambda: 3, lambda: "abc", lambda: [], lambda: rows[:-1], lambda: [*rows, rows[0]],
        lambda: rows[:1],
        lambda: tuple(rows), lambda: pd.Series(rows), lambda: pd.Series(rows, index=rng.permutation(n) + 9),
        lambda: pd.Categorical(list(map(str, rows))), lambda: np.array(rows, dtype=object).reshape(n, -1),
        lambda: np.array(rows, dtype=object)[None], lambda: list(map(str, rows)), lambda: [rows[0]] * n,
        lambda: np.zeros(n), lambda: np.ones(n, dtype=int), lambda: np.arange(n), lambda: np.arange(n) / 7,
        lambda: np.zeros((n, 0)), lambda: np.eye(n), lambda: rng.integers(0, 2, (n, 3)),
        lambda: rng.normal(size=(n, 2)),
        lambda: rng.normal(size=(n, 2, 2)), lambda: np.arange(n) % 2 == 0, lambda: iter(rows),
        lambda: (r for r in rows),
        lambda: dict(enumerate(rows)), lambda: set(map(str, rows)), lambda: scipy.sparse.eye_array(n),
        lambda: pd.NA,
        lambda: np.full(n, np.nan), lambda: np.full(n, 1e308), lambda: np.arange(n) * 1e-320,
        lambda: rng.bytes(n),
        lambda: [[1] * (i % 3) for i in range(n)], lambda: np.arange(n).astype("datetime64[D]"),
        lambda: torch.arange(n),
        lambda: np.arange(n) + 1j, lambda: np.array(list(map(str, rows)), dtype="S"),
        lambda: pd.DataFrame({"y": rows}),
        lambda: np.ma.masked_array(np.arange(n), mask=np.arange(n) == 1), lambda: [{"a"}, {"b"}] * (n // 2),
        lambda: np.arange(n) % 3 - 1, lambda: ["H" * 3] * n, lambda: [np.zeros(3)] * n, lambda: [0,
        "a"] * (n // 2),
        lambda: np.arange(n, dtype=np.float16), lambda: np.arange(n) * 2**60, lambda: list(reversed(rows)),
    )  # fmt: skip
    if rng.random() < 0.6:
        return containers[rng.integers(len(containers))]()
    for _ in range(rng.integers(1, 3)):
        rows[rng.integers(n)] = LABELS[rng.integers(len(LABELS))]
    return _or_list(lambda: np.array(rows), rows) if rng.random() < 0.3 else rows


# -- files ----------------------------------------------------------------------------------------


def path(good: Any, rng: Rng) -> Any:
    """A file with damage, or what is no file."""
    file, place = Path(good), Path(f"hostile{rng.integers(10**9)}{Path(good).suffix}")
    data = file.read_bytes() if file.is_file() else b"MKTAYIAKQR\n"  # a folder to be written has none
    others: tuple[Callable[[], Any], ...] = (
        lambda: None, lambda: 12345, lambda: True, lambda: 1.5, lambda: "", lambda: "nowhere.csv",
        lambda: ".",
        lambda: str(good).encode(), lambda: [good], lambda: data.decode(), lambda: "\0", lambda: "\ud800",
        lambda: io.StringIO(data.decode()), lambda: place.mkdir() or place, lambda: os.mkfifo(place) or place,
        lambda: pd.DataFrame({"sequence": ["MKT"]}), lambda: place.symlink_to(place) or place,
        lambda: object(),
    )  # fmt: skip
    if rng.random() < 0.3:
        return others[rng.integers(len(others))]()
    for _ in range(rng.integers(1, 4)):
        data = _damaged(data, rng)
    if rng.random() < 0.2:
        place = place.with_suffix((".gz", ".xz", ".zip")[rng.integers(3)])
        data = (gzip.compress, lzma.compress, bytes)[rng.integers(3)](data)
        data = _damaged(data, rng) if rng.random() < 0.5 else data
    place.write_bytes(data)
    return str(place) if rng.random() < 0.5 else place


PIECES = (
    b'"', b",", b";", b"\t", b"\n", b"\r", b"\r\n", b"\n\n", b"\0", b"\xff", b"\xef\xbb\xbf", b">", b">>",
    b"sequence",
    b"NA", b"nan", b"''", b" ", b"\x1a", b"#", b'"a\n', b",,,", b"M" * 200_000, "µ".encode("latin-1"),
    b"=1+1", b"1e999",
)  # fmt: skip


def _damaged(data: bytes, rng: Rng) -> bytes:
    at, piece = int(rng.integers(len(data) + 1)), PIECES[rng.integers(len(PIECES))]
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: data[:at] + piece + data[at:], lambda: data[:at] + piece + data[at:], lambda: piece + data,
        lambda: data + piece, lambda: data[:at], lambda: data[at:], lambda: data[:at] + data[at + 1 :],
        lambda: data.replace(b",", (b";", b"\t", b"|", b", ")[rng.integers(4)]), lambda: data.replace(b"\n",
        b"\r\n"),
        lambda: data.decode("latin-1").encode("utf-16"), lambda: data * 3, lambda: b"", lambda: rng.bytes(50),
        lambda: data.replace(b"\n", b"\n\n"), lambda: data.replace(b"\n", b",\n"), lambda: b"\n" + data,
    )  # fmt: skip
    return ways[rng.integers(len(ways))]()
