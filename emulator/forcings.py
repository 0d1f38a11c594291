"""Forcings: fields known ahead, computed from time and place (Anemoi's names), tabulated by date or read from data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emulator.forcing_memory import ForcingMemory
from emulator.foundation.constants import ROTATION
from emulator.foundation.time_step import share_of_year, to_datetime, to_seconds
from emulator.global_scalars import GlobalScalars
from emulator.heating_cycle import HOUR, HeatingCycle
from emulator.solar_position import declination, equation_of_time
from emulator.state import State
from emulator.task import Task
from graphs.errors import MeshcastError
from graphs.mesh import Mesh

if TYPE_CHECKING:
    import pandas as pd

DAY = 86_400.0
MOST_KEPT = 2**28  # bytes of computed forcings: training windows and the rows of a comparison ask for the same times


class ForcingSource(Protocol):
    """One provider of forcings."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def at(self, valid_time: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return values [time, node, name] at `valid_time` [time], in physical units."""


class ForcingWindows(Protocol):
    """Whatever can say what forces a step: `Forcings`, or the ones a training window brought along."""

    def window(self, state: State, task: Task, done: int) -> Tensor:
        """Return [batch, history + 1, node, forcing] for the step after `state`, `done` steps after the start."""

    def rows(self, index: slice | NDArray[np.int64]) -> ForcingWindows:
        """Return the forcings of some rows of the batch."""


class Forcings:
    """All forcings of a rollout, from one or several sources.

    `lead_time`, the number of steps since the initial time, is known to every rollout and needs no source.
    """

    def __init__(self, *sources: ForcingSource | GlobalScalars | ForcingMemory) -> None:
        self.sources = sources

    def window(self, state: State, task: Task, done: int) -> Tensor:
        num_nodes = state.values.shape[3]
        if not task.forcing:
            return state.values.new_zeros(len(state.valid_time), task.history + 1, num_nodes, 0)
        offsets = np.arange(1 - task.history, 2)
        times = task.time_step.advance(state.valid_time[:, None], offsets[None])
        trajectory = None if state.trajectory is None else np.repeat(state.trajectory, len(offsets))
        values = self.at(times.ravel(), task.forcing, num_nodes, np.tile(done + offsets, len(times)), trajectory)
        return torch.as_tensor(values, dtype=state.values.dtype, device=state.values.device).reshape(
            *times.shape, num_nodes, len(task.forcing)
        )

    def rows(self, index: slice | NDArray[np.int64]) -> Forcings:
        """Return the same forcings: they depend on the valid time and the trajectory of a state alone."""
        return self

    def of_nodes(self, nodes: NDArray[np.int64], num_nodes: int) -> Forcings:
        """Return the forcings of some nodes alone, in this order, of a mesh of `num_nodes`."""
        return NodeForcings(self, nodes, num_nodes)

    @property
    def of_the_globe(self) -> tuple[str, ...]:
        """Return the names of forcings that are one number of the globe at a time."""
        series = (TabulatedForcings, GlobalScalars, ForcingMemory)
        return tuple(name for source in self.sources if isinstance(source, series) for name in source.names)

    def of_trajectories(self, names: Sequence[str]) -> list[GlobalScalars]:
        """Return the global scalars that some of the named forcings come from, each trajectory having its own."""
        found, known = [], set[str]()
        for source in self.sources:
            new = set(source.names) & set(names) - known
            if new and isinstance(source, GlobalScalars):
                found.append(source)
            elif new and isinstance(source, ForcingMemory) and source.of_trajectories:
                found.append(source.scalars)
            known |= new
        return found

    def at(
        self,
        valid_time: NDArray[np.int64],
        names: Sequence[str],
        num_nodes: int,
        lead_steps: NDArray[np.int64] | None = None,
        trajectory: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float64]:
        """Return values [time, node, name] of the named forcings at `valid_time` [time], of trajectories [time]."""
        unique, inverse = np.unique(valid_time, return_inverse=True)
        columns: dict[str, NDArray[np.float64]] = {}
        for source in self.sources:
            new = {name: k for k, name in enumerate(source.names) if name in names and name not in columns}
            if not new:
                continue
            if isinstance(source, GlobalScalars | ForcingMemory):
                scalars = source.at(valid_time, trajectory)
                columns |= {name: scalars[:, k, None] for name, k in new.items()}
            else:
                values = source.at(unique)
                columns |= {name: values[:, :, k][inverse] for name, k in new.items()}
        if "lead_time" in names:
            lead = np.zeros(len(valid_time)) if lead_steps is None else lead_steps.astype(np.float64)
            columns["lead_time"] = np.broadcast_to(lead[:, None], (len(valid_time), num_nodes))
        if missing := [name for name in names if name not in columns]:
            raise MeshcastError(
                f"No source for the forcing {', '.join(missing)}. Computed ones are {', '.join(COMPUTED)}; give others "
                "with --forcing (a CSV table with a date column, or a dataset that holds them)."
            )
        return np.stack([np.broadcast_to(columns[name], (len(valid_time), num_nodes)) for name in names], axis=-1)


