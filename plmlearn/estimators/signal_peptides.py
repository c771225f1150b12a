"""An estimator of signal peptides: their type, their regions and where they are cut off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from torch import Tensor, nn

from ..metrics import cleavage_site
from ..nn.encoders import PackedEncoder
from ..nn.ragged import Ragged
from ..nn.residue_heads import make_residue_head
from ..sequences import SequenceError, check_residue_targets, check_sequences
from ..sequences.containers import object_array
from ..training.engine import TrainingData
from .dataset import Dataset
from .residue import ResidueEstimator
from .scoring import make_score
from .shared_docs import SIGNAL_PARAMETERS
from .signal_paths import (
    KINGDOMS,
    PathLoss,
    SignalPeptideDecoder,
    SignalPeptideModel,
    SignalPeptideTarget,
    as_codes,
)
from .signal_states import (
    CHAINS,
    LETTERS,
    REGIONS,
    STATES,
    allowed_states,
    rows_without_path,
    starts,
    transitions,
)
from .targets import ClassTarget, check_class_y, check_length, check_weights
from .tuned import BasePLMEstimator, _Live


@dataclass(kw_only=True, eq=False, repr=False)
class PLMSignalPeptideClassifier(ClassifierMixin, ResidueEstimator):
    """Tune a protein language model to find signal peptides: their type, regions and cleavage site.

    A signal peptide at the start of a protein sends it out of the cell or into a membrane, and is cut off.
    The backbone gives one vector per residue, a head one score per state, and a conditional random field
    allows only what is biology: 37 states in six chains, one per type, each from the n-region through the
    hydrophobic core to the cleavage site and what lies behind it. The probability of a type is the summed
    probability of all paths through its chain; regions and site are those of the best path of that type.

    Parameters
    ----------
    {backbone}
    adapter : Adapter, optional
        How the backbone is tuned: ``LoRA()`` (the default), ``FullFineTuning()``, ``Frozen()``, …
    class_weight : dict, "balanced" or None, default=None
        Weight of each type in the loss; "balanced" weighs by inverse frequency.
    composition_weight : float, default=0.5
        Weight of the regulariser of SignalP 6: neighbouring regions shall differ in their amino acids. It is
        the cosine similarity of their expected compositions, beside the log-likelihood of a protein. 0
        leaves it out, and halves the time that the random field takes.
    ignore_label : str, optional
        Letter of ``regions`` for residues that were not measured.
    predict_output : {"label", "proba"}, default="label"
        What ``predict`` returns; "proba" is for ``cross_val_predict``, whose own ``method="predict_proba"``
        puts numbers in the place of the types, which have a meaning here.
    {shared}

    Attributes
    ----------
    classes_ : ndarray of shape (n_types,)
        Types of the training proteins, in the order of predict_proba's columns.
    {learned}

    Raises
    ------
    ValueError
        Types other than the six, or kingdoms other than the four.
    SequenceError
        Rows of ``X`` that are no protein sequences, regions of another length than their sequence, or that no
        protein of their type can have; all rows are named.

    Notes
    -----
    The regions n, h and c are not in the labels of public data. Training sums over all ways to place them
    that agree with the labels and with a few rules; :mod:`plmlearn.estimators.signal_states` tells which.

    References
    ----------
    Teufel et al. (2022), SignalP 6.0 predicts all five types of signal peptides using protein language
    models, doi:10.1038/s41587-021-01156-3

    Zeng, Wang and Xu (2024), Parameter-efficient fine-tuning on large protein language models improves signal
    peptide prediction, doi:10.1101/gr.279132.124

    Examples
    --------
    >>> from plmlearn import PLMSignalPeptideClassifier
    >>> X = ["MKRLLVLLALLLVAASAQADDETKPE", "MSTEEQKRNDPEEAGKDDSSQTEPR"] * 4
    >>> y = ["SP", "NO_SP"] * 4
    >>> regions = ["S" * 18 + "O" * 8, "I" * 25] * 4
    >>> clf = PLMSignalPeptideClassifier("mini", epochs=1, random_state=0).fit(X, y, regions=regions)
    >>> clf.predict_proba(X).shape, len(clf.predict_cleavage_site(X))
    ((8, 2), 8)
    """

    max_length: int = 70
    long_sequences: str = "truncate"
    class_weight: Any = None
    composition_weight: float = 0.5
    predict_output: str = "label"

    _SHARED: ClassVar[str] = SIGNAL_PARAMETERS
    _parameter_constraints: ClassVar[dict] = {
        "max_length": [Interval(Integral, 1, 10_000, closed="both")],
        "long_sequences": [StrOptions({"truncate"})],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "composition_weight": [Interval(Real, 0, None, closed="left")],
        "predict_output": [StrOptions({"label", "proba"})],
    }

    # -- fit ----------------------------------------------------------------------------------

    def fit(  # type: ignore[override]
        self,
        X: Any,
        y: Any,
        *,
        regions: Any = None,
        kingdom: Any = None,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        regions_val: Any = None,
        kingdom_val: Any = None,
        sample_weight_val: Any = None,
        groups: Any = None,
    ):
        """Tune the backbone, the head and the random field.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)
            Sequences from their first residue; ``max_length`` residues are read.
        y : array of shape (n_proteins,)
            NO_SP, SP (Sec/SPI), LIPO (Sec/SPII), TAT (Tat/SPI), TATLIPO (Tat/SPII) or PILIN (Sec/SPIII).
        regions : list of str or of arrays, one label per residue, optional
            S, L, T and P signal peptide (Sec/SPI, Sec/SPII, Tat, Sec/SPIII), I inside the cell, M in the
            membrane, O outside. Without them the model learns the types alone, and the cleavage site is a
            guess.
        kingdom : array of shape (n_proteins,), optional
            EUKARYA, ARCHAEA, POSITIVE or NEGATIVE (bacteria by Gram), None where it is not known: prior
            knowledge of which types a protein can have.
        sample_weight : array of shape (n_proteins,), optional
            Weight of each protein in the loss; proteins of weight 0 are left out.
        X_val, y_val, regions_val, kingdom_val, sample_weight_val : optional
            A validation set of one's own; the epoch that is best on it is kept.
        groups : array of shape (n_proteins,), optional
            Clusters that the inner validation split must not cut (with ``early_stopping``).

        Returns
        -------
        self
        """
        self._validate_params()
        labelled = self._check_labelled(X, y, sample_weight, groups, regions, kingdom)
        extras = {"regions": regions_val, "kingdom": kingdom_val}
        return self._fit_to(labelled, self._check_validation(X_val, y_val, sample_weight_val, **extras))

    def _check_labelled(  # type: ignore[override]
        self, X: Any, y: Any, sample_weight: Any, groups: Any = None, regions: Any = None, kingdom: Any = None
    ) -> Dataset:
        sequences, _ = self._prepare(X)
        y = _check_types(y, len(sequences))
        weights = check_weights(sample_weight, len(sequences))
        if groups is not None:
            groups = check_length(groups, len(sequences), "groups")
        states = self._allowed_states(X, sequences, y, regions)
        extras = {"states": object_array(states), "kingdom": _check_kingdoms(kingdom, len(sequences))}
        return Dataset(sequences, y, weights, groups, 0, extras).take(np.flatnonzero(weights))

    def _allowed_states(self, X: Any, sequences: np.ndarray, y: np.ndarray, regions: Any) -> list[np.ndarray]:
        """States that each residue may be in by type and labels, or one error."""
        labels: list = [None] * len(y)
        if regions is not None:
            rows = check_residue_targets(regions, X, ignore_label=self.ignore_label)
            labels = [np.ma.filled(row.astype(object), "")[: self.max_length] for row in rows]
        states = [allowed_states(*row) for row in zip(sequences, y, labels, strict=True)]
        lost = rows_without_path(states)
        if lost:
            shown = "; ".join(f"row {row}, a protein of type {y[row]}" for row in lost[:10])
            raise SequenceError(
                f"The regions of {len(lost)} proteins are none that their type can have: {shown}. A signal "
                "peptide (S, L, T or P by its type) begins at the first residue and is followed by O; a "
                "protein of type NO_SP has I, M and O. Correct them, or leave those proteins out.",
                lost,
            )
        return states

    def _prepare(self, X: Any) -> tuple[np.ndarray, int]:
        """The starts of clean sequences; that the rest is not read is no loss."""
        sequences = check_sequences(X, invalid=self.invalid)
        return np.array([sequence[: self.max_length] for sequence in sequences], dtype=object), 0

    def _make_model(self, encoder: PackedEncoder, n_outputs: int) -> nn.Module:
        head = make_residue_head(self.head, encoder.width, len(STATES), self.head_hidden, self.head_dropout)
        return SignalPeptideModel(encoder, head)

    def _learn_target(self, y: np.ndarray) -> SignalPeptideTarget:  # type: ignore[override]
        return SignalPeptideTarget(ClassTarget.learn(y).classes)

    def _encode(self, live: _Live, target: SignalPeptideTarget, labelled: Dataset) -> TrainingData:  # type: ignore[override]
        target.encode(labelled.y)  # refuses types that training did not have
        known = zip(labelled.extras["states"], labelled.sequences, labelled.extras["kingdom"], strict=True)
        targets = Ragged.of([as_codes(*row) for row in known])
        sizes = np.array(targets.lengths, dtype=np.float64)
        weights = labelled.weights * compute_sample_weight(self.class_weight, labelled.y)
        weights = (weights / np.average(weights, weights=sizes)).astype(np.float32)
        return TrainingData(self._inputs(live, labelled.sequences), targets, weights, sizes)

    def _make_loss(self, live: _Live, target: SignalPeptideTarget) -> Callable[[Ragged, Ragged], Tensor]:  # type: ignore[override]
        live.model.crf.constrain(
            transitions(), starts(target.classes.tolist()), np.ones(len(STATES), dtype=bool)
        )
        return PathLoss(live.model, self.composition_weight)

    def _scorer(self, live: _Live, target: SignalPeptideTarget, validation: Dataset | None):  # type: ignore[override]
        if self.scoring is None or validation is None:
            return None
        reading = SignalPeptideDecoder(live.model, target, validation.extras["kingdom"])
        return make_score(self, reading, validation, self.scoring)

    # -- predict ------------------------------------------------------------------------------

    @property
    def classes_(self) -> np.ndarray:
        """Types, in the order of ``predict_proba``'s columns."""
        if not hasattr(self, "_target"):
            raise AttributeError(f"{type(self).__name__} is not fitted yet")
        return self._target.classes

    def predict(self, X: Any, kingdom: Any = None) -> np.ndarray:
        """The most probable type of each protein.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)
        kingdom : array of shape (n_proteins,), optional

        Returns
        -------
        ndarray of shape (n_proteins,)
        """
        if self.predict_output == "proba":
            return self.predict_proba(X, kingdom)
        reading, outputs = self._read(X, kingdom)
        return reading.decode(outputs)

    def predict_proba(self, X: Any, kingdom: Any = None) -> np.ndarray:
        """Probability of each type.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)
        kingdom : array of shape (n_proteins,), optional

        Returns
        -------
        ndarray of shape (n_proteins, n_types)
            Rows add up to 1.
        """
        reading, outputs = self._read(X, kingdom)
        return reading.probabilities(outputs)

    def predict_regions(self, X: Any, kingdom: Any = None, *, detailed: bool = False) -> np.ndarray:
        """Label of every residue read, on the most probable path of the predicted type.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)
        kingdom : array of shape (n_proteins,), optional
        detailed : bool, default=False
            Tell n-, h- and c-regions, twin arginines and lipoboxes apart, by the letters of
            :mod:`plmlearn.estimators.signal_states`; else signal peptides are S, L, T or P throughout.

        Returns
        -------
        ndarray of shape (n_proteins,), dtype object
            One string for the first ``max_length`` residues of each protein.
        """
        reading, outputs = self._read(X, kingdom)
        letters = REGIONS if detailed else LETTERS
        return object_array(["".join(letters[path]) for path in reading.paths(outputs)])

    def predict_region_proba(
        self, X: Any, kingdom: Any = None, *, detailed: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Probability of each label at every residue read: marginals of the random field.

        Parameters
        ----------
        X, kingdom, detailed
            As in :meth:`predict_regions`.

        Returns
        -------
        probabilities : ndarray of shape (n_proteins,), dtype object
            One array (L, n_labels) per protein; rows add up to 1.
        labels : ndarray of shape (n_labels,)
            Letters of the columns.
        """
        reading, outputs = self._read(X, kingdom)
        letters = REGIONS if detailed else LETTERS
        labels = np.unique(letters)
        belongs = (letters[:, None] == labels).astype(float)
        return object_array([row.numpy() @ belongs for row in reading.states(outputs).rows]), labels

    def predict_cleavage_site(self, X: Any, kingdom: Any = None) -> np.ndarray:
        """Where signal peptides are cut off, on the most probable path of the predicted type.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)
        kingdom : array of shape (n_proteins,), optional

        Returns
        -------
        ndarray of int, shape (n_proteins,)
            Number, from 1, of the residue after which a protein is cut; 0 where there is no signal peptide.
        """
        return np.array([cleavage_site(regions)[0] for regions in self.predict_regions(X, kingdom)])

    def _read(self, X: Any, kingdom: Any) -> tuple[SignalPeptideDecoder, Ragged]:
        live = self._restored()
        outputs = BasePLMEstimator._outputs(self, X)
        return SignalPeptideDecoder(live.model, self._target, _check_kingdoms(kingdom, len(outputs))), outputs


def _check_types(y: Any, n_rows: int) -> np.ndarray:
    y = check_class_y(y, n_rows)
    unknown = sorted({str(kind) for kind in np.ravel(y).tolist()} - set(CHAINS))
    if unknown or y.ndim > 1:
        raise ValueError(
            f"y has the types {unknown[:5]}; expected one of {', '.join(CHAINS)} for each protein."
        )
    return y


def _check_kingdoms(kingdom: Any, n_rows: int) -> np.ndarray:
    """Index of each protein's kingdom, -1 where it is not known."""
    if kingdom is None:
        return np.full(n_rows, -1)
    place = {name: i for i, name in enumerate(KINGDOMS)} | {None: -1}
    names = check_length(kingdom, n_rows, "kingdom").tolist()
    unknown = sorted({str(name) for name in names} - {str(name) for name in place})
    if unknown:
        raise ValueError(
            f"kingdom has {unknown[:5]}; expected {', '.join(KINGDOMS)}, or None for each protein."
        )
    return np.array([place[name] for name in names])
