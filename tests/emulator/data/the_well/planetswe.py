"""Small files of The Well as the script makes them that wrote planetswe's, and variants of them.

Source: datasets/planetswe/generation/interpolate_swe_data.py of The Well's repository, its attributes one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
ROWS, COLUMNS = 16, 32


def solver_colatitudes(rows: int = ROWS) -> Array:
    """Return the Gaussian colatitudes [radians] of the solver's grid, from south to north as it keeps them."""
    return np.arccos(np.polynomial.legendre.leggauss(rows)[0])


def interpolated_colatitudes(rows: int = ROWS) -> Array:
    """Return the colatitudes to which the script interpolates."""
    delta = np.pi / (rows + 1)
    return np.linspace(np.pi - delta / 2, delta / 2, rows)


def flow(theta: Array, hours: Sequence[float], number: int = 0, columns: int = COLUMNS) -> tuple[Array, Array, Array]:
    """Return h [m], u and v [m s-1] in geostrophic balance, all [time, theta, phi], zonal wave number 3 + `number`."""
    latitude = (np.pi / 2 - theta)[:, None]
    phi, wave = 2 * np.pi * np.arange(columns) / columns, 3 + number
    s, c = np.sin(latitude), np.cos(latitude)
    fields = []
    for hour in hours:
        phase = wave * phi + 0.1 * hour
        h = -(s**2) + s**3 * c**2 * np.cos(phase)
        u = 2 * c - (3 * s * c**3 - 2 * s**3 * c) * np.cos(phase)  # -(dh/dy) / sin(latitude)
        v = -wave * s**2 * c * np.sin(phase)  # (dh/dx) / sin(latitude)
        fields.append((300.0 * h, 10.0 * u, 10.0 * v))
    h, u, v = (np.stack(field) for field in zip(*fields, strict=True))
    return h, u, v


def planetswe_file(
    path: Path,
    *,
    hours: Sequence[float] = tuple(252.0 + np.arange(6)),
    theta: Array | None = None,
    stated_theta: Array | None = None,
    trajectories: Sequence[int] = (0,),
    components: str = "theta, phi",
    name: str = "planetswe",
) -> Path:
    """Write a file as The Well's script does, attribute by attribute.

    theta: where the rows lie; `stated_theta` what the file says, as The Well's own the solver's.
    trajectories: numbers of the flows, by `flow`.
    components: of velocity; the published files have them as the format asks, the script writes `phi, theta`. With
        `-theta`, it points north.
    """
    theta = interpolated_colatitudes() if theta is None else theta
    stated_theta = solver_colatitudes() if stated_theta is None else stated_theta
    h, u, v = (np.stack(field) for field in zip(*(flow(theta, hours, one) for one in trajectories), strict=True))
    known = {"phi": u, "theta": -v, "-theta": v}
    velocity = np.stack([known[one] for one in components.split(", ")], axis=-1)
    with h5py.File(path, "w") as file:
        file.create_group("dimensions")
        file["dimensions"].attrs["spatial_dims"] = ["phi", "theta"]
        file.attrs["simulation_parameters"] = []
        for group in ("t0_fields", "t1_fields", "t2_fields", "scalars"):
            file.create_group(group).attrs["field_names"] = []
        file.attrs["dataset_name"] = name
        file.attrs["n_spatial_dims"] = 2
        file.attrs["grid_type"] = "equiangular"
        file.attrs["n_trajectories"] = len(trajectories)
        file["scalars"].attrs["field_names"] = file.attrs["simulation_parameters"]
        file["dimensions"].attrs["spatial_dims"] = ["theta", "phi"]
        time = file["dimensions"].create_dataset("time", data=hours, dtype="f4")
        time.attrs["sample_varying"] = False
        for axis, values in (("phi", 2 * np.pi * np.arange(COLUMNS) / COLUMNS), ("theta", stated_theta)):
            dataset = file["dimensions"].create_dataset(axis, data=values, dtype="f4")
            dataset.attrs["time_varying"] = False
            dataset.attrs["sample_varying"] = False
        for group, field, values in (("t0_fields", "height", h), ("t1_fields", "velocity", velocity)):
            file[group].attrs["field_names"] = [field]
            dataset = file[group].create_dataset(field, data=values, dtype="f4")
            dataset.attrs["time_varying"] = True
            dataset.attrs["sample_varying"] = True
            dataset.attrs["dim_varying"] = [True, True]
        conditions = file.create_group("boundary_conditions")
        for condition, axis, kind in (("x_periodic", "phi", "PERIODIC"), ("y_open", "theta", "OPEN")):
            group = conditions.create_group(condition)
            group.attrs["associated_dims"] = [axis]
            group.attrs["bc_type"] = kind
            group.attrs["associated_fields"] = []
            group.attrs["sample_varying"] = False
            group.attrs["time_varying"] = False
            mask = np.zeros(file["dimensions"][axis].shape, dtype=bool)
            mask[0] = mask[-1] = True
            group.create_dataset("mask", data=mask, dtype=bool)
    return path
