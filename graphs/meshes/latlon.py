"""Latitude-longitude and Gaussian grids, global or limited."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from graphs.errors import MeshcastError
from graphs.geometry import Array, band_areas, to_xyz
from graphs.mesh import EARTH_RADIUS, Domain, Mesh


def latlon(
    latitudes: ArrayLike, longitudes: ArrayLike, periodic: bool | None = None, radius: float = EARTH_RADIUS
) -> Mesh:
    """Return a grid of every latitude with every longitude, nodes in C order (latitude, longitude).

    Areas are those of the cells halfway to the neighbours; a row within one spacing of a pole reaches to it, and a
    row on the pole is a cap cut into sectors. The spacing need not be even.

    latitudes: axis [degrees north], either order.
    longitudes: axis [degrees east], eastward, in any convention (0 to 360, -180 to 180, 350 to 10).
    periodic: whether the longitudes close the circle; found from their spacing where None.
    radius: of the sphere [m].
    """
    rows, columns = _latitude_axis(latitudes), _longitude_axis(longitudes)
    if periodic is None:  # the gap left over is no wider than the grid's own spacing
        gap = 360.0 - (columns[-1] - columns[0])
        periodic = columns.size > 2 and bool(gap < 1.01 * np.diff(columns).max()) and not _jumps(columns)
    if not periodic and _jumps(columns):
        at = int(np.argmax(np.diff(columns)))
        before, after = columns[at] % 360.0, columns[at + 1] % 360.0
        raise MeshcastError(
            f"Longitudes jump from {before:g} to {after:g}, so those columns would be neighbours. Order the axis (and "
            f"the data) from {after:g} eastward to {before:g}, or use graphs.meshes.points.points."
        )
    areas = np.outer(band_areas(latitude_bounds(rows)), _longitude_widths(columns, periodic)).ravel()
    positions = to_xyz(rows[:, None], columns[None, :]).reshape(-1, 3)
    domain = Domain("sphere" if periodic else "limited_area", float(radius))
    return Mesh(positions, areas / areas.sum(), (rows.size, columns.size), domain)


def grid_axes(latitudes: ArrayLike, longitudes: ArrayLike, tolerance: float = 1e-4) -> tuple[Array, Array] | None:
    """Return both axes [degrees] of nodes [node] that form a grid row by row, to float32's `tolerance`; else None."""
    latitude, longitude = np.asarray(latitudes, np.float64).ravel(), np.asarray(longitudes, np.float64).ravel()
    changes = np.flatnonzero(np.abs(np.diff(latitude)) > tolerance)
    num_columns = int(changes[0]) + 1 if changes.size else latitude.size
    if num_columns < 2 or latitude.size % num_columns or latitude.size == num_columns:
        return None
    rows, columns = latitude[::num_columns], longitude[:num_columns]
    if np.abs(latitude.reshape(-1, num_columns) - rows[:, None]).max() > tolerance:
        return None
    if np.abs((longitude.reshape(-1, num_columns) - columns + 180.0) % 360.0 - 180.0).max() > tolerance:
        return None
    rises = np.diff(rows)
    if not (np.all(rises > 0) or np.all(rises < 0)):
        return None
    steps = np.diff(columns) % 360.0
    if np.any(steps <= 0) or steps.sum() >= 360.0 - tolerance or _jumps(np.concatenate([[0.0], np.cumsum(steps)])):
        return None
    return rows, columns


def _latitude_axis(latitudes: ArrayLike) -> Array:
    rows = _axis(latitudes, "Latitudes")
    worst = rows[np.argmax(np.abs(rows))]
    if abs(worst) > 90.0 + 1e-6:
        raise MeshcastError(f"Latitudes must lie in -90 to 90 degrees, but one is {worst:g}.")
    rows = np.clip(rows, -90.0, 90.0)
    rises = np.diff(rows)
    if not (np.all(rises > 0) or np.all(rises < 0)):
        at = int(np.flatnonzero(rises * np.sign(rises[0] or 1.0) <= 0)[0])
        raise MeshcastError(
            f"Latitudes must rise or fall all the way, but run {rows[at]:g}, {rows[at + 1]:g} at rows {at} and "
            f"{at + 1}. Sort the axis, or use graphs.meshes.points.points for scattered nodes."
        )
    return rows


