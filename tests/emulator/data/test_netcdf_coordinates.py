"""Where cells lie: units of coordinates, rotated and curved grids, winds along a grid's own axes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import xarray as xr

from emulator.data.files import read_files
from emulator.data.forecast_netcdf import read_netcdf_forecast
from graphs.errors import MeshcastError

TIMES = np.datetime64("2000-01-01", "ns") + np.timedelta64(6, "h") * np.arange(2)
POLE = {
    "grid_mapping_name": "rotated_latitude_longitude",
    "grid_north_pole_latitude": 39.25,
    "grid_north_pole_longitude": -162.0,
}
LATITUDES, LONGITUDES = np.array([-80.0, -20.0, 40.0, 75.0]), np.array([-170.0, 0.0, 95.0, 120.0])


def _write(path: Path, variables: dict[str, Any], coordinates: dict[str, Any]) -> Path:
    xr.Dataset(variables, {"time": TIMES, **coordinates}).to_netcdf(path)
    return path


def _icon(path: Path, units: str | None, scale: float = np.pi / 180, **bounds: Any) -> Path:
    """Cells as ICON writes them: `clat` and `clon` along `ncells`, with bounds."""
    about = {} if units is None else {"units": units}
    values = np.arange(8.0, dtype=np.float32).reshape(2, 4)
    corners = {
        f"{name}_bnds": (("ncells", "vertices"), np.stack([place, place, place], 1) * scale, about)
        for name, place in (("clat", LATITUDES), ("clon", LONGITUDES))
    }
    places = {
        name: ("ncells", place * scale, {"standard_name": standard_name, "bounds": f"{name}_bnds", **about})
        for name, standard_name, place in (("clat", "latitude", LATITUDES), ("clon", "longitude", LONGITUDES))
    }
    return _write(path, {"t_2m": (("time", "ncells"), values, {"units": "K"}), **corners}, places)


def _rotated(
    path: Path, with_places: bool = True, **winds: tuple[np.ndarray, str]
) -> tuple[Path, np.ndarray, np.ndarray]:
    """A file as CORDEX writes it, on `rlat` and `rlon`; returns its path and its true latitudes and longitudes."""
    rlat, rlon = np.arange(-8.0, 9.0, 4.0), np.arange(-9.0, 10.0, 3.0)
    latitude, longitude = _true_places(*np.meshgrid(rlat, rlon, indexing="ij"))
    axes = {
        "rlat": ("rlat", rlat, {"standard_name": "grid_latitude", "units": "degrees", "axis": "Y"}),
        "rlon": ("rlon", rlon, {"standard_name": "grid_longitude", "units": "degrees", "axis": "X"}),
    }
    places = {
        "lat": (("rlat", "rlon"), latitude, {"standard_name": "latitude", "units": "degrees_north"}),
        "lon": (("rlat", "rlon"), longitude, {"standard_name": "longitude", "units": "degrees_east"}),
    }
    dims, mapping = ("time", "rlat", "rlon"), {"grid_mapping": "rotated_pole"}
    fields = {
        name: (
            dims,
            np.broadcast_to(values, (2, *latitude.shape)),
            {"standard_name": standard_name, "units": "m s-1"} | mapping,
        )
        for name, (values, standard_name) in winds.items()
    }
    fields |= {
        "tas": (dims, np.zeros((2, *latitude.shape)) + latitude, {"units": "K"} | mapping),
        "rotated_pole": ((), 0, POLE),
    }
    return _write(path, fields, axes | (places if with_places else {})), latitude, longitude


def _true_places(rlat: np.ndarray, rlon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Latitudes and longitudes of rotated ones, by the formulas of spherical trigonometry."""
    phi, lam, pole = np.radians(rlat), np.radians(rlon), np.radians(39.25)
    latitude = np.arcsin(np.sin(phi) * np.sin(pole) + np.cos(phi) * np.cos(lam) * np.cos(pole))
    east = np.cos(phi) * np.sin(lam)
    longitude = np.arctan2(east, np.sin(pole) * np.cos(phi) * np.cos(lam) - np.cos(pole) * np.sin(phi))
    return np.degrees(latitude), np.degrees(longitude) - 162.0 + 180.0


@pytest.mark.parametrize("units", ["radian", "rad", "radians"])
def test_coordinates_in_radians_are_where_they_are_in_degrees(tmp_path, units):
    fields = read_files(_icon(tmp_path / "icon.nc", units))
    assert fields.latitude.values == pytest.approx(LATITUDES)
    assert fields.longitude.values == pytest.approx(LONGITUDES % 360)
    assert list(fields) == ["t_2m"], "bounds are no variables"


