"""Boundaries out of datasets and forecasts: placed, in time, and refused where they do not reach."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from emulator.boundary import BoundaryForcings
from emulator.data.arrays import ArrayFields
from emulator.data.boundary_sources import boundary_forcings
from emulator.data.forecast import Forecast
from emulator.data.forecast_file import ForecastWriter, read_forecast
from emulator.data.forecast_netcdf import ForecastHeading
from emulator.data.sources import forecast_on_area
from emulator.forcings import Forcings
from emulator.foundation.time_step import TimeStep
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from graphs.meshes.icosphere import icosphere
from graphs.meshes.latlon import latlon
from tests.emulator.test_boundary import WIND, globe, windowed
from tests.emulator.worlds import starting_from

GLOBE = globe(times=12)
AREA = windowed(GLOBE)
NODES = np.flatnonzero(AREA.mesh.boundary)


def given(source, row: int = 1, steps: int = 4, first: int = 0) -> tuple[BoundaryForcings, list[str]]:
    state = starting_from(AREA, WIND, [first], row=row)
    return boundary_forcings(Forcings(), source, WIND, AREA.mesh, state, np.array([row]), steps)


def every(fields: ArrayFields, step: int) -> ArrayFields:
    """The same fields, every so many hours."""
    keep = slice(None, None, step)
    return replace(
        fields, values=fields.values[keep], times=fields.times[keep], time_step=TimeStep(fields.time_step.count * step)
    )


def forecast_of(fields: ArrayFields, start: int, leads: int, name: str = "globe") -> Forecast:
    """A perfect forecast of both trajectories, from the start's time."""
    values = fields.values[start + 1 : start + 1 + leads].transpose(1, 0, 2, 3)[:, None]
    return Forecast(
        name, values.copy(), fields.variables, fields.units, fields.mesh, fields.time_step,
        np.full(2, fields.times[start]), np.arange(2), np.arange(1, leads + 1),
    )  # fmt: skip


def test_the_boundary_of_a_global_dataset_is_its_own_values_of_the_cases_trajectory() -> None:
    found, notices = given(GLOBE)
    for step in range(4):
        expected = AREA.values[2 + step, 1, NODES]
        assert np.array_equal(found.series[0].at(int(AREA.times[2 + step])), expected)
    assert notices == []


def test_a_forecast_gives_the_boundary_from_its_latest_case_that_had_begun() -> None:
    early, late = forecast_of(GLOBE, 0, 8), forecast_of(GLOBE, 1, 6)
    late = replace(late, values=late.values + 1.0)
    both = Forecast(
        "globe", np.concatenate([early.values[:, :, :6], late.values]), early.variables, early.units, early.mesh,
        early.time_step, np.r_[early.init_time, late.init_time], np.r_[early.trajectory, late.trajectory],
        late.lead_steps,
    )  # fmt: skip
    found, _ = given(both)  # now is the second time: history 2 from time 0
    assert np.array_equal(found.series[0].at(int(AREA.times[3])), AREA.values[3, 1, NODES] + np.float32(1.0))
    found, _ = given(early, steps=5)
    assert np.array_equal(found.series[0].at(int(AREA.times[3])), AREA.values[3, 1, NODES])


def test_a_coarser_boundary_is_linear_in_time_and_that_is_said() -> None:
    found, notices = given(every(GLOBE, 2))
    between = found.series[0].at(int(AREA.times[3]))
    np.testing.assert_allclose(between, (AREA.values[2, 1, NODES] + AREA.values[4, 1, NODES]) / 2, rtol=1e-5, atol=1e-5)
    assert np.array_equal(found.series[0].at(int(AREA.times[4])), AREA.values[4, 1, NODES])
    assert any("linearly in time" in notice and "6h" in notice for notice in notices)


def test_a_coarser_forecast_begins_with_the_state_both_start_from() -> None:
    coarse = forecast_of(every(replace(GLOBE, values=GLOBE.values[1:], times=GLOBE.times[1:]), 2), 0, 3)
    found, notices = given(coarse)
    expected = (AREA.values[1, 1, NODES] + AREA.values[3, 1, NODES]) / 2
    np.testing.assert_allclose(found.series[0].at(int(AREA.times[2])), expected, rtol=1e-5, atol=1e-5)
    assert notices


def test_a_boundary_on_other_nodes_is_interpolated_winds_as_vectors() -> None:
    def turning(mesh: Mesh) -> ArrayFields:
        """Solid rotation about the x axis, so that the wind blows across the pole."""
        latitude, longitude = np.radians(mesh.latitudes), np.radians(mesh.longitudes)
        u, v = -10 * np.sin(latitude) * np.cos(longitude), 10 * np.sin(longitude)
        values = np.stack([50 * np.sin(latitude), u, v], axis=-1)
        values = np.broadcast_to(values, (12, 2, mesh.num_nodes, 3)).astype(np.float32)
        return replace(GLOBE, values=values, mesh=mesh)

    grid = latlon(np.linspace(90, -90, 46), np.arange(0.0, 360.0, 4.0))
    truth = turning(AREA.mesh).values[0, 0, NODES]
    found, notices = given(turning(grid))
    np.testing.assert_allclose(found.series[0].values[0], truth, atol=0.1)
    assert any("remapped: bilinear" in notice for notice in notices)
    found, notices = given(turning(icosphere(3)))  # whose first nodes are those of level 2
    np.testing.assert_allclose(found.series[0].values[0], truth, atol=1e-5)
    assert notices == []


