"""Verification of forecasts beside the baselines they are measured against: closed forms, fitted on the same data."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from emulator.baselines.anomaly_persistence import AnomalyPersistenceConfig, DampedAnomalyConfig
from emulator.baselines.baseline import BaselineConfig
from emulator.baselines.climatology import ClimatologyConfig
from emulator.baselines.persistence import PersistenceConfig
from emulator.baselines.ridge import RidgeConfig
from emulator.build import TrainedEmulator, fit_closed_form
from emulator.data.datasets.dataset_fields import describe
from emulator.data.forcing_sources import forcings_of
from emulator.data.forecast import Forecast
from emulator.data.read_later import is_read_later
from emulator.data.sources import forecast_on_area, on_area, open_fields
from emulator.fields import Fields
from emulator.foundation.configuration import load
from emulator.foundation.progress import Progress, no_progress
from emulator.foundation.threads import Notice
from emulator.foundation.time_step import TimeStep
from emulator.foundation.workers import Workers
from emulator.plugins import PluginConfig
from emulator.task import Task
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError, UnreadableError, refuse_damaged
from graphs.mesh import Mesh
from inference.scores.matching import refuse_several_truths
from inference.scores.region import Region
from inference.scores.scorecard import Verification
from inference.scores.verification import verify
from training.experiment import DataPart, ExperimentConfig
from training.runs.against import MOST_DAMPINGS, closed_form, period_of, suited
from training.runs.reference_forecasts import ReferenceForecastError, first_case, when_asked
from training.runs.reference_forecasts import same_starts as same_starts
from training.task_config import TaskConfig

NARROWING = {"dataset", "start", "end", "frequency"}  # what open_dataset takes to read a part of one


@dataclass(frozen=True, eq=False)
class VerifiedFiles:
    """A verification with what its report shows.

    forecasts: those asked for, then the references with their first case alone, which pictures show; of a file that is
        larger than memory likewise.
    """

    verification: Verification
    forecasts: list[Forecast]
    truth: Fields
    notices: list[str]


def verify_files(
    forecasts: Sequence[Forecast],
    truth: str | Sequence[str],
    train: str | DataPart | None = None,
    variables: Sequence[str] | None = None,
    notice: Notice = print,
    trajectories: slice | str | None = None,
    as_analyses: bool = False,
    forcing_tables: Sequence[str] = (),
    region: Region | None = None,
    against: Sequence[str] = (),
    progress: Progress = no_progress,
    wet: Mapping[str, float] | None = None,
    workers: Workers | None = None,
) -> VerifiedFiles:
    """Verify forecasts beside every closed form from the same starts.

    truth: a dataset, an array, or files; like forecasts of more, it is cut to the limited area of one forecast.
    train: training data of the closed forms; by default what the first forecast says it was trained on, where that is
        a part of the truth. No other path that a file holds is opened; persistence alone is the reference then, and it
        is said.
    variables: to verify; all that forecasts and truth share by default.
    trajectories: of the truth, see `open_fields`.
    as_analyses: whether the truth may be of forecasts, taken at their valid times.
    forcing_tables: of the closed forms, where the task has forcings by date.
    region: to score within, the references fitted and forecast everywhere.
    against: more closed forms, each the kind of one, or a section of YAML with its kind.
    wet: from which value on a place is wet, by variable, see `inference.scores.wet_area`.
    workers: who scores, and computes the references' forecasts; this process alone by default.
    """
    for text in against:
        closed_form(text)
    wanted = list(variables or dict.fromkeys(name for forecast in forecasts for name in forecast.variables))
    fields = open_fields(truth, trajectories, names=wanted, forecasts=as_analyses)
    notices = list(fields.notices)
    areas = [forecast.mesh for forecast in forecasts if forecast.mesh.boundary is not None]
    if areas:  # what covers more is cut to the area, and scored where that is forecast
        fields = on_area(fields, areas[0])
        forecasts = [forecast_on_area(forecast, areas[0]) for forecast in forecasts]
    forecasts = [_as_often_as(fields, forecast, notices) for forecast in forecasts]
    if variables is not None:
        forecasts = [_only(forecast, variables) for forecast in forecasts]
    if fields.ensemble_axis == "trajectory":
        forecasts = [replace(forecast, trajectory=fields.rows_of(forecast.trajectory)) for forecast in forecasts]
    else:
        refuse_several_truths(forecasts[0], forecasts[0].name, fields)
    first, steps = forecasts[0], int(forecasts[0].lead_steps[-1])
    named = _names_in(truth) or set()
    references, left_out = _references(first, fields, train, steps, named, forcing_tables, against, progress)
    notices += left_out
    for text in notices:
        notice(text)
    while True:
        baselines = [when_asked(reference, fields, first, steps, forcing_tables) for reference in references]
        climatology = next((one.emulator for one in references if one.name == "climatology"), None)
        names = [forecast.name for forecast in baselines]
        try:
            verification = verify(
                [*forecasts, *baselines],
                fields,
                climatology=climatology,
                baselines=names,
                region=region,
                progress=progress,
                wet=wet,
                workers=workers,
            )
        except ReferenceForecastError as error:
            references = [reference for reference in references if reference.name != error.name]
            notices.append(f"{error.name} is left out: {error}")
            notice(notices[-1])
            continue
        pictured = [_in_hand(one) if is_read_later(one.values) else one for one in forecasts]
        return VerifiedFiles(verification, [*pictured, *map(first_case, baselines)], fields, notices)


def _references(
    forecast: Forecast,
    truth: Fields,
    train: str | DataPart | None,
    steps: int,
    named: Collection[str],
    tables: Sequence[str],
    against: Sequence[str],
    progress: Progress,
) -> tuple[list[TrainedEmulator], list[str]]:
    """Return the closed forms that can be fitted, and a line for each that cannot."""
    try:
        part = _training_part(forecast, truth, _experiment_of(forecast), train, named, tables)
        return fit_references(*part, steps, against=against, progress=progress)
    except UnreadableError:
        raise
    except MeshcastError as error:
        if train is not None:
            raise
        if against:
            raise MeshcastError(
                f"--against {', '.join(against)} needs the training data, which cannot be read: {error}"
            ) from None
        reason = f"The only reference is persistence, since the training data cannot be read: {error}"
        references, left_out = fit_references(_bare_task(forecast, truth), TrainingPart(truth), steps, ["persistence"])
        return references, [reason, *left_out]


def _experiment_of(forecast: Forecast) -> ExperimentConfig | None:
    """Return what the forecast file says its emulator was trained by; refuse what is no experiment."""
    try:
        content = json.loads(forecast.attributes.get("training") or "{}")
    except (ValueError, RecursionError) as error:
        raise MeshcastError(f"meshcast_training of the forecast file is damaged: {type(error).__name__}") from None
    if not isinstance(content, dict):
        raise MeshcastError(f"meshcast_training of the forecast file is a {type(content).__name__}, no experiment")
    return load(ExperimentConfig, content) if content else None


def _training_part(
    forecast: Forecast,
    truth: Fields,
    experiment: ExperimentConfig | None,
    train: str | DataPart | None,
    named: Collection[str],
    tables: Sequence[str],
) -> tuple[Task, TrainingPart]:
    config = TaskConfig(forecast.variables) if experiment is None else experiment.task
    if train is not None:
        source = train if isinstance(train, DataPart) else DataPart(train)
    elif experiment is not None:
        source = experiment.data.train
        if (found := _names_in(source.source)) is None or not found <= set(named):
            raise MeshcastError(
                f"the forecast file says it was trained on {describe(source.source)}, but no path that a file holds is "
                "opened unless it is named too; name it with --train"
            )
    else:
        raise MeshcastError("the forecast file does not say what it was trained on; name it with --train")
    fields = on_area(source.open(), truth.mesh)
    if not fields.mesh.same_nodes(truth.mesh):
        raise MeshcastError(
            f"the training data are on a {fields.mesh.describe()}, the truth on a {truth.mesh.describe()}"
        )
    task = replace(config.build(fields), time_step=forecast.time_step)
    return task, TrainingPart(fields, forcings=forcings_of(task, fields.mesh, fields, tables))


def _names_in(source: Any) -> set[str] | None:
    """Return the paths of a source, made absolute by their text alone; None where more than dates narrows them."""
    if isinstance(source, str | Path):
        return {str(source) if "://" in str(source) else os.path.abspath(source)}
    if isinstance(source, Mapping):
        plain = all(isinstance(value, str | int | float) for key, value in source.items() if key != "dataset")
        return _names_in(source.get("dataset")) if plain and set(source) <= NARROWING else None
    if isinstance(source, Sequence):
        names = [_names_in(one) for one in source]
        return None if None in names else set().union(*(name for name in names if name is not None))
    return None


def _bare_task(forecast: Forecast, truth: Fields) -> Task:
    shared = tuple(name for name in forecast.variables if name in truth.variables)
    if not shared:
        raise MeshcastError(
            f"The forecast holds {', '.join(forecast.variables)}, the truth {', '.join(truth.variables)}: nothing in "
            "common to verify."
        )
    return replace(TaskConfig(prognostic=shared).build(truth), time_step=forecast.time_step)


def _as_often_as(truth: Fields, forecast: Forecast, notices: list[str]) -> Forecast:
    """Return the leads at the truth's time step of a forecast that comes more often, and say so; others as they are."""
    try:
        every = truth.time_step.frames(forecast.time_step)
    except MeshcastError:
        return forecast
    kept = forecast.lead_steps % every == 0
    if every == 1 or not kept.any():
        return forecast
    notices.append(
        f"{forecast.name} comes every {forecast.time_step} and is verified every {truth.time_step}, as the truth comes."
    )
    lead_steps = forecast.lead_steps[kept] // every
    return replace(forecast, values=forecast.values[:, :, kept], lead_steps=lead_steps, time_step=truth.time_step)


