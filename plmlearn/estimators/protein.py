"""Estimators with one prediction per protein: a class, several labels, or numbers.

``PLMClassifier`` and ``PLMRegressor`` take any ``adapter``; ``PLMLoRAClassifier`` and
``PLMLoRARegressor`` are the same with LoRA's parameters spelled out flat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.class_weight import compute_sample_weight

from ..adapters import Adapter, LoRA
from .pooled import PooledEstimator
from .targets import ClassTarget, MultilabelTarget, Target, ValueTarget, check_class_y, check_value_y
from .tuned import BasePLMEstimator


@dataclass(kw_only=True, eq=False, repr=False)
class _AnyAdapter(PooledEstimator):
    adapter: Adapter | None = None

    _ARCHITECTURE: ClassVar[tuple[str, ...]] = (*PooledEstimator._ARCHITECTURE, "adapter")
    _parameter_constraints: ClassVar[dict] = {"adapter": [Adapter, None]}

    def _make_adapter(self) -> Adapter:
        return LoRA() if self.adapter is None else self.adapter


@dataclass(kw_only=True, eq=False, repr=False)
class _FlatLoRA(PooledEstimator):
    rank: int = 8
    alpha: float = 16
    lora_dropout: float = 0.0
    target_modules: Sequence[str] | str = ("key", "value")
    last_n_layers: int | None = None

    _LORA: ClassVar[tuple[str, ...]] = ("rank", "alpha", "lora_dropout", "target_modules", "last_n_layers")
    _ARCHITECTURE: ClassVar[tuple[str, ...]] = (*PooledEstimator._ARCHITECTURE, *_LORA)
    # LoRA itself checks them, against the backbone.
    _parameter_constraints: ClassVar[dict] = dict.fromkeys(_LORA, "no_validation")

    def _make_adapter(self) -> Adapter:
        return LoRA(
            rank=self.rank,
            alpha=self.alpha,
            dropout=self.lora_dropout,
            target_modules=self.target_modules,
            last_n_layers=self.last_n_layers,
        )


@dataclass(kw_only=True, eq=False, repr=False)
class _Classifies(ClassifierMixin, BasePLMEstimator):
    class_weight: Any = None

    _parameter_constraints: ClassVar[dict] = {"class_weight": [dict, StrOptions({"balanced"}), None]}

    def _check_y(self, y: Any, n_rows: int) -> np.ndarray:
        return check_class_y(y, n_rows)

    def _learn_target(self, y: np.ndarray) -> Target:
        return MultilabelTarget.learn(y) if y.ndim == 2 else ClassTarget.learn(y)

    def _balance(self, y: np.ndarray) -> np.ndarray:
        if self.class_weight is None:
            return np.ones(len(y))
        if y.ndim == 2:
            raise ValueError("class_weight is for one label per protein; with several labels pass None.")
        weights = compute_sample_weight(self.class_weight, y)
        if weights.min() < 0 or not weights.any():
            raise ValueError(
                f"class_weight={self.class_weight!r}; expected weights of 0 or more, one above 0 among the "
                "classes of the training proteins, and of the validation proteins if there are any."
            )
        return weights

    @property
    def classes_(self) -> np.ndarray:
        """Class labels, in the order of ``predict_proba``'s columns."""
        if not hasattr(self, "_target"):
            raise AttributeError(f"{type(self).__name__} is not fitted yet")
        return self._target.classes

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each protein, or an (n, k) indicator of its labels.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        ndarray of shape (n_proteins,) or (n_proteins, k)
        """
        return self._fitted_target().decode(self._outputs(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        ndarray of shape (n_proteins, n_classes)
            Rows add up to 1; with several labels per protein each column stands by itself.
        """
        return self._fitted_target().probabilities(self._outputs(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


@dataclass(kw_only=True, eq=False, repr=False)
class _Regresses(RegressorMixin, BasePLMEstimator):
    def _check_y(self, y: Any, n_rows: int) -> np.ndarray:
        return check_value_y(y, n_rows)

    def _learn_target(self, y: np.ndarray) -> Target:
        return ValueTarget.learn(y)

    def predict(self, X: Any) -> np.ndarray:
        """Predicted values of each protein, in the units of ``y``.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        ndarray of shape (n_proteins,) or (n_proteins, n_targets)
        """
        return self._fitted_target().decode(self._outputs(X))


@dataclass(kw_only=True, eq=False, repr=False)
class PLMClassifier(_Classifies, _AnyAdapter):
    """Tune a protein language model to classify proteins.

    One label per protein of two or more classes, or several (``y`` an (n, k) indicator of 0 and 1).

    Parameters
    ----------
    {backbone}
    {adapter}
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
        Rows of ``X`` that are no protein sequences; all of them are named.
    {diverged}

    Notes
    -----
    {cost}

    References
    ----------
    Schmirler, Heinzinger, Rost, Fine-tuning protein language models boosts predictions across diverse
    tasks, Nature Communications 2024, doi:10.1038/s41467-024-51844-2

    Examples
    --------
    >>> from plmlearn.adapters import FullFineTuning
    >>> from plmlearn import PLMClassifier
    >>> from plmlearn.datasets import make_protein_classification
    >>> X, y = make_protein_classification(n_samples=40, median_length=40, max_length=80, random_state=0)
    >>> clf = PLMClassifier("mini", adapter=FullFineTuning(), epochs=2, random_state=0).fit(X, y)
    >>> clf.predict_proba(X).shape
    (40, 2)
    """


@dataclass(kw_only=True, eq=False, repr=False)
class PLMRegressor(_Regresses, _AnyAdapter):
    """Tune a protein language model to predict numbers for proteins.

    One value per protein, or k of them (``y`` of shape (n, k)); targets are standardised inside.

    Parameters
    ----------
    {backbone}
    {adapter}
    {shared}

    Attributes
    ----------
    {learned}

    Raises
    ------
    SequenceError
        Rows of ``X`` that are no protein sequences; all of them are named.
    {diverged}

    Notes
    -----
    {cost}

    References
    ----------
    Schmirler, Heinzinger, Rost, Fine-tuning protein language models boosts predictions across diverse
    tasks, Nature Communications 2024, doi:10.1038/s41467-024-51844-2

    Examples
    --------
    >>> from plmlearn.adapters import FullFineTuning
    >>> from plmlearn import PLMRegressor
    >>> from plmlearn.datasets import make_protein_regression
    >>> X, y = make_protein_regression(n_samples=40, median_length=40, max_length=80, random_state=0)
    >>> reg = PLMRegressor("mini", adapter=FullFineTuning(), epochs=2, random_state=0).fit(X, y)
    >>> reg.predict(X).shape
    (40,)
    """


@dataclass(kw_only=True, eq=False, repr=False)
class PLMLoRAClassifier(_Classifies, _FlatLoRA):
    """Tune a protein language model by LoRA to classify proteins.

    One label per protein of two or more classes, or several (``y`` an (n, k) indicator of 0 and 1).
    The same as :class:`PLMClassifier` with ``adapter=LoRA(...)``, LoRA's parameters spelled out flat.

    Parameters
    ----------
    {backbone}
    {lora}
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
        Rows of ``X`` that are no protein sequences; all of them are named.
    {diverged}

    Notes
    -----
    {cost}

    References
    ----------
    Sledzieski et al., Democratizing protein language models with parameter-efficient fine-tuning,
    PNAS 2024, doi:10.1073/pnas.2405840121

    Examples
    --------
    >>> from plmlearn import PLMLoRAClassifier
    >>> from plmlearn.datasets import make_protein_classification
    >>> X, y = make_protein_classification(n_samples=40, median_length=40, max_length=80, random_state=0)
    >>> clf = PLMLoRAClassifier("mini", rank=4, epochs=2, random_state=0).fit(X, y)
    >>> clf.predict_proba(X).shape
    (40, 2)
    """


@dataclass(kw_only=True, eq=False, repr=False)
class PLMLoRARegressor(_Regresses, _FlatLoRA):
    """Tune a protein language model by LoRA to predict numbers for proteins.

    One value per protein, or k of them (``y`` of shape (n, k)); targets are standardised inside.
    The same as :class:`PLMRegressor` with ``adapter=LoRA(...)``, LoRA's parameters spelled out flat.

    Parameters
    ----------
    {backbone}
    {lora}
    {shared}

    Attributes
    ----------
    {learned}

    Raises
    ------
    SequenceError
        Rows of ``X`` that are no protein sequences; all of them are named.
    {diverged}

    Notes
    -----
    {cost}

    References
    ----------
    Sledzieski et al., Democratizing protein language models with parameter-efficient fine-tuning,
    PNAS 2024, doi:10.1073/pnas.2405840121

    Examples
    --------
    >>> from plmlearn import PLMLoRARegressor
    >>> from plmlearn.datasets import make_protein_regression
    >>> X, y = make_protein_regression(n_samples=40, median_length=40, max_length=80, random_state=0)
    >>> reg = PLMLoRARegressor("mini", rank=4, epochs=2, random_state=0).fit(X, y)
    >>> reg.predict(X).shape
    (40,)
    """
