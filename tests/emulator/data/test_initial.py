"""States to start from: out of datasets and files, equal whichever way they are stored, faults in one report."""

import numpy as np
import pytest
import xarray as xr

from emulator.data.coordinates import mesh_from_coordinates
from emulator.data.files import read_files
from emulator.data.initial import initial_conditions
from emulator.data.sources import open_fields
from emulator.foundation.time_step import TimeStep, to_seconds
from emulator.task import Task, Variable
from graphs.errors import MeshcastError
from graphs.interpolation.interpolate import interpolation
from graphs.meshes.icosphere import icosphere
from graphs.meshes.latlon import latlon
from graphs.meshes.ring import ring

SIX_HOURS = TimeStep(6 * 3600)
MESH = latlon([60.0, 0.0, -60.0], np.arange(6) * 60.0)
TASK = Task((Variable("2t", "prognostic", "K"),), SIX_HOURS, history=2)
START = np.datetime64("2000-01-01", "ns")


def test_history_and_times_come_from_the_file(write_netcdf):
    path = write_netcdf(license="CC")
    values = read_files(path)["2t"].values
    conditions = initial_conditions(path, TASK, MESH, "2000-01-01T06, 2000-01-01T18")
    assert conditions.state.values.shape == (2, 1, 2, 18, 1)
    assert np.array_equal(conditions.state.values[0, 0, :, :, 0], values[[0, 1], 0])
    assert np.array_equal(conditions.state.values[1, 0, :, :, 0], values[[2, 3], 0])
    assert np.array_equal(
        conditions.state.valid_time, to_seconds(np.array(["2000-01-01T06", "2000-01-01T18"], "M8[s]"))
    )
    assert conditions.trajectory.tolist() == [-1, -1] and conditions.attributes["licence"] == "CC"


