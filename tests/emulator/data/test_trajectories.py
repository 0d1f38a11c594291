"""Independent trajectories from files: a dimension of them or a file each, never taken for members of one ensemble."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from emulator.data.convert import convert, describe
from emulator.data.files import read_files
from emulator.data.forcing_sources import forcings_of
from emulator.data.initial import initial_conditions
from emulator.data.sources import open_fields, rows_or_dimension
from emulator.foundation.configuration import load
from emulator.task import Task, Variable
from graphs.errors import MeshcastError
from training.experiment import DataPart


@pytest.fixture
def runs(write_netcdf):
    """Return a function that writes a file of three trajectories along a dimension of any name, and its values."""

    def write(dimension: str = "number", name: str = "runs.nc", numbers=(0, 1, 2), **options):
        values = np.random.default_rng(1).normal(size=(4, len(numbers), 3, 6)).astype(np.float32) + 280
        dims = ("time", dimension, "latitude", "longitude")
        path = write_netcdf(name, dims=dims, values=values, coordinates={dimension: list(numbers)}, **options)
        return path, values

    return write


def task_of(fields) -> Task:
    return Task((Variable("2t", "prognostic", "K"),), fields.time_step)


@pytest.mark.parametrize("dimension", ["number", "member", "run"])
def test_a_named_dimension_counts_trajectories(runs, dimension, tmp_path):
    path, values = runs(dimension)
    summary = convert([path], tmp_path / "runs.zarr", trajectories=dimension)
    assert "3 independent trajectories" in describe(summary)
    for fields in (open_fields(str(path), dimension), open_fields(str(tmp_path / "runs.zarr"))):
        assert (fields.ensemble_axis, fields.ensemble_size) == ("trajectory", 3)
        assert np.array_equal(fields.read(slice(None), ["2t"])[..., 0], values.reshape(4, 3, 18))
        start = initial_conditions(fields, task_of(fields), fields.mesh, "latest")
        assert start.trajectory.tolist() == [0, 1, 2] and start.state.values.shape[:2] == (3, 1)


def test_by_default_a_number_counts_members_which_is_said(runs, tmp_path):
    path, _ = runs()
    assert "3 members of one ensemble (independent trajectories are named by --trajectories)" in describe(
        convert([path], tmp_path / "runs.zarr")
    )
    fields = open_fields(str(path))
    start = initial_conditions(fields, task_of(fields), fields.mesh, "latest")
    assert start.state.values.shape[:2] == (1, 3) and any("members of one ensemble" in line for line in start.notices)


def test_a_dataset_that_was_made_of_members_is_read_as_trajectories(runs, tmp_path):
    path, _ = runs()
    convert([path], tmp_path / "runs.zarr")
    assert open_fields(str(tmp_path / "runs.zarr"), "number").ensemble_axis == "trajectory"
    with pytest.raises(MeshcastError, match=r"is a dataset, whose rows are its number, not run"):
        open_fields(str(tmp_path / "runs.zarr"), "run")


def test_each_file_is_a_trajectory(write_netcdf, tmp_path):
    paths = [write_netcdf(f"{name}.nc", seed=seed) for seed, name in enumerate("abc")]
    fields = read_files(paths, trajectories="files")
    assert fields.sizes["number"] == 3 and fields.attrs["ensemble_axis"] == "trajectory"
    assert all(f"{number} {path}" in fields.attrs["notices"] for number, path in enumerate(paths))
    for number, path in enumerate(paths):
        assert np.array_equal(fields["2t"].values[:, number], read_files(path)["2t"].values[:, 0])
    convert(paths, tmp_path / "runs.zarr", trajectories="files")
    assert open_fields(str(tmp_path / "runs.zarr")).ensemble_axis == "trajectory"
    with pytest.raises(MeshcastError, match=r"stands twice.*--trajectories files"):
        read_files(paths)


def test_an_attribute_tells_which_run_a_file_is_of(write_netcdf, tmp_path):
    """Two runs of two files each, as CMIP's histories and scenarios are."""
    six_hours = np.timedelta64(6, "h") * np.arange(4)
    paths = [
        write_netcdf(f"{run}{part}.nc", seed=10 * run + part, times=day + six_hours, variant_label=f"r{run}i1p1f1")
        for run in (1, 2)
        for part, day in enumerate(np.array(["2000-01-01", "2000-01-02"], "datetime64[ns]"))
    ]
    order = [paths[index] for index in (2, 1, 0, 3)]
    fields = read_files(order, trajectories="variant_label")
    assert fields.sizes["number"] == 2 and fields.sizes["time"] == 8 and fields.attrs["ensemble_axis"] == "trajectory"
    assert "variant_label tells trajectories apart: 0 r2i1p1f1, 1 r1i1p1f1" in fields.attrs["notices"]
    for number, parts in enumerate((paths[2:], paths[:2])):
        assert np.array_equal(fields["2t"].values[:, number], read_files(parts)["2t"].values[:, 0])
    convert(order, tmp_path / "runs.zarr", trajectories="variant_label")
    assert open_fields(str(tmp_path / "runs.zarr")).ensemble_axis == "trajectory"
    with pytest.raises(MeshcastError, match=r"plain.nc has no (dimension|attribute) .?variant_label"):
        read_files([*paths, write_netcdf("plain.nc")], trajectories="variant_label")
    with pytest.raises(MeshcastError, match=r"2t has trajectory 1 at other times|stands twice|lack"):
        read_files([*paths[:3]], trajectories="variant_label")


