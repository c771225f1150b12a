"""Public protein data sets, downloaded once and verified, and generators of synthetic ones."""

from .base import clear_data_home, get_data_home
from .fetch_protein import fetch_beta_lactamase, fetch_deeploc2, fetch_gb1, fetch_ppi, fetch_stability
from .fetch_residue import fetch_disorder, fetch_secondary_structure, fetch_signal_peptides
from .symmetry import SYMMETRY_CLASSES, load_symmetry, make_homo_oligomers, symmetry_class
from .synthetic import (
    make_mutational_landscape,
    make_protein_classification,
    make_protein_pairs,
    make_protein_regression,
    make_proteins,
    make_residue_labels,
)

__all__ = [
    "SYMMETRY_CLASSES",
    "clear_data_home",
    "fetch_beta_lactamase",
    "fetch_deeploc2",
    "fetch_disorder",
    "fetch_gb1",
    "fetch_ppi",
    "fetch_secondary_structure",
    "fetch_signal_peptides",
    "fetch_stability",
    "get_data_home",
    "load_symmetry",
    "make_homo_oligomers",
    "make_mutational_landscape",
    "make_protein_classification",
    "make_protein_pairs",
    "make_protein_regression",
    "make_proteins",
    "make_residue_labels",
    "symmetry_class",
]
