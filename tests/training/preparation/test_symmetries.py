"""Images of the data as samples: the solver agrees, each sample is seen every way, unfit tasks are refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from emulator.baselines.ridge import RidgeConfig
from emulator.data.arrays import ArrayFields
from emulator.forcings import Forcings
from emulator.foundation.configuration import resolve
from emulator.foundation.time_step import TimeStep
from emulator.networks.gnn import GNNConfig
from emulator.physics.ring_equations import APEBENCH, Difficulty, EquationConfig
from emulator.physics.ring_solver import RingSolver
from emulator.physics.shallow_water import ShallowWaterConfig
from emulator.physics.simulate import SimulationConfig, simulate_arrays, solver
from emulator.physics.sphere_solver import SphereSolver
from emulator.state import State
from emulator.task import Role, Task, Variable
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from graphs.meshes.icosphere import icosphere
from graphs.meshes.limited_area import CapWindow, limited_area
from graphs.meshes.ring import ring
from tests.emulator.worlds import FRAME, WAVES
from training.experiment import DataConfig, DataPart, ExperimentConfig, TrainingConfig
from training.preparation.reflection import worse_with_images
from training.preparation.symmetries import Symmetry, symmetries_of
from training.preparation.windows import Windows, WindowsWithin
from training.task_config import TaskConfig

# The variables that change sign with x; None where an equation keeps its form under neither.
OWN: dict[str, tuple[str, ...] | None] = {
    "diff_adv": None,
    "diff_adv_fast": None,
    "diff_disp": None,
    "diff_burgers": ("u",),
    "diff_kdv": None,
    "diff_ks": (),
    "diff_ks_cons": ("u",),
}
MESH, STEP = icosphere(2), TimeStep(10_800)
AREA, _ = limited_area(icosphere(3), CapWindow((45.0, 10.0), 2500.0, 2000.0))
FLOW = (Variable("h", "prognostic"), *(Variable(name, "prognostic", partner=other) for name, other in ("uv", "vu")))
TASK = Task((*FLOW, Variable("sin_latitude", "static")), STEP)
PART = DataPart("data.zarr")


def experiment(
    mirror: tuple[str, ...] | None = ("v",),
    emulator: GNNConfig | None = None,
    reversal: tuple[str, ...] | None = None,
) -> ExperimentConfig:
    return ExperimentConfig(
        name="mirrored",
        data=DataConfig(PART, PART),
        task=TaskConfig(("h", "u", "v")),
        emulator=emulator or GNNConfig(),
        training=TrainingConfig(mirror=mirror, reversal=reversal),
    )


def scattered() -> Mesh:
    positions = np.random.default_rng(0).normal(size=(MESH.num_nodes, 3))
    return replace(MESH, positions=positions / np.linalg.norm(positions, axis=1, keepdims=True), faces=None)


def with_one_more(name: str, role: Role) -> Task:
    return replace(TASK, variables=(*TASK.variables, Variable(name, role)))


def mirror() -> Symmetry:
    (found,) = symmetries_of(experiment(), TASK, fields())
    return found


def reversal() -> Symmetry:
    (found,) = symmetries_of(experiment(None, reversal=("v",)), TASK, fields())
    return found


def first_state(solver: SphereSolver) -> State:
    """Return a state that is cut to the solver's harmonics."""
    generator = torch.Generator().manual_seed(0)
    values = torch.tensor([10_000.0, 10.0, 5.0]) + torch.randn(1, 1, 1, MESH.num_nodes, 3, generator=generator)
    return solver.step(State(values.double(), np.zeros(1, np.int64)))[0]


def image_of(state: State, symmetry: Symmetry) -> State:
    return State(torch.from_numpy(symmetry.of(state.values[0, 0].numpy()))[None, None], state.valid_time)


def test_the_mirror_image_of_the_next_state_is_the_state_after_the_mirror_image() -> None:
    solver = SphereSolver(ShallowWaterConfig(truncation=8), STEP, MESH)
    first, image = first_state(solver), mirror()
    later, _ = solver.step(first)
    of_image, _ = solver.step(image_of(first, image))
    assert (of_image.values - image_of(later, image).values).abs().max() < 1e-6
    assert (of_image.values - later.values).abs().max() > 1.0
    wrong = replace(image, signs=np.ones(3, np.float32))
    other, _ = solver.step(image_of(first, wrong))
    assert (other.values - image_of(later, wrong).values).abs().max() > 1e-2


def test_time_reversed_leads_from_the_image_of_the_next_state_to_that_of_the_first() -> None:
    solver = SphereSolver(ShallowWaterConfig(truncation=8, diffusion=None, longest_step=300.0), STEP, MESH)
    first, image = first_state(solver), reversal()
    later, _ = solver.step(first)
    back, _ = solver.step(image_of(later, image))
    change = (later.values - first.values).abs().max()
    assert (back.values - image_of(first, image).values).abs().max() < 1e-3 * change
    wrong = replace(image, signs=np.ones(3, np.float32))
    other, _ = solver.step(image_of(later, wrong))
    assert (other.values - image_of(first, wrong).values).abs().max() > 1e-2 * change


