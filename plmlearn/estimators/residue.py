"""Estimators with one prediction per residue: a class, or numbers.

A protein's labels are a string ("HHHEC") or an array, its values an array; what was not measured is masked,
nan or ``ignore_label``. scikit-learn's machinery for classifiers needs one label per row, so a residue
classifier is none of its classifiers: its tools see an estimator with a ``score`` of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import StrOptions
from torch import Tensor, nn

from ..adapters import Adapter, LoRA
from ..metrics import residue_spearman
from ..nn.chain_scores import UNKNOWN
from ..nn.crf import LinearChainCRF
from ..nn.encoders import PackedEncoder
from ..nn.models import ResidueModel
from ..nn.ragged import Ragged
from ..nn.residue_heads import RESIDUE_HEADS, make_residue_head
from ..sequences import check_sequences
from ..sequences.containers import object_array
from ..training.batching import Batch, TokenizedSequences
from ..training.engine import TrainingData
from ..training.inference import infer
from .dataset import Dataset
from .residue_targets import (
    ResidueClassTarget,
    ResidueTarget,
    ResidueValueTarget,
    Rows,
    check_residue_y,
    require_measured,
)
from .scoring import make_score
from .shared_docs import RESIDUE_PARAMETERS, RESIDUE_WORDS
from .targets import check_length, check_weights
from .tuned import BasePLMEstimator, _Live


@dataclass(frozen=True)
class _Reading:
    """How a classifier's outputs become labels and probabilities."""

    model: ResidueModel
    target: ResidueClassTarget

    @property
    def classes(self) -> np.ndarray:
        return self.target.classes

    def decode(self, outputs: Ragged) -> np.ndarray:
        return self.target.decode(self.model.labels(outputs))

    def probabilities(self, outputs: Ragged) -> np.ndarray:
        return object_array([row.numpy() for row in self.model.probabilities(outputs).rows])


