"""NetCDF files that declare more than they hold, or lead to other files, are refused before a value is read."""

from __future__ import annotations

from pathlib import Path

import netCDF4
import numpy as np
import pytest

from emulator.data.files import read_files
from emulator.data.forecast_file import read_forecast
from emulator.foundation import netcdf_limits
from graphs.errors import MeshcastError

SPHERE = Path(__file__).parents[2] / "fixtures/version_0_1/sphere.nc"


def grid(path: Path, times: int = 1) -> Path:
    """Write temperature on 3 x 4 cells, chunks of which are never filled."""
    with netCDF4.Dataset(path, "w") as file:
        for name, size in {"time": times, "lat": 3, "lon": 4}.items():
            file.createDimension(name, size)
        moments = file.createVariable("time", "i8", ("time",), chunksizes=[1])
        moments.units = "hours since 1970-01-01 00:00:00"
        for name, values, units in (("lat", [30, 0, -30], "degrees_north"), ("lon", [0, 9, 18, 27], "degrees_east")):
            axis = file.createVariable(name, "f8", (name,))
            axis.units, axis[:] = units, values
        file.createVariable("t2m", "f4", ("time", "lat", "lon"), chunksizes=[1, 3, 4]).units = "K"
        if times == 1:
            moments[:], file["t2m"][:] = 0, 280.0
    return path


def changed(path: Path, sizes: dict[str, int], kinds: dict[str, type] | None = None) -> Path:
    """Write a forecast of ours whose dimensions have other sizes, or variables another type, and no values then."""
    with netCDF4.Dataset(SPHERE) as old, netCDF4.Dataset(path, "w") as new:
        new.setncatts({name: old.getncattr(name) for name in old.ncattrs()})
        for name, dimension in old.dimensions.items():
            new.createDimension(name, sizes.get(name, dimension.size))
        for name, variable in old.variables.items():
            chunks = [max(min(new.dimensions[dim].size, 10), 1) for dim in variable.dimensions] or None
            kind = (kinds or {}).get(name, variable.dtype)
            copy = new.createVariable(name, kind, variable.dimensions, chunksizes=chunks)
            if kind == variable.dtype and not set(variable.dimensions) & set(sizes):
                copy[...] = variable[...]
    return path


def test_what_a_file_declares_is_compared_with_its_size(tmp_path: Path) -> None:
    with pytest.raises(MeshcastError, match=r"declares 1\d\d GiB of values, but the file has"):
        read_files(grid(tmp_path / "times.nc", 2 * 10**9))
    with pytest.raises(MeshcastError, match=r"declares .* of values, but the file has"):
        read_forecast(changed(tmp_path / "cases.nc", {"case": 2 * 10**9}))
    assert read_files(grid(tmp_path / "whole.nc")).sizes["cell"] == 12


@pytest.mark.parametrize("where", ["external values", "virtual values", "external link"])
def test_values_in_another_file_are_never_fetched(tmp_path: Path, where: str) -> None:
    import h5py

    path, other = grid(tmp_path / "leads_elsewhere.nc"), tmp_path / "other"
    if where == "external values":
        np.arange(12, dtype="f4").tofile(other)
    else:
        with h5py.File(other, "w") as file:
            file["x"] = np.ones((1, 3, 4), np.float32)
    with h5py.File(path, "a") as file:
        if where == "external values":
            file.create_dataset("leak", (1, 3, 4), dtype="f4", external=[(str(other), 0, 48)])
        elif where == "virtual values":
            layout = h5py.VirtualLayout((1, 3, 4), "f4")
            layout[:] = h5py.VirtualSource(str(other), "x", shape=(1, 3, 4))
            file.create_virtual_dataset("leak", layout)
        else:
            file["leak"] = h5py.ExternalLink(str(other), "x")
    for read in (read_files, read_forecast):
        with pytest.raises(MeshcastError, match="keeps leak in another file, which is not opened"):
            read(path)


@pytest.mark.parametrize(("sizes", "kinds"), [({"case": 0}, {}), ({"member": 0}, {}), ({}, {"u": str})])
def test_a_forecast_with_other_shapes_is_refused_as_damaged(
    tmp_path: Path, sizes: dict[str, int], kinds: dict[str, type]
) -> None:
    path = changed(tmp_path / "strange.nc", sizes, kinds)
    with pytest.raises(MeshcastError, match=r"strange\.nc"):
        read_forecast(path)


def test_a_file_is_tried_once_while_it_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[Path] = []
    monkeypatch.setattr(netcdf_limits, "tried", lambda check, path: tries.append(path))
    path = tmp_path / "a.nc"
    for content in (b"first", b"first", b"changed"):
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)
        netcdf_limits.refuse_hostile(path, whole=False)
    assert tries == [path, path]