def _only(forecast: Forecast, variables: Sequence[str]) -> Forecast:
    absent = [name for name in variables if name not in forecast.variables]
    if absent:
        raise MeshcastError(
            f"The forecast holds no {', '.join(absent)}, but {', '.join(forecast.variables)}. Name one with --variable."
        )
    columns = [forecast.variables.index(name) for name in variables]
    return replace(
        forecast,
        values=_compact(forecast.values[..., columns]),
        variables=tuple(variables),
        units=tuple(forecast.units[column] for column in columns),
    )


def _compact(values: Any) -> Any:
    """Return values side by side in memory, where they are there."""
    return values if is_read_later(values) else np.ascontiguousarray(values)


def _in_hand(forecast: Forecast) -> Forecast:
    """Return the first case of a forecast that is read later."""
    with refuse_damaged(forecast.name):
        return replace(
            forecast,
            values=np.asarray(forecast.values[:1]),
            init_time=forecast.init_time[:1],
            trajectory=forecast.trajectory[:1],
            initial=None if forecast.initial is None else np.asarray(forecast.initial[:1]),
        )


def reference_configs(mesh: Mesh, time_step: TimeStep, steps: int) -> dict[str, BaselineConfig]:
    """Return the closed forms by label, with fair settings for this mesh, time step and length of the forecasts."""
    period = period_of(time_step)
    on_grid = mesh.domain.kind == "ring" or mesh.structured
    radii: tuple[int, ...] = (1, 2, 4, 8, 16) if mesh.domain.kind == "ring" else ((0, 1, 2) if on_grid else (0,))
    radii = tuple(radius for radius in radii if 2 * radius < min(mesh.shape)) or (0,)
    # A climatology that never changes leaves its anomaly to persist as the field itself does.
    anomaly = {} if period == "none" else {"anomaly persistence": AnomalyPersistenceConfig(period=period)}
    return {
        "persistence": PersistenceConfig(),
        "climatology": ClimatologyConfig(period=period),
        **anomaly,
        "damped anomaly": DampedAnomalyConfig(period=period, max_lead=min(steps, MOST_DAMPINGS)),
        "ridge": RidgeConfig(radii=radii, penalties=(1e-10, 1e-8, 1e-6, 1e-4, 1e-2)),
    }


