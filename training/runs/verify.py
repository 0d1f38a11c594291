"""Verification of forecast files beside the closed forms, fitted where the emulator was trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from emulator.build import TrainedEmulator
from emulator.data.forcing_sources import forcings_of
from emulator.data.forecast import Forecast
from emulator.data.sources import forecast_on_area, on_area, open_fields
from emulator.fields import Fields
from emulator.foundation.configuration import load
from emulator.task import Task
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from inference.scores.scorecard import Verification
from inference.scores.verification import verify
from training.experiment import DataPart, ExperimentConfig, TaskConfig
from training.runs.references import fit_references, same_starts

Notice = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class VerifiedFiles:
    """A verification with what its report shows.

    forecasts: those asked for, then the references.
    """

    verification: Verification
    forecasts: list[Forecast]
    truth: Fields
    notices: list[str] = field(default_factory=list)


def verify_files(
    forecasts: Sequence[Forecast],
    truth: str,
    train: str | None = None,
    variables: Sequence[str] | None = None,
    notice: Notice = print,
) -> VerifiedFiles:
    """Verify forecasts beside every closed form from the same starts.

    truth: a dataset, an array, or files; like forecasts of more, it is cut to the limited area of one forecast.
    train: training data of the closed forms; by default what the first forecast says it was trained on. Where that
        cannot be read persistence alone is the reference, and it is said.
    variables: to verify; all that forecasts and truth share by default.
    """
    fields = open_fields(truth)
    notices = list(fields.notices)
    areas = [forecast.mesh for forecast in forecasts if forecast.mesh.boundary is not None]
    if areas:  # what covers more is cut to the area, and scored where that is forecast
        fields = on_area(fields, areas[0])
        forecasts = [forecast_on_area(forecast, areas[0]) for forecast in forecasts]
    if variables is not None:
        forecasts = [_only(forecast, variables) for forecast in forecasts]
    first, steps = forecasts[0], int(forecasts[0].lead_steps[-1])
    references, tables, left_out = _references(first, fields, train, steps)
    notices += left_out
    baselines: list[Forecast] = []
    climatology = None
    for reference in references:
        try:
            baselines += same_starts([reference], fields, first.init_time, first.trajectory, steps, tables)
        except MeshcastError as error:
            notices.append(f"{reference.name} is left out: {error}")
            continue
        if reference.name == "climatology":
            climatology = reference.emulator
    for text in notices:
        notice(text)
    every = [*forecasts, *baselines]
    verification = verify(every, fields, climatology=climatology, baselines=[forecast.name for forecast in baselines])
    return VerifiedFiles(verification, every, fields, notices)


def _references(
    forecast: Forecast, truth: Fields, train: str | None, steps: int
) -> tuple[list[TrainedEmulator], Sequence[str], list[str]]:
    """Return the closed forms that can be fitted, the tables of their forcings, and a line for each that cannot."""
    try:
        trained_by = json.loads(forecast.attributes.get("training") or "{}")
        experiment = load(ExperimentConfig, trained_by) if trained_by else None
        tables = () if experiment is None else experiment.data.forcing_tables
        references, left_out = fit_references(*_training_part(forecast, truth, experiment, train), steps)
        return references, tables, left_out
    except MeshcastError as error:
        if train is not None:
            raise
        reason = f"The only reference is persistence, since the training data cannot be read: {error}"
        references, left_out = fit_references(_bare_task(forecast, truth), TrainingPart(truth), steps, ["persistence"])
        return references, (), [reason, *left_out]


def _training_part(
    forecast: Forecast, truth: Fields, experiment: ExperimentConfig | None, train: str | None
) -> tuple[Task, TrainingPart]:
    config = TaskConfig(forecast.variables) if experiment is None else experiment.task
    tables = () if experiment is None else experiment.data.forcing_tables
    if train is not None:
        source = DataPart(train)
    elif experiment is not None:
        source = experiment.data.train
    else:
        raise MeshcastError("the forecast file does not say what it was trained on; name it with --train")
    fields = on_area(source.open(), truth.mesh)
    if not fields.mesh.same_nodes(truth.mesh):
        raise MeshcastError(
            f"the training data are on a {fields.mesh.describe()}, the truth on a {truth.mesh.describe()}"
        )
    task = replace(config.build(fields), time_step=forecast.time_step)
    return task, TrainingPart(fields, forcings=forcings_of(task, fields.mesh, fields, tables))


def _bare_task(forecast: Forecast, truth: Fields) -> Task:
    shared = tuple(name for name in forecast.variables if name in truth.variables)
    if not shared:
        raise MeshcastError(
            f"The forecast holds {', '.join(forecast.variables)}, the truth {', '.join(truth.variables)}: nothing in "
            "common to verify."
        )
    return replace(TaskConfig(prognostic=shared).build(truth), time_step=forecast.time_step)


def _only(forecast: Forecast, variables: Sequence[str]) -> Forecast:
    absent = [name for name in variables if name not in forecast.variables]
    if absent:
        raise MeshcastError(
            f"The forecast holds no {', '.join(absent)}, but {', '.join(forecast.variables)}. Name one with --variable."
        )
    columns = [forecast.variables.index(name) for name in variables]
    return replace(
        forecast,
        values=np.ascontiguousarray(forecast.values[..., columns]),
        variables=tuple(variables),
        units=tuple(forecast.units[column] for column in columns),
    )
