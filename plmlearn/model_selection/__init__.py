"""Splits that do not leak, as scikit-learn splitters, and reports on what leaks.

``cluster_sequences``                       families of similar proteins
``ClusterKFold``, ``ClusterShuffleSplit``   splits that share no family
``MutationOrderSplit``                      few mutations against many
``PositionKFold``                           variants that share no mutated position
``low_n_splits``                            few training variants
``read_groups``                             clusters that MMseqs2, GraphPart or DataSAIL has written
``make_folds``                              the folds that suit the data
``PairKFold``                               pairs that share both, one or no protein with training
``make_negatives``                          pairs not known to interact
``leakage_report``, ``pair_leakage``        what a split leaks, in numbers
"""

from .clusters import cluster_sequences
from .folds import Folds, make_folds
from .leakage import LeakageReport, PairLeakage, leakage_report, pair_leakage
from .negatives import make_negatives
from .pairs import PairKFold, PairWarning
from .positions import PositionKFold, low_n_splits
from .proteins import ClusterKFold, ClusterShuffleSplit, MutationOrderSplit
from .tables import read_groups

__all__ = [
    "ClusterKFold",
    "ClusterShuffleSplit",
    "Folds",
    "LeakageReport",
    "MutationOrderSplit",
    "PairKFold",
    "PairLeakage",
    "PairWarning",
    "PositionKFold",
    "cluster_sequences",
    "leakage_report",
    "low_n_splits",
    "make_folds",
    "make_negatives",
    "pair_leakage",
    "read_groups",
]