def fit_references(
    task: Task,
    part: TrainingPart,
    steps: int,
    labels: Sequence[str] | None = None,
    against: Sequence[str] = (),
    progress: Progress = no_progress,
) -> tuple[list[TrainedEmulator], list[str]]:
    """Return the closed forms of these labels, all by default, fitted on training data for forecasts of `steps`.

    against: more of them, see `closed_form`.
    Also returns a line for each that these data cannot fit.
    """
    statistics = part.statistics(task)
    fitted, left_out = [], []
    configs = reference_configs(part.fields.mesh, task.time_step, steps)
    chosen: dict[str, Any] = {label: config for label, config in configs.items() if labels is None or label in labels}
    for text in against:
        config = closed_form(text)
        label = config.name if isinstance(config, PluginConfig) else config.kind.replace("_", " ")
        if text != config.kind:
            chosen[label] = config
        elif label not in chosen:
            chosen[label] = suited(config, task.time_step, steps)
    with progress("fitting closed forms", len(chosen)) as done:
        for number, (label, config) in enumerate(chosen.items(), 1):
            try:
                fitted.append(TrainedEmulator(label, fit_closed_form(config, task, part), config, statistics))
            except UnreadableError:
                raise
            except MeshcastError as error:
                left_out.append(f"{label} is left out: {error}")
            done(number)
    return fitted, left_out
