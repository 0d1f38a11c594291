"""Forecasts of closed forms from the same starts as the forecasts that they are references of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from emulator.baselines.coarse_solver import solver_attributes
from emulator.build import TrainedEmulator
from emulator.data.boundary_sources import boundary_forcings
from emulator.data.forcing_sources import forcings_of
from emulator.data.forecast import Forecast
from emulator.data.starts import states_at
from emulator.fields import Fields
from emulator.forcings import Forcings, ForcingWindows
from emulator.task import names_of
from graphs.errors import MeshcastError, UnreadableError
from inference.forecasts.computed import ComputedValues
from inference.forecasts.forecast import forecast


class ReferenceForecastError(MeshcastError):
    """A reference cannot start, or lacks a forcing, which is known where its forecasts are computed."""

    def __init__(self, name: str, reason: MeshcastError) -> None:
        super().__init__(str(reason))
        self.name, self.reason = name, reason

    def __reduce__(self) -> tuple[type, tuple[str, MeshcastError]]:
        """Tell how a worker sends it."""
        return type(self), (self.name, self.reason)


def when_asked(
    reference: TrainedEmulator, truth: Fields, beside: Forecast, steps: int, tables: Sequence[str]
) -> Forecast:
    """Return a reference's forecast from the same starts, of which a few cases are computed when they are asked for."""
    emulator = reference.emulator
    predicted = emulator.task.predicted

    def of(cases: NDArray[np.int64]) -> NDArray[np.float32]:
        try:
            starts = beside.init_time[cases], beside.trajectory[cases]
            return same_starts([reference], truth, *starts, steps, tables)[0].values
        except UnreadableError:
            raise
        except MeshcastError as error:
            raise ReferenceForecastError(reference.name, error) from None

    shape = (len(beside.init_time), 1, steps, emulator.mesh.num_nodes, len(predicted))
    return Forecast(
        name=reference.name,
        values=ComputedValues(of, shape),  # type: ignore[arg-type]  # an array where it is looked at
        variables=names_of(predicted),
        units=tuple(variable.units for variable in predicted),
        mesh=emulator.mesh,
        time_step=emulator.task.time_step,
        init_time=beside.init_time,
        trajectory=beside.trajectory,
        lead_steps=np.arange(1, steps + 1),
        attributes={**truth.attributes, **solver_attributes(reference.config)},
    )


def first_case(forecast: Forecast) -> Forecast:
    """Return a forecast with its first case alone."""
    kept = {name: getattr(forecast, name)[:1] for name in ("values", "init_time", "trajectory")}
    return replace(forecast, **kept)


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
