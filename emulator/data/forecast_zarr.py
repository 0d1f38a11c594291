"""Forecasts in zarr: the variables, dimensions and attributes of the CF NetCDF file, as xarray opens them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from emulator.data.forecast import Forecast, NoForecastError
from emulator.data.forecast_netcdf import PREFIX, forecast_from
from graphs.atomic_file import atomic_folder
from graphs.errors import refuse_damaged

DIMENSIONS = "_ARRAY_DIMENSIONS"  # xarray's name for what zarr 2 has not


def write_zarr(netcdf: Path, folder: Path) -> Path:
    """Write the forecast of a NetCDF file of ours as a zarr store, chunk by chunk; one of ours is replaced."""
    import netCDF4
    import zarr

    with atomic_folder(folder, replaces=is_zarr_forecast) as new, netCDF4.Dataset(netcdf) as file:
        file.set_auto_maskandscale(False)
        store = zarr.open_group(str(new), mode="w")
        store.attrs.update({name: _plain(file.getncattr(name)) for name in file.ncattrs()})
        for name, variable in file.variables.items():
            given = variable.chunking()
            chunks = variable.shape if given == "contiguous" else tuple(given)
            attributes = {key: _plain(variable.getncattr(key)) for key in variable.ncattrs() if key != "_FillValue"}
            fill = np.nan if variable.dtype.kind == "f" else None
            array = store.create_dataset(
                name, shape=variable.shape, chunks=chunks, dtype=variable.dtype, fill_value=fill
            )
            array.attrs.update({DIMENSIONS: list(variable.dimensions), **attributes})
            for place in np.ndindex(*(-(-size // chunk) for size, chunk in zip(variable.shape, chunks, strict=True))):
                corner = zip(place, chunks, strict=True)
                part = tuple(slice(number * chunk, (number + 1) * chunk) for number, chunk in corner)
                array[part] = variable[part]
        zarr.consolidate_metadata(store.store)
    return folder


def is_zarr_forecast(path: Path) -> bool:
    """Return whether a folder is a forecast that this module wrote."""
    return PREFIX + "mesh" in _attributes(path)


def read_zarr_forecast(path: Path) -> Forecast:
    """Return the forecast of a zarr store of ours; raise MeshcastError where it is damaged or none."""
    import zarr

    if not is_zarr_forecast(path):
        raise NoForecastError(
            f"{path} is no forecast; expected a forecast in GRIB, NetCDF or zarr, as `forecast` writes."
        )
    with refuse_damaged(path):
        store = zarr.open_group(str(path), mode="r")
        arrays = dict(store.arrays())
        dimensions = {name for array in arrays.values() for name in array.attrs[DIMENSIONS]}
        texts = {name: str(value) for name, value in store.attrs.items()}
        units = {name: str(array.attrs.get("units", "1")) for name, array in arrays.items()}
        return forecast_from(texts, arrays, units, dimensions)


def _attributes(path: Path) -> dict[str, Any]:
    with refuse_damaged(path), contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError):
        content = json.loads((path / ".zattrs").read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value