@pytest.mark.parametrize(
    ("text", "hours"),
    [("latest", [18]), ("all", [6, 12, 18]), ("2000-01-01T06/2000-01-01T18/12h", [6, 18]), ("2000-01-01T12:00Z", [12]),
     ("2000-01-01T18, 2000-01-01T06/2000-01-01T12/6h", [6, 12, 18])],
)  # fmt: skip
def test_the_grammar_of_initial_times(write_netcdf, text, hours):
    conditions = initial_conditions(write_netcdf(), TASK, MESH, text)
    assert ((conditions.state.valid_time % 86400) // 3600).tolist() == hours


@pytest.mark.parametrize("text", ["tomorrow", "2000-01-01/2000-01-02", "", "2000-01-02/2000-01-01/6h"])
def test_times_that_cannot_be_read_are_refused(write_netcdf, text):
    with pytest.raises(MeshcastError, match=r"Cannot read|end before"):
        initial_conditions(write_netcdf(), TASK, MESH, text)


def test_order_and_units_of_the_file_do_not_matter(write_netcdf, tmp_path):
    plain = initial_conditions(write_netcdf("a.nc"), TASK, MESH, "latest")
    with xr.open_dataset(write_netcdf("a.nc")) as file:
        other = file.t2m.load() - 273.15
    other = other.assign_coords(longitude=(other.longitude + 180) % 360 - 180).sortby(["longitude", "latitude"])
    other.rename("tas").assign_attrs(units="degC").to_netcdf(tmp_path / "b.nc")
    conditions = initial_conditions(tmp_path / "b.nc", TASK, MESH, "latest")
    assert np.allclose(conditions.state.values, plain.state.values, atol=1e-4)
    assert any("from degC to K" in notice for notice in conditions.notices)


def test_a_mesh_in_another_order_is_served(write_netcdf):
    """An emulator whose rows run north, from -180 eastward, starts from the same file."""
    turned = latlon([-60.0, 0.0, 60.0], np.arange(-180, 180, 60.0))
    values = read_files(write_netcdf())["2t"].values[-1, 0].reshape(3, 6)
    conditions = initial_conditions(write_netcdf(), TASK, turned, "latest")
    expected = np.roll(values[::-1], 3, axis=1).ravel()
    assert np.array_equal(conditions.state.now[0, 0, :, 0], expected)
    assert any("reordered" in notice for notice in conditions.notices)


def test_pole_rows_are_paired_by_longitude(write_netcdf):
    rows = (90.0, 0.0, -90.0)
    path = write_netcdf(latitudes=rows)
    values = read_files(path)["2t"].values[-1, 0].reshape(3, 6)
    turned = latlon(rows, np.arange(-180, 180, 60.0))
    conditions = initial_conditions(path, TASK, turned, "latest")
    assert np.array_equal(conditions.state.now[0, 0, :, 0], np.roll(values, 3, axis=1).ravel())


def test_members_stay_members_and_trajectories_become_cases(write_store, tmp_path, ring_attributes):
    where = {"latitudes": np.zeros(40), "longitudes": np.arange(40) * 9.0, "hours": 1 / 3600, "members": 3}
    values = write_store("r.zarr", **where, **ring_attributes)
    task = Task((Variable("v", "prognostic", "K"),), TimeStep(1, "second", 0.1, "s"))
    start = 946684800 // 1  # the store's nominal seconds begin at its first date
    two = initial_conditions(open_fields(str(tmp_path / "r.zarr"), slice(1, None)), task, ring(40, 3.0), "latest")
    assert two.state.values.shape == (2, 1, 1, 40, 1) and two.trajectory.tolist() == [1, 2]
    assert np.array_equal(two.state.now[:, 0, :, 0], values[-1, 1, 1:]) and two.state.valid_time[0] == start + 11
    write_store("e.zarr", **where, **{**ring_attributes, "ensemble_axis": "member"})
    whole = initial_conditions(str(tmp_path / "e.zarr"), task, ring(40, 3.0), "latest")
    assert whole.state.values.shape == (1, 3, 1, 40, 1) and whole.trajectory.tolist() == [-1]


def test_times_of_an_equation_are_its_own(tmp_path):
    values = np.random.default_rng(0).normal(size=(3, 6, 1, 40)).astype(np.float32)
    np.save(tmp_path / "a_test.npy", values)
    task = Task((Variable("u", "prognostic", "1"),), TimeStep(1, "second", 1.0, "frame"))
    conditions = initial_conditions(str(tmp_path / "a_test.npy"), task, ring(40), "0, 4")
    assert conditions.trajectory.tolist() == [0, 1, 2, 0, 1, 2]
    assert conditions.state.valid_time.tolist() == [0, 0, 0, 4, 4, 4]
    assert np.array_equal(conditions.state.now[3:, 0, :, 0], values[:, 4, 0])


def test_every_fault_stands_in_one_report(write_netcdf):
    path = write_netcdf(units="m", latitudes=(45.0, 0.0, -45.0))
    task = Task((Variable("2t", "prognostic", "K"), Variable("sst", "prognostic", "K")), SIX_HOURS, history=2)
    with pytest.raises(MeshcastError) as caught:
        initial_conditions(path, task, MESH, "2000-01-01T00, 1999-01-01, 2000-01-01T18")
    report = str(caught.value)
    assert "lacks the variable sst" in report
    assert "2t has units m, which cannot be converted to K" in report
    assert "12 of 18 nodes are not there" in report and "km from the nearest" in report
    assert "1999-01-01T00:00:00 is not there" in report and "2000-01-01T00:00:00 to 2000-01-01T18:00:00" in report
    assert "of its history (2 fields, 6h apart) at 1999-12-31T18:00:00" in report
    assert report.count("\n- ") == 5


def test_a_larger_area_is_told_to_be_cut(write_netcdf):
    mesh = latlon([60.0, 0.0], np.arange(2) * 60.0)
    with pytest.raises(MeshcastError, match=r"all 4 nodes of the emulator are among the source's 18"):
        initial_conditions(write_netcdf(), TASK, mesh, "latest")
    with pytest.raises(MeshcastError, match="a ring and a sphere"):
        initial_conditions(write_netcdf(), TASK, ring(18), "latest")


def test_nan_is_refused_except_where_training_had_none(write_netcdf):
    values = np.full((4, 3, 6), 290.0)
    values[:, 1, 2] = np.nan
    path = write_netcdf(values=values)
    with pytest.raises(MeshcastError, match=r"2t has 2 values that are NaN.*node 8, at 0\.00 N 120\.00 E"):
        initial_conditions(path, TASK, MESH, "latest")
    valid = np.ones(18, bool)
    valid[8] = False
    assert initial_conditions(path, TASK, MESH, "latest", valid={"2t": valid}).state.values.isnan().sum() == 2


def test_what_stands_where_training_had_nothing_is_masked(write_netcdf):
    """A file that fills the land with numbers starts the same forecast as one that leaves it empty."""
    path = write_netcdf(values=np.full((4, 3, 6), 290.0))
    valid = np.ones(18, bool)
    valid[[8, 9]] = False
    conditions = initial_conditions(path, TASK, MESH, "latest", valid={"2t": valid})
    assert np.array_equal(conditions.state.values[0, 0, :, :, 0].isnan().numpy(), np.stack([~valid, ~valid]))
    assert any("on 2 nodes where training had none" in notice for notice in conditions.notices)


def test_absent_units_are_a_fault_until_they_are_given(write_netcdf):
    with pytest.raises(MeshcastError, match=r"2t has no units, but K is expected.*--units 2t="):
        initial_conditions(write_netcdf(units=None), TASK, MESH, "latest")
    given = initial_conditions(write_netcdf(units=None), TASK, MESH, "latest", units={"t2m": "degC"})
    assert given.state.values.min() > 500


def test_several_files_and_real_grib(data_folder):
    path = data_folder / "era5-levels-members.grib"
    read = read_files(path)
    mesh = mesh_from_coordinates(read.latitude.values, read.longitude.values)
    variables = tuple(Variable(name, "prognostic", units) for name, units in (("z_500", "m2 s-2"), ("t_850", "degC")))
    conditions = initial_conditions([str(path)], Task(variables, TimeStep(12 * 3600), 2), mesh, "latest")
    assert conditions.state.values.shape == (1, 10, 2, 7320, 2)
    assert np.array_equal(conditions.state.now[0, :, :, 0], read["z_500"].values[-1])
    assert np.allclose(conditions.state.now[0, :, :, 1], read["t_850"].values[-1] - 273.15, atol=1e-4)


def test_a_dataset_and_the_file_it_came_from_start_alike(write_store, tmp_path):
    rows, columns = np.meshgrid([60.0, 0.0, -60.0], np.arange(6) * 60.0, indexing="ij")
    values = write_store("a.zarr", rows.ravel(), columns.ravel(), variables=("2t", "sst"))
    conditions = initial_conditions(str(tmp_path / "a.zarr"), TASK, MESH, "latest", rename={"sst": "2t"})
    assert np.array_equal(conditions.state.values[0, 0, :, :, 0], values[-2:, 1, 0])


def test_a_source_on_other_nodes_is_refused_with_an_offer_or_remapped_and_recorded(write_netcdf):
    sphere = icosphere(2)
    with pytest.raises(MeshcastError, match=r"lies on a global mesh of 3 x 6 nodes.*--regrid bilinear"):
        initial_conditions(write_netcdf(), TASK, sphere, "latest")
    plain = initial_conditions(write_netcdf(), TASK, MESH, "latest")
    assert "regridding" not in plain.attributes
    for method in ("bilinear", "conservative"):
        conditions = initial_conditions(write_netcdf(), TASK, sphere, "latest", regrid=method)
        expected = interpolation(method, MESH, sphere).apply(plain.state.values)
        assert conditions.state.values.shape == (1, 1, 2, 162, 1)
        assert np.allclose(conditions.state.values, expected, atol=1e-3)
        assert conditions.attributes["regridding"] == (
            f"{method} from a global mesh of 3 x 6 nodes to a global mesh of 162 nodes"
        )
        assert any(notice.startswith("values were remapped") for notice in conditions.notices)


def test_the_same_nodes_are_not_remapped(write_netcdf):
    plain = initial_conditions(write_netcdf(), TASK, MESH, "latest")
    asked = initial_conditions(write_netcdf(), TASK, MESH, "latest", regrid="bilinear")
    assert np.array_equal(asked.state.values, plain.state.values) and "regridding" not in asked.attributes


def test_the_components_of_a_vector_are_carried_and_scalars_are_not(write_store, tmp_path):
    grid, sphere = latlon(np.linspace(87.5, -87.5, 36), np.arange(72) * 5.0), icosphere(1)
    write_store("wind.zarr", grid.latitudes, grid.longitudes, ("h", "u", "v"), units={"u": "m s-1", "v": "m s-1"})
    wind = (Variable("u", "prognostic", "m s-1", partner="v"), Variable("v", "prognostic", "m s-1", partner="u"))
    task = Task((*wind, Variable("h", "prognostic", "K")), SIX_HOURS)
    source = str(tmp_path / "wind.zarr")
    on_grid, on_sphere = (
        initial_conditions(source, task, mesh, "latest", regrid="bilinear").state.values for mesh in (grid, sphere)
    )
    remapping = interpolation("bilinear", grid, sphere)
    u, v = remapping.apply_vector(on_grid[..., [0]], on_grid[..., [1]])
    assert np.allclose(on_sphere, np.concatenate([u, v, remapping.apply(on_grid[..., [2]])], axis=-1), atol=1e-5)


def test_missing_values_are_left_out_of_means_only_where_training_had_some_too(write_netcdf):
    sphere = icosphere(2)
    values = np.random.default_rng(0).normal(280, 5, (4, 3, 6))
    values[:, 0, 5] = np.nan  # one of 18 nodes
    path = write_netcdf("holes.nc", values=values)
    valid = {"2t": sphere.longitudes < 300}
    known = initial_conditions(path, TASK, sphere, "latest", valid=valid, regrid="bilinear").state.values
    assert np.isfinite(known[..., valid["2t"], 0]).all() and np.isnan(known[..., ~valid["2t"], 0]).all()
    with pytest.raises(MeshcastError, match="values that are NaN or infinite where the emulator needs them"):
        initial_conditions(path, TASK, sphere, "latest", regrid="bilinear")


def test_a_source_that_does_not_cover_the_emulators_nodes_cannot_be_remapped(write_netcdf):
    path = write_netcdf("part.nc", latitudes=[60.0, 50.0, 40.0], longitudes=[0.0, 10.0, 20.0])
    with pytest.raises(MeshcastError, match=r"cannot be remapped: .* lie beyond the limited area"):
        initial_conditions(path, TASK, MESH, "latest", regrid="bilinear")


def test_rings_are_not_remapped(write_netcdf):
    with pytest.raises(MeshcastError, match="Take a source of the same equation"):
        initial_conditions(write_netcdf(), TASK, ring(18), "latest", regrid="bilinear")


def test_nodes_that_cannot_be_are_told_with_the_name_of_their_file(write_netcdf):
    path = write_netcdf("far-north.nc", latitudes=[95.0, 50.0, 40.0])
    with pytest.raises(MeshcastError, match=r"far-north.nc: latitude reaches 95 degrees .* beyond a pole"):
        initial_conditions(path, TASK, MESH, "latest")
