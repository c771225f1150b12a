"""Sequences without targets: checked, parted, and what is held out of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..backbones import Backbone
from ..estimators.targets import check_length
from ..messages import warn
from ..model_selection.graph import check_clusters, number_clusters
from ..model_selection.holdout import hold_out_clusters, hold_out_rows, join_labels
from ..sequences import ALPHABET, SequenceError, check_sequences
from ..sequences.clean import first_few
from ..training.config import TrainingConfig
from .language_head import MaskedLanguageModel
from .likelihood import View, hide_parts, log_likelihoods
from .masking import Corpus, Masking


@dataclass(frozen=True)
class Unlabelled:
    """Clean sequences, and the families they belong to.

    Parameters
    ----------
    sequences : ndarray of str, shape (n_proteins,)
    groups : ndarray of shape (n_proteins,) or None
    rows : ndarray of int or None
        Which rows of the caller's X they were, where they are a part of it.
    """

    sequences: np.ndarray
    groups: np.ndarray | None
    rows: np.ndarray | None = None

    @classmethod
    def check(cls, X: Any, groups: Any, invalid: Any, name: str) -> Unlabelled:
        """From a caller's X, or one error."""
        sequences = check_sequences(X, invalid=invalid)
        check_predictable(sequences, name)
        if groups is not None:
            what = f"groups of {name}"
            groups = check_clusters(check_length(groups, len(sequences), what), sequences.shape, what)
        return cls(sequences, groups)

    def take(self, rows: np.ndarray) -> Unlabelled:
        """Some rows, which stay known."""
        groups = None if self.groups is None else self.groups[rows]
        return replace(self, sequences=self.sequences[rows], groups=groups, rows=rows)

    def split(self, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows to learn from and rows to hold out; no group and no sequence is in both."""
        labels = [] if self.groups is None else [number_clusters(self.groups, self.sequences.shape)]
        parts = join_labels(self.sequences, *labels)
        n_parts = parts.max() + 1
        if n_parts < 2:
            what = "distinct sequences" if labels == [] else "groups that share no sequence"
            raise ValueError(
                f"validation_fraction={fraction} holds a part of the {what} out, and there is {n_parts} in "
                "all; expected at least 2. Pass X_val, or validation_fraction=None to hold nothing out."
            )
        one_class = np.zeros(len(parts), dtype=int)
        if n_parts == len(parts):
            kept, out = hold_out_rows(one_class, fraction, seed)
        else:
            kept, out = hold_out_clusters(parts, one_class, fraction, seed)
        return np.sort(kept), np.sort(out)

    def warn_of_duplicates(self) -> None:
        """Say how many rows repeat an earlier one; they count as often as they come."""
        n_repeats = len(self.sequences) - len(set(self.sequences))
        if n_repeats:
            warn(
                f"{n_repeats} of {len(self.sequences)} sequences repeat an earlier one; each is learned from "
                "as often as it comes. Pass distinct sequences to weigh all alike."
            )

    def warn_of_repeats(self, training: Unlabelled) -> None:
        """Say how many held-out sequences are also learned from."""
        known = set(training.sequences)
        rows = [row for row, sequence in enumerate(self.sequences) if sequence in known]
        if rows:
            warn(
                f"{len(rows)} of {len(self.sequences)} sequences of X_val are also in X (X_val's rows "
                f"{first_few(rows)}): their loss says nothing about new sequences, but chooses the weights."
            )


def check_predictable(sequences: Sequence[str] | np.ndarray, name: str, rows: Any = None) -> None:
    """Raise where what is read of sequences has none of the 20 residues: there is nothing to predict.

    Parameters
    ----------
    sequences : sequence of str
        As far as they are read.
    name : str
        Of the caller's container.
    rows : sequence of int, optional
        Where they stand in it; None for all of it.
    """
    standard = set(ALPHABET)
    odd = [row for row, sequence in enumerate(sequences) if standard.isdisjoint(sequence)]
    if odd:
        odd = odd if rows is None else [int(rows[row]) for row in odd]
        raise SequenceError(
            f"{len(odd)} of {len(sequences)} sequences of {name} (rows {first_few(odd)}) hold none of the "
            f"20 residues {ALPHABET} where they are read, only X, B, O, U or Z: nothing to predict. Leave "
            "them out, or raise max_length.",
            odd,
        )


def frequencies(corpus: Corpus, backbone: Backbone) -> np.ndarray:
    """Share of each token of the vocabulary among all, none quite zero, (V,) float32."""
    counts = np.bincount(corpus.ids, minlength=backbone.config.vocab_size) + 0.5
    return (counts / counts.sum()).astype(np.float32)


class HeldOut:
    """Held-out sequences with the same residues hidden at every look.

    Parameters
    ----------
    held_out : Unlabelled
    backbone : Backbone
    masking : Masking
    config : TrainingConfig
    max_length : int
        Residues read of each sequence.
    """

    def __init__(
        self,
        held_out: Unlabelled,
        backbone: Backbone,
        masking: Masking,
        config: TrainingConfig,
        max_length: int,
    ):
        self.held_out, self.backbone, self.config = held_out, backbone, config
        read = [sequence[:max_length] for sequence in held_out.sequences]
        check_predictable(read, "X_val" if held_out.rows is None else "X held out", held_out.rows)
        self.corpus = Corpus(backbone, read)
        self.views: list[View] = hide_parts(self.corpus, masking, 0, n_parts=1)

    def loss(self, model: MaskedLanguageModel) -> float:
        """Mean cross-entropy of the hidden residues, in nats."""
        sums, counts = log_likelihoods(model, self.corpus, self.views, self.config)
        return float(-sums.sum() / counts.sum())

    def unigram_loss(self, training: Corpus, masking: Masking) -> float:
        """What the residue frequencies of the training sequences reach on the same residues."""
        shares = frequencies(training, self.backbone).astype(float)
        shares /= shares[list(masking.residues)].sum()
        hidden = np.concatenate([self.corpus[view.sequence][view.places] for view in self.views])
        return float(-np.log(shares[hidden]).mean())

    def by_part(self, model: MaskedLanguageModel) -> tuple[np.ndarray, dict]:
        """Mean loss of each sequence, and of each family where they are known."""
        sums, counts = log_likelihoods(model, self.corpus, self.views, self.config)
        groups = self.held_out.groups
        if groups is None:
            return -sums / counts, {}
        return -sums / counts, {
            group.item() if hasattr(group, "item") else group: float(
                -sums[groups == group].sum() / counts[groups == group].sum()
            )
            for group in np.unique(groups)
        }
