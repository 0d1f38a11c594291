"""A trial is the whole training in small: the experiment that is fitted, and what comes of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from inference.comparison.record import Trial
from training.experiment import ExperimentConfig, TrainingConfig
from training.runs.study import Result
from training.tuning.settings import varied


class Length(Protocol):
    """How long a trial is: a share of the training's updates, or in its place their number."""

    @property
    def share(self) -> float:
        """Return the share of the training's updates, or minutes."""

    @property
    def updates(self) -> int | None:
        """Return the updates of a trial where they are given."""


def short_trial(
    experiment: ExperimentConfig, settings: Mapping[str, Any], length: Length, what: str, validations: int = 1
) -> ExperimentConfig:
    """Return what is fitted to try settings.

    what: asks for them, for the message where a path leads nowhere. validations: at least so many in a trial.
    """
    short = varied(experiment, settings, what)
    short = replace(short, training=shortened(short.training, length))
    every = min(short.validation.every, max(1, short.training.updates // validations))
    return replace(short, validation=replace(short.validation, every=every))


def shortened(training: TrainingConfig, length: Length) -> TrainingConfig:
    """Return the training of a trial: fewer updates, the warm-up the same share of them."""
    if length.updates is None and training.minutes is not None:
        # How many updates the minutes come to is not known yet; the warm-up shrinks with them all the same.
        minutes, updates, share = training.minutes * length.share, training.updates, length.share
    else:
        updates = length.updates or max(1, round(length.share * training.updates))
        minutes, share = None, min(1.0, updates / training.updates)
    return replace(training, updates=updates, minutes=minutes, warm_up=round(share * training.warm_up))


def trial_of(label: str, settings: Mapping[str, Any], result: Result, updates: int) -> Trial:
    """Return what came of a trial; one that did not come to its end counts as infinitely bad."""
    return Trial(
        label=label,
        settings=dict(settings),
        updates=updates,
        score=result.validation_score if result.status == "done" and _finite(result.validation_score) else None,
        seconds=result.seconds,
        status=result.status,
        reason=result.reason,
        rank=result.rank if _finite(result.rank) else None,
    )


def with_best_chosen(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials, the best of each label marked as chosen: the first of equals, none of infinite ones."""
    best: dict[str, int] = {}
    for number, trial in enumerate(trials):
        if trial.counts_as < (trials[best[trial.label]].counts_as if trial.label in best else math.inf):
            best[trial.label] = number
    return [replace(trial, chosen=best.get(trial.label) == number) for number, trial in enumerate(trials)]


def _finite(number: float | None) -> bool:
    return number is not None and math.isfinite(number)
