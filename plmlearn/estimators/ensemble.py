"""``PLMEnsemble``: several fits of one estimator, their mean and their spread; and how new a protein is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from inspect import signature
from itertools import cycle
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
from sklearn.base import MetaEstimatorMixin, clone, is_classifier, is_regressor
from sklearn.metrics import accuracy_score, r2_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, check_random_state, get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _num_samples, check_is_fitted

from ..adapters.base import Parameters
from ..baselines.comparison import groups_of_fit, last_step, with_seed
from ..messages import warn
from ..metrics import residue_accuracy, residue_spearman
from ..model_selection.graph import check_clusters
from ..model_selection.proteins import check_rows
from ..sequences import check_sequences
from ..sequences.clean import check_parameters, first_few, object_array, residues_of
from ..sequences.columns import check_labels, check_numbers
from ..sequences.kinds import are_pairs
from ..similarity import Hits, find_nearest
from ..training.inference import dropouts, with_dropout
from .dataset import rows_of_caller
from .embedder import PLMEmbedder
from .targets import check_length
from .task import Given
from .tuned import TunedEstimator


@dataclass(frozen=True)
class Novelty:
    """How far proteins are from those of a fit.

    Attributes
    ----------
    identity : ndarray of float, shape (n_proteins,)
        Share of identical residues in the alignment with the nearest training protein; 0 if none is similar.
    nearest : ndarray of int, shape (n_proteins,)
        Number of that protein among the ensemble's ``sequences_``; -1 without.
    distance : ndarray of float, shape (n_proteins,), or None
        Of the frozen backbone's embedding to the nearest one of training, in units of the median distance of
        a training protein to its nearest other: 1 is as near as training proteins are to one another. None
        for members without a backbone (in their first step, if they are pipelines), or a single training
        protein.
    """

    identity: np.ndarray
    nearest: np.ndarray
    distance: np.ndarray | None


def _has_probabilities(ensemble: PLMEnsemble) -> bool:
    return hasattr(ensemble.estimator, "predict_proba")


@dataclass(kw_only=True, eq=False, repr=False)
class PLMEnsemble(MetaEstimatorMixin, Parameters):
    """Several fits of one estimator: their mean is better than each, their spread says how sure they are.

    Members differ by their seeds, and by what they are trained on (``bootstrap``) or how the backbone is
    adapted (``adapters``). They share the frozen backbone in memory and what it computes in the cache, so
    that five frozen members cost little more than one. With ``members="dropout"`` there is one fit, and its
    members are passes with dropout (Monte Carlo dropout).

    Parameters
    ----------
    estimator : estimator, default=None
        Classifier, regressor, residue or fitness estimator, or a pipeline of such; ``fit`` refuses None. It
        is cloned, not fitted.
    n_members : int, default=5
        Fits, or passes with dropout, 2 or more.
    members : {"fits", "dropout"}, default="fits"
        What differs. "dropout" is for tuned estimators with ``head_dropout`` or ``lora_dropout``.
    bootstrap : bool, default=False
        Train each member on proteins drawn with replacement, as many as there are: within each class, and
        whole groups where ``fit`` gets ``groups``.
    adapters : list of adapters, default=None
        Of the members, in turns, in place of the estimator's own.
    warn_below : float, default=None
        Warn at prediction of proteins whose identity to the nearest training protein is lower, from 0 to 1.
        ``fit`` refuses it where there are no whole sequences to compare.
    random_state : int, RandomState or None, default=None
        Of the members' seeds and draws.

    Attributes
    ----------
    estimators_ : list of estimators
        The fitted members; with ``members="dropout"`` a single one.
    sequences_ : ndarray of str
        The different training proteins, for ``novelty``, with mutations written out; None for pairs, and
        where the members take something else than proteins.
    classes_ : ndarray
        Classes, where the members have them.

    See Also
    --------
    plmlearn.design.propose : Variants to measure next, by mean and spread.
    plmlearn.baselines.gaussian_process : Means and deviations of a Gaussian process.

    Notes
    -----
    Cost: that of ``n_members`` fits, without what is frozen; with dropout one fit, and ``n_members``
    predictions whose time is that of the adapted layers. The spread tells where members disagree; it is
    no calibrated interval. For those, put the ensemble into MAPIE.

    References
    ----------
    Lakshminarayanan, Pritzel & Blundell (2017), arXiv:1612.01474

    Gal & Ghahramani (2016), arXiv:1506.02142 (dropout)

    Examples
    --------
    >>> from plmlearn import PLMEnsemble, PLMFrozenMLPRegressor
    >>> from plmlearn.datasets import make_protein_regression
    >>> X, y = make_protein_regression(40, max_length=40, random_state=0)
    >>> member = PLMFrozenMLPRegressor("mini", solver="lbfgs", max_iter=50)
    >>> ensemble = PLMEnsemble(member, n_members=3, random_state=0).fit(X[:30], y[:30])
    >>> mean, std = ensemble.predict(X[30:], return_std=True)
    >>> mean.shape, bool((std > 0).all())
    ((10,), True)
    """

    estimator: Any = field(default=None, kw_only=False)
    n_members: int = 5
    members: Literal["fits", "dropout"] = "fits"
    bootstrap: bool = False
    adapters: Sequence[Any] | None = None
    warn_below: float | None = None
    random_state: int | np.random.RandomState | None = None

    _parameter_constraints: ClassVar[dict] = {
        "estimator": [HasMethods(["fit", "predict"])],
        "n_members": [Interval(Integral, 2, None, closed="left")],
        "members": [StrOptions({"fits", "dropout"})],
        "bootstrap": ["boolean"],
        "adapters": [list, tuple, None],
        "warn_below": [Interval(Real, 0, 1, closed="both"), None],
        "random_state": ["random_state"],
    }

    def fit(self, X: Any, y: Any = None, *, groups: Any = None, **fit_params: Any) -> Self:
        """Fit the members one after another.

        Parameters
        ----------
        X, y : as the estimator takes them
        groups : array of shape (n_proteins,), default=None
            Clusters of the proteins: draws take whole groups, and members whose ``fit`` takes groups get
            their own. Without, a member that stops early on a draw keeps copies of a row together.
        **fit_params
            For the members' ``fit``. What has an entry for each protein, such as ``sample_weight``, is drawn
            with the proteins; ``X_val`` and what belongs to it is not.

        Returns
        -------
        self
        """
        self._check_parameters()
        self._check_adapters()
        check_rows(X, y)
        n = _num_samples(X)
        random = check_random_state(self.random_state)
        if self.warn_below is not None and are_pairs(X):
            raise ValueError(
                "warn_below is for whole sequences of single proteins; fit had none such. Pass None."
            )
        if self.bootstrap:
            self._check_before_draws(X, y, groups, fit_params)
        members = []
        n_fits = self.n_members if self.members == "fits" else 1
        for number, seed in enumerate(random.randint(2**31 - 1, size=n_fits)):
            rows = self._drawn(X, y, groups, random)
            member = self._member(number, int(seed))
            own = _of_rows(fit_params, rows, n) | self._groups_of_rows(member, rows, groups)
            own_y = None if y is None else _safe_indexing(y, rows)
            with rows_of_caller(rows, "in the draw of a member"):
                members.append(member.fit(_safe_indexing(X, rows), own_y, **own))
        if self.members == "dropout":
            _check_dropout(members[0])
        self.sequences_ = _proteins_of(members[0], X)
        self.estimators_ = members
        if self.warn_below is not None:
            self._training_proteins()  # or an error
        return self

    def set_params(self, **params: Any) -> Self:
        """Set parameters; where a backbone lies now is told to the fitted members too.

        Parameters
        ----------
        **params
            Values by name, such as ``estimator__backbone`` for a backbone that has moved since the fit.

        Returns
        -------
        self
        """
        if any("__" in name for name in params):
            estimator = {"estimator": params.get("estimator", self.estimator)}
            check_parameters(self._parameter_constraints, estimator, type(self).__name__)
        super().set_params(**params)
        for name, value in params.items():
            owner, _, own = name.partition("__")
            if owner == "estimator" and own.split("__")[-1] == "backbone":
                for member in vars(self).get("estimators_", ()):
                    member.set_params(**{own: value})
        return self

    def _check_adapters(self) -> None:
        if self.adapters is None:
            return
        if "adapter" not in self.estimator.get_params(deep=False):
            raise ValueError(
                f"adapters is set, and {type(self.estimator).__name__} has no parameter adapter."
            )
        if len(self.adapters) == 0 or (self.members == "dropout" and len(self.adapters) > 1):
            raise ValueError(
                f"adapters has {len(self.adapters)} entries; expected at least one, and one alone with "
                "members='dropout', where there is one fit."
            )

    def _check_before_draws(self, X: Any, y: Any, groups: Any, fit_params: dict[str, Any]) -> None:
        """Raise errors that name the caller's rows: a draw has others, and leaves some out."""
        member, n = clone(self.estimator), _num_samples(X)
        if groups is not None:
            check_clusters(check_length(groups, n, "groups"), (n,))
        if isinstance(member, TunedEstimator) and y is not None:
            member._check_parameters()
            run = member._plain()
            extras = {name: fit_params.get(name) for name in ("regions", "kingdom")}
            run._check(run._task(), Given(X, y, fit_params.get("sample_weight"), None, extras))
            return
        if hasattr(first := _first_part(member), "_check_X"):
            first._check_X(X)
        if y is not None and is_regressor(self):
            check_numbers(y, "y")
        elif y is not None and is_classifier(self):
            check_labels(y, "y")

    def _groups_of_rows(self, member: Any, rows: np.ndarray, groups: Any) -> dict[str, Any]:
        """Groups for the member's ``fit``; without, copies of a row in a draw are one group."""
        if groups is not None:
            return _as_parameter(member, "groups", _safe_indexing(groups, rows))
        return groups_of_fit(member, rows) if self.bootstrap else {}

    def _member(self, number: int, seed: int) -> Any:
        member = with_seed(self.estimator, seed)
        if self.adapters is not None:
            member.set_params(adapter=self.adapters[number % len(self.adapters)])
        return member

    def _drawn(self, X: Any, y: Any, groups: Any, random: np.random.RandomState) -> np.ndarray:
        """Rows of one member."""
        rows = np.arange(_num_samples(X))
        if not self.bootstrap:
            return rows
        if groups is not None:
            members = [np.flatnonzero(np.asarray(groups) == group) for group in np.unique(groups)]
            return np.concatenate([members[i] for i in random.randint(len(members), size=len(members))])
        if not is_classifier(self) or np.ndim(y) > 1:
            return random.choice(rows, len(rows))
        classes = np.unique(y, return_inverse=True)[1]
        own = [rows[classes == number] for number in np.unique(classes)]
        return np.sort(np.concatenate([random.choice(part, len(part)) for part in own]))

    # -- predict ------------------------------------------------------------------------------

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Mean prediction; of classifiers the class with the highest mean probability.

        Parameters
        ----------
        X : as the estimator takes it
        return_std : bool, default=False
            Of what predicts numbers: return the standard deviation over the members too.

        Returns
        -------
        predictions, in the form of the members
        std : of the same form, if ``return_std``
        """
        if not _has_probabilities(self):
            return self._averaged("predict", X, return_std)
        if return_std:
            raise ValueError("return_std is for numbers; of classes pass it to predict_proba.")
        probabilities = self.predict_proba(X)
        first = self.estimators_[0].predict(_safe_indexing(X, [0]))
        if probabilities.dtype == object:
            return object_array(_like(first[0], p, self.classes_) for p in probabilities)
        if np.ndim(first) == 2:
            return (probabilities > 0.5).astype(int)
        return self.classes_[probabilities.argmax(axis=1)]

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any, return_std: bool = False) -> Any:
        """Mean probabilities.

        Parameters
        ----------
        X : as the estimator takes it
        return_std : bool, default=False
            Return the standard deviation over the members too.

        Returns
        -------
        probabilities, in the form of the members
        std : of the same form, if ``return_std``
        """
        return self._averaged("predict_proba", X, return_std)

    def _averaged(self, method: str, X: Any, return_std: bool) -> Any:
        check_is_fitted(self, "estimators_")
        self._check_parameters({"warn_below", "n_members"})
        if self.warn_below is not None:
            self._warn_of_new(X)
        if len(self.estimators_) == 1:  # fitted for dropout, whatever members has been set to since
            found = [self._with_dropout(number, method, X) for number in range(self.n_members)]
        else:
            found = [getattr(member, method)(X) for member in self.estimators_]
        if method == "predict_proba":
            found = [
                _in_columns(of_one, member.classes_, self.classes_)
                for of_one, member in zip(found, cycle(self.estimators_))
            ]
        mean = _over_members(np.mean, found)
        if not return_std:
            return mean
        return mean, _over_members(lambda rows, axis: np.std(rows, axis, ddof=1), found)

    def _with_dropout(self, number: int, method: str, X: Any) -> Any:
        """What the one fitted member says in a pass whose dropout has that seed."""
        member = self.estimators_[0]
        with with_dropout(number, last_step(member)[1]._restored().config.device):
            return getattr(member, method)(X)

    @property
    def classes_(self) -> np.ndarray:
        """Classes of all members; a draw may leave a class out."""
        check_is_fitted(self, "estimators_")
        return np.unique(np.concatenate([member.classes_ for member in self.estimators_]))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy of classes, R² of numbers; of residues their accuracy, or rank correlation.

        Parameters
        ----------
        X, y : as the estimator takes them
        sample_weight : array of shape (n_proteins,), default=None
            Not for residues.

        Returns
        -------
        float
        """
        predicted = self.predict(X)
        if is_classifier(self):
            return float(accuracy_score(y, predicted, sample_weight=sample_weight))
        if is_regressor(self):
            return float(r2_score(y, predicted, sample_weight=sample_weight))
        if _has_probabilities(self):
            return residue_accuracy(y, predicted, ignore_label=self.estimators_[0].ignore_label)
        return residue_spearman(y, predicted)

    # -- what is new ----------------------------------------------------------------------------

    def novelty(self, X: Any) -> Novelty:
        """How far proteins are from those of the fit: the farther, the less a prediction is worth.

        Parameters
        ----------
        X : list, array or Series of str, shape (n_proteins,)

        Returns
        -------
        Novelty
            ``identity`` to the nearest training protein, which of them it is (``nearest``), and ``distance``
            of embeddings.

        Notes
        -----
        Cost: a search among the training proteins, by position if all are variants of one length, and one
        pass through the frozen backbone of what is not in the cache.
        """
        sequences = self._read(X)
        nearest = self._nearest(sequences)
        return Novelty(nearest.identity, nearest.target, self._distance(sequences))

    def _read(self, X: Any) -> np.ndarray:
        """Whole sequences, as the members read them."""
        check_is_fitted(self, "estimators_")
        self._training_proteins()  # or an error
        return _read_by(self.estimators_[0], X)

    def _nearest(self, sequences: np.ndarray) -> Hits:
        return find_nearest(sequences, self._training_proteins()).one_each(len(sequences))

    def _distance(self, sequences: np.ndarray) -> np.ndarray | None:
        parameters = _first_part(self.estimators_[0]).get_params(deep=False)
        proteins = self._training_proteins()
        if "backbone" not in parameters or len(proteins) < 2:
            return None
        own = {f.name: parameters[f.name] for f in fields(PLMEmbedder) if f.name in parameters}
        embedder = PLMEmbedder(**{**own, "pooling": "mean"}).fit(proteins[:1])
        training = embedder.transform(proteins)
        search = NearestNeighbors(n_neighbors=1).fit(training)
        usual = np.median(search.kneighbors()[0])
        return search.kneighbors(embedder.transform(sequences))[0][:, 0] / max(usual, np.finfo(float).tiny)

    def _training_proteins(self) -> np.ndarray:
        if self.sequences_ is None:
            raise ValueError("novelty is for whole sequences of single proteins; fit had none such.")
        return self.sequences_

    def _warn_of_new(self, X: Any) -> None:
        identity = self._nearest(self._read(X)).identity
        new = np.flatnonzero(identity < self.warn_below)
        if len(new):
            warn(
                f"{len(new)} of {len(identity)} proteins (rows {first_few(new, n=5)}) share less than "
                f"{self.warn_below:.0%} of their residues with the nearest training protein; see novelty(X)."
            )

    def __setstate__(self, state: dict) -> None:
        """A saved folder holds the members alone; what they are copies of follows from them."""
        super().__setstate__(state)
        if vars(self).get("estimator") is None and "estimators_" in vars(self):
            self.estimator = clone(self.estimators_[0])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if hasattr(self.estimator, "__sklearn_tags__"):
            own = get_tags(self.estimator)
            for name in ("estimator_type", "target_tags", "input_tags", "classifier_tags", "regressor_tags"):
                setattr(tags, name, getattr(own, name))
        return tags


