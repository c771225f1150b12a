"""Where each data set comes from and how its tables are verified: data, no behaviour.

- ``Table``: one CSV file of the data home, with its columns, checksum, download addresses and converter.
- ``TABLES``: all of them. A new data set is a new entry here, a ``fetch_`` function and a text in
  ``descriptions/``.
- ``description``: what a data set is, where it is published, its licence and the works to cite.

A checksum is the sha256 of the *uncompressed* CSV text, so it holds for what a user works with, whichever
archive it came in. Addresses are pinned to a commit where one is known; the checksum guards the others.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import converters
from .converters import GB1_SPLITS

_RAW = "https://raw.githubusercontent.com"
_FLIP = "https://github.com/J-SNACKKB/FLIP/raw"
_SETH = "https://github.com/DagmarIlz/SETH/archive/0c3917074c470e4513f05468869216e59383254f.zip"
_DEEPLOC = "https://services.healthtech.dtu.dk/services/DeepLoc-2.0/data"
_PROTEINBERT = f"{_RAW}/nadavbra/protein_bert/2090b78f09e70f0b960d7b591bf80d3d411c9d3f/protein_benchmarks"
_ESM = (
    f"{_RAW}/facebookresearch/esm/3d0a8a0d875f7c7166392457c15a94bdebb002dd/examples/variant-prediction/data"
)
_SIGNALP = f"{_RAW}/fteufel/signalp-6.0/c370386d0c5d42ac7a439ae351eb23e8c896d00b/data/train_set.fasta"


@dataclass(frozen=True, kw_only=True)
class Table:
    """One CSV table, gzipped, at ``path`` under the data home. Without ``urls`` it cannot be downloaded.

    ``numbers`` gives the type of the columns that are not text.
    """

    path: str
    columns: tuple[str, ...]
    sha256: str
    numbers: Mapping[str, type] = field(default_factory=dict)
    urls: tuple[str, ...] = ()
    convert: Callable[..., Iterable[converters.Row]] = lambda *files: ()
    name: str = ""

    @property
    def data_set(self) -> str:
        """Its name; with a slash, what stands before it."""
        return self.name.partition("/")[0]


def description(data_set: str) -> str:
    """The text that a Bunch carries as DESCR."""
    path = Path(__file__).parent / "descriptions" / f"{data_set}.txt"
    return path.read_text(encoding="utf-8").rstrip("\n")


_TABLES = {
    "gb1": Table(
        path="gb1/gb1.csv.gz",
        columns=("sequence", "target", *GB1_SPLITS),
        sha256="89317eefdb91716f6961d9353efd37bec9684d7b60db8f0b8a307f69e08028a9",
        numbers={"target": float},
        urls=(f"{_FLIP}/d5c35cc716ca93c3c74a0b43eef5b60cbf88521f/splits/gb1/splits.zip",),
        convert=converters.gb1_rows,
    ),
    "beta_lactamase": Table(
        path="dms/blat_ecolx.csv.gz",
        columns=("mutant", "sequence", "fitness", "fitness_625", "esm1v"),
        sha256="4531968a3183ab04cd665f9c63791c278823277ca2694673719d0376906ccb79",
        numbers={"fitness": float, "fitness_625": float, "esm1v": float},
        urls=(f"{_ESM}/BLAT_ECOLX_Ranganathan2015_labeled.csv",),
        convert=converters.beta_lactamase_rows,
    ),
    "stability": Table(
        path="stability/stability.csv.gz",
        columns=("sequence", "target", "split"),
        sha256="993f20e2df2f52afd27dbb9f20736d1899ecb2f820a6c0b0d8f924abbed95517",
        numbers={"target": float},
        urls=tuple(f"{_PROTEINBERT}/stability.{subset}.csv" for subset in ("train", "valid", "test")),
        convert=converters.stability_rows,
    ),
    "deeploc2/swissprot": Table(
        path="deeploc2/deeploc2.csv.gz",
        columns=("accession", "sequence", "locations", "membrane", "kingdom", "partition"),
        sha256="a2bfed900f0e0232fecab88bc14f3408fc5ebb597d25c403ffe79c2a0005de9c",
        numbers={"membrane": float, "partition": int},
        urls=(f"{_DEEPLOC}/Swissprot_Train_Validation_dataset.csv",),
        convert=converters.deeploc2_rows,
    ),
    "deeploc2/hpa": Table(
        path="deeploc2/hpa_test.csv.gz",
        columns=("accession", "sequence", "locations"),
        sha256="e7a5f0eb39d39520bea4a1e824949e47f30f6626c9fb73847629875adba8b2ff",
        urls=(f"{_DEEPLOC}/hpa_testset.csv",),
        convert=converters.hpa_rows,
    ),
    "secondary_structure": Table(
        path="secondary_structure/secondary_structure.csv.gz",
        columns=("id", "sequence", "labels", "resolved", "split"),
        sha256="887c39b8d285a14723c744315cf665b4112cc58dd6d93f7121f3aaf8bc8d0191",
        urls=(f"{_FLIP}/main/splits/secondary_structure/splits.zip",),
        convert=converters.secondary_structure_rows,
    ),
    "disorder": Table(
        path="disorder/chezod.csv.gz",
        columns=("id", "sequence", "z_scores", "split"),
        sha256="b55cd5e6d569407c6b64bfbc7232986aa24d2a05cd28e0250c9d8f7234618c45",
        urls=(_SETH,),
        convert=converters.chezod_rows,
    ),
    "signal_peptides": Table(
        path="signal_peptide/signalp6.csv.gz",
        columns=("accession", "sequence", "labels", "type", "kingdom", "partition"),
        sha256="6e3ab8678d0bf47ea93a588fa09e881f995e5695113f5c32c8b2d070219707ce",
        numbers={"partition": int},
        urls=(_SIGNALP,),
        convert=converters.signalp6_rows,
    ),
    "ppi/pairs": Table(
        path="ppi/pairs.csv.gz",
        columns=("id_a", "id_b", "label", "split"),
        sha256="700011257ec735d17dd6435cc8f7e01cf959566bb604c460cc55de4a7a468a0e",
        numbers={"label": int},
    ),
    "ppi/proteins": Table(
        path="ppi/proteins.csv.gz",
        columns=("id", "sequence"),
        sha256="64e2142dbd58c3cef19805b7daa3a0920ddef3932e436307ef2e7194167a9bec",
    ),
}
TABLES = {name: replace(table, name=name) for name, table in _TABLES.items()}
