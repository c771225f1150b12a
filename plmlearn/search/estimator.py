"""``PLMSearchCV``: a cross-validated search, shaped like those of scikit-learn."""

from __future__ import annotations

import copy
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.base import clone, is_classifier
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._validation import _insert_error_scores, _warn_or_raise_about_fit_failures
from sklearn.utils import check_random_state, get_tags, indexable
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.validation import _check_method_params, _num_samples

from ..baselines.comparison import named_scorers
from ..estimators.callbacks import FitTask, with_callbacks
from ..metrics import get_scorer
from ..model_selection.proteins import splitter_of
from ..sequences.checked import Range, require_package
from ..sequences.clean import check_parameters
from .fingerprint import differences, fingerprint
from .queue import RESULT, TrialQueue, open_storage, open_study
from .space import DEFAULT_TRIALS, Space, cheap_first
from .trials import Plan, run_trials


class PLMSearchCV(BaseSearchCV):
    """Search for the parameters with the best cross-validated score; stop bad candidates early, and resume.

    Optuna suggests candidates and decides which of them end early. A candidate may end between folds, if it
    is worse than the best one on the folds so far, and, for estimators that are tuned, between epochs of its
    first fold. With a ``storage``, a search that was interrupted goes on where it was, and several processes
    or machines work on one search. Any estimator of scikit-learn can be searched.

    Parameters
    ----------
    estimator : estimator
    param_distributions : dict or list of dict
        What to try, by name of the parameter, such as ``adapter__rank``: a list of values (whole adapters
        too), a distribution of scipy.stats, or one of Optuna. A list of dicts is a list of alternatives, for
        ``sampler="grid"`` and ``"random"``.
    n_trials : int, default=None
        Candidates to try, over all processes and runs on one storage. None tries all of a grid, and
        10 otherwise.
    sampler : {"tpe", "random", "grid"} or sampler of Optuna, default="tpe"
        Who decides what to try. "tpe" learns from the scores so far. "random" and "grid" try the candidates
        of :class:`~sklearn.model_selection.ParameterSampler` and
        :class:`~sklearn.model_selection.ParameterGrid`; those that share frozen layers come one after
        the other, so that these are computed once.
    pruner : {"median", "hyperband"}, pruner of Optuna or None, default="median"
        Ends a candidate after an epoch of its first fold, by its scores on the fold's test part. It has an
        effect on estimators with epochs (LoRA and other tuned ones). "median" ends what is below the median
        of earlier candidates, once four have run, but not in the first quarter of the epochs.
    p_threshold : float or None, default=0.26
        Ends a candidate between folds if Wilcoxon's signed-rank test finds it worse than the best one with
        a p-value below this. With 0.26 that is worse on both of the first two folds; 0.1 waits for
        four. None never does.
    scoring : str, callable, list, tuple or dict, default=None
        One score or several, as in scikit-learn, with the names of :data:`plmlearn.metrics.SCORERS` too.
    cv : int, splitter or iterable of splits, default=None
        Splits, as in scikit-learn. With ``groups``, a number is that of
        :class:`~plmlearn.model_selection.ClusterKFold`.
    refit : bool, str or callable, default=True
        Fit the best candidate on all data. With several scores, the name of the one to search by.
    storage : str or PathLike, default=None
        Where trials are kept: a path is a journal on a file, which network disks can share; a text with
        "://" is the URL of a database, such as "sqlite:///study.db". None forgets them with the process.
    study_name : str, default="plmlearn"
        Of the search in the storage.
    timeout : float, default=None
        Seconds after which ``fit`` starts no more trials.
    n_jobs : int, default=None
        Trials to run at once, in processes of joblib.
    random_state : int, RandomState or None, default=None
        Seed of the candidates.
    error_score : "raise" or float, default=nan
        Score of a fold in which the estimator or the scorer fails.
    verbose : int, default=0
        1 prints a line per trial; more also one per fold.

    Attributes
    ----------
    best_estimator_, best_params_, best_score_, best_index_, refit_time_
        The best of the candidates that ran all folds.
    cv_results_ : dict of ndarray
        As of :class:`~sklearn.model_selection.GridSearchCV`, in the order of the sampler, and

        ``state``
            "complete", "pruned" or "failed". What is pruned has no mean, as its other folds are unknown.
        ``n_folds_run``, ``epochs_run``, ``seconds``
            Folds that were scored, epochs and time of all its fits.
        ``value``
            What Optuna was told. Of a candidate that was pruned between folds it is the mean that it would
            have had, if its other folds differed from the best candidate's as the first ones do; between
            epochs, the last one's score.
    study_ : optuna.Study
        All trials, for ``optuna.visualization`` and importances.
    n_splits_, scorer_, multimetric_
        As of :class:`~sklearn.model_selection.GridSearchCV`.

    Raises
    ------
    ValueError
        Unknown names of parameters, nothing to search, or a storage that holds another search; the message
        says what differs.

    See Also
    --------
    sklearn.model_selection.GridSearchCV : All candidates, all folds.
    sklearn.model_selection.HalvingRandomSearchCV : Starts with few epochs or few proteins.
    plmlearn.plotting.SearchDisplay : Its picture.

    Notes
    -----
    Cost: at most one fit per candidate and fold, one prediction of the first fold's test part per epoch if
    epochs are pruned, and the last fit on all data. Frozen layers are computed once per protein and depth.

    The best of many scores is better than its candidate is. Score ``best_estimator_`` on proteins that
    the search has not seen.

    References
    ----------
    Akiba et al. (2019), doi:10.1145/3292500.3330701

    Examples
    --------
    >>> from plmlearn import PLMLoRAClassifier
    >>> from plmlearn.datasets import make_protein_classification
    >>> from plmlearn.search import PLMSearchCV
    >>> X, y = make_protein_classification(24, median_length=20, max_length=30, random_state=0)
    >>> clf = PLMLoRAClassifier("mini", epochs=1, last_n_layers=1, random_state=0, verbose=0)
    >>> search = PLMSearchCV(clf, {"rank": [2, 4]}, sampler="grid", cv=2).fit(X, y)
    >>> search.cv_results_["n_folds_run"].tolist()
    [2, 2]
    """

    best_estimator_: Any
    best_params_: dict[str, Any]
    best_score_: float
    best_index_: int
    cv_results_: dict[str, Any]
    study_: Any

    _required_parameters: ClassVar = ["estimator", "param_distributions"]
    return_train_score = False
    _parameter_constraints: ClassVar[dict] = {
        "estimator": [HasMethods(["fit"])],
        "param_distributions": [Mapping, list, tuple],
        "n_trials": [Range(Integral, 1, None, closed="left"), None],
        "sampler": [StrOptions({"tpe", "random", "grid"}), HasMethods("sample_independent")],
        "pruner": [StrOptions({"median", "hyperband"}), HasMethods("prune"), None],
        "p_threshold": [Range(Real, 0, 1, closed="both"), None],
        "scoring": [str, callable, list, tuple, dict, None],
        "cv": ["cv_object"],
        "refit": ["boolean", str, callable],
        "storage": [str, PathLike, None],
        "study_name": [str],
        "timeout": [Range(Real, 0, None, closed="neither"), None],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "error_score": [StrOptions({"raise"}), Real],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator: Any,
        param_distributions: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        n_trials: int | None = None,
        sampler: Any = "tpe",
        pruner: Any = "median",
        p_threshold: float | None = 0.26,
        scoring: Any = None,
        cv: Any = None,
        refit: bool | str | Callable = True,
        storage: str | PathLike[str] | None = None,
        study_name: str = "plmlearn",
        timeout: float | None = None,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        error_score: Any = np.nan,
        verbose: int = 0,
    ):
        self.estimator = estimator
        self.param_distributions = param_distributions
        self.n_trials = n_trials
        self.sampler = sampler
        self.pruner = pruner
        self.p_threshold = p_threshold
        self.scoring = scoring
        self.cv = cv
        self.refit = refit
        self.storage = storage
        self.study_name = study_name
        self.timeout = timeout
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.error_score = error_score
        self.verbose = verbose

    @with_callbacks
    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Search, then fit the best candidate on all data.

        Parameters
        ----------
        X : list, array or Series
            As the estimator takes it.
        y : array-like, default=None
        **params
            ``groups`` for the splitter; others, such as ``sample_weight``, for ``fit`` of the estimator, cut
            with ``X`` if they are as long. With scikit-learn's metadata routing, for whoever requests them.

        Returns
        -------
        self
        """
        require_package("optuna", 'PLMSearchCV needs Optuna: pip install "plmlearn[search]".')
        check_parameters(self._parameter_constraints, self.get_params(deep=False), type(self).__name__)
        if y is not None and _num_samples(X) != _num_samples(y):
            raise ValueError(
                f"y has {_num_samples(y)} targets for {_num_samples(X)} samples in X; expected one for each."
            )
        X, y = indexable(X, y)
        params = _check_method_params(X, params=params)
        n_parts = 1 + (self.refit is not False)
        task = FitTask.of_fit(self, X, y, params.get("sample_weight"), n_parts)
        with _quiet_optuna(), tempfile.TemporaryDirectory() as folder:
            plan = self._plan(X, y, params, folder)
            plan.task = task.part("search", max_subtasks=plan.n_trials, sequential_subtasks=False).begin()
            self._run(plan)
            plan.task.end()
            queue = plan.queue()
            self._collect(plan, queue.finished())
            self.study_ = _kept(queue.study, self.storage)
        if self.refit is not False:
            self._fit_best(plan, task)
        task.end()
        return self

    # -- before the search ------------------------------------------------------------------------

    def _plan(self, X: Any, y: Any, params: dict[str, Any], folder: str) -> Plan:
        """Check everything, open the storage, and let trials wait in it."""
        scorers, _ = self._get_scorers()
        routed = self._get_routed_params_for_fit(params)
        space = Space.of(self.estimator, self.param_distributions)
        of_cv = routed.splitter.split
        splitter = splitter_of(self.cv, y, of_cv.get("groups"), is_classifier(self.estimator))
        splits = list(splitter.split(X, y, **of_cv))
        if not splits:
            raise ValueError(f"cv={self.cv!r} gives no splits; expected at least one.")
        self.n_splits_ = len(splits)
        plan = Plan(
            search=self,
            X=X,
            y=y,
            splits=splits,
            scorers=scorers,
            fit_params=routed.estimator.fit,
            score_params=routed.scorer.score,
            space=space,
            storage=self._open(folder),
        )
        data = {"X": X, "y": y, "the splits of cv": splits, "parameters of fit": params}
        self._open_study(plan, data)
        return plan

    def _open(self, folder: str) -> Any:
        """The storage; processes of one search without any share a journal that is removed at its end."""
        is_shared = self.storage is None and effective_n_jobs(self.n_jobs) > 1
        return open_storage(Path(folder) / "journal" if is_shared else self.storage)

    def _open_study(self, plan: Plan, data: Mapping[str, Any]) -> None:
        """Decide what is tried, as the storage has it if the search has begun before."""
        here = fingerprint(self, plan.space.grids, data)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))

        def fill(study: Any, settings: dict[str, Any]) -> None:
            self._decide(plan, settings["seed"])
            TrialQueue(study, plan.slots, plan.n_trials).fill()

        settings = {"seed": seed, "fingerprint": here}
        _, found = open_study(plan.storage, self.study_name, settings, fill)
        if differing := differences(here, found["fingerprint"], data):
            raise ValueError(
                f"storage={str(self.storage)!r} holds another search named {self.study_name!r}: "
                f"{'; '.join(differing)}. Pass the same settings and data, or another storage or study_name."
            )
        self._decide(plan, found["seed"])

    def _decide(self, plan: Plan, seed: int) -> None:
        """Candidates and their order."""
        plan.seed = seed
        if type(self.sampler).__name__ == "GridSampler":
            raise ValueError("sampler=GridSampler draws from its own lists; pass sampler='grid' instead.")
        if self.sampler in ("random", "grid"):
            plan.candidates = plan.space.candidates(self.sampler, self.n_trials, seed)
        plan.distributions = plan.space.distributions(plan.candidates)
        if plan.candidates is None:
            plan.n_trials = DEFAULT_TRIALS if self.n_trials is None else int(self.n_trials)
            plan.slots = {slot: {} for slot in range(plan.n_trials)}
            return
        order = cheap_first(self.estimator, plan.candidates)[: self.n_trials]
        encoded = {slot: plan.space.encode(plan.candidates[slot], plan.distributions) for slot in order}
        plan.slots, plan.n_trials = encoded, len(order)

    def _get_scorers(self) -> tuple[Any, Any]:
        """Scorers, as scikit-learn finds them; names of this package's scores are known too."""
        named, scoring = copy.copy(self), self.scoring
        named.scoring = get_scorer(scoring) if isinstance(scoring, str) else named_scorers(scoring)
        return BaseSearchCV._get_scorers(named)

    # -- the search and after it ------------------------------------------------------------------

    def _run(self, plan: Plan) -> None:
        n_jobs = min(effective_n_jobs(self.n_jobs), plan.n_trials)
        deadline = math.inf if self.timeout is None else time.time() + self.timeout
        if n_jobs > 1:
            Parallel(n_jobs=n_jobs)(delayed(run_trials)(plan, deadline, wait=False) for _ in range(n_jobs))
        run_trials(plan, deadline, wait=True)

    def _collect(self, plan: Plan, trials: Sequence[Any]) -> None:
        """``cv_results_`` of trials that have ended, and the best of them."""
        if not trials:
            raise ValueError(f"No trial has ended within timeout={self.timeout} seconds; expected more time.")
        results = [trial.user_attrs[RESULT] for trial in trials]
        folds = [fold for result in results for fold in result["folds"]]
        if not folds:
            raise ValueError(
                f"All {len(trials)} candidates were pruned in their first fold, and none has a score. "
                "pruner=None lets them end their epochs."
            )
        _warn_or_raise_about_fit_failures(folds, self.error_score)
        if callable(self.scoring):
            _insert_error_scores(folds, self.error_score)
        scores = folds[0]["test_scores"]
        self.multimetric_ = isinstance(scores, dict)
        not_run: dict[str, Any] = {"n_test_samples": 0, "fit_error": None}
        not_run |= dict.fromkeys(("fit_time", "score_time"), math.nan)
        not_run["test_scores"] = dict.fromkeys(scores, math.nan) if self.multimetric_ else math.nan
        rows = [result["folds"] + [not_run] * (self.n_splits_ - len(result["folds"])) for result in results]
        values = [math.nan if trial.value is None else trial.value for trial in trials]
        more = {
            "value": values,
            "state": [result["state"] for result in results],
            "n_folds_run": [len(result["folds"]) for result in results],
            "epochs_run": [result["epochs"] for result in results],
            "seconds": [result["seconds"] for result in results],
        }
        candidates = [plan.candidate(trial) for trial in trials]
        with warnings.catch_warnings():
            if "failed" not in more["state"]:
                warnings.filterwarnings("ignore", "One or more of the test scores are non-finite")
            self.cv_results_ = self._format_results(
                candidates, self.n_splits_, [fold for row in rows for fold in row], more
            )
        self.scorer_ = getattr(plan.scorers, "_scorers", plan.scorers)
        self._choose(scores)

    def _choose(self, scores: Any) -> None:
        """The best candidate, by the score that ``refit`` names if there are several."""
        if callable(self.scoring) and self.multimetric_:
            self._check_refit_for_multimetric(scores)
        if self.refit is False and self.multimetric_:
            return
        score_name = str(self.refit) if self.multimetric_ else "score"
        self.best_index_ = self._select_best_index(self.refit, score_name, self.cv_results_)
        if not callable(self.refit):
            self.best_score_ = self.cv_results_[f"mean_test_{score_name}"][self.best_index_]
        self.best_params_ = self.cv_results_["params"][self.best_index_]

    def _fit_best(self, plan: Plan, task: Any) -> None:
        best = clone(self.estimator).set_params(**clone(self.best_params_, safe=False))
        started = time.time()
        with task.part("refit").around(best):
            given = (plan.X,) if plan.y is None else (plan.X, plan.y)
            best.fit(*given, **plan.fit_params)
        self.best_estimator_, self.refit_time_ = best, time.time() - started
        if hasattr(best, "feature_names_in_"):
            self.feature_names_in_ = best.feature_names_in_

    def __sklearn_tags__(self):
        if not hasattr(self.estimator, "__sklearn_tags__"):  # set after the fit; fit itself refuses it
            return super(BaseSearchCV, self).__sklearn_tags__()
        tags, of_estimator = super().__sklearn_tags__(), get_tags(self.estimator)
        for name in ("input_tags", "target_tags", "transformer_tags"):
            setattr(tags, name, copy.deepcopy(getattr(of_estimator, name)))
        return tags


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Optuna tells of each study and trial on stderr; here ``verbose`` decides."""
    from optuna import logging

    before = logging.get_verbosity()
    logging.set_verbosity(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _kept(study: Any, storage: Any) -> Any:
    """The study for the user: that in the storage, or a copy in memory."""
    import optuna

    if storage is not None:
        return optuna.load_study(study_name=study.study_name, storage=study._storage)
    kept = optuna.create_study(study_name=study.study_name, direction="maximize")
    kept.add_trials(study.get_trials())
    return kept
