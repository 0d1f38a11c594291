"""Times, rows and wind components of The Well's files, from what they hold to what Meshcast calls them."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from emulator.data.names import conversion
from emulator.foundation.time_step import Times, TimeStep, to_seconds
from graphs.errors import MeshcastError
from graphs.geometry import Array
from graphs.meshes.gaussian import gaussian_latitudes

# A simulation's time 0 [s since 1970]: 261 of planetswe's years of 1,008 h, so that seconds since 1970, from which
# forcings take the time of day and of year, have the phase of the simulation's own time.
NOMINAL_START = int(to_seconds(np.array("2000-01-06T00:00:00", dtype="datetime64[s]")))
HOUR = 3600
MOST_ASTRAY = 0.1  # of a step: by how much an output may come late, where a solver chooses its steps


def settled_times(values: NDArray[np.floating], units: str, path: str) -> tuple[Times, str]:
    """Return the times [time] of a file, in seconds since 1970, and a notice where they were moved to whole steps.

    values: [time] as the file has them: float32, of outputs that a solver wrote in its first step after each due time.
    units: `hours since 2000-01-06` or the like; of the time alone (`hours`) or empty, hours from `NOMINAL_START`.

    Raises MeshcastError where they do not increase, keep no step, or one below a second.
    """
    unit, _, date = units.partition(" since ")
    in_seconds = conversion(unit.strip() or "h", "s")
    if in_seconds is None:
        raise MeshcastError(f"{path}: the units of its times are {units!r}, expected hours, or `hours since DATE`.")
    start = _start(date, units, path)
    seconds = values.astype(np.float64) * in_seconds.factor
    if not np.all(np.isfinite(seconds)) or np.any(np.diff(seconds) <= 0):
        raise MeshcastError(f"{path}: its times must be numbers that increase, but are {_shown(values)}.")
    if len(seconds) == 1:
        return start + np.round(seconds).astype(np.int64), ""
    rounding = 2 * float(np.finfo(values.dtype).eps * np.abs(seconds).max()) + 1e-6
    mean = (seconds[-1] - seconds[0]) / (len(seconds) - 1)
    steps = np.arange(len(seconds))
    if rounding > MOST_ASTRAY * mean:
        raise MeshcastError(
            f"{path}: its times, {_shown(values)}, are {values.dtype}, which does not tell steps so far from 0 apart."
        )
    for unit_length in (HOUR, 60, 1):  # float32 hours are known to a second after half a year
        step = round(mean / unit_length) * unit_length
        if step and np.abs(seconds - seconds[0] - step * steps).max() <= 2 * rounding:
            first = _rounded(float(seconds[0]), rounding)
            return start + first + step * steps, ""
    for unit_length in (HOUR, 60):
        step = round(float(np.median(np.diff(seconds))) / unit_length) * unit_length
        due = np.round(seconds / step).astype(np.int64) * step if step else steps * 0
        late = float(np.abs(seconds - due).max())
        if step and late <= MOST_ASTRAY * step and np.all(np.diff(due) > 0):
            return start + due, (
                f"times of {path} lie up to {late:.0f} s from whole steps of {TimeStep(step)}, to which they are set"
            )
    raise MeshcastError(
        f"{path}: its times keep no step of whole seconds: {_shown(values)} {unit.strip() or 'hours'}. The Well's "
        "files are sampled at constant intervals; select such times first."
    )


def _start(date: str, units: str, path: str) -> int:
    if not date:
        return NOMINAL_START
    try:
        moment = re.sub(r"\s*(Z|UTC)$", "", date.strip()).replace(" ", "T")
        return int(to_seconds(np.array(moment, dtype="datetime64[s]")))
    except ValueError:
        raise MeshcastError(f"{path}: the units of its times are {units!r}, whose date cannot be read.") from None


def _rounded(seconds: float, rounding: float) -> int:
    """Return a whole hour or minute that float32 may have meant, else the nearest second."""
    near = (round(seconds / unit) * unit for unit in (HOUR, 60, 1))
    return next((one for one in near if abs(one - seconds) <= rounding), round(seconds))


def _shown(values: NDArray[np.floating]) -> str:
    few = ", ".join(f"{value:g}" for value in values[:4])
    return few if len(values) <= 4 else f"{few}, ... {values[-1]:g}"


def latitudes_of(theta: Array, path: str) -> Array:
    """Return latitudes [degrees north] of colatitudes [row, radians]."""
    if len(theta) < 2 or not np.all(np.isfinite(theta)) or theta.min() < -1e-4 or theta.max() > np.pi + 1e-4:
        raise MeshcastError(
            f"{path}: theta must be colatitudes, two or more, from 0 at the north pole to pi at the south pole, but "
            f"runs from {np.min(theta, initial=np.inf):g} to {np.max(theta, initial=-np.inf):g}."
        )
    steps = np.diff(theta)
    if not (np.all(steps > 0) or np.all(steps < 0)):
        raise MeshcastError(f"{path}: theta must rise or fall all the way, but is {_shown(theta)}.")
    return np.clip(90.0 - np.degrees(theta), -90.0, 90.0)


def longitudes_of(phi: Array, path: str) -> Array:
    """Return longitudes [degrees east] of azimuths [column, radians]."""
    if len(phi) < 2 or not np.all(np.isfinite(phi)) or np.abs(phi).max() > 2 * np.pi + 1e-4 or np.diff(phi).min() <= 0:
        raise MeshcastError(
            f"{path}: phi must be azimuths in radians, two or more, that increase eastward and once around at most, "
            f"but is {_shown(phi)}."
        )
    return np.degrees(phi)


def planetswe_rows(latitudes: Array) -> Array | None:
    """Return where the rows of planetswe's own files lie [degrees north], None where they are stated rightly.

    The script that wrote them (datasets/planetswe/generation/interpolate_swe_data.py of The Well's repository) states
    the Gaussian latitudes of the solver, but interpolates to rows as here: .19 degrees elsewhere at the poles.
    """
    rows = len(latitudes)
    south_first = latitudes if latitudes[0] < latitudes[-1] else latitudes[::-1]
    if np.abs(south_first - gaussian_latitudes(rows)[0]).max() > 1e-3:
        return None
    half = 90.0 / (rows + 1)
    interpolated = np.linspace(half - 90.0, 90.0 - half, rows)
    return interpolated if latitudes[0] < latitudes[-1] else interpolated[::-1]


def geostrophic_components(
    height: Array, first: Array, second: Array, latitudes: Array, longitudes: Array
) -> tuple[bool, float] | None:
    """Return how a wind's two components must be read for it to blow along the isolines of height.

    height, first, second: [latitude, longitude], of one state; the components are stated as (theta, phi), theta to the
        south, all three on a planet that turns eastward.
    latitudes, longitudes: [degrees].
    Returns whether they are (phi, theta) instead, and the sign of the northward wind against the theta component; None
    where they are as stated, or no reading fits: geostrophy, f u = -g dh/dy and f v = g dh/dx, says so between 20 and
    70 degrees, where a large-scale flow on a fast planet obeys it.
    """
    rows = np.flatnonzero((np.abs(latitudes) > 20.0) & (np.abs(latitudes) < 70.0))
    if len(rows) < 3 or not all(np.all(np.isfinite(field)) for field in (height, first, second)):
        return None
    latitude = np.radians(latitudes)
    around = np.roll(height, -1, axis=1) - np.roll(height, 1, axis=1)
    width = np.roll(longitudes, -1) - np.roll(longitudes, 1)
    eastward = around / np.radians(np.where(width <= 0, width + 360.0, width)) / np.cos(latitude)[:, None]
    northward = np.gradient(height, latitude, axis=0)
    f = np.sin(latitude)[:, None]
    u, v = (-northward / f)[rows], (eastward / f)[rows]
    size = float(np.sqrt((u**2 + v**2).sum() * (first[rows] ** 2 + second[rows] ** 2).sum()))
    if size == 0.0:
        return None
    fit = {
        (swapped, sign): float((u * zonal[rows]).sum() + sign * (v * meridional[rows]).sum()) / size
        for swapped, (meridional, zonal) in ((False, (first, second)), (True, (second, first)))
        for sign in (-1.0, 1.0)
    }
    best = max(fit, key=fit.__getitem__)
    return best if best != (False, -1.0) and fit[best] > 0.6 and fit[False, -1.0] < fit[best] - 0.3 else None
