"""From the format in which a data set is published to the rows of the package's own CSV table.

Each converter takes the downloaded files as bytes, in the order of the table's ``urls``, and yields the
rows as tuples of text:

- ``gb1_rows``: FLIP's ``splits.zip``, one CSV per split.
- ``beta_lactamase_rows``: one CSV with a column per condition and one per ESM-1v model.
- ``stability_rows``: three CSV files, one per subset.
- ``deeploc2_rows``, ``hpa_rows``: one CSV with a 0/1 column per location.
- ``secondary_structure_rows``: FLIP's ``splits.zip``, three FASTA files (sequences, labels, mask).
- ``chezod_rows``: an archive with a FASTA file and one list of scores per protein.
- ``signalp6_rows``: FASTA with a third line of labels.

Numbers keep the digits they were published with, so that a table is the same on every machine.
"""

import csv
import io
import re
import zipfile
from collections.abc import Iterator
from statistics import fmean
from typing import Literal, get_args

from ..sequences.files import fasta_records

Row = tuple[str, ...]

Gb1Split = Literal["sampled", "low_vs_high", "three_vs_rest", "two_vs_rest", "one_vs_rest"]
GB1_SPLITS: tuple[str, ...] = get_args(Gb1Split)
LOCATIONS = (
    "Cytoplasm",
    "Nucleus",
    "Extracellular",
    "Cell membrane",
    "Mitochondrion",
    "Plastid",
    "Endoplasmic reticulum",
    "Lysosome/Vacuole",
    "Golgi apparatus",
    "Peroxisome",
)
_SUBSETS = ("train", "valid", "test")
_NO_SCORE = 999.0  # CheZOD's mark of a residue without chemical shifts


def gb1_rows(archive: bytes) -> Iterator[Row]:
    """(sequence, target, one subset per official split), in the order of the split "sampled"."""
    members = _members(archive)
    tables = {split: _records(members[f"{split}.csv"]) for split in GB1_SPLITS}
    subset = {
        split: {record["sequence"]: _flip_subset(record["set"], record["validation"]) for record in records}
        for split, records in tables.items()
    }
    for record in tables["sampled"]:
        sequence = record["sequence"]
        yield (sequence, str(float(record["target"])), *(subset[split][sequence] for split in GB1_SPLITS))


def beta_lactamase_rows(file: bytes) -> Iterator[Row]:
    """(mutant, sequence, fitness, fitness_625, esm1v), the last one the mean of five models."""
    records = _records(file)
    wild = {int(record["mutant"][1:-1]): record["mutant"][0] for record in records}
    for record in records:
        changed = {**wild, int(record["mutant"][1:-1]): record["mutant"][-1]}
        sequence = "".join(changed[site] for site in sorted(changed))
        esm1v = fmean(float(record[f"esm1v_t33_650M_UR90_{number}"]) for number in range(1, 6))
        yield record["mutant"], sequence, record["2500"], record["625"], str(round(esm1v, 4))


def stability_rows(train: bytes, valid: bytes, test: bytes) -> Iterator[Row]:
    """(sequence, target, split); six significant digits undo the trace of single precision in the labels."""
    for subset, file in zip(_SUBSETS, (train, valid, test)):
        for record in _records(file):
            yield record["seq"], f"{float(record['label']):g}", subset


def deeploc2_rows(file: bytes) -> Iterator[Row]:
    """(accession, sequence, locations, membrane, kingdom, partition)."""
    for record in _records(file):
        membrane, partition = str(float(record["Membrane"])), str(int(float(record["Partition"])))
        yield record["ACC"], record["Sequence"], _locations(record), membrane, record["Kingdom"], partition


def hpa_rows(file: bytes) -> Iterator[Row]:
    """(accession, sequence, locations); the file has no column for locations that no protein of it has."""
    for record in _records(file):
        yield record["sid"], record["fasta"], _locations(record)


def secondary_structure_rows(archive: bytes) -> Iterator[Row]:
    """(id, sequence, labels, resolved, split); proteins that FLIP has in no subset are left out."""
    members = _members(archive)
    sequences, resolved, sampled = (
        _fasta(members, f"{name}.fasta") for name in ("sequences", "mask", "sampled")
    )
    for header, labels in sampled.items():
        protein, *words = header.split()
        attributes = dict(word.split("=", 1) for word in words)
        if attributes["SET"] in ("train", "test"):
            subset = _flip_subset(attributes["SET"], attributes["VALIDATION"])
            yield protein, sequences[protein], labels, resolved[protein], subset


def chezod_rows(archive: bytes) -> Iterator[Row]:
    """(id, sequence, z_scores, split); the test proteins come one per file and are sorted by name."""
    members = _members(archive)
    sequences = _fasta(members, "CheZOD1174_training_set_sequences.fasta")
    for line in members["CheZOD1174_training_set_CheZOD_scores.txt"].decode().splitlines():
        protein, _, scores = line.partition(":")
        yield protein, sequences[protein], _scores(scores.split(",")), "train"
    for name in sorted(members):
        if test := re.fullmatch(r"zscores(\w+)\.txt", name):
            residues = [line.split() for line in members[name].decode().splitlines() if line]
            sequence = "".join(letter for letter, _, _ in residues)
            yield test[1], sequence, _scores([score for _, _, score in residues]), "test"


def signalp6_rows(file: bytes) -> Iterator[Row]:
    """(accession, sequence, labels, type, kingdom, partition)."""
    lines = file.decode().splitlines()
    for header, sequence, labels in zip(lines[::3], lines[1::3], lines[2::3]):
        accession, kingdom, kind, partition = header.removeprefix(">").split("|")
        yield accession, sequence, labels, kind, kingdom, partition


def _members(archive: bytes) -> dict[str, bytes]:
    """Files of a zip archive by their name without folder; without the copies that macOS adds."""
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        names = [name for name in file.namelist() if not name.startswith("__MACOSX")]
        return {name.rpartition("/")[2]: file.read(name) for name in names if not name.endswith("/")}


def _records(file: bytes) -> list[dict[str, str]]:
    header, *rows = csv.reader(io.StringIO(file.decode("utf-8-sig")))
    return [dict(zip((name.strip() for name in header), row, strict=True)) for row in rows]


def _fasta(members: dict[str, bytes], name: str) -> dict[str, str]:
    """Sequences of a FASTA file by their headers."""
    return dict(fasta_records(members[name].decode().splitlines(), name))


def _flip_subset(which: str, validation: str) -> str:
    return "valid" if which == "train" and validation == "True" else which


def _locations(record: dict[str, str]) -> str:
    return "|".join(sorted(name for name in LOCATIONS if float(record.get(name, 0)) == 1))


def _scores(texts: list[str]) -> str:
    return " ".join("nan" if float(text) == _NO_SCORE else text.strip() for text in texts)
