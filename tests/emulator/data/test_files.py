"""GRIB and NetCDF of every shape come to one form, and what is wrong with them is said."""

import json

import cftime
import numpy as np
import pytest
import xarray as xr

from emulator.data.coordinates import mesh_from_coordinates
from emulator.data.files import read_files, time_step_of
from emulator.foundation.time_step import TimeStep
from graphs.errors import MeshcastError

SIX_HOURS = np.timedelta64(6, "h")
START = np.datetime64("2000-01-01", "ns")


def test_dimensions_names_and_units_are_settled(write_netcdf):
    path = write_netcdf(license="CC BY 4.0", title="A title")
    fields = read_files(path)
    assert dict(fields.sizes) == {"time": 4, "number": 1, "cell": 18} and list(fields) == ["2t"]
    assert fields["2t"].attrs["units"] == "K" and fields["2t"].dtype == np.float32
    assert (fields.attrs["licence"], fields.attrs["title"]) == ("CC BY 4.0", "A title")
    assert time_step_of(fields) == TimeStep(6 * 3600) and json.loads(fields.attrs["shape"]) == [3, 6]
    with xr.open_dataset(path) as file:
        assert np.array_equal(fields["2t"].values.ravel(), file.t2m.values.ravel())


def test_every_way_to_list_a_grid_gives_the_same_fields(write_netcdf):
    """Rows from the south, columns from -180, a closing column, bare names, cells in a list: the places decide."""
    plain = read_files(write_netcdf("plain.nc"))["2t"]
    with xr.open_dataset(write_netcdf("plain.nc")) as file:
        t2m = file.t2m.load()
    west = t2m.assign_coords(longitude=(t2m.longitude + 180) % 360 - 180).sortby("longitude")
    closed = xr.concat([t2m, t2m.isel(longitude=[0]).assign_coords(longitude=[360.0])], "longitude")
    bare = t2m.rename(latitude="lat", longitude="lon")
    listed = t2m.stack(cell=("latitude", "longitude")).reset_index("cell")
    rows, columns = np.meshgrid(t2m.latitude, t2m.longitude, indexing="ij")
    curved = t2m.drop_vars(["latitude", "longitude"]).rename(latitude="y", longitude="x")
    curved = curved.assign_coords(lat=(("y", "x"), rows), lon=(("y", "x"), columns))
    ways = {
        "south": t2m.sortby("latitude"), "west": west, "closed": closed, "bare": bare, "listed": listed,
        "curved": curved, "turned": t2m.transpose("longitude", "time", "latitude"),
        "westward": t2m.isel(longitude=slice(None, None, -1)),
    }  # fmt: skip
    for name, way in ways.items():
        target = write_netcdf("plain.nc").with_name(f"{name}.nc")
        way.to_dataset(name="t2m").to_netcdf(target)
        read = read_files(target)["2t"]
        assert np.array_equal(read.values, plain.values), name
        assert np.array_equal(read.latitude, plain.latitude) and np.array_equal(read.longitude, plain.longitude), name


def test_a_limited_area_across_greenwich_stays_in_one_piece(write_netcdf):
    fields = read_files(write_netcdf(longitudes=(-10.0, -5.0, 0.0, 5.0)))
    assert np.array_equal(fields.longitude.values[:4], [350.0, 355.0, 0.0, 5.0])
    mesh = mesh_from_coordinates(fields.latitude.values, fields.longitude.values)
    assert mesh.shape == (3, 4) and mesh.domain.kind == "limited_area"


def test_scattered_cells_are_read_without_structure(tmp_path):
    rng = np.random.default_rng(0)
    where = {"lat": ("ncells", rng.uniform(-80, 80, 30)), "lon": ("ncells", rng.uniform(-180, 180, 30))}
    values = rng.normal(size=(2, 30)).astype(np.float32)
    xr.Dataset(
        {"t2m": (("time", "ncells"), values, {"units": "K"})}, {"time": [START, START + SIX_HOURS], **where}
    ).to_netcdf(tmp_path / "cells.nc")
    fields = read_files(tmp_path / "cells.nc")
    assert json.loads(fields.attrs["shape"]) == [30] and fields.longitude.min() >= 0
    assert np.array_equal(fields["2t"].values[:, 0], values)


def test_levels_fold_into_names_and_members_onto_number(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 3, 2, 3, 6)).astype(np.float32)
    coordinates = {
        "time": [START, START + SIX_HOURS], "realization": [0, 1, 2],
        "plev": ("plev", [50000.0, 85000.0], {"units": "Pa"}),
        "lat": [60.0, 0.0, -60.0], "lon": np.arange(6) * 60.0,
    }  # fmt: skip
    dims = ("time", "realization", "plev", "lat", "lon")
    xr.Dataset({"ta": (dims, values, {"units": "K"})}, coordinates).to_netcdf(tmp_path / "levels.nc")
    fields = read_files(tmp_path / "levels.nc")
    assert list(fields) == ["t_500", "t_850"] and fields.sizes["number"] == 3
    assert np.array_equal(fields["t_850"].values, values[:, :, 1].reshape(2, 3, 18))


