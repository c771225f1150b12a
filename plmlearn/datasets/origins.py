"""What each data set is, where it comes from and how its tables are verified: data, no behaviour.

- ``Table``: one CSV file of the data home, with its columns, checksum, download addresses and converter.
- ``Origin``: one data set: its tables, what it measures, its licence and the works to cite.
- ``ORIGINS``: the data sets by name. A new data set is a new entry here and one ``fetch_`` function.

A checksum is the sha256 of the *uncompressed* CSV text, so it holds for what a user works with, whichever
archive it came in. Addresses are pinned to a commit where one is known; the checksum guards the others.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from . import converters
from .converters import GB1_SPLITS

_GITHUB = "https://github.com"
_RAW = "https://raw.githubusercontent.com"
_FLIP = f"{_GITHUB}/J-SNACKKB/FLIP"
_DTU = "https://services.healthtech.dtu.dk/services"
_PROTEINBERT = f"{_RAW}/nadavbra/protein_bert/2090b78f09e70f0b960d7b591bf80d3d411c9d3f/protein_benchmarks"


@dataclass(frozen=True, kw_only=True)
class Table:
    """One CSV table, gzipped, at ``path`` under the data home. Without ``urls`` it cannot be downloaded."""

    path: str
    columns: tuple[str, ...]
    sha256: str
    urls: tuple[str, ...] = ()
    convert: Callable[..., Iterable[converters.Row]] = lambda *files: ()


@dataclass(frozen=True, kw_only=True)
class Origin:
    """One data set; ``tables`` by the name its fetcher asks for."""

    name: str
    about: str
    published: str
    licence: str
    citation: str
    tables: dict[str, Table]

    @property
    def description(self) -> str:
        """The text that a Bunch carries as DESCR."""
        parts = (
            self.about,
            f"Published at: {self.published}",
            f"Licence: {self.licence}",
            f"Cite: {self.citation}",
        )
        return "\n\n".join(parts)


_ALL = (
    Origin(
        name="gb1",
        about="Fitness (binding to IgG-Fc and stability together) of 8,733 variants of protein G domain B1, "
        "mutated at four sites (V39, D40, G41, V54), with the five splits of the FLIP benchmark. 265 "
        "residues.",
        published=f"{_FLIP}/tree/main/splits/gb1",
        licence="measurements CC BY 4.0, splits AFL-3.0",
        citation="Wu et al. 2016, doi:10.7554/eLife.16965; Dallago et al. 2021, "
        "doi:10.1101/2021.11.09.467890",
        tables={
            "gb1": Table(
                path="gb1/gb1.csv.gz",
                columns=("sequence", "target", *GB1_SPLITS),
                sha256="89317eefdb91716f6961d9353efd37bec9684d7b60db8f0b8a307f69e08028a9",
                urls=(f"{_FLIP}/raw/d5c35cc716ca93c3c74a0b43eef5b60cbf88521f/splits/gb1/splits.zip",),
                convert=converters.gb1_rows,
            )
        },
    ),
    Origin(
        name="stability",
        about="Stability of designed mini-proteins (43 to 50 residues) against proteases: the difference, "
        "in powers of ten, between the concentrations of protease at which half of the protein is cut and "
        "at which the unfolded chain would be. Train 53,614, valid 2,512, test 12,851 (one-mutation "
        "neighbours of 17 designs). 26 sequences are in both train and test, as published.",
        published=f"{_GITHUB}/nadavbra/protein_bert/tree/master/protein_benchmarks",
        licence="MIT (as redistributed by ProteinBERT)",
        citation="Rocklin et al. 2017, doi:10.1126/science.aan0693; Rao et al. 2019, arXiv:1906.08230; "
        "Brandes et al. 2022, doi:10.1093/bioinformatics/btac020",
        tables={
            "stability": Table(
                path="stability/stability.csv.gz",
                columns=("sequence", "target", "split"),
                sha256="993f20e2df2f52afd27dbb9f20736d1899ecb2f820a6c0b0d8f924abbed95517",
                urls=tuple(f"{_PROTEINBERT}/stability.{subset}.csv" for subset in ("train", "valid", "test")),
                convert=converters.stability_rows,
            )
        },
    ),
    Origin(
        name="deeploc2",
        about="Subcellular location of eukaryotic proteins, ten locations of which a protein may have "
        "several, and whether it is bound to a membrane. 28,303 proteins of Swiss-Prot in five homology "
        "partitions, and an independent set of 1,717 human proteins located by microscopy (Human Protein "
        "Atlas).",
        published=f"{_DTU}/DeepLoc-2.0/",
        licence="derived from UniProt, CC BY 4.0",
        citation="Thumuluri et al. 2022, doi:10.1093/nar/gkac278",
        tables={
            "swissprot": Table(
                path="deeploc2/deeploc2.csv.gz",
                columns=("accession", "sequence", "locations", "membrane", "kingdom", "partition"),
                sha256="a2bfed900f0e0232fecab88bc14f3408fc5ebb597d25c403ffe79c2a0005de9c",
                urls=(f"{_DTU}/DeepLoc-2.0/data/Swissprot_Train_Validation_dataset.csv",),
                convert=converters.deeploc2_rows,
            ),
            "hpa": Table(
                path="deeploc2/hpa_test.csv.gz",
                columns=("accession", "sequence", "locations"),
                sha256="e7a5f0eb39d39520bea4a1e824949e47f30f6626c9fb73847629875adba8b2ff",
                urls=(f"{_DTU}/DeepLoc-2.0/data/hpa_testset.csv",),
                convert=converters.hpa_rows,
            ),
        },
    ),
    Origin(
        name="secondary_structure",
        about="Secondary structure of every residue in three states (H helix, E strand, C other) from "
        "crystal structures, with a mark for the residues that the structure does not resolve. Train 9,712 "
        "and valid 1,080 proteins of NetSurfP-2.0, test 364 newer proteins (NEW364).",
        published=f"{_FLIP}/tree/main/splits/secondary_structure",
        licence="AFL-3.0",
        citation="Klausen et al. 2019, doi:10.1002/prot.25674; Elnaggar et al. 2021, "
        "doi:10.1109/TPAMI.2021.3095381; Dallago et al. 2021, doi:10.1101/2021.11.09.467890",
        tables={
            "secondary_structure": Table(
                path="secondary_structure/secondary_structure.csv.gz",
                columns=("id", "sequence", "labels", "resolved", "split"),
                sha256="887c39b8d285a14723c744315cf665b4112cc58dd6d93f7121f3aaf8bc8d0191",
                urls=(f"{_FLIP}/raw/main/splits/secondary_structure/splits.zip",),
                convert=converters.secondary_structure_rows,
            )
        },
    ),
    Origin(
        name="disorder",
        about="Disorder of every residue as CheZOD Z-score: how far its NMR chemical shifts lie from those "
        "of a random coil; below 8 is disordered. Train 1,174, test 117 proteins; ids are BMRB entries.",
        published=f"{_GITHUB}/DagmarIlz/SETH/tree/main/datasets",
        licence="not stated by the publisher",
        citation="Nielsen and Mulder 2019, doi:10.1038/s41598-019-41644-w; Dass et al. 2020, "
        "doi:10.1038/s41598-020-71716-1; Ilzhöfer et al. 2022, doi:10.3389/fbinf.2022.1019597",
        tables={
            "disorder": Table(
                path="disorder/chezod.csv.gz",
                columns=("id", "sequence", "z_scores", "split"),
                sha256="b55cd5e6d569407c6b64bfbc7232986aa24d2a05cd28e0250c9d8f7234618c45",
                urls=(f"{_GITHUB}/DagmarIlz/SETH/archive/0c3917074c470e4513f05468869216e59383254f.zip",),
                convert=converters.chezod_rows,
            )
        },
    ),
    Origin(
        name="signal_peptides",
        about="Signal peptides: the first residues (at most 70) of 20,290 proteins, each with one of six "
        "types (no signal peptide or one of five kinds of it) and a label per residue, in three homology "
        "partitions.",
        published=f"{_DTU}/SignalP-6.0/",
        licence="MIT (as redistributed by PEFT-SP)",
        citation="Teufel et al. 2022, doi:10.1038/s41587-021-01156-3; Zeng et al. 2023, "
        "doi:10.1101/2023.11.04.565642",
        tables={
            "signal_peptides": Table(
                path="signal_peptide/signalp6.csv.gz",
                columns=("accession", "sequence", "labels", "type", "kingdom", "partition"),
                sha256="6e3ab8678d0bf47ea93a588fa09e881f995e5695113f5c32c8b2d070219707ce",
                urls=(
                    ""
                    f"{_RAW}/fteufel/signalp-6.0/c370386d0c5d42ac7a439ae351eb23e8c896d00b/data/train_set.fasta",
                ),
                convert=converters.signalp6_rows,
            )
        },
    ),
    Origin(
        name="ppi",
        about="Protein-protein interaction: pairs of human proteins (51 to 1,013 residues) that interact or "
        "not, the gold standard of Bernett et al. without its longer proteins. No protein is in two of "
        "train (92,806 pairs), valid (44,578) and test (39,575), and similarity between them is as low as "
        "it can be made.",
        published="https://doi.org/10.6084/m9.figshare.21591618 (pair lists Intra1: train, Intra0: valid, "
        "Intra2: test, and human_swissprot_oneliner.fasta)",
        licence="see the page of the publication",
        citation="Bernett et al. 2024, doi:10.1093/bib/bbae076",
        tables={
            "pairs": Table(
                path="ppi/pairs.csv.gz",
                columns=("id_a", "id_b", "label", "split"),
                sha256="700011257ec735d17dd6435cc8f7e01cf959566bb604c460cc55de4a7a468a0e",
            ),
            "proteins": Table(
                path="ppi/proteins.csv.gz",
                columns=("id", "sequence"),
                sha256="64e2142dbd58c3cef19805b7daa3a0920ddef3932e436307ef2e7194167a9bec",
            ),
        },
    ),
)

ORIGINS = {origin.name: origin for origin in _ALL}
