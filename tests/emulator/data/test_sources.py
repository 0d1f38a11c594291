"""One door for data: what a user names is opened by its format, and a new format is one function and one line."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from emulator.data.forecast import Forecast
from emulator.data.forecast_file import ForecastWriter
from emulator.data.forecast_netcdf import ForecastHeading
from emulator.data.forecast_zarr import write_zarr
from emulator.data.formats import FORMATS, format_of
from emulator.data.grib_output import write_grib
from emulator.data.sources import open_fields, open_source
from emulator.foundation.time_step import TimeStep
from emulator.plugins import load_plugins
from graphs.errors import MeshcastError
from graphs.meshes.latlon import latlon
from graphs.meshes.limited_area import CapWindow
from tests.meshcast.command_line import done

PLUGIN = Path(__file__).resolve().parents[2] / "plugins" / "text_format.py"


def small_forecast() -> Forecast:
    mesh = latlon([58.0, 57.75, 57.5], np.arange(-10.0, -8.9, 0.25))
    values = np.full((1, 1, 2, mesh.num_nodes, 1), 280.0, dtype=np.float32)
    none = np.array([-1])
    return Forecast("gnn", values, ("2t",), ("K",), mesh, TimeStep(3600), np.array([0]), none, np.array([1, 2]))


def written(path: Path, leads: int) -> Path:
    of = small_forecast()
    writer = ForecastWriter(
        path, ForecastHeading("gnn", of.mesh, of.time_step, ("2t",), ("K",), of.init_time, of.trajectory, 1, {})
    )
    for _ in range(leads):
        writer.append(of.values[:, :, 0])
    return writer.finish()


@pytest.mark.parametrize("leads", [1, 3])
def test_a_forecast_of_ours_is_no_series_of_fields_in_whatever_format(tmp_path, leads):
    netcdf = written(tmp_path / "f.nc", leads)
    store = write_zarr(netcdf, tmp_path / "f.zarr")
    for source in (str(netcdf), str(store), f"{store}/", [str(store), str(store)], {"dataset": str(store)}):
        with pytest.raises(MeshcastError, match=r"holds forecasts.*one valid time may stand there several times"):
            open_fields(source)
    assert isinstance(open_source(netcdf), Forecast) and isinstance(open_source(store), Forecast)


def test_a_forecast_that_cannot_be_read_is_refused_for_the_reason_of_its_own_format(tmp_path, monkeypatch):
    store, netcdf = write_zarr(written(tmp_path / "f.nc", 1), tmp_path / "f.zarr"), tmp_path / "f.nc"
    write_grib(small_forecast(), tmp_path / "f.grib")
    (store / "2t/.zarray").unlink()
    (store / ".zmetadata").unlink()
    with pytest.raises(MeshcastError, match=r"f\.zarr is damaged or truncated: KeyError: '2t'"):
        open_source(store)
    netcdf.write_bytes(netcdf.read_bytes()[:3000])
    with pytest.raises(MeshcastError, match=r"f\.nc"):
        open_source(netcdf)
    opened, left = Path.open, {"f.grib": 0}

    def fail_once(path: Path, *options: object, **more: object):
        left[path.name] = left.get(path.name, 0) - 1
        if left[path.name] == 0:
            raise OSError(errno.EIO, "Input/output error")
        return opened(path, *options, **more)

    monkeypatch.setattr(Path, "open", fail_once)
    for number in (1, 2, 3):
        left["f.grib"] = number
        with pytest.raises(MeshcastError, match=r"Cannot read .*f.grib: Input/output error"):
            open_source(tmp_path / "f.grib")


def test_every_source_is_opened_by_its_format(write_store, write_netcdf, tmp_path):
    write_store("a.zarr", latitudes=np.repeat([50.0, 40.0], 4), longitudes=np.tile([0.0, 10.0, 20.0, 30.0], 2))
    np.save(tmp_path / "waves.npy", np.zeros((2, 3, 1, 16), dtype=np.float32))
    write_grib(small_forecast(), tmp_path / "f")  # by its bytes, whatever its name
    paths = [tmp_path / "a.zarr", tmp_path / "waves.npy", write_netcdf("n.dat"), tmp_path / "f"]
    assert [format_of(path) for path in paths] == [
        FORMATS[name] for name in ("anemoi dataset", ".npy array", "NetCDF", "GRIB")
    ]
    for path in paths:
        assert len(open_fields(str(path), forecasts=True).times) > 1
    assert isinstance(open_source(tmp_path / "f"), Forecast)


def test_files_are_merged_and_cut_as_datasets_are(write_netcdf):
    files = [write_netcdf("a.nc"), write_netcdf("b.nc", variable="sst", units=None)]
    fields = open_fields(files, units={"sst": "degC"})
    assert set(fields.variables) == {"2t", "sst"} and fields.units[fields.variables.index("sst")] == "degC"
    with pytest.raises(MeshcastError, match="trajectories 0:3 are not all in"):
        open_fields(write_netcdf(), trajectories=slice(0, 3))


def test_a_window_and_trajectories_are_a_view_that_reads_what_the_whole_holds(write_netcdf):
    longitudes = tuple(np.arange(0.0, 360.0, 30.0))
    path = write_netcdf("globe.nc", latitudes=tuple(np.arange(75.0, -76.0, -30.0)), longitudes=longitudes)
    whole = open_fields(path)
    area = open_fields(path, window=CapWindow(centre=(45.0, 10.0), radius_km=4500.0, boundary_km=3600.0))
    assert area.mesh.boundary is not None and area.mesh.num_nodes < whole.mesh.num_nodes
    kept = [int(np.argmin(((whole.mesh.positions - place) ** 2).sum(axis=1))) for place in area.mesh.positions]
    np.testing.assert_array_equal(area.read(slice(1, 3), ["2t"]), whole.read(slice(1, 3), ["2t"])[:, :, kept])


def test_some_trajectories_of_some_keep_their_numbers(tmp_path):
    values = np.random.default_rng(0).normal(size=(6, 4, 1, 16)).astype(np.float32)
    np.save(tmp_path / "waves.npy", values)
    fields = open_fields(str(tmp_path / "waves.npy"), slice(2, 5))
    assert list(fields.trajectories) == [2, 3, 4] and fields.ensemble_size == 3
    for ensemble, expected in ((0, values[2:3]), (slice(1, None), values[3:5]), ([2, 0], values[[4, 2]])):
        np.testing.assert_array_equal(
            fields.read(slice(None), ["u"], ensemble)[..., 0], expected[:, :, 0].swapaxes(0, 1)
        )


def test_a_file_of_lead_times_is_a_forecast_and_any_other_source_fields(write_netcdf, tmp_path):
    import xarray as xr

    assert not isinstance(open_source(write_netcdf()), Forecast)
    cube = np.zeros((1, 2, 3, 6), dtype=np.float32)
    dims = {
        "init_time": np.array(["2020-01-01"], "datetime64[ns]"),
        "lead_time": ("lead_time", [6.0, 12.0], {"units": "hours"}),
        "latitude": [55.0, 52.0, 49.0],
        "longitude": np.arange(0.0, 30.0, 5.0),
    }
    xr.Dataset({"2t": (tuple(dims), cube, {"units": "K"})}, dims).to_netcdf(tmp_path / "run.nc")
    forecast = open_source(tmp_path / "run.nc")
    assert isinstance(forecast, Forecast) and forecast.lead_steps.tolist() == [1, 2]
    with pytest.raises(MeshcastError, match="There is no file"):
        open_source(tmp_path / "gone.nc")


def test_a_format_from_outside_is_one_file_on_the_command_line(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    lines = np.arange(48.0).reshape(3, 16)
    np.savetxt("ring.txt", lines)
    with pytest.raises(MeshcastError, match="neither GRIB nor NetCDF"):
        open_fields("ring.txt")
    try:
        shown = done("inspect", "ring.txt", "--plugin", str(PLUGIN), "--json").json
        assert shown["mesh"].startswith("ring of 16 nodes") and shown["variables"] == ["u [1]"]
        fields = open_fields("ring.txt", keep_in_memory=True)
        np.testing.assert_array_equal(fields.read(slice(None), ["u"])[:, 0, :, 0], lines)
        assert fields.notices == () and open_source("ring.txt").mesh.num_nodes == 16
    finally:
        FORMATS.pop("text", None)  # which other tests do not know


def test_a_format_that_is_none_or_takes_a_name_of_the_package_is_refused(tmp_path):
    for content, message in (
        ('FORMATS = {"text": 3}', "expected a DataFormat"),
        ('from emulator.data.formats import DataFormat\nFORMATS = {"GRIB": DataFormat()}', "as the package does"),
    ):
        (tmp_path / "wrong.py").write_text(content)
        with pytest.raises(MeshcastError, match=message):
            load_plugins([tmp_path / "wrong.py"])


def test_a_name_that_is_not_on_disk_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, message in (("gone", "no file or dataset gone"), ("gone.zarr", "no file or dataset gone.zarr")):
        with pytest.raises(MeshcastError, match=message):
            open_fields(name)


def test_nothing_given_is_refused():
    with pytest.raises(MeshcastError, match="No source"):
        open_fields([])
