"""Of several files only what is asked for counts; forecasts are no analyses; what never changes has no time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from emulator.data.convert import convert
from emulator.data.files import read_files
from emulator.data.forecast import Forecast
from emulator.data.grib_output import write_grib
from emulator.data.sources import open_fields
from emulator.foundation.time_step import TimeStep
from graphs.errors import MeshcastError
from graphs.meshes.latlon import latlon
from training.experiment import DataConfig, DataPart

START, SIX_HOURS = np.datetime64("2000-01-01", "ns"), np.timedelta64(6, "h")


@pytest.fixture
def gapped(write_netcdf) -> list[Path]:
    """Four times of temperature, and two of a wind."""
    return [write_netcdf("t.nc"), write_netcdf("u.nc", variable="u10", times=START + SIX_HOURS * np.arange(1, 3))]


def test_a_variable_that_is_not_selected_takes_no_times_from_those_that_are(gapped, tmp_path):
    assert convert(gapped, tmp_path / "both.zarr")["num_times"] == 2
    alone = convert(gapped, tmp_path / "alone.zarr", select=["2t"])
    assert (alone["num_times"], alone["notices"]) == (4, ())
    with pytest.raises(MeshcastError, match="no variable 2d"):
        convert(gapped, tmp_path / "none.zarr", select=["2d"])


def test_a_variable_that_nobody_needs_takes_no_times_from_those_that_are_needed(gapped):
    paths = [str(path) for path in gapped]
    assert len(open_fields(paths).times) == 2
    assert len(open_fields(paths, names=("t2m",)).times) == 4
    assert open_fields(paths, names=("t2m", "msl")).variables == ("2t", "10u"), "all, to say what there is"


def _grib_forecast(path: Path) -> Path:
    mesh = latlon([10.0, 0.0, -10.0], [0.0, 10.0, 20.0])
    values = np.random.default_rng(0).normal(280, 5, (1, 1, 2, 9, 1)).astype(np.float32)
    start = int(START.astype("M8[s]").astype(int))
    return write_grib(
        Forecast(
            "model",
            values,
            ("2t",),
            ("K",),
            mesh,
            TimeStep(6 * 3600),
            np.array([start]),
            np.array([-1]),
            np.arange(1, 3),
        ),
        path,
    )


def _netcdf_forecast(path: Path, kind: str) -> Path:
    """A forecast of one lead time, as cfgrib (`time` is initial) and as others (`time` is valid) write it."""
    fields = np.random.default_rng(0).normal(280, 5, (2, 3, 4)).astype(np.float32)
    valid = START + SIX_HOURS * np.arange(1, 3)
    array = xr.DataArray(
        fields,
        {"time": valid, "latitude": [10.0, 0, -10], "longitude": [0.0, 10, 20, 30]},
        dims=("time", "latitude", "longitude"),
    )
    array.attrs["units"] = "K"
    if kind == "cfgrib":
        array = array.assign_coords(time=valid - SIX_HOURS, step=6.0, valid_time=("time", valid))
        array.step.attrs |= {"standard_name": "forecast_period", "units": "hours"}
        array.time.attrs["standard_name"] = "time"
    elif kind == "reference":
        array = array.assign_coords(forecast_reference_time=START)
    else:
        array = array.assign_coords(leadtime=("time", [6, 12]))
    array.to_dataset(name="t2m").to_netcdf(path)
    return path


@pytest.mark.parametrize("kind", ["GRIB", "cfgrib", "reference", "lead"])
def test_forecasts_are_analyses_only_where_that_is_said(tmp_path, kind):
    path = _grib_forecast(tmp_path / "f.grib") if kind == "GRIB" else _netcdf_forecast(tmp_path / "f.nc", kind)
    with pytest.raises(
        MeshcastError, match=rf"forecasts, up to \d+ h ahead .* 2t of .*{path.name}.*--forecasts-as-analyses"
    ):
        read_files(path)
    with pytest.raises(MeshcastError, match="--forecasts-as-analyses"):
        open_fields(str(path))
    read = read_files(path, forecasts=True)
    assert np.array_equal(read.time.values, (START + SIX_HOURS * np.arange(1, 3)).astype("M8[s]"))


def test_many_lead_times_of_many_starts_are_named_as_forecasts(tmp_path):
    dims = ("init_time", "step", "latitude", "longitude")
    where = {
        "init_time": START + SIX_HOURS * np.arange(2),
        "step": [6, 12, 18],
        "latitude": [10.0, 0],
        "longitude": [0.0, 5],
    }
    xr.Dataset({"t2m": (dims, np.zeros((2, 3, 2, 2)))}, where).to_netcdf(tmp_path / "f.nc")
    with pytest.raises(MeshcastError, match="holds forecasts: t2m has 3 lead times along step"):
        read_files(tmp_path / "f.nc", forecasts=True)


def test_what_never_changes_stands_beside_what_does_whatever_time_it_bears(write_netcdf, tmp_path):
    temperature = write_netcdf("t.nc")
    ground = np.random.default_rng(1).normal(500, 100, (1, 3, 6))
    dated = write_netcdf(
        "orog.nc", variable="orog", units="m", values=ground, times=START - 900 * SIX_HOURS * np.arange(1, 2)
    )
    with pytest.raises(MeshcastError, match=r"no time in common[\s\S]*--static NAME"):
        read_files([temperature, dated])
    fields = read_files([temperature, dated], static=["orog"])
    assert fields.sizes["time"] == 4
    assert fields["orog"].values == pytest.approx(np.broadcast_to(ground.reshape(18), (4, 1, 18)))
    assert convert([temperature, dated], tmp_path / "d.zarr", static=["orog"])["variables"] == ("2t", "orog")
    first = write_netcdf("first.nc", variable="orog", units="m", values=ground, times=[START])
    assert (
        "orog has one time; if it never changes, say --static orog" in read_files([temperature, first]).attrs["notices"]
    )
    with pytest.raises(MeshcastError, match=r"2t of .* changes in time"):
        read_files([temperature, dated], static=["2t"])
    with pytest.raises(MeshcastError, match="--static names z, but the files have 2t"):
        read_files(temperature, static=["z"])


@pytest.mark.parametrize("dims", [("latitude", "longitude"), ("time", "latitude", "longitude")])
def test_training_takes_statics_from_a_file_of_their_own(write_netcdf, write_store, tmp_path, dims):
    grid = latlon([60.0, 0, -60], np.arange(6) * 60.0)
    write_store("data.zarr", grid.latitudes, grid.longitudes)
    orography = write_netcdf(
        "orog.nc", variable="orog", units="m", dims=dims, times=[START] if "time" in dims else None
    )
    part = DataPart(str(tmp_path / "data.zarr"))
    fields = DataConfig(part, part, statics=(str(orography),)).train.open()
    assert (fields.variables, fields.units) == (("u", "v", "orog"), ("K", "K", "m"))
    with xr.open_dataset(orography) as file:
        expected = file.orog.values.ravel()
    values = fields.read(np.array([3, 7]), ("orog", "v"))
    assert values[..., 0] == pytest.approx(np.broadcast_to(expected, (2, 1, 18)))
    assert np.array_equal(values[..., 1:], part.open().read(np.array([3, 7]), ("v",)))
    other = write_netcdf(
        "other.nc", variable="orog", units="m", dims=("latitude", "longitude"), latitudes=(50.0, 0, -50)
    )
    with pytest.raises(MeshcastError, match=r"static fields of .*other\.nc.* Remap them"):
        DataConfig(part, part, statics=(str(other),)).train.open()
    if "time" not in dims:
        with pytest.raises(MeshcastError, match=r"orog\.nc: no time.*data\.statics"):
            open_fields(str(orography))
