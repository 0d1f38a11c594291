"""The Well's files read: rows, columns, times and components of the wind, whichever way a file has them."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from emulator.data.files import read_files
from emulator.data.formats import FORMATS, format_of
from emulator.data.sources import open_fields
from emulator.fields import Fields
from emulator.foundation.time_step import to_datetime
from graphs.errors import MeshcastError
from tests.emulator.data.the_well.planetswe import (
    COLUMNS,
    ROWS,
    flow,
    interpolated_colatitudes,
    planetswe_file,
    solver_colatitudes,
)


def expected(hours: list[float], trajectories: tuple[int, ...] = (0,)) -> np.ndarray:
    """What the files hold, [time, trajectory, node, (h, u, v)], from north to south."""
    theta = interpolated_colatitudes()[::-1]
    flows = [np.stack(flow(theta, hours, one), axis=-1) for one in trajectories]
    return np.stack(flows, axis=1).reshape(len(hours), len(trajectories), ROWS * COLUMNS, 3).astype(np.float32)


def values(fields: Fields) -> np.ndarray:
    assert fields.variables == ("h", "u", "v") and fields.units == ("m", "m s-1", "m s-1")
    return fields.read(slice(None), fields.variables)


@pytest.mark.parametrize(
    ("components", "said"),
    [("theta, phi", ""), ("phi, theta", "read as (phi, theta)"), ("-theta, phi", "theta to the north"),
     ("phi, -theta", "(phi, theta) with theta to the north")],
)  # fmt: skip
def test_planetswe_is_read_with_winds_to_the_east_and_the_north(tmp_path: Path, components: str, said: str) -> None:
    path = planetswe_file(tmp_path / "planetswe_IC36_s1.hdf5", components=components)
    fields = open_fields(str(path))
    np.testing.assert_array_equal(values(fields), expected(list(252.0 + np.arange(6))))
    assert fields.ensemble_axis == "trajectory" and str(fields.time_step) == "1h"
    told = [notice for notice in fields.notices if "components of velocity" in notice]
    assert len(told) == bool(said) and all(said in notice for notice in told)
    assert fields.attributes == {"title": "planetswe"}


def test_time_of_day_and_of_year_are_those_of_the_planet(tmp_path: Path) -> None:
    fields = open_fields(str(planetswe_file(tmp_path / "a.hdf5")))
    assert str(to_datetime(fields.times)[0]) == "2000-01-16T12:00:00", "252 h after 6 January"
    hours = fields.times // 3600
    np.testing.assert_array_equal(hours % 1008, 252 + np.arange(6))
    np.testing.assert_array_equal(hours % 24, 12 + np.arange(6))


def test_rows_lie_where_planetswe_was_interpolated_and_elsewhere_as_stated(tmp_path: Path) -> None:
    own = open_fields(str(planetswe_file(tmp_path / "a.hdf5")))
    rows = own.mesh.latitudes[::COLUMNS]
    np.testing.assert_allclose(rows, 90 - np.degrees(interpolated_colatitudes()[::-1]), atol=1e-6)
    assert any("states Gaussian latitudes" in notice for notice in own.notices)
    other = open_fields(str(planetswe_file(tmp_path / "b.hdf5", name="other", theta=solver_colatitudes())))
    np.testing.assert_allclose(other.mesh.latitudes[::COLUMNS], 90 - np.degrees(solver_colatitudes()[::-1]), atol=1e-5)
    right = planetswe_file(tmp_path / "c.hdf5", stated_theta=interpolated_colatitudes())
    np.testing.assert_allclose(open_fields(str(right)).mesh.latitudes, own.mesh.latitudes, atol=1e-5)


def test_a_file_from_north_to_south_or_by_columns_holds_the_same(tmp_path: Path) -> None:
    south_first = open_fields(str(planetswe_file(tmp_path / "a.hdf5")))
    north = interpolated_colatitudes()[::-1]
    north_first = planetswe_file(tmp_path / "b.hdf5", theta=north, stated_theta=north)
    by_columns = planetswe_file(tmp_path / "c.hdf5", theta=north, stated_theta=north)
    with h5py.File(by_columns, "a") as file:
        for name in ("t0_fields/height", "t1_fields/velocity"):
            whole, attributes = file[name][...], dict(file[name].attrs)
            del file[name]
            file[name] = whole.swapaxes(2, 3) if name.endswith("height") else whole.swapaxes(2, 3)[..., ::-1]
            file[name].attrs.update(attributes)
        file["dimensions"].attrs["spatial_dims"] = ["phi", "theta"]
    for path in (north_first, by_columns):
        fields = open_fields(str(path))
        np.testing.assert_array_equal(values(fields), values(south_first))
        np.testing.assert_allclose(fields.mesh.positions, south_first.mesh.positions, atol=1e-6)


def test_trajectories_of_one_file_and_of_several_stand_side_by_side(tmp_path: Path) -> None:
    hours = list(252.0 + np.arange(6))
    two = planetswe_file(tmp_path / "two.hdf5", trajectories=(1, 2))
    one = planetswe_file(tmp_path / "one.hdf5", trajectories=(0,))
    fields = open_fields([str(one), str(two)])
    np.testing.assert_array_equal(values(fields), expected(hours, (0, 1, 2)))
    np.testing.assert_array_equal(fields.read(np.array([4, 1, 2]), ["v"], [2, 0]),
                                  expected(hours, (0, 1, 2))[[4, 1, 2]][:, [2, 0]][..., 2:])  # fmt: skip
    whole = read_files([one, two])
    assert whole.attrs["ensemble_axis"] == "trajectory" and whole["number"].values.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(whole["u"].values, expected(hours, (0, 1, 2))[..., 1])


def test_years_of_one_simulation_follow_one_another(tmp_path: Path) -> None:
    for trajectory in (0, 1):
        for part in (1, 2, 3):
            hours = 252.0 + 4 * (part - 1) + np.arange(4)
            planetswe_file(
                tmp_path / f"planetswe_IC0{trajectory}_s{part}.hdf5", hours=hours, trajectories=(trajectory,)
            )
    whole = expected(list(252.0 + np.arange(12)), (0, 1))
    fields = open_fields(str(tmp_path / "planetswe_IC*.hdf5"))
    np.testing.assert_array_equal(values(fields), whole)
    np.testing.assert_array_equal(fields.read(slice(3, 9, 2), ["h"]), whole[3:9:2, ..., :1])
    np.testing.assert_array_equal(read_files(str(tmp_path / "planetswe_IC*.hdf5"))["v"].values, whole[..., 2])
    files = [str(tmp_path / f"planetswe_IC00_s{part}.hdf5") for part in (1, 2)]
    with pytest.raises(MeshcastError, match=r"Trajectory \d.*has no fields at .*parts of one trajectory are named"):
        open_fields(files, trajectories="files")
    with pytest.raises(MeshcastError, match="is given twice"):
        open_fields([files[0], files[0]])
    same = planetswe_file(tmp_path / "planetswe_IC00_s9.hdf5", hours=252.0 + np.arange(4))
    with pytest.raises(MeshcastError, match=r"both have the time 2000-01-16T12.*--trajectories files"):
        open_fields([files[0], str(same)])
    assert open_fields([files[0], str(same)], trajectories="files").ensemble_size == 2
    with pytest.raises(MeshcastError, match="has no fields at"):
        open_fields([*files, str(tmp_path / "planetswe_IC01_s1.hdf5")])


def test_only_the_times_that_are_asked_for_are_read(tmp_path: Path) -> None:
    path = str(planetswe_file(tmp_path / "long.hdf5", hours=np.arange(400.0)))
    fields = open_fields(path)
    tracemalloc.start()
    fields.read(slice(200, 202), fields.variables)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < Path(path).stat().st_size / 20


def test_outputs_that_came_late_are_set_to_their_hour_and_other_units_of_time_are_read(tmp_path: Path) -> None:
    late = np.random.default_rng(0).uniform(0.0, 0.05, 200) + 252.0 + np.arange(200)
    fields = open_fields(str(planetswe_file(tmp_path / "late.hdf5", hours=late)))
    np.testing.assert_array_equal(fields.times // 3600 % 1008, (252 + np.arange(200)) % 1008)
    assert str(fields.time_step) == "1h" and any("lie up to 1" in notice for notice in fields.notices)
    with h5py.File(planetswe_file(tmp_path / "days.hdf5", hours=[0.0, 0.25, 0.5]), "a") as file:
        file["dimensions/time"].attrs["units"] = "days since 2001-03-01 06:00:00"
    fields = open_fields(str(tmp_path / "days.hdf5"))
    assert str(fields.time_step) == "6h" and str(to_datetime(fields.times)[1]) == "2001-03-01T12:00:00"
    long = open_fields(str(planetswe_file(tmp_path / "long.hdf5", hours=3000.5 + 0.5 * np.arange(40))))
    assert str(long.time_step) == "30m" and (long.times[0] // 60) % (1008 * 60) == (3000.5 * 60) % (1008 * 60)


def test_fields_of_any_name_are_read_and_what_cannot_be_is_said(tmp_path: Path) -> None:
    path = planetswe_file(tmp_path / "other.hdf5", name="other")
    with h5py.File(path, "a") as file:
        shape = file["t0_fields/height"].shape
        file["t0_fields"].move("height", "pressure")
        file["t1_fields"].move("velocity", "momentum")
        static = file["t0_fields"].create_dataset("topography", data=np.ones(shape[2:], "f4"))
        static.attrs.update({"sample_varying": False, "time_varying": False, "dim_varying": [True, True]})
        by_row = file["t0_fields"].create_dataset("mean", data=np.ones(shape[:3], "f4"))
        by_row.attrs.update({"sample_varying": True, "time_varying": True, "dim_varying": [True, False]})
        file["t0_fields/pressure"][0, 2, 3, 4] = np.nan
        file["t0_fields"].attrs["field_names"] = ["pressure", "topography", "mean"]
        file["t1_fields"].attrs["field_names"] = ["momentum"]
    fields = open_fields(str(path), rename={"momentum_phi": "mu"}, units={"pressure": "Pa", "mu": "kg m-1 s-1"})
    assert fields.variables == ("pressure", "topography", "mu", "momentum_northward")
    assert fields.units == ("Pa", "", "kg m-1 s-1", "") and any("mean of" in notice for notice in fields.notices)
    assert np.isnan(fields.read(slice(None), ["pressure"])).sum() == 1
    np.testing.assert_array_equal(fields.read(slice(2, 4), ["topography"]), np.ones((2, 1, ROWS * COLUMNS, 1), "f4"))
    assert read_files(path)["topography"].shape == (6, 1, ROWS * COLUMNS)
    for options, message in (
        ({"rename": {"momentum": "x"}}, r"momentum of .* is a vector, of momentum_phi \(eastward\)"),
        ({"rename": {"presure": "x"}}, "no file has a variable presure.*pressure"),
        ({"units": {"presure": "Pa"}}, "no file has a variable presure.*pressure"),
        ({"rename": {"pressure": "topography"}}, "holds topography twice"),
    ):
        with pytest.raises(MeshcastError, match=message):
            open_fields(str(path), **options)
    assert open_fields(str(path), units={"momentum": "kg"}).units[2:] == ("kg", "kg")


def test_hdf5_of_netcdf_is_told_apart_by_its_content(tmp_path: Path, write_netcdf: Callable[..., str]) -> None:
    netcdf, well = write_netcdf("a.hdf5"), planetswe_file(tmp_path / "b.nc")
    assert format_of(netcdf) is FORMATS["NetCDF"] and format_of(well) is FORMATS["The Well"]
    assert open_fields(netcdf).variables == ("2t",)
    assert open_fields(str(well)).variables == ("h", "u", "v")
    with pytest.raises(MeshcastError, match="has no dimension 'realization'"):
        open_fields(str(well), trajectories="realization")


def removed(name: str) -> Callable[[h5py.File], None]:
    return lambda file: file.__delitem__(name)


def replaced(name: str, values: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        attributes = dict(file[name].attrs)
        del file[name]
        file[name] = values
        file[name].attrs.update(attributes)

    return change


def attribute(name: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        where, _, key = name.rpartition("@")
        file[where or "/"].attrs[key] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (removed("t1_fields"), "lacks the group t1_fields"),
        (removed("dimensions"), "lacks the group dimensions"),
        (removed("dimensions/theta"), "lacks dimensions/theta"),
        (removed("t0_fields/height"), "lacks t0_fields/height"),
        (attribute("dimensions@spatial_dims", ["x", "y"]), "lies on a grid of x, y. .*on the sphere"),
        (attribute("@n_trajectories", 3), r"of shape \[3, 6, 16, 32\], as its attributes and n_trajectories say"),
        (replaced("dimensions/theta", np.linspace(0, 180, ROWS)), "theta must be colatitudes"),
        (replaced("dimensions/theta", np.full(ROWS, np.nan)), "theta must be colatitudes"),
        (replaced("dimensions/theta", np.ones(ROWS)), "theta must rise or fall"),
        (replaced("dimensions/phi", np.linspace(0, 360, COLUMNS)), "phi must be azimuths in radians"),
        (replaced("dimensions/time", np.arange(5.0)), "of shape"),
        (replaced("dimensions/time", np.zeros(0)), "dimensions/time must be one axis of numbers"),
        (replaced("dimensions/time", 6.0 - np.arange(6.0)), "must be numbers that increase"),
        (replaced("dimensions/time", np.arange(6.0) ** 2), "keep no step of whole seconds"),
        (replaced("dimensions/time", np.arange(6.0) * 1e-4), "keep no step of whole seconds"),
        (replaced("dimensions/time", np.float32(2e6) + np.arange(6, dtype="f4") / 8), "does not tell steps"),
        (attribute("dimensions/time@units", "lightyears"), "units of its times are 'lightyears'"),
        (attribute("dimensions/time@units", "hours since then"), "whose date cannot be read"),
        (attribute("t0_fields@field_names", "depth"), "lacks t0_fields/depth"),
        (removed("t2_fields"), None),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said(
    tmp_path: Path, change: Callable[[h5py.File], None], message: str | None
) -> None:
    path = planetswe_file(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        change(file)
    for read in (lambda: open_fields(str(path)), lambda: read_files(path)):
        if message is None:
            read()
            continue
        with pytest.raises(MeshcastError, match=message):
            read()


@pytest.mark.parametrize("name", [b"t2_fields", b"field_names", b"OPEN"])
def test_a_name_that_is_no_text_ends_in_a_message_or_is_not_needed(tmp_path: Path, name: bytes) -> None:
    path = planetswe_file(tmp_path / "a.hdf5")
    path.write_bytes(path.read_bytes().replace(name, name[:2] + b"\xcb" + name[3:]))
    with contextlib.suppress(MeshcastError):
        assert open_fields(str(path)).variables == ("h", "u", "v")


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = planetswe_file(tmp_path / "a.hdf5")
    content = path.read_bytes()
    for length in (1000, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(MeshcastError, match=r"a\.hdf5"):
            open_fields(str(path))