def fields(step: TimeStep = STEP, mesh: Mesh = MESH) -> ArrayFields:
    values = np.random.default_rng(0).normal(size=(8, 2, mesh.num_nodes, 3)).astype(np.float32)
    times = step.advance(np.zeros(8, dtype=np.int64), np.arange(8))
    return ArrayFields(values, ("h", "u", "v"), ("1",) * 3, mesh, step, times)


def test_each_sample_is_seen_both_ways_in_two_epochs() -> None:
    windows = Windows(fields(), TASK, 1, Forcings(), symmetries=[mirror()])
    plain = Windows(fields(), TASK, 1, Forcings())
    for sample in range(len(windows)):
        given = plain[sample]["values"].numpy()
        seen = [windows[epoch, sample]["values"].numpy() for epoch in (0, 1)]
        order = seen if sample % 2 == 0 else seen[::-1]
        np.testing.assert_array_equal(order[0], given)
        np.testing.assert_array_equal(order[1], mirror().of(given))
        assert not np.array_equal(*seen)
    assert symmetries_of(experiment(None), TASK, fields()) == ()


def test_with_time_reversed_too_each_sample_is_seen_four_ways_in_four_epochs() -> None:
    both = symmetries_of(experiment(reversal=("v",)), TASK, fields())
    windows, plain = Windows(fields(), TASK, 2, Forcings(), symmetries=both), Windows(fields(), TASK, 2, Forcings())
    for sample in range(len(windows)):
        given = plain[sample]["values"].numpy()
        images = [given, mirror().of(given), reversal().of(given), reversal().of(mirror().of(given))]
        for epoch in range(4):
            seen = windows[epoch, sample]["values"].numpy()
            np.testing.assert_array_equal(seen, images[(epoch + sample) % 4])
    np.testing.assert_array_equal(images[2][0, :, 0], given[-1, reversal().nodes, 0])  # the last time comes first


@pytest.mark.parametrize("history", [1, 2])
def test_the_times_within_a_reversed_step_are_those_of_the_step_that_was(history: int) -> None:
    data = fields(TimeStep(3_600))  # a step is three frames
    task, image = replace(TASK, history=history), reversal()
    windows = WindowsWithin(data, task, Forcings(), symmetries=[image])
    assert len(windows) > 0
    for sample, (row, start) in enumerate(windows.pairs):
        item = windows[1 + sample % 2, sample]
        frames = data.read(start + np.arange(3 * history + 1), ("h", "u", "v"), int(row))[:, 0]
        np.testing.assert_array_equal(item["values"], image.of(frames[::3]))
        np.testing.assert_array_equal(item["within"], image.of(frames[1:3]))


@pytest.mark.parametrize(
    ("config", "task", "mesh", "said"),
    [
        (experiment(("w",)), TASK, MESH, "names w, which the task does not predict"),
        (experiment(()), TASK, MESH, r"northward wind v changes sign .* training.mirror is \[\]"),
        (experiment(("u", "v")), TASK, MESH, r"eastward u does not, but training.mirror is \[u, v\]"),
        (
            experiment(),
            replace(TASK, variables=(*FLOW, Variable("insolation", "forcing"))),
            MESH,
            "insolation may tell",
        ),
        (experiment(), replace(TASK, variables=(*FLOW, Variable("orography", "static"))), MESH, "orography may tell"),
        (experiment(emulator=GNNConfig(node_statistics=True)), TASK, MESH, "node_statistics may tell"),
        (experiment(emulator=GNNConfig(first_guess=RidgeConfig())), TASK, MESH, "first guess ridge may tell"),
        (experiment(), TASK, AREA, "lies alike on both sides of the equator"),
        (experiment(None, reversal=("u", "v")), TASK, MESH, r"east for west .* training.reversal is \[u, v\]"),
        (experiment(None, reversal=("v",)), with_one_more("rain", "diagnostic"), MESH, "rain belongs to the step"),
        (experiment(None, reversal=("v",)), with_one_more("orography", "static"), MESH, "in the east .* orography may"),
        (experiment(None, reversal=("v",)), TASK, scattered(), "alike on both sides of a meridian"),
    ],
)
def test_what_tells_data_and_image_apart_is_refused(config, task, mesh, said) -> None:
    with pytest.raises(MeshcastError, match=said):
        symmetries_of(config, task, fields(mesh=mesh))


def test_land_on_one_side_alone_is_refused() -> None:
    valid = np.ones((MESH.num_nodes, 3), bool)
    both = [0, int(mirror().nodes[0])]
    valid[both] = False
    assert len(symmetries_of(experiment(), TASK, fields(), valid)) == 1
    valid[both[1]] = True
    with pytest.raises(MeshcastError, match="nodes without a value in arrays in memory do not lie alike"):
        symmetries_of(experiment(), TASK, fields(), valid)


