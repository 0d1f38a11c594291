"""Small stores and files for the tests of data in and out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr


@pytest.fixture
def write_store(tmp_path: Path) -> Callable[..., np.ndarray]:
    """Writes an anemoi store directly (fast, where the writer is not what is tested); returns its values."""

    def write(
        name: str,
        latitudes: np.ndarray,
        longitudes: np.ndarray,
        variables: tuple[str, ...] = ("u", "v"),
        num_times: int = 12,
        members: int = 1,
        hours: float = 6.0,
        dates: np.ndarray | None = None,
        seed: int = 0,
        **attributes: Any,
    ) -> np.ndarray:
        import zarr

        seconds = round(hours * 3600)
        if dates is None:
            dates = np.datetime64("2000-01-01", "s") + seconds * np.arange(num_times)
        shape = (len(dates), len(variables), members, len(latitudes))
        values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
        store = zarr.open_group(str(tmp_path / name), mode="w")
        store.create_dataset("data", data=values, chunks=(5, *shape[1:]))
        store.create_dataset("dates", data=dates.astype("datetime64[s]"))
        store.create_dataset("latitudes", data=latitudes)
        store.create_dataset("longitudes", data=longitudes)
        for statistic, function in (("mean", np.mean), ("stdev", np.std), ("minimum", np.min), ("maximum", np.max)):
            store.create_dataset(statistic, data=function(values, axis=(0, 2, 3)))
        units = attributes.pop("units", {})
        content = {
            "variables": list(variables),
            "frequency": f"{seconds}s",
            "resolution": "test",
            "field_shape": [len(latitudes)],
            "start_date": str(dates[0]),
            "end_date": str(dates[-1]),
            "missing_dates": [],
            "variables_metadata": {variable: {"units": units.get(variable, "K")} for variable in variables},
        }
        store.attrs.update({**content, **attributes})
        return values

    return write


@pytest.fixture
def write_netcdf(tmp_path: Path) -> Callable[..., Path]:
    """Writes a NetCDF file of one variable on a 3 x 6 global grid, with whatever is odd about it."""

    def write(
        name: str = "file.nc",
        variable: str = "t2m",
        times: Any = None,
        units: str | None = "K",
        dims: tuple[str, ...] = ("time", "latitude", "longitude"),
        latitudes: Any = (60.0, 0.0, -60.0),
        longitudes: Any = (0.0, 60.0, 120.0, 180.0, 240.0, 300.0),
        values: np.ndarray | None = None,
        coordinates: dict[str, Any] | None = None,
        encoding: dict[str, Any] | None = None,
        seed: int = 0,
        **attributes: str,
    ) -> Path:
        if times is None:
            times = np.datetime64("2000-01-01", "ns") + np.timedelta64(6, "h") * np.arange(4)
        where = {dims[-2]: np.asarray(latitudes), dims[-1]: np.asarray(longitudes), **(coordinates or {})}
        if dims[0] == "time":
            where["time"] = times
        if values is None:
            values = np.random.default_rng(seed).normal(280, 5, size=tuple(len(where[dim]) for dim in dims))
        array = xr.DataArray(values.astype(np.float32), {dim: where[dim] for dim in dims}, dims)
        if units is not None:
            array.attrs["units"] = units
        path = tmp_path / name
        xr.Dataset({variable: array}, attrs=attributes).to_netcdf(path, encoding=encoding, engine="netcdf4")
        return path

    return write


@pytest.fixture
def ring_attributes() -> dict[str, str]:
    """What a simulated dataset's store says of a ring of 40 nodes, length 3, and steps of 0.1 s."""
    return {
        "mesh": json.dumps({"domain": {"kind": "ring", "size": 3.0}, "shape": [40], "levels": []}),
        "time_step": json.dumps({"count": 1, "unit": "second", "true_length": 0.1, "true_units": "s"}),
        "ensemble_axis": "trajectory",
    }
