"""One trial of a search: its folds, what it reports, and when it ends early.

``Plan``        all that a process needs to take part in a search
``run_trials``  evaluate candidates until none is left

A trial reports a score after each epoch of its first fold, with the epochs' numbers as steps, and a score for
each fold, with steps that come after the last epoch of any candidate.
"""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import wilcoxon
from sklearn.base import clone
from sklearn.model_selection._validation import _fit_and_score, _score
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import _check_method_params

from ..estimators.callbacks import FitTask
from ..estimators.tuned import TunedEstimator
from .queue import RESULT, SLOT, TrialQueue
from .space import Candidate, Space, suggest

POLL_SECONDS = 0.5


@dataclass
class Plan:
    """All that a process needs to take part in a search.

    Parameters
    ----------
    search : PLMSearchCV
        Whose parameters these are.
    X, y : as in ``fit``
    splits : list of (ndarray of int, ndarray of int)
        Training and test rows of each fold.
    scorers : callable
        Of one score, or of several.
    fit_params, score_params : dict
        For ``fit`` of the estimator and for the scorers.
    space : Space
    distributions : dict
        Of Optuna, by parameter.
    candidates : list of dict or None
        What to try, by slot; None if Optuna decides.
    slots : dict of int to dict
        As :class:`TrialQueue` takes them.
    n_trials : int
    seed : int
    storage : optuna storage
    task : FitTask
        Of all trials.
    """

    search: Any
    X: Any
    y: Any
    splits: Sequence[tuple[np.ndarray, np.ndarray]]
    scorers: Any
    fit_params: dict[str, Any]
    score_params: dict[str, Any]
    space: Space
    storage: Any
    seed: int = 0
    distributions: dict[str, Any] = field(default_factory=dict)
    candidates: list[Candidate] | None = None
    slots: dict[int, dict[str, Any]] = field(default_factory=dict)
    n_trials: int = 0
    task: Any = None

    @property
    def n_epochs(self) -> int:
        """Most epochs of a candidate's fit; 0 if its estimator does not report them."""
        estimator = self.search.estimator
        if not isinstance(estimator, TunedEstimator):
            return 0
        return int(self.space.largest("epochs", estimator.epochs, self.candidates))

    @property
    def first_compared(self) -> int:
        """The first epoch after which a candidate may end; the scores of earlier ones are of no use."""
        return math.ceil(self.n_epochs / 4) if self.search.pruner == "median" else 1

    def queue(self) -> TrialQueue:
        """The trials, as this process sees them."""
        import optuna

        sampler: Any = self.search.sampler
        # TPE for "random" and "grid" too, whose parameters are fixed, so that they need none.
        sampler = _BySlot(self.seed) if isinstance(sampler, str) else _Own(sampler)
        study = optuna.load_study(
            study_name=self.search.study_name,
            storage=self.storage,
            sampler=sampler,
            pruner=_make_pruner(self.search.pruner, self.n_epochs, self.first_compared),
        )
        return TrialQueue(study, self.slots, self.n_trials, self.distributions)

    def candidate(self, trial: Any) -> Candidate:
        """Parameters of a trial of Optuna, running or ended."""
        slot = trial.user_attrs[SLOT]
        if self.candidates is not None and slot < len(self.candidates):
            return self.candidates[slot]
        return self.space.decode(trial.params)

    def score_of(self, fold: Mapping[str, Any]) -> float:
        """The score to search by: of several the one that ``refit`` names, or the first."""
        scores = fold["test_scores"]
        if not isinstance(scores, Mapping):
            return float(scores)
        name = self.search.refit if isinstance(self.search.refit, str) else next(iter(scores))
        if name not in scores:
            raise ValueError(f"refit={name!r} is no score; expected one of {', '.join(map(repr, scores))}.")
        return float(scores[name])


def run_trials(plan: Plan, deadline: float, *, wait: bool) -> None:
    """Evaluate candidates until none is left, or the time is over.

    Parameters
    ----------
    plan : Plan
    deadline : float
        By the clock of ``time.time``; no candidate begins after it.
    wait : bool
        Whether to wait for the trials that other processes run, and to run them if these die.
    """
    queue = plan.queue()
    with queue.beating():
        while time.time() < deadline:
            trial = queue.take()
            if trial is None:
                if not wait or queue.is_done():
                    break
                time.sleep(POLL_SECONDS)
                continue
            try:
                _Trial(plan, queue, trial).run()
            except BaseException as error:
                if queue.release(trial) or not isinstance(error, RuntimeError):
                    raise


