"""Rows of a comparison are put together before they forecast: seeds, what was fitted, and what differs from others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from emulator.baselines.ridge import RidgeConfig
from emulator.build import TrainedEmulator, is_closed_form, load_emulator
from emulator.data.forecast import Forecast
from emulator.emulator_config import EmulatorConfig
from emulator.foundation.configuration import resolve
from graphs.errors import MeshcastError
from inference.comparison.record import Row, Seed, Trial
from training.comparison.configuration import CompareConfig, RowConfig
from training.experiment import ExperimentConfig
from training.runs.study import Result, count_parameters, updates_taken

TUNED_OR_SEED = ("learning_rate", "seed")  # that these differ between rows is meant, and stands in separate columns


def rows_of(
    config: CompareConfig,
    experiments: Mapping[str, ExperimentConfig],
    results: Sequence[Result],
    given: Mapping[str, Seed],
    trials: Sequence[Trial],
) -> list[Row]:
    """Return all rows in the order of the configuration, persistence last where it was added.

    results: of the runs; given: the one seed of each row that was not trained here.
    """
    rows, folder = [], Path(config.results)
    for label in dict.fromkeys([*config.rows, *(result.label for result in results)]):
        runs = [result for result in results if result.label == label]
        seeds = (given[label],) if label in given else tuple(_seed(run, folder) for run in runs)
        emulator = next((seed.emulator for seed in seeds if seed.emulator is not None), None)
        experiment = experiments.get(label)
        network = experiment is not None and not is_closed_form(experiment.emulator)
        configured = config.rows.get(label, RowConfig(experiment.emulator) if experiment is not None else None)
        ended = sorted(runs, key=lambda run: run.status == "failed")
        logs = [folder / run.folder / "metrics.csv" for run in runs]
        settings = next((dict(trial.settings) for trial in trials if trial.label == label and trial.chosen), {})
        if emulator is not None:
            settings |= _chosen_in_closed_form(emulator.config)
        row = Row(
            label=label,
            kind="" if configured is None else configured.kind,
            seeds=seeds,
            configuration={} if experiment is None else resolve(experiment),
            updates=updates_taken(ended[0], folder) if network and ended else None,
            history=None if emulator is None else emulator.emulator.task.history,
            regridding=_regridding(emulator, seeds[0].forecast),
            settings=settings,
            differences=tuple(_differences(config, label, experiment, settings)) if network and experiment else (),
            logs=tuple(log for log in logs if log.is_file()),
        )
        rows.append(row)
    return rows


def _seed(result: Result, results: Path) -> Seed:
    emulator = None if result.status == "failed" else _emulator_of(result.emulator_path(results))
    return Seed(
        result.label,
        result.status,
        None if emulator is not None and is_closed_form(emulator.config) else result.seed,
        result.reason,
        run=asdict(result),
        emulator=emulator,
        parameters={} if emulator is None else count_parameters(emulator.emulator),
    )


def _emulator_of(path: Path) -> TrainedEmulator:
    try:
        return load_emulator(path)
    except MeshcastError as error:
        raise MeshcastError(f"{error} Remove it and start the comparison again: that run alone is repeated.") from None


def _regridding(emulator: TrainedEmulator | None, forecast: Forecast | None) -> str:
    """Return what an emulator, its network or a forecast file notes on regridding, nothing where none does."""
    if emulator is None:
        return "" if forecast is None else forecast.attributes.get("regridding", "")
    places = (emulator.emulator, getattr(emulator.emulator, "network", None))
    return next((str(text) for place in places if (text := getattr(place, "regridding", ""))), "")


def _chosen_in_closed_form(config: EmulatorConfig) -> dict[str, Any]:
    """Return the radius and penalty a ridge regression chose by rollouts within the training data."""
    for prefix, ridge in (("", config), ("first_guess.", getattr(config, "first_guess", None))):
        if isinstance(ridge, RidgeConfig) and len(ridge.radii) == len(ridge.penalties) == 1:
            return {f"{prefix}radius": ridge.radii[0], f"{prefix}penalty": ridge.penalties[0]}
    return {}


def _differences(
    config: CompareConfig, label: str, experiment: ExperimentConfig, tuned: Mapping[str, Any]
) -> list[str]:
    """Return where a network row differs from `training` and `task` of the comparison, but for what was tuned."""
    found = []
    if experiment.task.history != config.task.history:
        found.append(f"history {experiment.task.history} where the others have {config.task.history}")
    common = resolve(config.training)
    for name, value in resolve(experiment.training).items():
        if name not in TUNED_OR_SEED and f"training.{name}" not in tuned and value != common[name]:
            found.append(f"training.{name} {value} where the others have {common[name]}")
    if config.parameters is not None and config.rows[label].keep_size:
        found.append(f"another number of weights, where the others come near {config.parameters}")
    return found
