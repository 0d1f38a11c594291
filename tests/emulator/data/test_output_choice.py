"""A forecast of which a part is written: the same numbers, at fewer times, of fewer variables, in a smaller area."""

from __future__ import annotations

import json
from pathlib import Path

import netCDF4
import numpy as np
import pytest

from emulator.data.forecast_file import ForecastWriter, read_forecast
from emulator.data.forecast_netcdf import ForecastHeading
from emulator.data.forecast_zarr import is_zarr_forecast, write_zarr
from emulator.data.output_choice import OutputChoice, area_of
from emulator.foundation.time_step import TimeStep
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from graphs.meshes.icosphere import icosphere
from graphs.meshes.latlon import latlon
from graphs.meshes.ring import ring

GLOBE = latlon(np.linspace(90, -90, 7), np.arange(0.0, 360.0, 30.0))
NAMES, UNITS = ("2t", "tp", "tprate"), ("K", "m", "kg m-2 s-1")
LEADS = np.random.default_rng(0).gamma(2.0, size=(6, 2, 1, GLOBE.num_nodes, 3)).astype(np.float32)


def heading(mesh: Mesh = GLOBE, choice: OutputChoice | None = None) -> ForecastHeading:
    whole = ForecastHeading(
        "gnn", mesh, TimeStep(3600), NAMES, UNITS, np.array([0, 86400]), np.array([-1, -1]), 1, {"seed": "0"}
    )
    return whole if choice is None else choice.carried_by(whole)


def written(path: Path, choice: OutputChoice | None = None, resumed: bool = False, mesh: Mesh = GLOBE) -> Path:
    writer = ForecastWriter(path, heading(mesh, choice))
    for lead in LEADS[:, :, :, : mesh.num_nodes]:
        if resumed and writer.leads_done == 4:
            writer.close()
            writer = ForecastWriter.start_or_resume(path, heading(mesh, choice))
        writer.append(lead)
    return writer.finish(initial=LEADS[0][:, :, : mesh.num_nodes] * [1, 1, np.nan])


@pytest.mark.parametrize("resumed", [False, True])
def test_what_is_chosen_is_written_and_amounts_are_summed_between_outputs(tmp_path: Path, resumed: bool) -> None:
    choice = OutputChoice(every=3, variables=("tp", "2t"), area=(60, -60, 0, 30), accumulate=("tp",))
    path = written(tmp_path / "f.nc", choice, resumed)
    read = read_forecast(path)
    rows, columns = [1, 2, 3], [10, 11, 0, 1]
    inside = (np.array(rows)[:, None] * 12 + np.array(columns)).ravel()
    assert read.variables == ("tp", "2t") and read.units == ("m", "K") and read.lead_steps.tolist() == [3, 6]
    assert read.mesh.shape == (3, 4) and np.allclose(read.mesh.positions, GLOBE.positions[inside], atol=1e-9)
    assert read.mesh.areas.sum() == pytest.approx(1) and read.mesh.domain.kind == "limited_area"
    here = LEADS[:, :, :, inside]
    sums = [here[:3, ..., 1].astype(np.float64).sum(0), here[3:, ..., 1].astype(np.float64).sum(0)]
    assert np.array_equal(read.values[..., 0], np.stack(sums, axis=2).astype(np.float32))
    assert np.array_equal(read.values[..., 1], np.stack([here[2, ..., 0], here[5, ..., 0]], axis=2))
    assert np.array_equal(read.initial[..., 1], here[0, ..., 0]) and np.isnan(read.initial[..., 0]).all()
    assert json.loads(read.attributes["accumulated"]) == ["tp"]
    with netCDF4.Dataset(path) as file:
        assert (file["tp"].cell_methods, file["2t"].cell_methods) == ("lead_time: sum", "lead_time: point")
        assert file["lead_time_bounds"][:].tolist() == [[0, 3], [3, 6]] and file["lead_time"].bounds
        assert file["valid_time"][0].tolist() == [3 * 3600, 6 * 3600] and "tp_initial" not in file.variables