def _longitude_axis(longitudes: ArrayLike) -> Array:
    """Return the longitudes unrolled eastward, so that they rise even across the date line."""
    columns = _axis(longitudes, "Longitudes")
    if np.any((columns < -360.0) | (columns > 720.0)):
        worst = columns[np.argmax(np.abs(columns))]
        raise MeshcastError(f"Longitudes must be degrees within -360 to 720, but one is {worst:g}.")
    steps = np.diff(columns)
    eastward = np.where(steps < 0, steps % 360.0, steps)
    around = float(eastward.sum())
    if np.any(eastward == 0):
        at = int(np.flatnonzero(eastward == 0)[0])
        raise MeshcastError(
            f"Longitudes name the same meridian twice, {columns[at]:g} and {columns[at + 1]:g} at columns {at} and "
            f"{at + 1}. Drop one of them."
        )
    if abs(around - 360.0) < 1e-6:
        raise MeshcastError(
            f"Longitudes name the same meridian twice, {columns[0]:g} first and {columns[-1]:g} last. Drop the last "
            "column."
        )
    if around > 360.0:
        raise MeshcastError(
            f"Longitudes must run eastward, once around at most, but {columns[0]:g}, {columns[1]:g}, ... "
            f"{columns[-1]:g} do not. Sort the axis eastward first."
        )
    return columns[0] + np.concatenate([[0.0], np.cumsum(eastward)])


def _axis(values: ArrayLike, name: str) -> Array:
    axis = np.asarray(values, dtype=np.float64)
    if axis.ndim != 1 or axis.size == 0:
        raise MeshcastError(f"{name} of a grid must be one axis of numbers, but have shape {axis.shape}.")
    if not np.all(np.isfinite(axis)):
        raise MeshcastError(f"{name} must be finite, but number {int(np.flatnonzero(~np.isfinite(axis))[0])} is not.")
    return axis


def _jumps(columns: Array) -> bool:
    """Return whether the hole a limited area leaves lies inside the axis, as in 0, 1, 2, 358, 359."""
    steps = np.diff(columns)
    gap = 360.0 - (columns[-1] - columns[0])
    return bool(steps.size > 1 and steps.max() > 1.01 * gap and steps.max() > 4.0 * np.median([*steps, gap]))


def latitude_bounds(rows: Array) -> Array:
    """Return edges [latitude + 1] of the cells, halfway between rows; the outermost reach the pole where it is near."""
    if rows.size == 1:
        return np.clip(rows[0] + np.array([-0.5, 0.5]), -90.0, 90.0)
    spacing = np.diff(rows)
    inner = rows[:-1] + spacing / 2.0
    first, last = rows[0] - spacing[0] / 2.0, rows[-1] + spacing[-1] / 2.0
    bounds = np.concatenate([[first], inner, [last]])
    for end, row, step in ((0, rows[0], spacing[0]), (-1, rows[-1], spacing[-1])):
        if 90.0 - abs(row) < abs(step):
            bounds[end] = np.copysign(90.0, row)
    return bounds


def _longitude_widths(columns: Array, periodic: bool) -> Array:
    """Return widths [longitude] of the cells [radians]."""
    if columns.size == 1:
        return np.ones(1)
    steps = np.diff(columns)
    gap = 360.0 - (columns[-1] - columns[0])
    before, after = (gap, gap) if periodic else (steps[0], steps[-1])
    steps = np.concatenate([[before], steps, [after]])
    return np.radians(steps[:-1] + steps[1:]) / 2.0