@dataclass(kw_only=True, eq=False, repr=False)
class ResidueEstimator(BasePLMEstimator):
    """What residue estimators share; see the concrete classes."""

    adapter: Adapter | None = None
    head: str = "linear"
    long_sequences: str = "window"
    ignore_label: Any = None

    _SHARED: ClassVar[str] = RESIDUE_PARAMETERS
    _WORDS: ClassVar[Mapping[str, str]] = RESIDUE_WORDS
    _ARCHITECTURE: ClassVar[tuple[str, ...]] = (*BasePLMEstimator._ARCHITECTURE, "adapter")
    _parameter_constraints: ClassVar[dict] = {
        "adapter": [Adapter, None],
        "head": [StrOptions(set(RESIDUE_HEADS) - {"crf"})],
        "ignore_label": "no_validation",
    }
    _KIND: ClassVar[str]

    def _make_adapter(self) -> Adapter:
        return LoRA() if self.adapter is None else self.adapter

    def _make_model(self, encoder: PackedEncoder, n_outputs: int) -> nn.Module:
        head = make_residue_head(self.head, encoder.width, n_outputs, self.head_hidden, self.head_dropout)
        return ResidueModel(encoder, head, LinearChainCRF(n_outputs) if self.head == "crf" else None)

    # -- fit ----------------------------------------------------------------------------------

    def _check_y(self, y: Any, n_rows: int) -> np.ndarray:
        raise NotImplementedError("targets per residue are checked against their sequences")

    def _check_labelled(self, X: Any, y: Any, sample_weight: Any, groups: Any = None) -> Dataset:
        sequences, n_truncated = self._prepare(X)
        weights = check_weights(sample_weight, len(sequences))
        whole = check_residue_y(y, X, kind=self._KIND, ignore_label=self.ignore_label)
        read = object_array([row[: len(sequence)] for row, sequence in zip(whole, sequences, strict=True)])
        require_measured(read, np.flatnonzero(weights))
        if groups is not None:
            groups = check_length(groups, len(sequences), "groups")
        return Dataset(sequences, read, weights, groups, n_truncated).take(np.flatnonzero(weights))

    def _encode(self, live: _Live, target: ResidueTarget, labelled: Dataset) -> TrainingData:  # type: ignore[override]
        targets = target.encode(labelled.y)
        sizes, weights = target.sizes(targets), labelled.weights
        weights = (weights / np.average(weights, weights=sizes)).astype(np.float32)
        return TrainingData(self._inputs(live, labelled.sequences), targets, weights, sizes)

    _SCALE_SAMPLE: ClassVar[int] = 2**15  # residues

    def _learn_scale(self, live: _Live, inputs: TokenizedSequences) -> None:
        rows = np.random.default_rng(live.plan.seed).permutation(len(inputs))
        enough = int(np.searchsorted(np.cumsum(inputs.n_residues[rows]), self._SCALE_SAMPLE)) + 1
        live.model.scaler.learn(self._embedded(live, inputs, np.sort(rows[:enough])).values)

    def _embedded(self, live: _Live, inputs: TokenizedSequences, rows: np.ndarray | None = None) -> Ragged:
        live.model.eval()

        def embed(batch: Batch) -> Ragged:
            return live.model.embed(batch.tokens).take(batch.sequence_of_row.tolist())

        return infer(embed, inputs, live.plan, rows=rows)

    # -- predict ------------------------------------------------------------------------------

    def _outputs(self, X: Any) -> Ragged:
        """Outputs for every residue; of those that were cut off, what is known without the sequence."""
        return self._lengthened(super()._outputs(X), X, torch.from_numpy(self._target.unread()))

    def _lengthened(self, read: Ragged, X: Any, unread: Tensor) -> Ragged:
        lengths = [len(sequence) for sequence in check_sequences(X, invalid=self.invalid)]
        if lengths == read.lengths:
            return read
        return Ragged.of(
            [torch.cat([row, unread.expand(n - len(row), -1)]) for row, n in zip(read.rows, lengths)]
        )

    def transform(self, X: Any) -> np.ndarray:
        """Residue embeddings of the tuned backbone.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        ndarray of shape (n_proteins,), dtype object
            One float32 array of shape (L, width) per protein; nan for residues that
            ``long_sequences="truncate"`` cut off.
        """
        live = self._restored()
        read = self._embedded(live, self._inputs(live, self._prepare(X)[0]))
        whole = self._lengthened(read, X, torch.full((live.model.encoder.width,), torch.nan))
        return object_array([row.numpy() for row in whole.rows])


