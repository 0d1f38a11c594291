"""What a comparison trains: an experiment for each row, and a run for each of its seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from emulator.baselines.persistence import PersistenceConfig
from emulator.build import is_closed_form
from emulator.foundation.configuration import load, resolve
from graphs.errors import MeshcastError
from training.comparison.ablation import as_overrides, expanded
from training.comparison.configuration import CheckpointConfig, CompareConfig, ForecastFileConfig
from training.experiment import ExperimentConfig, TrainingConfig
from training.runs.study import Run


def study_runs(config: CompareConfig) -> list[Run]:
    """The runs of a comparison without tuning: networks once a seed, closed forms once, persistence always."""
    return runs_of(config, experiments(expanded(config)))


def experiments(config: CompareConfig) -> dict[str, ExperimentConfig]:
    """By label, what is fitted; no row is loaded or read. The grid must be expanded."""
    assert not config.grid
    rows = dict(config.emulators)
    if not any(isinstance(row, PersistenceConfig) for row in rows.values()):
        if "persistence" in rows:
            raise MeshcastError("The label persistence is kept for persistence. Name that emulator otherwise.")
        rows["persistence"] = PersistenceConfig()
    return {
        label: ExperimentConfig(
            name=config.name,
            data=replace(config.data, test=None),  # no run sees it, and a longer test part repeats none
            task=replace(config.task, history=config.own_history.get(label, config.task.history)),
            emulator=row,
            training=_training_of(config, label),
            validation=config.validation,
            tracking=config.tracking,
            output=config.output,
        )
        for label, row in rows.items()
        if not isinstance(row, CheckpointConfig | ForecastFileConfig)
    }


def runs_of(config: CompareConfig, experiments: Mapping[str, ExperimentConfig]) -> list[Run]:
    """Networks once a seed, closed forms once."""
    return [
        Run(label, experiment, seed)
        for label, experiment in experiments.items()
        for seed in ((0,) if is_closed_form(experiment.emulator) else config.seeds)
    ]


def networks(experiments: Mapping[str, ExperimentConfig]) -> dict[str, ExperimentConfig]:
    """Those fitted by gradient descent."""
    return {label: experiment for label, experiment in experiments.items() if not is_closed_form(experiment.emulator)}


def varied(experiment: ExperimentConfig, settings: Mapping[str, Any], what: str) -> ExperimentConfig:
    """An experiment with other settings, by dotted path.

    what: asks for them, for the message where a path leads nowhere.
    """
    try:
        return load(ExperimentConfig, resolve(experiment), as_overrides(settings))
    except MeshcastError as error:
        raise MeshcastError(f"{what}: {error}") from None


def _training_of(config: CompareConfig, label: str) -> TrainingConfig:
    own = config.own_training.get(label, {})
    if not own:
        return config.training
    try:
        return load(TrainingConfig, {**resolve(config.training), **own})
    except MeshcastError as error:
        raise MeshcastError(f"own_training.{label}: {error}") from None
