"""What baselines share of their input: tags for scikit-learn, and variants with their measurements.

``variable_sites``   letters of variants of one length, and where they differ
``refuse_huge``      measurements that can be computed with, or an error
"""

from typing import Any

import numpy as np
from sklearn.linear_model import Ridge, RidgeCV

from ..sequences.clean import check_count
from ..sequences.columns import check_numbers
from ..similarity.alignment import stack_letters

_ALPHAS = np.logspace(-2, 3, 6)
_LARGEST = 1e100  # its square and sums of such are numbers still


class SequenceInput:
    """X holds one sequence per row: a list, array or Series of str."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.one_d_array, tags.input_tags.two_d_array, tags.input_tags.string = True, False, True
        return tags


def fit_ridge(features: Any, y: np.ndarray, alpha: float | None) -> tuple[Any, float]:
    """Ridge regression with a penalty, or the one of least leave-one-out error; and that penalty."""
    model = RidgeCV(_ALPHAS) if alpha is None else Ridge(float(alpha), tol=1e-10)
    model.fit(features, y)
    return model, float(model.alpha_ if alpha is None else alpha)


def variable_sites(variants: np.ndarray, y: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Letters as bytes, (n, L), the sites where variants differ, and their measurements as numbers."""
    y = check_numbers(y, "y")
    check_count(y, len(variants), "variants", "measurements")
    refuse_huge(y)
    letters = stack_letters(variants, len(variants[0]), "the first")
    sites = np.flatnonzero((letters != letters[0]).any(axis=0))
    if not len(sites):
        raise ValueError(f"All {len(letters)} sequences are the same; expected variants that differ.")
    return letters, sites, y


def refuse_huge(y: np.ndarray) -> None:
    """Raise where measurements are too large for squares and sums of them."""
    if np.abs(y).max() > _LARGEST:
        raise ValueError(f"y holds numbers up to {np.abs(y).max():g}. Look for placeholders among them.")
