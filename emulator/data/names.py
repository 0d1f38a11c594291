"""Names and units: the one table between GRIB short names, CF names and what files call their variables.

The canonical name is GRIB's short name, as anemoi datasets use it: `2t`, `sst`, and with a pressure level `z_500`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Known:
    """One physical variable and what it is called.

    name: GRIB short name (ECMWF parameter database).
    units: GRIB's units.
    standard_name: in the CF standard name table.
    aliases: other names files give it, lower case, a space between; CMIP's, ERA5's NetCDF names, NCEP's.
    on_levels: True where the name belongs on a pressure level.
    """

    name: str
    units: str
    standard_name: str
    aliases: str = ""
    on_levels: bool = False


TABLE = (
    Known("2t", "K", "air_temperature", "t2m tas t2 2m_temperature temperature_2m air_temperature_2m tmp2m"),
    Known("2d", "K", "dew_point_temperature", "d2m tdps 2m_dewpoint_temperature"),
    Known("10u", "m s-1", "eastward_wind", "u10 uas 10m_u_component_of_wind u10m eastward_wind_10m"),
    Known("10v", "m s-1", "northward_wind", "v10 vas 10m_v_component_of_wind v10m northward_wind_10m"),
    Known("10si", "m s-1", "wind_speed", "si10 sfcwind 10m_wind_speed"),
    Known("100u", "m s-1", "eastward_wind", "u100 100m_u_component_of_wind"),
    Known("100v", "m s-1", "northward_wind", "v100 100m_v_component_of_wind"),
    Known("msl", "Pa", "air_pressure_at_mean_sea_level", "mslp psl prmsl mean_sea_level_pressure"),
    Known("sp", "Pa", "surface_air_pressure", "ps surface_pressure"),
    Known("skt", "K", "surface_temperature", "ts skin_temperature"),
    Known("sst", "K", "sea_surface_temperature", "tos sea_surface_temp"),
    Known("tp", "m", "", "total_precipitation"),
    Known("tprate", "kg m-2 s-1", "precipitation_flux", "pr mtpr"),
    Known("tcwv", "kg m-2", "atmosphere_mass_content_of_water_vapor", "prw total_column_water_vapour"),
    Known("tcc", "1", "cloud_area_fraction", "clt total_cloud_cover"),
    Known("ci", "1", "sea_ice_area_fraction", "siconc sic sea_ice_cover"),
    Known("lsm", "1", "land_binary_mask", "land_mask land_sea_mask sftlf"),
    Known("orog", "m", "surface_altitude", "zsurf orography"),
    Known("z", "m2 s-2", "geopotential", "phi", on_levels=True),
    Known("gh", "m", "geopotential_height", "zg hgt", on_levels=True),
    Known("t", "K", "air_temperature", "ta temp temperature", on_levels=True),
    Known("u", "m s-1", "eastward_wind", "ua uwnd u_component_of_wind", on_levels=True),
    Known("v", "m s-1", "northward_wind", "va vwnd v_component_of_wind", on_levels=True),
    Known("w", "Pa s-1", "lagrangian_tendency_of_air_pressure", "wap omega vertical_velocity", on_levels=True),
    Known("q", "kg kg-1", "specific_humidity", "hus shum", on_levels=True),
    Known("r", "%", "relative_humidity", "hur rhum", on_levels=True),
    Known("vo", "s-1", "atmosphere_relative_vorticity", "vorticity", on_levels=True),
    Known("d", "s-1", "divergence_of_wind", "divergence", on_levels=True),
)
STATISTICS = (
    "maximum|minimum|maximum_absolute_value|minimum_absolute_value|range|mode|median|standard_deviation|variance"
)
WINDS = {"u": "v", "10u": "10v", "100u": "100v"}  # eastward components and their northward partners
BY_NAME = {alias: known for known in TABLE for alias in (known.name, *known.aliases.split())}


def canonical_name(name: str, standard_name: str = "", level: float | None = None) -> str:
    """Return GRIB's short name of a variable, with its pressure level: `t2m` is `2t`, `ta` on 850 hPa is `t_850`.

    standard_name: CF's, where the file gives one; it decides only where the table does not know the name.
    level: pressure [hPa], None at the surface. A name that nothing knows stays as it is.
    """
    if level is None and (match := re.fullmatch(r"([a-z_]+?)(?:_(?=\d)|(?=\d\d))(\d{1,4})(?:hpa)?", name.lower())):
        stem, digits = match.groups()
        if name.lower() not in BY_NAME and stem in BY_NAME and BY_NAME[stem].on_levels:
            return f"{BY_NAME[stem].name}_{int(digits)}"
    wanted = standard_name or name.lower()
    named = (one for one in TABLE if one.standard_name == wanted and one.on_levels == (level is not None))
    known = BY_NAME.get(name.lower()) or next(named, None)
    stem = known.name if known else name
    return stem if level is None else f"{stem}_{level:g}"


def named_standard(name: str, attributes: Mapping[str, Any]) -> str:
    """Return CF's standard name of a file's variable; empty where it is another statistic of the named one.

    `tasmax` too is an air_temperature, the highest of a day or a year, which its cell methods say (CF 1.11, 7.3) and
    its name does: it is no 2-metre temperature.
    """
    statistic = re.search(rf"\btime:\s*({STATISTICS})\b", str(attributes.get("cell_methods", "")))
    extreme = re.search(r"(max|min|maximum|minimum)$", name.lower())
    return "" if statistic or extreme else str(attributes.get("standard_name", ""))


def split_level(name: str) -> tuple[str, int | None]:
    """Return `z_500` as `("z", 500)`; a name without a level as `(name, None)`."""
    match = re.fullmatch(r"(.+)_(\d+)", name)
    if match and (known := BY_NAME.get(match[1])) and known.on_levels:
        return match[1], int(match[2])
    return name, None


def standard_name_of(name: str, units: str | None = None) -> str:
    """Return CF's standard name of a canonical name, empty where there is none or `units` measure something else."""
    known = BY_NAME.get(split_level(name)[0])
    fits = known is not None and (units is None or conversion(units, known.units) is not None)
    return known.standard_name if known and fits else ""


