"""A scenario as CF NetCDF: fields by year or month, on the grid of its emulator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emulator.data.forecast_netcdf import conventions
from emulator.data.names import cf_units, conversion, standard_name_of
from graphs.atomic_file import atomic_file
from inference.scenarios.scenario import Scenario
from inference.scenarios.summary import BasePeriod

EPOCH = "seconds since 1970-01-01 00:00:00"


def is_scenario_folder(folder: Path) -> bool:
    """Return whether a folder holds what `meshcast scenario` writes and nothing else."""
    table = folder / "regions.csv"
    try:
        with open(table, encoding="utf-8") as file:
            begins = file.readline().startswith("pathway,variable,units,region,")
    except (OSError, UnicodeDecodeError):
        return False
    return begins and all(path.suffix in (".nc", ".csv", ".png", ".html") for path in folder.iterdir())


def write_scenario(path: Path, scenario: Scenario, base: BasePeriod, about: Mapping[str, str]) -> None:
    """Write the expected values and, of several members, each of them; whole or not at all.

    about: further attributes of the file, such as the emulator's training data and their licence.
    """
    import xarray as xr

    mesh, values = scenario.mesh, scenario.values
    places: tuple[str, ...] = ("cell",)
    coordinates = {"lat": ("cell", mesh.latitudes), "lon": ("cell", mesh.longitudes)}
    if mesh.structured:
        places = ("lat", "lon")
        latitudes, longitudes = mesh.latitudes.reshape(mesh.shape)[:, 0], mesh.longitudes.reshape(mesh.shape)[0]
        coordinates = {"lat": ("lat", latitudes), "lon": ("lon", longitudes)}
    members = len(values) > 1
    dims = (("member",) if members else ()) + ("time", *places)
    variables: dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]] = {}
    for column, variable in enumerate(scenario.variables):
        fields = values[..., column].reshape(*values.shape[:2], *(mesh.shape if mesh.structured else (-1,)))
        known = standard_name_of(variable.name, variable.units)
        attributes = {"long_name": variable.name, "units": cf_units(variable.units)}
        attributes |= {"standard_name": known} if known else {}
        attributes |= {"units_metadata": "temperature: on_scale"} if conversion(variable.units, "K") else {}
        if not mesh.structured:
            attributes["coordinates"] = "lat lon"
        variables[variable.name] = (dims, fields if members else fields[0], attributes)
        if members:
            shape = len(values[0]), *fields.shape[2:]
            expected = {**attributes, "long_name": f"{variable.name}, expected"}
            variables[f"{variable.name}_expected"] = (dims[1:], scenario.expected[..., column].reshape(shape), expected)
    forcing = scenario.forcing if members else scenario.forcing[0]
    flagged = scenario.years >= min(scenario.beyond.values(), default=10**6)
    variables["effective_radiative_forcing"] = (
        dims[: dims.index("time") + 1],
        forcing,
        {"long_name": "effective radiative forcing over 1750", "units": "W m-2"},
    )
    variables["beyond_training"] = (
        ("time",),
        flagged.astype(np.int8),
        {
            "long_name": "whether a forcing has left the range that the emulator was trained on",
            "flag_values": np.array([0, 1], np.int8),
            "flag_meanings": "within beyond",
        },
    )
    dataset = xr.Dataset(variables, coordinates)
    dataset["time"] = (
        "time",
        scenario.times,
        {"standard_name": "time", "units": EPOCH, "calendar": "proleptic_gregorian"},
    )
    dataset["lat"].attrs = {"standard_name": "latitude", "units": "degrees_north"}
    dataset["lon"].attrs = {"standard_name": "longitude", "units": "degrees_east"}
    if members:
        dataset["member"] = ("member", np.arange(len(values)), {"standard_name": "realization", "units": "1"})
    pathway = scenario.pathway
    dataset.attrs = {
        **conventions(),
        "title": f"{scenario.emulator} under the pathway {pathway.name}",
        "source": f"{scenario.emulator}, run by meshcast",
        "pathway": pathway.name,
        "pathway_source": pathway.source,
        "pathway_notes": "; ".join(pathway.notes) or "none",
        "base_period_of_tables": str(base),
        "beyond_training": "; ".join(f"{name} from {year}" for name, year in scenario.beyond.items()) or "nowhere",
        **about,
    }
    encoding: dict[Any, dict[str, Any]] = {str(name): {"_FillValue": None} for name in dataset.variables}
    encoding |= {name: {"zlib": True, "complevel": 4} for name in variables if len(variables[name][0]) > 1}
    with atomic_file(path) as temporary:
        dataset.to_netcdf(temporary, engine="netcdf4", encoding=encoding)
