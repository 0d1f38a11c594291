"""The shallow-water solver as an emulator."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emulator.foundation.time_step import TimeStep
from emulator.physics.shallow_water import ShallowWaterConfig
from emulator.physics.sphere_solver import SphereSolver, sampled
from emulator.protocol import Emulator
from emulator.state import State
from graphs.errors import MeshcastError
from graphs.harmonics.basis import Degrees
from graphs.harmonics.nodes import Evaluation
from graphs.meshes.icosphere import icosphere

THREE_HOURS = TimeStep(10_800)
T10 = ShallowWaterConfig(truncation=10)


def a_balanced_start(solver: SphereSolver, count: int = 2, highest: int = 5) -> torch.Tensor:
    """A spectral state of degrees up to `highest`, winds of some 20 m/s."""
    degree = Degrees(solver.config.truncation).degree
    size = solver.config.truncation + 1
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(size, size, count, dtype=torch.complex128, generator=generator)
    draws[0] = draws[0].real.to(draws)
    kept = torch.as_tensor((degree > 1) & (degree <= highest))[..., None]
    return solver.equation().balanced(3e-6 * draws * kept)


def as_state(solver: SphereSolver, spectral: torch.Tensor) -> State:
    values = solver.synthesis(spectral)
    return State(values[:, None, None], np.arange(len(values), dtype=np.int64))


def rolled(solver: SphereSolver, state: State, steps: int) -> State:
    for _ in range(steps):
        state, _ = solver.step(state)
    return state


@pytest.mark.parametrize("level", [None, 2])
def test_two_steps_then_three_equal_five(level: int | None) -> None:
    """On its own grid and on an icosphere's 162 nodes alike, and one step is what the equation advances."""
    solver = SphereSolver(T10, THREE_HOURS, None if level is None else icosphere(level))
    assert isinstance(solver, Emulator)
    spectral = a_balanced_start(solver)
    start = as_state(solver, spectral)
    five = rolled(solver, start, 5)
    again = rolled(solver, State(rolled(solver, start, 2).values, start.valid_time + 2 * 10_800), 3)
    assert (five.values - again.values).abs().max() < 1e-9
    assert np.array_equal(five.valid_time, again.valid_time) and np.array_equal(five.valid_time, [54_000, 54_001])
    whole = solver.synthesis(solver.equation().advance(spectral, 5 * 10_800.0))
    assert (five.now[:, 0] - whole).abs().max() < 1e-7
    assert (five.now - start.now).abs().amax(dim=(0, 1, 2)).min() > 5, "it must have moved"


def test_mass_is_kept() -> None:
    solver = SphereSolver(T10, THREE_HOURS)
    start = as_state(solver, a_balanced_start(solver))
    areas = torch.from_numpy(solver.mesh.areas)
    mass = [(state.now[..., 0] @ areas) for state in (start, rolled(solver, start, 20))]
    assert ((mass[1] - mass[0]) / mass[0]).abs().max() < 1e-12


def test_members_and_rows_do_not_hear_each_other() -> None:
    solver = SphereSolver(T10, THREE_HOURS)
    values = solver.synthesis(a_balanced_start(solver, 4))
    together = State(values.reshape(2, 2, 1, *values.shape[1:]), np.zeros(2, np.int64))
    alone = State(values[3:4, None, None], np.zeros(1, np.int64))
    difference = solver.step(together)[0].now[1, 1] - solver.step(alone)[0].now[0, 0]
    assert difference.abs().max() < 1e-9


def test_an_icosphere_tells_the_coefficients_and_is_told_the_values() -> None:
    """Analysis at the nodes inverts summing there, and both agree with the solver's own grid."""
    on_grid, on_nodes = SphereSolver(T10, THREE_HOURS), SphereSolver(T10, THREE_HOURS, icosphere(2))
    spectral = a_balanced_start(on_grid)
    values = on_nodes.synthesis(spectral)
    assert values.shape == (2, 162, 3)
    assert (on_nodes.analysis(values)[0] - spectral[0]).abs().max() < 1e-12 * spectral[0].abs().max()
    summed = sampled(spectral, Evaluation(on_grid.mesh, 10), on_grid.equation())
    assert (summed - on_grid.synthesis(spectral)).abs().max() < 1e-9


def test_a_mesh_too_coarse_and_a_calendar_step_are_refused() -> None:
    with pytest.raises(MeshcastError, match=r"T15 .*256 .*162 nodes"):
        SphereSolver(ShallowWaterConfig(truncation=15), THREE_HOURS, icosphere(2))
    with pytest.raises(MeshcastError, match="fixed length such as 3h, not 1 month"):
        SphereSolver(T10, TimeStep(1, "month"))
