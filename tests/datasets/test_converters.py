"""Converters, on samples as the publishers write them and on the real tables put back into that form."""

import csv
import gzip
import io
import zipfile

import numpy as np
import pytest

from plmlearn.datasets import converters


def csv_text(columns, rows) -> bytes:
    return "\n".join(",".join(row) for row in [columns, *rows]).encode() + b"\n"


def zip_of(members: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


GB1_ROWS = [
    ("MKVDGV", "1.0", "train", "test", "train", "train", "train"),
    ("MKIDGV", "1.4459050863", "valid", "test", "train", "train", "test"),
    ("MKIWGV", "0.0052372611747299996", "test", "train", "valid", "test", "test"),
]


def flip_csv(rows, column: int) -> str:
    lines = ["sequence,target,set,validation"]
    for row in rows:
        subset = row[column]
        flag = {"train": "", "valid": "True", "test": ""}[subset]
        lines.append(f"{row[0]},{row[1]},{'test' if subset == 'test' else 'train'},{flag}")
    return "\n".join(lines) + "\n"


def flip_zip(rows) -> bytes:
    members = {
        f"splits/{split}.csv": flip_csv(rows, k) for k, split in enumerate(converters.GB1_SPLITS, start=2)
    }
    return zip_of({**members, "__MACOSX/splits/._sampled.csv": "\0", "splits/": ""})


def test_gb1_rows():
    assert list(converters.gb1_rows(flip_zip(GB1_ROWS))) == GB1_ROWS


def test_stability_rows():
    train = b"seq,label\nGSSR,-0.009999999776482\nMKVW,1.52999997138977\n"
    valid, test = b"seq,label\nKKKP,-0.0\nAAAA,0.0\n", b"seq,label\nGSSE,1\n"
    assert list(converters.stability_rows(train, valid, test)) == [
        ("GSSR", "-0.01", "train"),
        ("MKVW", "1.53", "train"),
        ("KKKP", "-0", "valid"),
        ("AAAA", "0", "valid"),
        ("GSSE", "1", "test"),
    ]


def test_deeploc2_rows():
    header = f",ACC,Kingdom,Partition,Membrane,{','.join(converters.LOCATIONS)},Sequence\n"
    rows = (
        "0,Q1,Metazoa,3,0.0,0.0,1.0,0.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,MAAU\n1,Q2-3,Fungi,0.0,1.0"
        + ",0.0" * 9
        + ",1.0,MK\n"
    )
    assert list(converters.deeploc2_rows((header + rows).encode())) == [
        ("Q1", "MAAU", "Cell membrane|Nucleus", "0.0", "Metazoa", "3"),
        ("Q2-3", "MK", "Peroxisome", "1.0", "Fungi", "0"),
    ]


def test_hpa_rows_lack_some_locations():
    file = b"sid,fasta,Cell membrane,Cytoplasm,Nucleus\nENSP1,MAA,0,1,1\nENSP2,MKK,1,0,0\n"
    expected = [("ENSP1", "MAA", "Cytoplasm|Nucleus"), ("ENSP2", "MKK", "Cell membrane")]
    assert list(converters.hpa_rows(file)) == expected


def test_secondary_structure_rows():
    archive = zip_of(
        {
            "splits/sequences.fasta": ">1abc-A\nMKV\nLL\n>2abc-B\nAAA\n>3abc-C\nGG\n>4abc-D\nWW\n",
            "splits/mask.fasta": ">2abc-B\n111\n>1abc-A\n00111\n>3abc-C\n10\n>4abc-D\n11\n",
            "splits/sampled.fasta": ">1abc-A SET=train VALIDATION=False\nCCHHH\n"
            ">2abc-B SET=train VALIDATION=True\nEEE\n"
            ">4abc-D SET=nan VALIDATION=False\nCC\n>3abc-C SET=test VALIDATION=False\nCE\n",
        }
    )
    assert list(converters.secondary_structure_rows(archive)) == [
        ("1abc-A", "MKVLL", "CCHHH", "00111", "train"),
        ("2abc-B", "AAA", "EEE", "111", "valid"),
        ("3abc-C", "GG", "CE", "10", "test"),
    ]


def test_chezod_rows():
    folder = "SETH-0c39/datasets"
    archive = zip_of(
        {
            f"{folder}/CheZOD1174_training_set_sequences.fasta": ">26672\nMASN\n>6198\nMK",
            f"{folder}/CheZOD1174_training_set_CheZOD_scores.txt": "26672:\t999, 999.0, 2.73, -3.10\n"
            "6198:\t14.0, 999\n",
            f"{folder}/CheZOD117_test_set_CheZOD_scores/zscores1128.txt": "V   2  5.786\nY   3  8.990\n",
            f"{folder}/CheZOD117_test_set_CheZOD_scores/zscores10010.txt": "T 104 -0.371\n",
            f"{folder}/CheZOD117_test_set_CheZOD_scores/zscoreshmbdi.txt": "A   1  999.000\n",
            "SETH-0c39/README.md": "zscores",
        }
    )
    assert list(converters.chezod_rows(archive)) == [
        ("26672", "MASN", "nan nan 2.73 -3.10", "train"),
        ("6198", "MK", "14.0 nan", "train"),
        ("10010", "T", "-0.371", "test"),
        ("1128", "VY", "5.786 8.990", "test"),
        ("hmbdi", "A", "nan", "test"),
    ]


def test_signalp6_rows():
    file = b">P58300|ARCHAEA|LIPO|0\r\nMRRA\r\nLLLO\r\n>Q1|EUKARYA|NO_SP|2\r\nMK\r\nII"
    assert list(converters.signalp6_rows(file)) == [
        ("P58300", "MRRA", "LLLO", "LIPO", "ARCHAEA", "0"),
        ("Q1", "MK", "II", "NO_SP", "EUKARYA", "2"),
    ]


# --- the real tables, put into the formats of their publishers, must come back unchanged ---


@pytest.fixture(scope="module")
def real(data_home):
    """Rows of the real tables by path, read without the package."""

    def rows(path: str) -> list[dict[str, str]]:
        with gzip.open(data_home / path, "rt") as file:
            return list(csv.DictReader(file))

    return rows


@pytest.mark.data
def test_gb1_round_trip(real):
    rows = [tuple(row.values()) for row in real("gb1/gb1.csv.gz")]
    assert list(converters.gb1_rows(flip_zip(rows))) == rows


def test_beta_lactamase_rows():
    names = [f"esm1v_t33_650M_UR90_{number}" for number in range(1, 6)]
    rows = [("0", "K24A", "0.5", "-1.25", *"12345"), ("1", "V25C", "1e-05", "0", *("0.1",) * 4, "0.10009")]
    file = csv_text(("", "mutant", "625", "2500", *names), rows)
    assert list(converters.beta_lactamase_rows(file)) == [
        ("K24A", "AV", "-1.25", "0.5", "3.0"),
        ("V25C", "KC", "0", "1e-05", "0.1"),
    ]


@pytest.mark.data
def test_beta_lactamase_round_trip(real):
    rows = [tuple(row.values()) for row in real("dms/blat_ecolx.csv.gz")]
    names = [f"esm1v_t33_650M_UR90_{number}" for number in range(1, 6)]
    published = [(mutant, low, high, *(esm1v,) * 5) for mutant, _, high, low, esm1v in rows]
    file = csv_text(("mutant", "625", "2500", *names), published)
    assert list(converters.beta_lactamase_rows(file)) == rows


@pytest.mark.data
def test_stability_round_trip(real):
    rows = [tuple(row.values()) for row in real("stability/stability.csv.gz")]
    single = {target: repr(float(np.float32(float(target)))) for _, target, _ in rows}
    files = [
        csv_text(("seq", "label"), [(row[0], single[row[1]]) for row in rows if row[2] == subset])
        for subset in ("train", "valid", "test")
    ]
    assert list(converters.stability_rows(*files)) == rows


@pytest.mark.data
def test_chezod_round_trip(real):
    rows = real("disorder/chezod.csv.gz")
    train = [row for row in rows if row["split"] == "train"]
    sequences = "\n".join(f">{row['id']}\n{row['sequence']}" for row in train)
    scores = "".join(
        f"{row['id']}:\t{row['z_scores'].replace('nan', '999').replace(' ', ', ')}\n" for row in train
    )
    assert len(sequences) == 148411  # the size of the published file
    assert len(scores) == 1056019  # likewise
    members = {
        "SETH/CheZOD1174_training_set_sequences.fasta": sequences,
        "SETH/CheZOD1174_training_set_CheZOD_scores.txt": scores,
    }
    for row in rows:
        if row["split"] == "test":
            lines = zip(row["sequence"], row["z_scores"].split())
            text = "".join(
                f"{letter} {site:3d} {score:>6}\n" for site, (letter, score) in enumerate(lines, 1)
            )
            members[f"SETH/scores/zscores{row['id']}.txt"] = text
    assert list(converters.chezod_rows(zip_of(members))) == [tuple(row.values()) for row in rows]


@pytest.mark.data
def test_signalp6_round_trip(real):
    rows = real("signal_peptide/signalp6.csv.gz")
    lines = [
        line
        for row in rows
        for line in (
            f">{row['accession']}|{row['kingdom']}|{row['type']}|{row['partition']}",
            row["sequence"],
            row["labels"],
        )
    ]
    file = "\r\n".join(lines).encode()
    assert len(file) == 3418786  # the size of the published file
    assert list(converters.signalp6_rows(file)) == [tuple(row.values()) for row in rows]


@pytest.mark.data
def test_secondary_structure_round_trip(real):
    rows = real("secondary_structure/secondary_structure.csv.gz")
    labels = [
        f">{row['id']} SET={row['split'].replace('valid', 'train')} VALIDATION={row['split'] == 'valid'}\n"
        f"{row['labels']}\n"
        for row in rows
    ]
    members = {
        "splits/sequences.fasta": "".join(f">{row['id']}\n{row['sequence']}\n" for row in rows),
        "splits/mask.fasta": "".join(f">{row['id']}\n{row['resolved']}\n" for row in rows),
        "splits/sampled.fasta": "".join(labels),
    }
    assert list(converters.secondary_structure_rows(zip_of(members))) == [tuple(row.values()) for row in rows]


@pytest.mark.data
def test_deeploc2_round_trip(real):
    rows = real("deeploc2/deeploc2.csv.gz")
    columns = ("", "ACC", "Kingdom", "Partition", "Membrane", *converters.LOCATIONS, "Sequence")

    def published(number, row):
        where = [str(float(name in row["locations"].split("|"))) for name in converters.LOCATIONS]
        return (
            str(number),
            row["accession"],
            row["kingdom"],
            row["partition"],
            row["membrane"],
            *where,
            row["sequence"],
        )

    file = csv_text(columns, [published(*pair) for pair in enumerate(rows)])
    assert list(converters.deeploc2_rows(file)) == [tuple(row.values()) for row in rows]