@pytest.mark.parametrize("units", ["degrees_north", "degree_N", "degreesN", "degrees", "degree", "deg", None, "1"])
def test_degrees_are_read_by_every_spelling_and_where_they_cannot_be_radians(tmp_path, units):
    assert read_files(_icon(tmp_path / "icon.nc", units, 1.0)).latitude.values == pytest.approx(LATITUDES)


@pytest.mark.parametrize("units", ["grad", "m", "arcminute", "degrees_south", "%", "K"])
def test_an_unknown_unit_of_an_angle_is_refused(tmp_path, units):
    with pytest.raises(MeshcastError, match=rf"clat has units '{units}', but .* degrees .* and radians"):
        read_files(_icon(tmp_path / "icon.nc", units, 0.1))


def test_angles_without_a_unit_that_could_be_radians_are_refused_until_it_is_given(tmp_path):
    path = _icon(tmp_path / "icon.nc", None)
    with pytest.raises(MeshcastError, match=r"could be radians .* Say --units clat=radians or --units clat=degrees"):
        read_files(path)
    assert read_files(path, units={"clat": "radians"}).latitude.values == pytest.approx(LATITUDES)
    assert read_files(path, units={"clat": "degrees", "clon": "degrees"}).latitude.values.max() < 2
    with pytest.raises(MeshcastError, match="no file has a variable cla; did you mean clat"):
        read_files(_icon(tmp_path / "icon.nc", "radian"), units={"cla": "degrees"})


def test_a_missing_coordinate_is_refused(tmp_path):
    path = tmp_path / "cells.nc"
    place = {"lat": ("ncells", [10.0, np.nan, 30.0]), "lon": ("ncells", [10.0, 20.0, 30.0])}
    with pytest.raises(MeshcastError, match="1 of 3 values of lat are missing or not finite"):
        read_files(_write(path, {"t2m": (("time", "ncells"), np.ones((2, 3)), {"units": "K"})}, place))


def test_packed_coordinates_are_unpacked(write_netcdf):
    packed = {name: {"dtype": "i2", "scale_factor": 0.02} for name in ("latitude", "longitude")}
    fields = read_files(write_netcdf(encoding=packed))
    assert fields.latitude.values[::6] == pytest.approx([60, 0, -60])


def test_the_places_of_a_rotated_grid_are_true_ones_with_or_without_its_two_dimensional_coordinates(tmp_path):
    for with_places in (True, False):
        path, latitude, longitude = _rotated(tmp_path / "cordex.nc", with_places)
        fields = read_files(path)
        assert fields.latitude.values == pytest.approx(latitude.ravel(), abs=1e-6)
        assert np.cos(np.radians(fields.longitude.values - longitude.ravel())) == pytest.approx(1)
        assert fields["2t"].values[0, 0] == pytest.approx(latitude.ravel())
        assert json.loads(fields.attrs["grid_mapping"]) == POLE
    with xr.open_dataset(path) as file:
        file.drop_vars("rotated_pole").to_netcdf(tmp_path / "bare.nc")
    with pytest.raises(MeshcastError, match="rlat and rlon count along a grid whose mapping is not given"):
        read_files(tmp_path / "bare.nc")


def test_winds_along_a_rotated_grid_are_turned_to_the_east_and_north(tmp_path):
    """Against the formulas by which COSMO turns winds (Doms and Baldauf 2018, part I, section 3.3)."""
    _, latitude, longitude = _rotated(tmp_path / "places.nc")
    north, towards_pole, phi = np.radians(39.25), np.radians(-162.0 - longitude), np.radians(latitude)
    across = np.cos(north) * np.sin(towards_pole)
    along = np.sin(north) * np.cos(phi) - np.cos(north) * np.sin(phi) * np.cos(towards_pole)
    u, v = np.random.default_rng(0).normal(size=(2, *latitude.shape))
    length = np.hypot(along, across)
    path, *_ = _rotated(tmp_path / "cordex.nc", uas=(u, "grid_eastward_wind"), vas=(v, "grid_northward_wind"))
    fields = read_files(path)
    assert fields["10u"].values[0, 0] == pytest.approx(((u * along + v * across) / length).ravel(), abs=1e-5)
    assert fields["10v"].values[0, 0] == pytest.approx(((v * along - u * across) / length).ravel(), abs=1e-5)
    assert "10u and 10v" in fields.attrs["notices"] and "turned" in fields.attrs["notices"]
    true, *_ = _rotated(tmp_path / "true.nc", uas=(u, "eastward_wind"), vas=(v, "northward_wind"))
    assert read_files(true)["10u"].values[0, 0] == pytest.approx(u.ravel(), abs=1e-6)