def test_a_variable_of_one_run_serves_no_other(write_netcdf):
    """As a yearly maximum does that one run's files call an air temperature, and another's not."""
    temperature = [write_netcdf(f"t{run}.nc", seed=run, variant_label=f"r{run}") for run in (1, 2)]
    wind = write_netcdf("u2.nc", variable="u10", units="m s-1", variant_label="r2")
    with pytest.raises(MeshcastError, match=r"10u is not in r1, which is a trajectory of its own.*--rename"):
        read_files([*temperature, wind], trajectories="variant_label")


def with_height(path: Path, seed: int) -> Path:
    height = np.random.default_rng(seed).normal(size=(3, 6)).astype(np.float32)
    with xr.open_dataset(path) as file:
        both = file.load().assign(z=(("latitude", "longitude"), height, {"units": "m2 s-2"}))
    both.to_netcdf(target := path.with_name(f"z{path.name}"))
    return target


@pytest.mark.parametrize("seeds", [(0, 0), (0, 1)])
def test_what_never_changes_may_stand_in_each_file(write_netcdf, seeds):
    paths = [with_height(write_netcdf(f"{name}.nc"), seed) for seed, name in zip(seeds, "ab", strict=True)]
    height = read_files(paths, trajectories="files")["z"].values[0]
    assert np.array_equal(height[0], height[1]) == (seeds == (0, 0))


def test_trajectories_that_do_not_fit_together_are_refused(write_netcdf, runs):
    one, several = write_netcdf("one.nc"), runs()[0]
    with pytest.raises(MeshcastError, match=r"holds 3 members or trajectories of 2t, but --trajectories files"):
        read_files([one, several], trajectories="files")
    with pytest.raises(MeshcastError, match=r"2t is not in file number 1, from 0"):
        read_files([one, write_netcdf("two.nc", variable="u10", units="m s-1")], trajectories="files")
    with pytest.raises(MeshcastError, match=r"no dimension 'rnu' of trajectories; did you mean run"):
        read_files(runs("run", "other.nc")[0], trajectories="rnu")
    dims, values = ("time", "run", "member", "latitude", "longitude"), np.zeros((4, 2, 2, 3, 6), np.float32)
    both = write_netcdf("both.nc", dims=dims, values=values, coordinates={"run": [0, 1], "member": [0, 1]})
    with pytest.raises(MeshcastError, match=r"holds members along member of each trajectory along run"):
        read_files(both, trajectories="run")


def test_grib_tells_trajectories_by_number_alone(data_folder):
    path = data_folder / "era5-levels-members.grib"
    assert read_files(path, trajectories="number").attrs["ensemble_axis"] == "trajectory"
    with pytest.raises(MeshcastError, match=r"is GRIB, where only `number`"):
        read_files(path, trajectories="run")


@pytest.mark.parametrize(("trajectories", "axis", "size"), [("run", "trajectory", 3), ((0, 2), "member", 2)])
def test_a_configuration_names_the_trajectories_of_its_files(runs, trajectories, axis, size):
    path, _ = runs("run")
    part = load(DataPart, {"source": str(path), "trajectories": trajectories if size == 3 else list(trajectories)})
    if axis == "member":
        with pytest.raises(MeshcastError, match="the dimensions run of t2m are neither time, member nor level"):
            part.open()
        return
    fields = part.open()
    assert (fields.ensemble_axis, fields.ensemble_size) == (axis, size) and part.mesh.same_nodes(fields.mesh)


def test_numbers_of_trajectories_are_kept(runs, tmp_path):
    """A file of trajectories 5, 9 and 7 starts forecasts of these, wherever they stand in the truth."""
    path, _ = runs("run", numbers=(5, 9, 7))
    convert([path], tmp_path / "runs.zarr", trajectories="run")
    for fields in (open_fields(str(path), "run"), open_fields(str(tmp_path / "runs.zarr"))):
        assert list(fields.trajectories) == [5, 9, 7]
        assert fields.rows_of(np.array([7, 5, -1, 0])).tolist() == [2, 0, -1, 3]


def test_members_with_names_are_counted(runs):
    assert read_files(runs("member", numbers=("r1i1p1", "r2i1p1"))[0]).number.values.tolist() == [0, 1]


@pytest.mark.parametrize("name", ["ensemble_axis", "variables", "frequency", "mesh"])
def test_an_attribute_that_would_not_be_honoured_is_refused(write_netcdf, tmp_path, name):
    with pytest.raises(MeshcastError, match=rf"attribute {name}=trajectory .*"):
        convert([write_netcdf()], tmp_path / "d.zarr", attributes={name: "trajectory"})
    assert not list(tmp_path.glob("*.zarr"))


def test_forcings_of_each_trajectory_are_not_taken_for_those_of_all(write_store, tmp_path):
    where = {"latitudes": np.array([60.0, 0.0, -60.0]), "longitudes": np.zeros(3)}
    write_store("s.zarr", **where, variables=("u", "co2"), members=2)
    path = str(tmp_path / "s.zarr")
    fields = open_fields(path)
    task = Task((Variable("u", "prognostic", "K"), Variable("co2", "forcing", "K")), fields.time_step)
    with pytest.raises(MeshcastError, match=r"forcing co2 of row 1 .* differs from that of row 0"):
        forcings_of(task, fields.mesh, fields)


def test_the_option_is_read():
    assert rows_or_dimension("2:5") == slice(2, 5) and rows_or_dimension("files") == "files"
    with pytest.raises(MeshcastError, match="takes FIRST:STOP"):
        rows_or_dimension("1:2:3")