def cf_units(units: str) -> str:
    """Return units as UDUNITS, and so CF, spells them: `(0 - 1)` is `1`, `C`, there a coulomb, `degC`."""
    spelt = SPELLINGS.get(units.strip().lower(), units)
    return "1" if spelt == "dimensionless" else spelt


@dataclass(frozen=True)
class Conversion:
    """value in the new units = factor · value + offset."""

    factor: float
    offset: float

    @property
    def needed(self) -> bool:
        return (self.factor, self.offset) != (1.0, 0.0)

    def __call__(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        if not self.needed:
            return values.astype(np.float32, copy=False)
        return (values.astype(np.float64) * self.factor + self.offset).astype(np.float32)


def conversion(from_units: str, to_units: str) -> Conversion | None:
    """Return how to convert, or None where the units cannot be converted or are not known."""
    if from_units == to_units:
        return Conversion(1.0, 0.0)
    first, second = _parse(from_units), _parse(to_units)
    if first is None or second is None or not first.is_compatible_with(second):
        return None
    registry = _registry()
    offset = float(registry.Quantity(0.0, first).to(second).magnitude)
    factor = float(registry.Quantity(1.0, first).to(second).magnitude) - offset
    return Conversion(*(round(number, 12) if abs(number) > 1e-3 else number for number in (factor, offset)))


# spellings that files use and pint does not know, or takes for something else (C is a coulomb, mb a millibarn)
SPELLINGS = {
    "c": "degC", "celsius": "degC", "deg c": "degC", "deg_c": "degC", "degreesc": "degC", "degrees c": "degC",
    "degree c": "degC", "degrees celsius": "degC", "degree_c": "degC", "degrees_celsius": "degC",
    "kelvin": "K", "deg k": "K", "degrees k": "K", "mb": "mbar", "gpm": "m", "m of water equivalent": "m",
    "(0 - 1)": "dimensionless", "0-1": "dimensionless", "fraction": "dimensionless", "~": "dimensionless",
    "-": "dimensionless", "none": "dimensionless", "numeric": "dimensionless", "proportion": "dimensionless",
}  # fmt: skip


@lru_cache
def _registry() -> Any:
    import pint

    return pint.UnitRegistry()


@lru_cache(maxsize=256)
def _parse(units: str) -> Any:
    """Return a pint unit of CF or GRIB spelling (`m s-1`, `m**2 s**-2`, `degC`), None where it is none."""
    text = units.strip()
    if text in ("", "unknown"):
        return None
    text = SPELLINGS.get(text.lower(), text)
    text = re.sub(r"(?<=[A-Za-z])\^?(-?\d+)", r"**\1", text)  # m s-1: an exponent follows its unit
    text = re.sub(r"(?<=[A-Za-z0-9])\.(?=[A-Za-z])|(?<=\w)\s+(?=[A-Za-z])", "*", text)
    try:
        return _registry().Unit(text)
    except Exception:  # pint raises a dozen kinds for what is no unit
        return None