def test_winds_that_may_follow_a_curved_grid_are_refused(tmp_path):
    u = np.ones((5, 7))
    unsaid, *_ = _rotated(tmp_path / "unsaid.nc", uas=(u, ""), vas=(u, ""))
    with pytest.raises(MeshcastError, match=r"uas would be read as 10u, eastward .*--rename uas="):
        read_files(unsaid)
    assert set(read_files(unsaid, rename={"uas": "along", "vas": "across"})) == {"along", "across", "2t"}
    lonely, *_ = _rotated(tmp_path / "lonely.nc", uas=(u, "grid_eastward_wind"))
    with pytest.raises(MeshcastError, match="turned in pairs"):
        read_files(lonely)


def _model(path: Path, moves: bool = False, **about: Any) -> Path:
    """A file as WRF writes it: places repeated at every time, dates beside a dimension that has none."""
    j, i = np.meshgrid(np.arange(3), np.arange(4), indexing="ij")
    dims, shift = ("Time", "south_north", "west_east"), np.arange(2.0)[:, None, None] * moves
    latitude, longitude = 40 + 0.3 * j + 0.02 * i + shift, 5 + 0.4 * i - 0.03 * j + 0 * shift
    latitude, longitude = (np.broadcast_to(place, (2, 3, 4)) for place in (latitude, longitude))
    fields = {
        "T2": (dims, np.arange(24.0).reshape(2, 3, 4), {"units": "K"}),
        "XLAT": (dims, latitude, {"units": "degree_north"}),
        "XLONG": (dims, longitude, {"units": "degree_east"}),
        "XTIME": ("Time", [0.0, 360.0], {"units": "minutes since 2000-01-01 00:00:00"}),
        "TSLB": (("Time", "soil", "west_east"), np.zeros((2, 3, 4))),
    }
    xr.Dataset(fields).to_netcdf(path)
    return path


def test_places_that_are_repeated_in_time_are_places_and_those_that_move_are_refused(tmp_path):
    fields = read_files(_model(tmp_path / "wrf.nc"))
    assert dict(fields.sizes) == {"time": 2, "number": 1, "cell": 12}
    assert np.array_equal(fields.time.values, TIMES.astype("M8[s]"))
    assert "TSLB" in fields.attrs["notices"] and "left out" in fields.attrs["notices"]
    with pytest.raises(MeshcastError, match="XLAT changes along Time"):
        read_files(_model(tmp_path / "moving.nc", moves=True))


def test_absent_times_of_a_curved_grid_are_named_as_what_is_absent(tmp_path):
    path = _model(tmp_path / "wrf.nc")
    with xr.open_dataset(path) as file:
        file.drop_vars("XTIME").to_netcdf(tmp_path / "timeless.nc")
    with pytest.raises(MeshcastError, match=r"the dimension Time of T2 has no times \(no coordinate\)"):
        read_files(tmp_path / "timeless.nc")


def test_forecasts_of_other_centres_are_read_in_radians_too(tmp_path):
    path = tmp_path / "icon.nc"
    with xr.open_dataset(_icon(tmp_path / "fields.nc", "radian")) as file:
        leads = file.rename(time="step").assign_coords(step=("step", [6.0, 12.0], {"units": "hours"}))
        leads.assign_coords(forecast_reference_time=TIMES[0]).to_netcdf(path)
    assert read_netcdf_forecast(path).mesh.latitudes == pytest.approx(LATITUDES)


def test_winds_along_a_rotated_grid_of_grib_are_refused(tmp_path):
    import eccodes  # after pyproj, see emulator/data/__init__.py

    def write(relative: int, name: str) -> Path:
        message = eccodes.codes_grib_new_from_samples("rotated_ll_pl_grib2")
        for key, value in {"shortName": name, "uvRelativeToGrid": relative, "level": 500}.items():
            eccodes.codes_set(message, key, value)
        path = tmp_path / f"{name}{relative}.grib"
        with path.open("wb") as file:
            eccodes.codes_write(message, file)
        eccodes.codes_release(message)
        return path

    with pytest.raises(MeshcastError, match="holds u along the axes of a rotated_ll grid"):
        read_files(write(1, "u"))
    assert list(read_files(write(0, "u"))) == ["u_500"] and list(read_files(write(1, "t"))) == ["t_500"]


@pytest.mark.parametrize("damage", ["coordinates", "rows"])
def test_what_xarray_cannot_open_or_read_is_refused(write_netcdf, damage):
    path = write_netcdf()
    with netCDF4.Dataset(path, "a") as file:
        if damage == "coordinates":
            file["t2m"].setncattr("coordinates", 3.0)
        else:
            rows = file.createVLType(np.int32, "rows")
            file.createVariable("ragged", rows, ("time", "latitude", "longitude"))
    with pytest.raises(MeshcastError, match=r"file\.nc is damaged or truncated"):
        read_files(path)