def _check_dropout(member: Any) -> None:
    tuned = last_step(member)[1]
    if not isinstance(tuned, TunedEstimator) or not dropouts(tuned._restored().module):
        raise ValueError(
            f"members='dropout' needs dropout, and {type(tuned).__name__} has none here. Set head_dropout or "
            "lora_dropout above 0 on a tuned estimator, or take members='fits'."
        )


def _first_part(member: Any) -> Any:
    """A member, or the first step of a pipeline, which reads what the caller passes."""
    return member[0] if isinstance(member, Pipeline) else member


def _read_by(member: Any, X: Any) -> np.ndarray:
    """Whole sequences of single proteins, as a member reads them."""
    sequences = getattr(_first_part(member), "_check_X", check_sequences)(X)
    return object_array(map(residues_of, sequences))


def _proteins_of(member: Any, X: Any) -> np.ndarray | None:
    """The different proteins, in alphabetical order; None for what are no plain sequences."""
    try:
        return None if are_pairs(X) else object_array(sorted(set(_read_by(member, X))))
    except (ValueError, TypeError):  # of tables and of mutations
        return None


def _as_parameter(member: Any, name: str, values: Any) -> dict[str, Any]:
    """Values as a parameter of ``fit``, where a member, or the last step of a pipeline, takes it."""
    prefix, last = last_step(member)
    taken = signature(last.fit).parameters.values()
    return {prefix + name: values} if any(p.name == name or p.kind is p.VAR_KEYWORD for p in taken) else {}


