"""A series: one variable of one file, in the one form all files are brought to."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from graphs.meshes.latlon import grid_axes


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the cells of a file lie.

    latitudes, longitudes: [cell] degrees, longitudes in [0, 360).
    shape: (latitude, longitude) of a grid, (cell,) without one.
    """

    latitudes: NDArray[np.float64]
    longitudes: NDArray[np.float64]
    shape: tuple[int, ...]

    def equals(self, other: Grid) -> bool:
        """Return whether every cell lies at the same place, to 0.005 degrees: half the last digit of GRIB 1."""
        if self.shape != other.shape:
            return False
        east = (self.longitudes - other.longitudes + 180.0) % 360.0 - 180.0
        return bool(np.abs(self.latitudes - other.latitudes).max() < 5e-3 and np.abs(east).max() < 5e-3)

    def __str__(self) -> str:
        north, south = self.latitudes.max(), self.latitudes.min()
        return f"{' x '.join(map(str, self.shape))} cells from {south:g} to {north:g} degrees north"


@dataclass(frozen=True, eq=False)
class Series:
    """One variable over time and members on one grid.

    name: as the project calls it; `raw_name` as the file does.
    values: [time, number, cell] float32.
    times: [time] int64 seconds since 1970 UTC, or None for a field without time.
    numbers: [number] member numbers.
    calendar: the file's, where it is not Gregorian.
    attributes: title, licence and attribution of the file.
    """

    name: str
    raw_name: str
    values: NDArray[np.float32]
    times: NDArray[np.int64] | None
    numbers: NDArray[np.int64]
    grid: Grid
    units: str
    path: str
    calendar: str = "standard"
    attributes: dict[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


def settled_grid(
    latitudes: NDArray[np.floating], longitudes: NDArray[np.floating]
) -> tuple[Grid, NDArray[np.int64] | None]:
    """Return a grid with rows from north to south and columns eastward, from 0 if they go around.

    latitudes, longitudes: [cell] degrees, in the file's order, any convention.
    Returns the grid and the order [cell] that takes the file's cells to it, or None where nothing moves. A column
    that closes the circle twice (0 and 360) is dropped.
    """
    north: NDArray[np.float64] = np.asarray(latitudes, np.float64).ravel()
    east: NDArray[np.float64] = np.asarray(longitudes, np.float64).ravel() % 360.0
    east = np.where(east > 360.0 - 1e-6, 0.0, east)
    shape = _file_shape(north, east)
    if len(shape) == 1:
        return Grid(north, east, shape), None
    cells = np.arange(len(north)).reshape(shape)
    if north[0] < north[-1]:
        cells = cells[::-1]
    columns = east[cells[0]]
    if len(columns) > 2 and abs(columns[0] - columns[-1]) < 1e-6:
        cells, columns = cells[:, :-1], columns[:-1]
    if len(columns) > 1 and np.all((np.diff(columns) % 360.0) > 180.0):  # westward
        cells, columns = cells[:, ::-1], columns[::-1]
    steps = np.diff(columns) % 360.0
    if len(columns) > 2 and 360.0 - steps.sum() < 1.01 * steps.max():
        cells = np.roll(cells, -int(np.argmin(columns)), axis=1)
    order = cells.ravel()
    moved = len(order) != len(north) or bool(np.any(np.diff(order) != 1))
    return Grid(north[order], east[order], (cells.shape[0], cells.shape[1])), order if moved else None


def _file_shape(latitudes: NDArray[np.float64], longitudes: NDArray[np.float64]) -> tuple[int, ...]:
    """Return (latitude, longitude) where the cells are a grid row by row, closed twice or westward too; else
    (cell,)."""
    changes = np.flatnonzero(np.abs(np.diff(latitudes)) > 1e-6)
    columns = int(changes[0]) + 1 if len(changes) else len(latitudes)
    if columns < 2 or columns == len(latitudes) or len(latitudes) % columns:
        return (len(latitudes),)
    table = np.arange(len(latitudes)).reshape((-1, columns))
    if abs(longitudes[0] - longitudes[columns - 1]) < 1e-6:
        table = table[:, :-1]
    if np.all(np.diff(longitudes[table[0]]) % 360.0 > 180.0):
        table = table[:, ::-1]
    cells = table.ravel()
    if grid_axes(latitudes[cells], longitudes[cells]) is None:
        return (len(latitudes),)
    return (len(latitudes) // columns, columns)
