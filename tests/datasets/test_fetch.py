"""The fetchers and the table of their origins."""

import csv
import doctest
import gzip
import hashlib
import inspect
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from plmlearn import datasets
from plmlearn.datasets import converters
from plmlearn.datasets.origins import TABLES, description

NAMES = list(dict.fromkeys(table.data_set for table in TABLES.values()))
FETCHERS = {name: getattr(datasets, f"fetch_{name}") for name in NAMES}


def csv_text(columns, rows) -> bytes:
    return "\n".join(",".join(row) for row in [columns, *rows]).encode() + b"\n"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda home: datasets.fetch_gb1(split="best", data_home=home),
            "split='best'; expected one of 'sa",
        ),
        (
            lambda home: datasets.fetch_stability(subset="dev", data_home=home),
            "subset='dev'; expected one of",
        ),
        (
            lambda home: datasets.fetch_disorder(subset="valid", data_home=home),
            "subset='valid'; expected one of",
        ),
        (
            lambda home: datasets.fetch_deeploc2(task="function", data_home=home),
            "task='function'; expected one of",
        ),
        (lambda home: datasets.fetch_deeploc2(subset="hpa", partitions=[1], data_home=home), "no partitions"),
        (
            lambda home: datasets.fetch_deeploc2(subset="hpa", task="membrane", data_home=home),
            "no membrane labels",
        ),
    ],
)
def test_unknown_choices_are_refused_before_anything_is_read(tmp_path, call, message):
    with pytest.raises(ValueError, match=message):
        call(tmp_path / "home")


# --- PPI, which is put there by hand --------------------------------------------------------------


def put_ppi(home: Path, pairs: list[tuple[str, ...]], columns="id_a,id_b,label,split") -> None:
    folder = home / "ppi"
    folder.mkdir(parents=True)
    (folder / "pairs.csv.gz").write_bytes(gzip.compress(csv_text(columns.split(","), pairs)))
    proteins = csv_text(("id", "sequence"), [("P1", "MKV"), ("P2", "MWW"), ("P3", "MAA")])
    (folder / "proteins.csv.gz").write_bytes(gzip.compress(proteins))


def test_ppi_without_files_says_what_to_put_where(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing downloads it automatically") as caught:
        datasets.fetch_ppi(data_home=tmp_path)
    message = str(caught.value)
    for part in (
        "10.6084/m9.figshare.21591618",
        "id_a,id_b,label,split",
        str(tmp_path / "ppi" / "pairs.csv.gz"),
    ):
        assert part in message


def test_ppi_of_ones_own_is_used_with_a_warning(tmp_path):
    put_ppi(tmp_path, [("P1", "P2", "1", "train"), ("P3", "P1", "0", "test"), ("P3", "P2", "0", "train")])
    with pytest.warns(UserWarning, match=r"csv\.gz is not the table.*published figures") as caught:
        bunch = datasets.fetch_ppi(subset="train", data_home=tmp_path)
    assert len(caught) == 2
    assert all(warning.filename == __file__ for warning in caught)
    assert bunch.data.tolist() == [["MKV", "MWW"], ["MAA", "MWW"]]
    assert bunch.pairs.tolist() == [["P1", "P2"], ["P3", "P2"]]
    assert bunch.target.tolist() == [1, 0]


@pytest.mark.filterwarnings("ignore:ppi.*is not the table")
def test_ppi_with_faults_is_refused(tmp_path):
    put_ppi(tmp_path / "a", [("P1", "P9", "1", "train")])
    with pytest.raises(ValueError, match=r"1 proteins of pairs.csv.gz are not in proteins.csv.gz.*P9"):
        datasets.fetch_ppi(data_home=tmp_path / "a")
    put_ppi(tmp_path / "b", [("P1", "P2", "1", "train")], columns="a,b,label,split")
    with pytest.raises(OSError, match="has the columns a,b,label,split, expected id_a,id_b,label,split"):
        datasets.fetch_ppi(data_home=tmp_path / "b")


# --- the table of origins -------------------------------------------------------------------------


def test_origins_are_complete():
    assert set(FETCHERS) == {
        name.removeprefix("fetch_") for name in datasets.__all__ if name.startswith("fetch_")
    }
    paths = [table.path for table in TABLES.values()]
    assert len(set(paths)) == len(paths)
    for table in TABLES.values():
        assert len(table.sha256) == 64
        assert int(table.sha256, 16)
        assert all(url.startswith("https://") for url in table.urls)
        assert bool(table.urls) == (inspect.getmodule(table.convert) is converters)
    for name in FETCHERS:
        about, *parts = description(name).split("\n\n")
        assert len(about) > 100
        assert [part.split(": ")[0] for part in parts] == ["Published at", "Licence", "Cite"]
        assert "doi:10." in parts[2]
        assert parts[0].startswith("Published at: https://")


# --- the real tables ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(data_home):
    """Rows of the real tables by path, read without the package."""

    def rows(path: str) -> list[dict[str, str]]:
        with gzip.open(data_home / path, "rt") as file:
            return list(csv.DictReader(file))

    return rows


@pytest.mark.data
@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.path)
def test_checksums(data_home, table):
    with gzip.open(data_home / table.path) as file:
        assert hashlib.sha256(file.read()).hexdigest() == table.sha256