def test_many_files_merge_by_variable_and_time(write_netcdf):
    later = START + SIX_HOURS * np.arange(4, 6)
    parts = [
        write_netcdf("late.nc", times=later, seed=1),
        write_netcdf("early.nc", seed=2),
        write_netcdf(
            "other.nc", variable="sst", times=np.concatenate([START + SIX_HOURS * np.arange(4), later]), seed=3
        ),
        write_netcdf("mask.nc", variable="lsm", dims=("latitude", "longitude"), units="1", seed=4),
    ]
    fields = read_files(parts)
    assert set(fields) == {"2t", "sst", "lsm"} and fields.sizes["time"] == 6
    assert np.array_equal(fields["2t"].values[4:], read_files(parts[0])["2t"].values)
    assert np.array_equal(fields["lsm"].values[0], fields["lsm"].values[5])


def test_only_times_that_every_variable_has_are_kept(write_netcdf):
    times = START + SIX_HOURS * np.arange(5)
    early, late = write_netcdf("a.nc", times=times[:4]), write_netcdf("b.nc", variable="sst", times=times[1:], seed=1)
    fields = read_files([early, late])
    assert np.array_equal(fields.time.values, times[1:4].astype("M8[s]"))
    assert np.array_equal(fields["2t"].values, read_files(early)["2t"].values[1:])
    assert np.array_equal(fields["sst"].values, read_files(late)["sst"].values[:-1])
    assert "1 times of 2t are left out" in fields.attrs["notices"]
    with pytest.raises(MeshcastError, match="no time in common"):
        read_files([early, write_netcdf("c.nc", variable="sst", times=times + np.timedelta64(1, "h"))])


def test_pieces_in_other_units_are_converted_and_it_is_said(write_netcdf):
    celsius = write_netcdf(
        "late.nc", units="degC", times=START + SIX_HOURS * np.arange(4, 6), values=np.full((2, 3, 6), 7.0)
    )
    fields = read_files([write_netcdf("early.nc"), celsius])
    assert np.allclose(fields["2t"].values[4:], 280.15) and "from degC to K" in fields.attrs["notices"]
    wrong = write_netcdf("wrong.nc", units="m", times=START + SIX_HOURS * np.arange(4, 6))
    with pytest.raises(MeshcastError, match=r"units 'K' in .*early\.nc, but 'm' in .*wrong\.nc"):
        read_files([write_netcdf("early.nc"), wrong])


def test_absent_units_are_said_and_can_be_given(write_netcdf):
    path = write_netcdf(units=None)
    assert "no units" in read_files(path).attrs["notices"]
    given = read_files(path, units={"t2m": "degC"})
    assert given["2t"].attrs["units"] == "degC" and given.attrs["notices"] == ""


def test_rename_comes_before_the_table(write_netcdf):
    assert list(read_files(write_netcdf(), rename={"t2m": "warmth"})) == ["warmth"]
    with pytest.raises(MeshcastError, match=r"no file has a variable t3m; did you mean t2m\?"):
        read_files(write_netcdf(), rename={"t3m": "warmth"})


def test_missing_values_on_land_stay_missing(write_netcdf):
    values = np.full((4, 3, 6), 290.0)
    values[:, 1, 2:4] = np.nan
    path = write_netcdf(variable="tos", values=values, encoding={"tos": {"_FillValue": -9.96921e36}})
    read = read_files(path)["sst"].values[:, 0].reshape(4, 3, 6)
    assert np.isnan(read[:, 1, 2:4]).all() and np.isnan(read).sum() == 8


def test_a_360_day_calendar_becomes_gregorian_and_it_is_said(write_netcdf):
    times = xr.date_range("2001-01-30", periods=4, freq="MS", calendar="360_day", use_cftime=True)
    fields = read_files(write_netcdf(times=times))
    assert fields.attrs["calendar"] == "360_day" and "360_day" in fields.attrs["notices"]
    assert [str(time)[:10] for time in fields.time.values] == ["2001-02-01", "2001-03-01", "2001-04-01", "2001-05-01"]
    assert time_step_of(fields) == TimeStep(1, "month")
    daily = [cftime.Datetime360Day(2001, 2, day) for day in (27, 28, 29, 30)]
    with pytest.raises(MeshcastError, match="360_day"):
        read_files(write_netcdf("daily.nc", times=daily))


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (START + SIX_HOURS * np.array([3, 2, 1, 0]), "descending times: 2000-01-01T18"),
        (START + SIX_HOURS * np.array([0, 1, 1, 2]), "repeats a time: 2000-01-01T06"),
        (np.arange(4.0), "no times .*units"),
    ],
)
def test_times_out_of_order_are_refused(write_netcdf, times, message):
    with pytest.raises(MeshcastError, match=message):
        read_files(write_netcdf(times=times))


def test_a_file_without_time_is_refused(write_netcdf):
    with pytest.raises(MeshcastError, match="no time"):
        read_files(write_netcdf(dims=("latitude", "longitude")))