@dataclass(kw_only=True, eq=False, repr=False)
class PLMResidueClassifier(ResidueEstimator):
    """Tune a protein language model to label every residue of a protein.

    For secondary structure, topology, binding sites or any other state per residue. The backbone gives one
    vector per residue, a head turns it into one score per class, and with ``head="crf"`` the labels of
    neighbours are scored together.

    Parameters
    ----------
    {backbone}
    adapter : Adapter, optional
        How the backbone is tuned: ``LoRA()`` (the default), ``FullFineTuning()``, ``Frozen()``, …
    ignore_label : label, optional
        Entry of ``y`` for residues that were not measured, such as "-". Masked entries, None and nan always
        are.
    class_weight : dict, "balanced" or None, default=None
        Weight of each class in the loss; "balanced" weighs by inverse frequency among the residues. Not with
        a CRF, whose loss is that of whole proteins.
    constraints : "infer", mapping or None, default=None
        For ``head="crf"``: which labels may follow one another, begin and end a protein. "infer" allows
        exactly what the training labels show. A mapping holds some of "transitions" (pairs of labels),
        "starts" and "ends" (labels); what it lacks is free. None allows everything.
    predict_output : {"label", "proba"}, default="label"
        What ``predict`` returns; "proba" is for ``cross_val_predict``, whose own ``method="predict_proba"``
        cannot handle proteins of different lengths.
    {shared}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, in the order of predict_proba's columns.
    {learned}

    Raises
    ------
    SequenceError
        Rows of ``X`` that are no protein sequences, labels of another length than their sequence, proteins
        without a measured residue, labels that break the constraints; all rows are named.
    {diverged}

    Notes
    -----
    Every measured residue of an optimiser step weighs the same, whatever protein it is in, and however the
    step is cut to fit memory. Cost: one forward pass and, in the adapted layers, one backward pass per
    protein and epoch. With ``adapter=Frozen()`` each protein is embedded once, as far as the cache has room.

    References
    ----------
    Schmirler, Heinzinger and Rost, Fine-tuning protein language models boosts predictions across diverse
    tasks, Nature Communications 2024, doi:10.1038/s41467-024-51844-2

    Examples
    --------
    >>> from plmlearn import PLMResidueClassifier
    >>> from plmlearn.datasets import make_residue_labels
    >>> X, y = make_residue_labels(20, missing=0.1, median_length=40, max_length=60, random_state=0)
    >>> clf = PLMResidueClassifier("mini", ignore_label="-", epochs=2, random_state=0).fit(X, y)
    >>> len(clf.predict(X)[0]) == len(X[0])
    True
    """

    head: str = "linear"
    class_weight: Any = None
    constraints: Any = None
    predict_output: str = "label"

    _KIND: ClassVar[str] = "labels"
    _parameter_constraints: ClassVar[dict] = {
        "head": [StrOptions(set(RESIDUE_HEADS))],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "constraints": [Mapping, StrOptions({"infer"}), None],
        "predict_output": [StrOptions({"label", "proba"})],
    }

    def _learn_target(self, y: Rows) -> ResidueClassTarget:
        if self.head == "crf" and self.class_weight is not None:
            raise ValueError(
                "class_weight weighs residues, and a CRF scores whole proteins; pass class_weight=None, and "
                "sample_weight where some proteins should count for more."
            )
        if self.head != "crf" and self.constraints is not None:
            raise ValueError(f"constraints are those of a CRF; pass head='crf', got head={self.head!r}.")
        return ResidueClassTarget.learn(y, self.class_weight, self.constraints)

    def _make_loss(self, live: _Live, target: ResidueClassTarget) -> Callable[[Ragged, Ragged], Tensor]:  # type: ignore[override]
        crf = live.model.crf
        if crf is None:
            return target.loss
        if target.constraints is not None:
            crf.constrain(**target.constraints)

        def loss(outputs: Ragged, targets: Ragged) -> Tensor:
            emissions, mask = outputs.padded()
            return -crf.log_likelihood(emissions, targets.padded()[0], mask)

        return loss

    def _scorer(self, live: _Live, target: ResidueClassTarget, validation: Dataset | None):  # type: ignore[override]
        if self.scoring is None or validation is None:
            return None
        return make_score(self, _Reading(live.model, target), validation, self.scoring)

    @property
    def classes_(self) -> np.ndarray:
        """Labels, in the order of ``predict_proba``'s columns."""
        if not hasattr(self, "_target"):
            raise AttributeError(f"{type(self).__name__} is not fitted yet")
        return self._target.classes

    def predict(self, X: Any) -> np.ndarray:
        """The label of every residue: the most probable one, or that on the most probable path of a CRF.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        ndarray of shape (n_proteins,), dtype object
            As ``y`` was in ``fit``: one string per protein, or one array; as long as its (clean) sequence.
            Residues that ``long_sequences="truncate"`` cut off get the most frequent training label, or what
            the CRF makes of the frequencies. With ``predict_output="proba"`` what ``predict_proba`` returns.
        """
        return self.predict_proba(X) if self.predict_output == "proba" else self._labels(X)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each label at each residue; of a CRF the marginals.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        ndarray of shape (n_proteins,), dtype object
            One float64 array of shape (L, n_classes) per protein; its rows add up to 1.
        """
        return self._reading().probabilities(self._outputs(X))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of measured residues whose label is right: Q3 of three states.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)
        y : list or array of targets, one str or array per protein
        sample_weight : array-like of shape (n_proteins,), optional
            Weight of the residues of each protein.

        Returns
        -------
        float
        """
        true = check_residue_y(y, X, kind=self._KIND, ignore_label=self.ignore_label)
        codes = self._fitted_target().codes(true)
        labels = self._reading().model.labels(self._outputs(X)).rows
        kept = [row != UNKNOWN for row in codes]
        right = [(row == found.numpy())[k] for row, found, k in zip(codes, labels, kept, strict=True)]
        weights = np.repeat(check_weights(sample_weight, len(codes)), [k.sum() for k in kept])
        return float(np.average(np.concatenate(right), weights=weights))

    def _labels(self, X: Any) -> np.ndarray:
        return self._reading().decode(self._outputs(X))

    def _reading(self) -> _Reading:
        return _Reading(self._restored().model, self._target)