def test_all_is_written_by_default_with_the_initial_values(tmp_path: Path) -> None:
    read = read_forecast(written(tmp_path / "f.nc"))
    assert np.array_equal(read.values, np.stack(list(LEADS), axis=2)) and "output_choice" not in read.attributes
    assert np.array_equal(read.initial[..., :2], LEADS[0][..., :2]) and np.isnan(read.initial[..., 2]).all()


def test_a_forecast_goes_on_with_the_choice_it_began_with_alone(tmp_path: Path) -> None:
    chosen = OutputChoice(every=2)
    for first, then in ((chosen, None), (None, chosen), (chosen, OutputChoice(every=3))):
        path = tmp_path / f"{first}-{then}.nc"
        ForecastWriter(path, heading(choice=first)).close()
        with pytest.raises(MeshcastError, match="its output_choice differ"):
            ForecastWriter.start_or_resume(path, heading(choice=then))


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (OutputChoice(variables=("2y",)), r"no variable 2y to be written; there are 2t, tp, tprate.*did you mean 2t"),
        (OutputChoice(variables=("2t", "2t")), "named twice"),
        (OutputChoice(variables=("2t",), accumulate=("tp",)), "no variable tp to be accumulated; there are 2t"),
        (OutputChoice(accumulate=("tprate",)), r"tprate is a rate \[kg m-2 s-1\]"),
        (OutputChoice(area=(50, 0, 60, 10)), "north, 50, must lie north of its south, 60"),
        (OutputChoice(area=(58, 2, 52, 8)), "holds 0 nodes .*--place LAT,LON"),
        (OutputChoice(area=(95, 0, 60, 10)), "latitudes lie in -90 to 90"),
    ],
)
def test_a_choice_that_cannot_be_written_is_refused_before_the_first_step(choice: OutputChoice, words: str) -> None:
    with pytest.raises(MeshcastError, match=words):
        heading(choice=choice)


def test_areas_of_any_mesh_keep_their_nodes_in_place() -> None:
    with pytest.raises(MeshcastError, match="part of the sphere, but this is a ring"):
        area_of(ring(8), (90, 0, -90, 10))
    part, nodes = area_of(icosphere(2), (90, 0, 20, 180))
    assert np.allclose(part.positions, icosphere(2).positions[nodes], atol=1e-7) and part.latitudes.min() > 20 - 1e-3
    band, nodes = area_of(GLOBE, (30, -180, -30, 180))
    assert band.shape == (3, 12) and np.allclose(band.positions, GLOBE.positions[nodes], atol=1e-9)
    whole, nodes = area_of(GLOBE, (90, 0, -90, 360))
    assert whole is GLOBE and nodes.tolist() == list(range(GLOBE.num_nodes))
    cap, _ = area_of(GLOBE, (90, 0, 60, 90))
    assert cap.shape == (2, 4), "a row on the pole has its columns, too"


def test_zarr_holds_what_netcdf_holds(tmp_path: Path) -> None:
    netcdf = written(tmp_path / "f.nc", OutputChoice(every=2, accumulate=("tp",)))
    first, second = read_forecast(netcdf), read_forecast(write_zarr(netcdf, tmp_path / "f.zarr"))
    assert np.array_equal(first.values, second.values) and np.array_equal(first.initial, second.initial, equal_nan=True)
    assert first.mesh.same_nodes(second.mesh) and np.array_equal(first.valid_time, second.valid_time)
    assert first.attributes == second.attributes and first.units == second.units
    write_zarr(netcdf, tmp_path / "f.zarr")  # one of ours is replaced
    (tmp_path / "mine.zarr").mkdir()
    (tmp_path / "mine.zarr/.zattrs").write_text("{}")
    with pytest.raises(MeshcastError, match="nothing that Meshcast wrote"):
        write_zarr(netcdf, tmp_path / "mine.zarr")
    with pytest.raises(MeshcastError, match="is no forecast"):
        read_forecast(tmp_path / "mine.zarr")
    assert not is_zarr_forecast(tmp_path / "nowhere.zarr")
    (tmp_path / "f.zarr/2t/.zarray").unlink()
    (tmp_path / "f.zarr/.zmetadata").unlink()
    with pytest.raises(MeshcastError, match="damaged"):
        read_forecast(tmp_path / "f.zarr")