def test_what_is_no_such_file_is_named(tmp_path, write_netcdf):
    write_netcdf("march.nc")
    with pytest.raises(MeshcastError, match=r"no file .*marsh\.nc; did you mean march\.nc\?"):
        read_files(tmp_path / "marsh.nc")
    (tmp_path / "text.grib").write_text("hello world")
    with pytest.raises(MeshcastError, match=r"text\.grib begins with b'hello wo'.* neither GRIB nor NetCDF"):
        read_files(tmp_path / "text.grib")
    whole = write_netcdf("whole.nc").read_bytes()
    (tmp_path / "cut.nc").write_bytes(whole[: len(whole) // 3])
    with pytest.raises(MeshcastError, match=r"cut\.nc is damaged or truncated"):
        read_files(tmp_path / "cut.nc")


def test_the_same_time_twice_and_other_grids_are_refused(write_netcdf):
    with pytest.raises(MeshcastError, match=r"2000-01-01T00:00:00 stands twice, in .*a\.nc and in .*b\.nc"):
        read_files([write_netcdf("a.nc"), write_netcdf("b.nc")])
    coarse = write_netcdf("coarse.nc", variable="sst", latitudes=(45.0, 0.0, -45.0))
    with pytest.raises(MeshcastError, match=r"different grids:\n  2t in .*\n  sst in .*coarse\.nc"):
        read_files([write_netcdf("a.nc"), coarse])


def test_two_names_of_one_variable_are_refused(tmp_path, write_netcdf):
    with xr.open_dataset(write_netcdf("a.nc")) as file:
        file.assign(tas=file.t2m + 1).to_netcdf(tmp_path / "two.nc")
    with pytest.raises(MeshcastError, match=r"t2m and tas, both of which mean 2t.*--rename tas="):
        read_files(tmp_path / "two.nc")
    assert set(read_files(tmp_path / "two.nc", rename={"tas": "mean"})) == {"2t", "mean"}


@pytest.mark.parametrize("bytes_kept", [100_000, 200, 3360 * 7 + 3])
def test_a_truncated_grib_is_refused(data_folder, tmp_path, bytes_kept):
    whole = (data_folder / "era5-2mt-2019-03-uk.grib").read_bytes()
    (tmp_path / "cut.grib").write_bytes(whole[:bytes_kept])
    with pytest.raises(MeshcastError, match=r"cut\.grib is truncated or damaged"):
        read_files(tmp_path / "cut.grib")


def test_real_files_of_every_kind(data_folder):
    levels = read_files(data_folder / "era5-levels-members.grib")
    assert set(levels) == {"t_500", "t_850", "z_500", "z_850"} and levels.sizes["number"] == 10
    assert "Copernicus" in levels.attrs["attribution"]
    sst = read_files(data_folder / "sst.mnmean.nc")
    assert (
        time_step_of(sst) == TimeStep(1, "month") and sst.sst.isnull().all("time").sum() == sst.sst.isnull().sum() / 128
    )
    with xr.open_dataset(data_folder / "sst.mnmean.nc") as file:
        assert np.array_equal(sst.sst.values.reshape(file.sst.shape), file.sst.values, equal_nan=True)
    annual = read_files(
        [data_folder / "pcm_b06_tas_annual_1890_1999_8members.nc", data_folder / "era-spectral_T42_64x128.nc"]
    )
    assert set(annual) == {"2t", "lsm", "orog"} and time_step_of(annual) == TimeStep(12, "month")
    tibet = (abs(annual.latitude - 33) < 4) & (abs(annual.longitude - 88) < 6)
    assert annual.orog.values[0, 0, tibet.values].mean() > 3500
    scenario = read_files(data_folder / "A1B_north_america.nc")
    assert scenario.attrs["calendar"] == "360_day" and time_step_of(scenario) == TimeStep(12, "month")


def test_grib_through_eccodes_alone_gives_the_same_values(data_folder):
    fields = read_files(data_folder / "era5-2mt-2019-03-uk.grib")
    import eccodes

    with (data_folder / "era5-2mt-2019-03-uk.grib").open("rb") as file:
        for index in range(3):
            message = eccodes.codes_grib_new_from_file(file)
            values = eccodes.codes_get_values(message).astype(np.float32)
            assert eccodes.codes_get(message, "validityTime") == 100 * index
            assert np.array_equal(fields["2t"].values[index, 0], values)
            eccodes.codes_release(message)


def test_what_was_never_written_is_missing(write_netcdf, tmp_path):
    import netCDF4

    path = write_netcdf("unwritten.nc")
    with netCDF4.Dataset(path) as whole, netCDF4.Dataset(tmp_path / "half.nc", "w") as half:
        for name, size in whole.dimensions.items():
            half.createDimension(name, len(size))
        for name, variable in whole.variables.items():
            made = half.createVariable(name, variable.dtype, variable.dimensions)
            made.setncatts({key: variable.getncattr(key) for key in variable.ncattrs() if key != "_FillValue"})
            made[: len(variable) if variable.ndim == 1 else 2] = variable[: len(variable) if variable.ndim == 1 else 2]
    values = read_files(tmp_path / "half.nc")["2t"].values
    assert np.isfinite(values[:2]).all() and np.isnan(values[2:]).all()