@pytest.mark.parametrize("leads", [1, 3])
def test_a_boundary_that_ends_too_early_is_refused_with_what_it_suffices_for(leads: int) -> None:
    with pytest.raises(MeshcastError, match=rf"ends too early.* or forecast {leads} steps? of 3h"):
        given(forecast_of(GLOBE, 1, leads))
    short = replace(GLOBE, values=GLOBE.values[: 2 + leads], times=GLOBE.times[: 2 + leads])
    with pytest.raises(MeshcastError, match=rf"ends too early.* or forecast {leads} steps? of 3h"):
        given(short)


def test_a_boundary_forecast_that_was_stopped_ends_where_it_was() -> None:
    stopped = forecast_of(GLOBE, 1, 6)
    stopped.values[1, :, 2:] = np.nan
    with pytest.raises(MeshcastError, match=r"ends too early.* or forecast 2 steps"):
        given(stopped)
    found, _ = given(stopped, row=0)
    assert len(found.series[0].times) >= 4


def test_a_missing_date_is_bridged_and_that_is_said() -> None:
    found, notices = given(replace(GLOBE, missing=frozenset({3})))
    np.testing.assert_allclose(
        found.series[0].at(int(AREA.times[3])), (AREA.values[2, 1, NODES] + AREA.values[4, 1, NODES]) / 2, atol=1e-4
    )
    assert any("linearly" in notice for notice in notices)


def test_units_are_converted_and_the_first_member_serves_all() -> None:
    kilometres = replace(
        GLOBE, values=GLOBE.values * np.float32([1e-3, 1, 1]), units=("km", "m/s", "m/s"), ensemble_axis="member"
    )
    found, notices = given(kilometres, row=0)
    np.testing.assert_allclose(found.series[0].at(int(AREA.times[2])), AREA.values[2, 0, NODES], rtol=1e-5)
    assert any("from km to m" in notice for notice in notices) and any("first of 2 members" in n for n in notices)


def test_what_cannot_be_the_boundary_is_refused() -> None:
    dry = replace(GLOBE, values=GLOBE.values[..., :1], variables=("h",), units=("K",))
    with pytest.raises(MeshcastError, match=r"in K.*lacks u.*lacks v"):
        given(dry)
    one = replace(GLOBE, values=GLOBE.values[:, :1])
    with pytest.raises(MeshcastError, match="no trajectory 1"):
        given(one)
    europe = latlon([70, 60, 50], [0, 10, 20])
    with pytest.raises(MeshcastError, match=r"The boundary, .*, does not surround the area: .* nodes lie beyond"):
        given(replace(GLOBE, mesh=europe, values=GLOBE.values[:, :, : europe.num_nodes]))
    later = replace(GLOBE, values=GLOBE.values[4:], times=GLOBE.times[4:])
    with pytest.raises(MeshcastError, match="begins too late"):
        given(later)
    with pytest.raises(MeshcastError, match="no case of trajectory 1 that began by"):
        given(forecast_of(GLOBE, 3, 6))
    own_time = replace(GLOBE, time_step=TimeStep(10800, "second", 1.0, "frame"))
    with pytest.raises(MeshcastError, match="different kinds of time"):
        given(own_time)
    state = starting_from(GLOBE, WIND, [0])
    with pytest.raises(MeshcastError, match="without a boundary"):
        boundary_forcings(Forcings(), GLOBE, replace(WIND, boundary=False), GLOBE.mesh, state, np.array([0]), 2)


def test_a_forecast_file_keeps_its_boundary_and_meets_forecasts_of_the_globe(tmp_path) -> None:
    made = forecast_of(AREA, 1, 2)
    heading = ForecastHeading(
        made.name, made.mesh, made.time_step, made.variables, made.units, made.init_time, made.trajectory, 1, {}
    )
    writer = ForecastWriter(tmp_path / "area.nc", heading)
    writer.append(made.values[:, :, 0])
    writer.close()
    writer = ForecastWriter.resume(tmp_path / "area.nc")
    assert np.array_equal(writer.heading.mesh.boundary, AREA.mesh.boundary)
    writer.append(made.values[:, :, 1])
    writer.finish()
    again = read_forecast(tmp_path / "area.nc")
    assert np.array_equal(again.mesh.boundary, AREA.mesh.boundary)
    cut = forecast_on_area(forecast_of(GLOBE, 1, 2), again.mesh)
    assert np.array_equal(cut.values, made.values)
    assert torch.equal(torch.from_numpy(again.values), torch.from_numpy(made.values))
