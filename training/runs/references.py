"""The baselines every forecast is measured against: closed forms, fitted where the emulator was trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from emulator.baselines.anomaly_persistence import AnomalyPersistenceConfig
from emulator.baselines.baseline import BaselineConfig
from emulator.baselines.climatology import ClimatologyConfig
from emulator.baselines.damped_anomaly import DampedAnomalyConfig
from emulator.baselines.persistence import PersistenceConfig
from emulator.baselines.ridge import RidgeConfig
from emulator.build import TrainedEmulator
from emulator.data.boundary_sources import boundary_forcings
from emulator.data.forcing_sources import forcings_of
from emulator.data.forecast import Forecast
from emulator.data.starts import states_at
from emulator.features.periodic_mean import Period
from emulator.fields import Fields
from emulator.forcings import Forcings, ForcingWindows
from emulator.foundation.time_step import TimeStep
from emulator.task import Task
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from inference.forecasts.forecast import forecast

MOST_DAMPINGS = 200  # leads for which a damping is fitted; an anomaly that lasts longer is kept


def period_of(time_step: TimeStep) -> Period:
    """Return what a climatology can depend on: the hour for steps below a day, the month above, nothing in nominal
    time."""
    if time_step.true_length is not None:
        return "none"
    if time_step.unit == "month":
        return "month" if time_step.count < 12 else "none"
    return "hour" if time_step.count < 86_400 else "month"


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
    task: Task, part: TrainingPart, steps: int, labels: Sequence[str] | None = None
) -> tuple[list[TrainedEmulator], list[str]]:
    """Return the closed forms of these labels, all by default, fitted on training data for forecasts of `steps`.

    Also returns a line for each that these data cannot fit.
    """
    statistics = part.statistics(task)
    fitted, left_out = [], []
    for label, config in reference_configs(part.fields.mesh, task.time_step, steps).items():
        if labels is None or label in labels:
            try:
                fitted.append(TrainedEmulator(label, config.fit(task, part), config, statistics))
            except MeshcastError as error:
                left_out.append(f"{label} is left out: {error}")
    return fitted, left_out


def same_starts(
    references: Sequence[TrainedEmulator],
    truth: Fields,
    init_time: NDArray[np.int64],
    trajectory: NDArray[np.int64],
    steps: int,
    forcing_tables: Sequence[str] = (),
    given: Forcings | None = None,
) -> list[Forecast]:
    """Return forecasts of the references from the truth at the same starts, with its boundary on a limited area.

    No guard: a baseline that blows up shows it.

    given: forcings of the references' task and mesh, in place of those of the truth and the tables.
    """
    forecasts = []
    for reference in references:
        emulator = reference.emulator
        initial = states_at(truth, emulator.task, init_time, trajectory)
        forcings: ForcingWindows = given or forcings_of(emulator.task, emulator.mesh, truth, forcing_tables)
        if emulator.task.boundary:
            forcings, _ = boundary_forcings(
                forcings, truth, emulator.task, emulator.mesh, initial.state, initial.trajectory, steps
            )
        values, _ = forecast(reference, initial, forcings, steps)
        forecasts.append(values)
    return forecasts
