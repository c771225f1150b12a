"""Scores of proteins, residues and signal peptides, and scikit-learn scorers of them.

``classification_table``, ``class_table``                       all scores of classes at once
``specificity_score``, ``macro_average_precision``, ...         one score
``spearman_score``                                              regression
``ndcg_score``, ``top_recall``, ...                             the top of a ranking of variants
``residue_accuracy``, ``residue_spearman``, ...                 one entry per residue
``segment_overlap``                                             secondary structure as segments
``signal_peptide_table``, ``cleavage_precision``, ...           signal peptides
``SCORERS``, ``get_scorer``                                     scorers by name, for ``scoring=``
"""

from .classification import (
    class_table,
    classification_table,
    expected_calibration_error,
    macro_average_precision,
    precision_at_recall,
    specificity_score,
)
from .residues import residue_accuracy, residue_mcc, residue_spearman, residue_table
from .scorers import SCORERS, get_scorer, spearman_score
from .segments import segment_overlap
from .signal_peptides import (
    cleavage_mcc,
    cleavage_precision,
    cleavage_recall,
    cleavage_site,
    signal_peptide_table,
)
from .variants import ndcg_score, spearman_by_mutations, top_precision, top_recall

__all__ = [
    "SCORERS",
    "class_table",
    "classification_table",
    "cleavage_mcc",
    "cleavage_precision",
    "cleavage_recall",
    "cleavage_site",
    "expected_calibration_error",
    "get_scorer",
    "macro_average_precision",
    "ndcg_score",
    "precision_at_recall",
    "residue_accuracy",
    "residue_mcc",
    "residue_spearman",
    "residue_table",
    "segment_overlap",
    "signal_peptide_table",
    "spearman_by_mutations",
    "spearman_score",
    "specificity_score",
    "top_precision",
    "top_recall",
]
