"""Forecast files: whole or resumable, bit for bit, ours and other centres'."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

from emulator.data.forecast_file import ForecastWriter, partial_file, read_forecast
from emulator.data.forecast_netcdf import ForecastHeading, differences
from emulator.data.read_later import is_read_later
from emulator.foundation.time_step import TimeStep, to_seconds
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from graphs.meshes.latlon import latlon
from graphs.meshes.points import points
from graphs.meshes.ring import ring
from tests.meshcast.command_line import no_file_beyond

INIT = to_seconds(np.array(["2019-03-25T00", "2019-03-25T06"], "M8[s]"))
GRID = latlon([58.0, 57.0, 56.0], np.arange(-10.0, 5.0, 3.0))
RNG = np.random.default_rng(0)
MESHES = {
    "grid": (GRID, TimeStep(3600)),
    "ring": (ring(16, 10.0), TimeStep(1, "second", 0.1, "")),
    "points": (points(RNG.uniform(-60, 60, 12), RNG.uniform(0, 360, 12)), TimeStep(1, "month")),
}

OLD_PARTIAL = Path(__file__).parents[2] / "fixtures/version_0_1/partial.nc.part"


def values_of(mesh: Mesh, leads: int = 4, members: int = 3) -> np.ndarray:
    return np.random.default_rng(1).normal(280, 9, (2, members, leads, mesh.num_nodes, 2)).astype(np.float32)


def start(path, mesh=GRID, time_step=MESHES["grid"][1], members=3, **options) -> ForecastWriter:
    given = {
        "name": "gnn", "variables": ("2t", "z_500"), "units": ("K", "m**2 s**-2"), "init_time": INIT,
        "trajectory": np.array([-1, -1]), "num_members": members,
        "attributes": {"licence": "CC", "seed": "3"}, **options,
    }  # fmt: skip
    overwrite = given.pop("overwrite", False)
    return ForecastWriter(path, ForecastHeading(mesh=mesh, time_step=time_step, **given), overwrite)


def write(path, values, *args, **options):
    writer = start(path, *args, **options)
    for lead in range(values.shape[2]):
        writer.append(values[:, :, lead])
    return writer.finish()


@pytest.mark.parametrize("kind", list(MESHES))
def test_what_was_written_is_read_back(tmp_path, kind):
    mesh, time_step = MESHES[kind]
    values = values_of(mesh)
    values[1, 2, 2:] = np.nan  # where a guard stopped a member
    forecast = read_forecast(write(tmp_path / "f.nc", values, mesh, time_step))
    assert np.array_equal(forecast.values, values, equal_nan=True)
    assert forecast.mesh.same_nodes(mesh, 1e-9) and forecast.mesh.shape == mesh.shape
    assert forecast.mesh.domain == mesh.domain and np.array_equal(forecast.mesh.areas, mesh.areas)
    assert forecast.time_step == time_step and forecast.lead_steps.tolist() == [1, 2, 3, 4]
    assert (forecast.name, forecast.variables, forecast.units) == ("gnn", ("2t", "z_500"), ("K", "m**2 s**-2"))
    assert forecast.attributes["licence"] == "CC" and forecast.attributes["seed"] == "3"
    assert np.array_equal(forecast.valid_time, time_step.advance(INIT[:, None], np.arange(1, 5)))


def test_many_cases_on_a_fine_mesh_share_no_chunk(tmp_path, monkeypatch):
    """A thousand cases of a million nodes would be a chunk of 4 GB, which HDF5 refuses."""
    values = values_of(GRID)
    write(tmp_path / "whole.nc", values)
    monkeypatch.setattr("emulator.data.forecast_netcdf.CHUNK_BYTES", 4 * 3 * GRID.num_nodes)
    write(tmp_path / "apart.nc", values)
    for name, cases in (("whole.nc", 2), ("apart.nc", 1)):
        with xr.open_dataset(tmp_path / name) as file:
            assert file["2t"].encoding["chunksizes"] == (cases, 3, 1, *GRID.shape)
    assert np.array_equal(read_forecast(tmp_path / "apart.nc").values, values)


@pytest.mark.parametrize("kind", list(MESHES))
def test_a_large_forecast_is_read_where_it_is_asked_for(tmp_path, monkeypatch, kind):
    mesh, time_step = MESHES[kind]
    now = read_forecast(write(tmp_path / "f.nc", values_of(mesh), mesh, time_step))
    assert isinstance(read_forecast(tmp_path / "f.nc", later=True).values, np.ndarray), "small ones are read at once"
    monkeypatch.setattr("emulator.data.forecast_netcdf.STREAMED_BYTES", 0)
    monkeypatch.setattr("emulator.data.forecast_values.LATER_BYTES", 1)
    with netCDF4.Dataset(tmp_path / "f.nc", "a") as file:  # one of two variables has its initial values
        field = file.variables["2t"]
        start = file.createVariable("2t_initial", "f4", (*field.dimensions[:2], *field.dimensions[3:]))
        start[:] = np.asarray(field[:, :, 0]) - 1.0
    later = read_forecast(tmp_path / "f.nc", later=True)
    assert is_read_later(later.values) and is_read_later(later.initial)
    assert np.array_equal(np.asarray(later.values), now.values) and later.values.shape == now.values.shape
    assert np.array_equal(np.asarray(later.values[1:, :, 2:3][..., [1]]), now.values[1:, :, 2:3][..., [1]])
    assert np.array_equal(np.asarray(later.initial[..., 0]), now.values[:, :, 0, :, 0] - 1.0)
    assert np.isnan(np.asarray(later.initial[..., 1:])).all(), "a variable without them"
    with_initial = read_forecast(tmp_path / "f.nc")
    assert np.array_equal(np.asarray(later.initial), with_initial.initial, equal_nan=True)


def test_xarray_sees_cf_times_and_names(tmp_path):
    write(tmp_path / "f.nc", values_of(GRID))
    with xr.open_dataset(tmp_path / "f.nc", decode_timedelta=True) as file:
        assert file.attrs["Conventions"] == "CF-1.11" and {"title", "institution", "source", "history"} <= set(
            file.attrs
        )
        assert file["2t"].dims == ("case", "member", "lead_time", "latitude", "longitude")
        assert file["2t"].attrs["standard_name"] == "air_temperature"
        assert np.array_equal((file.init_time + file.lead_time).values, file.valid_time.values)
        assert file.lead_time.values[0] == np.timedelta64(1, "h")
        assert np.all(np.diff(file.longitude) > 0) and file.longitude.values[0] == -10.0


def test_a_broken_off_forecast_goes_on_bit_for_bit(tmp_path):
    """The file is what lies on the disk while the writer has it open, as a killed process leaves it."""
    values = values_of(GRID)
    killed = start(tmp_path / "killed.nc")
    for lead in range(3):
        killed.append(values[:, :, lead])
    shutil.copy(partial_file(tmp_path / "killed.nc"), partial_file(tmp_path / "f.nc"))
    killed.close()
    assert not (tmp_path / "f.nc").exists() and partial_file(tmp_path / "f.nc").exists()
    with pytest.raises(MeshcastError, match="not complete"):
        read_forecast(tmp_path / "f.nc")
    with partial_file(tmp_path / "f.nc").open("ab") as file:
        file.write(b"a lead cut short")
    writer = ForecastWriter.resume(tmp_path / "f.nc")
    assert writer.leads_done == 3 and np.array_equal(writer.leads(1, 3), values[:, :, 1:3])
    writer.append(values[:, :, 3])
    forecast = read_forecast(writer.finish({"stops": "[]"}))
    assert np.array_equal(forecast.values, values) and forecast.attributes["stops"] == "[]"
    assert not partial_file(tmp_path / "f.nc").exists()


@pytest.mark.parametrize("damage", ["zeros", "cut short", "flipped bit", "moved"])
def test_a_lead_that_a_power_cut_left_unwritten_is_computed_again(tmp_path, damage):
    """The system may have given the file its length before the disk had its values."""
    values = values_of(GRID)
    writer = start(tmp_path / "f.nc")
    for lead in range(4):
        writer.append(values[:, :, lead])
    writer.close()
    partial = partial_file(tmp_path / "f.nc")
    content, size = bytearray(partial.read_bytes()), values[:, :, 0].nbytes + 4
    third = len(content) - 2 * size
    if damage == "zeros":
        content[third:] = bytes(2 * size)
    elif damage == "cut short":
        del content[third + size - 1 :]
    elif damage == "flipped bit":
        content[third + 5] ^= 1
    else:
        content[third : third + size] = content[third - size : third]
    partial.write_bytes(content)
    writer = ForecastWriter.resume(tmp_path / "f.nc")
    assert writer.leads_done == 2 and np.array_equal(writer.leads(0, 2), values[:, :, :2])
    for lead in (2, 3):
        writer.append(values[:, :, lead])
    assert np.array_equal(read_forecast(writer.finish()).values, values)


def test_what_was_appended_is_on_the_disk_after_some_seconds(tmp_path, monkeypatch):
    now, synced = [0.0], []
    monkeypatch.setattr("emulator.data.forecast_file.time.monotonic", lambda: now[0])
    writer, values = start(tmp_path / "f.nc"), values_of(GRID)
    monkeypatch.setattr("emulator.data.forecast_file.sync", lambda path: synced.append((path, writer.leads_done)))
    for lead, moment in enumerate((0.0, 4.0, 6.0, 7.0)):
        now[0] = moment
        writer.append(values[:, :, lead])
    writer.close()
    assert synced == [(partial_file(tmp_path / "f.nc"), 3)]


def test_resuming_asks_for_the_same_forecast(tmp_path):
    path, values = tmp_path / "f.nc", values_of(GRID)
    same = ForecastHeading(
        "gnn", GRID, TimeStep(3600), ("2t", "z_500"), ("K", "m**2 s**-2"), INIT, np.array([-1, -1]), 3,
        {"licence": "CC", "seed": "3"},
    )  # fmt: skip
    writer = ForecastWriter.start_or_resume(path, same)
    writer.append(values[:, :, 0])
    writer.close()
    with pytest.raises(MeshcastError, match=r"another forecast: its init_time, seed differ"):
        ForecastWriter.start_or_resume(path, replace(same, init_time=INIT + 3600, attributes={"seed": "4"}))
    writer = ForecastWriter.start_or_resume(path, same)
    assert writer.leads_done == 1
    writer.close()
    partial_file(path).write_bytes(b"something else")
    with pytest.raises(MeshcastError, match="cannot be read"):
        ForecastWriter.start_or_resume(path, same)


def test_a_partial_file_of_an_earlier_version_goes_on(tmp_path):
    """Its header knows neither an output choice nor steps between outputs."""
    writer = start(tmp_path / "f.nc")
    heading, values = writer.heading, values_of(GRID)
    writer.append(values[:, :, 0])
    writer.close()
    content = partial_file(tmp_path / "f.nc").read_bytes()
    assert b', "every": 1' in content
    partial_file(tmp_path / "f.nc").write_bytes(content.replace(b', "every": 1', b""))
    writer = ForecastWriter.start_or_resume(tmp_path / "f.nc", heading)
    assert writer.leads_done == 1
    writer.append(values[:, :, 1])
    assert np.array_equal(read_forecast(writer.finish()).values, values[:, :, :2])


def test_a_partial_file_that_does_not_state_its_precision_is_in_float32(tmp_path):
    path = tmp_path / "f.nc"
    writer = start(path)
    heading = writer.heading
    writer.append(values_of(GRID)[:, :, 0])
    writer.close()

    def stating(precision):
        return replace(heading, attributes={**heading.attributes, "precision": precision})

    with pytest.raises(MeshcastError, match="another forecast: its precision differ"):
        ForecastWriter.start_or_resume(path, stating("bfloat16"))
    writer = ForecastWriter.start_or_resume(path, stating("float32"))
    assert writer.leads_done == 1
    writer.append(values_of(GRID)[:, :, 1])
    writer.finish()
    assert differences(path, stating("float32"), 2) == []
    assert differences(path, stating("bfloat16"), 2) == ["precision"]


def test_output_that_exists_or_cannot_be_written_is_refused(tmp_path):
    write(tmp_path / "f.nc", values_of(GRID))
    with pytest.raises(MeshcastError, match="exists"):
        start(tmp_path / "f.nc")
    start(tmp_path / "f.nc", overwrite=True).close()
    assert len(read_forecast(tmp_path / "f.nc").lead_steps) == 4  # untouched until the new one is complete
    (tmp_path / "file").write_text("")
    with pytest.raises(MeshcastError, match=r"Cannot write .*file/f\.nc"):
        start(tmp_path / "file" / "f.nc")
    with pytest.raises(MeshcastError, match="folder"):
        start(tmp_path)


@pytest.mark.parametrize("name", ["a/b", "/x", "..", " 2t", "t\x1b[31m", ""])
def test_a_name_that_netcdf_cannot_hold_is_refused_before_the_first_step(tmp_path, name):
    with pytest.raises(MeshcastError, match="NetCDF takes no slash"):
        start(tmp_path / "f.nc", variables=(name, "z_500"))
    assert list(tmp_path.iterdir()) == []


def test_a_link_planted_at_the_partial_file_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    partial_file(tmp_path / "f.nc").symlink_to(victim)
    with pytest.raises(MeshcastError, match="cannot be read"):
        ForecastWriter.resume(tmp_path / "f.nc")
    start(tmp_path / "f.nc", overwrite=True).close()
    assert victim.read_text() == "untouched" and not partial_file(tmp_path / "f.nc").is_symlink()


@pytest.mark.parametrize("leads_that_fit", [0, 3])
def test_a_full_disk_is_said_and_whole_leads_are_kept(tmp_path, leads_that_fit):
    mesh = latlon(np.linspace(60, -60, 40), np.arange(0.0, 360.0, 6.0))
    lead = np.ones((2, 3, mesh.num_nodes, 2), np.float32)
    room = leads_that_fit * lead.nbytes + (100_000 if leads_that_fit else 100)
    with no_file_beyond(room), pytest.raises(MeshcastError, match=r"Cannot write .*disk is full"):
        writer = start(tmp_path / "f.nc", mesh)
        for _ in range(20):
            writer.append(lead)
    assert partial_file(tmp_path / "f.nc").exists() == (leads_that_fit > 0)
    if leads_that_fit:
        writer = ForecastWriter.resume(tmp_path / "f.nc")
        assert writer.leads_done == leads_that_fit and np.all(writer.leads(0, writer.leads_done) == 1)
        writer.close()


def foreign(tmp_path, **renamed: str) -> np.ndarray:
    values = np.random.default_rng(2).normal(280, 9, (2, 3, 4, 3, 5)).astype(np.float32)
    coordinates = {
        "init_time": INIT.astype("M8[s]").astype("M8[ns]"), "lead": np.array([0, 6, 12], "m8[h]").astype("m8[ns]"),
        "member": [1, 2, 3, 4], "lat": [56.0, 57.0, 58.0], "lon": np.arange(-10.0, 5.0, 3.0),
    }  # fmt: skip
    dims = ("init_time", "lead", "member", "lat", "lon")
    array = xr.DataArray(values, coordinates, dims, attrs={"units": "K"})
    array.rename(renamed).to_dataset(name="t2m").to_netcdf(tmp_path / "foreign.nc")
    return values


@pytest.mark.parametrize(
    "renamed",
    [
        {"init_time": "time", "lead": "prediction_timedelta", "member": "number", "lat": "latitude"},
        {"init_time": "time", "lead": "step", "member": "realization"},
        {"init_time": "forecast_reference_time", "lead": "lead_time", "member": "ensemble"},
        {"init_time": "initialization_time", "lead": "forecast_period"},
    ],
)  # fmt: skip
def test_other_centres_names_are_understood(tmp_path, renamed):
    values = foreign(tmp_path, **renamed)
    forecast = read_forecast(tmp_path / "foreign.nc")
    assert forecast.variables == ("2t",) and forecast.time_step == TimeStep(6 * 3600)
    assert forecast.lead_steps.tolist() == [1, 2]  # the analysis is no forecast
    assert np.array_equal(forecast.init_time, INIT)
    north_first = values[:, 1:, :, ::-1].transpose(0, 2, 1, 3, 4).reshape(2, 4, 2, 15)
    assert np.array_equal(forecast.values[..., 0], north_first)
    assert forecast.mesh.latitudes[0] == pytest.approx(58.0)


def test_one_run_over_valid_time_is_a_forecast(tmp_path):
    times = INIT[0].astype("M8[s]").astype("M8[ns]") + np.timedelta64(6, "h") * np.arange(1, 4)
    values = np.random.default_rng(2).normal(size=(3, 3, 5)).astype(np.float32)
    reference = INIT[0].astype("M8[s]").astype("M8[ns]")
    coordinates = {
        "time": times, "lat": [58.0, 57.0, 56.0], "lon": np.arange(5.0), "forecast_reference_time": reference
    }  # fmt: skip
    file = xr.DataArray(values, coordinates, ("time", "lat", "lon"), attrs={"units": "K"}).to_dataset(name="t2m")
    file.to_netcdf(tmp_path / "run.nc")
    forecast = read_forecast(tmp_path / "run.nc")
    assert forecast.init_time.tolist() == [INIT[0]] and forecast.lead_steps.tolist() == [1, 2, 3]
    assert np.array_equal(forecast.values[0, 0, :, :, 0], values.reshape(3, 15))
    file.drop_vars("forecast_reference_time").to_netcdf(tmp_path / "analysis.nc")
    with pytest.raises(MeshcastError, match="does not say which times are initial"):
        read_forecast(tmp_path / "analysis.nc")


def test_what_is_no_forecast_is_refused(tmp_path):
    (tmp_path / "note.nc").write_text("not a forecast")
    with pytest.raises(MeshcastError, match="neither GRIB nor NetCDF"):
        read_forecast(tmp_path / "note.nc")
    whole = write(tmp_path / "f.nc", values_of(GRID)).read_bytes()
    (tmp_path / "cut.nc").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MeshcastError, match="damaged or truncated"):
        read_forecast(tmp_path / "cut.nc")


@pytest.mark.parametrize(
    "change",
    [
        {"num_members": 0}, {"num_members": -1}, {"num_members": 10**12}, {"num_members": "x"}, {"num_members": 1.5},
        {"variables": []}, {"variables": [1, 2]}, {"units": []}, {"init_time": 0}, {"init_time": []},
        {"trajectory": [1]}, {"positions": [10**9, 3]}, {"positions": [-1, -3]}, {"attributes": 3}, {"name": None},
        {"mesh": "[]"}, {"threads": 2.5}, {"threads": 0}, {"threads": -1}, {"threads": 10**9}, {"every": 0},
        {"attributes": {"seed": 1}}, {"attributes": {"parts_of_a_step": "0"}}, {"attributes": {"parts_of_a_step": "x"}},
    ],
)  # fmt: skip
def test_a_partial_file_whose_header_cannot_be_is_refused_and_left_as_it_is(tmp_path, change):
    magic, header, rest = OLD_PARTIAL.read_bytes().split(b"\n", 2)
    content = json.dumps({**json.loads(header), **change}).encode()
    hostile = b"\n".join([magic, content, rest])
    (tmp_path / "f.nc.part").write_bytes(hostile)
    with pytest.raises(MeshcastError, match=r"The partial forecast .*f\.nc\.part cannot be read"):
        ForecastWriter.resume(tmp_path / "f.nc")
    assert (tmp_path / "f.nc.part").read_bytes() == hostile


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("lead_step", [1, 2, 2, 4], "must rise from 1 on"),
        ("lead_step", [0, 1, 2, 3], "must rise from 1 on"),
        ("lead_step", [4, 3, 2, 1], "must rise from 1 on"),
        ("init_time", [INIT[0], INIT[0]], "two of its cases"),
    ],
)
def test_lead_times_and_cases_that_stand_twice_or_backwards_are_refused(tmp_path, name, values, words):
    path = write(tmp_path / "f.nc", values_of(GRID))
    with xr.open_dataset(path, decode_times=False) as file:
        file = file.load()
    file[name].values[:] = values
    file.to_netcdf(tmp_path / "changed.nc")
    with pytest.raises(MeshcastError, match=words):
        read_forecast(tmp_path / "changed.nc")
