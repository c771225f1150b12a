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
from ._base import BasePLMEstimator
from .targets import ClassTarget, MultilabelTarget, Target, ValueTarget, check_class_y, check_value_y


@dataclass(kw_only=True, eq=False, repr=False)
class _AnyAdapter(BasePLMEstimator):
    adapter: Adapter | None = None

    _parameter_constraints: ClassVar[dict] = {
        **BasePLMEstimator._parameter_constraints,
        "adapter": [Adapter, None],
    }

    def _make_adapter(self) -> Adapter:
        return LoRA() if self.adapter is None else self.adapter


@dataclass(kw_only=True, eq=False, repr=False)
class _FlatLoRA(BasePLMEstimator):
    rank: int = 8
    alpha: float = 16
    lora_dropout: float = 0.0
    target_modules: Sequence[str] | str = ("key", "value")
    last_n_layers: int | None = None

    _parameter_constraints: ClassVar[dict] = {
        **BasePLMEstimator._parameter_constraints,
        # LoRA itself checks these, against the backbone.
        **dict.fromkeys(
            ["rank", "alpha", "lora_dropout", "target_modules", "last_n_layers"], "no_validation"
        ),
    }

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
        if self.class_weight is not None and y.ndim == 2:
            raise ValueError("class_weight is for one label per protein; with several labels pass None.")
        return compute_sample_weight(self.class_weight, y)

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
    """t"""


@dataclass(kw_only=True, eq=False, repr=False)
class PLMRegressor(_Regresses, _AnyAdapter):
    """t"""


@dataclass(kw_only=True, eq=False, repr=False)
class PLMLoRAClassifier(_Classifies, _FlatLoRA):
    """t"""


@dataclass(kw_only=True, eq=False, repr=False)
class PLMLoRARegressor(_Regresses, _FlatLoRA):
    """t"""