@dataclass
class _Trial:
    """A candidate and its folds."""

    plan: Plan
    queue: TrialQueue
    trial: Any
    folds: list[dict[str, Any]] = field(default_factory=list)
    n_epochs: int = 0

    def run(self) -> None:
        """Decide on the candidate, evaluate it, and store the result."""
        plan, distributions = self.plan, self.plan.distributions
        if plan.candidates is not None:
            distributions = {name: distributions[name] for name in plan.candidates[self.slot]}
        suggest(self.trial, distributions)
        self.params = plan.candidate(self.trial)
        started = time.perf_counter()
        n_folds = len(plan.splits)
        task = plan.task.part("trial", task_id=self.slot, max_subtasks=n_folds).begin()
        state, value = self._evaluate(task)
        task.end()
        seconds = time.perf_counter() - started
        result = {"state": state, "folds": self.folds, "epochs": self.n_epochs, "seconds": seconds}
        self._tell(result, value)

    @property
    def slot(self) -> int:
        return self.trial.user_attrs[SLOT]

    def _evaluate(self, task: FitTask) -> tuple[str, float]:
        """Fold after fold: how the trial ended, and its mean score; nan if there is none."""
        plan, scores = self.plan, []
        for number in range(len(plan.splits)):
            watch = self._watch() if number == 0 else None
            fold, n_epochs = self._fit(number, watch, task)
            self.n_epochs += n_epochs
            if watch is not None and watch.is_pruned:
                return "pruned", math.nan
            self.folds.append(fold)
            scores.append(plan.score_of(fold))
            self.trial.report(scores[-1], plan.n_epochs + 1 + number)
            if 1 < len(scores) < len(plan.splits) and (predicted := self._predicted(scores)) is not None:
                return "pruned", predicted
        value = float(np.mean(scores))
        return "failed" if math.isnan(value) else "complete", value

    def _tell(self, result: dict[str, Any], value: float) -> None:
        """Optuna calls a trial complete that has a value, be it a predicted one."""
        from optuna.trial import TrialState

        if math.isnan(value):
            state = TrialState.PRUNED if result["state"] == "pruned" else TrialState.FAIL
            self.queue.finish(self.trial, result, state)
        else:
            self.queue.finish(self.trial, result, TrialState.COMPLETE, value)
        if self.plan.search.verbose:
            score = "" if math.isnan(value) else f", score {value:.4g}"
            ran = f"{len(self.folds)}/{len(self.plan.splits)} folds, {result['seconds']:.1f} s"
            shown = ", ".join(f"{name}={value}" for name, value in self.params.items())
            ended = f"{len(self.queue.finished())}/{self.plan.n_trials}"
            print(f"[{ended}] {result['state']}{score}, {ran}: {shown}", flush=True)

    def _fit(self, number: int, watch: _Watch | None, task: FitTask) -> tuple[dict[str, Any], int]:
        """Fit and score a fold: what is stored of it, and its epochs."""
        plan, search = self.plan, self.plan.search
        train, test = plan.splits[number]
        estimator = clone(search.estimator)
        if watch is not None:
            estimator._each_epoch = watch
        context = task.part("fold").context
        options = {} if context is None else {"caller": search, "callback_ctx": context}
        fold = _fit_and_score(
            estimator,
            plan.X,
            plan.y,
            scorer=plan.scorers,
            train=train,
            test=test,
            verbose=max(0, search.verbose - 1),
            parameters=self.params,
            fit_params=plan.fit_params,
            score_params=plan.score_params,
            return_n_test_samples=True,
            return_times=True,
            return_estimator=True,
            split_progress=(number, len(plan.splits)),
            candidate_progress=(self.slot, plan.n_trials),
            error_score=search.error_score,
            **options,
        )
        fitted = fold.pop("estimator")
        history = vars(fitted).get("history_", ()) if isinstance(fitted, TunedEstimator) else ()
        scores = fold["test_scores"]
        is_one = not isinstance(scores, Mapping)
        fold["test_scores"] = float(scores) if is_one else {k: float(v) for k, v in scores.items()}
        return fold, len(history)

    def _watch(self) -> _Watch | None:
        if self.plan.search.pruner is None or not self.plan.n_epochs:
            return None
        return _Watch(self.plan, self.trial)

    def _predicted(self, scores: list[float]) -> float | None:
        """The mean that is expected of a candidate which is worse than the best one, else None."""
        best = self._folds_of_best() if self.plan.search.p_threshold is not None else []
        if len(best) < len(self.plan.splits) or not np.isfinite([*best, *scores]).all():
            return None
        same_folds = best[: len(scores)]
        test = wilcoxon(np.subtract(scores, same_folds), alternative="less", zero_method="zsplit")
        if not test.pvalue < self.plan.search.p_threshold or sum(same_folds) <= sum(scores):
            return None
        return float(np.mean(best) + np.mean(scores) - np.mean(same_folds))

    def _folds_of_best(self) -> list[float]:
        """Scores by fold of the best candidate so far."""
        try:
            best = self.queue.study.best_trial
        except ValueError:  # none has ended yet
            return []
        return [self.plan.score_of(fold) for fold in best.user_attrs.get(RESULT, {}).get("folds", [])]


