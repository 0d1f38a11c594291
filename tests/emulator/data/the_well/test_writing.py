"""The Well's files written: what its own check asks of them, and the numbers that went in."""

from __future__ import annotations

import errno
from pathlib import Path

import h5py
import numpy as np
import pytest

from emulator.data.arrays import ArrayFields
from emulator.data.forecast_file import ForecastWriter
from emulator.data.forecast_netcdf import ForecastHeading
from emulator.data.sources import open_fields
from emulator.data.the_well.well_output import WatchedFile, write_well
from emulator.fields import Fields
from emulator.foundation.time_step import TimeStep, to_seconds
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from graphs.meshes.gaussian import gaussian
from graphs.meshes.icosphere import icosphere
from graphs.meshes.latlon import latlon
from tests.emulator.data.the_well.planetswe import planetswe_file
from tests.meshcast.command_line import meshcast

START = int(to_seconds(np.array("2000-01-06T03:00:00", dtype="datetime64[s]")))
UNITS = {"h": "m", "u": "m s-1", "v": "m s-1", "10u": "m s-1", "10v": "m s-1", "q": "1", "2t": "K", "mu_eastward": "",
         "mu_northward": ""}  # fmt: skip


def some_fields(mesh: Mesh, names: tuple[str, ...] = ("h", "u", "v"), rows: int = 2, times: int = 5) -> ArrayFields:
    values = np.random.default_rng(0).normal(size=(times, rows, mesh.num_nodes, len(names))).astype(np.float32)
    values[0, 0, 0, 0] = np.nan
    units = tuple(UNITS[name] for name in names)
    return ArrayFields(values, names, units, mesh, TimeStep(10800), START + 10800 * np.arange(times), source="memory")


def grid() -> Mesh:
    return latlon(np.arange(85.0, -86.0, -10.0), np.arange(0.0, 360.0, 20.0))


def check(path: Path) -> None:
    """What scripts/check_thewell_formatting.py of The Well's repository asserts of a file."""
    with h5py.File(path, "r") as file:
        spatial = file.attrs["n_spatial_dims"]
        for name, kind in (("dataset_name", str), ("grid_type", str), ("n_trajectories", np.integer)):
            assert isinstance(file.attrs[name], kind)
        assert isinstance(spatial, np.integer) and len(file.attrs["simulation_parameters"]) == 0
        dimensions = file["dimensions"]
        axes = dimensions.attrs["spatial_dims"]
        assert isinstance(axes, np.ndarray) and len(axes) == spatial and all(isinstance(axis, str) for axis in axes)

        def shape(dataset: h5py.Dataset) -> list[int]:
            assert all(isinstance(dataset.attrs[f"{what}_varying"], np.bool_) for what in ("sample", "time"))
            found = [file.attrs["n_trajectories"]] if dataset.attrs["sample_varying"] else []
            return found + ([dimensions["time"].shape[-1]] if dataset.attrs["time_varying"] else [])

        assert list(dimensions["time"].shape) == shape(dimensions["time"])
        assert all(list(dimensions[axis].shape[:-1]) == shape(dimensions[axis]) for axis in axes)
        for order in range(3):
            group = file[f"t{order}_fields"]
            assert isinstance(group.attrs["field_names"], np.ndarray)
            for name in group.attrs["field_names"]:
                assert isinstance(name, str) and group[name].dtype == np.float32
                assert len(group[name].attrs["dim_varying"]) == spatial and all(group[name].attrs["dim_varying"])
                sizes = [dimensions[axis].shape[-1] for axis in axes]
                assert list(group[name].shape) == shape(group[name]) + sizes + [spatial] * order
        assert len(file["scalars"].attrs["field_names"]) == 0
        kinds = {}
        for name, condition in file["boundary_conditions"].items():
            assert condition.attrs["bc_type"].lower() in name and len(condition.attrs["associated_fields"]) == 0
            (axis,) = condition.attrs["associated_dims"]
            assert axis in name and axis in axes and condition["mask"].dtype == bool
            assert list(condition["mask"].shape) == [*shape(condition), dimensions[axis].shape[-1]]
            kinds[axis] = condition.attrs["bc_type"]
        assert kinds == {"phi": "PERIODIC", "theta": "OPEN"}


