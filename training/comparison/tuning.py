"""Tuning: the same short trials for every network row, and for each the settings whose validation score was best."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emulator.build import is_closed_form
from graphs.errors import MeshcastError
from inference.comparison.record import Trial
from training.comparison.configuration import TuningConfig
from training.comparison.runs import combinations, networks, spelt, varied
from training.experiment import ExperimentConfig, TrainingConfig
from training.run_folder import run_folder
from training.runs.study import Result, Run, run_study, updates_taken


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
    made = [
        Trial(
            label=candidate.label,
            settings=dict(candidate.settings),
            updates=updates_taken(result, folder),
            score=result.validation_score if result.status == "done" and _finite(result.validation_score) else None,
            seconds=result.seconds,
            status=result.status,
            reason=result.reason,
            rank=result.rank if _finite(result.rank) else None,
        )
        for candidate, result in zip(found, results, strict=True)
    ]
    best: dict[str, int] = {}
    for number, trial in enumerate(made):
        if trial.counts_as < (made[best[trial.label]].counts_as if trial.label in best else math.inf):
            best[trial.label] = number
    return [replace(trial, chosen=best.get(trial.label) == number) for number, trial in enumerate(made)]


def _finite(number: float | None) -> bool:
    return number is not None and math.isfinite(number)


def tune(
    config: ExperimentConfig,
    tuning: TuningConfig,
    *,
    progress: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> list[Trial]:
    """Return the trials of one experiment, the best marked as chosen; those made before are not repeated.

    They lie in the folder `trials` of the run's, beside which `train` may put the run itself.

    Raises MeshcastError where a path leads nowhere, or where nothing is trained by gradient descent.
    """
    if is_closed_form(config.emulator):
        raise MeshcastError(f"An emulator of kind {config.emulator.kind} is fitted in closed form and makes no trials.")
    folder = run_folder(config)
    placed = replace(config, output=str(folder), name="trials", data=replace(config.data, test=None), between=None)
    found = candidates(tuning, {config.name: placed})
    results = folder / "trials" / "results"
    made = run_study([candidate.run for candidate in found], results, progress=progress, say=say)
    return trials(found, made, results)


def with_chosen(experiments: Mapping[str, ExperimentConfig], tried: Sequence[Trial]) -> dict[str, ExperimentConfig]:
    """Return the experiments with the settings chosen for their rows; as configured where no trial stayed finite."""
    chosen = {trial.label: trial.settings for trial in tried if trial.chosen}
    return {
        label: varied(experiment, chosen[label], f"tuning of {label}") if label in chosen else experiment
        for label, experiment in experiments.items()
    }
