"""Series at places: the values of the nearest node, in a table and in NetCDF."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import pytest

from graphs.errors import MeshcastError
from graphs.meshes.icosphere import icosphere
from graphs.meshes.latlon import latlon
from graphs.meshes.ring import ring
from inference.forecasts.place_series import node_at, parse_place, refuse_series_file, write_series
from inference.pictures.field_views import central_node
from tests.inference.synthetic import isles_forecast, isles_truth, ring_forecast, ring_truth

TRUTH = isles_truth(days=1, rows=5, columns=7)  # every 2 degrees from 58 N, 10 W


def test_a_table_holds_the_nearest_nodes_from_the_initial_value_on(tmp_path: Path) -> None:
    forecast = isles_forecast(TRUTH, leads=3, every=12)
    forecast = replace(forecast, initial=TRUTH.values[[0, 12], 0][:, None])
    table = pd.read_csv(write_series(forecast, [(54.4, -3.9), (50, 358)], tmp_path / "s.csv"))
    assert list(table.columns) == [
        "init_time", "trajectory", "member", "lead_time [hours]", "valid_time", "latitude", "longitude", "2t [K]"
    ]  # fmt: skip
    assert len(table) == 2 * 4 * 2 and set(zip(table.latitude, table.longitude, strict=True)) == {(54, -4), (50, -2)}
    there = table[(table.latitude == 54) & (table.init_time == "2019-03-25T12:00:00")]
    assert there["lead_time [hours]"].tolist() == [0, 1, 2, 3] and there.valid_time.iloc[-1] == "2019-03-25T15:00:00"
    node = 2 * 7 + 3
    expected = [TRUTH.values[12, 0, node, 0], *forecast.values[1, 0, :, node, 0]]
    np.testing.assert_allclose(there["2t [K]"], expected, rtol=1e-6)


def test_netcdf_holds_them_at_their_lead_times(tmp_path: Path) -> None:
    forecast = replace(isles_forecast(TRUTH, leads=3, every=12), lead_steps=np.array([2, 4, 6]))
    with netCDF4.Dataset(write_series(forecast, [(54, -4)], tmp_path / "s.nc")) as file:
        assert file["2t"].dimensions == ("case", "member", "lead_time", "cell")
        assert file["lead_time"][:].tolist() == [2, 4, 6] and file["latitude"][:].tolist() == [54]
        assert np.array_equal(file["2t"][:, 0, :, 0], forecast.values[:, 0, :, 17, 0])


def test_a_place_on_a_ring_is_a_position(tmp_path: Path) -> None:
    forecast = ring_forecast(ring_truth(num_nodes=16, trajectories=1, times=7), leads=6)
    place = parse_place("0.26", forecast.mesh)
    assert node_at(forecast.mesh, place) == round(0.26 * 16 / forecast.mesh.domain.size)
    table = pd.read_csv(write_series(forecast, [place], tmp_path / "s.csv"))
    assert "position" in table and len(table) == 6


@pytest.mark.parametrize(
    ("text", "words"),
    [("91,0", "latitudes lie in -90 to 90"), ("48", "LAT,LON in degrees"), ("here", "LAT,LON"), ("nan,1", "LAT,LON")],
)
def test_what_is_no_place_is_refused(text: str, words: str) -> None:
    with pytest.raises(MeshcastError, match=words):
        parse_place(text, TRUTH.mesh)


def test_a_place_outside_an_area_is_refused_and_one_at_its_rim_is_not(tmp_path: Path) -> None:
    assert node_at(TRUTH.mesh, (58.6, -10.6)) == 0
    with pytest.raises(MeshcastError, match=r"48 N, 11 E lies outside this limited area .* km from its nearest node"):
        node_at(TRUTH.mesh, (48, 11))
    with pytest.raises(MeshcastError, match="position on the ring"):
        parse_place("48,11", ring(8))
    with pytest.raises(MeshcastError, match=r"table \(.csv\) or NetCDF \(.nc\)"):
        refuse_series_file(tmp_path / "s.txt", overwrite=True)


def test_the_place_of_a_picture_is_no_pole_and_no_land() -> None:
    for mesh in (latlon(np.linspace(90, -90, 19), np.arange(0.0, 360.0, 10.0)), icosphere(2)):
        node = central_node(mesh)
        assert abs(mesh.latitudes[node] - 45) < 10
        known = np.ones(mesh.num_nodes, dtype=bool)
        known[node] = False
        assert central_node(mesh, known) != node
