"""Simulated truth on the sphere, and the dataset that holds it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emulator.data.sources import open_fields
from emulator.foundation.configuration import dump
from emulator.physics.ground import Mountain
from emulator.physics.shallow_water import ShallowWaterConfig
from emulator.physics.simulate import SimulationConfig, load_simulation, mesh_of, simulate
from emulator.physics.sphere_simulation import (
    GaussianMesh,
    LatLonMesh,
    SphereSimulationConfig,
    sphere_arrays,
    sphere_mesh,
    sphere_solver,
    written_variables,
)
from emulator.physics.sphere_states import BalancedFlow
from emulator.physics.tracers import TracerBell
from graphs.errors import MeshcastError
from graphs.meshes.icosphere import IcosphereMesh

SMALL = SphereSimulationConfig(
    equation=ShallowWaterConfig(truncation=10),
    initial_states=BalancedFlow(degrees=(2, 5), max_wind=30.0),
    mesh=IcosphereMesh(level=2),
    num_trajectories=3,
    num_frames=4,
    warm_up=2,
    seed=5,
    title="small flows",
)


def test_the_warm_up_is_taken_before_the_first_frame_and_the_seed_decides() -> None:
    frames = sphere_arrays(SMALL)
    assert frames.shape == (3, 4, 162, 3) and frames.dtype == np.float32
    cold = sphere_arrays(replace(SMALL, warm_up=0, num_frames=6))
    assert np.array_equal(cold[:, 2:], frames)
    assert 28 < np.hypot(cold[:, 0, :, 1], cold[:, 0, :, 2]).max() < 30.01
    assert np.array_equal(sphere_arrays(SMALL), frames)
    assert not np.allclose(sphere_arrays(replace(SMALL, seed=6)), frames)


def test_neither_the_mesh_nor_the_number_of_trajectories_changes_the_truth() -> None:
    """The solver's own grid told as a second mesh holds the very states that the icosphere samples."""
    solver = sphere_solver(SMALL)
    grid = solver.equation().transform
    fine = replace(
        SMALL,
        mesh=GaussianMesh(num_latitudes=grid.num_latitudes, num_longitudes=grid.num_longitudes),
        num_trajectories=2,
    )
    from_north = sphere_arrays(fine).reshape(2, 4, grid.num_latitudes, grid.num_longitudes, 3)
    values = torch.from_numpy(np.ascontiguousarray(from_north[:, :, ::-1]).reshape(8, -1, 3)).double()
    on_nodes = type(solver)(SMALL.equation, solver.task.time_step, sphere_mesh(SMALL.mesh))
    again = on_nodes.synthesis(solver.analysis(values)).reshape(2, 4, 162, 3).numpy()
    assert np.allclose(again, sphere_arrays(SMALL)[:2], atol=3e-3, rtol=0)  # float32 of 10 km


@pytest.mark.parametrize("poles", [True, False])
def test_a_regular_grid_has_wind_at_the_poles_too(poles: bool) -> None:
    """At a pole the wind is one vector, seen from every meridian."""
    mesh = LatLonMesh(num_latitudes=13, num_longitudes=12, poles=poles)
    frames = sphere_arrays(replace(SMALL, mesh=mesh, num_trajectories=1)).reshape(4, 13, 12, 3)
    meridian = 2 * np.pi * np.arange(12) / 12
    u, v = frames[:, 0, :, 1], frames[:, 0, :, 2]
    x, y = -u * np.sin(meridian) - v * np.cos(meridian), u * np.cos(meridian) - v * np.sin(meridian)
    spread = max(np.ptp(x, axis=1).max(), np.ptp(y, axis=1).max())
    assert (spread < 1e-3) == poles and np.hypot(x, y).max() > 0.1


def test_the_dataset_has_real_dates_units_and_its_recipe(tmp_path: Path) -> None:
    path = simulate(SMALL, tmp_path / "flows.zarr")
    fields = open_fields(str(path))
    assert fields.ensemble_axis == "trajectory" and fields.ensemble_size == 3
    assert dict(zip(fields.variables, fields.units, strict=True)) == {"h": "m", "u": "m s-1", "v": "m s-1"}
    assert str(fields.times.astype("datetime64[s]")[1]) == "2000-01-01T03:00:00" and str(fields.time_step) == "3h"
    assert fields.mesh.levels == (12, 42, 162)
    assert '"max_wind": 30.0' in fields.attributes["simulation"] and fields.attributes["licence"] == "CC0-1.0"
    values = fields.read(slice(None), ["h", "u", "v"])  # [time, trajectory, node, variable]
    assert np.array_equal(values.transpose(1, 0, 2, 3), sphere_arrays(SMALL))


def test_the_kind_tells_ring_and_sphere_apart(tmp_path: Path) -> None:
    dump(SMALL, tmp_path / "sphere.yaml")
    assert load_simulation(tmp_path / "sphere.yaml") == SMALL
    (tmp_path / "ring.yaml").write_text("equation: {kind: advection}\ntime_step: 0.1\n")
    ring = load_simulation(tmp_path / "ring.yaml", ["seed=3"])
    assert isinstance(ring, SimulationConfig) and mesh_of(ring).domain.kind == "ring"
    with pytest.raises(MeshcastError, match="kind is 'torus', but must be one of ring, sphere"):
        load_simulation(tmp_path / "ring.yaml", ["kind=torus"])


def test_a_solution_that_overflows_is_said_and_a_date_is_checked() -> None:
    wild = replace(SMALL.equation, longest_step=40_000.0, diffusion=None)
    fast = BalancedFlow(degrees=(2, 5), max_wind=2_000.0)
    with pytest.raises(MeshcastError, match=r"Shorten equation\.longest_step"):
        sphere_arrays(replace(SMALL, equation=wild, initial_states=fast, time_step="12h", num_frames=200))
    with pytest.raises(MeshcastError, match="start_date must be a date"):
        replace(SMALL, start_date="tomorrow")


def test_tracers_and_the_ground_are_written_beside_the_flow() -> None:
    mountain = replace(SMALL.equation, mountains=(Mountain(height=1_500.0, radius=40.0, shape="bell"),))
    config = replace(SMALL, equation=mountain, tracers=(TracerBell("q", latitude=45.0),))
    assert [variable.name for variable in written_variables(config)] == ["h", "u", "v", "q", "orography"]
    frames = sphere_arrays(config)
    q, orography = frames[..., 3], frames[..., 4]
    assert q.min() == 0 and 0.5 < q.max() <= 1.05 and not np.array_equal(q[:, 0], q[:, -1])
    assert np.ptp(orography, axis=(0, 1)).max() == 0 and 1_200 < orography.max() < 1_600