@dataclass(kw_only=True, eq=False, repr=False)
class PLMResidueRegressor(ResidueEstimator):
    """Tune a protein language model to predict numbers for every residue of a protein.

    For disorder, flexibility, accessibility or chemical shifts: one value per residue, or k of them. Targets
    are standardised inside.

    Parameters
    ----------
    {backbone}
    adapter : Adapter, optional
        How the backbone is tuned: ``LoRA()`` (the default), ``FullFineTuning()``, ``Frozen()``, …
    ignore_label : float, optional
        Entry of ``y`` for residues that were not measured, such as -999. nan, None and masked entries always
        are.
    {shared}

    Attributes
    ----------
    {learned}

    Raises
    ------
    SequenceError
        Rows of ``X`` that are no protein sequences, values of another length than their sequence, proteins
        without a measured residue; all rows are named.
    {diverged}

    Notes
    -----
    The loss is the squared error of standardised values; every measured residue of an optimiser step weighs
    the same. Cost as for :class:`PLMResidueClassifier`.

    References
    ----------
    Ilzhöfer, Heinzinger and Rost, SETH predicts nuances of residue disorder from protein embeddings,
    Frontiers in Bioinformatics 2022, doi:10.3389/fbinf.2022.1019597

    Examples
    --------
    >>> import numpy as np
    >>> from plmlearn import PLMResidueRegressor
    >>> X = ["MKTAYIAKQR", "GSHMLEDPVA"]
    >>> y = [np.array([np.nan, *range(9)]), np.arange(10.0)]
    >>> reg = PLMResidueRegressor("mini", epochs=1, random_state=0).fit(X, y)
    >>> [values.shape for values in reg.predict(X)]
    [(10,), (10,)]
    """

    _KIND: ClassVar[str] = "values"

    def _learn_target(self, y: Rows) -> ResidueValueTarget:
        return ResidueValueTarget.learn(y)

    def predict(self, X: Any) -> np.ndarray:
        """Predicted values of every residue, in the units of ``y``.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        ndarray of shape (n_proteins,), dtype object
            One float64 array per protein, (L,) or (L, k), as long as its (clean) sequence. Residues that
            ``long_sequences="truncate"`` cut off get the mean of the training values.
        """
        return self._fitted_target().decode(self._outputs(X))

    def score(self, X: Any, y: Any) -> float:
        """Spearman's rank correlation over all measured residues; the mean over columns where y has several.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)
        y : list of arrays, (L,) or (L, k), nan = not measured

        Returns
        -------
        float
        """
        true = check_residue_y(y, X, kind=self._KIND, ignore_label=self.ignore_label)
        self._fitted_target().encode(true)  # refuses another number of columns
        columns = zip(_columns(true), _columns(self.predict(X)), strict=True)
        return float(np.mean([residue_spearman(*column) for column in columns]))


def _columns(rows: Rows) -> list[list[np.ndarray]]:
    """Values (L,) or (L, k) of each protein as k lists of (L,)."""
    return [list(column) for column in zip(*(row.reshape(len(row), -1).T for row in rows), strict=True)]