@dataclass
class _Watch:
    """Reports a score on the first fold's test part after each epoch; True ends the fit.

    The score decides on nothing else: neither which epoch is kept nor how long the others train.
    """

    plan: Plan
    trial: Any
    n_epochs: int = 0
    is_pruned: bool = False

    def __call__(self, fitted: Any) -> bool:
        self.n_epochs += 1
        plan = self.plan
        if self.n_epochs < plan.first_compared:
            return False
        train, test = plan.splits[0]
        X, y = _safe_split(fitted, plan.X, plan.y, test, train)
        score_params = _check_method_params(plan.X, params=plan.score_params, indices=test)
        with warnings.catch_warnings():  # the fold's own score warns of the same
            warnings.simplefilter("ignore")
            scores = _score(fitted, X, y, plan.scorers, score_params, error_score=math.nan)
        score = plan.score_of({"test_scores": scores})
        if math.isfinite(score):
            self.trial.report(score, self.n_epochs)
            self.is_pruned = self.trial.should_prune()
        return self.is_pruned


# -- engines of Optuna ----------------------------------------------------------------------------


class _Own:
    """A copy of the caller's sampler for this process: who begins the search keeps its seed, others draw with
    a new one, since they would repeat the first draws."""

    def __init__(self, sampler: Any):
        self._sampler, self._has_drawn = copy.deepcopy(sampler), False

    def before_trial(self, study: Any, trial: Any) -> None:
        if not self._has_drawn and trial.user_attrs[SLOT] > 0:
            self._sampler.reseed_rng()
        self._has_drawn = True
        self._sampler.before_trial(study, trial)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_sampler"], name)


class _BySlot:
    """TPE with a seed of its own for each slot: processes draw different candidates, and a search that was
    interrupted goes on with those that it would have drawn."""

    def __init__(self, seed: int):
        self._seed = seed
        self._sampler: Any = self._of(0)

    def _of(self, slot: int) -> Any:
        from optuna.exceptions import ExperimentalWarning
        from optuna.samplers import TPESampler

        seed = np.random.SeedSequence([self._seed, slot]).generate_state(1)[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return TPESampler(seed=int(seed), multivariate=True, constant_liar=True)

    def before_trial(self, study: Any, trial: Any) -> None:
        self._sampler = self._of(trial.user_attrs[SLOT])

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_sampler"], name)


def _make_pruner(pruner: Any, n_epochs: int, first_compared: int) -> Any:
    """The caller's own pruner, or one of Optuna that fits this number of epochs."""
    from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

    if pruner is None or (isinstance(pruner, str) and not n_epochs):
        return NopPruner()
    if pruner == "median":
        return MedianPruner(n_startup_trials=4, n_warmup_steps=first_compared)
    return HyperbandPruner(max_resource=n_epochs) if pruner == "hyperband" else pruner
