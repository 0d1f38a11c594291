"""What is tried next: a function of the trials so far alone, so that a study that was killed goes on as it would have.

Trials are Optuna's: settings by name, what came of them, and the scores of their validations.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState

from graphs.errors import MeshcastError
from training.tuning.settings import KIND
from training.tuning.space import Axis, Choice, Range, Space, scattered

Pruning = Literal["median", "hyperband", "none"]
Propose = Callable[[Sequence[FrozenTrial]], dict[str, Any]]

STUDY = "meshcast"  # Hyperband draws a trial's bracket from the name of its study
SCATTERED = 8  # trials before any is proposed from what came of others
MEDIAN_AFTER, MEDIAN_FROM = 4, 0.3  # finished trials, and the share of a trial, before which none is ended early
BRACKETS = 3
LEAST_FOR_IMPORTANCE = 6


def grid(space: Space) -> tuple[Propose, int]:
    """Return what proposes every point of a finite space in turn, and how many there are."""
    points = list(space.points())
    return lambda trials: points[len(trials)], len(points)


def search(space: Space, first: Mapping[str, Any] | None, seed: int, pruning: Pruning) -> Propose:
    """Return what proposes points of a space: the first, scattered ones, then those of a tree of Parzen estimators.

    The estimators (TPE, Bergstra et al. 2011) of joint values, apart for each kind of emulator, take running trials
    for bad ones, so that parallel trials differ.

    first: what is tried first, as the configuration stands; None where it lies outside of the space.
    """

    def propose(trials: Sequence[FrozenTrial]) -> dict[str, Any]:
        number = len(trials)
        if first is not None and number == 0:
            return dict(first)
        if sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials) < SCATTERED:
            return scattered(space, number + 1, seed)[number]
        drawn = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        with _quiet():
            sampler = TPESampler(seed=drawn, n_startup_trials=1, multivariate=True, group=True)
            study = optuna.create_study(study_name=STUDY, sampler=sampler, pruner=pruner(pruning))
            study.add_trials(trials)
            return _suggested(study.ask(), space)

    return propose


def pruner(pruning: Pruning, updates: int = 100) -> BasePruner:
    """Return what ends bad trials of so many updates early."""
    if pruning == "median":
        return MedianPruner(n_startup_trials=MEDIAN_AFTER, n_warmup_steps=round(MEDIAN_FROM * updates))
    if pruning == "hyperband":
        least = max(1, updates // 3 ** (BRACKETS - 1))
        return HyperbandPruner(min_resource=least, max_resource=max(updates, least), reduction_factor=3)
    return NopPruner()


def distributions(space: Space, point: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """Return the axes of a point in Optuna's terms."""
    return {name: _distribution(space.named[name]) for name in point}


def encoded(space: Space, point: Mapping[str, Any]) -> dict[str, Any]:
    """Return a point in the plain values that Optuna stores."""
    return {name: _plain(value) if isinstance(space.named[name], Choice) else value for name, value in point.items()}


def decoded(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the point that Optuna stores."""
    return {name: _decoded(space.named[name], params[name]) for name in space.named if name in params}


def importances(trials: Sequence[FrozenTrial]) -> dict[str, float]:
    """Return by name what share each axis has in a trial's being among the best; none of too few trials.

    By PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255); of an axis that one kind of emulator alone has, its
    conditional form (arXiv:2601.20800). The largest comes first.
    """
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if len(finished) < LEAST_FOR_IMPORTANCE:
        return {}
    with _quiet():
        study = optuna.create_study()
        study.add_trials(finished)
        quantile = min(0.5, max(0.1, 5 / len(finished)))  # of at least five trials, as its authors ask for
        found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=quantile))
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _suggested(trial: optuna.trial.Trial, space: Space) -> dict[str, Any]:
    kind = _suggest(trial, KIND, space.named[KIND]) if space.kinds else None
    return {name: _suggest(trial, name, axis) for name, axis in space.active(kind).items()}


def _suggest(trial: optuna.trial.Trial, name: str, axis: Axis) -> Any:
    if isinstance(axis, Choice):
        return _decoded(axis, trial.suggest_categorical(name, [_plain(value) for value in axis.values]))
    if axis.whole:
        step = 1 if axis.step is None else int(axis.step)
        return trial.suggest_int(name, int(axis.low), int(axis.high), log=axis.log, step=step)
    return axis.rounded(trial.suggest_float(name, axis.low, axis.high, log=axis.log, step=axis.step))


def _distribution(axis: Axis) -> BaseDistribution:
    if isinstance(axis, Choice):
        return CategoricalDistribution([_plain(value) for value in axis.values])
    if axis.whole:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log, step=int(axis.step or 1))
    return FloatDistribution(axis.low, axis.high, log=axis.log, step=axis.step)


def _plain(value: Any) -> Any:
    return value if value is None or type(value) in (bool, int, float, str) else json.dumps(value)


def _decoded(axis: Axis, value: Any) -> Any:
    if isinstance(axis, Range):
        return int(value) if axis.whole else float(value)
    for each in axis.values:
        if _plain(each) == value and type(_plain(each)) is type(value):
            return each
    raise MeshcastError(f"The study holds {value!r}, which is not among {axis}.")


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna without a line for each trial, and without warnings of what is experimental."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