class NodeForcings(Forcings):
    """The forcings of some nodes of a mesh alone, in an order of their own, as those of a shard."""

    def __init__(self, whole: Forcings, nodes: NDArray[np.int64], num_nodes: int) -> None:
        super().__init__(*whole.sources)
        self._nodes, self._num_nodes = nodes, num_nodes

    def at(
        self,
        valid_time: NDArray[np.int64],
        names: Sequence[str],
        num_nodes: int,
        lead_steps: NDArray[np.int64] | None = None,
        trajectory: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float64]:
        assert num_nodes == len(self._nodes), "forcings of some nodes force states of these"
        return super().at(valid_time, names, self._num_nodes, lead_steps, trajectory)[:, self._nodes]


class ComputedForcings:
    """Forcings that follow from time and place: hour of day, season, insolation (Anemoi's names), planetswe's heating.

    Each valid time is computed once, as long as all of them take at most `MOST_KEPT` bytes.

    names: those to compute, all by default.
    """

    def __init__(self, mesh: Mesh, names: Sequence[str] | None = None) -> None:
        self.mesh = mesh
        self.names = tuple(name for name in COMPUTED if names is None or name in names)
        self._kept: dict[int, NDArray[np.float64]] = {}

    def at(self, valid_time: NDArray[np.int64]) -> NDArray[np.float64]:
        new = [time for time in dict.fromkeys(valid_time.tolist()) if time not in self._kept]
        most = MOST_KEPT // max(1, 8 * self.mesh.num_nodes * len(self.names))
        if len(self._kept) + len(new) > most:
            self._kept.clear()
            new = list(dict.fromkeys(valid_time.tolist()))
        if len(new) > most:
            return self._computed(valid_time)
        self._kept.update(zip(new, self._computed(np.array(new, dtype=np.int64)), strict=True))
        return np.stack([self._kept[time] for time in valid_time.tolist()])

    def _computed(self, valid_time: NDArray[np.int64]) -> NDArray[np.float64]:
        values = np.empty((len(valid_time), self.mesh.num_nodes, len(self.names)))
        for column, name in enumerate(self.names):
            values[..., column] = COMPUTED[name](valid_time, self.mesh)
        return values


def _day_angle(valid_time: NDArray[np.int64], mesh: Mesh) -> NDArray[np.float64]:
    """Return the local solar time [time, node] as an angle [radians], zero at local midnight."""
    longitude: NDArray[np.float64] = np.radians(mesh.longitudes)
    return 2 * np.pi * ((valid_time[:, None] % DAY) / DAY) + longitude


def _year_angle(valid_time: NDArray[np.int64], mesh: Mesh) -> NDArray[np.float64]:
    """Return the season [time, 1] as an angle [radians], zero on 1 January 00 UTC."""
    return 2 * np.pi * share_of_year(valid_time)[:, None]


def _cosine_of_zenith(valid_time: NDArray[np.int64], mesh: Mesh) -> NDArray[np.float64]:
    """Return the cosine [time, node] of the solar zenith angle, zero at night."""
    season = _year_angle(valid_time, mesh)
    tilt = declination(season)
    hour_angle = _day_angle(valid_time, mesh) + equation_of_time(season) - np.pi
    latitude = np.radians(mesh.latitudes)[None]
    cosine = np.sin(latitude) * np.sin(tilt) + np.cos(latitude) * np.cos(tilt) * np.cos(hour_angle)
    return np.maximum(cosine, 0.0)


def _planetswe_heating(valid_time: NDArray[np.int64], mesh: Mesh, later: float = 0.0) -> NDArray[np.float64]:
    """Return planetswe's heating [time, node] [m h-1], a share of a day later."""
    cycle = HeatingCycle()
    moment = valid_time[:, None] + later * HOUR * cycle.day_hours
    return HOUR * cycle.rate(moment, np.radians(mesh.latitudes)[None], np.radians(mesh.longitudes)[None])


COMPUTED: dict[str, Callable[[NDArray[np.int64], Mesh], NDArray[np.float64]]] = {
    "cos_local_time": lambda time, mesh: np.cos(_day_angle(time, mesh)),
    "sin_local_time": lambda time, mesh: np.sin(_day_angle(time, mesh)),
    "cos_julian_day": lambda time, mesh: np.cos(_year_angle(time, mesh)),
    "sin_julian_day": lambda time, mesh: np.sin(_year_angle(time, mesh)),
    "insolation": _cosine_of_zenith,
    "planetswe_heating": _planetswe_heating,
    "planetswe_heating_later": lambda time, mesh: _planetswe_heating(time, mesh, 0.25),  # tells east from west
}