def _of_rows(fit_params: dict[str, Any], rows: np.ndarray, n: int) -> dict[str, Any]:
    """Parameters of ``fit``, those that have an entry for each of n proteins at some rows alone."""

    def are_entries(name: str, value: Any) -> bool:
        is_list = hasattr(value, "__len__") and not isinstance(value, (str, Mapping))
        return is_list and len(value) == n and not name.endswith("_val")

    return {k: _safe_indexing(v, rows) if are_entries(k, v) else v for k, v in fit_params.items()}


def _over_members(function: Callable, found: list[np.ndarray]) -> np.ndarray:
    """A mean or deviation over members, of one array each, or of one array per protein."""
    if found[0].dtype == object:
        return object_array(function(np.stack(rows), axis=0) for rows in zip(*found))
    return function(np.stack(found), axis=0)


def _in_columns(probabilities: np.ndarray, own: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """A member's probabilities, or an array per protein, with a column for each class; 0 where none was."""
    if len(own) == len(classes):
        return probabilities
    if probabilities.dtype == object:
        return object_array(_in_columns(rows, own, classes) for rows in probabilities)
    wide = np.zeros((len(probabilities), len(classes)))
    wide[:, np.searchsorted(classes, own)] = probabilities
    return wide


def _like(example: Any, probabilities: np.ndarray, classes: np.ndarray) -> Any:
    """Labels of one protein's residues, in the form of a member's prediction."""
    if np.ndim(example) == 2:  # predict_output="proba"
        return probabilities
    labels = classes[probabilities.argmax(axis=1)]
    return "".join(labels) if isinstance(example, str) else labels