def on_the_ring(equation: EquationConfig, frames: int = 3, trajectories: int = 2, warm_up: int = 0) -> ArrayFields:
    """Return a truth on the ring that says which equation it solves, as `simulate` writes it."""
    config = SimulationConfig(equation, 1.0, num_trajectories=trajectories, num_frames=frames, warm_up=warm_up)
    values = simulate_arrays(config).transpose(1, 0, 2)[..., None]
    times = np.arange(frames, dtype=np.int64)
    said = {"simulation": json.dumps(resolve(config))}
    return ArrayFields(values, ("u",), ("1",), solver(config).mesh, FRAME, times, attributes=said)


@pytest.mark.parametrize("odd", [(), ("u",)], ids=["even", "odd"])
@pytest.mark.parametrize("name", APEBENCH)
def test_a_reflection_that_is_taken_is_the_solvers_own_and_one_that_is_not_is_refused(name, odd) -> None:
    truth = on_the_ring(APEBENCH[name])
    mesh, values = truth.mesh, torch.from_numpy(truth.values[:, 0, :, 0])  # [frame, node]
    advance = RingSolver(APEBENCH[name], mesh, 1.0).advance
    taken = Symmetry(-np.arange(mesh.num_nodes) % mesh.num_nodes, np.float32([-1.0 if odd else 1.0]))
    image = torch.from_numpy(taken.of(values[..., None].numpy())[..., 0])
    error = (advance(image[0]) - image[1]).abs().max() / (values[1] - values[0]).abs().max()
    if OWN[name] is not None and bool(OWN[name]) == bool(odd):
        assert error < 1e-12
        (found,) = symmetries_of(experiment(odd), WAVES, truth)
        np.testing.assert_array_equal(found.of(values[..., None].numpy())[..., 0], image)
    else:
        assert error > 1e-2
        said = "Leave training.mirror away" if OWN[name] is None else rf"Set training.mirror=\[{', '.join(OWN[name])}\]"
        with pytest.raises(MeshcastError, match=said):
            symmetries_of(experiment(odd), WAVES, truth)


@pytest.mark.parametrize("name", APEBENCH)
def test_of_arrays_that_name_no_equation_the_data_tell_which_reflection_holds(name: str) -> None:
    truth = replace(on_the_ring(APEBENCH[name], 26, 10, 100 if "ks" in name else 0), attributes={})
    for odd in ((), ("u",)):
        ratio = worse_with_images(odd, WAVES, truth)
        if OWN[name] is not None and bool(OWN[name]) == bool(odd):
            assert ratio < 1.2
            (found,) = symmetries_of(experiment(odd), WAVES, truth)
            assert found.signs.tolist() == [-1.0 if odd else 1.0]
        else:
            assert ratio > 12.0
            said = "Leave training.mirror away" if OWN[name] is None else rf"=\[{', '.join(OWN[name])}\]\.$"
            with pytest.raises(MeshcastError, match=rf"is no reflection of .* by a fit to 200 states.*{said}"):
                symmetries_of(experiment(odd), WAVES, truth)


def test_diffusion_takes_either_sign() -> None:
    truth = replace(on_the_ring(Difficulty(gamma=(0.0, 1.5)), 26, 10), attributes={})
    for odd in ((), ("u",)):
        assert len(symmetries_of(experiment(odd), WAVES, truth)) == 1


def test_two_fields_may_be_reflected_unalike_and_few_states_refute_nothing() -> None:
    """Of a height and a flow on a ring the flow alone changes sign; one pair of states tells no law."""
    rng, x = np.random.default_rng(0), 2 * np.pi * np.arange(48) / 48
    k, amplitudes = np.arange(1, 6), rng.normal(size=(20, 2, 2, 5))
    start = (amplitudes[:, 0] @ np.cos(k[:, None] * x) + amplitudes[:, 1] @ np.sin(k[:, None] * x)).transpose(0, 2, 1)
    modes, frames = np.fft.rfft(start, axis=1), []
    for frame in range(4):  # gravity waves: h_t = -u_x, u_t = -h_x
        angle = 0.1 * frame * np.arange(25)[:, None]
        swapped = np.cos(angle) * modes - 1j * np.sin(angle) * modes[..., ::-1]
        frames.append(np.fft.irfft(swapped, n=48, axis=1))
    values = np.stack(frames).astype(np.float32)
    waves = ArrayFields(values, ("h", "u"), ("1", "1"), ring(48), FRAME, np.arange(4))
    task = Task((Variable("h", "prognostic"), Variable("u", "prognostic")), FRAME)
    (found,) = symmetries_of(experiment(("u",)), task, waves)
    assert found.signs.tolist() == [1.0, -1.0]
    for odd in ((), ("h", "u")):
        with pytest.raises(MeshcastError, match="is no reflection of"):
            symmetries_of(experiment(odd), task, waves)
    short = replace(waves, values=values[:2, :1], times=np.arange(2))
    assert worse_with_images((), task, short) == 1.0