@pytest.mark.data
def test_reading_writes_nothing(data_home):
    def state():
        return {path: (stat := path.stat()).st_mtime_ns + stat.st_size for path in data_home.rglob("*")}

    before = state()
    for fetch in FETCHERS.values():
        fetch(data_home=data_home)
    assert state() == before


@pytest.mark.data
@pytest.mark.parametrize("name", FETCHERS)
def test_docstring_examples(data_home, monkeypatch, name):
    monkeypatch.setenv("PLMLEARN_DATA", str(data_home))
    text = inspect.getdoc(FETCHERS[name]).replace("# doctest: +SKIP", "")
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    assert doctest.DocTestRunner(verbose=False).run(example).failed == 0
    assert len(example.examples) >= 3


@pytest.mark.data
@pytest.mark.parametrize(
    ("split", "sizes"),
    [
        ("sampled", (6289, 699, 1745)),
        ("low_vs_high", (4580, 509, 3644)),
        ("three_vs_rest", (2691, 299, 5743)),
        ("two_vs_rest", (381, 43, 8309)),
        ("one_vs_rest", (25, 3, 8705)),
    ],
)
def test_gb1(data_home, real, split, sizes):
    rows = real("gb1/gb1.csv.gz")
    for subset, size in zip(("train", "valid", "test"), sizes):
        bunch = datasets.fetch_gb1(split=split, subset=subset, data_home=data_home)
        expected = [row for row in rows if row[split] == subset]
        assert len(bunch.data) == size
        assert bunch.data.tolist() == [row["sequence"] for row in expected]
        assert bunch.target.tolist() == [float(row["target"]) for row in expected]
        assert set(bunch.split) == {subset}
    everything = datasets.fetch_gb1(split=split, data_home=data_home)
    assert len(everything.data) == 8733
    assert everything.data[0] == everything.wild_type
    mutated = {
        site
        for variant in everything.data
        for site, pair in enumerate(zip(variant, everything.wild_type), 1)
        if len(set(pair)) > 1
    }
    assert mutated == {39, 40, 41, 54}
    assert "".join(everything.wild_type[site - 1] for site in sorted(mutated)) == "VDGV"


@pytest.mark.data
def test_beta_lactamase(data_home, real):
    rows = real("dms/blat_ecolx.csv.gz")
    bunch = datasets.fetch_beta_lactamase(data_home=data_home)
    assert bunch.data.tolist() == [row["sequence"] for row in rows]
    assert bunch.target.tolist() == [float(row["fitness"]) for row in rows]
    for mutant, sequence in zip(bunch.mutant, bunch.data):
        site = int(mutant[1:-1]) - bunch.first_site
        assert (bunch.wild_type[site], sequence[site]) == (mutant[0], mutant[-1])
        assert sequence[:site] + mutant[0] + sequence[site + 1 :] == bunch.wild_type
    assert round(float(spearmanr(bunch.esm1v, bunch.target)[0]), 2) == 0.70


@pytest.mark.data
def test_stability(data_home):
    for subset, size in {"train": 53614, "valid": 2512, "test": 12851, "all": 68977}.items():
        bunch = datasets.fetch_stability(subset=subset, data_home=data_home)
        assert bunch.data.shape == bunch.target.shape == bunch.split.shape == (size,)
    assert set(map(len, bunch.data)) <= set(range(43, 51))
    both = set(bunch.data[bunch.split == "train"]) & set(bunch.data[bunch.split == "test"])
    assert len(both) == 26


