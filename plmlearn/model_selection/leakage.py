"""What a split leaks, in numbers: ``leakage_report`` for proteins, ``pair_leakage`` for pairs.

``degree_scores`` predicts pairs from how often each protein interacts in training, and from nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from ..sequences.checked import checked, one_of
from ..sequences.columns import check_labels
from ..sequences.pairs import check_pair_rows
from ..sequences.structure import check_residues
from ..similarity import are_variants, find_nearest
from ..similarity.search import NearestMethod
from .graph import PairGraph
from .pairs import LEVELS

_THRESHOLDS = (0.3, 0.5, 0.9)


@dataclass(frozen=True)
class LeakageReport:
    """How close every test protein is to training; ``print`` it for a summary.

    Attributes
    ----------
    identity : ndarray of float, shape (n_test,)
        Share of identical residues in the alignment with the nearest training protein; 0 where none is found.
    coverage : ndarray of float, shape (n_test,)
        Share of the test protein that this alignment spans.
    nearest : ndarray of int, shape (n_test,)
        Row of that training protein; -1 where none is found.
    n_duplicates : int
        Test proteins that also occur, letter by letter, in training.

    See Also
    --------
    leakage_report : How close test proteins are to training.

    Examples
    --------
    >>> from plmlearn.model_selection import leakage_report
    >>> leakage_report(["MKTAYIAK"], ["MKTAYIAK"], method="exact").n_duplicates
    1
    """

    identity: np.ndarray
    coverage: np.ndarray
    nearest: np.ndarray
    n_duplicates: int

    def share_above(self, min_identity: float, coverage: float = 0.0) -> float:
        """Share of test proteins with a training protein at least that identical over at least that much."""
        return float(np.mean((self.identity >= min_identity) & (self.coverage >= coverage)))

    def __str__(self) -> str:
        shares = (f"  at least {t:.0%} identical to training: {self.share_above(t):.1%}" for t in _THRESHOLDS)
        head = f"{len(self.identity)} test proteins, {self.n_duplicates} of them in training"
        none = f"  without a similar protein in training: {np.mean(self.nearest < 0):.1%}"
        return "\n".join([head, *shares, none])


@checked(method=one_of(get_args(NearestMethod)))
def leakage_report(X_train: Any, X_test: Any, *, method: NearestMethod = "auto") -> LeakageReport:
    """Nearest training protein of every test protein, and how identical it is.

    Test proteins with a close relative in training do not show that a model generalises.

    Parameters
    ----------
    X_train, X_test : sequences, as of :func:`plmlearn.sequences.check_sequences`
    method : {"auto", "mmseqs", "exact", "hamming"}, default="auto"
        Nearest is the alignment of the most bits, see :func:`plmlearn.similarity.find_nearest`; or, with
        "hamming", the protein with the most equal positions. "auto" is that for variants of one protein.

    Returns
    -------
    LeakageReport

    See Also
    --------
    plmlearn.plotting.LeakageDisplay : Its picture.
    cluster_sequences : The clusters.
    plmlearn.similarity.find_nearest : The closest target of every query.

    Examples
    --------
    >>> from plmlearn.model_selection import leakage_report
    >>> train = ["MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ"]
    >>> test = [train[0], train[0][:-8] + "GGGGGGGG", "MSDNGPQNQRNAPRITFGGPSDSTGSNQNGERS"]
    >>> print(leakage_report(train, test, method="exact"))
    3 test proteins, 1 of them in training
      at least 30% identical to training: 66.7%
      at least 50% identical to training: 66.7%
      at least 90% identical to training: 66.7%
      without a similar protein in training: 33.3%
    """
    train, test = check_residues(X_train), check_residues(X_test)
    if method == "auto" and are_variants(train, test):
        method = "hamming"
    nearest = find_nearest(test, train, method=method).one_each(len(test))
    known = set(train)  # np.isin compares all pairs of objects
    n_duplicates = sum(sequence in known for sequence in test)
    return LeakageReport(nearest.identity, nearest.query_coverage, nearest.target, n_duplicates)


@dataclass(frozen=True)
class PairLeakage:
    """What test pairs share with training pairs; ``print`` it for a summary.

    Attributes
    ----------
    share_c1, share_c2, share_c3 : float
        Shares of test pairs of which both, one and no protein (or cluster) occurs in training.
    n_repeated : int
        Test pairs that are also training pairs, in either order.
    degree_bias : float or None
        Mean number of training pairs of the proteins in positive test pairs, over that in negative ones:
        1 = no bias. None without labels, or where no test protein occurs in training.
    degree_auroc, degree_aupr : float or None
        What the degrees of the proteins alone reach on the test pairs. Where the AUROC is well above 0.5, or
        the AUPR well above the share of positives, a model has to beat them to show that it has learned
        anything about interactions. None without labels.

    See Also
    --------
    pair_leakage : What test pairs share with training pairs.

    Examples
    --------
    >>> from plmlearn.model_selection import pair_leakage
    >>> pair_leakage([("MKT", "GSH")], [("MKT", "LED")]).share_c2
    1.0
    """

    share_c1: float
    share_c2: float
    share_c3: float
    n_repeated: int
    degree_bias: float | None = None
    degree_auroc: float | None = None
    degree_aupr: float | None = None

    def __str__(self) -> str:
        shares = (f"{level} {getattr(self, f'share_{level.lower()}'):.1%}" for level in LEVELS)
        lines = [f"test pairs by class: {', '.join(shares)}; {self.n_repeated} are training pairs"]
        if self.degree_auroc is not None:
            lines.append(f"degree alone: AUROC {self.degree_auroc:.3f}, AUPR {self.degree_aupr:.3f}")
        if self.degree_bias is not None:
            lines.append(f"degree of positive over negative test pairs: {self.degree_bias:.2f}")
        return "\n".join(lines)


@checked(clusters=[Mapping, None])
def pair_leakage(
    pairs_train: Any,
    pairs_test: Any,
    y_train: Any = None,
    y_test: Any = None,
    *,
    clusters: Mapping[Any, Any] | None = None,
) -> PairLeakage:
    """What test pairs share with training pairs, and how well that alone predicts their labels.

    Parameters
    ----------
    pairs_train, pairs_test : array of shape (n_pairs, 2), DataFrame with two columns, or list of 2-tuples
        Sequences or accessions; they are only compared, order within a pair does not matter.
    y_train, y_test : array of shape (n_pairs,), default=None
        0/1 labels, for the score of degree alone.
    clusters : mapping of protein to cluster, default=None
        To count clusters instead of proteins for the classes C1, C2 and C3.

    Returns
    -------
    PairLeakage

    See Also
    --------
    PairKFold : Folds of pairs.

    References
    ----------
    Park & Marcotte (2012), doi:10.1038/nmeth.2259; Bernett et al. (2024), doi:10.1093/bib/bbae076

    Examples
    --------
    >>> from plmlearn.model_selection import pair_leakage
    >>> print(pair_leakage([("A", "B"), ("C", "D")], [("A", "C"), ("B", "X"), ("X", "Y"), ("B", "A")]))
    test pairs by class: C1 50.0%, C2 25.0%, C3 25.0%; 1 are training pairs
    """
    train, test = check_pair_rows(pairs_train), check_pair_rows(pairs_test)
    graph, n = PairGraph.of(np.concatenate([train, test]), clusters=clusters), len(train)
    known = np.isin(graph.edges[n:], graph.edges[:n]).sum(axis=1)
    numbers = graph.pair_numbers()
    c1, c2, c3 = (float(np.mean(known == k)) for k in (2, 1, 0))
    n_repeated = int(np.isin(numbers[n:], numbers[:n]).sum())
    if y_train is None or y_test is None:
        return PairLeakage(c1, c2, c3, n_repeated)
    y_train, y_test = check_binary(y_train, n, "y_train"), check_binary(y_test, len(test), "y_test")
    scores = degree_scores(train, y_train, test)
    auroc, aupr = float(roc_auc_score(y_test, scores)), float(average_precision_score(y_test, scores))
    degree = np.bincount(graph.proteins[:n].ravel(), minlength=len(graph.names))
    negative, positive = (degree[graph.proteins[n:][y_test == label]].mean() for label in (0, 1))
    bias = float(positive / negative) if negative else None
    return PairLeakage(c1, c2, c3, n_repeated, bias, auroc, aupr)


def degree_scores(pairs_train: Any, y_train: Any, pairs_test: Any) -> np.ndarray:
    """Score of every test pair by how often its two proteins interact in training, (n_test,).

    A protein's score is the log odds of a positive label among its training pairs, shrunk to those of all
    pairs by one pseudo-pair; a protein outside training has the odds of all. A pair's score is the sum.
    """
    train, test = check_pair_rows(pairs_train), check_pair_rows(pairs_test)
    graph, n = PairGraph.of(np.concatenate([train, test])), len(train)
    y = check_binary(y_train, n, "y_train")
    ends, size = graph.proteins[:n].ravel(), len(graph.names)
    positives = np.bincount(ends, weights=np.repeat(y, 2), minlength=size) + y.mean()
    negatives = np.bincount(ends, weights=np.repeat(1 - y, 2), minlength=size) + 1 - y.mean()
    return np.log(positives / negatives)[graph.proteins[n:]].sum(axis=1)


def check_binary(y: Any, n_pairs: int, name: str) -> np.ndarray:
    """Labels as an array of 0 and 1 with both present, or a clear error."""
    y = check_labels(y, name, ("label per pair", n_pairs))
    if set(np.unique(y).tolist()) != {0, 1}:
        raise ValueError(f"{name} has the values {np.unique(y)[:5].tolist()}; expected both 0 and 1.")
    return y.astype(int)
