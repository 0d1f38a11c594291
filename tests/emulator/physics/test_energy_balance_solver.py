"""The energy balance under the emulators' protocol."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from emulator.foundation.time_step import TimeStep, to_seconds
from emulator.physics.energy_balance_config import EnergyBalanceConfig
from emulator.physics.energy_balance_solver import EnergyBalanceSolver
from emulator.protocol import Emulator
from emulator.state import State
from graphs.errors import MeshcastError
from graphs.meshes.icosphere import icosphere

SMALL = EnergyBalanceConfig(truncation=6)
NEW_YEAR = to_seconds(np.array(["2015-01-01"], "datetime64[s]"))


def forced(solver: EnergyBalanceSolver, *values: float) -> torch.Tensor:
    column = torch.tensor(values, dtype=torch.float64)[None, :, None, None]
    return column.expand(1, -1, solver.mesh.num_nodes, 1)


def stepped(solver: EnergyBalanceSolver, state: State, forcing: list[float]) -> State:
    for now, later in pairwise(forcing):
        state, _ = solver.step(state, forced(solver, now, later))
    return state


@pytest.mark.parametrize("mesh", [None, icosphere(2)])
def test_a_year_is_twelve_months_under_the_same_forcing(mesh: object) -> None:
    yearly, monthly = (EnergyBalanceSolver(SMALL, TimeStep.parse(step), mesh) for step in ("1 year", "1 month"))  # type: ignore[arg-type]
    assert isinstance(yearly, Emulator)
    start = yearly.equilibrium(NEW_YEAR)
    once = stepped(yearly, start, [1.0, 4.0])
    often = stepped(monthly, start, [1.0 + 3 * month / 12 for month in range(13)])
    assert (once.valid_time == often.valid_time).all() and once.values.shape == start.values.shape
    assert torch.allclose(once.values, often.values, atol=1e-8, rtol=0)
    assert (once.values - start.values).abs().max() > 0.1


def test_without_forcing_the_climate_stays_at_its_mean() -> None:
    solver = EnergyBalanceSolver(SMALL, TimeStep.parse("1 year"))
    start = solver.equilibrium(NEW_YEAR)
    later = stepped(solver, start, [0.0] * 4)
    assert torch.allclose(later.values, start.values, atol=1e-8, rtol=0)
    mean = start.values[0, 0, 0, :, 0] @ torch.from_numpy(solver.mesh.areas)
    assert mean.item() == pytest.approx(SMALL.mean_temperature)


def test_a_forcing_of_one_hemisphere_warms_it_more() -> None:
    solver = EnergyBalanceSolver(SMALL, TimeStep.parse("1 year"))
    north = torch.from_numpy((solver.mesh.latitudes > 0).astype(np.float64))
    start = solver.equilibrium(np.repeat(NEW_YEAR, 2))
    field = torch.stack([4 * north, 0 * north])[:, None, :, None].expand(-1, 2, -1, -1)
    later, _ = solver.step(start, field)
    change = (later.values - start.values)[:, 0, 0, :, 0]
    assert change[0][north > 0].mean() > 3 * change[0][north == 0].mean() > 0
    assert change[1].abs().max() < 1e-8  # the other row is left alone


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(MeshcastError, match="1 month or 1 year"):
        EnergyBalanceSolver(SMALL, TimeStep(1, true_length=0.5))
    with pytest.raises(MeshcastError, match="truncation of at most 5"):
        EnergyBalanceSolver(replace(SMALL, truncation=7), TimeStep.parse("1 year"), icosphere(1))
