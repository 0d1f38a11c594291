"""Tuning: the same short trials for every network row, and for each the settings whose validation score was best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inference.comparison.record import Trial
from training.comparison.configuration import TuningConfig
from training.comparison.runs import combinations, networks, spelt, varied
from training.experiment import ExperimentConfig, TrainingConfig
from training.runs.study import Result, Run, updates_taken


@dataclass(frozen=True)
class Candidate:
    """Holds settings of one row, and the short run that tries them."""

    label: str
    settings: Mapping[str, Any]
    run: Run


def candidates(tuning: TuningConfig | None, experiments: Mapping[str, ExperimentConfig]) -> list[Candidate]:
    """Return the trials of every network row, equally many of each.

    Raises MeshcastError where a path leads nowhere in one of the rows.
    """
    if tuning is None:
        return []
    found = []
    for label, experiment in networks(experiments).items():
        for settings in combinations(tuning.all_axes):
            config = varied(experiment, settings, f"tuning of {label}")
            short = replace(config, training=shortened(config.training, tuning))
            every = min(short.validation.every, short.training.updates)
            short = replace(short, validation=replace(short.validation, every=every))
            found.append(Candidate(label, settings, Run(f"{label}, {spelt(settings)}", short, tuning.seed)))
    return found


def shortened(training: TrainingConfig, tuning: TuningConfig) -> TrainingConfig:
    """Return the training of a trial: fewer updates, the warm-up the same share of them."""
    if tuning.updates is None and training.minutes is not None:
        # How many updates the minutes come to is not known yet; the warm-up shrinks with them all the same.
        minutes, updates, share = training.minutes * tuning.share, training.updates, tuning.share
    else:
        updates = tuning.updates or max(1, round(tuning.share * training.updates))
        minutes, share = None, min(1.0, updates / training.updates)
    return replace(training, updates=updates, minutes=minutes, warm_up=round(share * training.warm_up))


def trials(found: Sequence[Candidate], results: Sequence[Result], folder: Path | str) -> list[Trial]:
    """Return what came of the candidates, the best of each row marked as chosen; of equals the first is taken.

    One that diverged or failed is infinitely bad: where all of a row are, none is chosen.

    folder: of the results.
    """
    scores = [
        result.validation_score if result.status == "done" and result.validation_score is not None else math.inf
        for result in results
    ]
    best: dict[str, int] = {}
    for number, candidate in enumerate(found):
        if scores[number] < (scores[best[candidate.label]] if candidate.label in best else math.inf):
            best[candidate.label] = number
    return [
        Trial(
            label=candidate.label,
            settings=dict(candidate.settings),
            updates=updates_taken(result, folder),
            score=scores[number] if math.isfinite(scores[number]) else None,
            seconds=result.seconds,
            status=result.status,
            reason=result.reason,
            chosen=best.get(candidate.label) == number,
        )
        for number, (candidate, result) in enumerate(zip(found, results, strict=True))
    ]


def with_chosen(experiments: Mapping[str, ExperimentConfig], tried: Sequence[Trial]) -> dict[str, ExperimentConfig]:
    """Return the experiments with the settings chosen for their rows; as configured where no trial stayed finite."""
    chosen = {trial.label: trial.settings for trial in tried if trial.chosen}
    return {
        label: varied(experiment, chosen[label], f"tuning of {label}") if label in chosen else experiment
        for label, experiment in experiments.items()
    }
