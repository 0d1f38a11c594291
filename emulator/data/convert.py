"""GRIB and NetCDF files to an anemoi dataset: what `meshcast dataset` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emulator.data.coordinates import mesh_from_coordinates, remarks_on
from emulator.data.create import check_output, create_dataset, refuse_reserved
from emulator.data.files import read_files, time_step_of
from emulator.foundation.fetched_files import named_source
from emulator.foundation.time_step import TimeStep, to_datetime, to_seconds
from graphs.errors import MeshcastError

if TYPE_CHECKING:
    import xarray as xr

NOT_CARRIED = ("shape", "time_step", "irregular", "ensemble_axis")  # the store has its own


def convert(
    sources: Sequence[str | Path],
    output: str | Path,
    *,
    rename: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    select: Sequence[str] | None = None,
    frequency: str | None = None,
    overwrite: bool = False,
    attributes: Mapping[str, str] | None = None,
    trajectories: str | None = None,
    static: Sequence[str] = (),
    forecasts: bool = False,
) -> dict[str, Any]:
    """Write files as one anemoi dataset, values as the source has them, and return what was written, by name.

    rename, units, trajectories, select, static, forecasts: see `read_files`.
    frequency: keep times this far apart, counted from the first (`6h`, `1 month`).
    attributes: licence, attribution, title and whatever else the files do not say or say wrongly.
    """
    check_output(Path(output), overwrite)
    refuse_reserved(attributes or {})
    fields = read_files(sources, rename, units, trajectories, select, static, forecasts)
    notices = [line for line in fields.attrs["notices"].split("\n") if line]
    if select is not None:
        fields = fields[list(select)]
    fields, time_step = _at_frequency(fields, frequency)
    for name in fields.data_vars:
        fields[name].attrs["units"] = fields[name].attrs["units"] or "unknown"
    mesh = mesh_from_coordinates(fields["latitude"].values, fields["longitude"].values)
    notices += remarks_on(mesh)
    names = ", ".join(Path(named_source(source)).name for source in sources)
    carried = {name: value for name, value in fields.attrs.items() if name not in NOT_CARRIED and value}
    create_dataset(
        Path(output),
        fields,
        mesh=mesh,
        time_step=time_step,
        ensemble_axis=fields.attrs["ensemble_axis"],
        attributes={**carried, "files": names, **(attributes or {})},
        overwrite=overwrite,
    )
    first, last = map(str, fields["time"].values[[0, -1]].astype("datetime64[s]"))
    return {
        "output": str(output),
        "variables": tuple(map(str, fields.data_vars)),
        "units": tuple(str(fields[name].attrs["units"]) for name in fields.data_vars),
        "mesh": mesh.describe(),
        "time_step": str(time_step),
        "num_times": fields.sizes["time"],
        "first": first,
        "last": last,
        "ensemble_size": fields.sizes["number"],
        "ensemble_axis": fields.attrs["ensemble_axis"],
        "notices": tuple(notices),
    }


def describe(dataset: Mapping[str, Any]) -> str:
    """Return what `convert` wrote in a few lines for a person."""
    named = ", ".join(f"{name} [{units}]" for name, units in zip(dataset["variables"], dataset["units"], strict=True))
    rows, hint = dataset["ensemble_size"], " of one ensemble (independent trajectories are named by --trajectories)"
    kinds = {"member": f"members{hint}", "trajectory": "independent trajectories"}
    members = f", {rows} {kinds[dataset['ensemble_axis']]}" if rows > 1 else ""
    times = f"{dataset['num_times']} times every {dataset['time_step']}, {dataset['first']} to {dataset['last']}"
    notices = (f"note: {notice}" for notice in dataset["notices"])
    return "\n".join([f"{named} on a {dataset['mesh']}{members}", times, *notices])


def _at_frequency(fields: xr.Dataset, frequency: str | None) -> tuple[xr.Dataset, TimeStep]:
    stored = time_step_of(fields)
    if frequency is None:
        if stored is not None:
            return fields, stored
        single = (
            f"The files hold one time, {fields['time'].values[0]}: give more files, or --frequency to say how far "
            "apart the times of the dataset are."
        )
        raise MeshcastError(fields.attrs["irregular"] or single)
    wanted = TimeStep.parse(frequency)
    times = to_seconds(fields["time"].values)
    steps = np.arange(wanted.whole_steps(times[0], times[-1]) + 1)
    keep = np.isin(times, wanted.advance(times[0], steps))
    if len(times) > 1 and keep.sum() < 2:
        raise MeshcastError(
            f"No time is {wanted} after the first, {to_datetime(times)[0]}; the files' times are "
            f"{stored or 'uneven'} apart. Choose a --frequency that is a multiple of that."
        )
    return fields.isel(time=np.flatnonzero(keep)), wanted
