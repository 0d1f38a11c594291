"""Files become anemoi datasets whose values are the float32 of the source."""

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from emulator.data.convert import convert, describe
from emulator.data.files import read_files
from emulator.data.sources import open_fields
from emulator.foundation.time_step import TimeStep, to_datetime
from graphs.errors import MeshcastError


def test_a_file_becomes_a_dataset_with_its_values_units_and_licence(write_netcdf, tmp_path):
    path = write_netcdf(license="CC BY 4.0")
    summary = convert([path], tmp_path / "d.zarr", attributes={"attribution": "us"})
    fields = open_fields(str(tmp_path / "d.zarr"))
    assert np.array_equal(fields.read(slice(None), ["2t"])[..., 0], read_files(path)["2t"].values)
    assert fields.units == ("K",) and fields.mesh.shape == (3, 6) and fields.ensemble_axis == "member"
    assert (fields.attributes["licence"], fields.attributes["attribution"]) == ("CC BY 4.0", "us")
    assert "2t [K] on a global mesh of 3 x 6 nodes" in describe(summary) and summary["num_times"] == 4


def test_sst_keeps_its_months_and_its_land(data_folder, tmp_path):
    convert([data_folder / "sst.mnmean.nc"], tmp_path / "sst.zarr")
    fields = open_fields(str(tmp_path / "sst.zarr"))
    assert fields.time_step == TimeStep(1, "month") and str(to_datetime(fields.times)[1]) == "2010-02-01T00:00:00"
    with xr.open_dataset(data_folder / "sst.mnmean.nc") as file:
        assert np.array_equal(
            fields.read(slice(None), ["sst"])[:, 0, :, 0].reshape(file.sst.shape), file.sst.values, equal_nan=True
        )


def test_grib_members_and_levels_become_a_dataset(data_folder, tmp_path):
    path = data_folder / "era5-levels-members.grib"
    convert([path], tmp_path / "levels.zarr", select=["z_500", "t_850"])
    fields, read = open_fields(str(tmp_path / "levels.zarr")), read_files(path)
    assert set(fields.variables) == {"z_500", "t_850"} and (fields.ensemble_axis, fields.ensemble_size) == (
        "member",
        10,
    )
    assert np.array_equal(fields.read(slice(None), ["t_850"])[..., 0], read["t_850"].values)
    assert fields.time_step == TimeStep(12 * 3600) and "Copernicus" in fields.attributes["attribution"]


def test_a_360_day_file_says_what_became_of_its_dates(data_folder, tmp_path):
    summary = convert([data_folder / "A1B_north_america.nc"], tmp_path / "a1b.zarr")
    fields = open_fields(str(tmp_path / "a1b.zarr"))
    assert fields.time_step == TimeStep(12, "month") and fields.attributes["calendar"] == "360_day"
    assert "360_day" in fields.attributes["notices"] and any("360_day" in notice for notice in summary["notices"])


def test_the_frequency_thins_times(write_netcdf, tmp_path):
    convert([write_netcdf()], tmp_path / "d.zarr", frequency="12h")
    assert open_fields(str(tmp_path / "d.zarr")).time_step == TimeStep(12 * 3600)
    with pytest.raises(MeshcastError, match=r"No time is 5h after.*6h apart"):
        convert([write_netcdf()], tmp_path / "e.zarr", frequency="5h")


def test_refusals_leave_no_dataset(write_netcdf, tmp_path):
    path = write_netcdf()
    with pytest.raises(MeshcastError, match=r"no variable 3t; did you mean 2t\?"):
        convert([path], tmp_path / "d.zarr", select=["3t"])
    uneven = np.array(["2000-01-01T00", "2000-01-01T06", "2000-01-01T13"], "datetime64[ns]")
    with pytest.raises(MeshcastError, match="no fixed step"):
        convert([write_netcdf("uneven.nc", times=uneven)], tmp_path / "d.zarr")
    with pytest.raises(MeshcastError, match="one time"):
        convert([write_netcdf("one.nc", times=uneven[:1])], tmp_path / "d.zarr")
    assert not (tmp_path / "d.zarr").exists()
    (tmp_path / "d.zarr").mkdir()
    with pytest.raises(MeshcastError, match="exists"):
        convert([path], tmp_path / "d.zarr")


def test_an_interpreter_that_converted_grib_ends_well(data_folder, tmp_path):
    """Two libraries bring a libproj; loaded in the wrong order they crash the interpreter at exit."""
    code = (
        "from emulator.data.convert import convert\n"
        f"convert([{str(data_folder / 'era5-levels-members.grib')!r}], {str(tmp_path / 'd.zarr')!r}, select=['t_850'])"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