def same(first: Fields, second: Fields) -> None:
    assert first.units == second.units and str(first.time_step) == str(second.time_step)
    np.testing.assert_array_equal(first.times, second.times)
    every = slice(None)
    np.testing.assert_array_equal(second.read(every, first.variables), first.read(every, first.variables))
    np.testing.assert_allclose(second.mesh.positions, first.mesh.positions, atol=1e-6)


@pytest.mark.parametrize("mesh", [grid(), gaussian(8)], ids=["regular", "gaussian"])
def test_what_is_written_is_read_again_and_is_as_the_format_asks(tmp_path: Path, mesh: Mesh) -> None:
    fields, path = some_fields(mesh), tmp_path / "a.hdf5"
    assert write_well(fields, path, attributes={"title": "planetswe", "licence": "CC-BY-4.0"}) == ("height", "velocity")
    check(path)
    again = open_fields(str(path))
    same(fields, again)
    assert again.attributes == {"title": "planetswe", "licence": "CC-BY-4.0"} and again.notices == ()
    with h5py.File(path, "r") as file:
        theta, velocity = file["dimensions/theta"][:], file["t1_fields/velocity"][:]
        assert theta[0] < theta[-1] and file["dimensions/time"].dtype == np.float32
        u, v = (fields.values[..., column].swapaxes(0, 1).reshape(velocity.shape[:-1]) for column in (1, 2))
        np.testing.assert_array_equal(velocity, np.stack([-v, u], axis=-1), "theta, to the south, before phi")


def test_winds_become_vectors_and_everything_else_scalars(tmp_path: Path) -> None:
    names = ("10u", "10v", "2t", "mu_eastward", "mu_northward", "q", "u")
    fields, path = some_fields(grid(), names), tmp_path / "a.h5"
    assert write_well(fields, path) == ("10u_10v", "2t", "mu", "q", "u")
    check(path)
    again = open_fields(str(path))
    assert again.variables == ("2t", "q", "u", "10u", "10v", "mu_eastward", "mu_northward")
    np.testing.assert_array_equal(again.read(slice(None), names), fields.values)
    assert write_well(fields, path, variables=["q"], overwrite=True) == ("q",)
    with pytest.raises(MeshcastError, match=r"no variable x; it has 10u"):
        write_well(fields, path, variables=["x"], overwrite=True)


def test_times_that_float32_cannot_tell_apart_are_kept(tmp_path: Path) -> None:
    fields = some_fields(grid())
    fields.times, fields.time_step = START + 7_000_000_000 + 100 * np.arange(5), TimeStep(100)
    write_well(fields, tmp_path / "a.hdf5")
    same(fields, open_fields(str(tmp_path / "a.hdf5")))


def test_what_the_format_does_not_hold_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    gaps, months, limited = some_fields(grid()), some_fields(grid()), some_fields(latlon([50.0, 40.0], [0.0, 10.0]))
    gaps.missing, months.time_step = frozenset({2}), TimeStep(1, "month")
    broken = some_fields(grid())
    broken._read = None  # type: ignore[method-assign, assignment]
    for fields, message in (
        (some_fields(icosphere(1)), r"lies on a icosphere|lies on a.*global grids of latitudes and longitudes"),
        (limited, "global grids of latitudes and longitudes"),
        (gaps, "missing dates, at or after 2000-01-06T09"),
        (months, "steps of 1 month"),
    ):
        with pytest.raises(MeshcastError, match=message):
            write_well(fields, path)
    with pytest.raises(TypeError):
        write_well(broken, path)
    path.write_text("kept")
    with pytest.raises(MeshcastError, match="exists"):
        write_well(some_fields(grid()), path)
    assert [one.name for one in tmp_path.iterdir()] == ["a.hdf5"] and path.read_text() == "kept"


