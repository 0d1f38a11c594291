"""What a comparison trains: an experiment for each row, and a run for each of its seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from emulator.baselines.persistence import PersistenceConfig
from emulator.build import is_closed_form
from emulator.foundation.configuration import load, resolve
from graphs.errors import MeshcastError
from training.comparison.ablation import as_overrides
from training.comparison.configuration import CompareConfig, RowConfig
from training.experiment import ExperimentConfig, TrainingConfig
from training.runs.study import Run


def experiments(config: CompareConfig) -> dict[str, ExperimentConfig]:
    """Return by label what is fitted, of a comparison whose grids are expanded; no data are read."""
    rows = dict(config.rows)
    if not any(isinstance(row.emulator, PersistenceConfig) for row in rows.values()):
        if "persistence" in rows:
            raise MeshcastError("The label persistence is kept for persistence. Name that row otherwise.")
        rows["persistence"] = RowConfig(PersistenceConfig())
    return {
        label: ExperimentConfig(
            name=config.name,
            data=replace(config.data, test=None),  # no run sees it, and a longer test part repeats none
            task=replace(config.task, history=row.history or config.task.history),
            emulator=row.emulator,
            training=_training_of(config, label, row),
            validation=config.validation,
            tracking=config.tracking,
            output=config.output,
        )
        for label, row in rows.items()
        if row.emulator is not None
    }


def runs_of(config: CompareConfig, experiments: Mapping[str, ExperimentConfig]) -> list[Run]:
    """Return the runs of the experiments: networks once a seed, closed forms once."""
    return [
        Run(label, experiment, seed)
        for label, experiment in experiments.items()
        for seed in ((0,) if is_closed_form(experiment.emulator) else config.seeds)
    ]


def networks(experiments: Mapping[str, ExperimentConfig]) -> dict[str, ExperimentConfig]:
    """Return those fitted by gradient descent."""
    return {label: experiment for label, experiment in experiments.items() if not is_closed_form(experiment.emulator)}


def varied(experiment: ExperimentConfig, settings: Mapping[str, Any], what: str) -> ExperimentConfig:
    """Return an experiment with other settings, by dotted path.

    what: asks for them, for the message where a path leads nowhere.
    """
    try:
        return load(ExperimentConfig, resolve(experiment), as_overrides(settings))
    except MeshcastError as error:
        raise MeshcastError(f"{what}: {error}") from None


def _training_of(config: CompareConfig, label: str, row: RowConfig) -> TrainingConfig:
    try:
        return load(TrainingConfig, {**resolve(config.training), **row.training}) if row.training else config.training
    except MeshcastError as error:
        raise MeshcastError(f"rows.{label}.training: {error}") from None
