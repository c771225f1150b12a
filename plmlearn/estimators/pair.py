"""Estimators of pairs of proteins: ``PLMPairClassifier`` and ``PLMPairRegressor``.

One encoder reads both proteins. What it makes of them is combined, by default so that their order does
not matter, and judged by a head.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from ..model_selection import PairWarning
from ..nn.combinations import COMBINATIONS, PairModel, ResidueProjection
from ..nn.encoders import PackedEncoder
from ..nn.heads import make_head
from ..nn.pooling import POOLINGS
from ..sequences import check_pairs, truncate
from ..training.engine import TrainingData, TuningNet
from ..training.pair_steps import (
    PairNet,
    TokenizedPairs,
    features_of_pairs,
    outputs_of_pairs,
    represent_proteins,
)
from .dataset import Dataset
from .protein import _AnyAdapter, _Classifies, _Regresses
from .shared_docs import PAIR_PARAMETERS, PAIR_WORDS
from .tuned import _Live


@dataclass(kw_only=True, eq=False, repr=False)
class _Pairs(_AnyAdapter):
    combine: str = "mean"
    epoch_size: int | None = None

    _SHARED: ClassVar[str] = PAIR_PARAMETERS
    _WORDS: ClassVar[Mapping[str, str]] = PAIR_WORDS
    _ARCHITECTURE: ClassVar[tuple[str, ...]] = (*_AnyAdapter._ARCHITECTURE, "combine")
    _parameter_constraints: ClassVar[dict] = {
        "combine": [StrOptions(set(COMBINATIONS))],
        "epoch_size": [Interval(Integral, 1, None, closed="left"), None],
    }
    _net_class: ClassVar[type[TuningNet]] = PairNet

    def _make_model(self, encoder: PackedEncoder, n_outputs: int) -> nn.Module:
        make_combination = COMBINATIONS[self.combine]
        make_pooling = ResidueProjection if make_combination.over_residues else POOLINGS[self.pooling]
        pooling = make_pooling(encoder.width)
        combination = make_combination(pooling.width)
        hidden = self.head_hidden or encoder.width
        head = make_head(self.head, combination.width, n_outputs, hidden, self.head_dropout)
        return PairModel(encoder, pooling, combination, head)

    def _make_plan(self, *args):
        return replace(super()._make_plan(*args), epoch_size=self.epoch_size)

    def _learn_scale(self, live: _Live, inputs: Any) -> None:
        rows = np.random.default_rng(live.plan.seed).permutation(inputs.n_distinct)[: self._SCALE_SAMPLE]
        proteins = represent_proteins(live.model, inputs, live.plan, np.sort(rows))
        live.model.scaler.learn(proteins.values)

    def _prepare(self, X: Any) -> tuple[np.ndarray, int]:
        return truncate(check_pairs(X, invalid=self.invalid), self.max_length, self.long_sequences)

    def _tokenize(self, live: _Live, pairs: np.ndarray) -> TokenizedPairs:
        ordered = live.model.combination.ordered
        return TokenizedPairs(live.backbone, pairs, ordered=ordered, window=self._window())

    def _outputs(self, X: Any) -> np.ndarray:
        return self._over_pairs(outputs_of_pairs, X)

    def transform(self, X: Any) -> np.ndarray:
        """Combined embeddings of the tuned backbone, as the head sees them before they are scaled.

        Parameters
        ----------
        X : pairs, as in ``fit``

        Returns
        -------
        ndarray of shape (n_pairs, n_features), float32
        """
        return self._over_pairs(features_of_pairs, X)

    def _over_pairs(self, function: Callable[..., np.ndarray], X: Any) -> np.ndarray:
        live = self._restored()
        return function(live.model, self._inputs(live, self._prepare(X)[0]), live.plan)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = False
        tags.input_tags.two_d_array = True
        return tags


@dataclass(kw_only=True, eq=False, repr=False)
class PLMPairClassifier(_Classifies, _Pairs):
    """Tune a protein language model to classify pairs of proteins, such as those that interact.

    ``X`` is an (n_pairs, 2) array, a DataFrame with two columns or a list of 2-tuples of sequences. Both
    proteins go through one encoder. Unless ``combine="concat"``, a pair and its reverse are the same to
    the last bit, in training and in prediction.

    Parameters
    ----------
    {backbone}
    adapter : Adapter, optional
        How the backbone is adapted, see :mod:`plmlearn.adapters`; None is LoRA. With
        :class:`~plmlearn.adapters.Frozen` the head alone learns, from embeddings made once per protein.
    combine : {"mean", "symmetric", "concat", "cross_attention"}, default="mean"
        How two proteins become one vector. "mean": of their embeddings. "symmetric": mean, absolute
        difference and product. "concat": one behind the other, for relations with a direction (kinase and
        substrate). "cross_attention": residues of each attend to those of the other; ``pooling`` is not
        used, and every pair costs a pass of its own.
    epoch_size : int, optional
        Pairs drawn for an epoch, anew each time; None takes every pair once. An epoch of 16,384 pairs of
        a large set lets validation and early stopping act often.
    sampling : {"uniform", "balanced"}, default="uniform"
        "balanced" draws equally many pairs of each class for an epoch, those of rare classes repeatedly.
    class_weight : dict, "balanced" or None, default=None
        Weight of each class in the loss; "balanced" weighs by inverse frequency.
    {shared}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, in the order of predict_proba's columns.
    {learned}

    Raises
    ------
    SequenceError
        Rows of ``X`` that are no pairs of protein sequences; all of them are named.
    {diverged}

    Warns
    -----
    PairWarning
        Training pairs that are given again with another label. All are kept.

    Notes
    -----
    Each distinct protein is encoded once: per data set with ``Frozen()``, also at prediction; per optimiser
    step where the backbone is tuned. A step is a random draw of pairs. Where its proteins exceed
    ``max_tokens`` they are run forward once more, and the result is the same. Of a sparse graph a step's
    pairs share few proteins; with adapters in the last n layers only, what lies below is computed once per
    protein, and that saves most.

    ``groups`` of shape (n_pairs, 2), the clusters of both proteins, make the inner validation split of
    ``early_stopping`` one of new proteins (C3): it validates on pairs inside the clusters held out and
    leaves out those between, which are many.

    References
    ----------
    Sledzieski et al., Democratizing protein language models with parameter-efficient fine-tuning,
    PNAS 2024, doi:10.1073/pnas.2405840121

    Examples
    --------
    >>> from plmlearn import PLMPairClassifier
    >>> from plmlearn.adapters import Frozen
    >>> from plmlearn.datasets import make_protein_pairs
    >>> X, y = make_protein_pairs(60, n_proteins=60, max_length=60, random_state=0)
    >>> clf = PLMPairClassifier("mini", adapter=Frozen(), epochs=2, random_state=0).fit(X, y)
    >>> bool((clf.predict_proba(X) == clf.predict_proba(X[:, ::-1])).all())
    True
    """

    sampling: str = "uniform"

    _parameter_constraints: ClassVar[dict] = {"sampling": [StrOptions({"uniform", "balanced"})]}

    def _encode(self, live: _Live, target: Any, labelled: Dataset) -> TrainingData:
        data = super()._encode(live, target, labelled)
        _warn_of_contradictions(data)
        if self.sampling == "uniform":
            return data
        if labelled.y.ndim == 2:
            raise ValueError("sampling='balanced' is for one label per pair; with several pass 'uniform'.")
        return replace(data, strata=labelled.y)


@dataclass(kw_only=True, eq=False, repr=False)
class PLMPairRegressor(_Regresses, _Pairs):
    """Tune a protein language model to predict numbers for pairs of proteins, such as affinities.

    One value per pair, or k of them (``y`` of shape (n, k)); targets are standardised inside. ``X`` and the
    order of a pair are as in :class:`PLMPairClassifier`.

    Parameters
    ----------
    {backbone}
    adapter : Adapter, optional
        How the backbone is adapted, see :mod:`plmlearn.adapters`; None is LoRA.
    combine : {"mean", "symmetric", "concat", "cross_attention"}, default="mean"
        How two proteins become one vector, see :class:`PLMPairClassifier`.
    epoch_size : int, optional
        Pairs drawn for an epoch, anew each time; None takes every pair once.
    {shared}

    Attributes
    ----------
    {learned}

    Raises
    ------
    SequenceError
        Rows of ``X`` that are no pairs of protein sequences; all of them are named.
    {diverged}

    Notes
    -----
    Cost and ``groups``: see :class:`PLMPairClassifier`.

    Examples
    --------
    >>> from plmlearn import PLMPairRegressor
    >>> from plmlearn.adapters import Frozen
    >>> from plmlearn.datasets import make_protein_pairs
    >>> X, _ = make_protein_pairs(60, n_proteins=60, max_length=60, random_state=0)
    >>> y = [len(a) + len(b) for a, b in X]
    >>> reg = PLMPairRegressor("mini", adapter=Frozen(), epochs=2, random_state=0).fit(X, y)
    >>> reg.predict(X).shape
    (60,)
    """


def _warn_of_contradictions(data: TrainingData) -> None:
    inputs: Any = data.inputs
    targets: Any = data.targets
    pairs = inputs.of_row[:, 0] * inputs.n_distinct + inputs.of_row[:, 1]
    _, pair = np.unique(pairs, return_inverse=True)
    _, label = np.unique(targets, axis=0, return_inverse=True)
    both = np.unique(np.column_stack([pair, label.ravel()]), axis=0)
    twice = np.bincount(both[:, 0]) > 1
    if twice.any():
        first = np.flatnonzero(twice[pair])[:5].tolist()
        warnings.warn(
            f"{int(twice.sum())} of {len(twice)} distinct pairs are given with different labels, such as in "
            f"rows {first}; all are kept. Settle on one label each, or leave those pairs out.",
            PairWarning,
            stacklevel=4,
        )