def test_a_dataset_there_and_back_by_the_command_line(tmp_path: Path) -> None:
    own = planetswe_file(tmp_path / "planetswe_IC36_s1.hdf5", trajectories=(0, 1))
    there = meshcast("dataset", own, "-o", tmp_path / "a.zarr", "--json")
    assert (
        there.code == 0 and there.json["ensemble_axis"] == "trajectory" and there.json["variables"] == ["h", "u", "v"]
    )
    back = meshcast("dataset", tmp_path / "a.zarr", "-o", tmp_path / "b.hdf5", "--json")
    assert (
        back.code == 0 and back.json["fields"] == ["height", "velocity"] and "2 independent traj" in back.err + back.out
    )
    check(tmp_path / "b.hdf5")
    original = open_fields(str(own))
    same(original, open_fields(str(tmp_path / "a.zarr")))
    same(original, open_fields(str(tmp_path / "b.hdf5")))
    assert open_fields(str(tmp_path / "b.hdf5")).attributes["title"] == "planetswe"


def test_a_forecast_becomes_trajectories_from_its_start(tmp_path: Path) -> None:
    mesh, times = grid(), np.array([START, START + 86400])
    for name, starts in (("together", times[[0, 0]]), ("apart", times)):
        heading = ForecastHeading("gnn", mesh, TimeStep(3600), ("h",), ("m",), starts, np.array([0, 1]), 1, {})
        writer = ForecastWriter(tmp_path / f"{name}.nc", heading)
        leads = [np.full((2, 1, mesh.num_nodes, 1), lead, np.float32) for lead in (1, 2)]
        for lead in leads:
            lead[1] += 10
            writer.append(lead)
        writer.finish()
        done = meshcast("dataset", tmp_path / f"{name}.nc", "-o", tmp_path / f"{name}.hdf5")
        assert done.code == 0 and ("they count from their own start" in done.out + done.err) == (name == "apart")
        fields = open_fields(str(tmp_path / f"{name}.hdf5"))
        np.testing.assert_array_equal(fields.read(slice(None), ["h"])[:, :, 0, 0], [[1, 11], [2, 12]])
        assert fields.times[0] == (START if name == "together" else START - 10800) + 3600


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--frequency", "2h"), "--frequency makes datasets"),
        (("--rename", "h=depth"), "whose variables keep their names"),
        (("--select", "x"), "has no variable x"),
        (("--trajectories", "0:9"), "are not all in"),
    ],
)
def test_what_the_command_cannot_do_ends_in_a_message(tmp_path: Path, options: tuple[str, str], message: str) -> None:
    source = tmp_path / "a.zarr"
    assert meshcast("dataset", planetswe_file(tmp_path / "a.hdf5"), "-o", source).code == 0
    wrong = meshcast("dataset", source, "-o", tmp_path / "b.hdf5", *options)
    assert wrong.code == 2 and message in " ".join(wrong.err.split()) and not (tmp_path / "b.hdf5").exists()


def test_wrong_files_end_in_a_message_and_leave_nothing(tmp_path: Path) -> None:
    cut = planetswe_file(tmp_path / "cut.hdf5")
    cut.write_bytes(cut.read_bytes()[:9000])
    lacking = planetswe_file(tmp_path / "lacking.hdf5")
    with h5py.File(lacking, "a") as file:
        del file["t1_fields"]
    before = sorted(tmp_path.iterdir())
    for source in (cut, lacking, tmp_path / "absent.hdf5"):
        for output in ("out.zarr", "out.hdf5"):
            wrong = meshcast("dataset", source, "-o", tmp_path / output)
            assert wrong.code == 2 and source.name in wrong.err and "Traceback" not in wrong.err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("number", [1, 4, 7])
def test_a_write_that_fails_once_leaves_no_file_and_is_said(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """HDF5 alone goes on after some failures, and the file passes for whole."""
    writes = 0

    class FailsOnce(WatchedFile.__base__):  # type: ignore[misc, name-defined]
        def write(self, data: bytes) -> int:
            nonlocal writes
            writes += 1
            if writes == number:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    class Watched(WatchedFile, FailsOnce):
        pass

    monkeypatch.setattr("emulator.data.the_well.well_output.WatchedFile", Watched)
    with pytest.raises(MeshcastError, match="disk is full"):
        write_well(open_fields(str(planetswe_file(tmp_path / "in.hdf5"))), tmp_path / "out.hdf5")
    assert writes >= number and not list(tmp_path.glob("*out*")) and capfd.readouterr().err == ""
