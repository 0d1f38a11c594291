"""Forecasts written as GRIB on regular grids, message by message as a centre writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from emulator.data.forecast import Forecast, accumulated
from emulator.data.forecast_netcdf import ForecastHeading
from emulator.data.grib_messages import MISSING, eccodes_quietly
from emulator.data.names import Conversion, conversion, split_level
from emulator.foundation.configuration_faults import nearest
from graphs.atomic_file import atomic_file, refuse_existing
from graphs.errors import MeshcastError
from graphs.mesh import Mesh

BITS_PER_VALUE = 24
NOT_STATED = 255  # "missing" in GRIB's tables of one octet
MOST_MEMBERS = 255  # a member's number is one octet
SETTINGS = ("centre", "generating_process", "ensemble_type", "control")
CONTROL, PERTURBED = ("cf", 0), ("pf", NOT_STATED)  # dataType, and type of ensemble forecast (WMO code table 4.6)


@dataclass(frozen=True)
class GribSettings:
    """What GRIB says of a forecast that its fields do not: by default, that it is not stated.

    parameters: number of a variable (paramId of ECMWF's parameter database) that GRIB does not know by its name.
    centre: who makes the forecast, by abbreviation or number (WMO common code table C-11).
    generating_process: the centre's number of the model.
    ensemble_type: of perturbed members (WMO code table 4.6).
    control: the member that starts from the unperturbed state, None where there is none.
    """

    parameters: Mapping[str, int] = field(default_factory=dict)
    centre: str | int = NOT_STATED
    generating_process: int = NOT_STATED
    ensemble_type: int = NOT_STATED
    control: int | None = None

    @classmethod
    def of(cls, given: Mapping[str, str | int], variables: Sequence[str], control: int | None = None) -> GribSettings:
        """Return the settings of `grib: {tcco2: 210064, centre: ecmf}`: what is no setting is a variable's paramId.

        variables: that are forecast. control: where nothing is given. Raises MeshcastError where a value is none.
        """
        parameters = {name: value for name, value in given.items() if name not in SETTINGS}
        if strangers := [name for name in parameters if name not in variables]:
            raise MeshcastError(
                f"grib names {', '.join(strangers)}, but the settings are {', '.join(SETTINGS)}, and the variables "
                f"forecast {', '.join(variables)}{nearest(strangers[0], (*variables, *SETTINGS)) or '.'}"
            )
        numbers = {name: value for name, value in given.items() if name != "centre" and str(value) != "none"}
        for name, value in numbers.items():
            if not str(value).isdigit() or (name in SETTINGS and int(value) > NOT_STATED):
                most = f" to {NOT_STATED}" if name in SETTINGS else ""
                raise MeshcastError(f"grib.{name} must be a whole number from 0{most}, but is {value!r}.")
        centre = given.get("centre", NOT_STATED)
        return cls(
            parameters={name: int(value) for name, value in parameters.items()},
            centre=int(centre) if str(centre).isdigit() else centre,
            generating_process=int(numbers.get("generating_process", NOT_STATED)),
            ensemble_type=int(numbers.get("ensemble_type", NOT_STATED)),
            control=int(numbers["control"]) if "control" in numbers else None if "control" in given else control,
        )


def write_grib(
    forecast: Forecast, path: str | Path, overwrite: bool = False, settings: GribSettings | None = None
) -> Path:
    """Write a forecast as GRIB 2 on a regular latitude-longitude grid, one message a field.

    Values are packed to `BITS_PER_VALUE`; NaN becomes missing. Where the forecast's units are not GRIB's they are
    converted. What GRIB counts over a time, such as precipitation, is counted over the step before its valid time, or
    since the output before where the forecast accumulates it.
    Raises MeshcastError where the mesh, a variable or its units have no place in GRIB.
    """
    eccodes = eccodes_quietly()
    path, settings = Path(path), settings or GribSettings()
    refuse_existing(path, overwrite)
    refuse_ungribbable(forecast, settings)
    grid, members = _regular_grid(forecast.mesh), forecast.values.shape[1]
    summed = accumulated(forecast.attributes)
    ends = _leads(forecast, forecast.lead_steps)
    steps_before = _leads(forecast, forecast.lead_steps - 1)
    outputs_before = _leads(forecast, np.concatenate([[0], forecast.lead_steps[:-1]]))
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        for column, name in enumerate(forecast.variables):
            template = _template(eccodes, name, grid, members, settings)
            convert = _to_grib_units(eccodes, template, name, forecast.units[column])
            starts = outputs_before if name in summed else steps_before
            for case, member, lead in np.ndindex(forecast.values.shape[:3]):
                message = eccodes.codes_clone(template)
                if members > 1:
                    _set_member(eccodes, message, member, settings)
                span = int(starts[case, lead]), int(ends[case, lead])
                _set_times(eccodes, message, int(forecast.init_time[case]), *span)
                eccodes.codes_set(message, "missingValue", MISSING)  # a clone forgets it
                values = convert(forecast.values[case, member, lead, :, column]).astype(np.float64)
                eccodes.codes_set_values(message, np.where(np.isfinite(values), values, MISSING))
                eccodes.codes_write(message, file)
                eccodes.codes_release(message)
            eccodes.codes_release(template)
    return path


def refuse_ungribbable(forecast: Forecast | ForecastHeading, settings: GribSettings | None = None) -> None:
    """Raise MeshcastError where the mesh, a variable, its units, times, members or cases have no place in GRIB."""
    eccodes, settings = eccodes_quietly(), settings or GribSettings()
    grid = _regular_grid(forecast.mesh)
    members = forecast.values.shape[1] if isinstance(forecast, Forecast) else forecast.num_members
    if len(np.unique(forecast.init_time)) < len(forecast.init_time):
        raise MeshcastError("GRIB cannot tell trajectories of one initial time apart. Write NetCDF (.nc) instead.")
    if members > MOST_MEMBERS:
        raise MeshcastError(f"GRIB counts at most {MOST_MEMBERS} members, not {members}. Write NetCDF (.nc) instead.")
    if settings.control is not None and settings.control >= members:
        raise MeshcastError(
            f"grib.control is member {settings.control}, but the members are 0 to {members - 1}. Choose one, or none."
        )
    if (forecast.time_step.count % 60 and forecast.time_step.unit == "second") or np.any(forecast.init_time % 60):
        raise MeshcastError("GRIB counts whole minutes here, but this forecast seconds. Write NetCDF (.nc) instead.")
    summed = accumulated(forecast.attributes)
    for name, unit in zip(forecast.variables, forecast.units, strict=True):
        template = _template(eccodes, name, grid, members, settings)
        try:
            _to_grib_units(eccodes, template, name, unit)
            if name in summed and not _counts_over_time(eccodes, template):
                raise MeshcastError(
                    f"GRIB holds {name} as a value at one time, not as a sum over time. Write NetCDF (.nc) instead, or "
                    "do not accumulate it."
                )
        finally:
            eccodes.codes_release(template)


def _regular_grid(mesh: Mesh) -> dict[str, float | int]:
    if not mesh.structured:
        raise MeshcastError(
            f"GRIB needs a regular latitude-longitude grid, but this is a {mesh.describe()}, which has no place "
            "in GRIB. Write NetCDF (.nc) instead."
        )
    rows, columns = mesh.latitudes.reshape(mesh.shape)[:, 0], mesh.longitudes.reshape(mesh.shape)[0]
    downward, eastward = np.diff(rows), np.diff(columns) % 360.0
    if np.ptp(downward) > 1e-4 or np.ptp(eastward) > 1e-4:
        raise MeshcastError("GRIB needs an evenly spaced grid, but these rows are uneven. Write NetCDF (.nc) instead.")
    return {
        "Ni": mesh.shape[1],
        "Nj": mesh.shape[0],
        "jScansPositively": int(downward[0] > 0),
        "latitudeOfFirstGridPointInDegrees": round(float(rows[0]), 6),
        "latitudeOfLastGridPointInDegrees": round(float(rows[-1]), 6),
        "longitudeOfFirstGridPointInDegrees": round(float(columns[0]), 6),
        "longitudeOfLastGridPointInDegrees": round(float(columns[-1]), 6),
        "iDirectionIncrementInDegrees": round(float(eastward.mean()), 6),
        "jDirectionIncrementInDegrees": round(float(np.abs(downward).mean()), 6),
    }


def _template(eccodes: Any, name: str, grid: Mapping[str, float | int], members: int, settings: GribSettings) -> Any:
    stem, level = split_level(name)
    number = settings.parameters.get(name)
    message = eccodes.codes_grib_new_from_samples("regular_ll_pl_grib2" if level else "regular_ll_sfc_grib2")
    keys: dict[str, float | int | str] = {
        "tablesVersion": 30,
        "centre": settings.centre,
        "productionStatusOfProcessedData": NOT_STATED,
        "productDefinitionTemplateNumber": 1 if members > 1 else 0,  # an ensemble member, or a single forecast
        "typeOfGeneratingProcess": 4 if members > 1 else 2,
        "generatingProcessIdentifier": settings.generating_process,
        "dataType": PERTURBED[0] if members > 1 else "fc",
        **grid,
        "bitsPerValue": BITS_PER_VALUE,
        "bitmapPresent": 1,
    }
    if members > 1:
        keys["numberOfForecastsInEnsemble"] = members
    setting = "centre"
    try:
        for setting, value in keys.items():
            eccodes.codes_set(message, setting, value)
        setting = "shortName" if number is None else "paramId"
        eccodes.codes_set(message, setting, stem if number is None else number)
        if level:
            eccodes.codes_set(message, "typeOfLevel", "isobaricInhPa")
            eccodes.codes_set(message, "level", level)
        found = eccodes.codes_get(message, "paramId")
        if found == 0 or number not in (None, found):
            raise eccodes.CodesInternalError(f"it would be read as parameter {found}")
    except eccodes.CodesInternalError as error:
        eccodes.codes_release(message)
        raise MeshcastError(_why_not(name, number, setting, settings, str(error))) from None
    return message


def _why_not(name: str, number: int | None, setting: str, settings: GribSettings, error: str) -> str:
    """Return why a variable has no place in GRIB, and what to do."""
    if setting == "centre":
        return f"GRIB knows no centre {settings.centre!r} ({error}). Give its abbreviation, as ecmf, or its number."
    instead = ", or write NetCDF (.nc) instead."
    if number is not None:
        return (
            f"GRIB cannot hold {name} as parameter {number} of centre {settings.centre} ({error}). A parameter of a "
            "centre's own table needs that centre, as --grib centre=ecmf. Give another number (paramId of "
            f"https://codes.ecmwf.int/grib/param-db), name the centre{instead}"
        )
    return (
        f"GRIB cannot hold the variable {name} ({error}). Name it as the ECMWF parameter database does (2t, z_500, "
        f"...), give its number there, as --grib {name}=210064 or `grib: {{{name}: 210064}}`{instead}"
    )


def _to_grib_units(eccodes: Any, template: Any, name: str, units: str) -> Conversion:
    theirs = eccodes.codes_get(template, "units")
    convert = conversion(units, theirs)
    if convert is None:
        raise MeshcastError(
            f"GRIB keeps {name} in {theirs}, but the forecast has it in {units}, which cannot be converted. Write "
            f"NetCDF (.nc) instead, or give another parameter, as --grib {name}=228."
        )
    return convert


def _set_member(eccodes: Any, message: Any, member: int, settings: GribSettings) -> None:
    """Say which member a message is of: the control, or one of the perturbed."""
    data_type, ensemble_type = CONTROL if member == settings.control else (PERTURBED[0], settings.ensemble_type)
    eccodes.codes_set(message, "dataType", data_type)
    eccodes.codes_set(message, "typeOfEnsembleForecast", ensemble_type)
    eccodes.codes_set(message, "perturbationNumber", member)


def _counts_over_time(eccodes: Any, message: Any) -> bool:
    return bool(eccodes.codes_is_defined(message, "typeOfStatisticalProcessing"))


def _leads(forecast: Forecast, steps: np.ndarray) -> np.ndarray:
    """Return lead times [case, lead] of these steps [s]."""
    return forecast.time_step.advance(forecast.init_time[:, None], steps[None]) - forecast.init_time[:, None]


def _set_times(eccodes: Any, message: Any, init_time: int, before: int, lead: int) -> None:
    """Set initial time and lead time, of what is counted over a time since `before` [s]."""
    start = datetime(1970, 1, 1) + timedelta(seconds=init_time)
    eccodes.codes_set(message, "dataDate", int(f"{start:%Y%m%d}"))
    eccodes.codes_set(message, "dataTime", start.hour * 100 + start.minute)
    seconds, unit = (3600, "h") if lead % 3600 == 0 and before % 3600 == 0 else (60, "m")
    eccodes.codes_set(message, "stepUnits", unit)
    if _counts_over_time(eccodes, message):
        eccodes.codes_set(message, "stepRange", f"{before // seconds}-{lead // seconds}")
    else:
        eccodes.codes_set(message, "step", lead // seconds)