@pytest.mark.data
def test_deeploc2(data_home, real):
    rows = real("deeploc2/deeploc2.csv.gz")
    bunch = datasets.fetch_deeploc2(data_home=data_home)
    assert bunch.data.shape == (28303,)
    assert bunch.target.shape == (28303, 10)
    assert dict(zip(bunch.target_names, bunch.target.sum(axis=0).tolist())) == {
        "Cytoplasm": 9870,
        "Nucleus": 9720,
        "Extracellular": 3301,
        "Cell membrane": 4187,
        "Mitochondrion": 2590,
        "Plastid": 1047,
        "Endoplasmic reticulum": 2180,
        "Lysosome/Vacuole": 1496,
        "Golgi apparatus": 1279,
        "Peroxisome": 304,
    }
    named = [
        "|".join(sorted(name for name, one in zip(bunch.target_names, row) if one)) for row in bunch.target
    ]
    assert named == [row["locations"] for row in rows]
    assert np.bincount(bunch.partition).tolist() == [5963, 5451, 5731, 5696, 5462]
    held_out = datasets.fetch_deeploc2(task="membrane", partitions=(4, 1), data_home=data_home)
    expected = [row for row in rows if row["partition"] in "14"]
    assert held_out.accession.tolist() == [row["accession"] for row in expected]
    assert held_out.target.tolist() == [int(row["membrane"] == "1.0") for row in expected]
    with pytest.raises(ValueError, match=r"partitions \[5\] do not exist; choose from \[0, 1, 2, 3, 4\]"):
        datasets.fetch_deeploc2(partitions=[0, 5], data_home=data_home)


@pytest.mark.data
def test_deeploc2_hpa(data_home):
    bunch = datasets.fetch_deeploc2(subset="hpa", data_home=data_home)
    assert bunch.target.shape == (1717, 10)
    assert bunch.target.sum(axis=0).tolist() == [562, 893, 0, 287, 196, 0, 77, 2, 86, 7]
    assert "partition" not in bunch


@pytest.mark.data
def test_secondary_structure(data_home, real):
    rows = real("secondary_structure/secondary_structure.csv.gz")
    bunch = datasets.fetch_secondary_structure(data_home=data_home)
    assert np.unique(bunch.split, return_counts=True)[1].tolist() == [364, 9712, 1080]
    assert set("".join(bunch.target)) == {*bunch.target_names, bunch.ignore_label}
    for row, sequence, labels, resolved in zip(rows, bunch.data, bunch.target, bunch.resolved):
        assert len(sequence) == len(labels) == len(resolved)
        assert (
            [mark == "1" for mark in row["resolved"]]
            == resolved.tolist()
            == [label != "-" for label in labels]
        )
        assert all(label in ("-", published) for label, published in zip(labels, row["labels"]))


@pytest.mark.data
def test_disorder(data_home):
    bunch = datasets.fetch_disorder(data_home=data_home)
    assert np.unique(bunch.split, return_counts=True)[1].tolist() == [117, 1174]
    assert [len(scores) for scores in bunch.target] == [len(sequence) for sequence in bunch.data]
    assert sum(np.isnan(scores).sum() for scores in bunch.target) == 6896
    assert -10 < np.nanmin(np.concatenate(bunch.target)) < 0 < np.nanmax(np.concatenate(bunch.target)) < 20


@pytest.mark.data
def test_signal_peptides(data_home):
    regions = datasets.fetch_signal_peptides(data_home=data_home)
    assert list(map(len, regions.data)) == list(map(len, regions.target))
    assert sorted(set("".join(regions.target))) == regions.target_names
    assert np.bincount(regions.partition).tolist() == [5896, 7392, 7002]
    types = datasets.fetch_signal_peptides(task="type", partitions=[1], data_home=data_home)
    assert types.target.tolist() == regions.type[regions.partition == 1].tolist()
    counts = dict(zip(*np.unique(regions.type, return_counts=True)))
    assert counts == {"LIPO": 1615, "NO_SP": 15625, "PILIN": 70, "SP": 2582, "TAT": 365, "TATLIPO": 33}
    assert sorted(counts) == types.target_names


@pytest.mark.data
def test_ppi(data_home):
    bunch = datasets.fetch_ppi(data_home=data_home)
    assert bunch.data.shape == bunch.pairs.shape == (176959, 2)
    members = {}
    for subset, size in {"train": 92806, "valid": 44578, "test": 39575}.items():
        rows = bunch.split == subset
        assert rows.sum() == size
        assert bunch.target[rows].mean() == pytest.approx(0.5, abs=0.005)
        members[subset] = set(bunch.pairs[rows].ravel())
    assert sum(map(len, members.values())) == len(set.union(*members.values())) == 8852
    lengths = {len(sequence) for sequence in bunch.data.ravel()}
    assert (min(lengths), max(lengths)) == (51, 1013)
