"""Tuning: the same short trials for every network row, and for each the settings whose validation score was best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.comparison.record import Trial
from training.comparison.configuration import TuningConfig
from training.comparison.runs import networks
from training.experiment import ExperimentConfig
from training.runs.study import Result, Run, updates_taken
from training.tuning.settings import spelt, varied
from training.tuning.short_trials import short_trial, trial_of, with_best_chosen


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
        for settings in tuning.tried_by(experiment, f"tuning of {label}"):
            short = short_trial(experiment, settings, tuning, f"tuning of {label}")
            found.append(Candidate(label, settings, Run(f"{label}, {spelt(settings)}", short, tuning.seed)))
    return found


def trials(found: Sequence[Candidate], results: Sequence[Result], folder: Path | str) -> list[Trial]:
    """Return what came of the candidates, the best of each row marked as chosen.

    One that diverged or failed is infinitely bad: where all of a row are, none is chosen.

    folder: of the results.
    """
    made = [
        trial_of(candidate.label, candidate.settings, result, updates_taken(result, folder))
        for candidate, result in zip(found, results, strict=True)
    ]
    return with_best_chosen(made)


def with_chosen(experiments: Mapping[str, ExperimentConfig], tried: Sequence[Trial]) -> dict[str, ExperimentConfig]:
    """Return the experiments with the settings chosen for their rows; as configured where no trial stayed finite."""
    chosen = {trial.label: trial.settings for trial in tried if trial.chosen}
    return {
        label: varied(experiment, chosen[label], f"tuning of {label}") if label in chosen else experiment
        for label, experiment in experiments.items()
    }
