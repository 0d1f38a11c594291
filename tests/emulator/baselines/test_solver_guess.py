"""A coarse solver on the data's nodes, alone and as the first guess of a network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emulator.baselines.coarse_solver import CoarseSolver, CoarseSolverConfig
from emulator.baselines.first_guess import SolverGuess, SolverStep
from emulator.build import TrainedEmulator, load_emulator, save_emulator
from emulator.data.arrays import ArrayFields
from emulator.features.departures import DeparturesConfig
from emulator.features.inputs import Inputs
from emulator.forcings import ComputedForcings, Forcings
from emulator.foundation.time_step import TimeStep
from emulator.heating_cycle import HeatingCycle
from emulator.networks.gnn import GNNConfig
from emulator.neural import NeuralEmulator
from emulator.normalise import Statistics
from emulator.physics.shallow_water import ShallowWaterConfig
from emulator.physics.sphere_solver import SphereSolver, sampled
from emulator.protocol import rollout
from emulator.state import State
from emulator.task import Task, Variable
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from graphs.harmonics.basis import Degrees
from graphs.harmonics.nodes import Evaluation
from graphs.meshes.icosphere import icosphere
from tests.emulator.worlds import SMALL, fitted, starting_from

THREE_HOURS = TimeStep(10_800)
MESH = icosphere(2)
FLOW = Task(
    (
        Variable("u", "prognostic", "m s-1", partner="v"),
        Variable("v", "prognostic", "m s-1", partner="u"),
        Variable("h", "prognostic", "m"),  # first for the solver
    ),
    THREE_HOURS,
)
IN_ORDER = replace(FLOW, variables=(FLOW.variables[2], *FLOW.variables[:2]))
FINE = ShallowWaterConfig(truncation=9, diffusion=None)
COARSE = replace(FINE, truncation=6)


def flow(truncation: int, frames: int = 6, trajectories: int = 2) -> ArrayFields:
    """Balanced flow with degrees 2 to `truncation` at its start, at the nodes: h, u, v."""
    solver = SphereSolver(FINE, THREE_HOURS)
    size, degree = FINE.truncation + 1, Degrees(FINE.truncation).degree
    draws = torch.randn(size, size, trajectories, dtype=torch.complex128, generator=torch.Generator().manual_seed(1))
    draws[0] = draws[0].real.to(draws)
    kept = torch.as_tensor((degree > 1) & (degree <= truncation))[..., None]
    state, nodes, values = solver.equation().balanced(3e-6 * draws * kept), Evaluation(MESH, FINE.truncation), []
    for _ in range(frames):
        values.append(sampled(state, nodes, solver.equation()))  # [trajectory, node, variable]
        state = solver.equation().advance(state, 10_800.0)
    times = 10_800 * np.arange(frames, dtype=np.int64)
    array = torch.stack(values).numpy().astype(np.float32)
    return ArrayFields(array, ("h", "u", "v"), ("m", "m s-1", "m s-1"), MESH, THREE_HOURS, times)


def hybrid(seen: bool = True, equation: ShallowWaterConfig = COARSE) -> GNNConfig:
    return GNNConfig(processor=SMALL, first_guess=SolverGuess(equation=equation, seen=seen))


def run(emulator: NeuralEmulator | CoarseSolver, state: State, steps: int) -> list[State]:
    return [following for following, _ in rollout(emulator, state, Forcings(ComputedForcings(MESH)), steps)]


def relative(values: torch.Tensor, truth: torch.Tensor) -> float:
    return float((values - truth).norm() / (truth - truth.mean(dim=2, keepdim=True)).norm())


@pytest.mark.parametrize("task", [IN_ORDER, FLOW], ids=["h, u, v", "u, v, h"])
def test_a_solver_of_the_datas_own_truncation_repeats_them(task: Task) -> None:
    fields = flow(9)
    solver = CoarseSolverConfig(equation=FINE).fit(task, TrainingPart(fields))
    state = starting_from(fields, task, [0])
    for lead, following in enumerate(run(solver, state, 5), 1):
        truth = starting_from(fields, task, [lead]).now
        assert relative(following.now, truth) < 1e-5
        assert following.values.dtype == state.values.dtype
        assert following.valid_time[0] == 10_800 * lead


def test_a_coarser_solver_errs_more() -> None:
    fields, errors = flow(9), []
    state, truth = starting_from(fields, IN_ORDER, [0]), starting_from(fields, IN_ORDER, [4]).now
    for truncation in (4, 6, 8):
        config = CoarseSolverConfig(equation=replace(FINE, truncation=truncation))
        errors.append(relative(run(config.build(IN_ORDER, MESH), state, 4)[-1].now, truth))
    assert errors[0] > 1.2 * errors[1] > 1.4 * errors[2] > 0.01, errors


def test_a_coarse_solver_is_kept_in_a_checkpoint(tmp_path: Path) -> None:
    fields, config = flow(6), CoarseSolverConfig(equation=COARSE)
    solver = config.fit(FLOW, TrainingPart(fields))
    names = tuple(variable.name for variable in FLOW.predicted)
    save_emulator(tmp_path / "e.safetensors", TrainedEmulator("T6", solver, config, Statistics.of(fields, names)))
    back = load_emulator(tmp_path / "e.safetensors")
    assert back.config == config
    state = starting_from(fields, FLOW, [0])
    assert torch.equal(run(back.emulator, state, 2)[1].values, run(solver, state, 2)[1].values)


def test_what_is_not_shallow_water_is_refused() -> None:
    with pytest.raises(MeshcastError, match="depth h"):
        CoarseSolverConfig().build(Task((Variable("2t", "prognostic"),), THREE_HOURS), MESH)
    with pytest.raises(MeshcastError, match="depth h"):
        fitted(replace(FLOW, variables=FLOW.variables[2:]), flow(3), hybrid())
    with pytest.raises(MeshcastError, match="departures"):
        fitted(FLOW, flow(3), replace(hybrid(), departures=DeparturesConfig(period="none")))


# As a first guess -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [IN_ORDER, FLOW], ids=["h, u, v", "u, v, h"])
def test_within_the_truncation_the_guess_is_the_solver(task: Task) -> None:
    """Balanced flow of degree 1 to 2 makes degrees up to 4 in a step; T6 holds them all."""
    fields = flow(2)
    emulator = fitted(task, fields, hybrid(), zero=True)
    state = starting_from(fields, task, [0])
    solver = CoarseSolverConfig(equation=COARSE).build(task, MESH)
    following, expected = run(emulator, state, 1)[0].now, run(solver, state, 1)[0].now
    assert relative(following, expected) < 1e-5
    assert relative(state.now, expected) > 1e-2, "it must have moved"


def test_what_lies_beyond_the_truncation_persists_and_is_seen() -> None:
    fields = flow(9)
    emulator = fitted(IN_ORDER, fields, hybrid(), zero=True)
    guess = emulator.first_guess
    assert isinstance(guess, SolverStep)
    state = starting_from(fields, IN_ORDER, [0])
    features = emulator.inputs.features(state, torch.zeros(len(state.valid_time), 2, MESH.num_nodes, 0))
    following, seen = guess(features)
    change, rest = seen.tensor_split(2, dim=-1)
    torch.testing.assert_close(following, features[..., :3] + change)
    assert change.abs().max() > 0.05
    _, beyond = guess(following)
    torch.testing.assert_close(beyond[..., 3:], rest, atol=2e-4, rtol=0)
    assert rest.abs().max() > 0.05


@pytest.mark.parametrize("task", [FLOW, IN_ORDER])
def test_the_winds_among_what_is_seen_are_found_in_any_order_of_the_task(task: Task) -> None:
    east, north = task.prognostic.index("u"), task.prognostic.index("v")
    assert SolverStep(SolverGuess(equation=COARSE), Inputs(task, MESH), MESH).winds == [
        (east, north),
        (3 + east, 3 + north),
    ]


def test_a_guess_that_does_not_know_the_time_has_no_heating() -> None:
    with pytest.raises(MeshcastError, match="can have no heating"):
        SolverStep(SolverGuess(equation=replace(COARSE, heating=HeatingCycle())), Inputs(IN_ORDER, MESH), MESH)


def test_a_guess_may_see_the_surface_in_place_of_the_depth() -> None:
    """On flat ground the two differ by the mean depth alone, and so does what is forecast from them."""
    seen = []
    for surface in (False, True):
        fields = flow(9)
        if surface:
            values = fields.read(slice(None), fields.variables) - np.array([FINE.mean_depth, 0.0, 0.0], np.float32)
            fields = ArrayFields(values, fields.variables, fields.units, MESH, THREE_HOURS, fields.times)
        emulator = fitted(IN_ORDER, fields, hybrid(equation=replace(COARSE, surface=surface)), zero=True)
        assert isinstance(emulator.first_guess, SolverStep)
        state = starting_from(fields, IN_ORDER, [0])
        features = emulator.inputs.features(state, torch.zeros(len(state.valid_time), 2, MESH.num_nodes, 0))
        seen.append(emulator.first_guess(features)[1][..., :3])
    assert seen[0].abs().max() > 0.05
    torch.testing.assert_close(*seen, atol=1e-3, rtol=0)


def test_gradients_pass_through_the_solver_as_differences_say() -> None:
    fields = flow(9)
    emulator = fitted(IN_ORDER, fields, hybrid(equation=replace(COARSE, precision="float64")), zero=True)
    guess = emulator.first_guess.double()
    emulator.inputs.double()
    state = starting_from(fields, IN_ORDER, [0])
    features = emulator.inputs.features(state, torch.zeros(len(state.valid_time), 2, MESH.num_nodes, 0))
    generator = torch.Generator().manual_seed(2)
    direction = torch.randn(features.shape, dtype=torch.float64, generator=generator)
    weights = torch.randn(features.shape, dtype=torch.float64, generator=generator)
    features.requires_grad_(True)
    (gradient,) = torch.autograd.grad((guess(features)[0] * weights).sum(), features)
    with torch.no_grad():
        ahead, behind = ((guess(features + step * direction)[0] * weights).sum() for step in (1e-5, -1e-5))
    torch.testing.assert_close((gradient * direction).sum(), (ahead - behind) / 2e-5, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("seen", [True, False])
def test_a_hybrid_is_kept_in_a_checkpoint(tmp_path: Path, seen: bool) -> None:
    fields, config = flow(9), hybrid(seen)
    emulator = fitted(FLOW, fields, config)
    if isinstance(emulator.first_guess, SolverStep):
        emulator.first_guess.seen_std.fill_(0.1)
    names = tuple(variable.name for variable in FLOW.predicted)
    save_emulator(tmp_path / "e.safetensors", TrainedEmulator("GNN", emulator, config, Statistics.of(fields, names)))
    back = load_emulator(tmp_path / "e.safetensors").emulator
    state = starting_from(fields, FLOW, [0])
    assert torch.equal(run(back, state, 2)[1].values, run(emulator, state, 2)[1].values)


def test_the_network_sees_the_solver_only_where_it_is_shown() -> None:
    """The encoder has six more columns, and winds among them are turned as winds."""
    fields = flow(3)
    shown, hidden = (fitted(FLOW, fields, hybrid(seen)) for seen in (True, False))
    assert shown.network.encoder.along.in_features == 3 * hidden.network.encoder.along.in_features == 3
    assert shown.network.encoder.scalars.in_features == hidden.network.encoder.scalars.in_features + 6