@dataclass(frozen=True)
class TabulatedForcings:
    """Global scalars given as a table by date, linear in time between its rows.

    Raises MeshcastError outside the table: a forcing is given, never extrapolated.
    """

    names: tuple[str, ...]
    times: NDArray[np.int64]
    values: NDArray[np.float64]
    source: str = "the table"

    @classmethod
    def read(cls, path: str | Path) -> TabulatedForcings:
        """Read a CSV file whose first column is a date or a year and whose other columns are one forcing each.

        Dates without a zone are UTC; a year stands for its first moment, 1958.5 for its middle, 20190301 is a day.
        """
        import pandas as pd

        try:
            table = pd.read_csv(path, comment="#")
        except (OSError, ValueError) as error:
            raise MeshcastError(f"Cannot read the forcing table {path}: {error}") from None
        if table.shape[1] < 2 or len(table) == 0:
            raise MeshcastError(f"The forcing table {path} needs a date column and at least one value column.")
        if not isinstance(table.index, pd.RangeIndex):  # pandas would take the dates for names of the rows
            raise MeshcastError(f"The rows of the forcing table {path} have more cells than its header has names.")
        try:
            times = _table_times(table.iloc[:, 0])
            values = table.iloc[:, 1:].to_numpy(dtype=np.float64)
        except (ValueError, TypeError) as error:
            raise MeshcastError(f"The forcing table {path} is not a table of dates and numbers: {error}") from None
        if np.any(np.diff(times) <= 0):
            raise MeshcastError(f"The dates of the forcing table {path} must increase.")
        if not np.all(np.isfinite(values)):
            raise MeshcastError(f"The forcing table {path} has empty or non-finite cells.")
        return cls(tuple(str(name) for name in table.columns[1:]), times, values, str(path))

    def at(self, valid_time: NDArray[np.int64]) -> NDArray[np.float64]:
        if valid_time.min() < self.times[0] or valid_time.max() > self.times[-1]:
            first, last = to_datetime(self.times[[0, -1]])
            asked = to_datetime(np.array([valid_time.min(), valid_time.max()]))
            raise MeshcastError(
                f"The forcing table {self.source} covers {first} to {last}, but {asked[0]} to {asked[1]} are needed. "
                "Extend the table or shorten the lead time."
            )
        columns = [np.interp(valid_time, self.times, self.values[:, k]) for k in range(len(self.names))]
        return np.stack(columns, axis=-1)[:, None, :]

    @property
    def scalars(self) -> GlobalScalars:
        """Return the same as global scalars that serve all trajectories."""
        return GlobalScalars(
            self.names,
            ("1",) * len(self.names),
            self.times,
            (0,),
            self.values[:, None],
            f"the forcing table {self.source}",
        )


def _table_times(dates: pd.Series) -> NDArray[np.int64]:
    """Return seconds since 1970 UTC [row] of a table's first column."""
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(dates):
        return to_seconds(pd.to_datetime(dates, utc=True, format="mixed").dt.tz_localize(None).to_numpy())
    if pd.api.types.is_integer_dtype(dates) and (dates > 9999).all():
        return to_seconds(pd.to_datetime(dates.astype(str), format="%Y%m%d").to_numpy())
    years = dates.to_numpy(dtype=np.float64)
    known = (years >= 1) & (years < 9999)
    if not known.all():
        raise ValueError(f"{years[~known][0]:g} is neither a year nor a date like 2019-03-01")
    whole = np.floor(years).astype(np.int64)
    first, following = (to_seconds((whole + more - 1970).astype("datetime64[Y]")) for more in (0, 1))
    return first + np.round((years - whole) * (following - first)).astype(np.int64)


@dataclass(frozen=True)
class GivenForcings:
    """Forcings read from stored fields: [time, node, name] at their own times, none between."""

    names: tuple[str, ...]
    times: NDArray[np.int64]
    read: Callable[[NDArray[np.int64]], NDArray[np.float64]]
    source: str = "the dataset"

    def at(self, valid_time: NDArray[np.int64]) -> NDArray[np.float64]:
        index = np.searchsorted(self.times, valid_time).clip(0, len(self.times) - 1)
        absent = self.times[index] != valid_time
        if absent.any():
            raise MeshcastError(
                f"{self.source} has no {', '.join(self.names)} at {to_datetime(valid_time[absent][0])}; it covers "
                f"{to_datetime(self.times[0])} to {to_datetime(self.times[-1])}."
            )
        return self.read(index)


STATIC_FEATURES: Mapping[str, Callable[[Mesh], NDArray[np.float64]]] = {
    "sin_latitude": lambda mesh: np.sin(np.radians(mesh.latitudes)),
    "cos_latitude": lambda mesh: np.cos(np.radians(mesh.latitudes)),
    "sin_longitude": lambda mesh: np.sin(np.radians(mesh.longitudes)),
    "cos_longitude": lambda mesh: np.cos(np.radians(mesh.longitudes)),
    "coriolis": lambda mesh: 2.0 * ROTATION * np.sin(np.radians(mesh.latitudes)),
}
