"""Simulated climates: their pathways, their dataset, and that the solver continues it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emulator.data.forcing_sources import forcings_of
from emulator.data.sources import open_fields
from emulator.data.starts import states_at
from emulator.foundation.time_step import TimeStep
from emulator.physics.climate_simulation import ClimateSimulationConfig, climate_arrays, pathways
from emulator.physics.energy_balance_config import EnergyBalanceConfig
from emulator.physics.energy_balance_solver import EnergyBalanceSolver
from emulator.physics.forcing_pathways import RandomPathways
from emulator.physics.simulate import simulate, simulation_of
from emulator.protocol import rollout
from graphs.errors import MeshcastError
from graphs.meshes.icosphere import IcosphereMesh

TINY = ClimateSimulationConfig(
    equation=EnergyBalanceConfig(truncation=3), mesh=IcosphereMesh(level=1), num_trajectories=3, num_frames=5
)


def test_pathways_begin_where_they_should_stay_within_their_bounds_and_differ() -> None:
    config = replace(TINY, num_trajectories=20, num_frames=251, pathways=RandomPathways(eruptions=0.0, from_zero=1.0))
    anywhere = pathways(replace(config, pathways=RandomPathways(eruptions=0.0))).values[0, :, 0]
    assert 5 < (anywhere == 0).sum() < 15 and anywhere.max() > 3
    forcing = pathways(config).values[..., 0]
    assert (forcing[0] == 0).all() and forcing.min() >= -1 and 5 < forcing.max() <= 9
    assert np.abs(np.diff(forcing[::50], axis=0)).max() <= 4
    assert len({round(value, 6) for value in forcing[-1]}) == 20
    assert (np.diff(forcing, axis=0).min(axis=0) < -0.01).any()  # some go beyond their end and come back
    erupting = pathways(replace(config, pathways=RandomPathways(from_zero=1.0))).values[..., 0]
    assert np.diff(erupting, axis=0).min() < -1 and (erupting <= forcing + 1e-12).all()


def test_a_trajectory_does_not_depend_on_the_others() -> None:
    few, more = pathways(TINY), pathways(replace(TINY, num_trajectories=5))
    assert (few.values == more.values[:, :3]).all()
    frames = climate_arrays(TINY, few)
    np.testing.assert_allclose(climate_arrays(replace(TINY, num_trajectories=5), more)[:3], frames, atol=1e-4)


def test_the_dataset_holds_each_trajectory_with_its_forcing_and_the_solver_goes_on_from_it(tmp_path: Path) -> None:
    path = simulate(TINY, tmp_path / "climate.zarr")
    fields = open_fields(str(path))
    assert fields.variables == ("deep_ocean_temperature", "tas") and fields.time_step == TimeStep.parse("1 year")
    assert str(fields.times[1].astype("datetime64[s]")) == "1851-01-01T00:00:00"
    assert simulation_of(fields.attributes) == TINY
    solver = EnergyBalanceSolver(TINY.equation, fields.time_step, fields.mesh)
    initial = states_at(fields, solver.task, fields.times[[0, 0, 0]], np.arange(3))
    forecast = list(rollout(solver, initial.state, forcings_of(solver.task, solver.mesh, fields), 4))
    truth = fields.read(slice(1, 5), solver.task.prognostic)
    for step, (state, _) in enumerate(forecast):
        np.testing.assert_allclose(state.now[:, 0].numpy(), truth[step], atol=2e-3)
    assert np.abs(truth[-1] - truth[0]).max() > 0.05


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"time_step": "6h"}, "must not be shorter than equation.longest_step"),
        ({"start_date": "never"}, "start_date must be a date"),
        ({"num_frames": 1}, "num_frames >= 2"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(MeshcastError, match=said):
        replace(TINY, **wrong)  # type: ignore[arg-type]
    with pytest.raises(MeshcastError, match="from_zero is a share"):
        RandomPathways(from_zero=1.5)
    with pytest.raises(MeshcastError, match="begin at zero"):
        RandomPathways(lowest=1.0)
    with pytest.raises(MeshcastError, match="knots, change and fading > 0"):
        RandomPathways(knots=0.0)
