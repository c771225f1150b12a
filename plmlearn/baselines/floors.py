"""``floors``: the cheap models that a tuned one has to beat on a given task."""

from typing import Any, get_args

import numpy as np
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ..sequences import check_sequences, target_kind
from ..sequences.checked import checked, one_of
from ..sequences.columns import as_array, check_labels, flat
from ..sequences.kinds import TargetKind, are_pairs
from ..similarity import are_variants
from .augmented import AugmentedRidge
from .composition import CompositionVectorizer
from .gaussian import gaussian_process
from .homology import HomologyClassifier, HomologyRegressor
from .interactions import PairDegreeClassifier, PairSimilarityClassifier
from .mutations import AdditiveMutationRegressor
from .positions import PositionMeanRegressor
from .propensities import ResiduePropensityClassifier, ResiduePropensityRegressor

_ALPHAS = np.logspace(-3, 3, 7)
_MOST_OF_A_PROCESS = 500  # variants, which it fits in seconds; the time grows with the cube of their number


@checked(kind=[*one_of(get_args(TargetKind)), None])
def floors(
    X: Any, y: Any, *, kind: TargetKind | None = None, ignore_label: Any = None, scores: Any = None
) -> dict[str, Any]:
    """Baselines for a task by name, to be compared with a tuned model.

    ============================= ======================================================================
    task                          baselines
    ============================= ======================================================================
    labels per protein            most frequent class, composition with logistic regression, homology
    numbers per protein           mean, composition with ridge regression, homology
    numbers per variant           mean, additive effects of mutations, position mean, nearest variant; of at
                                  most 500 variants a Gaussian process; with ``scores`` augmented ridge
    labels or numbers per residue the amino acid alone
    two classes of pairs          most frequent class, degree, similar pairs
    other targets of pairs        most frequent class or mean
    ============================= ======================================================================

    Parameters
    ----------
    X, y : as the estimators take them
    kind : {"labels", "numbers", "residue_labels", "residue_numbers"}, default=None
        What y holds; None asks :func:`plmlearn.sequences.target_kind`.
    ignore_label : label, default=None
        Of labels per residue: the entry that says "not measured".
    scores : callable or mapping, default=None
        Zero-shot scores of variants, as of :class:`AugmentedRidge`.

    Returns
    -------
    dict of str to estimator
        Not fitted, for :func:`compare`.

    See Also
    --------
    AugmentedRidge : Zero-shot scores, corrected by measurements.
    compare : Cross-validate several estimators on the same folds.
    plmlearn.model_selection.make_folds : Folds in the way that suits the data.
    plmlearn.sequences.target_kind : What kind of target ``y`` is.

    Examples
    --------
    >>> from plmlearn.baselines import floors
    >>> list(floors(["MKVLAAG", "GSHMASMTGG"], ["in", "out"]))
    ['most frequent', 'composition', 'homology']
    """
    kind = target_kind(X, y) if kind is None else kind
    if kind == "residue_labels":
        return {"amino acid": ResiduePropensityClassifier(ignore_label=ignore_label)}
    if kind == "residue_numbers":
        return {"amino acid": ResiduePropensityRegressor()}
    many = flat(as_array(y, "y", missing=kind == "numbers")).ndim > 1
    if kind == "labels":
        models: dict[str, Any] = {"most frequent": DummyClassifier()}
        two_classes = not many and len(np.unique(check_labels(y, "y"))) == 2
        if not are_pairs(X):
            return models | _of_labels(many)
        of_pairs = {"degree": PairDegreeClassifier(), "similar pairs": PairSimilarityClassifier()}
        return models | of_pairs if two_classes else models
    return {"mean": DummyRegressor()} | ({} if are_pairs(X) else _of_numbers(X, many, scores))


def _of_labels(many: bool) -> dict[str, Any]:
    linear = LogisticRegression(max_iter=1000)
    return {
        "composition": _on_composition(OneVsRestClassifier(linear) if many else linear),
        "homology": HomologyClassifier(),
    }


def _of_numbers(X: Any, many: bool, scores: Any) -> dict[str, Any]:
    if are_variants(variants := check_sequences(X)):
        own = {"additive": AdditiveMutationRegressor(order=1), "position mean": PositionMeanRegressor()}
        if len(variants) <= _MOST_OF_A_PROCESS:
            own["Gaussian process"] = gaussian_process("onehot", random_state=0)
        augmented = {} if scores is None else {"augmented ridge": AugmentedRidge(scores=scores)}
        return ({} if many else own) | augmented | {"nearest variant": HomologyRegressor()}
    return {"composition": _on_composition(RidgeCV(_ALPHAS)), "homology": HomologyRegressor()}


def _on_composition(model: Any) -> Any:
    return make_pipeline(CompositionVectorizer(), StandardScaler(), model)
